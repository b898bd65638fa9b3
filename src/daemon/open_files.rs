//! How many files the process may have open: as many as the system lets it, and a warning where that is too few. It never opens any.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Limits;

/// Files of the store, the doors, the log and the libraries, generously.
const FILES_BESIDES_CONNECTIONS: u64 = 256;

/// Raises the soft limit of open files (setrlimit(2)) to the hard one: the soft one is 1024 in most shells, for programs that use select(2), which none here does.
/// Warns when even that is less than what the configured limits may need.
pub(super) fn raise(limits: &Limits) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let (allowed, needed) = (getrlimit(Resource::Nofile).current, needed(limits));
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "the process may open fewer files than its limits may need: raise LimitNOFILE= or `ulimit -n`, or lower max_connections and max_in_flight in [limits]"
        );
    }
}

/// Each client has a connection, and each attempt one of its own at worst.
fn needed(limits: &Limits) -> u64 {
    FILES_BESIDES_CONNECTIONS + u64::from(limits.max_connections) + u64::from(limits.max_in_flight)
}
