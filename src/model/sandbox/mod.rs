//! The sandbox: test receivers at URLs of the daemon's own, how they behave, and what they received. It never receives anything itself.

mod body;
mod script;

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE32_NOPAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::body::KeptBody;
pub use self::script::{Behaviour, SandboxAnswer, Script};
use super::WebhookId;
use crate::limits::TITLE_LENGTH_MAX;
use crate::time::UnixMillis;

/// Letters of a token: 160 bits in base32.
const TOKEN_LENGTH: usize = 32;
const PATH_PREFIX: &str = "/sandbox/";

/// What makes a sandbox's URL impossible to guess: 32 of `a-z 2-7`, 160 random bits. Who knows it sees what the sandbox received.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z2-7]{32}$"))]
pub struct SandboxToken(Arc<str>);

impl SandboxToken {
    /// Parses a token.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() != TOKEN_LENGTH || !text.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)) {
            return Err(format!("{text:?} is not a sandbox token: expected {TOKEN_LENGTH} of a-z 2-7"));
        }
        Ok(Self(text.into()))
    }

    /// The token of 160 random bits.
    #[must_use]
    pub fn from_random(bits: [u8; 20]) -> Self {
        Self(BASE32_NOPAD.encode(&bits).to_ascii_lowercase().into())
    }

    /// The token in the path of a sandbox's URL, `/sandbox/<token>` or anything below it, and what stands below.
    #[must_use]
    pub fn of_path(path: &str) -> Option<(Self, &str)> {
        let rest = path.strip_prefix(PATH_PREFIX)?;
        let (token, below) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        Self::parse(token).ok().map(|token| (token, below))
    }

    /// Enough of it to tell one sandbox from another, for a log: whoever knows all of it sees what the sandbox received.
    #[must_use]
    pub fn shortened(&self) -> String {
        format!("{}…", &self.0[..6])
    }

    /// The token's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the sandbox's URL.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{PATH_PREFIX}{}", self.0)
    }
}

impl fmt::Display for SandboxToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for SandboxToken {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<SandboxToken> for String {
    fn from(token: SandboxToken) -> Self {
        token.0.to_string()
    }
}

/// What a new sandbox is asked to be: the body of `POST /v1/sandboxes`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewSandbox {
    /// What people call it; may be empty.
    #[schemars(length(max = TITLE_LENGTH_MAX), regex(pattern = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
    pub title: String,
    /// How it answers.
    #[serde(deserialize_with = "super::object")]
    pub behaviour: Behaviour,
    /// What signatures are checked with: the secret (`whsec_…`) or, of `v1a`, the public key (`whpk_…`); none: that of the webhook that points here.
    #[schemars(regex(pattern = "^(whsec_[A-Za-z0-9+/]{32,86}={0,2}|whpk_[A-Za-z0-9+/]{43}=)$"))]
    pub secret: Option<String>,
}

impl NewSandbox {
    /// Checks the title: one line, not too long.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn check_title(&self) -> Result<(), String> {
        if self.title.chars().any(char::is_control) || self.title.chars().count() > TITLE_LENGTH_MAX {
            return Err(format!("the title: expected one line of at most {TITLE_LENGTH_MAX} characters"));
        }
        Ok(())
    }
}

/// A sandbox in a list: `GET /v1/sandboxes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SandboxSummary {
    /// Its token.
    pub token: SandboxToken,
    /// Where it receives.
    pub url: String,
    /// What people call it; may be empty.
    pub title: String,
    /// When it was made.
    pub created: UnixMillis,
    /// How it answers.
    pub behaviour: Behaviour,
    /// Requests received so far; the number of the newest.
    pub received: u64,
    /// Requests of them that are kept, the newest.
    pub kept: u64,
    /// When the newest came.
    pub last_received: Option<UnixMillis>,
    /// Whether it was given a secret of its own.
    pub has_secret: bool,
    /// The webhooks that point here.
    pub webhooks: Vec<WebhookId>,
}

/// What a sandbox received, oldest first: `GET /v1/sandboxes/{token}/requests`, and the sandbox's URL when asked for JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceivedPage {
    /// The requests.
    pub requests: Vec<ReceivedRequest>,
    /// The number of the newest request that the sandbox has received, 0 before the first; what to pass as `after` to see what follows.
    pub last: u64,
}

/// One request as a sandbox received it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceivedRequest {
    /// Its number at this sandbox, from 1.
    pub number: u64,
    /// When it came.
    pub received: UnixMillis,
    /// The method.
    pub method: String,
    /// Path and query, up to a bound.
    pub target: String,
    /// Names in lower case, values as text; in the order in which they came, up to a bound.
    pub headers: Vec<(String, String)>,
    /// Headers that were left out because they were too long together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub headers_left_out: u32,
    /// The body, up to a bound.
    #[serde(flatten)]
    pub body: KeptBody,
    /// Bytes of the whole body, as far as it was read.
    pub body_size: u64,
    /// Which attempt this is: `hookwheel-attempt`, or else a count of the requests with the same `webhook-id`, or without one.
    pub attempt: u32,
    /// Whether it was signed as Standard Webhooks says.
    pub signature: SignatureVerdict,
    /// What the sandbox did with it.
    pub answer: SandboxAnswer,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Why a signature is good, or is not, or can't be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureReason {
    /// It fits.
    Valid,
    /// It was made with another key, or of another body, or is not of the kind that is expected.
    WrongSecret,
    /// It fits, but was made too long ago.
    TimestampTooOld,
    /// It fits, but was made in the future.
    TimestampInFuture,
    /// A header of the three is not there.
    HeaderMissing,
    /// A header of the three can't be read.
    HeaderMalformed,
    /// There is nothing to check it with.
    NoSecret,
    /// The body was not read whole.
    BodyTooLarge,
}

/// Whether a request was signed as Standard Webhooks 1.0.0 says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignatureVerdict {
    /// Nothing when it can't be told.
    pub valid: Option<bool>,
    /// Why.
    pub reason: SignatureReason,
    /// The same in words.
    pub detail: String,
}

impl SignatureVerdict {
    /// A verdict for this reason, in these words.
    #[must_use]
    pub fn new(reason: SignatureReason, detail: impl Into<String>) -> Self {
        let valid = match reason {
            SignatureReason::Valid => Some(true),
            SignatureReason::NoSecret | SignatureReason::BodyTooLarge => None,
            _ => Some(false),
        };
        Self { valid, reason, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz234567";

    #[test]
    fn tokens_have_160_bits_and_are_found_in_paths_of_exactly_one_form() {
        assert_eq!(SandboxToken::from_random([0xff; 20]).as_str(), "7".repeat(32));
        let token = SandboxToken::parse(TOKEN).unwrap();
        assert_eq!(SandboxToken::of_path(&token.path()), Some((token.clone(), "")));
        assert_eq!(SandboxToken::of_path(&format!("/sandbox/{TOKEN}/a/b")), Some((token, "/a/b")));
        let wrong = ["/sandbox", "/sandbox/", "/v1/events", "/sandbox/x", &format!("/Sandbox/{TOKEN}"), &format!("//sandbox/{TOKEN}")];
        let shapes = [format!("/sandbox/{}", TOKEN.to_uppercase()), format!("/sandbox/{TOKEN}x"), format!("/sandbox//{TOKEN}")];
        for path in wrong.into_iter().chain(shapes.iter().map(String::as_str)).chain([TOKEN, &format!("/x/sandbox/{TOKEN}")]) {
            assert_eq!(SandboxToken::of_path(path), None, "{path}");
        }
    }
}
