//! Which deliveries a filter means, slice by slice, for those who do something with many. It reads no more of them than the filter asks about.

use super::{After, Lists, One, Standing, Wish, internal};
use crate::limits;
use crate::model::{DeliveryKey, DeliveryState};
use crate::server::hallway::Refusal;

/// Rows of the queue that are looked at for one slice, for each delivery that it may have.
const ROWS_PER_KEY: usize = 4;

impl Lists {
    /// Deliveries of the one state that is wished for, at most as many as the limit, and where to go on.
    pub(super) fn keys(&self, wish: &Wish, after: After) -> Result<(Vec<DeliveryKey>, Option<String>), Refusal> {
        if wish.state != Some(DeliveryState::Pending) {
            let mut ends = self.history.ends(&wish.ends(after), wish.limit + 1).map_err(|error| internal(&error.to_string()))?;
            let goes_on = ends.len() > wish.limit;
            ends.truncate(wish.limit);
            let standings = ends.into_iter().map(Standing::finished).collect::<Vec<_>>();
            let next = standings.last().map(Standing::cursor).filter(|_| goes_on);
            return Ok((standings.iter().map(|standing| standing.key).collect(), next));
        }
        let most = (wish.limit * ROWS_PER_KEY).min(limits::PAGE_ROWS_MAX);
        let rows = self.pending(wish.webhooks.as_ref(), after, most)?;
        let (count, is_cut) = (rows.len(), rows.len() == most);
        let (mut keys, mut cursor) = (Vec::new(), None);
        for (index, standing) in rows.into_iter().enumerate() {
            cursor = Some(standing.cursor());
            let last = wish.asks_about_moments().then(|| self.last_attempt(&standing)).flatten();
            // What was never attempted happened last when its event was accepted.
            let asks_about_event = wish.asks_about_events() || (wish.asks_about_moments() && last.is_none());
            let event = asks_about_event.then(|| self.event(&standing)).flatten();
            if wish.wants(event.as_ref(), last.as_ref()) {
                keys.push(standing.key);
            }
            if keys.len() == wish.limit {
                return Ok((keys, cursor.filter(|_| index + 1 < count || is_cut)));
            }
        }
        Ok((keys, cursor.filter(|_| is_cut)))
    }

    /// A delivery that ended, with its event if that is kept, and its attempts; `None` when it is pending, or nothing is known of it.
    pub(in super::super) fn ended(&self, key: DeliveryKey) -> Result<Option<One>, Refusal> {
        let found = self.history.end_of(key).map_err(|error| internal(&error.to_string()))?;
        let Some(standing) = found.map(Standing::finished) else { return Ok(None) };
        let attempts = self.attempts(&standing, limits::CARRIED_ATTEMPTS_MAX)?;
        let event = self.event(&standing);
        Ok(Some((standing, event, attempts)))
    }
}
