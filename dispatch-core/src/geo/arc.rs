//! Great-circle distance from fixed-point degrees.
//!
//! The haversine of an arc is `sin²(Δφ/2)·cos²(Δλ/2) + cos²(φm)·sin²(Δλ/2)`, with the mean latitude `φm`: differences
//! are taken between whole numbers and every term is positive, so that nothing cancels. It needs one cosine, and between
//! near points three short polynomials. Only basic operations and the square root are used there, which give the same
//! bits on every machine.

use super::{EARTH_RADIUS_M, MAX_LAT_E7, MAX_LNG_E7, Position, STEP_RAD};
use crate::units::Meters;
use std::f64::consts::FRAC_PI_2;

/// Half of a step in radians: formulas take half angles.
const HALF_STEP: f64 = STEP_RAD / 2.0;

/// Up to this half angle (51 km on a meridian) the short series are right to 15 digits.
const NEAR: f64 = 0.004;

/// The distance between two points.
pub(crate) fn between(a: Position, b: Position) -> Meters {
    let (x, y) = half_angles(a, b);
    let cos = cos_of_mean(a.lat_e7 + b.lat_e7);
    let angle = if is_near(x, y) {
        2.0 * near_asin_of_root(near_haversine(x, y, cos))
    } else {
        let (there, back) = far_haversines(x, y, cos, a.lat_e7 + b.lat_e7);
        // The smaller of the two has all its digits.
        let angle = 2.0 * libm::asin(there.min(back).sqrt());
        if there <= back { angle } else { 2.0 * FRAC_PI_2 - angle }
    };
    Meters::new(EARTH_RADIUS_M * angle).expect("an arc is finite and not negative")
}

/// The distances in metres from one point to where others are: those of [`between`] to the bit, but several at a time.
pub(crate) fn between_all<T>(from: Position, to: &[T], at: impl Fn(&T) -> Position, metres: &mut Vec<f64>) {
    const LANES: usize = 4;
    metres.clear();
    metres.reserve(to.len() + LANES);
    for batch in to.chunks(LANES) {
        let mut lanes = [from; LANES];
        lanes.iter_mut().zip(batch).for_each(|(lane, to)| *lane = at(to));
        let (mut x, mut y, mut sum) = ([0.0; LANES], [0.0; LANES], [0; LANES]);
        for lane in 0..LANES {
            (x[lane], y[lane]) = half_angles(from, lanes[lane]);
            sum[lane] = from.lat_e7 + lanes[lane].lat_e7;
        }
        if (0..LANES).fold(true, |near, lane| near & is_near(x[lane], y[lane])) {
            // The same steps as for one, which the compiler does side by side.
            let near: [f64; LANES] = std::array::from_fn(|lane| {
                let haversine = near_haversine(x[lane], y[lane], cos_of_mean(sum[lane]));
                EARTH_RADIUS_M * (2.0 * near_asin_of_root(haversine))
            });
            metres.extend_from_slice(&near);
        } else {
            metres.extend(lanes.iter().map(|to| between(from, *to).get()));
        }
    }
    metres.truncate(to.len());
}

/// The haversine of the arc between two points: 0 to 1, growing with the distance.
pub(crate) fn haversine(a: Position, b: Position) -> f64 {
    let (x, y) = half_angles(a, b);
    let sum = a.lat_e7 + b.lat_e7;
    let cos = cos_of_mean(sum);
    if is_near(x, y) { near_haversine(x, y, cos) } else { far_haversines(x, y, cos, sum).0 }
}

/// The haversine that belongs to a distance; 1 from half the circumference on.
pub(crate) fn haversine_of(distance: Meters) -> f64 {
    let sin = libm::sin((distance.get() / (2.0 * EARTH_RADIUS_M)).min(FRAC_PI_2));
    sin * sin
}

/// Longitudes differ by at most half a turn.
pub(crate) fn lng_difference(a: i32, b: i32) -> i32 {
    // Whole numbers below 2^53 are exact, and floats are compared several at a time.
    wrapped(f64::from(a) - f64::from(b)) as i32
}

#[inline]
fn wrapped(difference: f64) -> f64 {
    const TURN: f64 = 2.0 * MAX_LNG_E7 as f64;
    let turn = if difference.abs() > TURN / 2.0 { TURN.copysign(difference) } else { 0.0 };
    difference - turn
}

/// Half the differences of latitude and longitude.
#[inline]
fn half_angles(a: Position, b: Position) -> (f64, f64) {
    let x = f64::from(a.lat_e7 - b.lat_e7) * HALF_STEP;
    (x, wrapped(f64::from(a.lng_e7) - f64::from(b.lng_e7)) * HALF_STEP)
}

#[inline]
fn is_near(x: f64, y: f64) -> bool {
    x.abs() < NEAR && y.abs() < NEAR
}

/// From half angles and the cosine of the mean latitude.
#[inline]
fn near_haversine(x: f64, y: f64, cos: f64) -> f64 {
    let (sin2_x, sin2_y) = (near_sin_squared(x), near_sin_squared(y));
    sin2_x * (1.0 - sin2_y) + cos * cos * sin2_y
}

/// The haversine of the arc, and that of the arc from the antipode; they sum up to 1.
fn far_haversines(x: f64, y: f64, cos: f64, sum_e7: i32) -> (f64, f64) {
    let ((sin_x, cos_x), (sin_y, cos_y)) = (libm::sincos(x), libm::sincos(y));
    let sin = libm::sin(f64::from(sum_e7) * HALF_STEP);
    let squared = |a: f64, b: f64| (a * b) * (a * b);
    (squared(sin_x, cos_y) + squared(cos, sin_y), squared(cos_x, cos_y) + squared(sin, sin_y))
}

/// The square of the sine, by its series.
#[inline]
fn near_sin_squared(x: f64) -> f64 {
    let t = x * x;
    t * (1.0 - t * (1.0 / 3.0 - t * (2.0 / 45.0)))
}

/// The arc sine of the square root, by its series.
#[inline]
fn near_asin_of_root(h: f64) -> f64 {
    h.sqrt() * (1.0 + h * (1.0 / 6.0 + h * (3.0 / 40.0)))
}

/// The cosine of the mean of two latitudes whose sum in steps is given: the sine of what is left to the pole, by its series.
/// At a pole it is exactly zero.
#[inline]
pub(crate) fn cos_of_mean(sum_e7: i32) -> f64 {
    let x = f64::from(2 * MAX_LAT_E7 - sum_e7.abs()) * HALF_STEP;
    // Terms of (-1)^n / (2n + 1)!, paired up: one after the other would take three times as long.
    let t = x * x;
    let (t2, t4) = (t * t, (t * t) * (t * t));
    let first = (1.0 - t * (1.0 / 6.0)) + t2 * (1.0 / 120.0 - t * (1.0 / 5_040.0));
    let second =
        (1.0 / 362_880.0 - t * (1.0 / 39_916_800.0)) + t2 * (1.0 / 6_227_020_800.0 - t * (1.0 / 1_307_674_368_000.0));
    let third = (1.0 / 355_687_428_096_000.0 - t * (1.0 / 121_645_100_408_832_000.0))
        + t2 * (1.0 / 51_090_942_171_709_440_000.0);
    x * (first + t4 * (second + t4 * third))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_whole_way_round_is_measured() {
        let at = |lat, lng| Position::new(lat, lng).unwrap();
        let half = std::f64::consts::PI * EARTH_RADIUS_M;
        assert!((at(0.0, 0.0).distance(at(0.0, 180.0)).get() - half).abs() < 1e-7);
        assert!((at(37.0, 12.0).distance(at(-37.0, -168.0)).get() - half).abs() < 1e-7);
        assert!((at(90.0, 5.0).distance(at(-90.0, 80.0)).get() - half).abs() < 1e-7);
        // A metre short of the antipode.
        let degree = EARTH_RADIUS_M.to_radians();
        let short = half - at(0.0, 0.0).distance(at(0.0, 179.999_99)).get();
        assert!((short - 1e-5 * degree).abs() < 1e-6, "{short}");
        assert_eq!(at(90.0, 1.0).distance(at(90.0, -170.0)), Meters::ZERO);
        assert_eq!(at(-12.3, 180.0).distance(at(-12.3, -180.0)), Meters::ZERO);
    }

    /// The chord formula on unit vectors, which is right to nanometres between near points.
    fn by_chord(a: Position, b: Position) -> f64 {
        let chord = super::super::chord_squared(a.unit_vector(), b.unit_vector()).sqrt();
        2.0 * EARTH_RADIUS_M * libm::asin((chord / 2.0).min(1.0))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn near_and_far_formulas_agree(
            sin_lat in -1.0..=1.0f64, lng in -180.0..=180.0f64, turn in 0.0..6.3f64, log_meters in -1.0..7.0f64,
        ) {
            let a = Position::new(sin_lat.asin().to_degrees(), lng).unwrap();
            let off = 10f64.powf(log_meters) / 111_195.0;
            let lat = (a.lat() + off * turn.sin()).clamp(-90.0, 90.0);
            let lng = a.lng() + (off * turn.cos() / a.lat().to_radians().cos().max(1e-9)).clamp(-170.0, 170.0);
            let b = Position::new(lat, if lng.abs() > 180.0 { lng - 360.0f64.copysign(lng) } else { lng }).unwrap();
            let (distance, expected) = (a.distance(b).get(), by_chord(a, b));
            prop_assert!((distance - expected).abs() < 1e-8 + 1e-12 * expected + if expected > 1.9e7 { 1.0 } else { 0.0 }, "{distance} {expected}");
            prop_assert_eq!(a.distance(b), b.distance(a));
            let back = haversine_of(a.distance(b));
            prop_assert!((back - haversine(a, b)).abs() <= 1e-14 * back + 1e-30, "{back} {}", haversine(a, b));
        }

        #[test]
        fn the_cosine_is_that_of_libm(sum_e7 in -2 * MAX_LAT_E7..=2 * MAX_LAT_E7) {
            prop_assert!((cos_of_mean(sum_e7) - libm::cos(f64::from(sum_e7) * HALF_STEP)).abs() < 4e-16);
        }

        #[test]
        fn many_distances_are_those_of_one(
            from in (-900_000_000..=900_000_000i32, -1_800_000_000..=1_800_000_000i32),
            offs in proptest::collection::vec((-30_000_000..30_000_000i32, -30_000_000..30_000_000i32), 0..10),
        ) {
            let at = |lat: i32, lng: i64| {
                let turned = (lng + 5_400_000_000).rem_euclid(3_600_000_000) - 1_800_000_000;
                Position::from_steps(lat.clamp(-MAX_LAT_E7, MAX_LAT_E7), turned as i32)
            };
            let to: Vec<_> = offs.iter().map(|off| at(from.0 + off.0, i64::from(from.1) + i64::from(off.1))).collect();
            let from = at(from.0, i64::from(from.1));
            let mut metres = Vec::new();
            between_all(from, &to, |to| *to, &mut metres);
            prop_assert!(metres.iter().copied().eq(to.iter().map(|to| from.distance(*to).get())));
        }
    }
}
