//! The atomics of loom, under the names that the core's own has.

pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots within a cell itself.
pub(super) const INLINE: usize = 1;

/// Slots within a further block.
pub(super) const PER_BLOCK: usize = 1;

/// Whoever waits lets others run: until then nothing changes.
pub(super) fn pause(_turn: u32) {
    loom::thread::yield_now();
}
