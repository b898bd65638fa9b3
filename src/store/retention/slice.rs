//! A piece of a segment that is about to go: what in it may still matter, and what of that really does. It never writes anything.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::RetentionError;
use crate::limits;
use crate::model::{Address, Attempt, DeliveryKey, Locator, Project, Sequence, WebhookNumber};
use crate::store::carry::Carry;
use crate::store::fact::{Accepted, CarriedDelivery, CarriedId, Fact};
use crate::store::journal::medium::Medium;
use crate::store::journal::reader::JournalReader;
use crate::store::journal::segment::ScannedFrame;
use crate::store::timeline;
use crate::store::view::keys::{self, IdempotencyRow, QueueRow};
use crate::store::view::{Table, TableError};
use crate::time::UnixMillis;

/// Bytes of an attempt in a record, besides its words.
const ATTEMPT_BYTES: usize = 96;
/// Bytes of an event in a record, besides its body.
const EVENT_BYTES: usize = 512;

/// What some frames say.
#[derive(Default)]
pub(super) struct Slice {
    /// Ids that were accepted after this moment matter; with `None`, nothing matters but deliveries.
    pub(super) ids_since: Option<UnixMillis>,
    events: VecDeque<Event>,
    questions: VecDeque<DeliveryKey>,
    /// Where the event of each delivery lies.
    places: HashMap<DeliveryKey, Locator>,
    pending: HashMap<Locator, Vec<(DeliveryKey, UnixMillis, QueueRow)>>,
    ids: Vec<CarriedId>,
    webhooks: BTreeSet<WebhookNumber>,
    /// Settings, by their keys in the view.
    settings: BTreeSet<Vec<u8>>,
    listed: Vec<(Project, Address)>,
    bytes: usize,
}

/// An event that lies in the segment.
struct Event {
    place: Locator,
    sequence: Sequence,
    accepted: Accepted,
}

impl Slice {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes >= bytes_max || self.questions.len() >= limits::CARRY_SLICE_KEYS
    }

    /// Takes in what a frame says.
    pub(super) fn take(&mut self, frame: ScannedFrame) {
        let ScannedFrame { sequence, locator, end, fact, .. } = frame;
        self.bytes += usize::try_from(end - u64::from(locator.offset)).unwrap_or(usize::MAX);
        if let Some((project, addresses)) = fact.listed().filter(|_| self.ids_since.is_some()) {
            self.listed.extend(addresses.into_iter().map(|address| (project.clone(), address.clone())));
        }
        match fact {
            Fact::Accepted(mut accepted) => {
                let webhooks = std::mem::take(&mut accepted.deliveries);
                let overflowed = std::mem::take(&mut accepted.overflowed);
                if accepted.id_by_client {
                    self.id(CarriedId {
                        hash: keys::id_hash(&accepted.project, &accepted.id),
                        accepted: accepted.accepted,
                        fields_hash: accepted.fields_hash,
                        deliveries: u32::try_from(webhooks.len() + overflowed.len()).unwrap_or(u32::MAX),
                    });
                }
                self.event(Event { place: locator, sequence, accepted }, &webhooks);
            }
            Fact::Carried(carried) => {
                let webhooks = carried.deliveries.iter().map(|one| one.webhook).collect::<Vec<_>>();
                self.event(Event { place: locator, sequence: carried.sequence, accepted: carried.event }, &webhooks);
            }
            Fact::IdsCarried(ids) => ids.into_iter().for_each(|id| self.id(id)),
            Fact::Webhook(state) if self.ids_since.is_some() => drop(self.webhooks.insert(state.number)),
            Fact::Setting(setting) if self.ids_since.is_some() => drop(self.settings.insert(setting.key())),
            // An attempt matters with its delivery, an end no more, and a floor until the next one.
            Fact::Blacklist(_) | Fact::Webhook(_) | Fact::Setting(_) | Fact::Attempted(_) | Fact::Cancelled(_) | Fact::FloorRaised(_) => {}
        }
    }

    fn event(&mut self, event: Event, webhooks: &[WebhookNumber]) {
        for webhook in webhooks {
            let key = DeliveryKey { sequence: event.sequence, webhook: *webhook };
            // Of two places in one slice the later one is right, and one question is enough.
            if self.places.insert(key, event.place).is_none() {
                self.questions.push_back(key);
            }
        }
        if !webhooks.is_empty() {
            self.events.push_back(event);
        }
    }

    fn id(&mut self, id: CarriedId) {
        if self.ids_since.is_some_and(|since| id.accepted > since) {
            self.ids.push(id);
        }
    }

    /// Deliveries that the engine is to be asked about, a bounded number at once.
    pub(super) fn next_question(&mut self) -> Option<Vec<DeliveryKey>> {
        let count = self.questions.len().min(limits::CARRY_SLICE_KEYS);
        (count > 0).then(|| self.questions.drain(..count).collect())
    }

    /// Takes in which of them are pending. True when one of them lies here, or may: the table can be behind.
    pub(super) fn note_pending<T: Table>(&mut self, pending: &[(DeliveryKey, UnixMillis)], table: &T) -> Result<bool, TableError> {
        let mut found = false;
        for (key, due) in pending {
            let Some(place) = self.places.get(key) else { continue };
            let bytes = keys::queue_key(*due, *key);
            let row = table.get(&bytes)?.map(|value| QueueRow::from_value(&bytes, &value)).transpose()?;
            found |= row.is_none_or(|row| row.body == *place);
            if let Some(row) = row.filter(|row| row.body == *place) {
                self.pending.entry(*place).or_default().push((*key, *due, row));
            }
        }
        Ok(found)
    }

    /// The next of what matters here, about `bytes_max` of it: deliveries first, then the rest. Empty when there is no more.
    pub(super) fn next_carry<M: Medium, T: Table>(
        &mut self,
        reader: &JournalReader<M>,
        table: &T,
        bytes_max: usize,
    ) -> Result<Vec<Carry>, RetentionError> {
        let mut carry = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(event) = self.events.front()
        {
            let Some(waiting) = self.pending.get(&event.place).filter(|waiting| !waiting.is_empty()) else {
                self.events.pop_front();
                continue;
            };
            bytes += EVENT_BYTES + event.accepted.body.len();
            let mut deliveries = Vec::new();
            for (key, due, row) in waiting.iter().rev() {
                let timeline = timeline::read(reader, *key, row.last_attempt, limits::CARRIED_ATTEMPTS_MAX)?;
                let size = ATTEMPT_BYTES + timeline.iter().map(size_of).sum::<usize>();
                if bytes + size > bytes_max && !deliveries.is_empty() {
                    break;
                }
                bytes += size;
                let QueueRow { round, attempts, .. } = *row;
                deliveries.push((CarriedDelivery { webhook: key.webhook, due: *due, round, attempts, timeline }, *row));
            }
            self.take_carried(deliveries, &mut carry);
        }
        if carry.is_empty() {
            carry = self.rest(table)?;
        }
        Ok(carry)
    }

    /// Adds deliveries of the first event to what is carried; when none of its deliveries is left, the event is done with.
    fn take_carried(&mut self, deliveries: Vec<(CarriedDelivery, QueueRow)>, carry: &mut Vec<Carry>) {
        let Some(event) = self.events.pop_front() else { return };
        let Event { place, sequence, accepted } = &event;
        let left = self.pending.get_mut(place).map_or(0, |waiting| {
            waiting.truncate(waiting.len() - deliveries.len());
            waiting.len()
        });
        if !deliveries.is_empty() {
            carry.push(Carry::Event { sequence: *sequence, from: *place, event: accepted.clone(), deliveries });
        }
        if left > 0 {
            self.events.push_front(event);
        }
    }

    /// What else is still needed: ids, as far as the table knows them so, webhooks, and settings.
    fn rest<T: Table>(&mut self, table: &T) -> Result<Vec<Carry>, TableError> {
        let mut ids = Vec::new();
        for id in self.ids.drain(..) {
            let key = keys::idempotency_key(&id.hash);
            let row = table.get(&key)?.map(|value| IdempotencyRow::from_value(&key, &value)).transpose()?;
            let CarriedId { accepted, fields_hash, deliveries, .. } = id;
            if row == Some(IdempotencyRow { accepted, fields_hash, deliveries }) {
                ids.push(id);
            }
        }
        let mut carry = std::mem::take(&mut self.webhooks).into_iter().map(Carry::Webhook).collect::<Vec<_>>();
        carry.extend(std::mem::take(&mut self.settings).into_iter().map(Carry::Setting));
        carry.extend(self.listed.drain(..).map(|(project, address)| Carry::Listed(project, address)));
        carry.extend(ids.chunks(limits::BULK_SLICE_KEYS).map(|chunk| Carry::Ids(chunk.to_vec())));
        Ok(carry)
    }
}

fn size_of(attempt: &Attempt) -> usize {
    let outcome = &attempt.outcome;
    ATTEMPT_BYTES + outcome.sentence.len() + outcome.excerpt.len() + outcome.remote.as_ref().map_or(0, String::len)
}
