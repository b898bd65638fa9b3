//! `kill -9` under load, again and again, and damage while it is down. What was acknowledged must arrive.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use crate::daemon::{House, event, exchange, webhook};
use crate::receivers::{Receiver, fails_first, ok};

const ROUNDS: u32 = 50;
const CLIENTS: usize = 4;
/// Attempts in flight at most, two webhooks of ten.
const IN_FLIGHT: usize = 20;

/// A cheap generator, so that the moments of death differ between rounds and runs.
fn random_below(state: &mut u64, limit: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % limit
}

/// Publishes batches until told to stop, repeating each until it is answered; notes what was acknowledged.
fn publish(address: &RwLock<std::net::SocketAddr>, stop: &AtomicBool, next: &AtomicU64, acknowledged: &Mutex<HashSet<String>>) {
    while !stop.load(Ordering::Relaxed) {
        let first = next.fetch_add(3, Ordering::Relaxed);
        let ids = (first..first + 3).map(|number| format!("e{number}")).collect::<Vec<_>>();
        let body = ids.iter().map(|id| event(id) + "\n").collect::<String>();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        while !stop.load(Ordering::Relaxed) {
            let to = *address.read().unwrap();
            match exchange(to, format!("{head}{body}").as_bytes()) {
                Some((200 | 202, _)) => {
                    acknowledged.lock().unwrap().extend(ids);
                    break;
                }
                Some((503, _)) | None => std::thread::sleep(Duration::from_millis(5)),
                Some(other) => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_fifty_kills_and_little_is_repeated() {
    let receiver = Receiver::new(fails_first);
    let schedule = "retry = [ {attempts = 15, every = \"200ms\"} ]";
    let house = House::new(&(webhook("a", &receiver.url("/a"), schedule) + &webhook("b", &receiver.url("/b"), schedule)));
    let (stop, next, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(HashSet::new()));
    let mut seed = hookwheel::time::wall_now().0;
    let first = house.start();
    let address = RwLock::new(first.address);
    let daemon = std::thread::scope(|scope| {
        let mut daemon = first;
        for _ in 0..CLIENTS {
            scope.spawn(|| publish(&address, &stop, &next, &acknowledged));
        }
        for _ in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(20 + random_below(&mut seed, 300)));
            daemon.kill();
            daemon = house.start();
            *address.write().unwrap() = daemon.address;
        }
        stop.store(true, Ordering::Relaxed);
        daemon
    });
    house.drained();
    let mut arrived: HashMap<(String, String), usize> = HashMap::new();
    let mut bodies: HashMap<String, Vec<u8>> = HashMap::new();
    for received in receiver.received() {
        let id = received.header("webhook-id").to_owned();
        assert_eq!(bodies.entry(id.clone()).or_insert_with(|| received.body.clone()), &received.body, "the same bytes on every attempt");
        if received.header("hookwheel-attempt") != "1" {
            *arrived.entry((received.path.clone(), id)).or_default() += 1;
        }
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    let lost = acknowledged
        .iter()
        .filter(|id| ["/a", "/b"].iter().any(|path| !arrived.contains_key(&((*path).to_owned(), (*id).clone()))))
        .count();
    assert_eq!(lost, 0, "of {} acknowledged events", acknowledged.len());
    assert!(acknowledged.len() > 500, "there was load: {}", acknowledged.len());
    // What a kill may repeat: what was in flight, and what ended in the last tenth of a second, here at most four times as many.
    let repeated = arrived.values().filter(|count| **count > 1).count();
    assert!(repeated <= ROUNDS as usize * IN_FLIGHT * 5, "{repeated} of {} deliveries were repeated", arrived.len());
    assert!(daemon.stop().success());
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
