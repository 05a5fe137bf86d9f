//! The server's time: the wall clock at the start, moved on by the monotonic one, so that it never goes back.

use dispatch_core::{Millis, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

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
pub struct ManualClock(Arc<watch::Sender<i64>>);

impl Clock {
    /// The clock of this machine. Steps of the wall clock after this call are not followed.
    pub fn real() -> Self {
        Self(Source::Real { wall: wall(), started: Instant::now() })
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Real { wall, started } => *wall + Millis::new(started.elapsed().as_millis() as i64),
            Source::Manual(clock) => clock.now(),
        }
    }

    /// The same clock, moved on to `start` if it was behind: time does not go back for a restart.
    pub(super) fn not_before(self, start: Option<Timestamp>) -> Self {
        let behind = start.map_or(Millis::ZERO, |start| start - self.now()).max(Millis::ZERO);
        match self.0 {
            Source::Real { wall, started } => Self(Source::Real { wall: wall + behind, started }),
            Source::Manual(clock) => {
                clock.advance(behind);
                clock.into()
            }
        }
    }

    /// The time of this machine, which others compare with theirs.
    pub(crate) fn wall_now(&self) -> Timestamp {
        self.now() + self.wall_ahead()
    }

    /// Waits until this time has come.
    pub(crate) async fn reached(&self, time: Timestamp) {
        match &self.0 {
            Source::Real { .. } => tokio::time::sleep(self.until(Some(time)).unwrap_or_default()).await,
            Source::Manual(ManualClock(clock)) => {
                // Closed only once this clock is gone.
                let _ = clock.subscribe().wait_for(|now| *now >= time.as_millis()).await;
            }
        }
    }

    /// How far the wall clock is ahead of the server's time: more than a moment only if it was set, or the machine slept.
    pub(super) fn wall_ahead(&self) -> Millis {
        match &self.0 {
            Source::Real { .. } => wall() - self.now(),
            Source::Manual(_) => Millis::ZERO,
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

fn wall() -> Timestamp {
    Timestamp::from_millis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}

/// Notices when the wall clock leaves the server's time behind, or falls behind it.
#[derive(Default)]
pub(super) struct Steps {
    ahead: Millis,
}

impl Steps {
    /// Says so if the wall clock was set since the last call.
    pub(super) fn watch(&mut self, ahead: Millis) -> Option<String> {
        let step = ahead - self.ahead;
        if step.get().abs() < 1_000 {
            return None;
        }
        self.ahead = ahead;
        let (step, ahead) = (step.as_secs_f64(), ahead.as_secs_f64());
        Some(format!(
            "the clock of this machine was set by {step:+.0} s, or the machine slept; the server's time does not follow, and \
             is {ahead:+.0} s behind now: positions with times of their own may be refused until it is started again"
        ))
    }
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(start.as_millis())))
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(*self.0.borrow())
    }

    /// Moves it on; a negative duration does not move it.
    pub fn advance(&self, by: Millis) {
        self.0.send_modify(|millis| *millis += by.get().max(0));
    }
}

impl From<ManualClock> for Clock {
    fn from(clock: ManualClock) -> Self {
        Self(Source::Manual(clock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_clock_is_the_wall_clock_at_first() {
        assert!(Clock::real().wall_ahead().get().abs() < 1_000);
    }

    #[test]
    fn steps_of_the_wall_clock_are_told_once() {
        let mut steps = Steps::default();
        let told = |ahead: i64, steps: &mut Steps| steps.watch(Millis::new(ahead));
        for slewed in [0, 500, 999, -999] {
            assert_eq!(told(slewed, &mut steps), None);
        }
        let forward = told(90_000, &mut steps).unwrap();
        assert!(forward.contains("set by +90 s") && forward.contains("is +90 s behind"), "{forward}");
        assert_eq!(told(90_400, &mut steps), None);
        let back = told(60_000, &mut steps).unwrap();
        assert!(back.contains("set by -30 s") && back.contains("is +60 s behind"), "{back}");
        assert_eq!(told(60_000, &mut steps), None);
    }
}
