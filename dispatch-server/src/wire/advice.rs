//! What the engine says about one driver for one order.

use super::explanation::{considered, exclusions, points, terms};
use super::{ConsideredReply, ExclusionName, Id, Time};
use dispatch_core::{DriverId, Label, Opinion, OrderId, Prospect, Recorded, Standing, WhyNot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Which driver it is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AboutDriver {
    pub(crate) driver: DriverId,
}

/// What the engine thinks of giving an order to a driver by hand, now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OpinionReply {
    #[schema(value_type = Id)]
    order: OrderId,
    #[schema(value_type = Id)]
    driver: DriverId,
    /// When the engine last looked around.
    at: Time,
    /// The version of the market's rules it goes by.
    config_version: u32,
    /// The first test the driver fails; `null` for one who could take the order.
    #[schema(required)]
    excluded: Option<ExclusionName>,
    /// What would come of it; `null` for a driver who is excluded.
    #[schema(required)]
    prospect: Option<ProspectReply>,
    /// The driver's place among the candidates.
    #[schema(required, minimum = 1)]
    rank: Option<u32>,
    /// How many drivers could take it now.
    candidates: u32,
    /// How far from the pickup the others were searched.
    #[schema(minimum = 0)]
    radius_m: f64,
    /// The best of the others; `null` where there is none.
    #[schema(required)]
    best_other: Option<ProspectReply>,
    /// By how many score points the best of the others is better, and what the rules charge for moving an order counts;
    /// negative where this driver is better.
    #[schema(required)]
    price_points: Option<f64>,
    /// All of it in words.
    text: String,
}

/// What would come of a driver taking an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProspectReply {
    #[schema(value_type = Id)]
    driver: DriverId,
    /// The sum of the terms; higher is better.
    score: f64,
    /// What each term of the score contributes.
    terms: BTreeMap<String, f64>,
    /// When the driver would have it.
    pickup_at: Time,
    /// When the customer would have it.
    deliver_at: Time,
    /// Whether it would be fetched or brought in between what the driver has to do, which only the engine does.
    joins: bool,
}

fn prospect(prospect: &Prospect, names: &[Label]) -> ProspectReply {
    ProspectReply {
        driver: prospect.driver.clone(),
        score: points(prospect.score_milli),
        terms: terms(names, &prospect.contributions_milli),
        pickup_at: prospect.pickup_at.into(),
        deliver_at: prospect.deliver_at.into(),
        joins: prospect.joins,
    }
}

impl From<Opinion> for OpinionReply {
    fn from(opinion: Opinion) -> Self {
        let (excluded, own, rank) = match &opinion.standing {
            Standing::Excluded(test) => (Some((*test).into()), None, None),
            Standing::Candidate { prospect: own, rank } => (None, Some(prospect(own, &opinion.terms)), Some(*rank)),
        };
        Self {
            text: opinion.to_string(),
            at: opinion.at.into(),
            config_version: opinion.config_version,
            excluded,
            prospect: own,
            rank,
            candidates: opinion.candidates,
            radius_m: opinion.radius.get(),
            best_other: opinion.best_other.as_ref().map(|best| prospect(best, &opinion.terms)),
            price_points: opinion.price_milli.map(points),
            order: opinion.order,
            driver: opinion.driver,
        }
    }
}

/// What the record of a decision says about a driver.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RecordedName {
    /// Nothing was weighed yet, or a dispatcher decided at once.
    Nothing,
    /// The driver is among the recorded.
    Weighed,
    /// It fails a test for which drivers were excluded.
    Failed,
    /// It is beyond what was recorded.
    Beyond,
}

/// Why an order did not go to a driver, as far as was recorded when it was last decided or held.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhyNotReply {
    #[schema(value_type = Id)]
    order: OrderId,
    #[schema(value_type = Id)]
    driver: DriverId,
    answer: RecordedName,
    /// How the driver was weighed, where it was.
    #[schema(required)]
    considered: Option<ConsideredReply>,
    /// Its place among the recorded.
    #[schema(required, minimum = 1)]
    rank: Option<u32>,
    /// Who the order went to, if that was another driver.
    #[schema(required)]
    chosen: Option<ConsideredReply>,
    /// The test it fails.
    #[schema(required)]
    failed: Option<ExclusionName>,
    /// What was recorded, for a driver who is not part of it.
    #[schema(required)]
    beyond: Option<BeyondReply>,
    /// All of it in words.
    text: String,
}

/// How far a record goes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BeyondReply {
    /// How many drivers were candidates.
    candidates: u32,
    /// How many of them were recorded.
    recorded: u32,
    /// The score of the last of the best that were recorded.
    #[schema(required)]
    last_score: Option<f64>,
    /// How far from the pickup drivers were searched.
    #[schema(minimum = 0)]
    radius_m: f64,
    /// How many drivers on shift could not, by the first test they failed.
    excluded: BTreeMap<ExclusionName, u32>,
}

impl From<WhyNot> for WhyNotReply {
    fn from(why: WhyNot) -> Self {
        let mut reply = Self {
            text: why.to_string(),
            order: why.order,
            driver: why.driver,
            answer: RecordedName::Nothing,
            considered: None,
            rank: None,
            chosen: None,
            failed: None,
            beyond: None,
        };
        match why.answer {
            Recorded::Nothing => {}
            Recorded::Weighed { terms, considered: own, rank, chosen } => {
                reply.answer = RecordedName::Weighed;
                reply.considered = Some(considered(&own, &terms));
                reply.rank = Some(rank);
                reply.chosen = chosen.as_ref().map(|chosen| considered(chosen, &terms));
            }
            Recorded::Failed(test) => {
                reply.answer = RecordedName::Failed;
                reply.failed = Some(test.into());
            }
            Recorded::Beyond { candidates, recorded, last_milli, radius, excluded: tests } => {
                reply.answer = RecordedName::Beyond;
                reply.beyond = Some(BeyondReply {
                    candidates,
                    recorded,
                    last_score: last_milli.map(points),
                    radius_m: radius.get(),
                    excluded: exclusions(&tests),
                });
            }
        }
        reply
    }
}
