//! Whole commands, from arguments to exit code, with a stand-in house. They never start a daemon.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::screen::PIPE;
use super::*;

/// A house without a daemon, whose configuration is as good as the test says.
#[derive(Default)]
struct StandIn {
    mistakes: Vec<String>,
    socket: PathBuf,
}

impl House for StandIn {
    fn serve(&self, config: Option<&Path>, socket: Option<&Path>, last_good: bool) -> Result<(), HouseError> {
        Err(HouseError::Failed(format!("asked to serve {config:?} at {socket:?}, last good: {last_good}")))
    }

    fn check(&self, config: Option<&Path>) -> Result<Checked, HouseError> {
        if !self.mistakes.is_empty() {
            return Err(HouseError::Configuration(self.mistakes.clone()));
        }
        let path = config.unwrap_or(Path::new("webhooks.toml")).display().to_string();
        let warnings = vec![format!("{path}:3:1: http:// sends in the clear")];
        Ok(Checked { path, webhooks: 4, projects: 1, warnings, ..Checked::default() })
    }

    fn socket(&self, _config: Option<&Path>) -> PathBuf {
        self.socket.clone()
    }

    fn backup(&self, directory: &Path, data_dir: Option<&Path>, _: Option<&Path>, _: &mut Tell<'_>) -> Result<BackupReport, HouseError> {
        Err(HouseError::Failed(format!("asked to back up {data_dir:?} to {directory:?}")))
    }

    fn restore(&self, directory: &Path, data_dir: Option<&Path>, _: Option<&Path>, _: &mut Tell<'_>) -> Result<RestoreReport, HouseError> {
        Err(HouseError::Failed(format!("asked to restore {directory:?} to {data_dir:?}")))
    }

    fn verify(&self, data_dir: Option<&Path>, _: Option<&Path>, _: &mut Tell<'_>) -> Result<VerifyReport, HouseError> {
        Ok(VerifyReport { directory: format!("{data_dir:?}"), view: vec!["a row is missing".into()], ..VerifyReport::default() })
    }

    fn verify_backup(&self, directory: &Path, _: &mut Tell<'_>) -> Result<VerifyReport, HouseError> {
        Ok(VerifyReport { sound: true, directory: directory.display().to_string(), ..VerifyReport::default() })
    }
}

/// Exit code, stdout and stderr of one command line.
fn run_in(house: &StandIn, line: &str) -> (u8, String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = carry_out(line.split(' ').map(OsString::from), house, PIPE, &mut stdout, &mut stderr);
    (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn nowhere() -> StandIn {
    StandIn { socket: "/nowhere/admin.sock".into(), ..StandIn::default() }
}

#[test]
fn help_is_done_and_nonsense_is_usage() {
    let (code, stdout, stderr) = run_in(&nowhere(), "hookwheel emit --help");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("Examples:") && stdout.contains("Post one event"), "{stdout}");
    let (code, stdout, stderr) = run_in(&nowhere(), "hookwheel emti");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("a similar subcommand exists: 'emit'"), "{stderr}");
    assert_eq!(run_in(&nowhere(), "hookwheel --version").1, concat!("hookwheel ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn check_says_what_is_there_or_every_mistake() {
    let (code, stdout, stderr) = run_in(&nowhere(), "hookwheel check --config a.toml");
    assert_eq!((code, stdout.as_str()), (0, "a.toml is good: 4 webhooks of 1 project\n"));
    assert_eq!(stderr, "warning: a.toml:3:1: http:// sends in the clear\n");
    let broken = StandIn { mistakes: vec!["a.toml:1:1: one".into(), "a.toml:2:2: two".into()], ..nowhere() };
    let (code, stdout, stderr) = run_in(&broken, "hookwheel check");
    assert_eq!((code, stdout.as_str()), (78, ""));
    assert_eq!(stderr, "a.toml:1:1: one\na.toml:2:2: two\n2 mistakes; nothing was started or changed\n");
    let (code, stdout, _) = run_in(&broken, "hookwheel check --json");
    assert_eq!((code, serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["errors"][1].as_str()), (78, Some("a.toml:2:2: two")));
}

#[test]
fn serve_is_told_what_the_user_named() {
    let (code, _, stderr) = run_in(&nowhere(), "hookwheel serve --config a.toml --socket /s --last-good");
    assert_eq!(code, 1);
    assert_eq!(stderr, "hookwheel: asked to serve Some(\"a.toml\") at Some(\"/s\"), last good: true\n");
}

#[test]
fn a_daemon_that_is_not_there_is_69_for_every_command_that_needs_one() {
    for command in [
        "status",
        "catalog",
        "reload --dry-run",
        "webhooks list",
        "webhooks pause crm",
        "deliveries list",
        "deliveries show dlv_aaaaaaaaaaaasaaaaaaa",
        "deliveries watch",
        "events list",
        "events show order-17 --project shop.example.com",
        "events explain email.status.bounced --project shop.example.com",
        "emit email.status.bounced --project shop.example.com",
    ] {
        let (code, stdout, stderr) = run_in(&nowhere(), &format!("hookwheel {command}"));
        assert_eq!((code, stdout.as_str()), (69, ""), "{command}");
        assert!(stderr.contains("/nowhere/admin.sock") && stderr.contains("hookwheel serve"), "{command}: {stderr}");
    }
    assert!(run_in(&nowhere(), "hookwheel status --socket /other").2.contains("/other"));
}

#[test]
fn without_a_daemon_the_data_directory_itself_is_backed_up_and_verified() {
    let (code, _, stderr) = run_in(&nowhere(), "hookwheel backup /b");
    assert!(code == 1 && stderr.starts_with("hookwheel: asked to back up None to \"/b\"\nno daemon can be reached"), "{stderr}");
    let (code, _, stderr) = run_in(&nowhere(), "hookwheel backup /b --data-dir /d");
    assert_eq!((code, stderr.as_str()), (1, "hookwheel: asked to back up Some(\"/d\") to \"/b\"\n"));
    let (code, stdout, stderr) = run_in(&nowhere(), "hookwheel verify");
    assert!(code == 1 && stdout.contains("None is DAMAGED") && stderr.contains("the view is made again"), "{stdout}{stderr}");
    let (code, stdout, _) = run_in(&nowhere(), "hookwheel verify --backup /b --json");
    assert!(code == 0 && stdout.contains("\"sound\": true"), "{stdout}");
}

#[test]
fn a_backup_by_the_daemon_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let going_on = r#"{"number":3,"running":true,"done_bytes":1,"total_bytes":2,"report":null,"error":null}"#;
    let report = serde_json::to_value(BackupReport { sequence: 17, ..BackupReport::default() }).unwrap();
    let done = serde_json::json!({ "number": 3, "running": false, "done_bytes": 2, "total_bytes": 2, "report": report, "error": null });
    let failed =
        serde_json::json!({ "number": 4, "running": false, "done_bytes": 0, "total_bytes": 0, "report": null, "error": "no room" });
    let (house, thread) = daemon(&directory, vec![going_on.into(), going_on.into(), done.to_string(), failed.to_string()]);
    let (code, stdout, _) = run_in(&house, "hookwheel backup /b");
    assert!(code == 0 && stdout.contains("up to fact 17"), "{stdout}");
    assert_eq!(run_in(&house, "hookwheel backup /b"), (1, String::new(), "hookwheel: no room\n".into()));
    let asked = ["POST /v1/backup HTTP/1.1", "GET /v1/backup HTTP/1.1", "GET /v1/backup HTTP/1.1", "POST /v1/backup HTTP/1.1"];
    assert_eq!(thread.join().unwrap(), asked);
}

/// A reader that went away.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure_and_no_panic() {
    for line in ["hookwheel check", "hookwheel check --json", "hookwheel --help", "hookwheel --version"] {
        let code = carry_out(line.split(' ').map(OsString::from), &nowhere(), PIPE, &mut Gone, &mut Gone);
        assert_eq!(code, 0, "{line}");
    }
    let broken = StandIn { mistakes: vec!["a.toml:1:1: one".into()], ..nowhere() };
    assert_eq!(carry_out(["hookwheel".into(), "check".into()], &broken, PIPE, &mut Gone, &mut Gone), 78);
}

/// Answers each request on a socket with the next body, and returns the request lines.
fn daemon(directory: &tempfile::TempDir, answers: Vec<String>) -> (StandIn, JoinHandle<Vec<String>>) {
    let socket = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || {
        let answer = |body: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&mut stream);
            let (mut lines, mut length) = (Vec::new(), 0);
            while lines.last().is_none_or(|line: &String| !line.is_empty()) {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                length = line.strip_prefix("content-length: ").map_or(length, |value| value.trim().parse().unwrap());
                lines.push(line.trim().to_owned());
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            lines.swap_remove(0)
        };
        answers.into_iter().map(answer).collect()
    });
    (StandIn { socket, ..StandIn::default() }, thread)
}

#[test]
fn a_file_is_posted_and_summed_up() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.ndjson");
    std::fs::write(&file, "{}\n{}\n").unwrap();
    let events = r#"{"accepted":1,"duplicates":1,"events":[{"id":"a","deliveries":3},{"id":"b","deliveries":3,"duplicate":true}]}"#;
    let (house, thread) = daemon(&directory, vec![events.into(), events.into()]);
    let (code, stdout, stderr) = run_in(&house, &format!("hookwheel emit --file {}", file.display()));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "accepted 1 event, 1 repeated, 3 deliveries\n", ""));
    let (code, stdout, _) = run_in(&house, &format!("hookwheel emit --json --file {}", file.display()));
    assert_eq!((code, serde_json::from_str::<serde_json::Value>(&stdout).unwrap()["deliveries"].as_u64()), (0, Some(3)));
    assert_eq!(thread.join().unwrap(), ["POST /v1/events HTTP/1.1"; 2]);
    assert_eq!(run_in(&house, "hookwheel emit --file /does/not/exist").0, 1);
}

#[test]
fn a_list_asks_for_pages_until_it_has_what_was_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let page = |count: usize, next: Option<&str>| {
        let delivery = serde_json::json!({
            "id": "dlv_aaaaaaaaaaaasaaaaaaa", "event": "e", "type": "email.status.bounced", "project": "shop.example.com", "webhook": "crm",
            "state": "delivered", "attempts": 1, "accepted": "2026-11-23T09:00:00Z", "due": null, "in_flight": false,
            "finished": "2026-11-23T09:00:01Z", "last_outcome": "200 OK"
        });
        serde_json::json!({ "deliveries": vec![delivery; count], "next": next }).to_string()
    };
    let (house, thread) = daemon(&directory, vec![page(500, Some("x y")), page(100, Some("z"))]);
    let (code, stdout, _) = run_in(&house, "hookwheel deliveries list --limit 600 --json");
    let whole = serde_json::from_str::<serde_json::Value>(&stdout).unwrap();
    assert_eq!((code, whole["deliveries"].as_array().unwrap().len(), whole["next"].as_str()), (0, 600, Some("z")));
    assert_eq!(whole["deliveries"][0]["accepted"], "2026-11-23T09:00:00.000Z");
    assert_eq!(thread.join().unwrap(), ["GET /v1/deliveries?limit=500 HTTP/1.1", "GET /v1/deliveries?after=x+y&limit=100 HTTP/1.1"]);
}

#[test]
fn a_reload_with_mistakes_is_78_and_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let report = r#"{"dry_run":false,"changes":[],"errors":["webhooks.toml:3:1: unknown key"]}"#;
    let (house, thread) = daemon(&directory, vec![report.into(), report.into()]);
    let (code, stdout, stderr) = run_in(&house, "hookwheel reload");
    assert_eq!((code, stdout.as_str()), (78, ""));
    assert!(stderr.starts_with("webhooks.toml:3:1: unknown key\n") && stderr.contains("goes on with the configuration it has"), "{stderr}");
    let (code, stdout, _) = run_in(&house, "hookwheel reload --dry-run --json");
    assert!(code == 78 && stdout.contains("unknown key"), "{stdout}");
    assert_eq!(thread.join().unwrap(), ["POST /v1/reload?dry_run=false HTTP/1.1", "POST /v1/reload?dry_run=true HTTP/1.1"]);
}
