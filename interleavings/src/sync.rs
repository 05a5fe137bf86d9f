//! Atomics at which threads take turns, under the names that the core's own have.

pub(super) use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots within a cell itself.
pub(super) const INLINE: usize = 1;

/// Slots within a further block.
pub(super) const PER_BLOCK: usize = 2;

/// Whoever waits lets others run: until then nothing changes.
pub(super) fn pause(_turn: u32) {
    shuttle::thread::yield_now();
}
