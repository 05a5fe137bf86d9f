//! One webhook: whose it is, where it leads, what it is told, and how its file is kept.

use super::line::{Letter, Line, Policy};
use super::post::Connection;
use crate::auth::TenantId;
use crate::private_file;
use dispatch_core::{Label, MarketId, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

macro_rules! event_types {
    ($($variant:ident $name:literal)*) => {
        /// What an entry of the feed is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum EventType {
            $($variant,)*
        }

        impl EventType {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The type as entries have it.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

event_types! {
    OrderPlaced "order_placed"
    KitchenProgressed "kitchen_progressed"
    ReadyTimeChanged "ready_time_changed"
    DispatchStarted "dispatch_started"
    OrderHeld "order_held"
    NewOffer "new_offer"
    OfferAccepted "offer_accepted"
    OfferDeclined "offer_declined"
    OfferExpired "offer_expired"
    OfferWithdrawn "offer_withdrawn"
    DriverAssigned "driver_assigned"
    RouteUpdate "route_update"
    OrderReturned "order_returned"
    ArrivedAtPickup "arrived_at_pickup"
    PickedUp "picked_up"
    Departed "departed"
    ArrivedAtDropoff "arrived_at_dropoff"
    Delivered "delivered"
    OrderCancelled "order_cancelled"
    OrderFailed "order_failed"
    AssignmentFailed "assignment_failed"
    RoundStarted "round_started"
    OrderOverdue "order_overdue"
    OrderRetired "order_retired"
    DriverRegistered "driver_registered"
    DriverRated "driver_rated"
    ShiftPlanned "shift_planned"
    ShiftStarted "shift_started"
    ShiftEnding "shift_ending"
    ShiftEnded "shift_ended"
    DriverPaused "driver_paused"
    DriverResumed "driver_resumed"
    DriverSilent "driver_silent"
    DriverHeard "driver_heard"
    RepositionSuggested "reposition_suggested"
    RulesSet "rules_set"
    EngineResumed "engine_resumed"
}

/// What letters are signed with. Needed as it is, so it is kept as it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret(pub(super) String);

impl Secret {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(format!("whs_{}", crate::auth::random::<32>()?)))
    }

    /// For the one answer that shows it.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What somebody asked to be told, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Webhook {
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    #[serde(default)]
    pub(crate) name: Option<Label>,
    pub(crate) url: String,
    /// All if absent.
    #[serde(default)]
    pub(crate) events: Option<BTreeSet<EventType>>,
    /// All of its tenant if absent.
    #[serde(default)]
    pub(crate) markets: Option<BTreeSet<MarketId>>,
    pub(super) secret: Secret,
    /// The secret before, and until when letters are signed with it, too.
    #[serde(default)]
    pub(super) former: Option<(Secret, Timestamp)>,
    pub(crate) created_at: Timestamp,
    #[serde(default)]
    pub(crate) pause: Option<Pause>,
}

/// Why a webhook is told nothing for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pause {
    /// Somebody wants it so.
    Asked,
    /// The receiver said that it is gone.
    Gone,
}

impl Webhook {
    /// The secrets that letters are signed with at this time.
    pub(super) fn secrets(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        let former = self.former.as_ref().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        [&self.secret].into_iter().chain(former).map(|secret| secret.0.as_str())
    }

    /// Whether it is told of this in a market of its tenant.
    pub(super) fn wants(&self, market: &MarketId, kind: &str) -> bool {
        self.markets.as_ref().is_none_or(|markets| markets.contains(market))
            && self.events.as_ref().is_none_or(|events| events.iter().any(|event| event.name() == kind))
    }
}

/// A webhook and what it still has to be told.
pub(super) struct Hook {
    pub(super) about: RwLock<Webhook>,
    line: Mutex<Line>,
    /// What is kept is not what the line is.
    is_dirty: AtomicBool,
    /// It was said that it cannot be kept.
    is_failing: AtomicBool,
    /// One writer of the file at a time.
    keeping: Mutex<()>,
    is_deleted: AtomicBool,
    /// Something of it has changed.
    pub(super) changed: Notify,
    pub(super) idle: Mutex<Option<Connection>>,
}

impl Hook {
    pub(super) fn new(about: Webhook, line: Line) -> Self {
        Self {
            about: RwLock::new(about),
            line: Mutex::new(line),
            is_dirty: AtomicBool::new(true),
            is_failing: AtomicBool::new(false),
            keeping: Mutex::new(()),
            is_deleted: AtomicBool::new(false),
            changed: Notify::new(),
            idle: Mutex::new(None),
        }
    }

    /// Looks at the line.
    pub(super) fn see<T>(&self, look: impl FnOnce(&Line) -> T) -> T {
        look(&self.line.lock())
    }

    /// Changes the line.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        let done = change(&mut self.line.lock());
        self.is_dirty.store(true, Ordering::SeqCst);
        done
    }

    /// A letter to send now. That it is under way is not kept: after a crash it is sent again.
    pub(super) fn take(&self, now: Timestamp, policy: &Policy) -> Option<(u64, Letter)> {
        self.line.lock().take(now, policy)
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.is_deleted.load(Ordering::SeqCst)
    }

    /// Writes the line into its file, if it changed since.
    pub(super) fn keep(&self, folder: &Path) -> io::Result<()> {
        let _one = self.keeping.lock();
        if self.is_deleted() || !self.is_dirty.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let json = serde_json::to_vec(&*self.line.lock()).map_err(io::Error::other);
        let kept = json.and_then(|json| private_file::replace(folder, &file(&self.about.read().id), &json));
        if kept.is_err() {
            self.is_dirty.store(true, Ordering::SeqCst);
        }
        if let Err(error) = &kept
            && !self.is_failing.swap(true, Ordering::SeqCst)
        {
            tracing::error!("how far a webhook was told cannot be kept, and it will be told some of it again: {error}");
        } else if kept.is_ok() {
            self.is_failing.store(false, Ordering::SeqCst);
        }
        kept
    }

    /// Ends it, and removes its file.
    pub(super) fn forget(&self, folder: Option<&Path>) {
        self.is_deleted.store(true, Ordering::SeqCst);
        let _one = self.keeping.lock();
        if let Some(folder) = folder {
            // What stays is read by nobody.
            let _ = std::fs::remove_file(folder.join(file(&self.about.read().id)));
        }
        self.changed.notify_one();
    }
}

/// What is kept of a line; nothing if there is no file.
pub(super) fn read_line(folder: &Path, id: &str) -> io::Result<Option<Line>> {
    match std::fs::read(folder.join(file(id))) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn file(id: &str) -> String {
    format!("{id}.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_called_as_in_the_feed() {
        for event in EventType::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.name());
        }
        let feed = include_str!("../wire/feed.rs");
        let named = |event: &EventType| feed.contains(&format!("\"{}\"", event.name()));
        let missing: Vec<_> = EventType::ALL.iter().filter(|event| !named(event)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
