//! A received body as it is kept and read. It never says what the body means.

use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The beginning of a body: as text where it is UTF-8, else in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeptBody {
    /// UTF-8.
    #[serde(rename = "body")]
    Text(String),
    /// Anything else.
    #[serde(rename = "body_base64")]
    Base64(String),
}

impl KeptBody {
    /// The first `length_max` bytes of a body, cut between letters where it is text.
    #[must_use]
    pub fn of(body: &[u8], length_max: usize) -> Self {
        let cut = &body[..body.len().min(length_max)];
        match std::str::from_utf8(cut) {
            Ok(text) => Self::Text(text.to_owned()),
            // A letter of several bytes that was cut through by the bound.
            Err(error) if cut.len() < body.len() && error.error_len().is_none() => {
                Self::Text(String::from_utf8_lossy(&cut[..error.valid_up_to()]).into_owned())
            }
            Err(_) => Self::Base64(BASE64.encode(cut)),
        }
    }

    /// What is kept as people want to read it: JSON indented, other text as it is, bytes in base64.
    #[must_use]
    pub fn pretty(&self) -> String {
        match self {
            Self::Text(text) => indented_json(text).unwrap_or_else(|| text.clone()),
            Self::Base64(text) => text.clone(),
        }
    }

    /// Bytes that are kept.
    #[must_use]
    pub fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Base64(text) => {
                let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
                // It may come from a file or a daemon that somebody else wrote, and be no base64.
                BASE64.decode_len(text.len()).unwrap_or(0).saturating_sub(padding)
            }
        }
    }
}

/// `text` with a line for each member and element, when it is JSON and not nested too deeply to be read. Strings, numbers and the order of members
/// stay as they are: what was received is to be seen, not what a parser makes of it.
fn indented_json(text: &str) -> Option<String> {
    const DEPTH_MAX: usize = 24;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if in_string {
            out.push(letter);
            in_string = escaped || letter != '"';
            escaped = letter == '\\' && !escaped;
            continue;
        }
        match letter {
            '"' => {
                in_string = true;
                out.push(letter);
            }
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(end) = letters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                    continue;
                }
                depth += 1;
                if depth > DEPTH_MAX {
                    return None;
                }
                break_line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            letter if letter.is_ascii_whitespace() => {}
            letter => out.push(letter),
        }
    }
    Some(out)
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_as_text_where_it_is_text_and_cut_between_letters() {
        assert_eq!(KeptBody::of(b"abc", 2), KeptBody::Text("ab".into()));
        assert_eq!(KeptBody::of("aé".as_bytes(), 2), KeptBody::Text("a".into()));
        assert_eq!(KeptBody::of("aé".as_bytes(), 3), KeptBody::Text("aé".into()));
        assert_eq!(KeptBody::of(&[0xff, 0xfe], 9), KeptBody::Base64("//4=".into()));
        assert_eq!(KeptBody::of(&[0xff, 0xfe], 9).length(), 2);
        assert_eq!(["=", "====", "//4"].map(|text| KeptBody::Base64(text.into()).length()), [0; 3], "what is no base64 has no length");
        assert_eq!(KeptBody::of(&[b'a', 0xc3], 9), KeptBody::Base64("YcM=".into()), "an unfinished letter that was received so");
    }

    #[test]
    fn json_is_indented_without_touching_what_it_says() {
        let body = KeptBody::Text(r#"{"b":1.50,"a":[1,{"x":"q\"{,}\\"}],"e":{},"f":[ ]}"#.into());
        insta::assert_snapshot!(body.pretty(), @r#"
        {
          "b": 1.50,
          "a": [
            1,
            {
              "x": "q\"{,}\\"
            }
          ],
          "e": {},
          "f": []
        }
        "#);
        for other in ["{\"a\":", "<html>", "", &("[".repeat(8000) + &"]".repeat(8000))] {
            assert_eq!(KeptBody::Text(other.to_owned()).pretty(), other);
        }
    }
}
