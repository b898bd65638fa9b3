//! What the commands make of a daemon's answers, in which much was written by others: the terminal obeys nothing of it. Here a daemon never keeps anybody waiting.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use hookwheel::cli::{self, Checked, House, HouseError};
use hookwheel::model::report::{BackupReport, RestoreReport, Tell, VerifyReport};

use super::disk::directory;

/// Commands that print what a daemon answers, and end: one at least for each way in which it is shown. Without `--json` the export of a Black List is left out, as its lines are addresses for a
/// program to read. `A` is the first.
const COMMANDS: [&str; 38] = [
    "status",
    "catalog",
    "webhooks list",
    "webhooks show crm",
    "webhooks pause crm",
    "webhooks test crm",
    "webhooks rotate-secret crm",
    "webhooks export crm",
    "webhooks export --with-secrets",
    "webhooks add --title CRM --project shop.example.com --url https://crm.example.com/ --events email.*",
    "webhooks edit crm --rate 5/s",
    "webhooks remove crm --yes",
    "deliveries list",
    "deliveries show dlv_aaaaaaaaaaaasaaaaaaa",
    "deliveries retry dlv_aaaaaaaaaaaasaaaaaaa",
    "deliveries retry --webhook crm --yes",
    "deliveries watch --count 1",
    "events list",
    "events show order-17 --project shop.example.com",
    "events explain email.status.bounced --project shop.example.com",
    "emit sms.status.delivered --project shop.example.com",
    "sandbox new",
    "sandbox list",
    "sandbox watch --count 1",
    "sandbox remove abcdefghijklmnopqrstuvwxyz234567",
    "blacklist list shop.example.com",
    "blacklist check shop.example.com anna@example.com",
    "blacklist add shop.example.com anna@example.com",
    "blacklist export shop.example.com --json",
    "backup /nowhere",
    "verify",
    "reload --dry-run",
    "pause",
    "config show",
    "token new shop --project *",
    "token list",
    "token revoke shop --yes",
    "top --iterations 1",
];
/// Answers that are given to one command. Some ask again and again as long as they are told that there is more.
const ANSWERS_MAX: usize = 4;

/// The first byte picks the command, the second how it is shown; answers follow, each with a digit for its status before its body, and a zero between two.
pub(super) fn daemon_answer(bytes: &[u8]) {
    let Some(Printed { code, stdout, stderr }) = printed(bytes) else { return };
    assert_ne!(code, 2, "the command is none: {stderr}");
    for text in [stdout, stderr] {
        assert!(!text.contains(is_obeyed), "{text:?}");
    }
}

/// Whether the command that the input picks takes its answers for good.
pub(crate) fn is_understood(bytes: &[u8]) -> bool {
    printed(bytes).is_some_and(|printed| printed.code == 0)
}

/// What a terminal takes for something else than a letter to be shown where it stands.
fn is_obeyed(letter: char) -> bool {
    let is_hidden = matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    letter != '\n' && (letter.is_control() || is_hidden)
}

/// What a command left behind.
struct Printed {
    code: u8,
    stdout: String,
    stderr: String,
}

fn printed(bytes: &[u8]) -> Option<Printed> {
    let ([command, look], answers) = bytes.split_first_chunk()?;
    let line = COMMANDS[usize::from(command.wrapping_sub(b'A')) % COMMANDS.len()];
    let directory = directory();
    let socket = directory.path().join("admin.sock");
    let mut words = ["hookwheel", "--socket"].map(OsString::from).to_vec();
    words.push(socket.clone().into_os_string());
    words.extend(line.split(' ').map(OsString::from));
    if look & 1 != 0 && !line.contains("--json") {
        words.push("--json".into());
    }
    let width = (look & 2 != 0).then_some(80);
    let listener = UnixListener::bind(&socket).expect("the directory is new");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = std::thread::scope(|scope| {
        let _end = End(&socket);
        scope.spawn(|| answer_all(&listener, answers));
        cli::run_with(words, &Nobody, width, &mut stdout, &mut stderr)
    });
    let text = |bytes| String::from_utf8(bytes).expect("a command prints text");
    Some(Printed { code, stdout: text(stdout), stderr: text(stderr) })
}

/// Ends the stand-in for a daemon, whatever became of the command.
struct End<'a>(&'a Path);

impl Drop for End<'_> {
    fn drop(&mut self) {
        // Whoever asks for nothing is the last one.
        let _ = UnixStream::connect(self.0);
    }
}

/// One answer a request, and behind the last one that there is no more.
fn answer_all(listener: &UnixListener, answers: &[u8]) {
    let mut answers = answers.split(|byte| *byte == 0).take(ANSWERS_MAX);
    for stream in listener.incoming().flatten() {
        let answer = answers.next().unwrap_or(b"4");
        // A command may have heard enough.
        if matches!(answer_one(stream, answer), Ok(false)) {
            return;
        }
    }
}

/// False where nothing was asked.
fn answer_one(mut stream: UnixStream, answer: &[u8]) -> io::Result<bool> {
    let mut reader = BufReader::new(&stream);
    let (mut line, mut length) = (String::new(), 0);
    if reader.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    while !line.trim_end().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim_end().parse().unwrap_or(0);
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    let (digit, body) = answer.split_first().unwrap_or((&b'2', b"".as_slice()));
    let status = match *digit {
        b'4' => "404 Not Found",
        b'5' => "500 Internal Server Error",
        b'9' => "409 Conflict",
        _ => "200 OK",
    };
    stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes())?;
    stream.write_all(body)?;
    Ok(true)
}

/// A house in which nobody does anything: the daemon answers.
struct Nobody;

impl Nobody {
    fn refuses<T>() -> Result<T, HouseError> {
        Err(HouseError::Failed("nobody is here".into()))
    }
}

impl House for Nobody {
    fn serve(&self, _: Option<&Path>, _: Option<&Path>, _: bool) -> Result<(), HouseError> {
        Self::refuses()
    }

    fn check(&self, _: Option<&Path>) -> Result<Checked, HouseError> {
        Self::refuses()
    }

    fn socket(&self, _: Option<&Path>) -> PathBuf {
        PathBuf::new()
    }

    fn backup(&self, _: &Path, _: Option<&Path>, _: Option<&Path>, _: &mut Tell<'_>) -> Result<BackupReport, HouseError> {
        Self::refuses()
    }

    fn restore(&self, _: &Path, _: Option<&Path>, _: Option<&Path>, _: &mut Tell<'_>) -> Result<RestoreReport, HouseError> {
        Self::refuses()
    }

    fn verify(&self, _: Option<&Path>, _: Option<&Path>, _: &mut Tell<'_>) -> Result<VerifyReport, HouseError> {
        Self::refuses()
    }

    fn verify_backup(&self, _: &Path, _: &mut Tell<'_>) -> Result<VerifyReport, HouseError> {
        Self::refuses()
    }
}
