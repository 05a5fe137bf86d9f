//! A day of an instance, decided by the engine.

use super::{
    Assignment, Courier, DeliveredOrder, Instance, Location, Minute, Move, Order, Point, Restaurant, Solution,
};
use crate::command::{Action, Step};
use crate::config::{
    BundleMode, BundleRule, ConfigError, EngineConfig, FixRules, Lifetimes, Limits, OfferRule, PositionRule,
    ReadyTimes, RepositionRule, ScheduleRule, SearchRule, ServiceTimes, StartOn, SwapRule,
};
use crate::event::EventKind;
use crate::geo::Position;
use crate::index::{Fix, Reported};
use crate::model::{DriverId, DriverSpec, KitchenStatus, OrderId, OrderSpec, PlaceId, PlannedShift, Role, Units};
use crate::route::{Stop, StopKind};
use crate::sim::{Flaw, Proven, Simulation};
use crate::units::{Meters, Millis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of ready times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// An order says when it will be ready, and so it is.
    Exact,
    /// An order is expected after the mean preparation of its restaurant; when it is ready is seen then.
    Noisy,
}

/// An instance under way: couriers and restaurants do what the benchmark's rules say, the engine decides.
///
/// Couriers go where they are sent, also to wait; until a pickup the orders to be fetched there may change.
///
/// Each minute first lets the world move, then the engine decide, so that the deciding can be timed alone:
///
/// ```no_run
/// use dispatch_core::sim::mdrp::{Day, Instance, Knowledge};
/// let instance = Instance::read("public_instances/0o50t100s1p100".as_ref())?;
/// let mut day = Day::new(&instance, Day::config(&instance, Knowledge::Exact), Knowledge::Exact)?;
/// while day.begin_minute() {
///     day.decide();
/// }
/// let (solution, _) = day.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Day<'a> {
    instance: &'a Instance,
    knowledge: Knowledge,
    /// How long each restaurant takes on the mean.
    mean_preparation: BTreeMap<&'a PlaceId, Millis>,
    simulation: Simulation,
    minute: Minute,
    /// What happens at the beginning of each minute to come.
    agenda: BTreeMap<Minute, Vec<Happening>>,
    couriers: Vec<Agent<'a>>,
    solution: Solution,
}

#[derive(Debug)]
enum Happening {
    /// The shifts of the day are planned.
    Roster,
    ShiftStarts {
        courier: usize,
    },
    Placed {
        order: usize,
    },
    Ready {
        order: usize,
    },
    Arrived {
        courier: usize,
        at: Point,
    },
    Step {
        courier: usize,
        order: OrderId,
        step: Step,
    },
}

/// A courier, who does what it is told.
#[derive(Debug)]
struct Agent<'a> {
    courier: &'a Courier,
    /// Where it is, or will be once it has done all it was told.
    at: Point,
    location: Location,
    /// When it will be free there, or was.
    free: Minute,
}

const WHOLE_DAY: Millis = Millis::from_mins(24 * 60);

/// More than any instance has on one route.
const PLENTY: u16 = 100;

impl<'a> Day<'a> {
    /// The rules of the market for this instance: the default ones, but for what the benchmark prescribes or allows.
    pub fn config(instance: &Instance, knowledge: Knowledge) -> EngineConfig {
        let parameters = instance.parameters();
        let half_pickup = Millis::from_mins(parameters.half_pickup());
        let half_dropoff = Millis::from_mins(parameters.half_dropoff());
        let default = EngineConfig::default();
        let ready_times = match knowledge {
            Knowledge::Exact => ReadyTimes::Stated,
            Knowledge::Noisy => ReadyTimes::Learned { depart_at_probability: 0.1 },
        };
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
            schedule: ScheduleRule {
                margin: Millis::ZERO,
                commit_ahead: Millis::ZERO,
                ready_times,
                ..default.schedule
            },
            // Only orders of one restaurant share a trip. What is fetched there is settled at the pickup.
            bundles: BundleRule { mode: BundleMode::SamePickup, ..default.bundles },
            swap: Some(SwapRule { penalty: 0.0 }),
            divert: false,
            reposition: Some(RepositionRule {
                every: Millis::from_mins(2),
                look_ahead: Millis::from_mins(30),
                worth_min: 5.0,
                max_travel: Millis::from_mins(15),
                rest: Millis::from_mins(5),
            }),
            // A courier who stands still reports nothing, and no order is given up.
            positions: PositionRule { searchable_for: WHOLE_DAY, silent_after: WHOLE_DAY, ..default.positions },
            lifetimes: Lifetimes { overdue_after: WHOLE_DAY, fail_after: WHOLE_DAY, ..default.lifetimes },
            limits: Limits { orders_per_driver: PLENTY, ..default.limits },
            ..default
        }
    }

    /// The day before its first minute.
    pub fn new(instance: &'a Instance, config: EngineConfig, knowledge: Knowledge) -> Result<Self, ConfigError> {
        let travel = Arc::new(instance.travel());
        let simulation = Simulation::new(config, FixRules::default(), travel, Vec::new())?;
        let mut agenda: BTreeMap<Minute, Vec<Happening>> = BTreeMap::new();
        for (i, courier) in instance.couriers().iter().enumerate() {
            agenda.entry(courier.on).or_default().push(Happening::ShiftStarts { courier: i });
        }
        for (i, order) in instance.orders().iter().enumerate() {
            agenda.entry(order.placement).or_default().push(Happening::Placed { order: i });
            if knowledge == Knowledge::Noisy {
                agenda.entry(order.ready).or_default().push(Happening::Ready { order: i });
            }
        }
        let agent =
            |courier: &'a Courier| Agent { courier, at: courier.at, location: Location::Start, free: courier.on };
        let couriers = instance.couriers().iter().map(agent).collect();
        let minute = agenda.keys().next().copied().unwrap_or_default();
        agenda.entry(minute).or_default().insert(0, Happening::Roster);
        let mean_preparation = mean_preparation(instance);
        let solution = Solution::default();
        Ok(Self { instance, knowledge, mean_preparation, simulation, minute, agenda, couriers, solution })
    }

    /// Lets everything happen that happens at the next minute; false when the day is over.
    pub fn begin_minute(&mut self) -> bool {
        let last_shift = self.instance.couriers().iter().map(|courier| courier.off).max().unwrap_or_default();
        if self.agenda.is_empty() && self.minute > last_shift {
            return false;
        }
        for happening in self.agenda.remove(&self.minute).unwrap_or_default() {
            match happening {
                Happening::Roster => self.plan_shifts(),
                Happening::ShiftStarts { courier } => self.start_shift(courier),
                Happening::Placed { order } => self.place(order),
                Happening::Ready { order } => {
                    let order = self.instance.orders()[order].id.clone();
                    self.command(Role::Merchant, Action::Kitchen { order, status: KitchenStatus::Ready });
                }
                Happening::Arrived { courier, at } => self.report(courier, at),
                Happening::Step { courier, order, step } => self.step(courier, order, step),
            }
        }
        true
    }

    /// Lets the engine decide, and the couriers do what they are told.
    pub fn decide(&mut self) {
        let now = self.minute.timestamp();
        let mut sent: BTreeMap<DriverId, Option<Position>> = BTreeMap::new();
        for event in self.simulation.advance(now) {
            match &event.kind {
                EventKind::Assigned { driver, .. } => sent.insert(driver.clone(), None),
                EventKind::RepositionSuggested { driver, position, .. } => sent.insert(driver.clone(), Some(*position)),
                _ => None,
            };
        }
        for (driver, wait_at) in sent {
            let first_stop = || Some(self.simulation.engine().state().drivers[&driver].stops.first()?.position);
            let index = self.couriers.iter().position(|agent| agent.courier.id == driver);
            if let Some(position) = wait_at.or_else(first_stop) {
                self.send(index.expect("a courier of this instance"), position);
            }
        }
        for courier in 0..self.couriers.len() {
            self.pick_up(courier);
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

    fn plan_shifts(&mut self) {
        for Courier { id, at, on, off } in self.instance.couriers() {
            let spec = DriverSpec { capacity: Units::MAX, ..DriverSpec::new(id.clone()) };
            self.command(Role::Dispatcher, Action::RegisterDriver(spec));
            let (from, until, start) = (on.timestamp(), off.timestamp(), at.position());
            let planned = Some(PlannedShift { from, until, start });
            self.command(Role::Dispatcher, Action::PlanShift { driver: id.clone(), planned });
        }
    }

    fn start_shift(&mut self, courier: usize) {
        let Courier { id, at, off, .. } = self.couriers[courier].courier.clone();
        self.command(Role::Driver, Action::StartShift { driver: id, until: Some(off.timestamp()) });
        self.report(courier, at);
    }

    fn place(&mut self, order: usize) {
        let order = &self.instance.orders()[order];
        let Order { id, at, placement, ready, .. } = order;
        let restaurant = self.instance.restaurant_of(order);
        let mut spec = OrderSpec::new(id.clone(), restaurant.at.position(), at.position());
        spec.pickup.id = Some(restaurant.id.clone());
        spec.preparation = Some(match self.knowledge {
            Knowledge::Exact => Millis::from_mins(*ready - *placement),
            Knowledge::Noisy => self.mean_preparation[&restaurant.id],
        });
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

    /// A free courier goes to a restaurant, unless it is there or on its way.
    fn send(&mut self, courier: usize, position: Position) {
        let at = |restaurant: &&Restaurant| restaurant.at.position() == position;
        let restaurant = self.instance.restaurants().iter().find(at).expect("couriers are sent to restaurants");
        let destination = Location::Restaurant(restaurant.id.clone());
        let agent = &mut self.couriers[courier];
        if agent.location == destination {
            return;
        }
        assert!(agent.free <= self.minute, "only free couriers are sent anywhere");
        let departure = self.minute;
        let arrival = departure + self.instance.travel().minutes(agent.at, restaurant.at);
        let origin = std::mem::replace(&mut agent.location, destination.clone());
        (agent.at, agent.free) = (restaurant.at, arrival);
        let id = agent.courier.id.clone();
        self.solution.moves.push(Move { courier: id, departure, origin, destination });
        // What takes no time is told with the next minute, after the decision that caused it.
        let arrived = Happening::Arrived { courier, at: restaurant.at };
        self.agenda.entry(arrival.max(self.minute + 1)).or_default().push(arrived);
    }

    /// A courier at a restaurant takes what it is to fetch, once all of it is ready, and brings it.
    fn pick_up(&mut self, courier: usize) {
        let (half_pickup, half_dropoff) =
            (self.instance.parameters().half_pickup(), self.instance.parameters().half_dropoff());
        let agent = &self.couriers[courier];
        let Location::Restaurant(restaurant) = &agent.location else { return };
        if self.minute < agent.free + half_pickup {
            return;
        }
        let id = &agent.courier.id;
        let Some(driver) = self.simulation.engine().state().drivers.get(id) else { return };
        let Some(Stop { kind: StopKind::Pickup, orders, .. }) = driver.stops.first() else { return };
        let of_instance = |id: &OrderId| self.instance.order(id).expect("an order of this instance");
        if !orders.iter().all(|id| of_instance(id).ready <= self.minute) {
            return;
        }
        let fetched: BTreeSet<&OrderId> = orders.iter().collect();
        let dropoffs = driver.stops.iter().filter(|stop| stop.kind == StopKind::Dropoff).flat_map(|stop| &stop.orders);
        let bundle: Vec<OrderId> = dropoffs.filter(|id| fetched.contains(id)).cloned().collect();
        assert_eq!(bundle.len(), fetched.len(), "what is fetched is brought");

        let (pickup, travel, id) = (self.minute, self.instance.travel(), id.clone());
        let mut origin = Location::Restaurant(restaurant.clone());
        let (mut here, mut departure) = (agent.at, pickup + half_pickup);
        for order in &bundle {
            self.command(
                Role::Driver,
                Action::Progress { order: order.clone(), driver: id.clone(), step: Step::PickedUp },
            );
        }
        for order in &bundle {
            let Order { at, placement, ready, .. } = of_instance(order);
            let there = departure + travel.minutes(here, *at);
            let dropoff = there + half_dropoff;
            let destination = Location::Customer(order.clone());
            self.solution.moves.push(Move {
                courier: id.clone(),
                departure,
                origin: std::mem::replace(&mut origin, destination.clone()),
                destination,
            });
            self.solution.orders.push(DeliveredOrder {
                order: order.clone(),
                placement: *placement,
                ready: *ready,
                pickup,
                dropoff,
                courier: id.clone(),
            });
            let steps =
                [(pickup + half_pickup, Step::Departed), (there, Step::ArrivedAtDropoff), (dropoff, Step::Delivered)];
            for (minute, step) in steps {
                let happening = Happening::Step { courier, order: order.clone(), step };
                self.agenda.entry(minute.max(self.minute + 1)).or_default().push(happening);
            }
            (here, departure) = (*at, dropoff + half_dropoff);
        }
        let agent = &mut self.couriers[courier];
        (agent.at, agent.location, agent.free) = (here, origin, departure);
        self.solution.assignments.push(Assignment { assigned: pickup, pickup, courier: id, bundle });
    }
}

fn mean_preparation(instance: &Instance) -> BTreeMap<&PlaceId, Millis> {
    let mut sums: BTreeMap<&PlaceId, (i64, i64)> = BTreeMap::new();
    for order in instance.orders() {
        let (minutes, orders) = sums.entry(&instance.restaurant_of(order).id).or_default();
        (*minutes, *orders) = (*minutes + (order.ready - order.placement), *orders + 1);
    }
    let mean = |(minutes, orders): (i64, i64)| Millis::from_mins((minutes as f64 / orders as f64).round() as i64);
    sums.into_iter().map(|(place, sum)| (place, mean(sum))).collect()
}
