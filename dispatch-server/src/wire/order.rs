//! Orders.

use super::{Cursor, CursorText, Id, Lat, Lng, OfferName, OfferText, Skills, Time, degrees, position};
use crate::runner::Market;
use dispatch_core::{
    Action, DispatchStatus, DisplayData, DriverId, FailReason, HoldReason, KitchenStatus, Label, MarketId, Millis,
    Order, OrderId, OrderSpec, Pay, Place, PlaceId, PublicStatus, Reason, Role, Skill, Step, Timestamp, Units,
};
use serde::{Deserialize, Serialize};
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
    /// What the driver reads, at most 128 characters.
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
    #[schema(maximum = 4_294_967_295_u32)]
    fee_minor: u32,
    /// What the customer adds.
    #[serde(default)]
    #[schema(maximum = 4_294_967_295_u32)]
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
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u32")]
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
    #[schema(value_type = Option<u32>, maximum = 2_678_400)]
    preparation_seconds: Option<Seconds>,
    /// When the customer was told it would arrive.
    promised_at: Option<Time>,
    /// How much of a driver's capacity it takes; 1 if absent.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65_535)]
    units: Option<Units>,
    /// What its driver must be able to do, at most 16.
    #[serde(default)]
    #[schema(value_type = BTreeSet<Id>, max_items = 16)]
    skills: Skills,
    #[serde(default)]
    pay: PayBody,
    /// Shown beside it and otherwise opaque, at most 4096 characters.
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
            skills: self.skills.0,
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
    /// At most 256 characters.
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
    /// At most 256 characters.
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
    dispatch: DispatchName,
    /// Why it is not decided yet.
    #[schema(required)]
    held: Option<HoldName>,
    /// Whether it has been without a driver for too long.
    overdue: bool,
    /// Who is responsible for it, or delivered it.
    #[schema(required, value_type = Option<Id>)]
    driver: Option<DriverId>,
    /// The open offers by number: one where drivers are asked one at a time, several in a wave.
    #[schema(value_type = Vec<OfferText>, max_items = 10)]
    offers: Vec<String>,
    /// Why it was cancelled or failed.
    #[schema(required, max_length = 256)]
    reason: Option<String>,
    pickup: PlaceBody,
    dropoff: PlaceBody,
    #[schema(minimum = 1, maximum = 65_535)]
    units: u16,
    #[schema(value_type = BTreeSet<Id>, max_items = 16)]
    skills: Vec<Skill>,
    pay: PayBody,
    #[schema(required, value_type = Option<String>, max_length = 4096)]
    display: Option<DisplayData>,
    /// When it is, or was, ready for pickup.
    ready_at: Time,
    #[schema(required)]
    promised_at: Option<Time>,
    times: TimesReply,
}

/// When things happened to an order; the last time where they happened twice.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TimesReply {
    placed_at: Time,
    #[schema(required)]
    waiting_since: Option<Time>,
    #[schema(required)]
    assigned_at: Option<Time>,
    #[schema(required)]
    arrived_at_pickup_at: Option<Time>,
    #[schema(required)]
    picked_up_at: Option<Time>,
    #[schema(required)]
    departed_at: Option<Time>,
    #[schema(required)]
    arrived_at_dropoff_at: Option<Time>,
    #[schema(required)]
    ended_at: Option<Time>,
}

impl OrderReply {
    pub(crate) fn new(market: &Market, order: &Order) -> Self {
        let (spec, times) = (&order.spec, &order.times);
        let time = |time: Option<Timestamp>| time.map(Time::from);
        let offers = order.status.offers().iter().map(|offer| OfferName::text(market.id(), *offer)).collect();
        Self {
            id: spec.id.clone(),
            market: market.id().clone(),
            status: order.public_status().into(),
            kitchen: order.kitchen.into(),
            dispatch: (&order.status).into(),
            held: order.hold.map(|hold| hold.reason.into()),
            overdue: order.overdue,
            driver: order.status.driver().cloned(),
            offers,
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
        DispatchStatus::Cancelled { reason } => Some(reason.to_string()),
        DispatchStatus::Failed { reason } => Some(fail_reason(reason)),
        _ => None,
    }
}

pub(super) fn fail_reason(reason: &FailReason) -> String {
    match reason {
        FailReason::Reported(reason) => reason.to_string(),
        FailReason::NoDriver => "no_driver".to_owned(),
        FailReason::NeverFinished => "never_finished".to_owned(),
    }
}

/// How far the search for a driver and the driver got.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DispatchName {
    /// Not to be dispatched yet: the merchant has not confirmed it.
    Pending,
    /// Looking for a driver.
    Waiting,
    /// A driver is asked.
    Offered,
    /// A driver is on its way to the pickup.
    Assigned,
    ArrivedAtPickup,
    PickedUp,
    ArrivedAtDropoff,
    Delivered,
    Cancelled,
    Failed,
}

impl From<&DispatchStatus> for DispatchName {
    fn from(status: &DispatchStatus) -> Self {
        match status {
            DispatchStatus::Pending => Self::Pending,
            DispatchStatus::Waiting => Self::Waiting,
            DispatchStatus::Offered { .. } => Self::Offered,
            DispatchStatus::Assigned { .. } => Self::Assigned,
            DispatchStatus::ArrivedAtPickup { .. } => Self::ArrivedAtPickup,
            DispatchStatus::PickedUp { .. } => Self::PickedUp,
            DispatchStatus::ArrivedAtDropoff { .. } => Self::ArrivedAtDropoff,
            DispatchStatus::Delivered { .. } => Self::Delivered,
            DispatchStatus::Cancelled { .. } => Self::Cancelled,
            DispatchStatus::Failed { .. } => Self::Failed,
        }
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
    /// Where the next page begins; absent after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<CursorText>)]
    pub(crate) next_cursor: Option<Cursor>,
}
