//! A mail address, in one spelling however it was written, so that two are equal when mail systems take them for the same mailbox. It never resolves anything.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::limits::{ADDRESS_LOCAL_PART_MAX, ADDRESS_SHOWN_MAX};

/// `local part@domain`, as RFC 5321 (4.1.2) and RFC 6531 write it.
///
/// * The domain is kept in its ASCII form (UTS 46, RFC 5891), without a final dot: `müller.example` and `xn--mller-kva.example.` are one, and case does
///   not matter. Address literals such as `[192.0.2.1]` are refused.
/// * The local part is its receiver's business alone (RFC 5321, 2.4), so its case and every other detail count. Only quotation marks and backslashes that
///   change nothing go (4.1.2): `"user"@example.com` is `user@example.com`, and `"a\b c"@…` is `"ab c"@…`.
/// * At most [`ADDRESS_LOCAL_PART_MAX`] bytes before the `@` (4.5.3.1.1) and a domain that fits DNS behind it.
///
/// Addresses are ordered by their bytes in this form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Arc<str>);

impl Address {
    /// Parses an address, without anything around it.
    ///
    /// # Errors
    /// A sentence that says what is missing or wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: String| {
            let cut = text.char_indices().nth(ADDRESS_SHOWN_MAX).map_or(text.len(), |(at, _)| at);
            format!("{:?} is not a mail address: {what}", &text[..cut])
        };
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| wrong("there is no @; expected such as user@example.com".into()))?;
        let local = canonical_local_part(local).map_err(wrong)?;
        let domain = canonical_domain(domain).map_err(wrong)?;
        Ok(Self(format!("{local}@{domain}").into()))
    }

    /// The form by which addresses are compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A spelling of the address that begins neither a comment nor a JSON object, so that it can stand alone on a line of a file.
    #[must_use]
    pub fn to_line(&self) -> String {
        match self.0.rsplit_once('@') {
            Some((local, domain)) if local.starts_with(['#', '{']) => format!("\"{local}\"@{domain}"),
            _ => self.0.to_string(),
        }
    }
}

/// The form that people read, such as `user@müller.example`.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or_default();
        write!(formatter, "{local}@{}", idna::domain_to_unicode(domain).0)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (atom, label) = ("[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+", "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?");
        let (pattern, description) = match generator.contract().is_serialize() {
            true => ("^.+@[a-z0-9.-]+$".to_owned(), "A mail address, its domain in the ASCII form."),
            false => (
                format!(r"^{atom}(\.{atom})*@({label}\.)*{label}$"),
                "A mail address; a local part in quotation marks, and other letters, are taken, too.",
            ),
        };
        json_schema!({ "type": "string", "description": description, "pattern": pattern, "examples": ["user@example.com"] })
    }
}

impl TryFrom<String> for Address {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.0.to_string()
    }
}

fn canonical_local_part(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("nothing stands before the @".into());
    }
    let local = match text.strip_prefix('"') {
        Some(quoted) => requoted(&unquoted(quoted)?),
        None if is_dot_string(text) => text.to_owned(),
        None => {
            return Err("before the @ only letters, digits, single dots and !#$%&'*+-/=?^_`{|}~ may stand without quotation marks".into());
        }
    };
    if local.len() > ADDRESS_LOCAL_PART_MAX {
        return Err(format!("{} bytes stand before the @, at most {ADDRESS_LOCAL_PART_MAX} may", local.len()));
    }
    Ok(local)
}

/// What stands between quotation marks; the first of them is gone already.
fn unquoted(quoted: &str) -> Result<String, String> {
    let mut content = String::with_capacity(quoted.len());
    let mut letters = quoted.chars();
    loop {
        let letter = match letters.next() {
            Some('"') => break,
            Some('\\') => letters.next(),
            letter => letter,
        };
        match letter {
            None => return Err("its quotation marks do not close before the @".into()),
            Some(letter) if letter.is_control() => return Err(format!("{letter:?} may not stand in it")),
            Some(letter) => content.push(letter),
        }
    }
    if letters.as_str().is_empty() { Ok(content) } else { Err("something stands between the closing quotation mark and the @".into()) }
}

/// With quotation marks where they are needed, and backslashes only before what would otherwise mean something else.
fn requoted(content: &str) -> String {
    if is_dot_string(content) {
        return content.to_owned();
    }
    let mut quoted = String::with_capacity(content.len() + 2);
    quoted.push('"');
    for letter in content.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

fn is_dot_string(text: &str) -> bool {
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom_letter))
}

fn is_atom_letter(letter: char) -> bool {
    let is_international = !letter.is_ascii() && !letter.is_control() && !letter.is_whitespace();
    letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(letter) || is_international
}

fn canonical_domain(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("there is no domain behind the @; expected such as user@example.com".into());
    }
    if text.starts_with('[') {
        return Err("behind the @ stands an address literal; expected a domain such as example.com".into());
    }
    // Real domains have hyphens in their third and fourth place, which the strictest form of IDNA refuses.
    let ascii = Uts46::new().to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::VerifyAllowRootDot);
    let ascii = ascii.map_err(|_| "what stands behind the @ is not a domain; expected such as example.com".to_owned())?;
    Ok(ascii.strip_suffix('.').unwrap_or(&ascii).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Address::parse(text).unwrap_or_else(|error| panic!("{error}")).as_str().to_owned()
    }

    #[test]
    fn addresses_are_the_same_exactly_where_mail_systems_take_them_for_one() {
        let same = [
            ("user@example.com", "user@EXAMPLE.Com"),
            ("user@example.com", "user@example.com."),
            ("user@example.com", "\"user\"@example.com"),
            ("user@example.com", "\"\\u\\s\\e\\r\"@example.com"),
            ("user@müller.example", "user@xn--mller-kva.example"),
            ("user@müller.example", "user@MÜLLER.example"),
            ("user@例え.jp", "user@例え。jp"),
            ("\"a b\"@example.com", "\"a\\ b\"@example.com"),
            ("\"a\\\"b\"@example.com", "\"\\a\\\"b\"@example.com"),
            ("first.last+tag@example.com", "\"first.last+tag\"@example.com"),
            ("ab@r3---sn.example.com", "ab@R3---sn.example.com"),
        ];
        for (one, other) in same {
            assert_eq!(canonical(one), canonical(other), "{one} {other}");
        }
        let different = [
            ("user@example.com", "User@example.com"),
            ("user@example.com", "user+tag@example.com"),
            ("user@example.com", "u.ser@example.com"),
            ("user@example.com", "user@mail.example.com"),
            ("müller@example.com", "muller@example.com"),
            ("\"a b\"@example.com", "\"a  b\"@example.com"),
            ("\"a@b\"@example.com", "ab@example.com"),
        ];
        for (one, other) in different {
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_the_message_says_what_is_missing() {
        let long = format!("{}@example.com", "x".repeat(65));
        let long_domain = format!("a@{}example.com", "x.".repeat(130));
        for (wrong, words) in [
            ("", "there is no @"),
            ("user", "there is no @"),
            ("user@", "no domain behind the @"),
            ("@example.com", "nothing stands before the @"),
            ("user name@example.com", "without quotation marks"),
            (".user@example.com", "single dots"),
            ("us..er@example.com", "single dots"),
            ("user@example..com", "is not a domain"),
            ("user@.", "is not a domain"),
            ("user@-a.example", "is not a domain"),
            ("user@exa mple.com", "is not a domain"),
            ("user@example.com,other", "is not a domain"),
            ("user@[192.0.2.1]", "address literal"),
            ("\"user@example.com", "do not close"),
            ("\"user\\\"@example.com", "do not close"),
            ("\"a\"b@example.com", "closing quotation mark"),
            ("\"a\nb\"@example.com", "may not stand in it"),
            ("a\u{a0}b@example.com", "without quotation marks"),
            (long.as_str(), "65 bytes"),
            (long_domain.as_str(), "is not a domain"),
        ] {
            let error = Address::parse(wrong).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
        let error = Address::parse(&"x".repeat(100_000)).unwrap_err();
        assert!(error.len() < 500, "{error}");
    }

    #[test]
    fn the_longest_are_taken_whole() {
        let domain = format!("{}example.com", "x.".repeat(121));
        let longest = format!("{}@{domain}", "x".repeat(ADDRESS_LOCAL_PART_MAX));
        assert_eq!((canonical(&longest).len(), domain.len()), (longest.len(), 253));
        assert!(longest.len() <= crate::limits::ADDRESS_LENGTH_MAX);
    }

    #[test]
    fn people_read_the_domain_in_their_own_letters() {
        assert_eq!(Address::parse("用户@xn--mller-kva.example").unwrap().to_string(), "用户@müller.example");
        assert_eq!(Address::parse("#a@example.com").unwrap().to_line(), "\"#a\"@example.com");
        assert_eq!(Address::parse("a#@example.com").unwrap().to_line(), "a#@example.com");
    }

    proptest! {
        #[test]
        fn one_spelling_is_enough(text in "(\"?[a-zA-Z0-9.#{@ \\\\\"ü]{1,9}\"?)@[a-zA-Zü.-]{1,9}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(&Address::parse(address.as_str()), &Ok(address.clone()), "{}", text);
                prop_assert_eq!(&Address::parse(&address.to_line()), &Ok(address.clone()), "{}", text);
                let line = address.to_line();
                let stands_alone = !line.starts_with(['#', '{']);
                prop_assert!(stands_alone, "{}", line);
            }
        }

        #[test]
        fn arbitrary_text_is_no_panic(text in "\\PC{0,80}") {
            let _ = Address::parse(&text);
        }
    }
}
