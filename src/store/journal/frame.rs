//! The bytes of one fact in the journal. Only here bincode is known, and files never are.
//!
//! A frame begins at a multiple of 8 and is padded with zeros to one. All numbers of the header are little-endian.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 4 | length of the payload, at least 1 |
//! | 4 | 4 | CRC-32C, seeded with the segment's salt, over bytes 0–3, 8–23 and the payload |
//! | 8 | 8 | sequence number of the fact |
//! | 16 | 1 | flags: 1 the payload begins with 8 bytes, the highest sequence known to be synced when the group was begun; 2 the next frame belongs to the same atomic batch |
//! | 17 | 1 | version of the payload's record: 1 |
//! | 18 | 6 | zero |
//! | 24 | length | the payload |
//!
//! The salt is random and the segment's own, so that bytes of another file, or of a file that lay there before, never pass for a frame.
//! The payload is a record in bincode's standard encoding. Records are mirror types: they change only with the version byte, whatever becomes of the program's own types.

mod blacklist;
mod carried;
mod remains;
mod setting;

use std::sync::Arc;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{BorrowDecode, Encode};

use self::blacklist::EntryRecord;
use self::carried::{CarriedIdRecord, CarriedRecord, FloorRecord};
pub use self::remains::remains;
use self::setting::SettingRecord;
use crate::model::{
    Address, Attempt, DeliveryKey, EventId, EventTypeName, KeptSecret, Locator, Next, Origin, Outcome, OutcomeClass, Pause, PauseReason,
    PhaseTimes, Project, Sequence, WebhookId, WebhookNumber,
};
use crate::store::fact::{Accepted, Attempted, BlacklistAction, BlacklistChange, Cancelled, CancelledDelivery, Fact, WebhookState};
use crate::time::UnixMillis;

/// Bytes of a frame's header.
pub const HEADER_SIZE: usize = 24;
/// Frames begin at multiples of this.
pub const ALIGNMENT: usize = 8;
/// The version of the records that are written.
pub const VERSION: u8 = 1;

const GROUP_FIRST: u8 = 1;
const BATCH_CONTINUES: u8 = 2;

/// What a frame says about its fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the payload.
    pub length: usize,
    /// The checksum.
    pub checksum: u32,
    /// The number of the fact.
    pub sequence: Sequence,
    /// The payload begins with the highest sequence known to be synced.
    pub group_first: bool,
    /// The next frame belongs to the same atomic batch.
    pub batch_continues: bool,
}

/// Why bytes are no frame, or no fact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not the form of a header.
    #[error("no frame begins here")]
    NoFrame,
    /// The checksum does not fit.
    #[error("the checksum does not fit")]
    Checksum,
    /// The record is written in a form that this version does not know.
    #[error("record version {0}, this hookwheel knows {VERSION}")]
    Version(u8),
    /// The disk does not give the bytes back.
    #[error("the disk does not give it back: {0}")]
    Unreadable(String),
    /// The record says something impossible.
    #[error("the record can't be read: {0}")]
    Record(String),
}

/// A frame's payload, checked.
#[derive(Debug)]
pub struct Payload {
    /// The highest sequence known to be synced when the group was begun.
    pub synced_through: Option<Sequence>,
    /// The fact.
    pub fact: Fact,
}

impl FrameHeader {
    /// Reads a header. Its checksum is not checked yet.
    ///
    /// # Errors
    /// [`FrameError::NoFrame`] when these bytes can't be one.
    pub fn parse(bytes: &[u8; HEADER_SIZE]) -> Result<Self, FrameError> {
        let [l0, l1, l2, l3, c0, c1, c2, c3, s0, s1, s2, s3, s4, s5, s6, s7, flags, version, rest @ ..] = *bytes;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let known_flags = flags & !(GROUP_FIRST | BATCH_CONTINUES) == 0;
        if length == 0 || length > crate::limits::FRAME_PAYLOAD_MAX + 8 || !known_flags || version == 0 || rest != [0; 6] {
            return Err(FrameError::NoFrame);
        }
        Ok(Self {
            length,
            checksum: u32::from_le_bytes([c0, c1, c2, c3]),
            sequence: Sequence(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7])),
            group_first: flags & GROUP_FIRST != 0,
            batch_continues: flags & BATCH_CONTINUES != 0,
        })
    }

    /// Bytes of the whole frame with its padding.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        frame_size(self.length)
    }
}

/// Bytes of a frame with a payload of `length` bytes.
#[must_use]
pub fn frame_size(length: usize) -> usize {
    (HEADER_SIZE + length).next_multiple_of(ALIGNMENT)
}

/// Whether the checksum of a frame (header and payload, without padding) fits.
#[must_use]
pub fn checksum_fits(salt: u32, frame: &[u8]) -> bool {
    frame.len() > HEADER_SIZE && frame[4..8] == checksum_of(salt, frame).to_le_bytes()
}

/// Reads the payload of a frame (header and payload, without padding), whose checksum it checks.
///
/// # Errors
/// [`FrameError`] when it is damaged, or of another version.
pub fn decode(salt: u32, frame: &[u8]) -> Result<(FrameHeader, Payload), FrameError> {
    let header = FrameHeader::parse(frame.first_chunk().ok_or(FrameError::NoFrame)?)?;
    let payload = frame.get(HEADER_SIZE..HEADER_SIZE + header.length).ok_or(FrameError::NoFrame)?;
    if !checksum_fits(salt, &frame[..HEADER_SIZE + header.length]) {
        return Err(FrameError::Checksum);
    }
    let version = frame[17];
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let (synced_through, record) = split_payload(&header, payload)?;
    Ok((header, Payload { synced_through, fact: decode_fact(record)? }))
}

/// The mark at the beginning of a payload, if it has one, and the record.
fn split_payload<'a>(header: &FrameHeader, payload: &'a [u8]) -> Result<(Option<Sequence>, &'a [u8]), FrameError> {
    if !header.group_first {
        return Ok((None, payload));
    }
    let (mark, record) = payload.split_first_chunk::<8>().ok_or(FrameError::NoFrame)?;
    Ok((Some(Sequence(u64::from_le_bytes(*mark))), record))
}

/// Adds a frame, padded, to `buffer` and gives back its checksum. `record` is what [`encode_fact`] made.
pub fn append(
    buffer: &mut Vec<u8>,
    salt: u32,
    sequence: Sequence,
    record: &[u8],
    synced_through: Option<Sequence>,
    batch_continues: bool,
) -> u32 {
    let start = buffer.len();
    let length = record.len() + synced_through.map_or(0, |_| 8);
    let flags = synced_through.map_or(0, |_| GROUP_FIRST) | if batch_continues { BATCH_CONTINUES } else { 0 };
    buffer.extend_from_slice(&u32::try_from(length).expect("limits::FRAME_PAYLOAD_MAX is below 2^32").to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&sequence.0.to_le_bytes());
    buffer.extend_from_slice(&[flags, VERSION, 0, 0, 0, 0, 0, 0]);
    if let Some(mark) = synced_through {
        buffer.extend_from_slice(&mark.0.to_le_bytes());
    }
    buffer.extend_from_slice(record);
    let checksum = checksum_of(salt, &buffer[start..]);
    buffer[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    buffer.resize(start + frame_size(length), 0);
    checksum
}

fn checksum_of(salt: u32, frame: &[u8]) -> u32 {
    let length = crc32c::crc32c_append(salt, &frame[..4]);
    crc32c::crc32c_append(length, &frame[8..])
}

const BINCODE: Configuration<LittleEndian, Varint, Limit<{ crate::limits::RECORD_MEMORY_MAX }>> = bincode::config::standard().with_limit();

/// The record of a fact.
#[must_use]
pub fn encode_fact(fact: &Fact) -> Vec<u8> {
    bincode::encode_to_vec(Record::of(fact), BINCODE).expect("records hold only what bincode can write, and a Vec takes every byte")
}

/// The fact of a record.
///
/// # Errors
/// [`FrameError::Record`] when it says something impossible.
pub fn decode_fact(record: &[u8]) -> Result<Fact, FrameError> {
    let (decoded, used) =
        bincode::borrow_decode_from_slice::<Record<'_>, _>(record, BINCODE).map_err(|error| FrameError::Record(error.to_string()))?;
    if used != record.len() {
        return Err(FrameError::Record(format!("{} bytes too many", record.len() - used)));
    }
    decoded.into_fact().map_err(FrameError::Record)
}

/// A cancelled delivery: key, due time, where its event lies, where its last attempt does.
type CancelledRecord = ([u8; 12], u64, (u32, u32), Option<(u32, u32)>);

#[derive(Encode, BorrowDecode)]
enum Record<'a> {
    Accepted {
        id: &'a str,
        id_by_client: bool,
        event_type: &'a str,
        project: &'a str,
        accepted: u64,
        fields_hash: [u8; 16],
        blacklisted: Option<&'a str>,
        body: &'a [u8],
        deliveries: Vec<u32>,
        overflowed: Vec<u32>,
    },
    Attempted {
        key: [u8; 12],
        body: (u32, u32),
        previous: Option<(u32, u32)>,
        round: u16,
        number: u32,
        due: u64,
        finished: u64,
        outcome: OutcomeRecord<'a>,
        next: NextRecord,
    },
    Webhook {
        number: u32,
        id: &'a str,
        from_file: bool,
        generated_secret: Option<&'a [u8]>,
        secret_shown: bool,
        pauses: Vec<PauseRecord<'a>>,
        removed: Option<u64>,
    },
    Cancelled {
        at: u64,
        by: &'a str,
        deliveries: Vec<CancelledRecord>,
    },
    Listed {
        project: &'a str,
        entries: Vec<EntryRecord<'a>>,
    },
    Unlisted {
        project: &'a str,
        at: u64,
        by: &'a str,
        addresses: Vec<&'a str>,
    },
    Carried(CarriedRecord<'a>),
    IdsCarried(Vec<CarriedIdRecord>),
    FloorRaised(FloorRecord),
    Setting(SettingRecord<'a>),
}

#[derive(Encode, BorrowDecode)]
struct OutcomeRecord<'a> {
    class: &'a str,
    status: Option<u16>,
    sentence: &'a str,
    dns_us: Option<u32>,
    connect_us: Option<u32>,
    tls_us: Option<u32>,
    first_byte_us: Option<u32>,
    total_us: u32,
    retry_after_ms: Option<u64>,
    remote: Option<&'a str>,
    excerpt: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
enum NextRecord {
    RetryAt(u64),
    Delivered,
    Dropped,
}

#[derive(Encode, BorrowDecode)]
struct PauseRecord<'a> {
    reason: u8,
    since: u64,
    by: &'a str,
}

impl<'a> Record<'a> {
    fn of(fact: &'a Fact) -> Self {
        match fact {
            Fact::Accepted(accepted) => Self::Accepted {
                id: accepted.id.as_str(),
                id_by_client: accepted.id_by_client,
                event_type: accepted.event_type.as_str(),
                project: accepted.project.as_str(),
                accepted: accepted.accepted.0,
                fields_hash: accepted.fields_hash,
                blacklisted: accepted.blacklisted.as_ref().map(Address::as_str),
                body: &accepted.body,
                deliveries: accepted.deliveries.iter().map(|webhook| webhook.0).collect(),
                overflowed: accepted.overflowed.iter().map(|webhook| webhook.0).collect(),
            },
            Fact::Attempted(Attempted { key, body, previous, attempt }) => Self::Attempted {
                key: key.to_bytes(),
                body: pair(*body),
                previous: previous.map(pair),
                round: attempt.round,
                number: attempt.number,
                due: attempt.due.0,
                finished: attempt.finished.0,
                outcome: OutcomeRecord::of(&attempt.outcome),
                next: NextRecord::of(attempt.next),
            },
            Fact::Webhook(state) => Self::Webhook {
                number: state.number.0,
                id: state.id.as_str(),
                from_file: state.origin == Origin::File,
                generated_secret: state.generated_secret.as_ref().map(KeptSecret::as_bytes),
                secret_shown: state.secret_shown,
                pauses: state.pauses.iter().map(PauseRecord::of).collect(),
                removed: state.removed.map(|moment| moment.0),
            },
            Fact::Cancelled(Cancelled { at, by, deliveries }) => {
                let row = |one: &CancelledDelivery| (one.key.to_bytes(), one.due.0, pair(one.body), one.last_attempt.map(pair));
                Self::Cancelled { at: at.0, by, deliveries: deliveries.iter().map(row).collect() }
            }
            Fact::Blacklist(BlacklistChange { project, action }) => match action {
                BlacklistAction::List(entries) => {
                    Self::Listed { project: project.as_str(), entries: entries.iter().map(EntryRecord::of).collect() }
                }
                BlacklistAction::Remove { at, by, addresses } => {
                    Self::Unlisted { project: project.as_str(), at: at.0, by, addresses: addresses.iter().map(Address::as_str).collect() }
                }
            },
            Fact::Carried(carried) => Self::Carried(CarriedRecord::of(carried)),
            Fact::IdsCarried(ids) => Self::IdsCarried(ids.iter().map(CarriedIdRecord::of).collect()),
            Fact::FloorRaised(raised) => Self::FloorRaised(FloorRecord::of(raised)),
            Fact::Setting(setting) => Self::Setting(SettingRecord::of(setting)),
        }
    }

    fn into_fact(self) -> Result<Fact, String> {
        Ok(match self {
            Self::Accepted { id, id_by_client, event_type, project, accepted, fields_hash, blacklisted, body, deliveries, overflowed } => {
                Fact::Accepted(Accepted {
                    id: EventId::parse(id)?,
                    id_by_client,
                    event_type: EventTypeName::parse(event_type)?,
                    project: Project::parse(project)?,
                    accepted: UnixMillis(accepted),
                    fields_hash,
                    blacklisted: blacklisted.map(Address::parse).transpose()?,
                    body: Arc::from(body),
                    deliveries: deliveries.into_iter().map(WebhookNumber).collect(),
                    overflowed: overflowed.into_iter().map(WebhookNumber).collect(),
                })
            }
            Self::Attempted { key, body, previous, round, number, due, finished, outcome, next } => Fact::Attempted(Attempted {
                key: DeliveryKey::from_bytes(key),
                body: locator(body),
                previous: previous.map(locator),
                attempt: Attempt {
                    round,
                    number,
                    due: UnixMillis(due),
                    finished: UnixMillis(finished),
                    outcome: outcome.into_outcome()?,
                    next: next.into_next(),
                },
            }),
            Self::Webhook { number, id, from_file, generated_secret, secret_shown, pauses, removed } => Fact::Webhook(WebhookState {
                number: WebhookNumber(number),
                id: WebhookId::parse(id)?,
                origin: if from_file { Origin::File } else { Origin::Admin },
                generated_secret: generated_secret.map(KeptSecret::from_bytes).transpose()?,
                secret_shown,
                pauses: pauses.into_iter().map(PauseRecord::into_pause).collect::<Result<_, _>>()?,
                removed: removed.map(UnixMillis),
            }),
            Self::Cancelled { at, by, deliveries } => Fact::Cancelled(Cancelled {
                at: UnixMillis(at),
                by: by.to_owned(),
                deliveries: deliveries
                    .into_iter()
                    .map(|(key, due, body, last_attempt)| CancelledDelivery {
                        key: DeliveryKey::from_bytes(key),
                        due: UnixMillis(due),
                        body: locator(body),
                        last_attempt: last_attempt.map(locator),
                    })
                    .collect(),
            }),
            Self::Listed { project, entries } => Fact::Blacklist(BlacklistChange {
                project: Project::parse(project)?,
                action: BlacklistAction::List(entries.into_iter().map(EntryRecord::into_entry).collect::<Result<_, _>>()?),
            }),
            Self::Unlisted { project, at, by, addresses } => Fact::Blacklist(BlacklistChange {
                project: Project::parse(project)?,
                action: BlacklistAction::Remove {
                    at: UnixMillis(at),
                    by: by.to_owned(),
                    addresses: addresses.into_iter().map(Address::parse).collect::<Result<_, _>>()?,
                },
            }),
            Self::Carried(record) => Fact::Carried(record.into_carried()?),
            Self::IdsCarried(records) => Fact::IdsCarried(records.into_iter().map(CarriedIdRecord::into_id).collect()),
            Self::FloorRaised(record) => Fact::FloorRaised(record.into_raised()),
            Self::Setting(record) => Fact::Setting(record.into_setting()?),
        })
    }
}

impl<'a> OutcomeRecord<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let PhaseTimes { dns_us, connect_us, tls_us, first_byte_us, total_us } = outcome.phases;
        Self {
            class: outcome.class.as_str(),
            status: outcome.status,
            sentence: &outcome.sentence,
            dns_us,
            connect_us,
            tls_us,
            first_byte_us,
            total_us,
            retry_after_ms: outcome.retry_after_ms,
            remote: outcome.remote.as_deref(),
            excerpt: &outcome.excerpt,
        }
    }

    fn into_outcome(self) -> Result<Outcome, String> {
        let Self { class, status, sentence, dns_us, connect_us, tls_us, first_byte_us, total_us, retry_after_ms, remote, excerpt } = self;
        let known = OutcomeClass::ALL.into_iter().find(|known| known.as_str() == class);
        Ok(Outcome {
            class: known.ok_or_else(|| format!("unknown outcome class {class:?}"))?,
            status,
            sentence: sentence.to_owned(),
            phases: PhaseTimes { dns_us, connect_us, tls_us, first_byte_us, total_us },
            retry_after_ms,
            remote: remote.map(str::to_owned),
            excerpt: excerpt.to_vec(),
        })
    }
}

impl NextRecord {
    fn of(next: Next) -> Self {
        match next {
            Next::RetryAt(at) => Self::RetryAt(at.0),
            Next::Delivered => Self::Delivered,
            Next::Dropped => Self::Dropped,
        }
    }

    fn into_next(self) -> Next {
        match self {
            Self::RetryAt(at) => Next::RetryAt(UnixMillis(at)),
            Self::Delivered => Next::Delivered,
            Self::Dropped => Next::Dropped,
        }
    }
}

const PAUSE_REASONS: [PauseReason; 4] = [PauseReason::Configured, PauseReason::Operator, PauseReason::Gone, PauseReason::Orphaned];

impl<'a> PauseRecord<'a> {
    fn of(pause: &'a Pause) -> Self {
        let reason = match pause.reason {
            PauseReason::Configured => 0,
            PauseReason::Operator => 1,
            PauseReason::Gone => 2,
            PauseReason::Orphaned => 3,
        };
        Self { reason, since: pause.since.0, by: &pause.by }
    }

    fn into_pause(self) -> Result<Pause, String> {
        let reason = PAUSE_REASONS.get(usize::from(self.reason)).ok_or_else(|| format!("unknown pause reason {}", self.reason))?;
        Ok(Pause { reason: *reason, since: UnixMillis(self.since), by: self.by.to_owned() })
    }
}

fn pair(locator: Locator) -> (u32, u32) {
    (locator.segment, locator.offset)
}

fn locator((segment, offset): (u32, u32)) -> Locator {
    Locator { segment, offset }
}
