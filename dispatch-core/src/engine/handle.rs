//! Commands: each is checked as a whole before the first event is emitted.

use super::Engine;
use crate::command::{Action, Refusal, Step};
use crate::config::{EngineConfig, StartOn};
use crate::event::{EventKind, ReturnReason, RoundFailure};
use crate::matching::score::Score;
use crate::model::{
    DispatchStatus, DriverId, DriverSpec, FailReason, KitchenStatus, MAX_SKILLS, OfferId, OrderId, OrderSpec,
    PlannedShift, Reason, Role,
};
use crate::offer::{Offer, OfferOutcome};
use crate::route::{self, Stop};
use crate::state::{Driver, Order, Shift};
use crate::units::Timestamp;

impl Engine {
    pub(super) fn carry_out(&mut self, action: Action) -> Result<(), Refusal> {
        let name = action.name();
        match action {
            Action::Configure(config) => self.configure(config, name),
            Action::RollBackConfiguration { version } => self.roll_back(version, name),
            Action::Resume { down_for } => self.resume(down_for, name),
            Action::RegisterDriver(spec) => self.register_driver(spec),
            Action::RateDriver { driver, rating } => {
                self.driver(&driver)?;
                self.emit(EventKind::DriverRated { driver, rating });
                Ok(())
            }
            Action::PlanShift { driver, planned } => self.plan_shift(driver, planned),
            Action::StartShift { driver, until } => self.start_shift(driver, until),
            Action::EndShift { driver } => self.end_shift(&driver),
            Action::PauseDriver { driver } => self.pause_driver(driver),
            Action::ResumeDriver { driver } => {
                let is_paused = self.driver(&driver)?.paused;
                self.driver_must(&driver, is_paused, "is not paused", name)?;
                self.emit(EventKind::DriverResumed { driver });
                Ok(())
            }
            Action::SubmitOrder(spec) => self.submit_order(spec),
            Action::Kitchen { order, status } => self.kitchen(order, status),
            Action::SetReadyTime { order, ready_at } => self.set_ready_time(order, ready_at),
            Action::CancelOrder { order, reason } => self.cancel_order(order, reason),
            Action::FailOrder { order, reason } => {
                let state = self.order(&order)?;
                self.order_must(&order, !state.status.is_terminal(), name)?;
                if self.actor.role == Role::Customer {
                    return Err(Refusal::NotAllowed { role: self.actor.role, action: name, is: state.status.name() });
                }
                self.end_order(order, |order, stops| EventKind::OrderFailed {
                    order,
                    reason: FailReason::Reported(reason),
                    stops,
                });
                Ok(())
            }
            Action::AcceptOffer { offer, driver } => self.accept_offer(offer, &driver),
            Action::DeclineOffer { offer, driver } => {
                self.open_offer(offer, &driver)?;
                self.close_offer(offer, OfferOutcome::Declined);
                Ok(())
            }
            Action::Progress { order, driver, step } => self.progress(order, driver, step),
            Action::Assign { order, driver } => self.assign_by_hand(&order, driver),
            Action::TakeBack { order } => self.take_back(&order),
        }
    }

    pub(super) fn order(&self, id: &OrderId) -> Result<&Order, Refusal> {
        self.state.orders.get(id).ok_or_else(|| Refusal::UnknownOrder { order: id.clone() })
    }

    pub(super) fn driver(&self, id: &DriverId) -> Result<&Driver, Refusal> {
        self.state.drivers.get(id).ok_or_else(|| Refusal::UnknownDriver { driver: id.clone() })
    }

    /// Refuses with the order's status unless `holds`.
    pub(super) fn order_must(&self, order: &OrderId, holds: bool, action: &'static str) -> Result<(), Refusal> {
        let is = self.order(order)?.status.name();
        if holds { Ok(()) } else { Err(Refusal::OrderState { order: order.clone(), is, action }) }
    }

    /// Refuses with this description of the driver's state unless `holds`.
    #[expect(clippy::unused_self, reason = "reads like its sister for orders")]
    pub(super) fn driver_must(
        &self,
        driver: &DriverId,
        holds: bool,
        is: &'static str,
        action: &'static str,
    ) -> Result<(), Refusal> {
        if holds { Ok(()) } else { Err(Refusal::DriverState { driver: driver.clone(), is, action }) }
    }

    fn configure(&mut self, config: Box<EngineConfig>, action: &'static str) -> Result<(), Refusal> {
        let role = self.actor.role;
        if !matches!(role, Role::Dispatcher | Role::System) {
            return Err(Refusal::NotForRole { role, action });
        }
        config.validate()?;
        if config.market != self.state.config.market {
            return Err(Refusal::Invalid { field: "market", problem: "a market keeps its name".into() });
        }
        self.score = Score::resolve(&config.score, &self.terms)?;
        let starts = config.start_on == StartOn::Placed && self.state.config.start_on != StartOn::Placed;
        self.emit(EventKind::Configured { version: self.state.config_version + 1, config });
        if starts {
            // What was placed before is confirmed by that now, too.
            let pending = self.state.orders.values().filter(|order| order.status == DispatchStatus::Pending);
            for order in pending.map(|order| order.spec.id.clone()).collect::<Vec<_>>() {
                self.emit(EventKind::DispatchStarted { order });
            }
        }
        Ok(())
    }

    fn roll_back(&mut self, version: u32, action: &'static str) -> Result<(), Refusal> {
        let former = self.state.former_configs.get(&version).cloned();
        self.configure(Box::new(former.ok_or(Refusal::UnknownConfiguration { version })?), action)
    }

    fn register_driver(&mut self, driver: DriverSpec) -> Result<(), Refusal> {
        let skills = driver.skills.len();
        if skills > MAX_SKILLS {
            return Err(Refusal::Invalid { field: "skills", problem: format!("at most {MAX_SKILLS}, not {skills}") });
        }
        match self.state.drivers.get(&driver.id) {
            Some(known) if known.spec == driver => return Ok(()),
            Some(known) => {
                let unburdened = known.stops.is_empty() && known.offer.is_none();
                self.driver_must(&driver.id, unburdened, "has orders or an offer", "register_driver")?;
            }
            None => {
                let limit = self.state.config.limits.drivers;
                if self.state.drivers.len() >= limit as usize {
                    return Err(Refusal::Full { what: "drivers", limit });
                }
            }
        }
        self.emit(EventKind::DriverRegistered { driver });
        Ok(())
    }

    fn plan_shift(&mut self, driver: DriverId, planned: Option<PlannedShift>) -> Result<(), Refusal> {
        let (off, known) = (!self.driver(&driver)?.is_on_shift(), self.state.drivers[&driver].planned);
        self.driver_must(&driver, off, "is on shift", "plan_shift")?;
        if let Some(PlannedShift { from, until, .. }) = planned {
            self.check_ahead("from", from, self.now())?;
            self.check_ahead("until", until, from)?;
        }
        if planned != known {
            self.emit(EventKind::ShiftPlanned { driver, planned });
        }
        Ok(())
    }

    fn start_shift(&mut self, driver: DriverId, until: Option<Timestamp>) -> Result<(), Refusal> {
        let off = !self.driver(&driver)?.is_on_shift();
        self.driver_must(&driver, off, "is on shift", "start_shift")?;
        if let Some(until) = until {
            self.check_ahead("until", until, self.now())?;
        }
        self.emit(EventKind::ShiftStarted { driver, until });
        Ok(())
    }

    /// Refuses a time before `earliest` or further ahead than the market plans.
    fn check_ahead(&self, field: &'static str, at: Timestamp, earliest: Timestamp) -> Result<(), Refusal> {
        let latest = self.now() + self.state.config.lifetimes.plan_ahead;
        if (earliest..=latest).contains(&at) {
            return Ok(());
        }
        Err(Refusal::Invalid { field, problem: format!("must be from {earliest} to {latest}, not {at}") })
    }

    fn end_shift(&mut self, id: &DriverId) -> Result<(), Refusal> {
        let on = matches!(self.driver(id)?.shift, Shift::On { .. });
        self.driver_must(id, on, "is not on shift, or its shift is ending", "end_shift")?;
        self.withdraw_offer_of(id);
        self.return_orders(id, ReturnReason::ShiftEnded);
        let driver = id.clone();
        let done = self.state.drivers[id].stops.is_empty();
        self.emit(if done { EventKind::ShiftEnded { driver } } else { EventKind::ShiftEnding { driver } });
        Ok(())
    }

    fn pause_driver(&mut self, id: DriverId) -> Result<(), Refusal> {
        let driver = self.driver(&id)?;
        let (on, paused) = (driver.is_on_shift(), driver.paused);
        self.driver_must(&id, on, "is not on shift", "pause_driver")?;
        self.driver_must(&id, !paused, "is paused", "pause_driver")?;
        self.withdraw_offer_of(&id);
        self.emit(EventKind::DriverPaused { driver: id });
        Ok(())
    }

    fn submit_order(&mut self, spec: OrderSpec) -> Result<(), Refusal> {
        if let Some(known) = self.state.orders.get(&spec.id) {
            let same = known.spec == spec;
            return if same { Ok(()) } else { Err(Refusal::OrderDiffers { order: spec.id }) };
        }
        let config = &self.state.config;
        let limit = config.limits.orders;
        if self.state.orders.len() >= limit as usize {
            return Err(Refusal::Full { what: "orders", limit });
        }
        let skills = spec.skills.len();
        if skills > MAX_SKILLS {
            return Err(Refusal::Invalid { field: "skills", problem: format!("at most {MAX_SKILLS}, not {skills}") });
        }
        let preparation = spec.preparation.unwrap_or(config.preparation);
        let ready_at = self.now() + preparation;
        self.check_ahead("preparation", ready_at, self.now())?;
        if let Some(promised_at) = spec.promised_at {
            self.check_ahead("promised_at", promised_at, self.now())?;
        }
        let starts = config.start_on == StartOn::Placed;
        let order = spec.id.clone();
        self.emit(EventKind::OrderPlaced { order: Box::new(spec), ready_at });
        if starts {
            self.emit(EventKind::DispatchStarted { order });
        }
        Ok(())
    }

    fn kitchen(&mut self, id: OrderId, status: KitchenStatus) -> Result<(), Refusal> {
        let order = self.order(&id)?;
        let (pending, ready_at) = (order.status == DispatchStatus::Pending, order.ready_at);
        let open = !order.status.is_terminal() && !order.status.is_on_board();
        self.order_must(&id, open && status > self.order(&id)?.kitchen, "kitchen")?;
        self.emit(EventKind::KitchenProgressed { order: id.clone(), status });
        if status == KitchenStatus::Ready && ready_at != self.now() {
            self.emit(EventKind::ReadyTimeChanged { order: id.clone(), ready_at: self.now() });
        }
        if pending {
            self.emit(EventKind::DispatchStarted { order: id });
        }
        Ok(())
    }

    fn set_ready_time(&mut self, id: OrderId, ready_at: Timestamp) -> Result<(), Refusal> {
        let order = self.order(&id)?;
        let open = !order.status.is_terminal() && !order.status.is_on_board() && order.kitchen < KitchenStatus::Ready;
        let (placed, known) = (order.times.placed, order.ready_at);
        self.order_must(&id, open, "set_ready_time")?;
        self.check_ahead("ready_at", ready_at, placed)?;
        if ready_at != known {
            self.emit(EventKind::ReadyTimeChanged { order: id, ready_at });
        }
        Ok(())
    }

    fn cancel_order(&mut self, id: OrderId, reason: Reason) -> Result<(), Refusal> {
        let order = self.order(&id)?;
        let status = &order.status;
        self.order_must(&id, !status.is_terminal() && !status.is_on_board(), "cancel_order")?;
        let role = self.actor.role;
        let allowed = match role {
            Role::System | Role::Merchant | Role::Dispatcher => true,
            Role::Customer => order.kitchen < KitchenStatus::Preparing,
            Role::Driver => false,
        };
        if !allowed {
            let is = if order.kitchen >= KitchenStatus::Preparing { "being prepared" } else { status.name() };
            return Err(Refusal::NotAllowed { role, action: "cancel_order", is });
        }
        self.end_order(id, |order, stops| EventKind::OrderCancelled { order, reason, stops });
        Ok(())
    }

    /// Ends an order that is not delivered, freeing the driver who was asked or had it.
    pub(super) fn end_order(&mut self, id: OrderId, event: impl FnOnce(OrderId, Option<Vec<Stop>>) -> EventKind) {
        self.withdraw_offers_for(&id);
        let driver = self.state.orders[&id].status.driver().cloned();
        let stops = driver.as_ref().map(|driver| self.route_without(&self.state.drivers[driver], &id));
        self.emit(event(id, stops));
        if let Some(driver) = driver {
            self.end_shift_if_done(driver);
        }
    }

    /// Ends a shift that was only waiting for the last delivery.
    fn end_shift_if_done(&mut self, id: DriverId) {
        let driver = &self.state.drivers[&id];
        if matches!(driver.shift, Shift::Ending { .. }) && driver.stops.is_empty() {
            self.emit(EventKind::ShiftEnded { driver: id });
        }
    }

    /// The open offer of this number, if it is this driver's.
    fn open_offer(&self, id: OfferId, driver: &DriverId) -> Result<&Offer, Refusal> {
        self.driver(driver)?;
        let offer = self.state.offers.get(id).ok_or(Refusal::UnknownOffer { offer: id })?;
        if offer.driver != *driver {
            return Err(Refusal::NotYours { driver: driver.clone() });
        }
        if !offer.is_open(self.now()) {
            return Err(Refusal::OfferClosed { offer: id, is: self.state.offers.describe(offer, self.now()) });
        }
        Ok(offer)
    }

    fn accept_offer(&mut self, id: OfferId, driver: &DriverId) -> Result<(), Refusal> {
        let offer = self.open_offer(id, driver)?;
        let (orders, stops) = (offer.orders.clone(), self.route_by(offer));
        self.emit(EventKind::OfferClosed { offer: id, outcome: OfferOutcome::Accepted });
        // Whoever else was asked, was asked for all of them.
        self.withdraw_offers_for(&orders[0]);
        self.assign_on_route(orders, driver, stops, None);
        Ok(())
    }

    /// Closes an offer that its driver turned down, let expire or can no longer take. A round whose last attempt it was
    /// has failed, unless somebody else is still asked.
    pub(super) fn close_offer(&mut self, id: OfferId, outcome: OfferOutcome) {
        let orders = self.state.offers.get(id).expect("an open offer is in memory").orders.clone();
        self.emit(EventKind::OfferClosed { offer: id, outcome });
        for id in orders {
            let order = &self.state.orders[&id];
            let used = order.round.attempts >= self.state.config.rounds.attempts;
            if used && order.status == DispatchStatus::Waiting {
                self.fail_round(id, RoundFailure::AttemptsUsed);
            }
        }
    }

    /// Withdraws every open offer of an order that ends or has found its driver.
    fn withdraw_offers_for(&mut self, order: &OrderId) {
        for offer in self.state.orders[order].status.offers().to_vec() {
            self.emit(EventKind::OfferClosed { offer, outcome: OfferOutcome::Withdrawn });
        }
    }

    /// Ends a round without a driver; the next begins after a while.
    pub(super) fn fail_round(&mut self, order: OrderId, reason: RoundFailure) {
        let retry_at = self.now() + self.state.config.rounds.retry_after;
        self.emit(EventKind::AssignmentFailed { order, reason, retry_at });
    }

    pub(super) fn withdraw_offer_of(&mut self, driver: &DriverId) {
        if let Some(offer) = self.state.drivers[driver].offer {
            self.close_offer(offer, OfferOutcome::Withdrawn);
        }
    }

    /// Sends every order the driver has not picked up back to waiting.
    pub(super) fn return_orders(&mut self, driver: &DriverId, reason: ReturnReason) {
        let before_pickup = |id: &&OrderId| self.state.orders[*id].status.is_before_pickup();
        let orders: Vec<OrderId> = self.state.drivers[driver].orders().filter(before_pickup).cloned().collect();
        for order in orders {
            self.return_order(order, reason);
        }
    }

    pub(super) fn return_order(&mut self, order: OrderId, reason: ReturnReason) {
        let driver =
            self.state.orders[&order].status.driver().cloned().expect("an order that is returned has a driver");
        let stops = self.route_without(&self.state.drivers[&driver], &order);
        self.emit(EventKind::Returned { order, driver: driver.clone(), reason, stops });
        self.end_shift_if_done(driver);
    }

    fn progress(&mut self, id: OrderId, driver: DriverId, step: Step) -> Result<(), Refusal> {
        self.driver(&driver)?;
        let order = self.order(&id)?;
        let status = &order.status;
        self.order_must(&id, status.driver().is_some() && !status.is_terminal(), "progress")?;
        if status.driver() != Some(&driver) {
            return Err(Refusal::NotYours { driver });
        }
        let follows = match step {
            Step::ArrivedAtPickup => matches!(status, DispatchStatus::Assigned { .. }),
            Step::PickedUp => status.is_before_pickup(),
            Step::Departed => matches!(status, DispatchStatus::PickedUp { departed: false, .. }),
            Step::ArrivedAtDropoff => matches!(status, DispatchStatus::PickedUp { .. }),
            Step::Delivered => status.is_on_board(),
        };
        self.order_must(&id, follows, "progress")?;
        let service = self.state.config.service;
        match step {
            Step::ArrivedAtPickup => self.emit(EventKind::ArrivedAtPickup { order: id, driver }),
            Step::PickedUp => {
                self.check_capacity(&driver, self.on_board(&driver) + u32::from(order.spec.units.get()))?;
                let leave_at = self.now() + service.after_pickup;
                self.emit(EventKind::PickedUp { order: id, driver, leave_at });
            }
            Step::Departed => self.emit(EventKind::Departed { order: id, driver }),
            Step::ArrivedAtDropoff => self.emit(EventKind::ArrivedAtDropoff { order: id, driver }),
            Step::Delivered => {
                let leave_at = self.now() + service.after_dropoff;
                self.emit(EventKind::Delivered { order: id, driver: driver.clone(), leave_at });
                self.end_shift_if_done(driver);
            }
        }
        Ok(())
    }

    fn units(&self, order: &OrderId) -> u32 {
        u32::from(self.state.orders[order].spec.units.get())
    }

    /// How many units the driver carries now.
    fn on_board(&self, driver: &DriverId) -> u32 {
        let orders = self.state.drivers[driver].orders();
        orders.filter(|id| self.state.orders[*id].status.is_on_board()).map(|id| self.units(id)).sum()
    }

    fn check_capacity(&self, driver: &DriverId, needed: u32) -> Result<(), Refusal> {
        let capacity = u32::from(self.state.drivers[driver].spec.capacity.get());
        if needed <= capacity { Ok(()) } else { Err(Refusal::Capacity { driver: driver.clone(), capacity, needed }) }
    }

    fn assign_by_hand(&mut self, id: &OrderId, to: DriverId) -> Result<(), Refusal> {
        let action = "assign";
        self.must_be_dispatcher(id, action)?;
        let (order, driver) = (self.order(id)?, self.driver(&to)?);
        let status = &order.status;
        self.order_must(id, !status.is_terminal() && *status != DispatchStatus::Pending, action)?;
        let (on, yours) = (matches!(driver.shift, Shift::On { .. }), status.driver() == Some(&to));
        self.driver_must(&to, on, "is not on shift, or its shift is ending", action)?;
        self.driver_must(&to, !driver.silent, "is silent", action)?;
        self.driver_must(&to, !yours, "has this order", action)?;
        // An offer it may still accept has its place; if it is of this very order, it is withdrawn.
        let asked = driver.offer.is_some_and(|offer| !status.offers().contains(&offer));
        let roomy =
            driver.orders().count() + usize::from(asked) < usize::from(self.state.config.limits.orders_per_driver);
        self.driver_must(&to, roomy, "has as many orders as a route may hold", action)?;
        if !order.spec.skills.is_subset(&driver.spec.skills) {
            return Err(Refusal::Skill { driver: to, order: id.clone() });
        }
        let (_, stops) = self.route_with(driver, order);
        self.check_capacity(&to, route::peak_load(self.on_board(&to), &stops, |order| self.units(order)))?;

        if self.state.orders[id].status.driver().is_some() {
            self.return_order(id.clone(), ReturnReason::Reassigned);
        }
        self.withdraw_offers_for(id);
        let (from, stops) = self.route_with(&self.state.drivers[&to], &self.state.orders[id]);
        self.emit(EventKind::Assigned { orders: vec![id.clone()], driver: to, from, stops, decision: None });
        Ok(())
    }

    /// Refuses whoever is no dispatcher.
    fn must_be_dispatcher(&self, order: &OrderId, action: &'static str) -> Result<(), Refusal> {
        let is = self.order(order)?.status.name();
        let role = self.actor.role;
        if role == Role::Dispatcher { Ok(()) } else { Err(Refusal::NotAllowed { role, action, is }) }
    }

    fn take_back(&mut self, id: &OrderId) -> Result<(), Refusal> {
        self.must_be_dispatcher(id, "take_back")?;
        let before_pickup = self.order(id)?.status.is_before_pickup();
        self.order_must(id, before_pickup, "take_back")?;
        self.return_order(id.clone(), ReturnReason::TakenBack);
        Ok(())
    }
}
