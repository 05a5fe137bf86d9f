//! How an event changes the state: the only way there is.

use super::{Driver, Heading, Hold, MAX_FORMER_CONFIGS, Order, OrderTimes, Round, Shift, State};
use crate::event::{Event, EventKind, ReturnReason};
use crate::matching::explanation::Decision;
use crate::model::{
    Acceptance, DispatchStatus, DriverId, DriverSpec, KitchenStatus, OfferId, OrderId, OrderSpec, Rating,
};
use crate::offer::{MAX_OFFERS_PER_ORDER, Offer, OfferOutcome};
use crate::route::{Stop, StopKind};
use crate::units::Timestamp;

impl State {
    /// Applies the next event of the log. An event that does not follow from the state is a bug, and asserts.
    pub fn apply(&mut self, event: &Event) {
        assert_eq!(event.seq, self.seq + 1, "events are applied without gaps");
        assert!(event.at >= self.at, "time does not go back");
        self.seq = event.seq;
        self.at = event.at;
        match &event.kind {
            EventKind::Configured { version, config } => {
                let former = std::mem::replace(&mut self.config, (**config).clone());
                let former_version = std::mem::replace(&mut self.config_version, *version);
                // Before the first event there are no rules, only defaults.
                if former_version > 0 {
                    self.former_configs.insert(former_version, former);
                }
                if self.former_configs.len() > MAX_FORMER_CONFIGS {
                    self.former_configs.pop_first();
                }
            }
            EventKind::Resumed { extended, .. } => {
                self.resumed_at = Some(event.at);
                for (offer, expires_at) in extended {
                    self.offers.extend(*offer, *expires_at);
                }
            }
            EventKind::DriverRegistered { .. }
            | EventKind::DriverRated { .. }
            | EventKind::ShiftPlanned { .. }
            | EventKind::ShiftStarted { .. }
            | EventKind::ShiftEnding { .. }
            | EventKind::ShiftEnded { .. }
            | EventKind::DriverPaused { .. }
            | EventKind::DriverResumed { .. }
            | EventKind::DriverSilent { .. }
            | EventKind::DriverHeard { .. }
            | EventKind::RepositionSuggested { .. } => self.apply_driver(event),
            EventKind::OfferMade { .. } | EventKind::OfferClosed { .. } => self.apply_offer(event),
            EventKind::Assigned { .. }
            | EventKind::Returned { .. }
            | EventKind::ArrivedAtPickup { .. }
            | EventKind::PickedUp { .. }
            | EventKind::Departed { .. }
            | EventKind::ArrivedAtDropoff { .. }
            | EventKind::Delivered { .. } => self.apply_ride(event),
            EventKind::OrderPlaced { .. }
            | EventKind::KitchenProgressed { .. }
            | EventKind::ReadyTimeChanged { .. }
            | EventKind::DispatchStarted { .. }
            | EventKind::OrderHeld { .. }
            | EventKind::OrderCancelled { .. }
            | EventKind::OrderFailed { .. }
            | EventKind::AssignmentFailed { .. }
            | EventKind::RoundStarted { .. }
            | EventKind::OrderOverdue { .. }
            | EventKind::OrderRetired { .. } => self.apply_order(event),
        }
    }

    fn driver_mut(&mut self, id: &DriverId) -> &mut Driver {
        self.drivers.get_mut(id).expect("an event is about a driver that exists")
    }

    fn order_mut(&mut self, id: &OrderId) -> &mut Order {
        self.orders.get_mut(id).expect("an event is about an order that exists")
    }

    fn apply_driver(&mut self, event: &Event) {
        match &event.kind {
            EventKind::DriverRegistered { driver: spec } => match self.drivers.get_mut(&spec.id) {
                Some(driver) => driver.spec = spec.clone(),
                None => {
                    self.drivers.insert(spec.id.clone(), Driver::new(spec.clone()));
                }
            },
            EventKind::DriverRated { driver, rating } => self.driver_mut(driver).rating = *rating,
            EventKind::ShiftPlanned { driver, planned } => self.driver_mut(driver).planned = *planned,
            EventKind::ShiftStarted { driver, until } => {
                let driver = self.driver_mut(driver);
                driver.planned = None;
                driver.shift = Shift::On { since: event.at, until: *until };
                driver.idle_since = event.at;
                driver.anchor = None;
                driver.heading = None;
                driver.fetched = 0;
            }
            EventKind::ShiftEnding { driver } => {
                let driver = self.driver_mut(driver);
                let Shift::On { since, .. } = driver.shift else { panic!("only a shift that is on can be ending") };
                driver.shift = Shift::Ending { since };
            }
            EventKind::ShiftEnded { driver } => {
                let driver = self.driver_mut(driver);
                assert!(driver.stops.is_empty() && driver.offer.is_none(), "a driver who stops has nothing left to do");
                driver.shift = Shift::Off;
                driver.paused = false;
                driver.silent = false;
            }
            EventKind::DriverPaused { driver } => self.driver_mut(driver).paused = true,
            EventKind::DriverResumed { driver } => self.driver_mut(driver).paused = false,
            EventKind::DriverSilent { driver } => self.driver_mut(driver).silent = true,
            EventKind::DriverHeard { driver } => self.driver_mut(driver).silent = false,
            EventKind::RepositionSuggested { driver, position, arrive_at } => {
                let heading = Heading { position: *position, arrive_at: *arrive_at, since: event.at };
                self.driver_mut(driver).heading = Some(heading);
            }
            other => unreachable!("{other:?} is not about a driver alone"),
        }
    }

    fn apply_offer(&mut self, event: &Event) {
        match &event.kind {
            EventKind::OfferMade { offer: id, driver, orders, stops, expires_at, attempt, wave, decision } => {
                let previous = self.driver_mut(driver).offer.replace(*id);
                assert_eq!(previous, None, "a driver has one open offer at a time");
                for order in orders {
                    let with = orders.iter().filter(|other| *other != order).cloned().collect();
                    let order = self.order_mut(order);
                    if let DispatchStatus::Offered { offers } = &mut order.status {
                        let joins = wave.is_some_and(|first| offers.contains(&first));
                        assert!(joins, "an offered order is offered again only within its wave");
                        offers.push(*id);
                        continue;
                    }
                    assert_eq!(order.status, DispatchStatus::Waiting, "only a waiting order is offered");
                    order.status = DispatchStatus::Offered { offers: vec![*id] };
                    order.round.attempts += 1;
                    order.hold = None;
                    order.decision = Some(Decision { with, ..decision.clone() });
                }
                self.offers.open(Offer {
                    id: *id,
                    driver: driver.clone(),
                    orders: orders.clone(),
                    stops: stops.clone(),
                    made_at: event.at,
                    expires_at: *expires_at,
                    attempt: *attempt,
                    wave: *wave,
                    outcome: None,
                });
                for order in orders {
                    self.remember_offer(order, *id);
                }
            }
            EventKind::OfferClosed { offer, outcome } => {
                let closed = self.offers.close(*offer, *outcome).clone();
                let answered = self.driver_mut(&closed.driver);
                assert_eq!(answered.offer.take(), Some(*offer), "an offer is closed with its driver");
                if *outcome != OfferOutcome::Withdrawn {
                    answered.acceptance.record(*outcome == OfferOutcome::Accepted);
                }
                for order in &closed.orders {
                    self.close_for(order, &closed);
                }
            }
            other => unreachable!("{other:?} is not about an offer"),
        }
    }

    /// Takes a closed offer off an order, which waits again when nobody else is asked for it.
    fn close_for(&mut self, id: &OrderId, closed: &Offer) {
        let order = self.orders.get_mut(id).expect("an event is about an order that exists");
        if matches!(closed.outcome, Some(OfferOutcome::Declined | OfferOutcome::Expired)) {
            order.round.asked.insert(closed.driver.clone());
        }
        let DispatchStatus::Offered { offers } = &mut order.status else { panic!("an open offer is for its orders") };
        offers.retain(|open| *open != closed.id);
        if !offers.is_empty() {
            return;
        }
        order.status = DispatchStatus::Waiting;
        let mut attempt = order.offers.iter().filter_map(|id| self.offers.get(*id));
        let answered = |offer: &Offer| {
            offer.is_of_one_wave_with(closed) && offer.outcome.is_some_and(|outcome| outcome != OfferOutcome::Withdrawn)
        };
        if !attempt.any(answered) {
            // Nobody turned it down.
            order.round.attempts -= 1;
        }
    }

    /// Notes the offer with its order, forgetting the order's oldest beyond the limit.
    fn remember_offer(&mut self, order: &OrderId, offer: OfferId) {
        let offers = &mut self.order_mut(order).offers;
        offers.push(offer);
        if offers.len() > MAX_OFFERS_PER_ORDER {
            let oldest = offers.remove(0);
            self.offers.forget(oldest);
        }
    }

    fn apply_ride(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::Assigned { orders, driver: id, from, stops, decision } => {
                let driver = self.driver_mut(id);
                driver.anchor = from.or(driver.anchor);
                driver.stops.clone_from(stops);
                driver.head_for_first_stop(at);
                for order in orders {
                    let order = self.order_mut(order);
                    assert_eq!(order.status, DispatchStatus::Waiting, "only a waiting order is assigned");
                    order.status = DispatchStatus::Assigned { driver: id.clone() };
                    order.times.assigned = Some(at);
                    order.hold = None;
                    order.overdue = false;
                    order.round = Round::default();
                    if decision.is_some() {
                        order.decision.clone_from(decision);
                    }
                }
            }
            EventKind::Returned { order, driver: id, reason, stops } => {
                let divert = self.config.divert;
                self.driver_mut(id).set_route(stops, at, divert);
                let order = self.order_mut(order);
                assert_eq!(order.status.driver(), Some(id), "an order is returned by its driver");
                let placed = order.times.placed;
                order.times = OrderTimes { placed, waiting_since: Some(at), ..OrderTimes::default() };
                order.status = DispatchStatus::Waiting;
                order.round = Round::default();
                if *reason == ReturnReason::TakenBack {
                    order.round.asked.insert(id.clone());
                }
            }
            EventKind::ArrivedAtPickup { order, driver } => {
                self.driver_mut(driver).arrive_at(StopKind::Pickup, order, at);
                let order = self.order_mut(order);
                order.status = DispatchStatus::ArrivedAtPickup { driver: driver.clone() };
                order.times.arrived_at_pickup = Some(at);
            }
            EventKind::PickedUp { order, driver, leave_at } => {
                let fetching = self.driver_mut(driver);
                fetching.finish_at(StopKind::Pickup, order, *leave_at);
                fetching.heading = None;
                fetching.fetched += 1;
                let order = self.order_mut(order);
                order.status = DispatchStatus::PickedUp { driver: driver.clone(), departed: false };
                order.times.picked_up = Some(at);
            }
            EventKind::Departed { order, driver } => {
                let order = self.order_mut(order);
                order.status = DispatchStatus::PickedUp { driver: driver.clone(), departed: true };
                order.times.departed = Some(at);
            }
            EventKind::ArrivedAtDropoff { order, driver } => {
                self.driver_mut(driver).arrive_at(StopKind::Dropoff, order, at);
                let order = self.order_mut(order);
                order.status = DispatchStatus::ArrivedAtDropoff { driver: driver.clone() };
                order.times.arrived_at_dropoff = Some(at);
            }
            EventKind::Delivered { order, driver: id, leave_at } => {
                let driver = self.driver_mut(id);
                driver.finish_at(StopKind::Dropoff, order, *leave_at);
                if driver.stops.is_empty() {
                    driver.idle_since = at;
                }
                driver.head_for_first_stop(at);
                let order = self.order_mut(order);
                order.status = DispatchStatus::Delivered { driver: id.clone() };
                order.times.ended = Some(at);
            }
            other => unreachable!("{other:?} is not about an order and its driver"),
        }
    }

    fn apply_order(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::OrderPlaced { order: spec, ready_at } => {
                self.demand.record(spec.pickup.position, at);
                let order = Order::new((**spec).clone(), at, *ready_at);
                let previous = self.orders.insert(spec.id.clone(), order);
                assert!(previous.is_none(), "an order is placed once");
            }
            EventKind::KitchenProgressed { order: id, status } => {
                let order = self.orders.get_mut(id).expect("an event is about an order that exists");
                order.kitchen = *status;
                if *status == KitchenStatus::Ready {
                    let (stated, actual) = (order.ready_at - order.times.placed, at - order.times.placed);
                    self.readiness.record(order.spec.pickup.id.as_ref(), stated, actual);
                }
            }
            EventKind::ReadyTimeChanged { order, ready_at } => self.order_mut(order).ready_at = *ready_at,
            EventKind::DispatchStarted { order } => {
                let order = self.order_mut(order);
                order.status = DispatchStatus::Waiting;
                order.times.waiting_since = Some(at);
            }
            EventKind::OrderHeld { order, reason, decision, .. } => {
                let order = self.order_mut(order);
                order.hold = Some(Hold { reason: *reason, since: at });
                order.decision = Some(decision.clone());
            }
            EventKind::OrderCancelled { order, reason, stops } => {
                self.end_order(order, DispatchStatus::Cancelled { reason: reason.clone() }, stops.as_deref(), at);
            }
            EventKind::OrderFailed { order, reason, stops } => {
                self.end_order(order, DispatchStatus::Failed { reason: reason.clone() }, stops.as_deref(), at);
            }
            EventKind::AssignmentFailed { order, retry_at, .. } => {
                let order = self.order_mut(order);
                order.round.retry_at = Some(*retry_at);
                order.hold = None;
            }
            EventKind::RoundStarted { order } => self.order_mut(order).round = Round::default(),
            EventKind::OrderOverdue { order } => self.order_mut(order).overdue = true,
            EventKind::OrderRetired { order } => {
                let order = self.orders.remove(order).expect("an order is retired once");
                order.offers.into_iter().for_each(|offer| self.offers.forget(offer));
            }
            other => unreachable!("{other:?} is not about an order alone"),
        }
    }

    fn end_order(&mut self, id: &OrderId, end: DispatchStatus, stops: Option<&[Stop]>, at: Timestamp) {
        let order = self.order_mut(id);
        let driver = order.status.driver().cloned();
        assert!(!order.status.is_terminal(), "an order ends once");
        order.status = end;
        order.times.ended = Some(at);
        order.hold = None;
        assert_eq!(driver.is_some(), stops.is_some(), "the driver of an order that ends gets a new route");
        if let (Some(driver), Some(stops)) = (driver, stops) {
            let divert = self.config.divert;
            self.driver_mut(&driver).set_route(stops, at, divert);
        }
    }
}

impl Order {
    fn new(spec: OrderSpec, placed: Timestamp, ready_at: Timestamp) -> Self {
        Self {
            spec,
            kitchen: KitchenStatus::Placed,
            status: DispatchStatus::Pending,
            ready_at,
            times: OrderTimes { placed, ..OrderTimes::default() },
            round: Round::default(),
            hold: None,
            overdue: false,
            offers: Vec::new(),
            decision: None,
        }
    }
}

impl Driver {
    fn new(spec: DriverSpec) -> Self {
        Self {
            spec,
            rating: Rating::BEST,
            acceptance: Acceptance::default(),
            shift: Shift::Off,
            planned: None,
            paused: false,
            silent: false,
            offer: None,
            anchor: None,
            stops: Vec::new(),
            idle_since: Timestamp::default(),
            heading: None,
            fetched: 0,
        }
    }
}
