//! When orders arrive, as it was last told, and how sure that is. Soft: nothing is decided upon it, and a restart begins anew.

use super::fleet::Fleet;
use dispatch_core::{
    DriverId, Engine, Eta, Event, EventKind, Meters, Millis, Order, OrderId, Position, State, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// When an order arrives, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) eta: Eta,
    /// As likely before as after.
    pub(crate) p50: Timestamp,
    /// Nine of ten arrive before.
    pub(crate) p90: Timestamp,
}

/// What was told of an order's arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) at: Timestamp,
    pub(crate) expected: Expected,
    /// Whether it differs so much from what people were last told that they should be.
    pub(crate) notify: bool,
}

/// It is told anew when it changes by this much,
const CHANGE: Millis = Millis::from_mins(1);
/// and people are when by this.
const NOTICE: Millis = Millis::from_mins(5);

/// It is computed anew when the driver has come this far,
const MOVED_M: f64 = 100.0;
/// which is looked at so often.
const LOOK_EVERY: Millis = Millis::from_secs(5);

/// So much of what was told of one order is kept.
const MAX_TOLD: usize = 32;

/// The arrival times of the orders of a market.
#[derive(Default)]
pub(super) struct Etas {
    orders: BTreeMap<OrderId, Known>,
    /// Those whose driver may have moved, by driver.
    under_way: BTreeMap<DriverId, (Option<Position>, BTreeSet<OrderId>)>,
    look_at: Option<Timestamp>,
    news: Vec<(OrderId, Told)>,
    fetched: Spread,
    brought: Spread,
}

#[derive(Default)]
struct Known {
    told: VecDeque<Told>,
    notified: Option<Timestamp>,
    /// What was thought when the driver was assigned, and when it had the order: when, and of when.
    assigned: Option<(Timestamp, Timestamp)>,
    picked_up: Option<(Timestamp, Timestamp)>,
    driver: Option<DriverId>,
}

impl Etas {
    pub(super) fn of(engine: &Engine, now: Timestamp) -> Self {
        let mut etas = Self::default();
        let ids: Vec<_> = engine.state().orders.keys().cloned().collect();
        for id in ids {
            etas.compute(engine, &id, now);
        }
        etas.news.clear();
        etas
    }

    /// When it has to be looked where drivers are.
    pub(super) fn look_at(&self) -> Option<Timestamp> {
        self.look_at
    }

    /// What is to be told since the last call.
    pub(super) fn take_news(&mut self) -> Vec<(OrderId, Told)> {
        std::mem::take(&mut self.news)
    }

    /// What was told of an order, the last at the end.
    pub(super) fn told(&self, order: &OrderId) -> impl DoubleEndedIterator<Item = &Told> {
        self.orders.get(order).into_iter().flat_map(|known| &known.told)
    }

    /// How sure an estimate is.
    pub(super) fn expected(&self, order: &Order, eta: Eta, now: Timestamp) -> Expected {
        let spread = if order.status.is_on_board() { &self.brought } else { &self.fetched };
        let left = (eta.at - now).max(Millis::ZERO);
        let (p50, p90) = spread.of(left);
        Expected { eta, p50: eta.at + p50, p90: eta.at + p90 }
    }

    /// Takes in what has just happened.
    pub(super) fn note(&mut self, engine: &Engine, events: &[Event], now: Timestamp) {
        let (mut orders, mut drivers) = (BTreeSet::new(), BTreeSet::new());
        for event in events {
            match &event.kind {
                EventKind::OrderPlaced { order, .. } => {
                    orders.insert(order.id.clone());
                }
                EventKind::KitchenProgressed { order, .. } | EventKind::ReadyTimeChanged { order, .. } => {
                    orders.insert(order.clone());
                    drivers.extend(engine.state().orders.get(order).and_then(|order| order.status.driver()));
                }
                EventKind::Assigned { driver, .. }
                | EventKind::ArrivedAtPickup { driver, .. }
                | EventKind::PickedUp { driver, .. }
                | EventKind::Departed { driver, .. } => {
                    drivers.insert(driver);
                }
                EventKind::Returned { order, driver, .. } => {
                    self.detach(order);
                    orders.insert(order.clone());
                    drivers.insert(driver);
                }
                EventKind::Delivered { order, driver, .. } => {
                    self.learn(order, event.at);
                    self.detach(order);
                    drivers.insert(driver);
                }
                EventKind::OrderCancelled { order, .. } | EventKind::OrderFailed { order, .. } => {
                    drivers.extend(
                        self.orders
                            .get(order)
                            .and_then(|known| known.driver.as_ref())
                            .and_then(|driver| Some(&engine.state().drivers.get(driver)?.spec.id)),
                    );
                    self.detach(order);
                }
                EventKind::OrderRetired { order } => {
                    self.orders.remove(order);
                }
                _ => {}
            }
        }
        for driver in drivers {
            orders.extend(engine.state().drivers.get(driver).into_iter().flat_map(|driver| driver.orders().cloned()));
        }
        for order in orders {
            self.compute(engine, &order, now);
        }
    }

    /// Computes anew where drivers have moved.
    pub(super) fn look(&mut self, engine: &Engine, fleet: &Fleet, now: Timestamp) {
        self.look_at = Some(now + LOOK_EVERY).filter(|_| !self.under_way.is_empty());
        let mut moved = Vec::new();
        let limit = Meters::new(MOVED_M).expect("a hundred metres are a length");
        for (driver, (seen, orders)) in &mut self.under_way {
            let Some((fix, _)) = fleet.last_fix(driver) else { continue };
            if seen.is_none_or(|seen| seen.distance(fix.position) >= limit) {
                *seen = Some(fix.position);
                moved.extend(orders.iter().cloned());
            }
        }
        for order in moved {
            self.compute(engine, &order, now);
        }
    }

    fn compute(&mut self, engine: &Engine, id: &OrderId, now: Timestamp) {
        let state: &State = engine.state();
        let Some(order) = state.orders.get(id).filter(|order| !order.status.is_terminal()) else { return };
        let Some(eta) = engine.eta(id, now) else { return };
        let expected = self.expected(order, eta, now);
        let driver = order.status.driver();
        let known = self.orders.entry(id.clone()).or_default();
        if let Some(driver) = driver {
            if known.driver.as_ref() != Some(driver) {
                known.driver = Some(driver.clone());
                // After a restart it may be on board already.
                known.assigned = (!order.status.is_on_board()).then_some((now, eta.at));
                self.under_way.entry(driver.clone()).or_default().1.insert(id.clone());
                self.look_at.get_or_insert(now + LOOK_EVERY);
            }
            if order.status.is_on_board() && known.picked_up.is_none() {
                known.picked_up = Some((now, eta.at));
            }
        }
        let changed = |before: Timestamp, by: Millis| expected.p50 - before >= by || before - expected.p50 >= by;
        if known.told.back().is_some_and(|told| !changed(told.expected.p50, CHANGE)) {
            return;
        }
        let notify = known.notified.is_none_or(|before| changed(before, NOTICE));
        if notify {
            known.notified = Some(expected.p50);
        }
        if known.told.len() == MAX_TOLD {
            known.told.pop_front();
        }
        let told = Told { at: now, expected, notify };
        known.told.push_back(told);
        self.news.push((id.clone(), told));
    }

    /// Nobody is under way with an order any more.
    fn detach(&mut self, order: &OrderId) {
        let Some(known) = self.orders.get_mut(order) else { return };
        (known.assigned, known.picked_up) = (None, None);
        let Some(driver) = known.driver.take() else { return };
        if let Some((_, orders)) = self.under_way.get_mut(&driver) {
            orders.remove(order);
            if orders.is_empty() {
                self.under_way.remove(&driver);
            }
        }
    }

    fn learn(&mut self, order: &OrderId, arrived: Timestamp) {
        let Some(known) = self.orders.get(order) else { return };
        for (guess, spread) in [(known.assigned, &mut self.fetched), (known.picked_up, &mut self.brought)] {
            if let Some((made, expected)) = guess {
                spread.add(arrived - expected, expected - made);
            }
        }
    }
}

/// How far estimates were off lately, as a share of the time that was left.
#[derive(Default)]
struct Spread {
    shares: VecDeque<f64>,
    /// The median and the ninetieth percentile, once there are enough.
    quantiles: Option<(f64, f64)>,
}

/// So many of the last count,
const MAX_SHARES: usize = 512;
/// and with fewer nothing is known.
const MIN_SHARES: usize = 32;

/// Most of the time that was left that an error counts for.
const MAX_SHARE: f64 = 5.0;

/// What is thought while nothing is known: a fifth longer, and two minutes at least.
const USUAL_SHARE: f64 = 0.2;
const USUAL_LEAST: Millis = Millis::from_mins(2);

impl Spread {
    fn add(&mut self, error: Millis, left: Millis) {
        // What was a moment away says nothing about minutes.
        if left < CHANGE {
            return;
        }
        if self.shares.len() == MAX_SHARES {
            self.shares.pop_front();
        }
        // One that went quite wrong says no more than that.
        self.shares.push_back((error.as_secs_f64() / left.as_secs_f64()).clamp(-1.0, MAX_SHARE));
        if self.shares.len() >= MIN_SHARES {
            let mut sorted: Vec<f64> = self.shares.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
            self.quantiles = Some((at(0.5), at(0.9)));
        }
    }

    /// By how much an estimate is exceeded half of the time, and a tenth of it.
    fn of(&self, left: Millis) -> (Millis, Millis) {
        let part = |share: f64| Millis::from_secs_f64(left.as_secs_f64() * share);
        match self.quantiles {
            Some((p50, p90)) => (part(p50), part(p90)),
            None => (Millis::ZERO, part(USUAL_SHARE).max(USUAL_LEAST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_few_errors_say_nothing() {
        let mut spread = Spread::default();
        let left = Millis::from_mins(20);
        for _ in 1..MIN_SHARES {
            spread.add(Millis::from_mins(10), left);
        }
        assert_eq!(spread.of(left), (Millis::ZERO, Millis::from_mins(4)));
        spread.add(Millis::from_mins(10), left);
        assert_eq!(spread.of(left), (Millis::from_mins(10), Millis::from_mins(10)));
    }

    proptest! {
        #[test]
        fn a_tenth_of_the_last_errors_exceeds_the_range(errors in proptest::collection::vec(-600_i64..1_200, 64..900)) {
            let (mut spread, left) = (Spread::default(), Millis::from_mins(20));
            for error in &errors {
                spread.add(Millis::from_secs(*error), left);
            }
            let last = &errors[errors.len().saturating_sub(MAX_SHARES)..];
            let (p50, p90) = spread.of(left);
            prop_assert!(p50 <= p90);
            let above = |limit: Millis| last.iter().filter(|error| Millis::from_secs(**error) > limit).count() as f64;
            let least = Millis::new(1);
            prop_assert!(above(p90 + least) <= 0.1 * last.len() as f64 + 1.0);
            prop_assert!(above(p50 + least) <= 0.5 * last.len() as f64 + 1.0);
        }
    }
}
