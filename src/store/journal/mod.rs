//! The journal: facts, in order, synced.

pub mod medium;
