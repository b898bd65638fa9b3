//! What lies sealed on the disk: it opens with its key in its place as what was sealed, or not at all. The nonces here are no secret, and always the same.

use std::sync::LazyLock;

use hookwheel::model::sealing::{KeptSecret, SealingKey, open_text};
use hookwheel::model::{Secret, WebhookNumber};

/// Two keys, of 32 zeros and of 32 ones.
pub(super) static KEYS: LazyLock<[SealingKey; 2]> = LazyLock::new(|| {
    ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="]
        .map(|text| SealingKey::parse(text).expect("it is one"))
});
const NONCE: [u8; 12] = [9; 12];
const PLACE: &str = "here";
const WEBHOOK: WebhookNumber = WebhookNumber(7);
/// What the corpus has sealed with the second key: nobody without it makes another sealed text, or another sealed secret.
const CORPUS_TEXT: &str = "{\"title\":\"CRM\"}";
const CORPUS_SECRET: &[u8] = &[5; 32];

/// The first byte says what the rest is: a text to be sealed, a secret to be sealed, a kept secret, or else a stored text. What is to be sealed begins with how it is changed then.
pub(super) fn sealed(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b't', rest)) => seal_text(rest),
        Some((b's', rest)) => seal_secret(rest),
        Some((b'k', rest)) => kept_secret(rest),
        Some((_, rest)) => stored_text(rest),
        None => {}
    }
}

/// What is done to one byte of what was sealed.
#[derive(Clone, Copy)]
struct Change {
    at: u16,
    bits: u8,
}

impl Change {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let ([low, high, bits], rest) = bytes.split_first_chunk()?;
        Some((Self { at: u16::from_le_bytes([*low, *high]), bits: *bits }, rest))
    }

    /// The changed bytes; nothing where they are the same.
    fn of(self, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut changed = sealed.to_vec();
        changed[usize::from(self.at) % sealed.len()] ^= self.bits;
        (self.bits != 0).then_some(changed)
    }
}

fn opened(keys: &[SealingKey], stored: &str, place: &str) -> Option<(String, bool)> {
    open_text(keys, stored, place).map(|(text, is_current)| (text.to_string(), is_current)).ok()
}

fn seal_text(bytes: &[u8]) {
    let Some((change, text)) = Change::split(bytes) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let sealed = KEYS[1].seal_text(text, PLACE, NONCE);
    assert_eq!(opened(&KEYS[1..], &sealed, PLACE), Some((text.to_owned(), true)));
    assert_eq!(opened(&KEYS[..], &sealed, PLACE), Some((text.to_owned(), false)));
    assert_eq!((opened(&KEYS[..1], &sealed, PLACE), opened(&[], &sealed, PLACE), opened(&KEYS[..], &sealed, "there")), (None, None, None));
    let Some(changed) = change.of(sealed.as_bytes()).and_then(|changed| String::from_utf8(changed).ok()) else { return };
    // Where its first letters are others it is a text in the clear, and no more than that.
    let in_the_clear = (!changed.starts_with("sealed:")).then(|| (changed.clone(), false));
    assert_eq!(opened(&KEYS[..], &changed, PLACE), in_the_clear);
}

fn stored_text(bytes: &[u8]) {
    let Ok(stored) = std::str::from_utf8(bytes) else { return };
    let Some((text, is_current)) = opened(&KEYS[1..], stored, PLACE) else { return };
    let expected = if stored.starts_with("sealed:") { (CORPUS_TEXT, true) } else { (stored, false) };
    assert_eq!((text.as_str(), is_current), expected);
}

fn seal_secret(bytes: &[u8]) {
    let Some((change, form)) = Change::split(bytes) else { return };
    let Ok(secret) = Secret::from_kept_form(form) else { return };
    let kept = KEYS[1].seal(&secret, WEBHOOK, NONCE);
    assert_eq!(KeptSecret::from_bytes(kept.as_bytes()).as_ref(), Ok(&kept));
    assert!(KEYS[0].open(&kept, WEBHOOK).is_err() && KEYS[1].open(&kept, WebhookNumber(8)).is_err());
    assert_eq!(KEYS[1].open(&kept, WEBHOOK), Ok(secret));
    let Some(changed) = change.of(kept.as_bytes()) else { return };
    let opened = KeptSecret::from_bytes(&changed).and_then(|changed| KEYS[1].open(&changed, WEBHOOK));
    assert!(opened.is_err(), "byte {} was changed", change.at);
}

fn kept_secret(bytes: &[u8]) {
    let Ok(kept) = KeptSecret::from_bytes(bytes) else { return };
    assert_eq!(kept.as_bytes(), bytes);
    let Ok(secret) = KEYS[1].open(&kept, WEBHOOK) else {
        assert_eq!(kept.open(), None, "what is not sealed is open");
        return;
    };
    let expected = kept.open().map_or(CORPUS_SECRET, Secret::expose_bytes);
    assert_eq!(secret.expose_bytes(), expected);
}
