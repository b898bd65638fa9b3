//! Whether a received request was signed as Standard Webhooks 1.0.0 says, and if not, why. It is pure: it never reads a clock, and never says a secret.

use axum::http::HeaderMap;
use data_encoding::BASE64;

use crate::limits::SIGNATURE_TOLERANCE_S;
use crate::model::sandbox::{SignatureReason, SignatureVerdict};
use crate::model::{CheckingKey, Signing};
use crate::time::UnixMillis;

const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// What signatures are checked with, and whose it is.
#[derive(Clone, Debug)]
pub struct Key {
    /// Such as `the webhook crm`.
    pub owner: String,
    /// The secret, or the public key.
    pub key: CheckingKey,
}

impl Key {
    /// Such as `the secret of the webhook crm`.
    fn name(&self) -> String {
        let kind = match self.key.signing() {
            Signing::V1 => "secret",
            Signing::V1a => "key",
        };
        format!("the {kind} of {}", self.owner)
    }
}

/// Judges a request by its whole body. A signature that fits any of the keys fits.
#[must_use]
pub fn judge(headers: &HeaderMap, body: &[u8], now: UnixMillis, keys: &[Key]) -> SignatureVerdict {
    let signed = match Signed::read(headers) {
        Ok(signed) => signed,
        Err(verdict) => return verdict,
    };
    if keys.is_empty() {
        let detail = "nothing to check it with: no webhook points here, and the sandbox was given no secret";
        return SignatureVerdict::new(SignatureReason::NoSecret, detail);
    }
    let Some(key) = keys.iter().find(|key| signed.fits(&key.key, body)) else {
        return SignatureVerdict::new(SignatureReason::WrongSecret, signed.why_none_fits(keys));
    };
    let now_s = now.seconds();
    let name = key.name();
    if now_s.saturating_sub(signed.timestamp) > SIGNATURE_TOLERANCE_S {
        let detail = format!(
            "{name} fits, but webhook-timestamp is {} s ago; at most {SIGNATURE_TOLERANCE_S} s are tolerated",
            now_s - signed.timestamp
        );
        return SignatureVerdict::new(SignatureReason::TimestampTooOld, detail);
    }
    if signed.timestamp.saturating_sub(now_s) > SIGNATURE_TOLERANCE_S {
        let detail = format!(
            "{name} fits, but webhook-timestamp is {} s in the future; at most {SIGNATURE_TOLERANCE_S} s are tolerated",
            signed.timestamp - now_s
        );
        return SignatureVerdict::new(SignatureReason::TimestampInFuture, detail);
    }
    SignatureVerdict::new(SignatureReason::Valid, format!("made with {name}"))
}

/// What the three headers say.
struct Signed<'a> {
    id: &'a str,
    /// As it stands in the header: the signature is over these letters.
    timestamp_text: &'a str,
    timestamp: u64,
    /// Each with its version, decoded.
    signatures: Vec<(Signing, Vec<u8>)>,
}

impl<'a> Signed<'a> {
    fn read(headers: &'a HeaderMap) -> Result<Self, SignatureVerdict> {
        let missing = HEADERS.into_iter().filter(|name| !headers.contains_key(*name)).collect::<Vec<_>>();
        if missing.len() == HEADERS.len() {
            let detail = format!("all three headers are missing: {}", HEADERS.join(", "));
            return Err(SignatureVerdict::new(SignatureReason::HeaderMissing, detail));
        }
        if let [first, rest @ ..] = missing.as_slice() {
            let names = rest.iter().fold((*first).to_owned(), |names, name| format!("{names} and {name}"));
            let verb = if rest.is_empty() { "is" } else { "are" };
            return Err(SignatureVerdict::new(SignatureReason::HeaderMissing, format!("{names} {verb} missing")));
        }
        let [id, timestamp_text, signature] = [single(headers, HEADERS[0])?, single(headers, HEADERS[1])?, single(headers, HEADERS[2])?];
        let timestamp = timestamp_of(timestamp_text).map_err(malformed)?;
        Ok(Self { id, timestamp_text, timestamp, signatures: signatures_of(signature).map_err(malformed)? })
    }

    fn fits(&self, key: &CheckingKey, body: &[u8]) -> bool {
        let head = format!("{}.{}.", self.id, self.timestamp_text);
        let of_its_kind = self.signatures.iter().filter(|(version, _)| *version == key.signing());
        key.fits(head.as_bytes(), body, of_its_kind.map(|(_, signature)| signature.as_slice()))
    }

    fn why_none_fits(&self, keys: &[Key]) -> String {
        let names = keys.iter().map(Key::name).collect::<Vec<_>>().join(" or ");
        if let Some(wanted) = keys.iter().find(|key| self.signatures.iter().all(|(version, _)| *version != key.key.signing())) {
            let found = self.signatures.first().map_or("nothing", |(version, _)| version.as_str());
            return format!("{} makes {} signatures, and webhook-signature has {found} only", names, wanted.key.signing());
        }
        format!("made with something else than {names}, or of another body")
    }
}

fn malformed(detail: String) -> SignatureVerdict {
    SignatureVerdict::new(SignatureReason::HeaderMalformed, detail)
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, SignatureVerdict> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(malformed(format!("{name} was sent more than once")));
    };
    match value.to_str() {
        Ok(text) if !text.is_empty() => Ok(text),
        Ok(_) => Err(malformed(format!("{name} is empty"))),
        Err(_) => Err(malformed(format!("{name} is not ASCII text"))),
    }
}

fn timestamp_of(text: &str) -> Result<u64, String> {
    /// The year 5138 in seconds; a year ago in milliseconds.
    const MILLISECONDS_FROM: u64 = 100_000_000_000;
    let wrong = |hint: &str| format!("webhook-timestamp is {:?}, expected Unix seconds{hint}", shortened(text));
    let timestamp = text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit())).ok_or_else(|| wrong(""))?;
    if timestamp >= MILLISECONDS_FROM { Err(wrong("; these look like milliseconds")) } else { Ok(timestamp) }
}

/// Every signature of a header that may hold several, separated by spaces; versions that are not known are for others.
fn signatures_of(text: &str) -> Result<Vec<(Signing, Vec<u8>)>, String> {
    let versioned = |part: &'_ str| part.split_once(',').and_then(|(version, rest)| Some((Signing::parse(version).ok()?, rest.to_owned())));
    let parts = text.split(' ').filter_map(versioned).collect::<Vec<_>>();
    let Some((version, _)) = parts.first() else {
        return Err(format!("webhook-signature is {:?}, expected \"v1,\" or \"v1a,\" and base64", shortened(text)));
    };
    let decoded = |(version, part): &(Signing, String)| Some((*version, BASE64.decode(part.as_bytes()).ok()?));
    let signatures = parts.iter().filter_map(decoded).collect::<Vec<_>>();
    if signatures.is_empty() {
        return Err(format!("what follows \"{version},\" in webhook-signature is not base64"));
    }
    Ok(signatures)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers that are set to something else, or taken away.
    type Changes<'a> = &'a [(&'static str, Option<&'a str>)];

    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const SIGNED_AT: u64 = 1_614_265_330;

    fn key(secret: &str) -> Key {
        Key { owner: "the webhook crm".into(), key: CheckingKey::parse(secret).unwrap() }
    }

    fn good_key() -> Key {
        key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    }

    fn headers(changes: Changes<'_>) -> HeaderMap {
        let timestamp = SIGNED_AT.to_string();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.parse().unwrap());
        headers.insert("webhook-signature", SIGNATURE.parse().unwrap());
        for (name, value) in changes {
            headers.remove(*name);
            value.map(|value| headers.insert(*name, value.parse().unwrap()));
        }
        headers
    }

    fn verdict(changes: Changes<'_>, now_s: u64, keys: &[Key]) -> (SignatureReason, String) {
        let verdict = judge(&headers(changes), BODY, UnixMillis(now_s * 1000), keys);
        (verdict.reason, verdict.detail)
    }

    #[test]
    fn the_example_of_the_specification_is_valid_within_five_minutes_of_its_time() {
        use SignatureReason::{TimestampInFuture, TimestampTooOld, Valid};
        let at = |now_s| verdict(&[], now_s, &[good_key()]).0;
        let cases = [(0, Valid), (300, Valid), (301, TimestampTooOld)];
        for (later, expected) in cases {
            assert_eq!(at(SIGNED_AT + later), expected, "{later} s later");
        }
        assert_eq!((at(SIGNED_AT - 300), at(SIGNED_AT - 301)), (Valid, TimestampInFuture));
        assert!(verdict(&[], SIGNED_AT + 400, &[good_key()]).1.contains("400 s ago"));
    }

    #[test]
    fn any_key_and_any_of_several_signatures_may_fit() {
        let other = key("whsec_plJ3nmyCDGBKInavdOK15jsl9vmTvYpF");
        assert_eq!(verdict(&[], SIGNED_AT, &[other.clone(), good_key()]).0, SignatureReason::Valid);
        let several = format!("v1a,xxx v1,AAAA {SIGNATURE} v2,zzz");
        assert_eq!(verdict(&[("webhook-signature", Some(&several))], SIGNED_AT, &[good_key()]).0, SignatureReason::Valid);
        let (reason, detail) = verdict(&[], SIGNED_AT, &[other]);
        assert_eq!(reason, SignatureReason::WrongSecret);
        assert!(detail.contains("the webhook crm") && !detail.contains("whsec"), "{detail}");
        let verdict = judge(&headers(&[]), b"another body", UnixMillis(SIGNED_AT * 1000), &[good_key()]);
        assert_eq!(verdict.reason, SignatureReason::WrongSecret);
        assert_eq!(judge(&headers(&[]), BODY, UnixMillis(0), &[]).valid, None);
    }

    #[test]
    fn an_ed25519_signature_is_checked_with_the_public_key_and_its_kind_is_not_mixed_up() {
        const PUBLIC: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";
        const ASYMMETRIC: &str = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        let of = |signature: &str, keys: &[Key]| verdict(&[("webhook-signature", Some(signature))], SIGNED_AT, keys);
        assert_eq!(of(ASYMMETRIC, &[key(PUBLIC)]), (SignatureReason::Valid, "made with the key of the webhook crm".into()));
        let rotating = format!("{ASYMMETRIC} {SIGNATURE}");
        for keys in [&[key(PUBLIC)][..], &[good_key()], &[key(PUBLIC), good_key()]] {
            assert_eq!(of(&rotating, keys).0, SignatureReason::Valid, "while one kind follows the other each receiver finds its own");
        }
        let (reason, detail) = of(SIGNATURE, &[key(PUBLIC)]);
        assert_eq!(
            (reason, detail.as_str()),
            (SignatureReason::WrongSecret, "the key of the webhook crm makes v1a signatures, and webhook-signature has v1 only")
        );
        let (_, detail) = of(ASYMMETRIC, &[good_key()]);
        assert_eq!(detail, "the secret of the webhook crm makes v1 signatures, and webhook-signature has v1a only");
        let renamed = ASYMMETRIC.replace("v1a,", "v1,");
        assert_eq!(of(&renamed, &[good_key()]).0, SignatureReason::WrongSecret);
        let of_the_spec = headers(&[("webhook-signature", Some(ASYMMETRIC))]);
        let tampered = judge(&of_the_spec, b"another body", UnixMillis(SIGNED_AT * 1000), &[key(PUBLIC)]);
        assert_eq!(
            (tampered.reason, tampered.detail.as_str()),
            (SignatureReason::WrongSecret, "made with something else than the key of the webhook crm, or of another body")
        );
        assert_eq!(
            verdict(&[("webhook-signature", Some(ASYMMETRIC))], SIGNED_AT + 301, &[key(PUBLIC)]).0,
            SignatureReason::TimestampTooOld
        );
    }

    #[test]
    fn what_is_wrong_with_the_headers_is_named() {
        use SignatureReason::{HeaderMalformed, HeaderMissing};
        let cases: [(Changes<'_>, SignatureReason, &str); 8] = [
            (&[("webhook-id", None)], HeaderMissing, "webhook-id is missing"),
            (&[("webhook-id", None), ("webhook-signature", None)], HeaderMissing, "webhook-id and webhook-signature are missing"),
            (&[("webhook-id", None), ("webhook-timestamp", None), ("webhook-signature", None)], HeaderMissing, "all three headers"),
            (&[("webhook-timestamp", Some("soon"))], HeaderMalformed, "\"soon\", expected Unix seconds"),
            (&[("webhook-timestamp", Some("1614265330000"))], HeaderMalformed, "milliseconds"),
            (&[("webhook-signature", Some("g0hM9SsE"))], HeaderMalformed, "expected \"v1,\""),
            (&[("webhook-signature", Some("v1,???"))], HeaderMalformed, "not base64"),
            (&[("webhook-id", Some(""))], HeaderMalformed, "webhook-id is empty"),
        ];
        for (changes, expected, words) in cases {
            let (reason, detail) = verdict(changes, SIGNED_AT, &[good_key()]);
            assert!(reason == expected && detail.contains(words), "{changes:?}: {reason:?} {detail}");
        }
        let mut twice = headers(&[]);
        twice.append("webhook-id", "x".parse().unwrap());
        assert!(judge(&twice, BODY, UnixMillis(0), &[good_key()]).detail.contains("more than once"));
    }
}
