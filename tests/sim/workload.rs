//! What a seed stands for: the webhooks, how lively clients are, how often what goes wrong. It never runs anything.

use std::sync::Arc;

use hookwheel::model::blacklist::Reason;
use hookwheel::model::{
    Address, EventId, EventTypeName, NewEvent, Origin, Project, Rate, RetrySchedule, RetryStep, Selector, SuccessRule, WebhookId,
    WebhookSpec,
};

use crate::random::{Rng, mix};

pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;

const PROJECTS: [&str; 3] = ["shop.example.com", "news.example.org", "müller-bücher.example"];
const TYPES: [&str; 6] = [
    "email.status.delivered",
    "email.status.bounced",
    "email.contact.list_unsubscribed",
    "email.message.read",
    "sms.status.delivered",
    "sms.message.clicked",
];
const ADDRESSES: [&str; 4] = ["a@example.com", "b@example.com", "用户@müller.example", "\"a b\"@example.com"];
const SELECTORS: [&str; 6] = ["*", "*", "email.*", "*.status.delivered", "sms.*", "email.status.bounced"];

/// What a seed stands for.
pub(crate) struct Plan {
    /// For so long clients publish and things go wrong.
    pub(crate) active_ms: u64,
    pub(crate) segment_size: u64,
    pub(crate) idempotency_window_ms: u64,
    /// How long what ended is kept.
    pub(crate) keep_ms: u64,
    /// Bytes that the journal may have.
    pub(crate) max_size_bytes: u64,
    pub(crate) max_in_flight: u32,
    pub(crate) max_pending: u32,
    pub(crate) max_pending_per_webhook: u32,
    /// From one publication to the next, on average.
    pub(crate) publish_every_ms: u64,
    /// From one sudden end to the next, on average.
    pub(crate) crash_every_ms: u64,
    /// How many of a hundred sudden ends are losses of power.
    pub(crate) power_percent: u64,
    /// From one time of disk errors to the next, on average.
    pub(crate) trouble_every_ms: u64,
    /// From one time of a full disk to the next, on average.
    pub(crate) fills_every_ms: u64,
    /// How many of a hundred sudden ends hurt the table.
    pub(crate) hurt_percent: u64,
    /// From one thing that the operator does to the next, on average.
    pub(crate) operator_every_ms: u64,
    /// From one change of an endpoint's mood to the next, on average.
    pub(crate) mood_every_ms: u64,
    /// Whether the disk says yes without doing it for a while, before a loss of power.
    pub(crate) lies: bool,
    /// Whether the journal rots in one place: what was acknowledged may be lost, but not silently, and nothing else.
    pub(crate) rots: bool,
    /// The webhooks of the file at the beginning.
    pub(crate) webhooks: Vec<WebhookSpec>,
}

impl Plan {
    pub(crate) fn of(rng: &mut Rng) -> Self {
        let active_ms = rng.between(HOUR, 6 * HOUR);
        let often = |rng: &mut Rng| if rng.one_in(4) { 100 * HOUR } else { rng.between(4 * MINUTE, HOUR) };
        let (crash_every_ms, trouble_every_ms) = (often(rng), often(rng).max(15 * MINUTE));
        let lies = rng.one_in(12);
        let mut webhooks = (0..rng.between(2, 6)).map(|number| webhook(rng, number)).collect::<Vec<_>>();
        let segment_size = *rng.pick(&[40 * 1024, 64 * 1024, 96 * 1024, 256 * 1024]);
        let plan = Self {
            active_ms,
            segment_size,
            keep_ms: *rng.pick(&[72 * HOUR, HOUR, 10 * MINUTE, MINUTE]),
            max_size_bytes: segment_size * *rng.pick(&[1000, 1000, 8, 4, 0]),
            idempotency_window_ms: *rng.pick(&[24 * HOUR, 2 * HOUR, 10 * MINUTE]),
            max_in_flight: *rng.pick(&[1024, 16, 3]),
            max_pending: *rng.pick(&[100_000, 100_000, 300]),
            max_pending_per_webhook: *rng.pick(&[10_000, 10_000, 40]),
            publish_every_ms: active_ms / rng.between(40, 160),
            crash_every_ms,
            power_percent: *rng.pick(&[0, 50, 50, 100]),
            trouble_every_ms,
            fills_every_ms: often(rng),
            hurt_percent: *rng.pick(&[0, 0, 15, 50]),
            operator_every_ms: rng.between(5 * MINUTE, HOUR),
            mood_every_ms: rng.between(MINUTE, HOUR),
            lies,
            rots: !lies && rng.one_in(10),
            webhooks: Vec::new(),
        };
        // Behind everything else that is drawn, so that nothing else depends on whether somebody listens to the daemon itself.
        for _ in 0..rng.below(3) {
            webhooks.push(listener(rng, webhooks.len() as u64));
        }
        Self { webhooks, ..plan }
    }
}

impl Plan {
    /// A script of half an hour in which everything happens but nothing goes wrong by itself: events, retries, operators, stops and starts, segments that go.
    pub(crate) fn of_script(self) -> Self {
        const NEVER: u64 = 1000 * HOUR;
        Self {
            active_ms: HOUR / 2,
            segment_size: 40 * 1024,
            keep_ms: MINUTE,
            max_size_bytes: 40 * 1024 * 1000,
            idempotency_window_ms: 10 * MINUTE,
            max_in_flight: 1024,
            max_pending: 100_000,
            max_pending_per_webhook: 10_000,
            publish_every_ms: MINUTE,
            crash_every_ms: NEVER,
            power_percent: 50,
            trouble_every_ms: NEVER,
            fills_every_ms: NEVER,
            hurt_percent: 0,
            operator_every_ms: 2 * MINUTE,
            mood_every_ms: 5 * MINUTE,
            lies: false,
            rots: false,
            // Every call of the script is a run of all of it: what listeners would add makes that several times as long, and shows nothing about a disk.
            webhooks: self.webhooks.into_iter().filter(|webhook| !webhook.project.is_of_daemon()).collect(),
        }
    }
}

/// A webhook of the file with that number in its id.
pub(crate) fn webhook(rng: &mut Rng, number: u64) -> WebhookSpec {
    let id = WebhookId::parse(&format!("hook-{number}")).expect("it has the form of an id");
    let project = project(rng);
    let selectors = (0..rng.between(1, 2)).map(|_| Selector::parse(rng.pick::<&str>(&SELECTORS)).expect("these are selectors")).collect();
    let mut spec = WebhookSpec {
        title: id.to_string(),
        id,
        project,
        url: "https://receiver.example.com/hook".parse().expect("it is a URL"),
        selectors,
        secret: None,
        signing: hookwheel::model::Signing::V1,
        headers: Vec::new(),
        paused: false,
        allow_networks: Vec::new(),
        tls: None,
        timeout_ms: 10_000,
        success: SuccessRule::default(),
        schedule: RetrySchedule::default(),
        max_in_flight: 10,
        rate: None,
        ordered: false,
        origin: Origin::File,
        place: None,
    };
    change(rng, &mut spec);
    spec
}

/// A webhook of the file that gets what the daemon tells about itself.
fn listener(rng: &mut Rng, number: u64) -> WebhookSpec {
    let wanted = rng.pick::<&str>(&["*", "*", "hookwheel.webhook.*", "hookwheel.delivery.dropped"]);
    let selectors = vec![Selector::parse(wanted).expect("these are selectors")];
    WebhookSpec { project: Project::of_daemon(), selectors, ..webhook(rng, number) }
}

/// Changes how a webhook is delivered to.
pub(crate) fn change(rng: &mut Rng, spec: &mut WebhookSpec) {
    let step = |attempts, interval_ms| RetryStep { attempts, interval_ms };
    spec.schedule = match rng.below(4) {
        0 => RetrySchedule { steps: vec![step(2, 1000), step(2, 30_000)] },
        1 => RetrySchedule { steps: vec![step(3, 60_000)] },
        2 => RetrySchedule { steps: Vec::new() },
        _ => RetrySchedule::default(),
    };
    spec.max_in_flight = *rng.pick(&[1, 2, 10, 10]);
    spec.ordered = rng.one_in(3);
    spec.paused = rng.one_in(12);
    let rates = [Rate { count: 2, per_ms: 1000 }, Rate { count: 30, per_ms: 60_000 }, Rate { count: 100, per_ms: 1000 }];
    spec.rate = rng.one_in(4).then(|| *rng.pick(&rates));
}

/// A new event. `content` decides about its fields, `told_at` only about what its body says besides.
pub(crate) fn event(rng: &mut Rng, id: &str, id_by_client: bool, told_at: u64) -> NewEvent {
    let project = project(rng);
    let event_type = EventTypeName::parse(rng.pick::<&str>(&TYPES)).expect("these are types");
    let size = if rng.one_in(12) { rng.index(6000) } else { rng.index(200) };
    let content = rng.next();
    let body = body_of(&event_type, content, told_at, size);
    let blacklisted = Reason::of_type(&event_type).filter(|_| rng.percent(80)).map(|_| address(rng));
    NewEvent {
        id: EventId::parse(id).expect("it has the form of an id"),
        id_by_client,
        event_type,
        project,
        body,
        fields_hash: hash_of(content),
        blacklisted,
    }
}

/// The same event told again: equal fields, another moment; or, with other content, one that must not pass for it.
pub(crate) fn told_again(rng: &mut Rng, event: &NewEvent, other_content: bool, told_at: u64) -> NewEvent {
    if !other_content {
        return NewEvent { body: body_of(&event.event_type, 0, told_at, 30), ..event.clone() };
    }
    let content = rng.next();
    NewEvent { body: body_of(&event.event_type, content, told_at, 30), fields_hash: hash_of(content), ..event.clone() }
}

/// Everybody who may be on a Black List.
pub(crate) fn everybody() -> Vec<(Project, Address)> {
    let projects = PROJECTS.map(|project| Project::parse(project).expect("these are projects"));
    let addresses = ADDRESSES.map(|address| Address::parse(address).expect("these are addresses"));
    projects.iter().flat_map(|project| addresses.iter().map(|address| (project.clone(), address.clone()))).collect()
}

pub(crate) fn address(rng: &mut Rng) -> Address {
    Address::parse(rng.pick::<&str>(&ADDRESSES)).expect("these are addresses")
}

pub(crate) fn project(rng: &mut Rng) -> Project {
    Project::parse(rng.pick::<&str>(&PROJECTS)).expect("these are projects")
}

fn body_of(event_type: &EventTypeName, content: u64, told_at: u64, size: usize) -> Arc<[u8]> {
    let padding = "x".repeat(size);
    format!(r#"{{"type":"{event_type}","timestamp":{told_at},"data":{{"n":{content},"padding":"{padding}"}}}}"#).into_bytes().into()
}

fn hash_of(content: u64) -> [u8; 16] {
    (u128::from(mix(content)) << 64 | u128::from(content)).to_be_bytes()
}
