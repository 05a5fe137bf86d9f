//! Travel times, and when an order will arrive.

use crate::geo::Position;
use crate::model::Vehicle;
use crate::units::{Meters, Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;

/// One of the engine's two extension points: how long a driver takes from one place to another.
///
/// Called for every candidate of every window, so an answer should take about a microsecond: precompute or cache. Must
/// answer the same question the same way each time, or a recorded day does not replay.
pub trait TravelTime: Debug + Send + Sync {
    /// The way from `from` to `to` for a `vehicle` that leaves at `depart`.
    fn travel(&self, from: Position, to: Position, vehicle: Vehicle, depart: Timestamp) -> Leg;
}

/// A way between two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// How long it takes; not negative.
    pub duration: Millis,
    /// How far it is.
    pub distance: Meters,
}

/// Hours in a week.
const HOURS: usize = 168;

/// Straight-line travel: the great-circle distance at a speed per vehicle, scaled by the hour of the week.
///
/// The default has bicycle 15, motorcycle 30, car 25 and van 22 km/h as crow flies at every hour.
///
/// ```
/// use dispatch_core::{Position, StraightLine, Timestamp, TravelTime, Vehicle};
/// let (a, b) = (Position::new(0.0, 0.0)?, Position::new(0.0, 0.1)?);
/// let leg = StraightLine::default().travel(a, b, Vehicle::Car, Timestamp::from_millis(0));
/// assert_eq!((leg.duration.as_mins_f64() * 10.0).round(), 267.0); // 11.12 km at 25 km/h
/// # Ok::<(), dispatch_core::PositionError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StraightLine {
    bicycle_kmh: f64,
    motorcycle_kmh: f64,
    car_kmh: f64,
    van_kmh: f64,
    profile: [f64; HOURS],
    utc_offset: Millis,
}

/// A speed or a factor that is no speed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SpeedError {
    /// A speed outside 1 to 300 km/h.
    #[error("the speed of a {vehicle:?} must be 1 to 300 km/h, not {kmh}")]
    Speed {
        /// Whose.
        vehicle: Vehicle,
        /// The speed refused.
        kmh: f64,
    },
    /// A factor outside 0.05 to 5.
    #[error("the factor of hour {hour} of the week must be 0.05 to 5, not {factor}")]
    Factor {
        /// The hour, 0 is Monday from midnight.
        hour: usize,
        /// The factor refused.
        factor: f64,
    },
    /// An offset beyond a day.
    #[error("the offset from UTC must be within 24 h, not {0}")]
    Offset(Millis),
}

impl Default for StraightLine {
    fn default() -> Self {
        Self {
            bicycle_kmh: 15.0,
            motorcycle_kmh: 30.0,
            car_kmh: 25.0,
            van_kmh: 22.0,
            profile: [1.0; HOURS],
            utc_offset: Millis::ZERO,
        }
    }
}

impl StraightLine {
    /// The same with another speed for one vehicle.
    pub fn with_speed(mut self, vehicle: Vehicle, kmh: f64) -> Result<Self, SpeedError> {
        if !(1.0..=300.0).contains(&kmh) {
            return Err(SpeedError::Speed { vehicle, kmh });
        }
        match vehicle {
            Vehicle::Bicycle => self.bicycle_kmh = kmh,
            Vehicle::Motorcycle => self.motorcycle_kmh = kmh,
            Vehicle::Car => self.car_kmh = kmh,
            Vehicle::Van => self.van_kmh = kmh,
        }
        Ok(self)
    }

    /// The same with a factor on every speed for each hour of the local week, which begins on Monday at midnight and is
    /// `utc_offset` ahead of UTC. The hour of departure counts for the whole way.
    pub fn with_profile(mut self, profile: [f64; HOURS], utc_offset: Millis) -> Result<Self, SpeedError> {
        if let Some((hour, &factor)) = profile.iter().enumerate().find(|(_, f)| !(0.05..=5.0).contains(*f)) {
            return Err(SpeedError::Factor { hour, factor });
        }
        let day = Millis::from_mins(24 * 60);
        if utc_offset > day || utc_offset < -day {
            return Err(SpeedError::Offset(utc_offset));
        }
        self.profile = profile;
        self.utc_offset = utc_offset;
        Ok(self)
    }

    fn kmh(&self, vehicle: Vehicle) -> f64 {
        match vehicle {
            Vehicle::Bicycle => self.bicycle_kmh,
            Vehicle::Motorcycle => self.motorcycle_kmh,
            Vehicle::Car => self.car_kmh,
            Vehicle::Van => self.van_kmh,
        }
    }
}

/// The hour of the week, 0 to 167 from Monday at midnight UTC. The epoch was a Thursday.
fn hour_of_week(at: Timestamp) -> usize {
    let hours = at.as_millis().div_euclid(3_600_000);
    (hours.saturating_add(3 * 24)).rem_euclid(168) as usize
}

impl TravelTime for StraightLine {
    fn travel(&self, from: Position, to: Position, vehicle: Vehicle, depart: Timestamp) -> Leg {
        let distance = from.distance(to);
        let kmh = self.kmh(vehicle) * self.profile[hour_of_week(depart + self.utc_offset)];
        Leg { duration: Millis::from_secs_f64(distance.get() * 3.6 / kmh), distance }
    }
}

/// When an order arrives, and of what the time consists. The parts add up to the time until `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eta {
    /// When the order is in the customer's hands.
    pub at: Timestamp,
    /// Until the driver is at the pickup, through its earlier stops.
    pub to_pickup: Millis,
    /// From then until the order can be handed to the driver.
    pub preparation_left: Millis,
    /// Taking it over at the pickup.
    pub pickup_service: Millis,
    /// From the pickup to the dropoff, through earlier stops.
    pub to_dropoff: Millis,
    /// Handing it to the customer.
    pub hand_off: Millis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_week_begins_on_monday() {
        // 2024-01-01 was a Monday.
        let monday = Timestamp::from_millis(1_704_067_200_000);
        assert_eq!(hour_of_week(monday), 0);
        assert_eq!(hour_of_week(monday - Millis::new(1)), 167);
        assert_eq!(hour_of_week(monday + Millis::from_mins(25 * 60)), 25);
    }

    #[test]
    fn speeds_follow_vehicle_and_local_hour() {
        let (a, b) = (Position::new(48.0, 11.0).unwrap(), Position::new(48.0, 11.1).unwrap());
        let mut profile = [1.0; HOURS];
        profile[1] = 0.5;
        let slow_at_one = StraightLine::default().with_profile(profile, Millis::from_mins(60)).unwrap();
        let monday = Timestamp::from_millis(1_704_067_200_000);
        let van = |at| slow_at_one.travel(a, b, Vehicle::Van, at).duration.as_secs_f64();
        assert!((van(monday) / van(monday + Millis::from_mins(60)) - 2.0).abs() < 1e-3);
        let bicycle = slow_at_one.travel(a, b, Vehicle::Bicycle, monday).duration.as_secs_f64();
        assert!((bicycle / van(monday) - 22.0 / 15.0).abs() < 1e-3);
    }

    #[test]
    fn refuses_what_is_no_speed() {
        assert!(StraightLine::default().with_speed(Vehicle::Car, 0.0).is_err());
        assert!(StraightLine::default().with_speed(Vehicle::Car, f64::NAN).is_err());
        assert_eq!(
            StraightLine::default().with_profile([0.0; HOURS], Millis::ZERO),
            Err(SpeedError::Factor { hour: 0, factor: 0.0 })
        );
    }
}
