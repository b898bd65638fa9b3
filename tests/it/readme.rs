//! The README as a newcomer reads it: its shell blocks are run, and what it shows is compared with what is printed. It never builds anything.
//!
//! Blocks that only call cargo are left to whoever builds and tests. A block that serves goes on in the background, as the README says; of a
//! `console` block each `$` line is run, and what it prints must look like what stands below it, but for numbers, times and ids.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hookwheel::model::{Catalog, EventId, EventType, Project, sample, submission};
use hookwheel::time::UnixMillis;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::until;

const BINARY: &str = env!("CARGO_BIN_EXE_hookwheel");
const README: &str = include_str!("../../README.md");
/// Printed between the outputs of commands.
const MARK: &str = "=== the next command";

/// A fenced block.
struct Block {
    language: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let text = lines.by_ref().take_while(|line| *line != "```").fold(String::new(), |text, line| text + line + "\n");
        blocks.push(Block { language: language.to_owned(), text });
    }
    blocks
}

/// A place of its own instead of `/tmp/try` and the ports that the README names.
struct Place {
    directory: TempDir,
    ports: [(String, String); 3],
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let release = directory.path().join("target/release");
        fs::create_dir_all(&release).unwrap();
        std::os::unix::fs::symlink(BINARY, release.join("hookwheel")).unwrap();
        // All are held until all are known, so that they differ.
        let listeners = [8700, 9000, 9001].map(|port| (port, TcpListener::bind("127.0.0.1:0").unwrap()));
        let ports = listeners.map(|(port, listener)| (format!("127.0.0.1:{port}"), listener.local_addr().unwrap().to_string()));
        Self { directory, ports }
    }

    fn adapt(&self, text: &str) -> String {
        let try_out = self.directory.path().join("try").display().to_string();
        let text = self.ports.iter().fold(text.replace("/tmp/try", &try_out), |text, (from, to)| text.replace(from.as_str(), to));
        let in_code = |address: &str, between: &str| address.replacen(':', between, 1);
        self.ports.iter().fold(text, |text, (from, to)| {
            let (_, from_port) = from.split_once(':').unwrap();
            let (_, to_port) = to.split_once(':').unwrap();
            text.replace(&in_code(from, "\", "), &in_code(to, "\", ")).replace(&format!("listen({from_port}"), &format!("listen({to_port}"))
        })
    }

    /// Whoever types sees nothing happen, and goes on when he thinks that it has; a script knocks.
    fn patience_for_the_shop(&self) -> String {
        let (host, port) = self.ports[2].1.split_once(':').unwrap();
        format!("for _ in $(seq 600); do (: < /dev/tcp/{host}/{port}) 2> /dev/null && break; sleep 0.1; done\n")
    }

    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", &self.adapt(script)]).current_dir(self.directory.path());
        command.env_remove("NOTIFY_SOCKET").env_remove("HOOKWHEEL_SOCKET").env("NO_COLOR", "1");
        command
    }
}

/// A block that serves, with everything that it started.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.0.wait();
    }
}

fn serve(place: &Place, block: &str, log: &str) -> Serving {
    let log = fs::File::create(place.directory.path().join(log)).unwrap();
    let mut command = place.bash(block);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
    Serving(command.spawn().unwrap())
}

/// The commands of a `console` block, each with what the README shows of its output.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((command, shown))) if command.ends_with('\\') && shown.is_empty() => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, shown))) => {
                shown.push_str(line);
                shown.push('\n');
            }
            (None, None) => panic!("a console block begins with a command: {line}"),
        }
    }
    commands
}

/// Numbers, units, ids, bars and the width of columns differ from run to run.
fn skeleton(text: &str) -> String {
    let word = |word: &str| {
        let word = word.trim_matches('━');
        // The rest of a sandbox's URL is its token.
        let word = word.find("/sandbox/").map_or(word, |at| &word[..at]);
        let is_id = ["dlv_", "evt_"].iter().any(|prefix| word.starts_with(prefix));
        let is_unit = ["µs", "ms", "s", "min", "ago", "now", "MiB", "GiB", "TiB"].contains(&word.trim_end_matches(','));
        let is_figure = word.parse::<f64>().is_ok();
        if is_id || is_unit || is_figure || word.is_empty() { String::new() } else { word.replace(|c: char| c.is_ascii_digit(), "") }
    };
    let line = |line: &str| line.split_whitespace().map(word).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    // How long the attempt waited for its turn, and how long the last bytes took, is left out where it is nothing.
    text.lines().map(line).filter(|line| !line.starts_with("the rest") && !line.starts_with("waiting")).collect::<Vec<_>>().join("\n")
}

/// Waits until nothing is pending for any webhook, as a reader does by reading.
const SETTLE: &str =
    "for _ in $(seq 300); do hookwheel status --json | grep -q '^  \"pending\": 0,' && break; sleep 0.1; done > /dev/null 2>&1 || true";

#[test]
fn what_the_readme_shows_happens() {
    for tool in ["python3", "curl"] {
        if Command::new(tool).arg("--version").output().is_err() {
            let _ = writeln!(std::io::stderr(), "NOT CHECKED: {tool} is missing, so the commands in the README were not run");
            return;
        }
    }
    let place = Place::new();
    let mut serving = Vec::new();
    let mut script = "set -u\n".to_owned();
    let mut shown = Vec::new();
    for (index, Block { language, text }) in blocks().iter().enumerate() {
        let only_cargo = text.lines().all(|line| line.starts_with("cargo ") || line.starts_with('#'));
        match language.as_str() {
            "sh" if only_cargo => {}
            "sh" if text.contains("receiver.py") || text.contains("hookwheel serve") => {
                serving.push(serve(&place, text, &format!("{index}.log")));
            }
            "sh" if text.contains("apt ") || text.contains("systemctl ") || text.contains("packaging/") => {}
            // What it prints is not compared.
            "sh" => {
                script.push_str(&format!("{{\n{text}\n}} > /dev/null\n"));
                if text.contains("shop.py") {
                    script.push_str(&place.patience_for_the_shop());
                }
            }
            "console" => {
                for (command, output) in commands(text) {
                    script.push_str(&format!("{command}\nprintf '%s %s\\n' '{MARK}' $?\n"));
                    if ["hookwheel emit", "hookwheel deliveries retry", "curl"].iter().any(|begin| command.starts_with(begin)) {
                        script.push_str(&format!("{SETTLE}\n"));
                    }
                    if command.starts_with("python3") {
                        script.push_str(&place.patience_for_the_shop());
                    }
                    shown.push((command, place.adapt(&output)));
                }
            }
            _ => {}
        }
    }
    // What the tour leaves in the background would hold its output open.
    script.push_str("kill $(jobs -p) 2> /dev/null || true\n");
    assert!(serving.len() == 2 && shown.len() > 5, "the tour has a receiver, a daemon and commands");
    let socket = place.directory.path().join("try/admin.sock");
    let log = || {
        let logs = fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        logs.filter(|path| path.extension().is_some_and(|end| end == "log"))
            .map(|path| fs::read_to_string(path).unwrap())
            .collect::<String>()
    };
    until("the daemon of the README is there", || socket.exists().then_some(()));
    // Whoever follows the README sees its receiver start before he goes on; a script does not.
    until("the receiver of the README listens", || std::net::TcpStream::connect(&place.ports[1].1).ok());
    let output = place.bash(&script).stdin(Stdio::null()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let printed = stdout.split(MARK).collect::<Vec<_>>();
    assert_eq!(printed.len(), shown.len() + 1, "{stdout}\n{stderr}\n{}", log());
    let mut before = printed[0];
    for ((command, shown), after) in shown.iter().zip(&printed[1..]) {
        let (status, rest) = after.split_once('\n').unwrap();
        assert_eq!(status.trim(), "0", "{command}\n{before}\n{stderr}");
        assert_eq!(skeleton(before), skeleton(shown), "{command}\nprinted\n{before}\nthe README shows\n{shown}\n{stderr}\n{}", log());
        before = rest;
    }
}

#[test]
fn the_receiver_for_node_takes_what_is_genuine_and_nothing_else() {
    if Command::new("node").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "NOT CHECKED: node is missing, so the receiver in the README was not run");
        return;
    }
    let place = Place::new();
    let code = blocks().into_iter().find(|block| block.language == "js").unwrap().text;
    let path = place.directory.path().join("receiver.js");
    fs::write(&path, place.adapt(&code)).unwrap();
    let _receiver = serve(&place, &format!("exec node {}", path.display()), "node.log");
    let receiver = &place.ports[1].1;
    until("the receiver listens", || std::net::TcpStream::connect(receiver).ok());
    for (secret, state) in [("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "delivered"), ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "dropped")] {
        assert_eq!(delivered_with(secret, receiver), state);
    }
}

/// How a delivery ends whose webhook signs with `secret` and is not tried again.
fn delivered_with(secret: &str, receiver: &str) -> String {
    let more = format!("secret = \"whsec_{secret}\"\nretry = []");
    let house = crate::daemon::House::new(&crate::daemon::webhook("node", &format!("http://{receiver}/"), &more));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", crate::daemon::event("a").as_bytes()).0, 202);
    house.drained();
    let listed = house.json(&["deliveries", "list"]);
    listed["deliveries"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
fn the_first_commands_of_the_readme_are_those_that_must_pass_before_a_change_lands() {
    let checks = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run")).unwrap();
    let runs = checks.lines().filter_map(|line| line.strip_prefix("step ")).collect::<Vec<_>>();
    let first = blocks().into_iter().find(|block| block.language == "sh").unwrap().text;
    assert!(runs.contains(&first.trim()), "{first}");
    let (_, test_it) = README.split_once("\n## Test it\n").unwrap();
    let test = test_it.split("```").nth(1).unwrap().trim_start_matches("sh").trim();
    assert!(test.starts_with("cargo test") && runs.contains(&test), "{test}");
}

#[test]
fn every_file_that_the_readme_links_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links = README.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let local = links.filter(|link| !link.contains("://") && !link.starts_with('#')).collect::<Vec<_>>();
    assert!(!local.is_empty());
    local.iter().for_each(|link| assert!(root.join(link).exists(), "{link}"));
}

#[test]
fn the_daemons_own_events_are_those_that_the_readme_shows() {
    let catalog = Catalog::built_in();
    let shown = blocks().into_iter().filter(|block| block.language == "json" && block.text.contains("\"hookwheel."));
    let shown = shown.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>();
    let at = UnixMillis(1_795_431_600_000);
    let body = |event_type: &EventType| {
        let (data, id) = (Value::Object(sample::data(event_type)), EventId::parse("evt_1").unwrap());
        String::from_utf8(submission::of_daemon(event_type.name.clone(), at, &data, id).body.to_vec()).unwrap()
    };
    let told = catalog.types_of(&Project::of_daemon()).iter().map(body).collect::<Vec<_>>();
    assert_eq!(shown, told);
    assert!(
        told.iter()
            .all(|line| README.contains(&format!("| `{}` |", serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap())))
    );
}
