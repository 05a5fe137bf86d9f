//! Questions to the engine. None changes anything.

use super::Engine;
use crate::derived::Derived;
use crate::eta::Eta;
use crate::event::HoldReason;
use crate::matching::explanation::Decision;
use crate::model::{DispatchStatus, DriverId, OrderId, Vehicle};
use crate::route::{self, Anchor, StopKind};
use crate::state::{Digest, Order, State};
use crate::units::{Millis, Timestamp};
use serde::Serialize;
use std::fmt;

/// Why an order has the driver it has, or none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// Which order.
    pub order: OrderId,
    /// Where it stands.
    pub status: DispatchStatus,
    /// Why it is not decided yet, if it is not.
    pub held: Option<HoldReason>,
    /// What was weighed when it was last decided or held; absent before, and where a dispatcher decided at once.
    pub decision: Option<Decision>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {} is {}", self.order, self.status.name())?;
        if let Some(driver) = self.status.driver() {
            write!(f, " with driver {driver}")?;
        }
        match self.held {
            Some(HoldReason::SlackAmple) => write!(f, ": held, there is time")?,
            Some(HoldReason::NoCandidate) => write!(f, ": no driver near enough can take it")?,
            Some(HoldReason::Outmatched) => write!(f, ": every driver near is better used for another order")?,
            Some(HoldReason::DriverBusy) => write!(f, ": the driver reserved for it is still busy")?,
            None => {}
        }
        writeln!(f)?;
        self.decision.as_ref().map_or(Ok(()), |decision| write!(f, "{decision}"))
    }
}

impl Engine {
    /// Everything the engine knows.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The hash of the state; see [`State::hash`] for its cost.
    pub fn state_hash(&self) -> Digest {
        self.state.hash()
    }

    /// Why the order has the driver it has, or none; `None` for an order that is not in memory.
    pub fn explain(&self, order: &OrderId) -> Option<Explanation> {
        let Order { status, hold, decision, .. } = self.state.orders.get(order)?;
        Some(Explanation {
            order: order.clone(),
            status: status.clone(),
            held: hold.map(|hold| hold.reason),
            decision: decision.clone(),
        })
    }

    /// When the order arrives, as far as can be told at `now`; `None` for one that has ended or is not in memory.
    ///
    /// Before a driver is assigned it is assumed that one is at the pickup when the order is ready.
    pub fn eta(&self, order: &OrderId, now: Timestamp) -> Option<Eta> {
        let order = self.state.orders.get(order).filter(|order| !order.status.is_terminal())?;
        let now = now.max(self.now());
        match order.status.driver() {
            Some(driver) => self.eta_by(order, driver, now),
            None => Some(self.eta_unassigned(order, now)),
        }
    }

    fn eta_unassigned(&self, order: &Order, now: Timestamp) -> Eta {
        let service = &self.state.config.service;
        let leave_at = now.max(order.ready_at) + service.after_pickup;
        let spec = &order.spec;
        let leg = self.travel.travel(spec.pickup.position, spec.dropoff.position, Vehicle::default(), leave_at);
        Eta {
            at: leave_at + leg.duration + service.before_dropoff,
            to_pickup: Millis::ZERO,
            preparation_left: (order.ready_at - now).max(Millis::ZERO),
            pickup_service: service.after_pickup,
            to_dropoff: leg.duration,
            hand_off: service.before_dropoff,
        }
    }

    fn eta_by(&self, order: &Order, driver: &DriverId, now: Timestamp) -> Option<Eta> {
        let driver = &self.state.drivers[driver];
        let mut stops = driver.stops.clone();
        let seen = self.sighted(&driver.spec.id);
        let from = self.departure(driver, seen).unwrap_or(Anchor { position: stops.first()?.position, at: now });
        let service = &self.state.config.service;
        let bound = self.bound_for(driver).map(|heading| Anchor { position: heading.position, at: heading.arrive_at });
        let ready = |id: &OrderId| self.ready_at(id);
        route::project(&mut stops, from, bound, now, driver.spec.vehicle, service, &*self.travel, ready);
        let stop = |kind| stops.iter().find(|stop| stop.kind == kind && stop.orders.contains(&order.spec.id));
        let dropoff = stop(StopKind::Dropoff)?;
        let hand_off_from = dropoff.arrive_at.max(now);
        let mut eta = Eta {
            at: dropoff.done_at,
            to_pickup: Millis::ZERO,
            preparation_left: Millis::ZERO,
            pickup_service: Millis::ZERO,
            to_dropoff: hand_off_from - now,
            hand_off: dropoff.done_at - hand_off_from,
        };
        if let Some(pickup) = stop(StopKind::Pickup) {
            let there = pickup.arrive_at.max(now);
            eta.to_pickup = there - now;
            eta.preparation_left = (order.ready_at - there).max(Millis::ZERO);
            eta.pickup_service = pickup.leave_at - there - eta.preparation_left;
            eta.to_dropoff = hand_off_from - pickup.leave_at;
        }
        Some(eta)
    }

    /// The last position of a driver on shift.
    pub(super) fn sighted(&self, driver: &DriverId) -> Option<Anchor> {
        self.sighted.binary_search_by(|(id, _)| id.cmp(driver)).ok().map(|i| self.sighted[i].1)
    }

    /// Whether what is derived from the state equals what it would be if derived anew. For tests and simulation.
    pub fn derived_is_consistent(&self) -> bool {
        self.derived == Derived::rebuild(&self.state)
    }
}
