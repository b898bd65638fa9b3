//! A stream of lines cut into requests. It never holds more than one request, and one line that did not fit into it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use super::client::Problem;
use crate::limits::{EMIT_BATCH_BYTES, EMIT_BATCH_EVENTS};

/// Lines that go out in one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The lines, each ended by a newline.
    pub body: Vec<u8>,
    /// The number of each line in its file, from 1.
    pub lines: Vec<u64>,
    /// Bytes of the file up to the end of this batch.
    pub read_bytes: u64,
}

/// Why there is no further batch although the file goes on.
#[derive(Debug)]
pub enum Unreadable {
    /// The file can't be read.
    Io(io::Error),
    /// This line is longer than a request may be.
    TooLong(u64),
    /// This line is no text.
    NotText {
        /// Its number.
        line: u64,
        /// The first byte that does not belong there, from 1.
        byte: usize,
    },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "can't read on: {error}"),
            Self::NotText { byte, .. } => write!(formatter, "not UTF-8: byte {byte} of this line does not belong there"),
            Self::TooLong(_) => write!(formatter, "longer than {EMIT_BATCH_BYTES} bytes: is this file one entry a line?"),
        }
    }
}

/// Cuts lines into batches.
pub struct Batches<R> {
    reader: BufReader<R>,
    /// Send what has arrived before waiting for more: the reader is a pipe that somebody may be writing to slowly.
    live: bool,
    from_line: u64,
    line_number: u64,
    read_bytes: u64,
    /// A line that was read and did not fit.
    carried: Option<Vec<u8>>,
    /// What went wrong behind the batch that was handed out last.
    failed: Option<Unreadable>,
}

impl<R: Read> Batches<R> {
    /// Begins at line `from_line` of `reader`.
    pub fn new(reader: R, live: bool, from_line: u64) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            live,
            from_line,
            line_number: 0,
            read_bytes: 0,
            carried: None,
            failed: None,
        }
    }

    /// The next batch, at least one line; `None` at the end.
    ///
    /// # Errors
    /// When the file can't be read on. What stands before that place came out first.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, Unreadable> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let mut batch = Batch::default();
        while batch.lines.len() < EMIT_BATCH_EVENTS && !(self.live && !batch.lines.is_empty() && self.would_wait()) {
            let line = match self.line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(failed) if batch.lines.is_empty() => return Err(failed),
                Err(failed) => {
                    self.failed = Some(failed);
                    break;
                }
            };
            if !batch.lines.is_empty() && batch.body.len() + line.len() > EMIT_BATCH_BYTES {
                self.carried = Some(line);
                break;
            }
            batch.body.extend_from_slice(&line);
            batch.lines.push(self.line_number);
        }
        batch.read_bytes = self.read_bytes;
        Ok((!batch.lines.is_empty()).then_some(batch))
    }

    fn would_wait(&self) -> bool {
        self.carried.is_none() && self.reader.buffer().is_empty()
    }

    /// The next line that is not blank, with its newline.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Unreadable> {
        if let Some(line) = self.carried.take() {
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            let longest = EMIT_BATCH_BYTES as u64;
            let length = (&mut self.reader).take(longest).read_until(b'\n', &mut line).map_err(Unreadable::Io)?;
            if length == 0 {
                return Ok(None);
            }
            self.line_number += 1;
            self.read_bytes += length as u64;
            if line.last() != Some(&b'\n') {
                if length as u64 == longest {
                    return Err(Unreadable::TooLong(self.line_number));
                }
                line.push(b'\n');
            }
            // A byte order mark is no part of JSON (RFC 8259, 8.1), and editors on some systems write one.
            if self.line_number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            if self.line_number < self.from_line {
                continue;
            }
            // Blank is what the daemon takes for blank: it counts the lines that are none, and speaks of them by their place.
            match std::str::from_utf8(&line).map(|text| text.trim().is_empty()) {
                Ok(true) => {}
                Ok(false) => return Ok(Some(line)),
                Err(error) => return Err(Unreadable::NotText { line: self.line_number, byte: error.valid_up_to() + 1 }),
            }
        }
    }
}

/// What a daemon says is wrong with lines of a batch: `path:line: message`, so that editors find the line.
pub(super) fn bad_lines(name: &str, batch: &Batch, problem: &Problem) -> String {
    let lines = problem.errors.iter().map(|bad| match batch.lines.get(bad.index) {
        Some(line) => format!("{name}:{line}: {}", bad.message),
        None => format!("{name}: {}", bad.message),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn all(batches: &mut Batches<impl Read>) -> Vec<Batch> {
        std::iter::from_fn(|| batches.next_batch().unwrap()).collect()
    }

    #[test]
    fn lines_keep_their_numbers_whatever_is_blank() {
        let text: &[u8] = b"\xef\xbb\xbf{\"a\":1}\n\n  \r\n{\"b\":2}\r\n{\"c\":3}";
        let batches = all(&mut Batches::new(text, false, 1));
        assert_eq!(
            batches,
            [Batch { body: b"{\"a\":1}\n{\"b\":2}\r\n{\"c\":3}\n".to_vec(), lines: vec![1, 4, 5], read_bytes: text.len() as u64 }]
        );
        assert_eq!(all(&mut Batches::new(text, false, 5))[0].lines, [5]);
        assert!(all(&mut Batches::new(b"\n\n".as_slice(), false, 1)).is_empty());
        let text = "{}\n\u{a0}\n \u{3000}\u{b}\n{}\n";
        assert_eq!(all(&mut Batches::new(text.as_bytes(), false, 1))[0].lines, [1, 4], "blank is more than ASCII knows");
    }

    #[test]
    fn a_batch_ends_at_the_number_of_lines_or_bytes_and_nothing_is_lost_between() {
        let many = "{}\n".repeat(EMIT_BATCH_EVENTS * 2 + 1);
        let batches = all(&mut Batches::new(many.as_bytes(), false, 1));
        assert_eq!(batches.iter().map(|batch| batch.lines.len()).collect::<Vec<_>>(), [EMIT_BATCH_EVENTS, EMIT_BATCH_EVENTS, 1]);
        let long = format!("{}\n", "x".repeat(EMIT_BATCH_BYTES / 3)).repeat(7);
        let batches = all(&mut Batches::new(long.as_bytes(), false, 1));
        assert!(batches.iter().all(|batch| batch.body.len() <= EMIT_BATCH_BYTES));
        assert_eq!(batches.iter().flat_map(|batch| batch.lines.clone()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(batches.concat_bodies(), long.as_bytes());
    }

    trait Bodies {
        fn concat_bodies(&self) -> Vec<u8>;
    }

    impl Bodies for Vec<Batch> {
        fn concat_bodies(&self) -> Vec<u8> {
            self.iter().flat_map(|batch| batch.body.clone()).collect()
        }
    }

    #[test]
    fn a_line_without_end_is_refused_behind_what_stood_before_it_and_never_held() {
        let text = b"{}\n".chain(io::repeat(b'x'));
        let mut batches = Batches::new(text, false, 1);
        assert_eq!(batches.next_batch().unwrap().unwrap().lines, [1]);
        assert!(matches!(batches.next_batch(), Err(Unreadable::TooLong(2))));
        assert!(batches.read_bytes <= EMIT_BATCH_BYTES as u64 + 3);
    }

    /// Gives out one piece a read, as a pipe does.
    struct Pipe(VecDeque<&'static str>);

    impl Read for Pipe {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.pop_front() else { return Ok(0) };
            room[..piece.len()].copy_from_slice(piece.as_bytes());
            Ok(piece.len())
        }
    }

    #[test]
    fn what_has_come_through_a_pipe_is_sent_before_more_is_waited_for() {
        let pieces = || Pipe(["{}\n{}\n", "{}", "\n", "{}\n"].into());
        let lines = |live| all(&mut Batches::new(pieces(), live, 1)).iter().map(|batch| batch.lines.len()).collect::<Vec<_>>();
        assert_eq!(lines(true), [2, 1, 1]);
        assert_eq!(lines(false), [4]);
    }
}
