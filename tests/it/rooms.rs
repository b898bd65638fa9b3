//! The rules of the house, scanned for: who may visit whom, which words stay in which room, how long files and functions are. It never runs anything.

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// A source file: its path below the repository, and its lines without comments.
struct Source {
    path: String,
    code: Vec<String>,
    lines: usize,
    first: String,
}

fn sources(below: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join(below), &mut files);
    files.sort();
    assert!(!files.is_empty(), "{below} has no Rust files");
    files.iter().map(|file| read(root, file)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Source {
    let text = fs::read_to_string(file).unwrap();
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    let path = file.strip_prefix(root).unwrap().to_string_lossy().into_owned();
    Source { path, lines: text.lines().count(), first: text.lines().next().unwrap_or_default().to_owned(), code }
}

/// Every place in `src` at which `word` stands in code outside of the files that `allowed` names by how their path begins.
fn places(word: &str, allowed: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for source in sources("src") {
        if allowed.iter().any(|allowed| source.path.starts_with(allowed)) {
            continue;
        }
        let hits = source.code.iter().enumerate().filter(|(_, line)| line.contains(word));
        places.extend(hits.map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim())));
    }
    places
}

fn assert_nowhere_else(word: &str, allowed: &[&str]) {
    let places = places(word, allowed);
    assert!(places.is_empty(), "{word} belongs to {allowed:?} alone, but stands at\n{}", places.join("\n"));
}

#[test]
fn rooms_visit_only_whom_they_may() {
    const MODEL: &[&str] = &["model", "limits", "time"];
    let rooms: [(&str, &[&str]); 7] = [
        ("src/engine/", &["engine", "model", "limits", "time"]),
        ("src/model/", MODEL),
        ("src/server/", &["server", "model", "limits", "time"]),
        ("src/dispatch/", &["dispatch", "model", "limits", "time"]),
        ("src/store/", &["store", "model", "limits", "time"]),
        ("src/config/", &["config", "model", "limits", "time"]),
        ("src/cli/", &["cli", "model", "limits", "time"]),
    ];
    let all = ["cli", "config", "daemon", "dispatch", "engine", "limits", "model", "server", "store", "time"];
    for source in sources("src") {
        let Some((room, may)) = rooms.iter().find(|(room, _)| source.path.starts_with(room)) else { continue };
        for (index, line) in source.code.iter().enumerate() {
            let visited = all.iter().find(|other| !may.contains(other) && line.contains(&format!("crate::{other}")));
            assert!(visited.is_none(), "{}:{}: {room} visits {visited:?}", source.path, index + 1);
        }
    }
}

#[test]
fn the_quiet_rooms_are_quiet() {
    for word in [
        "tokio",
        "sled::",
        "hyper",
        "std::fs",
        "std::net",
        "async ",
        "::now()",
        "rand::",
        "Instant",
        "SystemTime",
        "std::thread",
        "println!",
    ] {
        for source in sources("src/engine").into_iter().chain(sources("src/model")) {
            let hit = source.code.iter().position(|line| line.contains(word));
            assert!(hit.is_none(), "{}:{}: {word}", source.path, hit.unwrap_or(0) + 1);
        }
    }
}

#[test]
fn what_only_one_file_or_room_may_name() {
    assert_nowhere_else(
        "sled::",
        &["src/store/view/sled.rs", "src/store/view/sled/", "src/store/view/mod.rs", "src/store/recovery/tests/view.rs", "src/daemon/"],
    );
    assert!(places("sled::", &["src/store/view/sled.rs", "src/store/view/sled/"]).iter().all(|place| place.contains("view::sled::")));
    assert_nowhere_else("bincode", &["src/store/journal/frame.rs", "src/store/journal/frame/"]);
    assert_nowhere_else("::now()", &["src/time.rs"]);
    assert_nowhere_else("hyper_util::client", &["src/dispatch/"]);
    assert_nowhere_else("rustls::ClientConfig", &["src/dispatch/", "src/cli/client/"]);
    assert_nowhere_else("unbounded", &[]);
    assert_nowhere_else("mpsc::channel::<", &[]);
    assert_nowhere_else("unsafe ", &[]);
    assert_nowhere_else("anyhow", &["src/main.rs", "src/cli/"]);
}

#[test]
fn every_file_says_first_what_it_is_for_and_none_is_too_long() {
    for source in sources("src").into_iter().chain(sources("tests")) {
        assert!(source.first.starts_with("//! "), "{} does not open with a sentence on what it is for", source.path);
        assert!(
            source.lines <= FILE_LINES_MAX,
            "{} has {} lines, at most {FILE_LINES_MAX} are read with pleasure",
            source.path,
            source.lines
        );
    }
}

#[test]
fn no_function_is_too_long() {
    for source in sources("src").into_iter().chain(sources("tests")) {
        let mut begun: Option<(usize, usize)> = None;
        for (index, line) in source.code.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let head = line.trim_start();
            let is_head = [
                "fn ",
                "pub fn ",
                "async fn ",
                "pub async fn ",
                "pub(super) fn ",
                "pub(crate) fn ",
                "const fn ",
                "pub const fn ",
                "pub(super) async fn ",
            ]
            .iter()
            .any(|prefix| head.starts_with(prefix));
            if is_head {
                begun = Some((index, indent));
            }
            if let Some((start, at)) = begun
                && indent == at
                && head.starts_with('}')
            {
                let length = index - start + 1;
                assert!(
                    length <= FUNCTION_LINES_MAX,
                    "{}:{}: a function of {length} lines, at most {FUNCTION_LINES_MAX} fit a screen",
                    source.path,
                    start + 1
                );
                begun = None;
            }
        }
    }
}

#[test]
fn no_room_is_a_junk_room_and_nothing_is_left_for_later() {
    for source in sources("src") {
        for word in
            ["mod core", "mod common", "mod utils", "mod helpers", "todo!", "unimplemented!", "#[ignore", "allow(clippy", "allow(dead_code"]
        {
            let hit = source.code.iter().position(|line| line.contains(word));
            assert!(hit.is_none(), "{}:{}: {word}", source.path, hit.unwrap_or(0) + 1);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let allowed = ["Cargo.toml", "Cargo.lock", "src", "tests", "packaging", "README.md", "webhooks.toml", "target"];
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let is_known = allowed.contains(&name.as_str()) || name.starts_with('.') || name.starts_with("LICENSE");
        assert!(is_known, "{name} does not belong at the top of the repository");
    }
}
