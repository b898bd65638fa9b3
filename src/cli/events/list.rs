//! `events list` and `events show`: what was accepted, and where its deliveries stand. They never change anything.

use clap::Args;
use url::form_urlencoded;

use super::super::Output;
use super::super::client::Client;
use super::super::deliveries::{remark_on_unindexed, tone_of};
use super::super::failure::Failure;
use super::super::screen::{Screen, Tone, uncoloured};
use super::super::text::{counted, relative};
use crate::limits::COMMAND_PAGE_MAX;
use crate::model::report::{DeliveryCounts, EventDetail, EventPage};
use crate::model::sandbox::KeptBody;
use crate::model::{EventId, Project, Selector};

/// What a list of events is narrowed to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel events list --project shop.example.com
  hookwheel events list --type 'email.*' --limit 1000 --json")]
pub(in super::super) struct List {
    /// Of this project
    #[arg(long, short, value_name = "DOMAIN", value_parser = Project::parse)]
    project: Option<Project>,
    /// Of these types: an exact one, email.*, *.status.delivered
    #[arg(long = "type", value_name = "TYPE", value_parser = Selector::parse)]
    event_type: Option<Selector>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Go on behind the page that named this
    #[arg(long, value_name = "CURSOR")]
    after: Option<u64>,
}

/// An event, named.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hookwheel events show order-17-bounce --project shop.example.com")]
pub(in super::super) struct Show {
    /// The event's id, as `hookwheel events list` shows it
    #[arg(value_name = "ID", value_parser = EventId::parse)]
    id: EventId,
    /// The event's project, a domain
    #[arg(long, short, value_name = "DOMAIN", value_parser = Project::parse)]
    project: Project,
}

/// `events list`: as many pages as the limit asks for.
pub(in super::super) fn list(arguments: &List, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut whole = EventPage { next: arguments.after, ..EventPage::default() };
    loop {
        let wanted = (limit - whole.events.len()).min(COMMAND_PAGE_MAX);
        let mut page = daemon.get::<EventPage>(&list_path(arguments, wanted, whole.next))?;
        page.events.truncate(wanted);
        whole.events.append(&mut page.events);
        (whole.next, whole.unindexed_segments) = (page.next, whole.unindexed_segments.max(page.unindexed_segments));
        if whole.next.is_none() || whole.events.len() >= limit {
            break;
        }
    }
    output.show(&whole, render_page)?;
    remark_on_unindexed(whole.unindexed_segments, output);
    Ok(())
}

/// `events show`
pub(in super::super) fn show(arguments: &Show, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let event = daemon.get::<EventDetail>(&format!("/v1/events/{}/{}", arguments.project.as_str(), arguments.id))?;
    output.show(&event, render_detail)
}

fn list_path(arguments: &List, limit: usize, after: Option<u64>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let after = after.map(|after| after.to_string());
    let filters = [
        ("project", arguments.project.as_ref().map(|project| project.as_str())),
        ("type", arguments.event_type.as_ref().map(|selector| selector.as_str())),
        ("after", after.as_deref()),
    ];
    query.extend_pairs(filters.into_iter().filter_map(|(name, value)| Some((name, value?))));
    query.append_pair("limit", &limit.to_string());
    format!("/v1/events?{}", query.finish())
}

fn render_page(page: &EventPage, screen: &Screen) -> String {
    if page.events.is_empty() {
        return "no such events\n".into();
    }
    let rows = page.events.iter().map(|event| {
        vec![
            uncoloured(event.id.as_ref().map_or("(no longer kept)", EventId::as_str)),
            uncoloured(event.event_type.as_str()),
            uncoloured(event.project.to_string()),
            uncoloured(relative(event.accepted, screen.now)),
            (tone_of_all(&event.deliveries), in_words(&event.deliveries)),
        ]
    });
    let table = screen.table(&["EVENT", "TYPE", "PROJECT", "ACCEPTED", "DELIVERIES"], rows.collect(), &[0]);
    match &page.next {
        Some(next) => format!("{table}\nthere are more: go on with --after {next}\n"),
        None => table,
    }
}

/// `2 delivered, 1 pending`; `none`, where no webhook wanted the event.
fn in_words(counts: &DeliveryCounts) -> String {
    let DeliveryCounts { pending, delivered, dropped, cancelled } = *counts;
    let counts = [(delivered, "delivered"), (pending, "pending"), (dropped, "dropped"), (cancelled, "cancelled")];
    let words = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>();
    if words.is_empty() { "none".into() } else { words.join(", ") }
}

const fn tone_of_all(counts: &DeliveryCounts) -> Tone {
    match *counts {
        DeliveryCounts { dropped: 1.., .. } => Tone::Bad,
        DeliveryCounts { pending: 1.., .. } => Tone::Waiting,
        DeliveryCounts { delivered: 1.., .. } => Tone::Good,
        _ => Tone::Plain,
    }
}

fn render_detail(event: &EventDetail, screen: &Screen) -> String {
    let facts = vec![
        ("type", uncoloured(event.event_type.as_str())),
        ("project", uncoloured(event.project.to_string())),
        ("accepted", uncoloured(format!("{}, {}", relative(event.accepted, screen.now), event.accepted))),
    ];
    let rows = event.deliveries.iter().map(|delivery| {
        vec![
            uncoloured(delivery.id.to_string()),
            uncoloured(delivery.webhook.as_str()),
            (tone_of(delivery.state), delivery.state.to_string()),
        ]
    });
    let deliveries = if event.deliveries.is_empty() {
        "no webhook wanted it; `hookwheel events explain` says why\n".to_owned()
    } else {
        screen.table(&["DELIVERY", "WEBHOOK", "STATE"], rows.collect(), &[0])
    };
    let size = counted(event.body.len() as u64, "byte", "bytes");
    format!(
        "{}\n{}\n{deliveries}\n{}\n{}",
        screen.paint(Tone::Label, event.id.as_str()),
        screen.facts(facts),
        screen.paint(Tone::Label, &format!("body, {size}")),
        screen.quoted("  ", &KeptBody::Text(event.body.clone()).pretty()),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::super::super::arguments::{Arguments, Command, Events};
    use super::super::super::screen::PIPE;
    use super::*;

    #[test]
    fn a_page_says_where_the_deliveries_of_each_event_stand() {
        let page = serde_json::from_value::<EventPage>(json!({ "next": 41, "events": [
            { "id": "order-17", "type": "email.status.bounced", "project": "shop.example.com", "accepted": "2026-11-23T09:58:00Z",
              "deliveries": { "pending": 1, "delivered": 2, "dropped": 0, "cancelled": 0 } },
            { "id": null, "type": "sms.status.delivered", "project": "shop.example.com", "accepted": "2026-11-23T09:00:00Z",
              "deliveries": { "pending": 0, "delivered": 0, "dropped": 0, "cancelled": 0 } },
        ] }));
        insta::assert_snapshot!(render_page(&page.unwrap(), &PIPE), @"
        EVENT             TYPE                  PROJECT           ACCEPTED    DELIVERIES
        order-17          email.status.bounced  shop.example.com  2 min ago   2 delivered, 1 pending
        (no longer kept)  sms.status.delivered  shop.example.com  60 min ago  none

        there are more: go on with --after 41
        ");
        assert_eq!(render_page(&EventPage::default(), &PIPE), "no such events\n");
    }

    #[test]
    fn an_event_is_shown_with_its_body_and_deliveries() {
        let mut event = serde_json::from_value::<EventDetail>(json!({
            "id": "order-17", "type": "email.status.bounced", "project": "shop.example.com", "accepted": "2026-11-23T09:58:00Z",
            "body": "{\"data\":{\"n\":1.50,\"t\":\"\u{9b}2J\"}}", "deliveries": [{ "id": "dlv_aaaaaaaaaaaasaaaaaaa", "webhook": "crm", "state": "delivered" }]
        }))
        .unwrap();
        insta::assert_snapshot!(render_detail(&event, &PIPE), @r#"
        order-17
          type      email.status.bounced
          project   shop.example.com
          accepted  2 min ago, 2026-11-23T09:58:00.000Z

        DELIVERY                  WEBHOOK  STATE
        dlv_aaaaaaaaaaaasaaaaaaa  crm      delivered

        body, 30 bytes
          {
            "data": {
              "n": 1.50,
              "t": "<U+009B>2J"
            }
          }
        "#);
        event.deliveries.clear();
        assert!(render_detail(&event, &PIPE).contains("no webhook wanted it"));
    }

    #[test]
    fn filters_become_a_query() {
        let line = "hookwheel events list --project müller.example --type sms.* --after 7";
        let Command::Events(Events::List(list)) = Arguments::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("another command")
        };
        assert_eq!(list_path(&list, 50, list.after), "/v1/events?project=xn--mller-kva.example&type=sms.*&after=7&limit=50");
    }
}
