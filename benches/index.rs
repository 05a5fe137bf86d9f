//! How long the calls of the position index take, with each of its structures and in its snapshot.
//!
//! 30,000 drivers around 40 spots of a city of 40 x 40 km, three of four available.

use criterion::{Criterion, criterion_group, criterion_main};
use dispatch_core::{
    ANYWHERE, DriverId, Fix, FixRules, IndexBackend, Meters, Millis, Position, PositionIndex, Positions, Reported,
    Slot, Timestamp,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::hint::black_box;

const DRIVERS: usize = 30_000;
const SPOTS: usize = 40;
const LIMIT: usize = 20;

/// An index, its drivers, and what comes next.
struct City {
    index: PositionIndex,
    drivers: Vec<(Slot, Fix)>,
    random: Pcg64Mcg,
}

impl City {
    fn new(backend: IndexBackend) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let index = PositionIndex::new(FixRules { backend, ..FixRules::default() }).expect("the rules are valid");
        let spots: Vec<(f64, f64)> =
            (0..SPOTS).map(|_| (random.random_range(52.32..52.68), random.random_range(13.1..13.7))).collect();
        let at = Timestamp::from_millis(1_750_000_000_000);
        let mut drivers = Vec::new();
        for n in 0..DRIVERS {
            let (lat, lng) = spots[n % SPOTS];
            let (north, east): (f64, f64) = (random.random_range(-0.01..0.01), random.random_range(-0.016..0.016));
            let position = Position::new(lat + north, lng + east).expect("a city is on the earth");
            let slot = index.slot(&DriverId::new(format!("driver-{n}")).expect("a valid id")).expect("there is room");
            index.set_available(slot, n % 4 != 3);
            let fix = Fix { position, at };
            assert_eq!(index.report(slot, fix, at), Reported::Moved);
            drivers.push((slot, fix));
        }
        Self { index, drivers, random }
    }

    /// Moves one driver about 20 m on.
    fn step(&mut self) -> Reported {
        let n = self.random.random_range(0..DRIVERS);
        let (slot, fix) = &mut self.drivers[n];
        let (north, east) = (self.random.random_range(-2e-4..2e-4), self.random.random_range(-3e-4..3e-4));
        let (lat, lng) = (fix.position.lat() + north, fix.position.lng() + east);
        *fix = Fix { position: Position::new(lat, lng).expect("in the city"), at: fix.at + Millis::from_secs(1) };
        self.index.report(*slot, *fix, fix.at)
    }

    /// A place to search from.
    fn place(&mut self) -> Position {
        self.drivers[self.random.random_range(0..DRIVERS)].1.position
    }
}

fn index(criterion: &mut Criterion) {
    for (name, backend) in [("grid", IndexBackend::Grid), ("rtree", IndexBackend::RTree)] {
        let mut city = City::new(backend);
        let mut group = criterion.benchmark_group(name);
        group.bench_function("report", |bencher| bencher.iter(|| assert_eq!(city.step(), Reported::Moved)));
        for (what, radius) in [("within 5 km", Meters::from_km(5)), ("anywhere", ANYWHERE)] {
            group.bench_function(format!("nearest {LIMIT} {what}"), |bencher| {
                bencher.iter(|| {
                    let at = city.place();
                    black_box(city.index.nearest(at, radius, LIMIT, |_| true).len())
                });
            });
        }
        let mut positions = Positions::default();
        group.bench_function("snapshot", |bencher| bencher.iter(|| city.index.snapshot(&mut positions)));
        group.finish();
    }
}

fn snapshot(criterion: &mut Criterion) {
    let mut city = City::new(IndexBackend::default());
    let mut positions = Positions::default();
    city.index.snapshot(&mut positions);
    let mut group = criterion.benchmark_group("snapshot");
    group.bench_function(format!("nearest {LIMIT} within 5 km"), |bencher| {
        bencher.iter(|| {
            let at = city.place();
            black_box(positions.nearest(at, Meters::from_km(5), LIMIT, |_| true).len())
        });
    });
    group.bench_function("copied, and searched once", |bencher| {
        bencher.iter(|| {
            city.index.snapshot(&mut positions);
            let at = city.place();
            black_box(positions.nearest(at, Meters::from_km(5), LIMIT, |_| true).len())
        });
    });
    group.finish();
}

/// 100,000 drivers in 300 towns of a country of 3,000 x 1,600 km, searched from anywhere in it without a radius.
fn country(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("country");
    for (name, backend) in [("grid", IndexBackend::Grid), ("rtree", IndexBackend::RTree)] {
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let mut anywhere = move |off: f64| {
            let (lat, lng) = (random.random_range(41.0..55.0), random.random_range(47.0..87.0));
            let (north, east) = (random.random_range(-off..off), random.random_range(-off..off));
            (Position::new(lat, lng).expect("a country is on the earth"), north, east)
        };
        let index = PositionIndex::new(FixRules { backend, ..FixRules::default() }).expect("the rules are valid");
        let at = Timestamp::from_millis(1_750_000_000_000);
        let towns: Vec<Position> = (0..300).map(|_| anywhere(1.0).0).collect();
        for n in 0..100_000 {
            let (town, (_, north, east)) = (towns[n % towns.len()], anywhere(0.05));
            let position = Position::new(town.lat() + north, town.lng() + east).expect("a town is on the earth");
            let slot = index.slot(&DriverId::new(format!("driver-{n}")).expect("a valid id")).expect("there is room");
            assert_eq!(index.report(slot, Fix { position, at }, at), Reported::Moved);
        }
        group.bench_function(format!("{name}: nearest {LIMIT}"), |bencher| {
            bencher.iter(|| black_box(index.nearest(anywhere(1.0).0, ANYWHERE, LIMIT, |_| true).len()));
        });
    }
    group.finish();
}

criterion_group!(benches, index, snapshot, country);
criterion_main!(benches);
