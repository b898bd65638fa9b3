//! What outside bytes are given to, and what must hold whatever they are. A target panics when it does not hold; it never keeps anything.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use hookwheel::config::{Config, Environment};
use hookwheel::dispatch::outcome::retry_after_ms;
use hookwheel::dispatch::{Job, request};
use hookwheel::model::blacklist::Entry;
use hookwheel::model::{
    Address, Catalog, Definition, DeliveryId, EventId, EventTypeName, Moment, Project, Remark, SandboxToken, Secret, Selector, Sequence,
    Webhook, WebhookId, WebhookNumber, WebhookSpec, submission,
};
use hookwheel::store::backup;
use hookwheel::store::journal::frame;
use hookwheel::store::journal::medium::MediumFile;
use hookwheel::store::journal::segment::{JournalId, Scanned, SegmentHeader, SegmentScan};
use hookwheel::store::view::keys::{self, BlacklistRow, IdempotencyRow, Meta, QueueRow};
use hookwheel::time::UnixMillis;
use serde_json::value::RawValue;

const NOW: UnixMillis = UnixMillis(1_795_428_000_000);

/// A parser, and the words that its input is made of.
pub(crate) struct Target {
    /// That of its directory below `corpus`, too.
    pub(crate) name: &'static str,
    /// What is put into inputs now and then.
    pub(crate) words: &'static [&'static str],
    /// Takes the bytes.
    pub(crate) run: fn(&[u8]),
}

/// Every target that needs neither a socket nor a process.
pub(crate) static TARGETS: [Target; 11] = [
    Target {
        name: "event",
        words: &[
            "\"type\"",
            "\"project\"",
            "\"id\"",
            "\"data\"",
            "\"timestamp\"",
            "{}",
            "null",
            "\\u0000",
            "\\ud800",
            "1e999",
            "email.contact.list_unsubscribed",
        ],
        run: event,
    },
    Target {
        name: "config",
        words: &[
            "[[webhook]]",
            "[server]",
            "[delivery]",
            "[egress]",
            "retry = ",
            "\"100s\"",
            "\"64KiB\"",
            "\"\"\"",
            "[{",
            "}]",
            "= [",
            "9223372036854775808",
            "url = \"http://[::1%25eth0]/\"",
        ],
        run: config,
    },
    Target {
        name: "definition",
        words: &[
            "\"headers\"",
            "\"url\"",
            "\"events\"",
            "\\r\\n",
            "\\u0000",
            "https://",
            "@",
            "[::ffff:127.0.0.1]",
            "\"secret\"",
            "whsec_",
            "\"paused\"",
            "null",
        ],
        run: definition,
    },
    Target { name: "selector", words: &["*", ".", "email.", "email.status.*", "_"], run: selector },
    Target {
        name: "retry_after",
        words: &["GMT", "Mon, ", "Sunday, ", " 23 Nov 2026 10:01:30 ", "99999999999999999999", "-", "+"],
        run: retry_after,
    },
    Target {
        name: "names",
        words: &["evt_", "dlv_", "whsec_", "xn--", "@", ".", "..", "\u{ff0e}", "1h", "Z", "+14:00", "9999-12-31"],
        run: names,
    },
    Target {
        name: "blacklist_line",
        words: &["\"address\"", "\"since\"", "\"reason\"", "\"operator\"", "\"bounced\"", "\u{feff}", "#", "@"],
        run: blacklist_line,
    },
    Target { name: "fact", words: &["\u{fb}\u{ff}\u{ff}", "\0", "\u{1}", "evt_", "success"], run: fact },
    Target { name: "row", words: &["\0\0\0\0", "\u{7f}"], run: row },
    Target { name: "segment", words: &["\0\0\0\0\0\0\0\0"], run: segment },
    Target {
        name: "manifest",
        words: &["hookwheel backup, format ", ", crc32c ", "journal/", "../", "\"files\"", "\"size\""],
        run: manifest,
    },
];

/// The target of that name.
pub(crate) fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        let names = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        panic!("there is no target {name:?}; there are: {names}")
    })
}

/// Whatever is accepted is a JSON object that says what it is of, and says the same the next time.
fn event(bytes: &[u8]) {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let parse = || submission::parse(text, &CATALOG, NOW, || EventId::parse("evt_fresh").expect("it is one"));
    match parse() {
        Ok(event) => {
            let body = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(&event.body).expect("the body is a JSON object");
            let text = |name: &str| serde_json::from_str::<String>(body[name].get()).expect("a text");
            assert!(body["data"].get().starts_with('{') && body["data"].get().ends_with('}'));
            assert_eq!(text("type"), event.event_type.as_str());
            // Written as it was submitted.
            assert_eq!(Project::parse(&text("project")).as_ref(), Ok(&event.project));
            let again = parse().expect("it was parsed before");
            assert_eq!((again.fields_hash, again.body), (event.fields_hash, event.body));
        }
        Err(mistakes) => assert!(mistakes.iter().all(|mistake| !mistake.is_empty()) && !mistakes.is_empty()),
    }
}

/// Every mistake has its place in the text; every webhook that is accepted can be requested, and says the same over the admin socket.
fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(Path::new("webhooks.toml"), text, &Environment::default()) {
        Ok(config) => {
            for spec in &config.webhooks {
                requestable(spec);
                let again = config.webhook(&config.definition_of(spec)).expect("what the file may say, the socket may");
                assert_eq!((&again.url, &again.selectors), (&spec.url, &spec.selectors));
                assert_eq!(BTreeSet::from_iter(&again.headers), BTreeSet::from_iter(&spec.headers), "their order is nobody's concern");
            }
        }
        Err(mistakes) => {
            let lines = text.lines().count() + 1;
            assert!(!mistakes.list.is_empty());
            let is_within = |(line, column): (usize, usize)| (1..=lines).contains(&line) && column >= 1;
            assert!(mistakes.list.iter().all(|mistake| mistake.position.is_none_or(is_within)), "{mistakes}");
        }
    }
}

/// A webhook as the admin socket is told of it.
fn definition(bytes: &[u8]) {
    static BASE: LazyLock<Config> =
        LazyLock::new(|| Config::parse(Path::new("webhooks.toml"), "", &Environment::default()).expect("an empty file is a configuration"));
    let Ok(definition) = serde_json::from_slice::<Definition>(bytes) else { return };
    match BASE.webhook(&definition) {
        Ok(spec) => {
            requestable(&spec);
            assert_eq!(BASE.webhook(&BASE.definition_of(&spec)).expect("it was accepted before").url, spec.url);
        }
        Err(mistakes) => assert!(!mistakes.is_empty()),
    }
}

/// No header holds what ends a line, and none of the webhook's stands in the place of one of ours.
fn requestable(spec: &WebhookSpec) {
    let secrets = vec![Secret::from_bytes(vec![7; 32]).expect("32 bytes are enough")];
    let webhook = Arc::new(Webhook { number: WebhookNumber(1), spec: spec.clone(), secrets });
    let event_id = EventId::parse("evt_1").expect("it is one");
    let job = Job { webhook, event_id, body: Arc::from(&b"{}"[..]), attempt: 1, sent_at: NOW };
    let request = request::build(&job).expect("a webhook that was accepted can be requested");
    for (name, value) in request.headers() {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}");
    }
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature", "content-type"] {
        assert_eq!(request.headers().get_all(name).iter().count(), 1, "{name}");
    }
}

fn selector(bytes: &[u8]) {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::built_in);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(selector) = Selector::parse(text) else { return };
    assert_eq!(Selector::parse(selector.as_str()).as_ref(), Ok(&selector));
    // Of one that no type fits, something is said.
    let fits = CATALOG.types().iter().any(|known| selector.matches(&known.name));
    assert!(fits || selector.mistake(&CATALOG, None).is_some(), "{selector}");
}

fn retry_after(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // It never lies in the past, and where it is counted from changes nothing of seconds.
    if let Some(wait_ms) = retry_after_ms(text, NOW).filter(|_| text.trim().bytes().all(|byte| byte.is_ascii_digit())) {
        assert_eq!(retry_after_ms(text, UnixMillis(0)), Some(wait_ms));
    }
}

/// What has a text form of its own says the same after it was written and read.
fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    fn same<T: PartialEq + std::fmt::Debug, E: std::fmt::Debug>(
        parse: impl Fn(&str) -> Result<T, E>,
        text: &str,
        write: impl Fn(&T) -> String,
    ) {
        let Ok(first) = parse(text) else { return };
        let written = write(&first);
        assert_eq!(parse(&written).expect("what was written can be read"), first, "{written:?}");
    }
    same(EventId::parse, text, ToString::to_string);
    same(EventTypeName::parse, text, ToString::to_string);
    same(Project::parse, text, ToString::to_string);
    same(WebhookId::parse, text, ToString::to_string);
    same(SandboxToken::parse, text, ToString::to_string);
    same(Address::parse, text, |address| address.as_str().to_owned());
    same(|text| text.parse::<DeliveryId>(), text, ToString::to_string);
    same(Secret::parse, text, |secret| secret.expose_text().to_string());
    same(|text| text.parse::<Moment>(), text, ToString::to_string);
}

/// An entry that was imported can be exported and imported again.
fn blacklist_line(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let by = Remark::parse("the operator").expect("it is one");
    let Ok(Some(entry)) = Entry::parse_line(text, NOW, &by) else { return };
    let line = serde_json::to_string(&entry).expect("an entry can be written");
    assert_eq!(Entry::parse_line(&line, UnixMillis(1), &by), Ok(Some(entry)), "{line}");
}

/// A record says one thing, or nothing.
fn fact(bytes: &[u8]) {
    let Ok(fact) = frame::decode_fact(bytes) else { return };
    assert_eq!(frame::decode_fact(&frame::encode_fact(&fact)).expect("what was written can be read"), fact);
}

/// A key and a value of the view, the value with its right checksum, so that what is behind that is reached.
fn row(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let _ = (keys::parse_queue_key(key), keys::parse_expiry_key(key), keys::parse_blacklist_key(key));
    let sealed = keys::seal(key, value.to_vec());
    if let Ok(row) = QueueRow::from_value(key, &sealed) {
        assert_eq!(QueueRow::from_value(key, &row.to_value(key)).expect("it was read before"), row);
    }
    if let Ok(row) = IdempotencyRow::from_value(key, &sealed) {
        assert_eq!(row.to_value(key), sealed);
    }
    if let Ok(row) = BlacklistRow::from_value(key, &sealed) {
        assert_eq!(BlacklistRow::from_value(key, &row.to_value(key)).expect("it was read before"), row);
    }
    let sealed = keys::seal(keys::META, value.to_vec());
    if let Ok(meta) = Meta::from_value(&sealed) {
        assert_eq!(meta.to_value(), sealed);
    }
}

/// Frames behind a good header: a scan ends, and goes through them in order.
fn segment(bytes: &[u8]) {
    let header = SegmentHeader { number: 1, journal: JournalId(7), first: Sequence(1), salt: 0 };
    let mut file = header.to_bytes();
    let start = file.len() as u64;
    file.extend_from_slice(bytes);
    let size = file.len() as u64;
    let mut scan = SegmentScan::new(Arc::new(Bytes(Mutex::new(file))), header, start);
    let (mut at, mut steps, mut seen) = (start, 0, BTreeSet::new());
    while let Some(scanned) = scan.step().expect("memory does not fail") {
        steps += 1;
        assert!(steps <= bytes.len() + 1, "a scan does not end");
        match scanned {
            Scanned::Frame(frame) => {
                assert!(frame.end > at && u64::from(frame.locator.offset) >= at, "{frame:?} behind {at}");
                assert!(seen.insert(frame.locator.offset));
                at = frame.end;
            }
            Scanned::Damage { offset, skipped, .. } => {
                assert!(offset >= at && offset + skipped <= size, "{skipped} from {offset} of {size}");
                drop(scan.remains(offset, skipped));
            }
        }
    }
}

/// A backup whose manifest somebody else wrote. No file is read that lies outside of it.
fn manifest(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("there is room");
    // With its right checksum as well, so that what is behind that is reached.
    let mended = std::str::from_utf8(bytes).ok().and_then(|text| {
        let json = text.split_once('\n')?.1.strip_suffix('\n')?;
        Some(format!("hookwheel backup, format 1, crc32c {:08x}\n{json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
    });
    for bytes in [Some(bytes.to_vec()), mended].into_iter().flatten() {
        std::fs::write(directory.path().join("manifest"), bytes).expect("there is room");
        if let Ok(checked) = backup::check(directory.path(), &mut |_, _| {}) {
            assert!(checked.segments.iter().all(|(_, path)| path.starts_with(directory.path())), "{:?}", checked.segments);
        }
    }
}

/// A file in memory.
struct Bytes(Mutex<Vec<u8>>);

impl MediumFile for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.lock().expect("nobody panics while holding it");
        let from = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let length = buffer.len().min(bytes.len() - from);
        buffer[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("nobody panics while holding it").len() as u64)
    }
}
