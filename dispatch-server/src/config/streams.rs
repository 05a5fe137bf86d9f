//! What streams may take.

use super::Problems;
use dispatch_core::DispatchStatus;
use serde::Deserialize;

/// From when on a customer sees where its driver is; until the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrackedFrom {
    Assignment,
    Pickup,
    Never,
}

/// What tracking links show.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrackingConfig {
    pub(crate) position_from: TrackedFrom,
}

impl TrackedFrom {
    /// Whether the driver of an order is shown now.
    pub(crate) fn shows(self, status: &DispatchStatus) -> bool {
        match self {
            Self::Never => false,
            Self::Pickup => status.is_on_board(),
            Self::Assignment => status.is_on_board() || status.is_before_pickup(),
        }
    }
}

/// What streams may take.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamLimits {
    pub(crate) replay_bytes: usize,
    pub(crate) snapshot_bytes: usize,
    pub(crate) subscriptions: usize,
    pub(crate) per_principal: usize,
    pub(crate) per_socket: usize,
    pub(crate) queue: usize,
    pub(crate) heartbeat_seconds: u64,
}

pub(super) fn check_streams(check: &mut Problems, streams: &StreamLimits) {
    let StreamLimits {
        replay_bytes,
        snapshot_bytes,
        subscriptions,
        per_principal,
        per_socket,
        queue,
        heartbeat_seconds,
    } = *streams;
    check.that("streams.replay_bytes", replay_bytes <= 1 << 40, "must be at most 2^40");
    let fits = (1 << 20..=1 << 40).contains(&snapshot_bytes);
    check.that("streams.snapshot_bytes", fits, "must be 2^20 to 2^40");
    for (key, count) in [
        ("streams.subscriptions", subscriptions),
        ("streams.per_principal", per_principal),
        ("streams.per_socket", per_socket),
    ] {
        check.that(key, (1..=1_000_000).contains(&count), "must be 1 to 1000000");
    }
    check.that("streams.queue", (1..=1_000_000).contains(&queue), "must be 1 to 1000000");
    check.that("streams.heartbeat_seconds", (1..=3_600).contains(&heartbeat_seconds), "must be 1 to 3600");
}
