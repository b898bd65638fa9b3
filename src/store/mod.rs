//! The cellar: blocking and durable. The journal is the truth; sled is the queue and the look-ups over it.

pub mod fact;
pub mod journal;
pub mod view;
