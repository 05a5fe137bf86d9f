//! A market for tests: one engine, drivers and orders by short names, positions in metres, time in seconds.

#![allow(dead_code, reason = "each test binary uses a part")]

use dispatch_core::{
    Action, DriverId, DriverSpec, Engine, EngineConfig, Event, EventKind, Fix, KitchenStatus, Millis, OfferId, OrderId,
    OrderSpec, Position, Positions, Refusal, Role, StartOn, StraightLine, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) struct Market {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    /// Where drivers are, and since when they have not said so any more.
    fixes: BTreeMap<DriverId, (Position, Option<Timestamp>)>,
}

pub(crate) fn driver(id: &str) -> DriverId {
    DriverId::new(id).unwrap()
}

pub(crate) fn order(id: &str) -> OrderId {
    OrderId::new(id).unwrap()
}

/// The point this many metres east of the origin, on the equator.
pub(crate) fn at(metres: f64) -> Position {
    Position::new(0.0, metres / 111_195.08).unwrap()
}

pub(crate) fn secs(secs: i64) -> Millis {
    Millis::from_secs(secs)
}

/// The default rules, but placed is confirmed.
pub(crate) fn config() -> EngineConfig {
    EngineConfig { start_on: StartOn::Placed, ..EngineConfig::default() }
}

impl Market {
    pub(crate) fn new(config: EngineConfig) -> Self {
        let engine = Engine::new(config, StraightLine::default()).unwrap();
        Self { engine, now: Timestamp::from_millis(1_750_000_000_000), fixes: BTreeMap::new() }
    }

    pub(crate) fn try_by(&mut self, role: Role, action: Action) -> Result<Vec<Event>, Refusal> {
        let before = self.engine.state_hash();
        let answer = self.engine.handle(self.now, action.by(role));
        assert!(self.engine.derived_is_consistent());
        if answer.is_err() {
            assert_eq!(self.engine.state_hash(), before, "a refusal changes nothing");
        }
        answer
    }

    #[track_caller]
    pub(crate) fn by(&mut self, role: Role, action: Action) -> Vec<EventKind> {
        let name = action.name();
        let answer = self.try_by(role, action);
        kinds(answer.unwrap_or_else(|refusal| panic!("{name} was refused: {refusal}")))
    }

    /// Brings a driver on shift at a place.
    pub(crate) fn works(&mut self, id: &str, metres: f64) {
        self.by(Role::Driver, Action::RegisterDriver(DriverSpec::new(driver(id))));
        self.by(Role::Driver, Action::StartShift { driver: driver(id), until: None });
        self.moves(id, metres);
    }

    /// From now on the driver reports this place with every window.
    pub(crate) fn moves(&mut self, id: &str, metres: f64) {
        self.fixes.insert(driver(id), (at(metres), None));
    }

    /// The driver reports nothing any more: what is known of it gets old.
    pub(crate) fn disappears(&mut self, id: &str) {
        let fix = self.fixes.get_mut(&driver(id)).expect("the driver has been somewhere");
        fix.1.get_or_insert(self.now);
    }

    /// The engine is away for so many seconds, and goes on from a snapshot.
    pub(crate) fn restarts(&mut self, down_s: i64) -> Vec<EventKind> {
        self.now += secs(down_s);
        self.fixes.retain(|_, (_, until)| until.is_none());
        let travel = Arc::new(StraightLine::default());
        self.engine = Engine::restore(travel, Vec::new(), self.engine.snapshot(), []).unwrap();
        self.by(Role::System, Action::Resume { down_for: secs(down_s) })
    }

    /// Submits an order that takes these minutes to prepare, from one place to another.
    pub(crate) fn submits(&mut self, id: &str, minutes: i64, from: f64, to: f64) {
        let mut spec = OrderSpec::new(order(id), at(from), at(to));
        spec.preparation = Some(Millis::from_mins(minutes));
        self.by(Role::Customer, Action::SubmitOrder(spec));
    }

    pub(crate) fn progress(&mut self, id: &str, by: &str, step: dispatch_core::Step) -> Vec<EventKind> {
        self.by(Role::Driver, Action::Progress { order: order(id), driver: driver(by), step })
    }

    /// Lets seconds pass one by one, everybody reporting where they are.
    pub(crate) fn passes(&mut self, seconds: i64) -> Vec<EventKind> {
        (0..seconds).flat_map(|_| self.second()).collect()
    }

    fn second(&mut self) -> Vec<EventKind> {
        self.now += secs(1);
        let now = self.now;
        let fixes =
            self.fixes.iter().map(|(id, &(position, until))| (id.clone(), Fix { position, at: until.unwrap_or(now) }));
        let events = self.engine.advance(now, &Positions::from_fixes(fixes));
        assert!(self.engine.derived_is_consistent());
        kinds(events)
    }

    pub(crate) fn status(&self, id: &str) -> &'static str {
        self.engine.state().orders[&order(id)].status.name()
    }

    /// The open offer of a driver.
    #[track_caller]
    pub(crate) fn offer(&self, id: &str) -> OfferId {
        self.engine.state().drivers[&driver(id)].offer.expect("the driver has an offer")
    }

    pub(crate) fn accepts(&mut self, id: &str) -> Vec<EventKind> {
        let offer = self.offer(id);
        self.by(Role::Driver, Action::AcceptOffer { offer, driver: driver(id) })
    }

    pub(crate) fn declines(&mut self, id: &str) -> Vec<EventKind> {
        let offer = self.offer(id);
        self.by(Role::Driver, Action::DeclineOffer { offer, driver: driver(id) })
    }

    pub(crate) fn is_ready(&mut self, id: &str) {
        self.by(Role::Merchant, Action::Kitchen { order: order(id), status: KitchenStatus::Ready });
    }
}

pub(crate) fn kinds(events: Vec<Event>) -> Vec<EventKind> {
    events.into_iter().map(|event| event.kind).collect()
}

/// Who was offered something, in sequence.
pub(crate) fn asked(news: &[EventKind]) -> Vec<String> {
    let asked = news.iter().filter_map(|kind| match kind {
        EventKind::OfferMade { driver, .. } => Some(driver.to_string()),
        _ => None,
    });
    asked.collect()
}
