//! What `top` knows, what is selected, and what each key means. It never asks, draws or waits itself.

use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::screen::Tone;
use super::compose;
use super::questions::{News, Question};
use crate::limits;
use crate::model::report::{DeliveryDetail, DeliveryPage, Top, TopQuery, TopSort, WebhookActivity};
use crate::model::{DeliveryId, WebhookId};
use crate::time::UnixMillis;

/// Webhooks that are asked for beyond the one that is selected.
const AHEAD: usize = 100;
/// A step of the keys that turn pages.
const PAGE: usize = 10;

/// What is known and selected.
pub(super) struct View {
    /// The moment that relative times are told from.
    pub(super) now: UnixMillis,
    /// Whether colours are wanted.
    pub(super) colour: bool,
    /// Columns and lines of the screen.
    pub(super) size: (u16, u16),
    /// The order that is asked for.
    pub(super) sort: TopSort,
    /// The other way round.
    pub(super) reverse: bool,
    /// The last answer.
    pub(super) top: Option<Top>,
    /// Events accepted and deliveries delivered, in thousandths a second, between the last two answers.
    pub(super) rates: Option<(u64, u64)>,
    /// Why the daemon does not answer, and since when.
    pub(super) away: Option<(String, UnixMillis)>,
    /// What came of the last key.
    pub(super) notice: Option<(Tone, String)>,
    /// Which webhook is selected.
    pub(super) selected: usize,
    /// It is followed when the order changes: somebody selected it.
    followed: Option<WebhookId>,
    /// What is looked at.
    pub(super) pane: Pane,
}

/// What is looked at.
#[derive(Debug)]
pub(super) enum Pane {
    /// The webhooks.
    Webhooks,
    /// The keys.
    Help,
    /// Whether a webhook is to be paused, or resumed.
    Confirm(WebhookId, bool),
    /// A webhook's deliveries.
    Deliveries(Deliveries),
    /// One of them.
    Delivery(Delivery),
}

/// A webhook's deliveries.
#[derive(Debug)]
pub(super) struct Deliveries {
    /// Whose.
    pub(super) webhook: WebhookId,
    /// What the daemon said; nothing yet where it has not.
    pub(super) page: Option<Result<DeliveryPage, String>>,
    /// Which is selected.
    pub(super) selected: usize,
}

/// One delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Where one came from.
    from: Deliveries,
    /// Which.
    pub(super) id: DeliveryId,
    /// What the daemon said; nothing yet where it has not.
    pub(super) detail: Option<Result<Box<DeliveryDetail>, String>>,
    /// Lines that are above the screen.
    pub(super) scroll: usize,
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing but another picture.
    Draw,
    /// The daemon is asked.
    Ask(Question),
    /// The end.
    Quit,
}

impl View {
    /// Nothing is known yet.
    pub(super) fn new(sort: TopSort, reverse: bool, colour: bool) -> Self {
        Self {
            now: UnixMillis::default(),
            colour,
            size: (80, 24),
            sort,
            reverse,
            top: None,
            rates: None,
            away: None,
            notice: None,
            selected: 0,
            followed: None,
            pane: Pane::Webhooks,
        }
    }

    /// The webhooks, as far as they are known.
    pub(super) fn webhooks(&self) -> &[WebhookActivity] {
        self.top.as_ref().map_or(&[], |top| &top.webhooks)
    }

    /// What is to be asked now and then, whatever keys are pressed.
    pub(super) fn questions(&self) -> Vec<Question> {
        let limit = (self.selected + AHEAD).min(limits::TOP_MAX);
        let mut questions = vec![Question::Top(TopQuery { sort: self.sort, reverse: self.reverse, limit: Some(limit) })];
        match &self.pane {
            Pane::Deliveries(deliveries) => questions.push(Question::Deliveries(deliveries.webhook.clone())),
            Pane::Delivery(delivery) => questions.push(Question::Delivery(delivery.id)),
            Pane::Webhooks | Pane::Help | Pane::Confirm(..) => {}
        }
        questions
    }

    /// Takes in an answer.
    pub(super) fn learn(&mut self, news: News) {
        match news {
            News::Top(top) => self.learn_top(*top),
            News::Away(why) => {
                let since = self.away.take().map_or(self.now, |(_, since)| since);
                self.away = Some((why, since));
            }
            News::Deliveries(webhook, page) => {
                if let Pane::Deliveries(deliveries) = &mut self.pane
                    && deliveries.webhook == webhook
                {
                    let last = page.as_ref().map_or(0, |page| page.deliveries.len().saturating_sub(1));
                    deliveries.selected = deliveries.selected.min(last);
                    deliveries.page = Some(page);
                }
            }
            News::Delivery(id, detail) => {
                if let Pane::Delivery(delivery) = &mut self.pane
                    && delivery.id == id
                {
                    delivery.detail = Some(detail);
                }
            }
            News::Paused(webhook, pause, changed) => {
                let done = if pause { "paused: its deliveries go on queueing" } else { "resumed" };
                self.notice = Some(match changed {
                    Ok(summary) if !pause && !summary.pauses.is_empty() => {
                        (Tone::Waiting, format!("{webhook} is still {}", summary.pauses[0]))
                    }
                    Ok(_) => (Tone::Good, format!("{webhook} is {done}")),
                    Err(why) => (Tone::Bad, why),
                });
            }
        }
    }

    /// Takes in how the webhooks fare.
    pub(super) fn learn_top(&mut self, top: Top) {
        let rate = |now: u64, before: u64, elapsed_ms: u64| Some(now.checked_sub(before)?.saturating_mul(1_000_000) / elapsed_ms);
        if let Some(before) = &self.top {
            let elapsed_ms = top.at.since_ms(before.at).max(1);
            let accepted = rate(top.counters.accepted, before.counters.accepted, elapsed_ms);
            self.rates = accepted.zip(rate(top.counters.delivered, before.counters.delivered, elapsed_ms));
        }
        if self.away.take().is_some() {
            // What was said of a daemon that was away is no longer true.
            self.notice = None;
        }
        let place = |id: &WebhookId| top.webhooks.iter().position(|webhook| webhook.summary.id == *id);
        self.selected = self.followed.as_ref().and_then(place).unwrap_or(self.selected).min(top.webhooks.len().saturating_sub(1));
        self.top = Some(top);
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Then {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Then::Quit;
        }
        self.notice = None;
        match std::mem::replace(&mut self.pane, Pane::Webhooks) {
            Pane::Help => Then::Draw,
            Pane::Confirm(webhook, pause) => self.answered(key.code, webhook, pause),
            _ if key.code == KeyCode::Char('q') => Then::Quit,
            Pane::Webhooks => self.press_in_webhooks(key.code),
            Pane::Deliveries(deliveries) => self.press_in_deliveries(key.code, deliveries),
            Pane::Delivery(delivery) => self.press_in_delivery(key.code, delivery),
        }
    }

    fn answered(&mut self, code: KeyCode, webhook: WebhookId, pause: bool) -> Then {
        if matches!(code, KeyCode::Char('y' | 'Y')) {
            return Then::Ask(Question::SetPaused(webhook, pause));
        }
        self.notice = Some((Tone::Label, "nothing was done".into()));
        Then::Draw
    }

    fn press_in_webhooks(&mut self, code: KeyCode) -> Then {
        if let Some(selected) = moved(code, self.selected, self.webhooks().len()) {
            self.selected = selected;
            // Whoever goes back to the first wants to see whatever comes first.
            self.followed = self.selected_id().filter(|_| selected > 0);
            return Then::Draw;
        }
        match code {
            KeyCode::Char('?' | 'h') => self.pane = Pane::Help,
            KeyCode::Char('p') => self.wants_paused(true),
            KeyCode::Char('r') => self.wants_paused(false),
            KeyCode::Enter => {
                let Some(webhook) = self.selected_id() else { return Then::Draw };
                self.pane = Pane::Deliveries(Deliveries { webhook: webhook.clone(), page: None, selected: 0 });
                return Then::Ask(Question::Deliveries(webhook));
            }
            KeyCode::Char(letter) => return self.sorted_by(letter),
            _ => {}
        }
        Then::Draw
    }

    fn sorted_by(&mut self, letter: char) -> Then {
        let step = |by: usize| {
            let place = TopSort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
            TopSort::ALL[(place + by) % TopSort::ALL.len()]
        };
        (self.sort, self.reverse) = match letter {
            's' => (step(1), false),
            'S' => (step(TopSort::ALL.len() - 1), false),
            'R' => (self.sort, !self.reverse),
            't' => (TopSort::Trouble, false),
            'n' => (TopSort::Pending, false),
            'f' => (TopSort::InFlight, false),
            'o' => (TopSort::Success, false),
            '5' => (TopSort::P50, false),
            '9' => (TopSort::P99, false),
            'x' => (TopSort::Next, false),
            'i' => (TopSort::Id, false),
            _ => return Then::Draw,
        };
        self.questions().into_iter().next().map_or(Then::Draw, Then::Ask)
    }

    fn wants_paused(&mut self, pause: bool) {
        let Some(webhook) = self.selected_id() else { return };
        if self.away.is_some() {
            let verb = if pause { "paused" } else { "resumed" };
            self.notice =
                Some((Tone::Waiting, format!("the daemon is not reachable, so {webhook} was not {verb}; press again when it is back")));
            return;
        }
        self.pane = Pane::Confirm(webhook, pause);
    }

    fn selected_id(&self) -> Option<WebhookId> {
        self.webhooks().get(self.selected).map(|webhook| webhook.summary.id.clone())
    }

    fn press_in_deliveries(&mut self, code: KeyCode, mut deliveries: Deliveries) -> Then {
        let shown = deliveries.page.as_ref().and_then(|page| page.as_ref().ok()).map_or(&[][..], |page| &page.deliveries);
        if is_back(code) {
            return Then::Draw;
        }
        if let (KeyCode::Enter, Some(delivery)) = (code, shown.get(deliveries.selected)) {
            let id = delivery.id;
            self.pane = Pane::Delivery(Delivery { from: deliveries, id, detail: None, scroll: 0 });
            return Then::Ask(Question::Delivery(id));
        }
        if let Some(selected) = moved(code, deliveries.selected, shown.len()) {
            deliveries.selected = selected;
        }
        self.pane = Pane::Deliveries(deliveries);
        Then::Draw
    }

    fn press_in_delivery(&mut self, code: KeyCode, mut delivery: Delivery) -> Then {
        if is_back(code) {
            let webhook = delivery.from.webhook.clone();
            self.pane = Pane::Deliveries(delivery.from);
            return Then::Ask(Question::Deliveries(webhook));
        }
        if let Some(scroll) = moved(code, delivery.scroll, compose::scroll_positions(&delivery, self.now, self.size)) {
            delivery.scroll = scroll;
        }
        self.pane = Pane::Delivery(delivery);
        Then::Draw
    }
}

const fn is_back(code: KeyCode) -> bool {
    matches!(code, KeyCode::Esc | KeyCode::Backspace | KeyCode::Left)
}

/// Where a key moves the selection among so many; nothing when it moves nothing.
fn moved(code: KeyCode, selected: usize, count: usize) -> Option<usize> {
    let wanted = match code {
        KeyCode::Up | KeyCode::Char('k') => selected.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => selected.saturating_add(1),
        KeyCode::PageUp => selected.saturating_sub(PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => selected.saturating_add(PAGE),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => usize::MAX,
        _ => return None,
    };
    Some(wanted.min(count.saturating_sub(1)))
}
