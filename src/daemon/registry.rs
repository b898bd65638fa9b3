//! Which webhooks there are: their numbers, secrets and pauses, brought together with what the configuration says. It never writes a fact
//! itself and never knows what is pending.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::config::Config;
use crate::model::{Origin, Pause, PauseReason, Secret, Webhook, WebhookId, WebhookNumber, WebhookSpec};
use crate::store::fact::WebhookState;
use crate::time::UnixMillis;

/// The webhooks, known and in force.
#[derive(Clone, Default)]
pub(super) struct Registry {
    states: BTreeMap<WebhookNumber, WebhookState>,
    in_force: BTreeMap<WebhookNumber, Arc<Webhook>>,
    configured: UnixMillis,
}

/// What a configuration would make of a registry.
pub(super) struct Plan {
    /// The registry afterwards.
    pub(super) registry: Registry,
    /// States that are new or changed, to be made durable first.
    pub(super) states: Vec<WebhookState>,
    /// Each change, in words; `{pending}` stands for what is pending for the webhook named beside it.
    pub(super) changes: Vec<(Option<WebhookNumber>, String)>,
}

impl Registry {
    /// What the store remembers.
    #[must_use]
    pub(super) fn new(states: BTreeMap<WebhookNumber, WebhookState>) -> Self {
        Self { states, in_force: BTreeMap::new(), configured: UnixMillis(0) }
    }

    /// Every webhook in force.
    pub(super) fn in_force(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.in_force.values()
    }

    /// The webhook in force with that id.
    #[must_use]
    pub(super) fn find(&self, id: &WebhookId) -> Option<&Arc<Webhook>> {
        self.in_force.values().find(|webhook| webhook.spec.id == *id)
    }

    /// The id behind a number, known for ever.
    #[must_use]
    pub(super) fn id_of(&self, number: WebhookNumber) -> Option<&WebhookId> {
        self.states.get(&number).map(|state| &state.id)
    }

    /// Every number that an id ever had; the same id has another after it was removed for good and came back.
    #[must_use]
    pub(super) fn numbers_of(&self, id: &WebhookId) -> HashSet<WebhookNumber> {
        self.states.values().filter(|state| state.id == *id).map(|state| state.number).collect()
    }

    /// What the store remembers of a webhook.
    #[must_use]
    pub(super) fn state(&self, number: WebhookNumber) -> Option<&WebhookState> {
        self.states.get(&number)
    }

    /// States that are not in force: orphaned, or removed and still being cancelled.
    pub(super) fn not_in_force(&self) -> impl Iterator<Item = &WebhookState> {
        self.states.values().filter(|state| !self.in_force.contains_key(&state.number))
    }

    /// Webhooks that left the file longer than `grace_ms` ago and have not been removed yet.
    #[must_use]
    pub(super) fn expired_orphans(&self, now: UnixMillis, grace_ms: u64) -> Vec<WebhookState> {
        let is_expired = |pause: &Pause| pause.reason == PauseReason::Orphaned && now.since_ms(pause.since) >= grace_ms;
        self.not_in_force().filter(|state| state.removed.is_none() && state.pauses.iter().any(is_expired)).cloned().collect()
    }

    /// Replaces a state, once it is durable.
    pub(super) fn put(&mut self, state: WebhookState) {
        self.states.insert(state.number, state);
    }

    /// Why a webhook sends nothing, its own definition included.
    #[must_use]
    pub(super) fn pauses(&self, number: WebhookNumber) -> Vec<Pause> {
        let mut pauses = self.states.get(&number).map(|state| state.pauses.clone()).unwrap_or_default();
        if self.in_force.get(&number).is_some_and(|webhook| webhook.spec.paused) {
            pauses.push(Pause { reason: PauseReason::Configured, since: self.configured, by: "configuration".into() });
        }
        pauses
    }

    /// Whether a webhook sends nothing.
    #[must_use]
    pub(super) fn is_paused(&self, number: WebhookNumber) -> bool {
        !self.pauses(number).is_empty()
    }

    /// The state with one more pause, or `None` when it has that one already.
    #[must_use]
    pub(super) fn with_pause(&self, number: WebhookNumber, pause: Pause) -> Option<WebhookState> {
        let mut state = self.states.get(&number)?.clone();
        if state.pauses.iter().any(|other| other.reason == pause.reason) {
            return None;
        }
        state.pauses.push(pause);
        Some(state)
    }

    /// What becomes of this registry under `config`. `make_secret` gives a fresh key.
    ///
    /// # Errors
    /// Those of `make_secret`.
    pub(super) fn plan<E>(&self, config: &Config, now: UnixMillis, mut make_secret: impl FnMut() -> Result<Secret, E>) -> Result<Plan, E> {
        let mut plan = Plan { registry: Self { configured: now, ..self.clone() }, states: Vec::new(), changes: Vec::new() };
        plan.registry.in_force.clear();
        let alive = self.states.values().filter(|state| state.removed.is_none()).map(|state| (state.id.clone(), state.number));
        let numbers = alive.collect::<HashMap<_, _>>();
        for spec in &config.webhooks {
            let state = match numbers.get(&spec.id).and_then(|number| self.states.get(number)) {
                Some(state) => plan.restored(state, spec),
                None => plan.added(spec),
            };
            let state = plan.with_secret(state, spec, &mut make_secret)?;
            plan.take(self, &state, spec);
        }
        plan.orphan_the_rest(now);
        Ok(plan)
    }
}

impl Plan {
    fn added(&mut self, spec: &WebhookSpec) -> WebhookState {
        let next = self.registry.states.last_key_value().map_or(1, |(number, _)| number.0 + 1);
        let number = WebhookNumber(next);
        self.changes.push((None, format!("added {} ({})", spec.id, spec.title)));
        let state = WebhookState {
            number,
            id: spec.id.clone(),
            origin: Origin::File,
            generated_secret: None,
            secret_shown: false,
            pauses: Vec::new(),
            removed: None,
        };
        self.change(state.clone());
        state
    }

    fn restored(&mut self, state: &WebhookState, spec: &WebhookSpec) -> WebhookState {
        let mut state = state.clone();
        let before = state.pauses.len();
        state.pauses.retain(|pause| pause.reason != PauseReason::Orphaned);
        if state.pauses.len() < before {
            self.changes.push((Some(state.number), format!("restored {}: its {{pending}} pending deliveries go on", spec.id)));
            self.change(state.clone());
        }
        state
    }

    fn with_secret<E>(
        &mut self,
        mut state: WebhookState,
        spec: &WebhookSpec,
        make_secret: &mut impl FnMut() -> Result<Secret, E>,
    ) -> Result<WebhookState, E> {
        if spec.secret.is_none() && state.generated_secret.is_none() {
            state.generated_secret = Some(make_secret()?);
            state.secret_shown = false;
            self.change(state.clone());
        }
        Ok(state)
    }

    fn take(&mut self, before: &Registry, state: &WebhookState, spec: &WebhookSpec) {
        let secrets = spec.secret.iter().chain(&state.generated_secret).take(1).cloned().collect();
        let webhook = Webhook { number: state.number, spec: spec.clone(), secrets };
        if let Some(old) = before.in_force.get(&state.number)
            && let Some(differences) = differences(&old.spec, spec)
        {
            self.changes.push((Some(state.number), format!("changed {}: {differences}", spec.id)));
        }
        self.registry.in_force.insert(state.number, Arc::new(webhook));
    }

    fn orphan_the_rest(&mut self, now: UnixMillis) {
        let gone = self.registry.not_in_force().filter(|state| state.removed.is_none() && state.origin == Origin::File);
        let orphaned = gone.filter(|state| !state.pauses.iter().any(|pause| pause.reason == PauseReason::Orphaned)).cloned();
        for mut state in orphaned.collect::<Vec<_>>() {
            state.pauses.push(Pause { reason: PauseReason::Orphaned, since: now, by: "configuration".into() });
            self.changes.push((
                Some(state.number),
                format!("orphaned {}: its {{pending}} pending deliveries are paused and kept for orphan_grace", state.id),
            ));
            self.change(state);
        }
    }

    fn change(&mut self, state: WebhookState) {
        self.registry.put(state.clone());
        self.states.retain(|other| other.number != state.number);
        self.states.push(state);
    }
}

/// What two definitions of a webhook differ in, in words; secrets are named, never shown.
fn differences(old: &WebhookSpec, new: &WebhookSpec) -> Option<String> {
    let list = |spec: &WebhookSpec| spec.selectors.iter().map(|selector| selector.as_str()).collect::<Vec<_>>().join(", ");
    let rate = |spec: &WebhookSpec| spec.rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string());
    let texts = [
        ("title", old.title.clone(), new.title.clone()),
        ("project", old.project.to_string(), new.project.to_string()),
        ("url", old.url.to_string(), new.url.to_string()),
        ("events", list(old), list(new)),
        ("timeout", format!("{} ms", old.timeout_ms), format!("{} ms", new.timeout_ms)),
        ("success", old.success.to_string(), new.success.to_string()),
        ("max_in_flight", old.max_in_flight.to_string(), new.max_in_flight.to_string()),
        ("rate", rate(old), rate(new)),
        ("ordered", old.ordered.to_string(), new.ordered.to_string()),
        ("paused", old.paused.to_string(), new.paused.to_string()),
    ];
    let mut words = texts
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| format!("{key} from {old} to {new}"))
        .collect::<Vec<_>>();
    let changed = [
        ("secret", old.secret != new.secret),
        ("headers", old.headers != new.headers),
        ("retry", old.schedule != new.schedule),
        ("allow_networks", old.allow_networks != new.allow_networks),
    ];
    words.extend(changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()));
    (!words.is_empty()).then(|| words.join("; "))
}

#[cfg(test)]
mod tests {
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

    fn planned(registry: &Registry, webhooks: &[(&str, &str)], now: UnixMillis) -> Plan {
        registry.plan(&config(webhooks), now, || Secret::from_bytes(vec![9; 32])).unwrap()
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
        assert_eq!(first.states.iter().map(|state| state.number.0).collect::<Vec<_>>(), [1, 2]);
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
        assert_eq!(
            anew.registry.find(&id("a")).unwrap().number,
            WebhookNumber(3),
            "a removed one's deliveries must not come to life again"
        );
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
}
