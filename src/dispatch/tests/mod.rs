//! The dispatcher against receivers that misbehave on loopback. Time-outs are real and short; nothing here waits for a schedule.

mod again;
mod answers;
mod connections;
mod egress;
mod framed;
#[path = "../../../tests/hostile/frames.rs"]
#[expect(dead_code, reason = "the tests of the whole daemon need more of it")]
mod frames;
mod http2;
mod identities;
mod idle;
mod names;
mod receivers;
mod tls;

use super::*;
use crate::model::{Secret, WebhookNumber};

const BODY: &[u8] = br#"{"type":"email.status.bounced"}"#;

/// An attempt at `url` that may dial 127.0.0.0/8, with 2 s of time.
fn job(url: &str) -> Job {
    job_with(url, |_| {})
}

fn job_with(url: &str, change: impl FnOnce(&mut WebhookSpec)) -> Job {
    let mut spec = WebhookSpec {
        title: "CRM".into(),
        headers: vec![("x-tenant".into(), "42".into())],
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        timeout_ms: 2000,
        ..WebhookSpec::plain("crm", url)
    };
    change(&mut spec);
    let webhook = Webhook { number: WebhookNumber(1), spec, secrets: vec![secret()] };
    Job {
        webhook: Arc::new(webhook),
        event_id: EventId::parse("evt_1").unwrap(),
        body: Arc::from(BODY),
        attempt: 3,
        sent_at: UnixMillis(1_795_428_000_123),
    }
}

fn secret() -> Secret {
    Secret::from_bytes(vec![7; 24]).unwrap()
}

fn dispatcher() -> Dispatcher {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> Dispatcher {
    keeping(roots, Keeping::default())
}

fn keeping(roots: RootCertStore, keeping: Keeping) -> Dispatcher {
    Dispatcher::assembled(DispatchSettings::default(), roots, Names::from_system().unwrap(), keeping).unwrap()
}

#[tokio::test]
async fn a_panic_ends_one_attempt_and_nothing_else() {
    let outcome = caught(async { panic!("a defect") }).await;
    assert_eq!(outcome.class, OutcomeClass::InternalError);
}

#[test]
fn a_job_shows_no_secret() {
    let shown = format!("{:?}", job("http://127.0.0.1/"));
    assert!(shown.contains("secrets: [Secret(…)]"), "{shown}");
}

#[tokio::test]
async fn the_systems_own_roots_and_name_servers_never_keep_a_dispatcher_from_starting() {
    Dispatcher::new(DispatchSettings::default()).unwrap();
}
