//! What is wrong with a configuration, all of it at once and each mistake with its place. It never decides what is a mistake, and it never
//! repeats a secret.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::limits::MISTAKES_SHOWN_MAX;

const SHOWN_CHARACTERS_MAX: usize = 60;

/// One mistake. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line and column; `None` when it is about the file as a whole.
    pub position: Option<(usize, usize)>,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

/// Every mistake of one configuration file, in the order of their places. Displayed one a line: `path:line:column: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The file.
    pub path: PathBuf,
    /// At least one, at most [`MISTAKES_SHOWN_MAX`].
    pub list: Vec<Mistake>,
    /// How many more there are.
    pub untold: usize,
}

impl Mistakes {
    /// One mistake that is about the file as a whole.
    pub(super) fn of_file(path: &Path, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), list: vec![Mistake { position: None, message: message.into() }], untold: 0 }
    }

    /// One mistake at a byte of `text`, behind which nothing could be read.
    pub(super) fn at(path: &Path, text: &str, offset: usize, message: impl Into<String>) -> Self {
        let position = Some(Lines::of(text).position(offset));
        Self { path: path.to_owned(), list: vec![Mistake { position, message: message.into() }], untold: 0 }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (index, mistake) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            match mistake.position {
                Some((line, column)) => write!(formatter, "{separator}{path}:{line}:{column}: {}", mistake.message)?,
                None => write!(formatter, "{separator}{path}: {}", mistake.message)?,
            }
        }
        match self.untold {
            0 => Ok(()),
            untold => write!(formatter, "\n{path}: and {untold} more"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// What a mistake says about the file, which decides whether it still counts when the file is no TOML as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The file is no TOML there.
    Syntax,
    /// Something stands there that should not.
    Present,
    /// Something is missing there.
    Absent,
}

struct Found {
    offset: usize,
    kind: Kind,
    message: String,
}

/// Collects mistakes while a file is read.
pub(super) struct Report<'a> {
    path: &'a Path,
    lines: Lines<'a>,
    found: Vec<Found>,
}

impl<'a> Report<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, lines: Lines::of(text), found: Vec::new() }
    }

    /// The file is no TOML at `offset`.
    pub(super) fn syntax(&mut self, offset: usize, message: impl AsRef<str>) {
        self.add(offset, Kind::Syntax, message.as_ref());
    }

    /// What stands at `offset` is wrong.
    pub(super) fn wrong(&mut self, offset: usize, message: impl AsRef<str>) {
        self.add(offset, Kind::Present, message.as_ref());
    }

    /// At `offset` something is missing.
    pub(super) fn missing(&mut self, offset: usize, message: impl AsRef<str>) {
        self.add(offset, Kind::Absent, message.as_ref());
    }

    /// `path:line` of a byte.
    pub(super) fn place(&self, offset: usize) -> String {
        format!("{}:{}", self.path.display(), self.lines.position(offset).0)
    }

    /// The offending text as it is written in the file, cut to a length that fits into a message.
    pub(super) fn shown(&self, span: Range<usize>) -> String {
        let written = self.lines.text.get(span).unwrap_or_default();
        let first_line = written.lines().next().unwrap_or_default();
        let mut shown = first_line.chars().take(SHOWN_CHARACTERS_MAX).map(printable).collect::<String>();
        if first_line.len() < written.len() || first_line.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
            shown.push('…');
        }
        shown
    }

    /// The line in which a byte lies, without its end.
    pub(super) fn line_span(&self, offset: usize) -> Range<usize> {
        self.lines.span(self.lines.number(offset))
    }

    /// The mistakes that count; `None` when there are none.
    ///
    /// Behind a syntax error part of the file is unread, so nothing is called missing; what shares its line is most likely the
    /// same mistake; and behind a broken `[header]` every key stands in the wrong section.
    pub(super) fn into_mistakes(mut self) -> Option<Mistakes> {
        self.found.sort_by_key(|found| (found.offset, found.kind != Kind::Syntax));
        let broken_lines = self.found.iter().filter(|found| found.kind == Kind::Syntax).map(|found| self.lines.number(found.offset));
        let broken_lines = broken_lines.collect::<Vec<_>>();
        let broken_header = broken_lines.iter().copied().find(|line| is_header(&self.lines.text[self.lines.span(*line)]));
        let counts = |found: &Found| {
            let line = self.lines.number(found.offset);
            let follows = broken_lines.binary_search(&line).is_ok() || broken_header.is_some_and(|header| header < line);
            match found.kind {
                Kind::Syntax => true,
                Kind::Present => !follows,
                Kind::Absent => broken_lines.is_empty(),
            }
        };
        let counted = self.found.iter().filter(|found| counts(found)).collect::<Vec<_>>();
        if counted.is_empty() {
            return None;
        }
        let list = counted.iter().take(MISTAKES_SHOWN_MAX);
        let list = list.map(|found| Mistake { position: Some(self.lines.position(found.offset)), message: found.message.clone() });
        Some(Mistakes { path: self.path.to_owned(), list: list.collect(), untold: counted.len().saturating_sub(MISTAKES_SHOWN_MAX) })
    }

    fn add(&mut self, offset: usize, kind: Kind, message: &str) {
        self.found.push(Found { offset, kind, message: without_secrets(message) });
    }
}

/// Which line a byte lies in.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect();
        Self { text, starts }
    }

    /// From 0.
    fn number(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// Where the line of that number is, without its end.
    fn span(&self, number: usize) -> Range<usize> {
        let [start, end] = [number, number + 1].map(|number| self.starts.get(number).copied().unwrap_or(self.text.len()));
        start..start + self.text[start..end].trim_end_matches(['\n', '\r']).len()
    }

    /// Line and column from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let number = self.number(offset);
        let start = self.starts.get(number).copied().unwrap_or(0);
        let characters = self.text.get(start..).unwrap_or_default().char_indices().take_while(|(index, _)| start + index < offset).count();
        (number + 1, characters + 1)
    }
}

/// Whether a broken line was meant to begin a section.
fn is_header(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('[') || (line.ends_with(']') && !line.contains('='))
}

/// Control characters must not reach somebody's terminal.
fn printable(character: char) -> char {
    if character.is_control() { '\u{fffd}' } else { character }
}

/// How keys and tokens begin.
const SECRET_PREFIXES: [&str; 3] = ["whsec_", "whsk_", "hwt_"];

/// The message with whatever looks like a key or a token left out, in whichever key of the file it was written.
fn without_secrets(message: &str) -> String {
    SECRET_PREFIXES.into_iter().fold(message.to_owned(), |message, prefix| without(&message, prefix))
}

fn without(message: &str, prefix: &str) -> String {
    let mut parts = message.split(prefix);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-'));
        clean.push_str(prefix);
        clean.push_str(if rest.len() < part.len() { "…" } else { "" });
        clean.push_str(rest);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let lines = Lines::of("a\r\näö = x\n");
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position("a\r\näö = ".len()), (2, 6));
        assert_eq!(lines.position("a\r\näö = x\n".len()), (3, 1));
        assert_eq!([0, 1, 2, 3].map(|number| lines.span(number)), [0..1, 3..11, 12..12, 12..12]);
        assert_eq!(Lines::of("").position(7), (1, 1));
    }

    #[test]
    fn mistakes_come_in_the_order_of_their_places() {
        let mut report = Report::new(Path::new("f.toml"), "a\nbb\n");
        report.wrong(3, "third");
        report.missing(0, "first");
        report.wrong(2, "second");
        assert_eq!(report.into_mistakes().unwrap().to_string(), "f.toml:1:1: first\nf.toml:2:1: second\nf.toml:2:2: third");
    }

    #[test]
    fn a_syntax_error_hides_what_only_follows_from_it() {
        let mut report = Report::new(Path::new("f.toml"), "[a]\nb\nc\n[d\ne\n");
        report.missing(0, "hidden: perhaps it stands in the unread part");
        report.syntax(4, "syntax b");
        report.wrong(4, "hidden: the same line");
        report.wrong(6, "c");
        report.syntax(9, "syntax d");
        report.wrong(11, "hidden: in the wrong section");
        assert_eq!(report.into_mistakes().unwrap().to_string(), "f.toml:2:1: syntax b\nf.toml:3:1: c\nf.toml:4:2: syntax d");
    }

    #[test]
    fn what_looks_like_a_secret_is_never_repeated() {
        assert_eq!(without_secrets("found \"whsec_MfKQ9r8G+/==\", twice whsec_x"), "found \"whsec_…\", twice whsec_…");
        assert_eq!(without_secrets("whsk_MfKQ+, then hwt_00ff"), "whsk_…, then hwt_…");
        assert_eq!(without_secrets("begins with \"whsec_\""), "begins with \"whsec_\"");
    }

    #[test]
    fn a_flood_of_mistakes_is_counted() {
        let mut report = Report::new(Path::new("f.toml"), "");
        (0..MISTAKES_SHOWN_MAX + 5).for_each(|_| report.wrong(0, "x"));
        let mistakes = report.into_mistakes().unwrap();
        assert_eq!((mistakes.list.len(), mistakes.untold), (MISTAKES_SHOWN_MAX, 5));
        assert!(mistakes.to_string().ends_with("\nf.toml: and 5 more"));
    }

    #[test]
    fn offending_text_is_cut_and_carries_no_control_characters() {
        let report = |text: &str| Report::new(Path::new("f"), text).shown(0..text.len());
        assert_eq!(report("\"10x\""), "\"10x\"");
        assert_eq!(report("[\n1]"), "[…");
        assert_eq!(report("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(report(&"ä".repeat(61)), format!("{}…", "ä".repeat(60)));
    }
}
