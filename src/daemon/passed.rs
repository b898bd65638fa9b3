//! How many sockets systemd says in the environment that it passed. It never takes one.
//!
//! The protocol is sd_listen_fds(3). What the library makes of these variables is believed without bound, so it is asked only behind this.

use std::ffi::OsStr;
use std::str::FromStr;

use crate::limits::PASSED_SOCKETS_MAX;

/// The descriptor of the first socket where none is named, behind the three standard streams.
const FIRST: u32 = 3;

/// How many sockets `LISTEN_FDS` promises to the process `own`: none where it is not set, or `LISTEN_PID` names another process. `first` is `LISTEN_FDS_FIRST_FD`. What is set and empty is taken
/// for not set. Public for fuzzing.
///
/// # Errors
/// A sentence, where they name what can't be.
pub fn count(count: Option<&OsStr>, process: Option<&OsStr>, first: Option<&OsStr>, own: u32) -> Result<usize, String> {
    let [count, process, first] = [count, process, first].map(|text| text.filter(|text| !text.is_empty()));
    let Some(text) = count else { return Ok(0) };
    if process.is_some_and(|process| number::<u32>(process) != Some(own)) {
        return Ok(0);
    }
    let count = number::<usize>(text).filter(|count| *count <= PASSED_SOCKETS_MAX);
    let count = count.ok_or_else(|| format!("LISTEN_FDS is {text:?}, which is no number from 0 to {PASSED_SOCKETS_MAX}"))?;
    match first {
        Some(first) if count > 0 && number(first).is_none_or(|first: u32| !(FIRST..1 << 30).contains(&first)) => {
            Err(format!("LISTEN_FDS_FIRST_FD is {first:?}, which is no descriptor behind the standard streams"))
        }
        _ => Ok(count),
    }
}

fn number<T: FromStr>(text: &OsStr) -> Option<T> {
    text.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_for_another_process_are_none_and_what_can_not_be_is_refused() {
        let count = |texts: [&str; 3]| {
            let [fds, process, first] = texts.map(|text| Some(OsStr::new(text)));
            super::count(fds, process, first, 7)
        };
        assert_eq!([super::count(None, None, None, 7), count(["", "7", ""]), count(["", "", "9"])], [Ok(0), Ok(0), Ok(0)]);
        assert_eq!([count(["2", "7", ""]), count(["1", "", ""]), count(["2", "7", "9"])], [Ok(2), Ok(1), Ok(2)]);
        assert_eq!([count(["2", "8", ""]), count(["x", "8", "x"]), count(["2", "seven", ""])], [Ok(0), Ok(0), Ok(0)]);
        for (texts, words) in [
            (["2147483647", "7", ""], "LISTEN_FDS is \"2147483647\""),
            (["-1", "7", ""], "LISTEN_FDS is \"-1\""),
            (["two\n", "", ""], "LISTEN_FDS is \"two\\n\""),
            (["1", "7", "0"], "LISTEN_FDS_FIRST_FD is \"0\""),
            (["1", "7", "2147483647"], "LISTEN_FDS_FIRST_FD is \"2147483647\""),
        ] {
            let sentence = count(texts).unwrap_err();
            assert!(sentence.starts_with(words), "{sentence}");
        }
    }
}
