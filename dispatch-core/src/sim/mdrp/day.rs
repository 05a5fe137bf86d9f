//! A day of an instance, decided by the engine.

use super::{Assignment, Courier, DeliveredOrder, Instance, Location, Minute, Move, Order, Point, Solution};
use crate::command::{Action, Step};
use crate::config::{
    ConfigError, EngineConfig, FixRules, Lifetimes, OfferRule, PositionRule, ScheduleRule, SearchRule, ServiceTimes,
    StartOn,
};
use crate::event::EventKind;
use crate::index::{Fix, Reported};
use crate::model::{DriverId, DriverSpec, OrderId, OrderSpec, Role};
use crate::sim::{Flaw, Proven, Simulation};
use crate::units::{Meters, Millis};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An instance under way: couriers and restaurants do what the benchmark's rules say, the engine decides.
///
/// Each minute first lets the world move, then the engine decide, so that the deciding can be timed alone:
///
/// ```no_run
/// use dispatch_core::sim::mdrp::{Day, Instance};
/// let instance = Instance::read("public_instances/0o50t100s1p100".as_ref())?;
/// let mut day = Day::new(&instance, Day::config(&instance))?;
/// while day.begin_minute() {
///     day.decide();
/// }
/// let (solution, _) = day.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Day<'a> {
    instance: &'a Instance,
    simulation: Simulation,
    minute: Minute,
    /// What happens at the beginning of each minute to come.
    agenda: BTreeMap<Minute, Vec<Happening>>,
    couriers: Vec<Agent<'a>>,
    solution: Solution,
}

#[derive(Debug)]
enum Happening {
    ShiftStarts { courier: usize },
    Placed { order: usize },
    Step { courier: usize, order: OrderId, step: Step },
}

/// A courier, who does what it is told.
#[derive(Debug)]
struct Agent<'a> {
    courier: &'a Courier,
    /// Where it will be once it has done all it was told.
    at: Point,
    location: Location,
    /// When it will be free there.
    free: Minute,
}

const WHOLE_DAY: Millis = Millis::from_mins(24 * 60);

impl<'a> Day<'a> {
    /// The rules of the market for this instance: the default ones, but for what the benchmark prescribes.
    pub fn config(instance: &Instance) -> EngineConfig {
        let parameters = instance.parameters();
        let half_pickup = Millis::from_mins(parameters.half_pickup());
        let half_dropoff = Millis::from_mins(parameters.half_dropoff());
        let default = EngineConfig::default();
        EngineConfig {
            // Placed is confirmed; couriers never refuse; one decision a minute.
            start_on: StartOn::Placed,
            offers: OfferRule::Direct,
            window: Millis::from_mins(1),
            service: ServiceTimes {
                before_pickup: half_pickup,
                after_pickup: half_pickup,
                before_dropoff: half_dropoff,
                after_dropoff: half_dropoff,
            },
            // Every courier may fetch every order, is told as late as possible, and cannot be diverted once told.
            search: SearchRule {
                radius: Meters::from_km(1_000),
                max_radius: Meters::from_km(1_000),
                candidates: 1_000,
                ..default.search
            },
            schedule: ScheduleRule { margin: Millis::ZERO, commit_ahead: Millis::ZERO, ..default.schedule },
            // A courier who stands still reports nothing, and no order is given up.
            positions: PositionRule { searchable_for: WHOLE_DAY, silent_after: WHOLE_DAY, ..default.positions },
            lifetimes: Lifetimes { overdue_after: WHOLE_DAY, fail_after: WHOLE_DAY, ..default.lifetimes },
            ..default
        }
    }

    /// The day before its first minute.
    pub fn new(instance: &'a Instance, config: EngineConfig) -> Result<Self, ConfigError> {
        let travel = Arc::new(instance.travel());
        let simulation = Simulation::new(config, FixRules::default(), travel, Vec::new())?;
        let mut agenda: BTreeMap<Minute, Vec<Happening>> = BTreeMap::new();
        for (i, courier) in instance.couriers().iter().enumerate() {
            agenda.entry(courier.on).or_default().push(Happening::ShiftStarts { courier: i });
        }
        for (i, order) in instance.orders().iter().enumerate() {
            agenda.entry(order.placement).or_default().push(Happening::Placed { order: i });
        }
        let agent =
            |courier: &'a Courier| Agent { courier, at: courier.at, location: Location::Start, free: courier.on };
        let couriers = instance.couriers().iter().map(agent).collect();
        let minute = agenda.keys().next().copied().unwrap_or_default();
        Ok(Self { instance, simulation, minute, agenda, couriers, solution: Solution::default() })
    }

    /// Lets everything happen that happens at the next minute; false when the day is over.
    pub fn begin_minute(&mut self) -> bool {
        let last_shift = self.instance.couriers().iter().map(|courier| courier.off).max().unwrap_or_default();
        if self.agenda.is_empty() && self.minute > last_shift {
            return false;
        }
        for happening in self.agenda.remove(&self.minute).unwrap_or_default() {
            match happening {
                Happening::ShiftStarts { courier } => self.start_shift(courier),
                Happening::Placed { order } => self.place(order),
                Happening::Step { courier, order, step } => self.step(courier, order, step),
            }
        }
        true
    }

    /// Lets the engine decide, and the couriers hear of it.
    pub fn decide(&mut self) {
        let now = self.minute.timestamp();
        let assigned: Vec<(OrderId, DriverId)> = self
            .simulation
            .advance(now)
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Assigned { orders, driver, .. } => Some((orders[0].clone(), driver.clone())),
                _ => None,
            })
            .collect();
        for (order, driver) in assigned {
            self.send(&order, &driver);
        }
        self.minute = self.minute + 1;
    }

    /// Ends the day, gives up what nobody will deliver any more, and proves the run.
    pub fn finish(mut self) -> Result<(Solution, Proven), Flaw> {
        let open =
            |simulation: &Simulation| simulation.engine().state().orders.values().any(|o| !o.status.is_terminal());
        while open(&self.simulation) {
            let next = self.simulation.engine().next_deadline().expect("an order that has not ended has a deadline");
            self.simulation.advance(next);
        }
        Ok((self.solution, self.simulation.prove()?))
    }

    fn command(&mut self, role: Role, action: Action) {
        let now = self.minute.timestamp();
        self.simulation.command(now, action.by(role)).expect("couriers and restaurants keep to the rules");
    }

    fn report(&mut self, courier: usize, at: Point) {
        let (now, driver) = (self.minute.timestamp(), &self.couriers[courier].courier.id);
        let reported = self.simulation.report(now, driver, Fix { position: at.position(), at: now });
        assert_eq!(reported, Reported::Moved, "couriers keep to the speed limit");
    }

    fn start_shift(&mut self, courier: usize) {
        let Courier { id, at, off, .. } = self.couriers[courier].courier.clone();
        self.command(Role::Driver, Action::RegisterDriver(DriverSpec::new(id.clone())));
        self.command(Role::Driver, Action::StartShift { driver: id, until: Some(off.timestamp()) });
        self.report(courier, at);
    }

    fn place(&mut self, order: usize) {
        let Order { id, at, placement, ready, .. } = &self.instance.orders()[order];
        let restaurant = self.instance.restaurant_of(&self.instance.orders()[order]);
        let mut spec = OrderSpec::new(id.clone(), restaurant.at.position(), at.position());
        spec.pickup.id = Some(restaurant.id.clone());
        spec.preparation = Some(Millis::from_mins(*ready - *placement));
        self.command(Role::Customer, Action::SubmitOrder(spec));
    }

    fn step(&mut self, courier: usize, order: OrderId, step: Step) {
        let driver = self.couriers[courier].courier.id.clone();
        if step == Step::Delivered {
            let door = self.instance.order(&order).expect("an order of this instance").at;
            self.report(courier, door);
        }
        self.command(Role::Driver, Action::Progress { order, driver, step });
    }

    /// A courier does as told: fetches the order and brings it, by the benchmark's rules alone.
    fn send(&mut self, id: &OrderId, driver: &DriverId) {
        let order = self.instance.order(id).expect("an order of this instance");
        let restaurant = self.instance.restaurant_of(order);
        let index =
            self.couriers.iter().position(|agent| agent.courier.id == *driver).expect("a courier of this instance");
        let travel = self.instance.travel();
        let (half_pickup, half_dropoff) =
            (self.instance.parameters().half_pickup(), self.instance.parameters().half_dropoff());
        let agent = &mut self.couriers[index];

        let departure = agent.free.max(self.minute);
        let arrival = departure + travel.minutes(agent.at, restaurant.at);
        let pickup = (arrival + half_pickup).max(order.ready);
        let leave = pickup + half_pickup;
        let there = leave + travel.minutes(restaurant.at, order.at);
        let dropoff = there + half_dropoff;

        let fetched = Location::Restaurant(restaurant.id.clone());
        let brought = Location::Customer(id.clone());
        let origin = std::mem::replace(&mut agent.location, brought.clone());
        agent.at = order.at;
        agent.free = dropoff + half_dropoff;

        let steps = [
            (arrival, Step::ArrivedAtPickup),
            (pickup, Step::PickedUp),
            (leave, Step::Departed),
            (there, Step::ArrivedAtDropoff),
            (dropoff, Step::Delivered),
        ];
        for (minute, step) in steps {
            // What takes no time is told with the next minute at the latest, after the decision that caused it.
            let minute = minute.max(self.minute + 1);
            let happening = Happening::Step { courier: index, order: id.clone(), step };
            self.agenda.entry(minute).or_default().push(happening);
        }
        let courier = driver.clone();
        self.solution.moves.push(Move { courier: courier.clone(), departure, origin, destination: fetched.clone() });
        self.solution.moves.push(Move {
            courier: courier.clone(),
            departure: leave,
            origin: fetched,
            destination: brought,
        });
        let bundle = vec![id.clone()];
        self.solution.assignments.push(Assignment { assigned: self.minute, pickup, courier: courier.clone(), bundle });
        self.solution.orders.push(DeliveredOrder {
            order: id.clone(),
            placement: order.placement,
            ready: order.ready,
            pickup,
            dropoff,
            courier,
        });
    }
}
