//! The lines that `top` shows, for a screen of whatever size. It knows no terminal, and changes nothing.

use super::super::deliveries::{render_detail, tone_of, when};
use super::super::screen::{Screen, Tone};
use super::super::status::next_attempt;
use super::super::text::{counted, measured, plain, shortened, span};
use super::view::{Deliveries, Delivery, Pane, View};
use crate::model::report::{Top, TopSort, WebhookActivity};
use crate::time::UnixMillis;

/// One line of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// What its colour says.
    pub(super) tone: Tone,
    /// Its text, which may be longer than the screen is wide.
    pub(super) text: String,
    /// It is the one that keys are about.
    pub(super) is_selected: bool,
}

/// A column: its heading, the order that it belongs to, its width, and how much it is wanted, most first.
struct Column {
    heading: &'static str,
    sort: TopSort,
    width: usize,
    wanted: u8,
}

const COLUMNS: [Column; 8] = [
    Column { heading: "PENDING", sort: TopSort::Pending, width: 8, wanted: 1 },
    Column { heading: "FLIGHT", sort: TopSort::InFlight, width: 7, wanted: 6 },
    Column { heading: "OK", sort: TopSort::Success, width: 5, wanted: 3 },
    Column { heading: "P50", sort: TopSort::P50, width: 8, wanted: 7 },
    Column { heading: "P99", sort: TopSort::P99, width: 8, wanted: 5 },
    Column { heading: "NEXT TRY", sort: TopSort::Next, width: 10, wanted: 4 },
    Column { heading: "STATE", sort: TopSort::Trouble, width: 8, wanted: 2 },
    Column { heading: "WEBHOOK", sort: TopSort::Id, width: 10, wanted: 0 },
];
/// The last column is the first on the screen.
const ID: usize = COLUMNS.len() - 1;
/// Columns that an id gets at most.
const ID_COLUMNS_MAX: usize = 64;

fn line(tone: Tone, text: impl Into<String>) -> Shown {
    Shown { tone, text: text.into(), is_selected: false }
}

/// A frame for whoever reads no screen: no selection, no keys, no more lines than there is something to say.
pub(super) fn frame(view: &View, width: u16, height: u16) -> Vec<Shown> {
    let mut lines = head(view);
    lines.extend(webhook_lines(view, usize::from(width), usize::from(height).saturating_sub(lines.len())));
    for line in lines.iter_mut().filter(|line| line.is_selected) {
        line.is_selected = false;
        line.text.replace_range(..1, " ");
    }
    lines
}

/// The whole screen, `height` lines of it.
pub(super) fn screen(view: &View, width: u16, height: u16) -> Vec<Shown> {
    let (width, height) = (usize::from(width), usize::from(height));
    let (mut lines, foot) = match &view.pane {
        Pane::Help => (help(), vec![line(Tone::Label, "any key goes back")]),
        Pane::Deliveries(deliveries) => {
            let foot = foot(view, width);
            (deliveries_lines(deliveries, view, height.saturating_sub(foot.len())), foot)
        }
        Pane::Delivery(delivery) => (delivery_lines(delivery, view.now, (width, height)), foot(view, width)),
        Pane::Webhooks | Pane::Confirm(..) => {
            let (mut lines, foot) = (head(view), foot(view, width));
            lines.truncate(height.saturating_sub(foot.len() + 2).max(1));
            lines.extend(webhook_lines(view, width, height.saturating_sub(lines.len() + foot.len())));
            (lines, foot)
        }
    };
    lines.truncate(height.saturating_sub(foot.len()));
    lines.resize(height.saturating_sub(foot.len()), line(Tone::Plain, ""));
    lines.extend(foot);
    lines.truncate(height);
    lines
}

fn head(view: &View) -> Vec<Shown> {
    let turned = if view.reverse { ", the other way round" } else { "" };
    let mut lines = vec![line(Tone::Label, format!("hookwheel top  {}  by {}{turned}", clock(view.now), view.sort))];
    if let Some((why, since)) = &view.away {
        let away = span(view.now.since_ms(*since));
        lines.push(line(Tone::Bad, format!("! not reachable for {away}, and asked again and again: {}", plain(why))));
    }
    let Some(top) = &view.top else {
        if view.away.is_none() {
            lines.push(line(Tone::Plain, "asking the daemon …"));
        }
        return lines;
    };
    lines.push(line(Tone::Plain, totals(view, top)));
    lines.push(census(top));
    if top.draining {
        lines.push(line(Tone::Waiting, "! the daemon is ending: no new events, attempts in flight are waited for"));
    }
    if let Some(pause) = &top.paused {
        let text = format!("! nothing is sent to anybody: {pause}; `hookwheel resume` goes on");
        lines.push(line(Tone::Waiting, plain(&text)));
    }
    lines.extend(top.disk_trouble.iter().map(|trouble| line(Tone::Bad, format!("! {}", plain(trouble)))));
    lines
}

/// `14:03:05Z`
fn clock(now: UnixMillis) -> String {
    let text = now.to_string();
    text.get(11..19).map_or_else(|| text.clone(), |time| format!("{time}Z"))
}

fn totals(view: &View, top: &Top) -> String {
    let each_second = |permille: u64| {
        if permille < 10_000 { format!("{}.{}", permille / 1000, permille % 1000 / 100) } else { (permille / 1000).to_string() }
    };
    let rates = match view.rates {
        Some((accepted, delivered)) => format!("; accepted {}/s, delivered {}/s", each_second(accepted), each_second(delivered)),
        None => format!("; accepted {}, delivered {} so far", top.counters.accepted, top.counters.delivered),
    };
    let oldest = if top.oldest_due_age_ms < 1000 { String::new() } else { format!(", oldest due for {}", span(top.oldest_due_age_ms)) };
    format!("{} pending, {} in flight{oldest}{rates}", top.pending, top.in_flight)
}

fn census(top: &Top) -> Shown {
    let census = &top.census;
    let mut text = counted(census.webhooks_total, "webhook", "webhooks");
    if census.webhooks_failing > 0 {
        text.push_str(&format!(", {} failing with {} pending", census.webhooks_failing, census.pending_failing));
    }
    if census.webhooks_paused > 0 {
        text.push_str(&format!(", {} paused with {} pending", census.webhooks_paused, census.pending_paused));
    }
    let tone = match (census.webhooks_failing, census.webhooks_paused) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Waiting,
        _ => Tone::Bad,
    };
    line(tone, text)
}

/// The heading and as many webhooks as fit, the selected one among them.
fn webhook_lines(view: &View, width: usize, height: usize) -> Vec<Shown> {
    let webhooks = view.webhooks();
    if webhooks.is_empty() {
        let hint = view.top.as_ref().map(|_| line(Tone::Plain, "there are no webhooks yet: `hookwheel webhooks add`"));
        return hint.into_iter().collect();
    }
    let (columns, id_width) = fitting(width, webhooks);
    let heading = |column: &Column| if column.sort == view.sort { format!("{}*", column.heading) } else { column.heading.to_owned() };
    let headings = COLUMNS.iter().map(heading).collect::<Vec<_>>();
    let mut lines = vec![line(Tone::Label, row(" ", &headings, &columns, id_width))];
    let total = view.top.as_ref().map_or(0, |top| top.census.webhooks_total);
    // One line for what does not fit, where something does not.
    let room = height.saturating_sub(1).max(1);
    let is_all = webhooks.len() as u64 == total && webhooks.len() <= room;
    let room = if is_all { room } else { room.saturating_sub(1).max(1) };
    let first = (view.selected + 1).saturating_sub(room);
    for (index, webhook) in webhooks.iter().enumerate().skip(first).take(room) {
        let is_selected = index == view.selected;
        let (tone, state) = state(webhook);
        let text = row(if is_selected { ">" } else { " " }, &cells(webhook, state, view.now), &columns, id_width);
        lines.push(Shown { tone, text, is_selected });
    }
    if !is_all {
        let last = (first + room).min(webhooks.len());
        lines.push(line(Tone::Label, format!("  {} to {last} of {total}", first + 1)));
    }
    lines
}

/// Which columns fit, and what is left for the id.
fn fitting(width: usize, webhooks: &[WebhookActivity]) -> ([bool; COLUMNS.len()], usize) {
    let longest =
        webhooks.iter().map(|webhook| webhook.summary.id.as_str().len()).max().unwrap_or(0).clamp(COLUMNS[ID].width, ID_COLUMNS_MAX);
    let mut columns = [false; COLUMNS.len()];
    columns[ID] = true;
    let mut used = 2 + COLUMNS[ID].width;
    let mut wanted = (0..ID).collect::<Vec<_>>();
    wanted.sort_by_key(|index| COLUMNS[*index].wanted);
    for index in wanted {
        // A column more is worth more than the end of a long id, up to a point.
        if used + COLUMNS[index].width < width.saturating_sub(longest.min(16) - COLUMNS[ID].width) {
            columns[index] = true;
            used += COLUMNS[index].width + 1;
        }
    }
    (columns, (width.saturating_sub(used) + COLUMNS[ID].width).clamp(COLUMNS[ID].width, longest))
}

fn row(mark: &str, cells: &[String], columns: &[bool; COLUMNS.len()], id_width: usize) -> String {
    let id = match cells[ID].chars().count() > id_width {
        true => shortened(&cells[ID], id_width.saturating_sub(1)),
        false => plain(&cells[ID]),
    };
    let mut text = format!("{mark} {id:<id_width$}");
    for (index, column) in COLUMNS[..ID].iter().enumerate().filter(|(index, _)| columns[*index]) {
        let (cell, width) = (&cells[index], column.width);
        // What is said in words stands on the left, figures on the right.
        text.push_str(&if column.sort == TopSort::Trouble { format!("  {cell:<width$}") } else { format!(" {cell:>width$}") });
    }
    text
}

fn cells(webhook: &WebhookActivity, state: &str, now: UnixMillis) -> Vec<String> {
    let summary = &webhook.summary;
    let length = |us: Option<u32>| us.map_or_else(|| "-".to_owned(), |us| measured(u64::from(us)));
    let share = match webhook.recent.succeeded_permille() {
        None => "-".to_owned(),
        Some(1000) => "100%".to_owned(),
        Some(permille) => format!("{}.{}%", permille / 10, permille % 10),
    };
    vec![
        summary.pending.to_string(),
        format!("{}/{}", summary.in_flight, summary.window),
        share,
        length(webhook.recent.p50_us),
        length(webhook.recent.p99_us),
        next_attempt(webhook, now),
        state.to_owned(),
        summary.id.to_string(),
    ]
}

const fn state(webhook: &WebhookActivity) -> (Tone, &'static str) {
    match (webhook.summary.pauses.is_empty(), webhook.summary.trouble.is_some()) {
        (false, _) => (Tone::Waiting, "paused"),
        (true, true) => (Tone::Bad, "failing"),
        (true, false) => (Tone::Plain, "ok"),
    }
}

/// What is wrong with what is selected, and what keys do; or a question, or what came of the last key.
fn foot(view: &View, width: usize) -> Vec<Shown> {
    let selected = view.webhooks().get(view.selected).map(|webhook| &webhook.summary);
    let why = selected.and_then(|webhook| {
        let id = &webhook.id;
        if let Some(pause) = webhook.pauses.first() {
            return Some((Tone::Waiting, format!("{id}: {pause}")));
        }
        let since = webhook.trouble_since.map(|since| format!(" for {}", span(view.now.since_ms(since)))).unwrap_or_default();
        webhook.trouble.as_ref().map(|trouble| (Tone::Bad, format!("{id}: failing{since}: {trouble}")))
    });
    let (tone, why) = why.unwrap_or_default();
    let keys = match &view.pane {
        Pane::Confirm(webhook, true) => {
            return vec![ask(format!("pause {webhook}? nothing is sent to it until it is resumed; y: yes, any other key: no"))];
        }
        Pane::Confirm(webhook, false) => return vec![ask(format!("resume {webhook}? y: yes, any other key: no"))],
        Pane::Deliveries(_) => "q quit  Esc back  Up/Down select  Enter its attempts",
        Pane::Delivery(_) => "q quit  Esc back  Up/Down scroll",
        _ if width < 60 => "q quit  ? keys  Enter open  p pause",
        _ => "q quit  ? keys  Enter deliveries  p pause  r resume  s sort  R turn round",
    };
    let keys = view.notice.as_ref().map_or_else(|| line(Tone::Label, keys), |(tone, text)| line(*tone, plain(text)));
    match &view.pane {
        Pane::Webhooks if !why.is_empty() => vec![line(tone, plain(&why)), keys],
        Pane::Deliveries(Deliveries { page: Some(Ok(page)), selected, .. }) => {
            let outcome = page.deliveries.get(*selected).and_then(|delivery| delivery.last_outcome.as_deref());
            outcome.map(|outcome| line(Tone::Plain, plain(outcome))).into_iter().chain([keys]).collect()
        }
        _ => vec![keys],
    }
}

fn ask(question: String) -> Shown {
    line(Tone::Waiting, question)
}

fn help() -> Vec<Shown> {
    const KEYS: &str = "\
q, Ctrl-C       quit
Up, Down, j, k  select; PgUp, PgDn, Home, End
Enter           its deliveries, and of one of them every attempt; Esc goes back
p, r            pause or resume the selected webhook (asks first)
s, S            the next order, the one before; R turns it round
t n f o         by trouble, number pending, in flight, share that is ok
5 9 x i         by p50, by p99, by next try, by id

OK, P50, P99    share that succeeded, and how long half and 99 of 100 took, of the
                attempts of the last five minutes
NEXT TRY        ~: it may be earlier; later: so much is due before that it is not known";
    KEYS.lines().map(|text| line(Tone::Plain, text)).collect()
}

fn deliveries_lines(deliveries: &Deliveries, view: &View, height: usize) -> Vec<Shown> {
    let mut lines = vec![line(Tone::Label, format!("deliveries of {}: what is pending, then what ended", deliveries.webhook))];
    let page = match &deliveries.page {
        None => return [lines, vec![line(Tone::Plain, "asking the daemon …")]].concat(),
        Some(Err(why)) => return [lines, vec![line(Tone::Bad, plain(why))]].concat(),
        Some(Ok(page)) if page.deliveries.is_empty() => return [lines, vec![line(Tone::Plain, "none, pending or kept")]].concat(),
        Some(Ok(page)) => page,
    };
    lines.push(line(Tone::Label, format!("  {:<24}  {:<9}  {:>3}  {:<14}  LAST OUTCOME", "DELIVERY", "STATE", "ATT", "WHEN")));
    let room = height.saturating_sub(lines.len()).max(1);
    let first = (deliveries.selected + 1).saturating_sub(room);
    let screen = plain_screen(view.now, None);
    for (index, delivery) in page.deliveries.iter().enumerate().skip(first).take(room) {
        let is_selected = index == deliveries.selected;
        let mark = if is_selected { ">" } else { " " };
        let (id, state, attempts) = (delivery.id.to_string(), delivery.state.to_string(), delivery.attempts);
        let (when, outcome) = (when(delivery, &screen).unwrap_or_default(), delivery.last_outcome.as_deref().unwrap_or_default());
        let text = format!("{mark} {id:<24}  {state:<9}  {attempts:>3}  {when:<14}  {}", plain(outcome));
        lines.push(Shown { tone: tone_of(delivery.state), text, is_selected });
    }
    lines
}

fn delivery_lines(delivery: &Delivery, now: UnixMillis, (width, height): (usize, usize)) -> Vec<Shown> {
    match &delivery.detail {
        None => vec![line(Tone::Label, delivery.id.to_string()), line(Tone::Plain, "asking the daemon …")],
        Some(Err(why)) => vec![line(Tone::Label, delivery.id.to_string()), line(Tone::Bad, plain(why))],
        Some(Ok(detail)) => {
            let text = render_detail(detail, &plain_screen(now, u16::try_from(width).ok()));
            let lines = text.lines().map(|text| line(Tone::Plain, text)).collect::<Vec<_>>();
            let first = delivery.scroll.min(lines.len().saturating_sub(height.saturating_sub(1)));
            lines[first..].to_vec()
        }
    }
}

/// How far a delivery can be scrolled, and one more.
pub(super) fn scroll_positions(delivery: &Delivery, now: UnixMillis, (width, height): (u16, u16)) -> usize {
    let Some(Ok(detail)) = &delivery.detail else { return 1 };
    let lines = render_detail(detail, &plain_screen(now, Some(width))).lines().count();
    lines.saturating_sub(usize::from(height).saturating_sub(1)) + 1
}

/// Colours are not for text that a table was made of: the lines of the screen have theirs.
const fn plain_screen(now: UnixMillis, width: Option<u16>) -> Screen {
    Screen { now, colour: false, width, height: None }
}
