//! Where available drivers are: one tree with one lock for each H3 cell that has any.
//!
//! Locks are taken in one order: a driver's own, then the directory's, then shards' by cell. A search holds the directory
//! and all shards in its reach at once, so it sees one instant: a driver that crosses from one shard to another
//! is in exactly one of them.

use super::search::{Entry, Nearest, Tree, chord_beyond};
use crate::geo::Position;
use crate::model::DriverId;
use crate::units::Meters;
use h3o::{CellIndex, LatLng, Resolution};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Cells of 250 km²: a city has several, a search of 5 km reaches about six.
const RESOLUTION: Resolution = Resolution::Five;

/// No point of a cell is further from its centre; the furthest are 10.8 km.
const CELL_RADIUS: Meters = Meters::from_km(12);

/// How many shards there may be before empty ones are looked for.
const FIRST_SWEEP: usize = 1_024;

/// The drivers within one cell.
pub(super) struct Shard {
    cell: CellIndex,
    tree: RwLock<Tree<DriverId>>,
}

/// Where the entry of one driver is.
pub(super) struct Spot {
    shard: Arc<Shard>,
    pub(super) position: Position,
}

#[derive(Default)]
pub(super) struct Shards {
    directory: RwLock<Directory>,
}

struct Directory {
    by_cell: BTreeMap<CellIndex, Arc<Shard>>,
    by_centre: Tree<Arc<Shard>>,
    /// Empty shards are dropped when there are this many: drivers that roam the earth must not fill the memory.
    sweep_at: usize,
}

impl Default for Directory {
    fn default() -> Self {
        Self { by_cell: BTreeMap::new(), by_centre: Tree::new(), sweep_at: FIRST_SWEEP }
    }
}

impl Shards {
    /// Puts a driver at a position, taking it from where it stood.
    pub(super) fn put(&self, driver: &DriverId, from: Option<Spot>, to: Position) -> Spot {
        let (cell, unit) = (to.cell(RESOLUTION), to.unit_vector());
        match from {
            Some(from) if from.shard.cell == cell => {
                let mut tree = from.shard.tree.write();
                let entry = from.remove(driver, &mut tree);
                tree.insert(Entry { unit, ..entry });
                drop(tree);
                Spot { position: to, ..from }
            }
            Some(from) => {
                let directory = self.directory_with(cell);
                let shard = Arc::clone(&directory.by_cell[&cell]);
                let (mut old, mut new) = write_both(&from.shard, &shard);
                let entry = from.remove(driver, &mut old);
                new.insert(Entry { unit, ..entry });
                drop((old, new));
                Spot { shard, position: to }
            }
            None => {
                let directory = self.directory_with(cell);
                let shard = Arc::clone(&directory.by_cell[&cell]);
                shard.tree.write().insert(Entry { unit, key: driver.clone() });
                Spot { shard, position: to }
            }
        }
    }

    /// The nearest eligible drivers; see [`PositionIndex::nearest`](super::PositionIndex::nearest).
    pub(super) fn nearest(
        &self,
        at: Position,
        radius: Meters,
        limit: usize,
        mut eligible: impl FnMut(&DriverId) -> bool,
    ) -> Vec<(DriverId, Meters)> {
        let directory = self.directory.read();
        let trees = directory.read_within(at, radius);
        let mut nearest = Nearest::new(at, radius, limit);
        let mut by_chord: Vec<_> =
            trees.iter().filter(|tree| tree.size() > 0).map(|tree| (nearest.least_chord(tree), tree)).collect();
        by_chord.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        for (chord, tree) in by_chord {
            if nearest.is_settled_at(chord) {
                break;
            }
            nearest.search(tree, &mut eligible);
        }
        nearest.into_sorted()
    }

    /// The directory, which has a shard for `cell` as long as the guard lives.
    fn directory_with(&self, cell: CellIndex) -> RwLockReadGuard<'_, Directory> {
        let directory = self.directory.read();
        if directory.by_cell.contains_key(&cell) {
            return directory;
        }
        drop(directory);
        let mut directory = self.directory.write();
        directory.add(cell);
        RwLockWriteGuard::downgrade(directory)
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
        let shard = Arc::new(Shard { cell, tree: RwLock::new(Tree::new()) });
        self.by_centre.insert(shard.centre());
        self.by_cell.insert(cell, shard);
    }

    /// Drops empty shards. Nothing is being put into one: whoever does that holds the directory.
    fn sweep(&mut self) {
        self.by_cell.retain(|_, shard| shard.tree.read().size() > 0);
        self.by_centre = Tree::bulk_load(self.by_cell.values().map(Shard::centre).collect());
        self.sweep_at = FIRST_SWEEP.max(2 * self.by_cell.len());
    }

    /// Locks every shard that may have a driver within `radius`, in the order of cells.
    fn read_within(&self, at: Position, radius: Meters) -> Vec<RwLockReadGuard<'_, Tree<DriverId>>> {
        let reach = chord_beyond(radius + CELL_RADIUS);
        let mut shards: Vec<_> =
            self.by_centre.locate_within_distance(at.unit_vector(), reach).map(|entry| &entry.key).collect();
        shards.sort_by_key(|shard| shard.cell);
        shards.into_iter().map(|shard| shard.tree.read()).collect()
    }
}

impl Shard {
    fn centre(self: &Arc<Self>) -> Entry<Arc<Self>> {
        Entry { unit: centre(self.cell).unit_vector(), key: Arc::clone(self) }
    }
}

fn centre(cell: CellIndex) -> Position {
    let centre = LatLng::from(cell);
    Position::new(centre.lat(), centre.lng()).expect("the centre of a cell is a coordinate")
}

impl Spot {
    /// Takes the driver out: no search that starts after this finds it.
    pub(super) fn leave(self, driver: &DriverId) {
        self.remove(driver, &mut self.shard.tree.write());
    }

    fn remove(&self, driver: &DriverId, tree: &mut Tree<DriverId>) -> Entry<DriverId> {
        tree.remove(&Entry { unit: self.position.unit_vector(), key: driver.clone() })
            .expect("a spot is where the driver's entry is")
    }
}

/// Locks two shards in the order of their cells.
fn write_both<'a>(
    a: &'a Shard,
    b: &'a Shard,
) -> (RwLockWriteGuard<'a, Tree<DriverId>>, RwLockWriteGuard<'a, Tree<DriverId>>) {
    if a.cell < b.cell {
        let a = a.tree.write();
        (a, b.tree.write())
    } else {
        let b = b.tree.write();
        (a.tree.write(), b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_driver_that_roams_leaves_no_shards_behind_and_takes_none_away() {
        let (shards, stays, roams) = (Shards::default(), DriverId::new("a").unwrap(), DriverId::new("b").unwrap());
        let home = Position::new(80.0, 0.0).unwrap();
        let _stays = shards.put(&stays, None, home);
        let mut spot = None;
        let mut cells = BTreeSet::new();
        for step in 0..3 * FIRST_SWEEP {
            let at = Position::new((step % 100) as f64 - 50.0, (step / 100) as f64 * 5.0).unwrap();
            spot = Some(shards.put(&roams, spot.take(), at));
            cells.insert(at.cell(RESOLUTION));
            assert_eq!(shards.nearest(at, Meters::ZERO, 2, |_| true), [(roams.clone(), Meters::ZERO)]);
            assert_eq!(shards.nearest(home, Meters::ZERO, 2, |_| true), [(stays.clone(), Meters::ZERO)]);
            assert!(shards.directory.read().by_cell.len() <= FIRST_SWEEP);
        }
        assert!(cells.len() > 2 * FIRST_SWEEP, "the way was too short: {} cells", cells.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn no_point_is_further_from_the_centre_of_its_cell(sin_lat in -1.0..=1.0f64, lng in -180.0..=180.0f64) {
            let at = Position::new(sin_lat.asin().to_degrees(), lng).unwrap();
            prop_assert!(at.distance(centre(at.cell(RESOLUTION))) <= CELL_RADIUS);
        }
    }
}
