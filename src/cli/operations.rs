//! `backup`, `restore` and `verify`: through the daemon where one answers, else on the data directory itself, which the front door opens. They never change what a daemon uses.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{HumanBytes, ProgressBar};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::arguments::Common;
use super::client::{Body, Client};
use super::failure::Failure;
use super::posting::progress_bar;
use super::screen::{Screen, Tone, uncoloured};
use super::text::counted;
use super::{House, Output};
use crate::limits::OPERATION_POLL_MS;
use crate::model::report::{BackupReport, Damage, MissingFacts, Progress, RestoreReport, VerifyReport};

/// What `backup` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel backup /var/backups/hookwheel
  hookwheel backup /mnt/nas/hookwheel --json

The directory may hold an earlier backup of the same data: then only what is new is taken. The daemon writes it, so it must be \
allowed to write there; when none runs, the command does it itself. The configuration file is not part of a backup.")]
pub(super) struct Backup {
    /// The backup's directory, made when there is none
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Back up this data directory, which no daemon uses
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What `restore` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel restore /var/backups/hookwheel
  hookwheel restore /var/backups/hookwheel --data-dir /tmp/look

Every file of the backup is checked first. Run it as the user that the daemon runs as, which then owns the files. What was pending when the \
backup was made is attempted again, also what was delivered since.")]
pub(super) struct Restore {
    /// The backup's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Make this data directory, which must be empty or new [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// What `verify` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel verify
  hookwheel verify --backup /var/backups/hookwheel
  hookwheel verify --data-dir /tmp/look --json

With a daemon running, the view is in use, and not compared row by row; what was compared is told. Exits with 1 when anything is damaged.")]
pub(super) struct Verify {
    /// Verify the backup in this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "data_dir")]
    backup: Option<PathBuf>,
    /// Verify this data directory, which no daemon uses
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// `backup`
pub(super) fn backup(
    arguments: &Backup,
    socket: PathBuf,
    common: &Common,
    house: &dyn House,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let Backup { directory, data_dir } = arguments;
    let directory = std::path::absolute(directory)
        .map_err(|error| Failure::Refused(format!("{} can't be made an absolute path: {error}", directory.display())))?;
    let bar = progress_bar(Some(0));
    let request = Body::json(&json!({ "directory": directory }));
    let report = match ask_daemon(data_dir.as_deref(), socket, "/v1/backup", Some(request), &bar)? {
        Asked::Answered(report) => report,
        Asked::Nobody(why) => {
            let (config, mut tell) = (common.config.as_deref(), told(&bar));
            house.backup(&directory, data_dir.as_deref(), config, &mut tell).map_err(|error| with(error.into(), why))?
        }
    };
    bar.finish_and_clear();
    output.show(&report, render_backup)
}

/// `restore`
pub(super) fn restore(arguments: &Restore, common: &Common, house: &dyn House, output: &mut Output<'_>) -> Result<(), Failure> {
    let bar = progress_bar(Some(0));
    let (data_dir, config) = (arguments.data_dir.as_deref(), common.config.as_deref());
    let report = house.restore(&arguments.directory, data_dir, config, &mut told(&bar))?;
    bar.finish_and_clear();
    output.show(&report, render_restored)
}

/// `verify`
pub(super) fn verify(
    arguments: &Verify,
    socket: PathBuf,
    common: &Common,
    house: &dyn House,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let bar = progress_bar(Some(0));
    let Verify { backup, data_dir } = arguments;
    let report: VerifyReport = match backup {
        Some(directory) => house.verify_backup(directory, &mut told(&bar))?,
        None => match ask_daemon(data_dir.as_deref(), socket, "/v1/verify", None, &bar)? {
            Asked::Answered(report) => report,
            Asked::Nobody(why) => {
                let config = common.config.as_deref();
                house.verify(data_dir.as_deref(), config, &mut told(&bar)).map_err(|error| with(error.into(), why))?
            }
        },
    };
    bar.finish_and_clear();
    output.show(&report, render_verified)?;
    if report.sound { Ok(()) } else { Err(Failure::Refused(advice(&report, backup.is_some()))) }
}

/// What came of asking a daemon.
enum Asked<R> {
    Answered(R),
    /// No daemon was to be asked, or none answers, and why.
    Nobody(Option<String>),
}

/// Has the daemon do it, and waits until it is done.
fn ask_daemon<R: DeserializeOwned>(
    data_dir: Option<&Path>,
    socket: PathBuf,
    path: &str,
    request: Option<Body>,
    bar: &ProgressBar,
) -> Result<Asked<R>, Failure> {
    if data_dir.is_some() {
        return Ok(Asked::Nobody(None));
    }
    let daemon = Client::new(super::client::Address::Socket(socket))?;
    let begun = match daemon.post::<Progress<R>>(path, request) {
        Ok(begun) => begun,
        Err(Failure::Unreachable(why)) => return Ok(Asked::Nobody(Some(why))),
        Err(failure) => return Err(failure),
    };
    let number = begun.number;
    let mut progress = begun;
    while progress.running && progress.number == number {
        told(bar)(progress.done_bytes, progress.total_bytes);
        daemon.sleep_ms(OPERATION_POLL_MS);
        progress = daemon.get(path)?;
    }
    match (progress.number == number, progress.report, progress.error) {
        (true, Some(report), _) => Ok(Asked::Answered(report)),
        (true, None, Some(error)) => Err(Failure::Refused(error)),
        _ => Err(Failure::Refused(
            "the daemon was asked for another one meanwhile, and does not say any more what came of this one; its log does".into(),
        )),
    }
}

/// A failure, and that no daemon answered before.
fn with(failure: Failure, why: Option<String>) -> Failure {
    match why {
        Some(why) => failure.and(&why),
        None => failure,
    }
}

fn told(bar: &ProgressBar) -> impl FnMut(u64, u64) {
    |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

fn render_backup(report: &BackupReport, screen: &Screen) -> String {
    let BackupReport { directory, made: _, sequence, files, bytes, kept, linked, copied, copied_bytes } = report;
    let headline = format!("{directory} holds everything up to fact {sequence}");
    let new = format!("{} linked, {} copied ({})", counted(*linked, "file", "files"), copied, HumanBytes(*copied_bytes));
    let facts = vec![
        ("whole", uncoloured(format!("{}, {}", counted(*files, "file", "files"), HumanBytes(*bytes)))),
        ("new", uncoloured(new)),
        ("held already", uncoloured(counted(*kept, "file", "files"))),
    ];
    format!("{}\n{}", screen.paint(Tone::Good, &headline), screen.facts(facts))
}

fn render_restored(report: &RestoreReport, screen: &Screen) -> String {
    let RestoreReport { backup: _, data_dir, made, sequence, files, bytes } = report;
    let headline = format!("{data_dir} is a data directory again: everything up to fact {sequence}, as of {made}");
    let facts = vec![
        ("copied", uncoloured(format!("{}, {}", counted(*files, "file", "files"), HumanBytes(*bytes)))),
        ("next", uncoloured("`hookwheel serve` makes the view from the journal")),
    ];
    format!("{}\n{}", screen.paint(Tone::Good, &headline), screen.facts(facts))
}

fn render_verified(report: &VerifyReport, screen: &Screen) -> String {
    let VerifyReport { sound, directory, scope, segments, bytes, facts, first, last, damage, missing, view, notes } = report;
    let headline = if *sound { format!("{directory} is sound") } else { format!("{directory} is DAMAGED") };
    let tone = if *sound { Tone::Good } else { Tone::Bad };
    let (segments, read) = (counted(*segments, "segment", "segments"), HumanBytes(*bytes));
    let range = if *facts == 0 { String::new() } else { format!(", {first} to {last}") };
    let mut rows = vec![("read", uncoloured(format!("{}{range}, in {segments}, {read}", counted(*facts, "fact", "facts"))))];
    rows.extend(damage.iter().map(|damage| ("damaged", (Tone::Bad, damage_in_words(damage)))));
    rows.extend(missing.iter().map(|missing| ("gone", (Tone::Bad, missing_in_words(missing)))));
    rows.extend(view.iter().map(|finding| ("view", (Tone::Bad, finding.clone()))));
    rows.extend(scope.iter().map(|sentence| ("compared", uncoloured(sentence.as_str()))));
    rows.extend(notes.iter().map(|note| ("note", uncoloured(note.as_str()))));
    format!("{}\n{}", screen.paint(tone, &headline), screen.facts(rows))
}

fn damage_in_words(damage: &Damage) -> String {
    let Damage { file, offset, bytes, what } = damage;
    let place = match (offset, bytes) {
        (Some(offset), Some(bytes)) => format!(", {bytes} bytes from byte {offset}"),
        (Some(offset), None) => format!(", from byte {offset}"),
        _ => String::new(),
    };
    format!("{file}{place}: {what}")
}

fn missing_in_words(missing: &MissingFacts) -> String {
    let MissingFacts { from, through, events } = missing;
    let facts = if from == through { format!("fact {from}") } else { format!("facts {from} to {through}") };
    if events.is_empty() { facts } else { format!("{facts}; as far as can still be read: {}", events.join(", ")) }
}

/// What to do about it.
fn advice(report: &VerifyReport, is_backup: bool) -> String {
    let mut advice = vec!["damage was found"];
    if is_backup {
        advice.push("make a new backup in another directory, and do not rely on this one");
    } else {
        if !report.missing.is_empty() {
            advice.push(
                "what is gone from the journal is in no other place than a backup made before; the daemon goes on with everything else",
            );
        } else if !report.damage.is_empty() {
            advice.push("nothing is gone yet; make a backup in another directory, and look after the disk");
        }
        if !report.view.is_empty() {
            advice.push(
                "the view is made again from the journal: stop the daemon, delete the directory view in the data directory, start it",
            );
        }
    }
    advice.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::screen::PIPE;
    use super::*;
    use crate::model::Sequence;

    #[test]
    fn what_verify_found_is_told_with_its_place_and_number() {
        let report = VerifyReport {
            directory: "/d".into(),
            scope: vec!["the view was compared".into()],
            segments: 2,
            bytes: 5000,
            facts: 7,
            first: 1,
            last: 9,
            damage: vec![Damage {
                file: "journal/0000000001.segment".into(),
                offset: Some(8192),
                bytes: Some(56),
                what: "the checksum does not fit".into(),
            }],
            missing: vec![MissingFacts { from: Sequence(3), through: Sequence(4), events: vec!["e1 of shop.example.com".into()] }],
            view: vec!["a webhook is missing".into()],
            ..VerifyReport::default()
        };
        insta::assert_snapshot!(render_verified(&report, &PIPE), @r"
        /d is DAMAGED
          read      7 facts, 1 to 9, in 2 segments, 4.88 KiB
          damaged   journal/0000000001.segment, 56 bytes from byte 8192: the checksum does not fit
          gone      facts 3 to 4; as far as can still be read: e1 of shop.example.com
          view      a webhook is missing
          compared  the view was compared
        ");
        assert!(advice(&report, false).contains("a backup made before"));
    }

    #[test]
    fn a_sound_directory_and_a_backup_are_told_in_a_few_lines() {
        let report = VerifyReport { sound: true, directory: "/d".into(), ..VerifyReport::default() };
        insta::assert_snapshot!(render_verified(&report, &PIPE), @r"
        /d is sound
          read  0 facts, in 0 segments, 0 B
        ");
        let report = BackupReport {
            directory: "/b".into(),
            sequence: 9,
            files: 3,
            bytes: 2048,
            kept: 1,
            linked: 1,
            copied: 1,
            copied_bytes: 1024,
            ..BackupReport::default()
        };
        insta::assert_snapshot!(render_backup(&report, &PIPE), @r"
        /b holds everything up to fact 9
          whole         3 files, 2.00 KiB
          new           1 file linked, 1 copied (1.00 KiB)
          held already  1 file
        ");
    }
}
