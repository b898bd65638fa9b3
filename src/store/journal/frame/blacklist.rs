//! The record of an entry of a Black List. It never says of which project.

use bincode::{BorrowDecode, Encode};

use crate::model::Address;
use crate::model::blacklist::{Cause, Entry};
use crate::time::UnixMillis;

#[derive(Encode, BorrowDecode)]
pub(super) struct EntryRecord<'a> {
    address: &'a str,
    since: u64,
    reason: u8,
    source: Option<&'a str>,
    note: Option<&'a str>,
}

impl<'a> EntryRecord<'a> {
    pub(super) fn of(entry: &'a Entry) -> Self {
        let (reason, source, note) = entry.cause.to_parts();
        Self { address: entry.address.as_str(), since: entry.since.0, reason, source, note }
    }

    pub(super) fn into_entry(self) -> Result<Entry, String> {
        let cause = Cause::from_parts(self.reason, self.source, self.note)?;
        Ok(Entry { address: Address::parse(self.address)?, since: UnixMillis(self.since), cause })
    }
}
