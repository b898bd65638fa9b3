//! A mixed load on the real binary, what was acknowledged of it, and whether all of that is there in the end. It never looks inside the process.
//!
//! Clients post single events, batches, and ids that were acknowledged before; webhooks succeed, fail, hang and are dead; meanwhile an operator retries, cancels and reloads by command.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::daemon::{Daemon, House, exchange, now, until};
use crate::receivers::{Received, Receiver, after, fails_first, ok};

const CLIENTS: usize = 4;
/// Directories in which daemons meet their ends at the same time.
const HOUSES_AT_ONCE: usize = 2;
/// Events of a batch.
const BATCH: u64 = 4;
/// The webhooks that are sent to something, each with the type that it wants, how its deliveries end, and its settings. `ok` wants all types.
const WEBHOOKS: [(&str, &str, &str, &str); 5] = [
    ("ok", "*", "delivered", ""),
    ("flaky", "email.status.delivered", "delivered", "retry = [ {attempts = 15, every = \"100ms\"} ]"),
    ("hang", "sms.status.delivered", "delivered", "timeout = \"100ms\"\nretry = [ {attempts = 15, every = \"100ms\"} ]"),
    ("dead", "email.message.read", "dropped", "retry = [ {attempts = 1, every = \"50ms\"} ]"),
    ("doomed", "sms.message.clicked", "cancelled", "retry = [ {attempts = 3, every = \"1d\"} ]"),
];
/// What a process sent before it was killed may reach the receiver's own tasks so much later.
const HEARD_LATE: Duration = Duration::from_secs(1);
/// An attempt whose response the receiver sent so long before a later event was even posted was recorded before that.
const SETTLED: Duration = Duration::from_millis(1500);

/// Numbers from a seed.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// An event whose acceptance was acknowledged.
#[derive(Clone, Debug)]
struct Acknowledged {
    number: u64,
    posted: Instant,
    answered: Instant,
}

/// A load and what came of it.
pub(crate) struct Load {
    pub(crate) receiver: Receiver,
    address: RwLock<SocketAddr>,
    /// The operator edits and reloads the configuration; else somebody else does.
    operator_reloads: bool,
    stop: AtomicBool,
    next: AtomicU64,
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// When each began, and when it was over.
    kills: Mutex<Vec<(Instant, Instant)>>,
}

/// How a receiver behaves, by the path.
fn behave(received: &Received) -> Response {
    match received.path.as_str() {
        "/flaky" => fails_first(received),
        "/hang" if received.header("hookwheel-attempt") == "1" => after(Duration::from_secs(1), ok(received)),
        "/doomed" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => ok(received),
    }
}

/// The type of an event; every fourth is wanted by `ok` alone, and few by `hang`, whose lane is slow.
fn type_of(number: u64) -> &'static str {
    match number % 40 {
        7 => "sms.status.delivered",
        other => ["email.status.rejected", "email.status.delivered", "email.message.read", "sms.message.clicked"]
            [usize::try_from(other % 4).unwrap()],
    }
}

fn event(number: u64, content: u64) -> String {
    let event_type = type_of(number);
    format!(r#"{{"type":"{event_type}","project":"shop.example.com","id":"e{number}","data":{{"n":{content}}}}}"#)
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            receiver: Receiver::new(behave),
            address: RwLock::new(([127, 0, 0, 1], 9).into()),
            operator_reloads: true,
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            kills: Mutex::default(),
        }
    }

    /// A load whose operator leaves the configuration alone.
    pub(crate) fn without_reloads() -> Self {
        Self { operator_reloads: false, ..Self::new() }
    }

    /// The webhooks; `edition` is something about them that a reload changes.
    pub(crate) fn webhooks(&self, edition: u64) -> String {
        let webhook = |(id, wanted, _, more): &(&str, &str, &str, &str)| {
            let url = if *id == "dead" { "http://127.0.0.1:9/".to_owned() } else { self.receiver.url(&format!("/{id}")) };
            let head = format!("[[webhook]]\nid = \"{id}\"\ntitle = \"edition {edition}\"\nproject = \"shop.example.com\"\n");
            format!("{head}url = \"{url}\"\nevents = [\"{wanted}\"]\n{more}\n")
        };
        WEBHOOKS.iter().map(webhook).collect()
    }

    /// Tells the clients where the daemon is now.
    pub(crate) fn is_at(&self, address: SocketAddr) {
        *self.address.write().unwrap() = address;
    }

    /// Kills the daemon.
    pub(crate) fn kill(&self, daemon: Daemon<'_>) {
        let before = now();
        daemon.kill();
        self.kills.lock().unwrap().push((before, now()));
    }

    /// The daemon came to an end by itself, at a moment since `began`.
    pub(crate) fn ended(&self, began: Instant) {
        self.kills.lock().unwrap().push((began, now()));
    }

    /// How many events were acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Has clients and an operator at work as long as `work` takes.
    pub(crate) fn during<T>(&self, house: &House, seed: u64, work: impl FnOnce() -> T) -> T {
        self.stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn(move || self.publish(Chance(seed ^ (client as u64 + 1) << 20)));
            }
            scope.spawn(|| self.operate(house, Chance(!seed)));
            let stop = StopsWhenDropped(&self.stop);
            let result = work();
            drop(stop);
            result
        })
    }

    /// Publishes until told to stop, each request until it is answered.
    fn publish(&self, mut chance: Chance) {
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2 + chance.below(16)));
            let old = if chance.below(4) == 0 { self.any_acknowledged(&mut chance) } else { None };
            let kind = chance.below(3);
            let new = if kind == 0 { 1 } else { BATCH };
            let first = self.next.fetch_add(new, Ordering::Relaxed);
            let events = (first..first + new).chain(old).map(|number| event(number, number)).collect::<Vec<_>>();
            let (content_type, body) = match kind {
                0 if old.is_none() => ("application/json", events.concat()),
                1 => ("application/x-ndjson", events.join("\n")),
                _ => ("application/json", format!("[{}]", events.join(","))),
            };
            let Some((posted, answer)) = self.post(content_type, &body) else { continue };
            // A request that is repeated because its answer got lost has more.
            let duplicates = answer["duplicates"].as_u64();
            assert!(old.is_none() || duplicates.is_some_and(|count| count > 0), "{old:?} was acknowledged before: {answer}");
            let answered = now();
            let new = (first..first + new).map(|number| Acknowledged { number, posted, answered });
            self.acknowledged.lock().unwrap().extend(new);
            if let Some(old) = self.any_acknowledged(&mut chance).filter(|_| chance.below(8) == 0) {
                self.refuses_another(old);
            }
        }
    }

    /// Starts a daemon after whatever happened to its disk, and has everything that was acknowledged come again: all of it is recognized. Damage of the view may be found only now; then
    /// the daemon ends, once, and its next start makes the view again.
    pub(crate) fn start_again<'a>(&self, house: &'a House, mut command: impl FnMut() -> Command, what: &str) -> Daemon<'a> {
        for _ in 0..2 {
            let mut daemon = house.start_as(command());
            self.is_at(daemon.address);
            assert!(!house.log().contains("the journal is damaged"), "{what}:\n{}", house.log());
            if self.all_are_known(what) {
                return daemon;
            }
            let ended = until("a daemon that does not answer has ended", || daemon.ended());
            assert!(house.log().contains("the view is set aside"), "{what}: it ended with {ended}:\n{}", house.log());
        }
        panic!("{what}: a view that was made again was damaged, too:\n{}", house.log());
    }

    /// False when the daemon went away meanwhile.
    fn all_are_known(&self, what: &str) -> bool {
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        let to = *self.address.read().unwrap();
        acknowledged.chunks(5000).all(|chunk| {
            let body = chunk.iter().map(|one| event(one.number, one.number) + "\n").collect::<String>();
            let ask = || match exchange(to, &request("application/x-ndjson", &body)) {
                Some((503, _)) => None,
                other => Some(other),
            };
            let Some((status, answer)) = until("an answer", ask) else { return false };
            assert!(status == 200 && answer["duplicates"] == chunk.len(), "{what}: of {} acknowledged: {status} {answer}", chunk.len());
            true
        })
    }

    /// What was acknowledged does not pass for something else.
    fn refuses_another(&self, number: u64) {
        let to = *self.address.read().unwrap();
        let answer = exchange(to, &request("application/json", &event(number, number + 1)));
        assert!(answer.as_ref().is_none_or(|(status, _)| matches!(status, 409 | 503)), "e{number} with other content: {answer:?}");
    }

    /// Posts until there is an answer, which is that it was accepted; nothing when told to stop before.
    fn post(&self, content_type: &str, body: &str) -> Option<(Instant, Value)> {
        while !self.stop.load(Ordering::Relaxed) {
            let (to, posted) = (*self.address.read().unwrap(), now());
            match exchange(to, &request(content_type, body)) {
                Some((200 | 202, answer)) => return Some((posted, answer)),
                Some((503, _)) | None => std::thread::sleep(Duration::from_millis(5)),
                Some(other) => panic!("{other:?} to {body}"),
            }
        }
        None
    }

    fn any_acknowledged(&self, chance: &mut Chance) -> Option<u64> {
        let acknowledged = self.acknowledged.lock().unwrap();
        let count = acknowledged.len() as u64;
        (count > 0).then(|| acknowledged[usize::try_from(chance.below(count)).unwrap()].number)
    }

    /// Commands until told to stop. The daemon may be gone at any moment, so nothing is expected of them.
    fn operate(&self, house: &House, mut chance: Chance) {
        while !self.stop.load(Ordering::Relaxed) {
            let arguments: &[&str] = match chance.below(if self.operator_reloads { 4 } else { 3 }) {
                0 => &["deliveries", "retry", "--webhook", "flaky", "--state", "pending", "--yes"],
                1 => &["deliveries", "retry", "--webhook", "dead", "--since", "10s", "--yes"],
                2 => &["deliveries", "cancel", "--webhook", "doomed", "--yes"],
                _ => {
                    house.configure(&self.webhooks(chance.below(1000)));
                    &["reload"]
                }
            };
            house.run(arguments);
            std::thread::sleep(Duration::from_millis(chance.below(60)));
        }
    }

    /// Waits until everything has ended, and compares what was acknowledged with what is listed and with what the receiver got. So many attempts were repeated.
    pub(crate) fn everything_is_there(&self, house: &House) -> usize {
        until("everything has ended", || {
            house.says(&["deliveries", "cancel", "--webhook", "doomed", "--yes"]);
            (house.json(&["status"])["pending"] == 0).then_some(())
        });
        let received = self.receiver.received();
        let mut got: HashMap<(&str, &str), HashSet<&[u8]>> = HashMap::new();
        for one in &received {
            got.entry((one.path.trim_start_matches('/'), one.header("webhook-id"))).or_default().insert(&one.body);
        }
        let acknowledged = self.acknowledged.lock().unwrap().clone();
        for (webhook, wanted, end, _) in WEBHOOKS {
            let listed = ends_of(house, webhook);
            for number in acknowledged.iter().map(|one| one.number).filter(|number| wanted == "*" || type_of(*number) == wanted) {
                let id = format!("e{number}");
                assert_eq!(listed.get(&id).map(Vec::as_slice), Some([end.to_owned()].as_slice()), "{id} to {webhook}");
                let bodies = got.get(&(webhook, id.as_str()));
                assert!(end != "delivered" || bodies.is_some(), "{id} is said to be delivered to {webhook}, which never got it");
                let right = |body: &&[u8]| serde_json::from_slice::<Value>(body).is_ok_and(|body| body["data"]["n"] == number);
                assert!(bodies.is_none_or(|bodies| bodies.len() == 1 && bodies.iter().all(right)), "{id} to {webhook}: {bodies:?}");
            }
        }
        self.repeated(&received, &acknowledged)
    }

    /// So many attempts were made twice: those that were under way at a kill, or whose record was not durable.
    fn repeated(&self, received: &[Received], acknowledged: &[Acknowledged]) -> usize {
        let kills = self.kills.lock().unwrap().clone();
        let mut first: HashMap<(&str, &str, &str), Instant> = HashMap::new();
        let mut repeated = 0;
        // Those of `dead` and `doomed` begin anew when an operator wants that.
        for one in received.iter().filter(|one| one.path != "/doomed") {
            let key = (one.path.as_str(), one.header("webhook-id"), one.header("hookwheel-attempt"));
            let Some(before) = first.insert(key, one.at) else { continue };
            repeated += 1;
            let killed = kills.iter().find(|(began, over)| before < *over + HEARD_LATE && *began < one.at);
            let Some((killed, _)) = killed else { panic!("{key:?} was made twice by the same process") };
            let settled = acknowledged.iter().find(|event| event.posted > before + SETTLED && event.answered < *killed);
            assert!(settled.is_none(), "{key:?} was made twice, and its record was durable since {settled:?}");
        }
        repeated
    }
}

/// Does so many of something in houses of their own, `a_house` in each, with a seed each; in two at the same time, for one waits for its disk while the other works. It ends early
/// when one could not be done here.
pub(crate) fn in_houses(all: u64, a_house: u64, work: impl Fn(u64, u64) -> bool + Sync) {
    let seed = hookwheel::time::wall_now().0;
    let (houses, next) = (all.div_ceil(a_house), AtomicU64::new(0));
    let worker = || {
        loop {
            let house = next.fetch_add(1, Ordering::Relaxed);
            if house >= houses || !work(a_house.min(all - house * a_house), seed + house) {
                return;
            }
        }
    };
    std::thread::scope(|scope| (0..HOUSES_AT_ONCE).for_each(|_| drop(scope.spawn(worker))));
}

/// Whatever becomes of the work, its clients end.
struct StopsWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn request(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n");
    format!("{head}connection: close\r\n\r\n{body}").into_bytes()
}

/// In which states the deliveries of a webhook are, by event. The lists are complete once every sealed segment has its index.
fn ends_of(house: &House, webhook: &str) -> HashMap<String, Vec<String>> {
    let list = until("all segments are indexed", || {
        let list = house.json(&["deliveries", "list", "--webhook", webhook, "--limit", "1000000"]);
        (list["unindexed_segments"].as_u64().unwrap_or(0) == 0).then_some(list)
    });
    let mut ends: HashMap<String, Vec<String>> = HashMap::new();
    for one in list["deliveries"].as_array().unwrap() {
        ends.entry(one["event"].as_str().unwrap().to_owned()).or_default().push(one["state"].as_str().unwrap().to_owned());
    }
    ends
}
