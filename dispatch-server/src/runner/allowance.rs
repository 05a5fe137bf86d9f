//! How soon a driver may report again, in one word: the generic cell rate algorithm.

use dispatch_core::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};

/// How often a driver may report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReportRate {
    /// What one report takes, in microseconds.
    each: i64,
    /// As many at once take this.
    at_once: i64,
}

impl ReportRate {
    /// So many a second in the long run, and so many at once; both within what the configuration allows.
    pub(crate) fn new(per_second: f64, burst: u32) -> Self {
        let each = (1e6 / per_second).round() as i64;
        Self { each, at_once: each * i64::from(burst) }
    }
}

/// What one driver may still report.
pub(super) struct Allowance {
    /// When all that was reported is paid for, in microseconds since 1970.
    paid_at: AtomicI64,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { paid_at: AtomicI64::new(i64::MIN) }
    }

    /// Whether one more report is allowed now, and counts it.
    pub(super) fn allows(&self, now: Timestamp, rate: ReportRate) -> bool {
        let now = now.as_millis().saturating_mul(1_000);
        let pay = |paid_at: i64| {
            let paid_at = paid_at.max(now).saturating_add(rate.each);
            (paid_at.saturating_sub(now) <= rate.at_once).then_some(paid_at)
        };
        self.paid_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatch_core::Millis;
    use proptest::prelude::*;

    #[test]
    fn five_at_once_then_one_a_second() {
        let start = Timestamp::from_millis(1_000_000);
        let (allowance, rate) = (Allowance::new(), ReportRate::new(1.0, 5));
        let allowed = |now: Timestamp| (0..7).filter(|_| allowance.allows(now, rate)).count();
        assert_eq!(allowed(start), 5);
        assert_eq!(allowed(start + Millis::new(999)), 0);
        assert_eq!(allowed(start + Millis::from_secs(2)), 2);
        assert_eq!(allowed(start), 0, "an earlier time earns nothing");
        assert_eq!(allowed(start + Millis::from_secs(3_600)), 5, "no more is saved up");
    }

    #[test]
    fn many_at_once_are_counted_once_each() {
        let (allowance, rate, now) = (Allowance::new(), ReportRate::new(0.01, 1_000), Timestamp::from_millis(0));
        let allowed = || (0..1_000).filter(|_| allowance.allows(now, rate)).count();
        let counts =
            std::thread::scope(|scope| [(); 4].map(|()| scope.spawn(allowed)).map(|thread| thread.join().unwrap()));
        assert_eq!(counts.iter().sum::<usize>(), 1_000);
    }

    proptest! {
        /// What a bucket that fills with time allows, counted in parts of a report.
        #[test]
        fn it_is_a_bucket_that_fills(
            per_second in 1..1_000_u32,
            burst in 1..50_u32,
            steps in proptest::collection::vec(0..3_000_i64, 1..200),
        ) {
            let (allowance, rate) = (Allowance::new(), ReportRate::new(per_second.into(), burst));
            let (mut now, mut left) = (Timestamp::from_millis(1_000_000), rate.at_once);
            for step in steps {
                now += Millis::new(step);
                left = (left + step * 1_000).min(rate.at_once);
                let allowed = left >= rate.each;
                left -= if allowed { rate.each } else { 0 };
                prop_assert_eq!(allowance.allows(now, rate), allowed);
            }
        }
    }
}
