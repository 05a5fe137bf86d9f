//! The rules of one market, validated as a whole and part of the log.

use crate::model::{Label, MarketId};
use crate::units::{Meters, Millis};
use serde::{Deserialize, Serialize};

mod check;
mod fixes;

pub use check::{ConfigError, ConfigProblem};
pub use fixes::{FixRules, IndexBackend, MAX_INDEXED_DRIVERS};

/// The rules of one market. Every duration is in milliseconds, every length in metres.
///
/// ```
/// use dispatch_core::{EngineConfig, Millis};
/// let mut config = EngineConfig::default();
/// config.window = Millis::ZERO;
/// assert!(config.validate().unwrap_err().to_string().contains("window"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Which market this is.
    pub market: MarketId,
    /// When the dispatch of an order starts.
    pub start_on: StartOn,
    /// From placing to ready, where an order does not say.
    pub preparation: Millis,
    /// How often orders and drivers are matched.
    pub window: Millis,
    /// Which drivers are looked at for an order.
    pub search: SearchRule,
    /// When an order is decided.
    pub schedule: ScheduleRule,
    /// What makes one driver better than another: the score of a pair is the sum of weight x term, higher is better.
    pub score: Vec<ScoreWeight>,
    /// Most edges the pairing relaxes in one window; past it the rest is paired greedily.
    pub work_budget: u64,
    /// Which orders may share a route.
    pub bundles: BundleRule,
    /// Whether an order may move to another driver until it is picked up. Only where drivers are assigned directly.
    pub swap: Option<SwapRule>,
    /// Whether a driver on its way to a pickup, or to where it was sent to wait, may be sent elsewhere before it is there.
    pub divert: bool,
    /// Whether idle drivers are told where orders are to be expected.
    pub reposition: Option<RepositionRule>,
    /// Below how many orders an hour a driver is preferred, through the score term `above_floor`.
    pub floor_orders_per_hour: f64,
    /// How a driver is told.
    pub offers: OfferRule,
    /// What happens when nobody is found.
    pub rounds: RoundRule,
    /// How long stops take.
    pub service: ServiceTimes,
    /// What a missing position means.
    pub positions: PositionRule,
    /// When orders end by themselves.
    pub lifetimes: Lifetimes,
    /// How much the market holds.
    pub limits: Limits,
}

/// When the dispatch of an order starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartOn {
    /// When the merchant confirms it.
    Confirmed,
    /// When it is placed, for sources that confirm by placing.
    Placed,
}

/// Which drivers are looked at for an order.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRule {
    /// How far from the pickup the search begins.
    pub radius: Meters,
    /// How far it is widened, doubling, while nobody is found.
    pub max_radius: Meters,
    /// Most free drivers, and most busy ones, that are candidates for one order.
    pub candidates: u32,
    /// A busy driver is a candidate when its route ends within this time.
    pub busy_until: Millis,
    /// How many of the candidates, those with the best scores, take part in the pairing.
    pub paired: u32,
}

/// When an order is decided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRule {
    /// An order is held while its slack exceeds this.
    pub margin: Millis,
    /// An order is first looked at this long before it is ready.
    pub horizon: Millis,
    /// Where drivers are assigned directly, an order is decided for a busy driver only if it can set out within this time;
    /// until then the driver is reserved window by window, which keeps the choice open. Where drivers are asked, that takes
    /// time and may fail, so a busy driver is asked as soon as the order is due; but a wave goes, beside the driver chosen,
    /// only to drivers who can set out within this time.
    pub commit_ahead: Millis,
    /// What a ready time is worth.
    pub ready_times: ReadyTimes,
}

/// What a ready time is worth until the order is ready.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReadyTimes {
    /// It is believed.
    Stated,
    /// It is a guess until the merchant says that the order is ready. How good guesses are is learned, for each place.
    Learned {
        /// A driver is sent once the order is ready on its arrival with at least this probability.
        depart_at_probability: f64,
    },
}

/// Which orders may share a route, so that one is on board while another is fetched or brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRule {
    /// Which routes are allowed.
    pub mode: BundleMode,
    /// Most orders planned into one bundle.
    pub max_orders: u16,
    /// Orders are bundled only if that improves the window by at least this many score points.
    pub min_gain: f64,
}

/// Which routes are allowed. Every mode allows what those before it allow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BundleMode {
    /// One order after the other.
    Off,
    /// Orders of one pickup together.
    SamePickup,
    /// Orders of pickups near each other together: first every pickup, then every dropoff.
    Nearby {
        /// How far from each other the pickups may be.
        within: Meters,
    },
    /// Pickups and dropoffs in any sequence, also while other orders are on board.
    Interleaved {
        /// How far from each other the pickups may be.
        within: Meters,
    },
}

impl BundleMode {
    /// How far from each other the pickups of a bundle may be; `None` where there are no bundles.
    pub fn reach(self) -> Option<Meters> {
        match self {
            Self::Off => None,
            Self::SamePickup => Some(Meters::ZERO),
            Self::Nearby { within } | Self::Interleaved { within } => Some(within),
        }
    }
}

/// When an assigned order moves to another driver.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapRule {
    /// By how many score points the other driver must be better.
    pub penalty: f64,
}

/// Where idle drivers are told to wait.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositionRule {
    /// How often.
    pub every: Millis,
    /// The orders expected within this time count.
    pub look_ahead: Millis,
    /// What a driver at the right place is worth, in minutes of travel saved.
    pub worth_min: f64,
    /// No driver is sent further than this.
    pub max_travel: Millis,
    /// A driver that was sent is not sent again within this time.
    pub rest: Millis,
}

/// One term of the score and how much it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreWeight {
    /// The name of a built-in or registered score term.
    pub term: Label,
    /// What its value is multiplied with; negative where less is better.
    pub weight: f64,
}

/// How a driver is told of its orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OfferRule {
    /// Assigned at once; a driver never refuses.
    Direct,
    /// Offered to one driver at a time.
    Sequential {
        /// How long an offer is open.
        expires_after: Millis,
    },
    /// Offered to several drivers at once: whoever accepts first gets it, and the others' offers are withdrawn. A wave is
    /// one attempt of the round, and ends when nobody is left who could still accept.
    Wave {
        /// How many drivers are asked at most, 2 to 10: the one chosen, and the next best who could set out now and whom
        /// no other order needs. With fewer of those, fewer are asked.
        size: u16,
        /// How long the offers are open.
        expires_after: Millis,
    },
}

/// What happens when nobody is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundRule {
    /// How many offers a round has.
    pub attempts: u16,
    /// How long an order without a candidate waits before it is looked at again; not an attempt.
    pub pause: Millis,
    /// A round ends after this long without a candidate.
    pub no_candidate_after: Millis,
    /// How long after a failed round the next begins.
    pub retry_after: Millis,
}

/// How long stops take. A stop has one event (picked up, delivered) with a part of the service before it and a part after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTimes {
    /// From arriving at the pickup to having the order, if it is ready.
    pub before_pickup: Millis,
    /// From having the order to leaving.
    pub after_pickup: Millis,
    /// From arriving at the dropoff to handing over.
    pub before_dropoff: Millis,
    /// From handing over to leaving.
    pub after_dropoff: Millis,
}

/// What a missing position means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionRule {
    /// A driver whose last fix is older gets no orders.
    pub searchable_for: Millis,
    /// A driver whose last fix is older is silent.
    pub silent_after: Millis,
    /// Whether the orders a silent driver has not picked up go back to waiting.
    pub return_orders_of_silent: bool,
}

/// When orders end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lifetimes {
    /// An order that found no driver for this long is flagged overdue.
    pub overdue_after: Millis,
    /// An order that found no driver for this long fails.
    pub fail_after: Millis,
    /// An order that has not ended this long after it was due to be ready fails, whatever its status.
    pub never_finished_after: Millis,
    /// An order that ended leaves memory after this long.
    pub retire_after: Millis,
    /// How far ahead a ready time, a promise or the end of a shift may lie.
    pub plan_ahead: Millis,
}

/// How much the market holds; past a limit there is a refusal, not memory growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most orders in memory.
    pub orders: u32,
    /// Most registered drivers.
    pub drivers: u32,
    /// Most orders on one driver's route.
    pub orders_per_driver: u16,
}

/// A complete set of score weights with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScorePreset {
    /// Minutes until the food is with the customer, and what the driver spends on it. The default.
    Timely,
    /// Distance, rating, acceptance and load as shares of one: 0.40, 0.25, 0.20, 0.15.
    Classic,
    /// Points: 100 less 10 a kilometre and 15 an order in hand, plus rating, need of work and efficiency.
    Additive,
}

impl ScorePreset {
    /// The weights of this preset.
    pub fn weights(self) -> Vec<ScoreWeight> {
        let table: &[(&str, f64)] = match self {
            Self::Timely => &[
                ("delay_min", -1.0),
                ("delay_min_squared", -0.01),
                ("late_min", -1.0),
                ("until_free_min", -0.2),
                ("to_pickup_min", -0.15),
                ("shift_min", -0.15),
                ("above_floor", -1.0),
            ],
            Self::Classic => &[("closeness", 0.40), ("rating", 0.25), ("acceptance", 0.20), ("spare_load", 0.15)],
            Self::Additive => &[
                ("constant", 100.0),
                ("distance_km", -10.0),
                ("load", -15.0),
                ("rating", 25.0),
                ("needs_work", 10.0),
                ("route_efficiency", 20.0),
            ],
        };
        table.iter().map(|&(term, weight)| ScoreWeight { term: name(term), weight }).collect()
    }
}

fn name(term: &str) -> Label {
    Label::new(term).expect("built-in names are short")
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            market: MarketId::new("default").expect("a valid id"),
            start_on: StartOn::Confirmed,
            preparation: Millis::from_mins(15),
            window: Millis::from_secs(1),
            search: SearchRule {
                radius: Meters::from_km(5),
                max_radius: Meters::from_km(15),
                candidates: 20,
                busy_until: Millis::from_mins(40),
                paired: 32,
            },
            schedule: ScheduleRule {
                margin: Millis::from_mins(2),
                horizon: Millis::from_mins(18),
                commit_ahead: Millis::from_mins(2),
                ready_times: ReadyTimes::Stated,
            },
            score: ScorePreset::Timely.weights(),
            work_budget: 10_000_000,
            bundles: BundleRule { mode: BundleMode::SamePickup, max_orders: 3, min_gain: 1.0 },
            swap: None,
            divert: true,
            reposition: None,
            floor_orders_per_hour: 1.5,
            offers: OfferRule::Sequential { expires_after: Millis::from_secs(30) },
            rounds: RoundRule {
                attempts: 5,
                pause: Millis::from_secs(10),
                no_candidate_after: Millis::from_mins(10),
                retry_after: Millis::from_secs(60),
            },
            service: ServiceTimes {
                before_pickup: Millis::ZERO,
                after_pickup: Millis::from_mins(2),
                before_dropoff: Millis::from_mins(3),
                after_dropoff: Millis::ZERO,
            },
            positions: PositionRule {
                searchable_for: Millis::from_secs(30),
                silent_after: Millis::from_secs(120),
                return_orders_of_silent: true,
            },
            lifetimes: Lifetimes {
                overdue_after: Millis::from_mins(60),
                fail_after: Millis::from_mins(120),
                never_finished_after: Millis::from_mins(24 * 60),
                retire_after: Millis::from_mins(60),
                plan_ahead: Millis::from_mins(7 * 24 * 60),
            },
            limits: Limits { orders: 1_000_000, drivers: 1_000_000, orders_per_driver: 3 },
        }
    }
}

/// Most score terms in one configuration.
pub const MAX_SCORE_TERMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_and_every_preset_are_valid() {
        for preset in [ScorePreset::Timely, ScorePreset::Classic, ScorePreset::Additive] {
            let config = EngineConfig { score: preset.weights(), ..EngineConfig::default() };
            assert_eq!(config.validate(), Ok(()));
        }
    }

    #[test]
    fn every_wrong_key_is_named_at_once() {
        let mut config = EngineConfig { window: Millis::from_mins(-1), ..EngineConfig::default() };
        config.search.max_radius = Meters::from_km(1);
        config.score[1].weight = f64::NAN;
        config.score[2].term = config.score[0].term.clone();
        config.lifetimes.fail_after = Millis::ZERO;
        let keys: Vec<_> = config.validate().unwrap_err().problems.into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["window", "search.max_radius", "score[1].weight", "score[2].term", "lifetimes.fail_after"]);
    }

    #[test]
    fn unknown_keys_are_refused_and_missing_ones_have_defaults() {
        assert_eq!(serde_json::from_str::<EngineConfig>("{}").unwrap(), EngineConfig::default());
        assert!(serde_json::from_str::<EngineConfig>(r#"{"windw": 1}"#).unwrap_err().to_string().contains("windw"));
    }
}
