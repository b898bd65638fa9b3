//! The request that a receiver gets: headers and signature. It is pure: it never reads a clock and never sends.
//!
//! The signature is that of Standard Webhooks 1.0.0 over `id.timestamp.body`, in base64, with one value for each key in force: `v1` is HMAC-SHA256, `v1a` ed25519.

use std::fmt::Write as _;
use std::sync::Arc;

use data_encoding::BASE64;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};

use super::Job;
use crate::model::Secret;

const USER_AGENT_VALUE: &str = concat!("hookwheel/", env!("CARGO_PKG_VERSION"));

/// Builds the request for an attempt.
///
/// # Errors
/// A sentence when URL or headers are none; the configuration's checks exclude that.
pub fn build(job: &Job) -> Result<Request<Full<Bytes>>, String> {
    let spec = &job.webhook.spec;
    if !spec.url.username().is_empty() || spec.url.password().is_some() {
        return Err(
            "a URL with a user name or password in it is not requested: put them into a header, `headers = { authorization = \"…\" }`"
                .to_owned(),
        );
    }
    let uri = spec.url.as_str().parse::<Uri>().map_err(|error| format!("the URL can't be requested: {error}"))?;
    let timestamp = job.sent_at.seconds();
    let mut headers = HeaderMap::with_capacity(8 + spec.headers.len());
    for (name, value) in &spec.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|error| format!("the header {name:?} can't be sent: {error}"))?;
        let value =
            HeaderValue::try_from(value.as_str()).map_err(|error| format!("the value of header {name:?} can't be sent: {error}"))?;
        headers.append(name, value);
    }
    let own = [
        ("webhook-id", job.event_id.as_str().to_owned()),
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", signature(&job.webhook.secrets, job.event_id.as_str(), timestamp, &job.body)),
        ("hookwheel-attempt", job.attempt.to_string()),
    ];
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    for (name, value) in own {
        let value = HeaderValue::try_from(value).map_err(|error| format!("the value of header {name:?} can't be sent: {error}"))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let mut request = Request::new(Full::new(Bytes::from_owner(Arc::clone(&job.body))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The value of `webhook-signature`: `v1,<base64>` or `v1a,<base64>` for each key, separated by spaces.
#[must_use]
pub fn signature(secrets: &[Secret], id: &str, timestamp: u64, body: &[u8]) -> String {
    let head = format!("{id}.{timestamp}.");
    let mut text = String::new();
    for secret in secrets {
        let (version, separator) = (secret.signing(), if text.is_empty() { "" } else { " " });
        let signed = BASE64.encode(&secret.sign(head.as_bytes(), body));
        write!(text, "{separator}{version},{signed}").expect("writing to a String succeeds");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let sign = |secrets: &[Secret]| signature(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(sign(std::slice::from_ref(&secret)), expected);
        let other = Secret::from_bytes(vec![1; 24]).unwrap();
        let both = sign(&[other, secret.clone()]);
        assert!(both.starts_with("v1,") && both.ends_with(&format!(" {expected}")), "{both}");
        let pair = Secret::parse("whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==").unwrap();
        let asymmetric = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
        assert_eq!(sign(std::slice::from_ref(&pair)), asymmetric);
        assert_eq!(sign(&[pair, secret]), format!("{asymmetric} {expected}"), "of both kinds while one follows the other");
        // From the public Go library, whose keys are seeds.
        let seed = Secret::parse("whsk_VEVTVFNJR05JTkdLRVlET05PVFVTRVRISVNGT1JBTlk=").unwrap();
        assert_eq!(sign(&[seed]), "v1a,tQ9V2XOqn7jL/DQenEFpqIugdBVtiMmER5mhSkXBNwM0mkATuDe6KYYUuxqtaiHeYGb7KaaBRdM5WqyeFiL8Ag==");
    }
}
