//! The cellar: blocking and durable. The journal is the truth; sled is the queue and the look-ups over it. It never decides what is sent.
//!
//! # Why a journal in front of sled
//! The delivery queue lives in sled 0.34.7, ordered by next-attempt time. Measured on ext4: its `flush` ends in `sync_file_range`, and 12 of 25 simulated power cuts
//! destroyed the database; one flipped byte in the newest part of its file panics or loses data silently; a half-written snapshot makes the next open fail. So, as in etcd
//! (a log before its B-tree) and every database, **facts are appended to the journal and synced, and the view is derived from it**. Whatever
//! happens to the view, it can be thrown away and folded again.
//!
//! # The order of things
//! 1. [`writer`] appends facts to the group in memory ([`journal`]), one write and one sync make them durable, and only then is anybody answered.
//! 2. What is synced is folded into the [`view`], in small batches; the view's position moves in the last batch of a window only.
//! 3. What a synced fact ended is noted in the [`history`], which puts an index of it beside each segment that is full.
//! 4. [`retention`] lets the oldest segments go when they are old, or when there are too many; what still matters in them is [carried](carry) to the journal's end first.
//! 5. [`recovery`] reads what follows the view's position, cuts a torn tail that was never acknowledged, names what is damaged, and rebuilds the view when it does not fit.
//!
//! # Rules
//! * Sequence numbers are consecutive, so a missing fact is always seen and can be named.
//! * A delivery's key, (sequence of its event, number of its webhook), is its name for ever. Where its event lies, a
//!   [`Locator`](crate::model::Locator), is found beside it.
//! * After a failed write or sync nothing is known about the file: everything is refused, the process ends and the next start sorts it out. An fsync is never tried again.
//! * A disk can be full only while a segment is prepared. That is a state ([`space`]), no failure: events are refused, outcomes go to the reserve, and it ends by itself.
//! * Segments are never written to again once another was begun, and never used twice.
//! * What operators set ([`setting`]) is state like a webhook's: the newest fact of each subject holds, and retention carries it.
//! * Idempotency, and who is new on a [`blacklist`], is decided by the writer, in order, at append: it alone sees both the view and what is not in it yet.
//!
//! The byte tables are in [`journal::frame`], [`journal::segment`], [`view::keys`] and `history::index`, what is assumed of a disk in [`journal::medium`], the directory in [`data_dir`].
//!
//! [`backup`] makes backups of a journal in use and data directories of backups; [`recovery::verify`] looks for damage and mends nothing.

pub mod backup;
pub mod ballast;
pub mod blacklist;
pub mod carry;
pub mod data_dir;
pub mod fact;
pub mod history;
pub mod journal;
pub mod recovery;
pub mod retention;
pub mod setting;
pub mod space;
pub mod timeline;
pub mod view;
pub mod writer;
