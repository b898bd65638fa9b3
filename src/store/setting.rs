//! What operators set and what must outlive the process: definitions of webhooks, secrets on their way out, the pause of all sending, tokens. It never says who may set it.
//!
//! The key of a setting in the view is an `s`, its kind in one byte, and what it is about: 1 the definition and 2 the retired secret of a webhook (its number, 4 bytes), 3 the pause of
//! all sending, 4 a token (its name).
//!
//! Each setting has a subject, and the newest fact about a subject holds; one that sets nothing takes the subject away. So folding one twice changes nothing.

use crate::model::{KeptSecret, Pause, TokenScope, WebhookNumber};
use crate::time::UnixMillis;
use std::fmt;

/// Something that is set, or taken away.
#[derive(Clone, PartialEq, Eq)]
pub enum Setting {
    /// What a webhook of the admin socket is.
    Definition {
        /// Which.
        webhook: WebhookNumber,
        /// The definition as JSON. It stays when the webhook is removed, and goes when the file takes the webhook over.
        text: Option<String>,
    },
    /// A secret that still signs beside the one that replaced it.
    RetiredSecret {
        /// Of which webhook.
        webhook: WebhookNumber,
        /// The secret.
        secret: Option<RetiredSecret>,
    },
    /// Nothing is sent, to nobody.
    Sending(Option<Pause>),
    /// A token that the daemon made.
    Token {
        /// Its name.
        name: String,
        /// What it may.
        token: Option<IssuedToken>,
    },
}

/// A secret on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredSecret {
    /// The secret.
    pub secret: KeptSecret,
    /// It signs until then.
    pub until: UnixMillis,
}

/// A token that the daemon made; the token itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// SHA-256 of the token's text.
    pub sha256: [u8; 32],
    /// Where it may publish.
    pub scope: TokenScope,
    /// Since when.
    pub since: UnixMillis,
    /// Who had it made.
    pub by: String,
}

/// The range of all settings in the view.
#[must_use]
pub fn range() -> (Vec<u8>, Vec<u8>) {
    (b"s".to_vec(), b"t".to_vec())
}

impl fmt::Debug for Setting {
    /// Of a definition not what stands in it: headers and URLs may hold what lets one in.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Definition { webhook, text } => {
                formatter.debug_struct("Definition").field("webhook", webhook).field("is_set", &text.is_some()).finish_non_exhaustive()
            }
            Self::RetiredSecret { webhook, secret } => {
                formatter.debug_struct("RetiredSecret").field("webhook", webhook).field("secret", secret).finish()
            }
            Self::Sending(pause) => formatter.debug_tuple("Sending").field(pause).finish(),
            Self::Token { name, token } => formatter.debug_struct("Token").field("name", name).field("token", token).finish(),
        }
    }
}

impl Setting {
    /// Its subject's key in the view.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        match self {
            Self::Definition { webhook, .. } => [b"s\x01".as_slice(), &webhook.0.to_be_bytes()].concat(),
            Self::RetiredSecret { webhook, .. } => [b"s\x02".as_slice(), &webhook.0.to_be_bytes()].concat(),
            Self::Sending(_) => b"s\x03".to_vec(),
            Self::Token { name, .. } => [b"s\x04".as_slice(), name.as_bytes()].concat(),
        }
    }

    /// Whether it sets something; otherwise its subject is taken away.
    #[must_use]
    pub fn is_set(&self) -> bool {
        match self {
            Self::Definition { text, .. } => text.is_some(),
            Self::RetiredSecret { secret, .. } => secret.is_some(),
            Self::Sending(pause) => pause.is_some(),
            Self::Token { token, .. } => token.is_some(),
        }
    }
}
