//! Black-box tests of the real binary, and the rules of the house. They never look inside the process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

mod again;
mod backup;
mod blacklist;
mod controls;
mod daemon;
mod damage;
mod demo;
mod disk;
mod faults;
mod flow;
mod frozen;
mod full_disk;
mod history;
#[path = "../hostile/mod.rs"]
mod hostile;
mod hostile_clients;
mod hostile_endpoints;
mod kills;
mod lifecycle;
mod load;
mod mistakes;
mod openapi;
mod operational;
mod outcomes;
mod packaging;
mod power;
mod python;
mod readme;
mod receivers;
mod reloads;
mod retention;
mod rooms;
mod sandbox;
mod secrets;
mod security;
mod sockets;
mod standard_webhooks;
mod syscalls;
mod systemd;
mod tls;
mod top;
mod webhook_tls;
mod webhooks;
