//! The attempts of one delivery, read back from where the last one lies. It never knows whether the delivery is pending or ended.

use super::fact::Fact;
use super::journal::medium::Medium;
use super::journal::reader::{JournalReader, ReadError};
use crate::model::{Attempt, DeliveryKey, Locator};

/// The newest attempts of a delivery, at most `most`, the oldest first. `last` is where the last of them lies: in a fact of its own, from which the chain leads on to
/// the one before, or inside a `Carried`, where all that came before lie together. Where the chain is damaged, it ends.
///
/// # Errors
/// [`ReadError::Io`] when the disk fails.
pub fn read<M: Medium>(reader: &JournalReader<M>, key: DeliveryKey, last: Option<Locator>, most: usize) -> Result<Vec<Attempt>, ReadError> {
    let mut newest_first = Vec::new();
    let mut place = last;
    while let Some(at) = place.filter(|_| newest_first.len() < most) {
        let fact = match reader.read(at) {
            Ok(found) => found.fact,
            Err(ReadError::Damaged { .. }) => break,
            Err(error) => return Err(error),
        };
        place = None;
        match fact {
            Fact::Attempted(attempted) if attempted.key == key => {
                place = attempted.previous;
                newest_first.push(attempted.attempt);
            }
            Fact::Carried(carried) if carried.sequence == key.sequence => {
                let ours = carried.deliveries.into_iter().find(|one| one.webhook == key.webhook);
                newest_first.extend(ours.into_iter().flat_map(|one| one.timeline.into_iter().rev()));
            }
            _ => {}
        }
    }
    newest_first.truncate(most);
    newest_first.reverse();
    Ok(newest_first)
}
