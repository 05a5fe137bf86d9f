//! Instants, durations and lengths. One type per concept, so that a number never travels without its unit.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A UTC instant: milliseconds since the Unix epoch.
///
/// Arithmetic saturates, so that a hostile time cannot overflow; commands check their times against a horizon.
///
/// ```
/// use dispatch_core::{Millis, Timestamp};
/// let noon = Timestamp::from_millis(43_200_000);
/// assert_eq!(noon + Millis::from_mins(1) - noon, Millis::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant that can be expressed.
    pub const MIN: Self = Self(i64::MIN);

    /// The instant `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The first multiple of `period` (counted from the epoch) strictly after this instant.
    pub(crate) fn next_multiple(self, period: Millis) -> Self {
        Self(self.0.div_euclid(period.0).saturating_add(1).saturating_mul(period.0))
    }
}

impl Add<Millis> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Millis) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl AddAssign<Millis> for Timestamp {
    fn add_assign(&mut self, rhs: Millis) {
        *self = *self + rhs;
    }
}

impl Sub<Millis> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Millis) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Sub for Timestamp {
    type Output = Millis;
    fn sub(self, rhs: Self) -> Millis {
        Millis(self.0.saturating_sub(rhs.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A signed duration in milliseconds. Slack is one: negative means late. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(i64);

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A duration of `millis` milliseconds.
    pub const fn new(millis: i64) -> Self {
        Self(millis)
    }

    /// A duration of `secs` seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// A duration of `mins` minutes.
    pub const fn from_mins(mins: i64) -> Self {
        Self(mins.saturating_mul(60_000))
    }

    /// `secs` seconds, rounded to the nearest millisecond. NaN gives zero; what does not fit saturates.
    pub fn from_secs_f64(secs: f64) -> Self {
        Self((secs * 1_000.0).round() as i64)
    }

    /// The duration in milliseconds.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The duration in minutes, with fraction.
    pub fn as_mins_f64(self) -> f64 {
        self.0 as f64 / 60_000.0
    }

    /// The duration in seconds, with fraction.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl Add for Millis {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub for Millis {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Neg for Millis {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Mul<i64> for Millis {
    type Output = Self;
    fn mul(self, rhs: i64) -> Self {
        Self(self.0.saturating_mul(rhs))
    }
}

impl Div<i64> for Millis {
    type Output = Self;
    fn div(self, rhs: i64) -> Self {
        Self(self.0.saturating_div(rhs))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A length in metres: finite and not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Meters(f64);

/// A length that is NaN, infinite or negative.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a length must be a finite number of metres, zero or more, not {0}")]
pub struct MetersError(pub f64);

impl Meters {
    /// No length at all.
    pub const ZERO: Self = Self(0.0);

    /// `meters` metres.
    pub fn new(meters: f64) -> Result<Self, MetersError> {
        if meters.is_finite() && meters >= 0.0 { Ok(Self(meters)) } else { Err(MetersError(meters)) }
    }

    /// `meters` whole metres.
    pub const fn from_m(meters: u32) -> Self {
        Self(meters as f64)
    }

    /// `km` kilometres.
    pub const fn from_km(km: u32) -> Self {
        Self(km as f64 * 1_000.0)
    }

    /// The length in metres.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The length in kilometres.
    pub fn as_km(self) -> f64 {
        self.0 / 1_000.0
    }
}

impl Eq for Meters {}

impl Add for Meters {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0 + rhs.0)
    }
}

impl TryFrom<f64> for Meters {
    type Error = MetersError;
    fn try_from(meters: f64) -> Result<Self, MetersError> {
        Self::new(meters)
    }
}

impl From<Meters> for f64 {
    fn from(meters: Meters) -> f64 {
        meters.0
    }
}

impl fmt::Display for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} m", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate_instead_of_overflowing() {
        let last = Timestamp::from_millis(i64::MAX);
        assert_eq!(last + Millis::from_mins(1), last);
        assert_eq!(last - Timestamp::MIN, Millis::new(i64::MAX));
        assert_eq!(Millis::from_mins(i64::MAX), Millis::new(i64::MAX));
        assert_eq!(Millis::from_secs_f64(f64::NAN), Millis::ZERO);
        assert_eq!(Millis::from_secs_f64(f64::INFINITY), Millis::new(i64::MAX));
    }

    #[test]
    fn next_multiple_is_strictly_later_also_before_the_epoch() {
        let period = Millis::from_secs(60);
        for (at, next) in [(0, 60_000), (59_999, 60_000), (60_000, 120_000), (-1, 0), (-60_000, 0), (-60_001, -60_000)]
        {
            assert_eq!(Timestamp::from_millis(at).next_multiple(period), Timestamp::from_millis(next));
        }
    }

    #[test]
    fn lengths_that_are_none_cannot_be_built() {
        for bad in [f64::NAN, f64::INFINITY, -0.1] {
            assert!(Meters::new(bad).is_err());
        }
        assert!(serde_json::from_str::<Meters>("-3").is_err());
    }
}
