//! Score terms: what makes one driver better than another for an order.

use crate::config::{ConfigError, ConfigProblem, ScoreWeight};
use crate::matching::candidates::Candidate;
use crate::model::Label;
use crate::units::Millis;
use std::fmt::Debug;
use std::sync::Arc;

/// One of the engine's two extension points: a quantity the score of a candidate is made of.
///
/// Its weight stands in the configuration under its name. Called for every candidate of every window; must answer the
/// same question the same way each time, or a recorded day does not replay.
pub trait ScoreTerm: Debug + Send + Sync {
    /// Its name in the configuration: at most 128 characters, none of the built-in ones.
    fn name(&self) -> &str;

    /// Its value for this candidate, in any unit. What is not a number counts as the worst there is.
    fn value(&self, candidate: &Candidate<'_>) -> f64;
}

type Value = fn(&Candidate<'_>) -> f64;

/// The built-in terms.
const BUILT_IN: &[(&str, Value)] = &[
    ("constant", |_| 1.0),
    ("delay_min", |c| c.deliveries.iter().map(|d| d.delay().as_mins_f64()).sum()),
    ("delay_min_squared", |c| c.deliveries.iter().map(|d| square(d.delay().as_mins_f64())).sum()),
    ("food_waiting_min", |c| c.deliveries.iter().map(|d| d.food_waiting().as_mins_f64()).sum()),
    ("food_waiting_min_squared", |c| c.deliveries.iter().map(|d| square(d.food_waiting().as_mins_f64())).sum()),
    ("driver_waiting_min", |c| c.driver_waiting.as_mins_f64()),
    ("shift_min", |c| c.shift_time().as_mins_f64()),
    ("to_pickup_min", |c| c.to_pickup.duration.as_mins_f64()),
    ("until_free_min", |c| c.until_free().as_mins_f64()),
    ("late_min", |c| c.deliveries.iter().map(|d| d.lateness().as_mins_f64()).sum()),
    ("distance_km", |c| c.to_pickup.distance.as_km()),
    ("closeness", |c| (1.0 - c.to_pickup.distance.as_km() / 5.0).max(0.0)),
    ("rating", |c| c.supply.rating.stars() / 5.0),
    ("acceptance", |c| c.supply.acceptance),
    ("load", |c| f64::from(c.supply.load)),
    ("spare_load", |c| (1.0 - f64::from(c.supply.load) / 3.0).max(0.0)),
    ("needs_work", |c| f64::from(u8::from(c.supply.idle_for.is_some_and(|idle| idle >= NEEDS_WORK_AFTER)))),
    ("above_floor", |c| {
        let with_this = f64::from(c.supply.fetched) + c.deliveries.len() as f64;
        (with_this - c.supply.floor).clamp(0.0, 1.0)
    }),
    ("route_efficiency", |c| {
        let carried: f64 = c.deliveries.iter().map(|d| d.direct.distance.get()).sum();
        let ridden = c.to_pickup.distance.get() + carried;
        if ridden > 0.0 { carried / ridden } else { 1.0 }
    }),
];

/// To the nearest whole number, halves away from zero; without a call.
fn round(value: f64) -> i64 {
    (value + 0.5_f64.copysign(value)) as i64
}

fn square(value: f64) -> f64 {
    value * value
}

/// A driver without an order for this long needs work.
const NEEDS_WORK_AFTER: Millis = Millis::from_mins(15);

/// The names of the built-in score terms.
///
/// | term | value |
/// | --- | --- |
/// | `constant` | 1 |
/// | `delay_min`, `delay_min_squared` | minutes the customer has it later than at best, and their square, summed over the orders |
/// | `food_waiting_min`, `food_waiting_min_squared` | minutes from ready to picked up, and their square, summed over the orders |
/// | `driver_waiting_min` | minutes the driver waits at pickups |
/// | `shift_min` | minutes of its shift that the driver spends on it |
/// | `to_pickup_min` | minutes of travel to the pickup |
/// | `until_free_min` | minutes until the driver can set out |
/// | `late_min` | minutes behind the promise, summed over the orders |
/// | `distance_km`, `closeness` | kilometres to the pickup; 1 there falling to 0 at 5 km |
/// | `rating`, `acceptance` | shares of 1 |
/// | `load`, `spare_load` | orders in hand; 1 with none falling to 0 with three |
/// | `needs_work` | 1 after 15 minutes without an order |
/// | `above_floor` | 1 for a driver who would have an order more than its floor, falling to 0 below it |
/// | `route_efficiency` | share of the way on which the order is on board |
pub fn built_in_score_terms() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|&(name, _)| name)
}

/// The weighted terms of one configuration, resolved.
#[derive(Debug)]
pub(crate) struct Score {
    names: Vec<Label>,
    terms: Vec<(f64, Term)>,
}

#[derive(Debug)]
enum Term {
    BuiltIn(Value),
    Custom(Arc<dyn ScoreTerm>),
}

/// A score and what each term contributed, in thousandths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scored {
    pub(crate) total_milli: i64,
    pub(crate) contributions_milli: Vec<i64>,
}

impl Scored {
    /// The score of a candidate that nothing can be said about.
    pub(crate) fn nothing(terms: usize) -> Self {
        Self { total_milli: 0, contributions_milli: vec![0; terms] }
    }

    /// How much more this is than `other`, term by term.
    pub(crate) fn less(self, other: &Self) -> Self {
        let parts = self.contributions_milli.iter().zip(&other.contributions_milli);
        Self {
            total_milli: self.total_milli - other.total_milli,
            contributions_milli: parts.map(|(with, without)| with - without).collect(),
        }
    }
}

/// No term contributes more than this, so that sums stay exact.
const MOST_MILLI: f64 = 1e12;

impl Score {
    /// Finds the term of each weight; an unknown or ambiguous name is a configuration error.
    pub(crate) fn resolve(weights: &[ScoreWeight], custom: &[Arc<dyn ScoreTerm>]) -> Result<Self, ConfigError> {
        let mut score = Self { names: Vec::new(), terms: Vec::new() };
        let mut problems = Vec::new();
        for (i, term) in custom.iter().enumerate() {
            let name = term.name();
            if built_in_score_terms().any(|known| known == name) || custom[..i].iter().any(|t| t.name() == name) {
                problems.push(ConfigProblem {
                    key: "terms".into(),
                    problem: format!("there is another score term `{name}`"),
                });
            }
        }
        for (i, ScoreWeight { term: name, weight }) in weights.iter().enumerate() {
            let built_in =
                BUILT_IN.iter().find(|(known, _)| *known == name.as_str()).map(|&(_, value)| Term::BuiltIn(value));
            let registered = || custom.iter().find(|term| term.name() == name.as_str()).cloned().map(Term::Custom);
            if let Some(term) = built_in.or_else(registered) {
                score.names.push(name.clone());
                score.terms.push((*weight, term));
            } else {
                problems.push(ConfigProblem {
                    key: format!("score[{i}].term"),
                    problem: format!("there is no score term `{name}`"),
                });
            }
        }
        if problems.is_empty() { Ok(score) } else { Err(ConfigError { problems }) }
    }

    /// The names of the terms, in the sequence of the contributions.
    pub(crate) fn names(&self) -> &[Label] {
        &self.names
    }

    /// The score alone, without allocation.
    pub(crate) fn total_milli(&self, candidate: &Candidate<'_>) -> i64 {
        self.contributions(candidate).sum()
    }

    /// The score and what it consists of.
    pub(crate) fn explain(&self, candidate: &Candidate<'_>) -> Scored {
        let contributions_milli: Vec<i64> = self.contributions(candidate).collect();
        Scored { total_milli: contributions_milli.iter().sum(), contributions_milli }
    }

    fn contributions(&self, candidate: &Candidate<'_>) -> impl Iterator<Item = i64> {
        self.terms.iter().map(|(weight, term)| {
            let value = match term {
                Term::BuiltIn(value) => value(candidate),
                Term::Custom(term) => term.value(candidate),
            };
            let milli = weight * value * 1_000.0;
            if milli.is_nan() { -MOST_MILLI as i64 } else { round(milli.clamp(-MOST_MILLI, MOST_MILLI)) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EngineConfig, ScorePreset};
    use crate::eta::StraightLine;
    use crate::geo::Position;
    use crate::matching::candidates::{Supply, Terms};
    use crate::model::{DriverId, DriverSpec, OrderId, OrderSpec, Rating};
    use crate::route::Anchor;
    use crate::route::plan::Task;
    use crate::units::Timestamp;

    /// A car 2 km away with one order in hand, rating 4 and acceptance 0.5; the food is ready in 10 minutes.
    fn with_candidate<T>(check: impl FnOnce(&Candidate<'_>) -> T) -> T {
        let km = 1.0 / 111.195_08;
        let (here, pickup, dropoff) = (0.0, 2.0 * km, 5.0 * km);
        let at = |lng| Position::new(0.0, lng).unwrap();
        let driver = DriverSpec::new(DriverId::new("d").unwrap());
        let now = Timestamp::from_millis(0);
        let supply = Supply {
            driver: &driver,
            rating: Rating::new(4.0).unwrap(),
            acceptance: 0.5,
            load: 1,
            idle_for: None,
            from: Anchor { position: at(here), at: now },
            until: None,
            fetched: 1,
            floor: 0.0,
            there_since: None,
            start: Anchor { position: at(here), at: now },
            stops: Vec::new(),
        };
        let order = OrderSpec::new(OrderId::new("o").unwrap(), at(pickup), at(dropoff));
        let (service, travel) = (EngineConfig::default().service, StraightLine::default());
        let task = Task::new(&order, now + Millis::from_mins(10), None, &travel);
        Terms { now, service: &service, travel: &travel }.alone(&task, &supply, check).unwrap()
    }

    fn score(preset: ScorePreset) -> f64 {
        let score = Score::resolve(&preset.weights(), &[]).unwrap();
        with_candidate(|candidate| score.total_milli(candidate)) as f64 / 1e3
    }

    #[test]
    fn presets_follow_their_formulas() {
        let classic = 0.40 * (1.0 - 2.0 / 5.0) + 0.25 * 4.0 / 5.0 + 0.20 * 0.5 + 0.15 * (1.0 - 1.0 / 3.0);
        assert!((score(ScorePreset::Classic) - classic).abs() < 0.002, "{}", score(ScorePreset::Classic));
        let additive = 100.0 - 10.0 * 2.0 - 15.0 + 5.0 * 4.0 + 0.0 + 20.0 * 3.0 / 5.0;
        assert!((score(ScorePreset::Additive) - additive).abs() < 0.002, "{}", score(ScorePreset::Additive));
    }

    #[test]
    fn contributions_add_up_and_unknown_names_are_refused() {
        let score = Score::resolve(&ScorePreset::Timely.weights(), &[]).unwrap();
        with_candidate(|candidate| {
            let scored = score.explain(candidate);
            assert_eq!(scored.total_milli, score.total_milli(candidate));
            assert_eq!(scored.contributions_milli.len(), score.names().len());
        });
        let mut weights = ScorePreset::Classic.weights();
        weights[2].term = Label::new("acceptence").unwrap();
        assert_eq!(Score::resolve(&weights, &[]).unwrap_err().problems[0].key, "score[2].term");
    }

    #[derive(Debug)]
    struct Broken(&'static str);

    impl ScoreTerm for Broken {
        fn name(&self) -> &str {
            self.0
        }
        fn value(&self, _: &Candidate<'_>) -> f64 {
            f64::NAN
        }
    }

    #[test]
    fn a_name_stands_for_one_term() {
        let weights = ScorePreset::Classic.weights();
        for names in [["mine", "rating"], ["mine", "mine"]] {
            let terms = names.map(|name| Arc::new(Broken(name)) as Arc<dyn ScoreTerm>);
            assert_eq!(Score::resolve(&weights, &terms[..1]).unwrap().names().len(), 4);
            let problems = Score::resolve(&weights, &terms).unwrap_err().problems;
            assert_eq!(problems[0].problem, format!("there is another score term `{}`", names[1]));
        }
    }

    #[test]
    fn a_custom_term_that_is_not_a_number_counts_as_the_worst() {
        let weights = [ScoreWeight { term: Label::new("broken").unwrap(), weight: 1.0 }];
        let score = Score::resolve(&weights, &[Arc::new(Broken("broken"))]).unwrap();
        assert_eq!(with_candidate(|candidate| score.total_milli(candidate)), -MOST_MILLI as i64);
    }
}
