//! The rules of a market: those of the core, each number named with its unit.

use super::{Count, Secs, Within};
use dispatch_core::{
    BundleMode, BundleRule, ConfigError, ConfigProblem, EngineConfig, Label, Lifetimes, Limits, MAX_SCORE_TERMS,
    MarketId, Meters, Millis, OfferRule, PositionRule, ReadyTimes, RepositionRule, RoundRule, ScheduleRule,
    ScoreWeight, SearchRule, ServiceTimes, StartOn, SwapRule,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod conversion;

/// A day and a month in milliseconds, the unit of bounds.
const DAY: i64 = 24 * 3_600_000;
const MONTH: i64 = 31 * DAY;

type Points = Within<0, 1_000_000>;

/// Every rule of a market. They are replaced as a whole: who leaves one out does not mean to reset it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesBody {
    start_on: StartOnName,
    /// From placing to ready, where an order does not say.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    preparation_seconds: Secs<0, DAY>,
    /// How often orders and drivers are matched.
    #[schema(value_type = f64, minimum = 0.01, maximum = 600)]
    window_seconds: Secs<10, 600_000>,
    search: SearchBody,
    schedule: ScheduleBody,
    /// What makes one driver better than another: the sum of weight x term, higher is better. No term stands twice.
    #[schema(value_type = Vec<ScoreWeightBody>, min_items = 1, max_items = 32)]
    score: Score,
    /// Most edges the pairing relaxes in one window; past it the rest is paired greedily.
    #[schema(value_type = u64, minimum = 1, maximum = 1_000_000_000_000_000_u64)]
    work_budget: Count<u64, 1, 1_000_000_000_000_000>,
    bundles: BundlesBody,
    /// Whether an order may move to another driver until it is picked up; not if `null`. Only where drivers are assigned
    /// directly.
    swap: Option<SwapBody>,
    /// Whether a driver on its way to a pickup, or to where it was sent to wait, may be sent elsewhere before it is there.
    divert: bool,
    /// Whether idle drivers are told where orders are to be expected; not if `null`.
    reposition: Option<RepositionBody>,
    /// Below how many orders an hour a driver is preferred, through the score term `above_floor`.
    #[schema(value_type = f64, minimum = 0, maximum = 1_000)]
    floor_orders_per_hour: Within<0, 1_000>,
    offers: OffersBody,
    rounds: RoundsBody,
    service: ServiceBody,
    positions: PositionsBody,
    lifetimes: LifetimesBody,
    limits: LimitsBody,
}

/// When the dispatch of an order starts.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StartOnName {
    /// When the merchant confirms it.
    Confirmed,
    /// When it is placed.
    Placed,
}

/// A length of more than 0 m.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "f64")]
struct Reach(Meters);

impl TryFrom<f64> for Reach {
    type Error = String;
    fn try_from(metres: f64) -> Result<Self, String> {
        let length = Meters::new(metres).ok().filter(|length| *length > Meters::ZERO);
        length.map(Self).ok_or_else(|| format!("must be more than 0 m, not {metres}"))
    }
}

/// Which drivers are looked at for an order.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SearchBody {
    /// How far from the pickup the search begins.
    #[schema(value_type = f64, exclusive_minimum = 0)]
    radius_m: Reach,
    /// How far it is widened, doubling, while nobody is found; at least `radius_m`.
    #[schema(value_type = f64, exclusive_minimum = 0)]
    max_radius_m: Reach,
    /// Most free drivers, and most busy ones, that are candidates for one order.
    #[schema(value_type = u32, minimum = 1, maximum = 1_000)]
    candidates: Count<u32, 1, 1_000>,
    /// A busy driver is a candidate when its route ends within this time.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    busy_until_seconds: Secs<0, DAY>,
    /// How many of the candidates, those with the best scores, take part in the pairing.
    #[schema(value_type = u32, minimum = 1, maximum = 1_000)]
    paired: Count<u32, 1, 1_000>,
}

/// When an order is decided.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScheduleBody {
    /// An order is held while its slack exceeds this.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    margin_seconds: Secs<0, DAY>,
    /// An order is first looked at this long before it is ready; at least the margin.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    horizon_seconds: Secs<0, DAY>,
    /// Where drivers are assigned directly, an order is decided for a busy driver only if it can set out within this time, at
    /// most `search.busy_until_seconds`. Where drivers are asked, a busy driver is asked as soon as the order is due; the
    /// further drivers of a wave are those who can set out within this time.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    commit_ahead_seconds: Secs<0, DAY>,
    /// If this is `null`, stated ready times are believed. Otherwise how good those of each place are is learned, and a
    /// driver is sent once the order is ready on its arrival with at least this probability.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1)]
    depart_at_probability: Option<Within<0, 1>>,
}

/// One term of the score and how much it counts.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScoreWeightBody {
    /// The name of a term.
    #[schema(value_type = String, max_length = 128)]
    term: Label,
    /// What its value is multiplied with; negative where less is better.
    #[schema(value_type = f64, minimum = -1_000_000, maximum = 1_000_000)]
    weight: Within<-1_000_000, 1_000_000>,
}

/// The terms of the score.
#[derive(Debug, Deserialize, Serialize)]
#[serde(try_from = "Vec<ScoreWeightBody>")]
struct Score(Vec<ScoreWeightBody>);

impl TryFrom<Vec<ScoreWeightBody>> for Score {
    type Error = String;
    fn try_from(terms: Vec<ScoreWeightBody>) -> Result<Self, String> {
        if (1..=MAX_SCORE_TERMS).contains(&terms.len()) {
            Ok(Self(terms))
        } else {
            Err(format!("must be 1 to {MAX_SCORE_TERMS} terms, not {}", terms.len()))
        }
    }
}

impl Score {
    fn into_core(self) -> Vec<ScoreWeight> {
        let weight = |ScoreWeightBody { term, weight }| ScoreWeight { term, weight: weight.get() };
        self.0.into_iter().map(weight).collect()
    }
}

impl From<&[ScoreWeight]> for Score {
    fn from(weights: &[ScoreWeight]) -> Self {
        let body = |ScoreWeight { term, weight }: &ScoreWeight| ScoreWeightBody {
            term: term.clone(),
            weight: Within(*weight),
        };
        Self(weights.iter().map(body).collect())
    }
}

/// Which routes bundles of orders may have. Every word allows what those before it allow.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BundleModeName {
    /// One order after the other.
    Off,
    /// Orders of one pickup together.
    SamePickup,
    /// Orders of pickups near each other together: first every pickup, then every dropoff.
    Nearby,
    /// Pickups and dropoffs in any sequence, also while other orders are on board.
    Interleaved,
}

/// Which orders may share a route.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BundlesBody {
    mode: BundleModeName,
    /// How far from each other the pickups may be; for `nearby` and `interleaved` alone.
    #[schema(value_type = Option<f64>, minimum = 0)]
    within_m: Option<Meters>,
    /// Most orders planned into one bundle.
    #[schema(value_type = u16, minimum = 1, maximum = 10)]
    max_orders: Count<u16, 1, 10>,
    /// Orders are bundled only if that improves the window by at least this many score points.
    #[schema(value_type = f64, minimum = 0, maximum = 1_000_000)]
    min_gain_points: Points,
}

/// When an assigned order moves to another driver.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SwapBody {
    /// By how many score points the other driver must be better.
    #[schema(value_type = f64, minimum = 0, maximum = 1_000_000)]
    penalty_points: Points,
}

/// Where idle drivers are told to wait.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RepositionBody {
    /// How often; at least `window_seconds`.
    #[schema(value_type = f64, minimum = 0.01, maximum = 86_400)]
    every_seconds: Secs<10, DAY>,
    /// The orders expected within this time count.
    #[schema(value_type = f64, minimum = 60, maximum = 86_400)]
    look_ahead_seconds: Secs<60_000, DAY>,
    /// What a driver at the right place is worth, in minutes of travel saved.
    #[schema(value_type = f64, minimum = 0, maximum = 1_000_000)]
    worth_minutes: Within<0, 1_000_000>,
    /// No driver is sent further than this.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    max_travel_seconds: Secs<0, DAY>,
    /// A driver that was sent is not sent again within this time.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    rest_seconds: Secs<0, DAY>,
}

/// How a driver is told of its orders.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OfferModeName {
    /// Assigned at once; a driver never refuses.
    Direct,
    /// Offered to one driver at a time.
    Sequential,
    /// Offered to several drivers at once: whoever accepts first gets it.
    Wave,
}

/// How a driver is told of its orders.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OffersBody {
    mode: OfferModeName,
    /// How many drivers are asked at once; for `wave` alone.
    #[schema(value_type = Option<u16>, minimum = 2, maximum = 10)]
    size: Option<Count<u16, 2, 10>>,
    /// How long an offer is open; for `sequential` and `wave`.
    #[schema(value_type = Option<f64>, minimum = 1, maximum = 86_400)]
    expires_after_seconds: Option<Secs<1_000, DAY>>,
}

/// What happens when nobody is found.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoundsBody {
    /// How many offers a round has.
    #[schema(value_type = u16, minimum = 1, maximum = 100)]
    attempts: Count<u16, 1, 100>,
    /// How long an order without a candidate waits before it is looked at again; not an attempt.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    pause_seconds: Secs<0, DAY>,
    /// A round ends after this long without a candidate; at least the pause.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    no_candidate_after_seconds: Secs<0, DAY>,
    /// How long after a failed round the next begins.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    retry_after_seconds: Secs<0, DAY>,
}

/// How long stops take. A stop has one event (picked up, delivered) with a part of the service before it and a part after.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "keys carry their unit")]
struct ServiceBody {
    /// From arriving at the pickup to having the order, if it is ready.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    before_pickup_seconds: Secs<0, DAY>,
    /// From having the order to leaving.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    after_pickup_seconds: Secs<0, DAY>,
    /// From arriving at the dropoff to handing over.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    before_dropoff_seconds: Secs<0, DAY>,
    /// From handing over to leaving.
    #[schema(value_type = f64, minimum = 0, maximum = 86_400)]
    after_dropoff_seconds: Secs<0, DAY>,
}

/// What a missing position means.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PositionsBody {
    /// A driver whose last fix is older gets no orders.
    #[schema(value_type = f64, minimum = 1, maximum = 86_400)]
    searchable_for_seconds: Secs<1_000, DAY>,
    /// A driver whose last fix is older is silent; at least `searchable_for_seconds`.
    #[schema(value_type = f64, minimum = 1, maximum = 86_400)]
    silent_after_seconds: Secs<1_000, DAY>,
    /// Whether the orders a silent driver has not picked up go back to waiting.
    return_orders_of_silent: bool,
}

/// When orders end by themselves.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "keys carry their unit")]
struct LifetimesBody {
    /// An order that found no driver for this long is flagged overdue.
    #[schema(value_type = f64, minimum = 0, maximum = 2_678_400)]
    overdue_after_seconds: Secs<0, MONTH>,
    /// An order that found no driver for this long fails; no sooner than it is overdue.
    #[schema(value_type = f64, minimum = 0, maximum = 2_678_400)]
    fail_after_seconds: Secs<0, MONTH>,
    /// An order that has not ended this long after it was due to be ready fails, whatever its status; no sooner than one that
    /// found no driver.
    #[schema(value_type = f64, minimum = 0, maximum = 2_678_400)]
    never_finished_after_seconds: Secs<0, MONTH>,
    /// An order that ended leaves memory after this long.
    #[schema(value_type = f64, minimum = 0, maximum = 2_678_400)]
    retire_after_seconds: Secs<0, MONTH>,
    /// How far ahead a ready time, a promise or the end of a shift may lie; at least `preparation_seconds`.
    #[schema(value_type = f64, minimum = 0, maximum = 2_678_400)]
    plan_ahead_seconds: Secs<0, MONTH>,
}

/// How much the market holds.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LimitsBody {
    /// Most orders in memory.
    #[schema(value_type = u32, minimum = 1, maximum = 4_294_967_295_u32)]
    orders: Count<u32, 1, 4_294_967_295>,
    /// Most registered drivers; no more than the server keeps positions for.
    #[schema(value_type = u32, minimum = 1, maximum = 4_294_967_295_u32)]
    drivers: Count<u32, 1, 4_294_967_295>,
    /// Most orders on one driver's route.
    #[schema(value_type = u16, minimum = 1, maximum = 100)]
    orders_per_driver: Count<u16, 1, 100>,
}

/// What a key of the core's rules is called here: `search.max_radius` is `search.max_radius_m`.
pub(crate) fn rule_field(key: &str) -> String {
    let mut rules = serde_json::to_value(RulesBody::from(&every_rule())).expect("rules have text keys");
    let mut field = String::new();
    for part in key.split_inclusive('.') {
        let (name, dot) = part.strip_suffix('.').map_or((part, ""), |name| (name, "."));
        let called = |full: &&String| {
            let unit = full.strip_prefix(name.trim_end_matches("_min"));
            unit.is_some_and(|unit| ["", "_seconds", "_m", "_minutes", "_points"].contains(&unit))
        };
        let full = rules.as_object().and_then(|fields| fields.keys().find(called)).cloned();
        let full = full.unwrap_or_else(|| name.to_owned());
        rules = rules[&full].take();
        field = field + &full + dot;
    }
    field
}

/// Rules without any that is off.
fn every_rule() -> EngineConfig {
    let mut rules = EngineConfig { swap: Some(SwapRule { penalty: 1.0 }), ..EngineConfig::default() };
    let (every, rest) = (Millis::from_mins(1), Millis::from_mins(5));
    let (look_ahead, max_travel) = (Millis::from_mins(15), Millis::from_mins(15));
    rules.reposition = Some(RepositionRule { every, look_ahead, worth_min: 1.0, max_travel, rest });
    rules.schedule.ready_times = ReadyTimes::Learned { depart_at_probability: 0.5 };
    rules.bundles.mode = BundleMode::Nearby { within: Meters::from_m(500) };
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse;
    use serde_json::Value;

    #[test]
    fn rules_are_read_as_they_are_shown() {
        let direct = EngineConfig { offers: OfferRule::Direct, start_on: StartOn::Placed, ..every_rule() };
        let wave = OfferRule::Wave { size: 3, expires_after: Millis::from_secs(20) };
        let wave = EngineConfig { offers: wave, swap: None, ..every_rule() };
        let mut odd = EngineConfig { preparation: Millis::new(1_234_567), divert: false, ..EngineConfig::default() };
        odd.bundles.mode = BundleMode::Interleaved { within: Meters::new(0.1).unwrap() };
        odd.limits.orders = u32::MAX;
        let mut off = EngineConfig { window: Millis::new(10), ..EngineConfig::default() };
        off.bundles.mode = BundleMode::Off;
        for rules in [EngineConfig::default(), every_rule(), direct, wave, odd, off] {
            let shown = serde_json::to_vec(&RulesBody::from(&rules)).unwrap();
            assert_eq!(parse::<RulesBody>(&shown).unwrap().into_core(rules.market.clone()), Ok(rules));
        }
    }

    /// Every key of some JSON, as `search.radius`.
    fn keys(json: &Value, above: &str, found: &mut Vec<String>) {
        for (name, value) in json.as_object().into_iter().flatten() {
            let key = format!("{above}{name}");
            keys(value, &format!("{key}."), found);
            found.push(key);
        }
    }

    #[test]
    fn every_key_of_the_core_has_a_name_here() {
        let (mut shown, mut core) = (Vec::new(), Vec::new());
        keys(&serde_json::to_value(RulesBody::from(&every_rule())).unwrap(), "", &mut shown);
        keys(&serde_json::to_value(every_rule()).unwrap(), "", &mut core);
        // The path says which market it is; what has parameters in the core is a word and a field for each of them here.
        core.retain(|key| {
            !["market", "schedule.ready_times", "offers.", "bundles.mode."].iter().any(|own| key.starts_with(own))
        });
        core.extend(["offers.expires_after".into(), "bundles.within".into()]);
        assert!(core.len() > 50, "{core:?}");
        for key in core {
            assert!(shown.contains(&rule_field(&key)), "{key} is no {}", rule_field(&key));
        }
        assert_eq!(rule_field("limits.orders"), "limits.orders");
        assert_eq!(rule_field("score[3].term"), "score[3].term");
        assert_eq!(rule_field("reposition.worth_min"), "reposition.worth_minutes");
    }
}
