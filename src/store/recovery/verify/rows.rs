//! Comparing the rows of a view with those of a fold. It never changes a view.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::DeliveryId;
use crate::store::view::keys::{self, IdempotencyRow, Meta};
use crate::store::view::{Row, Table, TableError, Visit};
use crate::time::UnixMillis;

/// Rows that are told one by one; of more only how many there are.
const TOLD_MAX: usize = 20;
/// No key begins with this.
const END: &[u8] = &[0xff];

type Changed = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A table in memory: the rows of a fold, or what was changed since about a table that stays as it is.
#[derive(Default)]
pub(super) struct Changes {
    rows: Mutex<Changed>,
    keeps_removals: bool,
}

impl Changes {
    /// What will be changed about the table of a view.
    pub(super) fn of_a_view() -> Self {
        Self { rows: Mutex::default(), keeps_removals: true }
    }

    fn rows(&self) -> MutexGuard<'_, Changed> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table for Changes {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.rows().get(key).cloned().flatten())
    }

    fn apply(&self, rows: &[Row]) -> Result<(), TableError> {
        let mut table = self.rows();
        for (key, value) in rows {
            if value.is_some() || self.keeps_removals {
                table.insert(key.clone(), value.clone());
            } else {
                table.remove(key);
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        let rows = self.rows();
        let range = rows.range(from.to_vec()..to.to_vec()).filter_map(|(key, value)| Some((key, value.as_ref()?)));
        for (key, value) in range {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), TableError> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

/// A table that keeps nothing: what is wanted of a fold is the count and the digest of its queue.
pub(super) struct Digest;

impl Table for Digest {
    fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(None)
    }

    fn apply(&self, _rows: &[Row]) -> Result<(), TableError> {
        Ok(())
    }

    fn scan(&self, _from: &[u8], _to: &[u8], _visit: &mut Visit<'_>) -> Result<(), TableError> {
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), TableError> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

/// What was found, as far as people want to read it.
struct Findings<'a> {
    told: &'a mut Vec<String>,
    count: usize,
}

impl Findings<'_> {
    fn add(&mut self, finding: String) {
        self.count += 1;
        if self.count <= TOLD_MAX {
            self.told.push(finding);
        }
    }

    fn end(self) {
        if self.count > TOLD_MAX {
            self.told.push(format!("and {} rows more", self.count - TOLD_MAX));
        }
    }
}

/// Compares the rows of `table`, with the `changes` that its next start will make, with the rows of a fold.
pub(super) fn compare(table: &impl Table, changes: &Changes, folded: &Changes, findings: &mut Vec<String>) {
    let mut findings = Findings { told: findings, count: 0 };
    let (mut changes, mut folded) = (std::mem::take(&mut *changes.rows()), std::mem::take(&mut *folded.rows()));
    let oldest = |key: Option<&Vec<u8>>| key.and_then(|key| keys::parse_expiry_key(key).ok()).map(|(accepted, _)| accepted);
    let oldest_folded = oldest(folded.range(b"x".to_vec()..b"y".to_vec()).next().map(|(key, _)| key));
    let mut oldest_kept = None;
    let first = table.scan(b"x", b"y", &mut |key, _| {
        oldest_kept = oldest(Some(&key.to_vec()));
        ControlFlow::Break(())
    });
    // Ids are forgotten by age, the oldest first; retention may have carried fewer.
    let is_forgotten = |key: &[u8], value: &[u8]| {
        let since = [oldest_folded, oldest_kept].into_iter().map(|oldest| oldest.unwrap_or(UnixMillis(u64::MAX))).max();
        accepted_of(key, value).is_some_and(|accepted| Some(accepted) <= since)
    };
    let mut visit = |key: &[u8], value: &[u8], findings: &mut Findings<'_>| {
        let expected = folded.remove(key).flatten();
        match expected {
            _ if key == keys::META => compare_meta(value, expected.as_deref(), findings),
            Some(expected) if expected == value => {}
            _ if is_bad(key, value) => findings.add(format!("the row of {} does not fit its checksum", name_of(key))),
            _ if is_forgotten(key, value) => {}
            Some(_) => findings.add(format!("the row of {} says something else than the journal", name_of(key))),
            None => findings.add(format!("{} is there, and not in the journal", name_of(key))),
        }
    };
    let scanned = first.and_then(|()| {
        table.scan(&[], END, &mut |key, value| {
            match changes.remove(key) {
                Some(Some(changed)) => visit(key, &changed, &mut findings),
                Some(None) => {}
                None => visit(key, value, &mut findings),
            }
            ControlFlow::Continue(())
        })
    });
    if let Err(error) = scanned {
        findings.told.push(error.0);
        return;
    }
    for (key, value) in changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
        visit(key, value, &mut findings);
    }
    for (key, value) in folded.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
        if !is_forgotten(key, value) {
            findings.add(format!("{} is missing", name_of(key)));
        }
    }
    findings.end();
}

/// Reads every row of a table that is in use.
pub(super) fn read_all(table: &impl Table, findings: &mut Vec<String>) {
    let mut findings = Findings { told: findings, count: 0 };
    let scanned = table.scan(&[], END, &mut |key, value| {
        if is_bad(key, value) {
            findings.add(format!("the row of {} does not fit its checksum", name_of(key)));
        }
        ControlFlow::Continue(())
    });
    match scanned {
        Ok(()) => findings.end(),
        Err(error) => findings.told.push(error.0),
    }
}

fn compare_meta(value: &[u8], expected: Option<&[u8]>, findings: &mut Findings<'_>) {
    let essence = |value: &[u8]| Meta::from_value(value).map(|meta| (meta.journal, meta.sequence, meta.queue_count, meta.queue_digest));
    match (essence(value), expected.map(essence)) {
        (Ok(found), Some(Ok(expected))) if found == expected => {}
        (Err(_), _) => findings.add("its position does not fit its checksum".into()),
        _ => findings.add("its position, or the count or digest of its queue, is not what the journal says".into()),
    }
}

/// When the event was accepted whose id this row is about.
fn accepted_of(key: &[u8], value: &[u8]) -> Option<UnixMillis> {
    match key.first()? {
        b'x' => keys::parse_expiry_key(key).ok().map(|(accepted, _)| accepted),
        b'i' => IdempotencyRow::from_value(key, value).ok().map(|row| row.accepted),
        _ => None,
    }
}

fn is_bad(key: &[u8], value: &[u8]) -> bool {
    match key.first() {
        Some(b'x') => !value.is_empty() || keys::parse_expiry_key(key).is_err(),
        _ => keys::unseal(key, value).is_err(),
    }
}

fn name_of(key: &[u8]) -> String {
    match key.first() {
        Some(b'q') => keys::parse_queue_key(key)
            .map_or("a pending delivery".into(), |(due, key)| format!("the pending delivery {}, due {due},", DeliveryId(key))),
        Some(b'b') => keys::parse_blacklist_key(key).map_or("an address of a Black List".into(), |(project, address)| {
            format!("{} on the Black List of {project}", address.as_str())
        }),
        Some(b'w') => "a webhook".into(),
        Some(b's') => "a setting".into(),
        Some(b'a') => "a window that was being written".into(),
        Some(b'i') => "an event's id".into(),
        Some(b'x') => "the age of an event's id".into(),
        _ => "something unknown".into(),
    }
}
