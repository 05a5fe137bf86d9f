//! Drivers: they do what their route says, in their own time.

use super::{City, Happening};
use crate::command::{Action, Step};
use crate::geo::Position;
use crate::index::Fix;
use crate::model::{DriverId, DriverSpec, OfferId, OrderId, Rating, Role, Units, Vehicle};
use crate::route::{Stop, StopKind};
use crate::units::{Millis, Timestamp};
use rand::RngExt;
use std::collections::BTreeSet;

/// How often a driver reports where it is.
const FIX_EVERY: Millis = Millis::from_secs(10);

/// A driver as it is, whatever the engine believes.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: DriverId,
    /// The orders of its route, as it last heard.
    pub(super) orders: BTreeSet<OrderId>,
    vehicle: Vehicle,
    works: bool,
    /// Without connection until then: it reports nothing and hears nothing.
    silent_until: Timestamp,
    doing: Doing,
    /// Counts its plans; what was planned under an older one is void.
    plan: u64,
}

#[derive(Clone, Debug)]
enum Doing {
    Standing {
        at: Position,
    },
    Driving {
        from: Position,
        to: Position,
        left: Timestamp,
        arrives: Timestamp,
    },
    /// At a stop; `done` once the orders have changed hands and it is about to leave.
    Serving {
        at: Position,
        stop: Stop,
        done: bool,
    },
}

impl Agent {
    fn position(&self, now: Timestamp) -> Position {
        match &self.doing {
            Doing::Standing { at } | Doing::Serving { at, .. } => *at,
            Doing::Driving { from, to, left, arrives } => {
                let whole = (*arrives - *left).get().max(1) as f64;
                let share = ((now - *left).get() as f64 / whole).clamp(0.0, 1.0);
                let between = |a: f64, b: f64| a + (b - a) * share;
                Position::new(between(from.lat(), to.lat()), between(from.lng(), to.lng()))
                    .expect("a point between two positions of a city is one")
            }
        }
    }
}

impl City {
    /// Registers the drivers and plans their working days.
    pub(super) fn hire(&mut self) {
        for i in 0..self.config.drivers {
            let id = DriverId::new(format!("driver-{i}")).expect("a valid id");
            let (vehicle, capacity) = match self.random.random_range(0..10) {
                0..=3 => (Vehicle::Bicycle, 1),
                4..=6 => (Vehicle::Motorcycle, 2),
                7..=8 => (Vehicle::Car, 3),
                _ => (Vehicle::Van, 3),
            };
            let mut spec = DriverSpec::new(id.clone());
            spec.vehicle = vehicle;
            spec.capacity = Units::new(capacity).expect("not zero");
            let rating = Rating::new(self.random.random_range(3.5..=5.0)).expect("a rating of stars");
            let agent = Agent {
                id: id.clone(),
                orders: BTreeSet::new(),
                vehicle,
                works: false,
                silent_until: self.now,
                doing: Doing::Standing { at: self.place(4_000.0) },
                plan: 0,
            };
            self.agents.insert(id.clone(), agent);
            self.command(Role::Driver, Action::RegisterDriver(spec));
            self.command(Role::Dispatcher, Action::RateDriver { driver: id.clone(), rating });
            // A few work around the clock in shifts; most begin so that they work at lunch, at dinner or both.
            let begins = match i % 5 {
                0 => self.random.random_range(0..24 * 3_600),
                1..=2 => self.random.random_range(9 * 3_600..12 * 3_600),
                _ => self.random.random_range(14 * 3_600..18 * 3_600),
            };
            self.plan_in(
                Millis::from_secs(begins % (i64::from(self.config.hours) * 3_600).max(1)),
                Happening::Shift(id),
            );
        }
    }

    fn agent(&mut self, id: &DriverId) -> &mut Agent {
        self.agents.get_mut(id).expect("a driver of this city")
    }

    /// A driver's working day begins, for some hours, or ends, for the rest of the day.
    pub(super) fn shift(&mut self, id: &DriverId) {
        let works = self.agent(id).works;
        self.agent(id).works = !works;
        let driver = id.clone();
        if works {
            self.command(Role::Driver, Action::EndShift { driver: driver.clone() });
            let free_time = self.seconds(14 * 3_600, 18 * 3_600);
            self.plan_in(free_time, Happening::Shift(driver));
            return;
        }
        let hours = self.seconds(4 * 3_600, 9 * 3_600);
        let planned = self.chance(0.5).then_some(self.now + hours);
        self.command(Role::Driver, Action::StartShift { driver: driver.clone(), until: planned });
        self.plan_in(hours, Happening::Shift(driver.clone()));
        self.plan(self.now, Happening::Fix(driver.clone()));
        let (until_break, until_silence) = (self.seconds(3_600, 5 * 3_600), self.seconds(600, 8 * 3_600));
        self.plan_in(until_break, Happening::Break(driver.clone()));
        self.plan_in(until_silence, Happening::Silence(driver));
    }

    pub(super) fn take_break(&mut self, id: &DriverId) {
        let driver = id.clone();
        let (paused, on_shift) = {
            let known = &self.engine().state().drivers[id];
            (known.paused, known.is_on_shift())
        };
        if paused {
            self.command(Role::Driver, Action::ResumeDriver { driver });
        } else if on_shift {
            self.command(Role::Driver, Action::PauseDriver { driver: driver.clone() });
            let span = self.seconds(300, 2_400);
            self.plan_in(span, Happening::Break(driver));
        }
    }

    /// The connection is lost: for a short while mostly, sometimes for long.
    pub(super) fn fall_silent(&mut self, id: &DriverId) {
        let longest = if self.chance(0.3) { 1_200 } else { 60 };
        let until = self.now + self.seconds(5, longest);
        self.agent(id).silent_until = until;
    }

    pub(super) fn report(&mut self, id: &DriverId) {
        let now = self.now;
        if !self.engine().state().drivers[id].is_on_shift() {
            return;
        }
        self.plan_in(FIX_EVERY, Happening::Fix(id.clone()));
        let agent = self.agent(id);
        if now >= agent.silent_until {
            let position = agent.position(now);
            let _reported = self.simulation.report(now, id, Fix { position, at: now });
        }
    }

    /// A driver looks at an offer, and answers after a while or not at all.
    pub(super) fn consider(&mut self, offer: OfferId, driver: DriverId) {
        let (accept, notices) = (self.chance(self.config.acceptance), self.chance(0.97));
        // Some answer in the very last moment.
        let span = if self.chance(0.05) { Millis::from_secs(30) } else { self.seconds(2, 25) };
        if notices {
            self.plan_in(span, Happening::Answer { driver, offer, accept });
        }
    }

    pub(super) fn answer(&mut self, driver: DriverId, offer: OfferId, accept: bool) {
        let now = self.now;
        if now < self.agent(&driver).silent_until {
            return;
        }
        let action =
            if accept { Action::AcceptOffer { offer, driver } } else { Action::DeclineOffer { offer, driver } };
        self.command(Role::Driver, action);
    }

    /// Looks at the route again: goes on with what it was doing if that is still the next stop, else turns to what is.
    pub(super) fn rethink(&mut self, id: &DriverId) {
        let now = self.now;
        let known = &self.engine().state().drivers[id];
        let (next, orders) = (known.stops.first().cloned(), known.orders().cloned().collect());
        let agent = self.agent(id);
        agent.orders = orders;
        let at = agent.position(now);
        let same_stop = |stop: &Stop| match &agent.doing {
            Doing::Standing { .. } => false,
            Doing::Driving { to, .. } => *to == stop.position,
            Doing::Serving { at, stop: served, .. } => *at == stop.position && served.kind == stop.kind,
        };
        match next {
            // Under way to the right place already, or still busy handing over: the plan stands.
            Some(stop) if same_stop(&stop) => {}
            _ if matches!(agent.doing, Doing::Serving { done: true, .. }) => {}
            Some(stop) => self.drive(id, at, stop.position),
            None => {
                agent.plan += 1;
                agent.doing = Doing::Standing { at };
            }
        }
    }

    /// Sets out; on the road everything takes a little longer, or less, than thought.
    fn drive(&mut self, id: &DriverId, from: Position, to: Position) {
        let (now, vehicle) = (self.now, self.agent(id).vehicle);
        let expected = self.travel.travel(from, to, vehicle, now).duration;
        let takes = Millis::new((expected.get() as f64 * self.random.random_range(0.9..1.25)) as i64);
        self.agent(id).doing = Doing::Driving { from, to, left: now, arrives: now + takes };
        self.act_in(id, takes);
    }

    /// Plans to be done with what the driver is doing now after `span`; whatever it planned before is void.
    fn act_in(&mut self, id: &DriverId, span: Millis) {
        let agent = self.agent(id);
        agent.plan += 1;
        let plan = agent.plan;
        self.plan_in(span, Happening::Act { driver: id.clone(), plan });
    }

    /// A driver is done with what it was doing.
    pub(super) fn act(&mut self, id: &DriverId, plan: u64) {
        let now = self.now;
        let agent = self.agent(id);
        if agent.plan != plan {
            return;
        }
        if now < agent.silent_until {
            // What it does without connection, it can only say once it has one again.
            let until = agent.silent_until;
            self.plan(until, Happening::Act { driver: id.clone(), plan });
            return;
        }
        match agent.doing.clone() {
            Doing::Standing { .. } => {}
            Doing::Driving { to, .. } => self.arrive(id, to),
            Doing::Serving { at, stop, done: false } => self.serve(id, at, stop),
            Doing::Serving { at, stop, done: true } => {
                self.agent(id).doing = Doing::Standing { at };
                if stop.kind == StopKind::Pickup && self.chance(0.5) {
                    self.progress(id, &stop.orders, Step::Departed);
                }
                self.rethink(id);
            }
        }
    }

    fn arrive(&mut self, id: &DriverId, at: Position) {
        self.agent(id).doing = Doing::Standing { at };
        let next = self.engine().state().drivers[id].stops.first().cloned();
        let Some(stop) = next.filter(|stop| stop.position == at) else { return self.rethink(id) };
        self.agent(id).doing = Doing::Serving { at, stop: stop.clone(), done: false };
        let step = match stop.kind {
            StopKind::Pickup => Step::ArrivedAtPickup,
            StopKind::Dropoff => Step::ArrivedAtDropoff,
        };
        if self.chance(0.9) {
            self.progress(id, &stop.orders, step);
        }
        let span = self.time_at(&stop);
        self.act_in(id, span);
    }

    /// How long until the orders change hands: the kitchen's time, or the customer's.
    fn time_at(&mut self, stop: &Stop) -> Millis {
        let ready =
            stop.orders.iter().filter_map(|order| self.kitchens.get(order)).map(|kitchen| kitchen.ready_at).max();
        match stop.kind {
            StopKind::Pickup => (ready.unwrap_or(self.now) - self.now).max(Millis::ZERO) + self.seconds(5, 60),
            StopKind::Dropoff => self.seconds(60, 300),
        }
    }

    fn serve(&mut self, id: &DriverId, at: Position, stop: Stop) {
        let (step, span) = match stop.kind {
            StopKind::Pickup => (Step::PickedUp, self.seconds(60, 180)),
            StopKind::Dropoff => (Step::Delivered, self.seconds(5, 30)),
        };
        self.progress(id, &stop.orders, step);
        self.agent(id).doing = Doing::Serving { at, stop, done: true };
        self.act_in(id, span);
    }

    fn progress(&mut self, id: &DriverId, orders: &[OrderId], step: Step) {
        for order in orders {
            self.command(Role::Driver, Action::Progress { order: order.clone(), driver: id.clone(), step });
        }
    }
}
