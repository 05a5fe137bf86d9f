//! The drivers of an index by slot.

use super::fix::Track;
use super::shards::Spot;
use crate::model::DriverId;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Names a driver within one [`PositionIndex`](super::PositionIndex): small, dense, without hashing or comparing ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

/// An index that has as many drivers as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index holds at most {max_drivers} drivers")]
pub struct IndexFull {
    /// The most drivers allowed.
    pub max_drivers: u32,
}

/// One driver.
pub(super) struct Driver {
    pub(super) id: DriverId,
    pub(super) state: Mutex<DriverState>,
}

/// What changes about a driver; held locked while its entry in the shards changes, so that both always agree.
pub(super) struct DriverState {
    pub(super) track: Track,
    pub(super) available: bool,
    /// Where searches find it: nowhere while it is unavailable or has no fix.
    pub(super) spot: Option<Spot>,
}

/// Drivers are never removed, so that a slot is read without a lock.
pub(super) struct Drivers {
    slots: RwLock<BTreeMap<DriverId, Slot>>,
    chunks: Box<[OnceLock<Chunk>]>,
    limit: u32,
}

type Chunk = Box<[OnceLock<Driver>]>;

/// Drivers are allocated this many at a time.
const CHUNK: usize = 1_024;

impl Drivers {
    pub(super) fn new(limit: u32) -> Self {
        let chunks = (limit as usize).div_ceil(CHUNK);
        Self { slots: RwLock::default(), chunks: (0..chunks).map(|_| OnceLock::new()).collect(), limit }
    }

    /// The slot of a driver; the next free one if it is new.
    pub(super) fn slot(&self, id: &DriverId) -> Result<Slot, IndexFull> {
        if let Some(&slot) = self.slots.read().get(id) {
            return Ok(slot);
        }
        let mut slots = self.slots.write();
        // Another thread may have come first.
        if let Some(&slot) = slots.get(id) {
            return Ok(slot);
        }
        let slot = Slot(slots.len() as u32);
        if slot.0 >= self.limit {
            return Err(IndexFull { max_drivers: self.limit });
        }
        let (chunk, place) = slot.location();
        let chunk = self.chunks[chunk].get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        let state = DriverState { track: Track::default(), available: true, spot: None };
        chunk[place].get_or_init(|| Driver { id: id.clone(), state: Mutex::new(state) });
        slots.insert(id.clone(), slot);
        Ok(slot)
    }

    /// The driver in a slot of this index.
    pub(super) fn get(&self, slot: Slot) -> &Driver {
        let (chunk, place) = slot.location();
        self.chunks
            .get(chunk)
            .and_then(OnceLock::get)
            .and_then(|chunk| chunk[place].get())
            .expect("a slot belongs to the index that gave it out")
    }

    /// Shows every driver, by id. No driver is added meanwhile.
    pub(super) fn for_each(&self, mut show: impl FnMut(&Driver)) {
        for &slot in self.slots.read().values() {
            show(self.get(slot));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.read().len()
    }
}

impl Slot {
    fn location(self) -> (usize, usize) {
        (self.0 as usize / CHUNK, self.0 as usize % CHUNK)
    }
}
