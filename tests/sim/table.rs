//! A model of the view's table: ordered rows that a crash may set back, halve, damage or lose, as sled was seen to do. It never holds up the journal's truth.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookwheel::store::recovery::Opening;
use hookwheel::store::view::keys::{META, Meta};
use hookwheel::store::view::{Row, Table, TableError, Visit};
use hookwheel::store::writer::StoreError;

use crate::medium::SimMedium;
use crate::random::Rng;

/// All rows.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Where the table's rows lie while processes come and go.
pub(crate) struct TableDisk {
    medium: SimMedium,
    rng: Rng,
    rows: Rows,
    /// As of the last checkpoint.
    kept: Rows,
    /// What was applied since.
    batches: Vec<Vec<Row>>,
    /// What was thrown away and may reappear before the next checkpoint.
    thrown_away: Option<Rows>,
    /// The daemon left the mark that the view failed.
    marked: bool,
    /// It can't be opened.
    broken: bool,
    /// The simulator hurt it, so that a rebuild is called for.
    hurt: bool,
    faults_per_million: u64,
    /// Something was written to it while its disk had no room.
    wrote_without_room: bool,
}

/// An open table.
#[derive(Clone)]
pub(crate) struct SimTable(Arc<Mutex<TableDisk>>);

impl SimTable {
    pub(crate) fn new(medium: SimMedium, rng: Rng) -> Self {
        Self(Arc::new(Mutex::new(TableDisk {
            medium,
            rng,
            rows: Rows::new(),
            kept: Rows::new(),
            batches: Vec::new(),
            thrown_away: None,
            marked: false,
            broken: false,
            hurt: false,
            faults_per_million: 0,
            wrote_without_room: false,
        })))
    }

    /// A copy of this table on another disk, on which a crash does what that seed says.
    pub(crate) fn copy(&self, medium: SimMedium, seed: u64) -> Self {
        let disk = self.lock();
        let (rows, kept, batches, thrown_away) = (disk.rows.clone(), disk.kept.clone(), disk.batches.clone(), disk.thrown_away.clone());
        let TableDisk { marked, broken, hurt, .. } = *disk;
        let rng = Rng::new(seed);
        let (faults_per_million, wrote_without_room) = (0, false);
        let copy =
            TableDisk { medium, rng, rows, kept, batches, thrown_away, marked, broken, hurt, faults_per_million, wrote_without_room };
        Self(Arc::new(Mutex::new(copy)))
    }

    /// Opens it as the daemon does: what is marked as damaged is not even tried.
    pub(crate) fn open(&self, opening: Opening) -> Result<Self, TableError> {
        let mut disk = self.lock();
        if opening == Opening::Fresh {
            disk.thrown_away = Some(std::mem::take(&mut disk.kept));
            disk.rows.clear();
            disk.batches.clear();
            (disk.marked, disk.broken, disk.hurt) = (false, false, false);
        }
        if disk.marked || disk.broken {
            disk.hurt = true;
            return Err(TableError("the simulated table can't be opened".into()));
        }
        drop(disk);
        Ok(self.clone())
    }

    pub(crate) fn set_faults(&self, per_million: u64) {
        self.lock().faults_per_million = per_million;
    }

    /// A checkpoint, with its error as the store knows it.
    pub(crate) fn checkpoint_as_the_daemon_does(&self) -> Result<(), StoreError> {
        Ok(self.checkpoint()?)
    }

    /// Whether something was written to it while its disk had no room, since this was asked last.
    pub(crate) fn wrote_without_room(&self) -> bool {
        std::mem::take(&mut self.lock().wrote_without_room)
    }

    /// The daemon notes that the table failed.
    pub(crate) fn mark(&self) {
        let mut disk = self.lock();
        (disk.marked, disk.hurt) = (true, true);
    }

    /// Whether something other than being behind happened to it since it was made anew.
    pub(crate) fn is_hurt(&self) -> bool {
        self.lock().hurt
    }

    /// The number of the last fact that is in it.
    pub(crate) fn position(&self) -> Option<u64> {
        self.lock().rows.get(META).and_then(|value| Meta::from_value(value).ok()).map(|meta| meta.sequence.0)
    }

    pub(crate) fn rows(&self) -> Rows {
        self.lock().rows.clone()
    }

    /// The process ended, or the whole machine; it is set back to some moment since the last checkpoint.
    pub(crate) fn crash(&self, power_lost: bool) {
        let mut disk = self.lock();
        let applied = disk.batches.len();
        let survived = match disk.rng.below(4) {
            0 => applied,
            1 if power_lost => 0,
            2 => applied - disk.rng.index(applied + 1).min(3),
            _ => disk.rng.index(applied + 1),
        };
        disk.rows = disk.kept.clone();
        for batch in disk.batches.drain(..).take(survived).collect::<Vec<_>>() {
            put(&mut disk.rows, &batch);
        }
        if let Some(old) = disk.thrown_away.take()
            && power_lost
            && disk.rng.one_in(3)
        {
            disk.rows = old;
            disk.hurt = true;
        }
        disk.kept = disk.rows.clone();
    }

    /// Something happens to it that must never happen.
    pub(crate) fn hurt(&self) {
        let mut disk = self.lock();
        disk.hurt = true;
        match disk.rng.below(5) {
            0 => {
                disk.rows.clear();
            }
            1 => disk.broken = true,
            2 => {
                let of_queue = |key: &&Vec<u8>| key.first() == Some(&b'q');
                let keys = disk.rows.keys().filter(of_queue).cloned().collect::<Vec<_>>();
                if !keys.is_empty() {
                    let key = disk.rng.pick(&keys).clone();
                    disk.rows.remove(&key);
                }
            }
            _ => {
                let keys = disk.rows.iter().filter(|(_, value)| !value.is_empty()).map(|(key, _)| key.clone()).collect::<Vec<_>>();
                if !keys.is_empty() {
                    let key = disk.rng.pick(&keys).clone();
                    let bit = disk.rng.next();
                    let value = disk.rows.get_mut(&key).expect("it was listed");
                    let at = usize::try_from(bit >> 8).expect("usize has 64 bits") % value.len();
                    value[at] ^= 1 << (bit % 8);
                }
            }
        }
        disk.kept = disk.rows.clone();
        disk.batches.clear();
    }

    fn lock(&self) -> MutexGuard<'_, TableDisk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TableDisk {
    fn check(&mut self) -> Result<(), TableError> {
        if self.medium.is_dead() {
            return Err(TableError("the process is dead".into()));
        }
        if self.faults_per_million > 0 && self.rng.below(1_000_000) < self.faults_per_million {
            return Err(TableError("the simulated table failed".into()));
        }
        Ok(())
    }
}

fn put(rows: &mut Rows, batch: &[Row]) {
    for (key, value) in batch {
        match value {
            Some(value) => drop(rows.insert(key.clone(), value.clone())),
            None => drop(rows.remove(key)),
        }
    }
}

impl Table for SimTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        let mut disk = self.lock();
        disk.check()?;
        Ok(disk.rows.get(key).cloned())
    }

    fn apply(&self, batch: &[Row]) -> Result<(), TableError> {
        let mut disk = self.lock();
        disk.wrote_without_room |= disk.medium.is_starved();
        let outcome = disk.check();
        let dies = outcome.is_ok() && disk.medium.dies_now();
        if (outcome.is_ok() && !dies) || disk.rng.one_in(2) {
            let TableDisk { rows, batches, .. } = &mut *disk;
            put(rows, batch);
            batches.push(batch.to_vec());
        }
        if dies { Err(TableError("the process is dead".into())) } else { outcome }
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        let mut disk = self.lock();
        disk.check()?;
        for (key, value) in disk.rows.range(from.to_vec()..to.to_vec()) {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), TableError> {
        let mut disk = self.lock();
        disk.check()?;
        // Checkpoints come much more often than anything else; dying in each would leave no deaths for the rest.
        if disk.rng.one_in(20) && disk.medium.dies_now() {
            return Err(TableError("the process is dead".into()));
        }
        disk.kept = disk.rows.clone();
        disk.batches.clear();
        disk.thrown_away = None;
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.lock().rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}
