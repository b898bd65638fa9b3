//! The key that signs what a webhook receives. It never shows itself: not in `Debug`, not in an error.

use std::fmt;

use data_encoding::BASE64;
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";

/// A symmetric signing key of Standard Webhooks 1.0.0: 24 to 64 bytes, written `whsec_` + base64. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Parses `whsec_…`, with or without surrounding white space.
    ///
    /// # Errors
    /// A sentence that says what is expected and repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or("a secret begins with \"whsec_\"")?;
        let key = BASE64.decode(encoded.as_bytes()).map_err(|_| "what follows \"whsec_\" is not base64")?;
        Self::from_bytes(key)
    }

    /// Takes the key's bytes.
    ///
    /// # Errors
    /// A sentence when there are fewer than 24 or more than 64.
    pub fn from_bytes(key: Vec<u8>) -> Result<Self, String> {
        let key = Zeroizing::new(key);
        if !(24..=64).contains(&key.len()) {
            return Err(format!("a secret has 24 to 64 bytes behind its base64, this one has {}", key.len()));
        }
        Ok(Self(key))
    }

    /// The key itself, for signing and storing.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `whsec_…`, for the one moment in which its owner may see it.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", BASE64.encode(&self.0)))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_survives_its_text_form_and_stays_out_of_debug() {
        let text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let secret = Secret::parse(text).unwrap();
        assert_eq!(secret.expose_text().as_str(), text);
        assert_eq!(secret.expose_bytes().len(), 24);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn errors_say_what_is_expected_and_never_repeat_the_text() {
        for wrong in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_???", "whsec_c2hvcnQ="] {
            let error = Secret::parse(wrong).unwrap_err();
            assert!(wrong.is_empty() || !error.contains(wrong.trim_start_matches(PREFIX)), "{error}");
        }
    }
}
