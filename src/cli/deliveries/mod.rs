//! `deliveries`: what is on its way or ended, one delivery's timeline, and what happens now. They never change anything.

pub(super) mod change;
pub(super) mod filters;
pub(super) mod watch;

use super::Output;
use super::arguments::DeliveryList;
use super::client::Client;
use super::failure::Failure;
use super::screen::{Screen, Tone, Toned, uncoloured};
use super::text::{counted, measured, plain, relative, shortened};
use crate::limits::COMMAND_PAGE_MAX;
use crate::model::report::{AttemptView, DeliveryDetail, DeliveryPage, DeliverySummary};
use crate::model::{DeliveryId, DeliveryState, EventId, EventTypeName, OutcomeClass, PhaseTimes, Project};

/// Columns of a bar that stands for a whole attempt.
const BAR_COLUMNS: u64 = 40;
/// Stands for what the daemon knew of an event that is no longer kept.
const GONE: &str = "(no longer kept)";
/// Letters of the delivered body that are shown.
const BODY_SHOWN: usize = 2000;

/// `deliveries list`: as many pages as the limit asks for.
pub(super) fn list(arguments: &DeliveryList, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut whole = DeliveryPage { deliveries: Vec::new(), next: arguments.after.clone(), unindexed_segments: 0 };
    loop {
        let wanted = (limit - whole.deliveries.len()).min(COMMAND_PAGE_MAX);
        let mut page = daemon.get::<DeliveryPage>(&list_path(arguments, wanted, whole.next.as_deref()))?;
        page.deliveries.truncate(wanted);
        // A page may be empty and still say where to go on; one that says where it began goes nowhere.
        let is_stuck = page.next.is_some() && page.next == whole.next;
        whole.deliveries.append(&mut page.deliveries);
        // What one page did not show, the list does not, whatever the next one says.
        (whole.next, whole.unindexed_segments) = (page.next, whole.unindexed_segments.max(page.unindexed_segments));
        if whole.next.is_none() || is_stuck || whole.deliveries.len() >= limit {
            break;
        }
    }
    output.show(&whole, render_page)?;
    remark_on_unindexed(whole.unindexed_segments, output);
    Ok(())
}

/// Says that a list is not whole yet.
pub(super) fn remark_on_unindexed(segments: usize, output: &mut Output<'_>) {
    if segments > 0 && !output.json {
        let segments = counted(segments as u64, "segment", "segments");
        output
            .remark(&format!("the history of {segments} of the journal is still being indexed and is missing here; ask again in a moment"));
    }
}

/// `deliveries show`
pub(super) fn show(id: DeliveryId, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let delivery = daemon.get::<DeliveryDetail>(&format!("/v1/deliveries/{id}"))?;
    output.show(&delivery, render_detail)
}

fn list_path(arguments: &DeliveryList, limit: usize, after: Option<&str>) -> String {
    let [since, until] = [arguments.between.since, arguments.between.until].map(|moment| moment.map(|moment| moment.to_string()));
    let limit = limit.to_string();
    let more = [("since", since.as_deref()), ("until", until.as_deref()), ("after", after), ("limit", Some(limit.as_str()))];
    format!("/v1/deliveries?{}", arguments.whose.query(arguments.state, &more))
}

fn render_page(page: &DeliveryPage, screen: &Screen) -> String {
    if page.deliveries.is_empty() {
        return "no such deliveries\n".into();
    }
    let rows = page.deliveries.iter().map(|delivery| {
        vec![
            uncoloured(delivery.id.to_string()),
            uncoloured(event_type(delivery)),
            uncoloured(project(delivery)),
            uncoloured(delivery.webhook.as_str()),
            state(delivery),
            uncoloured(delivery.attempts.to_string()),
            uncoloured(when(delivery, screen).unwrap_or_default()),
            uncoloured(delivery.last_outcome.as_deref().unwrap_or_default()),
        ]
    });
    let header = ["DELIVERY", "TYPE", "PROJECT", "WEBHOOK", "STATE", "ATTEMPTS", "WHEN", "LAST OUTCOME"];
    let table = screen.table(&header, rows.collect(), &[0, 4]);
    match &page.next {
        Some(next) => format!("{table}\nthere are more: go on with --after {}\n", plain(next)),
        None => table,
    }
}

fn event_type(delivery: &DeliverySummary) -> &str {
    delivery.event_type.as_ref().map_or(GONE, EventTypeName::as_str)
}

fn project(delivery: &DeliverySummary) -> String {
    delivery.project.as_ref().map_or_else(|| GONE.to_owned(), Project::to_string)
}

fn state(delivery: &DeliverySummary) -> Toned {
    (tone_of(delivery.state), delivery.state.to_string())
}

/// The colour of a state.
pub(super) const fn tone_of(state: DeliveryState) -> Tone {
    match state {
        DeliveryState::Delivered => Tone::Good,
        DeliveryState::Pending => Tone::Waiting,
        DeliveryState::Dropped => Tone::Bad,
        DeliveryState::Cancelled => Tone::Plain,
    }
}

/// When it ended, or what is to happen next.
pub(super) fn when(delivery: &DeliverySummary, screen: &Screen) -> Option<String> {
    match (delivery.in_flight, delivery.finished, delivery.due) {
        (true, _, _) => Some("in flight".into()),
        (_, Some(finished), _) => Some(relative(finished, screen.now)),
        _ if delivery.paused => Some("paused".into()),
        (_, _, Some(due)) if due <= screen.now => Some("due now".into()),
        (_, _, Some(due)) => Some(format!("due {}", relative(due, screen.now))),
        (_, None, None) => None,
    }
}

/// A delivery, whole, for people.
pub(super) fn render_detail(delivery: &DeliveryDetail, screen: &Screen) -> String {
    let summary = &delivery.summary;
    let attempts = counted(u64::from(summary.attempts), "attempt", "attempts");
    let (tone, state) = state(summary);
    let mut facts = vec![
        ("state", (tone, format!("{state}, {attempts}{}", when(summary, screen).map(|when| format!(", {when}")).unwrap_or_default()))),
        ("type", uncoloured(event_type(summary))),
        ("project", uncoloured(project(summary))),
        ("webhook", uncoloured(summary.webhook.as_str())),
        ("event", uncoloured(summary.event.as_ref().map_or(GONE, EventId::as_str))),
        ("accepted", uncoloured(summary.accepted.map_or_else(|| GONE.to_owned(), |at| format!("{}, {at}", relative(at, screen.now))))),
    ];
    if let Some(url) = &delivery.url {
        facts.insert(4, ("url", uncoloured(url.as_str())));
    }
    if let Some(outcome) = summary.last_outcome.as_ref().filter(|_| delivery.timeline.is_empty()) {
        facts.push(("because", uncoloured(outcome.as_str())));
    }
    let timeline = delivery.timeline.iter().map(|attempt| render_attempt(attempt, screen)).collect::<String>();
    let headline = screen.paint(Tone::Label, &summary.id.to_string());
    let body = match &delivery.body {
        Some(body) => format!(
            "{}\n{}",
            screen.paint(Tone::Label, &format!("body, {}", counted(body.len() as u64, "byte", "bytes"))),
            screen.quoted("  ", &shortened(body, BODY_SHOWN)),
        ),
        None => "the event and its body are no longer kept\n".to_owned(),
    };
    format!("{headline}\n{}{timeline}\n{body}", screen.facts(facts))
}

/// A line with a bar for each phase of an attempt.
pub(super) fn render_phases(waited_us: u64, phases: &PhaseTimes) -> String {
    let line = |bar: Bar| format!("  {:<10}  {:<40}  {}\n", bar.name, bar.drawn(), measured(bar.measured_us));
    bars(waited_us, phases).into_iter().map(line).collect()
}

fn render_attempt(attempt: &AttemptView, screen: &Screen) -> String {
    let tone = if attempt.outcome == OutcomeClass::Success { Tone::Good } else { Tone::Bad };
    let round = if attempt.round > 1 { format!(" of round {}", attempt.round) } else { String::new() };
    let total = measured(u64::from(attempt.phases.total_us));
    let headline = format!("attempt {}{round}, {}, took {total}", attempt.number, relative(attempt.finished, screen.now));
    let mut text = format!("\n{}\n  {}\n", screen.paint(Tone::Label, &headline), screen.paint(tone, &attempt.sentence));
    let waited_us = waited_us(attempt);
    text.push_str(&render_phases(waited_us, &attempt.phases));
    if let Some(remote) = &attempt.remote {
        text.push_str(&format!("  spoke to    {}\n", plain(remote)));
    }
    if !attempt.response.is_empty() {
        text.push_str("  response\n");
        text.push_str(&screen.quoted("  │ ", &attempt.response));
    }
    text.push_str(&format!("  then        {}\n", plain(&attempt.next)));
    text
}

/// How long the attempt waited for its turn, from when it was due: for room in its webhook's lane, or for a daemon that was down.
fn waited_us(attempt: &AttemptView) -> u64 {
    let from_due_us = attempt.finished.since_ms(attempt.due).saturating_mul(1000);
    from_due_us.saturating_sub(u64::from(attempt.phases.total_us))
}

/// One phase, as a piece of the attempt's whole length.
#[derive(Debug, PartialEq, Eq)]
struct Bar {
    name: &'static str,
    from_us: u64,
    length_us: u64,
    total_us: u64,
    /// What it stands for, where the bar is cut.
    measured_us: u64,
}

impl Bar {
    /// At least one column wide, and never beyond the end.
    fn drawn(&self) -> String {
        let column = |microseconds: u64| microseconds * BAR_COLUMNS / self.total_us.max(1);
        let from = column(self.from_us).min(BAR_COLUMNS - 1);
        let length = column(self.from_us + self.length_us).min(BAR_COLUMNS).saturating_sub(from).max(1);
        let repeated = |text: &str, count: u64| text.repeat(usize::try_from(count).unwrap_or(0));
        repeated(" ", from) + &repeated("━", length)
    }
}

/// Waiting and the phases one behind the other, and what was left of the attempt behind them: the rest of the response, or waiting in vain. Hours of waiting are cut to the
/// length of the attempt itself, so that its phases can still be seen.
fn bars(waited_us: u64, phases: &PhaseTimes) -> Vec<Bar> {
    let measured = [("dns", phases.dns_us), ("connect", phases.connect_us), ("tls", phases.tls_us), ("first byte", phases.first_byte_us)];
    let measured = measured.into_iter().filter_map(|(name, length)| Some((name, u64::from(length?)))).collect::<Vec<_>>();
    let attempt_us = u64::from(phases.total_us).max(measured.iter().map(|(_, length)| length).sum());
    let waiting_us = if waited_us < attempt_us.div_ceil(100).max(1000) { 0 } else { waited_us.min(attempt_us.max(1)) };
    let total_us = waiting_us + attempt_us;
    let mut bars = Vec::new();
    if waiting_us > 0 {
        bars.push(Bar { name: "waiting", from_us: 0, length_us: waiting_us, total_us, measured_us: waited_us });
    }
    let mut from_us = waiting_us;
    for (name, length_us) in measured {
        bars.push(Bar { name, from_us, length_us, total_us, measured_us: length_us });
        from_us += length_us;
    }
    let rest_us = total_us - from_us;
    if rest_us > 0 && rest_us >= total_us / 100 {
        let name = if phases.first_byte_us.is_some() { "the rest" } else { "no answer" };
        bars.push(Bar { name, from_us, length_us: rest_us, total_us, measured_us: rest_us });
    }
    bars
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::super::arguments::{Arguments, Command, Deliveries};
    use super::super::screen::PIPE;
    use super::*;

    const ID: &str = "dlv_aaaaaaaaaaaasaaaaaaa";

    fn summary(changes: &Value) -> DeliverySummary {
        let mut summary = json!({
            "id": ID, "event": "evt_01", "type": "email.status.bounced", "project": "shop.example.com", "webhook": "crm", "state": "pending",
            "attempts": 1, "accepted": "2026-11-23T09:58:00Z", "due": "2026-11-23T10:01:36Z", "in_flight": false, "finished": null,
            "last_outcome": "500 Internal Server Error"
        });
        summary.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(summary).unwrap()
    }

    fn attempt() -> AttemptView {
        serde_json::from_value(json!({
            "round": 1, "number": 1, "due": "2026-11-23T09:58:04Z", "finished": "2026-11-23T09:58:04.300Z", "outcome": "status", "status": 500,
            "sentence": "the receiver answered 500 Internal Server Error", "remote": "203.0.113.9:443",
            "phases": { "dns_us": 1200, "connect_us": 20_000, "tls_us": 40_000, "first_byte_us": 130_000, "total_us": 217_000 },
            "response": "{\"error\":\"\u{1b}[2Jdown\"}\nsecond line", "next": "attempt 2, 100 s later"
        }))
        .unwrap()
    }

    #[test]
    fn a_page_has_one_line_a_delivery_and_says_how_to_go_on() {
        let deliveries = vec![
            summary(&json!({})),
            summary(&json!({ "in_flight": true, "attempts": 0, "last_outcome": null })),
            summary(&json!({ "state": "dropped", "finished": "2026-11-23T09:00:00Z", "due": null, "attempts": 16 })),
        ];
        let page = DeliveryPage { deliveries, next: Some("c:42".into()), unindexed_segments: 0 };
        insta::assert_snapshot!(render_page(&page, &PIPE), @"
        DELIVERY                  TYPE                  PROJECT           WEBHOOK  STATE    ATTEMPTS  WHEN         LAST OUTCOME
        dlv_aaaaaaaaaaaasaaaaaaa  email.status.bounced  shop.example.com  crm      pending  1         due in 96 s  500 Internal Server Error
        dlv_aaaaaaaaaaaasaaaaaaa  email.status.bounced  shop.example.com  crm      pending  0         in flight
        dlv_aaaaaaaaaaaasaaaaaaa  email.status.bounced  shop.example.com  crm      dropped  16        60 min ago   500 Internal Server Error

        there are more: go on with --after c:42
        ");
        assert_eq!(render_page(&DeliveryPage { deliveries: Vec::new(), next: None, unindexed_segments: 0 }, &PIPE), "no such deliveries\n");
    }

    #[test]
    fn a_timeline_shows_where_the_time_went_and_what_follows() {
        let body = Some("{\"type\":\"email.status.bounced\",\"data\":{}}".into());
        let url = Some("https://crm.example.com/hooks/mail".into());
        let delivery = DeliveryDetail { summary: summary(&json!({})), url, timeline: vec![attempt()], body };
        insta::assert_snapshot!(render_detail(&delivery, &PIPE), @r#"
        dlv_aaaaaaaaaaaasaaaaaaa
          state     pending, 1 attempt, due in 96 s
          type      email.status.bounced
          project   shop.example.com
          webhook   crm
          url       https://crm.example.com/hooks/mail
          event     evt_01
          accepted  2 min ago, 2026-11-23T09:58:00.000Z

        attempt 1, 115 s ago, took 217 ms
          the receiver answered 500 Internal Server Error
          waiting     ━━━━━━━━━━━                               83.0 ms
          dns                    ━                              1.20 ms
          connect                ━━                             20.0 ms
          tls                      ━━━━━━                       40.0 ms
          first byte                     ━━━━━━━━━━━━━━━━━      130 ms
          the rest                                        ━━━━  25.8 ms
          spoke to    203.0.113.9:443
          response
          │ {"error":"␛[2Jdown"}
          │ second line
          then        attempt 2, 100 s later

        body, 41 bytes
          {"type":"email.status.bounced","data":{}}
        "#);
    }

    #[test]
    fn bars_follow_one_another_and_stay_inside_the_attempt() {
        let waiting = PhaseTimes { dns_us: Some(0), connect_us: Some(10), total_us: 10_000_000, ..PhaseTimes::default() };
        let drawn = bars(0, &waiting);
        assert_eq!(drawn.iter().map(|bar| bar.name).collect::<Vec<_>>(), ["dns", "connect", "no answer"]);
        assert_eq!(drawn[1].drawn(), "━");
        assert_eq!(drawn[2].drawn(), "━".repeat(40));
        let over = PhaseTimes { dns_us: Some(u32::MAX), first_byte_us: Some(u32::MAX), total_us: 1, ..PhaseTimes::default() };
        assert!(bars(u64::MAX / 2, &over).iter().all(|bar| bar.drawn().chars().count() <= 40));
        assert!(bars(0, &PhaseTimes::default()).is_empty());
    }

    #[test]
    fn a_wait_of_hours_leaves_room_for_the_phases() {
        let phases = PhaseTimes { first_byte_us: Some(100_000), total_us: 100_000, ..PhaseTimes::default() };
        let drawn = bars(3_600_000_000, &phases);
        assert_eq!(
            drawn.iter().map(|bar| (bar.name, bar.measured_us)).collect::<Vec<_>>(),
            [("waiting", 3_600_000_000), ("first byte", 100_000)]
        );
        assert_eq!(drawn[1].drawn(), " ".repeat(20) + &"━".repeat(20));
        assert_eq!(bars(999, &phases).len(), 1, "a millisecond is no wait: times of the schedule are no finer");
    }

    #[test]
    fn an_event_that_is_gone_is_said_to_be_gone() {
        let summary = summary(
            &json!({ "state": "dropped", "event": null, "type": null, "project": null, "accepted": null, "due": null, "finished": "2026-11-23T09:00:00Z" }),
        );
        let page = DeliveryPage { deliveries: vec![summary.clone()], next: None, unindexed_segments: 0 };
        assert_eq!(render_page(&page, &PIPE).matches(GONE).count(), 2);
        let text = render_detail(&DeliveryDetail { summary, url: None, timeline: Vec::new(), body: None }, &PIPE);
        assert!(text.ends_with("the event and its body are no longer kept\n"), "{text}");
    }

    #[test]
    fn filters_become_a_query() {
        let line = "hookwheel deliveries list --webhook crm --project müller.example --type *.status.* --state dropped --since 2h --until 2026-11-23T10:00:00Z";
        let Command::Deliveries(Deliveries::List(list)) = Arguments::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("another command")
        };
        insta::assert_snapshot!(list_path(&list, 50, Some("a&b")), @"/v1/deliveries?webhook=crm&project=xn--mller-kva.example&type=*.status.*&state=dropped&since=7200s&until=2026-11-23T10%3A00%3A00.000Z&after=a%26b&limit=50");
    }
}
