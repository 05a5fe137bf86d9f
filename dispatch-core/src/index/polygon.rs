//! An area with straight sides.

use super::place::TURN;
use crate::geo::{EARTH_RADIUS_M, MAX_LNG_E7};
use crate::geo::{Position, STEP_RAD, arc};
use crate::units::Meters;

/// The inside of a ring of corners, for [`PositionIndex::within_polygon`](super::PositionIndex::within_polygon).
///
/// Sides are straight in latitude and longitude, as in `GeoJSON`, and go the shorter way around the earth: a ring may cross
/// the antimeridian, but not go around a pole. Where the ring crosses itself, what it goes around twice is outside.
///
/// ```
/// use dispatch_core::{Polygon, Position};
/// let corner = |lat, lng| Position::new(lat, lng);
/// let fiji = Polygon::new([corner(-20.0, 176.0)?, corner(-20.0, -178.0)?, corner(-15.0, -178.0)?, corner(-15.0, 176.0)?])?;
/// assert!(fiji.contains(corner(-16.8, 179.99)?) && fiji.contains(corner(-16.8, -179.99)?));
/// assert!(!fiji.contains(corner(-16.8, 0.0)?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polygon {
    /// Latitude and longitude in steps; the longitudes go on past the antimeridian. The first corner is also the last.
    corners: Vec<(i64, i64)>,
    lat: (i64, i64),
    lng: (i64, i64),
}

/// A ring that has no inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolygonError {
    /// Fewer than three corners, or more than [`MAX_CORNERS`].
    #[error("a polygon has 3 to {MAX_CORNERS} corners, not {0}")]
    Corners(usize),
    /// A ring around a pole, which has no inside in latitude and longitude.
    #[error("a polygon must not go around a pole")]
    AroundPole,
}

/// The most corners of a polygon.
pub const MAX_CORNERS: usize = 100_000;

impl Polygon {
    /// The inside of the ring through these corners; the last one may repeat the first.
    pub fn new(corners: impl IntoIterator<Item = Position>) -> Result<Self, PolygonError> {
        let mut given: Vec<(i32, i32)> = corners.into_iter().take(MAX_CORNERS + 2).map(Position::steps).collect();
        if given.len() > 1 && given.first() == given.last() {
            given.pop();
        }
        if !(3..=MAX_CORNERS).contains(&given.len()) {
            return Err(PolygonError::Corners(given.len()));
        }
        let first = given[0];
        let mut lng = i64::from(first.1);
        let mut corners = vec![(i64::from(first.0), lng)];
        for side in given.windows(2).map(|side| (side[0], side[1])).chain([(given[given.len() - 1], first)]) {
            lng += i64::from(arc::lng_difference(side.1.1, side.0.1));
            corners.push((i64::from(side.1.0), lng));
        }
        if corners.first() != corners.last() {
            return Err(PolygonError::AroundPole);
        }
        let range = |of: fn(&(i64, i64)) -> i64| {
            let values = || corners.iter().map(of);
            (values().fold(i64::MAX, i64::min), values().fold(i64::MIN, i64::max))
        };
        let (lat, lng) = (range(|corner| corner.0), range(|corner| corner.1));
        Ok(Self { corners, lat, lng })
    }

    /// Whether a position is inside. Of two polygons that share a side, one has what lies on it. Exact; O(corners).
    pub fn contains(&self, position: Position) -> bool {
        let (lat, lng) = position.steps();
        let (lat, lng) = (i64::from(lat), i64::from(lng));
        if !(self.lat.0..=self.lat.1).contains(&lat) {
            return false;
        }
        // The same meridian, counted from where the ring is.
        let turns = (self.lng.0 - lng).div_euclid(TURN)..=(self.lng.1 - lng).div_euclid(TURN);
        turns.into_iter().any(|turn| self.surrounds(lat, lng + turn * TURN))
    }

    /// Whether a ray to the east crosses an odd number of sides.
    fn surrounds(&self, lat: i64, lng: i64) -> bool {
        let crosses = |side: &&[(i64, i64)]| {
            let (a, b) = (side[0], side[1]);
            // To the west of the side, as a product instead of a quotient: exact.
            let turn = i128::from(b.1 - a.1) * i128::from(lat - a.0) - i128::from(lng - a.1) * i128::from(b.0 - a.0);
            (a.0 > lat) != (b.0 > lat) && (turn > 0) == (b.0 > a.0) && turn != 0
        };
        self.corners.windows(2).filter(crosses).count() % 2 == 1
    }

    /// A circle that has all of the polygon: its centre and radius.
    pub(super) fn surroundings(&self) -> (Position, Meters) {
        let lat = i64::midpoint(self.lat.0, self.lat.1);
        let lng = i64::midpoint(self.lng.0, self.lng.1);
        let wrapped = (lng + i64::from(MAX_LNG_E7)).rem_euclid(TURN) - i64::from(MAX_LNG_E7);
        // No further than first along a meridian, then along the longest parallel.
        let least_lat = if self.lat.0 <= 0 && self.lat.1 >= 0 { 0 } else { self.lat.0.abs().min(self.lat.1.abs()) };
        let cos = arc::cos_of_mean(2 * least_lat as i32);
        let steps = (self.lat.1 - self.lat.0 + 2) as f64 + (self.lng.1 - self.lng.0 + 2) as f64 * cos;
        let radius = steps / 2.0 * STEP_RAD * EARTH_RADIUS_M * (1.0 + 1e-9);
        let radius = Meters::new(radius).expect("a polygon has a finite size");
        (Position::from_steps(lat as i32, wrapped as i32), radius)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(lat: f64, lng: f64) -> Position {
        Position::new(lat, lng).unwrap()
    }

    fn polygon(corners: &[(f64, f64)]) -> Result<Polygon, PolygonError> {
        Polygon::new(corners.iter().map(|(lat, lng)| at(*lat, *lng)))
    }

    #[test]
    fn what_is_no_polygon_is_refused() {
        assert_eq!(polygon(&[(0.0, 0.0), (1.0, 1.0), (0.0, 0.0)]), Err(PolygonError::Corners(2)));
        assert_eq!(
            Polygon::new((0..200_000).map(|n| at(0.0, f64::from(n) * 1e-4))),
            Err(PolygonError::Corners(100_002))
        );
        let around = [(80.0, 0.0), (80.0, 100.0), (80.0, -160.0), (80.0, -60.0)];
        assert_eq!(polygon(&around), Err(PolygonError::AroundPole));
    }

    #[test]
    fn a_ring_with_a_notch() {
        // An L: the square from 0,0 to 2,2 without its upper right quarter.
        let area = polygon(&[(0.0, 0.0), (0.0, 2.0), (1.0, 2.0), (1.0, 1.0), (2.0, 1.0), (2.0, 0.0)]).unwrap();
        for (lat, lng, inside) in
            [(0.5, 0.5, true), (0.5, 1.5, true), (1.5, 0.5, true), (1.5, 1.5, false), (3.0, 0.5, false)]
        {
            assert_eq!(area.contains(at(lat, lng)), inside, "{lat},{lng}");
        }
    }

    proptest! {
        /// Four squares around a point share it out between them, wherever it is.
        #[test]
        fn neighbours_divide_the_plane(
            lat in -80.0..80.0f64, lng in -180.0..=180.0f64, of in prop_oneof![Just((0.0, 0.0)), (-0.9..0.9f64, -0.9..0.9f64)],
        ) {
            let wrapped = |lng: f64| (lng + 540.0).rem_euclid(360.0) - 180.0;
            let square = |south: f64, west: f64| {
                polygon(&[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]
                    .map(|(north, east)| (lat + south + north, wrapped(lng + west + east)))).unwrap()
            };
            let squares = [(-1.0, -1.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 0.0)].map(|(south, west)| square(south, west));
            let point = at(lat + of.0, wrapped(lng + of.1));
            prop_assert_eq!(squares.iter().filter(|square| square.contains(point)).count(), 1);
            for square in &squares {
                let (centre, radius) = square.surroundings();
                prop_assert!(!square.contains(point) || centre.distance(point) <= radius);
            }
        }
    }
}
