//! Places on the map of a small district: metres inside of the program, degrees outside.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// The middle of the district, in degrees.
pub(crate) const CENTRE: (f64, f64) = (52.52, 13.405);

/// Metres in a degree of latitude.
const DEGREE_M: f64 = 111_195.0;

/// A place, in metres from the centre.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Place {
    pub(crate) east_m: f64,
    pub(crate) north_m: f64,
}

impl Place {
    /// A place `metres` from this one, in any direction.
    pub(crate) fn at_distance(self, metres: f64, random: &mut Pcg64Mcg) -> Self {
        let (sin, cos) = random.random_range(0.0..std::f64::consts::TAU).sin_cos();
        Self { east_m: self.east_m + metres * cos, north_m: self.north_m + metres * sin }
    }

    pub(crate) fn distance_m(self, other: Self) -> f64 {
        (self.east_m - other.east_m).hypot(self.north_m - other.north_m)
    }

    /// The place that somebody reaches from here towards `goal` by going `metres`, who stops there.
    pub(crate) fn towards(self, goal: Self, metres: f64) -> Self {
        let way = self.distance_m(goal);
        if way <= metres {
            return goal;
        }
        let share = metres / way;
        let between = |from: f64, to: f64| from + (to - from) * share;
        Self { east_m: between(self.east_m, goal.east_m), north_m: between(self.north_m, goal.north_m) }
    }

    /// Latitude and longitude.
    pub(crate) fn degrees(self) -> (f64, f64) {
        (CENTRE.0 + self.north_m / DEGREE_M, CENTRE.1 + self.east_m / Self::degree_east_m())
    }

    pub(crate) fn from_degrees(lat: f64, lng: f64) -> Self {
        Self { east_m: (lng - CENTRE.1) * Self::degree_east_m(), north_m: (lat - CENTRE.0) * DEGREE_M }
    }

    fn degree_east_m() -> f64 {
        DEGREE_M * CENTRE.0.to_radians().cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn ways_end_at_their_goal() {
        let random = &mut Pcg64Mcg::seed_from_u64(1);
        let from = Place::default();
        let goal = from.at_distance(100.0, random);
        assert!((from.distance_m(goal) - 100.0).abs() < 1e-9);
        let under_way = from.towards(goal, 30.0);
        assert!((under_way.distance_m(goal) - 70.0).abs() < 1e-9);
        assert_eq!(under_way.towards(goal, 70.1), goal);
        assert_eq!(goal.towards(goal, 0.0), goal);
        let (lat, lng) = goal.degrees();
        assert!(goal.distance_m(Place::from_degrees(lat, lng)) < 1e-6);
    }
}
