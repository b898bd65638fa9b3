//! Values for the engine's tests. It never leaves them.

use crate::model::{Secret, Webhook, WebhookNumber, WebhookSpec};

/// A webhook of `shop.example.com` that wants everything.
pub(crate) fn webhook(number: u32) -> Webhook {
    let spec =
        WebhookSpec { title: format!("Hook {number}"), ..WebhookSpec::plain(&format!("hook-{number}"), "https://receiver.example.com/") };
    Webhook { number: WebhookNumber(number), spec, secrets: vec![Secret::from_bytes(vec![7; 24]).unwrap()] }
}
