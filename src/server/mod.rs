//! The front doors: events and metrics on TCP, the commands' API on a Unix socket. They never decide what is sent, and never touch the store.

pub mod hallway;
