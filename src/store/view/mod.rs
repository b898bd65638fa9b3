//! The view: the queue and the look-ups, folded from the journal. It never holds anything that the journal does not.

pub mod sled;

use std::ops::ControlFlow;

/// One change: a key with its value, or with none to remove it.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// An ordered table of small values: sled in the daemon, a model in the simulator.
pub trait Table: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// [`TableError`] when the table is damaged or the disk fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError>;
    /// Changes all of `rows` or none, visible at once, durable with the next checkpoint or before.
    ///
    /// # Errors
    /// [`TableError`] when the table is damaged or the disk fails.
    fn apply(&self, rows: &[Row]) -> Result<(), TableError>;
    /// Visits keys from `from` up to but without `to`, in order, until told to stop. It is no snapshot: rows changed meanwhile may be seen or not.
    ///
    /// # Errors
    /// [`TableError`] when the table is damaged or the disk fails.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<(), TableError>;
    /// Makes everything applied so far durable, really.
    ///
    /// # Errors
    /// [`TableError`] when the table is damaged or the disk fails.
    fn checkpoint(&self) -> Result<(), TableError>;
    /// Bytes on disk.
    fn size_bytes(&self) -> u64;
}

/// The view can't be used any more; it is thrown away and rebuilt at the next start.
#[derive(Debug, thiserror::Error)]
#[error("the view (sled) failed: {0}; it will be rebuilt from the journal at the next start")]
pub struct TableError(pub String);
