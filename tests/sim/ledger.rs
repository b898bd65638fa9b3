//! What was asked of the store, in order, and what follows from it: a fold of facts written a second time, as simply as possible. It never looks into engine or store.
//!
//! The ledger foretells each fact as an order is given to the writer, and each verdict on a proposal. After a crash the journal must hold everything that
//! was acknowledged, and behind it a beginning of what was not, in the same order and cut only between batches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hookwheel::model::blacklist::{Cause, Entry};
use hookwheel::model::{
    Address, Attempt, DeliveryKey, DeliveryState, EventId, FieldsHash, Locator, Next, Project, Proposal, Sequence, WebhookNumber,
};
use hookwheel::store::carry::Carry;
use hookwheel::store::fact::{
    Accepted, BlacklistAction, BlacklistChange, CancelledDelivery, Carried, CarriedDelivery, CarriedId, Fact, Floor, FloorRaised,
    WebhookState,
};
use hookwheel::store::journal::segment::ScannedFrame;
use hookwheel::store::setting::Setting;
use hookwheel::store::view::keys::{IdHash, id_hash};
use hookwheel::time::UnixMillis;

/// A fact that was given to the writer.
pub(crate) struct Logged {
    pub(crate) fact: Fact,
    pub(crate) batch: u64,
}

/// The verdict that must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    New(Sequence),
    Duplicate(u32),
    Conflict,
    NotKept,
    NoRoom,
}

/// An event whose id a client chose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownId {
    pub(crate) accepted: UnixMillis,
    pub(crate) hash: FieldsHash,
    pub(crate) deliveries: u32,
}

/// A delivery as the facts tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) state: DeliveryState,
    pub(crate) due: UnixMillis,
    pub(crate) attempts: u32,
    pub(crate) round: u16,
}

/// An event as it was accepted.
pub(crate) struct Event {
    /// Without its lists of deliveries.
    pub(crate) accepted: Accepted,
    pub(crate) webhooks: Vec<WebhookNumber>,
}

/// What follows from facts.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) ids: HashMap<(Project, EventId), KnownId>,
    pub(crate) events: BTreeMap<Sequence, Event>,
    pub(crate) by_id: HashMap<(Project, EventId), Vec<Sequence>>,
    pub(crate) deliveries: BTreeMap<DeliveryKey, Delivery>,
    pub(crate) webhooks: BTreeMap<WebhookNumber, WebhookState>,
    /// What is set, by its key in the view.
    pub(crate) settings: BTreeMap<Vec<u8>, Setting>,
    /// Every attempt of each delivery.
    pub(crate) timelines: HashMap<DeliveryKey, Vec<Attempt>>,
    /// The names behind the hashes of ids.
    pub(crate) names: HashMap<IdHash, (Project, EventId)>,
    pub(crate) floor: Floor,
    pub(crate) blacklist: BTreeMap<(Project, Address), Entry>,
    pub(crate) latest: UnixMillis,
}

/// Everything that was given to the writer, as far as it was not lost without having been acknowledged.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) log: Vec<Logged>,
    /// So many facts were acknowledged.
    pub(crate) acknowledged: usize,
    pub(crate) books: Books,
    pub(crate) expected: HashMap<u64, Vec<Expected>>,
    /// How many addresses a change of a Black List must change something about.
    pub(crate) expected_changes: HashMap<u64, usize>,
    pub(crate) window_ms: u64,
    pub(crate) batches: u64,
}

impl Books {
    pub(crate) fn fold(&mut self, sequence: Sequence, fact: &Fact) {
        match fact {
            Fact::Accepted(accepted) => self.accepted(sequence, accepted),
            Fact::Attempted(attempted) => {
                let attempt = &attempted.attempt;
                self.latest = self.latest.max(attempt.finished);
                self.timelines.entry(attempted.key).or_default().push(attempt.clone());
                let Some(delivery) = self.deliveries.get_mut(&attempted.key) else { return };
                delivery.attempts = attempt.number;
                match attempt.next {
                    Next::RetryAt(at) => delivery.due = at,
                    Next::Delivered => delivery.state = DeliveryState::Delivered,
                    Next::Dropped => delivery.state = DeliveryState::Dropped,
                }
            }
            Fact::Blacklist(BlacklistChange { project, action }) => match action {
                BlacklistAction::List(entries) => {
                    self.blacklist.extend(entries.iter().map(|entry| ((project.clone(), entry.address.clone()), entry.clone())));
                }
                BlacklistAction::Remove { addresses, .. } => {
                    self.blacklist.retain(|(of, address), _| of != project || !addresses.contains(address));
                }
            },
            Fact::Webhook(state) => drop(self.webhooks.insert(state.number, state.clone())),
            Fact::Setting(setting) => match setting.is_set() {
                true => drop(self.settings.insert(setting.key(), setting.clone())),
                false => drop(self.settings.remove(&setting.key())),
            },
            Fact::Cancelled(cancelled) => {
                self.latest = self.latest.max(cancelled.at);
                for one in &cancelled.deliveries {
                    if let Some(delivery) = self.deliveries.get_mut(&one.key) {
                        delivery.state = DeliveryState::Cancelled;
                    }
                }
            }
            // Carrying changes nothing that anybody could see, unless it takes up what had ended.
            Fact::Carried(carried) => {
                self.latest = self.latest.max(carried.at);
                for one in carried.deliveries.iter().filter(|_| carried.from.is_none()) {
                    let key = DeliveryKey { sequence: carried.sequence, webhook: one.webhook };
                    let pending = Delivery { state: DeliveryState::Pending, due: one.due, attempts: 0, round: one.round };
                    self.deliveries.insert(key, pending);
                    self.timelines.insert(key, one.timeline.clone());
                }
            }
            Fact::IdsCarried(_) => {}
            Fact::FloorRaised(raised) => {
                self.latest = self.latest.max(raised.latest).max(raised.at);
                self.floor = raised.floor;
            }
        }
    }

    fn accepted(&mut self, sequence: Sequence, accepted: &Accepted) {
        self.latest = self.latest.max(accepted.accepted);
        if let Some(address) = &accepted.blacklisted {
            let cause =
                Cause::of_event(&accepted.event_type, &accepted.id).expect("only events of these types are simulated with an address");
            let entry = Entry { address: address.clone(), since: accepted.accepted, cause };
            self.blacklist.insert((accepted.project.clone(), address.clone()), entry);
        }
        let states = [(&accepted.deliveries, DeliveryState::Pending), (&accepted.overflowed, DeliveryState::Dropped)];
        let mut webhooks = Vec::new();
        for (numbers, state) in states {
            for webhook in numbers {
                webhooks.push(*webhook);
                let delivery = Delivery { state, due: accepted.accepted, attempts: 0, round: 1 };
                self.deliveries.insert(DeliveryKey { sequence, webhook: *webhook }, delivery);
            }
        }
        let name = (accepted.project.clone(), accepted.id.clone());
        if accepted.id_by_client {
            let deliveries = u32::try_from(webhooks.len()).expect("few webhooks are simulated");
            self.names.insert(id_hash(&accepted.project, &accepted.id), name.clone());
            self.ids.insert(name.clone(), KnownId { accepted: accepted.accepted, hash: accepted.fields_hash, deliveries });
        }
        self.by_id.entry(name).or_default().push(sequence);
        let accepted = Accepted { deliveries: Vec::new(), overflowed: Vec::new(), ..accepted.clone() };
        self.events.insert(sequence, Event { accepted, webhooks });
    }
}

impl Ledger {
    /// The writer takes, or holds back until there is room, facts of one atomic batch.
    pub(crate) fn take_facts(&mut self, facts: Vec<Fact>) {
        self.batches += 1;
        for fact in facts {
            let sequence = Sequence(self.log.len() as u64 + 1);
            self.books.fold(sequence, &fact);
            self.log.push(Logged { fact, batch: self.batches });
        }
    }

    /// The writer refused a commit for want of room.
    pub(crate) fn refuse_commit(&mut self, ticket: u64, events: usize) {
        self.expected.insert(ticket, vec![Expected::NoRoom; events]);
    }

    /// Whether something of a commit is new.
    pub(crate) fn has_new(&self, batch: &[Proposal]) -> bool {
        let verdicts = self.verdicts(batch);
        !verdicts.contains(&Expected::Conflict) && verdicts.iter().any(|verdict| matches!(verdict, Expected::New(_)))
    }

    /// The writer takes a commit.
    pub(crate) fn take_commit(&mut self, ticket: u64, batch: &[Proposal]) {
        let verdicts = self.verdicts(batch);
        let conflict = verdicts.contains(&Expected::Conflict);
        let mut facts = Vec::new();
        let mut expected = Vec::new();
        let mut listed = self.books.blacklist.keys().cloned().collect::<HashSet<_>>();
        for (proposal, verdict) in batch.iter().zip(verdicts) {
            expected.push(match verdict {
                Expected::Conflict => Expected::Conflict,
                _ if conflict => Expected::NotKept,
                Expected::New(_) => {
                    facts.push(fact_of(proposal, &mut listed));
                    Expected::New(Sequence((self.log.len() + facts.len()) as u64))
                }
                other => other,
            });
        }
        self.expected.insert(ticket, expected);
        self.take_facts(facts);
    }

    /// The writer is about to take a change of a Black List: who is listed already stays as he is, and who is not can't be removed.
    pub(crate) fn take_blacklist(&mut self, ticket: u64, change: &BlacklistChange) {
        let BlacklistChange { project, mut action } = change.clone();
        let mut seen = HashSet::new();
        let is_listed = |address: &Address| self.books.blacklist.contains_key(&(project.clone(), address.clone()));
        match &mut action {
            BlacklistAction::List(entries) => entries.retain(|entry| !is_listed(&entry.address) && seen.insert(entry.address.clone())),
            BlacklistAction::Remove { addresses, .. } => addresses.retain(|address| is_listed(address) && seen.insert(address.clone())),
        }
        let change = BlacklistChange { project, action };
        self.expected_changes.insert(ticket, change.count());
        if change.count() > 0 {
            self.take_facts(vec![Fact::Blacklist(change)]);
        }
    }

    fn verdicts(&self, batch: &[Proposal]) -> Vec<Expected> {
        let mut within: HashMap<(&Project, &EventId), KnownId> = HashMap::new();
        let mut verdicts = Vec::new();
        for proposal in batch {
            let known = within.get(&(&proposal.project, &proposal.id)).copied();
            let known = known.or_else(|| self.books.ids.get(&(proposal.project.clone(), proposal.id.clone())).copied());
            let known = known.filter(|known| proposal.id_by_client && proposal.accepted.since_ms(known.accepted) < self.window_ms);
            verdicts.push(match known {
                Some(known) if known.hash == proposal.fields_hash => Expected::Duplicate(known.deliveries),
                Some(_) => Expected::Conflict,
                None => {
                    let deliveries = u32::try_from(proposal.deliveries.len() + proposal.overflowed.len()).expect("few webhooks");
                    let known = KnownId { accepted: proposal.accepted, hash: proposal.fields_hash, deliveries };
                    within.insert((&proposal.project, &proposal.id), known);
                    Expected::New(Sequence(0))
                }
            });
        }
        verdicts
    }

    /// A sync went well: everything that was written is acknowledged. What waits for room is not.
    pub(crate) fn acknowledge(&mut self, last_sequence: u64) {
        // After the journal rotted the ledger is not kept any more.
        self.acknowledged = usize::try_from(last_sequence).expect("few facts are simulated").min(self.log.len());
    }

    /// A process begins with what the journal holds: the beginning of the log that has so many facts.
    pub(crate) fn begin_again(&mut self, kept: usize) {
        self.log.truncate(kept);
        self.acknowledged = kept;
        self.expected.clear();
        self.expected_changes.clear();
        self.books = Books::default();
        for (index, logged) in self.log.iter().enumerate() {
            self.books.fold(Sequence(index as u64 + 1), &logged.fact);
        }
    }

    /// The writer is about to carry what still holds of these, each a batch of its own.
    pub(crate) fn take_carry(&mut self, carry: &[Carry], now: UnixMillis) {
        for one in carry {
            if let Some(fact) = self.carried(one, now) {
                self.take_facts(vec![fact]);
            }
        }
    }

    /// What still holds of something that is to be carried, as the books have it.
    fn carried(&self, carry: &Carry, now: UnixMillis) -> Option<Fact> {
        let books = &self.books;
        match carry {
            Carry::Event { sequence, from, deliveries, .. } => {
                let still = |delivery: &CarriedDelivery| {
                    let key = DeliveryKey { sequence: *sequence, webhook: delivery.webhook };
                    let known =
                        books.deliveries.get(&key).filter(|known| known.state == DeliveryState::Pending && known.due == delivery.due)?;
                    let timeline = books.timelines.get(&key).cloned().unwrap_or_default();
                    let attempts = u8::try_from(known.attempts).expect("schedules are short");
                    Some(CarriedDelivery { webhook: delivery.webhook, due: known.due, round: known.round, attempts, timeline })
                };
                let deliveries = deliveries.iter().filter_map(|(delivery, _)| still(delivery)).collect::<Vec<_>>();
                let event = books.events.get(sequence)?.accepted.clone();
                let carried = Carried { sequence: *sequence, from: Some(*from), at: now, event, deliveries };
                (!carried.deliveries.is_empty()).then_some(Fact::Carried(carried))
            }
            Carry::Ended(carried) => Some(Fact::Carried(carried.clone())),
            Carry::Ids(ids) => {
                let still = |id: &&CarriedId| {
                    let known = books.names.get(&id.hash).and_then(|name| books.ids.get(name));
                    let is_same =
                        |known: &KnownId| (known.accepted, known.hash, known.deliveries) == (id.accepted, id.fields_hash, id.deliveries);
                    now.since_ms(id.accepted) < self.window_ms && known.is_some_and(is_same)
                };
                let ids = ids.iter().filter(still).copied().collect::<Vec<_>>();
                (!ids.is_empty()).then_some(Fact::IdsCarried(ids))
            }
            Carry::Webhook(number) => books.webhooks.get(number).cloned().map(Fact::Webhook),
            Carry::Setting(key) => books.settings.get(key).cloned().map(Fact::Setting),
            Carry::Listed(project, address) => {
                let entry = books.blacklist.get(&(project.clone(), address.clone()))?.clone();
                Some(Fact::Blacklist(BlacklistChange { project: project.clone(), action: BlacklistAction::List(vec![entry]) }))
            }
            Carry::Floor(floor) => Some(Fact::FloorRaised(FloorRaised { floor: *floor, latest: books.latest, at: now })),
        }
    }

    /// How far a journal agrees with the log; what differs is told in words. It may begin late, but not behind the floor.
    pub(crate) fn compare(&self, journal: &[ScannedFrame]) -> Result<(), String> {
        let first = journal.first().map_or(Sequence(1), |frame| frame.sequence);
        let kept = last_of(journal);
        let mut places = Places::default();
        for (expected, frame) in (first.0..).map(Sequence).zip(journal) {
            if frame.sequence != expected {
                return Err(format!("fact {expected} is missing, {} follows", frame.sequence));
            }
            let logged = usize::try_from(expected.0 - 1).ok().and_then(|index| self.log.get(index));
            let Some(logged) = logged else { return Err(format!("nobody asked for fact {expected}: {:?}", frame.fact)) };
            places.follow(frame, journal[0].locator.segment)?;
            let (fact, asked_for) = (without_places(&frame.fact), without_places(&logged.fact));
            if fact != asked_for {
                return Err(format!("fact {expected} is {fact:?}, asked for was {asked_for:?}"));
            }
        }
        if kept < self.acknowledged {
            return Err(format!("{} facts were acknowledged, {kept} are there", self.acknowledged));
        }
        if kept > 0 && kept < self.log.len() && self.log[kept - 1].batch == self.log[kept].batch {
            return Err(format!("the batch of fact {kept} was torn behind it"));
        }
        let raised =
            self.log[..kept].iter().rev().find_map(|logged| if let Fact::FloorRaised(raised) = &logged.fact { Some(raised) } else { None });
        let floor = raised.map_or(Floor::default(), |raised| raised.floor);
        if first > floor.sequence {
            return Err(format!("the journal begins with fact {first}, and is needed from {} on", floor.sequence));
        }
        Ok(())
    }
}

/// The number of a journal's last fact.
pub(crate) fn last_of(journal: &[ScannedFrame]) -> usize {
    journal.last().map_or(0, |frame| usize::try_from(frame.sequence.0).expect("journals are short"))
}

/// Where event and last attempt of each delivery lie.
#[derive(Default)]
struct Places(HashMap<DeliveryKey, (Locator, Option<Locator>)>);

impl Places {
    /// Follows a fact, which must name these places as they are; what it says of segments that went can't be known.
    fn follow(&mut self, frame: &ScannedFrame, first_segment: u32) -> Result<(), String> {
        let here = frame.locator;
        match &frame.fact {
            Fact::Accepted(accepted) => {
                let keys = accepted.deliveries.iter().map(|webhook| DeliveryKey { sequence: frame.sequence, webhook: *webhook });
                self.0.extend(keys.map(|key| (key, (here, None))));
            }
            Fact::Carried(carried) => {
                for one in &carried.deliveries {
                    let key = DeliveryKey { sequence: carried.sequence, webhook: one.webhook };
                    let before = self.0.insert(key, (here, (!one.timeline.is_empty()).then_some(here)));
                    let Some(from) = carried.from else { continue };
                    if before.map_or(from.segment >= first_segment, |(body, _)| body != from) {
                        return Err(format!("{key:?} was not carried from where it lay, {before:?}: {:?}", frame.fact));
                    }
                }
            }
            Fact::Attempted(attempted) => {
                let said = (attempted.body, attempted.previous);
                match self.0.get_mut(&attempted.key) {
                    Some(known) if *known == said => known.1 = Some(here),
                    None if attempted.body.segment < first_segment => {}
                    known => return Err(format!("an attempt names {said:?}, known is {known:?}: {:?}", frame.fact)),
                }
            }
            Fact::Cancelled(cancelled) => {
                let is_wrong =
                    |one: &&CancelledDelivery| self.0.get(&one.key).map_or(one.body.segment >= first_segment, |known| known.0 != one.body);
                if let Some(wrong) = cancelled.deliveries.iter().find(is_wrong) {
                    return Err(format!("the event of {wrong:?} lies elsewhere: {:?}", self.0.get(&wrong.key)));
                }
            }
            Fact::Webhook(_) | Fact::Setting(_) | Fact::Blacklist(_) | Fact::IdsCarried(_) | Fact::FloorRaised(_) => {}
        }
        Ok(())
    }
}

/// A fact without what the writer fills in.
fn without_places(fact: &Fact) -> Fact {
    let mut fact = fact.clone();
    match &mut fact {
        Fact::Attempted(attempted) => (attempted.body, attempted.previous) = (Locator::default(), None),
        Fact::Cancelled(cancelled) => cancelled.deliveries.iter_mut().for_each(|one| *one = CancelledDelivery::new(one.key, one.due)),
        _ => {}
    }
    fact
}

/// The fact that a new event becomes; it names an address only when that was not listed.
fn fact_of(proposal: &Proposal, listed: &mut HashSet<(Project, Address)>) -> Fact {
    Fact::Accepted(Accepted {
        id: proposal.id.clone(),
        id_by_client: proposal.id_by_client,
        event_type: proposal.event_type.clone(),
        project: proposal.project.clone(),
        accepted: proposal.accepted,
        fields_hash: proposal.fields_hash,
        blacklisted: proposal.blacklisted.clone().filter(|address| listed.insert((proposal.project.clone(), address.clone()))),
        body: Arc::clone(&proposal.body),
        deliveries: proposal.deliveries.clone(),
        overflowed: proposal.overflowed.clone(),
    })
}
