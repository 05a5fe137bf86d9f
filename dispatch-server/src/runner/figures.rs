//! What the events of a market come to in figures, as they happen. Soft: nothing is decided upon it, and a restart begins anew.
//!
//! An event costs a look-up or two among the orders and drivers in memory, and an assignment besides what its ETA does.

use crate::telemetry::{Metrics, table};
use dispatch_core::{
    Driver, DriverId, Engine, Event, EventKind, FailReason, HoldReason, MarketId, Millis, OfferOutcome, OrderId,
    PublicStatus, RoundFailure, Shift, State, Timestamp,
};
use metrics::{Counter, Gauge, Histogram};
use std::collections::BTreeMap;
use std::time::Duration;

const ORDERS: [&str; 10] = [
    "pending",
    "confirmed",
    "preparing",
    "ready_for_pickup",
    "driver_assigned",
    "picked_up",
    "in_transit",
    "delivered",
    "cancelled",
    "failed",
];

fn order_status(status: PublicStatus) -> usize {
    match status {
        PublicStatus::Pending => 0,
        PublicStatus::Confirmed => 1,
        PublicStatus::Preparing => 2,
        PublicStatus::ReadyForPickup => 3,
        PublicStatus::DriverAssigned => 4,
        PublicStatus::PickedUp => 5,
        PublicStatus::InTransit => 6,
        PublicStatus::Delivered => 7,
        PublicStatus::Cancelled => 8,
        PublicStatus::Failed => 9,
    }
}

const DRIVERS: [&str; 6] = ["off", "paused", "silent", "idle", "asked", "busy"];

/// Those who could get an order, now or soon.
const ACTIVE: std::ops::Range<usize> = 3..6;

fn driver_status(driver: &Driver) -> usize {
    match driver {
        Driver { shift: Shift::Off, .. } => 0,
        Driver { silent: true, .. } => 2,
        Driver { paused: true, .. } => 1,
        Driver { stops, .. } if !stops.is_empty() => 5,
        Driver { offer: Some(_), .. } => 4,
        _ => 3,
    }
}

/// The figures of one market.
pub(super) struct Figures {
    orders: Tally<OrderId, Seen>,
    drivers: Tally<DriverId, ()>,
    active: Gauge,
    placed: Counter,
    offers_made: Counter,
    offers_closed: [Counter; 4],
    offers_per_assignment: Histogram,
    due_to_offer: Histogram,
    time_to_assign: Histogram,
    slack_at_pickup: Histogram,
    driver_waiting: Histogram,
    food_waiting: Histogram,
    eta_error: Histogram,
    delivery_time: Histogram,
    delivery_distance: Histogram,
    ended: [Counter; 3],
    failed: [Counter; 3],
    rounds_failed: [Counter; 2],
    window: Histogram,
}

/// How many there are in each status, and what is known of each.
struct Tally<K, V> {
    counts: Vec<usize>,
    shown: Vec<Gauge>,
    known: BTreeMap<K, Entry<V>>,
}

/// One of them: counted in a status, or not yet.
#[derive(Default)]
struct Entry<V> {
    status: Option<usize>,
    seen: V,
}

/// What was seen of an order.
#[derive(Default)]
struct Seen {
    /// Whether it was placed before this process started, so that its beginning is not known.
    is_old: bool,
    due_at: Option<Timestamp>,
    /// Since when it has been held for ample slack, after it was offered.
    ample_since: Option<Timestamp>,
    was_assigned: bool,
    offers: u32,
    driver: Option<DriverId>,
    /// When it was to be delivered, as it seemed when its driver was assigned.
    expected_at: Option<Timestamp>,
}

impl<K: Ord + Clone, V: Default> Tally<K, V> {
    fn new(shown: Vec<Gauge>) -> Self {
        Self { counts: vec![0; shown.len()], shown, known: BTreeMap::new() }
    }

    fn entry(&mut self, id: &K) -> &mut Entry<V> {
        self.known.entry(id.clone()).or_default()
    }

    fn set(&mut self, id: &K, status: usize) {
        let before = self.entry(id).status.replace(status);
        if before != Some(status) {
            if let Some(before) = before {
                self.count(before, -1);
            }
            self.count(status, 1);
        }
    }

    fn remove(&mut self, id: &K) {
        if let Some(status) = self.known.remove(id).and_then(|entry| entry.status) {
            self.count(status, -1);
        }
    }

    fn count(&mut self, status: usize, change: isize) {
        self.counts[status] = self.counts[status].strict_add_signed(change);
        self.shown[status].set(self.counts[status] as f64);
    }

    fn sum(&self, statuses: std::ops::Range<usize>) -> usize {
        self.counts[statuses].iter().sum()
    }
}

impl Figures {
    /// The figures of a market that begins in this state.
    pub(super) fn new(metrics: &Metrics, market: &MarketId, state: &State) -> Self {
        let market = market.as_str();
        let count = |metric, label| metrics.counter(metric, &[market, label]);
        let histogram = |metric| metrics.histogram(metric, &[market]);
        let gauges = |metric, labels: &[&str]| {
            labels.iter().map(|label| metrics.gauge(metric, &[market, label])).collect::<Vec<_>>()
        };
        let mut figures = Self {
            orders: Tally::new(gauges(&table::ORDERS, &ORDERS)),
            drivers: Tally::new(gauges(&table::DRIVERS, &DRIVERS)),
            active: metrics.gauge(&table::ACTIVE_DRIVERS, &[market]),
            placed: metrics.counter(&table::ORDERS_PLACED, &[market]),
            offers_made: metrics.counter(&table::OFFERS_MADE, &[market]),
            offers_closed: ["accepted", "declined", "expired", "withdrawn"]
                .map(|outcome| count(&table::OFFERS_CLOSED, outcome)),
            offers_per_assignment: histogram(&table::OFFERS_PER_ASSIGNMENT),
            due_to_offer: histogram(&table::DUE_TO_OFFER),
            time_to_assign: histogram(&table::TIME_TO_ASSIGN),
            slack_at_pickup: histogram(&table::SLACK_AT_PICKUP),
            driver_waiting: histogram(&table::DRIVER_WAITING),
            food_waiting: histogram(&table::FOOD_WAITING),
            eta_error: histogram(&table::ETA_ERROR),
            delivery_time: histogram(&table::DELIVERY_TIME),
            delivery_distance: histogram(&table::DELIVERY_DISTANCE),
            ended: ["delivered", "cancelled", "failed"].map(|outcome| count(&table::ORDERS_ENDED, outcome)),
            failed: ["no_driver", "never_finished", "reported"].map(|reason| count(&table::ORDERS_FAILED, reason)),
            rounds_failed: ["attempts_used", "no_candidate"].map(|reason| count(&table::ROUNDS_FAILED, reason)),
            window: histogram(&table::WINDOW_TIME),
        };
        for (id, order) in &state.orders {
            figures.orders.set(id, order_status(order.public_status()));
            let seen = figures.seen(id);
            seen.is_old = true;
            seen.driver = order.status.driver().cloned();
            seen.was_assigned = order.times.assigned.is_some();
        }
        for id in state.drivers.keys() {
            figures.driver(state, id);
        }
        figures
    }

    /// What was due took so long.
    pub(super) fn window(&self, took: Duration) {
        self.window.record(took);
    }

    /// A driver works elsewhere from now on.
    pub(super) fn left(&mut self, driver: &DriverId) {
        self.drivers.remove(driver);
        self.active.set(self.drivers.sum(ACTIVE) as f64);
    }

    /// Takes in what has just happened.
    pub(super) fn note(&mut self, engine: &Engine, events: &[Event]) {
        for event in events {
            self.take(engine, event);
        }
    }

    fn seen(&mut self, order: &OrderId) -> &mut Seen {
        &mut self.orders.entry(order).seen
    }

    fn take(&mut self, engine: &Engine, event: &Event) {
        let (state, now) = (engine.state(), event.at);
        match &event.kind {
            EventKind::OrderPlaced { order, .. } => {
                self.placed.increment(1);
                self.order(state, &order.id);
            }
            EventKind::KitchenProgressed { order, .. } | EventKind::Departed { order, .. } => self.order(state, order),
            EventKind::OrderHeld { order, reason, slack, .. } => self.held(state, order, *reason, *slack, now),
            EventKind::OfferMade { driver, orders, .. } => {
                self.offers_made.increment(1);
                for order in orders {
                    self.offered(order, now);
                }
                self.driver(state, driver);
            }
            EventKind::OfferClosed { offer, outcome } => {
                self.closed(*outcome).increment(1);
                if let Some(offer) = state.offers.get(*offer) {
                    self.driver(state, &offer.driver);
                }
            }
            EventKind::Assigned { orders, driver, .. } => {
                for order in orders {
                    self.assigned(engine, order, driver, now);
                }
                self.driver(state, driver);
            }
            EventKind::Returned { order, driver, .. } => {
                let seen = self.seen(order);
                (seen.driver, seen.expected_at) = (None, None);
                self.order(state, order);
                self.driver(state, driver);
            }
            EventKind::PickedUp { order, .. } => self.picked_up(state, order, now),
            EventKind::Delivered { order, driver, .. } => {
                self.delivered(state, order, now);
                self.driver(state, driver);
            }
            EventKind::OrderCancelled { order, .. } => self.ended(state, order, 1),
            EventKind::OrderFailed { order, reason, .. } => {
                let reason = match reason {
                    FailReason::NoDriver => 0,
                    FailReason::NeverFinished => 1,
                    FailReason::Reported(_) => 2,
                };
                self.failed[reason].increment(1);
                self.ended(state, order, 2);
            }
            EventKind::AssignmentFailed { reason, .. } => {
                self.rounds_failed[usize::from(*reason == RoundFailure::NoCandidate)].increment(1);
            }
            EventKind::OrderRetired { order } => self.orders.remove(order),
            EventKind::DriverRegistered { driver } => self.driver(state, &driver.id),
            EventKind::ShiftStarted { driver, .. }
            | EventKind::ShiftEnding { driver }
            | EventKind::ShiftEnded { driver }
            | EventKind::DriverPaused { driver }
            | EventKind::DriverResumed { driver }
            | EventKind::DriverSilent { driver }
            | EventKind::DriverHeard { driver } => self.driver(state, driver),
            _ => {}
        }
    }

    /// Counts an order as what it is after all that has just happened; one that was retired at once is gone.
    fn order(&mut self, state: &State, id: &OrderId) {
        if let Some(order) = state.orders.get(id) {
            self.orders.set(id, order_status(order.public_status()));
        }
    }

    fn driver(&mut self, state: &State, id: &DriverId) {
        if let Some(driver) = state.drivers.get(id) {
            self.drivers.set(id, driver_status(driver));
            self.active.set(self.drivers.sum(ACTIVE) as f64);
        }
    }

    fn closed(&self, outcome: OfferOutcome) -> &Counter {
        &self.offers_closed[match outcome {
            OfferOutcome::Accepted => 0,
            OfferOutcome::Declined => 1,
            OfferOutcome::Expired => 2,
            OfferOutcome::Withdrawn => 3,
        }]
    }

    /// An order that is not decided yet is due, unless there is ample slack; and then it is due once that is used up.
    fn held(&mut self, state: &State, id: &OrderId, reason: HoldReason, slack: Option<Millis>, now: Timestamp) {
        self.order(state, id);
        let spare = slack.map_or(Millis::ZERO, |slack| slack - state.config.schedule.margin).max(Millis::ZERO);
        let seen = self.seen(id);
        if reason == HoldReason::SlackAmple {
            // Time that went into offers stays counted, the time of this hold does not.
            if seen.offers > 0 {
                seen.ample_since.get_or_insert(now);
            } else {
                seen.due_at = None;
            }
            return;
        }
        seen.goes_on(now);
        if seen.offers == 0 {
            seen.due_at = Some(seen.due_at.filter(|due| *due <= now).unwrap_or(now + spare));
        }
    }

    fn offered(&mut self, id: &OrderId, now: Timestamp) {
        let due_to_offer = self.due_to_offer.clone();
        let seen = self.seen(id);
        let due_at = seen.due_by_now(now);
        if seen.offers == 0 && !seen.is_old {
            due_to_offer.record((now - due_at).as_secs_f64());
        }
        seen.offers += 1;
    }

    fn assigned(&mut self, engine: &Engine, id: &OrderId, driver: &DriverId, now: Timestamp) {
        self.order(engine.state(), id);
        let (time_to_assign, offers) = (self.time_to_assign.clone(), self.offers_per_assignment.clone());
        let seen = self.seen(id);
        let due_at = seen.due_by_now(now);
        if !std::mem::replace(&mut seen.was_assigned, true) && !seen.is_old {
            time_to_assign.record((now - due_at).as_secs_f64());
            offers.record(f64::from(seen.offers));
        }
        seen.driver = Some(driver.clone());
        seen.expected_at = engine.eta(id, now).map(|eta| eta.at);
    }

    fn picked_up(&mut self, state: &State, id: &OrderId, now: Timestamp) {
        self.order(state, id);
        let Some(order) = state.orders.get(id) else { return };
        let arrived_at = order.times.arrived_at_pickup.unwrap_or(now);
        // It may have become ready only by being taken.
        let ready_at = order.ready_at.min(now);
        self.slack_at_pickup.record((order.ready_at - arrived_at).as_secs_f64());
        self.driver_waiting.record((now - arrived_at).max(Millis::ZERO).as_secs_f64());
        self.food_waiting.record((now - ready_at).as_secs_f64());
    }

    fn delivered(&mut self, state: &State, id: &OrderId, now: Timestamp) {
        if let Some(expected_at) = self.seen(id).expected_at {
            self.eta_error.record((now - expected_at).as_secs_f64());
        }
        if let Some(order) = state.orders.get(id) {
            self.delivery_time.record((now - order.times.placed).as_secs_f64());
            let distance = order.spec.pickup.position.distance(order.spec.dropoff.position);
            self.delivery_distance.record(distance.get());
        }
        self.ended(state, id, 0);
    }

    fn ended(&mut self, state: &State, id: &OrderId, how: usize) {
        self.ended[how].increment(1);
        self.order(state, id);
        if let Some(driver) = self.seen(id).driver.take() {
            self.driver(state, &driver);
        }
    }
}

impl Seen {
    /// A hold for ample slack is over.
    fn goes_on(&mut self, now: Timestamp) {
        if let (Some(since), Some(due)) = (self.ample_since.take(), self.due_at) {
            self.due_at = Some(due + (now - since));
        }
    }

    /// Whoever decides about an order shows that it was due.
    fn due_by_now(&mut self, now: Timestamp) -> Timestamp {
        self.goes_on(now);
        *self.due_at.insert(self.due_at.map_or(now, |due| due.min(now)))
    }
}
