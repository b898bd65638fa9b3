//! Values for the engine's tests. It never leaves them.

use crate::model::{
    Origin, Project, RetrySchedule, Secret, Selector, Signing, SuccessRule, Webhook, WebhookId, WebhookNumber, WebhookSpec,
};

/// A webhook of `shop.example.com` that wants everything.
pub(crate) fn webhook(number: u32) -> Webhook {
    let spec = WebhookSpec {
        id: WebhookId::parse(&format!("hook-{number}")).unwrap(),
        title: format!("Hook {number}"),
        project: Project::parse("shop.example.com").unwrap(),
        url: "https://receiver.example.com/".parse().unwrap(),
        selectors: vec![Selector::parse("*").unwrap()],
        secret: None,
        signing: Signing::V1,
        headers: Vec::new(),
        paused: false,
        allow_networks: Vec::new(),
        tls: None,
        timeout_ms: 10_000,
        success: SuccessRule::default(),
        schedule: RetrySchedule::default(),
        max_in_flight: 10,
        rate: None,
        ordered: false,
        origin: Origin::File,
        place: None,
    };
    Webhook { number: WebhookNumber(number), spec, secrets: vec![Secret::from_bytes(vec![7; 24]).unwrap()] }
}
