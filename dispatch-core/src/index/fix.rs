//! Which fixes are believed.

use crate::config::FixRules;
use crate::geo::Position;
use crate::units::{Meters, Millis, Timestamp};
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
    /// Ignored: older than [`FixRules::live_for`], or not newer than what the driver reported before. Where it was, not
    /// where it is.
    Stale,
    /// Refused: older than [`FixRules::max_age`].
    TooOld,
    /// Refused: further ahead of our time than [`FixRules::max_ahead`].
    FromFuture,
    /// Refused: the driver cannot have come here since its last fix.
    TooFast,
}

/// How a driver was moving, and how well it knew where it was: shown to people, never decided upon.
///
/// Kept in steps of 0.1 m, 0.01 m/s and 0.01 degree; an accuracy or speed that is too large for 16 bits (6.5 km, 655 m/s)
/// is kept as the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// The driver is within this of the position, as its receiver says.
    pub accuracy: Option<Meters>,
    /// Speed over ground, in metres a second.
    pub speed_mps: Option<f64>,
    /// Direction of travel in degrees from north to the east.
    pub heading_deg: Option<f64>,
}

impl Motion {
    /// Nothing is known.
    pub(super) const NONE: u64 = (1 << 48) - 1;

    /// Three fields of 16 bits. What is no number, or negative, is unknown.
    pub(super) fn pack(self) -> u64 {
        let field = |value: Option<f64>| match value {
            Some(value) if value >= 0.0 => value.round().min(65_534.0) as u64,
            _ => 0xffff,
        };
        let heading = self.heading_deg.map(|degrees| (degrees.rem_euclid(360.0) * 100.0).round() % 36_000.0);
        field(self.accuracy.map(|accuracy| accuracy.get() * 10.0))
            | field(self.speed_mps.map(|speed| speed * 100.0)) << 16
            | field(heading) << 32
    }

    pub(super) fn unpack(packed: u64) -> Self {
        let field = |at: u32| Some(packed >> at & 0xffff).filter(|field| *field != 0xffff).map(|field| field as f64);
        Self {
            accuracy: field(0)
                .map(|accuracy| Meters::new(accuracy / 10.0).expect("16 bits are finite and not negative")),
            speed_mps: field(16).map(|speed| speed / 100.0),
            heading_deg: field(32).map(|heading| heading / 100.0),
        }
    }
}

/// What one driver reported so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Track {
    /// The newest fix that was believed.
    pub(super) last: Option<Fix>,
    pub(super) jump: Option<Jump>,
}

/// Fixes in a row that were refused for speed and agree with each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jump {
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
        if now - fix.at > rules.live_for {
            return Reported::Stale;
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
    pub(super) const LEAST_ELAPSED: Millis = Millis::from_secs(1);
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
        for (at, expected) in [
            (now - 300_001, TooOld),
            (now - 300_000, Stale),
            (now - 30_001, Stale),
            (now - 30_000, Moved),
            (now + 60_000, Moved),
            (now + 60_001, FromFuture),
        ] {
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

    #[test]
    fn a_motion_that_makes_no_sense_is_unknown() {
        let motion = |accuracy: f64, speed: f64, heading: f64| Motion {
            accuracy: Meters::new(accuracy).ok(),
            speed_mps: Some(speed),
            heading_deg: Some(heading),
        };
        let kept = |motion: Motion| Motion::unpack(motion.pack());
        assert_eq!(Motion::default().pack(), Motion::NONE);
        assert_eq!(kept(motion(1e9, 1e9, 359.999)), motion(6_553.4, 655.34, 0.0));
        assert_eq!(kept(motion(0.0, -0.1, -90.0)), Motion { speed_mps: None, ..motion(0.0, 0.0, 270.0) });
        assert_eq!(kept(motion(f64::NAN, f64::NAN, f64::INFINITY)), Motion::default());
    }

    proptest! {
        #[test]
        fn a_motion_comes_back_in_its_steps(accuracy in 0..65_534u32, speed in 0..65_534u32, heading in 0..36_000u32) {
            let motion = Motion {
                accuracy: Some(Meters::new(f64::from(accuracy) / 10.0).unwrap()),
                speed_mps: Some(f64::from(speed) / 100.0),
                heading_deg: Some(f64::from(heading) / 100.0),
            };
            prop_assert_eq!(Motion::unpack(motion.pack()), motion);
        }

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
