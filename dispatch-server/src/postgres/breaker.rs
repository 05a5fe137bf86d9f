//! When to try again what failed: soon at first, then less and less often, and never all at once.

use std::time::Duration;

/// Closed while all is well. A failure opens it; after a while it lets one attempt through, which closes it or opens it for longer.
///
/// It reads no clock: times are given, since any beginning.
#[derive(Debug)]
pub(super) struct Breaker {
    first: Duration,
    longest: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// Nothing is tried before `until`.
    Open {
        until: Duration,
        failures: u32,
    },
    /// One attempt is under way.
    HalfOpen {
        failures: u32,
    },
}

impl Breaker {
    /// Waits about `first` after one failure, twice as long after each further one, and `longest` at most.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, state: State::Closed }
    }

    /// Whether something may be tried now; if not, how long it takes until then.
    pub(super) fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        match self.state {
            State::Closed | State::HalfOpen { .. } => Ok(()),
            State::Open { until, .. } if now < until => Err(until.saturating_sub(now)),
            State::Open { failures, .. } => {
                self.state = State::HalfOpen { failures };
                Ok(())
            }
        }
    }

    /// It went well.
    pub(super) fn succeeded(&mut self) {
        self.state = State::Closed;
    }

    /// It failed. `chance` is drawn evenly from 0 to 255, so that many who failed together do not come back together.
    pub(super) fn failed(&mut self, now: Duration, chance: u8) {
        let failures = match self.state {
            State::Closed => 0,
            State::Open { failures, .. } | State::HalfOpen { failures } => failures.saturating_add(1),
        };
        let wait = self.first.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest);
        let wait = wait / 2 + wait / 2 * u32::from(chance) / 255;
        self.state = State::Open { until: now + wait, failures };
    }

    /// Whether the last attempt went well.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn a_success_forgets_all_failures() {
        let mut breaker = Breaker::new(FIRST, LONGEST);
        let mut now = Duration::ZERO;
        for _ in 0..20 {
            breaker.failed(now, 255);
            now += breaker.admit(now).unwrap_err();
            assert_eq!(breaker.admit(now), Ok(()));
            assert!(!breaker.is_closed(), "one attempt is let through, and decides");
        }
        breaker.succeeded();
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.failed(now, 255);
        assert_eq!(breaker.admit(now), Err(FIRST));
    }

    proptest! {
        #[test]
        fn waits_grow_within_their_bounds(chances in proptest::collection::vec(any::<u8>(), 1..60)) {
            let mut breaker = Breaker::new(FIRST, LONGEST);
            let mut now = Duration::ZERO;
            for (failures, chance) in chances.into_iter().enumerate() {
                breaker.failed(now, chance);
                let wait = breaker.admit(now).unwrap_err();
                let full = FIRST.saturating_mul(2_u32.saturating_pow(failures as u32)).min(LONGEST);
                prop_assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
                prop_assert!(breaker.admit((now + wait).saturating_sub(Duration::from_nanos(1))).is_err());
                now += wait;
                prop_assert_eq!(breaker.admit(now), Ok(()));
            }
        }
    }
}
