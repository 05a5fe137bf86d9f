//! Other designs: what people build from the crates there are, and the limit of what can be built.

use crate::designs::Design;
use crate::workload::{Fleet, LIMIT, RADIUS, Update, is_available, planar};
use dashmap::DashMap;
use dispatch_core::Position;
use h3o::{CellIndex, LatLng, Resolution};
use kiddo::{MutableKdTree, SquaredEuclidean};
use parking_lot::RwLock;
use rstar::RTree;
use rstar::primitives::GeomWithData;
use std::hint::black_box;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};

type Point = GeomWithData<[f64; 2], u32>;

fn tree(points: impl Iterator<Item = Point>) -> RTree<Point> {
    RTree::bulk_load(points.collect())
}

fn points(fleet: &Fleet) -> Vec<[f64; 2]> {
    fleet.fixes.iter().map(|fix| planar(fix.position)).collect()
}

/// One R*-tree behind one lock; whoever is not available is skipped.
pub(crate) struct Rstar {
    tree: RwLock<RTree<Point>>,
    points: Vec<[f64; 2]>,
}

impl Rstar {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let points = points(fleet);
        let entries = points.iter().zip(0..).map(|(point, driver)| Point::new(*point, driver));
        Self { tree: RwLock::new(tree(entries)), points }
    }
}

fn first_within(tree: &RTree<Point>, at: [f64; 2]) -> impl Iterator<Item = (u32, f64)> {
    tree.nearest_neighbor_iter_with_distance_2(at)
        .take_while(|(_, squared)| *squared <= RADIUS.get() * RADIUS.get())
        .filter(|(point, _)| is_available(point.data))
        .map(|(point, squared)| (point.data, squared))
        .take(LIMIT)
}

impl Design for Rstar {
    fn update(&mut self, updates: &[Update]) {
        for (slot, fix) in updates {
            let (driver, to) = (slot.index(), planar(fix.position));
            let from = std::mem::replace(&mut self.points[driver as usize], to);
            let mut tree = self.tree.write();
            tree.remove(&Point::new(from, driver)).expect("the driver is where it was put");
            tree.insert(Point::new(to, driver));
        }
    }

    fn search(&mut self, queries: &[Position]) -> usize {
        let search = |at: &Position| {
            let tree = self.tree.read();
            let found: Vec<(u32, f64)> = first_within(&tree, planar(*at)).collect();
            found.len()
        };
        queries.iter().map(search).sum()
    }

    fn nearest(&mut self, at: Position) -> Option<Vec<(u32, f64)>> {
        Some(first_within(&self.tree.read(), planar(at)).map(|(driver, squared)| (driver, squared.sqrt())).collect())
    }
}

/// One mutable k-d tree behind one lock. It takes no predicate, so that it has only who is available.
pub(crate) struct Kiddo {
    tree: RwLock<MutableKdTree<f64, 2>>,
    points: Vec<[f64; 2]>,
}

impl Kiddo {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let points = points(fleet);
        let mut tree = MutableKdTree::default();
        for (point, driver) in points.iter().zip(0..).filter(|(_, driver)| is_available(*driver)) {
            tree.add(point, driver).expect("points differ");
        }
        Self { tree: RwLock::new(tree), points }
    }

    fn find(&self, at: Position) -> Vec<(u32, f64)> {
        let tree = self.tree.read();
        let found = tree
            .query(&planar(at))
            .nearest_n::<SquaredEuclidean<f64>>(NonZero::new(LIMIT).expect("not zero"))
            .within(RADIUS.get() * RADIUS.get())
            .execute();
        found.into_iter().map(|found| (found.item, found.distance)).collect()
    }
}

impl Design for Kiddo {
    fn update(&mut self, updates: &[Update]) {
        for (slot, fix) in updates {
            let (driver, to) = (slot.index(), planar(fix.position));
            let from = std::mem::replace(&mut self.points[driver as usize], to);
            if is_available(driver) {
                let mut tree = self.tree.write();
                tree.remove(&from, driver);
                tree.add(&to, driver).expect("points differ");
            }
        }
    }

    fn search(&mut self, queries: &[Position]) -> usize {
        queries.iter().map(|at| self.find(*at).len()).sum()
    }

    fn nearest(&mut self, at: Position) -> Option<Vec<(u32, f64)>> {
        Some(self.find(at).into_iter().map(|(driver, squared)| (driver, squared.sqrt())).collect())
    }
}

/// An R*-tree for each H3 cell in a concurrent map: remove from one and insert into another with every fix.
pub(crate) struct RstarDashmap {
    trees: DashMap<CellIndex, RTree<Point>>,
    places: Vec<(CellIndex, [f64; 2])>,
}

/// Cells of 36 km2, 5 km across.
const RESOLUTION: Resolution = Resolution::Six;

fn cell(position: Position) -> CellIndex {
    LatLng::new(position.lat(), position.lng()).expect("a position is finite").to_cell(RESOLUTION)
}

impl RstarDashmap {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let places: Vec<_> = fleet.fixes.iter().map(|fix| (cell(fix.position), planar(fix.position))).collect();
        let trees: DashMap<CellIndex, RTree<Point>> = DashMap::new();
        for ((cell, point), driver) in places.iter().zip(0..) {
            trees.entry(*cell).or_default().insert(Point::new(*point, driver));
        }
        Self { trees, places }
    }

    fn find(&self, at: Position) -> Vec<(u32, f64)> {
        // All cells that the circle may reach, whose centres are up to 10 km away.
        let disk: Vec<CellIndex> = cell(at).grid_disk(2);
        let mut found: Vec<(u32, f64)> = Vec::new();
        for cell in disk {
            if let Some(tree) = self.trees.get(&cell) {
                found.extend(first_within(&tree, planar(at)));
            }
        }
        found.sort_by(|a, b| a.1.total_cmp(&b.1));
        found.truncate(LIMIT);
        found
    }
}

impl Design for RstarDashmap {
    fn update(&mut self, updates: &[Update]) {
        for (slot, fix) in updates {
            let driver = slot.index();
            let to = (cell(fix.position), planar(fix.position));
            let (old, from) = std::mem::replace(&mut self.places[driver as usize], to);
            let mut tree = self.trees.get_mut(&old).expect("the driver's tree is there");
            tree.remove(&Point::new(from, driver)).expect("the driver is where it was put");
            drop(tree);
            self.trees.entry(to.0).or_default().insert(Point::new(to.1, driver));
        }
    }

    fn search(&mut self, queries: &[Position]) -> usize {
        queries.iter().map(|at| self.find(*at).len()).sum()
    }

    fn nearest(&mut self, at: Position) -> Option<Vec<(u32, f64)>> {
        Some(self.find(at).into_iter().map(|(driver, squared)| (driver, squared.sqrt())).collect())
    }
}

/// What no index can beat: a store of 8 bytes for an update, without any check, and for a search a look at the 20 right
/// drivers and no others.
pub(crate) struct Limit {
    words: Vec<AtomicU64>,
    answers: Vec<Vec<u32>>,
}

impl Limit {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        Self { words: fleet.fixes.iter().map(|_| AtomicU64::new(0)).collect(), answers: Vec::new() }
    }
}

impl Design for Limit {
    fn update(&mut self, updates: &[Update]) {
        for (slot, fix) in updates {
            self.words[slot.index() as usize].store(fix.at.as_millis() as u64, Ordering::Relaxed);
        }
    }

    fn prepare(&mut self, fleet: &Fleet, queries: &[Position]) {
        let slots = |at: &Position| fleet.nearest(*at).into_iter().map(|(driver, _)| driver).collect();
        // As many as show what it takes; each is looked at several times.
        self.answers = queries.iter().take(200).map(slots).collect();
    }

    fn search(&mut self, queries: &[Position]) -> usize {
        let look = |(slots, _): (&Vec<u32>, &Position)| {
            let words = slots.iter().map(|slot| self.words[*slot as usize].load(Ordering::Relaxed));
            black_box(words.fold(0, u64::wrapping_add));
            slots.len()
        };
        self.answers.iter().cycle().zip(queries).map(look).sum()
    }

    fn nearest(&mut self, _: Position) -> Option<Vec<(u32, f64)>> {
        None
    }
}
