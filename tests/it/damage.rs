//! A bit flipped, or a file cut, at a hundred places of journal and view: what is gone is named, nothing is altered, the store opens and goes on. They never damage
//! anything but copies of a small store.
//!
//! `DAMAGE_PLACES=10000` tries so many. A failure says the seed of its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hookwheel::model::report::VerifyReport;
use hookwheel::model::{
    Address, Attempt, DeliveryKey, EventId, EventTypeName, KeptSecret, Next, Origin, Outcome, OutcomeClass, Project, Proposal, Secret,
    Sequence, WebhookId, WebhookNumber,
};
use hookwheel::store::fact::{Attempted, Fact, WebhookState};
use hookwheel::store::journal::JournalOptions;
use hookwheel::store::journal::medium::{Medium, RealMedium};
use hookwheel::store::journal::reader::JournalReader;
use hookwheel::store::journal::segment::{self, Scanned};
use hookwheel::store::recovery::{self, OpenError, Opening, Recovered, verify};
use hookwheel::store::view::sled::SledTable;
use hookwheel::store::view::{Table, TableError};
use hookwheel::store::writer::{Answer, Order, Writer};
use hookwheel::time::UnixMillis;

use crate::daemon::{House, event, webhook};
use crate::receivers::{Receiver, ok};

const OPTIONS: JournalOptions = JournalOptions { segment_size: 64 * 1024 };
const WINDOW_MS: u64 = 1_000_000;
const NOW: UnixMillis = UnixMillis(1_795_428_000_000);

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Opened = Recovered<RealMedium, SledTable>;

fn places() -> u64 {
    std::env::var("DAMAGE_PLACES").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Numbers from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// A store in a directory.
struct Store(tempfile::TempDir);

impl Store {
    fn journal(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn view(&self) -> PathBuf {
        self.0.path().join("view")
    }

    fn medium(&self) -> Arc<RealMedium> {
        Arc::new(RealMedium::open(&self.journal()).unwrap())
    }

    fn try_open(&self) -> Result<Opened, OpenError> {
        let open_table = |opening| {
            if opening == Opening::Fresh && self.view().exists() {
                fs::remove_dir_all(self.view()).map_err(|error| TableError(error.to_string()))?;
            }
            SledTable::open(&self.view())
        };
        recovery::open(self.medium(), OPTIONS, open_table, &mut |_| {})
    }

    /// What the daemon does with a view that fails while it is used: the next start rebuilds it.
    fn drop_view(&self) {
        fs::remove_dir_all(self.view()).unwrap();
    }

    fn verify(&self) -> VerifyReport {
        let table = if self.view().exists() { SledTable::open(&self.view()).map(Some) } else { Ok(None) };
        verify::at_rest(self.medium(), table, &mut |_, _| {}).unwrap()
    }

    /// Every good frame, by number.
    fn facts(&self) -> BTreeMap<u64, Fact> {
        let (medium, mut facts) = (self.medium(), BTreeMap::new());
        let reader = JournalReader::new(Arc::clone(&medium));
        for number in medium.list().unwrap().iter().filter_map(|name| segment::parse_file_name(name)) {
            let Some(mut scan) = reader.scan(number).unwrap() else { continue };
            while let Some(scanned) = scan.step().unwrap() {
                if let Scanned::Frame(frame) = scanned {
                    facts.insert(frame.sequence.0, frame.fact);
                }
            }
        }
        facts
    }

    fn copy(&self) -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        copy_all(self.0.path(), copy.0.path());
        copy
    }

    /// Flips a bit of a file, or cuts the file; says what it did.
    fn harm(&self, file: &Path, chance: &mut Chance) -> String {
        let mut bytes = fs::read(file).unwrap();
        let (at, cut) = (chance.below(bytes.len()), chance.below(4) == 0);
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << chance.below(8);
        }
        fs::write(file, bytes).unwrap();
        format!("{} {} at byte {at}", file.display(), if cut { "cut" } else { "with a flipped bit" })
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every row; an error where the table fails.
fn rows_of(table: &SledTable) -> Result<Rows, TableError> {
    let mut rows = Rows::new();
    table.scan(&[], &[0xff], &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn proposal(number: u64) -> Proposal {
    let bounced = number.is_multiple_of(3);
    Proposal {
        id: EventId::parse(&format!("order-{number}")).unwrap(),
        id_by_client: true,
        event_type: EventTypeName::parse(if bounced { "email.status.bounced" } else { "email.status.delivered" }).unwrap(),
        project: Project::parse("shop.example.com").unwrap(),
        fields_hash: [7; 16],
        blacklisted: bounced.then(|| Address::parse(&format!("user{number}@example.com")).unwrap()),
        body: format!("{{\"n\":\"{}\"}}", "x".repeat(300)).into_bytes().into(),
        accepted: NOW.plus_ms(number),
        deliveries: vec![WebhookNumber(1), WebhookNumber(2)],
        overflowed: Vec::new(),
    }
}

fn webhook_state(number: u32) -> Fact {
    Fact::Webhook(WebhookState {
        number: WebhookNumber(number),
        id: WebhookId::parse(&format!("hook-{number}")).unwrap(),
        origin: Origin::File,
        generated_secret: Some(KeptSecret::Open(Secret::from_bytes(vec![5; 32]).unwrap())),
        secret_shown: true,
        pauses: Vec::new(),
        removed: None,
    })
}

fn attempted(sequence: u64, due: UnixMillis, next: Next) -> Fact {
    let key = DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(1) };
    let outcome = Outcome::new(OutcomeClass::Status, "the receiver answered 503");
    let attempt = Attempt { round: 1, number: 1, due, finished: due.plus_ms(5), outcome, next };
    Fact::Attempted(Attempted { key, body: hookwheel::model::Locator { segment: 1, offset: 8192 }, previous: None, attempt })
}

/// A daemon's writer.
struct Running(Writer<RealMedium, SledTable>);

impl Running {
    fn of(opened: Opened) -> Self {
        Self(Writer::new(opened.journal, opened.view, opened.history, WINDOW_MS))
    }

    fn carry_out(&mut self, order: Order) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.0.take(order, NOW).unwrap();
        self.0.sync(&mut answers).unwrap();
        while self.0.apply_step(&mut answers).unwrap() {}
        answers
    }

    fn commit(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.carry_out(Order::Commit { ticket: 1, batch: vec![proposal(number)] });
        }
    }
}

/// Three segments with events, attempts of some, a Black List and webhooks, all of it in the view.
fn filled() -> Store {
    let store = Store(tempfile::tempdir().unwrap());
    for part in 0..3_u64 {
        let mut running = Running::of(store.try_open().unwrap());
        running.carry_out(Order::Operate { ticket: 1, facts: vec![webhook_state(u32::try_from(part).unwrap() + 1)] });
        let first = part * 100;
        running.commit(first..first + 40);
        if part == 0 {
            for sequence in 2..20 {
                let next = if sequence % 2 == 0 { Next::Delivered } else { Next::RetryAt(NOW.plus_ms(5000 + sequence)) };
                running.carry_out(Order::Record(attempted(sequence, NOW.plus_ms(sequence - 2), next)));
            }
        }
        running.0.view().table().checkpoint().unwrap();
    }
    store
}

/// Opens a store whatever its damage: a segment that a start names as unreadable is moved away, as it says.
fn open_somehow(store: &Store, what: &str) -> Opened {
    for _ in 0..4 {
        match store.try_open() {
            Ok(opened) => return opened,
            Err(OpenError::Header(name)) => fs::remove_file(store.journal().join(name)).unwrap(),
            Err(error) => panic!("{what}: {error}"),
        }
    }
    panic!("{what}: it never opens");
}

/// The numbers that warnings of a start name as gone.
fn named_as_gone(warnings: &[String]) -> BTreeSet<u64> {
    let mut named = BTreeSet::new();
    for warning in warnings {
        let numbers =
            |from: &str, to: &str| Some((from.parse::<u64>().ok()?, to.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()?));
        let range = warning.split_once("facts ").and_then(|(_, rest)| rest.split_once(" to ")).and_then(|(from, to)| numbers(from, to));
        named.extend(range.into_iter().flat_map(|(from, to)| from..=to));
        let ends = warning.split_once("ends with fact ").and_then(|(_, rest)| rest.split_once(", but the view followed it to fact "));
        named
            .extend(ends.and_then(|(kept, followed)| numbers(kept, followed)).into_iter().flat_map(|(kept, followed)| kept + 1..=followed));
    }
    named
}

#[test]
fn wherever_the_journal_is_damaged_what_is_gone_is_named_and_the_rest_goes_on_unaltered() {
    let master = filled();
    let original = master.facts();
    let last = *original.keys().last().unwrap();
    assert!(master.verify().sound, "{:?}", master.verify());
    let files = (1..=3).map(segment::file_name).collect::<Vec<_>>();
    for seed in 0..places() {
        let (store, mut chance) = (master.copy(), Chance(seed));
        let file = store.journal().join(&files[chance.below(files.len())]);
        let what = format!("seed {seed}: {}", store.harm(&file, &mut chance));
        let left = store.facts();
        for (sequence, fact) in &left {
            assert_eq!(Some(fact), original.get(sequence), "{what}: nothing is altered");
        }
        let gone = original.keys().copied().filter(|sequence| !left.contains_key(sequence)).collect::<BTreeSet<_>>();

        let report = store.verify();
        let missing = report.missing.iter().flat_map(|missing| missing.from.0..=missing.through.0).collect::<BTreeSet<_>>();
        assert_eq!(missing, gone, "{what}: {report:?}");
        assert!(gone.is_empty() || !report.sound, "{what}");

        // With its view, and with one that has to be made again: then everything has to be read.
        let again = store.copy();
        again.drop_view();
        for (store, has_view) in [(&store, true), (&again, false)] {
            let opened = open_somehow(store, &what);
            let named = named_as_gone(&opened.warnings);
            assert!(named.is_subset(&gone), "{what}: {:?}", opened.warnings);
            // Without a view nobody knows of the newest group that it was synced.
            let unnamed = gone.difference(&named).copied().collect::<BTreeSet<_>>();
            let is_tail = unnamed.iter().rev().zip((1..=last).rev()).all(|(gone, number)| *gone == number);
            assert!(has_view || is_tail, "{what}: {unnamed:?} of {gone:?} are not named: {:?}", opened.warnings);
            bodies_are_whole(store, &opened, &original, &what);
            let mut running = Running::of(opened);
            running.commit([900]);
            assert_eq!(running.0.status().view_lag, 0, "{what}: it goes on");
        }
    }
}

/// Every pending delivery's event is what was accepted, or can't be read.
fn bodies_are_whole(store: &Store, opened: &Opened, original: &BTreeMap<u64, Fact>, what: &str) {
    let reader = JournalReader::new(store.medium());
    let mut checked = 0;
    recovery::read_queue(opened.view.table().as_ref(), |pending| {
        if let Ok(found) = reader.read(pending.row.body) {
            assert_eq!(found.sequence, pending.key.sequence, "{what}");
            assert_eq!(Some(&found.fact), original.get(&found.sequence.0), "{what}");
            checked += 1;
        }
    })
    .unwrap();
    assert!(checked > 50, "{what}: {checked}");
}

#[test]
fn whatever_is_damaged_of_the_view_it_is_whole_again_after_the_next_start() {
    let master = filled();
    let opened = master.try_open().unwrap();
    let expected = rows_of(opened.view.table()).unwrap();
    drop(opened);
    assert!(["b", "i", "m", "q", "w", "x"].iter().all(|family| expected.keys().any(|key| key[0] == family.as_bytes()[0])));
    let (mut rebuilt, mut silent) = (0, Vec::new());
    for seed in 0..places() {
        let (store, mut chance) = (master.copy(), Chance(seed));
        let files = fs::read_dir(store.view()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let mut files = files.filter(|path| fs::metadata(path).unwrap().len() > 0).collect::<Vec<_>>();
        files.sort();
        // Most of it is in one file.
        let file = if chance.below(4) == 0 { files[chance.below(files.len())].clone() } else { store.view().join("db") };
        let what = format!("seed {seed}: {}", store.harm(&file, &mut chance));
        let opened = store.try_open().unwrap_or_else(|error| panic!("{what}: {error}"));
        rebuilt += u32::from(opened.rebuilt);
        let rows = match rows_of(opened.view.table()) {
            Ok(rows) => rows,
            Err(_) => {
                // The daemon ends then, and its next start makes the view again.
                drop(opened);
                store.drop_view();
                rows_of(store.try_open().unwrap().view.table()).unwrap()
            }
        };
        let differs = |rows: &Rows| {
            let families = expected.keys().filter(|key| rows.get(*key) != expected.get(*key)).map(|key| key[0] as char);
            families.filter(|family| *family != 'm').collect::<BTreeSet<_>>()
        };
        if !differs(&rows).is_empty() {
            silent.push(format!("{what}: rows of {:?} are lost or altered", differs(&rows)));
        }
    }
    assert!(rebuilt > 0, "no damage was ever noticed");
    assert!(silent.is_empty(), "{} of {} (rebuilt {rebuilt}):\n{}", silent.len(), places(), silent.join("\n"));
}

#[test]
fn a_daemon_with_a_damaged_view_has_everything_again() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let daemon = house.start();
    let events = (0..300).map(|number| event(&format!("e{number}")) + "\n").collect::<String>();
    assert_eq!(daemon.post("application/x-ndjson", events.as_bytes()).0, 202);
    let addresses = (0..100).map(|number| format!("user{number}@example.com")).collect::<Vec<_>>();
    let add = ["blacklist", "add", "shop.example.com"].into_iter().chain(addresses.iter().map(String::as_str));
    house.says(&add.collect::<Vec<_>>());
    assert!(daemon.stop().success());
    let database = house.path("data/view/db");
    for seed in 0..6 {
        let mut chance = Chance(seed);
        let mut bytes = fs::read(&database).unwrap();
        let at = chance.below(bytes.len());
        if seed % 3 == 2 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << chance.below(8);
        }
        fs::write(&database, bytes).unwrap();
        let daemon = house.start();
        assert_eq!(house.json(&["status"])["pending"], 300, "at {at}:\n{}", house.log());
        assert_eq!(daemon.post("application/json", event("e7").as_bytes()).1["duplicate"], true, "at {at}");
        house.says(&["blacklist", "check", "shop.example.com", "user7@example.com"]);
        assert!(daemon.stop().success(), "{}", house.log());
        let data = house.path("data");
        house.says(&["verify", "--data-dir", data.to_str().unwrap()]);
    }
}

#[test]
fn a_damaged_view_is_rebuilt_from_the_journal_with_nothing_lost() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", ""));
    let daemon = house.start();
    let events = (0..200).map(|number| event(&format!("e{number}")) + "\n").collect::<String>();
    assert_eq!(daemon.post("application/x-ndjson", events.as_bytes()).0, 202);
    assert!(daemon.stop().success());
    let database = house.path("data/view/db");
    let mut bytes = fs::read(&database).unwrap();
    let middle = bytes.len() / 2;
    for byte in bytes.iter_mut().skip(64).step_by(97).take(middle) {
        *byte ^= 0x55;
    }
    fs::write(&database, bytes).unwrap();
    let daemon = house.start();
    assert!(house.log().contains("rebuil"), "{}", house.log());
    assert_eq!(house.json(&["status"])["pending"], 200);
    assert_eq!(daemon.post("application/json", event("e7").as_bytes()).1["duplicate"], true);
    drop(daemon);
    // And without a view at all.
    fs::remove_dir_all(house.path("data/view")).unwrap();
    let _daemon = house.start();
    assert_eq!(house.json(&["status"])["pending"], 200);
}

#[test]
fn a_damaged_fact_in_an_old_segment_is_named_and_everything_else_is_kept() {
    let receiver = Receiver::new(ok);
    let paused = webhook("crm", &receiver.url("/"), "paused = true");
    let house = House::new(&paused);
    let daemon = house.start();
    for number in 0..5 {
        assert_eq!(daemon.post("application/json", event(&format!("e{number}")).as_bytes()).0, 202);
    }
    assert!(daemon.stop().success());
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("e5").as_bytes()).0, 202);
    assert!(daemon.stop().success());
    let segment = house.path("data/journal/0000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(10).position(|window| window == br#"{"n":"e2"}"#).unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    fs::remove_dir_all(house.path("data/view")).unwrap();
    house.configure(&webhook("crm", &receiver.url("/"), ""));
    let _daemon = house.start();
    assert!(house.log().contains("facts 4 to 4 are gone"), "{}", house.log());
    house.drained();
    let mut ids = receiver.received().iter().map(|received| received.header("webhook-id").to_owned()).collect::<Vec<_>>();
    ids.sort();
    assert_eq!(ids, ["e0", "e1", "e3", "e4", "e5"], "nothing is delivered altered, nothing else is missing");
}
