//! What the system says: the files of its resolver, and which sockets systemd passed. It never asks a name server, and takes no socket.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::sync::LazyLock;

use hookwheel::daemon::passed;
use hookwheel::dispatch::resolve::Names;
use hookwheel::limits::{PASSED_SOCKETS_MAX, RESOLVED_ADDRESSES_MAX};
use tokio::runtime::Runtime;

/// Bytes of a hosts file. Reading it takes the square of how often the same name stands in it.
const HOSTS_MAX: usize = 8 * 1024;
/// Names of a hosts file that are looked up.
const NAMES_MAX: usize = 16;
/// This process, as far as the target knows.
const PROCESS: u32 = 4242;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system has an event loop"));

/// `/etc/resolv.conf`, and behind a zero `/etc/hosts`. A daemon starts with whatever stands there, and knows the names of the hosts file.
pub(super) fn resolver_files(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (resolv_conf, hosts) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let hosts = &hosts[..hosts.len().min(HOSTS_MAX)];
    RUNTIME.block_on(async {
        let names = |resolv_conf: &[u8]| Names::from_files(Ok(resolv_conf.to_vec()), Ok(hosts.to_vec())).expect("a resolver can be set up");
        drop(names(resolv_conf));
        // Here nobody can be asked.
        let names = names(b"");
        for (address, name) in hosts_of(&String::from_utf8_lossy(hosts)).take(NAMES_MAX) {
            let found = names.addresses(name).await.unwrap_or_default();
            assert!(found.contains(&address) || found.len() == RESOLVED_ADDRESSES_MAX, "{name} is {address}, and {found:?} was found");
        }
    });
}

/// The names that nobody can mistake for anything else, and their addresses.
fn hosts_of(text: &str) -> impl Iterator<Item = (IpAddr, &str)> {
    let is_plain = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphabetic());
    text.lines().flat_map(move |line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        let names = words.filter(move |name| name.len() <= 250 && name.split('.').all(is_plain));
        address.into_iter().flat_map(move |address| names.clone().map(move |name| (address, name)))
    })
}

/// `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDS_FIRST_FD`, one a line, of which the last may be missing. There are few sockets, all of them behind the standard streams, or
/// there is a sentence.
pub(super) fn listen_fds(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(OsStr::from_bytes);
    let [count, process, first] = [(); 3].map(|()| lines.next());
    match passed::count(count, process, first, PROCESS) {
        Ok(passed) => {
            assert!(passed <= PASSED_SOCKETS_MAX);
            let is_for_others = process
                .is_some_and(|process| !process.is_empty() && process.to_str().and_then(|text| text.parse::<u32>().ok()) != Some(PROCESS));
            assert!(passed == 0 || !is_for_others, "{passed} sockets of another process");
        }
        Err(sentence) => assert!(!sentence.is_empty() && !sentence.contains(char::is_control), "{sentence:?}"),
    }
}
