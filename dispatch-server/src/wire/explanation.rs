//! When an order arrives, and why it has the driver it has.

use super::{DispatchName, HoldName, Id, Time, seconds};
use crate::runner::{Expected, Told};
use dispatch_core::{Considered, Decision, DriverId, Exclusion, Explanation, Label, OrderId};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// When an order arrives, and of what the time consists.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EtaReply {
    #[schema(value_type = Id)]
    pub(crate) order: OrderId,
    /// `null` for an order that has ended.
    #[schema(required)]
    pub(crate) eta: Option<EtaBody>,
    /// What was told so far: anew with each change by a minute, the last 32 since the server started.
    #[schema(max_items = 32)]
    pub(crate) history: Vec<ToldBody>,
}

/// What was told of an order's arrival.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToldBody {
    told_at: Time,
    eta: EtaBody,
}

impl From<&Told> for ToldBody {
    fn from(told: &Told) -> Self {
        Self { told_at: told.at.into(), eta: told.expected.into() }
    }
}

/// When an order arrives. The parts add up to the time until then.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EtaBody {
    /// When it is in the customer's hands, if all goes as planned.
    at: Time,
    /// As likely before as after, by how far such estimates were off lately.
    p50: Time,
    /// Nine of ten arrive before.
    p90: Time,
    /// Until the driver is at the pickup, through its earlier stops.
    #[schema(minimum = 0)]
    to_pickup_seconds: f64,
    /// From then until it can be handed to the driver.
    #[schema(minimum = 0)]
    preparation_left_seconds: f64,
    /// Taking it over.
    #[schema(minimum = 0)]
    pickup_service_seconds: f64,
    /// From the pickup to the dropoff, through earlier stops.
    #[schema(minimum = 0)]
    to_dropoff_seconds: f64,
    /// Handing it to the customer.
    #[schema(minimum = 0)]
    hand_off_seconds: f64,
}

impl From<Expected> for EtaBody {
    fn from(Expected { eta, p50, p90 }: Expected) -> Self {
        Self {
            at: eta.at.into(),
            p50: p50.into(),
            p90: p90.into(),
            to_pickup_seconds: seconds(eta.to_pickup),
            preparation_left_seconds: seconds(eta.preparation_left),
            pickup_service_seconds: seconds(eta.pickup_service),
            to_dropoff_seconds: seconds(eta.to_dropoff),
            hand_off_seconds: seconds(eta.hand_off),
        }
    }
}

/// Why an order has the driver it has, or none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplanationReply {
    #[schema(value_type = Id)]
    order: OrderId,
    dispatch: DispatchName,
    #[schema(required, value_type = Option<Id>)]
    driver: Option<DriverId>,
    #[schema(required)]
    held: Option<HoldName>,
    /// What was weighed when it was last decided or held; `null` before, and where a dispatcher decided at once.
    #[schema(required)]
    decision: Option<DecisionReply>,
    /// All of it in words.
    text: String,
}

/// What was weighed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionReply {
    /// The version of the market's rules it was decided under.
    config_version: u32,
    /// How far from the pickup drivers were searched.
    radius_m: f64,
    /// How many drivers could have taken it.
    candidates: u32,
    /// The best of them, the best first.
    #[schema(max_items = 8)]
    best: Vec<ConsideredReply>,
    /// How many drivers on shift could not, by the first test they failed.
    excluded: BTreeMap<ExclusionName, u32>,
    /// The orders it was bundled with.
    #[schema(value_type = Vec<Id>)]
    with: Vec<OrderId>,
}

/// Why a driver could not take an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExclusionName {
    /// On shift, but its last position is too old or none came yet.
    NoRecentFix,
    /// Paused, or its shift is ending.
    Paused,
    /// Has an open offer to answer.
    OfferOpen,
    /// Its route ends too late, or holds as many orders as a route may.
    Busy,
    /// Declined an offer of this order in this round, or let it expire.
    AskedBefore,
    /// Carries too little.
    Capacity,
    /// Lacks a skill.
    Skill,
    /// Would be at the pickup after its shift ends.
    ShiftEnds,
}

impl From<Exclusion> for ExclusionName {
    fn from(test: Exclusion) -> Self {
        match test {
            Exclusion::NoRecentFix => Self::NoRecentFix,
            Exclusion::Paused => Self::Paused,
            Exclusion::OfferOpen => Self::OfferOpen,
            Exclusion::Busy => Self::Busy,
            Exclusion::AskedBefore => Self::AskedBefore,
            Exclusion::Capacity => Self::Capacity,
            Exclusion::Skill => Self::Skill,
            Exclusion::ShiftEnds => Self::ShiftEnds,
        }
    }
}

pub(super) fn exclusions(tests: &BTreeMap<Exclusion, u32>) -> BTreeMap<ExclusionName, u32> {
    tests.iter().map(|(test, drivers)| ((*test).into(), *drivers)).collect()
}

/// One driver who could have taken the order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConsideredReply {
    #[schema(value_type = Id)]
    driver: DriverId,
    chosen: bool,
    /// The sum of the terms; higher is better.
    score: f64,
    /// What each term of the score contributed.
    terms: BTreeMap<String, f64>,
}

impl From<Explanation> for ExplanationReply {
    fn from(explanation: Explanation) -> Self {
        Self {
            text: explanation.to_string(),
            dispatch: (&explanation.status).into(),
            driver: explanation.status.driver().cloned(),
            held: explanation.held.map(HoldName::from),
            decision: explanation.decision.as_ref().map(DecisionReply::from),
            order: explanation.order,
        }
    }
}

impl From<&Decision> for DecisionReply {
    fn from(decision: &Decision) -> Self {
        Self {
            config_version: decision.config_version,
            radius_m: decision.radius.get(),
            candidates: decision.candidates,
            best: decision.best.iter().map(|one| considered(one, &decision.terms)).collect(),
            excluded: exclusions(&decision.excluded),
            with: decision.with.clone(),
        }
    }
}

pub(super) fn considered(considered: &Considered, names: &[Label]) -> ConsideredReply {
    ConsideredReply {
        driver: considered.driver.clone(),
        chosen: considered.chosen,
        score: points(considered.score_milli),
        terms: terms(names, &considered.contributions_milli),
    }
}

/// What each term of a score contributes.
pub(super) fn terms(names: &[Label], milli: &[i64]) -> BTreeMap<String, f64> {
    names.iter().zip(milli).map(|(name, milli)| (name.to_string(), points(*milli))).collect()
}

/// Score points.
pub(super) fn points(milli: i64) -> f64 {
    milli as f64 / 1e3
}
