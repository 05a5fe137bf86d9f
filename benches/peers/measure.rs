//! Passes over all designs, one after the other, so that whatever else the machine does hits all of them.

use crate::designs::Design;
use crate::workload::Fleet;
use dispatch_core::Position;
use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// Updates in a pass, at least; and in one go, at least.
const UPDATES: usize = 1_000_000;
const ROUND: usize = 200_000;

/// Searches in a pass.
const SEARCHES: usize = 20_000;

/// Updates that are timed one by one in a pass.
const TIMED: usize = 20_000;

/// CPU seconds of this thread so far.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// What was measured of a design.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) updates_per_cpu_s: Vec<f64>,
    pub(crate) nearest_per_cpu_s: Vec<f64>,
    pub(crate) update_p99_ns: Vec<f64>,
    pub(crate) nearest_p50_us: Vec<f64>,
    pub(crate) nearest_p99_us: Vec<f64>,
    pub(crate) wrong: usize,
}

/// One pass over all designs.
pub(crate) fn pass(fleet: &mut Fleet, designs: &mut [(Box<dyn Design>, Tally)], checked: usize) {
    let mut spent = vec![0.0; designs.len()];
    let round = ROUND.max(fleet.ids.len());
    let rounds = UPDATES.div_ceil(round);
    for _ in 0..rounds {
        let updates = fleet.drive(round);
        for ((design, _), spent) in designs.iter_mut().zip(&mut spent) {
            *spent += cpu(design.as_mut(), |design| design.update(&updates));
        }
    }
    for ((_, tally), spent) in designs.iter_mut().zip(spent) {
        tally.updates_per_cpu_s.push((rounds * round) as f64 / spent);
    }
    let single = fleet.drive(TIMED);
    for (design, tally) in &mut *designs {
        let times = time_each(&single, |update| design.update(std::slice::from_ref(update)));
        tally.update_p99_ns.push(quantile(times, 0.99));
    }
    let queries = fleet.queries(SEARCHES);
    let right: Vec<_> = queries.iter().take(checked).map(|at| (*at, fleet.nearest(*at))).collect();
    for (design, tally) in designs {
        design.refresh();
        design.prepare(fleet, &queries);
        // Caches are the design's own by then.
        design.search(&queries[..SEARCHES / 10]);
        let spent = cpu(design.as_mut(), |design| _ = design.search(&queries));
        tally.nearest_per_cpu_s.push(SEARCHES as f64 / spent);
        let times = time_each(&queries, |at| _ = design.search(std::slice::from_ref(at)));
        tally.nearest_p50_us.push(quantile(times.clone(), 0.5) / 1e3);
        tally.nearest_p99_us.push(quantile(times, 0.99) / 1e3);
        tally.wrong += wrong(design.as_mut(), &right);
    }
}

fn cpu(design: &mut dyn Design, run: impl FnOnce(&mut dyn Design)) -> f64 {
    let now = |design: &dyn Design| design.cpu_seconds().unwrap_or_else(cpu_seconds);
    let start = now(design);
    run(design);
    now(design) - start
}

/// Nanoseconds of each call, without what looking at the clock takes.
pub(crate) fn time_each<T>(items: &[T], mut call: impl FnMut(&T)) -> Vec<f64> {
    let empty = (0..1_000).map(|_| {
        let start = Instant::now();
        start.elapsed().as_nanos() as f64
    });
    let clock = quantile(empty.collect(), 0.5);
    let time = |item: &T| {
        let start = Instant::now();
        call(item);
        (start.elapsed().as_nanos() as f64 - clock).max(0.0)
    };
    items.iter().map(time).collect()
}

/// How many answers are not the right ones.
fn wrong(design: &mut dyn Design, right: &[(Position, Vec<(u32, f64)>)]) -> usize {
    let is_wrong = |(at, right): &&(Position, Vec<(u32, f64)>)| {
        let Some(found) = design.nearest(*at) else { return false };
        if design.is_exact() {
            return found != *right;
        }
        // Planes and other radii of the earth: the distances are about those.
        let is_near = |(found, right): (&(u32, f64), &(u32, f64))| (found.1 - right.1).abs() <= 2.0 + 0.003 * right.1;
        found.len() != right.len() || !found.iter().zip(right).all(is_near)
    };
    right.iter().filter(is_wrong).count()
}

pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values.to_vec(), 0.5)
}

pub(crate) fn quantile(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}
