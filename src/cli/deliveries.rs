//! `deliveries`: what is on its way, and one delivery's timeline. They never change anything.

use url::form_urlencoded;

use super::Output;
use super::arguments::DeliveryList;
use super::client::Client;
use super::failure::Failure;
use super::screen::{Screen, Tone, Toned, uncoloured};
use super::text::{counted, measured, plain, relative, shortened};
use crate::limits::COMMAND_PAGE_MAX;
use crate::model::report::{AttemptView, DeliveryDetail, DeliveryPage, DeliverySummary};
use crate::model::{DeliveryId, DeliveryState, OutcomeClass, PhaseTimes};

/// Columns of a bar that stands for a whole attempt.
const BAR_COLUMNS: u64 = 40;
/// Letters of the delivered body that are shown.
const BODY_SHOWN: usize = 2000;

/// `deliveries list`: as many pages as the limit asks for.
pub(super) fn list(arguments: &DeliveryList, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut whole = DeliveryPage { deliveries: Vec::new(), next: arguments.after.clone() };
    loop {
        let wanted = (limit - whole.deliveries.len()).min(COMMAND_PAGE_MAX);
        let mut page = daemon.get::<DeliveryPage>(&list_path(arguments, wanted, whole.next.as_deref()))?;
        page.deliveries.truncate(wanted);
        let stuck = page.deliveries.is_empty();
        whole.deliveries.append(&mut page.deliveries);
        whole.next = page.next;
        if whole.next.is_none() || stuck || whole.deliveries.len() >= limit {
            break;
        }
    }
    output.show(&whole, render_page)
}

/// `deliveries show`
pub(super) fn show(id: DeliveryId, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let delivery = daemon.get::<DeliveryDetail>(&format!("/v1/deliveries/{id}"))?;
    output.show(&delivery, render_detail)
}

fn list_path(arguments: &DeliveryList, limit: usize, after: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let filters = [
        ("webhook", arguments.webhook.as_ref().map(|webhook| webhook.as_str())),
        ("project", arguments.project.as_ref().map(|project| project.as_str())),
        ("type", arguments.event_type.as_ref().map(|selector| selector.as_str())),
        ("state", arguments.state.as_deref()),
        ("after", after),
    ];
    query.extend_pairs(filters.into_iter().filter_map(|(name, value)| Some((name, value?))));
    query.append_pair("limit", &limit.to_string());
    format!("/v1/deliveries?{}", query.finish())
}

fn render_page(page: &DeliveryPage, screen: &Screen) -> String {
    if page.deliveries.is_empty() {
        return "no such deliveries\n".into();
    }
    let rows = page.deliveries.iter().map(|delivery| {
        vec![
            uncoloured(delivery.id.to_string()),
            uncoloured(delivery.event_type.as_str()),
            uncoloured(delivery.project.to_string()),
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

fn state(delivery: &DeliverySummary) -> Toned {
    let tone = match delivery.state {
        DeliveryState::Delivered => Tone::Good,
        DeliveryState::Pending => Tone::Waiting,
        DeliveryState::Dropped => Tone::Bad,
        DeliveryState::Cancelled => Tone::Plain,
    };
    (tone, delivery.state.to_string())
}

/// When it ended, or what is to happen next.
fn when(delivery: &DeliverySummary, screen: &Screen) -> Option<String> {
    match (delivery.in_flight, delivery.finished, delivery.due) {
        (true, _, _) => Some("in flight".into()),
        (_, Some(finished), _) => Some(relative(finished, screen.now)),
        (_, _, Some(due)) if due <= screen.now => Some("due now".into()),
        (_, _, Some(due)) => Some(format!("due {}", relative(due, screen.now))),
        (_, None, None) => None,
    }
}

fn render_detail(delivery: &DeliveryDetail, screen: &Screen) -> String {
    let summary = &delivery.summary;
    let attempts = counted(u64::from(summary.attempts), "attempt", "attempts");
    let (tone, state) = state(summary);
    let mut facts = vec![
        ("state", (tone, format!("{state}, {attempts}{}", when(summary, screen).map(|when| format!(", {when}")).unwrap_or_default()))),
        ("type", uncoloured(summary.event_type.as_str())),
        ("project", uncoloured(summary.project.to_string())),
        ("webhook", uncoloured(summary.webhook.as_str())),
        ("event", uncoloured(summary.event.as_str())),
        ("accepted", uncoloured(format!("{}, {}", relative(summary.accepted, screen.now), summary.accepted))),
    ];
    if let Some(url) = &delivery.url {
        facts.insert(4, ("url", uncoloured(url.as_str())));
    }
    if let Some(outcome) = summary.last_outcome.as_ref().filter(|_| delivery.timeline.is_empty()) {
        facts.push(("because", uncoloured(outcome.as_str())));
    }
    let timeline = delivery.timeline.iter().map(|attempt| render_attempt(attempt, screen)).collect::<String>();
    format!(
        "{}\n{}{timeline}\n{}\n{}",
        screen.paint(Tone::Label, &summary.id.to_string()),
        screen.facts(facts),
        screen.paint(Tone::Label, &format!("body, {}", counted(delivery.body.len() as u64, "byte", "bytes"))),
        screen.quoted("  ", &shortened(&delivery.body, BODY_SHOWN)),
    )
}

fn render_attempt(attempt: &AttemptView, screen: &Screen) -> String {
    let tone = if attempt.outcome == OutcomeClass::Success { Tone::Good } else { Tone::Bad };
    let round = if attempt.round > 1 { format!(" of round {}", attempt.round) } else { String::new() };
    let total = measured(u64::from(attempt.phases.total_us));
    let headline = format!("attempt {}{round}, {}, took {total}", attempt.number, relative(attempt.finished, screen.now));
    let mut text = format!("\n{}\n  {}\n", screen.paint(Tone::Label, &headline), screen.paint(tone, &attempt.sentence));
    for bar in bars(&attempt.phases) {
        text.push_str(&format!("  {:<10}  {:<40}  {}\n", bar.name, bar.drawn(), measured(bar.length_us)));
    }
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

/// One phase, as a piece of the attempt's whole length.
#[derive(Debug, PartialEq, Eq)]
struct Bar {
    name: &'static str,
    from_us: u64,
    length_us: u64,
    total_us: u64,
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

/// The phases one behind the other, and what was left of the attempt behind them: the rest of the response, or waiting in vain.
fn bars(phases: &PhaseTimes) -> Vec<Bar> {
    let measured = [("dns", phases.dns_us), ("connect", phases.connect_us), ("tls", phases.tls_us), ("first byte", phases.first_byte_us)];
    let measured = measured.into_iter().filter_map(|(name, length)| Some((name, u64::from(length?)))).collect::<Vec<_>>();
    let total_us = u64::from(phases.total_us).max(measured.iter().map(|(_, length)| length).sum());
    let mut bars = Vec::new();
    let mut from_us = 0;
    for (name, length_us) in measured {
        bars.push(Bar { name, from_us, length_us, total_us });
        from_us += length_us;
    }
    let rest_us = total_us - from_us;
    if rest_us > 0 && rest_us >= total_us / 100 {
        let name = if phases.first_byte_us.is_some() { "the rest" } else { "no answer" };
        bars.push(Bar { name, from_us, length_us: rest_us, total_us });
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
            "round": 1, "number": 1, "due": "2026-11-23T09:58:00Z", "finished": "2026-11-23T09:58:04Z", "outcome": "status", "status": 500,
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
        let page = DeliveryPage { deliveries, next: Some("c:42".into()) };
        insta::assert_snapshot!(render_page(&page, &PIPE), @"
        DELIVERY                  TYPE                  PROJECT           WEBHOOK  STATE    ATTEMPTS  WHEN         LAST OUTCOME
        dlv_aaaaaaaaaaaasaaaaaaa  email.status.bounced  shop.example.com  crm      pending  1         due in 96 s  500 Internal Server Error
        dlv_aaaaaaaaaaaasaaaaaaa  email.status.bounced  shop.example.com  crm      pending  0         in flight
        dlv_aaaaaaaaaaaasaaaaaaa  email.status.bounced  shop.example.com  crm      dropped  16        60 min ago   500 Internal Server Error

        there are more: go on with --after c:42
        ");
        assert_eq!(render_page(&DeliveryPage { deliveries: Vec::new(), next: None }, &PIPE), "no such deliveries\n");
    }

    #[test]
    fn a_timeline_shows_where_the_time_went_and_what_follows() {
        let body = "{\"type\":\"email.status.bounced\",\"data\":{}}".into();
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

        attempt 1, 116 s ago, took 217 ms
          the receiver answered 500 Internal Server Error
          dns         ━                                         1.20 ms
          connect     ━━━                                       20.0 ms
          tls            ━━━━━━━━                               40.0 ms
          first byte             ━━━━━━━━━━━━━━━━━━━━━━━━       130 ms
          the rest                                       ━━━━━  25.8 ms
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
        let drawn = bars(&waiting);
        assert_eq!(drawn.iter().map(|bar| bar.name).collect::<Vec<_>>(), ["dns", "connect", "no answer"]);
        assert_eq!(drawn[1].drawn(), "━");
        assert_eq!(drawn[2].drawn(), "━".repeat(40));
        let over = PhaseTimes { dns_us: Some(u32::MAX), first_byte_us: Some(u32::MAX), total_us: 1, ..PhaseTimes::default() };
        assert!(bars(&over).iter().all(|bar| bar.drawn().chars().count() <= 40));
        assert!(bars(&PhaseTimes::default()).is_empty());
    }

    #[test]
    fn filters_become_a_query() {
        let line = "hookwheel deliveries list --webhook crm --project müller.example --type *.status.* --state dropped";
        let Command::Deliveries(Deliveries::List(list)) = Arguments::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("another command")
        };
        insta::assert_snapshot!(list_path(&list, 50, Some("a&b")), @"/v1/deliveries?webhook=crm&project=xn--mller-kva.example&type=*.status.*&state=dropped&after=a%26b&limit=50");
    }
}
