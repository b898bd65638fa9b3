//! The journal over a real directory, watched and disturbed. These tests never look at the view.

mod damage;
mod spares;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::medium::RealMedium;
use super::reader::{JournalReader, ReadError};
use super::segment::{Scanned, SegmentScan};
use super::*;
use crate::model::blacklist::{Cause, Entry};
use crate::model::{
    Address, Attempt, DeliveryKey, EventId, EventTypeName, KeptSecret, Next, Origin, Outcome, OutcomeClass, Pause, PauseReason, PhaseTimes,
    Project, Remark, SealingKey, Secret, TokenScope, WebhookId, WebhookNumber,
};
use crate::store::fact::{
    Accepted, Attempted, BlacklistAction, BlacklistChange, Cancelled, CancelledDelivery, Carried, CarriedDelivery, CarriedId, Floor,
    FloorRaised, WebhookState,
};
use crate::store::setting::{IssuedToken, RetiredSecret, Setting};
use crate::time::UnixMillis;

const OPTIONS: JournalOptions = JournalOptions { segment_size: 64 * 1024 };

fn accepted(number: u64, body_size: usize) -> Fact {
    Fact::Accepted(Accepted {
        id: EventId::parse(&format!("evt_{number}")).unwrap(),
        id_by_client: number.is_multiple_of(2),
        event_type: EventTypeName::parse("email.status.delivered").unwrap(),
        project: Project::parse("müller-bücher.example").unwrap(),
        accepted: UnixMillis(number),
        fields_hash: [7; 16],
        blacklisted: number.is_multiple_of(3).then(|| address("user@example.com")),
        body: vec![b'x'; body_size].into(),
        deliveries: vec![WebhookNumber(1), WebhookNumber(300)],
        overflowed: vec![WebhookNumber(u32::MAX)],
    })
}

fn one_of_each() -> Vec<Fact> {
    let key = DeliveryKey { sequence: Sequence(77), webhook: WebhookNumber(3) };
    let outcome = Outcome {
        status: Some(503),
        phases: PhaseTimes { dns_us: Some(1), connect_us: None, tls_us: Some(3), first_byte_us: None, total_us: 9 },
        retry_after_ms: Some(u64::MAX),
        remote: Some("[2001:db8::1]:443".into()),
        excerpt: vec![0, 255, 10],
        ..Outcome::new(OutcomeClass::Status, "the receiver answered 503")
    };
    let attempt =
        Attempt { round: 2, number: 16, due: UnixMillis(5), finished: UnixMillis(6), outcome, next: Next::RetryAt(UnixMillis(9)) };
    let place = Locator { segment: 4, offset: 8192 };
    let Fact::Accepted(event) = accepted(1, 10) else { unreachable!("it is one") };
    let mut facts = vec![
        accepted(1, 10),
        Fact::Attempted(Attempted { key, body: place, previous: Some(place), attempt: attempt.clone() }),
        Fact::Webhook(WebhookState {
            number: WebhookNumber(3),
            id: WebhookId::parse("crm").unwrap(),
            origin: Origin::File,
            generated_secret: Some(KeptSecret::Open(Secret::from_bytes(vec![5; 32]).unwrap())),
            secret_shown: true,
            pauses: vec![Pause { reason: PauseReason::Gone, since: UnixMillis(8), by: "receiver".into() }],
            removed: Some(UnixMillis(9)),
        }),
        Fact::Cancelled(Cancelled {
            at: UnixMillis(4),
            by: "configuration".into(),
            deliveries: vec![CancelledDelivery { key, due: UnixMillis(5), body: place, last_attempt: Some(place) }],
        }),
        accepted(3, 10),
        blacklist(BlacklistAction::List(vec![
            Entry { address: address("\"a b\"@example.com"), since: UnixMillis(6), cause: Cause::Bounced { event: None } },
            Entry {
                address: address("用户@müller.example"),
                since: UnixMillis(7),
                cause: Cause::Operator { by: remark("uid 0"), note: Some(remark("gone")) },
            },
        ])),
        blacklist(BlacklistAction::Remove { at: UnixMillis(8), by: "uid 0".into(), addresses: vec![address("a@example.com")] }),
        Fact::Carried(Carried {
            sequence: Sequence(77),
            from: Some(place),
            at: UnixMillis(7),
            event: event.clone(),
            deliveries: vec![CarriedDelivery {
                webhook: WebhookNumber(3),
                due: UnixMillis(9),
                round: 2,
                attempts: 16,
                timeline: vec![attempt],
            }],
        }),
        Fact::IdsCarried(vec![CarriedId { hash: [1; 16], accepted: UnixMillis(1), fields_hash: [2; 16], deliveries: 3 }]),
        Fact::FloorRaised(FloorRaised { floor: Floor { segment: 9, sequence: Sequence(80) }, latest: UnixMillis(8), at: UnixMillis(9) }),
    ];
    facts.extend(settings().into_iter().map(Fact::Setting));
    facts.extend(secrets().map(|secret| {
        let secret = Some(RetiredSecret { secret, until: UnixMillis(9) });
        Fact::Setting(Setting::RetiredSecret { webhook: WebhookNumber(4), secret })
    }));
    facts
}

/// One of each kept form.
fn secrets() -> [KeptSecret; 3] {
    let pair = Secret::from_key_pair(&[7; 32]).unwrap();
    let key = SealingKey::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    let sealed = key.seal(&pair, WebhookNumber(4), [8; 12]);
    [KeptSecret::Open(Secret::from_bytes(vec![6; 64]).unwrap()), KeptSecret::Open(pair), sealed]
}

fn settings() -> [Setting; 5] {
    [
        Setting::Definition { webhook: WebhookNumber(3), text: Some("{\"title\":\"CRM\"}".into()) },
        Setting::RetiredSecret {
            webhook: WebhookNumber(3),
            secret: Some(RetiredSecret { secret: KeptSecret::Open(Secret::from_bytes(vec![6; 24]).unwrap()), until: UnixMillis(9) }),
        },
        Setting::Sending(Some(Pause { reason: PauseReason::Operator, since: UnixMillis(8), by: "root (uid 0)".into() })),
        Setting::Token {
            name: "platform".into(),
            token: Some(IssuedToken {
                sha256: [4; 32],
                scope: TokenScope::Projects(vec![Project::parse("shop.example.com").unwrap()]),
                since: UnixMillis(8),
                by: "root (uid 0)".into(),
            }),
        },
        Setting::Token { name: "platform".into(), token: None },
    ]
}

fn blacklist(action: BlacklistAction) -> Fact {
    Fact::Blacklist(BlacklistChange { project: Project::parse("shop.example.com").unwrap(), action })
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn remark(text: &str) -> Remark {
    Remark::parse(text).unwrap()
}

fn begin(directory: &tempfile::TempDir) -> JournalWriter<RealMedium> {
    let medium = Arc::new(RealMedium::open(directory.path()).unwrap());
    JournalWriter::begin(medium, OPTIONS, JournalId(42), 1, Sequence(0)).unwrap()
}

fn scan(directory: &tempfile::TempDir, number: u32) -> Vec<Scanned> {
    let reader = JournalReader::new(Arc::new(RealMedium::open(directory.path()).unwrap()));
    let mut scan: SegmentScan<_> = reader.scan(number).unwrap().unwrap();
    std::iter::from_fn(|| scan.step().unwrap()).collect()
}

fn path(directory: &tempfile::TempDir, number: u32) -> std::path::PathBuf {
    directory.path().join(segment::file_name(number))
}

#[test]
fn every_kind_of_fact_comes_back_by_scan_and_by_place() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = begin(&directory);
    let facts = one_of_each();
    let places = writer.append(&facts).unwrap();
    assert_eq!(writer.synced_through(), Sequence(0));
    writer.sync().unwrap();
    assert_eq!((writer.synced_through(), writer.unsynced_bytes()), (Sequence(facts.len() as u64), 0));
    let reader = JournalReader::new(Arc::new(RealMedium::open(directory.path()).unwrap()));
    let scanned = scan(&directory, 1);
    assert_eq!(scanned.len(), facts.len());
    for (index, (fact, one)) in facts.iter().zip(scanned).enumerate() {
        let Scanned::Frame(frame) = one else { panic!("{one:?}") };
        assert_eq!(&frame.fact, fact);
        assert_eq!(frame.batch_continues, index + 1 < facts.len());
        assert_eq!(frame.synced_through, (index == 0).then_some(Sequence(0)));
        let read = reader.read(places[index].locator).unwrap();
        assert_eq!((read.sequence, read.checksum, &read.fact), (places[index].sequence, places[index].checksum, fact));
    }
}

#[test]
fn the_bytes_of_format_1_are_pinned() {
    let records = one_of_each().iter().map(|fact| crc32c::crc32c(&frame::encode_fact(fact))).collect::<Vec<_>>();
    assert_eq!(
        records,
        [
            3521333741, 703633150, 3008438732, 4169682111, 2483298310, 1076136991, 362915706, 213835824, 1634907940, 4185215453, 321451556,
            2380827618, 371910147, 1040440918, 4108063102, 1946509970, 3345554730, 1393526625
        ],
        "a changed record needs a new version, and the old one stays readable"
    );
}

proptest! {
    #[test]
    fn any_flipped_bit_of_a_frame_is_noticed(bit in 0..8_usize, at in 0..2000_usize, which in 0..15_usize) {
        let fact = one_of_each().swap_remove(which);
        let mut bytes = Vec::new();
        frame::append(&mut bytes, 0xabcd, Sequence(9), &frame::encode_fact(&fact), Some(Sequence(8)), false);
        let header = frame::FrameHeader::parse(bytes.first_chunk().unwrap()).unwrap();
        let size = frame::HEADER_SIZE + header.length;
        prop_assert_eq!(frame::decode(0xabcd, &bytes[..size]).unwrap().1.fact, fact);
        prop_assert!(frame::decode(0xabce, &bytes[..size]).is_err(), "another salt");
        bytes[at % size] ^= 1 << bit;
        prop_assert!(frame::decode(0xabcd, &bytes[..size]).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_fact_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(frame::decode_fact(&bytes));
        drop(frame::decode(1, &bytes));
    }
}

#[test]
fn a_full_segment_gives_way_to_the_next_and_a_batch_never_spans_two() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = begin(&directory);
    let mut places = Vec::new();
    for number in 0..30 {
        places.extend(writer.append(&[accepted(2 * number, 1000), accepted(2 * number + 1, 2000)]).unwrap());
        if let Some(job) = writer.spare_job(UnixMillis(0)) {
            writer.take_spare(job.run());
        }
    }
    writer.sync().unwrap();
    assert!(writer.segment_number() > 1);
    assert!(places.chunks(2).all(|pair| pair[0].locator.segment == pair[1].locator.segment));
    let reader = JournalReader::new(Arc::new(RealMedium::open(directory.path()).unwrap()));
    for (index, place) in places.iter().enumerate() {
        assert_eq!(reader.read(place.locator).unwrap().sequence, Sequence(index as u64 + 1));
    }
    let second_first = reader.first_of(2).unwrap().unwrap();
    assert_eq!(places.iter().find(|place| place.locator.segment == 2).unwrap().sequence, second_first);
    assert!(matches!(writer.append(&[accepted(1, 64 * 1024)]), Err(JournalError::TooLarge { .. })));
    writer.append(&[accepted(1, 10)]).unwrap();
}

#[test]
fn one_damaged_header_copy_is_survived_and_two_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = begin(&directory);
    writer.append(&one_of_each()).unwrap();
    writer.sync().unwrap();
    let mut bytes = std::fs::read(path(&directory, 1)).unwrap();
    bytes[9] ^= 1;
    std::fs::write(path(&directory, 1), &bytes).unwrap();
    assert_eq!(scan(&directory, 1).len(), one_of_each().len());
    bytes[4096 + 33] ^= 1;
    std::fs::write(path(&directory, 1), &bytes).unwrap();
    let reader = JournalReader::new(Arc::new(RealMedium::open(directory.path()).unwrap()));
    assert!(reader.scan(1).unwrap().is_none());
}

#[test]
fn a_scan_names_damage_and_goes_on_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = begin(&directory);
    let places = (0..5).map(|number| writer.append(&[accepted(number, 100)]).unwrap()[0]).collect::<Vec<_>>();
    writer.sync().unwrap();
    let mut bytes = std::fs::read(path(&directory, 1)).unwrap();
    bytes[places[2].locator.offset as usize + 60] ^= 4;
    std::fs::write(path(&directory, 1), &bytes).unwrap();
    let scanned = scan(&directory, 1);
    let sequences = scanned.iter().map(|one| if let Scanned::Frame(frame) = one { frame.sequence.0 } else { 0 }).collect::<Vec<_>>();
    assert_eq!(sequences, [1, 2, 0, 4, 5]);
    assert!(matches!(scanned[2], Scanned::Damage { offset, .. } if offset == u64::from(places[2].locator.offset)));
    let reader = JournalReader::new(Arc::new(RealMedium::open(directory.path()).unwrap()));
    assert!(matches!(reader.read(places[2].locator), Err(ReadError::Damaged { .. })));
    // Rewriting keeps places and cuts what is behind.
    segment::rewrite(&RealMedium::open(directory.path()).unwrap(), 1, u64::from(places[4].locator.offset)).unwrap();
    assert_eq!(scan(&directory, 1).len(), 4);
    let reader = JournalReader::new(Arc::new(RealMedium::open(directory.path()).unwrap()));
    assert_eq!(reader.read(places[3].locator).unwrap().sequence, Sequence(4));
}

/// A directory that writes down what it is asked for, and can be told to fail.
struct Watched {
    inner: RealMedium,
    calls: Arc<Mutex<Vec<String>>>,
    fails: Arc<AtomicBool>,
}

struct WatchedFile {
    inner: std::fs::File,
    calls: Arc<Mutex<Vec<String>>>,
    fails: Arc<AtomicBool>,
}

impl Watched {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn file(&self, inner: std::fs::File) -> WatchedFile {
        WatchedFile { inner, calls: Arc::clone(&self.calls), fails: Arc::clone(&self.fails) }
    }
}

impl Medium for Watched {
    type File = WatchedFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<WatchedFile> {
        self.note(format!("create {name}"));
        Ok(self.file(self.inner.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<WatchedFile> {
        Ok(self.file(self.inner.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.note(format!("rename {from} {to}"));
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.note("sync directory".into());
        self.inner.sync_directory()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn entropy(&self) -> io::Result<u64> {
        Ok(4)
    }
}

impl MediumFile for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.calls.lock().unwrap().push(format!("write at {offset}"));
        self.inner.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.calls.lock().unwrap().push("sync".into());
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk said no"));
        }
        self.inner.sync()
    }

    fn size(&self) -> io::Result<u64> {
        MediumFile::size(&self.inner)
    }
}

#[test]
fn a_segment_is_prepared_synced_and_named_before_it_is_used_and_a_group_is_one_write_and_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let (calls, fails) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let medium = Watched { inner: RealMedium::open(directory.path()).unwrap(), calls: Arc::clone(&calls), fails: Arc::clone(&fails) };
    let mut writer = JournalWriter::begin(Arc::new(medium), OPTIONS, JournalId(1), 1, Sequence(0)).unwrap();
    let taken = |calls: &Mutex<Vec<String>>| std::mem::take(&mut *calls.lock().unwrap());
    let prepared = ["create 0.spare", "write at 0", "sync", "sync directory"];
    let named = ["write at 0", "sync", "rename 0.spare 0000000001.segment", "sync directory"];
    assert_eq!(taken(&calls), [prepared, named].concat());
    for number in 0..7 {
        writer.append(&[accepted(number, 50)]).unwrap();
    }
    writer.sync().unwrap();
    writer.sync().unwrap();
    assert_eq!(taken(&calls), ["write at 8192", "sync"]);
    fails.store(true, Ordering::Relaxed);
    writer.append(&[accepted(8, 50)]).unwrap();
    assert!(matches!(writer.sync(), Err(JournalError::Io { what: "syncing", .. })));
    fails.store(false, Ordering::Relaxed);
    assert!(matches!(writer.sync(), Err(JournalError::Poisoned)), "an fsync is never tried again");
    assert!(matches!(writer.append(&[accepted(9, 50)]), Err(JournalError::Poisoned)));
    assert_eq!(taken(&calls).iter().filter(|call| *call == "sync").count(), 1);
}
