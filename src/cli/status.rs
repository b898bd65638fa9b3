//! `status` and `reload`: the daemon as a whole. They never speak of a single delivery.

use indicatif::HumanBytes;

use super::Output;
use super::client::Client;
use super::failure::Failure;
use super::screen::{Screen, Tone, Toned, uncoloured};
use super::text::{counted, relative, span};
use super::webhooks;
use crate::model::report::{ReloadReport, Status};

/// `status`
pub(super) fn status(daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    output.show(&daemon.get::<Status>("/v1/status")?, render_status)
}

/// `reload`
pub(super) fn reload(dry_run: bool, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let report = daemon.post::<ReloadReport>(&format!("/v1/reload?dry_run={dry_run}"), None)?;
    if report.errors.is_empty() {
        return output.show(&report, render_reload);
    }
    if output.json {
        output.show(&report, render_reload)?;
    }
    let count = counted(report.errors.len() as u64, "mistake", "mistakes");
    let end = format!("{count}; nothing was changed, the daemon goes on with the configuration it has");
    Err(Failure::Configuration([report.errors, vec![end]].concat()))
}

fn render_status(status: &Status, screen: &Screen) -> String {
    let uptime = span(screen.now.since_ms(status.started));
    let headline = format!("hookwheel {}, process {}, up {uptime}", status.version, status.pid);
    let headline = if status.draining {
        screen.paint(Tone::Waiting, &format!("{headline}, ending: no new events, attempts in flight are waited for"))
    } else {
        screen.paint(Tone::Good, &headline)
    };
    let facts = vec![
        ("configuration", configuration(status, screen)),
        ("store", store(status)),
        ("queue", queue(status, screen)),
        ("since start", totals(status)),
    ];
    let mut text = format!("{headline}\n{}", screen.facts(facts));
    if let Some(pause) = &status.paused {
        let sentence = format!("! nothing is sent to anybody: {pause} ({})", relative(pause.since, screen.now));
        text.push_str(&format!("\n{}\n  `hookwheel resume` goes on\n", screen.paint(Tone::Waiting, &sentence)));
    }
    let disk = disk_trouble(status, screen);
    for warning in disk.iter().chain(&status.configuration.last_error).chain(&status.store.warnings) {
        text.push_str(&format!("\n{}\n", screen.paint(Tone::Bad, &format!("! {warning}"))));
    }
    if status.webhooks.is_empty() {
        return text;
    }
    let rows = status.webhooks.iter().map(|webhook| {
        vec![
            uncoloured(webhook.id.as_str()),
            uncoloured(webhook.pending.to_string()),
            uncoloured(format!("{}/{}", webhook.in_flight, webhook.window)),
            uncoloured(webhook.delivered.to_string()),
            uncoloured(webhook.failed_attempts.to_string()),
            uncoloured(webhook.dropped.to_string()),
            webhooks::state(webhook),
        ]
    });
    let header = ["WEBHOOK", "PENDING", "IN FLIGHT", "DELIVERED", "FAILED", "DROPPED", "STATE"];
    format!("{text}\n{}", screen.table(&header, rows.collect(), &[0, 1, 2, 3, 4, 5]))
}

fn configuration(status: &Status, screen: &Screen) -> Toned {
    let configuration = &status.configuration;
    let read = relative(configuration.loaded, screen.now);
    if configuration.last_reload_successful {
        return uncoloured(format!("{}, read {read}", configuration.path));
    }
    (Tone::Bad, format!("{}, as read {read}; the last reload failed", configuration.path))
}

fn store(status: &Status) -> Toned {
    let store = &status.store;
    let segments = counted(store.segments, "segment", "segments");
    let lag = if store.view_lag == 0 { String::new() } else { format!(", {} not in the view yet", store.view_lag) };
    uncoloured(format!(
        "{}: {}, {segments}, {}{lag}",
        store.data_dir,
        HumanBytes(store.size_bytes),
        counted(store.last_sequence, "fact", "facts")
    ))
}

/// A disk that is full, and since when.
fn disk_trouble(status: &Status, screen: &Screen) -> Option<String> {
    let disk = &status.store.disk;
    let since = disk.full_since.or(disk.view_waits_since)?;
    disk.trouble(&status.store.data_dir).map(|trouble| format!("since {}: {trouble}", relative(since, screen.now)))
}

fn queue(status: &Status, screen: &Screen) -> Toned {
    let mut text = format!("{} pending, {} in flight", status.pending, status.in_flight);
    if let Some(next_due) = status.next_due {
        text.push_str(&format!(", next due {}", relative(next_due, screen.now)));
    }
    if status.oldest_due_age_ms < 1000 {
        return uncoloured(text);
    }
    (Tone::Waiting, format!("{text}, the oldest due for {}", span(status.oldest_due_age_ms)))
}

fn totals(status: &Status) -> Toned {
    let counters = &status.counters;
    let events = counted(counters.accepted, "event", "events");
    let deliveries = counted(counters.deliveries, "delivery", "deliveries");
    let attempts = counted(counters.attempts, "attempt", "attempts");
    uncoloured(format!(
        "{events} accepted ({} repeated), {deliveries}: {} delivered, {} dropped, {} cancelled; {attempts}",
        counters.duplicates, counters.delivered, counters.dropped, counters.cancelled
    ))
}

fn render_reload(report: &ReloadReport, screen: &Screen) -> String {
    let headline = match (report.changes.len(), report.dry_run) {
        (0, _) => "the configuration is good, and nothing in it has changed".to_owned(),
        (_, true) => "the configuration is good; a reload would do this:".to_owned(),
        (_, false) => "the configuration was read again:".to_owned(),
    };
    let changes = report.changes.iter().map(|change| format!("  {}\n", screen.paint(Tone::Plain, change))).collect::<String>();
    format!("{}\n{changes}", screen.paint(Tone::Good, &headline))
}

#[cfg(test)]
mod tests {
    use super::super::screen::PIPE;
    use super::*;
    use crate::model::report::{ConfigurationStatus, Counters, DiskStatus, StoreStatus};
    use crate::time::UnixMillis;

    fn ago(seconds: u64) -> UnixMillis {
        UnixMillis(PIPE.now.0 - seconds * 1000)
    }

    fn healthy() -> Status {
        let webhook = serde_json::json!({
            "id": "crm", "title": "CRM", "project": "shop.example.com", "url": "https://crm.example.com/", "events": ["*"],
            "origin": "file", "place": null, "pauses": [], "pending": 12, "in_flight": 3, "window": 10, "delivered": 120,
            "failed_attempts": 4, "dropped": 0, "trouble": "its receiver answered 500\u{1b}[2J"
        });
        let counters = Counters { accepted: 70, duplicates: 1, deliveries: 135, attempts: 124, delivered: 120, dropped: 0, cancelled: 3 };
        Status {
            version: "0.1.0".into(),
            pid: 4242,
            started: ago(11_520),
            counters,
            pending: 12,
            in_flight: 3,
            next_due: Some(PIPE.now.plus_ms(96_000)),
            store: StoreStatus {
                data_dir: "/var/lib/hookwheel".into(),
                last_sequence: 260,
                segments: 1,
                size_bytes: 67_108_864,
                ..StoreStatus::default()
            },
            configuration: ConfigurationStatus {
                path: "webhooks.toml".into(),
                loaded: ago(300),
                last_reload_successful: true,
                last_error: None,
            },
            webhooks: vec![serde_json::from_value(webhook).unwrap()],
            ..Status::default()
        }
    }

    #[test]
    fn a_healthy_daemon_fits_on_one_screen() {
        insta::assert_snapshot!(render_status(&healthy(), &PIPE), @"
        hookwheel 0.1.0, process 4242, up 3 h
          configuration  webhooks.toml, read 5 min ago
          store          /var/lib/hookwheel: 64.00 MiB, 1 segment, 260 facts
          queue          12 pending, 3 in flight, next due in 96 s
          since start    70 events accepted (1 repeated), 135 deliveries: 120 delivered, 0 dropped, 3 cancelled; 124 attempts

        WEBHOOK  PENDING  IN FLIGHT  DELIVERED  FAILED  DROPPED  STATE
        crm      12       3/10       120        4       0        failing: its receiver answered 500␛[2J
        ");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut status = healthy();
        status.draining = true;
        status.oldest_due_age_ms = 4000;
        status.store.warnings = vec!["facts 12 to 14 are missing from the journal".into()];
        status.configuration.last_reload_successful = false;
        status.configuration.last_error = Some("webhooks.toml:3:1: unknown key `tittle`".into());
        status.webhooks.clear();
        let (full_since, free_bytes) = (Some(ago(240)), Some(9 << 20));
        status.store.disk = DiskStatus { free_bytes, needed_bytes: 208 << 20, full_since, ..DiskStatus::default() };
        insta::assert_snapshot!(render_status(&status, &PIPE), @"
        hookwheel 0.1.0, process 4242, up 3 h, ending: no new events, attempts in flight are waited for
          configuration  webhooks.toml, as read 5 min ago; the last reload failed
          store          /var/lib/hookwheel: 64.00 MiB, 1 segment, 260 facts
          queue          12 pending, 3 in flight, next due in 96 s, the oldest due for 4 s
          since start    70 events accepted (1 repeated), 135 deliveries: 120 delivered, 0 dropped, 3 cancelled; 124 attempts

        ! since 4 min ago: the disk of /var/lib/hookwheel is full (9 MiB free, 208 MiB needed): events are refused, what was accepted is delivered; free some space, and it goes on by itself

        ! webhooks.toml:3:1: unknown key `tittle`

        ! facts 12 to 14 are missing from the journal
        ");
    }

    #[test]
    fn a_reload_tells_each_change() {
        let report = ReloadReport {
            dry_run: true,
            changes: vec!["webhook crm: url changed; 12 pending deliveries go there".into()],
            errors: Vec::new(),
        };
        insta::assert_snapshot!(render_reload(&report, &PIPE), @"
        the configuration is good; a reload would do this:
          webhook crm: url changed; 12 pending deliveries go there
        ");
        assert!(render_reload(&ReloadReport::default(), &PIPE).contains("nothing in it has changed"));
    }
}
