//! The keys that sign what a webhook receives, and those that a receiver checks it with. A key never shows itself: not in `Debug`, not in an error.
//!
//! A key is wiped when it is dropped. Copies remain where no one can wipe them: in the text of the configuration and in a request's JSON while they are parsed, in whatever a parser
//! moved on its way, in the answer that shows a new key once, and in the store's buffers until they are used again. The process is not dumpable, so that none of them reaches a file.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{constant_time, hmac};
use data_encoding::BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const SHARED_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
/// Bytes of an ed25519 seed, and of a public key. A private key is one behind the other.
const HALF: usize = 32;
/// What the kept form of a `v1a` key begins with.
const FORM_PAIR: u8 = 1;
/// Bytes of the longest kept form.
pub(super) const FORM_SIZE_MAX: usize = 1 + 2 * HALF;

/// How requests are signed, as Standard Webhooks 1.0.0 calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Signing {
    /// HMAC-SHA256 with a key that the receiver has, too.
    #[default]
    V1,
    /// ed25519: the receiver has the public half only, and can sign nothing.
    V1a,
}

impl Signing {
    /// Parses `v1` or `v1a`.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "v1" => Ok(Self::V1),
            "v1a" => Ok(Self::V1a),
            _ => Err(format!("expected \"v1\" (HMAC-SHA256) or \"v1a\" (ed25519), found {}", super::shown(text))),
        }
    }

    /// `v1` or `v1a`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1a => "v1a",
        }
    }
}

impl fmt::Display for Signing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A signing key of Standard Webhooks 1.0.0. Of `v1`: 24 to 64 bytes, written `whsec_` + base64. Of `v1a`: an ed25519 seed and the public key that belongs to it, written `whsk_` + base64
/// of both, or of the seed alone. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    signing: Signing,
    /// As it is kept, see [`Secret::kept_form`].
    form: Zeroizing<Vec<u8>>,
}

impl Secret {
    /// Parses `whsec_…` or `whsk_…`, with or without surrounding white space.
    ///
    /// # Errors
    /// A sentence that says what is expected and repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(encoded) = text.strip_prefix(PRIVATE_PREFIX) {
            return Self::from_key_pair(&decoded(encoded, PRIVATE_PREFIX)?);
        }
        if text.starts_with(PUBLIC_PREFIX) {
            return Err("\"whpk_\" begins a public key, which signs nothing; the private one begins with \"whsk_\"".into());
        }
        let encoded = text.strip_prefix(SHARED_PREFIX).ok_or("a secret begins with \"whsec_\", or \"whsk_\" for v1a")?;
        Self::from_bytes(std::mem::take(&mut *decoded(encoded, SHARED_PREFIX)?))
    }

    /// Takes the bytes of a `v1` key.
    ///
    /// # Errors
    /// A sentence when there are fewer than 24 or more than 64.
    pub fn from_bytes(key: Vec<u8>) -> Result<Self, String> {
        let key = Zeroizing::new(key);
        if !(24..=64).contains(&key.len()) {
            return Err(format!("a secret has 24 to 64 bytes behind its base64, this one has {}", key.len()));
        }
        Ok(Self { signing: Signing::V1, form: key })
    }

    /// Takes the bytes of a `v1a` key: the seed alone, or with its public key behind it.
    ///
    /// # Errors
    /// A sentence when there are others than 32 or 64 of them, or when the public key is that of another seed.
    pub fn from_key_pair(bytes: &[u8]) -> Result<Self, String> {
        let (seed, public) = bytes.split_at_checked(HALF).unwrap_or((&[], bytes));
        if seed.is_empty() || (!public.is_empty() && public.len() != HALF) {
            return Err(format!("a \"whsk_\" key has 64 bytes behind its base64, or the 32 of its seed, this one has {}", bytes.len()));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| "what follows \"whsk_\" is no ed25519 key")?;
        let derived = pair.public_key().as_ref();
        if !public.is_empty() && public != derived {
            return Err("the two halves of this \"whsk_\" key do not belong together".into());
        }
        let mut form = Zeroizing::new(Vec::with_capacity(FORM_SIZE_MAX));
        form.push(FORM_PAIR);
        form.extend_from_slice(seed);
        form.extend_from_slice(derived);
        Ok(Self { signing: Signing::V1a, form })
    }

    /// Takes a key in its kept form.
    ///
    /// # Errors
    /// A sentence when it is none.
    pub fn from_kept_form(form: &[u8]) -> Result<Self, String> {
        match form {
            [FORM_PAIR, pair @ ..] if form.len() == FORM_SIZE_MAX => Self::from_key_pair(pair),
            _ => Self::from_bytes(form.to_vec()),
        }
    }

    /// The bytes in which the store keeps it: a `v1` key as it is, and before a `v1a` key a 1, with which it has 65 bytes, one more than any `v1` key.
    #[must_use]
    pub fn kept_form(&self) -> &[u8] {
        &self.form
    }

    /// How it signs.
    #[must_use]
    pub fn signing(&self) -> Signing {
        self.signing
    }

    /// Why a webhook with this secret can't be said to sign so, if it can't.
    ///
    /// # Errors
    /// A sentence that says which of the two to change.
    pub fn agree_with(&self, said: &str) -> Result<(), String> {
        let own = self.signing;
        if said == own.as_str() {
            return Ok(());
        }
        Err(format!("the secret of this webhook is one of {own}; leave this out, or name the other kind of secret"))
    }

    /// Signs `head` and `body`, one behind the other.
    ///
    /// # Panics
    /// Never: the key of a secret is one for its kind.
    #[must_use]
    pub fn sign(&self, head: &[u8], body: &[u8]) -> Vec<u8> {
        match self.signing {
            Signing::V1 => {
                let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.expose_bytes()));
                context.update(head);
                context.update(body);
                context.sign().as_ref().to_vec()
            }
            Signing::V1a => {
                let seed = self.expose_bytes().first_chunk::<HALF>().expect("a v1a key begins with its seed");
                let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
                // ed25519 goes over a message twice, so it has to be in one piece.
                pair.sign(&[head, body].concat()).as_ref().to_vec()
            }
        }
    }

    /// The key itself, for signing: of `v1a` seed and public key.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        match self.signing {
            Signing::V1 => &self.form,
            Signing::V1a => &self.form[1..],
        }
    }

    /// `whsec_…` or `whsk_…`, for the one moment in which its owner may see it.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let prefix = match self.signing {
            Signing::V1 => SHARED_PREFIX,
            Signing::V1a => PRIVATE_PREFIX,
        };
        // Of the right size from the beginning: a text that grows leaves what it was behind.
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + BASE64.encode_len(self.form.len())));
        text.push_str(prefix);
        BASE64.encode_append(self.expose_bytes(), &mut text);
        text
    }

    /// `whpk_…`: what the receiver checks with, which is no secret. None of `v1`, whose key is one.
    #[must_use]
    pub fn public_key(&self) -> Option<String> {
        let CheckingKey::Public(public) = CheckingKey::from(self) else { return None };
        Some(format!("{PUBLIC_PREFIX}{}", BASE64.encode(&public)))
    }
}

fn decoded(encoded: &str, prefix: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let key = BASE64.decode(encoded.as_bytes()).map_err(|_| format!("what follows {prefix:?} is not base64"))?;
    Ok(Zeroizing::new(key))
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// What a receiver checks signatures with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckingKey {
    /// The very key that made a `v1` signature.
    Shared(Secret),
    /// The public half of the one that made a `v1a` signature.
    Public([u8; HALF]),
}

impl CheckingKey {
    /// Parses `whsec_…` or `whpk_…`.
    ///
    /// # Errors
    /// A sentence that says what is expected and repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with(PRIVATE_PREFIX) {
            return Err("\"whsk_\" begins a private key, which a receiver never needs: its public one begins with \"whpk_\"".into());
        }
        let Some(encoded) = text.strip_prefix(PUBLIC_PREFIX) else {
            return Secret::parse(text).map(Self::Shared).map_err(|sentence| sentence.replace("whsk_", "whpk_"));
        };
        let key = decoded(encoded, PUBLIC_PREFIX)?;
        let key = <[u8; HALF]>::try_from(key.as_slice());
        key.map(Self::Public).map_err(|_| format!("a public key has {HALF} bytes behind \"whpk_\" and its base64"))
    }

    /// Whether any of these signatures, all of its kind, is one of `head` and `body`. None tells by the time it takes how nearly it is one.
    #[must_use]
    pub fn fits<'a>(&self, head: &[u8], body: &[u8], mut signatures: impl Iterator<Item = &'a [u8]>) -> bool {
        match self {
            Self::Shared(secret) => {
                let expected = secret.sign(head, body);
                signatures.any(|signature| constant_time::verify_slices_are_equal(&expected, signature).is_ok())
            }
            Self::Public(public) => {
                let message = [head, body].concat();
                let public = UnparsedPublicKey::new(&ED25519, public);
                signatures.any(|signature| public.verify(&message, signature).is_ok())
            }
        }
    }

    /// Which signatures it checks.
    #[must_use]
    pub fn signing(&self) -> Signing {
        match self {
            Self::Shared(_) => Signing::V1,
            Self::Public(_) => Signing::V1a,
        }
    }
}

impl From<&Secret> for CheckingKey {
    fn from(secret: &Secret) -> Self {
        let public = match secret.signing {
            Signing::V1 => None,
            Signing::V1a => secret.form.last_chunk::<HALF>(),
        };
        public.map_or_else(|| Self::Shared(secret.clone()), |public| Self::Public(*public))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    #[test]
    fn a_secret_survives_its_text_form_and_stays_out_of_debug() {
        for (text, signing, bytes) in [("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Signing::V1, 24), (PRIVATE, Signing::V1a, 64)] {
            let secret = Secret::parse(text).unwrap();
            assert_eq!(secret.expose_text().as_str(), text);
            assert_eq!((secret.signing(), secret.expose_bytes().len()), (signing, bytes));
            assert_eq!(format!("{secret:?}"), "Secret(…)");
            assert_eq!(Secret::from_kept_form(secret.kept_form()).unwrap(), secret);
        }
    }

    #[test]
    fn a_pair_shows_its_public_half_and_is_made_whole_from_its_seed() {
        let pair = Secret::parse(PRIVATE).unwrap();
        assert_eq!(pair.public_key().as_deref(), Some(PUBLIC));
        assert_eq!(Secret::from_key_pair(&pair.expose_bytes()[..32]).unwrap(), pair);
        assert_eq!(CheckingKey::parse(PUBLIC).unwrap(), CheckingKey::from(&pair));
        let shared = Secret::from_bytes(vec![1; 64]).unwrap();
        assert_eq!(shared.public_key(), None);
        assert_eq!(CheckingKey::parse(&shared.expose_text()).unwrap(), CheckingKey::from(&shared));
    }

    #[test]
    fn errors_say_what_is_expected_and_never_repeat_the_text() {
        let mut halves = Secret::parse(PRIVATE).unwrap().expose_bytes().to_vec();
        halves[40] ^= 1;
        let halves = format!("whsk_{}", BASE64.encode(&halves));
        for (wrong, words) in [
            ("", "begins with"),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begins with"),
            ("whsec_???", "base64"),
            ("whsec_c2hvcnQ=", "24 to 64"),
            ("whsk_???", "base64"),
            ("whsk_c2hvcnQ=", "has 64 bytes"),
            (&halves, "do not belong together"),
            (PUBLIC, "a public key"),
        ] {
            let error = Secret::parse(wrong).unwrap_err();
            let key = wrong.split_once('_').map_or(wrong, |(_, key)| key);
            assert!(error.contains(words) && (key.is_empty() || !error.contains(key)), "{error}");
        }
        assert!(CheckingKey::parse(PRIVATE).unwrap_err().contains("never needs"));
        assert!(CheckingKey::parse("whpk_c2hvcnQ=").unwrap_err().contains("32 bytes"));
        assert!(CheckingKey::parse("x").unwrap_err().contains("\"whpk_\""));
    }
}
