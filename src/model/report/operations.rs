//! What backup, restore and verify tell: the JSON of the admin socket and of the commands. It never says more than was looked at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Sequence;
use crate::time::UnixMillis;

/// Told now and then how many bytes are done, and how many there are.
pub type Tell<'a> = dyn FnMut(u64, u64) + 'a;

/// A backup that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupReport {
    /// Where it is.
    pub directory: String,
    /// When it was begun.
    pub made: UnixMillis,
    /// Everything up to this fact is in it.
    pub sequence: u64,
    /// Files of it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that the directory held already.
    pub kept: u64,
    /// Files that are new as hard links: the same bytes on the same disk.
    pub linked: u64,
    /// Files that are new as copies.
    pub copied: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
}

/// A data directory that was made from a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// The backup.
    pub backup: String,
    /// The data directory.
    pub data_dir: String,
    /// When the backup was made.
    pub made: UnixMillis,
    /// Everything up to this fact is there.
    pub sequence: u64,
    /// Files that were copied.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What verifying found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyReport {
    /// Whether nothing is damaged.
    pub sound: bool,
    /// What was looked at.
    pub directory: String,
    /// What was looked at and what was not, in words.
    pub scope: Vec<String>,
    /// Journal segments that were read.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Facts that were found whole.
    pub facts: u64,
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// Bytes that are not as they should be.
    pub damage: Vec<Damage>,
    /// Facts that are gone.
    pub missing: Vec<MissingFacts>,
    /// What is wrong with the view; it can be made again from the journal.
    pub view: Vec<String>,
    /// What is not damage and is still worth knowing.
    pub notes: Vec<String>,
}

/// Bytes of a file that are not as they should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damage {
    /// The file, below the directory that was looked at.
    pub file: String,
    /// The first byte of the damaged part; none where all of the file is meant.
    pub offset: Option<u64>,
    /// Bytes of the damaged part.
    pub bytes: Option<u64>,
    /// In which way.
    pub what: String,
}

/// Facts that are gone, by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingFacts {
    /// The first.
    pub from: Sequence,
    /// The last.
    pub through: Sequence,
    /// Events among them, as far as the damaged bytes still tell.
    pub events: Vec<String>,
}

/// How far a long piece of work is: of `POST /v1/backup` and `POST /v1/verify`, asked for with `GET`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ProgressOf{R}")]
pub struct Progress<R> {
    /// Which piece of work since the daemon started, from 1; 0 before the first.
    pub number: u64,
    /// Whether it goes on.
    pub running: bool,
    /// Bytes that are done.
    pub done_bytes: u64,
    /// Bytes that there are to do, as far as that is known.
    pub total_bytes: u64,
    /// What came of it.
    pub report: Option<R>,
    /// Why nothing came of it.
    pub error: Option<String>,
}
