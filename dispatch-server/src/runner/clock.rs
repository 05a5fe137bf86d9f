//! The server's time: the wall clock at the start, moved on by the monotonic one, so that it never goes back.

use dispatch_core::{Millis, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the server takes its time from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Real { wall: Timestamp, started: Instant },
    Manual(ManualClock),
}

/// A clock that stands still until it is told to move. For tests: a day passes in no time.
///
/// What is due is done before the next request is, so that no test has to wait.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl Clock {
    /// The clock of this machine. Steps of the wall clock after this call are not followed.
    pub fn real() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        Self(Source::Real { wall: Timestamp::from_millis(wall), started: Instant::now() })
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Real { wall, started } => *wall + Millis::new(started.elapsed().as_millis() as i64),
            Source::Manual(clock) => clock.now(),
        }
    }

    /// How long to sleep until `deadline`; `None` where only a request can wake.
    pub(super) fn until(&self, deadline: Option<Timestamp>) -> Option<Duration> {
        match &self.0 {
            Source::Real { .. } => {
                deadline.map(|at| Duration::from_millis(u64::try_from((at - self.now()).get()).unwrap_or(0)))
            }
            Source::Manual(_) => None,
        }
    }
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.as_millis())))
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    /// Moves it on; a negative duration does not move it.
    pub fn advance(&self, by: Millis) {
        self.0.fetch_add(by.get().max(0), Ordering::SeqCst);
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self(Source::Manual(clock))
    }
}
