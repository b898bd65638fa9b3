//! The memory of the process stays in it: it holds secrets. It never touches what other processes do.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Sees to it that no core dump is made of this process, also none that a program takes through a pipe (core(5)), and that no other process of the same user may look into its memory
/// (ptrace(2)). The price: `/proc/PID` belongs to root, so that a debugger, or `ls /proc/PID/fd`, needs root.
pub(super) fn forbid() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // The shipped unit has set it already, and does not let the process set any.
    if getrlimit(Resource::Core) != none
        && let Err(error) = setrlimit(Resource::Core, none)
    {
        tracing::warn!(%error, "the limit of core dumps could not be lowered: a crash may write secrets to disk");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process could not be made undumpable: others of the same user may read its memory");
    }
}
