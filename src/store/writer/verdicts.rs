//! Idempotency: what a commit brings that is new, was accepted before, or contradicts what was. It never writes anything.

use std::collections::HashMap;

use super::{StoreError, Writer};
use crate::model::{Proposal, Verdict};
use crate::store::journal::medium::Medium;
use crate::store::view::Table;
use crate::store::view::keys::{self, IdHash, IdempotencyRow};

impl<M: Medium, T: Table> Writer<M, T> {
    /// What is new, repeated or in conflict; the places of new ones are filled in once they have one.
    pub(super) fn verdicts(&self, batch: &[Proposal]) -> Result<Vec<Verdict>, StoreError> {
        let mut in_batch: HashMap<IdHash, IdempotencyRow> = HashMap::new();
        let mut verdicts = Vec::with_capacity(batch.len());
        for proposal in batch {
            let new = Verdict::New { sequence: Default::default(), locator: Default::default() };
            if !proposal.id_by_client {
                verdicts.push(new);
                continue;
            }
            let hash = keys::id_hash(&proposal.project, &proposal.id);
            let known = match in_batch.get(&hash) {
                Some(row) => Some(*row),
                None => self.view.idempotency_row(&hash)?,
            };
            let known = known.filter(|row| proposal.accepted.since_ms(row.accepted) < self.idempotency_window_ms);
            verdicts.push(match known {
                Some(row) if row.fields_hash == proposal.fields_hash => Verdict::Duplicate { deliveries: row.deliveries },
                Some(_) => Verdict::Conflict,
                None => {
                    let deliveries = u32::try_from(proposal.deliveries.len() + proposal.overflowed.len()).unwrap_or(u32::MAX);
                    in_batch.insert(hash, IdempotencyRow { accepted: proposal.accepted, fields_hash: proposal.fields_hash, deliveries });
                    new
                }
            });
        }
        Ok(verdicts)
    }
}
