//! Names and pages of the simulated disk: what is in the cache, what would survive, and what a loss of power makes of the difference. It never decides when.

use std::collections::{BTreeMap, BTreeSet};

use super::{PAGE, SECTOR};
use crate::random::Rng;

/// A file, whatever its name.
#[derive(Clone, Default)]
pub(super) struct Inode {
    pub(super) cache: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) dirty: BTreeSet<usize>,
}

/// A change of names that no directory sync has made durable.
#[derive(Clone)]
pub(super) enum Naming {
    Create(String, u64),
    Rename(String, String, u64),
    Remove(String, u64),
}

impl Naming {
    /// Of which file.
    pub(super) fn inode(&self) -> u64 {
        match self {
            Self::Create(_, inode) | Self::Rename(_, _, inode) | Self::Remove(_, inode) => *inode,
        }
    }

    pub(super) fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Create(name, inode) => drop(names.insert(name.clone(), *inode)),
            Self::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            Self::Remove(name, inode) => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}

impl Inode {
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        grow(&mut self.cache, end);
        self.cache[offset..end].copy_from_slice(bytes);
        if !bytes.is_empty() {
            self.dirty.extend(offset / PAGE..=(end - 1) / PAGE);
        }
    }

    pub(super) fn carry_over(&mut self, from: usize, to: usize) {
        let to = to.min(self.cache.len());
        if from >= to {
            return;
        }
        grow(&mut self.durable, to);
        self.durable[from..to].copy_from_slice(&self.cache[from..to]);
    }

    pub(super) fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            self.carry_over(page * PAGE, (page + 1) * PAGE);
        }
    }

    /// Some pages are carried over, some are forgotten to be dirty, some stay so.
    pub(super) fn sync_badly(&mut self, rng: &mut Rng) {
        for page in std::mem::take(&mut self.dirty) {
            match rng.below(3) {
                0 => self.carry_over(page * PAGE, (page + 1) * PAGE),
                1 => {}
                _ => drop(self.dirty.insert(page)),
            }
        }
    }

    pub(super) fn power_lost(&mut self, rng: &mut Rng) {
        let mood = rng.below(5);
        for page in std::mem::take(&mut self.dirty) {
            let start = page * PAGE;
            match mood {
                0 => {}
                1 => self.carry_over(start, start + PAGE),
                2 if rng.one_in(2) => self.carry_over(start, start + PAGE),
                2 => {}
                3 => {
                    for sector in (start..start + PAGE).step_by(SECTOR).filter(|_| rng.one_in(2)).collect::<Vec<_>>() {
                        self.carry_over(sector, sector + SECTOR);
                    }
                }
                _ => self.carry_over(start, start + rng.index(PAGE)),
            }
        }
        self.cache.clone_from(&self.durable);
    }
}

fn grow(bytes: &mut Vec<u8>, length: usize) {
    if bytes.len() < length {
        bytes.append(&mut vec![0; length - bytes.len()]);
    }
}
