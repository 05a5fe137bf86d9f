//! The live index of moving drivers, and what a window sees of it.
//!
//! ```text
//!   report --> record: place and stamp, two words      most fixes end here: nothing else changes
//!                |  left its cell, or came to have one
//!                v
//!              structure: Grid | Forest <-- nearest    lists each available driver near where it is
//! ```
//!
//! A driver has a dense slot and, in it, a record of two atomic words: where it is, and when it was there together with the
//! cell that lists it. A fix within that cell (46 m of slack around it included) changes only the record. Otherwise the
//! structure lists it elsewhere, under the locks of the two cells.

mod ball;
mod cell;
mod chunks;
mod drivers;
mod fix;
mod forest;
mod grid;
mod place;
mod points;
mod polygon;
mod positions;
mod record;
mod search;
mod sync;

pub use drivers::{IndexFull, Slot};
pub use fix::{Fix, Motion, Reported};
pub(crate) use points::PointSet;
pub use polygon::{MAX_CORNERS, Polygon, PolygonError};
pub use positions::Positions;

use crate::config::{ConfigError, FixRules, IndexBackend};
use crate::geo::{EARTH_RADIUS_M, Position, STEP_RAD};
use crate::model::DriverId;
use crate::units::{Meters, Millis, Timestamp};
use ball::Ball;
use drivers::Drivers;
use fix::{Jump, Track};
use forest::{Forest, Planted};
use grid::{Grid, Listed};
use h3o::{CellIndex, Resolution};
use parking_lot::Mutex;
use place::{CellId, Place, Stamp};
use positions::Roster;
use record::{Held, Record};
use search::{Field, Query};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// Where every driver is now: reported and searched from any number of threads at once, without waiting for each other.
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
/// assert_eq!(index.driver(found[0].0).as_str(), "d-1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PositionIndex {
    rules: FixRules,
    /// How many milliseconds lie between the oldest and the newest fix that are live.
    ages: u64,
    /// How far a driver may come in a millisecond, in steps of latitude, times [`FRACTION`].
    speed: u64,
    /// The square of how far a driver may come at once, in steps of latitude; less than a cell.
    at_once: u64,
    drivers: Drivers,
    structure: Structure,
    /// Refused fixes of drivers whose stamp says that there are any, by slot.
    jumps: [Mutex<BTreeMap<u32, Jump>>; 16],
    roster: Mutex<Weak<Roster>>,
}

/// Speeds are counted in this part of a step.
const FRACTION: f64 = (1 << 20) as f64;

/// Nine hours in milliseconds: longer absences count as that, so that no way overflows.
const LONG_ELAPSED: i64 = 1 << 25;

/// So many records are read before the first of them is written.
const READ_AT_ONCE: usize = 8;

/// What lists the available drivers. Boxed: the sizes differ much.
enum Structure {
    Grid(Box<Grid>),
    RTree(Box<Forest>),
}

impl PositionIndex {
    /// An index without drivers. Takes 64 bytes for every 4,096 drivers allowed, a quarter of a megabyte as soon as there is
    /// one, and 60 to 90 bytes for each of many.
    pub fn new(rules: FixRules) -> Result<Self, ConfigError> {
        rules.validate()?;
        let structure = match rules.backend {
            IndexBackend::Grid => Structure::Grid(Box::default()),
            IndexBackend::RTree => Structure::RTree(Box::new(Forest::new(rules.max_drivers))),
        };
        // A little less, for safety.
        let speed = (rules.max_speed_mps / 1_000.0 / (STEP_RAD * EARTH_RADIUS_M) * FRACTION * (1.0 - 1e-6)) as u64;
        let at_once = FixRules::LEAST_ELAPSED.get().unsigned_abs() * speed / FRACTION as u64;
        let at_once = at_once.min(Stamp::LEAST_SIZE - 1);
        Ok(Self {
            rules,
            ages: (rules.live_for + rules.max_ahead).get().unsigned_abs(),
            speed,
            at_once: at_once * at_once,
            drivers: Drivers::new(rules.max_drivers),
            structure,
            jumps: Default::default(),
            roster: Mutex::default(),
        })
    }

    /// The slot of a driver, to report by; the same one each time. A new driver begins available and without a fix.
    pub fn slot(&self, driver: &DriverId) -> Result<Slot, IndexFull> {
        self.drivers.slot(driver)
    }

    /// The driver in a slot.
    ///
    /// # Panics
    /// If `slot` is of another index.
    pub fn driver(&self, slot: Slot) -> &DriverId {
        self.drivers.id(slot.0)
    }

    /// Takes in a fix at time `now` and says what became of it. Only [`Reported::Moved`] changes where the driver is.
    ///
    /// A driver cannot have come faster than [`FixRules::max_speed_mps`]; fixes less than a second apart count as a
    /// second apart. What was refused for that is believed after all when [`FixRules::believe_after`] fixes in a row
    /// contradict the last believed one and each can be reached from the one before. Times of the fix that are more than
    /// two millennia from the epoch are refused.
    ///
    /// Takes about 30 ns, half more where the driver comes further than it can in a second, and ten times that where it
    /// comes to another cell. Never waits for a search.
    ///
    /// # Panics
    /// If `slot` is of another index.
    #[inline]
    pub fn report(&self, slot: Slot, fix: Fix, now: Timestamp) -> Reported {
        let record = self.drivers.record(slot.0);
        self.report_seen(record, record.glimpse(), slot, fix, now)
    }

    /// Takes in many fixes, each as [`PositionIndex::report`] does, and tells what became of each, in the order given.
    ///
    /// Records are read several at a time, so that waiting for one of them is waiting for all: takes about 20 ns for each that
    /// stays in its cell.
    ///
    /// # Panics
    /// If a slot is of another index; fixes before it may have been taken in.
    pub fn report_all(&self, reports: &[(Slot, Fix)], now: Timestamp, mut judged: impl FnMut(Slot, Reported)) {
        let (batches, rest) = reports.as_chunks::<READ_AT_ONCE>();
        for batch in batches {
            let records = batch.map(|(slot, _)| self.drivers.record(slot.0));
            // A record that has changed when its turn comes is read anew.
            let seen = records.map(Record::glimpse);
            for ((record, seen), (slot, fix)) in records.into_iter().zip(seen).zip(batch) {
                judged(*slot, self.report_seen(record, seen, *slot, *fix, now));
            }
        }
        for (slot, fix) in rest {
            judged(*slot, self.report(*slot, *fix, now));
        }
    }

    /// Takes in a fix, when the record's words were seen to be these.
    #[inline]
    fn report_seen(
        &self,
        record: &Record,
        (stamp, place): (u64, u64),
        slot: Slot,
        fix: Fix,
        now: Timestamp,
    ) -> Reported {
        if let Some((moved, to)) = self.step(Stamp(stamp), Place(place), fix, now)
            && record.replace(stamp, moved.0, to.0)
        {
            return Reported::Moved;
        }
        self.report_further(record, slot, fix, now)
    }

    /// The same as [`PositionIndex::report`], with how the driver was moving. Takes 8 bytes for each of 4,096 drivers as
    /// soon as one of them has any, and about 60 ns.
    ///
    /// # Panics
    /// If `slot` is of another index.
    pub fn report_with(&self, slot: Slot, fix: Fix, motion: Motion, now: Timestamp) -> Reported {
        match motion.pack() {
            Motion::NONE => self.report(slot, fix, now),
            motion => self.report_slowly(slot.0, fix, motion, now),
        }
    }

    /// What becomes of a record by a fix that is surely believed and leaves the driver in its cell: no more instructions than
    /// that takes, because their number is what a report costs.
    #[inline]
    fn step(&self, stamp: Stamp, place: Place, fix: Fix, now: Timestamp) -> Option<(Stamp, Place)> {
        // Whether it is searchable the stamp says, too; the place may be another one's that has come between.
        let to = Place::new(fix.position, stamp.is_listed());
        // No meridian is further from another than on the equator.
        let (north, east) = ((to.lat() - place.lat()) as u64, (to.lng() - place.lng()) as u64);
        let is_near = north.wrapping_mul(north) + east.wrapping_mul(east) <= self.at_once;
        (self.is_plain(stamp, fix, now) && is_near && stamp.stays(to)).then(|| (stamp.timed(fix.at), to))
    }

    /// As quick for whoever has come further than that, but not too fast.
    #[inline(never)]
    fn report_further(&self, record: &Record, slot: Slot, fix: Fix, now: Timestamp) -> Reported {
        let seen = record.glimpse();
        let (stamp, place) = (Stamp(seen.0), Place(seen.1));
        let to = Place::new(fix.position, stamp.is_listed());
        let (north, east) = ((to.lat() - place.lat()).unsigned_abs(), (to.lng() - place.lng()).unsigned_abs());
        let elapsed = fix.at.as_millis().wrapping_sub(stamp.at()).clamp(0, LONG_ELAPSED).unsigned_abs();
        let far = elapsed * self.speed / FRACTION as u64;
        if self.is_plain(stamp, fix, now)
            && north * north + east * east <= far * far
            && stamp.cell(place).is_none_or(|cell| cell.is_near(to))
            && record.replace(stamp.0, stamp.timed(fix.at).0, to.0)
        {
            return Reported::Moved;
        }
        self.report_slowly(slot.0, fix, Motion::NONE, now)
    }

    /// Whether a fix is of a live time and newer, and the driver's record says nothing that asks for more care.
    #[inline]
    fn is_plain(&self, stamp: Stamp, fix: Fix, now: Timestamp) -> bool {
        let (now, at) = (now.as_millis(), fix.at.as_millis());
        now.wrapping_sub(at).wrapping_add(self.rules.max_ahead.get()) as u64 <= self.ages
            && stamp.at() < at
            && at <= Stamp::MAX_TIME
            && !stamp.has(Stamp::LOCKED | Stamp::JUMPED | Stamp::AWAITED | Stamp::MOTION)
    }

    #[cold]
    #[inline(never)]
    fn report_slowly(&self, slot: u32, fix: Fix, motion: u64, now: Timestamp) -> Reported {
        if !Stamp::fits(fix.at) {
            return if fix.at < now { Reported::TooOld } else { Reported::FromFuture };
        }
        loop {
            let mut held = self.drivers.record(slot).lock();
            let (stamp, place) = (Stamp(held.stamp), Place(held.place));
            let (reported, jump) = self.judge(slot, stamp, place, fix, now);
            if reported != Reported::Moved {
                held.stamp = self.remember(slot, stamp, jump).0;
                return reported;
            }
            let to = Place::new(fix.position, stamp.is_listed());
            if !stamp.has(Stamp::AWAITED) && stamp.cell(place).is_none_or(|cell| cell.is_near(to)) {
                self.believe(slot, &mut held, stamp, to, fix.at, motion);
                return reported;
            }
            // To list it elsewhere, the locks of the cells come first. The judgement holds as long as the stamp does.
            drop(held);
            let to = Place::new(fix.position, true);
            let cell = self.cell_for(to);
            let listed = self.relocate(slot, stamp, place, Some(cell), |held| {
                let moved = stamp.with(Stamp::AWAITED, false).listed(Some(cell), to);
                self.believe(slot, held, moved, to, fix.at, motion);
            });
            if listed {
                return reported;
            }
        }
    }

    /// What becomes of a fix by all the rules, and of the refused ones before it.
    fn judge(&self, slot: u32, stamp: Stamp, place: Place, fix: Fix, now: Timestamp) -> (Reported, Option<Jump>) {
        let last = stamp.last().map(|at| Fix { position: place.position(), at });
        let jump = stamp.has(Stamp::JUMPED).then(|| self.jumps_of(slot).lock()[&slot]);
        let mut track = Track { last, jump };
        (track.report(fix, now, &self.rules), track.jump)
    }

    /// Keeps the refused fixes of a driver, whose record is held, or forgets them.
    fn remember(&self, slot: u32, stamp: Stamp, jump: Option<Jump>) -> Stamp {
        if let Some(jump) = jump {
            self.jumps_of(slot).lock().insert(slot, jump);
        } else if stamp.has(Stamp::JUMPED) {
            self.jumps_of(slot).lock().remove(&slot);
        }
        stamp.with(Stamp::JUMPED, jump.is_some())
    }

    fn jumps_of(&self, slot: u32) -> &Mutex<BTreeMap<u32, Jump>> {
        &self.jumps[slot as usize % self.jumps.len()]
    }

    /// Writes a believed fix to a record that is held.
    fn believe(&self, slot: u32, held: &mut Held<'_>, moved: Stamp, to: Place, at: Timestamp, motion: u64) {
        let (moved, keep) = self.remember(slot, moved, None).timed(at).with_motion(moved, motion);
        if keep {
            self.drivers.motion(slot).store(motion, Ordering::Release);
        }
        (held.stamp, held.place) = (moved.0, to.0);
    }

    /// Says whether searches find the driver. No search that starts after this took an unavailable driver out returns
    /// it; one that is running may. An available driver is found where it was last, however long ago: see
    /// [`PositionIndex::retire`].
    ///
    /// # Panics
    /// If `slot` is of another index.
    pub fn set_available(&self, Slot(slot): Slot, available: bool) {
        loop {
            let (stamp, place) = self.read(slot);
            if available == (stamp.is_listed() || stamp.has(Stamp::AWAITED)) {
                return;
            }
            let to = Place::new(place.position(), available);
            let cell = (available && stamp.last().is_some()).then(|| self.cell_for(to));
            let written = self.relocate(slot, stamp, place, cell, |held| {
                held.stamp = stamp.with(Stamp::AWAITED, available && cell.is_none()).listed(cell, to).0;
                held.place = if cell.is_some() { to.0 } else { place.hidden().0 };
            });
            if written {
                return;
            }
        }
    }

    /// Takes out of all searches who has not reported for longer than `silent_for`, until its next fix; says how many that
    /// were. Takes 1 ns a driver, and 100 ns for each taken out.
    pub fn retire(&self, now: Timestamp, silent_for: Millis) -> usize {
        (0..self.drivers.len()).filter(|slot| self.retire_one(*slot, now, silent_for)).count()
    }

    fn retire_one(&self, slot: u32, now: Timestamp, silent_for: Millis) -> bool {
        loop {
            let (stamp, place) = self.read(slot);
            if !stamp.is_listed() || stamp.last().is_none_or(|at| now - at <= silent_for) {
                return false;
            }
            let written = self.relocate(slot, stamp, place, None, |held| {
                held.stamp = stamp.listed(None, place).with(Stamp::AWAITED, true).0;
                held.place = place.hidden().0;
            });
            if written {
                return true;
            }
        }
    }

    fn read(&self, slot: u32) -> (Stamp, Place) {
        let (stamp, place) = self.drivers.record(slot).read();
        (Stamp(stamp), Place(place))
    }

    fn cell_for(&self, place: Place) -> CellId {
        match &self.structure {
            Structure::Grid(grid) => grid.cell_for(place),
            Structure::RTree(_) => Forest::cell_for(place),
        }
    }

    /// Lists a driver in another cell, in one or in none, and has `write` change its record, if that still is as it was
    /// read. Otherwise it is `false`, and to be tried anew.
    fn relocate(
        &self,
        slot: u32,
        stamp: Stamp,
        place: Place,
        to: Option<CellId>,
        write: impl FnOnce(&mut Held<'_>),
    ) -> bool {
        let commit = |meanwhile: &mut dyn FnMut()| {
            let mut held = self.drivers.record(slot).lock();
            let unchanged = held.stamp == stamp.0;
            if unchanged {
                write(&mut held);
                meanwhile();
            }
            unchanged
        };
        let from = stamp.cell(place);
        match &self.structure {
            Structure::Grid(grid) => grid.relocate(&self.drivers, slot, from, to, || commit(&mut || ())),
            Structure::RTree(forest) => forest.relocate(slot, from, to, commit),
        }
    }

    /// The last believed fix of a driver, and how it was moving then.
    ///
    /// # Panics
    /// If `slot` is of another index.
    pub fn last(&self, Slot(slot): Slot) -> Option<(Fix, Motion)> {
        loop {
            let (stamp, place) = self.read(slot);
            let motion =
                if stamp.has(Stamp::MOTION) { self.drivers.motion(slot).load(Ordering::Acquire) } else { Motion::NONE };
            if self.read(slot).0 == stamp {
                return Some((Fix { position: place.position(), at: stamp.last()? }, Motion::unpack(motion)));
            }
        }
    }

    /// The at most `limit` nearest available and `eligible` drivers within `radius` of `at` (bound included), nearest
    /// first, ties by driver id. With a radius of [`ANYWHERE`](crate::ANYWHERE) they may be anywhere on earth. Drivers
    /// without a fix are in no search; the age of a fix does not matter here.
    ///
    /// Distances are those of [`Position::distance`]. The answer is of one instant: a driver that moves meanwhile is in it
    /// once. Takes two or three microseconds for 20 drivers of a city, whatever the radius, and grows with `limit`. Waits for
    /// nobody; where cells change faster than they are read, every driver is looked at once instead.
    ///
    /// `eligible` is asked about the nearest first, so that 20 answers of yes are about 20 questions. It may be asked about
    /// a driver more than once. No lock is held meanwhile.
    ///
    /// Drivers are named by their slots: looking up who they are ([`PositionIndex::driver`]) waits for memory.
    pub fn nearest(
        &self,
        at: Position,
        radius: Meters,
        limit: usize,
        eligible: impl FnMut(Slot) -> bool,
    ) -> Vec<(Slot, Meters)> {
        let (query, drivers) = (Query { at, radius, limit }, &self.drivers);
        match &self.structure {
            Structure::Grid(grid) => self.nearest_in(&Listed { grid, drivers }, &query, eligible),
            Structure::RTree(forest) => self.nearest_in(&Planted { forest, drivers }, &query, eligible),
        }
    }

    fn nearest_in(
        &self,
        field: &impl Field,
        query: &Query,
        mut eligible: impl FnMut(Slot) -> bool,
    ) -> Vec<(Slot, Meters)> {
        let tie = |a, b| self.drivers.id(a).cmp(self.drivers.id(b));
        let found = search::with_memory(|found| search::nearest(field, query, found, |slot| eligible(Slot(slot)), tie));
        found.into_iter().map(|(slot, distance)| (Slot(slot), distance)).collect()
    }

    /// All available and `eligible` drivers within `radius` of `at`, as [`PositionIndex::nearest`] without a limit.
    pub fn within(&self, at: Position, radius: Meters, eligible: impl FnMut(Slot) -> bool) -> Vec<(Slot, Meters)> {
        self.nearest(at, radius, usize::MAX, eligible)
    }

    /// All available and `eligible` drivers within a polygon, by driver id, with where they are. Of one instant, as
    /// [`PositionIndex::nearest`]. Takes time for each driver in the circle around the polygon.
    pub fn within_polygon(
        &self,
        polygon: &Polygon,
        mut eligible: impl FnMut(&DriverId) -> bool,
    ) -> Vec<(&DriverId, Position)> {
        let (ball, drivers) = (Ball::surrounding(polygon), &self.drivers);
        let found = search::with_memory(|found| match &self.structure {
            Structure::Grid(grid) => search::within(&Listed { grid, drivers }, &ball, found),
            Structure::RTree(forest) => search::within(&Planted { forest, drivers }, &ball, found),
        });
        let inside = found.into_iter().filter(|(_, position)| polygon.contains(*position));
        let mut inside: Vec<_> = inside.map(|(slot, position)| (drivers.id(slot), position)).collect();
        inside.sort_unstable_by(|a, b| a.0.cmp(b.0));
        inside.retain(|(driver, _)| eligible(driver));
        inside
    }

    /// How many available drivers with a fix there are in each H3 cell that has any. Takes 0.4 µs a driver; drivers that
    /// move meanwhile count once.
    pub fn count_by_cell(&self, resolution: Resolution) -> BTreeMap<CellIndex, u32> {
        let places = (0..self.drivers.len()).map(|slot| self.drivers.place(slot)).filter(|place| place.is_searchable());
        positions::count_by_cell(places.map(Place::position), resolution)
    }

    /// Copies the last fix of every driver that has one into `into`, reusing its memory: about half a millisecond for 100,000
    /// drivers, and once more as long for each 10,000 that are new. Each driver is copied whole; drivers that move
    /// meanwhile may be seen before or after.
    pub fn snapshot(&self, into: &mut Positions) {
        into.take(self.roster(), |slot| {
            let (stamp, place) = self.read(slot);
            (place, stamp.last())
        });
    }

    /// All drivers so far by id.
    fn roster(&self) -> Arc<Roster> {
        let mut kept = self.roster.lock();
        let count = self.drivers.len();
        let older = kept.upgrade().unwrap_or_default();
        if older.len() == count {
            return older;
        }
        let roster = Arc::new(Roster::of(&self.drivers, count, &older));
        *kept = Arc::downgrade(&roster);
        roster
    }

    /// How many drivers have a slot, with a fix or without.
    pub fn len(&self) -> usize {
        self.drivers.len() as usize
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
