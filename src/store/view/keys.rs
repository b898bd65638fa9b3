//! The bytes of the view's keys and values. They hold nothing that the journal does not, and never a body.
//!
//! Everything is big-endian, so that keys sort as what they mean. One tree holds all families, told apart by the first byte:
//!
//! | key | value | what |
//! | --- | --- | --- |
//! | `m` | [`Meta`] | how far the view follows the journal |
//! | `a` | [`Meta`] | how far it will, once the window that is being written is whole; there is none between windows |
//! | `q` due(8) sequence(8) webhook(4) | [`QueueRow`] | a pending delivery, in the order of its next attempt |
//! | `i` hash(16) | [`IdempotencyRow`] | an event whose id a client chose; the hash is of project and id |
//! | `x` accepted(8) hash(16) | nothing | the same in the order of age, so that old ones can be found |
//! | `b` project 0 address | [`BlacklistRow`] | an address on a project's Black List; both texts in their ASCII form, which has no zero byte |
//! | `s` subject | a record as in the journal | a setting; its subject is in [`crate::store::setting`] |
//! | `w` webhook(4) | a record as in the journal | a webhook's number, secret and pauses |
//!
//! Every value ends in a CRC-32C over key and value, because sled's own checks let damage through. The families `q` and `x` lie in sled many rows in one value, each of which has
//! such a checksum too; the bytes of those are in `block`.

use crate::model::blacklist::Cause;
use crate::model::{Address, DeliveryKey, EventId, FieldsHash, Locator, Project, Sequence, WebhookNumber};
use crate::store::fact::Floor;
use crate::store::journal::JournalId;
use crate::time::UnixMillis;

/// The key of [`Meta`].
pub const META: &[u8] = b"m";
/// The key of the [`Meta`] that comes with the last batch of a window of which some batches are in the table.
pub const AHEAD: &[u8] = b"a";

const CHECKSUM_SIZE: usize = 4;

/// A hash of project and id: the first 16 bytes of a SHA-256.
pub type IdHash = [u8; 16];

/// How far the view follows the journal: everything up to one fact is in it and nothing after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The journal that it follows.
    pub journal: JournalId,
    /// The last fact that is in the view.
    pub sequence: Sequence,
    /// Where that fact lies.
    pub locator: Locator,
    /// The checksum of that fact's frame: if the journal does not hold exactly this frame, the view belongs to another past.
    pub checksum: u32,
    /// Rows of the queue.
    pub queue_count: u64,
    /// The sum of [`queue_digest`] over the rows of the queue.
    pub queue_digest: u64,
    /// The latest schedule time that a fact named.
    pub latest: UnixMillis,
    /// Where the part of the journal begins that is still needed.
    pub floor: Floor,
}

/// A pending delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// Where its event lies: its `Accepted`, or the newest `Carried`.
    pub body: Locator,
    /// Where its last attempt lies, alone or inside a `Carried`.
    pub last_attempt: Option<Locator>,
    /// Attempts made in this round.
    pub attempts: u8,
    /// The round, from 1.
    pub round: u16,
}

/// An event whose id a client chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// When it was accepted.
    pub accepted: UnixMillis,
    /// What "the same content" compares.
    pub fields_hash: FieldsHash,
    /// Deliveries made of it.
    pub deliveries: u32,
}

/// An address on a project's Black List.
///
/// | offset | bytes | what |
/// | --- | --- | --- |
/// | 0 | 8 | since when |
/// | 8 | 1 | the reason: 0 bounced, 1 unsubscribed, 2 an operator |
/// | 9 | 2 | length of the event's id, or the operator's name; 0: there is none |
/// | 11 | | that text |
/// | | | the note, to the end; empty: there is none |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlacklistRow {
    /// Since when.
    pub since: UnixMillis,
    /// Why.
    pub cause: Cause,
}

/// A value that its checksum, its length or its meaning shows to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRow;

/// The key of a pending delivery.
#[must_use]
pub fn queue_key(due: UnixMillis, key: DeliveryKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(21);
    bytes.push(b'q');
    bytes.extend_from_slice(&due.0.to_be_bytes());
    bytes.extend_from_slice(&key.to_bytes());
    bytes
}

/// The inverse of [`queue_key`].
///
/// # Errors
/// When it is no such key.
pub fn parse_queue_key(bytes: &[u8]) -> Result<(UnixMillis, DeliveryKey), BadRow> {
    let mut fields = Fields(bytes);
    if fields.take::<1>()? != *b"q" {
        return Err(BadRow);
    }
    let due = UnixMillis(u64::from_be_bytes(fields.take()?));
    let key = DeliveryKey::from_bytes(fields.take()?);
    fields.end()?;
    Ok((due, key))
}

/// The range of the queue: from, and up to but without.
#[must_use]
pub fn queue_range() -> (Vec<u8>, Vec<u8>) {
    (b"q".to_vec(), b"r".to_vec())
}

/// The key of a webhook's state.
#[must_use]
pub fn webhook_key(number: WebhookNumber) -> Vec<u8> {
    [b"w".as_slice(), &number.0.to_be_bytes()].concat()
}

/// The range of the webhooks.
#[must_use]
pub fn webhook_range() -> (Vec<u8>, Vec<u8>) {
    (b"w".to_vec(), b"x".to_vec())
}

/// The key of an event whose id a client chose.
#[must_use]
pub fn idempotency_key(hash: &IdHash) -> Vec<u8> {
    [b"i".as_slice(), hash].concat()
}

/// The key by which that event is found when it is old.
#[must_use]
pub fn expiry_key(accepted: UnixMillis, hash: &IdHash) -> Vec<u8> {
    [b"x".as_slice(), &accepted.0.to_be_bytes(), hash].concat()
}

/// The inverse of [`expiry_key`].
///
/// # Errors
/// When it is no such key.
pub fn parse_expiry_key(bytes: &[u8]) -> Result<(UnixMillis, IdHash), BadRow> {
    let mut fields = Fields(bytes);
    if fields.take::<1>()? != *b"x" {
        return Err(BadRow);
    }
    let accepted = UnixMillis(u64::from_be_bytes(fields.take()?));
    let hash = fields.take()?;
    fields.end()?;
    Ok((accepted, hash))
}

/// The range of events that were accepted before `moment`.
#[must_use]
pub fn expiry_range(moment: UnixMillis) -> (Vec<u8>, Vec<u8>) {
    (b"x".to_vec(), [b"x".as_slice(), &moment.0.to_be_bytes()].concat())
}

/// The key of an address on a project's Black List.
#[must_use]
pub fn blacklist_key(project: &Project, address: &Address) -> Vec<u8> {
    [b"b".as_slice(), project.as_str().as_bytes(), &[0], address.as_str().as_bytes()].concat()
}

/// The inverse of [`blacklist_key`].
///
/// # Errors
/// When it is no such key.
pub fn parse_blacklist_key(bytes: &[u8]) -> Result<(Project, Address), BadRow> {
    let text = bytes.strip_prefix(b"b").and_then(|rest| std::str::from_utf8(rest).ok()).ok_or(BadRow)?;
    let (project, address) = text.split_once('\0').ok_or(BadRow)?;
    Ok((Project::parse(project).map_err(|_| BadRow)?, Address::parse(address).map_err(|_| BadRow)?))
}

/// The range of a project's Black List behind `after`.
#[must_use]
pub fn blacklist_range(project: &Project, after: Option<&Address>) -> (Vec<u8>, Vec<u8>) {
    let name = project.as_str().as_bytes();
    let beginning = match after {
        // The next key in order is the same one with a zero behind it.
        Some(address) => [blacklist_key(project, address).as_slice(), &[0]].concat(),
        None => [b"b".as_slice(), name, &[0]].concat(),
    };
    (beginning, [b"b".as_slice(), name, &[1]].concat())
}

/// The hash under which a project's id is looked up.
#[must_use]
pub fn id_hash(project: &Project, id: &EventId) -> IdHash {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(project.as_str().as_bytes());
    context.update(&[0]);
    context.update(id.as_str().as_bytes());
    let digest = context.finish();
    std::array::from_fn(|index| digest.as_ref()[index])
}

/// What one row adds to [`Meta::queue_digest`]: the finalizer of SplitMix64 over due time and key, so that the order of rows does not matter.
#[must_use]
pub fn queue_digest(due: UnixMillis, key: DeliveryKey) -> u64 {
    let mut hash = due.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key.sequence.0.rotate_left(24) ^ (u64::from(key.webhook.0) << 1);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Adds the checksum to a value.
#[must_use]
pub fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(key), &value);
    value.extend_from_slice(&checksum.to_be_bytes());
    value
}

/// Takes the checksum off a value.
///
/// # Errors
/// When it does not fit.
pub fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], BadRow> {
    let (value, checksum) = sealed.split_last_chunk::<CHECKSUM_SIZE>().ok_or(BadRow)?;
    let expected = crc32c::crc32c_append(crc32c::crc32c(key), value);
    (u32::from_be_bytes(*checksum) == expected).then_some(value).ok_or(BadRow)
}

impl Meta {
    /// The sealed value of the row [`META`].
    #[must_use]
    pub fn to_value(&self) -> Vec<u8> {
        self.to_value_under(META)
    }

    /// The sealed value of [`META`] or [`AHEAD`].
    pub(crate) fn to_value_under(self, key: &[u8]) -> Vec<u8> {
        let mut bytes = self.journal.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.sequence.0.to_be_bytes());
        put_locator(&mut bytes, self.locator);
        bytes.extend_from_slice(&self.checksum.to_be_bytes());
        bytes.extend_from_slice(&self.queue_count.to_be_bytes());
        bytes.extend_from_slice(&self.queue_digest.to_be_bytes());
        bytes.extend_from_slice(&self.latest.0.to_be_bytes());
        bytes.extend_from_slice(&self.floor.segment.to_be_bytes());
        bytes.extend_from_slice(&self.floor.sequence.0.to_be_bytes());
        seal(key, bytes)
    }

    /// The inverse of [`Meta::to_value`].
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_value(sealed: &[u8]) -> Result<Self, BadRow> {
        Self::from_value_under(META, sealed)
    }

    /// The inverse of [`Meta::to_value_under`].
    pub(crate) fn from_value_under(key: &[u8], sealed: &[u8]) -> Result<Self, BadRow> {
        let mut fields = Fields(unseal(key, sealed)?);
        let meta = Self {
            journal: JournalId(u128::from_be_bytes(fields.take()?)),
            sequence: Sequence(u64::from_be_bytes(fields.take()?)),
            locator: fields.locator()?,
            checksum: u32::from_be_bytes(fields.take()?),
            queue_count: u64::from_be_bytes(fields.take()?),
            queue_digest: u64::from_be_bytes(fields.take()?),
            latest: UnixMillis(u64::from_be_bytes(fields.take()?)),
            floor: Floor { segment: u32::from_be_bytes(fields.take()?), sequence: Sequence(u64::from_be_bytes(fields.take()?)) },
        };
        fields.end()?;
        Ok(meta)
    }
}

impl QueueRow {
    /// The sealed value.
    #[must_use]
    pub fn to_value(&self, key: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(23);
        put_locator(&mut bytes, self.body);
        put_locator(&mut bytes, self.last_attempt.unwrap_or_default());
        bytes.push(self.attempts);
        bytes.extend_from_slice(&self.round.to_be_bytes());
        seal(key, bytes)
    }

    /// The inverse of [`QueueRow::to_value`].
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_value(key: &[u8], sealed: &[u8]) -> Result<Self, BadRow> {
        let mut fields = Fields(unseal(key, sealed)?);
        let body = fields.locator()?;
        // No fact lies in segment 0.
        let last_attempt = Some(fields.locator()?).filter(|locator| locator.segment != 0);
        let [attempts] = fields.take()?;
        let round = u16::from_be_bytes(fields.take()?);
        fields.end()?;
        Ok(Self { body, last_attempt, attempts, round })
    }
}

impl IdempotencyRow {
    /// The sealed value.
    #[must_use]
    pub fn to_value(&self, key: &[u8]) -> Vec<u8> {
        let mut bytes = self.accepted.0.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.fields_hash);
        bytes.extend_from_slice(&self.deliveries.to_be_bytes());
        seal(key, bytes)
    }

    /// The inverse of [`IdempotencyRow::to_value`].
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_value(key: &[u8], sealed: &[u8]) -> Result<Self, BadRow> {
        let mut fields = Fields(unseal(key, sealed)?);
        let accepted = UnixMillis(u64::from_be_bytes(fields.take()?));
        let fields_hash = fields.take()?;
        let deliveries = u32::from_be_bytes(fields.take()?);
        fields.end()?;
        Ok(Self { accepted, fields_hash, deliveries })
    }
}

impl BlacklistRow {
    /// The sealed value.
    #[must_use]
    pub fn to_value(&self, key: &[u8]) -> Vec<u8> {
        let (reason, source, note) = self.cause.to_parts();
        let source = source.unwrap_or_default();
        let mut bytes = self.since.0.to_be_bytes().to_vec();
        bytes.push(reason);
        bytes.extend_from_slice(&u16::try_from(source.len()).expect("an event's id has 128 bytes, a remark 800 at most").to_be_bytes());
        bytes.extend_from_slice(source.as_bytes());
        bytes.extend_from_slice(note.unwrap_or_default().as_bytes());
        seal(key, bytes)
    }

    /// The inverse of [`BlacklistRow::to_value`].
    ///
    /// # Errors
    /// When it is damaged.
    pub fn from_value(key: &[u8], sealed: &[u8]) -> Result<Self, BadRow> {
        let mut fields = Fields(unseal(key, sealed)?);
        let since = UnixMillis(u64::from_be_bytes(fields.take()?));
        let [reason] = fields.take()?;
        let length = u16::from_be_bytes(fields.take()?);
        let (source, note) = fields.0.split_at_checked(usize::from(length)).ok_or(BadRow)?;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| BadRow).map(|text| Some(text).filter(|text| !text.is_empty()));
        let cause = Cause::from_parts(reason, text(source)?, text(note)?).map_err(|_| BadRow)?;
        Ok(Self { since, cause })
    }
}

fn put_locator(bytes: &mut Vec<u8>, locator: Locator) {
    bytes.extend_from_slice(&locator.segment.to_be_bytes());
    bytes.extend_from_slice(&locator.offset.to_be_bytes());
}

/// What is left to be read of some bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadRow> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(BadRow)?;
        self.0 = rest;
        Ok(*field)
    }

    fn locator(&mut self) -> Result<Locator, BadRow> {
        Ok(Locator { segment: u32::from_be_bytes(self.take()?), offset: u32::from_be_bytes(self.take()?) })
    }

    fn end(&self) -> Result<(), BadRow> {
        self.0.is_empty().then_some(()).ok_or(BadRow)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(sequence: u64, webhook: u32) -> DeliveryKey {
        DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(webhook) }
    }

    proptest! {
        #[test]
        fn the_queue_sorts_by_due_time_and_then_by_key(a in any::<(u64, u64, u32)>(), b in any::<(u64, u64, u32)>()) {
            let bytes = |(due, sequence, webhook)| queue_key(UnixMillis(due), key(sequence, webhook));
            prop_assert_eq!(a.cmp(&b), bytes(a).cmp(&bytes(b)));
            prop_assert_eq!(parse_queue_key(&bytes(a)), Ok((UnixMillis(a.0), key(a.1, a.2))));
        }

        #[test]
        fn one_flipped_bit_in_any_value_is_noticed(bit in 0..8_usize, byte in 0..64_usize) {
            let queue = queue_key(UnixMillis(7), key(1, 2));
            let row = QueueRow { body: Locator { segment: 1, offset: 8192 }, last_attempt: None, attempts: 3, round: 1 };
            let mut value = row.to_value(&queue);
            let index = byte % value.len();
            value[index] ^= 1 << bit;
            prop_assert_eq!(QueueRow::from_value(&queue, &value), Err(BadRow));
        }
    }

    #[test]
    fn values_survive_their_bytes_and_belong_to_their_key() {
        let meta = Meta {
            journal: JournalId(77),
            sequence: Sequence(5),
            locator: Locator { segment: 3, offset: 9000 },
            checksum: 0xdead_beef,
            queue_count: 2,
            queue_digest: u64::MAX,
            latest: UnixMillis(1_795_428_000_000),
            floor: Floor { segment: 2, sequence: Sequence(3) },
        };
        assert_eq!(Meta::from_value(&meta.to_value()), Ok(meta));
        let (one, other) = (queue_key(UnixMillis(7), key(1, 2)), queue_key(UnixMillis(8), key(1, 2)));
        let row = QueueRow {
            body: Locator { segment: 1, offset: 8192 },
            last_attempt: Some(Locator { segment: 2, offset: 1 }),
            attempts: 3,
            round: 9,
        };
        assert_eq!(QueueRow::from_value(&one, &row.to_value(&one)), Ok(row));
        assert_eq!(QueueRow::from_value(&other, &row.to_value(&one)), Err(BadRow));
        let hash = id_hash(&Project::parse("shop.example.com").unwrap(), &EventId::parse("a").unwrap());
        let idempotency = IdempotencyRow { accepted: UnixMillis(5), fields_hash: [9; 16], deliveries: 2 };
        let bytes = idempotency_key(&hash);
        assert_eq!(IdempotencyRow::from_value(&bytes, &idempotency.to_value(&bytes)), Ok(idempotency));
        assert_eq!(parse_expiry_key(&expiry_key(UnixMillis(5), &hash)), Ok((UnixMillis(5), hash)));
        let (from, to) = expiry_range(UnixMillis(6));
        assert!((from..to).contains(&expiry_key(UnixMillis(5), &hash)));
    }

    proptest! {
        #[test]
        fn black_lists_sort_by_project_and_then_by_address(a in ("[a-c]{1,3}", "[a-c!-]{1,3}"), b in ("[a-c]{1,3}", "[a-c!-]{1,3}")) {
            let parsed = |(project, local): &(String, String)| {
                let project = Project::parse(&format!("{project}.example")).unwrap();
                (project, Address::parse(&format!("{local}@example.com")).unwrap())
            };
            let ((a_project, a), (b_project, b)) = (parsed(&a), parsed(&b));
            let (a_key, b_key) = (blacklist_key(&a_project, &a), blacklist_key(&b_project, &b));
            prop_assert_eq!((&a_project, &a).cmp(&(&b_project, &b)), a_key.cmp(&b_key));
            let (from, to) = blacklist_range(&a_project, None);
            prop_assert_eq!((from..to).contains(&b_key), a_project == b_project);
            let (from, to) = blacklist_range(&a_project, Some(&a));
            prop_assert_eq!((from..to).contains(&b_key), a_project == b_project && a < b);
            prop_assert_eq!(parse_blacklist_key(&a_key), Ok((a_project, a)));
        }
    }

    #[test]
    fn black_list_rows_survive_their_bytes() {
        let (project, address) = (Project::parse("shop.example.com").unwrap(), Address::parse("user@example.com").unwrap());
        let key = blacklist_key(&project, &address);
        for (reason, source, note) in [
            (0, Some("evt_1"), None),
            (0, None, None),
            (1, Some("e"), None),
            (2, Some("uid 0"), None),
            (2, Some("uid 0"), Some("hello, 世界")),
        ] {
            let row = BlacklistRow { since: UnixMillis(7), cause: Cause::from_parts(reason, source, note).unwrap() };
            let value = row.to_value(&key);
            assert_eq!(BlacklistRow::from_value(&key, &value), Ok(row));
            assert_eq!(BlacklistRow::from_value(&key[1..], &value), Err(BadRow));
        }
        assert_eq!(parse_blacklist_key(b"bshop.example.com"), Err(BadRow));
    }

    #[test]
    fn project_and_id_do_not_run_into_each_other() {
        let hash = |project: &str, id: &str| id_hash(&Project::parse(project).unwrap(), &EventId::parse(id).unwrap());
        assert_ne!(hash("a.example", "x"), hash("b.example", "x"));
        assert_ne!(hash("a.ex", "amplex"), hash("a.example", "x"));
    }
}
