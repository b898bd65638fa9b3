//! What systemd is told: ready, reloading, stopping, how things stand, that opening takes longer, that the daemon lives. It never waits for systemd, and is silent where nobody listens.
//!
//! The protocol is sd_notify(3): datagrams to `NOTIFY_SOCKET`.

use std::time::Duration;

use sd_notify::NotifyState;

use super::house::House;
use crate::limits;

/// The doors are open, or a reload is over.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub(super) fn reloading() {
    // `Type=notify-reload` wants to know when it began; others read over it.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The daemon ends.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("ending: attempts in flight are waited for")]);
}

/// Opening goes on, with this; the next step may take [`limits::OPENING_STEP_MAX_MS`].
pub(super) fn opening(what: &str) {
    notify(&[longer(), NotifyState::Status(what)]);
}

/// Opening goes on with what it did.
pub(super) fn opening_goes_on() {
    notify(&[longer()]);
}

/// The daemon does its work; the watchdog is content until the next time.
pub(super) fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// Says in one line how things stand, now and whenever that is another one, until the daemon ends.
pub(super) async fn tell_status(house: House) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let mut told = String::new();
    loop {
        if house.is_draining() {
            return;
        }
        if let Some(line) = status_line(&house).await.filter(|line| *line != told) {
            notify(&[NotifyState::Status(&line)]);
            told = line;
        }
        tokio::time::sleep(Duration::from_millis(limits::STATUS_EVERY_MS)).await;
    }
}

/// What is wrong, or that nothing is, and counts; nothing when the engine does not answer, which is the watchdog's matter.
async fn status_line(house: &House) -> Option<String> {
    let (pending, in_flight, counters) =
        house.ask(|engine, _, _| (engine.pending().len(), engine.in_flight(), engine.counters())).await.ok()?;
    let paused = house.registry().sending().map(ToString::to_string);
    let how = match (house.disk_trouble(), paused) {
        (Some(trouble), _) => trouble,
        (None, Some(pause)) => format!("accepting, and sending nothing: {pause}"),
        (None, None) => "accepting and delivering".to_owned(),
    };
    Some(format!("{how}; {pending} pending, {in_flight} in flight, {} accepted, {} delivered", counters.accepted, counters.delivered))
}

fn longer() -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(limits::OPENING_STEP_MAX_MS * 1000)
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
