//! The hallway's papers about webhooks: which number an id has, why it is paused, which definition is in force. It never sends anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookwheel::engine::Configuration;
use hookwheel::model::{Catalog, KeptSecret, Origin, Pause, PauseReason, Secret, Webhook, WebhookId, WebhookNumber, WebhookSpec};
use hookwheel::store::fact::{Fact, WebhookState};
use hookwheel::time::UnixMillis;

use crate::workload::Plan;

/// The papers.
#[derive(Default)]
pub(crate) struct Office {
    pub(crate) states: BTreeMap<WebhookNumber, WebhookState>,
    /// The definitions in force.
    pub(crate) definitions: BTreeMap<WebhookId, WebhookSpec>,
}

impl Office {
    /// Takes over a file, and gives back the facts that must be durable before it is in force.
    pub(crate) fn take_over(&mut self, definitions: &BTreeMap<WebhookId, WebhookSpec>, now: UnixMillis) -> Vec<Fact> {
        self.definitions = definitions.clone();
        let mut facts = Vec::new();
        for id in definitions.keys().filter(|id| !self.states.values().any(|state| state.id == **id)).cloned().collect::<Vec<_>>() {
            let number = WebhookNumber(self.states.keys().next_back().map_or(1, |last| last.0 + 1));
            let secret = Secret::from_bytes(vec![7; 32]).expect("32 bytes are enough");
            let state = WebhookState {
                number,
                id,
                origin: Origin::File,
                generated_secret: Some(KeptSecret::Open(secret)),
                secret_shown: false,
                pauses: Vec::new(),
                removed: None,
            };
            self.states.insert(number, state.clone());
            facts.push(Fact::Webhook(state));
        }
        for state in self.states.values_mut().filter(|state| state.removed.is_none()) {
            let is_orphan = !definitions.contains_key(&state.id);
            let was_orphan = state.pauses.iter().any(|pause| pause.reason == PauseReason::Orphaned);
            if is_orphan && !was_orphan {
                state.pauses.push(Pause { reason: PauseReason::Orphaned, since: now, by: "configuration".into() });
            }
            if !is_orphan && was_orphan {
                state.pauses.retain(|pause| pause.reason != PauseReason::Orphaned);
            }
            if is_orphan != was_orphan {
                facts.push(Fact::Webhook(state.clone()));
            }
        }
        facts
    }

    /// Adds a pause, or takes all by hand and by 410 away; the fact that says so.
    pub(crate) fn set_pause(&mut self, number: WebhookNumber, pause: Option<Pause>) -> Option<Fact> {
        let state = self.states.get_mut(&number)?;
        state.pauses.retain(|old| !matches!(old.reason, PauseReason::Operator | PauseReason::Gone));
        state.pauses.extend(pause);
        Some(Fact::Webhook(state.clone()))
    }

    /// Removes a webhook for good; the fact that says so.
    pub(crate) fn remove(&mut self, number: WebhookNumber, now: UnixMillis) -> Option<Fact> {
        let state = self.states.get_mut(&number)?;
        state.removed = Some(now);
        self.definitions.remove(&state.id);
        Some(Fact::Webhook(state.clone()))
    }

    pub(crate) fn is_paused(&self, number: WebhookNumber) -> bool {
        self.states.get(&number).is_none_or(|state| {
            !state.pauses.is_empty() || state.removed.is_some() || self.definitions.get(&state.id).is_none_or(|spec| spec.paused)
        })
    }

    /// Whether it is paused because its endpoint said that it is gone.
    pub(crate) fn is_gone(&self, number: WebhookNumber) -> bool {
        self.states.get(&number).is_some_and(|state| state.pauses.iter().any(|pause| pause.reason == PauseReason::Gone))
    }

    pub(crate) fn is_ordered(&self, number: WebhookNumber) -> bool {
        self.states.get(&number).and_then(|state| self.definitions.get(&state.id)).is_some_and(|spec| spec.ordered)
    }

    /// What the engine needs to know.
    pub(crate) fn configuration(&self, plan: &Plan) -> Configuration {
        let webhook = |state: &WebhookState| {
            let spec = self.definitions.get(&state.id)?.clone();
            let webhook = Webhook { number: state.number, spec, secrets: state.secret().cloned().into_iter().collect() };
            Some((Arc::new(webhook), self.is_paused(state.number)))
        };
        Configuration {
            catalog: Arc::new(Catalog::built_in()),
            webhooks: self.states.values().filter(|state| state.removed.is_none()).filter_map(webhook).collect(),
            max_in_flight: plan.max_in_flight,
            max_pending: plan.max_pending,
            max_pending_per_webhook: plan.max_pending_per_webhook,
        }
    }
}
