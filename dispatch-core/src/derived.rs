//! What is computed from the state to find things fast: who works, what waits, what is due when.
//!
//! Every entry is a function of one order, driver or offer, so an event updates it by taking out the entries of what it
//! touches, applying itself, and putting them in again. `rebuild(&State)` gives the same.

use crate::config::EngineConfig;
use crate::event::{Event, EventKind, HoldReason};
use crate::model::{DispatchStatus, DriverId, OfferId, OrderId};
use crate::offer::Offer;
use crate::schedule;
use crate::state::{Driver, Order, Shift, State};
use crate::units::Timestamp;
use std::collections::BTreeSet;

/// Something that happens by itself when its time comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// An open offer expires.
    OfferExpires(OfferId),
    /// A round without any candidate ends.
    RoundFails(OrderId),
    /// The next round begins.
    RoundStarts(OrderId),
    /// An order has been without a driver for too long.
    Overdue(OrderId),
    /// An order without a driver fails.
    NoDriver(OrderId),
    /// An order fails whatever its status.
    NeverFinished(OrderId),
    /// An ended order leaves memory.
    Retires(OrderId),
    /// A shift ends as planned.
    ShiftEnds(DriverId),
}

/// The indexes over a [`State`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Derived {
    /// The drivers on shift, those whose shift is ending included.
    pub(crate) on_shift: BTreeSet<DriverId>,
    /// The drivers off shift whose next one is on the roster.
    pub(crate) rostered: BTreeSet<DriverId>,
    /// The orders that look for a driver, by when they are first looked at.
    pub(crate) waiting: BTreeSet<(Timestamp, OrderId)>,
    /// The orders that have a driver and may still move to another one.
    pub(crate) movable: BTreeSet<OrderId>,
    /// What happens by itself, by when.
    pub(crate) deadlines: BTreeSet<(Timestamp, Deadline)>,
}

/// The orders, drivers and offers whose entries an event may change.
#[derive(Default)]
struct Touched {
    orders: Vec<OrderId>,
    driver: Option<DriverId>,
    offers: Vec<OfferId>,
}

impl Derived {
    /// Computes everything from the state. Cost: linear in it.
    pub(crate) fn rebuild(state: &State) -> Self {
        let mut derived = Self::default();
        for order in state.orders.values() {
            derived.set_order(order, &state.config, true);
        }
        for driver in state.drivers.values() {
            derived.set_driver(driver, true);
        }
        for offer in state.offers.iter() {
            derived.set_offer(offer, true);
        }
        derived
    }

    /// Applies the event to the state and keeps the indexes in step with it.
    pub(crate) fn apply(&mut self, state: &mut State, event: &Event) {
        if matches!(event.kind, EventKind::Configured { .. }) {
            state.apply(event);
            *self = Self::rebuild(state);
            return;
        }
        let touched = Touched::by(&event.kind, state);
        self.set(&touched, state, false);
        state.apply(event);
        self.set(&touched, state, true);
    }

    fn set(&mut self, touched: &Touched, state: &State, present: bool) {
        for order in touched.orders.iter().filter_map(|id| state.orders.get(id)) {
            self.set_order(order, &state.config, present);
        }
        if let Some(driver) = touched.driver.as_ref().and_then(|id| state.drivers.get(id)) {
            self.set_driver(driver, present);
        }
        for offer in touched.offers.iter().filter_map(|id| state.offers.get(*id)) {
            self.set_offer(offer, present);
        }
    }

    fn set_deadline(&mut self, at: Timestamp, deadline: Deadline, present: bool) {
        set(&mut self.deadlines, (at, deadline), present);
    }

    fn set_offer(&mut self, offer: &Offer, present: bool) {
        if offer.outcome.is_none() {
            self.set_deadline(offer.expires_at, Deadline::OfferExpires(offer.id), present);
        }
    }

    fn set_driver(&mut self, driver: &Driver, present: bool) {
        let id = &driver.spec.id;
        if driver.is_on_shift() {
            set(&mut self.on_shift, id.clone(), present);
        } else if driver.planned.is_some() {
            set(&mut self.rostered, id.clone(), present);
        }
        if let Shift::On { until: Some(until), .. } = driver.shift
            && driver.stops.is_empty()
            && driver.offer.is_none()
        {
            self.set_deadline(until, Deadline::ShiftEnds(id.clone()), present);
        }
    }

    fn set_order(&mut self, order: &Order, config: &EngineConfig, present: bool) {
        let id = &order.spec.id;
        let lifetimes = &config.lifetimes;
        if let Some(ended) = order.times.ended {
            self.set_deadline(ended + lifetimes.retire_after, Deadline::Retires(id.clone()), present);
            return;
        }
        let begun = order.times.placed.max(order.ready_at);
        self.set_deadline(begun + lifetimes.never_finished_after, Deadline::NeverFinished(id.clone()), present);
        if let Some(since) = order.waiting_clock(config.preparation) {
            if !order.overdue {
                self.set_deadline(since + lifetimes.overdue_after, Deadline::Overdue(id.clone()), present);
            }
            self.set_deadline(since + lifetimes.fail_after, Deadline::NoDriver(id.clone()), present);
        }
        if config.swap.is_some() && order.status.is_before_pickup() {
            set(&mut self.movable, id.clone(), present);
        }
        if order.status != DispatchStatus::Waiting {
            return;
        }
        if let Some(retry_at) = order.round.retry_at {
            self.set_deadline(retry_at, Deadline::RoundStarts(id.clone()), present);
            return;
        }
        let first_look = schedule::first_look(order.ready_at, &config.schedule);
        set(&mut self.waiting, (first_look, id.clone()), present);
        if let Some(hold) = order.hold.filter(|hold| hold.reason == HoldReason::NoCandidate) {
            let fails_at = hold.since + config.rounds.no_candidate_after;
            self.set_deadline(fails_at, Deadline::RoundFails(id.clone()), present);
        }
    }
}

fn set<T: Ord>(entries: &mut BTreeSet<T>, entry: T, present: bool) {
    let changed = if present { entries.insert(entry) } else { entries.remove(&entry) };
    assert!(changed, "an entry is put in once and taken out once");
}

impl Touched {
    fn by(event: &EventKind, state: &State) -> Self {
        let order = |order: &OrderId| Self {
            orders: vec![order.clone()],
            driver: state.orders.get(order).and_then(|order| order.status.driver().cloned()),
            offers: Vec::new(),
        };
        let driver = |driver: &DriverId| Self { driver: Some(driver.clone()), ..Self::default() };
        match event {
            EventKind::Configured { .. } => Self::default(),
            EventKind::Resumed { extended, .. } => {
                Self { offers: extended.iter().map(|(offer, _)| *offer).collect(), ..Self::default() }
            }
            EventKind::DriverRegistered { driver: spec } => driver(&spec.id),
            EventKind::DriverRated { driver: id, .. }
            | EventKind::ShiftPlanned { driver: id, .. }
            | EventKind::ShiftStarted { driver: id, .. }
            | EventKind::ShiftEnding { driver: id }
            | EventKind::ShiftEnded { driver: id }
            | EventKind::DriverPaused { driver: id }
            | EventKind::DriverResumed { driver: id }
            | EventKind::DriverSilent { driver: id }
            | EventKind::DriverHeard { driver: id }
            | EventKind::RepositionSuggested { driver: id, .. } => driver(id),
            EventKind::OrderPlaced { order: spec, .. } => order(&spec.id),
            EventKind::OfferMade { offer, driver, orders, .. } => {
                Self { orders: orders.clone(), driver: Some(driver.clone()), offers: vec![*offer] }
            }
            EventKind::OfferClosed { offer, .. } => {
                let Offer { driver, orders, .. } = state.offers.get(*offer).expect("an offer that is closed exists");
                Self { orders: orders.clone(), driver: Some(driver.clone()), offers: vec![*offer] }
            }
            EventKind::Assigned { orders, driver, .. } => {
                Self { orders: orders.clone(), driver: Some(driver.clone()), offers: Vec::new() }
            }
            EventKind::KitchenProgressed { order: id, .. }
            | EventKind::ReadyTimeChanged { order: id, .. }
            | EventKind::DispatchStarted { order: id }
            | EventKind::OrderHeld { order: id, .. }
            | EventKind::Returned { order: id, .. }
            | EventKind::ArrivedAtPickup { order: id, .. }
            | EventKind::PickedUp { order: id, .. }
            | EventKind::Departed { order: id, .. }
            | EventKind::ArrivedAtDropoff { order: id, .. }
            | EventKind::Delivered { order: id, .. }
            | EventKind::OrderCancelled { order: id, .. }
            | EventKind::OrderFailed { order: id, .. }
            | EventKind::AssignmentFailed { order: id, .. }
            | EventKind::RoundStarted { order: id }
            | EventKind::OrderOverdue { order: id }
            | EventKind::OrderRetired { order: id } => order(id),
        }
    }
}
