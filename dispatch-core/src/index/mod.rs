//! The live index of moving drivers, and what a window sees of it.

mod drivers;
mod fix;
mod points;
mod positions;
mod search;
mod shards;

pub use drivers::{IndexFull, Slot};
pub use fix::{Fix, Reported};
pub(crate) use points::PointSet;
pub use positions::Positions;

use crate::config::{ConfigError, FixRules};
use crate::geo::Position;
use crate::model::DriverId;
use crate::units::{Meters, Timestamp};
use drivers::{Driver, Drivers};
use shards::Shards;
use std::fmt;

/// Where every driver is now: reported and searched from any number of threads at once.
///
/// Positions are soft: after a restart drivers simply report again.
///
/// ```
/// use dispatch_core::{DriverId, Fix, FixRules, Meters, Position, PositionIndex, Reported, Timestamp};
/// let index = PositionIndex::new(FixRules::default())?;
/// let slot = index.slot(&DriverId::new("d-1")?)?;
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let fix = Fix { position: Position::new(52.52, 13.40)?, at: now };
/// assert_eq!(index.report(slot, fix, now), Reported::Moved);
/// let found = index.nearest(Position::new(52.52, 13.41)?, Meters::from_km(5), 20, |_| true);
/// assert_eq!(found[0].0.as_str(), "d-1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PositionIndex {
    rules: FixRules,
    drivers: Drivers,
    shards: Shards,
}

impl PositionIndex {
    /// An index without drivers. Takes 24 bytes for every 1,024 drivers allowed; the rest grows with use.
    pub fn new(rules: FixRules) -> Result<Self, ConfigError> {
        rules.validate()?;
        Ok(Self { rules, drivers: Drivers::new(rules.max_drivers), shards: Shards::default() })
    }

    /// The slot of a driver, to report by; the same one each time. A new driver begins available and without a fix.
    pub fn slot(&self, driver: &DriverId) -> Result<Slot, IndexFull> {
        self.drivers.slot(driver)
    }

    /// Takes in a fix at time `now` and says what became of it. Only [`Reported::Moved`] changes where the driver is.
    ///
    /// A driver cannot have come faster than [`FixRules::max_speed_mps`]; fixes less than a second apart count as a
    /// second apart. What was refused for that is believed after all when [`FixRules::believe_after`] fixes in a row
    /// contradict the last believed one and each can be reached from the one before.
    ///
    /// Takes about two microseconds, and waits for searches that reach the driver's cell.
    ///
    /// # Panics
    /// If `slot` is of another index.
    pub fn report(&self, slot: Slot, fix: Fix, now: Timestamp) -> Reported {
        let Driver { id, state } = self.drivers.get(slot);
        let mut state = state.lock();
        let reported = state.track.report(fix, now, &self.rules);
        let stands_there = state.spot.as_ref().is_some_and(|spot| spot.position == fix.position);
        if reported == Reported::Moved && state.available && !stands_there {
            state.spot = Some(self.shards.put(id, state.spot.take(), fix.position));
        }
        reported
    }

    /// Says whether searches find the driver. No search that starts after this took an unavailable driver out returns
    /// it; one that is running may.
    ///
    /// # Panics
    /// If `slot` is of another index.
    pub fn set_available(&self, slot: Slot, available: bool) {
        let Driver { id, state } = self.drivers.get(slot);
        let mut state = state.lock();
        state.available = available;
        if !available {
            if let Some(spot) = state.spot.take() {
                spot.leave(id);
            }
        } else if state.spot.is_none()
            && let Some(Fix { position, .. }) = state.track.last
        {
            state.spot = Some(self.shards.put(id, None, position));
        }
    }

    /// The at most `limit` nearest available and `eligible` drivers within `radius` of `at` (bound included), nearest
    /// first, ties by driver id. Drivers without a fix are in no search; the age of a fix does not matter here.
    ///
    /// Distances are those of [`Position::distance`]. The answer is of one instant: a driver that moves meanwhile is in
    /// it once. Costs microseconds for 20 drivers within 5 km, and grows with the 250 km² cells in reach, all locked
    /// for reading until the search ends.
    ///
    /// `eligible` is asked only about drivers near enough to count, in no promised order. Reports wait for it, so it
    /// should be quick, and it must not call this index: both could wait forever.
    pub fn nearest(
        &self,
        at: Position,
        radius: Meters,
        limit: usize,
        eligible: impl FnMut(&DriverId) -> bool,
    ) -> Vec<(DriverId, Meters)> {
        self.shards.nearest(at, radius, limit, eligible)
    }

    /// Copies the last fix of every driver that has one into `into`, reusing its memory: about a millisecond for
    /// 20,000 drivers. Each driver is copied whole; drivers that move meanwhile may be seen before or after.
    pub fn snapshot(&self, into: &mut Positions) {
        into.clear();
        self.drivers.for_each(|Driver { id, state }| {
            let state = state.lock();
            if let Some(fix) = state.track.last {
                into.push(id.clone(), fix, state.available);
            }
        });
    }

    /// How many drivers have a slot, with a fix or without.
    pub fn len(&self) -> usize {
        self.drivers.len()
    }

    /// Whether no driver has a slot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for PositionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PositionIndex").field("rules", &self.rules).field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
