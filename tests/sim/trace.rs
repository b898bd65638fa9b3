//! What happened, as a hash and, when somebody wants to read it, as the last lines. It never influences what happens.

use std::collections::VecDeque;
use std::fmt::Write;

use crate::random::mix;

const LINES_KEPT: usize = 3000;

/// One number with what it means.
pub(crate) type Field = (&'static str, u64);

/// The course of one run.
#[derive(Default)]
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// A trace that keeps its last lines only when it is to be read.
    pub(crate) fn new(readable: bool) -> Self {
        Self { lines: readable.then(VecDeque::new), ..Self::default() }
    }

    /// Notes that something happened.
    pub(crate) fn note(&mut self, at_ms: u64, what: &'static str, fields: &[Field]) {
        self.steps += 1;
        let word = what.bytes().fold(at_ms, |word, byte| word.rotate_left(7) ^ u64::from(byte));
        self.hash = mix(self.hash ^ word);
        for (_, value) in fields {
            self.hash = mix(self.hash.wrapping_add(*value));
        }
        if self.lines.is_some() {
            let mut line = format!("{} {what}", clock(at_ms));
            for (name, value) in fields {
                let _ = write!(line, " {name}={value}");
            }
            self.keep(line);
        }
    }

    /// Notes something in words.
    pub(crate) fn remark(&mut self, at_ms: u64, what: &str) {
        self.hash = what.bytes().fold(mix(self.hash ^ at_ms), |hash, byte| mix(hash ^ u64::from(byte)));
        if self.lines.is_some() {
            self.keep(format!("{} {what}", clock(at_ms)));
        }
    }

    /// Equal for equal courses.
    pub(crate) fn hash(&self) -> u64 {
        self.hash ^ self.steps
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        self.lines.iter().flatten().fold(String::new(), |text, line| text + line + "\n")
    }

    fn keep(&mut self, line: String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() == LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

fn clock(at_ms: u64) -> String {
    let (seconds, milliseconds) = (at_ms / 1000, at_ms % 1000);
    format!("{:02}:{:02}:{:02}.{milliseconds:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
