//! `deliveries retry` and `deliveries cancel`: one delivery, several, or all that a filter means. They count before they ask, and ask before they change many.

use clap::Args;
use serde::Serialize;

use super::super::Output;
use super::super::asking;
use super::super::client::{Body, Client};
use super::super::failure::Failure;
use super::super::posting::bar;
use super::super::text::{counted, plain};
use super::filters::{Between, Whose, states};
use crate::limits::PAGE_MAX;
use crate::model::report::{BulkReport, BulkRequest, ChangedDelivery, DeliveryFilter};
use crate::model::{DeliveryId, DeliveryState, Moment};

/// Which deliveries, and in which state.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel deliveries retry dlv_aaaaaaaaaaaasaaaaaaa
  hookwheel deliveries retry --webhook crm --since 2h
  hookwheel deliveries retry --state pending --webhook crm --yes    what waits, now

A pending delivery is tried now, whatever it waits for. One that ended is pending again, with a fresh schedule, and keeps the attempts it had. Many are done slice by slice:
Ctrl-C ends that, and what was done stays done.")]
pub(in super::super) struct Retry {
    #[command(flatten)]
    which: Which,
    /// In this state
    #[arg(long, conflicts_with = "ids", default_value = "dropped", value_parser = states())]
    state: DeliveryState,
}

/// Which pending deliveries.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel deliveries cancel dlv_aaaaaaaaaaaasaaaaaaa
  hookwheel deliveries cancel --webhook crm --until 2d --yes

Only pending deliveries can be cancelled. One whose attempt is under way is cancelled unless that attempt succeeds. Many are done slice by slice: Ctrl-C ends that, and what was
done stays done.")]
pub(in super::super) struct Cancel {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// These; without any, all that the filters mean
    #[arg(value_name = "ID", conflicts_with_all = ["webhook", "project", "event_type", "since", "until"])]
    ids: Vec<DeliveryId>,
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    between: Between,
    /// Do not ask before many are changed
    #[arg(long, short)]
    yes: bool,
}

/// `deliveries retry`
pub(in super::super) fn retry(retry: &Retry, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    change(&Verb { path: "retry", does: "retry", done: "retried" }, &retry.which, retry.state, daemon, output)
}

/// `deliveries cancel`
pub(in super::super) fn cancel(cancel: &Cancel, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    change(&Verb { path: "cancel", does: "cancel", done: "cancelled" }, &cancel.which, DeliveryState::Pending, daemon, output)
}

struct Verb {
    path: &'static str,
    does: &'static str,
    done: &'static str,
}

fn change(verb: &Verb, which: &Which, state: DeliveryState, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    if !which.ids.is_empty() {
        return which.ids.iter().try_for_each(|id| one(verb, *id, daemon, output));
    }
    let filter = DeliveryFilter {
        webhook: which.whose.webhook.clone(),
        project: which.whose.project.clone(),
        event_type: which.whose.event_type.clone(),
        state: Some(state),
        since: which.between.since,
        until: which.between.until,
        limit: Some(PAGE_MAX),
        after: None,
    };
    let (counted_now, filter) = all(verb, filter, true, None, daemon)?;
    let count = counted_now.matched;
    if count == 0 {
        return output.show(&Summary::default(), |_, _| format!("no {state} deliveries are meant by that; nothing was changed\n"));
    }
    let of = which.whose.webhook.as_ref().map(|webhook| format!(" of {webhook}")).unwrap_or_default();
    let meant = counted(count, &format!("{state} delivery"), &format!("{state} deliveries"));
    asking::confirmed(&format!("{} {meant}{of}?", verb.does), which.yes, output)?;
    let (summary, _) = all(verb, filter, false, Some(count), daemon)?;
    output.show(&summary, |summary, _| told(verb, summary))
}

fn one(verb: &Verb, id: DeliveryId, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let changed = daemon.post::<ChangedDelivery>(&format!("/v1/deliveries/{id}/{}", verb.path), None)?;
    output.show(&changed, |changed, _| {
        let summary = &changed.delivery.summary;
        let waits = if summary.paused { format!("; it waits, for {} is paused", plain(&summary.webhook)) } else { String::new() };
        format!("{id}: {}{waits}\n", changed.change)
    })
}

/// What became of all of them.
#[derive(Debug, Default, Serialize)]
struct Summary {
    matched: u64,
    changed: u64,
    in_flight: u64,
    not_as_wanted: u64,
    without_webhook: u64,
    queue_full: u64,
    gone: u64,
}

impl Summary {
    fn add(&mut self, slice: &BulkReport) {
        self.matched = self.matched.saturating_add(slice.matched);
        self.changed = self.changed.saturating_add(slice.changed);
        self.in_flight = self.in_flight.saturating_add(slice.in_flight);
        self.not_as_wanted = self.not_as_wanted.saturating_add(slice.not_as_wanted);
        self.without_webhook = self.without_webhook.saturating_add(slice.without_webhook);
        self.queue_full = self.queue_full.saturating_add(slice.queue_full);
        self.gone = self.gone.saturating_add(slice.gone);
    }
}

/// Slice after slice, to the end; and the filter with its moments as the daemon's clock has them, for whatever happens later takes a delivery out of what is meant.
fn all(
    verb: &Verb,
    filter: DeliveryFilter,
    dry_run: bool,
    count: Option<u64>,
    daemon: &Client,
) -> Result<(Summary, DeliveryFilter), Failure> {
    let template = if count.is_some() { "{bar:40} {human_pos}/{human_len}  {eta} left" } else { "{spinner} counting: {human_pos}" };
    let bar = bar(count, template);
    let mut summary = Summary::default();
    let mut request = BulkRequest { filter, dry_run };
    loop {
        let body = serde_json::to_vec(&request).map_err(|error| Failure::Refused(format!("the filter can't be told: {error}")))?;
        let slice =
            daemon.post::<BulkReport>(&format!("/v1/deliveries/{}", verb.path), Some(Body::Json(body.into()))).map_err(|failure| {
                match dry_run {
                    true => failure,
                    false => {
                        failure.and(&format!("{} were {} before that; the same command goes on with the rest", summary.changed, verb.done))
                    }
                }
            })?;
        summary.add(&slice);
        bar.set_position(summary.matched);
        request.filter.since = slice.since.map(Moment::At);
        request.filter.until = Some(Moment::At(slice.until));
        if slice.next.is_none() || slice.next == request.filter.after {
            request.filter.after = None;
            return Ok((summary, request.filter));
        }
        request.filter.after = slice.next;
    }
}

fn told(verb: &Verb, summary: &Summary) -> String {
    let mut text = format!("{} {}\n", counted(summary.changed, "delivery", "deliveries"), verb.done);
    let in_flight = match verb.path {
        "cancel" => "under way: cancelled unless that attempt succeeds",
        _ => "under way already",
    };
    let rest = [
        (summary.in_flight, in_flight),
        (summary.not_as_wanted, "not in that state any more"),
        (summary.without_webhook, "of a webhook that is not in force any more"),
        (summary.queue_full, "left, because the queue is full"),
        (summary.gone, "left, because their events are not kept any more"),
    ];
    for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("  {count} {what}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_left_is_told_with_the_reason() {
        let summary = Summary { matched: 9, changed: 3, in_flight: 1, gone: 5, ..Summary::default() };
        let verb = Verb { path: "cancel", does: "cancel", done: "cancelled" };
        let text = told(&verb, &summary);
        assert_eq!(
            text,
            "3 deliveries cancelled\n  1 under way: cancelled unless that attempt succeeds\n  5 left, because their events are not kept any more\n"
        );
    }
}
