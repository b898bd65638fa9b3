//! The front doors, really opened, spoken to with raw bytes. These tests never touch a store or an engine: a stand-in answers.

mod admin;
mod blacklist;
mod connections;
mod described;
mod house;
mod metrics;
mod publishing;
mod refusals;
mod talking;
mod tokens;
