//! Goes through a log and notes what the numbers are made of.

use super::Metrics;
use crate::event::{Event, EventKind, HoldReason};
use crate::model::{DriverId, FailReason, KitchenStatus, OrderId};
use crate::offer::OfferOutcome;
use crate::units::{Millis, Timestamp};
use std::collections::BTreeMap;

/// Drivers are enough while no more of those on shift have an order, in percent.
const BUSY_PERCENT: usize = 70;

#[derive(Default)]
struct OrderTimes {
    placed_at: Timestamp,
    /// When the kitchen said it is ready, else the last announced time.
    ready_at: Timestamp,
    kitchen_ready: bool,
    started_at: Option<Timestamp>,
    due_at: Option<Timestamp>,
    /// Since when it has been held for ample slack, after it was due.
    ample_since: Option<Timestamp>,
    /// Whether there were drivers enough; unknown until it was due.
    supplied: Option<bool>,
    first_offer_at: Option<Timestamp>,
    was_assigned: bool,
    arrived_at: Option<Timestamp>,
    picked_up_at: Option<Timestamp>,
    driver: Option<DriverId>,
}

#[derive(Default)]
struct DriverTimes {
    on_since: Option<Timestamp>,
    on_shift: Millis,
    delivered: u32,
    busy_since: Option<Timestamp>,
    orders: usize,
}

#[derive(Default)]
struct Samples(Vec<f64>);

#[derive(Default)]
pub(super) struct Collector {
    metrics: Metrics,
    margin: Millis,
    now: Timestamp,
    orders: BTreeMap<OrderId, OrderTimes>,
    drivers: BTreeMap<DriverId, DriverTimes>,
    busy: Millis,
    due_to_assigned: Samples,
    due_to_assigned_supplied: Samples,
    offered_to_assigned: Samples,
    dispatch_to_assigned: Samples,
    food_waiting: Samples,
    driver_waiting: Samples,
    click_to_door: Samples,
    ready_to_door: Samples,
    ready_to_pickup: Samples,
}

impl Collector {
    /// Takes the next event of the log.
    pub(super) fn take(&mut self, event: &Event) {
        let now = event.at;
        self.now = now;
        match &event.kind {
            EventKind::Configured { config, .. } => self.margin = config.schedule.margin,
            EventKind::ShiftStarted { driver, .. } => self.driver(driver).on_since = Some(now),
            EventKind::ShiftEnded { driver } => {
                let driver = self.driver(driver);
                let began = driver.on_since.take();
                driver.on_shift = driver.on_shift + began.map_or(Millis::ZERO, |began| now - began);
            }
            EventKind::OrderPlaced { order, ready_at } => {
                self.metrics.orders_placed += 1;
                let times = OrderTimes { placed_at: now, ready_at: *ready_at, ..OrderTimes::default() };
                self.orders.insert(order.id.clone(), times);
            }
            EventKind::KitchenProgressed { order, status: KitchenStatus::Ready } => {
                let order = self.order(order);
                (order.ready_at, order.kitchen_ready) = (now, true);
            }
            EventKind::ReadyTimeChanged { order, ready_at } => {
                let order = self.order(order);
                order.ready_at = if order.kitchen_ready { order.ready_at } else { *ready_at };
            }
            EventKind::DispatchStarted { order } => {
                self.order(order).started_at = Some(now);
            }
            EventKind::OrderHeld { order, reason, slack, .. } => self.held(order, *reason, *slack),
            EventKind::OfferMade { orders, .. } => {
                self.metrics.offers_made += 1;
                for order in orders {
                    self.due_by_now(order);
                    self.order(order).first_offer_at.get_or_insert(now);
                }
            }
            EventKind::OfferClosed { outcome, .. } => *self.closed(*outcome) += 1,
            EventKind::Assigned { orders, driver, .. } => {
                for order in orders {
                    self.assigned(order, driver);
                }
            }
            EventKind::Returned { order, .. } => self.leave_driver(order),
            EventKind::ArrivedAtPickup { order, .. } => self.order(order).arrived_at = Some(now),
            EventKind::PickedUp { order, .. } => self.picked_up(order),
            EventKind::Delivered { order, .. } => self.delivered(order),
            EventKind::OrderCancelled { order, .. } => {
                self.metrics.orders_cancelled += 1;
                self.leave_driver(order);
            }
            EventKind::OrderFailed { order, reason, .. } => {
                *match reason {
                    FailReason::NoDriver => &mut self.metrics.orders_failed_no_driver,
                    FailReason::NeverFinished => &mut self.metrics.orders_failed_never_finished,
                    FailReason::Reported(_) => &mut self.metrics.orders_failed_reported,
                } += 1;
                self.leave_driver(order);
            }
            EventKind::AssignmentFailed { .. } => self.metrics.assignment_failures += 1,
            EventKind::OrderOverdue { .. } => self.metrics.orders_overdue += 1,
            EventKind::OrderRetired { order } => drop(self.orders.remove(order)),
            _ => {}
        }
    }

    fn order(&mut self, id: &OrderId) -> &mut OrderTimes {
        self.orders.entry(id.clone()).or_default()
    }

    fn driver(&mut self, id: &DriverId) -> &mut DriverTimes {
        self.drivers.entry(id.clone()).or_default()
    }

    fn closed(&mut self, outcome: OfferOutcome) -> &mut u64 {
        match outcome {
            OfferOutcome::Accepted => &mut self.metrics.offers_accepted,
            OfferOutcome::Declined => &mut self.metrics.offers_declined,
            OfferOutcome::Expired => &mut self.metrics.offers_expired,
            OfferOutcome::Withdrawn => &mut self.metrics.offers_withdrawn,
        }
    }

    fn held(&mut self, id: &OrderId, reason: HoldReason, slack: Option<Millis>) {
        let now = self.now;
        let spare = slack.map_or(Millis::ZERO, |slack| slack - self.margin).max(Millis::ZERO);
        if reason == HoldReason::SlackAmple {
            let order = self.order(id);
            // Time that went into offers stays counted, the time of this hold does not.
            if order.first_offer_at.is_some() {
                order.ample_since.get_or_insert(now);
            } else {
                (order.due_at, order.supplied) = (None, None);
            }
            return;
        }
        self.goes_on(id);
        let enough = reason != HoldReason::NoCandidate && self.drivers_are_enough();
        let order = self.order(id);
        if order.first_offer_at.is_none() {
            order.due_at = Some(order.due_at.filter(|due| *due <= now).unwrap_or(now + spare));
        }
        let known = order.supplied.unwrap_or(enough);
        order.supplied = Some(known && reason != HoldReason::NoCandidate);
    }

    /// Whoever decides about an order, or cannot, shows that it was due.
    fn due_by_now(&mut self, id: &OrderId) {
        let now = self.now;
        self.goes_on(id);
        let enough = self.drivers_are_enough();
        let order = self.order(id);
        order.due_at = Some(order.due_at.map_or(now, |due| due.min(now)));
        order.supplied.get_or_insert(enough);
    }

    /// A hold for ample slack is over.
    fn goes_on(&mut self, id: &OrderId) {
        let now = self.now;
        let order = self.order(id);
        if let (Some(since), Some(due)) = (order.ample_since.take(), order.due_at) {
            order.due_at = Some(due + (now - since));
        }
    }

    fn drivers_are_enough(&self) -> bool {
        let on_shift = self.drivers.values().filter(|driver| driver.on_since.is_some());
        let (mut busy, mut all) = (0, 0);
        for driver in on_shift {
            all += 1;
            busy += usize::from(driver.orders > 0);
        }
        all > 0 && busy * 100 <= all * BUSY_PERCENT
    }

    fn assigned(&mut self, id: &OrderId, driver: &DriverId) {
        let now = self.now;
        self.due_by_now(id);
        self.leave_driver(id);
        let order = self.order(id);
        order.driver = Some(driver.clone());
        let first = !std::mem::replace(&mut order.was_assigned, true);
        let offered = order.first_offer_at.filter(|_| first);
        let supplied = order.supplied == Some(true);
        if let (true, Some(started), Some(due)) = (first, order.started_at, order.due_at) {
            self.dispatch_to_assigned.secs(now - started);
            self.due_to_assigned.secs(now - due);
            if supplied {
                self.due_to_assigned_supplied.secs(now - due);
            }
        }
        if let Some(offered) = offered {
            self.offered_to_assigned.secs(now - offered);
        }
        let driver = self.driver(driver);
        driver.orders += 1;
        driver.busy_since.get_or_insert(now);
    }

    fn leave_driver(&mut self, id: &OrderId) {
        let now = self.now;
        let order = self.order(id);
        order.arrived_at = None;
        let Some(driver) = order.driver.take() else { return };
        let driver = self.driver(&driver);
        driver.orders -= 1;
        if driver.orders == 0 {
            let began = driver.busy_since.take();
            self.busy = self.busy + began.map_or(Millis::ZERO, |began| now - began);
        }
    }

    fn picked_up(&mut self, id: &OrderId) {
        let now = self.now;
        let order = self.order(id);
        order.picked_up_at = Some(now);
        let (ready_at, arrived_at) = (order.ready_at, order.arrived_at);
        self.food_waiting.mins((now - ready_at).max(Millis::ZERO));
        if let Some(arrived_at) = arrived_at {
            self.driver_waiting.mins(now - arrived_at);
        }
    }

    fn delivered(&mut self, id: &OrderId) {
        let now = self.now;
        let &mut OrderTimes { placed_at, ready_at, picked_up_at, .. } = self.order(id);
        self.metrics.orders_delivered += 1;
        self.click_to_door.mins(now - placed_at);
        self.ready_to_door.mins(now - ready_at);
        if let Some(picked_up_at) = picked_up_at {
            self.ready_to_pickup.mins(picked_up_at - ready_at);
        }
        if let Some(driver) = self.order(id).driver.clone() {
            self.driver(&driver).delivered += 1;
        }
        self.leave_driver(id);
    }

    /// What all of it comes to.
    pub(super) fn finish(mut self) -> Metrics {
        let (mut on_shift, mut per_hour) = (Millis::ZERO, Samples::default());
        for driver in self.drivers.values() {
            let worked = driver.on_shift + driver.on_since.map_or(Millis::ZERO, |began| self.now - began);
            on_shift = on_shift + worked;
            if worked >= Millis::from_mins(60) {
                per_hour.0.push(f64::from(driver.delivered) / (worked.as_mins_f64() / 60.0));
            }
            self.busy = self.busy + driver.busy_since.map_or(Millis::ZERO, |began| self.now - began);
        }
        let counted = self.metrics;
        let answered = counted.offers_accepted + counted.offers_declined + counted.offers_expired;
        let on_shift_h = on_shift.as_mins_f64() / 60.0;
        Metrics {
            delivered_pct: percent(counted.orders_delivered as f64, counted.orders_placed as f64),
            acceptance_pct: percent(counted.offers_accepted as f64, answered as f64),
            offers_per_assignment: ratio(counted.offers_made as f64, counted.offers_accepted as f64),
            due_to_assigned_mean_s: self.due_to_assigned.mean(),
            due_to_assigned_p50_s: self.due_to_assigned.percentile(50.0),
            due_to_assigned_p95_s: self.due_to_assigned.percentile(95.0),
            due_to_assigned_supplied_p95_s: self.due_to_assigned_supplied.percentile(95.0),
            supplied_pct: percent(self.due_to_assigned_supplied.0.len() as f64, self.due_to_assigned.0.len() as f64),
            offered_to_assigned_mean_s: self.offered_to_assigned.mean(),
            offered_to_assigned_p50_s: self.offered_to_assigned.percentile(50.0),
            offered_to_assigned_p95_s: self.offered_to_assigned.percentile(95.0),
            dispatch_to_assigned_mean_s: self.dispatch_to_assigned.mean(),
            dispatch_to_assigned_p50_s: self.dispatch_to_assigned.percentile(50.0),
            dispatch_to_assigned_p95_s: self.dispatch_to_assigned.percentile(95.0),
            food_waiting_mean_min: self.food_waiting.mean(),
            driver_waiting_mean_min: self.driver_waiting.mean(),
            click_to_door_mean_min: self.click_to_door.mean(),
            click_to_door_p50_min: self.click_to_door.percentile(50.0),
            click_to_door_p90_min: self.click_to_door.percentile(90.0),
            ready_to_door_mean_min: self.ready_to_door.mean(),
            ready_to_pickup_mean_min: self.ready_to_pickup.mean(),
            on_shift_h,
            orders_per_driver_hour: ratio(counted.orders_delivered as f64, on_shift_h),
            orders_per_hour_worst_decile: per_hour.percentile(10.0),
            utilisation_pct: percent(self.busy.as_mins_f64() / 60.0, on_shift_h),
            ..counted
        }
    }
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn percent(part: f64, whole: f64) -> Option<f64> {
    ratio(part, whole).map(|share| share * 100.0)
}

impl Samples {
    fn secs(&mut self, sample: Millis) {
        self.0.push(sample.as_secs_f64());
    }

    fn mins(&mut self, sample: Millis) {
        self.0.push(sample.as_mins_f64());
    }

    fn mean(&self) -> Option<f64> {
        ratio(self.0.iter().sum(), self.0.len() as f64)
    }

    /// The value that `percent` (0 to 100) of the samples do not exceed.
    fn percentile(&mut self, percent: f64) -> Option<f64> {
        self.0.sort_unstable_by(f64::total_cmp);
        let rank = percent / 100.0 * self.0.len().checked_sub(1)? as f64;
        let (below, above) = (self.0[rank.floor() as usize], self.0[rank.ceil() as usize]);
        Some(below + (above - below) * rank.fract())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_lie_between_neighbours(mut values in proptest::collection::vec(-1e6..1e6f64, 1..50), percent in 0.0..=100.0f64) {
            let mut samples = Samples(values.clone());
            let found = samples.percentile(percent).unwrap();
            values.sort_unstable_by(f64::total_cmp);
            let below = values.iter().filter(|value| **value < found).count() as f64;
            let rank = percent / 100.0 * (values.len() - 1) as f64;
            prop_assert!(below <= rank.ceil() && values[0] <= found && found <= values[values.len() - 1]);
            prop_assert_eq!(samples.percentile(0.0), Some(values[0]));
            prop_assert_eq!(samples.percentile(100.0), values.last().copied());
        }
    }
}
