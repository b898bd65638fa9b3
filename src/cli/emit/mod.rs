//! `emit`: posts one event, or a file of them in order. It never reads ahead more than one request, and never gives up silently.

mod sending;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use hyper::body::Bytes;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::value::RawValue;

use self::sending::{Totals, send_all, send_one};
use super::Output;
use super::arguments::Emit;
use super::batches::Batches;
use super::client::{Body, Client};
use super::failure::Failure;
use super::posting::{Daemon, Source, progress_bar};
use super::screen::{Screen, Tone};
use super::text::counted;
use crate::limits::EVENT_SIZE_MAX;
use crate::model::report::PublishedEvent;
use crate::model::{EventId, EventTypeName, Project};

/// An event as it is posted.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    event_type: &'a EventTypeName,
    project: &'a Project,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
    /// As it was given: numbers keep their digits and keys their order.
    data: Box<RawValue>,
}

/// `emit`
pub(super) fn emit(arguments: &Emit, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    match (&arguments.file, &arguments.event_type, &arguments.project) {
        (Some(file), _, _) => emit_file(file, arguments.from_line, daemon, output),
        (None, Some(event_type), Some(project)) => {
            let data = data(&arguments.data)?;
            let (id, timestamp) = (arguments.id.as_ref(), arguments.timestamp.as_deref());
            let event = Event { event_type, project, id, timestamp, data };
            let json = serde_json::to_vec(&event).map_err(|error| Failure::Refused(format!("can't write the event as JSON: {error}")))?;
            let published = send_one(&mut post(daemon, ProgressBar::hidden(), output), &Body::Json(Bytes::from(json)))?;
            output.show(&published, |published, screen| render_published(published, &event, screen))
        }
        _ => Err(Failure::Usage("say which event: TYPE and --project, or --file".into())),
    }
}

fn emit_file(path: &Path, from_line: u64, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let Source { name, reader, size } = Source::open(path)?;
    let mut batches = Batches::new(reader, size.is_none(), from_line);
    let totals = send_all(&mut post(daemon, progress_bar(size), output), &name, &mut batches)?;
    output.show(&totals, render_totals)
}

fn post<'a, 'b>(client: &'a Client, bar: ProgressBar, output: &'a mut Output<'b>) -> Daemon<'a, 'b> {
    Daemon { client, path: "/v1/events", nouns: ["event", "events"], bar, output }
}

/// `--data`: the JSON itself, `@FILE`, or `-` for standard input.
fn data(argument: &str) -> Result<Box<RawValue>, Failure> {
    let (text, source) = if argument == "-" {
        (bounded(io::stdin().lock(), "standard input")?, "standard input")
    } else if let Some(path) = argument.strip_prefix('@') {
        let file = File::open(path).map_err(|error| Failure::Refused(format!("can't read --data @{path}: {error}")))?;
        (bounded(file, path)?, path)
    } else {
        (argument.to_owned(), "--data")
    };
    let wrong = |why: &str| {
        Failure::Usage(format!("{source} is not a JSON object: {why}\nexpected such as --data '{{\"email\":\"user@example.com\"}}'"))
    };
    let value = serde_json::from_str::<Box<RawValue>>(text.trim()).map_err(|error| wrong(&error.to_string()))?;
    if !value.get().starts_with('{') {
        return Err(wrong("it is another kind of value"));
    }
    Ok(value)
}

fn bounded(reader: impl Read, source: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let longest = EVENT_SIZE_MAX as u64;
    let length =
        reader.take(longest + 1).read_to_string(&mut text).map_err(|error| Failure::Refused(format!("can't read {source}: {error}")))?;
    if length as u64 > longest {
        return Err(Failure::Refused(format!("{source} is longer than the {EVENT_SIZE_MAX} bytes that an event may have at most")));
    }
    Ok(text)
}

fn render_published(published: &PublishedEvent, event: &Event<'_>, screen: &Screen) -> String {
    let deliveries = counted(u64::from(published.deliveries), "delivery", "deliveries");
    if published.duplicate {
        return screen.paint(Tone::Waiting, &format!("{} had been accepted before; nothing is sent again", published.id)) + "\n";
    }
    let headline = screen.paint(Tone::Good, &format!("accepted {}, {deliveries}", published.id));
    if published.deliveries > 0 {
        return format!("{headline}\n");
    }
    let (event_type, project) = (event.event_type, event.project.as_str());
    format!("{headline}\nno webhook wants it; `hookwheel events explain {event_type} --project {project}` says why\n")
}

fn render_totals(totals: &Totals, screen: &Screen) -> String {
    let accepted = counted(totals.accepted, "event", "events");
    let deliveries = counted(totals.deliveries, "delivery", "deliveries");
    screen.paint(Tone::Good, &format!("accepted {accepted}, {} repeated, {deliveries}", totals.duplicates)) + "\n"
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn data_is_taken_as_written_from_the_argument_or_a_file() {
        assert_eq!(data(" {\"b\":1.10,\"a\":12345678901234567890123} ").unwrap().get(), "{\"b\":1.10,\"a\":12345678901234567890123}");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{\"a\":1}\n").unwrap();
        assert_eq!(data(&format!("@{}", file.path().display())).unwrap().get(), "{\"a\":1}");
    }

    #[test]
    fn data_that_is_no_object_is_a_usage_error_and_a_missing_file_a_failure() {
        for wrong in ["", "{", "[1]", "\"x\"", "{} {}", "{'a':1}"] {
            assert_eq!(data(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
        assert_eq!(data("@/does/not/exist").unwrap_err().exit_code(), 1);
    }

    #[test]
    fn an_event_is_posted_with_exactly_what_was_given() {
        let (event_type, project) = (EventTypeName::parse("email.status.bounced").unwrap(), Project::parse("müller.example").unwrap());
        let event =
            Event { event_type: &event_type, project: &project, id: None, timestamp: None, data: data("{\"z\":1,\"a\":2}").unwrap() };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            "{\"type\":\"email.status.bounced\",\"project\":\"xn--mller-kva.example\",\"data\":{\"z\":1,\"a\":2}}"
        );
        let nobody = PublishedEvent { id: EventId::parse("evt_1").unwrap(), deliveries: 0, duplicate: false };
        let said = render_published(&nobody, &event, &super::super::screen::PIPE);
        assert!(said.contains("events explain email.status.bounced --project xn--mller-kva.example"), "{said}");
    }
}
