//! What was seen.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What all clients have seen since the last look.
#[derive(Default)]
pub(super) struct Tally {
    fixes: AtomicU64,
    events: AtomicU64,
    frames: AtomicU64,
    seen: Mutex<Seen>,
    errors: Mutex<(u64, Option<String>)>,
}

#[derive(Default)]
struct Seen {
    fix_to_watcher_ms: Vec<i64>,
    after_window_ms: Vec<i64>,
}

impl Tally {
    pub(super) fn fixes(&self, moved: u64) {
        self.fixes.fetch_add(moved, Ordering::Relaxed);
    }

    /// An entry of the feed came to somebody.
    pub(super) fn event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// The positions of a market came to somebody.
    pub(super) fn frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// A position came to a watcher so long after it was measured.
    pub(super) fn position(&self, ms: i64) {
        self.seen().fix_to_watcher_ms.push(ms);
    }

    /// The first offer of an order came so long after the window in which it was due.
    pub(super) fn offer(&self, ms: i64) {
        self.seen().after_window_ms.push(ms);
    }

    pub(super) fn error(&self, what: &str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.0 += 1;
        errors.1.get_or_insert_with(|| what.to_owned());
    }

    pub(super) fn errors(&self) -> (u64, Option<String>) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen since the last call, in so many seconds; errors stay.
    pub(super) fn take(&self, seconds: f64) -> Value {
        let Seen { fix_to_watcher_ms, after_window_ms } = std::mem::take(&mut *self.seen());
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let (positions, orders) = (fix_to_watcher_ms.len(), after_window_ms.len());
        let (fix, offer) = (Quantiles::of(fix_to_watcher_ms), Quantiles::of(after_window_ms));
        json!({
            "fixes_per_s": take(&self.fixes) as f64 / seconds,
            "entries_told": take(&self.events),
            "market_frames_told": take(&self.frames),
            "positions_told": positions,
            "fix_to_watcher_p50_ms": fix.p50,
            "fix_to_watcher_p99_ms": fix.p99,
            "fix_to_watcher_max_ms": fix.max,
            "orders_offered": orders,
            "due_to_first_offer_after_window_p50_ms": offer.p50,
            "due_to_first_offer_after_window_p99_ms": offer.p99,
            "due_to_first_offer_after_window_max_ms": offer.max,
        })
    }
}

struct Quantiles {
    p50: Option<i64>,
    p99: Option<i64>,
    max: Option<i64>,
}

impl Quantiles {
    fn of(mut all: Vec<i64>) -> Self {
        all.sort_unstable();
        let at = |share: f64| all.get((all.len().saturating_sub(1) as f64 * share).round() as usize).copied();
        Self { p50: at(0.5), p99: at(0.99), max: all.last().copied() }
    }
}
