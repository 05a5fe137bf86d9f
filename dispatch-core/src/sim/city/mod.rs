//! A synthetic city: pickup places, customers, kitchens and drivers with a mind of their own, in virtual time.
//!
//! Orders come with lunch and dinner peaks. Kitchens confirm, prepare, and are early or late. Drivers report where they
//! are, accept, decline or miss offers, drive, wait, take breaks, lose their connection, and go home. Customers change
//! their minds, dispatchers step in. All of it follows from one seed.

mod demand;
mod driver;

use crate::command::{Action, Refusal};
use crate::config::{ConfigError, EngineConfig, FixRules};
use crate::engine::Engine;
use crate::eta::{StraightLine, TravelTime};
use crate::event::{Event, EventKind};
use crate::geo::Position;
use crate::matching::score::ScoreTerm;
use crate::model::{DriverId, OfferId, OrderId, Reason, Role};
use crate::sim::{Flaw, Proven, Simulation};
use crate::units::{Millis, Timestamp};
use demand::{Kitchen, Source};
use driver::Agent;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a city is like. The default is a small town's day.
#[derive(Clone, Debug)]
pub struct CityConfig {
    /// The same seed gives the same day.
    pub seed: u64,
    /// For how many hours orders come; then the city finishes what it has.
    pub hours: u32,
    /// How many drivers there are; about half of them work at a time.
    pub drivers: u32,
    /// How many places orders are picked up from.
    pub places: u32,
    /// How many orders a whole day brings, on average.
    pub orders_per_day: u32,
    /// How likely a driver takes an offer, 0 to 1.
    pub acceptance: f64,
    /// The rules of the market.
    pub engine: EngineConfig,
}

impl Default for CityConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            hours: 24,
            drivers: 300,
            places: 80,
            orders_per_day: 2_000,
            acceptance: 0.85,
            engine: EngineConfig::default(),
        }
    }
}

/// A city under way.
#[derive(Debug)]
pub struct City {
    config: CityConfig,
    simulation: Simulation,
    travel: Arc<dyn TravelTime>,
    random: Pcg64Mcg,
    now: Timestamp,
    /// Until when orders come.
    closes: Timestamp,
    /// What happens next, by time and then by when it was planned.
    agenda: BTreeMap<(Timestamp, u64), Happening>,
    planned: u64,
    source: Source,
    kitchens: BTreeMap<OrderId, Kitchen>,
    agents: BTreeMap<DriverId, Agent>,
    refused: BTreeMap<&'static str, u64>,
}

/// Something a person does, or that happens to one.
#[derive(Debug)]
enum Happening {
    /// A customer orders, and the next will.
    Order,
    /// A kitchen gets further with an order.
    Kitchen(OrderId),
    /// A customer calls an order off.
    ChangeOfMind(OrderId),
    /// A dispatcher steps in.
    StepIn,
    /// A driver begins or ends its working day.
    Shift(DriverId),
    /// A driver takes a break or comes back from one.
    Break(DriverId),
    /// A driver loses its connection.
    Silence(DriverId),
    /// A driver reports where it is.
    Fix(DriverId),
    /// A driver answers an offer.
    Answer { driver: DriverId, offer: OfferId, accept: bool },
    /// A driver is done with what it was doing, unless it was told otherwise in the meantime.
    Act { driver: DriverId, plan: u64 },
}

impl City {
    /// A city before its first order. Its travel times are [`StraightLine`]'s.
    pub fn new(config: CityConfig) -> Result<Self, ConfigError> {
        Self::with(config, Arc::new(StraightLine::default()), Vec::new())
    }

    /// A city whose market estimates travel times and scores drivers in your way.
    pub fn with(
        config: CityConfig,
        travel: Arc<dyn TravelTime>,
        terms: Vec<Arc<dyn ScoreTerm>>,
    ) -> Result<Self, ConfigError> {
        let simulation = Simulation::new(config.engine.clone(), FixRules::default(), travel.clone(), terms)?;
        let mut random = Pcg64Mcg::seed_from_u64(config.seed);
        // A Monday at midnight.
        let opens = Timestamp::from_millis(1_704_067_200_000);
        let closes = opens + Millis::from_mins(60) * i64::from(config.hours);
        let source = Source::new(config.places, config.orders_per_day, opens, &mut random);
        let mut city = Self {
            simulation,
            travel,
            random,
            now: opens,
            closes,
            agenda: BTreeMap::new(),
            planned: 0,
            source,
            kitchens: BTreeMap::new(),
            agents: BTreeMap::new(),
            refused: BTreeMap::new(),
            config,
        };
        city.hire();
        city.plan(opens, Happening::Order);
        city.plan(opens, Happening::StepIn);
        Ok(city)
    }

    /// The engine, for questions.
    pub fn engine(&self) -> &Engine {
        self.simulation.engine()
    }

    /// Everything that happened so far.
    pub fn log(&self) -> &[Event] {
        self.simulation.log()
    }

    /// The time in the city.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How often commands of each kind were refused: people act on what they last heard.
    pub fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }

    /// Lets `span` pass; false once no more orders come and every order has ended.
    pub fn run(&mut self, span: Millis) -> bool {
        let until = self.now + span;
        loop {
            if self.is_over() {
                return false;
            }
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.engine().next_deadline();
            let Some(at) = next.into_iter().chain(deadline).min() else { return false };
            if at > until {
                self.now = until;
                return true;
            }
            self.now = self.now.max(at);
            if deadline.is_some_and(|deadline| deadline <= self.now) {
                let news = self.simulation.advance(self.now).to_vec();
                self.spread(&news);
            } else if let Some((_, happening)) = self.agenda.pop_first() {
                self.happen(happening);
            }
        }
    }

    /// The engine is away for so long. What people do meanwhile reaches it afterwards.
    pub fn restart(&mut self, down_for: Millis) {
        self.now += down_for;
        let news = self.simulation.restart(self.now, down_for).to_vec();
        self.spread(&news);
    }

    /// Proves the run: see [`Simulation::prove`].
    pub fn prove(self) -> Result<Proven, Flaw> {
        self.simulation.prove()
    }

    fn is_over(&self) -> bool {
        self.now >= self.closes && self.engine().state().orders.values().all(|order| order.status.is_terminal())
    }

    fn plan(&mut self, at: Timestamp, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((at.max(self.now), self.planned), happening);
    }

    fn plan_in(&mut self, span: Millis, happening: Happening) {
        self.plan(self.now + span, happening);
    }

    /// A span somewhere between these many seconds.
    fn seconds(&mut self, least: i64, most: i64) -> Millis {
        Millis::new(self.random.random_range(least * 1_000..=most * 1_000))
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability.clamp(0.0, 1.0))
    }

    /// Gives the engine a command and spreads the news; people take a refusal as it comes.
    fn command(&mut self, role: Role, action: Action) {
        let name = action.name();
        match self.simulation.command(self.now, action.by(role)) {
            Ok(news) => {
                let news = news.to_vec();
                self.spread(&news);
            }
            Err(Refusal::Full { .. } | Refusal::Invalid { .. } | Refusal::Config(_)) => {
                unreachable!("the city stays within the market's limits")
            }
            Err(_) => *self.refused.entry(name).or_default() += 1,
        }
    }

    /// Tells whom it concerns.
    fn spread(&mut self, news: &[Event]) {
        for event in news {
            match &event.kind {
                EventKind::OfferMade { offer, driver, .. } => self.consider(*offer, driver.clone()),
                EventKind::Assigned { driver, .. } | EventKind::Returned { driver, .. } => {
                    self.rethink(&driver.clone());
                }
                EventKind::OrderCancelled { order, .. } | EventKind::OrderFailed { order, .. } => {
                    self.kitchens.remove(order);
                    let bound = |agent: &&Agent| agent.orders.contains(order);
                    if let Some(driver) = self.agents.values().find(bound).map(|agent| agent.id.clone()) {
                        self.rethink(&driver);
                    }
                }
                EventKind::Delivered { order, .. } => {
                    self.kitchens.remove(order);
                }
                _ => {}
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Order => self.order(),
            Happening::Kitchen(order) => self.cook(&order),
            Happening::ChangeOfMind(order) => {
                let reason = Reason::new("changed my mind").expect("a short reason");
                self.command(Role::Customer, Action::CancelOrder { order, reason });
            }
            Happening::StepIn => self.step_in(),
            Happening::Shift(driver) => self.shift(&driver),
            Happening::Break(driver) => self.take_break(&driver),
            Happening::Silence(driver) => self.fall_silent(&driver),
            Happening::Fix(driver) => self.report(&driver),
            Happening::Answer { driver, offer, accept } => self.answer(driver, offer, accept),
            Happening::Act { driver, plan } => self.act(&driver, plan),
        }
    }

    /// Every quarter of an hour or so a dispatcher takes an order back, gives one to somebody else, or gives one up.
    fn step_in(&mut self) {
        let span = self.seconds(300, 1_500);
        self.plan_in(span, Happening::StepIn);
        let orders: Vec<OrderId> = self.kitchens.keys().cloned().collect();
        let drivers: Vec<DriverId> = self.agents.keys().cloned().collect();
        if orders.is_empty() || drivers.is_empty() {
            return;
        }
        let order = orders[self.random.random_range(0..orders.len())].clone();
        let driver = drivers[self.random.random_range(0..drivers.len())].clone();
        let action = match self.random.random_range(0..10) {
            0..=4 => Action::TakeBack { order },
            5..=8 => Action::Assign { order, driver },
            _ => Action::FailOrder { order, reason: Reason::new("lost").expect("a short reason") },
        };
        self.command(Role::Dispatcher, action);
    }

    /// A place within this many metres north and east of the centre.
    fn place(&mut self, within_m: f64) -> Position {
        demand::scatter(demand::CENTRE, within_m, &mut self.random)
    }
}
