//! The Black List as others read it, without waiting for the view: what is durable and not in the table yet, then the table. It never decides what is listed.
//!
//! The writer publishes the rows of each synced fact *before* it answers for it, and takes them back once the table has them. So whoever was told that
//! an event is durable finds its address here at once, however far the view is behind; and nobody finds what a crash could still undo.
//! What is published is bounded as the view's lag is: the writer applies before it takes more ([`crate::limits::VIEW_LAG_MAX`]).

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fact::{BlacklistAction, BlacklistChange, Fact};
use super::view::keys::{self, BlacklistRow};
use super::view::{Row, Table, TableError, View};
use crate::model::blacklist::{BlacklistPage, Entry};
use crate::model::{Address, Project, Proposal, Sequence};

/// The Black Lists of all projects. Clones share what is published.
pub struct Blacklist<T> {
    table: Arc<T>,
    unapplied: Arc<Mutex<Unapplied>>,
}

/// What is durable and may not be in the table yet.
#[derive(Default)]
struct Unapplied {
    /// The newest change of each row, with the fact that made it.
    rows: HashMap<Vec<u8>, (Sequence, Option<Vec<u8>>)>,
    /// Every change, the oldest first.
    order: VecDeque<(Sequence, Vec<u8>)>,
}

impl<T> Clone for Blacklist<T> {
    fn clone(&self) -> Self {
        Self { table: Arc::clone(&self.table), unapplied: Arc::clone(&self.unapplied) }
    }
}

impl<T: Table> Blacklist<T> {
    /// The Black Lists of a table that has everything durable.
    #[must_use]
    pub fn new(table: Arc<T>) -> Self {
        Self { table, unapplied: Arc::default() }
    }

    /// The entry of an address, as of the last change that anybody was told of.
    ///
    /// # Errors
    /// [`TableError`] when the table fails or the row is damaged.
    pub fn find(&self, project: &Project, address: &Address) -> Result<Option<Entry>, TableError> {
        let key = keys::blacklist_key(project, address);
        let published = self.lock().rows.get(&key).map(|(_, value)| value.clone());
        // What is taken back in between is in the table by then.
        let value = match published {
            Some(value) => value,
            None => self.table.get(&key)?,
        };
        value.map(|value| entry_of(&key, &value, address.clone())).transpose()
    }

    /// Entries of a project in the order of their addresses, as far as they are in the table, at most `limit`.
    ///
    /// # Errors
    /// [`TableError`] when the table fails or a row is damaged.
    pub fn page(&self, project: &Project, after: Option<&Address>, limit: usize) -> Result<BlacklistPage, TableError> {
        let (from, to) = keys::blacklist_range(project, after);
        let (mut entries, mut bad, mut has_more) = (Vec::new(), None, false);
        self.table.scan(&from, &to, &mut |key, value| {
            if entries.len() == limit {
                has_more = true;
                return ControlFlow::Break(());
            }
            let entry = keys::parse_blacklist_key(key).map_err(TableError::from).and_then(|(_, address)| entry_of(key, value, address));
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => bad = Some(error),
            }
            if bad.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if let Some(error) = bad {
            return Err(error);
        }
        let next = entries.last().filter(|_| has_more).map(|entry| entry.address.clone());
        Ok(BlacklistPage { entries, next })
    }

    /// Publishes what a synced fact changes. The writer does this before it answers.
    pub(super) fn publish(&self, sequence: Sequence, fact: &Fact) {
        let rows = rows_of(fact);
        if rows.is_empty() {
            return;
        }
        let mut unapplied = self.lock();
        for (key, value) in rows {
            unapplied.order.push_back((sequence, key.clone()));
            unapplied.rows.insert(key, (sequence, value));
        }
    }

    /// Takes back what the table has, which is everything up to that fact.
    pub(super) fn applied(&self, through: Sequence) {
        let mut unapplied = self.lock();
        while let Some((sequence, key)) = unapplied.order.pop_front_if(|(sequence, _)| *sequence <= through) {
            if unapplied.rows.get(&key).is_some_and(|(newest, _)| *newest == sequence) {
                unapplied.rows.remove(&key);
            }
        }
    }

    /// Changes that are published.
    pub(super) fn unapplied(&self) -> usize {
        self.lock().order.len()
    }

    fn lock(&self) -> MutexGuard<'_, Unapplied> {
        self.unapplied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of the Black List that a fact puts or takes away.
pub(super) fn rows_of(fact: &Fact) -> Vec<Row> {
    match fact {
        Fact::Accepted(accepted) => accepted.listing().map(|entry| row_of(&accepted.project, &entry)).into_iter().collect(),
        Fact::Blacklist(BlacklistChange { project, action }) => match action {
            BlacklistAction::List(entries) => entries.iter().map(|entry| row_of(project, entry)).collect(),
            BlacklistAction::Remove { addresses, .. } => {
                addresses.iter().map(|address| (keys::blacklist_key(project, address), None)).collect()
            }
        },
        Fact::Attempted(_)
        | Fact::Webhook(_)
        | Fact::Setting(_)
        | Fact::Cancelled(_)
        | Fact::Carried(_)
        | Fact::IdsCarried(_)
        | Fact::FloorRaised(_) => Vec::new(),
    }
}

/// The present state of one address as a fact, for whoever drops the fact that listed it; `None` when it is not listed any more.
/// Folding it once more changes nothing.
///
/// # Errors
/// [`TableError`] when the table fails or the row is damaged.
pub fn carried<T: Table>(view: &View<T>, project: &Project, address: &Address) -> Result<Option<Fact>, TableError> {
    let action = |entry| BlacklistAction::List(vec![entry]);
    let fact = |entry| Fact::Blacklist(BlacklistChange { project: project.clone(), action: action(entry) });
    Ok(view.blacklist_entry(project, address)?.map(fact))
}

/// What an operator's change changes: who is listed already is not listed again, and who is not listed can't be removed.
///
/// # Errors
/// [`TableError`] when the table fails or a row is damaged.
pub(super) fn effective<T: Table>(view: &View<T>, change: BlacklistChange) -> Result<BlacklistChange, TableError> {
    let BlacklistChange { project, action } = change;
    let mut seen = HashSet::new();
    let mut changes = |address: &Address, is_listed_now: bool| {
        let is_listed = view.blacklist_entry(&project, address)?.is_some();
        Ok::<_, TableError>(is_listed != is_listed_now && seen.insert(address.clone()))
    };
    let action = match action {
        BlacklistAction::List(entries) => {
            let mut kept = Vec::with_capacity(entries.len());
            for entry in entries {
                if changes(&entry.address, true)? {
                    kept.push(entry);
                }
            }
            BlacklistAction::List(kept)
        }
        BlacklistAction::Remove { at, by, addresses } => {
            let mut kept = Vec::with_capacity(addresses.len());
            for address in addresses {
                if changes(&address, false)? {
                    kept.push(address);
                }
            }
            BlacklistAction::Remove { at, by, addresses: kept }
        }
    };
    Ok(BlacklistChange { project, action })
}

/// Leaves out of the proposals of a batch the addresses that are listed already, or by an earlier one of the batch.
/// `is_new` says which proposals become facts.
///
/// # Errors
/// [`TableError`] when the table fails or a row is damaged.
pub(super) fn settle<T: Table>(view: &View<T>, batch: &mut [Proposal], is_new: impl Fn(usize) -> bool) -> Result<(), TableError> {
    let mut within = HashSet::new();
    for (index, proposal) in batch.iter_mut().enumerate() {
        let Some(address) = proposal.blacklisted.as_ref().filter(|_| is_new(index)) else { continue };
        let is_listed = view.blacklist_entry(&proposal.project, address)?.is_some();
        if is_listed || !within.insert((proposal.project.clone(), address.clone())) {
            proposal.blacklisted = None;
        }
    }
    Ok(())
}

/// The entry of a row.
pub(super) fn entry_of(key: &[u8], value: &[u8], address: Address) -> Result<Entry, TableError> {
    let BlacklistRow { since, cause } = BlacklistRow::from_value(key, value)?;
    Ok(Entry { address, since, cause })
}

fn row_of(project: &Project, entry: &Entry) -> Row {
    let key = keys::blacklist_key(project, &entry.address);
    let value = BlacklistRow { since: entry.since, cause: entry.cause.clone() }.to_value(&key);
    (key, Some(value))
}
