//! A publication's way in lines: a file as a command cuts it into requests, and a request as the daemon cuts it into events. It never posts any.

use std::sync::{Arc, LazyLock};

use hookwheel::cli::batches::{Batch, Batches, Unreadable};
use hookwheel::limits::{EMIT_BATCH_EVENTS, REQUEST_EVENTS_MAX};
use hookwheel::model::Catalog;
use hookwheel::server::events::batch::{Form, parse, split};
use hookwheel::server::hallway::DoorSettings;
use hookwheel::server::tokens::Leave;

const EVENT_SIZE_MAX: usize = 1024;

/// A body in either form: what it is cut into is all of it, and every mistake is where it is said to be.
pub(super) fn body(bytes: &[u8]) {
    static SETTINGS: LazyLock<DoorSettings> = LazyLock::new(|| DoorSettings {
        catalog: Arc::new(Catalog::built_in()),
        tokens: Arc::from(Vec::new()),
        max_event_size: EVENT_SIZE_MAX,
    });
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for form in [Form::Json, Form::Ndjson] {
        let items = cut(text, form);
        match parse(text, form, &SETTINGS, &Leave::All) {
            Ok((events, shape)) => {
                let lines = items.expect("it was cut before").into_iter().map(|(line, _)| line);
                assert_eq!((events.len(), shape.lines), (lines.len(), lines.collect()));
            }
            Err(problem) => {
                let problem = serde_json::to_value(problem).expect("it holds strings and numbers only");
                assert!(problem["status"].as_u64().is_some_and(|status| (400..500).contains(&status)), "{problem}");
                for error in problem["errors"].as_array().into_iter().flatten() {
                    let (index, line) = (number(&error["index"]).expect("it has a place"), number(&error["line"]));
                    let of = items.as_ref().and_then(|items| items.get(index)).expect("it is one of them");
                    assert!(of.0 == line && error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
                }
            }
        }
    }
}

fn number(value: &serde_json::Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

/// Each event of a body with its line; nothing of one that is refused whole.
fn cut(text: &str, form: Form) -> Option<Vec<(Option<usize>, &str)>> {
    let batch = split(text, form).ok()?;
    let items = batch.items.iter().map(|item| (item.line, item.text)).collect::<Vec<_>>();
    let texts = items.iter().map(|(_, text)| *text).collect::<Vec<_>>();
    assert!(texts.len() <= REQUEST_EVENTS_MAX && (batch.is_batch || texts.len() == 1));
    let joined = match form {
        Form::Ndjson => {
            let full = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            assert_eq!(items, full.map(|(index, line)| (Some(index + 1), line.trim())).collect::<Vec<_>>());
            texts.join("\n")
        }
        Form::Json if batch.is_batch => format!("[{}]", texts.join(",")),
        Form::Json => texts.concat(),
    };
    let again = split(&joined, form).expect("what was cut can be joined");
    assert_eq!(again.items.iter().map(|item| item.text).collect::<Vec<_>>(), texts);
    Some(items)
}

/// A file of lines: each that is not blank goes out once, in order, under its number, and is one event for the daemon, too.
pub(super) fn lines(bytes: &[u8]) {
    let lines = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).split_inclusive(|byte| *byte == b'\n');
    let lines = lines.map(std::str::from_utf8).collect::<Vec<_>>();
    let (batches, end) = batches_of(bytes, 1);
    let mut sent = Vec::new();
    for batch in &batches {
        assert!(!batch.lines.is_empty() && batch.lines.len() <= EMIT_BATCH_EVENTS && batch.read_bytes <= bytes.len() as u64);
        let body = std::str::from_utf8(&batch.body).expect("what goes out is text");
        let events = split(body, Form::Ndjson).expect("a batch is a request").items;
        assert_eq!(events.len(), batch.lines.len(), "what the daemon says of one would be said of another line");
        sent.extend(batch.lines.iter().copied().zip(events.into_iter().map(|event| event.text)));
    }
    let readable = (1..).zip(lines.iter().copied().map_while(Result::ok)).map(|(number, line)| (number, line.trim()));
    assert_eq!(sent, readable.filter(|(_, line)| !line.is_empty()).collect::<Vec<_>>());
    let broken = lines.iter().position(Result::is_err);
    match end {
        None => assert_eq!(broken, None),
        Some(Unreadable::NotText { line, byte }) => {
            assert_eq!(broken.map(|index| index as u64 + 1), Some(line));
            assert!((1..=bytes.len()).contains(&byte));
        }
        Some(other) => panic!("{other}"),
    }
    // Whoever goes on at the second line sends the same without the first.
    if broken != Some(0) {
        let numbers = |batches: Vec<Batch>| batches.into_iter().flat_map(|batch| batch.lines).collect::<Vec<_>>();
        let behind_the_first = sent.iter().map(|(line, _)| *line).filter(|line| *line > 1).collect::<Vec<_>>();
        assert_eq!(numbers(batches_of(bytes, 2).0), behind_the_first);
    }
}

/// The batches of a file from that line on, and why there are no more although it goes on.
fn batches_of(bytes: &[u8], from_line: u64) -> (Vec<Batch>, Option<Unreadable>) {
    let (mut batches, mut cut) = (Batches::new(bytes, false, from_line), Vec::new());
    loop {
        match batches.next_batch() {
            Ok(Some(batch)) => cut.push(batch),
            Ok(None) => return (cut, None),
            Err(unreadable) => return (cut, Some(unreadable)),
        }
    }
}
