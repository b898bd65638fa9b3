//! What was asked of the store, in order, and what follows from it: a fold of facts written a second time, as simply as possible. It never looks into engine or store.
//!
//! The ledger foretells each fact as an order is given to the writer, and each verdict on a proposal. After a crash the journal must hold everything that
//! was acknowledged, and behind it a beginning of what was not, in the same order and cut only between batches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hookwheel::model::blacklist::{Cause, Entry};
use hookwheel::model::{
    Address, DeliveryKey, DeliveryState, EventId, FieldsHash, Locator, Next, Project, Proposal, Sequence, WebhookNumber,
};
use hookwheel::store::fact::{Accepted, BlacklistAction, BlacklistChange, Fact, WebhookState};
use hookwheel::store::journal::segment::ScannedFrame;
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
    pub(crate) project: Project,
    pub(crate) id: EventId,
    pub(crate) body: Arc<[u8]>,
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
            Fact::Cancelled(cancelled) => {
                self.latest = self.latest.max(cancelled.at);
                for (key, _) in &cancelled.keys {
                    if let Some(delivery) = self.deliveries.get_mut(key) {
                        delivery.state = DeliveryState::Cancelled;
                    }
                }
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
            self.ids.insert(name.clone(), KnownId { accepted: accepted.accepted, hash: accepted.fields_hash, deliveries });
        }
        self.by_id.entry(name).or_default().push(sequence);
        let (project, id, body) = (accepted.project.clone(), accepted.id.clone(), Arc::clone(&accepted.body));
        self.events.insert(sequence, Event { project, id, body, webhooks });
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

    /// How far a journal agrees with the log; what differs is told in words.
    pub(crate) fn compare(&self, journal: &[ScannedFrame]) -> Result<(), String> {
        let mut last_attempts: HashMap<DeliveryKey, Locator> = HashMap::new();
        for (index, frame) in journal.iter().enumerate() {
            let expected = Sequence(index as u64 + 1);
            if frame.sequence != expected {
                return Err(format!("fact {expected} is missing, {} follows", frame.sequence));
            }
            let Some(logged) = self.log.get(index) else { return Err(format!("nobody asked for fact {expected}: {:?}", frame.fact)) };
            let mut fact = frame.fact.clone();
            if let Fact::Attempted(attempted) = &mut fact {
                let before = last_attempts.insert(attempted.key, frame.locator);
                if attempted.previous.take() != before {
                    return Err(format!("attempt {expected} does not point to the one before it, at {before:?}: {:?}", frame.fact));
                }
            }
            if fact != logged.fact {
                return Err(format!("fact {expected} is {fact:?}, asked for was {:?}", logged.fact));
            }
        }
        if journal.len() < self.acknowledged {
            return Err(format!("{} facts were acknowledged, {} are there", self.acknowledged, journal.len()));
        }
        let cut = journal.len();
        if cut > 0 && cut < self.log.len() && self.log[cut - 1].batch == self.log[cut].batch {
            return Err(format!("the batch of fact {cut} was torn behind it"));
        }
        Ok(())
    }
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
