//! The cellar: blocking and durable. The journal is the truth; sled is the queue and the look-ups over it.

pub mod data_dir;
pub mod fact;
pub mod history;
pub mod journal;
pub mod recovery;
pub mod view;
pub mod writer;
