//! What a loss of power leaves of a data directory: the bytes and names that were synced, and any part of the others. It never asks what they mean, and is no kinder than
//! [`hookwheel::store::journal::medium`] assumes.
//!
//! The library logs each write before and after it, each sync before and after it, and each change of a name. A sync makes durable what was over when it began. Of a
//! write that no good sync followed, each page is there or not, or some of its sectors are, or its beginning; a file may have become longer or not; a name that no sync of its
//! directory made durable is there or not, each for itself. `sync_file_range` counts for nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::load::Chance;

const PAGE_BYTES: usize = 4096;
const PAGE: u64 = PAGE_BYTES as u64;
const SECTOR: u64 = 512;
const HEAD: usize = 32;
const CREATE: u64 = 0o100;
const TRUNCATE: u64 = 0o1000;
/// The number of a call that no sync will make durable any more.
const FORGOTTEN: u64 = u64::MAX;
/// The house.
const ROOT: usize = 0;

/// The disk as it would be.
pub(crate) struct Image {
    root: String,
    nodes: Vec<Node>,
    /// Names that are there, by directory and name.
    now: BTreeMap<(usize, String), usize>,
    durable: BTreeMap<(usize, String), usize>,
    /// Changes of names that are not durable, in order.
    namings: Vec<(u64, Naming)>,
    open: HashMap<u32, usize>,
    /// The file of each write that is under way.
    writing: HashMap<u64, usize>,
    /// What each sync that is under way makes durable.
    syncing: HashMap<u64, (usize, HashSet<u64>)>,
    /// Processes so far: each counts its calls from 1.
    processes: u64,
}

#[derive(Default)]
struct Node {
    is_directory: bool,
    bytes: Bytes,
    /// What is not durable, in order, by the number of its call.
    pending: Vec<(u64, Change)>,
}

/// Bytes of a file; pages that are missing are zeros.
#[derive(Clone, Default)]
struct Bytes {
    length: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

enum Change {
    Bytes(u64, Vec<u8>),
    Zeros(u64, u64),
    Length(u64),
}

#[derive(Clone)]
enum Naming {
    Made((usize, String), usize),
    Renamed((usize, String), (usize, String), usize),
    Gone((usize, String), usize),
}

impl Bytes {
    fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.pages.split_off(&length.div_ceil(PAGE));
            if let Some(page) = self.pages.get_mut(&(length / PAGE)) {
                page[usize::try_from(length % PAGE).unwrap()..].fill(0);
            }
        }
        self.length = length;
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        self.length = self.length.max(offset + bytes.len() as u64);
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let begin = usize::try_from(at % PAGE).unwrap();
            let (now, later) = rest.split_at(rest.len().min(PAGE_BYTES - begin));
            let page = self.pages.entry(at / PAGE).or_insert_with(|| vec![0; PAGE_BYTES]);
            page[begin..begin + now.len()].copy_from_slice(now);
            (at, rest) = (at + now.len() as u64, later);
        }
    }

    /// Zeros; where no page is there are some already.
    fn clear(&mut self, offset: u64, length: u64) {
        let end = offset + length;
        self.length = self.length.max(end);
        let touched = self.pages.range(offset / PAGE..end.div_ceil(PAGE)).map(|(page, _)| *page).collect::<Vec<_>>();
        for page in touched {
            let (from, to) = (offset.max(page * PAGE), end.min((page + 1) * PAGE));
            self.put(from, &vec![0; usize::try_from(to - from).unwrap()]);
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Bytes(offset, bytes) => self.put(*offset, bytes),
            Change::Zeros(offset, length) => self.clear(*offset, *length),
            Change::Length(length) => self.set_length(*length),
        }
    }

    /// A part of a change, as chance wants it.
    fn apply_in_part(&mut self, change: &Change, mood: u64, chance: &mut Chance) {
        match change {
            Change::Bytes(offset, bytes) => {
                let (mut at, end, step) = (*offset, offset + bytes.len() as u64, if mood == 3 { SECTOR } else { PAGE });
                while at < end {
                    let next = ((at / step + 1) * step).min(end);
                    let part = &bytes[usize::try_from(at - offset).unwrap()..usize::try_from(next - offset).unwrap()];
                    match mood {
                        4 => self.put(at, &part[..usize::try_from(chance.below(part.len() as u64 + 1)).unwrap()]),
                        _ if chance.below(2) == 0 => self.put(at, part),
                        _ => {}
                    }
                    at = next;
                }
            }
            other if chance.below(2) == 0 => self.apply(other),
            Change::Zeros(..) | Change::Length(_) => {}
        }
    }
}

impl Image {
    /// An empty disk, whose house is at `root`.
    pub(crate) fn new(root: &Path) -> Self {
        let house = Node { is_directory: true, ..Node::default() };
        Self {
            root: root.to_str().unwrap().to_owned(),
            nodes: vec![house],
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
            namings: Vec::new(),
            open: HashMap::new(),
            writing: HashMap::new(),
            syncing: HashMap::new(),
            processes: 0,
        }
    }

    /// Follows what a daemon did; what its death cut off did not happen.
    pub(crate) fn follow(&mut self, log: &[u8]) {
        self.processes += 1;
        self.open.clear();
        self.writing.clear();
        self.syncing.clear();
        let mut at = 0;
        while let Some(head) = log.get(at..at + HEAD) {
            let word = |from: usize| u32::from_ne_bytes(head[from..from + 4].try_into().unwrap());
            let long = |from: usize| u64::from_ne_bytes(head[from..from + 8].try_into().unwrap());
            let (kind, fd, id, offset, length) = (word(0), word(4), long(8) | self.processes << 40, long(16), long(24));
            let held = if kind == 3 { 0 } else { usize::try_from(length).unwrap() };
            let Some(bytes) = log.get(at + HEAD..at + HEAD + held) else { return };
            at += HEAD + held;
            match kind {
                1 => self.opened(fd, id, offset, &text(bytes)),
                2 => self.write(fd, id, Change::Bytes(offset, bytes.to_vec())),
                3 => self.write(fd, id, Change::Zeros(offset, length)),
                4 => drop(self.writing.remove(&id)),
                5 => self.sync(fd, id),
                6 => self.synced(id),
                7 => self.nodes[self.open[&fd]].pending.push((id, Change::Length(offset))),
                8 => self.renamed(id, &text(bytes)),
                9 => self.gone(id, &text(bytes)),
                10 => {
                    let place = self.place(&text(bytes)).expect("it is not the house");
                    self.make(id, place, true);
                }
                11 => self.sync_failed(fd),
                other => panic!("a record of kind {other}"),
            }
        }
    }

    fn opened(&mut self, fd: u32, id: u64, flags: u64, path: &str) {
        let found = self.find(path);
        let node = match (found, self.place(path)) {
            (Some(node), _) => node,
            (None, Some(place)) if flags & CREATE != 0 => self.make(id, place, false),
            (None, _) => panic!("{path} was opened and is not known"),
        };
        if flags & TRUNCATE != 0 {
            self.nodes[node].pending.push((id, Change::Length(0)));
        }
        self.open.insert(fd, node);
    }

    fn write(&mut self, fd: u32, id: u64, change: Change) {
        let node = self.open[&fd];
        self.nodes[node].pending.push((id, change));
        self.writing.insert(id, node);
    }

    fn sync(&mut self, fd: u32, id: u64) {
        let node = self.open[&fd];
        let over = |other: &u64| *other != FORGOTTEN && !self.writing.contains_key(other);
        let ids = if self.nodes[node].is_directory {
            self.namings.iter().filter(|(_, naming)| naming.touches(node)).map(|(id, _)| *id).collect()
        } else {
            self.nodes[node].pending.iter().map(|(id, _)| *id).filter(over).collect()
        };
        self.syncing.insert(id, (node, ids));
    }

    fn synced(&mut self, id: u64) {
        let (node, ids) = self.syncing.remove(&id).expect("a sync ends that began");
        let node_is_directory = self.nodes[node].is_directory;
        if node_is_directory {
            for (_, naming) in self.namings.extract_if(.., |(id, naming)| ids.contains(id) && naming.touches(node)) {
                naming.apply(&mut self.durable);
            }
        }
        let Node { bytes, pending, .. } = &mut self.nodes[node];
        for (_, change) in pending.extract_if(.., |(id, _)| !node_is_directory && ids.contains(id)) {
            bytes.apply(&change);
        }
    }

    /// What a sync could not write may be taken for written: no later sync has anything to do with it.
    fn sync_failed(&mut self, fd: u32) {
        let node = self.open[&fd];
        self.nodes[node].pending.iter_mut().for_each(|(id, _)| *id = FORGOTTEN);
    }

    fn make(&mut self, id: u64, place: (usize, String), is_directory: bool) -> usize {
        self.nodes.push(Node { is_directory, ..Node::default() });
        let node = self.nodes.len() - 1;
        self.name(id, Naming::Made(place, node));
        node
    }

    fn renamed(&mut self, id: u64, both: &str) {
        let (from, to) = both.split_once('\0').expect("two paths");
        let node = self.find(from).expect("what is renamed is there");
        let (from, to) = (self.place(from).expect("not the house"), self.place(to).expect("not the house"));
        self.name(id, Naming::Renamed(from, to, node));
    }

    fn gone(&mut self, id: u64, path: &str) {
        let (node, place) = (self.find(path).expect("what is removed is there"), self.place(path).expect("not the house"));
        self.name(id, Naming::Gone(place, node));
    }

    fn name(&mut self, id: u64, naming: Naming) {
        naming.apply(&mut self.now);
        self.namings.push((id, naming));
    }

    fn parts<'a>(&self, path: &'a str) -> impl Iterator<Item = &'a str> {
        path.strip_prefix(&self.root).expect("it lies in the house").split('/').filter(|part| !part.is_empty())
    }

    fn find(&self, path: &str) -> Option<usize> {
        self.parts(path).try_fold(ROOT, |directory, part| self.now.get(&(directory, part.to_owned())).copied())
    }

    /// Directory and name of a path; none for the house itself.
    fn place(&self, path: &str) -> Option<(usize, String)> {
        let (directory, name) = path.rsplit_once('/')?;
        let directory = directory.starts_with(&self.root).then(|| self.find(directory)).flatten()?;
        Some((directory, name.to_owned()))
    }

    /// The power goes: what is left is the disk from now on.
    pub(crate) fn lose_power(&mut self, chance: &mut Chance) {
        let mood = chance.below(4);
        for (_, naming) in std::mem::take(&mut self.namings) {
            if mood == 0 || (mood < 3 && chance.below(2) == 0) {
                naming.apply(&mut self.durable);
            }
        }
        for node in &mut self.nodes {
            let mood = chance.below(5);
            for (_, change) in std::mem::take(&mut node.pending) {
                match mood {
                    0 => {}
                    1 => node.bytes.apply(&change),
                    _ => node.bytes.apply_in_part(&change, mood, chance),
                }
            }
        }
        self.now.clone_from(&self.durable);
        self.writing.clear();
        self.syncing.clear();
    }

    /// Puts what the disk has in the place of what is in the house.
    pub(crate) fn write_out(&self) {
        let data = Path::new(&self.root).join("data");
        if data.exists() {
            fs::remove_dir_all(&data).unwrap();
        }
        let mut waiting = vec![(ROOT, Path::new(&self.root).to_owned())];
        let mut seen = BTreeSet::new();
        while let Some((directory, path)) = waiting.pop() {
            // A rename that lost half of itself must not lead in a circle.
            assert!(seen.insert(directory), "a directory has two names");
            for ((_, name), node) in self.now.range((directory, String::new())..(directory + 1, String::new())) {
                let path = path.join(name);
                let Node { is_directory, bytes, .. } = &self.nodes[*node];
                if *is_directory {
                    fs::create_dir(&path).unwrap();
                    waiting.push((*node, path));
                    continue;
                }
                let file = File::create(&path).unwrap();
                file.set_len(bytes.length).unwrap();
                for (page, held) in &bytes.pages {
                    let end = PAGE.min(bytes.length.saturating_sub(page * PAGE));
                    file.write_all_at(&held[..usize::try_from(end).unwrap()], page * PAGE).unwrap();
                }
            }
        }
    }
}

impl Naming {
    fn touches(&self, node: usize) -> bool {
        match self {
            Self::Made((directory, _), _) | Self::Gone((directory, _), _) => *directory == node,
            Self::Renamed((from, _), (to, _), _) => *from == node || *to == node,
        }
    }

    fn apply(&self, names: &mut BTreeMap<(usize, String), usize>) {
        match self {
            Self::Made(place, node) => drop(names.insert(place.clone(), *node)),
            Self::Renamed(from, to, node) => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
            Self::Gone(place, node) => {
                if names.get(place) == Some(node) {
                    names.remove(place);
                }
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
