//! A driver's route: the stops it still has to make, with projected times.

pub(crate) mod plan;

use crate::config::ServiceTimes;
use crate::eta::TravelTime;
use crate::geo::Position;
use crate::model::{OrderId, Vehicle};
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// What happens at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// Orders are fetched.
    Pickup,
    /// Orders are handed over.
    Dropoff,
}

/// One stop of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// What happens there.
    pub kind: StopKind,
    /// Where it is.
    pub position: Position,
    /// The orders it is for; never empty.
    pub orders: Vec<OrderId>,
    /// When the driver said it was there.
    pub arrived_at: Option<Timestamp>,
    /// When the driver is expected there, or was.
    pub arrive_at: Timestamp,
    /// When the orders are expected to change hands.
    pub done_at: Timestamp,
    /// When the driver is expected to leave.
    pub leave_at: Timestamp,
}

impl Stop {
    /// A stop whose times are not projected yet.
    pub fn new(kind: StopKind, position: Position, order: OrderId) -> Self {
        let unknown = Timestamp::MIN;
        Self {
            kind,
            position,
            orders: vec![order],
            arrived_at: None,
            arrive_at: unknown,
            done_at: unknown,
            leave_at: unknown,
        }
    }
}

/// Where a driver was known to be at a time: a fix, or a stop it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Where.
    pub position: Position,
    /// When.
    pub at: Timestamp,
}

/// Sets the expected times of `stops` for a driver that was at `from` and cannot finish anything before `now`.
///
/// At a pickup the orders change hands once the driver is there and its service before pickup is over, but not before
/// each of them is ready. One service per stop, however many orders it is for. `bound_for` is where the driver was sent
/// and when it gets, or got, there: no fix has to say so.
#[expect(clippy::too_many_arguments, reason = "each is one thing the times follow from")]
pub(crate) fn project(
    stops: &mut [Stop],
    from: Anchor,
    bound_for: Option<Anchor>,
    now: Timestamp,
    vehicle: Vehicle,
    service: &ServiceTimes,
    travel: &dyn TravelTime,
    ready_at: impl Fn(&OrderId) -> Timestamp,
) {
    let mut here = from;
    for (i, stop) in stops.iter_mut().enumerate() {
        let (before, after) = service_at(stop.kind, service);
        let bound = bound_for.filter(|bound| i == 0 && bound.position == stop.position);
        stop.arrive_at = stop.arrived_at.or(bound.map(|bound| bound.at)).unwrap_or_else(|| {
            let leg = travel.travel(here.position, stop.position, vehicle, here.at);
            (here.at + leg.duration).max(now)
        });
        let ready = match stop.kind {
            StopKind::Pickup => stop.orders.iter().map(&ready_at).max(),
            StopKind::Dropoff => None,
        };
        stop.done_at = (stop.arrive_at + before).max(now).max(ready.unwrap_or(now));
        stop.leave_at = stop.done_at + after;
        here = Anchor { position: stop.position, at: stop.leave_at };
    }
}

/// The service before and after what happens at a stop.
fn service_at(kind: StopKind, service: &ServiceTimes) -> (Millis, Millis) {
    match kind {
        StopKind::Pickup => (service.before_pickup, service.after_pickup),
        StopKind::Dropoff => (service.before_dropoff, service.after_dropoff),
    }
}

/// The most units on board at once along `stops`, beginning with `on_board`.
pub(crate) fn peak_load(on_board: u32, stops: &[Stop], units: impl Fn(&OrderId) -> u32) -> u32 {
    let mut load = on_board;
    let mut peak = on_board;
    for stop in stops {
        let moved: u32 = stop.orders.iter().map(&units).sum();
        match stop.kind {
            StopKind::Pickup => load += moved,
            StopKind::Dropoff => load -= moved,
        }
        peak = peak.max(load);
    }
    peak
}

/// Takes everything off `stops` that is for orders which `stay` does not hold for.
pub(crate) fn keep(stops: &mut Vec<Stop>, stay: impl Fn(&OrderId) -> bool) {
    for stop in stops.iter_mut() {
        stop.orders.retain(&stay);
    }
    stops.retain(|stop| !stop.orders.is_empty());
}

/// `stops` without everything that is for `order`.
pub(crate) fn without(stops: &[Stop], order: &OrderId) -> Vec<Stop> {
    let mut left = stops.to_vec();
    keep(&mut left, |other| other != order);
    left
}
