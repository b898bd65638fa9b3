//! What `packaging/SECURITY.md` says of attacks, held against the tests and the outcomes that there are. It never tries an attack itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hookwheel::model::OutcomeClass;

const SECURITY: &str = include_str!("../../packaging/SECURITY.md");
/// Its `tests!` makes a test of each name.
const FUZZ: &str = include_str!("../fuzz/main.rs");

/// What stands between backticks in a text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The tests of a file: functions behind an attribute that makes them one, with nothing but attributes and comments between. A helper is none.
fn tests_in(text: &str) -> Vec<&str> {
    let (mut tests, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim_start) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ").and_then(|rest| rest.split_once('('));
            tests.extend(function.filter(|_| is_test).map(|(name, _)| name));
            is_test = false;
        }
    }
    tests
}

fn tests_below(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            names.extend(tests_in(&text).into_iter().map(str::to_owned));
        }
    }
}

/// The rows of the tables about attacks, cell by cell.
fn rows() -> Vec<Vec<&'static str>> {
    let (_, attacks) = SECURITY.split_once("## Attacks").unwrap();
    let lines = attacks.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack |") && !line.starts_with("| ---"));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_attack_names_a_test_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    tests_below(&root.join("src"), &mut known);
    tests_below(&root.join("tests"), &mut known);
    let (targets, _) = FUZZ.split_once("\ntests!(").and_then(|(_, rest)| rest.split_once(')')).unwrap();
    known.extend(targets.split(',').map(|name| name.trim().to_owned()));
    known.insert("fuzz".to_owned());
    let named = rows().iter().filter(|cells| cells.len() == 3).flat_map(|cells| quoted(cells[2])).collect::<Vec<_>>();
    assert!(named.len() > 50, "{named:?}");
    let missing = named.iter().filter(|name| !known.contains(**name)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    assert!(SECURITY.contains("healthy ones: `each_misbehaviour_ends_as_documented_and_costs_the_others_nothing`"));
}

#[test]
fn a_helper_is_no_test() {
    let text = "fn helper() {}\n#[test]\n/// Why.\n#[should_panic]\nfn one() {}\n    #[tokio::test(start_paused = true)]\n    async fn two() {}\nfn other() {}";
    assert_eq!(tests_in(text), ["one", "two"]);
}

#[test]
fn every_outcome_that_is_named_is_one() {
    let classes = OutcomeClass::ALL.map(OutcomeClass::as_str);
    // Words with an underscore in the middle cell are outcomes, but for the keys of the configuration.
    let named = rows().iter().flat_map(|cells| quoted(cells[1])).filter(|word| word.contains('_')).collect::<BTreeSet<_>>();
    let unknown = named.iter().filter(|word| !classes.contains(word) && !["allow_ports", "key_file"].contains(word)).collect::<Vec<_>>();
    assert!(unknown.is_empty() && named.len() > 8, "{unknown:?} of {named:?}");
}
