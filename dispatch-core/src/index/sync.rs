//! What the lock-free files of this module are made of. The crate `interleavings` compiles those files against its own
//! version of this one, which can try every interleaving.

pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots within a cell itself: with its head a cache line.
pub(super) const INLINE: usize = 13;

/// Slots within a further block: a cache line with its link.
pub(super) const PER_BLOCK: usize = 15;

/// Waits a moment for another thread to finish its few instructions; `turn` counts how often that was so far.
pub(super) fn pause(turn: u32) {
    // Whoever is waited for may have lost its core in the middle of them.
    if turn < 64 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}
