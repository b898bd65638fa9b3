//! What one sandbox is and what it received, in a file of its own. It never waits for a disk to be sure: what a loss of power takes here is a test's requests.
//!
//! A line for each record, `<crc-32c in hexadecimal> <json>`; the first is what the sandbox is, each further one a request. Lines are written at the end known
//! to be good, and one whose checksum is wrong, such as the torn last one after a crash, is dropped when the file is read. When as many requests
//! were pushed out as are kept, or their bytes are more than may be kept, the file is written anew, beside the old one, and moved over it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::limits::{SANDBOX_REQUESTS_KEPT, SANDBOX_SIZE_MAX};
use crate::model::SandboxToken;
use crate::model::sandbox::{Behaviour, ReceivedRequest};
use crate::time::UnixMillis;

/// The end of a log's file name.
const EXTENSION: &str = "log";

/// What a sandbox is. It may hold a secret in the clear, and so it is never shown.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) token: SandboxToken,
    pub(super) created: UnixMillis,
    pub(super) title: String,
    pub(super) behaviour: Behaviour,
    /// As it is stored: in the clear, or sealed.
    pub(super) secret: Option<String>,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record<'a> {
    Sandbox(std::borrow::Cow<'a, Definition>),
    Request(std::borrow::Cow<'a, Received>),
}

/// A request, and what it is counted by.
#[derive(Clone, Serialize, Deserialize)]
struct Received {
    group: u64,
    request: ReceivedRequest,
}

/// Where a kept request stands in the file.
struct Kept {
    number: u64,
    group: u64,
    received: UnixMillis,
    offset: u64,
    length: usize,
}

/// A sandbox's file.
pub(super) struct Log {
    path: PathBuf,
    file: File,
    definition: Definition,
    kept: VecDeque<Kept>,
    kept_bytes: u64,
    /// Where the next line goes: behind everything that is known to be good.
    end: u64,
    removed: bool,
}

impl Log {
    /// Makes the file of a new sandbox. It survives a loss of power when this returns.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn create(directory: &Path, definition: Definition) -> io::Result<Self> {
        let path = directory.join(format!("{}.{EXTENSION}", definition.token));
        let line = encode(&Record::Sandbox(std::borrow::Cow::Borrowed(&definition)))?;
        let file = replace(&path, &line)?;
        Ok(Self { path, file, definition, kept: VecDeque::new(), kept_bytes: 0, end: line.len() as u64, removed: false })
    }

    /// Reads a sandbox's file, and says how many lines of it could not be read and were dropped.
    ///
    /// # Errors
    /// Those of the disk; or the file does not say what the sandbox is.
    pub(super) fn open(path: &Path) -> io::Result<(Self, usize)> {
        let bytes = fs::read(path)?;
        let (mut definition, mut kept, mut dropped, mut offset) = (None, VecDeque::new(), 0, 0_u64);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match decode(line) {
                Some(Record::Sandbox(found)) => definition = Some(found.into_owned()),
                Some(Record::Request(found)) => kept.push_back(Kept {
                    number: found.request.number,
                    group: found.group,
                    received: found.request.received,
                    offset,
                    length: line.len(),
                }),
                None => dropped += 1,
            }
            offset += line.len() as u64;
        }
        let definition = definition.filter(|definition| is_named(path, &definition.token));
        let definition = definition.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not say what sandbox it is of"))?;
        let kept_bytes = kept.iter().map(|one| one.length as u64).sum();
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut log = Self { path: path.to_owned(), file, definition, kept, kept_bytes, end: offset, removed: false };
        log.push_out();
        if dropped > 0 {
            log.rewrite()?;
        }
        Ok((log, dropped))
    }

    /// What the sandbox is.
    pub(super) const fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Has the secret stored in another form, durably.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn store_secret(&mut self, secret: String) -> io::Result<()> {
        self.definition.secret = Some(secret);
        self.rewrite()
    }

    /// The number of the newest request, 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.kept.back().map_or(0, |newest| newest.number)
    }

    /// When the newest request came.
    pub(super) fn last_received(&self) -> Option<UnixMillis> {
        self.kept.back().map(|newest| newest.received)
    }

    /// Requests that are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Which attempt a request with that `webhook-id` is, going by those that are kept: what a sender that is not hookwheel does not say itself.
    pub(super) fn attempt_of(&self, webhook_id: Option<&[u8]>) -> u32 {
        let group = group_of(webhook_id);
        let before = self.kept.iter().filter(|one| one.group == group).count();
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Keeps a request, and pushes out the oldest where that makes too many.
    ///
    /// # Errors
    /// Those of the disk; the request was not kept then, and nothing else was lost.
    pub(super) fn append(&mut self, webhook_id: Option<&[u8]>, request: ReceivedRequest) -> io::Result<()> {
        if self.removed {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the sandbox was removed"));
        }
        let (number, received, group) = (request.number, request.received, group_of(webhook_id));
        let line = encode(&Record::Request(std::borrow::Cow::Owned(Received { group, request })))?;
        if let Err(error) = self.file.write_all_at(&line, self.end) {
            // What was written of it is cut off; should that fail too, the next line overwrites it, and reading drops what remains.
            drop(self.file.set_len(self.end));
            return Err(error);
        }
        self.kept.push_back(Kept { number, group, received, offset: self.end, length: line.len() });
        self.end += line.len() as u64;
        self.kept_bytes += line.len() as u64;
        self.push_out();
        if self.is_mostly_dead() {
            // The old file still holds everything; there is another chance with the next request.
            if let Err(error) = self.rewrite() {
                tracing::warn!(sandbox = %self.definition.token.shortened(), %error, "the sandbox's file could not be made smaller");
            }
        }
        Ok(())
    }

    /// The requests behind the number `after`, oldest first, or else the newest; at most `limit`.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn read(&self, after: Option<u64>, limit: usize) -> io::Result<Vec<ReceivedRequest>> {
        let skipped = match after {
            Some(after) => self.kept.iter().take_while(|one| one.number <= after).count(),
            None => self.kept.len().saturating_sub(limit),
        };
        self.kept.iter().skip(skipped).take(limit).map(|one| self.read_one(one)).collect()
    }

    /// Deletes the file. Nothing is kept any more, whoever still holds this.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.removed = true,
        }
        sync_parent(&self.path)
    }

    fn read_one(&self, kept: &Kept) -> io::Result<ReceivedRequest> {
        match decode(&self.raw(kept)?) {
            Some(Record::Request(found)) => Ok(found.into_owned().request),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("request {} is damaged", kept.number))),
        }
    }

    fn raw(&self, kept: &Kept) -> io::Result<Vec<u8>> {
        let mut line = vec![0; kept.length];
        self.file.read_exact_at(&mut line, kept.offset)?;
        Ok(line)
    }

    fn push_out(&mut self) {
        while self.kept.len() > SANDBOX_REQUESTS_KEPT || (self.kept_bytes > SANDBOX_SIZE_MAX && self.kept.len() > 1) {
            let oldest = self.kept.pop_front();
            self.kept_bytes -= oldest.map_or(0, |oldest| oldest.length as u64);
        }
    }

    fn is_mostly_dead(&self) -> bool {
        let first = self.kept.front().map_or(0, |oldest| oldest.offset);
        let pushed_out = self.end.saturating_sub(self.kept_bytes);
        first > 0 && (pushed_out > SANDBOX_SIZE_MAX || pushed_out > self.kept_bytes.max(1 << 20))
    }

    /// Writes the file anew with what is kept.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut bytes = encode(&Record::Sandbox(std::borrow::Cow::Borrowed(&self.definition)))?;
        let mut offsets = Vec::with_capacity(self.kept.len());
        for kept in &self.kept {
            offsets.push(bytes.len() as u64);
            bytes.extend(self.raw(kept)?);
        }
        self.file = replace(&self.path, &bytes)?;
        for (kept, offset) in self.kept.iter_mut().zip(offsets) {
            kept.offset = offset;
        }
        self.end = bytes.len() as u64;
        Ok(())
    }
}

/// The logs of a directory, and whatever a write that was interrupted left behind, which is deleted.
///
/// # Errors
/// Those of the disk.
pub(super) fn find(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(EXTENSION) => logs.push(path),
            Some("new") => fs::remove_file(&path)?,
            _ => {}
        }
    }
    logs.sort();
    Ok(logs)
}

fn is_named(path: &Path, token: &SandboxToken) -> bool {
    path.file_stem().is_some_and(|stem| stem == token.as_str())
}

fn group_of(webhook_id: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    webhook_id.hash(&mut hasher);
    hasher.finish()
}

fn encode(record: &Record<'_>) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(record)?;
    let mut line = format!("{:08x} ", crc32c::crc32c(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

fn decode(line: &[u8]) -> Option<Record<'static>> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.strip_suffix(' ')?, 16).ok()?;
    if crc32c::crc32c(json) != sum {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// Writes a file as a whole, for sure, and gives it back open.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)?;
    Ok(file)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sandbox::{KeptBody, SandboxAnswer, SignatureReason, SignatureVerdict};

    fn definition() -> Definition {
        Definition {
            token: SandboxToken::from_random([7; 20]),
            created: UnixMillis(1_795_428_000_000),
            title: "try-out".into(),
            behaviour: Behaviour::default(),
            secret: None,
        }
    }

    fn request(number: u64, body: &str) -> ReceivedRequest {
        ReceivedRequest {
            number,
            received: UnixMillis(1_795_428_000_000 + number),
            method: "POST".into(),
            target: "/sandbox/x".into(),
            headers: vec![("webhook-id".into(), "a".into())],
            headers_left_out: 0,
            body: KeptBody::Text(body.into()),
            body_size: body.len() as u64,
            attempt: 1,
            signature: SignatureVerdict::new(SignatureReason::NoSecret, "x"),
            answer: SandboxAnswer { status: Some(200), retry_after_s: None },
        }
    }

    fn numbers(log: &Log) -> Vec<u64> {
        log.read(None, usize::MAX).unwrap().iter().map(|request| request.number).collect()
    }

    #[test]
    fn the_newest_are_kept_over_a_restart_and_the_file_stays_small() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::create(directory.path(), definition()).unwrap();
        let body = "x".repeat(4000);
        for number in 1..=2000 {
            log.append(None, request(number, &body)).unwrap();
            let size = fs::metadata(&log.path).unwrap().len();
            assert!(size <= 2 * log.kept_bytes + (2 << 20), "{size} bytes for {}", log.kept_bytes);
        }
        assert_eq!(numbers(&log), (1501..=2000).collect::<Vec<_>>());
        let path = log.path.clone();
        drop(log);
        let (log, dropped) = Log::open(&path).unwrap();
        assert_eq!((numbers(&log), dropped, log.last()), ((1501..=2000).collect::<Vec<_>>(), 0, 2000));
        assert_eq!(log.read(Some(1998), 10).unwrap(), [request(1999, &body), request(2000, &body)]);
        assert_eq!(log.read(Some(0), 2).unwrap()[0].number, 1501);
        assert_eq!(log.read(None, 1).unwrap()[0].number, 2000);
        assert!(log.read(Some(2000), 10).unwrap().is_empty());
    }

    #[test]
    fn a_torn_last_line_is_dropped_wherever_it_was_torn_and_what_follows_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::create(directory.path(), definition()).unwrap();
        for number in 1..=3 {
            log.append(Some(b"a"), request(number, "{}")).unwrap();
        }
        let whole = fs::read(&log.path).unwrap();
        let last = usize::try_from(log.kept[2].offset).unwrap();
        for cut in last + 1..whole.len() {
            fs::write(&log.path, &whole[..cut]).unwrap();
            let (mut torn, dropped) = Log::open(&log.path).unwrap();
            assert_eq!((numbers(&torn), dropped), (vec![1, 2], 1), "cut at {cut}");
            torn.append(Some(b"a"), request(3, "{}")).unwrap();
            assert_eq!(numbers(&Log::open(&log.path).unwrap().0), [1, 2, 3]);
        }
    }

    #[test]
    fn damage_in_the_middle_costs_that_request_alone_and_damage_at_the_start_the_sandbox() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::create(directory.path(), definition()).unwrap();
        for number in 1..=3 {
            log.append(None, request(number, "{}")).unwrap();
        }
        let mut bytes = fs::read(&log.path).unwrap();
        bytes[usize::try_from(log.kept[1].offset).unwrap() + 30] ^= 1;
        fs::write(&log.path, &bytes).unwrap();
        let (damaged, dropped) = Log::open(&log.path).unwrap();
        assert_eq!((numbers(&damaged), dropped), (vec![1, 3], 1));
        assert_eq!(Log::open(&log.path).unwrap().1, 0, "it was written anew");
        bytes[12] ^= 1;
        fs::write(&log.path, &bytes).unwrap();
        assert!(Log::open(&log.path).is_err());
        assert_eq!(fs::read(&log.path).unwrap(), bytes, "and is left alone");
    }

    #[test]
    fn attempts_are_counted_by_webhook_id_and_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::create(directory.path(), definition()).unwrap();
        for (number, id) in [(1, Some(b"a".as_slice())), (2, Some(b"b")), (3, Some(b"a")), (4, None)] {
            log.append(id, request(number, "")).unwrap();
        }
        let path = log.path.clone();
        let (log, _) = Log::open(&path).unwrap();
        assert_eq!([Some(b"a".as_slice()), Some(b"b"), Some(b"c"), None].map(|id| log.attempt_of(id)), [3, 2, 1, 2]);
    }

    #[test]
    fn bytes_are_bounded_and_a_removed_log_stays_removed() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::create(directory.path(), definition()).unwrap();
        // As large as a record can become: each letter is written as six.
        let body = "\u{1}".repeat(1 << 20);
        for number in 1..=8 {
            log.append(None, request(number, &body)).unwrap();
        }
        assert_eq!(numbers(&log), [7, 8]);
        log.remove().unwrap();
        assert!(log.append(None, request(9, &body)).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        fs::write(directory.path().join("x.new"), "half").unwrap();
        assert!(find(directory.path()).unwrap().is_empty() && fs::read_dir(directory.path()).unwrap().count() == 0);
    }
}
