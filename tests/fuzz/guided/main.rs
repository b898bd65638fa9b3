//! The target that `FUZZ_TARGET` names, under libFuzzer. It never knows a target of its own.

#![no_main]

mod daemon;
#[path = "../doors.rs"]
#[expect(dead_code, reason = "here nothing is put into inputs, and no sandbox is looked at")]
mod doors;
#[path = "../targets/mod.rs"]
#[expect(dead_code, reason = "here nothing is put into inputs, and the clock ends a run")]
mod targets;

use std::sync::LazyLock;

type Run = Box<dyn Fn(&[u8]) + Send + Sync>;

static RUN: LazyLock<Run> = LazyLock::new(|| -> Run {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if name == "request" {
        let doors = daemon::doors();
        return Box::new(move |bytes: &[u8]| doors.knock(bytes));
    }
    Box::new(targets::target(&name).run)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (*RUN)(bytes));
