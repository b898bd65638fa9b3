//! Ways in which the world is built wrong on purpose, so that some seed must break a law. They are never there when seeds are run for themselves.
//!
//! Each takes away one thing that the product rests on, where engine, writer and disk meet. `cargo test --test sim planted -- --nocapture` prints the first seed that notices, and by
//! which law; as of this writing:
//!
//! | defect | first seed | law |
//! | --- | --- | --- |
//! | the disk's sync does nothing | 0 | nothing is sent or answered before it is durable |
//! | a directory's sync does nothing | 0 | nothing is sent or answered before it is durable |
//! | answered before the writer has seen it | 0 | accepted is never lost |
//! | segments go with what is pending in them | 0 | the view equals the fold of the journal |
//! | segments go under an attempt | 4 | an event is there as long as it is wanted |
//! | the second of two records is written first | 0 | answers are right |
//! | a record is said to be durable and never written | 0 | answers are right |
//! | pauses are not heard of | 12 | caps hold |
//! | an ordered webhook's queue is loaded by due time | 0 | caps hold |
//! | no limit on attempts in flight | 3 | caps hold |
//! | a clock that is fast | 0 | never early |
//! | a start leaves out the last of the queue | 0 | the engine knows what is pending |
//! | ids are recognized for too long | 0 | events are refused only while the disk is full |
//! | what operators end is only said to be | 7 | the journal is what was asked for |
//! | a pause is told that nobody made | 1 | nothing is told that did not happen |

use hookwheel::engine::{Configuration, Input};
use hookwheel::model::{Pause, PauseReason, WebhookNumber};
use hookwheel::store::fact::{Cancelled, Fact};
use hookwheel::store::writer::Order;
use hookwheel::time::UnixMillis;

use crate::hallway::Daemon;
use crate::world::World;

/// What is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Defect {
    #[default]
    None,
    /// The disk's sync does nothing.
    DiskLies,
    /// A directory's sync does nothing: what was made, renamed or removed may be undone.
    DirectoryLies,
    /// The hallway answers a publication before the writer has seen it.
    AnswersEarly,
    /// Segments go although what is pending in them was not carried.
    CarriesNothing,
    /// Segments go although attempts are under way whose event lies there.
    LetsGoEarly,
    /// Of two records the second is written first.
    SwapsRecords,
    /// Now and then a record is said to be durable, and never written.
    LosesRecords,
    /// The engine does not hear of pauses.
    IgnoresPauses,
    /// What waits for an ordered webhook is loaded by due time instead of age.
    ForgetsTheOrder,
    /// The engine knows no limit on attempts in flight.
    ForgetsTheCap,
    /// The engine's clock is five seconds fast.
    FastClock,
    /// Of the queue that a start finds the last entry is left out.
    LoadsNotAll,
    /// Ids are recognized twice as long as they may be.
    LongMemory,
    /// What operators want ended is only said to be.
    EndsNothing,
    /// Whenever time passes the engine hears of a pause that nobody made.
    HearsOfPauses,
}

/// Every defect, with the laws of which one must notice.
pub(crate) const PLANTED: [(Defect, &[&str]); 15] = [
    (Defect::DiskLies, &["nothing is sent or answered before it is durable"]),
    (
        Defect::DirectoryLies,
        &[
            "the store opens",
            "the journal is what was asked for",
            "accepted is never lost",
            "nothing is sent or answered before it is durable",
        ],
    ),
    (Defect::AnswersEarly, &["accepted is never lost"]),
    (
        Defect::CarriesNothing,
        &["what is live survives", "the view equals the fold of the journal", "an event is there as long as it is wanted"],
    ),
    (Defect::LetsGoEarly, &["an event is there as long as it is wanted"]),
    (Defect::SwapsRecords, &["the journal is what was asked for", "answers are right"]),
    (Defect::LosesRecords, &["the journal is what was asked for", "answers are right"]),
    (Defect::IgnoresPauses, &["caps hold"]),
    (Defect::ForgetsTheOrder, &["caps hold"]),
    (Defect::ForgetsTheCap, &["caps hold"]),
    (Defect::FastClock, &["attempts follow the schedule", "never early"]),
    (Defect::LoadsNotAll, &["the engine knows what is pending"]),
    // What is not written because it was recognized looks like a refusal.
    (Defect::LongMemory, &["answers are right", "events are refused only while the disk is full"]),
    (Defect::HearsOfPauses, &["nothing is told that did not happen"]),
    (
        Defect::EndsNothing,
        &["the view equals the fold of the journal", "the journal is what was asked for", "the engine knows what is pending"],
    ),
];

impl World {
    /// What the engine gets of an input, which the mirror got whole.
    pub(crate) fn spoil_input(&self, input: Input) -> Input {
        match (self.defect, input) {
            (Defect::IgnoresPauses, Input::Paused { paused: true, .. }) => Input::Ticked,
            (Defect::ForgetsTheCap, Input::Configured(configuration)) => {
                Input::Configured(Configuration { max_in_flight: 1000 * configuration.max_in_flight, ..configuration })
            }
            (Defect::LoadsNotAll, Input::Loaded(mut entries)) => {
                entries.pop();
                Input::Loaded(entries)
            }
            (Defect::HearsOfPauses, Input::Ticked) => {
                let pause = Pause { reason: PauseReason::Operator, since: UnixMillis(0), by: "nobody".into() };
                Input::PausesBegan(vec![(WebhookNumber(1), pause)])
            }
            (_, input) => input,
        }
    }

    /// What the engine takes for the time.
    pub(crate) fn spoil_time(&self, now: UnixMillis) -> UnixMillis {
        if self.defect == Defect::FastClock { now.plus_ms(5000) } else { now }
    }

    /// What the writer gets for an order that the ledger got whole.
    pub(crate) fn spoil_order(&mut self, daemon: &mut Daemon, order: Order) -> Vec<Order> {
        match (self.defect, order) {
            (Defect::SwapsRecords, order @ Order::Record(_)) => match daemon.held_back.take() {
                Some(earlier) => vec![order, earlier],
                None => {
                    daemon.held_back = Some(order);
                    Vec::new()
                }
            },
            (Defect::LosesRecords, Order::Record(Fact::Attempted(_))) if self.rng.one_in(10) => {
                daemon.unrecorded -= 1;
                daemon.tell(Input::Recorded(1), self.now_ms);
                Vec::new()
            }
            (Defect::EndsNothing, Order::Operate { ticket, facts }) => {
                let ends_nothing = |fact| match fact {
                    Fact::Cancelled(cancelled) => Fact::Cancelled(Cancelled { deliveries: Vec::new(), ..cancelled }),
                    fact => fact,
                };
                vec![Order::Operate { ticket, facts: facts.into_iter().map(ends_nothing).collect() }]
            }
            (_, order) => vec![order],
        }
    }
}
