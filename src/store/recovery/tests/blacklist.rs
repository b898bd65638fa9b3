//! Black Lists in the store: seen as soon as they are durable, kept over restarts, carried on without a trace. Nothing here is asked over a socket.

use super::*;
use crate::model::blacklist::{Cause, Entry};
use crate::model::{Address, Remark};
use crate::store::blacklist::carried;
use crate::store::fact::{BlacklistAction, BlacklistChange};

fn project() -> Project {
    Project::parse("shop.example").unwrap()
}

fn address(number: u64) -> Address {
    Address::parse(&format!("user{number}@example.com")).unwrap()
}

fn bounced(number: u64, id: &str) -> Proposal {
    Proposal {
        id: EventId::parse(id).unwrap(),
        id_by_client: true,
        event_type: EventTypeName::parse("email.status.bounced").unwrap(),
        project: project(),
        fields_hash: [7; 16],
        body: b"{}".as_slice().into(),
        blacklisted: Some(address(number)),
        accepted: NOW.plus_ms(number),
        deliveries: vec![WebhookNumber(1)],
        overflowed: Vec::new(),
    }
}

fn list(numbers: &[u64]) -> BlacklistChange {
    let by = Remark::parse("uid 0").unwrap();
    let entry = |number: &u64| Entry { address: address(*number), since: NOW, cause: Cause::Operator { by: by.clone(), note: None } };
    BlacklistChange { project: project(), action: BlacklistAction::List(numbers.iter().map(entry).collect()) }
}

fn remove(numbers: &[u64]) -> BlacklistChange {
    let addresses = numbers.iter().map(|number| address(*number)).collect();
    BlacklistChange { project: project(), action: BlacklistAction::Remove { at: NOW, by: "uid 0".into(), addresses } }
}

impl Running {
    /// Takes events without a sync.
    fn take(&mut self, batch: Vec<Proposal>) {
        self.0.take(Order::Commit { ticket: 7, batch }, NOW).unwrap();
    }

    /// Makes a change durable, and not yet applied; how many addresses it changed something about.
    fn change(&mut self, change: BlacklistChange) -> usize {
        self.0.take(Order::Blacklist { ticket: 8, change }, NOW).unwrap();
        let mut answers = Vec::new();
        self.0.sync(&mut answers).unwrap();
        let Some(Answer::Blacklisted { ticket: 8, changed }) = answers.pop() else { panic!("{answers:?}") };
        changed
    }

    /// The reason, as whoever asks without waiting for the view finds it.
    fn find(&self, number: u64) -> Option<Cause> {
        self.0.blacklist().find(&project(), &address(number)).unwrap().map(|entry| entry.cause)
    }

    fn page(&self) -> Vec<Address> {
        let page = self.0.blacklist().page(&project(), None, 100).unwrap();
        page.entries.into_iter().map(|entry| entry.address).collect()
    }
}

fn by_event(id: &str) -> Option<Cause> {
    Some(Cause::Bounced { event: Some(EventId::parse(id).unwrap()) })
}

#[test]
fn an_address_is_found_as_soon_as_its_event_is_durable_and_not_before_however_far_the_view_is_behind() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.take(vec![bounced(1, "e1"), bounced(2, "e2")]);
    assert_eq!(running.find(1), None, "a crash could still undo it");
    running.0.sync(&mut Vec::new()).unwrap();
    assert!(running.0.view().lag() > 0 && running.page().is_empty(), "the table has nothing yet");
    assert_eq!((running.find(1), running.find(2), running.find(3)), (by_event("e1"), by_event("e2"), None));
    assert_eq!(running.change(remove(&[1])), 1);
    assert_eq!((running.find(1), running.find(2)), (None, by_event("e2")));
    assert_eq!(running.0.blacklist().unapplied(), 3);
    running.apply();
    assert_eq!((running.find(1), running.find(2), running.page()), (None, by_event("e2"), vec![address(2)]));
    assert_eq!(running.0.blacklist().unapplied(), 0, "what the table has is published no more");
}

#[test]
fn the_first_reason_stays_until_the_address_is_removed() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.take(vec![bounced(1, "e1"), bounced(1, "e2"), bounced(2, "e3")]);
    assert_eq!(running.change(list(&[1, 2, 3, 3, 4])), 2, "two were not listed");
    assert_eq!(running.find(1), by_event("e1"));
    assert!(matches!(running.find(3), Some(Cause::Operator { .. })));
    // A repeated event changes nothing, not even after a removal.
    assert_eq!(running.change(remove(&[1, 1, 9])), 1);
    running.take(vec![bounced(1, "e1")]);
    running.0.sync(&mut Vec::new()).unwrap();
    assert_eq!(running.find(1), None);
    running.take(vec![bounced(1, "e4")]);
    running.0.sync(&mut Vec::new()).unwrap();
    assert_eq!(running.find(1), by_event("e4"), "the next bounce lists it anew");
    let facts = running.0.status().last_sequence;
    assert_eq!((running.change(list(&[1, 2])), running.change(remove(&[9]))), (0, 0));
    assert_eq!(running.0.status().last_sequence, facts, "what changes nothing is not written down");
}

#[test]
fn a_batch_with_a_conflict_lists_nobody() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.take(vec![bounced(1, "e1")]);
    let other = Proposal { fields_hash: [8; 16], ..bounced(2, "e1") };
    running.take(vec![bounced(3, "e3"), other]);
    running.0.sync(&mut Vec::new()).unwrap();
    assert_eq!((running.find(1), running.find(2), running.find(3)), (by_event("e1"), None, None));
}

#[test]
fn lists_are_kept_over_restarts_with_the_view_and_without() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.take(vec![bounced(1, "e1"), bounced(2, "e2")]);
    running.change(list(&[3, 4]));
    running.apply();
    running.change(remove(&[2, 3]));
    drop(running);
    let running = disk.running();
    assert_eq!((running.page(), running.find(1)), (vec![address(1), address(4)], by_event("e1")));
    drop(running);
    disk.table.rows.lock().unwrap().clear();
    let opened = disk.open();
    let running = Running(Writer::new(opened.journal, opened.view, opened.history, WINDOW_MS));
    assert_eq!((opened.rebuilt, running.page()), (true, vec![address(1), address(4)]));
}

#[test]
fn what_is_carried_on_changes_nothing_and_can_be_removed_in_the_same_window() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.take(vec![bounced(1, "e1"), bounced(2, "e2")]);
    running.0.sync(&mut Vec::new()).unwrap();
    running.apply();
    let dropped = disk.frame(1).fact;
    let (of, addresses) = dropped.listed().unwrap();
    assert_eq!((of, addresses), (&project(), vec![&address(1)]));
    let fact = carried(running.0.view(), &project(), &address(1)).unwrap().unwrap();
    let rows = disk.rows();
    running.commit([fact.clone()]);
    let without_position = |mut rows: Rows| {
        rows.remove(keys::META);
        rows
    };
    assert_eq!(without_position(disk.rows()), without_position(rows));
    running.sync(vec![fact]);
    assert_eq!(running.change(remove(&[1])), 1);
    running.apply();
    assert_eq!((running.find(1), running.page()), (None, vec![address(2)]));
    assert_eq!(carried(running.0.view(), &project(), &address(1)).unwrap(), None);
}
