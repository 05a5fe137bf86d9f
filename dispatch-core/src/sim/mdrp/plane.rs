//! The instances' plane, and where it lies on the engine's sphere.

use crate::eta::{Leg, TravelTime};
use crate::geo::{EARTH_RADIUS_M, Position};
use crate::model::Vehicle;
use crate::units::{Meters, Millis, Timestamp};
use std::num::NonZeroU32;

/// The largest coordinate of a [`Point`], in metres either way.
pub const MAX_COORDINATE_M: i32 = 1_000_000;

/// A point of an instance's plane: whole metres within ±[`MAX_COORDINATE_M`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    x: i32,
    y: i32,
}

impl Point {
    /// The point at `x`, `y` metres; none when it is too far out.
    pub fn new(x: i32, y: i32) -> Option<Self> {
        let range = -MAX_COORDINATE_M..=MAX_COORDINATE_M;
        (range.contains(&x) && range.contains(&y)).then_some(Self { x, y })
    }

    /// Metres to the east.
    pub fn x(self) -> i32 {
        self.x
    }

    /// Metres to the north.
    pub fn y(self) -> i32 {
        self.y
    }

    /// Where the point lies on the sphere: around the equator at longitude zero, where a degree is as long either way.
    ///
    /// A position's steps are about 1.1 cm there, so [`Point::from_position`] gives back the same whole metres.
    pub fn position(self) -> Position {
        let degrees = |meters: i32| (f64::from(meters) / EARTH_RADIUS_M).to_degrees();
        Position::new(degrees(self.y), degrees(self.x)).expect("a thousand kilometres are about nine degrees")
    }

    /// The point whose whole metres are nearest to `position`; none when it is too far out.
    pub fn from_position(position: Position) -> Option<Self> {
        let [x, y] = whole_meters(position);
        Self::new(x, y)
    }
}

/// `position` in metres east and north of latitude and longitude zero, each rounded to the whole metre.
fn whole_meters(position: Position) -> [i32; 2] {
    [position.lng(), position.lat()].map(|degrees| {
        let meters = degrees.to_radians() * EARTH_RADIUS_M;
        (meters + 0.5_f64.copysign(meters)) as i32
    })
}

/// Straight-line travel on the plane in whole minutes, rounded up; the same for every vehicle at every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanarTravel {
    meters_per_minute: NonZeroU32,
}

impl PlanarTravel {
    /// Travel at this speed.
    pub fn new(meters_per_minute: NonZeroU32) -> Self {
        Self { meters_per_minute }
    }

    /// How many minutes it takes from `from` to `to`; zero at the same point.
    pub fn minutes(&self, from: Point, to: Point) -> i64 {
        self.round_up(euclid([from.x, from.y], [to.x, to.y]))
    }

    /// The reference's formula, in its floating-point steps: a leg a hair over a whole minute must round as there.
    fn round_up(self, meters: f64) -> i64 {
        (meters / f64::from(self.meters_per_minute.get())).ceil() as i64
    }
}

/// The distance in metres. The sum of squares stays below 2^53, so only the root is rounded.
fn euclid(a: [i32; 2], b: [i32; 2]) -> f64 {
    let [dx, dy] = [0, 1].map(|axis| i64::from(a[axis]) - i64::from(b[axis]));
    ((dx * dx + dy * dy) as f64).sqrt()
}

impl TravelTime for PlanarTravel {
    fn travel(&self, from: Position, to: Position, _vehicle: Vehicle, _depart: Timestamp) -> Leg {
        let meters = euclid(whole_meters(from), whole_meters(to));
        Leg {
            duration: Millis::from_mins(self.round_up(meters)),
            distance: Meters::new(meters).expect("a root of a sum of squares is finite and not negative"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::small_instance;
    use super::*;
    use proptest::prelude::*;

    fn coordinate() -> impl Strategy<Value = i32> {
        -MAX_COORDINATE_M..=MAX_COORDINATE_M
    }

    #[test]
    fn every_whole_metre_survives_the_sphere() {
        for metres in -MAX_COORDINATE_M..=MAX_COORDINATE_M {
            let point = Point::new(metres, -metres).unwrap();
            assert_eq!(Point::from_position(point.position()), Some(point));
        }
        assert_eq!(Point::new(MAX_COORDINATE_M + 1, 0), None);
        assert_eq!(Point::new(0, i32::MIN), None);
    }

    #[test]
    fn the_far_ends_of_the_sphere_are_no_point_but_have_a_distance() {
        let travel = small_instance().travel();
        let (west, east) = (Position::new(-90.0, -180.0).unwrap(), Position::new(90.0, 180.0).unwrap());
        assert_eq!(Point::from_position(west), None);
        assert!(travel.travel(west, east, Vehicle::Car, Timestamp::MIN).distance.as_km() > 40_000.0);
    }

    #[test]
    fn a_leg_of_whole_minutes_is_not_rounded_up() {
        let travel = small_instance().travel(); // 100 metres a minute
        let at = |x, y| Point::new(x, y).unwrap();
        for (to, minutes) in [(at(0, 0), 0), (at(1, 0), 1), (at(300, 400), 5), (at(301, 400), 6), (at(-300, -399), 5)] {
            assert_eq!(travel.minutes(at(0, 0), to), minutes, "{to:?}");
        }
    }

    proptest! {
        #[test]
        fn the_engine_sees_the_legs_of_the_plane(a in (coordinate(), coordinate()), b in (coordinate(), coordinate())) {
            let travel = small_instance().travel();
            let (a, b) = (Point::new(a.0, a.1).unwrap(), Point::new(b.0, b.1).unwrap());
            let leg = travel.travel(a.position(), b.position(), Vehicle::Car, Timestamp::MIN);
            prop_assert_eq!(leg.duration, Millis::from_mins(travel.minutes(a, b)));
            let distance = f64::from(a.x - b.x).hypot(f64::from(a.y - b.y));
            prop_assert!((leg.distance.get() - distance).abs() < 1e-6);
        }
    }
}
