//! Logs written by hand, in few words: each call appends an event, with a plausible route and decision where it has one.

use super::{Auditor, Summary, Violation};
use crate::config::{EngineConfig, OfferRule};
use crate::event::{Event, EventKind, HoldReason, ReturnReason, RoundFailure};
use crate::geo::Position;
use crate::matching::explanation::{Considered, Decision};
use crate::model::{
    Actor, DriverId, DriverSpec, FailReason, KitchenStatus, Label, OfferId, OrderId, OrderSpec, PlannedShift, Reason,
    Role, Units,
};
use crate::offer::OfferOutcome;
use crate::route::{Stop, StopKind};
use crate::units::{Meters, Millis, Timestamp};
use std::collections::BTreeMap;

/// A change to the last event: `edit!(OfferMade { attempt } => *attempt += 1)`.
macro_rules! edit {
    ($variant:ident { $($field:ident),+ } => $change:expr) => {
        |kind: &mut $crate::event::EventKind| {
            let $crate::event::EventKind::$variant { $($field),+, .. } = kind else { panic!("this is {kind:?}") };
            $change;
        }
    };
}
pub(in crate::sim) use edit;

#[derive(Clone, Debug)]
pub(in crate::sim) enum Line {
    Happens(Box<Event>),
    Instant(Timestamp),
    Finish(Timestamp),
}

#[derive(Clone, Debug)]
struct Known {
    spec: OrderSpec,
    ready_at: Timestamp,
    driver: Option<DriverId>,
    on_board: bool,
    arrived_at: Option<Timestamp>,
    attempts: u16,
}

/// A log under way. Time is in seconds from its beginning.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Script {
    lines: Vec<Line>,
    at: Timestamp,
    role: Role,
    version: u32,
    config: EngineConfig,
    orders: BTreeMap<OrderId, Known>,
    offers: Vec<(DriverId, Vec<OrderId>)>,
    one_by_one: bool,
}

pub(in crate::sim) fn driver_id(id: &str) -> DriverId {
    DriverId::new(id).unwrap()
}

pub(in crate::sim) fn order_id(id: &str) -> OrderId {
    OrderId::new(id).unwrap()
}

pub(in crate::sim) fn secs(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1_000)
}

/// Each order has its own places, named by its id.
pub(in crate::sim) fn order_spec(id: &str) -> OrderSpec {
    let lng = f64::from(id.bytes().fold(0_u32, |sum, byte| sum * 7 % 997 + u32::from(byte))) / 1e3;
    OrderSpec::new(order_id(id), Position::new(0.0, lng).unwrap(), Position::new(0.01, lng).unwrap())
}

/// A car for three units.
pub(in crate::sim) fn driver_spec(id: &str) -> DriverSpec {
    DriverSpec { capacity: Units::new(3).unwrap(), ..DriverSpec::new(driver_id(id)) }
}

impl Script {
    pub(in crate::sim) fn empty() -> Self {
        let mut config = EngineConfig::default();
        config.positions.silent_after = Millis::ZERO;
        Self {
            lines: Vec::new(),
            at: secs(0),
            role: Role::System,
            version: 0,
            config,
            orders: BTreeMap::new(),
            offers: Vec::new(),
            one_by_one: false,
        }
    }

    /// The default rules: confirmed orders, offers of 30 s. But for silence, which may be noticed at once.
    pub(in crate::sim) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(in crate::sim) fn with(change: impl FnOnce(&mut EngineConfig)) -> Self {
        Self::empty().configure(change)
    }

    pub(in crate::sim) fn at(mut self, at: i64) -> Self {
        self.at = secs(at);
        self
    }

    /// Who causes the next event.
    pub(in crate::sim) fn by(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// From here on each order is brought before the next is fetched.
    pub(in crate::sim) fn one_by_one(mut self) -> Self {
        self.one_by_one = true;
        self
    }

    pub(in crate::sim) fn event(mut self, kind: EventKind) -> Self {
        let seq = 1 + self.lines.iter().filter(|line| matches!(line, Line::Happens(_))).count() as u64;
        let actor = Actor::of(std::mem::replace(&mut self.role, Role::System));
        self.lines.push(Line::Happens(Box::new(Event { seq, at: self.at, actor, kind })));
        self
    }

    pub(in crate::sim) fn edit(self, change: impl FnOnce(&mut EventKind)) -> Self {
        self.edit_event(|event| change(&mut event.kind))
    }

    pub(in crate::sim) fn edit_event(mut self, change: impl FnOnce(&mut Event)) -> Self {
        let Some(Line::Happens(event)) = self.lines.last_mut() else { panic!("the last line is no event") };
        change(event);
        self
    }

    pub(in crate::sim) fn instant(mut self) -> Self {
        self.lines.push(Line::Instant(self.at));
        self
    }

    pub(in crate::sim) fn finish(mut self) -> Self {
        self.lines.push(Line::Finish(self.at));
        self
    }

    pub(in crate::sim) fn configure(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.config);
        self.version += 1;
        let (version, config) = (self.version, Box::new(self.config.clone()));
        self.event(EventKind::Configured { version, config })
    }

    /// The engine was away for so many seconds, and these offers expire then.
    pub(in crate::sim) fn restarted(self, down_s: i64, extended: &[(u64, i64)]) -> Self {
        let extended = extended.iter().map(|&(offer, expires_at)| (OfferId(offer), secs(expires_at))).collect();
        self.event(EventKind::Resumed { down_for: Millis::from_secs(down_s), extended })
    }

    pub(in crate::sim) fn register(self, driver: DriverSpec) -> Self {
        self.event(EventKind::DriverRegistered { driver })
    }

    pub(in crate::sim) fn shift(self, driver: &str, until: Option<i64>) -> Self {
        self.event(EventKind::ShiftStarted { driver: driver_id(driver), until: until.map(secs) })
    }

    /// A registered driver on shift without an end.
    pub(in crate::sim) fn driver(self, driver: &str) -> Self {
        self.register(driver_spec(driver)).shift(driver, None)
    }

    pub(in crate::sim) fn shift_ending(self, driver: &str) -> Self {
        self.event(EventKind::ShiftEnding { driver: driver_id(driver) })
    }

    pub(in crate::sim) fn shift_ended(self, driver: &str) -> Self {
        self.event(EventKind::ShiftEnded { driver: driver_id(driver) })
    }

    pub(in crate::sim) fn shift_planned(self, driver: &str, from: i64, until: i64) -> Self {
        let planned = PlannedShift { from: secs(from), until: secs(until), start: order_spec("o").pickup.position };
        self.event(EventKind::ShiftPlanned { driver: driver_id(driver), planned: Some(planned) })
    }

    pub(in crate::sim) fn reposition(self, driver: &str, arrive_at: i64) -> Self {
        let (driver, position) = (driver_id(driver), order_spec("o").pickup.position);
        self.event(EventKind::RepositionSuggested { driver, position, arrive_at: secs(arrive_at) })
    }

    pub(in crate::sim) fn paused(self, driver: &str) -> Self {
        self.event(EventKind::DriverPaused { driver: driver_id(driver) })
    }

    pub(in crate::sim) fn resumed(self, driver: &str) -> Self {
        self.event(EventKind::DriverResumed { driver: driver_id(driver) })
    }

    pub(in crate::sim) fn silent(self, driver: &str) -> Self {
        self.event(EventKind::DriverSilent { driver: driver_id(driver) })
    }

    pub(in crate::sim) fn heard(self, driver: &str) -> Self {
        self.event(EventKind::DriverHeard { driver: driver_id(driver) })
    }

    pub(in crate::sim) fn place(mut self, spec: OrderSpec) -> Self {
        let ready_at = self.at + spec.preparation.unwrap_or(self.config.preparation);
        let known =
            Known { spec: spec.clone(), ready_at, driver: None, on_board: false, arrived_at: None, attempts: 0 };
        self.orders.insert(spec.id.clone(), known);
        self.by(Role::Customer).event(EventKind::OrderPlaced { order: Box::new(spec), ready_at })
    }

    pub(in crate::sim) fn placed(self, order: &str) -> Self {
        self.place(order_spec(order))
    }

    pub(in crate::sim) fn kitchen(self, order: &str, status: KitchenStatus) -> Self {
        self.by(Role::Merchant).event(EventKind::KitchenProgressed { order: order_id(order), status })
    }

    pub(in crate::sim) fn ready_at(mut self, order: &str, ready_at: i64) -> Self {
        let id = order_id(order);
        self.orders.get_mut(&id).unwrap().ready_at = secs(ready_at);
        self.by(Role::Merchant).event(EventKind::ReadyTimeChanged { order: id, ready_at: secs(ready_at) })
    }

    pub(in crate::sim) fn started(self, order: &str) -> Self {
        self.event(EventKind::DispatchStarted { order: order_id(order) })
    }

    /// An order that was placed and confirmed and waits for a driver.
    pub(in crate::sim) fn order(self, order: &str) -> Self {
        self.order_as(order_spec(order))
    }

    pub(in crate::sim) fn order_as(self, spec: OrderSpec) -> Self {
        let id = spec.id.clone();
        self.place(spec).kitchen(id.as_str(), KitchenStatus::Confirmed).started(id.as_str())
    }

    pub(in crate::sim) fn hold(self, order: &str, reason: HoldReason, slack_s: Option<i64>) -> Self {
        let (slack, decision) = (slack_s.map(Millis::from_secs), self.decision(None));
        self.event(EventKind::OrderHeld { order: order_id(order), reason, slack, decision })
    }

    fn decision(&self, chosen: Option<&DriverId>) -> Decision {
        let best = chosen.map(|driver| Considered {
            driver: driver.clone(),
            score_milli: -1_000,
            contributions_milli: vec![-1_000],
            chosen: true,
        });
        Decision {
            config_version: self.version,
            radius: Meters::from_km(5),
            candidates: u32::from(chosen.is_some()),
            terms: vec![Label::new("to_pickup_min").unwrap()],
            best: best.into_iter().collect(),
            excluded: BTreeMap::new(),
            with: Vec::new(),
        }
    }

    pub(in crate::sim) fn offer(mut self, driver: &str, orders: &[&str]) -> Self {
        let driver = driver_id(driver);
        let orders: Vec<_> = orders.iter().map(|order| order_id(order)).collect();
        self.offers.push((driver.clone(), orders.clone()));
        let mut attempt = 0;
        for order in &orders {
            let known = self.orders.get_mut(order).unwrap();
            known.attempts += 1;
            attempt = attempt.max(known.attempts);
        }
        let (stops, decision) = (self.plan(&driver, &orders), self.decision(Some(&driver)));
        let (offer, expires_at) = (OfferId(self.offers.len() as u64), self.at + Millis::from_secs(30));
        let wave = matches!(self.config.offers, OfferRule::Wave { .. }).then_some(offer);
        self.event(EventKind::OfferMade { offer, driver, orders, stops, expires_at, attempt, wave, decision })
    }

    /// Each driver is asked for these orders, in one wave.
    pub(in crate::sim) fn wave(mut self, drivers: &[&str], orders: &[&str]) -> Self {
        let first = OfferId(self.offers.len() as u64 + 1);
        let before = self.orders.clone();
        for driver in drivers {
            // A wave is one attempt.
            self.orders.clone_from(&before);
            self = self.offer(driver, orders).edit(edit!(OfferMade { wave } => *wave = Some(first)));
        }
        self
    }

    /// Closes offer number `offer`.
    pub(in crate::sim) fn close(self, offer: u64, outcome: OfferOutcome) -> Self {
        self.event(EventKind::OfferClosed { offer: OfferId(offer), outcome })
    }

    /// The newest offer is accepted.
    pub(in crate::sim) fn accept(self) -> Self {
        let (driver, orders) = self.offers.last().unwrap().clone();
        let offer = self.offers.len() as u64;
        let orders: Vec<_> = orders.iter().map(OrderId::as_str).collect();
        self.by(Role::Driver).close(offer, OfferOutcome::Accepted).by(Role::Driver).assigned(driver.as_str(), &orders)
    }

    /// Assigned without a decision.
    pub(in crate::sim) fn assigned(mut self, driver: &str, orders: &[&str]) -> Self {
        let driver = driver_id(driver);
        let orders: Vec<_> = orders.iter().map(|order| order_id(order)).collect();
        for order in &orders {
            self.orders.get_mut(order).unwrap().driver = Some(driver.clone());
        }
        let stops = self.plan(&driver, &[]);
        self.event(EventKind::Assigned { orders, driver, from: None, stops, decision: None })
    }

    pub(in crate::sim) fn by_hand(self, driver: &str, orders: &[&str]) -> Self {
        self.by(Role::Dispatcher).assigned(driver, orders)
    }

    /// Assigned by the engine itself.
    pub(in crate::sim) fn direct(self, driver: &str, orders: &[&str]) -> Self {
        let made = self.decision(Some(&driver_id(driver)));
        self.assigned(driver, orders).edit(edit!(Assigned { decision } => *decision = Some(made)))
    }

    pub(in crate::sim) fn returned(mut self, driver: &str, order: &str) -> Self {
        let (driver, order) = (driver_id(driver), order_id(order));
        let known = self.orders.get_mut(&order).unwrap();
        (known.driver, known.on_board, known.arrived_at, known.attempts) = (None, false, None, 0);
        let stops = self.plan(&driver, &[]);
        self.event(EventKind::Returned { order, driver, reason: ReturnReason::TakenBack, stops })
    }

    pub(in crate::sim) fn at_pickup(mut self, driver: &str, order: &str) -> Self {
        let (driver, order) = (driver_id(driver), order_id(order));
        self.orders.get_mut(&order).unwrap().arrived_at = Some(self.at);
        self.by(Role::Driver).event(EventKind::ArrivedAtPickup { order, driver })
    }

    pub(in crate::sim) fn picked_up(mut self, driver: &str, order: &str) -> Self {
        let (driver, order, leave_at) = (driver_id(driver), order_id(order), self.at + Millis::from_mins(2));
        let known = self.orders.get_mut(&order).unwrap();
        (known.on_board, known.arrived_at) = (true, None);
        self.by(Role::Driver).event(EventKind::PickedUp { order, driver, leave_at })
    }

    pub(in crate::sim) fn departed(self, driver: &str, order: &str) -> Self {
        self.by(Role::Driver).event(EventKind::Departed { order: order_id(order), driver: driver_id(driver) })
    }

    pub(in crate::sim) fn at_dropoff(mut self, driver: &str, order: &str) -> Self {
        let (driver, order) = (driver_id(driver), order_id(order));
        self.orders.get_mut(&order).unwrap().arrived_at = Some(self.at);
        self.by(Role::Driver).event(EventKind::ArrivedAtDropoff { order, driver })
    }

    pub(in crate::sim) fn delivered(mut self, driver: &str, order: &str) -> Self {
        let (driver, order, leave_at) = (driver_id(driver), order_id(order), self.at);
        self.orders.remove(&order);
        self.by(Role::Driver).event(EventKind::Delivered { order, driver, leave_at })
    }

    pub(in crate::sim) fn cancelled(mut self, role: Role, order: &str) -> Self {
        let (order, reason) = (order_id(order), Reason::new("changed my mind").unwrap());
        let stops = self.end(&order);
        self.by(role).event(EventKind::OrderCancelled { order, reason, stops })
    }

    pub(in crate::sim) fn failed(mut self, order: &str, reason: FailReason) -> Self {
        let order = order_id(order);
        let stops = self.end(&order);
        self.event(EventKind::OrderFailed { order, reason, stops })
    }

    fn end(&mut self, order: &OrderId) -> Option<Vec<Stop>> {
        let driver = self.orders.remove(order).and_then(|known| known.driver);
        driver.map(|driver| self.plan(&driver, &[]))
    }

    pub(in crate::sim) fn round_failed(self, order: &str, reason: RoundFailure) -> Self {
        let retry_at = self.at + self.config.rounds.retry_after;
        self.event(EventKind::AssignmentFailed { order: order_id(order), reason, retry_at })
    }

    pub(in crate::sim) fn round_started(mut self, order: &str) -> Self {
        self.orders.get_mut(&order_id(order)).unwrap().attempts = 0;
        self.event(EventKind::RoundStarted { order: order_id(order) })
    }

    pub(in crate::sim) fn overdue(self, order: &str) -> Self {
        self.event(EventKind::OrderOverdue { order: order_id(order) })
    }

    pub(in crate::sim) fn retired(self, order: &str) -> Self {
        self.event(EventKind::OrderRetired { order: order_id(order) })
    }

    /// The driver's route with `offered` beside its orders: a minute for each leg.
    fn plan(&self, driver: &DriverId, offered: &[OrderId]) -> Vec<Stop> {
        let mut halves = [Vec::new(), Vec::new()];
        for (id, known) in &self.orders {
            if known.driver.as_ref() == Some(driver) || offered.contains(id) {
                if !known.on_board {
                    halves[0].push((StopKind::Pickup, known));
                }
                halves[1].push((StopKind::Dropoff, known));
            }
        }
        let mut sequence = halves.concat();
        if self.one_by_one {
            sequence.sort_by_key(|(_, known)| known.spec.id.clone());
        }
        let mut here = self.at;
        sequence.into_iter().map(|(kind, known)| self.stop(kind, known, &mut here)).collect()
    }

    fn stop(&self, kind: StopKind, known: &Known, here: &mut Timestamp) -> Stop {
        let (service, minute) = (self.config.service, Millis::from_mins(1));
        let (place, before, after, ready) = match kind {
            StopKind::Pickup => (&known.spec.pickup, service.before_pickup, service.after_pickup, known.ready_at),
            StopKind::Dropoff => (&known.spec.dropoff, service.before_dropoff, service.after_dropoff, self.at),
        };
        let mut stop = Stop::new(kind, place.position, known.spec.id.clone());
        stop.arrived_at = known.arrived_at.filter(|_| known.on_board == (kind == StopKind::Dropoff));
        stop.arrive_at = stop.arrived_at.unwrap_or(*here + minute);
        stop.done_at = (stop.arrive_at + before).max(self.at).max(ready);
        stop.leave_at = stop.done_at + after;
        *here = stop.leave_at;
        stop
    }

    /// Shows the whole log to an auditor; the first violation comes with the number of its line.
    pub(in crate::sim) fn audit(&self) -> Result<Summary, (usize, Violation)> {
        let mut auditor = Auditor::new();
        for (i, line) in self.lines.iter().enumerate() {
            match line {
                Line::Happens(event) => auditor.observe(event),
                Line::Instant(now) => auditor.check_instant(*now),
                Line::Finish(now) => auditor.finish(*now).map(drop),
            }
            .map_err(|violation| (i, violation))?;
        }
        Ok(auditor.totals)
    }

    pub(in crate::sim) fn events(&self) -> Vec<Event> {
        let happens = |line: &Line| if let Line::Happens(event) = line { Some((**event).clone()) } else { None };
        self.lines.iter().filter_map(happens).collect()
    }

    /// The last line, and it alone, breaks `rule`.
    pub(in crate::sim) fn breaks(&self, rule: &str) {
        match self.audit() {
            Err((line, violation)) => {
                assert_eq!(violation.rule, rule, "{violation}");
                assert_eq!(line + 1, self.lines.len(), "{violation} already in line {line}");
            }
            Ok(_) => panic!("{rule} is not found broken by {:#?}", self.lines.last()),
        }
    }
}
