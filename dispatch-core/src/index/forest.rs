//! The available drivers in R*-trees: one tree with one lock for each H3 cell that has any.
//!
//! A tree has every driver at the middle of a small cell that it is in or near, and changes only when it has left that;
//! searches reach so much further. A reader locks one shard at a time, and looks at the end whether any that it read has
//! changed since: if not, it has seen one instant.
//!
//! Locks are taken in one order: the directory's, shards' by cell, drivers' records. Searches have no further locks.

use super::ball::{Ball, Centre};
use super::chunks::Table;
use super::drivers::Drivers;
use super::place::{CellId, Place, TURN};
use super::search::{Field, Found};
use crate::geo::{EARTH_RADIUS_M, MAX_LAT_E7, MAX_LNG_E7, Position, STEP_RAD, chord_squared, meters_to_chord};
use crate::units::Meters;
use h3o::{CellIndex, LatLng, Resolution};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use rstar::{AABB, PointDistance, RTree, RTreeObject};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// H3 cells of 250 km²: a city has several, a search of 5 km reaches about six.
const RESOLUTION: Resolution = Resolution::Five;

/// No point of an H3 cell is further from its centre; the furthest are 10.8 km.
const SHARD_RADIUS: f64 = 12_000.0;

/// The size of the cells in whose middle drivers are listed, as a power of two: 364 m.
const BITS: u32 = 15;

/// Next to the poles they are not wider than this.
const MOST_WIDENING: u32 = 7;

/// No driver is further from the middle of its cell, in metres: half the diagonal of a cell with its slack.
const REACH: f64 = 550.0;

/// Square metres of an average shard, and of the largest circle that a search begins with.
const SHARD_AREA: f64 = 250e6;
const LEAST_AREA: f64 = 20e6;

/// Drivers stand so much closer to each other, where there are any, than on the average of their shard.
const CLUSTERING: f64 = 4.0;

/// How many shards there may be before empty ones are looked for.
const FIRST_SWEEP: usize = 1_024;

/// A point of the unit sphere and what is there.
#[derive(Clone, Debug, PartialEq)]
struct Entry<T> {
    unit: [f64; 3],
    what: T,
}

impl<T> RTreeObject for Entry<T> {
    type Envelope = AABB<[f64; 3]>;

    fn envelope(&self) -> Self::Envelope {
        AABB::from_point(self.unit)
    }
}

impl<T> PointDistance for Entry<T> {
    fn distance_2(&self, point: &[f64; 3]) -> f64 {
        chord_squared(self.unit, *point)
    }
}

/// The drivers listed within one H3 cell.
struct Shard {
    number: u32,
    cell: CellIndex,
    centre: [f64; 3],
    /// The squared chord within which everything is in the cell.
    inside: f64,
    slots: RwLock<RTree<Entry<u32>>>,
    /// How often it was changed.
    edits: AtomicU64,
}

#[derive(Default)]
struct Directory {
    by_cell: BTreeMap<CellIndex, Arc<Shard>>,
    by_number: Vec<Option<Arc<Shard>>>,
    by_centre: RTree<Entry<Arc<Shard>>>,
    /// Empty shards are dropped when there are this many: drivers that roam the earth must not fill the memory.
    sweep_at: usize,
}

pub(super) struct Forest {
    directory: RwLock<Directory>,
    /// The number of the shard that lists a driver; of no meaning if none does.
    shards: Table<AtomicU32>,
}

impl Forest {
    /// An empty one for up to `limit` drivers.
    pub(super) fn new(limit: u32) -> Self {
        let directory = Directory { sweep_at: FIRST_SWEEP, ..Directory::default() };
        Self { directory: RwLock::new(directory), shards: Table::new(limit) }
    }

    /// The cell that would list a driver at `place`.
    pub(super) fn cell_for(place: Place) -> CellId {
        let CellId { widening, row, .. } = CellId::of(place, BITS);
        let widening = widening.min(MOST_WIDENING);
        CellId { bits: BITS, widening, row, col: place.lng() >> (BITS + widening) }
    }

    /// Lists a driver in another cell, in one or in none, if `commit` says that nothing has changed meanwhile: it writes the
    /// driver's record, and does what it is given while it has it. Otherwise it is `false`, and to be tried anew.
    pub(super) fn relocate(
        &self,
        slot: u32,
        from: Option<CellId>,
        to: Option<CellId>,
        commit: impl FnOnce(&mut dyn FnMut()) -> bool,
    ) -> bool {
        let number = self.shards.get_or_make(slot, || AtomicU32::new(0));
        let mut directory = self.directory.read();
        let old = from.and_then(|_| directory.by_number.get(number.load(Ordering::Acquire) as usize)?.clone());
        if old.is_none() && from.is_some() {
            // It has been moved since, and its shard dropped.
            return false;
        }
        let to = to.map(middle);
        let entry = |position: Position| Entry { unit: position.unit_vector(), what: slot };
        let (leaving, coming) = (from.map(middle).map(entry), to.map(entry));
        let near = |coming: &Entry<u32>| old.clone().filter(|old| coming.distance_2(&old.centre) < old.inside);
        let mut new = coming.as_ref().and_then(near);
        if let (Some(to), None) = (to, &new) {
            let cell = to.cell(RESOLUTION);
            if !directory.by_cell.contains_key(&cell) {
                drop(directory);
                directory = self.directory_with(cell);
            }
            new = directory.by_cell.get(&cell).cloned();
        }
        let mut locked = Locked::both(old.as_deref(), new.as_deref());
        let mut note = || new.iter().for_each(|new| number.store(new.number, Ordering::Release));
        if !commit(&mut note) {
            return false;
        }
        if let Some(leaving) = leaving {
            locked.left().remove(&leaving).expect("a driver is listed in the cell that its stamp names");
        }
        if let Some(coming) = coming {
            locked.entered().insert(coming);
        }
        // Who holds the directory keeps it from dropping what was locked.
        drop((locked, directory));
        true
    }

    /// The directory, which has a shard for `cell` as long as the guard lives.
    fn directory_with(&self, cell: CellIndex) -> RwLockReadGuard<'_, Directory> {
        let mut directory = self.directory.write();
        directory.add(cell);
        RwLockWriteGuard::downgrade(directory)
    }
}

/// The trees of the shards that a driver leaves and comes to, which may be one.
struct Locked<'a> {
    trees: [Option<RwLockWriteGuard<'a, RTree<Entry<u32>>>>; 2],
    old: usize,
    new: usize,
}

impl<'a> Locked<'a> {
    fn both(old: Option<&'a Shard>, new: Option<&'a Shard>) -> Self {
        let lock = |shard: Option<&'a Shard>| {
            let tree = shard?.slots.write();
            // Readers of the tree as it was find out.
            shard?.edits.fetch_add(1, Ordering::Release);
            Some(tree)
        };
        match (old, new) {
            (Some(old), Some(new)) if old.cell == new.cell => Self { trees: [lock(Some(old)), None], old: 0, new: 0 },
            (Some(a), Some(b)) if b.cell < a.cell => Self { trees: [lock(new), lock(old)], old: 1, new: 0 },
            _ => Self { trees: [lock(old), lock(new)], old: 0, new: 1 },
        }
    }

    fn left(&mut self) -> &mut RTree<Entry<u32>> {
        self.trees[self.old].as_mut().expect("the shard that is left was locked")
    }

    fn entered(&mut self) -> &mut RTree<Entry<u32>> {
        self.trees[self.new].as_mut().expect("the shard that is come to was locked")
    }
}

impl Directory {
    fn add(&mut self, cell: CellIndex) {
        // Another thread may have come first.
        if self.by_cell.contains_key(&cell) {
            return;
        }
        if self.by_cell.len() >= self.sweep_at {
            self.sweep();
        }
        let free = self.by_number.iter().position(Option::is_none);
        let number = free.unwrap_or(self.by_number.len());
        if free.is_none() {
            self.by_number.push(None);
        }
        let shard = Arc::new(Shard::new(number as u32, cell));
        self.by_number[number] = Some(Arc::clone(&shard));
        self.by_centre.insert(Entry { unit: shard.centre, what: Arc::clone(&shard) });
        self.by_cell.insert(cell, shard);
    }

    /// Drops empty shards. Nothing is being put into one: whoever does that holds the directory.
    fn sweep(&mut self) {
        self.by_cell.retain(|_, shard| shard.slots.read().size() > 0);
        self.by_number.fill(None);
        for shard in self.by_cell.values() {
            self.by_number[shard.number as usize] = Some(Arc::clone(shard));
        }
        let entry = |shard: &Arc<Shard>| Entry { unit: shard.centre, what: Arc::clone(shard) };
        self.by_centre = RTree::bulk_load(self.by_cell.values().map(entry).collect());
        self.sweep_at = FIRST_SWEEP.max(2 * self.by_cell.len());
    }
}

impl Shard {
    fn new(number: u32, cell: CellIndex) -> Self {
        let position = |at: LatLng| Position::new(at.lat(), at.lng()).expect("a corner of a cell is a coordinate");
        let centre = position(LatLng::from(cell)).unit_vector();
        let corners: Vec<_> = cell.boundary().iter().map(|corner| position(*corner).unit_vector()).collect();
        // Sides bend a little inwards.
        let side = |(a, b): (&[f64; 3], &[f64; 3])| {
            let middle = [a[0] + b[0], a[1] + b[1], a[2] + b[2]].map(|sum| sum / 2.0);
            chord_squared(middle, centre) * 0.95
        };
        let inside = corners.iter().zip(corners.iter().cycle().skip(1)).map(side).fold(f64::MAX, f64::min);
        Self { number, cell, centre, inside, slots: RwLock::new(RTree::new()), edits: AtomicU64::new(0) }
    }
}

/// Where a driver is listed that is in or near a cell.
fn middle(cell: CellId) -> Position {
    let half = 1 << (cell.bits - 1);
    let lat = ((cell.row << cell.bits) + half).min(2 * i64::from(MAX_LAT_E7)) - i64::from(MAX_LAT_E7);
    let wide = cell.bits + cell.widening;
    let lng = ((cell.col << wide) + (half << cell.widening)).min(TURN) - i64::from(MAX_LNG_E7);
    Position::from_steps(lat as i32, lng as i32)
}

/// The forest as searches see it.
pub(super) struct Planted<'a> {
    pub(super) forest: &'a Forest,
    pub(super) drivers: &'a Drivers,
}

impl Field for Planted<'_> {
    const STILL: bool = false;

    fn len(&self) -> usize {
        self.drivers.len() as usize
    }

    fn density(&self, centre: &Centre, some: u32) -> f64 {
        // By the nearest shard; but so much that the first circle is not much wider than 3 km.
        let directory = self.forest.directory.read();
        let nearest = directory.by_centre.nearest_neighbor(centre.unit_vector());
        let drivers = nearest.map_or(0, |entry| entry.what.slots.read().size());
        let square_step = (STEP_RAD * EARTH_RADIUS_M) * (STEP_RAD * EARTH_RADIUS_M);
        (CLUSTERING * drivers as f64 / SHARD_AREA).max(f64::from(some) / LEAST_AREA) * square_step
    }

    fn gather(&self, ball: &Ball, found: &mut Found) -> bool {
        let directory = self.forest.directory.read();
        let unit = ball.centre().unit_vector();
        let reach = |metres: f64| meters_to_chord(Meters::new(metres).expect("lengths add up to one"));
        let radius = ball.angle() * EARTH_RADIUS_M;
        let near = directory.by_centre.locate_within_distance(unit, reach(radius + SHARD_RADIUS));
        let chord = reach(radius + REACH);
        let read: Vec<(&Shard, u64)> = near
            .map(|entry| {
                let tree = entry.what.slots.read();
                let edits = entry.what.edits.load(Ordering::Acquire);
                found.names.extend(tree.locate_within_distance(unit, chord).map(|entry| entry.what));
                (&*entry.what, edits)
            })
            .collect();
        self.drivers.locate(found);
        read.iter().all(|(shard, edits)| shard.edits.load(Ordering::Acquire) == *edits)
    }

    fn gather_slowly(&self, ball: &Ball, found: &mut Found) {
        self.drivers.locate_all(ball, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::place::SLACK;
    use proptest::prelude::*;

    fn anywhere() -> impl Strategy<Value = Position> {
        let lat = prop_oneof![
            (-1.0..=1.0f64).prop_map(|sin: f64| sin.asin().to_degrees()),
            (0.0..1.0f64, any::<bool>()).prop_map(|(off, south)| (90.0 - off) * if south { -1.0 } else { 1.0 }),
        ];
        (lat, -180.0..=180.0f64).prop_map(|(lat, lng)| Position::new(lat, lng).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn no_point_is_further_from_the_centre_of_its_shard(at in anywhere()) {
            let cell = at.cell(RESOLUTION);
            let centre = LatLng::from(cell);
            let centre = Position::new(centre.lat(), centre.lng()).unwrap();
            prop_assert!(at.distance(centre).get() <= SHARD_RADIUS);
        }

        #[test]
        fn what_is_well_inside_of_a_shard_is_in_it(at in anywhere(), other in (-0.12..0.12f64, -0.12..0.12f64)) {
            let shard = Shard::new(0, at.cell(RESOLUTION));
            let lat = (at.lat() + other.0).clamp(-90.0, 90.0);
            let lng = at.lng() + other.1 / lat.to_radians().cos().max(1e-3);
            let other = Position::new(lat, (lng + 540.0).rem_euclid(360.0) - 180.0).unwrap();
            let is_inside = chord_squared(other.unit_vector(), shard.centre) < shard.inside;
            prop_assert!(!is_inside || other.cell(RESOLUTION) == shard.cell);
            prop_assert!(shard.inside > meters_to_chord(Meters::from_km(4)));
        }

        #[test]
        fn no_driver_is_further_from_where_it_is_listed(at in anywhere(), off in (0.0..=1.0f64, 0.0..=1.0f64)) {
            let cell = Forest::cell_for(Place::new(at, true));
            let wide = cell.bits + cell.widening;
            let along = |start: i64, bits: u32, slack: i64, part: f64| {
                start - slack + (part * ((1 << bits) + 2 * slack - 1) as f64) as i64
            };
            let lat = along(cell.row << cell.bits, cell.bits, SLACK, off.0).clamp(0, 2 * i64::from(MAX_LAT_E7));
            let lng = along(cell.col << wide, wide, SLACK << cell.widening, off.1).clamp(0, TURN);
            let lat = lat - i64::from(MAX_LAT_E7);
            let there = Position::from_steps(lat as i32, (lng - i64::from(MAX_LNG_E7)) as i32);
            prop_assert!(there.distance(middle(cell)).get() <= REACH);
        }
    }
}
