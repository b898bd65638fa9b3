//! Which webhooks there are: their numbers, definitions, secrets and pauses, brought together with what the configuration says, and what else operators have set. It never
//! writes a fact itself and never knows what is pending.
//!
//! The file comes first: an id that it names is its own, also where that webhook was the admin socket's until then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::config::Config;
use crate::limits;
use crate::model::{
    Definition, KeptSecret, Origin, Pause, PauseReason, Secret, Signing, TlsIdentity, Webhook, WebhookId, WebhookNumber, WebhookSpec,
};
use crate::store::fact::{Fact, WebhookState};
use crate::store::setting::{IssuedToken, RetiredSecret, Setting};
use crate::time::UnixMillis;

/// The webhooks, known and in force.
#[derive(Clone, Default)]
pub(super) struct Registry {
    states: BTreeMap<WebhookNumber, WebhookState>,
    in_force: BTreeMap<WebhookNumber, Arc<Webhook>>,
    /// What the webhooks of the admin socket are, and were.
    definitions: BTreeMap<WebhookNumber, Definition>,
    retired: BTreeMap<WebhookNumber, RetiredSecret>,
    /// Webhooks of the admin socket that the configuration does not allow as they are, with the reason.
    unusable: BTreeMap<WebhookNumber, String>,
    sending: Option<Pause>,
    tokens: BTreeMap<String, IssuedToken>,
    configured: UnixMillis,
}

/// What a configuration would make of a registry.
pub(super) struct Plan {
    /// The registry afterwards.
    pub(super) registry: Registry,
    /// States that are new or changed, to be made durable first.
    states: BTreeMap<WebhookNumber, WebhookState>,
    /// Settings that are changed, to be made durable with them.
    settings: Vec<Setting>,
    /// Each change, in words; `{pending}` stands for what is pending for the webhook named beside it.
    pub(super) changes: Vec<(Option<WebhookNumber>, String)>,
}

impl Registry {
    /// What the store remembers.
    #[must_use]
    pub(super) fn new(states: BTreeMap<WebhookNumber, WebhookState>, settings: Vec<Setting>) -> Self {
        let mut registry = Self { states, ..Self::default() };
        settings.into_iter().for_each(|setting| registry.set(setting));
        registry
    }

    /// Takes in what is set, or taken away, once it is durable.
    pub(super) fn set(&mut self, setting: Setting) {
        match setting {
            Setting::Definition { webhook, text } => {
                // A text that is none is as good as an empty definition: the webhook can't be used, and that is told.
                let definition = text.map(|text| Definition::parse(&text).unwrap_or_default());
                put_or_remove(&mut self.definitions, webhook, definition);
            }
            Setting::RetiredSecret { webhook, secret } => put_or_remove(&mut self.retired, webhook, secret),
            Setting::Sending(pause) => self.sending = pause,
            Setting::Token { name, token } => put_or_remove(&mut self.tokens, name, token),
        }
    }

    /// Why nothing is sent to anybody.
    #[must_use]
    pub(super) fn sending(&self) -> Option<&Pause> {
        self.sending.as_ref()
    }

    /// The tokens that the daemon made, by name.
    #[must_use]
    pub(super) fn tokens(&self) -> &BTreeMap<String, IssuedToken> {
        &self.tokens
    }

    /// What a webhook of the admin socket is, or was before it was removed.
    #[must_use]
    pub(super) fn definition(&self, number: WebhookNumber) -> Option<&Definition> {
        self.definitions.get(&number)
    }

    /// Why a webhook of the admin socket can't be used.
    #[must_use]
    pub(super) fn unusable(&self, number: WebhookNumber) -> Option<&str> {
        self.unusable.get(&number).map(String::as_str)
    }

    /// Until when the secret before the present one signs, too.
    #[must_use]
    pub(super) fn old_secret_until(&self, number: WebhookNumber) -> Option<UnixMillis> {
        self.retired.get(&number).map(|retired| retired.until)
    }

    /// Webhooks whose old secret has signed for long enough.
    #[must_use]
    pub(super) fn expired_secrets(&self, now: UnixMillis) -> Vec<WebhookNumber> {
        self.retired.iter().filter(|(_, retired)| retired.until <= now).map(|(number, _)| *number).collect()
    }

    /// The webhook with that id that was not removed, in force or not.
    #[must_use]
    pub(super) fn alive(&self, id: &WebhookId) -> Option<&WebhookState> {
        self.states.values().find(|state| state.id == *id && state.removed.is_none())
    }

    /// The number for the next new webhook.
    #[must_use]
    pub(super) fn next_number(&self) -> WebhookNumber {
        WebhookNumber(self.states.last_key_value().map_or(1, |(number, _)| number.0 + 1))
    }

    /// Webhooks of the admin socket that were not removed.
    #[must_use]
    pub(super) fn of_admin(&self) -> usize {
        self.states.values().filter(|state| state.origin == Origin::Admin && state.removed.is_none()).count()
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

    /// States that are not in force: orphaned, not usable, or removed and perhaps still being cancelled.
    pub(super) fn not_in_force(&self) -> impl Iterator<Item = &WebhookState> {
        self.states.values().filter(|state| !self.in_force.contains_key(&state.number))
    }

    /// Webhooks that left the file longer than `grace_ms` ago and have not been removed yet.
    #[must_use]
    pub(super) fn expired_orphans(&self, now: UnixMillis, grace_ms: u64) -> Vec<WebhookState> {
        let is_expired = |pause: &Pause| pause.reason == PauseReason::Orphaned && now.since_ms(pause.since) >= grace_ms;
        self.not_in_force().filter(|state| state.removed.is_none() && state.pauses.iter().any(is_expired)).cloned().collect()
    }

    /// The definitions in the file are those of this moment.
    pub(super) fn configured_at(&mut self, now: UnixMillis) {
        self.configured = now;
    }

    /// What a webhook of the admin socket is, when that definition made it so.
    fn unchanged(&self, number: WebhookNumber, definition: &Definition) -> Option<WebhookSpec> {
        let webhook = self.in_force.get(&number).filter(|webhook| webhook.spec.origin == Origin::Admin)?;
        (self.definitions.get(&number) == Some(definition)).then(|| webhook.spec.clone())
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

    /// The pauses of a state that this registry does not know for its webhook.
    #[must_use]
    pub(super) fn pauses_beyond(&self, state: &WebhookState) -> Vec<Pause> {
        let known = self.states.get(&state.number).map(|known| known.pauses.as_slice()).unwrap_or_default();
        beyond(&state.pauses, known).cloned().collect()
    }

    /// The pauses that webhooks of the registry before got with this one; none of those that are new, or removed.
    #[must_use]
    pub(super) fn new_pauses(&self, before: &Self) -> Vec<(WebhookNumber, Pause)> {
        let mut new = Vec::new();
        for state in before.states.values().filter_map(|known| self.states.get(&known.number)).filter(|state| state.removed.is_none()) {
            let (has, had) = (self.pauses(state.number), before.pauses(state.number));
            new.extend(beyond(&has, &had).map(|pause| (state.number, pause.clone())));
        }
        new
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

    /// What becomes of this registry under `config`. `make_secret` gives a fresh key of a kind. `in_force` is the registry before a change under the same configuration: a webhook
    /// of the admin socket whose definition it has goes on as it is there, and no file that it names is read again.
    ///
    /// # Errors
    /// Those of `make_secret`.
    pub(super) fn plan<E>(
        &self,
        config: &Config,
        in_force: Option<&Self>,
        now: UnixMillis,
        mut make_secret: impl FnMut(Signing) -> Result<Secret, E>,
    ) -> Result<Plan, E> {
        let registry = Self { in_force: BTreeMap::new(), unusable: BTreeMap::new(), ..self.clone() };
        let mut plan = Plan { registry, states: BTreeMap::new(), settings: Vec::new(), changes: Vec::new() };
        let alive = self.states.values().filter(|state| state.removed.is_none()).map(|state| (state.id.clone(), state.number));
        let numbers = alive.collect::<HashMap<_, _>>();
        for spec in &config.webhooks {
            let state = match numbers.get(&spec.id).and_then(|number| self.states.get(number)) {
                Some(state) => plan.restored(state, spec),
                None => plan.added(spec),
            };
            let state = plan.with_secret(state, spec, now, &mut make_secret)?;
            plan.take(self, &state, spec, now);
        }
        plan.take_those_of_admin(self, config, in_force, now, &mut make_secret)?;
        plan.orphan_the_rest(now);
        Ok(plan)
    }
}

/// The pauses that are not known for their reason yet.
fn beyond<'a>(pauses: &'a [Pause], known: &'a [Pause]) -> impl Iterator<Item = &'a Pause> {
    pauses.iter().filter(|pause| !known.iter().any(|other| other.reason == pause.reason))
}

impl Plan {
    /// What is to be made durable before the plan is in force.
    #[must_use]
    pub(super) fn facts(&self) -> Vec<Fact> {
        let states = self.states.values().cloned().map(Fact::Webhook);
        states.chain(self.settings.iter().cloned().map(Fact::Setting)).collect()
    }

    /// Webhooks of the admin socket that the configuration does not allow as they are, a sentence each.
    #[must_use]
    pub(super) fn unusable(&self) -> Vec<String> {
        let sentence = |(number, why): (&WebhookNumber, &String)| {
            let id = self.registry.id_of(*number).map_or("", WebhookId::as_str);
            format!("the webhook {id} of the admin socket is not possible under this configuration: {why}")
        };
        self.registry.unusable.iter().map(sentence).collect()
    }

    fn added(&mut self, spec: &WebhookSpec) -> WebhookState {
        let number = self.registry.next_number();
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
        if state.origin == Origin::Admin {
            state.origin = Origin::File;
            let place = spec.place.as_deref().unwrap_or("the file");
            let words = format!(
                "taken over {}: {place} defines it from now on, the admin socket no more; its {{pending}} pending deliveries go on",
                spec.id
            );
            self.changes.push((Some(state.number), words));
            self.change(state.clone());
            let setting = Setting::Definition { webhook: state.number, text: None };
            self.registry.set(setting.clone());
            self.settings.push(setting);
        }
        state
    }

    /// The state with a secret of the kind that the webhook signs with. One of the other kind signs, too, for as long as one that was rotated.
    fn with_secret<E>(
        &mut self,
        mut state: WebhookState,
        spec: &WebhookSpec,
        now: UnixMillis,
        make_secret: &mut impl FnMut(Signing) -> Result<Secret, E>,
    ) -> Result<WebhookState, E> {
        if spec.secret.is_some() || state.secret().is_some_and(|secret| secret.signing() == spec.signing) {
            return Ok(state);
        }
        let old = state.generated_secret.replace(KeptSecret::Open(make_secret(spec.signing)?));
        state.secret_shown = false;
        self.change(state.clone());
        if let Some(secret) = old {
            let until = now.plus_ms(limits::ROTATION_GRACE_DEFAULT_MS);
            self.changes.push((
                Some(state.number),
                format!("a new secret for {}: it signs with {}; the old one signs, too, until {until}", spec.id, spec.signing),
            ));
            let setting = Setting::RetiredSecret { webhook: state.number, secret: Some(RetiredSecret { secret, until }) };
            self.registry.set(setting.clone());
            self.settings.push(setting);
        }
        Ok(state)
    }

    fn take_those_of_admin<E>(
        &mut self,
        before: &Registry,
        config: &Config,
        in_force: Option<&Registry>,
        now: UnixMillis,
        make_secret: &mut impl FnMut(Signing) -> Result<Secret, E>,
    ) -> Result<(), E> {
        let theirs = |state: &&WebhookState| state.origin == Origin::Admin && state.removed.is_none();
        for state in self.registry.states.values().filter(theirs).cloned().collect::<Vec<_>>() {
            let definition = self.registry.definitions.get(&state.number).cloned().unwrap_or_default();
            let unchanged = in_force.and_then(|registry| registry.unchanged(state.number, &definition));
            match unchanged.map_or_else(|| config.webhook(&definition), Ok) {
                Ok(spec) => {
                    let state = self.with_secret(state, &spec, now, make_secret)?;
                    self.take(before, &state, &spec, now);
                }
                Err(mistakes) => drop(self.registry.unusable.insert(state.number, mistakes.join("; "))),
            }
        }
        Ok(())
    }

    fn take(&mut self, before: &Registry, state: &WebhookState, spec: &WebhookSpec, now: UnixMillis) {
        let mut secrets = spec.secret.iter().chain(state.secret()).take(1).cloned().collect::<Vec<_>>();
        let retired = self.registry.retired.get(&state.number).filter(|retired| spec.secret.is_none() && retired.until > now);
        secrets.extend(retired.and_then(|retired| retired.secret.open().cloned()));
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
        self.states.insert(state.number, state);
    }
}

fn put_or_remove<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

/// A webhook's URL as the log may have it: a query may hold what lets one in.
fn without_query(spec: &WebhookSpec) -> String {
    let mut url = spec.url.clone();
    url.set_query(None);
    if spec.url.query().is_some() { format!("{url}?…") } else { url.to_string() }
}

/// What two definitions of a webhook differ in, in words; secrets are named, never shown.
fn differences(old: &WebhookSpec, new: &WebhookSpec) -> Option<String> {
    let list = |spec: &WebhookSpec| spec.selectors.iter().map(|selector| selector.as_str()).collect::<Vec<_>>().join(", ");
    let rate = |spec: &WebhookSpec| spec.rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string());
    let texts = [
        ("title", old.title.clone(), new.title.clone()),
        ("project", old.project.to_string(), new.project.to_string()),
        ("url", without_query(old), without_query(new)),
        ("events", list(old), list(new)),
        ("timeout", format!("{} ms", old.timeout_ms), format!("{} ms", new.timeout_ms)),
        ("success", old.success.to_string(), new.success.to_string()),
        ("max_in_flight", old.max_in_flight.to_string(), new.max_in_flight.to_string()),
        ("rate", rate(old), rate(new)),
        ("ordered", old.ordered.to_string(), new.ordered.to_string()),
        ("paused", old.paused.to_string(), new.paused.to_string()),
        ("signing", old.signing.to_string(), new.signing.to_string()),
    ];
    let mut words = texts
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(key, old, new)| format!("{key} from {old} to {new}"))
        .collect::<Vec<_>>();
    let changed = [
        ("secret", old.secret != new.secret),
        ("url, behind the question mark", old.url != new.url && without_query(old) == without_query(new)),
        ("headers", old.headers != new.headers),
        ("retry", old.schedule != new.schedule),
        ("allow_networks", old.allow_networks != new.allow_networks),
        ("ca_file", of_tls(old, |tls| tls.authorities.as_ref()) != of_tls(new, |tls| tls.authorities.as_ref())),
        ("client certificate", of_tls(old, |tls| tls.client.as_ref()) != of_tls(new, |tls| tls.client.as_ref())),
    ];
    words.extend(changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.to_owned()));
    (!words.is_empty()).then(|| words.join("; "))
}

/// A part of what a webhook's TLS has of its own.
fn of_tls<T>(spec: &WebhookSpec, part: impl Fn(&TlsIdentity) -> Option<&T>) -> Option<&T> {
    part(spec.tls.as_ref()?)
}

#[cfg(test)]
mod tests;
