//! Which fixes are believed.

use crate::config::FixRules;
use crate::geo::Position;
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// Where a driver was, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fix {
    /// Where.
    pub position: Position,
    /// When it was measured, by the driver's clock.
    pub at: Timestamp,
}

/// What became of a reported fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Reported {
    /// It is where the driver is now.
    Moved,
    /// Ignored: not newer than what the driver reported before.
    Stale,
    /// Refused: older than [`FixRules::max_age`].
    TooOld,
    /// Refused: further ahead of our time than [`FixRules::max_ahead`].
    FromFuture,
    /// Refused: the driver cannot have come here since its last fix.
    TooFast,
}

/// What one driver reported so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Track {
    /// The newest fix that was believed.
    pub(super) last: Option<Fix>,
    jump: Option<Jump>,
}

/// Fixes in a row that were refused for speed and agree with each other.
#[derive(Clone, Copy, Debug)]
struct Jump {
    newest: Fix,
    count: u32,
}

impl Track {
    /// Judges a fix and keeps it if it is believed.
    pub(super) fn report(&mut self, fix: Fix, now: Timestamp, rules: &FixRules) -> Reported {
        if now - fix.at > rules.max_age {
            return Reported::TooOld;
        }
        if fix.at - now > rules.max_ahead {
            return Reported::FromFuture;
        }
        if let Some(last) = self.last {
            if fix.at <= last.at {
                return Reported::Stale;
            }
            if !can_reach(last, fix, rules) {
                // The same refused fix sent again must not confirm itself.
                if self.jump.is_some_and(|jump| fix.at <= jump.newest.at) {
                    return Reported::Stale;
                }
                let count = match self.jump {
                    Some(jump) if can_reach(jump.newest, fix, rules) => jump.count + 1,
                    _ => 1,
                };
                if count < rules.believe_after {
                    self.jump = Some(Jump { newest: fix, count });
                    return Reported::TooFast;
                }
            }
        }
        *self = Self { last: Some(fix), jump: None };
        Reported::Moved
    }
}

/// Whether a driver can have come from one fix to a later one.
fn can_reach(from: Fix, to: Fix, rules: &FixRules) -> bool {
    let elapsed = (to.at - from.at).max(FixRules::LEAST_ELAPSED);
    from.position.distance(to.position).get() <= rules.max_speed_mps * elapsed.as_secs_f64()
}

impl FixRules {
    /// Two fixes closer in time count as this far apart: below it the error of a fix outweighs any speed.
    const LEAST_ELAPSED: Millis = Millis::from_secs(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A fix `meters` (about) north of the equator at `millis`.
    fn fix(meters: f64, millis: i64) -> Fix {
        let position = Position::new(meters / 111_195.0, 0.0).unwrap();
        Fix { position, at: Timestamp::from_millis(millis) }
    }

    /// What becomes of fixes that arrive the moment they are measured.
    fn reported(fixes: &[(f64, i64)]) -> Vec<Reported> {
        let mut track = Track::default();
        let report =
            |&(meters, millis)| track.report(fix(meters, millis), Timestamp::from_millis(millis), &FixRules::default());
        fixes.iter().map(report).collect()
    }

    use Reported::{FromFuture, Moved, Stale, TooFast, TooOld};

    #[test]
    fn age_is_bounded_on_both_sides() {
        let now = 1_000_000;
        for (at, expected) in
            [(now - 300_001, TooOld), (now - 300_000, Moved), (now + 60_000, Moved), (now + 60_001, FromFuture)]
        {
            let mut track = Track::default();
            let reported = track.report(fix(0.0, at), Timestamp::from_millis(now), &FixRules::default());
            assert_eq!((reported, track.last.is_some()), (expected, expected == Moved));
        }
        for (at, expected) in [(i64::MIN, TooOld), (i64::MAX, FromFuture)] {
            let reported = Track::default().report(fix(0.0, at), Timestamp::from_millis(0), &FixRules::default());
            assert_eq!(reported, expected);
        }
    }

    #[test]
    fn only_what_is_newer_counts() {
        assert_eq!(reported(&[(0.0, 5_000), (1.0, 5_000), (1.0, 4_999), (1.0, 5_001)]), [Moved, Stale, Stale, Moved]);
    }

    #[test]
    fn sixty_metres_a_second_and_sixty_metres_at_once_are_believed() {
        assert_eq!(reported(&[(0.0, 0), (599.0, 10_000)]), [Moved, Moved]);
        assert_eq!(reported(&[(0.0, 0), (601.0, 10_000)]), [Moved, TooFast]);
        assert_eq!(reported(&[(0.0, 0), (59.0, 1)]), [Moved, Moved]);
        assert_eq!(reported(&[(0.0, 0), (61.0, 999)]), [Moved, TooFast]);
    }

    #[test]
    fn the_third_jump_in_a_row_is_believed() {
        let there = 5_000.0;
        assert_eq!(
            reported(&[(0.0, 0), (there, 1_000), (there + 10.0, 2_000), (there, 3_000), (there, 4_000)]),
            [Moved, TooFast, TooFast, Moved, Moved]
        );
        // Back where it was: that is a jump now.
        assert_eq!(
            reported(&[(0.0, 0), (there, 1_000), (there, 2_000), (there, 3_000), (0.0, 4_000)])[3..],
            [Moved, TooFast]
        );
    }

    #[test]
    fn jumps_count_only_in_a_row_and_from_one_place() {
        let (there, elsewhere) = (5_000.0, 50_000.0);
        assert_eq!(
            reported(&[(0.0, 0), (there, 1_000), (there, 2_000), (1.0, 3_000), (there, 4_000), (there, 5_000)]),
            [Moved, TooFast, TooFast, Moved, TooFast, TooFast]
        );
        assert_eq!(
            reported(&[(0.0, 0), (there, 1_000), (elsewhere, 2_000), (there, 3_000), (there, 4_000), (there, 5_000)]),
            [Moved, TooFast, TooFast, TooFast, TooFast, Moved]
        );
    }

    #[test]
    fn a_refused_fix_sent_again_does_not_confirm_itself() {
        let there = 5_000.0;
        assert_eq!(
            reported(&[(0.0, 0), (there, 2_000), (there, 2_000), (there, 1_000), (there, 3_000), (1.0, 2_500)]),
            [Moved, TooFast, Stale, Stale, TooFast, Moved]
        );
    }

    proptest! {
        #[test]
        fn a_plausible_way_is_believed_in_full(
            steps in proptest::collection::vec((0.0..59.0f64, any::<bool>(), 1..30_000i64), 1..50),
        ) {
            let (mut meters, mut millis) = (0.0, 0);
            let way: Vec<_> = steps
                .iter()
                .map(|&(speed, back, elapsed)| {
                    meters += speed * (elapsed as f64 / 1_000.0) * if back { -1.0 } else { 1.0 };
                    millis += elapsed;
                    (meters, millis)
                })
                .collect();
            prop_assert!(reported(&way).iter().all(|reported| *reported == Moved));
        }

        #[test]
        fn the_last_fix_is_the_last_that_moved_and_never_gets_older(
            fixes in proptest::collection::vec((-10_000.0..10_000.0f64, 0..600_000i64, 0..600_000i64), 1..60),
        ) {
            let mut track = Track::default();
            for (meters, at, now) in fixes {
                let (before, fix) = (track.last, fix(meters, at));
                let moved = track.report(fix, Timestamp::from_millis(now), &FixRules::default()) == Moved;
                prop_assert_eq!(track.last, if moved { Some(fix) } else { before });
                prop_assert!(!moved || before.is_none_or(|before| before.at < fix.at));
            }
        }
    }
}
