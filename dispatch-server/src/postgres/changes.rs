//! What records change: which rows have to be written, and what is added to the history.

use super::session::Applied;
use crate::journal::{Accepted, Image, Record, Watch};
use dispatch_core::{
    Driver, DriverId, Event, EventKind, KitchenStatus, MarketId, Millis, Offer, OfferId, OfferOutcome, Order, OrderId,
    Shift, State, Stop, StopKind, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a run of records changed. Rows are named, and written as the image has them in the end, however often they changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The last record.
    pub(super) upto: Applied,
    /// How long the records are that came through the feed or from the disk.
    pub(super) bytes: u64,
    /// All rows have to be written: the database may be anywhere before.
    pub(super) all: bool,
    pub(super) markets: BTreeMap<MarketId, MarketParts>,
    pub(super) drivers: BTreeSet<(MarketId, DriverId)>,
    /// With how it was last, where it left the engine's memory.
    pub(super) orders: BTreeMap<(MarketId, OrderId), Option<Gone<Order>>>,
    /// Orders that were placed, and others that had left memory when their ids were used again.
    pub(super) placed: BTreeSet<(MarketId, OrderId)>,
    pub(super) former: Vec<(MarketId, Gone<Order>)>,
    pub(super) offers: BTreeMap<(MarketId, OfferId), Option<Gone<Offer>>>,
    pub(super) events: Vec<Entry>,
    pub(super) rules: Vec<Rules>,
    pub(super) assignments: Assignments,
    pub(super) etas: Vec<Expected>,
    /// Requests that are to be carried out once and were.
    pub(super) accepted: Vec<(MarketId, Timestamp, Accepted)>,
    /// The server's time of the record.
    now: Timestamp,
    /// What an event is about to change in words, whose route, and when the orders on that were expected.
    before: Option<String>,
    rerouted: Option<DriverId>,
    expected: BTreeMap<OrderId, Timestamp>,
}

/// What left the engine's memory.
#[derive(Debug)]
pub(super) struct Gone<T> {
    pub(super) last: T,
    pub(super) at: Timestamp,
}

/// Which parts of a market changed, beside its head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MarketParts {
    pub(super) rules: bool,
    pub(super) demand: bool,
    pub(super) readiness: bool,
}

/// An entry of the log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) market: MarketId,
    /// When it happened; the first of a market says nothing of that itself.
    pub(super) at: Timestamp,
    pub(super) event: Event,
    pub(super) orders: Vec<OrderId>,
    pub(super) driver: Option<DriverId>,
    pub(super) offer: Option<OfferId>,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

/// A version of the rules of a market.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) market: MarketId,
    /// The entry of the log that has them.
    pub(super) entry: usize,
}

/// When an order was expected from some event on.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) market: MarketId,
    pub(super) order: OrderId,
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) driver: DriverId,
    pub(super) pickup_at: Option<Timestamp>,
    pub(super) dropoff_at: Option<Timestamp>,
}

/// Assignments that began and ended.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    pub(super) begun: Vec<Assignment>,
    /// Those that were open before.
    pub(super) ended: Vec<(MarketId, OrderId, Timestamp, &'static str)>,
    open: BTreeMap<(MarketId, OrderId), usize>,
}

#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) market: MarketId,
    pub(super) order: OrderId,
    pub(super) seq: u64,
    pub(super) driver: DriverId,
    pub(super) at: Timestamp,
    pub(super) ended: Option<(Timestamp, &'static str)>,
}

impl Assignments {
    fn begin(&mut self, market: &MarketId, order: &OrderId, driver: &DriverId, event: &Event) {
        self.open.insert((market.clone(), order.clone()), self.begun.len());
        let (market, order, driver) = (market.clone(), order.clone(), driver.clone());
        self.begun.push(Assignment { market, order, seq: event.seq, driver, at: event.at, ended: None });
    }

    fn end(&mut self, market: &MarketId, order: &OrderId, at: Timestamp, outcome: &'static str) {
        match self.open.remove(&(market.clone(), order.clone())) {
            Some(begun) => self.begun[begun].ended = Some((at, outcome)),
            None => self.ended.push((market.clone(), order.clone(), at, outcome)),
        }
    }
}

/// An order is expected at another time if it differs by this much.
const NEWS: Millis = Millis::from_mins(1);

impl Changes {
    /// Everything that an image has.
    pub(super) fn of_all(image: &Image, seq: u64) -> Self {
        let upto = Applied { seq, hash: String::new() };
        let mut changes = Self { upto, all: true, ..Self::default() };
        // Which market each was kept with is known to the records alone, and matters to nobody.
        if let Some(first) = image.markets.keys().next() {
            changes.accepted = image.keys.iter().map(|(at, accepted)| (first.clone(), *at, *accepted)).collect();
        }
        for (market, snapshot) in &image.markets {
            let state = snapshot.state();
            let parts = MarketParts { rules: true, demand: true, readiness: true };
            changes.markets.insert(market.clone(), parts);
            changes.drivers.extend(state.drivers.keys().map(|id| (market.clone(), id.clone())));
            changes.orders.extend(state.orders.keys().map(|id| ((market.clone(), id.clone()), None)));
            // Any of them may have been placed since the rows were written.
            changes.placed.extend(state.orders.keys().map(|id| (market.clone(), id.clone())));
            changes.offers.extend(state.offers.iter().map(|offer| ((market.clone(), offer.id), None)));
        }
        changes
    }

    /// Folds the next record into the image and notes what it changes.
    pub(super) fn record(&mut self, image: &mut Image, seq: u64, record: Record) -> Result<(), String> {
        // A driver may move to a market in which nothing happens.
        self.markets.entry(record.market.clone()).or_default();
        self.now = record.at;
        image.apply_seen(record, self)?;
        self.upto.seq = seq;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.upto.seq == 0
    }

    fn order(&mut self, market: &MarketId, order: &OrderId) {
        if let Some(Some(former)) = self.orders.insert((market.clone(), order.clone()), None) {
            self.former.push((market.clone(), former));
        }
    }

    fn driver(&mut self, market: &MarketId, driver: &DriverId) {
        self.drivers.insert((market.clone(), driver.clone()));
    }

    fn offer(&mut self, market: &MarketId, offer: OfferId) {
        self.offers.entry((market.clone(), offer)).or_default();
    }
}

impl Watch for Changes {
    fn moves(&mut self, driver: &DriverId, market: &MarketId) {
        self.driver(market, driver);
    }

    fn accepts(&mut self, market: &MarketId, at: Timestamp, accepted: Accepted) {
        self.accepted.push((market.clone(), at, accepted));
    }

    fn before(&mut self, market: &MarketId, state: &State, event: &Event) {
        self.before = words(state, &event.kind);
        self.expected.clear();
        self.rerouted = rerouted(state, &event.kind).cloned();
        let driver = self.rerouted.as_ref().and_then(|id| state.drivers.get(id));
        for stop in driver.into_iter().flat_map(|driver| &driver.stops).filter(|stop| stop.kind == StopKind::Dropoff) {
            self.expected.extend(stop.orders.iter().map(|order| (order.clone(), stop.done_at)));
        }
        match &event.kind {
            EventKind::OfferMade { orders, .. } => {
                // The oldest of an order may be forgotten now.
                for order in orders.iter().filter_map(|id| state.orders.get(id)) {
                    if let Some(oldest) = order.offers.first().and_then(|id| state.offers.get(*id)) {
                        let gone = Gone { last: oldest.clone(), at: event.at };
                        self.offers.insert((market.clone(), oldest.id), Some(gone));
                    }
                }
            }
            EventKind::OrderCancelled { order, .. } | EventKind::OrderFailed { order, .. } => {
                let outcome = if matches!(event.kind, EventKind::OrderFailed { .. }) { "failed" } else { "cancelled" };
                if let Some(driver) = state.orders.get(order).and_then(|order| order.status.driver()) {
                    self.driver(market, driver);
                    self.assignments.end(market, order, event.at, outcome);
                }
            }
            EventKind::OrderRetired { order } => {
                if let Some(last) = state.orders.get(order) {
                    for offer in last.offers.iter().filter_map(|id| state.offers.get(*id)) {
                        let gone = Gone { last: offer.clone(), at: event.at };
                        self.offers.insert((market.clone(), offer.id), Some(gone));
                    }
                    let gone = Gone { last: last.clone(), at: event.at };
                    self.orders.insert((market.clone(), order.clone()), Some(gone));
                }
            }
            _ => {}
        }
    }

    fn after(&mut self, market: &MarketId, state: &State, event: &Event) {
        let parts = self.markets.entry(market.clone()).or_default();
        match &event.kind {
            // The first event of a market is the first of its parts, too.
            EventKind::Configured { .. } => *parts = MarketParts { rules: true, demand: true, readiness: true },
            EventKind::OrderPlaced { order, .. } => {
                parts.demand = true;
                self.placed.insert((market.clone(), order.id.clone()));
            }
            EventKind::KitchenProgressed { status: KitchenStatus::Ready, .. } => parts.readiness = true,
            _ => {}
        }
        let (orders, driver, offer) = about(state, &event.kind);
        for order in &orders {
            if !matches!(event.kind, EventKind::OrderRetired { .. }) {
                self.order(market, order);
            }
        }
        if let Some(driver) = &driver {
            self.driver(market, driver);
        }
        if let Some(offer) = offer {
            self.offer(market, offer);
        }
        match &event.kind {
            EventKind::Configured { .. } => {
                self.rules.push(Rules { market: market.clone(), entry: self.events.len() });
            }
            EventKind::Resumed { extended, .. } => {
                for (offer, _) in extended {
                    self.offer(market, *offer);
                }
            }
            EventKind::Assigned { orders, driver, .. } => {
                for order in orders {
                    self.assignments.begin(market, order, driver, event);
                }
            }
            EventKind::Returned { order, .. } => self.assignments.end(market, order, event.at, "returned"),
            EventKind::Delivered { order, .. } => self.assignments.end(market, order, event.at, "delivered"),
            _ => {}
        }
        self.expect(market, state, event);
        self.events.push(Entry {
            market: market.clone(),
            at: if event.at == Timestamp::default() { self.now } else { event.at },
            event: event.clone(),
            orders,
            driver,
            offer,
            before: self.before.take(),
            after: words(state, &event.kind),
        });
    }
}

impl Changes {
    /// Notes which orders of a changed route are expected at other times than before.
    fn expect(&mut self, market: &MarketId, state: &State, event: &Event) {
        let Some(driver) = self.rerouted.as_ref().and_then(|id| state.drivers.get(id)) else { return };
        for stop in driver.stops.iter().filter(|stop| stop.kind == StopKind::Dropoff) {
            for order in &stop.orders {
                let moved = |before: &Timestamp| (stop.done_at - *before).get().abs() >= NEWS.get();
                if self.expected.get(order).is_none_or(moved) {
                    self.etas.push(Expected {
                        market: market.clone(),
                        order: order.clone(),
                        seq: event.seq,
                        at: event.at,
                        driver: driver.spec.id.clone(),
                        pickup_at: pickup_of(driver, order).map(|stop| stop.arrive_at),
                        dropoff_at: Some(stop.done_at),
                    });
                }
            }
        }
    }
}

fn pickup_of<'a>(driver: &'a Driver, order: &OrderId) -> Option<&'a Stop> {
    driver.stops.iter().find(|stop| stop.kind == StopKind::Pickup && stop.orders.contains(order))
}

/// Whose route an event changes.
fn rerouted<'a>(state: &'a State, kind: &'a EventKind) -> Option<&'a DriverId> {
    match kind {
        EventKind::Assigned { driver, .. } | EventKind::Returned { driver, .. } => Some(driver),
        EventKind::OrderCancelled { order, .. } | EventKind::OrderFailed { order, .. } => {
            state.orders.get(order).and_then(|order| order.status.driver())
        }
        _ => None,
    }
}

/// What an event is about.
fn about(state: &State, kind: &EventKind) -> (Vec<OrderId>, Option<DriverId>, Option<OfferId>) {
    match kind {
        EventKind::Configured { .. } | EventKind::Resumed { .. } => (Vec::new(), None, None),
        EventKind::DriverRegistered { driver } => (Vec::new(), Some(driver.id.clone()), None),
        EventKind::DriverRated { driver, .. }
        | EventKind::ShiftPlanned { driver, .. }
        | EventKind::ShiftStarted { driver, .. }
        | EventKind::ShiftEnding { driver }
        | EventKind::ShiftEnded { driver }
        | EventKind::DriverPaused { driver }
        | EventKind::DriverResumed { driver }
        | EventKind::DriverSilent { driver }
        | EventKind::DriverHeard { driver }
        | EventKind::RepositionSuggested { driver, .. } => (Vec::new(), Some(driver.clone()), None),
        EventKind::OrderPlaced { order, .. } => (vec![order.id.clone()], None, None),
        EventKind::KitchenProgressed { order, .. }
        | EventKind::ReadyTimeChanged { order, .. }
        | EventKind::DispatchStarted { order }
        | EventKind::OrderHeld { order, .. }
        | EventKind::OrderCancelled { order, .. }
        | EventKind::OrderFailed { order, .. }
        | EventKind::AssignmentFailed { order, .. }
        | EventKind::RoundStarted { order }
        | EventKind::OrderOverdue { order }
        | EventKind::OrderRetired { order } => {
            // Its place with its driver is written with the driver's others.
            let driver = state.orders.get(order).and_then(|known| known.status.driver().cloned());
            (vec![order.clone()], driver, None)
        }
        EventKind::OfferMade { offer, driver, orders, .. } => (orders.clone(), Some(driver.clone()), Some(*offer)),
        EventKind::OfferClosed { offer, .. } => match state.offers.get(*offer) {
            Some(closed) => (closed.orders.clone(), Some(closed.driver.clone()), Some(*offer)),
            None => (Vec::new(), None, Some(*offer)),
        },
        EventKind::Assigned { orders, driver, .. } => (orders.clone(), Some(driver.clone()), None),
        EventKind::Returned { order, driver, .. }
        | EventKind::ArrivedAtPickup { order, driver }
        | EventKind::PickedUp { order, driver, .. }
        | EventKind::Departed { order, driver }
        | EventKind::ArrivedAtDropoff { order, driver }
        | EventKind::Delivered { order, driver, .. } => (vec![order.clone()], Some(driver.clone()), None),
    }
}

/// The status of what an event is about, in a word.
fn words(state: &State, kind: &EventKind) -> Option<String> {
    let order = |id: &OrderId| state.orders.get(id).map(|order| order.status.name().to_owned());
    let driver = |id: &DriverId| state.drivers.get(id).map(|driver| driver_word(driver).to_owned());
    match kind {
        EventKind::Configured { .. } => Some(format!("version {}", state.config_version)),
        EventKind::KitchenProgressed { order, .. } => {
            state.orders.get(order).map(|order| kitchen_word(order.kitchen).to_owned())
        }
        EventKind::ReadyTimeChanged { order, .. } => {
            state.orders.get(order).map(|order| format!("ready at {}", order.ready_at.as_millis()))
        }
        EventKind::DriverRated { driver, .. } => {
            state.drivers.get(driver).map(|driver| format!("{} stars", driver.rating.stars()))
        }
        EventKind::OfferMade { offer, .. } | EventKind::OfferClosed { offer, .. } => {
            state.offers.get(*offer).map(|offer| outcome_word(offer.outcome).unwrap_or("open").to_owned())
        }
        kind => match about(state, kind) {
            (orders, _, _) if !orders.is_empty() => order(&orders[0]),
            (_, Some(id), _) => driver(&id),
            _ => None,
        },
    }
}

/// How a driver works, in a word.
fn driver_word(driver: &Driver) -> &'static str {
    match driver.shift {
        Shift::Off => "off",
        _ if driver.silent => "silent",
        Shift::On { .. } if driver.paused => "paused",
        shift => shift_word(shift),
    }
}

pub(super) fn shift_word(shift: Shift) -> &'static str {
    match shift {
        Shift::Off => "off",
        Shift::On { .. } => "on",
        Shift::Ending { .. } => "ending",
    }
}

pub(super) fn kitchen_word(status: KitchenStatus) -> &'static str {
    match status {
        KitchenStatus::Placed => "placed",
        KitchenStatus::Confirmed => "confirmed",
        KitchenStatus::Preparing => "preparing",
        KitchenStatus::Ready => "ready",
    }
}

pub(super) fn outcome_word(outcome: Option<OfferOutcome>) -> Option<&'static str> {
    outcome.map(|outcome| match outcome {
        OfferOutcome::Accepted => "accepted",
        OfferOutcome::Declined => "declined",
        OfferOutcome::Expired => "expired",
        OfferOutcome::Withdrawn => "withdrawn",
    })
}
