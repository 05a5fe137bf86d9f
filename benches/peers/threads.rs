//! Several threads on one index, by the clock on the wall: two writers, and a reader beside a writer.

use crate::designs::Ours;
use crate::measure::{median, quantile, time_each};
use crate::workload::{Fleet, LIMIT, RADIUS, Update};
use dispatch_core::{Fix, IndexBackend, Millis, Position, Positions, Reported};
use serde_json::{Value, json};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

/// Updates of each writer in a pass.
const UPDATES: usize = 1_000_000;

/// Searches that are timed in a pass.
const SEARCHES: usize = 20_000;

/// What threads do to each other, and what a snapshot takes: medians of so many passes.
pub(crate) fn measure(fleet: &mut Fleet, passes: usize) -> Value {
    let ours = Ours::new(fleet, IndexBackend::default(), 1);
    let mut shared = Shared { ours, day: 0 };
    let (mut two_per_one, mut mixed_per_one) = (Vec::new(), Vec::new());
    let (mut beside_per_alone, mut copies) = (Vec::new(), Vec::new());
    let mut positions = Positions::default();
    for _ in 0..passes {
        let one = shared.writers(&[fleet.drive(UPDATES)]);
        let half = fleet.ids.len() / 2;
        let two = [fleet.drive_some(UPDATES, 0..half), fleet.drive_some(UPDATES, half..2 * half)];
        two_per_one.push(shared.writers(&two) / one);
        mixed_per_one.push(shared.writers(&fleet.drive_mixed(UPDATES)) / one);
        let (queries, updates) = (fleet.queries(SEARCHES), fleet.drive(UPDATES));
        let alone = shared.search_p99(&queries);
        beside_per_alone.push(shared.search_p99_beside(&queries, &updates) / alone);
        shared.ours.index.snapshot(&mut positions);
        let start = Instant::now();
        shared.ours.index.snapshot(&mut positions);
        copies.push(start.elapsed().as_secs_f64() * 1e3);
    }
    json!({
        "measure": "threads",
        "drivers": fleet.ids.len(),
        "two_writers_per_one": rounded(median(&two_per_one)),
        "two_mixed_writers_per_one": rounded(median(&mixed_per_one)),
        "nearest_p99_beside_writer_per_alone": rounded(median(&beside_per_alone)),
        "snapshot_copy_ms": rounded(median(&copies)),
    })
}

fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

struct Shared {
    ours: Ours,
    /// Every run of updates is later than those before.
    day: i64,
}

impl Shared {
    /// Reports everything; a fix that is not believed would make it look quick.
    fn report(&self, updates: &[Update]) {
        for (slot, fix) in updates {
            let at = fix.at + Millis::from_mins(24 * 60) * self.day;
            assert_eq!(self.ours.index.report(*slot, Fix { at, ..*fix }, at), Reported::Moved);
        }
    }

    /// Updates a second of all writers together.
    fn writers(&mut self, shares: &[Vec<Update>]) -> f64 {
        self.day += 1;
        let (this, start) = (&*self, Barrier::new(shares.len()));
        let work = |share: &[Update]| {
            start.wait();
            let began = Instant::now();
            this.report(share);
            (began, Instant::now())
        };
        let times: Vec<(Instant, Instant)> = thread::scope(|scope| {
            let started: Vec<_> = shares.iter().map(|share| scope.spawn(|| work(share))).collect();
            started.into_iter().map(|writer| writer.join().expect("a writer ends")).collect()
        });
        let began = times.iter().map(|(began, _)| *began).min().expect("there is a writer");
        let ended = times.iter().map(|(_, ended)| *ended).max().expect("there is a writer");
        let updates: usize = shares.iter().map(Vec::len).sum();
        updates as f64 / (ended - began).as_secs_f64()
    }

    fn search_p99(&self, queries: &[Position]) -> f64 {
        let times =
            time_each(queries, |at| assert!(self.ours.index.nearest(*at, RADIUS, LIMIT, |_| true).len() <= LIMIT));
        quantile(times, 0.99)
    }

    /// The same while another thread reports without a pause.
    fn search_p99_beside(&mut self, queries: &[Position], updates: &[Update]) -> f64 {
        let (ready, done) = (Barrier::new(2), AtomicBool::new(false));
        let mut day = self.day;
        let ours = &*self;
        let p99 = thread::scope(|scope| {
            let writer = scope.spawn(|| {
                ready.wait();
                while !done.load(Ordering::Relaxed) {
                    day += 1;
                    for (slot, fix) in updates {
                        let at = fix.at + Millis::from_mins(24 * 60) * day;
                        assert_eq!(ours.ours.index.report(*slot, Fix { at, ..*fix }, at), Reported::Moved);
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            });
            ready.wait();
            let p99 = ours.search_p99(queries);
            done.store(true, Ordering::Relaxed);
            writer.join().expect("the writer ends");
            p99
        });
        self.day = day;
        p99
    }
}
