//! The drivers of an index by slot.

use super::ball::Ball;
use super::chunks::Table;
use super::place::{Place, Stamp};
use super::record::Record;
use super::search::Found;
use crate::model::DriverId;
use parking_lot::RwLock;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Names a driver within one [`PositionIndex`](super::PositionIndex): small, dense, without hashing or comparing ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(super) u32);

impl Slot {
    /// Which slot it is: 0 for the first driver, and so on. For tables of one's own about the drivers of an index.
    pub fn index(self) -> u32 {
        self.0
    }
}

/// An index that has as many drivers as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the index holds at most {max_drivers} drivers")]
pub struct IndexFull {
    /// The most drivers allowed.
    pub max_drivers: u32,
}

/// Drivers are never removed, so that all about one is read without a lock.
pub(super) struct Drivers {
    ids: Table<OnceLock<DriverId>>,
    records: Table<Record>,
    /// Packed motions; only where any was ever reported.
    motions: Table<AtomicU64>,
    slots: RwLock<Slots>,
    count: AtomicU32,
    limit: u32,
}

/// Slots by id: a hash table of nothing but slots, because the ids are known elsewhere.
struct Slots {
    hasher: RandomState,
    /// Slots where the hashes of their ids lead to, or in the next free place; as many as a power of two.
    table: Vec<u32>,
}

const FREE: u32 = u32::MAX;

impl Drivers {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            ids: Table::new(limit),
            records: Table::new(limit),
            motions: Table::new(limit),
            slots: RwLock::new(Slots { hasher: RandomState::new(), table: vec![FREE; 16] }),
            count: AtomicU32::new(0),
            limit,
        }
    }

    /// The slot of a driver; the next free one if it is new.
    pub(super) fn slot(&self, id: &DriverId) -> Result<Slot, IndexFull> {
        if let Ok(slot) = self.find(&self.slots.read(), id) {
            return Ok(slot);
        }
        let mut slots = self.slots.write();
        // Another thread may have come first.
        if let Ok(slot) = self.find(&slots, id) {
            return Ok(slot);
        }
        let slot = self.len();
        if slot >= self.limit {
            return Err(IndexFull { max_drivers: self.limit });
        }
        self.ids.get_or_make(slot, OnceLock::new).get_or_init(|| id.clone());
        self.records.get_or_make(slot, || Record::new(Stamp::NEW.0, 0));
        self.count.store(slot + 1, Ordering::Release);
        self.insert(&mut slots, slot);
        Ok(Slot(slot))
    }

    /// The slot of a driver, or the free place in the table where it would be.
    fn find(&self, slots: &Slots, id: &DriverId) -> Result<Slot, usize> {
        let mask = slots.table.len() - 1;
        let mut place = slots.hasher.hash_one(id) as usize & mask;
        loop {
            match slots.table[place] {
                FREE => return Err(place),
                slot if self.id(slot) == id => return Ok(Slot(slot)),
                _ => place = (place + 1) & mask,
            }
        }
    }

    fn insert(&self, slots: &mut Slots, slot: u32) {
        // At most seven of eight places are taken, or looking for one would take long.
        if (slot as usize + 1) * 8 > slots.table.len() * 7 {
            slots.table = vec![FREE; slots.table.len() * 2];
            (0..=slot).for_each(|slot| self.put(slots, slot));
        } else {
            self.put(slots, slot);
        }
    }

    fn put(&self, slots: &mut Slots, slot: u32) {
        let Err(place) = self.find(slots, self.id(slot)) else { unreachable!("a driver is put once") };
        slots.table[place] = slot;
    }

    /// The driver in a slot of this index.
    pub(super) fn id(&self, slot: u32) -> &DriverId {
        self.ids.get(slot).and_then(OnceLock::get).expect("a slot belongs to the index that gave it out")
    }

    #[inline]
    pub(super) fn record(&self, slot: u32) -> &Record {
        self.records.get(slot).expect("a slot belongs to the index that gave it out")
    }

    #[inline]
    pub(super) fn place(&self, slot: u32) -> Place {
        Place(self.record(slot).place())
    }

    /// The packed motion of a driver, for whoever has its record.
    pub(super) fn motion(&self, slot: u32) -> &AtomicU64 {
        self.motions.get_or_make(slot, || AtomicU64::new(0))
    }

    /// Looks up where the listed drivers are.
    pub(super) fn locate(&self, found: &mut Found) {
        found.places.extend(found.names.iter().map(|slot| self.place(*slot)));
    }

    /// Adds every searchable driver that may be in the ball.
    pub(super) fn locate_all(&self, ball: &Ball, found: &mut Found) {
        let places = self.records.first(self.len()).flatten().map(|record| Place(record.place()));
        for (slot, place) in (0..).zip(places).filter(|(_, place)| place.is_searchable() && ball.may_have(*place)) {
            found.names.push(slot);
            found.places.push(place);
        }
    }

    /// How many drivers have a slot.
    pub(super) fn len(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }
}
