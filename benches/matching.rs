//! How long the optimal pairing of orders and drivers takes.
//!
//! Orders and drivers are spread over a square, each order knows its 20 nearest drivers, and a cost is their distance.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dispatch_core::Pairing;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::hint::black_box;

const CANDIDATES: usize = 20;

/// A seeded problem with its rows in random sequence.
fn problem(orders: usize, drivers: usize) -> Pairing {
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let mut point = || (random.random_range(0..40_000i64), random.random_range(0..40_000i64));
    let drivers: Vec<_> = (0..drivers).map(|_| point()).collect();
    let mut pairing = Pairing::new(drivers.len());
    for _ in 0..orders {
        let (x, y) = point();
        let distance = |&(dx, dy): &(i64, i64)| (x - dx).pow(2) + (y - dy).pow(2);
        let mut near: Vec<(u32, i64)> = (0..).zip(drivers.iter().map(distance)).collect();
        let last = CANDIDATES.min(near.len()) - 1;
        near.select_nth_unstable_by_key(last, |&(_, squared)| squared);
        near.truncate(CANDIDATES);
        pairing.push_row(near.into_iter().map(|(driver, squared)| (driver, squared.isqrt())), 1_000_000);
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
}

criterion_group!(benches, pairing);
criterion_main!(benches);
