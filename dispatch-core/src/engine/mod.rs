//! The engine: checks, decides, and logs. The only place where index, schedule, offers and matching meet.

mod advance;
mod commit;
mod handle;
mod opinion;
mod queries;
mod resume;
mod window;

pub use opinion::{Opinion, Prospect, Recorded, Standing, WhyNot};
pub use queries::Explanation;
pub use resume::{REPORTED_PERCENT, WAIT_FOR_REPORTS};

use crate::command::{Command, Refusal};
use crate::config::{ConfigError, EngineConfig};
use crate::derived::Derived;
use crate::eta::TravelTime;
use crate::event::{Event, EventKind};
use crate::index::Positions;
use crate::matching::score::{Score, ScoreTerm};
use crate::model::{Actor, DriverId, OrderId};
use crate::route::{self, Anchor, Stop, StopKind};
use crate::state::{Driver, Heading, Order, State};
use crate::units::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Decides for one market. One writer, no locks, no clock: `now` is an argument, and positions come as a snapshot.
///
/// Engine time begins at the epoch and never goes back: a `now` before the last one counts as the last one.
///
/// See the [crate documentation](crate) for an example.
#[derive(Debug)]
pub struct Engine {
    state: State,
    derived: Derived,
    travel: Arc<dyn TravelTime>,
    terms: Vec<Arc<dyn ScoreTerm>>,
    score: Score,
    clock: Clock,
    /// The last position of every driver on shift that has one, sorted by driver. Soft: gone after a restart.
    sighted: Vec<(DriverId, Anchor)>,
    /// Whether too few drivers had reported since the last outage when the engine last looked at them.
    too_few_reported: bool,
    /// Who causes what is emitted now.
    actor: Actor,
    /// The events of the call under way.
    pending: Vec<Event>,
}

/// Where the engine stands in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    now: Timestamp,
    last_window: Timestamp,
    last_watch: Timestamp,
}

impl Default for Clock {
    fn default() -> Self {
        Self { now: Timestamp::default(), last_window: Timestamp::MIN, last_watch: Timestamp::MIN }
    }
}

/// All of an engine at one point of its log. The default is that before the first event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    state: State,
    clock: Clock,
}

impl Snapshot {
    /// The state at that point.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// A state of which nothing else is known: as if it had been folded from the log.
    pub fn of(state: State) -> Self {
        let clock = Clock { now: state.at, ..Clock::default() };
        Self { state, clock }
    }

    /// Goes on by the next event of the log. Events that contradict the state assert.
    pub fn apply(&mut self, event: &Event) -> Result<(), RestoreError> {
        if event.seq != self.state.seq + 1 {
            return Err(RestoreError::Gap { expected: self.state.seq + 1, found: event.seq });
        }
        self.state.apply(event);
        self.clock.now = self.clock.now.max(event.at);
        Ok(())
    }
}

/// A snapshot and events that do not make an engine.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RestoreError {
    /// The events do not go on where the snapshot ends, or one is missing between them.
    #[error("event {found} follows, but {expected} should")]
    Gap {
        /// The number that should come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The log has no configuration, or one this program does not know how to follow.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Engine {
    /// An engine with an empty market.
    ///
    /// The first event of its log is the configuration. Who keeps the log begins with [`Engine::with_terms`], which returns
    /// that event.
    pub fn new(config: EngineConfig, travel: impl TravelTime + 'static) -> Result<Self, ConfigError> {
        Self::with_terms(config, Arc::new(travel), Vec::new()).map(|(engine, _)| engine)
    }

    /// An engine whose configuration may weigh the score terms given, and the first event of its log.
    pub fn with_terms(
        config: EngineConfig,
        travel: Arc<dyn TravelTime>,
        terms: Vec<Arc<dyn ScoreTerm>>,
    ) -> Result<(Self, Event), ConfigError> {
        config.validate()?;
        let score = Score::resolve(&config.score, &terms)?;
        let mut engine = Self::around(State::default(), Clock::default(), travel, terms, score);
        engine.emit(EventKind::Configured { version: 1, config: Box::new(config) });
        let first = engine.pending.pop().expect("the configuration was emitted");
        Ok((engine, first))
    }

    /// The engine as it was at a snapshot, gone on by the events after it. Events that contradict the state assert.
    ///
    /// An engine that was away meanwhile is to be told for how long, before anything else: [`Action::Resume`](crate::Action::Resume).
    pub fn restore(
        travel: Arc<dyn TravelTime>,
        terms: Vec<Arc<dyn ScoreTerm>>,
        mut snapshot: Snapshot,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Self, RestoreError> {
        events.into_iter().try_for_each(|event| snapshot.apply(&event))?;
        let Snapshot { state, clock } = snapshot;
        state.config.validate()?;
        let score = Score::resolve(&state.config.score, &terms)?;
        Ok(Self::around(state, clock, travel, terms, score))
    }

    fn around(
        state: State,
        clock: Clock,
        travel: Arc<dyn TravelTime>,
        terms: Vec<Arc<dyn ScoreTerm>>,
        score: Score,
    ) -> Self {
        Self {
            derived: Derived::rebuild(&state),
            state,
            travel,
            terms,
            score,
            clock,
            sighted: Vec::new(),
            too_few_reported: true,
            actor: Actor::SYSTEM,
            pending: Vec::new(),
        }
    }

    /// All of the engine at this point of its log. Cost: a copy of the state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { state: self.state.clone(), clock: self.clock }
    }

    /// Carries a command out and returns what happened, or refuses it and changes nothing.
    pub fn handle(&mut self, now: Timestamp, command: Command) -> Result<Vec<Event>, Refusal> {
        let clock = self.clock;
        self.enter(now, command.actor);
        if let Err(refusal) = self.carry_out(command.action) {
            assert!(self.pending.is_empty(), "a refusal changes nothing");
            self.clock = clock;
            return Err(refusal);
        }
        Ok(std::mem::take(&mut self.pending))
    }

    /// Lets time pass: expires what has expired, notices who is silent, and matches if the next window has begun.
    ///
    /// A late call runs one window, not the backlog. Between deadlines it does little: its cost is linear in the drivers on
    /// shift. `positions` holds the last fix of everybody; who is missing there has none.
    pub fn advance(&mut self, now: Timestamp, positions: &Positions) -> Vec<Event> {
        self.enter(now, Actor::SYSTEM);
        self.pass_time(positions);
        std::mem::take(&mut self.pending)
    }

    fn enter(&mut self, now: Timestamp, actor: Actor) {
        self.clock.now = self.clock.now.max(now);
        self.actor = actor;
    }

    fn now(&self) -> Timestamp {
        self.clock.now
    }

    /// The only way anything changes: applies the event, then appends it.
    fn emit(&mut self, kind: EventKind) {
        let event = Event { seq: self.state.seq + 1, at: self.clock.now, actor: self.actor.clone(), kind };
        self.derived.apply(&mut self.state, &event);
        self.pending.push(event);
    }

    /// Where and when the driver, last seen there, sets out to the first of its stops: from its last fix or from the last
    /// stop it left, whichever is later. Who has no stops sets out now.
    fn departure(&self, driver: &Driver, seen: Option<Anchor>) -> Option<Anchor> {
        if let Some(heading) = self.bound_for(driver) {
            let at = heading.arrive_at.max(self.now());
            return Some(Anchor { position: heading.position, at });
        }
        let anchor = match (driver.anchor, seen) {
            (Some(left), Some(seen)) if seen.at > left.at => seen,
            (Some(left), _) => left,
            (None, seen) => seen?,
        };
        let idle = driver.stops.is_empty();
        Some(Anchor { at: if idle { anchor.at.max(self.now()) } else { anchor.at }, ..anchor })
    }

    /// Where the driver is, or will be, before it can be sent anywhere else.
    fn bound_for(&self, driver: &Driver) -> Option<Heading> {
        driver.heading.filter(|_| !self.state.config.divert)
    }

    /// Projects the times of these stops for the driver. Without a known position the way to the first takes no time.
    fn project(
        &self,
        driver: &Driver,
        from: Option<Anchor>,
        stops: &mut [Stop],
        ready: impl Fn(&OrderId) -> Timestamp,
    ) {
        let Some(first) = stops.first() else { return };
        let from = from.unwrap_or(Anchor { position: first.position, at: self.now() });
        let service = &self.state.config.service;
        let bound = self.bound_for(driver).map(|heading| Anchor { position: heading.position, at: heading.arrive_at });
        route::project(stops, from, bound, self.now(), driver.spec.vehicle, service, &*self.travel, ready);
    }

    fn ready_at(&self, order: &OrderId) -> Timestamp {
        self.expected_ready_at(&self.state.orders[order])
    }

    /// The driver's route with this order fetched and brought after everything else.
    fn route_with(&self, driver: &Driver, order: &Order) -> (Option<Anchor>, Vec<Stop>) {
        let from = self.departure(driver, self.sighted(&driver.spec.id));
        let mut stops = driver.stops.clone();
        stops.push(Stop::new(StopKind::Pickup, order.spec.pickup.position, order.spec.id.clone()));
        stops.push(Stop::new(StopKind::Dropoff, order.spec.dropoff.position, order.spec.id.clone()));
        self.project(driver, from, &mut stops, |id| self.ready_at(id));
        (from, stops)
    }

    /// The driver's route without this order.
    fn route_without(&self, driver: &Driver, order: &OrderId) -> Vec<Stop> {
        let mut stops = route::without(&driver.stops, order);
        self.project(driver, self.departure(driver, self.sighted(&driver.spec.id)), &mut stops, |id| self.ready_at(id));
        stops
    }
}
