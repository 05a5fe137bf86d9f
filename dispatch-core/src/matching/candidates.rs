//! Candidates: what it would mean for a driver to take an order, or a bundle of them.

use crate::config::ServiceTimes;
use crate::eta::{Leg, TravelTime};
use crate::matching::explanation::Exclusion;
use crate::model::{DriverId, DriverSpec, OrderSpec, Rating};
use crate::route::Anchor;
use crate::route::plan::{self, Call, Course, Delivery, SetOut, Task};
use crate::units::{Meters, Millis, Timestamp};
use std::collections::BTreeSet;

/// An order that looks for a driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand<'a> {
    /// The order.
    pub(crate) task: Task<'a>,
    /// When it is ready at the earliest that counts: no driver is sent to be there before.
    pub(crate) ready_soonest: Timestamp,
    /// The drivers it is not offered to again.
    pub(crate) asked: &'a BTreeSet<DriverId>,
    /// Who has it, if it is assigned and could still move.
    pub(crate) holder: Option<&'a DriverId>,
}

/// A driver who could take one more order.
#[derive(Clone, Debug)]
pub struct Supply<'a> {
    /// The driver.
    pub driver: &'a DriverSpec,
    /// Its average rating.
    pub rating: Rating,
    /// The share of offers it accepts, 0 to 1.
    pub acceptance: f64,
    /// How many orders it is responsible for that cannot move any more.
    pub load: u16,
    /// For how long it has had none.
    pub idle_for: Option<Millis>,
    /// Where and when it could set out to the next pickup, after all it has to do.
    pub from: Anchor,
    /// When its shift is planned to end.
    pub until: Option<Timestamp>,
    /// How many orders it has fetched in this shift, or is bound to fetch.
    pub fetched: u32,
    /// How many orders it should have in this shift at least.
    pub floor: f64,
    /// Since when it has been at `from`, or will have been, with nothing to do.
    pub(crate) there_since: Option<Timestamp>,
    /// Where and when it sets out to the stops below.
    pub(crate) start: Anchor,
    /// What it has to do, if another order could be fetched or brought in between.
    pub(crate) stops: Vec<Call<'a>>,
}

impl Demand<'_> {
    /// Whether this driver may be asked, whatever the times; otherwise the first test it fails.
    pub(crate) fn may_go_to(&self, driver: &DriverSpec) -> Result<(), Exclusion> {
        may_take(self.task.order, self.asked, driver)
    }
}

impl<'a> Supply<'a> {
    /// Setting out to the next pickup, after all it has to do.
    pub(crate) fn at_end(&self) -> SetOut {
        SetOut { from: self.from, there_since: self.there_since, vehicle: self.driver.vehicle }
    }

    /// The driver after it has brought one more order, which it has done by `done_at`.
    pub(crate) fn after(&self, task: &Task<'a>, done_at: Timestamp) -> Self {
        Self {
            load: self.load + 1,
            idle_for: None,
            fetched: self.fetched + 1,
            from: Anchor { position: task.order.dropoff.position, at: done_at },
            there_since: None,
            stops: Vec::new(),
            ..*self
        }
    }

    /// Setting out to its next stop.
    pub(crate) fn at_start(&self) -> SetOut {
        SetOut { from: self.start, there_since: None, vehicle: self.driver.vehicle }
    }
}

/// A driver who can take an order or a bundle, and what would come of it: what a score term judges.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The driver.
    pub supply: &'a Supply<'a>,
    /// The time of the decision.
    pub now: Timestamp,
    /// The way from where the driver sets out to the first pickup.
    pub to_pickup: Leg,
    /// When the driver could have the orders there if they were ready.
    pub reach_at: Timestamp,
    /// How long the driver would wait for orders, on the whole.
    pub driver_waiting: Millis,
    /// When the driver has done all that is judged here.
    pub done_at: Timestamp,
    /// What it means for each order.
    pub deliveries: &'a [Delivery<'a>],
}

impl Candidate<'_> {
    /// How long until the driver has brought what it has, or begins its shift. The way to where it was sent to wait does
    /// not count.
    pub fn until_free(&self) -> Millis {
        match self.supply.there_since {
            Some(_) => Millis::ZERO,
            None => (self.supply.from.at - self.now).max(Millis::ZERO),
        }
    }

    /// How much of the driver's shift it takes, from when the driver is free.
    pub fn shift_time(&self) -> Millis {
        let done_at = self.supply.until.map_or(self.done_at, |until| self.done_at.min(until));
        (done_at - self.supply.from.at.max(self.now)).max(Millis::ZERO)
    }
}

/// Whether this driver may be asked for this order, whatever the times; otherwise the first test it fails.
pub(crate) fn may_take(order: &OrderSpec, asked: &BTreeSet<DriverId>, driver: &DriverSpec) -> Result<(), Exclusion> {
    if asked.contains(&driver.id) {
        return Err(Exclusion::AskedBefore);
    }
    if order.units > driver.capacity {
        return Err(Exclusion::Capacity);
    }
    if !order.skills.is_subset(&driver.skills) {
        return Err(Exclusion::Skill);
    }
    Ok(())
}

/// What it takes to judge candidates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) now: Timestamp,
    pub(crate) service: &'a ServiceTimes,
    pub(crate) travel: &'a dyn TravelTime,
}

impl Terms<'_> {
    /// Lets `judge` see what comes of the driver fetching this one order after all it has to do; `None` where its shift
    /// ends before. The times are those of [`plan::course`], with the straight way as it was when the order is ready.
    pub(crate) fn alone<T>(
        &self,
        task: &Task<'_>,
        supply: &Supply<'_>,
        judge: impl FnOnce(&Candidate<'_>) -> T,
    ) -> Option<T> {
        let Self { now, service, travel } = *self;
        let (from, pickup) = (supply.from, task.order.pickup.position);
        let to_pickup = travel.travel(from.position, pickup, supply.driver.vehicle, from.at);
        let there = supply.there_since.filter(|_| from.position == pickup);
        let arrive_at = there.unwrap_or((from.at + to_pickup.duration).max(now));
        let reach_at = (arrive_at + service.before_pickup).max(now);
        let pickup_at = reach_at.max(task.ready_at);
        if supply.until.is_some_and(|until| pickup_at > until) {
            return None;
        }
        let (soonest_at, direct) = (task.soonest_at(service), task.direct(supply.driver.vehicle));
        let deliver_at = pickup_at + service.after_pickup + direct.duration + service.before_dropoff;
        let &Task { order, ready_at, .. } = task;
        let delivery = Delivery { order, ready_at, pickup_at, deliver_at, soonest_at, direct };
        Some(judge(&Candidate {
            supply,
            now,
            to_pickup,
            reach_at,
            driver_waiting: pickup_at - reach_at,
            done_at: deliver_at + service.after_dropoff,
            deliveries: &[delivery],
        }))
    }

    /// Lets `judge` see what comes of the driver making these stops; `None` where its shift ends before the last pickup
    /// or where they are too much for it.
    pub(crate) fn route<T>(
        &self,
        calls: &[Call<'_>],
        set_out: &SetOut,
        supply: &Supply<'_>,
        judge: impl FnOnce(&Candidate<'_>) -> T,
    ) -> Option<T> {
        if plan::peak_units(calls) > u32::from(supply.driver.capacity.get()) {
            return None;
        }
        let course = plan::course(calls, set_out, self.now, self.service, self.travel);
        let Course { first_leg, reach_at, last_pickup_at, waiting, done_at, deliveries } = &course;
        if supply.until.is_some_and(|until| *last_pickup_at > until) {
            return None;
        }
        Some(judge(&Candidate {
            supply,
            now: self.now,
            to_pickup: *first_leg,
            reach_at: *reach_at,
            driver_waiting: *waiting,
            done_at: *done_at,
            deliveries,
        }))
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
