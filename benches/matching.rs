//! How long it takes to decide: the optimal pairing alone, and a whole window of the engine.
//!
//! Orders and drivers are spread over a square of 40 km. In the pairing each order knows its 20 nearest drivers and a cost
//! is their distance; a dense peer (`pathfinding`, Kuhn-Munkres) solves the same problem. The window begins with orders
//! nobody has looked at and ends with offers, holds and the reasons for them.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dispatch_core::{
    Action, DriverId, DriverSpec, Engine, EngineConfig, Fix, Millis, OrderId, OrderSpec, Pairing, Position, Positions,
    Role, Snapshot, StartOn, StraightLine, Timestamp, Units,
};
use pathfinding::kuhn_munkres::kuhn_munkres_min;
use pathfinding::matrix::Matrix;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::hint::black_box;
use std::sync::Arc;

const CANDIDATES: usize = 20;

/// For each order its nearest drivers and their distances in metres, orders in random sequence.
fn near(orders: usize, drivers: usize) -> Vec<Vec<(u32, i64)>> {
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let mut point = || (random.random_range(0..40_000i64), random.random_range(0..40_000i64));
    let drivers: Vec<_> = (0..drivers).map(|_| point()).collect();
    let mut row = || {
        let (x, y) = point();
        let distance = |&(dx, dy): &(i64, i64)| ((x - dx).pow(2) + (y - dy).pow(2)).isqrt();
        let mut near: Vec<(u32, i64)> = (0..).zip(drivers.iter().map(distance)).collect();
        let last = CANDIDATES.min(near.len()) - 1;
        near.select_nth_unstable_by_key(last, |&(_, distance)| distance);
        near.truncate(CANDIDATES);
        near
    };
    (0..orders).map(|_| row()).collect()
}

/// What it costs to leave an order out.
const UNMATCHED: i64 = 1_000_000;

fn problem(orders: usize, drivers: usize) -> Pairing {
    let mut pairing = Pairing::new(drivers);
    for row in near(orders, drivers) {
        pairing.push_row(row, UNMATCHED);
    }
    pairing
}

fn pairing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pairing");
    for (orders, drivers) in [(500, 2_000), (500, 400), (2_000, 2_000), (5_000, 20_000)] {
        let problem = problem(orders, drivers);
        assert!(problem.solve(u64::MAX).optimal);
        group.bench_function(format!("{orders}x{drivers}"), |bencher| {
            bencher.iter_batched(|| &problem, |problem| black_box(problem.solve(u64::MAX)), BatchSize::SmallInput);
        });
    }
    let (orders, drivers) = (500, 2_000);
    let mut dense = Matrix::new(orders, drivers, UNMATCHED);
    for (order, row) in near(orders, drivers).into_iter().enumerate() {
        for (driver, cost) in row {
            dense[(order, driver as usize)] = cost;
        }
    }
    assert_eq!(kuhn_munkres_min(&dense).0, problem(orders, drivers).solve(u64::MAX).total, "both are optimal");
    group.sample_size(10);
    group.bench_function(format!("pathfinding {orders}x{drivers}"), |bencher| {
        bencher.iter(|| black_box(kuhn_munkres_min(&dense)));
    });
}

const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// A market with this many orders to be decided for the first time, and where its free drivers are.
fn market(orders: usize, drivers: usize) -> (Snapshot, Positions) {
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let mut place =
        || Position::new(random.random_range(0.0..0.36), random.random_range(0.0..0.36)).expect("near zero");
    let config = EngineConfig { start_on: StartOn::Placed, ..EngineConfig::default() };
    let mut engine = Engine::new(config, StraightLine::default()).expect("the default rules are valid");
    let mut handle = |action: Action, role| engine.handle(START, action.by(role)).expect("nothing stands against it");
    let fixes: Vec<(DriverId, Fix)> = (0..drivers)
        .map(|i| {
            let driver = DriverId::new(format!("driver-{i}")).expect("a short name");
            let spec = DriverSpec { capacity: Units::new(3).expect("not zero"), ..DriverSpec::new(driver.clone()) };
            handle(Action::RegisterDriver(spec), Role::Driver);
            handle(Action::StartShift { driver: driver.clone(), until: None }, Role::Driver);
            (driver, Fix { position: place(), at: START })
        })
        .collect();
    let pickups: Vec<Position> = (0..orders / 3).map(|_| place()).collect();
    for (i, seconds) in (0..orders).zip((0..900).cycle()) {
        let id = OrderId::new(format!("order-{i}")).expect("a short name");
        let mut spec = OrderSpec::new(id, pickups[i % pickups.len()], place());
        spec.preparation = Some(Millis::from_secs(seconds));
        handle(Action::SubmitOrder(spec), Role::Customer);
    }
    (engine.snapshot(), Positions::from_fixes(fixes))
}

fn window(criterion: &mut Criterion) {
    let (snapshot, positions) = market(500, 2_000);
    let travel = Arc::new(StraightLine::default());
    let engine = || Engine::restore(travel.clone(), Vec::new(), snapshot.clone(), []).expect("it was an engine before");
    let decided = engine().advance(START, &positions).len();
    assert!(decided > 400, "every order is offered, bundled or held: {decided}");
    criterion.bench_function("window/500x2000", |bencher| {
        bencher.iter_batched_ref(engine, |engine| black_box(engine.advance(START, &positions)), BatchSize::LargeInput);
    });
}

criterion_group!(benches, pairing, window);
criterion_main!(benches);
