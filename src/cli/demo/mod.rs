//! `demo`: the whole of hookwheel at work, with nothing to set up and nothing left behind. It plays no tricks: daemon, receivers and deliveries are real.

mod place;
mod render;
mod story;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use hyper::body::Bytes;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::place::Place;
use super::Output;
use super::client::{Body, Client};
use super::failure::Failure;
use super::sandbox;
use crate::model::report::{DeliveryPage, DeliverySummary, PublishedEvent, ReloadReport, Status};
use crate::model::sandbox::{ReceivedRequest, SandboxSummary};
use crate::model::{DeliveryState, EventType};
use crate::time::{Stopwatch, UnixMillis, wall_now};

/// Between two events, so that it can be watched.
const EMIT_EVERY_MS: u64 = 25;
const LOOK_EVERY_MS: u64 = 50;
/// What is not delivered by then never will be.
const DELIVERED_TIMEOUT_MS: u64 = 60_000;

/// What `demo` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel demo             runs until Ctrl-C, to be tried out from another terminal
  hookwheel demo --once      ends when everything is delivered; with --json for scripts

It starts a daemon on a free port of 127.0.0.1, with everything in a directory below the one for temporary files, which is deleted at the end.
Retries come after seconds here; the default schedule takes seven hours.")]
pub(super) struct Demo {
    /// End when everything is delivered; exit code 1 when something was not
    #[arg(long)]
    once: bool,
}

/// A channel's webhook, its receiver, and what was seen of it.
struct Channel {
    /// The webhook's id too.
    name: String,
    receiver: SandboxSummary,
    seen: u64,
    attempts: u64,
    valid_signatures: u64,
}

/// What came of it all.
#[derive(Debug, Serialize)]
struct Summary {
    events: usize,
    delivered: usize,
    delivered_after_retries: usize,
    attempts: u64,
    valid_signatures: u64,
    duration_ms: u64,
    socket: String,
    channels: Vec<ChannelSummary>,
    deliveries: Vec<DeliverySummary>,
}

/// What came of one channel.
#[derive(Debug, Serialize)]
struct ChannelSummary {
    webhook: String,
    receiver: String,
    url: String,
    events: usize,
    delivered: usize,
    attempts: u64,
    valid_signatures: u64,
    /// From acceptance to the 200, of the delivery that took longest.
    longest_ms: u64,
}

/// A demo under way.
struct Stage<'a, 'b> {
    place: Place,
    client: Client,
    channels: Vec<Channel>,
    began: UnixMillis,
    interrupted: Arc<AtomicBool>,
    output: &'a mut Output<'b>,
}

/// `demo`
pub(super) fn demo(demo: &Demo, output: &mut Output<'_>) -> Result<(), Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| Failure::Refused(format!("the demo could not start: {error}")))?;
    }
    let mut stage = Stage::set(interrupted, output)?;
    let mut types = stage.client.get::<Vec<EventType>>("/v1/catalog")?;
    types.retain(|event_type| !event_type.name.is_of_daemon());
    stage.furnish(&types)?;
    stage.say(render::opening)?;
    let stopwatch = Stopwatch::start();
    stage.emit(&types)?;
    stage.wait_for_deliveries(types.len(), stopwatch)?;
    let summary = stage.summary(stopwatch)?;
    stage.output.screen.now = wall_now();
    stage.output.show(&summary, render::summary)?;
    if summary.delivered < types.len() {
        return Err(Failure::Refused(format!("{} events were not delivered", types.len() - summary.delivered)));
    }
    if demo.once {
        return Ok(());
    }
    let tried_again = summary.deliveries.iter().max_by_key(|delivery| delivery.attempts).map(|delivery| delivery.id);
    stage.say(|stage| render::what_next(stage, tried_again))?;
    stage.serve()
}

impl<'a, 'b> Stage<'a, 'b> {
    fn set(interrupted: Arc<AtomicBool>, output: &'a mut Output<'b>) -> Result<Self, Failure> {
        let place = Place::start()?;
        let client = place.client()?;
        Ok(Self { place, client, channels: Vec::new(), began: wall_now(), interrupted, output })
    }

    /// Makes the receivers, and the webhooks that point at them.
    fn furnish(&mut self, types: &[EventType]) -> Result<(), Failure> {
        for name in story::channels(types) {
            let receiver = sandbox::make(&story::receiver(&name), &self.client)?;
            self.channels.push(Channel { name, receiver, seen: 0, attempts: 0, valid_signatures: 0 });
        }
        self.place.configure(&self.channels.iter().map(|channel| story::webhook(&channel.name, &channel.receiver)).collect::<String>())?;
        let report = self.client.post::<ReloadReport>("/v1/reload?dry_run=false", None)?;
        if report.errors.is_empty() { Ok(()) } else { Err(Failure::Refused(report.errors.join("\n"))) }
    }

    /// Says something for people.
    fn say(&mut self, words: impl FnOnce(&Self) -> String) -> Result<(), Failure> {
        if self.output.json {
            return Ok(());
        }
        let words = words(self);
        self.output.print(&words)
    }

    fn emit(&mut self, types: &[EventType]) -> Result<(), Failure> {
        self.began = wall_now();
        for event_type in types {
            let json = Bytes::from(serde_json::to_vec(&story::event(event_type))?);
            let published = self.client.post::<PublishedEvent>("/v1/events", Some(Body::Json(json)))?;
            if published.deliveries != 1 {
                return Err(Failure::Refused(format!("{} made {} deliveries instead of one", event_type.name, published.deliveries)));
            }
            self.look()?;
            std::thread::sleep(Duration::from_millis(EMIT_EVERY_MS));
        }
        Ok(())
    }

    fn wait_for_deliveries(&mut self, events: usize, stopwatch: Stopwatch) -> Result<(), Failure> {
        loop {
            let status = self.client.get::<Status>("/v1/status")?;
            // Looked for afterwards, so that the last ones are seen too.
            self.look()?;
            if status.pending == 0 && status.counters.accepted >= events as u64 {
                return Ok(());
            }
            if stopwatch.elapsed_ms() > DELIVERED_TIMEOUT_MS {
                let why = format!("{} deliveries are still pending. The end of the daemon's log:\n{}", status.pending, self.place.log());
                return Err(Failure::Refused(why));
            }
            std::thread::sleep(Duration::from_millis(LOOK_EVERY_MS));
        }
    }

    /// Shows what the receivers got since the last look, in the order in which it came.
    fn look(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.place.ended() {
            return Err(failure);
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::Refused("interrupted before everything was delivered; nothing is left behind".into()));
        }
        let mut fresh = Vec::new();
        for channel in &mut self.channels {
            let page = sandbox::received(&channel.receiver.token, channel.seen, &self.client)?;
            channel.seen = page.last;
            channel.attempts += page.requests.len() as u64;
            channel.valid_signatures += page.requests.iter().filter(|request| request.signature.valid == Some(true)).count() as u64;
            fresh.extend(page.requests);
        }
        fresh.sort_by_key(|request: &ReceivedRequest| request.received);
        for request in &fresh {
            self.say(|stage| render::attempt(request, stage.began, &stage.output.screen))?;
        }
        Ok(())
    }

    fn summary(&self, stopwatch: Stopwatch) -> Result<Summary, Failure> {
        let deliveries = self.client.get::<DeliveryPage>("/v1/deliveries?limit=500")?.deliveries;
        let mut by_webhook = BTreeMap::<&str, Vec<&DeliverySummary>>::new();
        for delivery in &deliveries {
            by_webhook.entry(&delivery.webhook).or_default().push(delivery);
        }
        let is_delivered = |delivery: &&DeliverySummary| delivery.state == DeliveryState::Delivered;
        let channel = |channel: &Channel| {
            let own = by_webhook.remove(channel.name.as_str()).unwrap_or_default();
            let took_ms = |delivery: &&DeliverySummary| {
                delivery.finished.zip(delivery.accepted).map(|(finished, accepted)| finished.since_ms(accepted))
            };
            ChannelSummary {
                webhook: channel.name.clone(),
                receiver: channel.receiver.behaviour.to_string(),
                url: channel.receiver.url.clone(),
                events: own.len(),
                delivered: own.iter().copied().filter(|delivery| is_delivered(delivery)).count(),
                attempts: channel.attempts,
                valid_signatures: channel.valid_signatures,
                longest_ms: own.iter().filter_map(took_ms).max().unwrap_or(0),
            }
        };
        let channels = self.channels.iter().map(channel).collect::<Vec<_>>();
        Ok(Summary {
            events: deliveries.len(),
            delivered: deliveries.iter().filter(is_delivered).count(),
            delivered_after_retries: deliveries.iter().filter(is_delivered).filter(|delivery| delivery.attempts > 1).count(),
            attempts: self.channels.iter().map(|channel| channel.attempts).sum(),
            valid_signatures: self.channels.iter().map(|channel| channel.valid_signatures).sum(),
            duration_ms: stopwatch.elapsed_ms(),
            socket: self.place.socket().display().to_string(),
            channels,
            deliveries,
        })
    }

    /// Goes on until somebody has enough, and shows what comes.
    fn serve(&mut self) -> Result<(), Failure> {
        loop {
            std::thread::sleep(Duration::from_millis(2 * LOOK_EVERY_MS));
            if self.interrupted.load(Ordering::Relaxed) {
                return self.say(|stage| format!("\nended; {} is deleted\n", stage.place.path().display()));
            }
            self.look()?;
        }
    }
}
