//! What values rules may have.

use super::{
    BundleRule, EngineConfig, Lifetimes, Limits, MAX_SCORE_TERMS, OfferRule, PositionRule, ReadyTimes, RepositionRule,
    RoundRule, ScoreWeight, SearchRule, ServiceTimes,
};
use crate::units::{Meters, Millis};
use std::fmt;

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// One entry for each wrong key, in the order of the configuration.
    pub problems: Vec<ConfigProblem>,
}

/// One wrong key of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, as `search.radius`.
    pub key: String,
    /// What is wrong with its value.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not valid")?;
        for ConfigProblem { key, problem } in &self.problems {
            write!(f, "; {key}: {problem}")?;
        }
        Ok(())
    }
}

impl EngineConfig {
    /// Checks every value and how they fit together; names of score terms are checked by the engine, which knows them.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut check = Check::default();
        let day = Millis::from_mins(24 * 60);
        check.within("preparation", self.preparation, Millis::ZERO, day);
        check.within("window", self.window, Millis::new(10), Millis::from_mins(10));

        let SearchRule { radius, max_radius, candidates, busy_until, paired } = self.search;
        check.that("search.radius", radius > Meters::ZERO, || "must be more than 0 m".into());
        check.that("search.max_radius", max_radius >= radius, || format!("must be at least search.radius, {radius}"));
        check.that("search.candidates", (1..=1_000).contains(&candidates), || {
            format!("must be 1 to 1000, not {candidates}")
        });
        check.within("search.busy_until", busy_until, Millis::ZERO, day);
        check.that("search.paired", (1..=1_000).contains(&paired), || format!("must be 1 to 1000, not {paired}"));

        check.within("schedule.margin", self.schedule.margin, Millis::ZERO, day);
        check.within("schedule.horizon", self.schedule.horizon, self.schedule.margin, day);
        check.within("schedule.commit_ahead", self.schedule.commit_ahead, Millis::ZERO, busy_until);
        self.validate_score(&mut check);
        check.that("work_budget", self.work_budget > 0, || "must be at least 1 edge".into());
        self.validate_routes(&mut check);
        match self.offers {
            OfferRule::Direct => {}
            OfferRule::Sequential { expires_after } => {
                check.within("offers.sequential.expires_after", expires_after, Millis::from_secs(1), day);
            }
            OfferRule::Wave { size, expires_after } => {
                check.that("offers.wave.size", (2..=10).contains(&size), || format!("must be 2 to 10, not {size}"));
                check.within("offers.wave.expires_after", expires_after, Millis::from_secs(1), day);
            }
        }

        let RoundRule { attempts, pause, no_candidate_after, retry_after } = self.rounds;
        check.that("rounds.attempts", (1..=100).contains(&attempts), || format!("must be 1 to 100, not {attempts}"));
        check.within("rounds.pause", pause, Millis::ZERO, day);
        check.within("rounds.no_candidate_after", no_candidate_after, pause, day);
        check.within("rounds.retry_after", retry_after, Millis::ZERO, day);

        let ServiceTimes { before_pickup, after_pickup, before_dropoff, after_dropoff } = self.service;
        check.within("service.before_pickup", before_pickup, Millis::ZERO, day);
        check.within("service.after_pickup", after_pickup, Millis::ZERO, day);
        check.within("service.before_dropoff", before_dropoff, Millis::ZERO, day);
        check.within("service.after_dropoff", after_dropoff, Millis::ZERO, day);

        let PositionRule { searchable_for, silent_after, .. } = self.positions;
        check.within("positions.searchable_for", searchable_for, Millis::from_secs(1), day);
        check.within("positions.silent_after", silent_after, searchable_for, day);

        let Lifetimes { overdue_after, fail_after, never_finished_after, retire_after, plan_ahead } = self.lifetimes;
        let month = day * 31;
        check.within("lifetimes.overdue_after", overdue_after, Millis::ZERO, month);
        check.within("lifetimes.fail_after", fail_after, overdue_after, month);
        check.within("lifetimes.never_finished_after", never_finished_after, fail_after, month);
        check.within("lifetimes.retire_after", retire_after, Millis::ZERO, month);
        check.within("lifetimes.plan_ahead", plan_ahead, self.preparation, month);

        let Limits { orders, drivers, orders_per_driver } = self.limits;
        check.that("limits.orders", orders > 0, || "must be at least 1".into());
        check.that("limits.drivers", drivers > 0, || "must be at least 1".into());
        check.that("limits.orders_per_driver", (1..=100).contains(&orders_per_driver), || {
            format!("must be 1 to 100, not {orders_per_driver}")
        });
        check.done()
    }

    fn validate_routes(&self, check: &mut Check) {
        if let ReadyTimes::Learned { depart_at_probability: share } = self.schedule.ready_times {
            check.that("schedule.ready_times.learned.depart_at_probability", (0.0..=1.0).contains(&share), || {
                format!("must be 0 to 1, not {share}")
            });
        }
        let BundleRule { max_orders, min_gain, .. } = self.bundles;
        check.that("bundles.max_orders", (1..=10).contains(&max_orders), || {
            format!("must be 1 to 10, not {max_orders}")
        });
        check.points("bundles.min_gain", min_gain);
        if let Some(swap) = self.swap {
            check.points("swap.penalty", swap.penalty);
            check.that("swap", self.offers == OfferRule::Direct, || "needs offers = direct".into());
        }
        if let Some(RepositionRule { every, look_ahead, worth_min, max_travel, rest }) = self.reposition {
            let day = Millis::from_mins(24 * 60);
            check.within("reposition.every", every, self.window, day);
            check.within("reposition.look_ahead", look_ahead, Millis::from_mins(1), day);
            check.points("reposition.worth_min", worth_min);
            check.within("reposition.max_travel", max_travel, Millis::ZERO, day);
            check.within("reposition.rest", rest, Millis::ZERO, day);
        }
        let floor = self.floor_orders_per_hour;
        check.that("floor_orders_per_hour", (0.0..=1_000.0).contains(&floor), || {
            format!("must be 0 to 1000, not {floor}")
        });
    }

    fn validate_score(&self, check: &mut Check) {
        let terms = self.score.len();
        check.that("score", (1..=MAX_SCORE_TERMS).contains(&terms), || {
            format!("must have 1 to {MAX_SCORE_TERMS} terms, not {terms}")
        });
        for (i, ScoreWeight { term, weight }) in self.score.iter().enumerate() {
            let sane = weight.is_finite() && weight.abs() <= 1e6;
            check.that(&format!("score[{i}].weight"), sane, || format!("must be a number within ±1e6, not {weight}"));
            let first = self.score[..i].iter().all(|earlier| earlier.term != *term);
            check.that(&format!("score[{i}].term"), first, || format!("`{term}` stands twice"));
        }
    }
}

#[derive(Default)]
pub(super) struct Check {
    problems: Vec<ConfigProblem>,
}

impl Check {
    pub(super) fn that(&mut self, key: &str, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(ConfigProblem { key: key.to_owned(), problem: problem() });
        }
    }

    pub(super) fn within(&mut self, key: &str, value: Millis, least: Millis, most: Millis) {
        self.that(key, (least..=most).contains(&value), || format!("must be {least} to {most}, not {value}"));
    }

    /// Score points that something costs.
    fn points(&mut self, key: &str, points: f64) {
        self.that(key, (0.0..=1e6).contains(&points), || format!("must be 0 to 1e6 points, not {points}"));
    }

    pub(super) fn done(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError { problems: self.problems }) }
    }
}
