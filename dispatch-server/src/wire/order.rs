//! Orders, when they arrive, and why they have the driver they have.

use super::{Cursor, Id, Lat, Lng, OfferName, Time, degrees, position, seconds};
use crate::runner::Market;
use dispatch_core::{
    Action, Considered, Decision, DispatchStatus, DisplayData, DriverId, Eta, Explanation, FailReason, HoldReason,
    KitchenStatus, Label, MarketId, Millis, Order, OrderId, OrderSpec, Pay, Place, PlaceId, PublicStatus, Reason, Role,
    Skill, Step, Timestamp, Units,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// One end of an order.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceBody {
    lat: Lat,
    lng: Lng,
    /// Which known place it is. A merchant's key goes by the id of the pickup.
    #[schema(value_type = Option<Id>)]
    id: Option<PlaceId>,
    /// What the driver reads, at most 128 bytes.
    #[schema(value_type = Option<String>, max_length = 128)]
    label: Option<Label>,
}

impl PlaceBody {
    fn into_core(self) -> Place {
        Place { position: position(self.lat, self.lng), id: self.id, label: self.label }
    }
}

impl From<&Place> for PlaceBody {
    fn from(place: &Place) -> Self {
        let (lat, lng) = degrees(place.position);
        Self { lat, lng, id: place.id.clone(), label: place.label.clone() }
    }
}

/// What the driver earns, in the smallest unit of the market's currency.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PayBody {
    /// What the market pays.
    #[serde(default)]
    fee_minor: u32,
    /// What the customer adds.
    #[serde(default)]
    tip_minor: u32,
}

impl From<&Pay> for PayBody {
    fn from(pay: &Pay) -> Self {
        Self { fee_minor: pay.fee_minor, tip_minor: pay.tip_minor }
    }
}

/// Longest preparation that can be expressed: a month.
const MAX_SECONDS: u32 = 31 * 24 * 3_600;

/// A duration in whole seconds, at most a month.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(try_from = "u32")]
#[schema(value_type = u32, maximum = 2_678_400)]
pub(crate) struct Seconds(u32);

impl TryFrom<u32> for Seconds {
    type Error = String;
    fn try_from(seconds: u32) -> Result<Self, String> {
        if seconds <= MAX_SECONDS {
            Ok(Self(seconds))
        } else {
            Err(format!("must be 0 to {MAX_SECONDS} s, not {seconds}"))
        }
    }
}

/// An order as its source submits it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitOrder {
    /// Its name. Submitting the same order again under it is harmless.
    #[schema(value_type = Id)]
    id: OrderId,
    /// Where it is decided; the market the pickup is in, if absent.
    #[schema(value_type = Option<Id>)]
    market: Option<MarketId>,
    pickup: PlaceBody,
    dropoff: PlaceBody,
    /// From placing to ready; the market's default, if absent.
    preparation_seconds: Option<Seconds>,
    /// When the customer was told it would arrive.
    promised_at: Option<Time>,
    /// How much of a driver's capacity it takes; 1 if absent.
    #[schema(value_type = Option<u16>, minimum = 1)]
    units: Option<Units>,
    /// What its driver must be able to do, at most 16.
    #[serde(default)]
    #[schema(value_type = Vec<Id>, max_items = 16)]
    skills: BTreeSet<Skill>,
    #[serde(default)]
    pay: PayBody,
    /// Shown beside it and otherwise opaque, at most 4 KiB.
    #[schema(value_type = Option<String>, max_length = 4096)]
    display: Option<DisplayData>,
}

impl SubmitOrder {
    pub(crate) fn into_core(self) -> (Option<MarketId>, OrderSpec) {
        let spec = OrderSpec {
            id: self.id,
            pickup: self.pickup.into_core(),
            dropoff: self.dropoff.into_core(),
            preparation: self.preparation_seconds.map(|Seconds(seconds)| Millis::from_secs(seconds.into())),
            promised_at: self.promised_at.map(Time::get),
            units: self.units.unwrap_or(Units::MIN),
            skills: self.skills,
            pay: Pay { fee_minor: self.pay.fee_minor, tip_minor: self.pay.tip_minor },
            display: self.display,
        };
        (self.market, spec)
    }
}

/// The kitchen track of an order.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KitchenName {
    /// Submitted.
    Placed,
    /// The merchant took it.
    Confirmed,
    /// Being made.
    Preparing,
    /// Can be picked up.
    Ready,
}

impl From<KitchenStatus> for KitchenName {
    fn from(status: KitchenStatus) -> Self {
        match status {
            KitchenStatus::Placed => Self::Placed,
            KitchenStatus::Confirmed => Self::Confirmed,
            KitchenStatus::Preparing => Self::Preparing,
            KitchenStatus::Ready => Self::Ready,
        }
    }
}

/// How far the kitchen got; only forward, and steps may be left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KitchenProgress {
    status: KitchenName,
}

impl KitchenProgress {
    pub(crate) fn action(&self, order: OrderId) -> Action {
        let status = match self.status {
            KitchenName::Placed => KitchenStatus::Placed,
            KitchenName::Confirmed => KitchenStatus::Confirmed,
            KitchenName::Preparing => KitchenStatus::Preparing,
            KitchenName::Ready => KitchenStatus::Ready,
        };
        Action::Kitchen { order, status }
    }
}

/// When the order will be ready.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadyTime {
    ready_at: Time,
}

impl ReadyTime {
    pub(crate) fn at(&self) -> Timestamp {
        self.ready_at.get()
    }
}

/// For whom somebody else calls an order off.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Principal {
    /// May until it is being prepared.
    Customer,
    /// May until it is picked up.
    Merchant,
}

/// Why an order is called off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CancelOrder {
    /// At most 256 bytes.
    #[schema(value_type = String, max_length = 256)]
    pub(crate) reason: Reason,
    /// Whose wish it is, if not the caller's own; it then goes by their rules.
    on_behalf_of: Option<Principal>,
}

impl CancelOrder {
    pub(crate) fn role(&self) -> Option<Role> {
        self.on_behalf_of.map(|principal| match principal {
            Principal::Customer => Role::Customer,
            Principal::Merchant => Role::Merchant,
        })
    }
}

/// Why an order is given up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FailOrder {
    /// At most 256 bytes.
    #[schema(value_type = String, max_length = 256)]
    pub(crate) reason: Reason,
}

/// What a driver does with an order, in this sequence; arriving and departing may be left out.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepName {
    ArrivedAtPickup,
    PickedUp,
    Departed,
    ArrivedAtDropoff,
    Delivered,
}

/// A driver got further with an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    step: StepName,
    /// Who; the order's driver, if absent.
    #[schema(value_type = Option<Id>)]
    pub(crate) driver: Option<DriverId>,
}

impl Progress {
    pub(crate) fn step(&self) -> Step {
        match self.step {
            StepName::ArrivedAtPickup => Step::ArrivedAtPickup,
            StepName::PickedUp => Step::PickedUp,
            StepName::Departed => Step::Departed,
            StepName::ArrivedAtDropoff => Step::ArrivedAtDropoff,
            StepName::Delivered => Step::Delivered,
        }
    }
}

/// To whom an order is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AssignOrder {
    #[schema(value_type = Id)]
    pub(crate) driver: DriverId,
}

/// What the customer is shown: the kitchen and the dispatch track in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StatusName {
    Pending,
    Confirmed,
    Preparing,
    ReadyForPickup,
    DriverAssigned,
    PickedUp,
    InTransit,
    Delivered,
    Cancelled,
    Failed,
}

impl From<PublicStatus> for StatusName {
    fn from(status: PublicStatus) -> Self {
        match status {
            PublicStatus::Pending => Self::Pending,
            PublicStatus::Confirmed => Self::Confirmed,
            PublicStatus::Preparing => Self::Preparing,
            PublicStatus::ReadyForPickup => Self::ReadyForPickup,
            PublicStatus::DriverAssigned => Self::DriverAssigned,
            PublicStatus::PickedUp => Self::PickedUp,
            PublicStatus::InTransit => Self::InTransit,
            PublicStatus::Delivered => Self::Delivered,
            PublicStatus::Cancelled => Self::Cancelled,
            PublicStatus::Failed => Self::Failed,
        }
    }
}

impl From<StatusName> for PublicStatus {
    fn from(status: StatusName) -> Self {
        match status {
            StatusName::Pending => Self::Pending,
            StatusName::Confirmed => Self::Confirmed,
            StatusName::Preparing => Self::Preparing,
            StatusName::ReadyForPickup => Self::ReadyForPickup,
            StatusName::DriverAssigned => Self::DriverAssigned,
            StatusName::PickedUp => Self::PickedUp,
            StatusName::InTransit => Self::InTransit,
            StatusName::Delivered => Self::Delivered,
            StatusName::Cancelled => Self::Cancelled,
            StatusName::Failed => Self::Failed,
        }
    }
}

/// An order and what became of it so far. Its version, the `ETag`, changes whenever one of these fields does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderReply {
    #[schema(value_type = Id)]
    id: OrderId,
    #[schema(value_type = Id)]
    market: MarketId,
    /// What the customer is shown.
    status: StatusName,
    kitchen: KitchenName,
    /// `pending`, `waiting`, `offered`, `assigned`, `arrived_at_pickup`, `picked_up`, `arrived_at_dropoff`, `delivered`,
    /// `cancelled` or `failed`.
    dispatch: &'static str,
    /// Why it is not decided yet.
    held: Option<HoldName>,
    /// Whether it has been without a driver for too long.
    overdue: bool,
    /// Who is responsible for it, or delivered it.
    #[schema(value_type = Option<Id>)]
    driver: Option<DriverId>,
    /// The open offer.
    offer: Option<String>,
    /// Why it was cancelled or failed.
    reason: Option<String>,
    pickup: PlaceBody,
    dropoff: PlaceBody,
    units: u16,
    #[schema(value_type = Vec<Id>)]
    skills: Vec<Skill>,
    pay: PayBody,
    #[schema(value_type = Option<String>)]
    display: Option<DisplayData>,
    /// When it is, or was, ready for pickup.
    ready_at: Time,
    promised_at: Option<Time>,
    times: TimesReply,
}

/// When things happened to an order; the last time where they happened twice.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimesReply {
    placed_at: Time,
    waiting_since: Option<Time>,
    assigned_at: Option<Time>,
    arrived_at_pickup_at: Option<Time>,
    picked_up_at: Option<Time>,
    departed_at: Option<Time>,
    arrived_at_dropoff_at: Option<Time>,
    ended_at: Option<Time>,
}

impl OrderReply {
    pub(crate) fn new(market: &Market, order: &Order) -> Self {
        let (spec, times) = (&order.spec, &order.times);
        let time = |time: Option<Timestamp>| time.map(Time::from);
        let offer = order.status.offers().first().map(|offer| OfferName::text(market.id(), *offer));
        Self {
            id: spec.id.clone(),
            market: market.id().clone(),
            status: order.public_status().into(),
            kitchen: order.kitchen.into(),
            dispatch: order.status.name(),
            held: order.hold.map(|hold| hold.reason.into()),
            overdue: order.overdue,
            driver: order.status.driver().cloned(),
            offer,
            reason: reason(&order.status),
            pickup: (&spec.pickup).into(),
            dropoff: (&spec.dropoff).into(),
            units: spec.units.get(),
            skills: spec.skills.iter().cloned().collect(),
            pay: (&spec.pay).into(),
            display: spec.display.clone(),
            ready_at: order.ready_at.into(),
            promised_at: time(spec.promised_at),
            times: TimesReply {
                placed_at: times.placed.into(),
                waiting_since: time(times.waiting_since),
                assigned_at: time(times.assigned),
                arrived_at_pickup_at: time(times.arrived_at_pickup),
                picked_up_at: time(times.picked_up),
                departed_at: time(times.departed),
                arrived_at_dropoff_at: time(times.arrived_at_dropoff),
                ended_at: time(times.ended),
            },
        }
    }
}

fn reason(status: &DispatchStatus) -> Option<String> {
    match status {
        DispatchStatus::Cancelled { reason } | DispatchStatus::Failed { reason: FailReason::Reported(reason) } => {
            Some(reason.to_string())
        }
        DispatchStatus::Failed { reason: FailReason::NoDriver } => Some("no_driver".into()),
        DispatchStatus::Failed { reason: FailReason::NeverFinished } => Some("never_finished".into()),
        _ => None,
    }
}

/// Why an order is not decided yet.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HoldName {
    /// There is time.
    SlackAmple,
    /// No driver near enough can take it.
    NoCandidate,
    /// Every driver who can take it is better used for another order.
    Outmatched,
    /// The driver reserved for it is still busy.
    DriverBusy,
}

impl From<HoldReason> for HoldName {
    fn from(reason: HoldReason) -> Self {
        match reason {
            HoldReason::SlackAmple => Self::SlackAmple,
            HoldReason::NoCandidate => Self::NoCandidate,
            HoldReason::Outmatched => Self::Outmatched,
            HoldReason::DriverBusy => Self::DriverBusy,
        }
    }
}

/// Which orders a list shows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrdersQuery {
    pub(crate) market: Option<MarketId>,
    pub(crate) status: Option<StatusName>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) limit: Option<u32>,
}

/// One page of orders.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrdersReply {
    pub(crate) orders: Vec<OrderReply>,
    /// Where the next page begins; absent after the last. A page may be empty and have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

/// When an order arrives, and of what the time consists.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EtaReply {
    #[schema(value_type = Id)]
    pub(crate) order: OrderId,
    /// Absent for an order that has ended.
    pub(crate) eta: Option<EtaBody>,
}

/// When an order arrives. The parts add up to the time until then.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EtaBody {
    /// When it is in the customer's hands.
    at: Time,
    /// Until the driver is at the pickup, through its earlier stops.
    to_pickup_seconds: f64,
    /// From then until it can be handed to the driver.
    preparation_left_seconds: f64,
    /// Taking it over.
    pickup_service_seconds: f64,
    /// From the pickup to the dropoff, through earlier stops.
    to_dropoff_seconds: f64,
    /// Handing it to the customer.
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
    dispatch: &'static str,
    #[schema(value_type = Option<Id>)]
    driver: Option<DriverId>,
    held: Option<HoldName>,
    /// What was weighed when it was last decided or held; absent before, and where a dispatcher decided at once.
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
    /// The best of them, at most 8, the best first.
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
            dispatch: explanation.status.name(),
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
