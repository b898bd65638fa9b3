//! What the daemon tells about itself, and the event that it becomes. It never decides that something is to be told.
//!
//! Field names are those of the README's section "The daemon's own events", which a test compares with these.

use serde_json::{Map, Value, json};

use super::{DeliveryId, DeliveryKey, EventId, EventType, EventTypeName, NewEvent, Pause, PauseReason, Sequence, WebhookId, WebhookNumber};
use super::{Project, submission};
use crate::time::UnixMillis;

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// When the daemon found that it is to be told, on the schedule clock.
    pub at: UnixMillis,
    /// What.
    pub news: News,
}

/// The webhook that something is told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its number.
    pub number: WebhookNumber,
    /// Its id.
    pub webhook: WebhookId,
    /// What people call it.
    pub title: String,
    /// The project that it belongs to.
    pub project: Project,
    /// Deliveries that wait for it or are in flight.
    pub pending: u32,
}

/// What is told, by type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A webhook sends nothing any more.
    Paused {
        /// Which.
        subject: Subject,
        /// Why, since when and by whom.
        pause: Pause,
        /// What its last attempt came to, when that failed.
        last_outcome: Option<String>,
    },
    /// Attempts at its endpoint fail.
    Failing {
        /// Which.
        subject: Subject,
        /// Since when, without a success between.
        since: UnixMillis,
        /// Attempts that failed since then.
        failed_attempts: u64,
        /// The delivery whose attempt failed last.
        delivery: DeliveryKey,
        /// How, in words.
        last_outcome: String,
    },
    /// An attempt succeeded at an endpoint that was told to be failing.
    Recovered {
        /// Which.
        subject: Subject,
        /// Since when it had failed.
        since: UnixMillis,
        /// Attempts that failed between.
        failed_attempts: u64,
        /// The delivery that arrived.
        delivery: DeliveryKey,
    },
    /// Deliveries were given up.
    Dropped {
        /// Of which webhook.
        subject: Subject,
        /// How many.
        count: u64,
        /// When the first was.
        since: UnixMillis,
        /// The first.
        delivery: DeliveryKey,
        /// Why the last was given up, in words.
        last_outcome: String,
    },
    /// There is little room on the disk.
    DiskLow {
        /// Bytes that are free.
        free_bytes: u64,
        /// The mark below which it is told.
        low_bytes: u64,
    },
}

impl Notice {
    /// Its event, with that id.
    #[must_use]
    pub fn event(&self, id: EventId) -> NewEvent {
        submission::of_daemon(self.news.event_type(), self.at, &Value::Object(self.news.data()), id)
    }
}

impl News {
    /// The type of its event.
    ///
    /// # Panics
    /// Never: a test parses every name.
    #[must_use]
    pub fn event_type(&self) -> EventTypeName {
        let name = match self {
            Self::Paused { .. } => "hookwheel.webhook.paused",
            Self::Failing { .. } => "hookwheel.webhook.failing",
            Self::Recovered { .. } => "hookwheel.webhook.recovered",
            Self::Dropped { .. } => "hookwheel.delivery.dropped",
            Self::DiskLow { .. } => "hookwheel.disk.low",
        };
        EventTypeName::parse(name).expect("each has three good segments, as a test says")
    }

    /// The webhook that it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Paused { subject, .. }
            | Self::Failing { subject, .. }
            | Self::Recovered { subject, .. }
            | Self::Dropped { subject, .. } => Some(subject),
            Self::DiskLow { .. } => None,
        }
    }

    /// `data` of its event: who, a sentence, and what the sentence is made of.
    #[must_use]
    pub fn data(&self) -> Map<String, Value> {
        let mut data = Map::new();
        if let Some(Subject { webhook, title, project, pending, .. }) = self.subject() {
            data.extend(object(json!({ "webhook": webhook, "title": title, "project": project.to_string(), "pending": pending })));
        }
        let more = match self {
            Self::Paused { pause: Pause { reason, since, by }, last_outcome, .. } => {
                json!({ "reason": reason, "since": since, "by": by, "last_outcome": last_outcome })
            }
            Self::Failing { since, failed_attempts, delivery, last_outcome, .. } => json!({
                "since": since, "failed_attempts": failed_attempts, "delivery": DeliveryId(*delivery), "last_outcome": last_outcome
            }),
            Self::Recovered { since, failed_attempts, delivery, .. } => {
                json!({ "since": since, "failed_attempts": failed_attempts, "delivery": DeliveryId(*delivery) })
            }
            Self::Dropped { count, since, delivery, last_outcome, .. } => {
                json!({ "count": count, "since": since, "delivery": DeliveryId(*delivery), "last_outcome": last_outcome })
            }
            Self::DiskLow { free_bytes, low_bytes } => json!({ "free_bytes": free_bytes, "low_bytes": low_bytes }),
        };
        data.insert("summary".into(), self.summary().into());
        data.extend(object(more));
        data
    }

    /// One sentence for people.
    fn summary(&self) -> String {
        let name = self.subject().map(|subject| format!("{} ({})", subject.title, subject.webhook)).unwrap_or_default();
        match self {
            Self::Paused { pause, .. } => format!("{name} is {pause}"),
            Self::Failing { failed_attempts: 1, last_outcome, .. } => format!("{name} fails: {last_outcome}"),
            Self::Failing { since, failed_attempts, last_outcome, .. } => {
                format!("{name} has failed since {since}, {failed_attempts} attempts in all: {last_outcome}")
            }
            Self::Recovered { since, .. } => format!("{name} is well again; it had failed since {since}"),
            Self::Dropped { count: 1, last_outcome, .. } => format!("a delivery of {name} was given up: {last_outcome}"),
            Self::Dropped { count, last_outcome, .. } => format!("{count} deliveries of {name} were given up, the last: {last_outcome}"),
            Self::DiskLow { free_bytes, low_bytes } => {
                format!(
                    "{} MB are free on the disk, less than {} MB; when it is full, events are refused",
                    free_bytes / 1_000_000,
                    low_bytes / 1_000_000
                )
            }
        }
    }
}

/// What may be told with an event of that type of the daemon, for a try. It is invented.
#[must_use]
pub fn sample(event_type: &EventType) -> Map<String, Value> {
    samples().iter().find(|news| news.event_type() == event_type.name).map(News::data).unwrap_or_default()
}

/// One of each type, in the order of the catalogue.
fn samples() -> [News; 5] {
    const AT: UnixMillis = UnixMillis(1_795_428_000_000);
    let subject = Subject {
        number: WebhookNumber(1),
        webhook: WebhookId::parse("crm").expect("it has the form of an id"),
        title: "CRM sync".into(),
        project: Project::parse("shop.example.com").expect("it is a domain"),
        pending: 17,
    };
    let delivery = DeliveryKey { sequence: Sequence(17), webhook: WebhookNumber(1) };
    let last_outcome = "the receiver answered 500 Internal Server Error, where success is 200".to_owned();
    let pause = Pause { reason: PauseReason::Gone, since: AT, by: "receiver".into() };
    let gone = Some("the receiver answered 410 Gone, where success is 200".into());
    [
        News::Paused { subject: subject.clone(), pause, last_outcome: gone },
        News::Failing { subject: subject.clone(), since: AT, failed_attempts: 12, delivery, last_outcome: last_outcome.clone() },
        News::Recovered { subject: subject.clone(), since: AT, failed_attempts: 12, delivery },
        News::Dropped { subject, count: 17, since: AT, delivery, last_outcome },
        News::DiskLow { free_bytes: 250_000_000, low_bytes: 300_000_000 },
    ]
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Catalog;

    #[test]
    fn there_is_one_sample_of_each_type_of_the_catalogue() {
        let catalog = Catalog::built_in();
        let told = samples().iter().map(News::event_type).collect::<Vec<_>>();
        assert!(told.iter().eq(catalog.types_of(&Project::of_daemon()).iter().map(|event_type| &event_type.name)), "{told:?}");
        assert!(samples().iter().all(|news| !news.data()["summary"].as_str().unwrap().is_empty()));
    }

    #[test]
    fn the_event_says_when_what_and_about_whom() {
        let [_, failing, ..] = samples();
        let event = Notice { at: UnixMillis(1_795_431_600_000), news: failing }.event(EventId::parse("evt_1").unwrap());
        assert!(event.project.is_of_daemon() && !event.id_by_client);
        insta::assert_snapshot!(std::str::from_utf8(&event.body).unwrap(), @r#"{"type":"hookwheel.webhook.failing","timestamp":"2026-11-23T11:00:00.000Z","project":"hookwheel","data":{"delivery":"dlv_aaaaaaaaaaabcaaaaaaq","failed_attempts":12,"last_outcome":"the receiver answered 500 Internal Server Error, where success is 200","pending":17,"project":"shop.example.com","since":"2026-11-23T10:00:00.000Z","summary":"CRM sync (crm) has failed since 2026-11-23T10:00:00.000Z, 12 attempts in all: the receiver answered 500 Internal Server Error, where success is 200","title":"CRM sync","webhook":"crm"}}"#);
    }
}
