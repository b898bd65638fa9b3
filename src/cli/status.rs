//! `status` and `reload`: the daemon as a whole. They never speak of a single delivery.

use indicatif::HumanBytes;

use super::Output;
use super::client::Client;
use super::failure::Failure;
use super::screen::{Screen, Tone, Toned, uncoloured};
use super::text::{counted, relative, shortened, span};
use crate::model::report::{Census, Counters, LastReload, ReloadReport, Status, WebhookActivity, WebhookSummary};
use crate::model::{Pause, PauseReason};
use crate::time::UnixMillis;

/// Lines of a screen that does not say how many it has.
const LINES_DEFAULT: u16 = 24;
/// Webhooks that a large screen can hold.
const WEBHOOKS_SHOWN_MAX: usize = 100;
/// Columns for an id.
const ID_COLUMNS_MAX: usize = 28;

/// `status`
pub(super) fn status(daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    // For scripts all webhooks, for people as many as a screen can hold.
    let path = if output.json { "/v1/status".to_owned() } else { format!("/v1/status?webhooks={WEBHOOKS_SHOWN_MAX}") };
    output.show(&daemon.get::<Status>(&path)?, render_status)
}

/// `reload`
pub(super) fn reload(dry_run: bool, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let report = daemon.post::<ReloadReport>(&format!("/v1/reload?dry_run={dry_run}"), None)?;
    report.warnings.iter().for_each(|warning| output.remark(&format!("warning: {warning}")));
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
    let mut text = format!("{headline}\n{}{}", screen.facts(facts(status, screen)), warnings(status, screen));
    let advice = advice(status).iter().map(|line| screen.clipped(Tone::Label, line)).collect::<String>();
    let height = usize::from(screen.height.unwrap_or(LINES_DEFAULT));
    let lines_of = |text: &str| text.lines().count();
    let mut shown = status.webhooks.len();
    loop {
        let webhooks = webhooks(status, shown, screen);
        // The prompt that follows takes a line, too.
        if shown == 0 || lines_of(&text) + lines_of(&webhooks) + lines_of(&advice) < height {
            text.extend([webhooks, advice]);
            return text;
        }
        shown -= 1;
    }
}

fn facts(status: &Status, screen: &Screen) -> Vec<(&'static str, Toned)> {
    let Counters { accepted, duplicates, deliveries, attempts, delivered, dropped, cancelled } = status.counters;
    let repeated = if duplicates == 0 { String::new() } else { format!(" ({duplicates} repeated)") };
    let deliveries = counted(deliveries, "delivery", "deliveries");
    let mut facts = vec![
        ("accepted", uncoloured(format!("{}{repeated} since the start, {deliveries}", counted(accepted, "event", "events")))),
        (
            "ended",
            uncoloured(format!(
                "{delivered} delivered, {dropped} dropped, {cancelled} cancelled; {}",
                counted(attempts, "attempt", "attempts")
            )),
        ),
        ("pending", pending(status, screen)),
    ];
    facts.extend(troubled(&status.census).map(|toned| ("failing", toned)));
    facts.push(("disk", disk(status)));
    facts.extend(status.resident_bytes.map(|bytes| ("memory", uncoloured(HumanBytes(bytes).to_string()))));
    facts.push(("configuration", configuration(status, screen)));
    facts
}

fn pending(status: &Status, screen: &Screen) -> Toned {
    let mut text = format!("{}, {} in flight", status.pending, status.in_flight);
    if let Some(next_due) = status.next_due {
        text.push_str(&format!(", next due {}", relative(next_due, screen.now)));
    }
    if status.oldest_due_age_ms < 1000 {
        return uncoloured(text);
    }
    (Tone::Waiting, format!("{text}, the oldest due for {}", span(status.oldest_due_age_ms)))
}

/// How many webhooks fail or are paused, and what waits for them.
fn troubled(census: &Census) -> Option<Toned> {
    let Census { webhooks_total, webhooks_failing, webhooks_paused, pending_failing, pending_paused } = *census;
    let wait = |pending: u64| format!("{pending} pending");
    let failing = (webhooks_failing > 0)
        .then(|| format!("{webhooks_failing} of {} ({})", counted(webhooks_total, "webhook", "webhooks"), wait(pending_failing)));
    let paused = (webhooks_paused > 0).then(|| format!("{webhooks_paused} paused ({})", wait(pending_paused)));
    let tone = if webhooks_failing > 0 { Tone::Bad } else { Tone::Waiting };
    match (failing, paused) {
        (None, None) => None,
        (Some(one), Some(other)) => Some((tone, format!("{one}; {other}"))),
        (Some(one), None) => Some((tone, one)),
        (None, Some(other)) => Some((tone, format!("none; {other}"))),
    }
}

fn disk(status: &Status) -> Toned {
    let store = &status.store;
    let lag =
        if store.view_lag == 0 { String::new() } else { format!(", {} not in the view yet", counted(store.view_lag, "fact", "facts")) };
    let free = store.disk.free_bytes.map(|free| format!(", {} free", HumanBytes(free))).unwrap_or_default();
    uncoloured(format!(
        "{}: {} in {}{lag}{free}",
        store.data_dir,
        HumanBytes(store.size_bytes),
        counted(store.segments, "segment", "segments")
    ))
}

fn configuration(status: &Status, screen: &Screen) -> Toned {
    let configuration = &status.configuration;
    let read = relative(configuration.loaded, screen.now);
    let reload = match &configuration.last_reload {
        None => "not reloaded since the start".to_owned(),
        Some(LastReload { at, by, changes: None }) => format!("a reload {} by {by} failed", relative(*at, screen.now)),
        Some(LastReload { by, changes: Some(changes), .. }) => format!("reloaded by {by}, {}", counted(*changes, "change", "changes")),
    };
    let tone = if configuration.last_reload_successful { Tone::Plain } else { Tone::Bad };
    (tone, format!("{}, read {read}; {reload}", configuration.path))
}

/// What is wrong with the whole, loudly, each with what to do.
fn warnings(status: &Status, screen: &Screen) -> String {
    let mut text = String::new();
    if let Some(pause) = &status.paused {
        let sentence = format!("nothing is sent to anybody: {pause} ({}); `hookwheel resume` goes on", relative(pause.since, screen.now));
        text.push_str(&screen.warning(Tone::Waiting, &sentence));
    }
    let disk = disk_trouble(status, screen);
    let mistakes =
        status.configuration.last_error.as_ref().map(|error| format!("{error}; `hookwheel check` says so, too, and needs no daemon"));
    for warning in disk.iter().chain(&mistakes).chain(&status.store.warnings) {
        text.push_str(&screen.warning(Tone::Bad, warning));
    }
    text
}

/// A disk that is full, and since when.
fn disk_trouble(status: &Status, screen: &Screen) -> Option<String> {
    let disk = &status.store.disk;
    let since = disk.full_since.or(disk.view_waits_since)?;
    disk.trouble(&status.store.data_dir).map(|trouble| format!("since {}: {trouble}", relative(since, screen.now)))
}

/// The first webhooks, one a line, and under one that is not well the reason.
fn webhooks(status: &Status, shown: usize, screen: &Screen) -> String {
    let shown = &status.webhooks[..shown];
    let id_columns = shown.iter().map(|webhook| webhook.summary.id.as_str().len()).max().unwrap_or(0).clamp(7, ID_COLUMNS_MAX);
    let mut text = String::new();
    if !shown.is_empty() {
        let heading = format!("{:<id_columns$}  {:>9}  {:>9}  {:>10}  STATE", "WEBHOOK", "PENDING", "DROPPED", "NEXT TRY");
        text.push_str(&format!("\n{}", screen.clipped(Tone::Label, &heading)));
    }
    for webhook in shown {
        let WebhookSummary { id, pending, dropped, .. } = &webhook.summary;
        let (id, next) = (shortened(id.as_str(), id_columns), next_attempt(webhook, screen.now));
        let (tone, state, why) = state(&webhook.summary, screen.now);
        text.push_str(&screen.clipped(tone, &format!("{id:<id_columns$}  {pending:>9}  {dropped:>9}  {next:>10}  {state}")));
        text.extend(why.map(|why| screen.clipped(Tone::Plain, &format!("    {why}"))));
    }
    let left = status.census.webhooks_total.saturating_sub(shown.len() as u64);
    if left > 0 {
        let left = format!("{left} more: `hookwheel top` looks through them, `hookwheel webhooks list` lists all");
        text.push_str(&screen.clipped(Tone::Label, &left));
    }
    text
}

/// When a webhook's next attempt starts, in a few letters.
pub(super) fn next_attempt(webhook: &WebhookActivity, now: UnixMillis) -> String {
    match webhook.next_attempt {
        Some(at) if webhook.next_attempt_is_about => format!("~{}", relative(at, now)),
        Some(at) => relative(at, now),
        None if webhook.summary.pending > u64::from(webhook.summary.in_flight) && webhook.summary.pauses.is_empty() => "later".into(),
        None => "-".into(),
    }
}

/// How a webhook is, for how long, and why.
fn state(webhook: &WebhookSummary, now: UnixMillis) -> (Tone, String, Option<String>) {
    if let Some(pause) = webhook.pauses.first() {
        return (Tone::Waiting, format!("paused for {}", span(now.since_ms(pause.since))), Some(pause.to_string()));
    }
    match (&webhook.trouble, webhook.trouble_since) {
        (Some(why), Some(since)) => (Tone::Bad, format!("failing for {}", span(now.since_ms(since))), Some(why.clone())),
        (Some(why), None) => (Tone::Bad, "failing".into(), Some(why.clone())),
        (None, _) => (Tone::Good, "ok".into(), None),
    }
}

/// What to type next.
fn advice(status: &Status) -> Vec<String> {
    let all = || status.webhooks.iter().map(|webhook| &webhook.summary);
    let is_failing = |webhook: &&WebhookSummary| webhook.trouble.is_some() && webhook.pauses.is_empty();
    let failing =
        all().find(is_failing).map(|webhook| format!("`hookwheel deliveries list --webhook {}` says what waits and why", webhook.id));
    let by_hand = |pause: &Pause| matches!(pause.reason, PauseReason::Operator | PauseReason::Gone);
    let paused = all()
        .find(|webhook| webhook.pauses.iter().any(by_hand))
        .map(|webhook| format!("`hookwheel webhooks resume {}` sends again", webhook.id));
    let dropped = all().find(|webhook| webhook.dropped > 0);
    let dropped = dropped.map(|webhook| format!("`hookwheel deliveries retry --webhook {}` tries again what is still dropped", webhook.id));
    let lines = failing.into_iter().chain(paused).chain(dropped).collect::<Vec<_>>();
    if lines.is_empty() { lines } else { [vec![String::new()], lines].concat() }
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

    fn webhook(id: &str, changes: &serde_json::Value) -> WebhookActivity {
        let mut webhook = serde_json::json!({
            "id": id, "title": "CRM", "project": "shop.example.com", "url": "https://crm.example.com/", "events": ["*"],
            "origin": "file", "place": null, "pauses": [], "pending": 0, "in_flight": 0, "window": 10, "delivered": 120,
            "failed_attempts": 4, "dropped": 0, "trouble": null, "trouble_since": null, "next_attempt": null,
            "recent": { "attempts": 4, "failed": 0, "p50_us": 1200, "p99_us": 9000 }
        });
        webhook.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(webhook).unwrap()
    }

    fn healthy() -> Status {
        let counters = Counters { accepted: 70, duplicates: 1, deliveries: 135, attempts: 124, delivered: 120, dropped: 0, cancelled: 3 };
        Status {
            version: "0.1.0".into(),
            pid: 4242,
            started: ago(11_520),
            counters,
            pending: 12,
            in_flight: 3,
            next_due: Some(PIPE.now.plus_ms(96_000)),
            resident_bytes: Some(24 << 20),
            store: StoreStatus {
                data_dir: "/var/lib/hookwheel".into(),
                last_sequence: 260,
                segments: 1,
                size_bytes: 67_108_864,
                disk: DiskStatus { free_bytes: Some(12 << 30), ..DiskStatus::default() },
                ..StoreStatus::default()
            },
            configuration: ConfigurationStatus {
                path: "webhooks.toml".into(),
                loaded: ago(300),
                last_reload_successful: true,
                last_error: None,
                last_reload: Some(LastReload { at: ago(300), by: "alice (uid 1000)".into(), changes: Some(2) }),
            },
            census: Census { webhooks_total: 1, ..Census::default() },
            webhooks: vec![webhook("crm", &serde_json::json!({ "pending": 12, "in_flight": 3, "next_attempt": PIPE.now }))],
            ..Status::default()
        }
    }

    #[test]
    fn a_healthy_daemon_fits_on_one_screen() {
        insta::assert_snapshot!(render_status(&healthy(), &PIPE), @"
        hookwheel 0.1.0, process 4242, up 3 h
          accepted       70 events (1 repeated) since the start, 135 deliveries
          ended          120 delivered, 0 dropped, 3 cancelled; 124 attempts
          pending        12, 3 in flight, next due in 96 s
          disk           /var/lib/hookwheel: 64.00 MiB in 1 segment, 12.00 GiB free
          memory         24.00 MiB
          configuration  webhooks.toml, read 5 min ago; reloaded by alice (uid 1000), 2 changes

        WEBHOOK    PENDING    DROPPED    NEXT TRY  STATE
        crm             12          0         now  ok
        ");
    }

    fn troubled() -> Status {
        let pause = serde_json::json!([{ "reason": "operator", "since": ago(7200), "by": "alice (uid 1000)" }]);
        let failing = serde_json::json!({
            "pending": 1204, "in_flight": 1, "dropped": 12, "trouble": "the receiver answered 500 Internal Server Error\u{1b}[2J, where success is 200",
            "trouble_since": ago(10_800), "next_attempt": PIPE.now.plus_ms(96_000), "next_attempt_is_about": true,
        });
        let paused = serde_json::json!({ "pending": 7, "pauses": pause });
        let mut webhooks = vec![webhook("crm", &failing), webhook("billing-2", &paused)];
        webhooks.extend((0..98).map(|number| webhook(&format!("quiet-{number}"), &serde_json::json!({}))));
        let census = Census { webhooks_total: 12_000, webhooks_failing: 1, webhooks_paused: 1, pending_failing: 1204, pending_paused: 7 };
        Status { webhooks, census, pending: 1211, oldest_due_age_ms: 4000, ..healthy() }
    }

    #[test]
    fn what_is_stuck_and_why_and_what_to_type_fit_into_80_by_24_whatever_there_is() {
        let screen = Screen { width: Some(80), height: Some(24), ..PIPE };
        let text = render_status(&troubled(), &screen);
        insta::assert_snapshot!(text, @"
        hookwheel 0.1.0, process 4242, up 3 h
          accepted       70 events (1 repeated) since the start, 135 deliveries
          ended          120 delivered, 0 dropped, 3 cancelled; 124 attempts
          pending        1211, 3 in flight, next due in 96 s, the oldest due for 4 s
          failing        1 of 12000 webhooks (1204 pending); 1 paused (7 pending)
          disk           /var/lib/hookwheel: 64.00 MiB in 1 segment, 12.00 GiB free
          memory         24.00 MiB
          configuration  webhooks.toml, read 5 min ago; reloaded by alice (uid 1000),
                         2 changes

        WEBHOOK      PENDING    DROPPED    NEXT TRY  STATE
        crm             1204         12    ~in 96 s  failing for 3 h
            the receiver answered 500 Internal Server Error␛[2J, where success is 200
        billing-2          7          0           -  paused for 2 h
            paused by hand, since 2026-11-23T08:00:00.000Z, by alice (uid 1000)
        quiet-0            0          0           -  ok
        quiet-1            0          0           -  ok
        quiet-2            0          0           -  ok
        11995 more: `hookwheel top` looks through them, `hookwheel webhooks list` lists…

        `hookwheel deliveries list --webhook crm` says what waits and why
        `hookwheel webhooks resume billing-2` sends again
        `hookwheel deliveries retry --webhook crm` tries again what is still dropped
        ");
        let mut worse = troubled();
        worse.webhooks = vec![worse.webhooks[0].clone(); 100];
        for (width, height) in [(80, 24), (80, 50), (200, 24)] {
            let screen = Screen { width: Some(width), height: Some(height), ..PIPE };
            let text = render_status(&worse, &screen);
            assert!(text.lines().count() < usize::from(height), "{height}: {text}");
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}: {text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut status = healthy();
        status.draining = true;
        status.oldest_due_age_ms = 4000;
        status.store.warnings = vec!["facts 12 to 14 are missing from the journal".into()];
        status.configuration.last_reload_successful = false;
        status.configuration.last_error = Some("webhooks.toml:3:1: unknown key `tittle`".into());
        status.configuration.last_reload = Some(LastReload { at: ago(60), by: "SIGHUP".into(), changes: None });
        status.webhooks.clear();
        let (full_since, free_bytes) = (Some(ago(240)), Some(9 << 20));
        status.store.disk = DiskStatus { free_bytes, needed_bytes: 208 << 20, full_since, ..DiskStatus::default() };
        insta::assert_snapshot!(render_status(&status, &PIPE), @"
        hookwheel 0.1.0, process 4242, up 3 h, ending: no new events, attempts in flight are waited for
          accepted       70 events (1 repeated) since the start, 135 deliveries
          ended          120 delivered, 0 dropped, 3 cancelled; 124 attempts
          pending        12, 3 in flight, next due in 96 s, the oldest due for 4 s
          disk           /var/lib/hookwheel: 64.00 MiB in 1 segment, 9.00 MiB free
          memory         24.00 MiB
          configuration  webhooks.toml, read 5 min ago; a reload 60 s ago by SIGHUP failed
        ! since 4 min ago: the disk of /var/lib/hookwheel is full (9 MiB free, 208 MiB needed): events are refused, what was accepted is delivered; free some space, and it goes on by itself
        ! webhooks.toml:3:1: unknown key `tittle`; `hookwheel check` says so, too, and needs no daemon
        ! facts 12 to 14 are missing from the journal
        1 more: `hookwheel top` looks through them, `hookwheel webhooks list` lists all
        ");
    }

    #[test]
    fn a_reload_tells_each_change() {
        let report = ReloadReport {
            dry_run: true,
            changes: vec!["webhook crm: url changed; 12 pending deliveries go there".into()],
            ..ReloadReport::default()
        };
        insta::assert_snapshot!(render_reload(&report, &PIPE), @"
        the configuration is good; a reload would do this:
          webhook crm: url changed; 12 pending deliveries go there
        ");
        assert!(render_reload(&ReloadReport::default(), &PIPE).contains("nothing in it has changed"));
    }
}
