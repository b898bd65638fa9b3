//! A disk that forgets, fails, tears and dies by seed, as the journal assumes of disks and not a bit kinder. It never knows what the bytes mean.
//!
//! * A file has bytes that reads see (the cache) and bytes that would survive a loss of power. Writing makes pages dirty; a sync carries them over.
//! * At a loss of power each dirty page is there, missing, or there sector by sector or up to some byte. Names that no directory sync made durable are there or not, each for itself.
//! * A failed sync has carried over some pages, and others are *clean without having been written*: they can be read, no later sync writes them, and the next loss of power takes them.
//! * It takes only so much for a while; overwriting what a file has needs no room.
//! * The process can be made to die inside any call that changes something; the call has happened, or not, or in part.

mod capacity;
mod faults;
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hookwheel::store::journal::medium::{Medium, MediumFile};

use self::capacity::Capacity;
use self::faults::Faults;
pub(crate) use self::faults::{Call, Fault};
use self::pages::{Inode, Naming};
use crate::random::Rng;

const PAGE: usize = 4096;
const SECTOR: usize = 512;
const FRAMES_START: usize = 8192;

/// Through whose eyes the disk is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// The daemon's, with everything that goes wrong.
    Daemon,
    /// What the daemon would read if nothing went wrong.
    Cache,
    /// What a loss of power would leave at the least.
    Durable,
}

/// A directory of the simulated disk.
pub(crate) struct SimMedium {
    disk: Arc<Mutex<Disk>>,
    sight: Sight,
}

/// A file of it.
pub(crate) struct SimFile {
    disk: Arc<Mutex<Disk>>,
    sight: Sight,
    inode: u64,
}

#[derive(Clone)]
struct Disk {
    rng: Rng,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    renamings: Vec<Naming>,
    next_inode: u64,
    changes: u64,
    dies_at: Option<u64>,
    dead: bool,
    faults_per_million: u64,
    lies: bool,
    directory_lies: bool,
    capacity: Capacity,
    faults: Faults,
    images: Option<Vec<Disk>>,
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    Fails,
    Dies,
}

impl SimMedium {
    pub(crate) fn new(rng: Rng) -> Self {
        let disk = Disk {
            rng,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamings: Vec::new(),
            next_inode: 1,
            changes: 0,
            dies_at: None,
            dead: false,
            faults_per_million: 0,
            lies: false,
            directory_lies: false,
            capacity: Capacity::endless(),
            faults: Faults::default(),
            images: None,
        };
        Self { disk: Arc::new(Mutex::new(disk)), sight: Sight::Daemon }
    }

    /// The same disk as the daemon would see it if nothing went wrong.
    pub(crate) fn cache(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), sight: Sight::Cache }
    }

    /// The same disk as the most unlucky loss of power would leave it.
    pub(crate) fn durable(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), sight: Sight::Durable }
    }

    /// The same disk as the daemon sees it.
    pub(crate) fn daemon(&self) -> Self {
        Self { disk: Arc::clone(&self.disk), sight: Sight::Daemon }
    }

    /// From now on so many of a million calls fail.
    pub(crate) fn set_faults(&self, per_million: u64) {
        self.lock().faults_per_million = per_million;
    }

    /// From now on, until the next loss of power, syncs say yes and do nothing.
    pub(crate) fn set_lies(&self, lies: bool) {
        self.lock().lies = lies;
    }

    /// A directory's sync says yes and does nothing.
    pub(crate) fn set_directory_lies(&self, lies: bool) {
        self.lock().directory_lies = lies;
    }

    pub(crate) fn lies(&self) -> bool {
        self.lock().lies
    }

    /// The process will die in the call that is the `changes`-th from now to change something.
    pub(crate) fn die_after(&self, changes: u64) {
        let mut disk = self.lock();
        disk.dies_at = Some(disk.changes + changes);
    }

    /// Calls off the death that was planned.
    pub(crate) fn never_die(&self) {
        self.lock().dies_at = None;
    }

    /// Whether calls fail now and then.
    pub(crate) fn is_troubled(&self) -> bool {
        let disk = self.lock();
        disk.faults_per_million > 0 || disk.faults.excuse()
    }

    /// Bytes of the journal's frames change by themselves, in one place.
    pub(crate) fn rot(&self) {
        let mut disk = self.lock();
        let segments = disk.names.iter().filter(|(name, _)| name.ends_with(".segment")).map(|(_, inode)| *inode).collect::<Vec<_>>();
        if segments.is_empty() {
            return;
        }
        let (inode, length) = (*disk.rng.pick(&segments), *disk.rng.pick(&[1, 8, SECTOR, PAGE]));
        let mut rng = disk.rng.fork();
        let Some(inode) = disk.inodes.get_mut(&inode) else { return };
        let end = inode.durable.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if end > FRAMES_START {
            let from = FRAMES_START + rng.index(end - FRAMES_START);
            for at in from..inode.durable.len().min(from + length) {
                inode.durable[at] ^= 0x5a;
            }
            inode.cache.clone_from(&inode.durable);
            inode.dirty.clear();
        }
    }

    /// Whether the process died in a call.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Counts a change made elsewhere in the machine; true when the process dies in it.
    pub(crate) fn dies_now(&self) -> bool {
        self.lock().fate(true, true).is_none_or(|fate| fate == Fate::Dies)
    }

    /// Another process begins on the same machine; what is in the cache stays.
    pub(crate) fn process_ended(&self) {
        let mut disk = self.lock();
        (disk.dead, disk.dies_at) = (false, None);
    }

    /// The machine loses its power.
    pub(crate) fn power_lost(&self) {
        self.lock().power_lost();
        self.process_ended();
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, inode: u64) -> SimFile {
        SimFile { disk: Arc::clone(&self.disk), sight: self.sight, inode }
    }
}

impl Disk {
    /// `None` when the process is dead already.
    fn fate(&mut self, is_change: bool, spared: bool) -> Option<Fate> {
        if self.dead {
            return None;
        }
        if is_change {
            if !spared {
                self.keep_image();
            }
            self.changes += 1;
            if self.dies_at == Some(self.changes) {
                self.dead = true;
                return Some(Fate::Dies);
            }
        }
        if !spared && self.faults_per_million > 0 && self.rng.below(1_000_000) < self.faults_per_million {
            return Some(Fate::Fails);
        }
        Some(Fate::Well)
    }

    /// Whether a call happens although it does not go well.
    fn happens(&mut self, fate: Fate) -> bool {
        fate == Fate::Well || self.rng.one_in(2)
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.renamings.push(naming);
    }

    fn power_lost(&mut self) {
        let (lies, keeps) = (self.lies, self.rng.below(4));
        for naming in std::mem::take(&mut self.renamings) {
            let kept = !lies && (keeps == 0 || (keeps < 3 && self.rng.one_in(2)));
            if kept {
                naming.apply(&mut self.durable_names);
            }
        }
        self.names.clone_from(&self.durable_names);
        let named = self.names.values().copied().collect::<BTreeSet<_>>();
        self.inodes.retain(|number, _| named.contains(number));
        for inode in self.inodes.values_mut() {
            if lies {
                inode.dirty.clear();
            }
            inode.power_lost(&mut self.rng);
        }
        self.lies = false;
    }
}

fn dead() -> io::Error {
    io::Error::other("the process is dead")
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk failed")
}

impl Medium for SimMedium {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut disk = self.lock();
        match self.sight {
            Sight::Durable => return Ok(disk.durable_names.keys().cloned().collect()),
            Sight::Cache => {}
            Sight::Daemon => read_fate(&mut disk)?,
        }
        Ok(disk.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut disk = self.lock();
        if disk.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.may(Call::Create)?;
        let fate = disk.fate(true, false).ok_or_else(dead)?;
        let inode = disk.next_inode;
        if disk.happens(fate) {
            disk.next_inode += 1;
            disk.inodes.insert(inode, Inode::default());
            disk.name(Naming::Create(name.to_owned(), inode));
        }
        if fate == Fate::Well { Ok(self.file(inode)) } else { Err(failed()) }
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let mut disk = self.lock();
        if self.sight == Sight::Daemon {
            read_fate(&mut disk)?;
        }
        let names = if self.sight == Sight::Durable { &disk.durable_names } else { &disk.names };
        names.get(name).map(|inode| self.file(*inode)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        let inode = *disk.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        disk.may(Call::Rename)?;
        let fate = disk.fate(true, false).ok_or_else(dead)?;
        if disk.happens(fate) {
            disk.name(Naming::Rename(from.to_owned(), to.to_owned(), inode));
        }
        if fate == Fate::Well { Ok(()) } else { Err(failed()) }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        let inode = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        disk.may(Call::Remove)?;
        let fate = disk.fate(true, false).ok_or_else(dead)?;
        if disk.happens(fate) {
            disk.name(Naming::Remove(name.to_owned(), inode));
        }
        if fate == Fate::Well { Ok(()) } else { Err(failed()) }
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.may(Call::SyncDirectory)?;
        let fate = disk.fate(true, false).ok_or_else(dead)?;
        if disk.lies || disk.directory_lies {
            return if fate == Fate::Well { Ok(()) } else { Err(failed()) };
        }
        let all = disk.renamings.len();
        let count = if fate == Fate::Well { all } else { disk.rng.index(all + 1) };
        for naming in disk.renamings.drain(..count).collect::<Vec<_>>() {
            naming.apply(&mut disk.durable_names);
        }
        if fate == Fate::Well { Ok(()) } else { Err(failed()) }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().free_bytes())
    }

    fn entropy(&self) -> io::Result<u64> {
        Ok(self.lock().rng.next())
    }
}

impl MediumFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.lock();
        if self.sight == Sight::Daemon {
            read_fate(&mut disk)?;
        }
        let inode = disk.inodes.get(&self.inode).ok_or_else(dead)?;
        let bytes = if self.sight == Sight::Durable { &inode.durable } else { &inode.cache };
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.lock();
        let offset = usize::try_from(offset).expect("simulated files are small");
        let size = disk.inodes.get(&self.inode).ok_or_else(dead)?.cache.len();
        disk.has_room(size, offset + bytes.len())?;
        if let Some(fault) = disk.strike(Call::Write) {
            disk.inodes.get_mut(&self.inode).ok_or_else(dead)?.write(&bytes[..fault.part_of(bytes.len())], offset);
            return Err(fault.error());
        }
        let fate = disk.fate(true, false).ok_or_else(dead)?;
        let count = if fate == Fate::Well { bytes.len() } else { disk.rng.index(bytes.len() + 1) };
        disk.inodes.get_mut(&self.inode).ok_or_else(dead)?.write(&bytes[..count], offset);
        if fate == Fate::Well { Ok(()) } else { Err(failed()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.lock();
        if let Some(fault) = disk.strike(Call::Sync) {
            let mut rng = disk.rng.fork();
            disk.inodes.get_mut(&self.inode).ok_or_else(dead)?.sync_badly(&mut rng);
            return Err(fault.error());
        }
        let fate = disk.fate(true, false).ok_or_else(dead)?;
        let mut rng = disk.rng.fork();
        let lies = disk.lies;
        let inode = disk.inodes.get_mut(&self.inode).ok_or_else(dead)?;
        match fate {
            _ if lies => {}
            Fate::Well => inode.sync(),
            Fate::Fails => inode.sync_badly(&mut rng),
            // The power may still go, or only the process: what was not carried over stays dirty.
            Fate::Dies => {
                for page in inode.dirty.iter().copied().filter(|_| rng.one_in(2)).collect::<Vec<_>>() {
                    inode.carry_over(page * PAGE, (page + 1) * PAGE);
                }
            }
        }
        if fate == Fate::Well { Ok(()) } else { Err(failed()) }
    }

    fn size(&self) -> io::Result<u64> {
        let mut disk = self.lock();
        if self.sight == Sight::Daemon {
            read_fate(&mut disk)?;
        }
        let inode = disk.inodes.get(&self.inode).ok_or_else(dead)?;
        Ok(if self.sight == Sight::Durable { inode.durable.len() } else { inode.cache.len() } as u64)
    }
}

impl SimFile {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_fate(disk: &mut Disk) -> io::Result<()> {
    disk.may(Call::Read)?;
    match disk.fate(false, false) {
        Some(Fate::Well) => Ok(()),
        Some(_) => Err(failed()),
        None => Err(dead()),
    }
}
