//! Candidates: what it would mean for a driver to take an order.

use crate::config::ServiceTimes;
use crate::eta::{Leg, TravelTime};
use crate::matching::explanation::Exclusion;
use crate::model::{DriverId, DriverSpec, OrderSpec, Rating};
use crate::route::Anchor;
use crate::units::{Meters, Millis, Timestamp};
use std::collections::BTreeSet;

/// An order that looks for a driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand<'a> {
    /// The order.
    pub(crate) order: &'a OrderSpec,
    /// When it is ready.
    pub(crate) ready_at: Timestamp,
    /// The drivers it is not offered to again.
    pub(crate) asked: &'a BTreeSet<DriverId>,
}

/// A driver who could take one more order.
#[derive(Clone, Copy, Debug)]
pub struct Supply<'a> {
    /// The driver.
    pub driver: &'a DriverSpec,
    /// Its average rating.
    pub rating: Rating,
    /// The share of offers it accepts, 0 to 1.
    pub acceptance: f64,
    /// How many orders it is responsible for.
    pub load: u16,
    /// For how long it has had none.
    pub idle_for: Option<Millis>,
    /// Where and when it could set out to the next pickup.
    pub from: Anchor,
    /// When its shift is planned to end.
    pub until: Option<Timestamp>,
}

/// A driver who can take an order, and what would come of it: what a score term judges.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The order.
    pub order: &'a OrderSpec,
    /// The driver.
    pub supply: &'a Supply<'a>,
    /// The time of the decision.
    pub now: Timestamp,
    /// When the order is ready.
    pub ready_at: Timestamp,
    /// The way from where the driver sets out to the pickup.
    pub to_pickup: Leg,
    /// When the driver could have the order if it were ready.
    pub reach_at: Timestamp,
    /// When the driver would have it.
    pub pickup_at: Timestamp,
    /// The way from the pickup to the dropoff.
    pub to_dropoff: Leg,
    /// When the customer would have it.
    pub deliver_at: Timestamp,
}

impl Candidate<'_> {
    /// How long the food waits for the driver.
    pub fn food_waiting(&self) -> Millis {
        self.pickup_at - self.ready_at
    }

    /// How long the driver waits for the food.
    pub fn driver_waiting(&self) -> Millis {
        self.pickup_at - self.reach_at
    }

    /// How long until the driver can set out.
    pub fn until_free(&self) -> Millis {
        (self.supply.from.at - self.now).max(Millis::ZERO)
    }

    /// How much later than promised the customer would have it; zero when in time or nothing was promised.
    pub fn lateness(&self) -> Millis {
        self.order.promised_at.map_or(Millis::ZERO, |promised| (self.deliver_at - promised).max(Millis::ZERO))
    }
}

/// How a driver who can take an order would get to its pickup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    leg: Leg,
    there_at: Timestamp,
    pickup_at: Timestamp,
}

/// Whether this driver can take this order; otherwise the first test it fails.
pub(crate) fn reach(
    demand: &Demand<'_>,
    supply: &Supply<'_>,
    service: &ServiceTimes,
    travel: &dyn TravelTime,
) -> Result<Reach, Exclusion> {
    let order = demand.order;
    let driver = supply.driver;
    if demand.asked.contains(&driver.id) {
        return Err(Exclusion::AskedBefore);
    }
    if order.units > driver.capacity {
        return Err(Exclusion::Capacity);
    }
    if !order.skills.is_subset(&driver.skills) {
        return Err(Exclusion::Skill);
    }
    let Anchor { position, at: set_out } = supply.from;
    let to_pickup = travel.travel(position, order.pickup.position, driver.vehicle, set_out);
    let reach_at = set_out + to_pickup.duration + service.before_pickup;
    let pickup_at = reach_at.max(demand.ready_at);
    if supply.until.is_some_and(|until| pickup_at > until) {
        return Err(Exclusion::ShiftEnds);
    }
    Ok(Reach { leg: to_pickup, there_at: reach_at, pickup_at })
}

impl Reach {
    /// What would come of it.
    pub(crate) fn complete<'a>(
        self,
        demand: &Demand<'a>,
        supply: &'a Supply<'a>,
        now: Timestamp,
        service: &ServiceTimes,
        travel: &dyn TravelTime,
    ) -> Candidate<'a> {
        let Self { leg: to_pickup, there_at: reach_at, pickup_at } = self;
        let &Demand { order, ready_at, .. } = demand;
        let leave_at = pickup_at + service.after_pickup;
        let (pickup, dropoff) = (order.pickup.position, order.dropoff.position);
        let to_dropoff = travel.travel(pickup, dropoff, supply.driver.vehicle, leave_at);
        let deliver_at = leave_at + to_dropoff.duration + service.before_dropoff;
        Candidate { order, supply, now, ready_at, to_pickup, reach_at, pickup_at, to_dropoff, deliver_at }
    }
}

/// The radii of a search that widens, doubling, until it has reached `most`.
pub(crate) fn widening(first: Meters, most: Meters) -> impl Iterator<Item = Meters> {
    std::iter::successors(Some(first), move |&radius| {
        let wider = if radius + radius > most { most } else { radius + radius };
        (radius < most).then_some(wider)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_widens_up_to_its_limit() {
        let km = |km| Meters::from_km(km);
        assert_eq!(widening(km(5), km(15)).collect::<Vec<_>>(), [km(5), km(10), km(15)]);
        assert_eq!(widening(km(5), km(5)).collect::<Vec<_>>(), [km(5)]);
    }
}
