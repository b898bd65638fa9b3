//! The shape of the file: sections, keys, and values of the right type, each with its place. It never knows what a value means.
//!
//! A [`Section`] remembers every key that it was asked for. What was not asked for is unknown, so the code that reads a section
//! is the only list of its keys.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::mistakes::Report;
use crate::model::nearest;

/// A line of broken TOML with one of these words may hold something that nobody else should read.
const CONFIDENTIAL_WORDS: [&str; 9] = ["secret", "whsec", "token", "auth", "password", "header", "key", "cookie", "bearer"];

/// How the parser calls a key without a value.
const KEY_ALONE: &str = "key with no value";
/// Behind a line with one of these the parser reads nothing more.
const STOPS: [&str; 3] = [KEY_ALONE, "unclosed table", "unclosed array table"];

/// A value with its place in the file.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// Reports every syntax error, and returns the text without the lines that would keep the parser from reading on. Their
/// places are filled with spaces, so that everything else stays where it is.
pub(super) fn report_syntax<'a>(text: &'a str, report: &mut Report<'_>) -> Cow<'a, str> {
    let mut errors = DeTable::parse_recoverable(text).1;
    let stops = errors.iter().filter(|error| STOPS.iter().any(|stop| error.message().starts_with(stop)));
    let stops = stops.map(|error| report.line_span(start_of(error, text)).start).collect::<HashSet<_>>();
    let readable = if stops.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(without_lines(text, &stops)) };
    if let Cow::Owned(readable) = &readable {
        errors.extend(DeTable::parse_recoverable(readable).1);
    }
    errors.sort_by_key(|error| start_of(error, text));
    // The first error of a line is the mistake; the others say how the parser got over it.
    errors.dedup_by_key(|error| report.line_span(start_of(error, text)).start);
    for error in errors {
        let start = start_of(&error, text);
        let line = text.get(report.line_span(start)).unwrap_or_default();
        let shown = report.shown(error.span().unwrap_or_default());
        report.syntax(start, syntax_message(error.message(), line, &shown));
    }
    readable
}

/// What could be understood of a text whose syntax errors are reported.
pub(super) fn table(text: &str) -> DeTable<'_> {
    DeTable::parse_recoverable(text).0.into_inner()
}

/// The text with spaces in place of the lines that start there.
fn without_lines(text: &str, starts: &HashSet<usize>) -> String {
    let mut readable = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        if !starts.contains(&readable.len()) {
            readable.push_str(line);
            continue;
        }
        readable.extend(std::iter::repeat_n(' ', content.len()));
        readable.push_str(&line[content.len()..]);
    }
    readable
}

fn start_of(error: &toml::de::Error, text: &str) -> usize {
    error.span().map_or(text.len(), |span| span.start)
}

fn syntax_message(message: &str, line: &str, shown: &str) -> String {
    let lower = line.to_lowercase();
    let is_confidential = CONFIDENTIAL_WORDS.iter().any(|word| lower.contains(word));
    let shown = if is_confidential || shown.is_empty() { String::new() } else { format!(": {shown}") };
    match message {
        "duplicate key" => format!("this is set twice{shown}"),
        _ if message.starts_with(KEY_ALONE) => "expected `=` and a value behind this key".into(),
        "string values must be quoted, expected literal string" if shown.is_empty() && !is_confidential => "the value is missing".into(),
        // It is not repeated: what stands there may be the value of a header.
        "string values must be quoted, expected literal string" => "text needs quotes around it".into(),
        "invalid basic string, expected `\"`" | "invalid literal string, expected `'`" => "the closing quote is missing".into(),
        other => match other.strip_prefix("unclosed ").and_then(|rest| rest.split_once(", expected ")) {
            Some((what, bracket)) => format!("the closing {bracket} of this {what} is missing"),
            None => format!("{other}{shown}"),
        },
    }
}

/// One table of the file while it is being read.
pub(super) struct Section<'a> {
    /// How people call it: `[server]`, `[[webhook]]`.
    name: String,
    /// Where it begins.
    offset: usize,
    table: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The file itself.
    pub(super) fn whole(table: &'a DeTable<'a>) -> Self {
        Self { name: "the file".into(), offset: 0, table: Some(table), asked: Vec::new() }
    }

    /// The table that `value` is, under that name.
    pub(super) fn of(value: &'a Value<'a>, name: &str, report: &mut Report<'_>) -> Option<Self> {
        let span = value.span();
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(value, name, "a table", report);
            return None;
        };
        Some(Self { name: name.to_owned(), offset: span.start, table: Some(table), asked: Vec::new() })
    }

    /// Where it begins.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// The section `[key]`; an empty one when it is left out.
    pub(super) fn section(&mut self, key: &'static str, report: &mut Report<'_>) -> Self {
        let name = format!("[{key}]");
        let section = self.value(key).and_then(|value| Self::of(value, &name, report));
        section.unwrap_or(Self { name, offset: 0, table: None, asked: Vec::new() })
    }

    /// The sections `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str, report: &mut Report<'_>) -> Vec<Self> {
        let name = format!("[[{key}]]");
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Array(array) => array.iter().filter_map(|item| Self::of(item, &name, report)).collect(),
            DeValue::Table(_) => {
                report.wrong(value.span().start, format!("there can be several of these: write {name}, with two brackets"));
                Vec::new()
            }
            _ => {
                wrong_type(value, key, &format!("sections {name}"), report);
                Vec::new()
            }
        }
    }

    /// The value of a key. What the parser could not understand counts as left out: it is in the report already.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table?.get(key).filter(|value| value.span() != (0..0))
    }

    /// A text, with its place.
    pub(super) fn text(&mut self, key: &'static str, expected: &str, report: &mut Report<'_>) -> Option<(&'a str, Range<usize>)> {
        let value = self.value(key)?;
        Some((text(value, key, expected, report)?, value.span()))
    }

    /// A text that means something. `parse` answers a sentence when it does not.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        report: &mut Report<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, span) = self.text(key, expected, report)?;
        parse(text).map_err(|sentence| report.wrong(span.start, format!("{key}: {sentence}"))).ok()
    }

    /// A whole number within bounds.
    pub(super) fn integer(&mut self, key: &'static str, bounds: RangeInclusive<u32>, report: &mut Report<'_>) -> Option<u32> {
        let value = self.value(key)?;
        integer(value, bounds, key, report)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            wrong_type(value, key, "true or false", report);
        }
        flag
    }

    /// A list.
    pub(super) fn list(&mut self, key: &'static str, expected: &str, report: &mut Report<'_>) -> Option<(&'a DeArray<'a>, usize)> {
        let value = self.value(key)?;
        let Some(list) = value.get_ref().as_array() else {
            wrong_type(value, key, expected, report);
            return None;
        };
        Some((list, value.span().start))
    }

    /// Ends the reading: reports the keys that nobody asked for, and which of the `required` ones are missing.
    pub(super) fn finish(self, required: &[&str], report: &mut Report<'_>) {
        let Some(table) = self.table else { return };
        let mut suggested = Vec::new();
        for key in table.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let near = nearest(name, self.asked.iter().copied());
            suggested.extend(near);
            report.wrong(key.span().start, self.unknown_key(name, near));
        }
        // Who misspelt a key need not be told that it is missing, too.
        for key in required.iter().filter(|key| !table.contains_key(**key) && !suggested.contains(key)) {
            report.missing(self.offset, format!("{} has no {key:?}", self.name));
        }
    }

    fn unknown_key(&self, name: &str, near: Option<&str>) -> String {
        match near {
            Some(near) => format!("unknown key {name:?} in {}; did you mean {near:?}?", self.name),
            None => {
                let mut known = self.asked.clone();
                known.sort_unstable();
                format!("unknown key {name:?} in {}; there are: {}", self.name, known.join(", "))
            }
        }
    }
}

/// The text that a value is.
pub(super) fn text<'a>(value: &'a Value<'a>, key: &str, expected: &str, report: &mut Report<'_>) -> Option<&'a str> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        wrong_type(value, key, expected, report);
    }
    text
}

/// The whole number within bounds that a value is.
pub(super) fn integer(value: &Value<'_>, bounds: RangeInclusive<u32>, key: &str, report: &mut Report<'_>) -> Option<u32> {
    let integer = value.get_ref().as_integer().and_then(|integer| i128::from_str_radix(integer.as_str(), integer.radix()).ok());
    let within = integer.and_then(|integer| u32::try_from(integer).ok()).filter(|integer| bounds.contains(integer));
    if within.is_none() {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        wrong_type(value, key, &expected, report);
    }
    within
}

/// Reports a value that is something else than what its key takes.
pub(super) fn wrong_type(value: &Value<'_>, key: &str, expected: &str, report: &mut Report<'_>) {
    let span = value.span();
    let message = match value.get_ref() {
        DeValue::Table(_) => format!("{key}: expected {expected}, found a table"),
        _ => format!("{key}: expected {expected}, found {}", report.shown(span.clone())),
    };
    report.wrong(span.start, message);
}
