//! What operators do with deliveries, one or many. It is passed on and never kept.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeliveryDetail, DeliveryFilter};
use crate::time::UnixMillis;

/// What was done with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryChange {
    /// It was pending, and need not wait any longer.
    TriedNow,
    /// It had ended, and is pending again with a fresh schedule.
    TriedAnew,
    /// It was pending, and ended.
    Cancelled,
    /// An attempt is under way; unless that succeeds, it ends with it.
    CancelledUnlessDelivered,
}

impl fmt::Display for DeliveryChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TriedNow => "tried now",
            Self::TriedAnew => "tried anew, with a fresh schedule",
            Self::Cancelled => "cancelled",
            Self::CancelledUnlessDelivered => "cancelled, unless the attempt that is under way succeeds",
        })
    }
}

/// A delivery after something was done with it: `POST /v1/deliveries/{id}/retry` and `/cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedDelivery {
    /// What.
    pub change: DeliveryChange,
    /// How it stands now.
    pub delivery: DeliveryDetail,
}

/// Which deliveries something is to be done with: `POST /v1/deliveries/retry` and `/cancel`. One request does one slice, of at most
/// [`crate::limits::PAGE_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    /// Which; `limit` and `after` are about the slice. Without a state those that were dropped are retried, and those that are pending cancelled.
    #[serde(deserialize_with = "crate::model::object")]
    pub filter: DeliveryFilter,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was done with a slice of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BulkReport {
    /// Deliveries that were meant.
    pub matched: u64,
    /// Those of them with which it was done.
    pub changed: u64,
    /// Those whose attempt is under way: it is not repeated, and when it was to be ended it is unless it succeeds.
    pub in_flight: u64,
    /// Those that changed at this very moment.
    pub not_as_wanted: u64,
    /// Those whose webhook is not in force any more.
    pub without_webhook: u64,
    /// Those for which the queue has no room.
    pub queue_full: u64,
    /// Those whose event is not kept any more.
    pub gone: u64,
    /// From when on deliveries were meant, by the daemon's clock.
    pub since: Option<UnixMillis>,
    /// Up to when, which is now at the latest: pass both with the next slice, so that what happens meanwhile, be it because of this one, is not meant.
    pub until: UnixMillis,
    /// What to pass as `after` for the next slice; none when this was the last.
    pub next: Option<String>,
}
