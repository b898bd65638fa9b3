//! A medium in memory for the journal's own tests: it remembers every call and fails where told. It never crashes; the simulator's does.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::store::journal::medium::{Medium, MediumFile};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// A directory; clones are the same one.
#[derive(Clone, Default)]
pub(in crate::store) struct MemoryMedium(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, Bytes>,
    calls: Vec<String>,
    failing: Option<String>,
    /// The disk is full: what fails does so for that reason.
    is_full: bool,
    unreadable: Range<u64>,
    entropy: u64,
}

/// A file; it is called whatever its name in the directory is.
pub(in crate::store) struct MemoryFile {
    medium: MemoryMedium,
    bytes: Bytes,
}

impl MemoryMedium {
    /// Every changing call since the last time this was asked, such as `write spare 0+4096`.
    pub(in crate::store) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    /// From now on every call that begins with this fails; with `None`, no call.
    pub(in crate::store) fn fail(&self, call: Option<&str>) {
        self.0.lock().unwrap().failing = call.map(str::to_owned);
    }

    /// From now on the disk has no room, or has again.
    pub(in crate::store) fn set_full(&self, is_full: bool) {
        self.0.lock().unwrap().is_full = is_full;
    }

    /// These bytes of every file can't be read from now on.
    pub(in crate::store) fn refuse_to_read(&self, bytes: Range<u64>) {
        self.0.lock().unwrap().unreadable = bytes;
    }

    /// Changes the bytes of a file behind everybody's back.
    pub(in crate::store) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let bytes = Arc::clone(&self.0.lock().unwrap().files[name]);
        edit(&mut bytes.lock().unwrap());
    }

    pub(in crate::store) fn bytes(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap().files[name].lock().unwrap().clone()
    }

    fn call(&self, call: String) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let fails = state.failing.as_ref().is_some_and(|failing| call.starts_with(failing));
        state.calls.push(call);
        match fails {
            true if state.is_full => Err(io::ErrorKind::StorageFull.into()),
            true => Err(io::Error::other("the disk is gone")),
            false => Ok(()),
        }
    }

    fn file(&self, bytes: Bytes) -> MemoryFile {
        MemoryFile { medium: self.clone(), bytes }
    }
}

impl Medium for MemoryMedium {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        self.call(format!("create {name}"))?;
        let bytes = Bytes::default();
        let replaced = self.0.lock().unwrap().files.insert(name.to_owned(), Arc::clone(&bytes));
        assert!(replaced.is_none(), "{name} existed");
        Ok(self.file(bytes))
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let bytes = self.0.lock().unwrap().files.get(name).cloned();
        bytes.map(|bytes| self.file(bytes)).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(format!("rename {from} {to}"))?;
        let mut state = self.0.lock().unwrap();
        let bytes = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.0.lock().unwrap().files.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.call(format!("remove {name}"))?;
        self.0.lock().unwrap().files.remove(name);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.call("sync directory".to_owned())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(if self.0.lock().unwrap().is_full { 0 } else { u64::MAX })
    }

    fn entropy(&self) -> io::Result<u64> {
        let mut state = self.0.lock().unwrap();
        state.entropy = state.entropy.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Ok(state.entropy >> 16)
    }
}

impl MemoryFile {
    fn name(&self) -> String {
        let state = self.medium.0.lock().unwrap();
        let found = state.files.iter().find(|(_, bytes)| Arc::ptr_eq(bytes, &self.bytes));
        found.map_or_else(|| "removed".to_owned(), |(name, _)| name.clone())
    }
}

impl MediumFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let unreadable = self.medium.0.lock().unwrap().unreadable.clone();
        if unreadable.contains(&offset) {
            return Err(io::Error::other("bad sector"));
        }
        let before_it = if offset < unreadable.start { usize::try_from(unreadable.start - offset).unwrap() } else { usize::MAX };
        let bytes = self.bytes.lock().unwrap();
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        // As disks may: never more than a part at once.
        let read = rest.len().min(buffer.len()).min(100_000).min(before_it);
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_all_at(&self, written: &[u8], offset: u64) -> io::Result<()> {
        self.medium.call(format!("write {} {offset}+{}", self.name(), written.len()))?;
        let mut bytes = self.bytes.lock().unwrap();
        let begin = usize::try_from(offset).unwrap();
        let end = begin + written.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[begin..end].copy_from_slice(written);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.medium.call(format!("sync {}", self.name()))
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
}
