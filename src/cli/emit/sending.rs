//! Posting events batch after batch: naming every bad line, saying where to go on. It never sends a line twice by itself.

use std::io::Read;

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

use crate::cli::batches::{Batch, Batches, Unreadable, bad_lines};
use crate::cli::client::Body;
use crate::cli::failure::Failure;
use crate::cli::posting::{Post, patiently};
use crate::cli::text::counted;
use crate::model::report::PublishedEvent;

/// What is said when nobody knows whether a request arrived.
const WHEN_UNCLEAR: &str =
    "events with an \"id\" may be sent again safely: what was accepted is recognized; those without would be accepted twice";

/// What became of the events so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    /// Events made durable.
    pub(super) accepted: u64,
    /// Events that had been accepted before.
    pub(super) duplicates: u64,
    /// Deliveries made.
    pub(super) deliveries: u64,
}

impl Totals {
    fn add(&mut self, event: &PublishedEvent) {
        if event.duplicate {
            self.duplicates += 1;
        } else {
            self.accepted += 1;
            self.deliveries += u64::from(event.deliveries);
        }
    }
}

/// What a daemon answers to a batch that it accepted.
#[derive(Deserialize)]
struct BatchAnswer {
    events: Vec<PublishedEvent>,
}

/// Posts one event.
///
/// # Errors
/// Refused, or not reached.
pub(super) fn send_one(post: &mut impl Post, body: &Body) -> Result<PublishedEvent, Failure> {
    patiently(post, body, WHEN_UNCLEAR)?.read()
}

/// Posts every line of the file called `name`, in order.
///
/// # Errors
/// A bad line, a daemon that refuses or is not there: with what was accepted before, and where to go on.
pub(super) fn send_all(post: &mut impl Post, name: &str, batches: &mut Batches<impl Read>) -> Result<Totals, Failure> {
    let mut totals = Totals::default();
    loop {
        let batch = match batches.next_batch() {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(totals),
            Err(bad @ (Unreadable::TooLong(line) | Unreadable::NotText { line, .. })) => {
                return Err(Failure::Refused(format!("{name}:{line}: {bad}")).and(&go_on(line, &totals)));
            }
            Err(Unreadable::Io(error)) => {
                return Err(Failure::Refused(format!("{name}: {}", Unreadable::Io(error))).and(&so_far(&totals)));
            }
        };
        send(post, name, &batch, &totals)?.iter().for_each(|event| totals.add(event));
        post.progress(batch.read_bytes, totals.accepted + totals.duplicates);
    }
}

fn send(post: &mut impl Post, name: &str, batch: &Batch, before: &Totals) -> Result<Vec<PublishedEvent>, Failure> {
    let (first, last) = (batch.lines.first().copied().unwrap_or(1), batch.lines.last().copied().unwrap_or(1));
    let go_on_here = || go_on(first, before);
    let answer =
        patiently(post, &Body::Lines(Bytes::copy_from_slice(&batch.body)), WHEN_UNCLEAR).map_err(|failure| failure.and(&go_on_here()))?;
    if answer.status.is_success() {
        let accepted = || format!("lines {first} to {last} were accepted all the same; go on with --from-line {}", last + 1);
        return Ok(answer.read::<BatchAnswer>().map_err(|failure| failure.and(&accepted()))?.events);
    }
    let problem = answer.problem();
    if problem.errors.is_empty() {
        return Err(Failure::Refused(answer.complaint()).and(&go_on_here()));
    }
    let count = counted(problem.errors.len() as u64, "bad line", "bad lines");
    let headline = format!("{count}: nothing of lines {first} to {last} of {name} was accepted\n{}", bad_lines(name, batch, &problem));
    Err(Failure::Refused(headline).and(&go_on_here()))
}

fn so_far(totals: &Totals) -> String {
    match totals.accepted + totals.duplicates {
        0 => "nothing before that was accepted".into(),
        1 => "1 event before that was accepted".into(),
        events => format!("{events} events before that were accepted"),
    }
}

fn go_on(line: u64, totals: &Totals) -> String {
    format!("{}; go on with --from-line {line}", so_far(totals))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use hyper::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::client::{Answer, NoAnswer};
    use crate::limits::EMIT_WAIT_MAX_S;

    /// Answers what it was told to, and remembers what it was asked.
    #[derive(Default)]
    struct Scripted {
        answers: VecDeque<Result<Answer, NoAnswer>>,
        posted: Vec<Body>,
        waits: Vec<(u64, bool)>,
    }

    impl Scripted {
        fn answering(answers: impl IntoIterator<Item = (u16, Option<u64>, Value)>) -> Self {
            let answer = |(status, retry_after_s, body): (u16, Option<u64>, Value)| {
                Ok(Answer { status: StatusCode::from_u16(status).unwrap(), retry_after_s, body: Bytes::from(body.to_string()) })
            };
            Self { answers: answers.into_iter().map(answer).collect(), ..Self::default() }
        }
    }

    impl Post for Scripted {
        fn post(&mut self, body: Body) -> Result<Answer, NoAnswer> {
            self.posted.push(body);
            self.answers.pop_front().unwrap()
        }

        fn failure(&self, no_answer: NoAnswer) -> Failure {
            match no_answer {
                NoAnswer::NotSent(why) => Failure::Unreachable(why),
                NoAnswer::Unclear(why) => Failure::Refused(why),
            }
        }

        fn wait(&mut self, seconds: u64, why: Option<&str>) {
            self.waits.push((seconds, why.is_some()));
        }

        fn progress(&mut self, _read_bytes: u64, _done: u64) {}
    }

    fn accepted(count: usize) -> (u16, Option<u64>, Value) {
        let events = (0..count).map(|index| json!({ "id": format!("e{index}"), "deliveries": 2 })).collect::<Vec<_>>();
        (202, None, json!({ "accepted": count, "duplicates": 0, "events": events }))
    }

    fn lines(count: usize) -> Batches<std::io::Cursor<String>> {
        Batches::new(std::io::Cursor::new("{}\n".repeat(count)), false, 1)
    }

    #[test]
    fn a_file_goes_out_batch_by_batch_and_adds_up() {
        let repeated = json!({ "events": [{ "id": "e", "deliveries": 2, "duplicate": true }] });
        let mut post = Scripted::answering([accepted(1000), accepted(1000), (202, None, repeated)]);
        let totals = send_all(&mut post, "f", &mut lines(2001)).unwrap();
        assert_eq!(totals, Totals { accepted: 2000, duplicates: 1, deliveries: 4000 });
        let sizes = post.posted.iter().map(|body| if let Body::Lines(bytes) = body { bytes.len() / 3 } else { 0 });
        assert_eq!(sizes.collect::<Vec<_>>(), [1000, 1000, 1]);
    }

    #[test]
    fn a_busy_daemon_is_waited_for_and_the_same_batch_posted_again() {
        let busy = (429, Some(5), json!({ "detail": "the queue is full" }));
        let mut post = Scripted::answering([busy.clone(), (503, Some(0), json!({})), accepted(3)]);
        assert_eq!(send_all(&mut post, "f", &mut lines(3)).unwrap().accepted, 3);
        assert_eq!(post.waits, [(5, true), (1, false)]);
        assert!(post.posted[0] == post.posted[1] && post.posted[1] == post.posted[2]);
        let mut post = Scripted::answering(std::iter::repeat_n(busy, 200));
        let failure = send_all(&mut post, "f", &mut lines(3)).unwrap_err();
        assert_eq!(post.waits.iter().map(|(seconds, _)| seconds).sum::<u64>(), EMIT_WAIT_MAX_S);
        assert!(failure.to_string().contains("still busy after 10 min") && failure.exit_code() == 1, "{failure}");
    }

    #[test]
    fn a_daemon_that_is_ending_says_no_time_and_is_not_waited_for() {
        let mut post = Scripted::answering([(503, None, json!({ "detail": "the daemon is ending" }))]);
        let failure = send_all(&mut post, "f", &mut lines(1)).unwrap_err();
        assert!(post.waits.is_empty() && failure.to_string().starts_with("the daemon is ending"), "{failure}");
    }

    #[test]
    fn each_bad_line_is_named_with_what_was_accepted_before_and_where_to_go_on() {
        let errors = json!({ "title": "bad", "detail": "2 bad events", "errors": [
            { "index": 0, "line": 1, "message": "unknown event type" }, { "index": 2, "line": 3, "message": "no project" }
        ] });
        let mut post = Scripted::answering([accepted(1000), (422, None, errors)]);
        let failure = send_all(&mut post, "f.ndjson", &mut lines(1003)).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        insta::assert_snapshot!(failure, @"
        2 bad lines: nothing of lines 1001 to 1003 of f.ndjson was accepted
        f.ndjson:1001: unknown event type
        f.ndjson:1003: no project
        1000 events before that were accepted; go on with --from-line 1001
        ");
    }

    #[test]
    fn an_answer_that_is_not_understood_does_not_have_its_batch_sent_again() {
        let mut post = Scripted::answering([(202, None, json!({ "events": 7 }))]);
        let failure = send_all(&mut post, "f", &mut lines(3)).unwrap_err();
        assert!(failure.to_string().ends_with("lines 1 to 3 were accepted all the same; go on with --from-line 4"), "{failure}");
    }

    #[test]
    fn a_daemon_that_went_away_leaves_a_way_to_go_on() {
        let mut post = Scripted::answering([accepted(1000)]);
        post.answers.push_back(Err(NoAnswer::NotSent("connection refused".into())));
        let failure = send_all(&mut post, "f", &mut lines(1001)).unwrap_err();
        assert_eq!(failure.exit_code(), 69);
        assert!(failure.to_string().ends_with("1000 events before that were accepted; go on with --from-line 1001"));
        let mut post = Scripted::default();
        post.answers.push_back(Err(NoAnswer::Unclear("reset".into())));
        let failure = send_all(&mut post, "standard input", &mut lines(1)).unwrap_err();
        assert!(failure.exit_code() == 1 && failure.to_string().contains("accepted twice"), "{failure}");
        assert!(failure.to_string().ends_with("nothing before that was accepted; go on with --from-line 1"), "{failure}");
    }

    #[test]
    fn a_line_too_long_ends_it_behind_the_lines_before() {
        let text = std::io::Cursor::new(b"{}\n".to_vec()).chain(std::io::repeat(b'x'));
        let mut post = Scripted::answering([accepted(1)]);
        let failure = send_all(&mut post, "f", &mut Batches::new(text, false, 1)).unwrap_err();
        assert!(failure.to_string().starts_with("f:2: longer than"), "{failure}");
        assert_eq!(post.posted.len(), 1);
    }
}
