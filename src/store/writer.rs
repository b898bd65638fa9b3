//! The one who writes: append all that waits, one sync for all, answer, then apply to the view. It never answers before the sync.
//!
//! [`Writer`] is a plain state machine, so that the simulator steps through it; [`run`] drives it on a thread of its own in the daemon.
//!
//! A lone commit never waits for company: it is synced as soon as it is taken. What arrives while a sync runs shares the next one.
//! Records (attempts, cancellations) ride along with the next sync and wait at most [`limits::APPEND_SYNC_DELAY_MS`] for one.
//!
//! While the disk has no room for another segment, events are refused and records go to the reserve; when even that is used up they wait here, in order, bounded by
//! the engine's credits. With too little room for the view nothing is applied to it. All of this ends by itself ([`Space`]).
//!
//! After a failed write or sync nothing is known about the file any more: the writer gives back the error, the daemon says so and ends, and the
//! next start sorts it out. An fsync is never tried again.

mod places;
mod room;
mod verdicts;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Duration;

use self::places::Carrying;
use self::room::Outcome;
use super::blacklist::{self, Blacklist};
use super::carry::{Carry, Load};
use super::fact::{Accepted, BlacklistChange, Fact};
use super::history::History;
use super::journal::medium::Medium;
use super::journal::{Appended, JournalError, JournalWriter, Spare, SpareJob};
use super::space::Space;
use super::view::{Table, TableError, View};
use crate::limits;
use crate::model::{DeliveryKey, Locator, Proposal, Sequence, Settled, Verdict};
use crate::time::UnixMillis;

/// Something to be written. `ticket` is the caller's and comes back in the answer.
#[derive(Clone, Debug)]
pub enum Order {
    /// Make these events durable, all or none; idempotency is decided here, in order.
    Commit {
        /// The caller's.
        ticket: u64,
        /// The events with their deliveries.
        batch: Vec<Proposal>,
    },
    /// Write down an attempt or a cancellation, soon.
    Record(Fact),
    /// Make these facts durable now.
    Operate {
        /// The caller's.
        ticket: u64,
        /// The facts, one atomic batch.
        facts: Vec<Fact>,
    },
    /// Write down again what of this still holds, now: its segment is about to go.
    Carry {
        /// The caller's.
        ticket: u64,
        /// What held when the caller looked.
        carry: Vec<Carry>,
    },
    /// Make this change of a Black List durable now, as far as it changes anything; that is decided here, in order.
    Blacklist {
        /// The caller's.
        ticket: u64,
        /// The change.
        change: BlacklistChange,
    },
    /// Answer as soon as everything ordered before is in the view's table.
    Barrier {
        /// The caller's.
        ticket: u64,
    },
    /// From now on an id is recognized for so long.
    SetIdempotencyWindow {
        /// Milliseconds.
        window_ms: u64,
    },
}

/// What became of an order. Answers to commits come in the order of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A commit is settled; what is `New` is durable.
    Committed {
        /// The order's.
        ticket: u64,
        /// Each proposal with its verdict.
        settled: Vec<Settled>,
    },
    /// So many records are durable.
    Recorded(usize),
    /// The facts are durable.
    Operated {
        /// The order's.
        ticket: u64,
    },
    /// What still held is durable.
    Carried {
        /// The order's.
        ticket: u64,
        /// The deliveries that were carried, each with the place where its event lies now.
        moved: Vec<(DeliveryKey, Locator)>,
        /// What this took in the journal.
        load: Load,
    },
    /// The change of a Black List is durable.
    Blacklisted {
        /// The order's.
        ticket: u64,
        /// So many addresses were put there, or taken away.
        changed: usize,
    },
    /// Everything ordered before is in the table.
    AtBarrier {
        /// The order's.
        ticket: u64,
    },
}

/// The store can't go on. The daemon ends; what was acknowledged is safe.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The view.
    #[error(transparent)]
    View(#[from] TableError),
}

/// What the writer has done, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStatus {
    /// The newest fact's number.
    pub last_sequence: u64,
    /// The newest fact's that is durable.
    pub synced_through: Sequence,
    /// Facts that are not in the table yet.
    pub view_lag: usize,
    /// The number of the segment that is being written.
    pub segment: u32,
    /// Syncs since the start.
    pub syncs: u64,
}

/// The writer, as a state machine.
pub struct Writer<M: Medium, T: Table> {
    journal: JournalWriter<M>,
    view: View<T>,
    history: History<M>,
    blacklist: Blacklist<T>,
    idempotency_window_ms: u64,
    /// Answers that wait for the sync.
    owed: Vec<Answer>,
    /// Records that wait for the sync.
    records: usize,
    /// Facts that wait for the sync, to be noted in the history.
    unsynced: Vec<(Appended, Fact)>,
    /// Barriers, each with the fact that must be in the table.
    barriers: Vec<(u64, u64)>,
    /// Records and operators' facts for which there was no room, in order.
    held: VecDeque<Outcome>,
    /// There is too little room for the view.
    view_waits: bool,
    space: Space,
    /// When the next sync must begin at the latest.
    sync_at: Option<UnixMillis>,
    forget_at: UnixMillis,
    syncs: u64,
}

impl<M: Medium, T: Table> Writer<M, T> {
    /// A writer over an opened journal and its view.
    #[must_use]
    pub fn new(journal: JournalWriter<M>, view: View<T>, history: History<M>, idempotency_window_ms: u64) -> Self {
        Self {
            journal,
            blacklist: Blacklist::new(Arc::clone(view.table())),
            view,
            history,
            idempotency_window_ms,
            owed: Vec::new(),
            records: 0,
            unsynced: Vec::new(),
            barriers: Vec::new(),
            held: VecDeque::new(),
            view_waits: false,
            space: Space::default(),
            sync_at: None,
            forget_at: UnixMillis(0),
            syncs: 0,
        }
    }

    /// Takes an order; its facts are in the journal's memory afterwards and nowhere else.
    ///
    /// # Errors
    /// [`StoreError`], after which nothing more may be asked of the writer.
    pub fn take(&mut self, order: Order, now: UnixMillis) -> Result<(), StoreError> {
        match order {
            Order::Commit { ticket, batch } => {
                let settled = self.settle(batch)?;
                self.owed.push(Answer::Committed { ticket, settled });
                self.sync_at = Some(now);
            }
            Order::Record(fact) => self.take_outcome(Outcome::Record(fact), now)?,
            Order::Operate { ticket, facts } => self.take_outcome(Outcome::Operate { ticket, facts }, now)?,
            Order::Blacklist { ticket, change } => self.take_outcome(Outcome::Blacklist { ticket, change }, now)?,
            Order::Carry { ticket, carry } => {
                let carrying = Carrying::new(ticket, carry, now, self.idempotency_window_ms);
                self.take_outcome(Outcome::Carry(carrying), now)?;
            }
            Order::Barrier { ticket } => {
                self.barriers.push((ticket, self.last_sequence()));
                self.sync_at = Some(now);
            }
            Order::SetIdempotencyWindow { window_ms } => self.idempotency_window_ms = window_ms,
        }
        self.note_space(now);
        Ok(())
    }

    /// When [`Writer::sync`] must be called at the latest, if something waits for it.
    #[must_use]
    pub fn sync_at(&self) -> Option<UnixMillis> {
        self.sync_at
    }

    /// Whether so much waits that it is time to sync before taking more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.journal.unsynced_bytes() >= limits::REQUEST_SIZE_MAX
    }

    /// Makes everything taken durable, with one sync, and answers it.
    ///
    /// # Errors
    /// [`StoreError`], after which nothing more may be asked of the writer; nothing of the group was answered.
    pub fn sync(&mut self, answers: &mut Vec<Answer>) -> Result<(), StoreError> {
        self.sync_at = None;
        if self.journal.unsynced_bytes() > 0 {
            self.journal.sync()?;
            self.syncs += 1;
        }
        for (place, fact) in self.unsynced.drain(..) {
            self.history.note(place, &fact);
            self.blacklist.publish(place.sequence, &fact);
        }
        answers.append(&mut self.owed);
        if self.records > 0 {
            answers.push(Answer::Recorded(std::mem::take(&mut self.records)));
        }
        // Everything folded is synced at this very moment, and only now.
        self.view.close_window();
        self.pass_barriers(answers);
        Ok(())
    }

    /// Brings the view a small step nearer. False when it has everything that may be applied.
    ///
    /// # Errors
    /// [`StoreError`] when the table fails.
    pub fn apply_step(&mut self, answers: &mut Vec<Answer>) -> Result<bool, StoreError> {
        if self.view_must_rest() {
            return Ok(false);
        }
        let applied = self.view.apply_step()?;
        if self.journal.unsynced_bytes() == 0 {
            self.view.close_window();
        }
        self.pass_barriers(answers);
        Ok(applied)
    }

    /// Whether the view is so far behind that it must catch up before more is taken. While it waits for room, events are refused instead.
    #[must_use]
    pub fn must_apply(&self) -> bool {
        self.unapplied() > limits::VIEW_LAG_MAX && !self.view_waits
    }

    /// Forgets ids that are older than the window, a few at a time and at most once a second; none while something waits for room, for that may name them.
    ///
    /// What is folded and not yet in the table comes after it and needs no care: the row of an id that was used again is put there whole, whether the older one is still there or not.
    ///
    /// # Errors
    /// [`StoreError`] when the table fails.
    pub fn forget_old_ids(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        if now < self.forget_at || !self.held.is_empty() || self.view_must_rest() {
            return Ok(());
        }
        let moment = UnixMillis(now.0.saturating_sub(self.idempotency_window_ms));
        let more = self.view.forget_ids_before(moment)?;
        self.forget_at = if more { now } else { now.plus_ms(1000) };
        Ok(())
    }

    /// The job of preparing a segment, when somebody ought to begin it.
    pub fn spare_job(&mut self, now: UnixMillis) -> Option<SpareJob<M>> {
        self.journal.spare_job(now)
    }

    /// What the writer has done.
    #[must_use]
    pub fn status(&self) -> WriterStatus {
        WriterStatus {
            last_sequence: self.last_sequence(),
            synced_through: self.journal.synced_through(),
            view_lag: self.view.lag(),
            segment: self.journal.segment_number(),
            syncs: self.syncs,
        }
    }

    /// The Black Lists, for whoever asks.
    #[must_use]
    pub fn blacklist(&self) -> &Blacklist<T> {
        &self.blacklist
    }

    /// The view.
    #[must_use]
    pub fn view(&self) -> &View<T> {
        &self.view
    }

    /// Facts that are not in the table yet, or rows of the Black List if those are more: one fact may bring many.
    fn unapplied(&self) -> usize {
        self.view.lag().max(self.blacklist.unapplied())
    }

    fn last_sequence(&self) -> u64 {
        self.journal.next_sequence().0 - 1
    }

    fn settle(&mut self, mut batch: Vec<Proposal>) -> Result<Vec<Settled>, StoreError> {
        let verdicts = self.verdicts(&batch)?;
        let conflict = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Conflict));
        blacklist::settle(&self.view, &mut batch, |index| !conflict && matches!(verdicts[index], Verdict::New { .. }))?;
        let mut facts = Vec::with_capacity(batch.len());
        let mut settled = Vec::with_capacity(batch.len());
        for (proposal, verdict) in batch.into_iter().zip(verdicts) {
            let Proposal { id, id_by_client, event_type, project, fields_hash, body, blacklisted, accepted, deliveries, overflowed } =
                proposal;
            let verdict = match verdict {
                Verdict::Conflict => Verdict::Conflict,
                _ if conflict => Verdict::NotKept,
                other => other,
            };
            settled.push(Settled { id: id.clone(), deliveries: deliveries.clone(), overflowed: overflowed.clone(), accepted, verdict });
            if matches!(verdict, Verdict::New { .. }) {
                facts.push(Fact::Accepted(Accepted {
                    id,
                    id_by_client,
                    event_type,
                    project,
                    accepted,
                    fields_hash,
                    blacklisted,
                    body,
                    deliveries,
                    overflowed,
                }));
            }
        }
        let Some(places) = self.append_events(facts)? else {
            settled.iter_mut().for_each(|one| one.verdict = Verdict::NoRoom);
            return Ok(settled);
        };
        let mut places = places.into_iter();
        for one in &mut settled {
            if let (Verdict::New { sequence, locator }, true) = (&mut one.verdict, places.len() > 0) {
                let place = places.next().expect("one place for each new event, counted in the condition");
                (*sequence, *locator) = (place.sequence, place.locator);
            }
        }
        Ok(settled)
    }

    fn appended(&mut self, places: &[Appended], facts: Vec<Fact>) {
        for (place, fact) in places.iter().zip(facts) {
            self.view.fold(*place, &fact);
            self.unsynced.push((*place, fact));
        }
    }

    fn pass_barriers(&mut self, answers: &mut Vec<Answer>) {
        let applied = self.last_sequence() - self.view.lag() as u64;
        self.blacklist.applied(Sequence(applied));
        self.barriers.retain(|(ticket, sequence)| {
            let passed = *sequence <= applied;
            if passed {
                answers.push(Answer::AtBarrier { ticket: *ticket });
            }
            !passed
        });
    }
}

/// Drives a writer until nobody can send orders any more and everything is written. `answer` is called after each sync.
///
/// # Errors
/// [`StoreError`]: the daemon must end.
pub fn run<M: Medium, T: Table>(
    mut writer: Writer<M, T>,
    orders: &Receiver<Order>,
    now: impl Fn() -> UnixMillis,
    mut answer: impl FnMut(Vec<Answer>, WriterStatus),
) -> Result<(), StoreError> {
    let (spares, prepared) = std::sync::mpsc::sync_channel(1);
    let mut open = true;
    loop {
        let mut answers = Vec::new();
        open = open && take_waiting(&mut writer, orders, &now)?;
        if writer.sync_at().is_some_and(|at| !open || writer.is_full() || at <= now()) {
            writer.sync(&mut answers)?;
            answer(std::mem::take(&mut answers), writer.status());
        }
        while writer.must_apply() && writer.apply_step(&mut answers)? {
            // As fast as new ones come, or a flood would leave them behind for good.
            writer.forget_old_ids(now())?;
        }
        let lag = writer.view().lag();
        let applied = writer.apply_step(&mut answers)?;
        // Whoever looks at the status learns, too, that the view has caught up.
        let caught_up = lag > 0 && writer.view().lag() == 0;
        writer.forget_old_ids(now())?;
        if let Ok(prepared) = prepared.try_recv() {
            writer.take_spare(prepared, now())?;
        }
        if let Some(job) = writer.spare_job(now()) {
            prepare(job, spares.clone());
        }
        writer.note_space(now());
        if !answers.is_empty() || caught_up {
            answer(answers, writer.status());
        }
        if !open && !applied && writer.sync_at().is_none() && (writer.view().lag() == 0 || writer.is_stuck()) {
            return writer.end();
        }
        if open && !applied {
            open = wait(&mut writer, orders, &now)?;
        }
    }
}

/// Takes whatever waits, without waiting. False when nobody can send any more.
fn take_waiting<M: Medium, T: Table>(
    writer: &mut Writer<M, T>,
    orders: &Receiver<Order>,
    now: &impl Fn() -> UnixMillis,
) -> Result<bool, StoreError> {
    while !writer.is_full() && !writer.must_apply() {
        match orders.try_recv() {
            Ok(order) => writer.take(order, now())?,
            Err(TryRecvError::Empty) => return Ok(true),
            Err(TryRecvError::Disconnected) => return Ok(false),
        }
    }
    Ok(true)
}

/// Waits for an order until a sync is due. False when nobody can send any more.
fn wait<M: Medium, T: Table>(
    writer: &mut Writer<M, T>,
    orders: &Receiver<Order>,
    now: &impl Fn() -> UnixMillis,
) -> Result<bool, StoreError> {
    let until_sync_ms = writer.sync_at().map_or(limits::WAKEUP_MAX_MS, |at| at.since_ms(now()));
    match orders.recv_timeout(Duration::from_millis(until_sync_ms)) {
        Ok(order) => {
            writer.take(order, now())?;
            Ok(true)
        }
        Err(RecvTimeoutError::Timeout) => Ok(true),
        Err(RecvTimeoutError::Disconnected) => Ok(false),
    }
}

fn prepare<M: Medium>(job: SpareJob<M>, spares: SyncSender<io::Result<Spare<M>>>) {
    let work = move || drop(spares.send(job.run()));
    if let Err(error) = std::thread::Builder::new().name("hookwheel-spare".into()).spawn(work) {
        // It is tried again; without a spare the writer prepares the segment itself, in time but slower.
        tracing::warn!(%error, "no thread to prepare the next journal segment; it will be prepared while writing");
    }
}

/// The number of bytes of a group does not bound its facts in the view; this does.
const _: () = assert!(limits::REQUEST_EVENTS_MAX < limits::VIEW_LAG_MAX);
