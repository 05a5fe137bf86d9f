//! The two words that say where a driver is: written by many, read by many, without a lock of their own.
//!
//! `place` is always whole, so that whoever needs only that loads it. `stamp` orders the writes: its lowest bit is a
//! lock, held for the few instructions between claiming a record and having written both words.

use super::sync::{AtomicU64, Ordering, pause};

/// The bit of a stamp that locks its record; never set in what callers pass or get.
pub(super) const LOCKED: u64 = 1;

/// When and where a driver was last: a `Stamp` and a `Place`, packed.
///
/// Whoever changes `place` changes `stamp` with it, and a stamp that comes back stands for the same position.
#[repr(align(16))]
pub(super) struct Record {
    stamp: AtomicU64,
    place: AtomicU64,
}

impl Record {
    pub(super) fn new(stamp: u64, place: u64) -> Self {
        Self { stamp: AtomicU64::new(stamp), place: AtomicU64::new(place) }
    }

    /// The place alone.
    pub(super) fn place(&self) -> u64 {
        self.place.load(Ordering::Acquire)
    }

    /// Both words, which may not belong together; the stamp may be locked. For [`Record::replace`], which finds that out.
    pub(super) fn glimpse(&self) -> (u64, u64) {
        let stamp = self.stamp.load(Ordering::Acquire);
        (stamp, self.place.load(Ordering::Acquire))
    }

    /// Both words as they were at one instant.
    pub(super) fn read(&self) -> (u64, u64) {
        for turn in 0.. {
            let (stamp, place) = self.glimpse();
            if stamp & LOCKED == 0 && self.stamp.load(Ordering::Acquire) == stamp {
                return (stamp, place);
            }
            pause(turn);
        }
        unreachable!("the loop has no end")
    }

    /// Writes both words if the stamp still is `seen`.
    #[inline]
    pub(super) fn replace(&self, seen: u64, stamp: u64, place: u64) -> bool {
        let claimed = seen & LOCKED == 0
            && self.stamp.compare_exchange(seen, seen | LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if claimed {
            self.place.store(place, Ordering::Release);
            self.stamp.store(stamp, Ordering::Release);
        }
        claimed
    }

    /// Waits for the record and keeps everybody else from writing it.
    pub(super) fn lock(&self) -> Held<'_> {
        for turn in 0.. {
            let stamp = self.stamp.load(Ordering::Relaxed);
            if stamp & LOCKED == 0
                && self.stamp.compare_exchange(stamp, stamp | LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return Held { record: self, stamp, place: self.place.load(Ordering::Acquire) };
            }
            pause(turn);
        }
        unreachable!("the loop has no end")
    }
}

/// A locked record; its words are written back when it goes.
pub(super) struct Held<'a> {
    record: &'a Record,
    pub(super) stamp: u64,
    pub(super) place: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.record.place.store(self.place, Ordering::Release);
        self.record.stamp.store(self.stamp, Ordering::Release);
    }
}
