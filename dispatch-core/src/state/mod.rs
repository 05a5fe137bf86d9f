//! Everything the engine knows, changed by events alone.

use crate::config::EngineConfig;
use crate::demand::DemandMap;
use crate::event::HoldReason;
use crate::geo::Position;
use crate::matching::explanation::Decision;
use crate::model::{
    Acceptance, DispatchStatus, DriverId, DriverSpec, KitchenStatus, OfferId, OrderId, OrderSpec, PlannedShift,
    PublicStatus, Rating,
};
use crate::offer::OfferBook;
use crate::readiness::Readiness;
use crate::route::{Anchor, Stop, StopKind};
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

mod apply;

/// How many versions of the rules are kept beside those in force, to go back to.
pub const MAX_FORMER_CONFIGS: usize = 16;

/// Everything the engine of one market knows. `fold(events) == State`, always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The number of the last event applied.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The version of the rules; 0 before the first event.
    pub config_version: u32,
    /// The market's rules.
    pub config: EngineConfig,
    /// The rules that were in force before, by version: the last [`MAX_FORMER_CONFIGS`].
    pub former_configs: BTreeMap<u32, EngineConfig>,
    /// When the engine last went on after an outage.
    pub resumed_at: Option<Timestamp>,
    /// Every order in memory.
    pub orders: BTreeMap<OrderId, Order>,
    /// Every registered driver.
    pub drivers: BTreeMap<DriverId, Driver>,
    /// Every offer in memory.
    pub offers: OfferBook,
    /// Where orders have come from lately.
    pub demand: DemandMap,
    /// How good ready times are.
    pub readiness: Readiness,
}

/// An order and what became of it so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// As submitted.
    pub spec: OrderSpec,
    /// The kitchen track.
    pub kitchen: KitchenStatus,
    /// The dispatch track.
    pub status: DispatchStatus,
    /// When it is, or was, ready for pickup.
    pub ready_at: Timestamp,
    /// When things happened to it.
    pub times: OrderTimes,
    /// The search for a driver.
    pub round: Round,
    /// Why it is not decided yet.
    pub hold: Option<Hold>,
    /// Whether it has been without a driver for too long.
    pub overdue: bool,
    /// Its last offers, the oldest first; at most [`MAX_OFFERS_PER_ORDER`](crate::offer::MAX_OFFERS_PER_ORDER).
    pub offers: Vec<OfferId>,
    /// What was weighed when it was last decided or held.
    pub decision: Option<Decision>,
}

/// When things happened to an order; the last time where they happened twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTimes {
    /// Submitted.
    pub placed: Timestamp,
    /// Dispatch started, or it came back from a driver.
    pub waiting_since: Option<Timestamp>,
    /// A driver became responsible.
    pub assigned: Option<Timestamp>,
    /// The driver got to the pickup.
    pub arrived_at_pickup: Option<Timestamp>,
    /// The driver took it.
    pub picked_up: Option<Timestamp>,
    /// The driver left the pickup.
    pub departed: Option<Timestamp>,
    /// The driver got to the dropoff.
    pub arrived_at_dropoff: Option<Timestamp>,
    /// Delivered, cancelled or failed.
    pub ended: Option<Timestamp>,
}

/// One search for a driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// How many attempts were made in it; an offer that is withdrawn is none, and a whole wave is one. In an offer for
    /// several orders it is one for each of them.
    pub attempts: u16,
    /// Who turned the order down in it, or had it taken away, and is not asked again.
    pub asked: BTreeSet<DriverId>,
    /// When the next round begins, after this one failed.
    pub retry_at: Option<Timestamp>,
}

/// Why an order is not decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why.
    pub reason: HoldReason,
    /// Since when for this reason.
    pub since: Timestamp,
}

/// A driver and its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// As registered.
    pub spec: DriverSpec,
    /// The average of its ratings.
    pub rating: Rating,
    /// How it answered its last offers.
    pub acceptance: Acceptance,
    /// Whether it works.
    pub shift: Shift,
    /// Its next shift, if that is on the roster.
    pub planned: Option<PlannedShift>,
    /// Whether it gets no new orders for now.
    pub paused: bool,
    /// Whether it has not been heard of for too long.
    pub silent: bool,
    /// The offer it has to answer.
    pub offer: Option<OfferId>,
    /// The last stop it left, or where it set out from, and when.
    pub anchor: Option<Anchor>,
    /// The stops it still has to make, as planned when the route last changed.
    pub stops: Vec<Stop>,
    /// Since when it has no order; the start of its shift before the first.
    pub idle_since: Timestamp,
    /// Where it was last sent, to fetch or to wait, unless it has left there with an order since, or has lost the order
    /// and may be diverted.
    pub heading: Option<Heading>,
    /// How many orders it has fetched in this shift.
    pub fetched: u32,
}

/// Where a driver was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// Where.
    pub position: Position,
    /// When it is expected there, or was.
    pub arrive_at: Timestamp,
    /// When it was sent.
    pub since: Timestamp,
}

/// Whether a driver works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shift {
    /// Not working.
    Off,
    /// Working.
    On {
        /// Since when.
        since: Timestamp,
        /// When it plans to stop.
        until: Option<Timestamp>,
    },
    /// Delivering what is on board, then off.
    Ending {
        /// Since when it had been working.
        since: Timestamp,
    },
}

impl Order {
    /// What the customer is shown.
    pub fn public_status(&self) -> PublicStatus {
        PublicStatus::of(self.kitchen, &self.status)
    }

    /// Whether it is known to be ready, not only expected to be.
    pub(crate) fn is_ready_for_sure(&self) -> bool {
        self.kitchen == KitchenStatus::Ready || self.status.is_on_board()
    }

    /// When the clock of an order without a driver began: when it began to wait, but for an order placed long ahead
    /// not before its preparation should begin.
    pub(crate) fn waiting_clock(&self, preparation: Millis) -> Option<Timestamp> {
        match self.status {
            DispatchStatus::Waiting | DispatchStatus::Offered { .. } => {
                self.times.waiting_since.map(|since| since.max(self.ready_at - preparation))
            }
            _ => None,
        }
    }
}

impl Driver {
    /// Whether it works, if only to bring what is on board.
    pub fn is_on_shift(&self) -> bool {
        self.shift != Shift::Off
    }

    /// The orders it is responsible for, in the sequence of their dropoffs.
    pub fn orders(&self) -> impl Iterator<Item = &OrderId> {
        self.stops.iter().filter(|stop| stop.kind == StopKind::Dropoff).flat_map(|stop| &stop.orders)
    }

    /// Takes `order` off the stop of this kind; a stop without orders is done, and the driver leaves it at `leave_at`.
    fn finish_at(&mut self, kind: StopKind, order: &OrderId, leave_at: Timestamp) {
        let index = self.stops.iter().position(|stop| stop.kind == kind && stop.orders.contains(order));
        let index = index.expect("an order is taken and handed over at a stop of its driver's route");
        let stop = &mut self.stops[index];
        stop.orders.retain(|other| other != order);
        self.anchor = Some(Anchor { position: stop.position, at: leave_at });
        if stop.orders.is_empty() {
            self.stops.remove(index);
        }
    }

    /// Notes where it goes, if that is a pickup where it is not going already.
    fn head_for_first_stop(&mut self, now: Timestamp) {
        let Some(stop) = self.stops.first().filter(|stop| stop.kind == StopKind::Pickup) else { return };
        if self.heading.is_none_or(|heading| heading.position != stop.position) {
            self.heading = Some(Heading { position: stop.position, arrive_at: stop.arrive_at, since: now });
        }
    }

    fn arrive_at(&mut self, kind: StopKind, order: &OrderId, at: Timestamp) {
        let stop = self.stops.iter_mut().find(|stop| stop.kind == kind && stop.orders.contains(order));
        stop.expect("a driver arrives at a stop of its route").arrived_at.get_or_insert(at);
    }

    /// The driver loses an order. Who may be diverted turns to what is left.
    fn set_route(&mut self, stops: &[Stop], at: Timestamp, divert: bool) {
        if stops.is_empty() && !self.stops.is_empty() {
            self.idle_since = at;
        }
        let before = std::mem::replace(&mut self.stops, stops.to_vec());
        if divert {
            let fetches = |stops: &[Stop], at| stops.iter().any(|s| s.kind == StopKind::Pickup && s.position == at);
            let is_over = |to: &mut Heading| fetches(&before, to.position) && !fetches(stops, to.position);
            self.heading.take_if(is_over);
            self.head_for_first_stop(at);
        }
    }
}

/// A hash of a state or a log: XXH3-128 of its binary form. What is equal has equal hashes on every machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of anything that has a binary form.
    pub(crate) fn of(value: &impl Serialize) -> Self {
        let bytes = postcard::to_stdvec(value).expect("states and events have a binary form");
        Self(xxhash_rust::xxh3::xxh3_128(&bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl State {
    /// The state's hash. Cost: linear in the state, about a second for a million orders.
    pub fn hash(&self) -> Digest {
        Digest::of(self)
    }
}
