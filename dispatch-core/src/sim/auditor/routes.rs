//! Routes: which stops, in which sequence, where and when.

use super::orders::Status;
use super::{Auditor, Check, ensure, rule};
use crate::model::{DriverId, OrderId};
use crate::route::{Stop, StopKind};
use crate::units::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// When the times of a route were projected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// With this event.
    Anew,
    /// With this event, or with the offer that was made then.
    Since(Timestamp),
    /// With an earlier event: an order was taken out of the route.
    Earlier,
}

/// Where on a route an order is fetched and brought.
#[derive(Default)]
struct Ends {
    pickup: Option<usize>,
    dropoff: Option<usize>,
}

impl Auditor {
    /// The units a driver has on board.
    pub(super) fn on_board(&self, driver: &DriverId) -> u32 {
        let orders = self.drivers[driver].orders.iter();
        orders.filter(|order| self.orders[*order].status.is_on_board()).map(|order| self.units(order)).sum()
    }

    /// Judges what is left of a driver's route after an order was taken out of it.
    pub(super) fn check_kept_route(&self, driver: &DriverId, stops: &[Stop]) -> Check {
        self.check_route(driver, &[], stops, Plan::Earlier)
    }

    /// Judges the route of a registered driver for the orders it has and the ones in `offered`, all of them placed.
    pub(super) fn check_route(&self, id: &DriverId, offered: &[OrderId], stops: &[Stop], plan: Plan) -> Check {
        let driver = self.driver(id)?;
        let expected: BTreeSet<&OrderId> = driver.orders.iter().chain(offered).collect();
        self.check_orders(&expected, stops)?;
        let mut left_at = Timestamp::MIN;
        for stop in stops {
            self.check_position(stop)?;
            self.check_times(id, stop, left_at, plan)?;
            self.check_arrival(id, stop)?;
            left_at = stop.leave_at;
        }
        let (peak, capacity) = (self.peak(self.on_board(id), stops), u32::from(driver.spec.capacity.get()));
        ensure(peak <= capacity, rule::ASSIGN_CAPACITY, || format!("driver {id} would carry {peak} of {capacity}"))
    }

    /// Each order is fetched and brought once, in this sequence; what is on board is only brought.
    fn check_orders(&self, expected: &BTreeSet<&OrderId>, stops: &[Stop]) -> Check {
        let mut ends = BTreeMap::<&OrderId, Ends>::new();
        for (i, stop) in stops.iter().enumerate() {
            ensure(!stop.orders.is_empty(), rule::ROUTE_ORDERS, || format!("stop {i} is for nothing"))?;
            for id in &stop.orders {
                let ends = ends.entry(id).or_default();
                let end = if stop.kind == StopKind::Pickup { &mut ends.pickup } else { &mut ends.dropoff };
                let before = end.replace(i);
                ensure(before.is_none(), rule::ROUTE_ORDERS, || format!("order {id} has two stops of a kind"))?;
            }
        }
        ensure(ends.keys().eq(expected), rule::ROUTE_ORDERS, || {
            format!("it is for {:?} instead of {expected:?}", ends.keys().collect::<Vec<_>>())
        })?;
        for (id, Ends { pickup, dropoff }) in ends {
            let status = &self.orders[id].status;
            ensure(pickup.is_none() == status.is_on_board() && dropoff.is_some(), rule::ROUTE_ORDERS, || {
                format!("order {id}, {}, has its pickup at {pickup:?} and its dropoff at {dropoff:?}", status.name())
            })?;
            ensure(pickup < dropoff, rule::ROUTE_PRECEDENCE, || format!("order {id} is brought before it is fetched"))?;
        }
        Ok(())
    }

    fn check_position(&self, stop: &Stop) -> Check {
        stop.orders.iter().try_for_each(|id| {
            let spec = &self.orders[id].spec;
            let place = if stop.kind == StopKind::Pickup { &spec.pickup } else { &spec.dropoff };
            ensure(place.position == stop.position, rule::ROUTE_POSITION, || {
                format!("the {:?} of order {id} is at {}, not {}", stop.kind, place.position, stop.position)
            })
        })
    }

    fn check_times(&self, driver: &DriverId, stop: &Stop, left_at: Timestamp, plan: Plan) -> Check {
        let Stop { kind, arrived_at, arrive_at, done_at, leave_at, .. } = stop;
        // A driver can be at one pickup and have said that it was at another one before.
        let onward = arrived_at.is_some() || left_at <= *arrive_at;
        ensure(onward && arrive_at <= done_at && done_at <= leave_at, rule::ROUTE_TIMES, || {
            format!("left at {left_at}, arrives {arrive_at}, done {done_at}, leaves {leave_at}")
        })?;
        let in_force = if plan == Plan::Anew { self.services.len() - 1 } else { 0 };
        let serviced = self.services[in_force..].iter().any(|service| {
            let (before, after) = match kind {
                StopKind::Pickup => (service.before_pickup, service.after_pickup),
                StopKind::Dropoff => (service.before_dropoff, service.after_dropoff),
            };
            *done_at - *arrive_at >= before && *leave_at == *done_at + after
        });
        ensure(serviced, rule::ROUTE_SERVICE, || {
            format!("{kind:?} arrives {arrive_at}, done {done_at}, leaves {leave_at}")
        })?;
        let since = match plan {
            Plan::Anew => self.at,
            Plan::Since(offered_at) => offered_at,
            Plan::Earlier => return Ok(()),
        };
        // Who goes where it was sent, come what may, is there without saying so.
        let was_sent = !self.config.divert && self.drivers[driver].sent.contains(&(stop.position, *arrive_at));
        let ahead = *done_at >= since && (arrived_at.is_some() || was_sent || *arrive_at >= since);
        ensure(ahead, rule::ROUTE_PAST, || format!("arrives {arrive_at}, done {done_at}, planned at {since}"))?;
        let mut fetched = stop.orders.iter().filter(|_| *kind == StopKind::Pickup);
        fetched.try_for_each(|id| {
            let order = &self.orders[id];
            let ready = if plan == Plan::Anew { order.ready_earliest() } else { order.ready_earliest_since(since) };
            ensure(*done_at >= ready, rule::ROUTE_READY, || {
                format!("order {id} is ready at {ready}, fetched {done_at}")
            })
        })
    }

    fn check_arrival(&self, driver: &DriverId, stop: &Stop) -> Check {
        let reached = stop.orders.iter().find(|id| match self.orders[*id].status {
            Status::Assigned { arrived, .. } => arrived && stop.kind == StopKind::Pickup,
            Status::OnBoard { arrived, .. } => arrived,
            _ => false,
        });
        if let Some(order) = reached {
            ensure(stop.arrived_at.is_some(), rule::ROUTE_ARRIVAL, || {
                format!("driver {driver} said it was at the {:?} of order {order}", stop.kind)
            })?;
        }
        let Some(arrived_at) = stop.arrived_at else { return Ok(()) };
        let said = self.drivers[driver].was_at.contains(&(stop.position, arrived_at));
        ensure(said && stop.arrive_at == arrived_at, rule::ROUTE_ARRIVAL, || {
            format!("driver {driver} did not say it was at the {:?} of {:?} at {arrived_at}", stop.kind, stop.orders)
        })
    }

    /// The most units on board at once along a route whose orders were checked.
    fn peak(&self, on_board: u32, stops: &[Stop]) -> u32 {
        let (mut load, mut peak) = (on_board, on_board);
        for stop in stops {
            let moved: u32 = stop.orders.iter().map(|order| self.units(order)).sum();
            load = if stop.kind == StopKind::Pickup { load + moved } else { load - moved };
            peak = peak.max(load);
        }
        peak
    }
}
