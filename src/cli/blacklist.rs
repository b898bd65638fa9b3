//! `blacklist`: who must not be mailed, per project, and why. It never decides anything itself, and never takes a failure for "not listed".

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;

use super::Output;
use super::batches::{Batch, Batches, Unreadable, bad_lines};
use super::client::{Body, Client};
use super::failure::Failure;
use super::posting::{Daemon, Source, patiently, progress_bar};
use super::screen::{Screen, Tone, Toned, uncoloured};
use super::text::{counted, in_path, json_line, plain, relative};
use crate::limits::{COMMAND_PAGE_MAX, EMIT_BATCH_EVENTS};
use crate::model::blacklist::{BlacklistPage, Cause, Entry, Imported};
use crate::model::{Address, Project, Remark};

/// What is said when nobody knows whether a request arrived.
const WHEN_UNCLEAR: &str = "doing it again does no harm: what is listed already stays as it is";

/// What can be done with Black Lists.
#[derive(Debug, Subcommand)]
pub(super) enum Blacklist {
    /// List a project's Black List, in the order of addresses
    List(List),
    /// Say whether an address is listed, why and since when
    ///
    /// Exit code 0: it is listed. 1: it is not, or that could not be found out; the message tells which.
    #[command(after_help = "\
Examples:
  hookwheel blacklist check shop.example.com user@example.com
  hookwheel blacklist check shop.example.com user@example.com --json")]
    Check(Named),
    /// Put addresses on a Black List; those that are listed already stay as they are
    Add(Add),
    /// Take addresses off a Black List
    ///
    /// The next bounce, or the next click on Unsubscribe, lists them again.
    #[command(after_help = "Example:\n  hookwheel blacklist remove shop.example.com user@example.com other@example.com")]
    Remove(Several),
    /// Put every address of a file on a Black List
    ///
    /// A line has one address, or a JSON object as `export --json` prints it; blank lines and those that begin with # are skipped. Lines go out in order, up to 1000 in a request;
    /// a request with a bad line is refused as a whole. Importing a file again does no harm.
    #[command(after_help = "\
Examples:
  hookwheel blacklist import shop.example.com addresses.txt
  hookwheel blacklist export shop.example.com --json | hookwheel blacklist import news.example.org -")]
    Import {
        /// The project, a domain
        #[arg(value_name = "PROJECT", value_parser = Project::parse)]
        project: Project,
        /// The file; - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print a whole Black List, one address a line, as `import` reads it; with --json one entry a line
    #[command(after_help = "\
Examples:
  hookwheel blacklist export shop.example.com > addresses.txt
  hookwheel blacklist export shop.example.com --json > entries.ndjson")]
    Export {
        /// The project, a domain
        #[arg(value_name = "PROJECT", value_parser = Project::parse)]
        project: Project,
    },
}

/// Which part of a list is shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel blacklist list shop.example.com
  hookwheel blacklist list shop.example.com --limit 1000 --after m@example.com --json")]
pub(super) struct List {
    /// The project, a domain
    #[arg(value_name = "PROJECT", value_parser = Project::parse)]
    project: Project,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on behind this address
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse)]
    after: Option<Address>,
}

/// One address of a project.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The project, a domain
    #[arg(value_name = "PROJECT", value_parser = Project::parse)]
    project: Project,
    /// The mail address
    #[arg(value_name = "ADDRESS", value_parser = Address::parse)]
    address: Address,
}

/// Addresses of a project.
#[derive(Debug, Args)]
pub(super) struct Several {
    /// The project, a domain
    #[arg(value_name = "PROJECT", value_parser = Project::parse)]
    project: Project,
    /// The mail addresses
    #[arg(value_name = "ADDRESS", required = true, value_parser = Address::parse)]
    addresses: Vec<Address>,
}

/// What is added.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel blacklist add shop.example.com user@example.com other@example.com
  hookwheel blacklist add shop.example.com user@example.com --note 'complaint'")]
pub(super) struct Add {
    #[command(flatten)]
    several: Several,
    /// What for
    #[arg(long, value_name = "TEXT", value_parser = Remark::parse)]
    note: Option<Remark>,
}

/// The answer of `blacklist check --json`.
#[derive(Serialize)]
struct Checked<'a> {
    listed: bool,
    #[serde(flatten)]
    entry: Option<&'a Entry>,
}

/// What `blacklist remove` did.
#[derive(Serialize)]
struct Removed<'a> {
    removed: Vec<&'a Address>,
    not_listed: Vec<&'a Address>,
}

/// Carries out one of the commands.
pub(super) fn blacklist(command: &Blacklist, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        Blacklist::List(arguments) => list(arguments, daemon, output),
        Blacklist::Check(Named { project, address }) => check(project, address, daemon, output),
        Blacklist::Add(arguments) => add(arguments, daemon, output),
        Blacklist::Remove(Several { project, addresses }) => remove(project, addresses, daemon, output),
        Blacklist::Import { project, file } => import(project, file, daemon, output),
        Blacklist::Export { project } => export(project, daemon, output),
    }
}

/// As many pages as the limit asks for.
fn list(arguments: &List, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut whole = BlacklistPage { entries: Vec::new(), next: arguments.after.clone() };
    loop {
        let wanted = (limit - whole.entries.len()).min(COMMAND_PAGE_MAX);
        let mut page = page(&arguments.project, wanted, whole.next.as_ref(), daemon)?;
        whole.entries.append(&mut page.entries);
        whole.next = page.next;
        if whole.next.is_none() || whole.entries.len() >= limit {
            break;
        }
    }
    output.show(&whole, |whole, screen| render_page(whole, &arguments.project, screen))
}

fn check(project: &Project, address: &Address, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let answer = daemon.call(Method::GET, &path_of(project, address), None).map_err(|no| daemon.failure(no))?;
    if answer.status == StatusCode::NOT_FOUND {
        if output.json {
            output.show(&Checked { listed: false, entry: None }, |_, _| String::new())?;
        }
        return Err(Failure::Refused(answer.complaint()));
    }
    let entry = answer.read::<Entry>()?;
    output.show(&Checked { listed: true, entry: Some(&entry) }, |_, screen| render_entry(&entry, project, screen))
}

fn add(arguments: &Add, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let Add { several: Several { project, addresses }, note } = arguments;
    let path = path(project);
    let mut imported = Imported::default();
    for some in addresses.chunks(EMIT_BATCH_EVENTS) {
        let lines = some.iter().map(|address| format!("{}\n", json!({ "address": address, "note": note })));
        let body = Body::Lines(Bytes::from(lines.collect::<String>()));
        let mut post = Daemon { client: daemon, path: &path, nouns: ["address", "addresses"], bar: ProgressBar::hidden(), output };
        sum(&mut imported, patiently(&mut post, &body, WHEN_UNCLEAR)?.read()?);
    }
    output.show(&imported, |imported, screen| render_imported(imported, project, screen))
}

fn remove(project: &Project, addresses: &[Address], daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut removed = Removed { removed: Vec::new(), not_listed: Vec::new() };
    for address in addresses {
        let answer = daemon.call(Method::DELETE, &path_of(project, address), None).map_err(|no| daemon.failure(no))?;
        match answer.status {
            status if status.is_success() => removed.removed.push(address),
            StatusCode::NOT_FOUND => removed.not_listed.push(address),
            _ => return Err(Failure::Refused(answer.complaint())),
        }
    }
    output.show(&removed, |removed, screen| match removed.removed.len() {
        0 => String::new(),
        count => {
            let addresses = counted(count as u64, "address", "addresses");
            screen.paint(Tone::Good, &format!("removed {addresses} from the Black List of {project}")) + "\n"
        }
    })?;
    if removed.not_listed.is_empty() {
        return Ok(());
    }
    let missing = removed.not_listed.iter().map(|address| format!("{address} is not on the Black List of {project}"));
    Err(Failure::Refused(missing.collect::<Vec<_>>().join("\n")))
}

fn import(project: &Project, file: &Path, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let Source { name, reader, size } = Source::open(file)?;
    let path = path(project);
    let mut batches = Batches::new(reader, size.is_none(), 1);
    let mut imported = Imported::default();
    let nouns = ["address", "addresses"];
    let mut post = Daemon { client: daemon, path: &path, nouns, bar: progress_bar(size), output: &mut *output };
    loop {
        let batch = match batches.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(bad @ (Unreadable::TooLong(line) | Unreadable::NotText { line, .. })) => {
                return Err(Failure::Refused(format!("{name}:{line}: {bad}")).and(&so_far(imported)));
            }
            Err(bad @ Unreadable::Io(_)) => return Err(Failure::Refused(format!("{name}: {bad}")).and(&so_far(imported))),
        };
        let done = send(&mut post, &name, &batch).map_err(|failure| failure.and(&so_far(imported)))?;
        sum(&mut imported, done);
        super::posting::Post::progress(&mut post, batch.read_bytes, imported.listed.saturating_add(imported.known));
    }
    drop(post);
    output.show(&imported, |imported, screen| render_imported(imported, project, screen))
}

fn send(post: &mut Daemon<'_, '_>, name: &str, batch: &Batch) -> Result<Imported, Failure> {
    let answer = patiently(post, &Body::Lines(Bytes::copy_from_slice(&batch.body)), WHEN_UNCLEAR)?;
    let problem = if answer.status.is_success() { return answer.read() } else { answer.problem() };
    if problem.errors.is_empty() {
        return Err(Failure::Refused(answer.complaint()));
    }
    let (first, last) = (batch.lines.first().copied().unwrap_or(1), batch.lines.last().copied().unwrap_or(1));
    let count = counted(problem.errors.len() as u64, "bad line", "bad lines");
    let headline = format!("{count}: nothing of lines {first} to {last} of {name} was imported");
    Err(Failure::Refused(format!("{headline}\n{}", bad_lines(name, batch, &problem))))
}

/// Every page, printed as it comes.
fn export(project: &Project, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let BlacklistPage { entries, next } = page(project, COMMAND_PAGE_MAX, after.as_ref(), daemon)?;
        let mut text = String::new();
        for entry in entries {
            text.push_str(&if output.json { json_line(&entry)? } else { entry.address.to_line() });
            text.push('\n');
        }
        output.print(&text)?;
        match next {
            Some(_) => after = next,
            None => return Ok(()),
        }
    }
}

fn page(project: &Project, limit: usize, after: Option<&Address>, daemon: &Client) -> Result<BlacklistPage, Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(after.map(|address| ("after", address.as_str())));
    query.append_pair("limit", &limit.to_string());
    daemon.get(&format!("{}?{}", path(project), query.finish()))
}

fn path(project: &Project) -> String {
    format!("/v1/blacklist/{}", project.as_str())
}

fn path_of(project: &Project, address: &Address) -> String {
    format!("{}/{}", path(project), in_path(address.as_str()))
}

fn sum(total: &mut Imported, more: Imported) {
    total.listed = total.listed.saturating_add(more.listed);
    total.known = total.known.saturating_add(more.known);
}

fn so_far(imported: Imported) -> String {
    let (listed, known) = (counted(imported.listed, "address", "addresses"), imported.known);
    format!("before that {listed} were put on the list, {known} were there already; importing the whole file again does no harm")
}

fn render_imported(imported: &Imported, project: &Project, screen: &Screen) -> String {
    let listed = counted(imported.listed, "address is", "addresses are");
    let headline = format!("{listed} new on the Black List of {project}, {} listed before", imported.known);
    screen.paint(if imported.listed > 0 { Tone::Good } else { Tone::Waiting }, &headline) + "\n"
}

/// Why in words, and who or what said so.
fn reason(cause: &Cause) -> (&'static str, &str, &str) {
    match cause {
        Cause::Bounced { event } => ("bounced", event.as_ref().map_or("", |event| event.as_str()), ""),
        Cause::Unsubscribed { event } => ("unsubscribed", event.as_ref().map_or("", |event| event.as_str()), ""),
        Cause::Operator { by, note } => ("operator", by.as_str(), note.as_ref().map_or("", Remark::as_str)),
    }
}

fn render_page(page: &BlacklistPage, project: &Project, screen: &Screen) -> String {
    if page.entries.is_empty() {
        return format!("nobody is on the Black List of {project}\n");
    }
    let row = |entry: &Entry| -> Vec<Toned> {
        let (reason, source, note) = reason(&entry.cause);
        let since = relative(entry.since, screen.now);
        [entry.address.to_string(), reason.into(), since, source.into(), note.into()].map(uncoloured).to_vec()
    };
    let table = screen.table(&["ADDRESS", "REASON", "SINCE", "BY", "NOTE"], page.entries.iter().map(row).collect(), &[0]);
    match &page.next {
        Some(next) => format!("{table}\nmore follow behind {}: name it with --after, or a larger --limit\n", plain(&next.to_string())),
        None => table,
    }
}

fn render_entry(entry: &Entry, project: &Project, screen: &Screen) -> String {
    let (word, source, note) = reason(&entry.cause);
    let mut facts = vec![
        ("reason", uncoloured(word)),
        ("since", uncoloured(format!("{}, {}", relative(entry.since, screen.now), entry.since))),
        (if word == "operator" { "by" } else { "event" }, uncoloured(if source.is_empty() { "not known" } else { source })),
    ];
    if !note.is_empty() {
        facts.push(("note", uncoloured(note)));
    }
    let headline = format!("{} is on the Black List of {project}", entry.address);
    format!("{}\n{}", screen.paint(Tone::Bad, &headline), screen.facts(facts))
}

#[cfg(test)]
mod tests {
    use super::super::screen::PIPE;
    use super::*;

    fn project() -> Project {
        Project::parse("shop.example.com").unwrap()
    }

    fn entries() -> Vec<Entry> {
        let entries = json!([
            { "address": "anna@xn--mller-kva.example", "since": "2026-11-23T09:55:00Z", "reason": "bounced", "event": "order-17-bounce" },
            { "address": "ben@example.com", "since": "2026-11-20T10:00:00Z", "reason": "operator", "by": "uid 0", "note": "asked \u{202e}by phone" },
            { "address": "cleo@example.com", "since": "2026-11-20T10:00:00Z", "reason": "unsubscribed", "event": null }
        ]);
        serde_json::from_value(entries).unwrap()
    }

    #[test]
    fn a_list_has_one_line_an_address_and_says_how_to_go_on() {
        let page = BlacklistPage { next: Some(Address::parse("cleo@example.com").unwrap()), entries: entries() };
        insta::assert_snapshot!(render_page(&page, &project(), &PIPE), @"
        ADDRESS              REASON        SINCE       BY               NOTE
        anna@müller.example  bounced       5 min ago   order-17-bounce
        ben@example.com      operator      3 days ago  uid 0            asked <U+202E>by phone
        cleo@example.com     unsubscribed  3 days ago

        more follow behind cleo@example.com: name it with --after, or a larger --limit
        ");
        let nobody = BlacklistPage { entries: Vec::new(), next: None };
        assert_eq!(render_page(&nobody, &project(), &PIPE), "nobody is on the Black List of shop.example.com\n");
    }

    #[test]
    fn an_entry_says_why_and_since_when() {
        let text = entries().iter().map(|entry| render_entry(entry, &project(), &PIPE)).collect::<String>();
        insta::assert_snapshot!(text, @"
        anna@müller.example is on the Black List of shop.example.com
          reason  bounced
          since   5 min ago, 2026-11-23T09:55:00.000Z
          event   order-17-bounce
        ben@example.com is on the Black List of shop.example.com
          reason  operator
          since   3 days ago, 2026-11-20T10:00:00.000Z
          by      uid 0
          note    asked <U+202E>by phone
        cleo@example.com is on the Black List of shop.example.com
          reason  unsubscribed
          since   3 days ago, 2026-11-20T10:00:00.000Z
          event   not known
        ");
    }

    #[test]
    fn addresses_stand_in_paths_whole() {
        let path = |address: &str| path_of(&project(), &Address::parse(address).unwrap());
        assert_eq!(path("a+b/c?d#e%f@example.com"), "/v1/blacklist/shop.example.com/a%2Bb%2Fc%3Fd%23e%25f%40example.com");
        assert_eq!(path("\"a b\"@example.com"), "/v1/blacklist/shop.example.com/%22a%20b%22%40example.com");
    }
}
