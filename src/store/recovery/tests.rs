//! Opening stores in real directories, as they are left by crashes and by disks. It holds what the tests have in common.

mod blacklist;
mod damage;
mod floor;
mod full_disk;
mod opening;
mod verify;
mod view;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::model::{
    Attempt, EventId, EventTypeName, KeptSecret, Next, Origin, Outcome, OutcomeClass, Pause, PauseReason, Project, Proposal, Secret,
    Verdict, WebhookId,
};
use crate::store::fact::{Accepted, Attempted};
use crate::store::journal::medium::RealMedium;
use crate::store::view::Row;
use crate::store::writer::{Answer, Order, Writer};

const OPTIONS: JournalOptions = JournalOptions { segment_size: 32 * 1024 };
const WINDOW_MS: u64 = 10_000;
const NOW: UnixMillis = UnixMillis(1_795_428_000_000);

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A table in memory that outlives whoever uses it, and fails after so many changes.
#[derive(Clone)]
struct MapTable {
    rows: Arc<Mutex<Rows>>,
    changes_left: Arc<AtomicUsize>,
}

impl Table for MapTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.rows.lock().unwrap().get(key).cloned())
    }

    fn apply(&self, rows: &[Row]) -> Result<(), TableError> {
        let left = self.changes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map_err(|_| TableError("no more changes".into()))?;
        let mut table = self.rows.lock().unwrap();
        for (key, value) in rows {
            match value {
                Some(value) => drop(table.insert(key.clone(), value.clone())),
                None => drop(table.remove(key)),
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        let rows = self.rows.lock().unwrap().range(from.to_vec()..to.to_vec()).map(|(k, v)| (k.clone(), v.clone())).collect::<Vec<_>>();
        for (key, value) in rows {
            if visit(&key, &value).is_break() {
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

type Opened = Recovered<RealMedium, MapTable>;

/// A store on disk that is opened and left again and again.
struct Disk {
    directory: tempfile::TempDir,
    table: MapTable,
}

impl Disk {
    fn new() -> Self {
        let table = MapTable { rows: Arc::default(), changes_left: Arc::new(AtomicUsize::new(usize::MAX)) };
        Self { directory: tempfile::tempdir().unwrap(), table }
    }

    fn medium(&self) -> Arc<RealMedium> {
        Arc::new(RealMedium::open(self.directory.path()).unwrap())
    }

    fn try_open(&self) -> Result<Opened, OpenError> {
        let open_table = |opening| {
            if opening == Opening::Fresh {
                self.table.rows.lock().unwrap().clear();
            }
            Ok(self.table.clone())
        };
        super::open(self.medium(), OPTIONS, open_table, &mut |_| {})
    }

    fn open(&self) -> Opened {
        self.try_open().unwrap()
    }

    fn running(&self) -> Running {
        let opened = self.open();
        assert_eq!(opened.warnings, Vec::<String>::new());
        Running(Writer::new(opened.journal, opened.view, opened.history, WINDOW_MS))
    }

    /// The same with a view that says already that it holds nothing, so that it is followed and not rebuilt.
    fn running_with_position(&self) -> Running {
        let running = self.running();
        self.table.apply(&[(keys::META.to_vec(), Some(running.0.view().meta().to_value()))]).unwrap();
        running
    }

    fn path(&self, number: u32) -> PathBuf {
        self.directory.path().join(segment::file_name(number))
    }

    fn rows(&self) -> Rows {
        self.table.rows.lock().unwrap().clone()
    }

    /// The queue: sequence, webhook, due time after [`NOW`].
    fn queue(&self) -> Vec<(u64, u32, u64)> {
        let mut queue = Vec::new();
        read_queue(&self.table, |pending| queue.push((pending.key.sequence.0, pending.key.webhook.0, pending.due.since_ms(NOW)))).unwrap();
        queue
    }

    /// Every good frame, whatever will be kept of it.
    fn frames(&self) -> Vec<ScannedFrame> {
        let reader = JournalReader::new(self.medium());
        let mut numbers = self.medium().list().unwrap().iter().filter_map(|name| segment::parse_file_name(name)).collect::<Vec<_>>();
        numbers.sort_unstable();
        let mut frames = Vec::new();
        for mut scan in numbers.into_iter().filter_map(|number| reader.scan(number).unwrap()) {
            while let Some(scanned) = scan.step().unwrap() {
                if let Scanned::Frame(frame) = scanned {
                    frames.push(*frame);
                }
            }
        }
        frames
    }

    fn frame(&self, sequence: u64) -> ScannedFrame {
        self.frames().into_iter().find(|frame| frame.sequence.0 == sequence).unwrap()
    }

    /// Changes the bytes of a frame behind everybody's back.
    fn edit_frame(&self, sequence: u64, edit: impl FnOnce(&mut [u8])) {
        let ScannedFrame { locator, end, .. } = self.frame(sequence);
        let mut bytes = fs::read(self.path(locator.segment)).unwrap();
        edit(&mut bytes[locator.offset as usize..usize::try_from(end).unwrap()]);
        fs::write(self.path(locator.segment), bytes).unwrap();
    }

    fn damage(&self, sequence: u64) {
        self.edit_frame(sequence, |frame| frame[40] ^= 4);
    }

    /// What a fold of the whole journal into a new view gives.
    fn folded(&self) -> Rows {
        let copy = Self::new();
        for name in self.medium().list().unwrap() {
            fs::copy(self.directory.path().join(&name), copy.directory.path().join(&name)).unwrap();
        }
        copy.open();
        copy.rows()
    }
}

/// A daemon's writer.
struct Running(Writer<RealMedium, MapTable>);

impl Running {
    /// Facts as one batch and one group, synced and not yet in the view.
    fn sync(&mut self, facts: Vec<Fact>) {
        self.0.take(Order::Operate { ticket: 1, facts }, NOW).unwrap();
        let mut answers = Vec::new();
        self.0.sync(&mut answers).unwrap();
        assert_eq!(answers, [Answer::Operated { ticket: 1 }]);
    }

    fn apply(&mut self) {
        while self.0.apply_step(&mut Vec::new()).unwrap() {}
        assert_eq!(self.0.view().lag(), 0);
    }

    /// Each fact a group of its own, all of them in the view.
    fn commit(&mut self, facts: impl IntoIterator<Item = Fact>) {
        for fact in facts {
            self.sync(vec![fact]);
        }
        self.apply();
    }

    fn submit(&mut self, id: &str, hash: u8, at: UnixMillis) -> Verdict {
        let verdict = self.submit_unapplied(id, hash, at);
        self.apply();
        verdict
    }

    /// An event that is synced, and not yet in the view.
    fn submit_unapplied(&mut self, id: &str, hash: u8, at: UnixMillis) -> Verdict {
        let proposal = Proposal {
            id: EventId::parse(id).unwrap(),
            id_by_client: true,
            event_type: EventTypeName::parse("email.status.delivered").unwrap(),
            project: Project::parse("shop.example").unwrap(),
            fields_hash: [hash; 16],
            blacklisted: None,
            body: b"{}".as_slice().into(),
            accepted: at,
            deliveries: vec![WebhookNumber(1)],
            overflowed: Vec::new(),
        };
        self.0.take(Order::Commit { ticket: 7, batch: vec![proposal] }, at).unwrap();
        let mut answers = Vec::new();
        self.0.sync(&mut answers).unwrap();
        let Some(Answer::Committed { settled, .. }) = answers.pop() else { panic!("{answers:?}") };
        settled[0].verdict
    }
}

fn accepted(number: u64) -> Fact {
    Fact::Accepted(Accepted {
        id: EventId::parse(&format!("evt_{number}")).unwrap(),
        id_by_client: number.is_multiple_of(2),
        event_type: EventTypeName::parse("email.status.delivered").unwrap(),
        project: Project::parse("shop.example").unwrap(),
        accepted: NOW.plus_ms(number),
        fields_hash: [7; 16],
        blacklisted: None,
        body: vec![b'x'; 100].into(),
        deliveries: vec![WebhookNumber(1), WebhookNumber(2)],
        overflowed: Vec::new(),
    })
}

/// An attempt of webhook 1's delivery of the event with that sequence; times count from [`NOW`].
fn attempted(sequence: u64, number: u32, due_ms: u64, retry_ms: Option<u64>) -> Fact {
    Fact::Attempted(Attempted {
        key: DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(1) },
        body: crate::model::Locator { segment: 1, offset: 8192 },
        previous: None,
        attempt: Attempt {
            round: 1,
            number,
            due: NOW.plus_ms(due_ms),
            finished: NOW.plus_ms(due_ms + 1),
            outcome: Outcome::new(OutcomeClass::Status, "the receiver answered 503"),
            next: retry_ms.map_or(Next::Delivered, |retry_ms| Next::RetryAt(NOW.plus_ms(retry_ms))),
        },
    })
}

fn webhook(number: u32, pauses: Vec<Pause>) -> WebhookState {
    WebhookState {
        number: WebhookNumber(number),
        id: WebhookId::parse("crm").unwrap(),
        origin: Origin::File,
        generated_secret: Some(KeptSecret::Open(Secret::from_bytes(vec![5; 32]).unwrap())),
        secret_shown: true,
        pauses,
        removed: None,
    }
}

fn pause() -> Pause {
    Pause { reason: PauseReason::Gone, since: NOW, by: "receiver".into() }
}
