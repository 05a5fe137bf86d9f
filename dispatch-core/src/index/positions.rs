//! Where everybody is at one instant.

use super::fix::Fix;
use super::points::PointSet;
use crate::geo::Position;
use crate::model::DriverId;
use crate::units::Meters;
use std::mem;
use std::sync::OnceLock;

/// The last fix of every driver that has one: what a window is decided on.
///
/// ```
/// use dispatch_core::{DriverId, Fix, Meters, Position, Positions, Timestamp};
/// let fix = Fix { position: Position::new(52.52, 13.40)?, at: Timestamp::from_millis(0) };
/// let positions = Positions::from_fixes([(DriverId::new("d-1")?, fix)]);
/// let found = positions.nearest(Position::new(52.52, 13.41)?, Meters::from_km(5), 20, |_| true);
/// assert_eq!(found[0].0.as_str(), "d-1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Positions {
    /// By driver, each once.
    sightings: Vec<Sighting>,
    /// The sightings as rows; built by the first search.
    points: OnceLock<PointSet>,
}

#[derive(Clone, Debug)]
struct Sighting {
    driver: DriverId,
    fix: Fix,
    available: bool,
}

impl Positions {
    /// The given fixes, every driver available. Where a driver stands twice, its last fix in the order given counts.
    pub fn from_fixes(fixes: impl IntoIterator<Item = (DriverId, Fix)>) -> Self {
        let mut sightings: Vec<_> =
            fixes.into_iter().map(|(driver, fix)| Sighting { driver, fix, available: true }).collect();
        sightings.sort_by(|a, b| a.driver.cmp(&b.driver));
        sightings.dedup_by(|later, earlier| {
            let same = later.driver == earlier.driver;
            if same {
                mem::swap(later, earlier);
            }
            same
        });
        Self { sightings, points: OnceLock::new() }
    }

    /// Forgets everything but the memory it took.
    pub(super) fn clear(&mut self) {
        self.sightings.clear();
        self.points.take();
    }

    /// Adds a driver that comes after all the others.
    pub(super) fn push(&mut self, driver: DriverId, fix: Fix, available: bool) {
        debug_assert!(self.sightings.last().is_none_or(|last| last.driver < driver));
        self.sightings.push(Sighting { driver, fix, available });
    }

    /// The last fix of a driver, available or not, in O(log n).
    pub fn get(&self, driver: &DriverId) -> Option<Fix> {
        let row = self.sightings.binary_search_by(|sighting| sighting.driver.cmp(driver)).ok()?;
        Some(self.sightings[row].fix)
    }

    /// Every driver with its last fix, available or not, by driver id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&DriverId, Fix)> {
        self.sightings.iter().map(|sighting| (&sighting.driver, sighting.fix))
    }

    /// How many drivers there are, available or not.
    pub fn len(&self) -> usize {
        self.sightings.len()
    }

    /// Whether there is no driver.
    pub fn is_empty(&self) -> bool {
        self.sightings.is_empty()
    }

    /// The at most `limit` nearest available and `eligible` drivers within `radius` of `at`, nearest first, ties by
    /// driver id: what [`PositionIndex::nearest`](super::PositionIndex::nearest) answered when these were taken.
    ///
    /// The first search builds the structure that all use, in O(n log n): a few milliseconds for 20,000 drivers.
    pub fn nearest(
        &self,
        at: Position,
        radius: Meters,
        limit: usize,
        mut eligible: impl FnMut(&DriverId) -> bool,
    ) -> Vec<(DriverId, Meters)> {
        let points = self.points.get_or_init(|| PointSet::new(self.sightings.iter().map(|s| s.fix.position)));
        let sighting = |row: u32| &self.sightings[row as usize];
        points
            .nearest(at, radius, limit, |row| sighting(row).available && eligible(&sighting(row).driver))
            .into_iter()
            .map(|(row, distance)| (sighting(row).driver.clone(), distance))
            .collect()
    }
}
