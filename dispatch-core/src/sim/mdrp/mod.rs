//! The public meal delivery routing instances of Grubhub: reader, solution files, checker, metrics.
//!
//! An instance is a day of orders, restaurants and courier shifts on a plane in whole metres and whole minutes. A
//! [`Solution`] says who fetched what and when; [`check`] says whether that was possible, [`Metrics`] how good it was.
//! The names of the file formats are kept here, so a driver is a courier and a pickup place a restaurant.
//!
//! ```no_run
//! use dispatch_core::sim::mdrp::{Instance, Metrics, Solution, check};
//! let instance = Instance::read("public_instances/0o50t100s1p100".as_ref())?;
//! let solution = Solution::read(&instance, "solutions/0o50t100s1p100".as_ref())?;
//! assert_eq!(check(&instance, &solution), Ok(()));
//! println!("{:?}", Metrics::of(&instance, &solution));
//! # Ok::<(), dispatch_core::sim::mdrp::MdrpError>(())
//! ```

mod check;
mod day;
mod instance;
mod metrics;
mod plane;
mod problem;
mod solution;
mod table;
#[cfg(test)]
mod testing;

pub use check::check;
pub use day::{Day, Knowledge};
pub use instance::{Courier, Instance, InstanceFiles, MAX_MINUTE, Order, Parameters, Restaurant};
pub use metrics::{Metrics, mean};
pub use plane::{MAX_COORDINATE_M, PlanarTravel, Point};
pub use problem::Problem;
pub use solution::{Assignment, DeliveredOrder, Location, Move, Solution, SolutionFiles};
pub use table::{Fault, MAX_FILE_BYTES, MdrpError};

use crate::units::Timestamp;
use std::fmt;
use std::ops::{Add, Sub};

/// An instant of an instance's day: whole minutes from its start. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub i64);

/// Milliseconds in a minute.
const MINUTE_MS: i64 = 60_000;

impl Minute {
    /// The instant in engine time, where the day starts at the epoch.
    pub const fn timestamp(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(MINUTE_MS))
    }

    /// The minute at `at`; none when `at` is no whole minute, because rounding would hide a mistake of the simulation.
    pub const fn from_timestamp(at: Timestamp) -> Option<Self> {
        let millis = at.as_millis();
        if millis % MINUTE_MS == 0 { Some(Self(millis / MINUTE_MS)) } else { None }
    }
}

impl Add<i64> for Minute {
    type Output = Self;
    fn add(self, minutes: i64) -> Self {
        Self(self.0.saturating_add(minutes))
    }
}

impl Sub for Minute {
    type Output = i64;
    fn sub(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn minutes_survive_the_way_through_engine_time(minute in -MAX_MINUTE..=MAX_MINUTE, off in 1..MINUTE_MS) {
            let at = Minute(minute).timestamp();
            prop_assert_eq!(at, Timestamp::from_millis(minute * 60_000));
            prop_assert_eq!(Minute::from_timestamp(at), Some(Minute(minute)));
            prop_assert_eq!(Minute::from_timestamp(Timestamp::from_millis(at.as_millis() + off)), None);
        }
    }
}
