//! Faults by number, and images: the Nth call fails, once or for ever, and every call may be the last before the power goes. It never knows what the bytes mean.

use std::io;
use std::sync::{Arc, Mutex};

use super::{Disk, Sight, SimMedium};
use crate::random::Rng;

/// In which way a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Any call: `EIO`, and nothing was done.
    Refused,
    /// What needs room: `ENOSPC`. Of a write a part was done.
    NoRoom,
    /// A write: a part was done, then `EIO`.
    Short,
    /// A sync: some pages were written, and others are forgotten to be dirty.
    SyncFails,
}

/// What is asked of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Create,
    Write,
    Rename,
    Remove,
    Sync,
    SyncDirectory,
}

/// The calls that fail by their number.
#[derive(Clone, Default)]
pub(super) struct Faults {
    script: Option<Script>,
    hit: Vec<Call>,
    over: bool,
}

#[derive(Clone)]
struct Script {
    fault: Fault,
    calls_left: u64,
    for_ever: bool,
}

impl Fault {
    fn concerns(self, call: Call) -> bool {
        match self {
            Self::Refused => true,
            Self::NoRoom => matches!(call, Call::Create | Call::Write | Call::Sync | Call::SyncDirectory),
            Self::Short => call == Call::Write,
            Self::SyncFails => matches!(call, Call::Sync | Call::SyncDirectory),
        }
    }

    pub(super) fn error(self) -> io::Error {
        match self {
            Self::NoRoom => io::Error::new(io::ErrorKind::StorageFull, "the simulated disk has no room, by script"),
            Self::Refused | Self::Short | Self::SyncFails => io::Error::other("the simulated disk failed by script"),
        }
    }

    /// How much of a write is done although it fails.
    pub(super) fn part_of(self, bytes: usize) -> usize {
        if self == Self::Refused { 0 } else { bytes / 2 }
    }
}

impl Faults {
    /// Whether what goes wrong now may go wrong because a call failed by script.
    pub(super) fn excuse(&self) -> bool {
        !self.over && !self.hit.is_empty()
    }

    fn strike(&mut self, call: Call) -> Option<Fault> {
        let script = self.script.as_mut().filter(|_| !self.over).filter(|script| script.fault.concerns(call))?;
        script.calls_left = script.calls_left.saturating_sub(1);
        if script.calls_left > 0 {
            return None;
        }
        let fault = script.fault;
        if !script.for_ever {
            self.script = None;
        }
        self.hit.push(call);
        Some(fault)
    }
}

impl Disk {
    /// Whether this call fails by script. What a dead process asks for is no call.
    pub(super) fn strike(&mut self, call: Call) -> Option<Fault> {
        if self.dead { None } else { self.faults.strike(call) }
    }

    /// Refuses a call that the script lets fail.
    pub(super) fn may(&mut self, call: Call) -> io::Result<()> {
        match self.strike(call) {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        }
    }

    /// Keeps an image of everything as it is now, if somebody wants them.
    pub(super) fn keep_image(&mut self) {
        if let Some(mut images) = self.images.take() {
            images.push(self.clone());
            self.images = Some(images);
        }
    }
}

impl SimMedium {
    /// The `number`-th call from now that the fault concerns fails, and with `for_ever` all of them from there on.
    pub(crate) fn fail_at(&self, fault: Fault, number: u64, for_ever: bool) {
        self.lock().faults.script = Some(Script { fault, calls_left: number, for_ever });
    }

    /// No call fails by script any more.
    pub(crate) fn fail_no_more(&self) {
        self.lock().faults.over = true;
    }

    /// The calls that failed by script.
    pub(crate) fn hit(&self) -> Vec<Call> {
        self.lock().faults.hit.clone()
    }

    /// From now on there is an image of the disk before every call that changes something.
    pub(crate) fn keep_images(&self) {
        self.lock().images = Some(Vec::new());
    }

    /// The images since this was asked last, each a disk of its own, with chance of its own.
    pub(crate) fn take_images(&self) -> Vec<Self> {
        let images = self.lock().images.as_mut().map(std::mem::take).unwrap_or_default();
        images.into_iter().map(|disk| Self { disk: Arc::new(Mutex::new(disk)), sight: Sight::Daemon }).collect()
    }

    /// A copy of this disk, on which a loss of power does what that seed says.
    pub(crate) fn copy(&self, seed: u64) -> Self {
        let mut disk = self.lock().clone();
        (disk.rng, disk.images) = (Rng::new(seed), None);
        Self { disk: Arc::new(Mutex::new(disk)), sight: Sight::Daemon }
    }
}
