//! The view's table in sled 0.34.7: the only file that names sled. It never lets a panic of sled out, and never trusts sled's own flush.
//!
//! The settings are those that were measured: small segments, because start-up is quadratic in their number only far beyond what the view holds; a bounded cache;
//! the background flusher on, because it also frees space; no compression. `flush` of this version ends in `sync_file_range`,
//! which survives no power loss, so [`Table::checkpoint`] syncs the file itself, through a handle that was open since the start and so sees the error of
//! every write in between.
//!
//! A row of its own takes some 200 bytes of memory in sled and some 300 of disk (measured with a million), and a start reads them one by one. So the rows of the queue, and of ids by age, lie many in one
//! value, in a `block`: found by the key at or before theirs, changed as a whole, split when they are full, gone when they are empty. Whoever uses the table sees
//! rows, and a batch of rows is all or nothing as before. Ids by their hash stay rows of their own: each lies somewhere else, and would rewrite a block for itself alone.
//!
//! sled gives the room of what was removed to what comes, but not all of it: under rows that come and go its file grows by some 15 MB a million of them, for ever. So a table has *generations*: when
//! its file has become far larger than what is in it, that is copied into a fresh database beside it while both get every change, and when the copy is durable, the file `current` names it and the old one
//! goes. A copy that was not finished, whatever became of it, is deleted by the next start or try, and was never read.
//!
//! Damage in its file is met with a panic more often than with an error, so every call runs under `catch_unwind`. After the first failure nothing is
//! asked of it any more ([`generation::Generation`]).

mod generation;
mod tidying;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLockWriteGuard};

use self::generation::Open;
use self::tidying::Shared;
pub use self::tidying::{Tidied, TidyRule};
use super::{Row, Table, TableError, Visit, block};

/// Far below the size from which sled puts values into files that it never syncs.
const VALUE_SIZE_MAX: usize = 64 * 1024;
/// Rows of sled, blocks among them, that a scan takes out of it at once, so that whoever visits them runs outside of it.
const SCAN_ROWS: usize = 32;

/// A sled database as a [`Table`]. Clones share it.
#[derive(Clone)]
pub struct SledTable {
    shared: Arc<Shared>,
}

impl SledTable {
    /// Opens the table in the directory at `path`, making it when there is none.
    ///
    /// # Errors
    /// [`TableError`] when it is damaged, whatever sled does about that.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        Ok(Self { shared: Arc::new(Shared::open(path)?) })
    }

    fn call<V>(&self, work: impl FnOnce(&Open) -> sled::Result<V>) -> Result<V, TableError> {
        self.shared.current().call(work)
    }

    /// Blocks change by reading them, and are found by their neighbours: who changes some is alone.
    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.blocks.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block in which `key` is, or would be: the last one of its family that does not begin behind it.
    fn block_of(&self, family: u8, key: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, TableError> {
        let family: &[u8] = &[family];
        self.call(|open| open.tree.range(family..=key).next_back().transpose())
    }

    /// The first block of a family behind `key`.
    fn block_behind(&self, family: u8, key: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, TableError> {
        let range = (Bound::Excluded(key.to_vec()), Bound::Excluded(vec![family + 1]));
        self.call(|open| open.tree.range::<Vec<u8>, _>(range).next().transpose())
    }

    /// What changes about the blocks when these rows of one family change, in the order of their keys.
    fn pack(&self, family: u8, mut rows: &[Row], batch: &mut sled::Batch) -> Result<(), TableError> {
        while let Some((first, _)) = rows.first() {
            let block = match self.block_of(family, first)? {
                Some(block) => Some(block),
                None => self.block_behind(family, first)?,
            };
            let Some((key, value)) = block else {
                let blocks = block::edited(first, None, rows)?;
                blocks.iter().for_each(|(key, value)| batch.insert(key.as_slice(), value.as_slice()));
                return Ok(());
            };
            let end = self.block_behind(family, &key)?.map(|(end, _)| end);
            let count = end.map_or(rows.len(), |end| rows.partition_point(|(key, _)| key.as_slice() < end.as_ref()));
            let (inside, behind) = rows.split_at(count);
            let blocks = block::edited(&key, Some(&value), inside)?;
            if blocks.first().is_none_or(|(first, _)| first.as_slice() != key.as_ref()) {
                batch.remove(&key);
            }
            blocks.iter().for_each(|(key, value)| batch.insert(key.as_slice(), value.as_slice()));
            rows = behind;
        }
        Ok(())
    }

    /// Rows of sled from the one on in which `from` is, or would be.
    fn chunk(&self, from: &[u8], to: &[u8]) -> Result<Vec<(sled::IVec, sled::IVec)>, TableError> {
        let _reading = self.shared.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let block = block::family_of(from).map(|family| self.block_of(family, from)).transpose()?.flatten();
        let from = block.as_ref().map_or(from, |(key, _)| key.as_ref());
        self.call(|open| open.tree.range(from..to).take(SCAN_ROWS).collect())
    }
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        let Some(family) = block::family_of(key) else {
            return self.call(|open| Ok(open.tree.get(key)?.map(|value| value.to_vec())));
        };
        let _reading = self.shared.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let Some((block, value)) = self.block_of(family, key)? else { return Ok(None) };
        Ok(block::find(&block, &value, key)?)
    }

    fn apply(&self, rows: &[Row]) -> Result<(), TableError> {
        if let Some((key, _)) = rows.iter().find(|(_, value)| value.as_ref().is_some_and(|value| value.len() > VALUE_SIZE_MAX)) {
            return Err(TableError(format!("the value of a key that begins with {:?} is too large", key.first())));
        }
        let _alone = self.alone();
        let mut batch = sled::Batch::default();
        let mut packed: BTreeMap<u8, Vec<Row>> = BTreeMap::new();
        for (key, value) in rows {
            match (block::family_of(key), value) {
                (Some(family), _) => packed.entry(family).or_default().push((key.clone(), value.clone())),
                (None, Some(value)) => batch.insert(key.as_slice(), value.as_slice()),
                (None, None) => batch.remove(key.as_slice()),
            }
        }
        for (family, mut rows) in packed {
            rows.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.pack(family, &rows, &mut batch)?;
        }
        // First the copy that is being made, whose failure is its own alone.
        let copy = self.shared.copy();
        if let Some(copy) = &copy
            && let Err(error) = copy.call(|open| open.tree.apply_batch(batch.clone()))
        {
            tracing::debug!(%error, "the copy of the view failed; it is given up");
        }
        self.call(|open| open.tree.apply_batch(batch))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        let mut from = from.to_vec();
        while from.as_slice() < to {
            let chunk = self.chunk(&from, to)?;
            let mut last = Vec::new();
            for (key, value) in &chunk {
                if block::family_of(key).is_none() {
                    if visit(key, value).is_break() {
                        return Ok(());
                    }
                    last = key.to_vec();
                    continue;
                }
                let mut rows = block::Rows::of(key, value)?;
                while let Some((key, value)) = rows.step()? {
                    if key >= to || (key >= from.as_slice() && visit(key, value).is_break()) {
                        return Ok(());
                    }
                }
                last = rows.into_last_key();
            }
            if chunk.len() < SCAN_ROWS {
                return Ok(());
            }
            // The next key in order is the same one with a zero behind it.
            from = [last.as_slice(), &[0]].concat();
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), TableError> {
        self.shared.current().checkpoint()
    }

    fn size_bytes(&self) -> u64 {
        self.shared.current().size_bytes()
    }
}

#[cfg(test)]
mod tests;
