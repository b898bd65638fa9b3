//! What becomes of webhooks when their definitions change. These tests never open a store.

use std::path::Path;

use super::*;
use crate::config::Environment;

const NOW: UnixMillis = UnixMillis(1_795_428_000_000);

fn config(webhooks: &[(&str, &str)]) -> Config {
    let section = |(id, more): &(&str, &str)| {
        format!(
            "[[webhook]]\nid = \"{id}\"\ntitle = \"{id}\"\nproject = \"shop.example.com\"\nurl = \"https://x.example/\"\nevents = [\"*\"]\n{more}\n"
        )
    };
    let text = webhooks.iter().map(section).collect::<String>();
    Config::parse(Path::new("webhooks.toml"), &text, &Environment::default()).unwrap()
}

fn make_secret(signing: Signing) -> Result<Secret, String> {
    match signing {
        Signing::V1 => Secret::from_bytes(vec![9; 32]),
        Signing::V1a => Secret::from_key_pair(&[9; 32]),
    }
}

fn planned(registry: &Registry, webhooks: &[(&str, &str)], now: UnixMillis) -> Plan {
    registry.plan(&config(webhooks), None, now, make_secret).unwrap()
}

fn words(plan: &Plan) -> Vec<&str> {
    plan.changes.iter().map(|(_, words)| words.as_str()).collect()
}

fn id(text: &str) -> WebhookId {
    WebhookId::parse(text).unwrap()
}

#[test]
fn each_new_id_gets_a_number_and_a_secret_and_keeps_both() {
    let first = planned(&Registry::default(), &[("a", ""), ("b", "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"")], NOW);
    assert_eq!(words(&first), ["added a (a)", "added b (b)"]);
    let secret_of = |plan: &Plan, name| plan.registry.find(&id(name)).unwrap().secrets.clone();
    assert_eq!(secret_of(&first, "a"), [Secret::from_bytes(vec![9; 32]).unwrap()]);
    assert_eq!(secret_of(&first, "b")[0].expose_bytes().len(), 24);
    assert_eq!(first.states.keys().map(|number| number.0).collect::<Vec<_>>(), [1, 2]);
    let again = planned(&first.registry, &[("b", "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\""), ("a", "")], NOW);
    assert!(again.states.is_empty() && again.changes.is_empty());
    assert_eq!(again.registry.find(&id("a")).unwrap().number, WebhookNumber(1));
}

#[test]
fn a_webhook_gone_from_the_file_is_orphaned_restored_or_in_the_end_removed() {
    let first = planned(&Registry::default(), &[("a", ""), ("b", "")], NOW).registry;
    let gone = planned(&first, &[("b", "")], NOW.plus_ms(5));
    assert!(words(&gone)[0].starts_with("orphaned a: its {pending} pending"));
    let number = WebhookNumber(1);
    assert!(gone.registry.is_paused(number) && gone.registry.find(&id("a")).is_none());
    assert!(planned(&gone.registry, &[("b", "")], NOW.plus_ms(9)).states.is_empty(), "it is orphaned once");
    assert!(gone.registry.expired_orphans(NOW.plus_ms(104), 100).is_empty());
    assert_eq!(gone.registry.expired_orphans(NOW.plus_ms(105), 100)[0].number, number);
    let back = planned(&gone.registry, &[("a", ""), ("b", "")], NOW.plus_ms(50));
    assert!(words(&back)[0].starts_with("restored a"));
    assert!(!back.registry.is_paused(number));
    let mut removed = gone.registry;
    let state = removed.state(number).unwrap().clone();
    removed.put(WebhookState { removed: Some(NOW), ..state });
    let anew = planned(&removed, &[("a", ""), ("b", "")], NOW.plus_ms(200));
    assert_eq!(anew.registry.find(&id("a")).unwrap().number, WebhookNumber(3), "a removed one's deliveries must not come to life again");
    assert_eq!(anew.registry.numbers_of(&id("a")).len(), 2);
}

#[test]
fn changes_are_named_and_secrets_are_not_shown() {
    let first = planned(&Registry::default(), &[("a", "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"")], NOW).registry;
    let plan = planned(&first, &[("a", "max_in_flight = 3\nsecret = \"whsec_plJ3nmyCDGBKInavdOK15jsl9vmTvYpF\"")], NOW);
    assert_eq!(words(&plan), ["changed a: max_in_flight from 10 to 3; secret"]);
}

#[test]
fn pauses_come_from_the_file_and_from_the_store_and_each_reason_once() {
    let first = planned(&Registry::default(), &[("a", "paused = true")], NOW).registry;
    let number = WebhookNumber(1);
    assert_eq!(first.pauses(number)[0].reason, PauseReason::Configured);
    let gone = Pause { reason: PauseReason::Gone, since: NOW, by: "receiver".into() };
    let mut second = first.clone();
    second.put(first.with_pause(number, gone.clone()).unwrap());
    assert_eq!(second.pauses(number).len(), 2);
    assert!(second.with_pause(number, gone).is_none());
}

/// A registry with a webhook of the admin socket, number 1.
fn with_admin(text: &str) -> Registry {
    let state = WebhookState {
        number: WebhookNumber(1),
        id: id("a"),
        origin: Origin::Admin,
        generated_secret: Secret::from_bytes(vec![8; 32]).ok().map(KeptSecret::Open),
        secret_shown: true,
        pauses: Vec::new(),
        removed: None,
    };
    let setting = Setting::Definition { webhook: state.number, text: Some(text.to_owned()) };
    Registry::new(BTreeMap::from([(state.number, state)]), vec![setting])
}

const DEFINITION: &str = r#"{"id":"a","title":"A","project":"shop.example.com","url":"https://x.example/","events":["sms.*"]}"#;

#[test]
fn webhooks_of_the_admin_socket_are_in_force_beside_those_of_the_file_and_are_never_orphaned() {
    let plan = planned(&with_admin(DEFINITION), &[("b", "")], NOW);
    assert_eq!(words(&plan), ["added b (b)"]);
    let webhook = plan.registry.find(&id("a")).unwrap();
    assert_eq!((webhook.spec.origin, webhook.number, webhook.secrets.len()), (Origin::Admin, WebhookNumber(1), 1));
    assert!(!plan.registry.is_paused(WebhookNumber(1)) && plan.facts().len() == 1);
}

#[test]
fn the_file_takes_a_webhook_over_with_its_number_and_its_secret() {
    let plan = planned(&with_admin(DEFINITION), &[("a", "")], NOW);
    assert!(words(&plan)[0].starts_with("taken over a: webhooks.toml:1 defines it"), "{:?}", words(&plan));
    let webhook = plan.registry.find(&id("a")).unwrap();
    assert_eq!((webhook.spec.origin, webhook.number), (Origin::File, WebhookNumber(1)));
    assert_eq!(webhook.secrets, [Secret::from_bytes(vec![8; 32]).unwrap()]);
    let gone = Setting::Definition { webhook: WebhookNumber(1), text: None };
    assert!(plan.facts().contains(&Fact::Setting(gone)) && plan.registry.definition(WebhookNumber(1)).is_none());
    assert!(words(&planned(&plan.registry, &[], NOW))[0].starts_with("orphaned a"), "from here on it is as any other of the file");
}

#[test]
fn a_definition_that_is_not_possible_any_more_is_told_and_not_in_force() {
    for text in [r#"{"id":"a","title":"A","project":"shop.example.com","url":"https://x.example/","events":["fax.*"]}"#, "no JSON"] {
        let plan = planned(&with_admin(text), &[("b", "")], NOW);
        assert_eq!(plan.unusable().len(), 1, "{text}");
        assert!(plan.registry.find(&id("a")).is_none() && plan.registry.alive(&id("a")).is_some());
        assert!(plan.registry.find(&id("b")).is_some());
    }
}

/// A definition of the admin socket with `ca_file`, and a way to change what stands there.
fn with_file(directory: &tempfile::TempDir) -> (Registry, impl Fn()) {
    let file = directory.path().join("ca.pem");
    let path = file.clone();
    let write =
        move || std::fs::write(&path, rcgen::generate_simple_self_signed(vec!["x.example".to_owned()]).unwrap().cert.pem()).unwrap();
    write();
    let mut definition = Definition::parse(DEFINITION).unwrap();
    definition.set("ca_file", file.display().to_string());
    (with_admin(&definition.to_json()), write)
}

#[test]
fn a_reload_takes_what_stands_in_the_files_now() {
    let directory = tempfile::tempdir().unwrap();
    let (registry, write) = with_file(&directory);
    let first = planned(&registry, &[], NOW).registry;
    assert!(words(&planned(&first, &[], NOW)).is_empty());
    write();
    assert_eq!(words(&planned(&first, &[], NOW)), ["changed a: ca_file"]);
}

#[test]
fn a_change_of_one_webhook_does_not_take_another_out_of_force_whose_file_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (registry, _) = with_file(&directory);
    let first = planned(&registry, &[], NOW).registry;
    drop(directory);
    let config = config(&[]);
    let change = |registry: &Registry| registry.plan(&config, Some(&first), NOW, make_secret).unwrap();
    assert!(change(&first).unusable().is_empty());
    assert_eq!(change(&first).registry.find(&id("a")).unwrap().spec, first.find(&id("a")).unwrap().spec);
    assert!(planned(&first, &[], NOW).unusable()[0].contains("ca.pem can't be read"), "a reload reads it, and says so");
    let mut changed = first.clone();
    let text = first.definition(WebhookNumber(1)).unwrap().to_json().replace("sms.*", "email.*");
    changed.set(Setting::Definition { webhook: WebhookNumber(1), text: Some(text) });
    assert!(change(&changed).unusable()[0].contains("ca.pem can't be read"), "it was changed itself");
}

#[test]
fn another_kind_of_signing_makes_a_new_secret_and_both_sign_for_a_day() {
    let first = planned(&Registry::default(), &[("a", "")], NOW);
    let plan = planned(&first.registry, &[("a", "signing = \"v1a\"")], NOW);
    let kinds = |registry: &Registry| registry.find(&id("a")).unwrap().secrets.iter().map(Secret::signing).collect::<Vec<_>>();
    assert_eq!(kinds(&plan.registry), [Signing::V1a, Signing::V1]);
    let until = NOW.plus_ms(86_400_000);
    assert_eq!(plan.registry.old_secret_until(WebhookNumber(1)), Some(until));
    assert_eq!(
        words(&plan),
        [
            format!("a new secret for a: it signs with v1a; the old one signs, too, until {until}"),
            "changed a: signing from v1 to v1a".into()
        ]
    );
    assert_eq!(plan.facts().len(), 2, "the state and the old secret");
    assert!(planned(&plan.registry, &[("a", "signing = \"v1a\"")], NOW).changes.is_empty(), "it stays what it is");
    let own = "secret = \"whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==\"";
    let plan = planned(&plan.registry, &[("a", own)], NOW);
    assert_eq!(kinds(&plan.registry), [Signing::V1a], "a secret of one's own says itself what it is, and signs alone");
}

#[test]
fn an_old_secret_signs_behind_the_new_one_until_its_time_is_over() {
    let mut registry = with_admin(DEFINITION);
    let secret = Secret::from_bytes(vec![7; 32]).unwrap();
    registry.set(Setting::RetiredSecret {
        webhook: WebhookNumber(1),
        secret: Some(RetiredSecret { secret: KeptSecret::Open(secret.clone()), until: NOW.plus_ms(9) }),
    });
    let secrets = |now| planned(&registry, &[], now).registry.find(&id("a")).unwrap().secrets.clone();
    assert_eq!(secrets(NOW), [Secret::from_bytes(vec![8; 32]).unwrap(), secret]);
    assert_eq!(secrets(NOW.plus_ms(9)).len(), 1);
    assert!(registry.expired_secrets(NOW).is_empty() && registry.expired_secrets(NOW.plus_ms(9)) == [WebhookNumber(1)]);
}
