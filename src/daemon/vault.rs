//! What lies between the secrets in use and those on disk: they are sealed on their way to the store and opened when it is loaded. It never keeps one, and never sends one anywhere.
//!
//! Sealed are the secrets that hookwheel made, those that were given through the admin socket, those on their way out, and the definitions of webhooks that were added there: a header or a
//! URL may hold what lets one in. Events are not.

use std::collections::BTreeMap;

use crate::model::{KeptSecret, SealingKey, Secret, WebhookNumber, sealing};
use crate::store::fact::{Fact, WebhookState};
use crate::store::setting::{RetiredSecret, Setting};

/// The facts as they are written down: with a key, the secrets in them are sealed with the first.
///
/// # Errors
/// A sentence when the system gives no random bytes.
pub(super) fn seal(keys: &[SealingKey], mut facts: Vec<Fact>) -> Result<Vec<Fact>, String> {
    let Some(key) = keys.first() else { return Ok(facts) };
    for fact in &mut facts {
        if let Fact::Setting(Setting::Definition { webhook, text: Some(text) }) = fact {
            // What is open is sealed, and once is enough.
            if let Ok((open, false)) = sealing::open_text(std::slice::from_ref(key), text, &place_of(*webhook)) {
                *text = key.seal_text(&open, &place_of(*webhook), nonce()?);
            }
        }
        let Some((webhook, kept)) = secret_of(fact) else { continue };
        let Some(secret) = kept.open() else { continue };
        *kept = key.seal(secret, webhook, nonce()?);
    }
    Ok(facts)
}

/// A fresh nonce.
///
/// # Errors
/// A sentence when the system gives no random bytes.
pub(super) fn nonce() -> Result<[u8; 12], String> {
    let mut nonce = [0; 12];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "the system gives no random bytes to seal a secret with".to_owned())?;
    Ok(nonce)
}

/// The place that a definition is sealed for.
fn place_of(webhook: WebhookNumber) -> String {
    format!("the definition of webhook {}", webhook.0)
}

fn secret_of(fact: &mut Fact) -> Option<(WebhookNumber, &mut KeptSecret)> {
    match fact {
        Fact::Webhook(state) => Some((state.number, state.generated_secret.as_mut()?)),
        Fact::Setting(Setting::RetiredSecret { webhook, secret }) => Some((*webhook, &mut secret.as_mut()?.secret)),
        _ => None,
    }
}

/// Opens every secret that the store remembers, and gives the facts that are to be written down anew: those whose secret is not sealed with the first key yet.
///
/// # Errors
/// A sentence that names the webhook whose secret no key opens.
pub(super) fn open(
    keys: &[SealingKey],
    states: &mut BTreeMap<WebhookNumber, WebhookState>,
    settings: &mut [Setting],
) -> Result<Vec<Fact>, String> {
    let mut anew = Vec::new();
    for state in states.values_mut() {
        let Some(kept) = &state.generated_secret else { continue };
        let (secret, is_current) =
            opened(keys, kept, state.number).map_err(|why| format!("the secret of the webhook {} {why}", state.id))?;
        state.generated_secret = Some(KeptSecret::Open(secret));
        if !is_current {
            anew.push(Fact::Webhook(state.clone()));
        }
    }
    for setting in settings {
        let id = |webhook| states.get(webhook).map_or_else(String::new, |state: &WebhookState| state.id.to_string());
        let is_current = match setting {
            Setting::Definition { webhook, text: Some(text) } => {
                let (open, is_current) = sealing::open_text(keys, text, &place_of(*webhook))
                    .map_err(|why| format!("the definition of the webhook {} {why}", id(webhook)))?;
                text.clone_from(&open);
                is_current
            }
            Setting::RetiredSecret { webhook, secret: Some(RetiredSecret { secret: kept, .. }) } => {
                let (secret, is_current) =
                    opened(keys, kept, *webhook).map_err(|why| format!("the old secret of the webhook {} {why}", id(webhook)))?;
                *kept = KeptSecret::Open(secret);
                is_current
            }
            _ => continue,
        };
        if !is_current {
            anew.push(Fact::Setting(setting.clone()));
        }
    }
    Ok(anew)
}

/// The secret, and whether it is kept as it would be now.
fn opened(keys: &[SealingKey], kept: &KeptSecret, webhook: WebhookNumber) -> Result<(Secret, bool), &'static str> {
    if let Some(secret) = kept.open() {
        return Ok((secret.clone(), keys.is_empty()));
    }
    let found = keys.iter().enumerate().find_map(|(index, key)| Some((key.open(kept, webhook).ok()?, index == 0)));
    found.ok_or_else(|| sealing::why_closed(keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, WebhookId};
    use crate::time::UnixMillis;

    const NUMBER: WebhookNumber = WebhookNumber(3);

    fn key(byte: u8) -> SealingKey {
        SealingKey::parse(&data_encoding::BASE64.encode(&[byte; 32])).unwrap()
    }

    fn secret(byte: u8) -> KeptSecret {
        KeptSecret::Open(Secret::from_bytes(vec![byte; 32]).unwrap())
    }

    fn state() -> WebhookState {
        WebhookState {
            number: NUMBER,
            id: WebhookId::parse("crm").unwrap(),
            origin: Origin::Admin,
            generated_secret: Some(secret(1)),
            secret_shown: true,
            pauses: Vec::new(),
            removed: None,
        }
    }

    fn retired() -> Setting {
        Setting::RetiredSecret { webhook: NUMBER, secret: Some(RetiredSecret { secret: secret(2), until: UnixMillis(9) }) }
    }

    fn definition() -> Setting {
        Setting::Definition { webhook: NUMBER, text: Some("{\"headers\":{\"authorization\":\"Bearer swordfish\"}}".into()) }
    }

    /// What a store has of these facts, opened, and how many are to be written anew.
    fn reopened(keys: &[SealingKey], facts: Vec<Fact>) -> Result<(WebhookState, Vec<Setting>, usize), String> {
        let (mut states, mut settings) = (BTreeMap::new(), Vec::new());
        for fact in facts {
            match fact {
                Fact::Webhook(state) => drop(states.insert(state.number, state)),
                Fact::Setting(setting) => settings.push(setting),
                other => panic!("{other:?}"),
            }
        }
        let anew = open(keys, &mut states, &mut settings)?;
        Ok((states.remove(&NUMBER).unwrap(), settings, anew.len()))
    }

    fn facts() -> Vec<Fact> {
        vec![Fact::Webhook(state()), Fact::Setting(retired()), Fact::Setting(definition())]
    }

    fn settings() -> Vec<Setting> {
        vec![retired(), definition()]
    }

    #[test]
    fn what_is_sealed_on_its_way_in_is_the_same_when_it_comes_back() {
        assert_eq!(seal(&[], facts()).unwrap(), facts(), "without a key they stay as they are");
        assert_eq!(reopened(&[], facts()).unwrap(), (state(), settings(), 0));
        let sealed = seal(&[key(1)], facts()).unwrap();
        assert!(sealed[..2].iter().all(|fact| format!("{fact:?}").contains("Sealed(…)")), "{sealed:?}");
        assert!(!format!("{:?}", sealed[2]).contains("swordfish"), "{sealed:?}");
        assert_eq!(seal(&[key(2)], sealed.clone()).unwrap(), sealed, "once is enough");
        assert_eq!(reopened(&[key(1)], sealed).unwrap(), (state(), settings(), 0));
    }

    #[test]
    fn a_new_key_seals_anew_and_the_one_before_it_still_opens() {
        assert_eq!(reopened(&[key(1)], facts()).unwrap().2, 3, "what was in the clear until now");
        let sealed = seal(&[key(1)], facts()).unwrap();
        assert_eq!(reopened(&[key(2), key(1)], sealed).unwrap(), (state(), settings(), 3));
    }

    #[test]
    fn without_its_key_it_says_whose_secret_stays_closed_and_what_to_do() {
        let sealed = seal(&[key(1)], facts()).unwrap();
        let none = reopened(&[], sealed.clone()).unwrap_err();
        assert!(none.contains("the webhook crm") && none.contains("there is no key") && none.contains("key_file"), "{none}");
        let other = reopened(&[key(2)], sealed).unwrap_err();
        assert!(other.contains("the webhook crm") && other.contains("another key"), "{other}");
        let facts = vec![Fact::Webhook(WebhookState { generated_secret: None, ..state() }), Fact::Setting(definition())];
        let none = reopened(&[], seal(&[key(1)], facts).unwrap()).unwrap_err();
        assert!(none.starts_with("the definition of the webhook crm is sealed"), "{none}");
    }
}
