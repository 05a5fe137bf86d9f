//! Our index, as everybody uses it.

use crate::workload::{Fleet, LIMIT, RADIUS, Update, is_available};
use dispatch_core::{DriverId, FixRules, IndexBackend, Meters, Position, PositionIndex, Positions, Reported};
use std::sync::Arc;

/// A design of a position index. Everything is done in bulk, so that nothing but the design is measured.
pub(crate) trait Design {
    /// Takes in fixes.
    fn update(&mut self, updates: &[Update]);

    /// Searches, and says how many drivers were found.
    fn search(&mut self, queries: &[Position]) -> usize;

    /// The drivers found by one search, nearest first, with distances in metres; `None` if it only looks busy.
    fn nearest(&mut self, at: Position) -> Option<Vec<(u32, f64)>>;

    /// Is told what will be searched for.
    fn prepare(&mut self, _fleet: &Fleet, _queries: &[Position]) {}

    /// Prepares for searches after updates.
    fn refresh(&mut self) {}

    /// CPU seconds of whoever does the work, if that is another process.
    fn cpu_seconds(&self) -> Option<f64> {
        None
    }

    /// Bytes in use, if the memory is another process's.
    fn bytes(&mut self) -> Option<f64> {
        None
    }

    /// Whether answers have to be right to the last digit.
    fn is_exact(&self) -> bool {
        false
    }
}

/// Fixes in one call, unless they are reported one by one.
pub(crate) const BATCH: usize = 100;

/// The public calls of [`PositionIndex`].
pub(crate) struct Ours {
    pub(crate) index: PositionIndex,
    ids: Arc<[DriverId]>,
    /// Fixes reported in one call.
    at_once: usize,
}

impl Ours {
    pub(crate) fn new(fleet: &Fleet, backend: IndexBackend, at_once: usize) -> Self {
        let rules = FixRules { backend, max_drivers: fleet.ids.len() as u32, ..FixRules::default() };
        let index = PositionIndex::new(rules).expect("the rules are valid");
        for ((id, fix), driver) in fleet.ids.iter().zip(&fleet.fixes).zip(0..) {
            let slot = index.slot(id).expect("there is room for all");
            index.set_available(slot, is_available(driver));
            assert_eq!(index.report(slot, *fix, fix.at), Reported::Moved);
        }
        Self { index, ids: fleet.ids.clone(), at_once }
    }
}

impl Design for Ours {
    fn update(&mut self, updates: &[Update]) {
        let mut moved = 0;
        if self.at_once == 1 {
            for &(slot, fix) in updates {
                moved += usize::from(self.index.report(slot, fix, fix.at) == Reported::Moved);
            }
            assert_eq!(moved, updates.len());
            return;
        }
        for batch in updates.chunks(self.at_once) {
            let now = batch.last().expect("a chunk is not empty").1.at;
            self.index.report_all(batch, now, |_, reported| moved += usize::from(reported == Reported::Moved));
        }
        assert_eq!(moved, updates.len());
    }

    fn search(&mut self, queries: &[Position]) -> usize {
        queries.iter().map(|at| self.index.nearest(*at, RADIUS, LIMIT, |_| true).len()).sum()
    }

    fn nearest(&mut self, at: Position) -> Option<Vec<(u32, f64)>> {
        let found = self.index.nearest(at, RADIUS, LIMIT, |_| true);
        Some(named(found.into_iter().map(|(slot, distance)| (self.index.driver(slot), distance)), &self.ids))
    }

    fn is_exact(&self) -> bool {
        true
    }
}

fn named<'a>(found: impl Iterator<Item = (&'a DriverId, Meters)>, ids: &[DriverId]) -> Vec<(u32, f64)> {
    let number =
        |id: &DriverId| id.as_str().strip_prefix("driver-").and_then(|n| n.parse().ok()).expect("ids are numbered");
    found
        .map(|(id, distance)| {
            assert_eq!(ids[number(id) as usize], *id);
            (number(id), distance.get())
        })
        .collect()
}

/// The copy a window is decided on.
pub(crate) struct Snapshot {
    pub(crate) ours: Ours,
    pub(crate) positions: Positions,
}

impl Design for Snapshot {
    fn update(&mut self, updates: &[Update]) {
        self.ours.update(updates);
    }

    fn search(&mut self, queries: &[Position]) -> usize {
        queries.iter().map(|at| self.positions.nearest(*at, RADIUS, LIMIT, |_| true).len()).sum()
    }

    fn nearest(&mut self, at: Position) -> Option<Vec<(u32, f64)>> {
        Some(named(self.positions.nearest(at, RADIUS, LIMIT, |_| true).into_iter(), &self.ours.ids))
    }

    fn refresh(&mut self) {
        self.ours.index.snapshot(&mut self.positions);
        // The first search builds what the others use.
        self.positions.nearest(
            self.positions.iter().next().expect("the fleet has fixes").1.position,
            RADIUS,
            1,
            |_| true,
        );
    }

    fn is_exact(&self) -> bool {
        true
    }
}
