//! Secrets, and texts that may hold some, as they are stored: in the clear, or sealed with a key that lies elsewhere. It never makes a random byte itself, and a key never shows itself.
//!
//! | bytes of a sealed secret | what |
//! | --- | --- |
//! | 1 | 2, which no other kept form of this length begins with |
//! | 12 | a nonce, random |
//! | 66 | AES-256-GCM over: the length of the kept form, the form, zeros |
//! | 16 | the tag, with the webhook's number as associated data: a sealed secret is worth nothing under another webhook |
//!
//! A sealed text is `sealed:`, with which no JSON and no TOML begins, and base64 of a random nonce, the text under AES-256-GCM, and the tag, with the place that the text is for as associated data.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use data_encoding::BASE64;
use zeroize::Zeroizing;

use super::secret::FORM_SIZE_MAX;
use super::{Secret, WebhookNumber};

const FORM_SEALED: u8 = 2;
const KEY_SIZE: usize = 32;
const PADDED_SIZE: usize = 1 + FORM_SIZE_MAX;
const TAG_SIZE: usize = 16;
const SEALED_SIZE: usize = 1 + NONCE_LEN + PADDED_SIZE + TAG_SIZE;
/// What a sealed text begins with.
const SEALED_TEXT: &str = "sealed:";
/// What is said of a secret that no key opens.
const CLOSED: &str = "no key opens it";

// A kept form of that length is no key in the clear.
const _: () = assert!(SEALED_SIZE > FORM_SIZE_MAX);

/// A secret as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum KeptSecret {
    /// In the clear.
    Open(Secret),
    /// Sealed with a [`SealingKey`].
    Sealed([u8; SEALED_SIZE]),
}

impl KeptSecret {
    /// Takes what [`KeptSecret::as_bytes`] gave.
    ///
    /// # Errors
    /// A sentence when it is something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        match <[u8; SEALED_SIZE]>::try_from(bytes) {
            Ok(sealed) if sealed[0] == FORM_SEALED => Ok(Self::Sealed(sealed)),
            _ => Secret::from_kept_form(bytes).map(Self::Open),
        }
    }

    /// The bytes that are written down.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Open(secret) => secret.kept_form(),
            Self::Sealed(sealed) => sealed,
        }
    }

    /// The secret, where it is not sealed.
    #[must_use]
    pub fn open(&self) -> Option<&Secret> {
        match self {
            Self::Open(secret) => Some(secret),
            Self::Sealed(_) => None,
        }
    }
}

impl fmt::Debug for KeptSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Open(_) => "Secret(…)",
            Self::Sealed(_) => "Sealed(…)",
        })
    }
}

/// The key that secrets are sealed with where they are stored. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey(Zeroizing<[u8; KEY_SIZE]>);

impl SealingKey {
    /// Parses base64 of 32 bytes, with or without surrounding white space.
    ///
    /// # Errors
    /// A sentence that says what is expected and repeats nothing of the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected base64 of 32 random bytes on each line, as `head -c 32 /dev/urandom | base64` prints them";
        let key = Zeroizing::new(BASE64.decode(text.trim().as_bytes()).map_err(|_| expected)?);
        let key = <[u8; KEY_SIZE]>::try_from(key.as_slice()).map_err(|_| expected)?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// Seals the secret of that webhook. The nonce has to be random: one that comes twice gives both secrets away.
    ///
    /// # Panics
    /// Never: key and buffer are of the sizes that the cipher takes.
    #[must_use]
    pub fn seal(&self, secret: &Secret, webhook: WebhookNumber, nonce: [u8; NONCE_LEN]) -> KeptSecret {
        let form = secret.kept_form();
        let mut padded = Zeroizing::new([0; PADDED_SIZE]);
        padded[0] = u8::try_from(form.len()).expect("a kept form has 65 bytes at most");
        padded[1..=form.len()].copy_from_slice(form);
        let associated = Aad::from(webhook.0.to_be_bytes());
        let tag = self.cipher().seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), associated, padded.as_mut_slice());
        let tag = tag.expect("AES-256-GCM seals every buffer of this size");
        let mut sealed = [FORM_SEALED; SEALED_SIZE];
        sealed[1..=NONCE_LEN].copy_from_slice(&nonce);
        sealed[1 + NONCE_LEN..SEALED_SIZE - TAG_SIZE].copy_from_slice(padded.as_slice());
        sealed[SEALED_SIZE - TAG_SIZE..].copy_from_slice(tag.as_ref());
        KeptSecret::Sealed(sealed)
    }

    /// The secret of that webhook.
    ///
    /// # Errors
    /// A sentence when it was sealed with another key, for another webhook, or was changed since.
    pub fn open(&self, kept: &KeptSecret, webhook: WebhookNumber) -> Result<Secret, String> {
        let sealed = match kept {
            KeptSecret::Open(secret) => return Ok(secret.clone()),
            KeptSecret::Sealed(sealed) => sealed,
        };
        let nonce = sealed[1..].first_chunk::<NONCE_LEN>().ok_or(CLOSED)?;
        let mut rest = Zeroizing::new(sealed[1 + NONCE_LEN..].to_vec());
        let associated = Aad::from(webhook.0.to_be_bytes());
        let padded = self.cipher().open_in_place(Nonce::assume_unique_for_key(*nonce), associated, &mut rest).map_err(|_| CLOSED)?;
        let (length, form) = padded.split_first().ok_or(CLOSED)?;
        Secret::from_kept_form(form.get(..usize::from(*length)).ok_or(CLOSED)?)
    }

    /// Seals a text for one place of the store. The nonce has to be random: one that comes twice gives both texts away.
    ///
    /// # Panics
    /// Never: the key is of the size that the cipher takes, and no text is as long as its limit of 64 GiB.
    #[must_use]
    pub fn seal_text(&self, text: &str, place: &str, nonce: [u8; NONCE_LEN]) -> String {
        // In its full length from the start: a buffer that grew would leave the text behind where it had been.
        let mut sealed = Vec::with_capacity(NONCE_LEN + text.len() + TAG_SIZE);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(text.as_bytes());
        let associated = Aad::from(place.as_bytes());
        let tag = self.cipher().seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), associated, &mut sealed[NONCE_LEN..]);
        sealed.extend_from_slice(tag.expect("AES-256-GCM seals every text of less than 64 GiB").as_ref());
        format!("{SEALED_TEXT}{}", BASE64.encode(&sealed))
    }

    fn unseal_text(&self, sealed: &str, place: &str) -> Option<Zeroizing<String>> {
        let sealed = BASE64.decode(sealed.strip_prefix(SEALED_TEXT)?.trim_end().as_bytes()).ok()?;
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut rest = Zeroizing::new(rest.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = self.cipher().open_in_place(nonce, Aad::from(place.as_bytes()), rest.as_mut_slice()).ok()?;
        Some(Zeroizing::new(std::str::from_utf8(text).ok()?.to_owned()))
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.0.as_slice()).expect("AES-256 takes a key of 32 bytes"))
    }
}

/// A text as it is stored for one place: sealed with the first of the keys, or in the clear where there are none. The nonce has to be random, as for [`SealingKey::seal_text`].
#[must_use]
pub fn stored_text(keys: &[SealingKey], text: &str, place: &str, nonce: [u8; NONCE_LEN]) -> String {
    keys.first().map_or_else(|| text.to_owned(), |key| key.seal_text(text, place, nonce))
}

/// A text as it was stored for one place, and whether it is stored as it would be now: sealed with the first of the keys, or in the clear where there are none.
///
/// # Errors
/// Why it stays closed, for a sentence that begins with what it is, and what to do.
pub fn open_text(keys: &[SealingKey], stored: &str, place: &str) -> Result<(Zeroizing<String>, bool), String> {
    if !stored.starts_with(SEALED_TEXT) {
        return Ok((Zeroizing::new(stored.to_owned()), keys.is_empty()));
    }
    let found = keys.iter().enumerate().find_map(|(index, key)| Some((key.unseal_text(stored, place)?, index == 0)));
    found.ok_or_else(|| why_closed(keys).to_owned())
}

/// Why none of these keys opens what is sealed, for a sentence that begins with what it is.
#[must_use]
pub fn why_closed(keys: &[SealingKey]) -> &'static str {
    match keys {
        [] => "is sealed in the data directory, and there is no key: name the file with the key that sealed it as key_file in [server]",
        _ => {
            "is sealed in the data directory with another key than those in key_file of [server]: add the key that sealed it there, on a line of its own"
        }
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealingKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBHOOK: WebhookNumber = WebhookNumber(7);

    fn key(byte: u8) -> SealingKey {
        SealingKey::parse(&format!("{}\n", BASE64.encode(&[byte; 32]))).unwrap()
    }

    fn secrets() -> [Secret; 4] {
        let of = |size| Secret::from_bytes((0..size).collect()).unwrap();
        [of(24), of(53), of(64), Secret::from_key_pair(&[5; 32]).unwrap()]
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_webhook_alone() {
        for secret in secrets() {
            let sealed = key(1).seal(&secret, WEBHOOK, [9; 12]);
            assert_eq!(key(1).open(&sealed, WEBHOOK).unwrap(), secret);
            assert!(key(2).open(&sealed, WEBHOOK).is_err(), "another key");
            assert!(key(1).open(&sealed, WebhookNumber(8)).is_err(), "another webhook");
            for place in 1..SEALED_SIZE {
                let KeptSecret::Sealed(mut bytes) = sealed.clone() else { panic!("it is not sealed") };
                bytes[place] ^= 1;
                assert!(key(1).open(&KeptSecret::Sealed(bytes), WEBHOOK).is_err(), "byte {place} was changed");
            }
        }
    }

    #[test]
    fn each_kept_form_is_read_back_as_what_it_was_and_shows_nothing() {
        for secret in secrets() {
            let sealed = key(1).seal(&secret, WEBHOOK, [9; 12]);
            for kept in [KeptSecret::Open(secret.clone()), sealed.clone()] {
                assert_eq!(KeptSecret::from_bytes(kept.as_bytes()).unwrap(), kept);
            }
            let form = secret.kept_form();
            assert!(!sealed.as_bytes().windows(8).any(|part| form.windows(8).any(|own| part == own)), "nothing of it is left in the clear");
            assert_eq!(format!("{sealed:?} {:?} {:?}", KeptSecret::Open(secret), key(1)), "Sealed(…) Secret(…) SealingKey(…)");
        }
        for wrong in [&[][..], &[1; 23], &[2; 65], &[3; SEALED_SIZE], &[2; SEALED_SIZE + 1]] {
            assert!(KeptSecret::from_bytes(wrong).is_err(), "{} bytes", wrong.len());
        }
    }

    #[test]
    fn a_sealed_text_opens_with_its_key_in_its_place_alone() {
        for text in ["", "{\"title\":\"Ümlaut\"}", &"x".repeat(100_000)] {
            let sealed = key(1).seal_text(text, "here", [9; 12]);
            let open =
                |keys: &[SealingKey], place| open_text(keys, &sealed, place).map(|(text, is_current)| (text.to_string(), is_current));
            assert_eq!(open(&[key(1)], "here").unwrap(), (text.to_owned(), true));
            assert_eq!(open(&[key(2), key(1)], "here").unwrap(), (text.to_owned(), false), "to be sealed anew");
            assert!(open(&[key(1)], "there").unwrap_err().contains("another key"));
            assert!(open(&[key(2)], "here").unwrap_err().contains("another key"));
            assert!(open(&[], "here").unwrap_err().contains("there is no key"));
            assert!(text.len() < 4 || !sealed.contains(text));
            let step = 1 + sealed.len() / 200;
            for at in (SEALED_TEXT.len()..sealed.len()).step_by(step) {
                let mut bytes = sealed.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                let changed = String::from_utf8(bytes).unwrap();
                assert!(open_text(&[key(1)], &changed, "here").is_err(), "character {at} was changed");
            }
        }
        assert_eq!(stored_text(&[], "{}", "here", [9; 12]), "{}");
        assert_eq!(stored_text(&[key(1), key(2)], "{}", "here", [9; 12]), key(1).seal_text("{}", "here", [9; 12]));
        assert_eq!(open_text(&[], "{}", "here").unwrap(), (Zeroizing::new("{}".to_owned()), true));
        assert_eq!(open_text(&[key(1)], "{}", "here").unwrap(), (Zeroizing::new("{}".to_owned()), false), "to be sealed");
        for wrong in ["sealed:", "sealed:AAAA", "sealed:ä", "sealed:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="] {
            assert!(open_text(&[key(1)], wrong, "here").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_not_repeated() {
        for wrong in ["", "hunter2", "aHVudGVyMg=="] {
            let error = SealingKey::parse(wrong).unwrap_err();
            assert!(error.contains("32 random bytes") && (wrong.is_empty() || !error.contains(wrong)), "{error}");
        }
    }
}
