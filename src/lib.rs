//! hookwheel: a webhook delivery daemon. Events in, safe on disk, delivered on the schedule.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod dispatch;
pub mod engine;
pub mod limits;
pub mod model;
pub mod server;
pub mod store;
pub mod time;
