//! Values as words for people: times, sizes, and text from outside made harmless. It never prints.

use std::borrow::Cow;

use serde::Serialize;
use url::form_urlencoded::byte_serialize;

use crate::time::UnixMillis;

/// `text` on one line, with everything made visible that a terminal would obey instead of show.
///
/// Titles, URLs and responses come from outside: an escape sequence in one could rename the window, hide text or
/// answer the next question. C0 controls become their picture (`␛`), the others their code.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_unsafe) { Cow::Owned(text.chars().map(harmless).collect()) } else { Cow::Borrowed(text) }
}

/// A name as one part of a path: there a plus sign is itself, and a space is %20 only.
pub(super) fn in_path(name: &str) -> String {
    byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20")
}

/// As [`plain`], line by line.
pub(super) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Pretty JSON that is safe to look at: serde_json leaves DEL, C1 controls and direction marks as they are.
///
/// # Errors
/// When the value can't be written as JSON.
pub(super) fn pretty_json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(escaped(serde_json::to_string_pretty(value)?))
}

/// One line of JSON, as safe to look at as [`pretty_json`].
///
/// # Errors
/// When the value can't be written as JSON.
pub(super) fn json_line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value).map(escaped)
}

/// JSON or TOML with every letter in its texts escaped that [`plain`] would show: both know such an escape, so it says the same.
pub(super) fn escaped(text: String) -> String {
    let escape = |letter: char| match letter {
        '\n' => Cow::Borrowed("\n"),
        letter if is_unsafe(letter) => Cow::Owned(format!("\\u{:04x}", u32::from(letter))),
        letter => Cow::Owned(letter.to_string()),
    };
    if text.chars().any(|letter| letter != '\n' && is_unsafe(letter)) { text.chars().map(escape).collect() } else { text }
}

fn is_unsafe(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn harmless(letter: char) -> Cow<'static, str> {
    match letter {
        '\u{0}'..='\u{1f}' => Cow::Owned(char::from_u32(0x2400 + u32::from(letter)).unwrap_or(char::REPLACEMENT_CHARACTER).to_string()),
        '\u{7f}' => Cow::Borrowed("\u{2421}"),
        letter if is_unsafe(letter) => Cow::Owned(format!("<U+{:04X}>", u32::from(letter))),
        letter => Cow::Owned(letter.to_string()),
    }
}

/// At most `length` letters of `text`, with a mark where it was cut.
pub(super) fn shortened(text: &str, length: usize) -> Cow<'_, str> {
    match text.char_indices().nth(length) {
        Some((cut, _)) => Cow::Owned(format!("{}…", &text[..cut])),
        None => Cow::Borrowed(text),
    }
}

/// `in 96 s`, `3 min ago`, `now`.
pub(super) fn relative(moment: UnixMillis, now: UnixMillis) -> String {
    if moment.since_ms(now) >= 1000 {
        return format!("in {}", span(moment.since_ms(now)));
    }
    if now.since_ms(moment) >= 1000 {
        return format!("{} ago", span(now.since_ms(moment)));
    }
    "now".into()
}

/// A length of time in its largest fitting unit: `96 s`, `3 min`, `5 h`, `3 days`.
pub(super) fn span(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        0 => format!("{milliseconds} ms"),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// A measured time with three digits: `217 µs`, `1.23 ms`, `10.0 s`.
pub(super) fn measured(microseconds: u64) -> String {
    let (whole, unit) = match microseconds {
        0..1000 => return format!("{microseconds} µs"),
        1000..1_000_000 => (1000, "ms"),
        _ => (1_000_000, "s"),
    };
    // Hundredths, in integers: a float would round 9 999 µs to "10.00 ms" and 999 999 µs to "1000 ms".
    let hundredths = microseconds / (whole / 100);
    match hundredths {
        0..1000 => format!("{}.{:02} {unit}", hundredths / 100, hundredths % 100),
        1000..10_000 => format!("{}.{} {unit}", hundredths / 100, hundredths / 10 % 10),
        _ => format!("{} {unit}", hundredths / 100),
    }
}

/// `1 event`, `2 events`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        assert_eq!(plain("a\u{1b}]0;evil\u{7}b\r\nc\t\u{7f}"), "a␛]0;evil␇b␍␊c␉␡");
        assert_eq!(plain("\u{9b}31m \u{202e}txt"), "<U+009B>31m <U+202E>txt");
        assert!(matches!(plain("müller 世界 👋"), Cow::Borrowed(_)));
        assert_eq!(plain_lines("one\r\ntwo\u{1b}[2J"), "one\ntwo␛[2J");
    }

    #[test]
    fn json_for_a_terminal_is_the_same_value_without_controls() {
        let value = serde_json::json!({ "title": "a\u{9b}b\u{7f}\u{202e}c\u{1b}\n" });
        let json = pretty_json(&value).unwrap();
        assert!(json.chars().all(|letter| letter == '\n' || !is_unsafe(letter)), "{json}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), value);
    }

    #[test]
    fn times_are_told_as_people_do() {
        let now = UnixMillis(1_000_000_000_000);
        let ago = |seconds: u64| relative(UnixMillis(now.0 - seconds * 1000), now);
        assert_eq!(
            [0, 1, 119, 120, 7199, 7200, 172_800].map(ago),
            ["now", "1 s ago", "119 s ago", "2 min ago", "119 min ago", "2 h ago", "2 days ago"]
        );
        assert_eq!(relative(now.plus_ms(96_999), now), "in 96 s");
        assert_eq!(relative(now.plus_ms(999), now), "now");
    }

    #[test]
    fn measurements_have_three_digits() {
        let cases = [0, 999, 1000, 9_999, 12_345, 217_000, 999_999, 1_234_567, 10_000_000, 300_000_000];
        assert_eq!(
            cases.map(measured),
            ["0 µs", "999 µs", "1.00 ms", "9.99 ms", "12.3 ms", "217 ms", "999 ms", "1.23 s", "10.0 s", "300 s"]
        );
    }

    #[test]
    fn long_text_is_cut_between_letters() {
        assert_eq!(shortened("müller", 2), "mü…");
        assert_eq!(shortened("müller", 6), "müller");
    }
}
