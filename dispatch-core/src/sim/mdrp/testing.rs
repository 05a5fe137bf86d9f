//! What the tests of this module share: a day small enough to count by hand, a policy for real ones, the real ones.

use super::*;
use crate::model::{DriverId, OrderId, PlaceId};
use std::io::Write;
use std::path::PathBuf;

pub(super) const SMALL: InstanceFiles<'static> = InstanceFiles {
    orders: "order\tx\ty\tplacement_time\trestaurant\tready_time\n\
             o1\t0\t300\t5\tr1\t15\n\
             o2\t400\t300\t6\tr1\t18\n\
             o3\t1000\t250\t8\tr2\t20\n\
             o4\t1000\t400\t30\tr2\t36\n\
             o5\t-9000\t0\t70\tr2\t95\n",
    restaurants: "restaurant\tx\ty\nr1\t0\t0\nr2\t1000\t0\n",
    couriers: "courier\tx\ty\ton_time\toff_time\nc1\t0\t500\t0\t100\nc2\t1000\t1000\t10\t60\n",
    instance_parameters: "meters_per_minute\tpickup service minutes\tdropoff service minutes\ttarget click-to-door\t\
                          maximum click-to-door\tpay per order\tguaranteed pay per hour\n\
                          100\t4\t4\t25\t90\t10\t15\n",
};

pub(super) fn small_instance() -> Instance {
    Instance::parse("small", &SMALL).unwrap()
}

/// A day of [`small_instance`] worked out by hand. The first courier is sent to r1 before it has an order, fetches a
/// bundle of two there and is assigned its next order while it still delivers; the second waits at r1 in the end.
pub(super) fn small_solution() -> Solution {
    let files = SolutionFiles {
        assignments: "assignment_time pickup_time courier orders\n6 18 c1 o1 o2\n12 24 c2 o3\n30 44 c1 o4\n".into(),
        orders: "order placement_time ready_time pickup_time dropoff_time courier\n\
                 o1 5 15 18 25 c1\no2 6 18 18 33 c1\no3 8 20 24 31 c2\no4 30 36 44 52 c1\n"
            .into(),
        couriers: "courier departure_time origin destination\n\
                   c1 0 0 r1\nc1 20 r1 o1\nc1 27 o1 o2\nc1 35 o2 r2\nc1 46 r2 o4\n\
                   c2 12 0 r2\nc2 26 r2 o3\nc2 40 o3 r1\n"
            .into(),
    };
    Solution::parse(&small_instance(), &files).unwrap()
}

pub(super) fn courier(id: &str) -> DriverId {
    DriverId::new(id).unwrap()
}

pub(super) fn order(id: &str) -> OrderId {
    OrderId::new(id).unwrap()
}

pub(super) fn restaurant(id: &str) -> PlaceId {
    PlaceId::new(id).unwrap()
}

/// The folders of the public instances, in sequence of their names; empty, and said so, where they are not at hand.
pub(super) fn public_instances() -> Vec<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/mdrp");
    let Ok(entries) = std::fs::read_dir(&root) else {
        // Not by `eprintln`, which the test harness swallows when the test passes.
        writeln!(std::io::stderr(), "SKIPPED: the public MDRP instances are not at {}", root.display()).unwrap();
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    assert!(!dirs.is_empty(), "no instance in {}", root.display());
    dirs
}

/// A courier between two assignments of [`greedy`].
struct Idle<'a> {
    courier: &'a Courier,
    at: Point,
    location: Location,
    free: Minute,
}

/// Each order, in sequence of placement, to the courier who can fetch it first, at most two of a restaurant at a time.
/// Couriers go to the nearest restaurant as soon as their shift begins.
pub(super) fn greedy(instance: &Instance) -> Solution {
    let mut solution = Solution::default();
    let mut idle: Vec<Idle<'_>> =
        instance.couriers().iter().map(|courier| begin_shift(instance, courier, &mut solution)).collect();
    let mut orders: Vec<&Order> = instance.orders().iter().collect();
    orders.sort_by_key(|order| (order.placement, order.restaurant));
    for bundle in orders.chunk_by(|a, b| (a.placement, a.restaurant) == (b.placement, b.restaurant)) {
        for bundle in bundle.chunks(2) {
            let restaurant = instance.restaurant_of(bundle[0]);
            let pickup = |one: &Idle<'_>| {
                let departure = one.free.max(bundle[0].placement);
                let arrival = departure + instance.travel().minutes(one.at, restaurant.at);
                let ready = bundle.iter().map(|order| order.ready).max().unwrap();
                (ready.max(arrival + instance.parameters().half_pickup()), departure)
            };
            let in_time = idle.iter_mut().filter(|one| pickup(one).0 <= one.courier.off);
            if let Some(best) = in_time.min_by_key(|one| pickup(one)) {
                let (pickup, departure) = pickup(best);
                fetch(instance, &mut solution, best, bundle, (departure, pickup));
            }
        }
    }
    solution
}

fn begin_shift<'a>(instance: &Instance, courier: &'a Courier, solution: &mut Solution) -> Idle<'a> {
    let minutes = |restaurant: &&Restaurant| instance.travel().minutes(courier.at, restaurant.at);
    let nearest = instance.restaurants().iter().min_by_key(minutes).unwrap();
    let location = Location::Restaurant(nearest.id.clone());
    let (origin, destination) = (Location::Start, location.clone());
    solution.moves.push(Move { courier: courier.id.clone(), departure: courier.on, origin, destination });
    Idle { courier, at: nearest.at, location, free: courier.on + minutes(&nearest) }
}

fn fetch(instance: &Instance, solution: &mut Solution, by: &mut Idle<'_>, bundle: &[&Order], times: (Minute, Minute)) {
    let (parameters, (departure, pickup)) = (instance.parameters(), times);
    let courier = &by.courier.id;
    let restaurant = instance.restaurant_of(bundle[0]);
    let mut go = |from: &mut Location, to: Location, departure| {
        let origin = std::mem::replace(from, to.clone());
        solution.moves.push(Move { courier: courier.clone(), departure, origin, destination: to });
    };
    let to = Location::Restaurant(restaurant.id.clone());
    if by.location != to {
        go(&mut by.location, to, departure);
    }
    (by.at, by.free) = (restaurant.at, pickup + parameters.half_pickup());
    for order in bundle {
        go(&mut by.location, Location::Customer(order.id.clone()), by.free);
        let dropoff = by.free + instance.travel().minutes(by.at, order.at) + parameters.half_dropoff();
        (by.at, by.free) = (order.at, dropoff + parameters.half_dropoff());
        let (placement, ready, courier) = (order.placement, order.ready, courier.clone());
        solution.orders.push(DeliveredOrder { order: order.id.clone(), placement, ready, pickup, dropoff, courier });
    }
    let ids = bundle.iter().map(|order| order.id.clone()).collect();
    solution.assignments.push(Assignment { assigned: departure, pickup, courier: courier.clone(), bundle: ids });
}
