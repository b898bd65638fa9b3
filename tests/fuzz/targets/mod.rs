//! What outside bytes are given to, and what must hold whatever they are. A target panics when it does not hold; it never keeps anything.

pub(crate) mod answers;
pub(crate) mod disk;
mod publication;
mod receiver;
mod sealed;
mod system;
mod texts;

use hookwheel::time::UnixMillis;

const NOW: UnixMillis = UnixMillis(1_795_428_000_000);

/// Changed inputs of what is read in no time.
const MANY: u64 = 20_000;
/// Of what costs a connection, or files.
const SOME: u64 = 5_000;

/// A parser, and the words that its input is made of.
pub(crate) struct Target {
    /// That of its directory below `corpus`, too.
    pub(crate) name: &'static str,
    /// What is put into inputs now and then.
    pub(crate) words: &'static [&'static str],
    /// Changed inputs that a short run gives it.
    pub(crate) runs: u64,
    /// Takes the bytes.
    pub(crate) run: fn(&[u8]),
}

/// Every target that needs no daemon.
pub(crate) static TARGETS: [Target; 22] = [
    Target {
        name: "event",
        words: &[
            "\"type\"",
            "\"project\"",
            "\"id\"",
            "\"data\"",
            "\"timestamp\"",
            "{}",
            "null",
            "\\u0000",
            "\\ud800",
            "1e999",
            "email.contact.list_unsubscribed",
        ],
        runs: MANY,
        run: texts::event,
    },
    Target {
        name: "publication",
        words: &["[", "]", ",", "\n", "\r\n", "\u{a0}", "{}", "{\"type\":\"sms.status.delivered\",\"project\":\"a.example\",\"data\":{}}"],
        runs: MANY,
        run: publication::body,
    },
    Target {
        name: "lines",
        words: &["\n", "\r\n", "\u{feff}", "\u{a0}", "\u{2028}", "\u{b}", "{}\n", "\n\n\n"],
        runs: MANY,
        run: publication::lines,
    },
    Target {
        name: "config",
        words: &[
            "[[webhook]]",
            "[server]",
            "[delivery]",
            "[egress]",
            "[[token]]",
            "[[event_type]]",
            "sha256 = ",
            "key_file = ",
            "tls_certificate_file = ",
            "ca_file = ",
            "retry = ",
            "\"100s\"",
            "\"64KiB\"",
            "\"\"\"",
            "[{",
            "}]",
            "= [",
            "9223372036854775808",
            "url = \"http://[::1%25eth0]/\"",
        ],
        runs: MANY,
        run: texts::config,
    },
    Target {
        name: "pem",
        words: &[
            "-----BEGIN CERTIFICATE-----\n",
            "-----END CERTIFICATE-----\n",
            "-----BEGIN PRIVATE KEY-----\n",
            "-----END PRIVATE KEY-----\n",
            "-----BEGIN EC PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\n",
            "Proc-Type: 4,ENCRYPTED",
            "-----",
            "====",
            "AAAA",
            "MII",
            "\r\n",
        ],
        runs: MANY,
        run: texts::pem_file,
    },
    Target {
        name: "definition",
        words: &[
            "\"headers\"",
            "\"url\"",
            "\"events\"",
            "\\r\\n",
            "\\u0000",
            "https://",
            "@",
            "[::ffff:127.0.0.1]",
            "\"secret\"",
            "whsec_",
            "\"paused\"",
            "null",
        ],
        runs: MANY,
        run: texts::definition,
    },
    Target { name: "selector", words: &["*", ".", "email.", "email.status.*", "_"], runs: MANY, run: texts::selector },
    Target {
        name: "names",
        words: &["evt_", "dlv_", "whsec_", "xn--", "@", ".", "..", "\u{ff0e}", "1h", "Z", "+14:00", "9999-12-31", "1-1-8192", "whsk_"],
        runs: MANY,
        run: texts::names,
    },
    Target {
        name: "blacklist_line",
        words: &["\"address\"", "\"since\"", "\"reason\"", "\"operator\"", "\"bounced\"", "\u{feff}", "#", "@"],
        runs: MANY,
        run: texts::blacklist_line,
    },
    Target {
        name: "retry_after",
        words: &["GMT", "Mon, ", "Sunday, ", " 23 Nov 2026 10:01:30 ", "99999999999999999999", "-", "+"],
        runs: MANY,
        run: receiver::retry_after,
    },
    Target {
        name: "response",
        words: &[
            "HTTP/1.1 ",
            "HTTP/1.0 200",
            "100 Continue",
            "\r\n\r\n",
            "content-length: ",
            "transfer-encoding: chunked",
            "retry-after: ",
            "location: ",
            "ffffffffffffffff",
            "0\r\n\r\n",
            "-1",
            "content-encoding: gzip",
        ],
        runs: SOME,
        run: receiver::response,
    },
    Target { name: "fact", words: &["\u{fb}\u{ff}\u{ff}", "\0", "\u{1}", "evt_", "success"], runs: MANY, run: disk::fact },
    Target { name: "row", words: &["\0\0\0\0", "\u{7f}"], runs: MANY, run: disk::row },
    Target { name: "block", words: &["\0\u{1}\u{1}", "\u{1}\u{1}\0", "\0\0\0", "\u{7f}", "q", "x"], runs: MANY, run: disk::rows_of_block },
    Target { name: "segment", words: &["\0\0\0\0\0\0\0\0", "\u{1}\0\0\0", "\u{2}\0\0\0"], runs: MANY, run: disk::segment },
    Target {
        name: "index",
        words: &["HKWHIS\0\0", "\u{1}\0\0\0", "\0\0\0\0", "email.status.delivered", "shop.example.com"],
        runs: MANY,
        run: disk::index,
    },
    Target {
        name: "manifest",
        words: &["hookwheel backup, format ", ", crc32c ", "journal/", "../", "\"files\"", "\"size\""],
        runs: MANY,
        run: disk::manifest,
    },
    Target { name: "sealed", words: &["sealed:", "=", "AAAA", "\n", "\u{1}", "\u{2}"], runs: MANY, run: sealed::sealed },
    Target {
        name: "sandbox_log",
        words: &[
            "{\"sandbox\":",
            "{\"request\":",
            "\"body\":",
            "\"body_base64\":",
            "====",
            "\"secret\":\"",
            "sealed:",
            "18446744073709551615",
            "9999-12-31T23:59:59Z",
            "[[[[",
            "\n00000000 ",
        ],
        runs: SOME,
        run: disk::sandbox_log,
    },
    Target {
        name: "daemon_answer",
        words: &[
            "\\u001b[2J",
            "\u{9b}2J",
            "\u{202e}",
            "\u{7f}",
            "\\n",
            "\0",
            "\u{301}",
            "\u{4e16}\u{754c}",
            "null",
            "[]",
            "{}",
            "\"next\":\"a\"",
            "18446744073709551615",
            "9999-12-31T23:59:59Z",
            "\"errors\":[{\"index\":0,\"message\":\"\\u001b\"}]",
        ],
        runs: SOME,
        run: answers::daemon_answer,
    },
    Target {
        name: "resolver_files",
        words: &[
            "nameserver ",
            "search ",
            "domain ",
            "options ",
            "ndots:",
            "timeout:",
            "attempts:",
            "4294967295",
            "127.0.0.1",
            "fe80::1%eth0",
            "::1 ",
            "\0",
            "\n",
            "#",
            "\u{feff}",
            "xn--",
            ".",
        ],
        runs: SOME,
        run: system::resolver_files,
    },
    Target {
        name: "listen_fds",
        words: &["\n", "1", "2", "16", "17", "4242", "-1", "+", "2147483647", "4294967296", "18446744073709551615"],
        runs: MANY,
        run: system::listen_fds,
    },
];

/// The target of that name.
pub(crate) fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        let names = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        panic!("there is no target {name:?}; there are: {names}")
    })
}
