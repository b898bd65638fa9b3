//! The engine's thread: takes in what happened, lets the engine decide, carries out its orders. It never decides and never waits for anybody.
//!
//! Whoever speaks to it holds a permit, and so does everything that it orders; every queue is as deep as its permits, so no send here can find one full.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::watchdog::Watchdog;
use super::wishes::{Wish, Wishes};
use crate::engine::{AttemptRecord, Effect, Engine, Input, Reply, Send, Ticket};
use crate::limits;
use crate::model::{NewEvent, Notice, PauseReason, WebhookNumber};
use crate::server::metrics::Metrics;
use crate::store::carry::{Carry, Load};
use crate::store::fact::{Attempted, BlacklistChange, Cancelled, CancelledDelivery, Fact};
use crate::store::writer::{Answer, Order, WriterStatus};
use crate::time::{ScheduleClock, Stopwatch, UnixMillis};

/// A question about the engine's state, answered on its thread.
pub(super) type Question = Box<dyn FnOnce(&Engine, &WriterStatus, UnixMillis) + std::marker::Send>;

/// What reaches the engine's thread.
pub(super) enum Message {
    /// Something happened.
    Input(Input),
    /// Somebody wants events made durable.
    Publish {
        /// The events.
        events: Vec<NewEvent>,
        /// Where the answer goes.
        reply: oneshot::Sender<Reply>,
        /// Given back when the publication is answered.
        permit: OwnedSemaphorePermit,
    },
    /// The daemon wants facts made durable.
    Operate {
        /// The facts.
        facts: Vec<Fact>,
        /// Told when they are.
        done: oneshot::Sender<()>,
        /// Given back then, and not before: whoever asked may be gone by now, the order is not.
        permit: OwnedSemaphorePermit,
    },
    /// An operator wants something of single deliveries.
    Wish {
        /// What.
        wish: Wish,
        /// Given back when it is answered.
        permit: OwnedSemaphorePermit,
    },
    /// Retention wants written down again what still holds of this.
    Carry {
        /// What held.
        carry: Vec<Carry>,
        /// Told what it took, once it is durable and the engine knows of it.
        done: oneshot::Sender<Load>,
        /// Given back then.
        permit: OwnedSemaphorePermit,
    },
    /// The daemon wants a change of a Black List made durable.
    Blacklist {
        /// The change.
        change: BlacklistChange,
        /// Told when it is, and how many addresses it changed something about.
        done: oneshot::Sender<usize>,
        /// As with [`Message::Operate`].
        permit: OwnedSemaphorePermit,
    },
    /// The daemon wants the view to have everything written so far.
    Barrier {
        /// Told when it has.
        done: oneshot::Sender<()>,
        /// Given back then.
        permit: OwnedSemaphorePermit,
    },
    /// A new idempotency window, in milliseconds.
    SetIdempotencyWindow(u64),
    /// Somebody wants to know something.
    Ask {
        /// What.
        question: Question,
        /// Given back when it is answered.
        permit: OwnedSemaphorePermit,
    },
    /// The writer answered.
    Answers(Vec<Answer>, WriterStatus),
    /// The end.
    Stop,
}

/// The way to the engine's thread.
#[derive(Clone)]
pub(super) struct Inbox(pub(super) SyncSender<Message>);

impl Inbox {
    /// Puts a message in. Nothing happens when the engine's thread has ended.
    pub(super) fn put(&self, message: Message) {
        match self.0.try_send(message) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => unreachable!("the inbox is as deep as the permits of all who may use it, asserted in limits"),
        }
    }
}

/// Everything that the engine's thread holds.
pub(super) struct Wheelhouse {
    /// Who decides.
    pub(super) engine: Engine,
    /// The time.
    pub(super) clock: ScheduleClock,
    /// The writer's inbox.
    pub(super) orders: SyncSender<Order>,
    /// Those who read bodies and send them.
    pub(super) senders: Vec<SyncSender<Send>>,
    /// Told when the engine pauses a webhook.
    pub(super) paused: tokio::sync::mpsc::Sender<(WebhookNumber, PauseReason)>,
    /// Told what the engine wants published about the daemon; as deep as the credits for it.
    pub(super) notices: tokio::sync::mpsc::Sender<Notice>,
    /// Counts.
    pub(super) metrics: Arc<Metrics>,
    /// What was ordered before the thread began.
    pub(super) effects: Vec<Effect>,
    /// What the writer had done before the thread began.
    pub(super) written: WriterStatus,
    /// Fed in every turn, when systemd asked for it.
    pub(super) watchdog: Option<Watchdog>,
}

/// Who waits for an answer.
#[derive(Default)]
pub(super) struct Waiting {
    last_ticket: u64,
    publications: HashMap<u64, (oneshot::Sender<Reply>, OwnedSemaphorePermit)>,
    commits: HashMap<u64, Stopwatch>,
    operations: HashMap<u64, (oneshot::Sender<()>, OwnedSemaphorePermit)>,
    blacklist_changes: HashMap<u64, (oneshot::Sender<usize>, OwnedSemaphorePermit)>,
    /// Pauses that nobody has taken over yet to write them down: at most one a webhook.
    pauses: VecDeque<(WebhookNumber, PauseReason)>,
    carries: HashMap<u64, (oneshot::Sender<Load>, OwnedSemaphorePermit)>,
    /// What operators want of single deliveries.
    pub(super) wishes: Wishes,
    next_sender: usize,
    writer: WriterStatus,
}

impl Waiting {
    /// A new ticket.
    pub(super) fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// The writer is gone: nobody is kept waiting for what will not come.
    fn forget_all(&mut self) {
        self.publications.clear();
        self.operations.clear();
        self.wishes.clear();
    }
}

impl Wheelhouse {
    /// Runs until told to stop.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        let mut waiting = Waiting { writer: self.written, ..Waiting::default() };
        let mut effects = std::mem::take(&mut self.effects);
        loop {
            self.carry_out(&mut effects, &mut waiting);
            let message = match inbox.recv_timeout(self.patience()) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => Message::Input(Input::Ticked),
            };
            self.take(message, &mut effects, &mut waiting);
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.look(self.clock.now(), self.engine.next_wakeup());
            }
        }
    }

    /// How long nothing needs to be done.
    fn patience(&self) -> Duration {
        let until_next_ms = self.engine.next_wakeup().map_or(limits::WAKEUP_MAX_MS, |at| at.since_ms(self.clock.now()));
        Duration::from_millis(until_next_ms.min(limits::WAKEUP_MAX_MS))
    }

    fn take(&mut self, message: Message, effects: &mut Vec<Effect>, waiting: &mut Waiting) {
        let now = self.clock.now();
        match message {
            Message::Input(input) => self.engine.handle(now, input, effects),
            Message::Publish { events, reply, permit } => {
                let ticket = waiting.ticket();
                waiting.publications.insert(ticket, (reply, permit));
                self.engine.handle(now, Input::Published { ticket: Ticket(ticket), events }, effects);
            }
            Message::Operate { facts, done, permit } => {
                let ticket = waiting.ticket();
                waiting.operations.insert(ticket, (done, permit));
                self.order(Order::Operate { ticket, facts }, waiting);
            }
            Message::Wish { wish, permit } => self.wished(wish, permit, now, effects, waiting),
            Message::Carry { carry, done, permit } => {
                let ticket = waiting.ticket();
                waiting.carries.insert(ticket, (done, permit));
                self.order(Order::Carry { ticket, carry }, waiting);
            }
            Message::Blacklist { change, done, permit } => {
                let ticket = waiting.ticket();
                waiting.blacklist_changes.insert(ticket, (done, permit));
                self.order(Order::Blacklist { ticket, change }, waiting);
            }
            Message::Barrier { done, permit } => {
                let ticket = waiting.ticket();
                waiting.operations.insert(ticket, (done, permit));
                self.order(Order::Barrier { ticket }, waiting);
            }
            Message::SetIdempotencyWindow(window_ms) => self.order(Order::SetIdempotencyWindow { window_ms }, waiting),
            Message::Ask { question, permit } => {
                question(&self.engine, &waiting.writer, now);
                drop(permit);
            }
            Message::Answers(answers, status) => {
                waiting.writer = status;
                for answer in answers {
                    self.answered(answer, now, effects, waiting);
                }
            }
            Message::Stop => {}
        }
    }

    fn answered(&mut self, answer: Answer, now: UnixMillis, effects: &mut Vec<Effect>, waiting: &mut Waiting) {
        match answer {
            Answer::Committed { ticket, settled } => {
                if let Some(stopwatch) = waiting.commits.remove(&ticket) {
                    self.metrics.commit_took_us(stopwatch.elapsed_us());
                }
                self.engine.handle(now, Input::Committed { ticket: Ticket(ticket), settled }, effects);
            }
            Answer::Recorded(count) => self.engine.handle(now, Input::Recorded(count), effects),
            Answer::Carried { ticket, moved, .. } if self.are_reopened(ticket, &moved, now, effects, waiting) => {}
            Answer::Operated { ticket } if Self::wish_is_durable(ticket, waiting) => {}
            Answer::Carried { ticket, moved, load } => {
                self.engine.handle(now, Input::Carried(moved), effects);
                if let Some((done, _permit)) = waiting.carries.remove(&ticket) {
                    // Whoever asked may have given up.
                    let _ = done.send(load);
                }
            }
            Answer::Blacklisted { ticket, changed } => {
                if let Some((done, _permit)) = waiting.blacklist_changes.remove(&ticket) {
                    // Whoever asked may have given up.
                    let _ = done.send(changed);
                }
            }
            Answer::Operated { ticket } | Answer::AtBarrier { ticket } => {
                if let Some((done, _permit)) = waiting.operations.remove(&ticket) {
                    // Whoever asked may have given up.
                    let _ = done.send(());
                }
            }
        }
    }

    fn carry_out(&mut self, effects: &mut Vec<Effect>, waiting: &mut Waiting) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Commit { ticket: Ticket(ticket), batch } => {
                    waiting.commits.insert(ticket, Stopwatch::start());
                    self.order(Order::Commit { ticket, batch }, waiting);
                }
                Effect::Reply { ticket, reply } => {
                    if let Some((sender, permit)) = waiting.publications.remove(&ticket.0) {
                        // A client that went away gets no answer; its events are durable all the same.
                        drop(sender.send(reply));
                        drop(permit);
                    }
                }
                Effect::Send(send) => self.send(send, waiting),
                Effect::RecordAttempt(AttemptRecord { key, body, attempt }) => {
                    self.order(Order::Record(Fact::Attempted(Attempted { key, body, previous: None, attempt })), waiting);
                }
                Effect::RecordCancelled { keys, by } => {
                    let deliveries = keys.into_iter().map(|(key, due)| CancelledDelivery::new(key, due)).collect();
                    self.order(Order::Record(Fact::Cancelled(Cancelled { at: self.clock.now(), by, deliveries })), waiting);
                }
                Effect::Found { ticket, found } => Self::found(ticket, found, waiting),
                Effect::Cancel { ticket, keys, by, found } => self.cancel(ticket, keys, by, found, waiting),
                Effect::Reopen { ticket, grants } => self.reopen(ticket, grants, waiting),
                Effect::PauseWebhook { webhook, reason } => waiting.pauses.push_back((webhook, reason)),
                Effect::Tell(notice) => self.tell(notice),
            }
        }
        self.hand_over_pauses(waiting);
    }

    /// Where there is no room, as many are being written down already; the others wait for the next turn, and their lanes are paused meanwhile.
    fn hand_over_pauses(&self, waiting: &mut Waiting) {
        while let (Some(pause), Ok(room)) = (waiting.pauses.front(), self.paused.try_reserve()) {
            room.send(*pause);
            waiting.pauses.pop_front();
        }
    }

    fn tell(&self, notice: Notice) {
        if let Err(tokio::sync::mpsc::error::TrySendError::Full(_)) = self.notices.try_send(notice) {
            unreachable!("the teller's queue is as deep as the notices that may be under way");
        }
    }

    fn send(&self, send: Send, waiting: &mut Waiting) {
        if send.prompt {
            self.metrics.timer_was_late_ms(self.clock.now().since_ms(send.due));
        }
        waiting.next_sender = (waiting.next_sender + 1) % self.senders.len();
        if let Err(TrySendError::Full(_)) = self.senders[waiting.next_sender].try_send(send) {
            unreachable!("a sender's queue is as deep as the attempts that may be in flight");
        }
    }

    /// Gives the writer an order.
    pub(super) fn order(&self, order: Order, waiting: &mut Waiting) {
        match self.orders.try_send(order) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => waiting.forget_all(),
            Err(TrySendError::Full(_)) => {
                unreachable!("the writer's inbox is as deep as the credits under which it is given orders, asserted in limits")
            }
        }
    }
}
