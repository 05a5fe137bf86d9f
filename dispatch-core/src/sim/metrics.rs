//! What a log amounts to, in numbers: how many orders arrived, how fast, and what the drivers' time went into.

use crate::event::{Event, EventKind, HoldReason};
use crate::model::{DriverId, FailReason, KitchenStatus, OrderId};
use crate::offer::OfferOutcome;
use crate::units::{Millis, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The numbers of one log. A mean, share or percentile of nothing is absent.
///
/// Percentiles are interpolated linearly between the two nearest samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// How many orders were placed.
    pub orders_placed: u64,
    /// How many were delivered.
    pub orders_delivered: u64,
    /// How many were called off.
    pub orders_cancelled: u64,
    /// How many failed because no driver took them.
    pub orders_failed_no_driver: u64,
    /// How many failed because their longest life was over.
    pub orders_failed_never_finished: u64,
    /// How many failed because somebody said so.
    pub orders_failed_reported: u64,
    /// The share of the placed orders that was delivered.
    pub delivered_pct: Option<f64>,

    /// How many offers were made.
    pub offers_made: u64,
    /// How many were accepted.
    pub offers_accepted: u64,
    /// How many were turned down.
    pub offers_declined: u64,
    /// How many were not answered.
    pub offers_expired: u64,
    /// How many were taken back.
    pub offers_withdrawn: u64,
    /// The accepted share of those accepted, declined or expired.
    pub acceptance_pct: Option<f64>,
    /// How many offers it took until one was accepted.
    pub offers_per_assignment: Option<f64>,
    /// How many rounds ended without a driver.
    pub assignment_failures: u64,
    /// How often an order was flagged overdue.
    pub orders_overdue: u64,

    /// How long an order was due before it had a driver, mean. It is due from when it is first offered or assigned, or was
    /// held without slack beyond the margin, if that was earlier; held for another reason than ample slack, from when that
    /// slack has shrunk. While it is held for ample slack it is not, also after refusals: who is left is near enough to be
    /// asked later. Only an order's first driver counts.
    pub due_to_assigned_mean_s: Option<f64>,
    /// From due to a driver, median.
    pub due_to_assigned_p50_s: Option<f64>,
    /// From due to a driver, 95th percentile.
    pub due_to_assigned_p95_s: Option<f64>,
    /// The same where drivers were enough: at most 70 % of those on shift had an order when this one became due, and there was
    /// always one near enough who could take it.
    pub due_to_assigned_supplied_p95_s: Option<f64>,
    /// The share of the orders with a driver that were so.
    pub supplied_pct: Option<f64>,
    /// From the first offer to a driver, mean: what answers and refusals cost. Without the time an order was held before.
    pub offered_to_assigned_mean_s: Option<f64>,
    /// From the first offer to a driver, median.
    pub offered_to_assigned_p50_s: Option<f64>,
    /// From the first offer to a driver, 95th percentile.
    pub offered_to_assigned_p95_s: Option<f64>,
    /// From the start of dispatch to the first driver, mean.
    pub dispatch_to_assigned_mean_s: Option<f64>,
    /// From the start of dispatch to the first driver, median.
    pub dispatch_to_assigned_p50_s: Option<f64>,
    /// From the start of dispatch to the first driver, 95th percentile.
    pub dispatch_to_assigned_p95_s: Option<f64>,

    /// How long ready food waited for its driver, mean over all that was picked up; none where the driver waited.
    pub food_waiting_mean_min: Option<f64>,
    /// How long drivers were at the pickup before they had the order, mean over those who said that they were there.
    pub driver_waiting_mean_min: Option<f64>,
    /// From placed to delivered, mean.
    pub click_to_door_mean_min: Option<f64>,
    /// From placed to delivered, median.
    pub click_to_door_p50_min: Option<f64>,
    /// From placed to delivered, 90th percentile.
    pub click_to_door_p90_min: Option<f64>,
    /// From ready to delivered, mean.
    pub ready_to_door_mean_min: Option<f64>,
    /// From ready to picked up, mean over the delivered orders; negative where food was fetched before its time.
    pub ready_to_pickup_mean_min: Option<f64>,

    /// The drivers' time on shift. A shift that has not ended counts up to the last event.
    pub on_shift_h: f64,
    /// Delivered orders for each hour on shift.
    pub orders_per_driver_hour: Option<f64>,
    /// The same of the driver whom a tenth of the drivers did not reach, among those on shift for an hour at least.
    pub orders_per_hour_worst_decile: Option<f64>,
    /// The share of the time on shift in which a driver had at least one order.
    pub utilisation_pct: Option<f64>,
}

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
struct Collector {
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

impl Metrics {
    /// Measures a log from its first event on. What does not fit together is left out, not reported: judging a log is
    /// the auditor's.
    pub fn from_events(events: &[Event]) -> Self {
        let mut collector = Collector::default();
        for event in events {
            collector.now = event.at;
            collector.take(&event.kind);
        }
        collector.finish()
    }
}

impl Collector {
    fn take(&mut self, kind: &EventKind) {
        let now = self.now;
        match kind {
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

    fn finish(mut self) -> Metrics {
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

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>, unit: &str| match value {
            Some(value) => format!("{value:.1}{unit}"),
            None => "-".to_owned(),
        };
        let failed = self.orders_failed_no_driver + self.orders_failed_never_finished + self.orders_failed_reported;
        let spread = |mean, p50, high: &str, value| {
            format!("{} (p50 {}, {high} {})", number(mean, ""), number(p50, ""), number(value, ""))
        };
        let rows = [
            ("orders placed", self.orders_placed.to_string()),
            ("  delivered", format!("{} ({})", self.orders_delivered, number(self.delivered_pct, " %"))),
            ("  cancelled", self.orders_cancelled.to_string()),
            (
                "  failed",
                format!(
                    "{failed} (no driver {}, never finished {}, reported {})",
                    self.orders_failed_no_driver, self.orders_failed_never_finished, self.orders_failed_reported
                ),
            ),
            ("offers made", self.offers_made.to_string()),
            ("  accepted", format!("{} ({})", self.offers_accepted, number(self.acceptance_pct, " %"))),
            ("  declined", self.offers_declined.to_string()),
            ("  expired", self.offers_expired.to_string()),
            ("  withdrawn", self.offers_withdrawn.to_string()),
            ("offers per assignment", number(self.offers_per_assignment, "")),
            ("assignment failures", self.assignment_failures.to_string()),
            ("overdue", self.orders_overdue.to_string()),
            (
                "due to assigned, s",
                spread(self.due_to_assigned_mean_s, self.due_to_assigned_p50_s, "p95", self.due_to_assigned_p95_s),
            ),
            (
                "  with drivers enough",
                format!(
                    "p95 {} ({} of the orders)",
                    number(self.due_to_assigned_supplied_p95_s, ""),
                    number(self.supplied_pct, " %")
                ),
            ),
            (
                "offered to assigned, s",
                spread(
                    self.offered_to_assigned_mean_s,
                    self.offered_to_assigned_p50_s,
                    "p95",
                    self.offered_to_assigned_p95_s,
                ),
            ),
            (
                "dispatch to assigned, s",
                spread(
                    self.dispatch_to_assigned_mean_s,
                    self.dispatch_to_assigned_p50_s,
                    "p95",
                    self.dispatch_to_assigned_p95_s,
                ),
            ),
            ("food waiting, min", number(self.food_waiting_mean_min, "")),
            ("driver waiting, min", number(self.driver_waiting_mean_min, "")),
            (
                "click to door, min",
                spread(self.click_to_door_mean_min, self.click_to_door_p50_min, "p90", self.click_to_door_p90_min),
            ),
            ("ready to door, min", number(self.ready_to_door_mean_min, "")),
            ("ready to pickup, min", number(self.ready_to_pickup_mean_min, "")),
            ("hours on shift", format!("{:.1}", self.on_shift_h)),
            ("orders per driver hour", number(self.orders_per_driver_hour, "")),
            ("  of the worst tenth", number(self.orders_per_hour_worst_decile, " at most")),
            ("utilisation", number(self.utilisation_pct, " %")),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<24} {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::auditor::script::{Script, driver_spec, edit, order_id};
    use super::*;
    use crate::event::RoundFailure;
    use crate::model::{Reason, Role};
    use proptest::prelude::*;

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn nothing_has_no_means() {
        let metrics = Metrics::from_events(&[]);
        assert_eq!(metrics, Metrics::default());
        assert!(metrics.to_string().contains("click to door, min       - (p50 -, p90 -)"));
        assert!(serde_json::to_value(&metrics).unwrap()["click_to_door_mean_min"].is_null());
    }

    /// Two orders of which one is delivered after 30 min; a driver on shift for an hour who has an order for 20 min.
    fn one_delivered() -> Vec<Event> {
        Script::new()
            .driver("d")
            .order("o")
            .hold("o", HoldReason::SlackAmple, Some(120 + 300))
            .placed("p")
            .cancelled(Role::Customer, "p")
            .at(570)
            .offer("d", &["o"])
            .at(600)
            .close(1, OfferOutcome::Expired)
            .round_failed("o", RoundFailure::AttemptsUsed)
            .offer("d", &["o"])
            .accept()
            .at(960)
            .at_pickup("d", "o")
            .at(1_200)
            .picked_up("d", "o")
            .at(1_800)
            .delivered("d", "o")
            .at(3_600)
            .shift_ended("d")
            .events()
    }

    #[test]
    fn counts_and_times_of_one_delivery() {
        let metrics = Metrics::from_events(&one_delivered());
        assert_eq!((metrics.orders_placed, metrics.orders_delivered, metrics.orders_cancelled), (2, 1, 1));
        assert_eq!((metrics.offers_made, metrics.offers_accepted, metrics.offers_expired), (2, 1, 1));
        assert_eq!(metrics.assignment_failures, 1);
        let expected = [
            (metrics.delivered_pct, 50.0),
            (metrics.acceptance_pct, 50.0),
            (metrics.offers_per_assignment, 2.0),
            (metrics.due_to_assigned_mean_s, 30.0),
            (metrics.offered_to_assigned_mean_s, 30.0),
            (metrics.dispatch_to_assigned_p95_s, 600.0),
            (metrics.food_waiting_mean_min, 5.0),
            (metrics.driver_waiting_mean_min, 4.0),
            (metrics.click_to_door_p90_min, 30.0),
            (metrics.ready_to_door_mean_min, 15.0),
            (metrics.ready_to_pickup_mean_min, 5.0),
            (metrics.orders_per_driver_hour, 1.0),
            (metrics.orders_per_hour_worst_decile, 1.0),
            (metrics.utilisation_pct, 100.0 / 3.0),
        ];
        for (i, (value, expected)) in expected.into_iter().enumerate() {
            assert!(near(value, expected), "{i}: {value:?} instead of {expected}");
        }
        assert!(metrics.to_string().contains("delivered              1 (50.0 %)"), "{metrics}");
    }

    #[test]
    fn open_shifts_and_orders_count_up_to_the_last_event() {
        let metrics = Metrics::from_events(&one_delivered()[..17]);
        assert!((metrics.on_shift_h - 1_200.0 / 3_600.0).abs() < 1e-9, "{}", metrics.on_shift_h);
        assert!(near(metrics.utilisation_pct, 50.0), "{:?}", metrics.utilisation_pct);
    }

    #[test]
    fn a_decision_shows_that_an_order_was_due() {
        let early = Script::new().driver("d").order("o").hold("o", HoldReason::SlackAmple, Some(900)).at(60);
        let offered = early.clone().offer("d", &["o"]).at(70).accept();
        assert!(near(Metrics::from_events(&offered.events()).due_to_assigned_mean_s, 10.0));
        let outmatched = early.hold("o", HoldReason::Outmatched, Some(30)).at(90).by_hand("d", &["o"]);
        assert!(near(Metrics::from_events(&outmatched.events()).due_to_assigned_mean_s, 30.0));
    }

    #[test]
    fn while_it_is_held_for_ample_slack_an_order_is_not_due() {
        let refused = Script::new().driver("d").register(driver_spec("e")).shift("e", None).order("o");
        let refused = refused.offer("d", &["o"]).at(20).close(1, OfferOutcome::Declined);
        let held = refused.hold("o", HoldReason::SlackAmple, Some(500)).at(400).offer("e", &["o"]).at(407).accept();
        assert!(near(Metrics::from_events(&held.events()).due_to_assigned_mean_s, 27.0));
    }

    #[test]
    fn drivers_are_enough_while_some_are_free_and_one_is_near() {
        let supplied = |script: Script| Metrics::from_events(&script.events()).supplied_pct;
        let one = || Script::new().driver("d").order("o");
        assert!(near(supplied(one().by_hand("d", &["o"])), 100.0));
        assert!(near(supplied(one().hold("o", HoldReason::NoCandidate, None).by_hand("d", &["o"])), 0.0));
        // The only one has an order already.
        assert!(near(supplied(one().by_hand("d", &["o"]).order("p").by_hand("d", &["p"])), 50.0));
    }

    #[test]
    fn failures_are_counted_by_reason() {
        let fail = |reason| Script::new().placed("o").failed("o", reason).overdue("o").events();
        let all = [
            fail(FailReason::NoDriver),
            fail(FailReason::NeverFinished),
            fail(FailReason::Reported(Reason::new("spilled").unwrap())),
        ];
        let metrics = Metrics::from_events(&all.concat());
        let failed =
            (metrics.orders_failed_no_driver, metrics.orders_failed_never_finished, metrics.orders_failed_reported);
        assert_eq!((failed, metrics.orders_overdue), ((1, 1, 1), 3));
    }

    #[test]
    fn what_the_kitchen_said_is_ready_outweighs_what_was_announced() {
        let script = Script::new().driver("d").order("o").by_hand("d", &["o"]).ready_at("o", 300);
        let script = script.at(600).kitchen("o", KitchenStatus::Ready).ready_at("o", 60).at(660).picked_up("d", "o");
        assert!(near(Metrics::from_events(&script.events()).food_waiting_mean_min, 1.0));
    }

    #[test]
    fn reassigned_orders_leave_their_first_driver_free() {
        let script = Script::new().driver("d").register(driver_spec("e")).order("o").by_hand("d", &["o"]).at(600);
        let script = script.returned("d", "o").edit(edit!(Returned { order } => *order = order_id("o"))).at(1_200);
        let metrics = Metrics::from_events(&script.shift_ended("d").events());
        assert!(near(metrics.utilisation_pct, 50.0), "{:?}", metrics.utilisation_pct);
    }

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
