//! When an order arrives, and why it has the driver it has.

use super::{DispatchName, HoldName, Id, Time, seconds};
use dispatch_core::{Considered, Decision, DriverId, Eta, Explanation, OrderId};
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
}

/// When an order arrives. The parts add up to the time until then.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EtaBody {
    /// When it is in the customer's hands.
    at: Time,
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

impl From<Eta> for EtaBody {
    fn from(eta: Eta) -> Self {
        Self {
            at: eta.at.into(),
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
    /// How many drivers on shift could not, by reason.
    excluded: BTreeMap<&'static str, u32>,
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
        let units = |milli: i64| milli as f64 / 1e3;
        let considered = |considered: &Considered| ConsideredReply {
            driver: considered.driver.clone(),
            chosen: considered.chosen,
            score: units(considered.score_milli),
            terms: decision
                .terms
                .iter()
                .zip(&considered.contributions_milli)
                .map(|(term, milli)| (term.to_string(), units(*milli)))
                .collect(),
        };
        Self {
            config_version: decision.config_version,
            radius_m: decision.radius.get(),
            candidates: decision.candidates,
            best: decision.best.iter().map(considered).collect(),
            excluded: decision.excluded.iter().map(|(reason, drivers)| (reason.name(), *drivers)).collect(),
        }
    }
}
