//! Whether a received request was signed as Standard Webhooks 1.0.0 says, and if not, why. It is pure: it never reads a clock, and never says a secret.

use aws_lc_rs::hmac;
use axum::http::HeaderMap;
use data_encoding::BASE64;

use crate::limits::SIGNATURE_TOLERANCE_S;
use crate::model::Secret;
use crate::model::sandbox::{SignatureReason, SignatureVerdict};
use crate::time::UnixMillis;

const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// A secret and whose it is.
#[derive(Clone, Debug)]
pub struct Key {
    /// Such as `the webhook crm`.
    pub owner: String,
    /// The secret.
    pub secret: Secret,
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
    let Some(key) = keys.iter().find(|key| signed.fits(&key.secret, body)) else {
        let owners = keys.iter().map(|key| key.owner.as_str()).collect::<Vec<_>>().join(" or ");
        let detail = format!("made with another secret than that of {owners}, or of another body");
        return SignatureVerdict::new(SignatureReason::WrongSecret, detail);
    };
    let now_s = now.seconds();
    let owner = &key.owner;
    if now_s.saturating_sub(signed.timestamp) > SIGNATURE_TOLERANCE_S {
        let detail = format!(
            "the secret of {owner} fits, but webhook-timestamp is {} s ago; at most {SIGNATURE_TOLERANCE_S} s are tolerated",
            now_s - signed.timestamp
        );
        return SignatureVerdict::new(SignatureReason::TimestampTooOld, detail);
    }
    if signed.timestamp.saturating_sub(now_s) > SIGNATURE_TOLERANCE_S {
        let detail = format!(
            "the secret of {owner} fits, but webhook-timestamp is {} s in the future; at most {SIGNATURE_TOLERANCE_S} s are tolerated",
            signed.timestamp - now_s
        );
        return SignatureVerdict::new(SignatureReason::TimestampInFuture, detail);
    }
    SignatureVerdict::new(SignatureReason::Valid, format!("made with the secret of {owner}"))
}

/// What the three headers say.
struct Signed<'a> {
    id: &'a str,
    /// As it stands in the header: the signature is over these letters.
    timestamp_text: &'a str,
    timestamp: u64,
    signatures: Vec<Vec<u8>>,
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

    fn fits(&self, secret: &Secret, body: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_bytes());
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{}.{}.", self.id, self.timestamp_text).as_bytes());
        context.update(body);
        let expected = context.sign();
        // Each is compared in constant time: the sandbox is no oracle for whoever guesses.
        self.signatures.iter().any(|signature| aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), signature).is_ok())
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

/// Every `v1` signature of a header that may hold several, separated by spaces; other versions are for others.
fn signatures_of(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let parts = text.split(' ').filter_map(|part| part.strip_prefix("v1,")).collect::<Vec<_>>();
    if parts.is_empty() {
        return Err(format!("webhook-signature is {:?}, expected \"v1,\" and base64", shortened(text)));
    }
    let signatures = parts.iter().filter_map(|part| BASE64.decode(part.as_bytes()).ok()).collect::<Vec<_>>();
    if signatures.is_empty() {
        return Err("what follows \"v1,\" in webhook-signature is not base64".into());
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
        Key { owner: "the webhook crm".into(), secret: Secret::parse(secret).unwrap() }
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
