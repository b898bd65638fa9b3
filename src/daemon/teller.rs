//! What the engine wants told about the daemon, published as events through the normal path; and the disk, looked at so that it can be told of. It never decides what is told.
//!
//! Notices come under credits of the engine, so there are never more than [`limits::NOTICES_MAX`]. While there is no room for them they wait here, and nobody waits for them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::house::House;
use super::publications;
use super::wheelhouse::Message;
use crate::engine::Input;
use crate::limits;
use crate::model::Notice;
use crate::server::events::fresh_id;
use crate::server::hallway::{Publication, Refusal};

/// Publishes what comes, as long as the daemon lives.
pub(super) async fn tell(house: House, mut notices: mpsc::Receiver<Notice>) {
    let permits = Arc::new(Semaphore::new(limits::TELLER_PERMITS));
    let mut batch = Vec::with_capacity(limits::NOTICES_MAX);
    while notices.recv_many(&mut batch, limits::NOTICES_MAX).await > 0 {
        let count = batch.len();
        if let Err(why) = publish(&house, &permits, &batch).await {
            tracing::warn!(notices = count, why, "what the daemon has to tell about itself could not be published");
        }
        batch.clear();
        house.0.inbox.put(Message::Input(Input::Told(count)));
    }
}

/// Makes the events of notices durable, however long that takes.
async fn publish(house: &House, permits: &Arc<Semaphore>, notices: &[Notice]) -> Result<(), String> {
    loop {
        let permit = Arc::clone(permits).acquire_owned().await.map_err(|_| "the daemon is ending".to_owned())?;
        let events = notices.iter().map(|notice| notice.event(fresh_id())).collect();
        match publications::publish_under(house, events, permit).await {
            Publication::Durable(_) => {
                for Notice { news, .. } in notices {
                    tracing::debug!(event_type = %news.event_type(), "told");
                }
                return Ok(());
            }
            Publication::Refused(Refusal::Busy { .. }) => tokio::time::sleep(Duration::from_millis(limits::NOTICE_RETRY_MS)).await,
            Publication::Refused(refusal) => return Err(format!("{refusal:?}")),
            Publication::Conflicts(_) => return Err("their ids were used before".to_owned()),
        }
    }
}

/// Looks at the room on the disk now and then, while somebody wants to be told of it.
pub(super) async fn watch_disk(house: House) {
    loop {
        tokio::time::sleep(Duration::from_millis(limits::DISK_LOOKED_AT_EVERY_MS)).await;
        // The answer also says that the engine has taken in what was measured before: there is never more than one on its way.
        let Ok(is_wanted) = house.ask(|engine, _, _| engine.tells()).await else { return };
        if is_wanted && let Some(free_bytes) = house.free_bytes().await {
            house.0.inbox.put(Message::Input(Input::DiskMeasured { free_bytes }));
        }
    }
}
