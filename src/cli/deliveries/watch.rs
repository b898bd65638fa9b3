//! `deliveries watch`: each delivery as it ends, and each attempt that fails, as they happen. It never changes anything, and keeps nothing.

use std::time::Duration;

use clap::Args;
use hyper::Method;

use super::super::Output;
use super::super::client::{Client, NoAnswer};
use super::super::failure::Failure;
use super::super::screen::Screen;
use super::super::text::{counted, json_line, plain, relative};
use super::filters::{Whose, states};
use super::{GONE, tone_of};
use crate::limits::FOLLOW_WAIT_MAX_MS;
use crate::model::report::{DeliveryNews, DeliveryNewsPage};
use crate::model::{DeliveryState, EventTypeName};

/// What is watched, and for how long.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel deliveries watch
  hookwheel deliveries watch --webhook crm --state dropped
  hookwheel deliveries watch --json --count 1        wait for one and end

A line for each delivery that ends and each attempt that fails; an attempt that fails leaves its delivery pending.")]
pub(in super::super) struct Watch {
    #[command(flatten)]
    whose: Whose,
    /// That come into this state
    #[arg(long, value_parser = states())]
    state: Option<DeliveryState>,
    /// Begin where an earlier one ended: the "next" that the admin API gave
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Follows until Ctrl-C, over restarts of the daemon.
pub(in super::super) fn watch(watch: &Watch, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut page = match &watch.after {
        Some(after) => DeliveryNewsPage { next: after.clone(), ..DeliveryNewsPage::default() },
        None => daemon.get::<DeliveryNewsPage>("/v1/deliveries/watch")?,
    };
    if !output.json {
        output.remark("watching; Ctrl-C ends");
    }
    let mut left = watch.count.unwrap_or(u64::MAX);
    let mut is_gone = false;
    loop {
        if page.missed > 0 {
            let facts = counted(page.missed, "fact of the journal is", "facts of the journal are");
            output.remark(&format!("{facts} gone and were not looked at: this watch came too late for them"));
        }
        for news in &page.news {
            output.screen.now = crate::time::wall_now();
            let text = if output.json { format!("{}\n", json_line(news)?) } else { render_news(news, &output.screen) };
            output.print(&text)?;
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
        match daemon.call(Method::GET, &path(watch, &page.next), None) {
            Ok(answer) if answer.status.as_u16() != 503 => {
                page = answer.read()?;
                is_gone = false;
            }
            // What happens meanwhile is in the journal, so nothing is missed by asking again.
            other => {
                if !is_gone {
                    let why = match other {
                        Ok(answer) => answer.complaint(),
                        Err(NoAnswer::NotSent(why) | NoAnswer::Unclear(why)) => why,
                    };
                    output.remark(&format!("the daemon does not answer ({why}); waiting for it"));
                }
                (is_gone, page.news, page.missed) = (true, Vec::new(), 0);
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

fn path(watch: &Watch, after: &str) -> String {
    let wait_ms = FOLLOW_WAIT_MAX_MS.to_string();
    format!("/v1/deliveries/watch?{}", watch.whose.query(watch.state, &[("after", Some(after)), ("wait_ms", Some(&wait_ms))]))
}

/// One line: time, delivery, type, webhook, state, and what happened.
fn render_news(news: &DeliveryNews, screen: &Screen) -> String {
    let event_type = news.event_type.as_ref().map_or(GONE, EventTypeName::as_str);
    let attempt = news.attempt.map(|attempt| format!("attempt {attempt}: ")).unwrap_or_default();
    let then = match (news.state, news.due) {
        (DeliveryState::Pending, Some(due)) => format!(", tried again {}", relative(due, screen.now)),
        _ => String::new(),
    };
    let state = screen.paint(tone_of(news.state), &format!("{:<9}", news.state.to_string()));
    format!(
        "{}  {}  {}  {}  {state}  {attempt}{}{then}\n",
        news.at,
        news.id,
        plain(event_type),
        plain(&news.webhook),
        plain(&news.sentence)
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::super::super::arguments::{Arguments, Command, Deliveries};
    use super::super::super::screen::PIPE;
    use super::*;

    #[test]
    fn news_is_a_line_that_a_terminal_does_not_obey() {
        let mut news = serde_json::from_value::<DeliveryNews>(json!({
            "at": "2026-11-23T09:59:00Z", "id": "dlv_aaaaaaaaaaaasaaaaaaa", "event": "a", "type": "email.status.bounced", "project": "shop.example.com",
            "webhook": "crm", "state": "pending", "attempt": 1, "outcome": "status", "sentence": "the receiver answered 500\u{1b}[2J", "due": "2026-11-23T10:01:40Z"
        }))
        .unwrap();
        insta::assert_snapshot!(render_news(&news, &PIPE), @"2026-11-23T09:59:00.000Z  dlv_aaaaaaaaaaaasaaaaaaa  email.status.bounced  crm  pending    attempt 1: the receiver answered 500␛[2J, tried again in 100 s");
        (news.event_type, news.state, news.due, news.attempt) = (None, DeliveryState::Cancelled, None, None);
        news.sentence = "cancelled by uid 0".into();
        insta::assert_snapshot!(render_news(&news, &PIPE), @"2026-11-23T09:59:00.000Z  dlv_aaaaaaaaaaaasaaaaaaa  (no longer kept)  crm  cancelled  cancelled by uid 0");
    }

    #[test]
    fn filters_and_the_place_become_a_query() {
        let line = "hookwheel deliveries watch --webhook crm --type email.* --state dropped";
        let Command::Deliveries(Deliveries::Watch(watch)) = Arguments::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("another command")
        };
        assert_eq!(path(&watch, "9-2-8192"), "/v1/deliveries/watch?webhook=crm&type=email.*&state=dropped&after=9-2-8192&wait_ms=30000");
    }
}
