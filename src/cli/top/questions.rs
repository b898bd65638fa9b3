//! What the screen wants to know of the daemon, asked on a thread of its own, so that a daemon that does not answer never holds up a key. It never asks twice at once.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::super::client::Client;
use super::super::failure::Failure;
use super::{first_line, path};
use crate::model::report::{DeliveryDetail, DeliveryPage, Top, TopQuery, WebhookSummary};
use crate::model::{DeliveryId, WebhookId};

/// Questions that wait, and answers that nobody has looked at yet.
const WAITING_MAX: usize = 8;
/// Deliveries of one webhook that are shown.
const DELIVERIES_SHOWN: usize = 100;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// How do the webhooks fare?
    Top(TopQuery),
    /// What waits for a webhook, and what ended?
    Deliveries(WebhookId),
    /// What became of a delivery, attempt by attempt?
    Delivery(DeliveryId),
    /// Pause a webhook, or resume it.
    SetPaused(WebhookId, bool),
}

/// An answer; an error is the daemon's sentence.
#[derive(Debug)]
pub(super) enum News {
    /// How the webhooks fare.
    Top(Box<Top>),
    /// The daemon can't be reached, or does not answer.
    Away(String),
    /// Deliveries of a webhook.
    Deliveries(WebhookId, Result<DeliveryPage, String>),
    /// A delivery.
    Delivery(DeliveryId, Result<Box<DeliveryDetail>, String>),
    /// A webhook was paused or resumed.
    Paused(WebhookId, bool, Result<Box<WebhookSummary>, String>),
}

/// The way to the thread that asks.
pub(super) struct Asker {
    questions: SyncSender<Question>,
    news: Receiver<News>,
}

impl Asker {
    /// Starts the thread. It ends when this is dropped, and at the latest with the process.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(daemon: Client) -> Result<Self, Failure> {
        let (questions, asked) = sync_channel(WAITING_MAX);
        let (answers, news) = sync_channel(WAITING_MAX);
        let work = move || {
            while let Ok(question) = asked.recv() {
                if answers.send(answer(&daemon, question)).is_err() {
                    return;
                }
            }
        };
        let refused = |error| Failure::Refused(format!("can't start: the system refused a thread: {error}"));
        std::thread::Builder::new().name("hookwheel-top".into()).spawn(work).map_err(refused)?;
        Ok(Self { questions, news })
    }

    /// Asks. False when so much is being asked already that this is not.
    ///
    /// # Errors
    /// When the thread is gone.
    pub(super) fn ask(&self, question: Question) -> Result<bool, Failure> {
        match self.questions.try_send(question) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(Failure::Refused("a defect of hookwheel: nobody asks the daemon any more".into())),
        }
    }

    /// The next answer that is there.
    pub(super) fn news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

fn answer(daemon: &Client, question: Question) -> News {
    let told = |failure: Failure| first_line(&failure);
    match question {
        Question::Top(query) => match daemon.get::<Top>(&path(query)) {
            Ok(top) => News::Top(Box::new(top)),
            Err(failure) => News::Away(told(failure)),
        },
        Question::Deliveries(webhook) => {
            let page = daemon.get(&format!("/v1/deliveries?webhook={webhook}&limit={DELIVERIES_SHOWN}")).map_err(told);
            News::Deliveries(webhook, page)
        }
        Question::Delivery(id) => News::Delivery(id, daemon.get(&format!("/v1/deliveries/{id}")).map(Box::new).map_err(told)),
        Question::SetPaused(webhook, pause) => {
            let verb = if pause { "pause" } else { "resume" };
            let changed = daemon.post(&format!("/v1/webhooks/{webhook}/{verb}"), None).map(Box::new).map_err(told);
            News::Paused(webhook, pause, changed)
        }
    }
}
