//! Publications, from the front doors to the engine and back. It never keeps one waiting for long: beyond the permits it is refused.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::house::{DISK_FULL_RETRY_S, House};
use super::wheelhouse::Message;
use crate::engine::Reply;
use crate::limits;
use crate::model::NewEvent;
use crate::model::report::PublishedEvent;
use crate::server::hallway::{Publication, Refusal};

/// Makes events durable, all or none.
pub(super) async fn publish(house: &House, events: Vec<NewEvent>) -> Publication {
    let refused = |detail: &str| Publication::Refused(Refusal::Unavailable { detail: detail.to_owned() });
    let permit =
        tokio::time::timeout(Duration::from_millis(limits::INGEST_WAIT_MS), Arc::clone(&house.0.ingest_permits).acquire_owned()).await;
    let Ok(permit) = permit else {
        let detail = format!("{} requests are being made durable already; nothing of this one was kept", limits::INGEST_PERMITS);
        return Publication::Refused(Refusal::Busy { detail, retry_after_s: 1 });
    };
    match permit {
        Ok(permit) => publish_under(house, events, permit).await,
        Err(_) => refused("the daemon is ending; nothing was kept"),
    }
}

/// Makes events durable, all or none, under a permit that counts in [`limits::ENGINE_INBOX`].
pub(super) async fn publish_under(house: &House, events: Vec<NewEvent>, permit: OwnedSemaphorePermit) -> Publication {
    let refused = |detail: &str| Publication::Refused(Refusal::Unavailable { detail: detail.to_owned() });
    let (reply, answered) = oneshot::channel();
    house.0.inbox.put(Message::Publish { events, reply, permit });
    match answered.await {
        Err(_) => refused(
            "the store failed before this could be made durable; whether it was kept is not known, so send it again with the same id",
        ),
        Ok(Reply::Draining) => refused("the daemon is ending; nothing was kept"),
        Ok(Reply::Durable(events)) => {
            let published = events.into_iter().map(|(id, deliveries, duplicate)| PublishedEvent { id, deliveries, duplicate });
            Publication::Durable(published.collect())
        }
        Ok(Reply::Conflicts(conflicts)) => Publication::Conflicts(conflicts),
        Ok(Reply::DiskFull) => {
            let detail = format!("{}; nothing of this request was kept", house.disk_trouble().unwrap_or_else(|| "the disk is full".into()));
            Publication::Refused(Refusal::Busy { detail, retry_after_s: DISK_FULL_RETRY_S })
        }
        Ok(Reply::QueueFull { pending, max_pending }) => {
            let detail =
                format!("the queue is full: {pending} deliveries are pending, max_pending in [limits] is {max_pending}; nothing was kept");
            Publication::Refused(Refusal::Busy { detail, retry_after_s: 30 })
        }
        Ok(Reply::TooManyDeliveries { deliveries }) => {
            let most = limits::DELIVERIES_PER_PUBLICATION_MAX;
            let detail = format!(
                "this request would make {deliveries} deliveries, at most {most} are made at once; send fewer events in one request"
            );
            Publication::Refused(Refusal::Invalid { detail })
        }
    }
}
