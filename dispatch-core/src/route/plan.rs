//! Routes that are being planned: where one more order could go, and what would come of it.

use super::{Anchor, Stop, StopKind};
use crate::config::{BundleMode, ServiceTimes};
use crate::eta::{Leg, TravelTime};
use crate::geo::Position;
use crate::model::{OrderSpec, Vehicle};
use crate::units::{Meters, Millis, Timestamp};

/// An order as planning sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    /// The order.
    pub(crate) order: &'a OrderSpec,
    /// When it is, or was, ready.
    pub(crate) ready_at: Timestamp,
    /// When the driver took it; `None` while it has to be fetched.
    pub(crate) picked_up_at: Option<Timestamp>,
    /// The way from its pickup to its dropoff, for each of [`Vehicle::ALL`].
    direct: [Leg; Vehicle::ALL.len()],
}

impl<'a> Task<'a> {
    /// An order and its straight way, as it is when the order is ready.
    pub(crate) fn new(
        order: &'a OrderSpec,
        ready_at: Timestamp,
        picked_up_at: Option<Timestamp>,
        travel: &dyn TravelTime,
    ) -> Self {
        let (pickup, dropoff) = (order.pickup.position, order.dropoff.position);
        let direct = Vehicle::ALL.map(|vehicle| travel.travel(pickup, dropoff, vehicle, ready_at));
        Self { order, ready_at, picked_up_at, direct }
    }

    /// The straight way with this vehicle.
    pub(crate) fn direct(&self, vehicle: Vehicle) -> Leg {
        self.direct[vehicle as usize]
    }

    /// When the customer would have it if a car stood at the pickup when it is ready, and rode straight to the door.
    pub(crate) fn soonest_at(&self, service: &ServiceTimes) -> Timestamp {
        self.ready_at + service.after_pickup + self.direct(Vehicle::default()).duration + service.before_dropoff
    }
}

/// A stop of a planned route.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// What happens there.
    pub(crate) kind: StopKind,
    /// Where it is.
    pub(crate) position: Position,
    /// When the driver got there, if it is there.
    pub(crate) arrived_at: Option<Timestamp>,
    /// The orders it is for; never empty.
    pub(crate) tasks: Vec<Task<'a>>,
}

impl<'a> Call<'a> {
    fn pickup(task: Task<'a>) -> Self {
        let position = task.order.pickup.position;
        Self { kind: StopKind::Pickup, position, arrived_at: None, tasks: vec![task] }
    }

    fn dropoff(task: Task<'a>) -> Self {
        let position = task.order.dropoff.position;
        Self { kind: StopKind::Dropoff, position, arrived_at: None, tasks: vec![task] }
    }

    /// The stop of a driver's route that this plans.
    pub(crate) fn to_stop(&self) -> Stop {
        let mut stop = Stop::new(self.kind, self.position, self.tasks[0].order.id.clone());
        stop.orders.extend(self.tasks[1..].iter().map(|task| task.order.id.clone()));
        stop.arrived_at = self.arrived_at;
        stop
    }
}

/// What a planned route means for one of its orders.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The order.
    pub order: &'a OrderSpec,
    /// When it is ready.
    pub ready_at: Timestamp,
    /// When the driver has it.
    pub pickup_at: Timestamp,
    /// When the customer has it.
    pub deliver_at: Timestamp,
    /// When the customer would have it at best: fetched when it is ready, and brought straight in a car.
    pub soonest_at: Timestamp,
    /// The straight way from its pickup to its dropoff.
    pub direct: Leg,
}

impl Delivery<'_> {
    /// How much later the customer has it than at best.
    pub fn delay(&self) -> Millis {
        self.deliver_at - self.soonest_at
    }

    /// How long it waits for the driver.
    pub fn food_waiting(&self) -> Millis {
        self.pickup_at - self.ready_at
    }

    /// How much later than promised the customer has it; zero when in time or nothing was promised.
    pub fn lateness(&self) -> Millis {
        self.order.promised_at.map_or(Millis::ZERO, |promised| (self.deliver_at - promised).max(Millis::ZERO))
    }
}

/// Where a driver sets out on a planned route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SetOut {
    /// Where and when.
    pub(crate) from: Anchor,
    /// Since when it has been, or will have been, there with nothing to do: part of the service at a pickup right there.
    pub(crate) there_since: Option<Timestamp>,
    /// What with.
    pub(crate) vehicle: Vehicle,
}

/// The times of a planned route.
#[derive(Clone, Debug)]
pub(crate) struct Course<'a> {
    /// The way to the first stop.
    pub(crate) first_leg: Leg,
    /// When the orders of the first stop could change hands if they were ready.
    pub(crate) reach_at: Timestamp,
    /// When the last pickup is done; the first stop, where there is none.
    pub(crate) last_pickup_at: Timestamp,
    /// How long the driver waits for orders, on the whole.
    pub(crate) waiting: Millis,
    /// When the driver leaves the last stop.
    pub(crate) done_at: Timestamp,
    /// What it means for each order, in the sequence of the dropoffs.
    pub(crate) deliveries: Vec<Delivery<'a>>,
}

/// The times of a route of `calls`; like [`super::project`] for a route that is planned.
pub(crate) fn course<'a>(
    calls: &[Call<'a>],
    set_out: &SetOut,
    now: Timestamp,
    service: &ServiceTimes,
    travel: &dyn TravelTime,
) -> Course<'a> {
    let mut here = set_out.from;
    let mut course = Course {
        first_leg: Leg { duration: Millis::ZERO, distance: Meters::ZERO },
        reach_at: now,
        last_pickup_at: now,
        waiting: Millis::ZERO,
        done_at: here.at,
        deliveries: Vec::new(),
    };
    let mut picked_up: Vec<(&OrderSpec, Timestamp)> = Vec::new();
    for (i, call) in calls.iter().enumerate() {
        let leg = travel.travel(here.position, call.position, set_out.vehicle, here.at);
        let waiting_there = set_out.there_since.filter(|_| i == 0 && here.position == call.position);
        let arrive_at = call.arrived_at.or(waiting_there).unwrap_or((here.at + leg.duration).max(now));
        let (before, after) = super::service_at(call.kind, service);
        let reach_at = (arrive_at + before).max(now);
        let mut done_at = reach_at;
        if call.kind == StopKind::Pickup {
            done_at = call.tasks.iter().fold(reach_at, |at, task| at.max(task.ready_at));
            course.waiting = course.waiting + (done_at - reach_at);
            course.last_pickup_at = done_at;
            picked_up.extend(call.tasks.iter().map(|task| (task.order, done_at)));
        } else {
            course.deliveries.extend(call.tasks.iter().map(|task| {
                let planned = picked_up.iter().find(|(order, _)| order.id == task.order.id).map(|&(_, at)| at);
                Delivery {
                    order: task.order,
                    ready_at: task.ready_at,
                    pickup_at: planned.or(task.picked_up_at).unwrap_or(now),
                    deliver_at: done_at,
                    soonest_at: task.soonest_at(service),
                    direct: task.direct(set_out.vehicle),
                }
            }));
        }
        if i == 0 {
            (course.first_leg, course.reach_at) = (leg, reach_at);
            course.last_pickup_at = done_at;
        }
        course.done_at = done_at + after;
        here = Anchor { position: call.position, at: course.done_at };
    }
    course
}

/// The route of one order: fetched, then brought.
pub(crate) fn alone(task: Task<'_>) -> Vec<Call<'_>> {
    vec![Call::pickup(task), Call::dropoff(task)]
}

/// Shows every route in which `task` is fetched and brought along with what `calls` are for, as far as `mode` allows; none
/// in which it is simply put behind everything else.
///
/// The number of routes grows with the square of the stops; a route costs no more than moving one of its stops.
pub(crate) fn insertions<'a>(calls: &[Call<'a>], task: Task<'a>, mode: BundleMode, mut show: impl FnMut(&[Call<'a>])) {
    for (pickup, merged) in pickup_places(calls, &task, mode) {
        let mut route = Vec::with_capacity(calls.len() + 2);
        route.extend_from_slice(calls);
        if merged {
            route[pickup].tasks.push(task);
        } else {
            route.insert(pickup, Call::pickup(task));
        }
        let (first, last) = if let BundleMode::Interleaved { .. } = mode {
            (pickup + 1, route.len())
        } else {
            // Among the dropoffs, up to where the next pickups begin.
            let first = first_dropoff(&route, pickup);
            let run = route[first..].iter().take_while(|call| call.kind == StopKind::Dropoff).count();
            (first, first + run)
        };
        route.insert(first, Call::dropoff(task));
        show(&route);
        for dropoff in first..last {
            route.swap(dropoff, dropoff + 1);
            show(&route);
        }
    }
}

fn first_dropoff(calls: &[Call<'_>], from: usize) -> usize {
    calls[from..].iter().position(|call| call.kind == StopKind::Dropoff).map_or(calls.len(), |i| from + i)
}

/// Where on the route the order may be fetched, and whether that is at a stop that is already there.
fn pickup_places(calls: &[Call<'_>], task: &Task<'_>, mode: BundleMode) -> Vec<(usize, bool)> {
    let place = &task.order.pickup;
    let at = place.position;
    let pickups = || calls.iter().enumerate().filter(|(_, call)| call.kind == StopKind::Pickup);
    let is_same = |call: &Call<'_>| call.tasks[0].order.pickup.is_same(place);
    let same = pickups().filter(|(_, call)| is_same(call)).map(|(i, _)| (i, true));
    let near = |within: Meters| move |call: &Call<'_>| call.position.distance(at) <= within;
    match mode {
        BundleMode::Off => Vec::new(),
        // Where the driver stops there anyway, it does not come twice.
        _ if pickups().any(|(_, call)| is_same(call)) => same.collect(),
        BundleMode::SamePickup => Vec::new(),
        BundleMode::Nearby { within } => {
            let beside = pickups().filter(|(_, call)| near(within)(call));
            // A stop the driver stands at comes first.
            let places = beside.flat_map(|(i, call)| [(call.arrived_at.is_none()).then_some(i), Some(i + 1)]);
            let mut all: Vec<_> = places.flatten().collect();
            all.dedup();
            all.into_iter().map(|i| (i, false)).collect()
        }
        BundleMode::Interleaved { within } => {
            let begun = usize::from(calls.first().is_some_and(|call| call.arrived_at.is_some()));
            let none_near = pickups().next().is_some() && !pickups().any(|(_, call)| near(within)(call));
            if none_near { Vec::new() } else { (begun..calls.len()).map(|i| (i, false)).collect() }
        }
    }
}

/// The most units on board at once along the route.
pub(crate) fn peak_units(calls: &[Call<'_>]) -> u32 {
    let units = |call: &Call<'_>| call.tasks.iter().map(|task| u32::from(task.order.units.get())).sum::<u32>();
    let on_board = calls.iter().filter(|call| call.kind == StopKind::Dropoff).flat_map(|call| &call.tasks);
    let begun = on_board.filter(|task| task.picked_up_at.is_some()).map(|task| u32::from(task.order.units.get()));
    let mut load: u32 = begun.sum();
    let mut peak = load;
    for call in calls {
        match call.kind {
            StopKind::Pickup => load += units(call),
            StopKind::Dropoff => load -= units(call),
        }
        peak = peak.max(load);
    }
    peak
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eta::StraightLine;
    use crate::model::OrderId;
    use crate::route::project;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use std::collections::BTreeSet;

    const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    /// A route as what happens where to whom.
    type Shape = Vec<(StopKind, Vec<OrderId>)>;

    fn shape(calls: &[Call<'_>]) -> Shape {
        let ids = |call: &Call<'_>| call.tasks.iter().map(|task| task.order.id.clone()).collect();
        calls.iter().map(|call| (call.kind, ids(call))).collect()
    }

    fn all_insertions<'a>(calls: &[Call<'a>], task: Task<'a>, mode: BundleMode) -> Vec<Vec<Call<'a>>> {
        let mut routes = Vec::new();
        insertions(calls, task, mode, |route| routes.push(route.to_vec()));
        routes
    }

    fn shapes(calls: &[Call<'_>], task: Task<'_>, mode: BundleMode) -> BTreeSet<Vec<(bool, Vec<OrderId>)>> {
        let routes = all_insertions(calls, task, mode);
        let plain = |route: &Vec<Call<'_>>| {
            shape(route).into_iter().map(|(kind, ids)| (kind == StopKind::Pickup, ids)).collect::<Vec<_>>()
        };
        let all: BTreeSet<_> = routes.iter().map(plain).collect();
        assert_eq!(all.len(), routes.len(), "every route once");
        all
    }

    fn without(route: &Shape, id: &OrderId) -> Shape {
        let rest = |(kind, ids): &(StopKind, Vec<OrderId>)| {
            (*kind, ids.iter().filter(|other| *other != id).cloned().collect::<Vec<_>>())
        };
        route.iter().map(rest).filter(|(_, ids)| !ids.is_empty()).collect()
    }

    /// Orders of few pickups, 0 to 3 km apart, and a route of all but the last made by inserting one after the other.
    fn orders() -> impl Strategy<Value = Vec<OrderSpec>> {
        let spec = ((0..4u8, 0..4u8), (0..40u8, 0..40u8));
        proptest::collection::vec(spec, 2..6).prop_map(|specs| {
            let place = |(lat, lng): (u8, u8), step: f64| {
                Position::new(f64::from(lat) * step, f64::from(lng) * step).expect("near zero")
            };
            let order = |(i, (pickup, dropoff)): (usize, _)| {
                OrderSpec::new(OrderId::new(format!("o{i}")).unwrap(), place(pickup, 0.009), place(dropoff, 0.001))
            };
            specs.into_iter().enumerate().map(order).collect()
        })
    }

    fn grown<'a>(tasks: &[Task<'a>], picks: &[Index], mode: BundleMode) -> Vec<Call<'a>> {
        let mut calls = alone(tasks[0]);
        for (task, pick) in tasks[1..].iter().zip(picks) {
            let routes = all_insertions(&calls, *task, mode);
            calls = if routes.is_empty() { [calls, alone(*task)].concat() } else { pick.get(&routes).clone() };
        }
        calls
    }

    proptest! {
        #[test]
        fn an_insertion_fetches_before_it_brings_and_leaves_the_rest_as_it_was(
            specs in orders(), picks in proptest::collection::vec(any::<Index>(), 5), begun in any::<bool>(),
            within in 0..3_000u32,
        ) {
            let travel = StraightLine::default();
            let tasks: Vec<_> = specs.iter().map(|order| Task::new(order, NOW, None, &travel)).collect();
            let (last, others) = tasks.split_last().unwrap();
            let within = Meters::from_m(within);
            let modes =
                [BundleMode::Off, BundleMode::SamePickup, BundleMode::Nearby { within }, BundleMode::Interleaved { within }];
            let mut calls = grown(others, &picks, modes[3]);
            if begun {
                calls[0].arrived_at = Some(NOW);
            }
            let mut fewer = BTreeSet::new();
            for mode in modes {
                let routes = shapes(&calls, *last, mode);
                prop_assert!(fewer.is_subset(&routes), "{mode:?} allows what the modes before it allow");
                fewer = routes;
                for route in all_insertions(&calls, *last, mode) {
                    let shape = shape(&route);
                    let places = |kind| {
                        let here = |(at, ids): &(StopKind, Vec<OrderId>)| *at == kind && ids.contains(&last.order.id);
                        shape.iter().enumerate().filter(|(_, stop)| here(stop)).map(|(i, _)| i).collect::<Vec<_>>()
                    };
                    let (fetched, brought) = (places(StopKind::Pickup), places(StopKind::Dropoff));
                    prop_assert!(fetched.len() == 1 && brought.len() == 1 && fetched < brought);
                    prop_assert!(fetched[0] + 2 < route.len() || brought[0] + 1 < route.len() || route.len() < 4
                        || shape[fetched[0]].1.len() > 1, "not simply put behind everything else");
                    prop_assert_eq!(without(&shape, &last.order.id), self::shape(&calls));
                    if begun {
                        prop_assert_eq!(route[0].arrived_at, Some(NOW), "the driver stays where it is");
                        prop_assert!(route[1..].iter().all(|call| call.arrived_at.is_none()));
                    }
                    let reach = |call: &Call<'_>| call.position.distance(last.order.pickup.position) <= within;
                    prop_assert!(mode.reach().is_some());
                    prop_assert!(calls.iter().any(|call| call.kind == StopKind::Pickup && reach(call)), "{mode:?}");
                }
            }
        }

        #[test]
        fn what_is_planned_is_what_is_projected(
            specs in orders(), picks in proptest::collection::vec(any::<Index>(), 5), ready in 0..60i64, late in 0..9i64,
        ) {
            let travel = StraightLine::default();
            let ready_at = NOW + Millis::from_mins(ready);
            let tasks: Vec<_> = specs.iter().map(|order| Task::new(order, ready_at, None, &travel)).collect();
            let calls = grown(&tasks, &picks, BundleMode::Interleaved { within: Meters::from_km(2) });
            let from = Anchor { position: Position::new(0.01, 0.01).unwrap(), at: NOW - Millis::from_mins(late) };
            let service = crate::config::EngineConfig::default().service;
            let set_out = SetOut { from, there_since: None, vehicle: Vehicle::Van };
            let course = course(&calls, &set_out, NOW, &service, &travel);
            let mut stops: Vec<Stop> = calls.iter().map(Call::to_stop).collect();
            project(&mut stops, from, None, NOW, Vehicle::Van, &service, &travel, |_| ready_at);
            prop_assert_eq!(course.done_at, stops.last().unwrap().leave_at);
            let done = |kind, id: &OrderId| {
                stops.iter().find(|stop| stop.kind == kind && stop.orders.contains(id)).map(|stop| stop.done_at)
            };
            prop_assert_eq!(course.deliveries.len(), specs.len());
            for delivery in &course.deliveries {
                prop_assert_eq!(Some(delivery.pickup_at), done(StopKind::Pickup, &delivery.order.id));
                prop_assert_eq!(Some(delivery.deliver_at), done(StopKind::Dropoff, &delivery.order.id));
            }
            prop_assert_eq!(Some(course.last_pickup_at), stops.iter().rfind(|stop| stop.kind == StopKind::Pickup).map(|stop| stop.done_at));
        }
    }

    #[test]
    fn units_on_board_are_counted_along_the_way() {
        let travel = StraightLine::default();
        let at = |lat: f64| Position::new(lat, 0.0).unwrap();
        let order = |id: &str, units: u16| OrderSpec {
            units: crate::model::Units::new(units).unwrap(),
            ..OrderSpec::new(OrderId::new(id).unwrap(), at(0.0), at(0.01))
        };
        let (a, b) = (order("a", 2), order("b", 3));
        let on_board = Task::new(&a, NOW, Some(NOW), &travel);
        let fetched = Task::new(&b, NOW, None, &travel);
        let brought_first = [Call::dropoff(on_board), Call::pickup(fetched), Call::dropoff(fetched)];
        let fetched_first = [Call::pickup(fetched), Call::dropoff(on_board), Call::dropoff(fetched)];
        assert_eq!((peak_units(&brought_first), peak_units(&fetched_first)), (3, 5));
    }
}
