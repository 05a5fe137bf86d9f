//! The drivers in one cell of the grid: a list of slots that one thread at a time edits and any number read.
//!
//! Readers take no lock. They note the head of every list they read and look at the end whether it is still the same:
//! if all are, the lists were as read at the instant between.

use super::sync::{AtomicU32, AtomicU64, INLINE, Ordering, PER_BLOCK, pause};

/// No block follows.
const NONE: u32 = u32::MAX;

/// The head counts edits above, holds the length in the middle, and a lock in the lowest bit.
const LOCKED: u64 = 1;
const LENGTH_SHIFT: u32 = 1;
const LENGTH_BITS: u32 = 27;
const EDIT: u64 = 1 << (LENGTH_SHIFT + LENGTH_BITS);

/// One cell.
#[repr(align(64))]
pub(super) struct Cell {
    head: AtomicU64,
    next: AtomicU32,
    slots: [AtomicU32; INLINE],
}

/// Where a cell goes on that has more slots than fit into it.
#[repr(align(64))]
pub(super) struct Block {
    next: AtomicU32,
    slots: [AtomicU32; PER_BLOCK],
}

/// Where blocks come from. Every number that was ever given out stays readable.
pub(super) trait Blocks {
    fn get(&self, block: u32) -> &Block;
    fn take(&self) -> u32;
    fn give_back(&self, block: u32);
}

/// A list as it was read: proof that it was not being edited, if it is still the same later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Default for Block {
    fn default() -> Self {
        Self { next: AtomicU32::new(NONE), slots: std::array::from_fn(|_| AtomicU32::new(0)) }
    }
}

impl Default for Cell {
    fn default() -> Self {
        Self { head: AtomicU64::new(0), next: AtomicU32::new(NONE), slots: std::array::from_fn(|_| AtomicU32::new(0)) }
    }
}

impl Cell {
    /// Begins to read: `None` while somebody edits, otherwise what to compare with, and how many slots there are.
    pub(super) fn look(&self) -> Option<(Seen, usize)> {
        let head = self.head.load(Ordering::Acquire);
        (head & LOCKED == 0).then_some((Seen(head), length(head)))
    }

    /// Whether nobody has edited the list since.
    pub(super) fn is_still(&self, seen: Seen) -> bool {
        self.head.load(Ordering::Acquire) == seen.0
    }

    /// Adds the first `length` slots to `slots`. One of them may not be in the list, or not yet or twice, if it is edited
    /// meanwhile.
    #[inline]
    pub(super) fn read(&self, length: usize, blocks: &impl Blocks, slots: &mut Vec<u32>) {
        // Always all that the cell has room for: how many are in use cannot be guessed.
        let used = slots.len() + length.min(INLINE);
        slots.extend_from_slice(&self.slots.each_ref().map(|slot| slot.load(Ordering::Acquire)));
        slots.truncate(used);
        if length > INLINE {
            self.read_on(length - INLINE, blocks, slots);
        }
    }

    #[cold]
    fn read_on(&self, mut left: usize, blocks: &impl Blocks, slots: &mut Vec<u32>) {
        let mut next = self.next.load(Ordering::Acquire);
        while left > 0 && next != NONE {
            let block = blocks.get(next);
            slots.extend(block.slots[..left.min(PER_BLOCK)].iter().map(|slot| slot.load(Ordering::Acquire)));
            left = left.saturating_sub(PER_BLOCK);
            next = block.next.load(Ordering::Acquire);
        }
    }

    /// Waits for the cell and keeps everybody else from editing it.
    pub(super) fn lock(&self) -> Editing<'_> {
        for turn in 0.. {
            let head = self.head.load(Ordering::Relaxed);
            if head & LOCKED == 0
                && self.head.compare_exchange(head, head | LOCKED, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return Editing { cell: self, head };
            }
            pause(turn);
        }
        unreachable!("the loop has no end")
    }
}

fn length(head: u64) -> usize {
    (head >> LENGTH_SHIFT) as usize & ((1 << LENGTH_BITS) - 1)
}

/// A locked cell. Readers find out when it goes, if it was edited.
pub(super) struct Editing<'a> {
    cell: &'a Cell,
    head: u64,
}

impl Editing<'_> {
    pub(super) fn len(&self) -> usize {
        length(self.head)
    }

    /// Every slot.
    pub(super) fn all(&self, blocks: &impl Blocks) -> Vec<u32> {
        let mut slots = Vec::with_capacity(self.len() + INLINE);
        self.cell.read(self.len(), blocks, &mut slots);
        slots
    }

    /// Adds a slot that is not in the list.
    pub(super) fn push(&mut self, slot: u32, blocks: &impl Blocks) {
        let place = self.len();
        if place >= INLINE && (place - INLINE).is_multiple_of(PER_BLOCK) {
            let block = blocks.take();
            blocks.get(block).next.store(NONE, Ordering::Release);
            self.last_link(blocks).store(block, Ordering::Release);
        }
        self.at(place, blocks).store(slot, Ordering::Release);
        self.head = self.head.wrapping_add(EDIT + (1 << LENGTH_SHIFT));
    }

    /// Takes a slot out that is in the list.
    pub(super) fn remove(&mut self, slot: u32, blocks: &impl Blocks) {
        let is_it = |place: &usize| self.at(*place, blocks).load(Ordering::Relaxed) == slot;
        let place = (0..self.len()).find(is_it).expect("a driver is listed in the cell that its stamp names");
        let last = self.len() - 1;
        let moved = self.at(last, blocks).load(Ordering::Relaxed);
        self.at(place, blocks).store(moved, Ordering::Release);
        self.head = self.head.wrapping_add(EDIT - (1 << LENGTH_SHIFT));
        self.trim(blocks);
    }

    /// Takes every slot out.
    pub(super) fn clear(&mut self, blocks: &impl Blocks) {
        self.head = self.head.wrapping_add(EDIT) & !(((1 << LENGTH_BITS) - 1) << LENGTH_SHIFT);
        while self.cell.next.load(Ordering::Relaxed) != NONE {
            self.drop_last(blocks);
        }
    }

    /// Drops the last block if the list ends before it.
    fn trim(&mut self, blocks: &impl Blocks) {
        let len = self.len();
        if len >= INLINE && (len - INLINE).is_multiple_of(PER_BLOCK) {
            self.drop_last(blocks);
        }
    }

    fn drop_last(&mut self, blocks: &impl Blocks) {
        let mut link = &self.cell.next;
        loop {
            let block = link.load(Ordering::Relaxed);
            let next = &blocks.get(block).next;
            if next.load(Ordering::Relaxed) == NONE {
                link.store(NONE, Ordering::Release);
                return blocks.give_back(block);
            }
            link = next;
        }
    }

    /// The link behind which nothing follows.
    fn last_link<'b>(&'b self, blocks: &'b impl Blocks) -> &'b AtomicU32 {
        let mut link = &self.cell.next;
        loop {
            match link.load(Ordering::Relaxed) {
                NONE => return link,
                block => link = &blocks.get(block).next,
            }
        }
    }

    fn at<'b>(&'b self, place: usize, blocks: &'b impl Blocks) -> &'b AtomicU32 {
        let Some(beyond) = place.checked_sub(INLINE) else { return &self.cell.slots[place] };
        let mut block = blocks.get(self.cell.next.load(Ordering::Relaxed));
        for _ in 0..beyond / PER_BLOCK {
            block = blocks.get(block.next.load(Ordering::Relaxed));
        }
        &block.slots[beyond % PER_BLOCK]
    }
}

impl Drop for Editing<'_> {
    fn drop(&mut self) {
        self.cell.head.store(self.head, Ordering::Release);
    }
}
