//! The rules of positions, which a whole process shares.

use super::check::{Check, ConfigError};
use crate::units::Millis;
use serde::{Deserialize, Serialize};

/// Which fixes are believed, and how many drivers a [`PositionIndex`](crate::PositionIndex) holds.
///
/// ```
/// use dispatch_core::FixRules;
/// let rules = FixRules { believe_after: 0, ..FixRules::default() };
/// assert!(rules.validate().unwrap_err().to_string().contains("believe_after"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FixRules {
    /// A fix older than this is refused.
    pub max_age: Millis,
    /// A fix older than this says where a driver was, not where it is: it moves nobody.
    pub live_for: Millis,
    /// A fix further ahead of our time is refused.
    pub max_ahead: Millis,
    /// A fix that needs a higher speed since the last one is refused, in metres a second.
    pub max_speed_mps: f64,
    /// This many fixes in a row that agree on a new place are believed, however far it is.
    pub believe_after: u32,
    /// Most drivers the index holds.
    pub max_drivers: u32,
    /// What the index is made of.
    pub backend: IndexBackend,
}

/// What a [`PositionIndex`](crate::PositionIndex) finds drivers by. Both give the same answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexBackend {
    /// Cells that divide where drivers are many.
    #[default]
    Grid,
    /// R*-trees.
    RTree,
}

impl Default for FixRules {
    fn default() -> Self {
        Self {
            max_age: Millis::from_mins(5),
            live_for: Millis::from_secs(30),
            max_ahead: Millis::from_secs(60),
            max_speed_mps: 60.0,
            believe_after: 3,
            max_drivers: 1_000_000,
            backend: IndexBackend::default(),
        }
    }
}

impl FixRules {
    /// Checks every value.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self { max_age, live_for, max_ahead, max_speed_mps, believe_after, max_drivers, backend: _ } = *self;
        let mut check = Check::default();
        let day = Millis::from_mins(24 * 60);
        check.within("max_age", max_age, Millis::from_secs(1), day);
        check.within("live_for", live_for, Millis::from_secs(1), max_age.max(Millis::from_secs(1)));
        check.within("max_ahead", max_ahead, Millis::ZERO, day);
        check.that("max_speed_mps", (1.0..=1_000.0).contains(&max_speed_mps), || {
            format!("must be 1 to 1000 m/s, not {max_speed_mps}")
        });
        check.that("believe_after", (1..=100).contains(&believe_after), || {
            format!("must be 1 to 100, not {believe_after}")
        });
        check.that("max_drivers", (1..=MAX_INDEXED_DRIVERS).contains(&max_drivers), || {
            format!("must be 1 to {MAX_INDEXED_DRIVERS}, not {max_drivers}")
        });
        check.done()
    }
}

/// Most drivers one index can hold.
pub const MAX_INDEXED_DRIVERS: u32 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fix_rules_name_every_wrong_key() {
        assert_eq!(FixRules::default().validate(), Ok(()));
        let wrong = FixRules {
            max_age: Millis::ZERO,
            live_for: Millis::from_mins(6),
            max_ahead: Millis::new(-1),
            max_speed_mps: f64::NAN,
            believe_after: 0,
            max_drivers: 0,
            backend: IndexBackend::RTree,
        };
        let keys: Vec<_> = wrong.validate().unwrap_err().problems.into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["max_age", "live_for", "max_ahead", "max_speed_mps", "believe_after", "max_drivers"]);
        assert!(serde_json::from_str::<FixRules>(r#"{"max_sped": 1}"#).is_err());
    }
}
