//! The rules as a body, to and from those of the core.

use super::{
    BundleMode, BundleModeName, BundleRule, BundlesBody, ConfigError, ConfigProblem, Count, DAY, EngineConfig,
    Lifetimes, LifetimesBody, Limits, LimitsBody, MarketId, OfferModeName, OfferRule, OffersBody, PositionRule,
    PositionsBody, Reach, ReadyTimes, RepositionBody, RepositionRule, RoundRule, RoundsBody, RulesBody, ScheduleBody,
    ScheduleRule, SearchBody, SearchRule, Secs, ServiceBody, ServiceTimes, StartOn, StartOnName, SwapBody, SwapRule,
    Within,
};

/// One key that is wrong for another one's sake, which its own schema cannot say.
fn wrong(key: &str, problem: &str) -> ConfigError {
    ConfigError { problems: vec![ConfigProblem { key: key.into(), problem: problem.into() }] }
}

impl RulesBody {
    /// The rules of this market. How they fit together the engine checks.
    pub(crate) fn into_core(self, market: MarketId) -> Result<EngineConfig, ConfigError> {
        let Self { search, schedule, rounds, service, positions, lifetimes, limits, .. } = self;
        Ok(EngineConfig {
            market,
            start_on: match self.start_on {
                StartOnName::Confirmed => StartOn::Confirmed,
                StartOnName::Placed => StartOn::Placed,
            },
            preparation: self.preparation_seconds.get(),
            window: self.window_seconds.get(),
            search: SearchRule {
                radius: search.radius_m.0,
                max_radius: search.max_radius_m.0,
                candidates: search.candidates.get(),
                busy_until: search.busy_until_seconds.get(),
                paired: search.paired.get(),
            },
            schedule: ScheduleRule {
                margin: schedule.margin_seconds.get(),
                horizon: schedule.horizon_seconds.get(),
                commit_ahead: schedule.commit_ahead_seconds.get(),
                ready_times: schedule.depart_at_probability.map_or(ReadyTimes::Stated, |probability| {
                    ReadyTimes::Learned { depart_at_probability: probability.get() }
                }),
            },
            score: self.score.into_core(),
            work_budget: self.work_budget.get(),
            bundles: self.bundles.into_core()?,
            swap: self.swap.map(|swap| SwapRule { penalty: swap.penalty_points.get() }),
            divert: self.divert,
            reposition: self.reposition.map(|reposition| RepositionRule {
                every: reposition.every_seconds.get(),
                look_ahead: reposition.look_ahead_seconds.get(),
                worth_min: reposition.worth_minutes.get(),
                max_travel: reposition.max_travel_seconds.get(),
                rest: reposition.rest_seconds.get(),
            }),
            floor_orders_per_hour: self.floor_orders_per_hour.get(),
            offers: self.offers.into_core()?,
            rounds: RoundRule {
                attempts: rounds.attempts.get(),
                pause: rounds.pause_seconds.get(),
                no_candidate_after: rounds.no_candidate_after_seconds.get(),
                retry_after: rounds.retry_after_seconds.get(),
            },
            service: ServiceTimes {
                before_pickup: service.before_pickup_seconds.get(),
                after_pickup: service.after_pickup_seconds.get(),
                before_dropoff: service.before_dropoff_seconds.get(),
                after_dropoff: service.after_dropoff_seconds.get(),
            },
            positions: PositionRule {
                searchable_for: positions.searchable_for_seconds.get(),
                silent_after: positions.silent_after_seconds.get(),
                return_orders_of_silent: positions.return_orders_of_silent,
            },
            lifetimes: Lifetimes {
                overdue_after: lifetimes.overdue_after_seconds.get(),
                fail_after: lifetimes.fail_after_seconds.get(),
                never_finished_after: lifetimes.never_finished_after_seconds.get(),
                retire_after: lifetimes.retire_after_seconds.get(),
                plan_ahead: lifetimes.plan_ahead_seconds.get(),
            },
            limits: Limits {
                orders: limits.orders.get(),
                drivers: limits.drivers.get(),
                orders_per_driver: limits.orders_per_driver.get(),
            },
        })
    }
}

impl BundlesBody {
    fn into_core(self) -> Result<BundleRule, ConfigError> {
        let mode = match (self.mode, self.within_m) {
            (BundleModeName::Off, None) => BundleMode::Off,
            (BundleModeName::SamePickup, None) => BundleMode::SamePickup,
            (BundleModeName::Nearby, Some(within)) => BundleMode::Nearby { within },
            (BundleModeName::Interleaved, Some(within)) => BundleMode::Interleaved { within },
            (_, Some(_)) => return Err(wrong("bundles.within", "is for the modes nearby and interleaved")),
            (_, None) => return Err(wrong("bundles.within", "is what this mode needs")),
        };
        Ok(BundleRule { mode, max_orders: self.max_orders.get(), min_gain: self.min_gain_points.get() })
    }
}

impl From<&BundleRule> for BundlesBody {
    fn from(rule: &BundleRule) -> Self {
        let (mode, within_m) = match rule.mode {
            BundleMode::Off => (BundleModeName::Off, None),
            BundleMode::SamePickup => (BundleModeName::SamePickup, None),
            BundleMode::Nearby { within } => (BundleModeName::Nearby, Some(within)),
            BundleMode::Interleaved { within } => (BundleModeName::Interleaved, Some(within)),
        };
        Self { mode, within_m, max_orders: Count(rule.max_orders), min_gain_points: Within(rule.min_gain) }
    }
}

impl OffersBody {
    fn into_core(self) -> Result<OfferRule, ConfigError> {
        let size =
            |size: Option<Count<u16, 2, 10>>| size.ok_or_else(|| wrong("offers.size", "is what this mode needs"));
        let expires = |after: Option<Secs<1_000, DAY>>| {
            after.map(Secs::get).ok_or_else(|| wrong("offers.expires_after", "is what this mode needs"))
        };
        match (self.mode, self.size, self.expires_after_seconds) {
            (OfferModeName::Direct, None, None) => Ok(OfferRule::Direct),
            (OfferModeName::Direct, _, Some(_)) => Err(wrong("offers.expires_after", "is not for the mode direct")),
            (OfferModeName::Direct | OfferModeName::Sequential, Some(_), _) => {
                Err(wrong("offers.size", "is for the mode wave"))
            }
            (OfferModeName::Sequential, None, after) => Ok(OfferRule::Sequential { expires_after: expires(after)? }),
            (OfferModeName::Wave, drivers, after) => {
                Ok(OfferRule::Wave { size: size(drivers)?.get(), expires_after: expires(after)? })
            }
        }
    }
}

impl From<OfferRule> for OffersBody {
    fn from(rule: OfferRule) -> Self {
        let (mode, size, expires_after) = match rule {
            OfferRule::Direct => (OfferModeName::Direct, None, None),
            OfferRule::Sequential { expires_after } => (OfferModeName::Sequential, None, Some(expires_after)),
            OfferRule::Wave { size, expires_after } => (OfferModeName::Wave, Some(size), Some(expires_after)),
        };
        Self { mode, size: size.map(Count), expires_after_seconds: expires_after.map(Secs) }
    }
}

impl From<&EngineConfig> for RulesBody {
    fn from(rules: &EngineConfig) -> Self {
        let EngineConfig { search, schedule, rounds, service, positions, lifetimes, limits, .. } = rules;
        Self {
            start_on: match rules.start_on {
                StartOn::Confirmed => StartOnName::Confirmed,
                StartOn::Placed => StartOnName::Placed,
            },
            preparation_seconds: Secs(rules.preparation),
            window_seconds: Secs(rules.window),
            search: SearchBody {
                radius_m: Reach(search.radius),
                max_radius_m: Reach(search.max_radius),
                candidates: Count(search.candidates),
                busy_until_seconds: Secs(search.busy_until),
                paired: Count(search.paired),
            },
            schedule: ScheduleBody {
                margin_seconds: Secs(schedule.margin),
                horizon_seconds: Secs(schedule.horizon),
                commit_ahead_seconds: Secs(schedule.commit_ahead),
                depart_at_probability: match schedule.ready_times {
                    ReadyTimes::Stated => None,
                    ReadyTimes::Learned { depart_at_probability } => Some(Within(depart_at_probability)),
                },
            },
            score: rules.score.as_slice().into(),
            work_budget: Count(rules.work_budget),
            bundles: (&rules.bundles).into(),
            swap: rules.swap.map(|swap| SwapBody { penalty_points: Within(swap.penalty) }),
            divert: rules.divert,
            reposition: rules.reposition.map(|reposition| RepositionBody {
                every_seconds: Secs(reposition.every),
                look_ahead_seconds: Secs(reposition.look_ahead),
                worth_minutes: Within(reposition.worth_min),
                max_travel_seconds: Secs(reposition.max_travel),
                rest_seconds: Secs(reposition.rest),
            }),
            floor_orders_per_hour: Within(rules.floor_orders_per_hour),
            offers: rules.offers.into(),
            rounds: RoundsBody {
                attempts: Count(rounds.attempts),
                pause_seconds: Secs(rounds.pause),
                no_candidate_after_seconds: Secs(rounds.no_candidate_after),
                retry_after_seconds: Secs(rounds.retry_after),
            },
            service: ServiceBody {
                before_pickup_seconds: Secs(service.before_pickup),
                after_pickup_seconds: Secs(service.after_pickup),
                before_dropoff_seconds: Secs(service.before_dropoff),
                after_dropoff_seconds: Secs(service.after_dropoff),
            },
            positions: PositionsBody {
                searchable_for_seconds: Secs(positions.searchable_for),
                silent_after_seconds: Secs(positions.silent_after),
                return_orders_of_silent: positions.return_orders_of_silent,
            },
            lifetimes: LifetimesBody {
                overdue_after_seconds: Secs(lifetimes.overdue_after),
                fail_after_seconds: Secs(lifetimes.fail_after),
                never_finished_after_seconds: Secs(lifetimes.never_finished_after),
                retire_after_seconds: Secs(lifetimes.retire_after),
                plan_ahead_seconds: Secs(lifetimes.plan_ahead),
            },
            limits: LimitsBody {
                orders: Count(limits.orders),
                drivers: Count(limits.drivers),
                orders_per_driver: Count(limits.orders_per_driver),
            },
        }
    }
}
