//! The feed: what happened, as streams and webhooks tell it.

use super::{
    DriverReply, EtaBody, HoldName, Id, KitchenName, Lat, Lng, OfferName, OfferReply, OfferText, OfferedOrder,
    OrderReply, PlaceBody, PlannedShiftBody, PositionView, StopReply, Time, TrackReply, degrees, fail_reason,
};
use crate::runner::Told;
use crate::telemetry::StreamEnd;
use dispatch_core::{
    DriverId, Event, EventKind, Fix, MarketId, Millis, Motion, OfferId, OfferOutcome, OrderId, ReturnReason, Role,
    RoundFailure, State, Stop,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One entry of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedEvent<'a> {
    /// Where the feed goes on after it: what `Last-Event-ID` and `after` take.
    pub(crate) id: &'a str,
    /// When it happened, by the server's clock.
    pub(crate) at: Time,
    #[schema(value_type = Id)]
    pub(crate) market: &'a MarketId,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum What {
    /// The market's rules were set.
    RulesSet {
        version: u32,
    },
    /// The engine goes on after it was away; open offers expire later by that.
    EngineResumed {
        down_for_seconds: f64,
    },
    /// A driver became known, or what is known of it changed.
    DriverRegistered {
        #[schema(value_type = Id)]
        driver: DriverId,
    },
    DriverRated {
        #[schema(value_type = Id)]
        driver: DriverId,
        /// In stars.
        rating: f64,
    },
    /// The next shift of a driver was put on the roster, or taken off.
    ShiftPlanned {
        #[schema(value_type = Id)]
        driver: DriverId,
        #[schema(required)]
        planned_shift: Option<PlannedShiftBody>,
    },
    ShiftStarted {
        #[schema(value_type = Id)]
        driver: DriverId,
        #[schema(required)]
        until: Option<Time>,
    },
    /// A driver wants to stop and still has orders on board.
    ShiftEnding {
        #[schema(value_type = Id)]
        driver: DriverId,
    },
    ShiftEnded {
        #[schema(value_type = Id)]
        driver: DriverId,
    },
    DriverPaused {
        #[schema(value_type = Id)]
        driver: DriverId,
    },
    DriverResumed {
        #[schema(value_type = Id)]
        driver: DriverId,
    },
    /// A driver on shift has not been heard of for too long.
    DriverSilent {
        #[schema(value_type = Id)]
        driver: DriverId,
    },
    DriverHeard {
        #[schema(value_type = Id)]
        driver: DriverId,
    },
    /// A driver with nothing to do had better wait there.
    RepositionSuggested {
        #[schema(value_type = Id)]
        driver: DriverId,
        lat: Lat,
        lng: Lng,
        /// When it would be there.
        arrive_at: Time,
    },
    OrderPlaced {
        #[schema(value_type = Id)]
        order: OrderId,
        pickup: Box<PlaceBody>,
        dropoff: Box<PlaceBody>,
        ready_at: Time,
        #[schema(required)]
        promised_at: Option<Time>,
    },
    KitchenProgressed {
        #[schema(value_type = Id)]
        order: OrderId,
        status: KitchenName,
    },
    ReadyTimeChanged {
        #[schema(value_type = Id)]
        order: OrderId,
        ready_at: Time,
    },
    /// The engine began to look for a driver.
    DispatchStarted {
        #[schema(value_type = Id)]
        order: OrderId,
    },
    /// An order is not decided yet; told when the reason changes.
    OrderHeld {
        #[schema(value_type = Id)]
        order: OrderId,
        reason: HoldName,
        /// What is left with the driver who would fetch it now.
        #[schema(required)]
        slack_seconds: Option<f64>,
    },
    /// An order, or several, was put to a driver.
    NewOffer {
        #[schema(value_type = OfferText)]
        offer: String,
        #[schema(value_type = Id)]
        driver: DriverId,
        orders: Vec<OfferedOrder>,
        /// The route the driver would have.
        route: Vec<StopReply>,
        /// It can be accepted before this.
        expires_at: Time,
        /// How long that is from when it was made.
        expires_in_seconds: f64,
        attempt: u16,
    },
    OfferAccepted(ClosedOffer),
    OfferDeclined(ClosedOffer),
    OfferExpired(ClosedOffer),
    /// The engine took it back.
    OfferWithdrawn(ClosedOffer),
    /// A driver became responsible for an order.
    DriverAssigned(Ride),
    /// What a driver has to do from now on.
    RouteUpdate {
        #[schema(value_type = Id)]
        driver: DriverId,
        route: Vec<StopReply>,
    },
    /// An order left its driver, and waits to be fetched again.
    OrderReturned {
        #[schema(value_type = Id)]
        order: OrderId,
        #[schema(value_type = Id)]
        driver: DriverId,
        reason: ReturnName,
    },
    ArrivedAtPickup(Ride),
    PickedUp(Ride),
    Departed(Ride),
    ArrivedAtDropoff(Ride),
    Delivered(Ride),
    OrderCancelled(EndedOrder),
    OrderFailed(EndedOrder),
    /// A round ended without a driver.
    AssignmentFailed {
        #[schema(value_type = Id)]
        order: OrderId,
        reason: RoundName,
        /// When the next round begins.
        retry_at: Time,
    },
    /// Drivers who were asked before may be asked again.
    RoundStarted {
        #[schema(value_type = Id)]
        order: OrderId,
    },
    /// An order has been without a driver for too long.
    OrderOverdue {
        #[schema(value_type = Id)]
        order: OrderId,
    },
    /// An order that had ended left the server's memory.
    OrderRetired {
        #[schema(value_type = Id)]
        order: OrderId,
    },
}

/// An offer that can be accepted no more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClosedOffer {
    #[schema(value_type = OfferText)]
    pub(crate) offer: String,
    #[schema(value_type = Id)]
    pub(crate) driver: DriverId,
    #[schema(value_type = Vec<Id>)]
    pub(crate) orders: Vec<OrderId>,
}

/// A driver got further with an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ride {
    #[schema(value_type = Id)]
    pub(crate) order: OrderId,
    #[schema(value_type = Id)]
    pub(crate) driver: DriverId,
}

/// An order that was called off or given up.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndedOrder {
    #[schema(value_type = Id)]
    pub(crate) order: OrderId,
    /// Who had it.
    #[schema(required, value_type = Option<Id>)]
    pub(crate) driver: Option<DriverId>,
    pub(crate) reason: String,
    /// Who said so.
    pub(crate) by: ActorName,
}

/// Who did something.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActorName {
    System,
    Merchant,
    Driver,
    Dispatcher,
    Customer,
}

impl From<Role> for ActorName {
    fn from(role: Role) -> Self {
        match role {
            Role::System => Self::System,
            Role::Merchant => Self::Merchant,
            Role::Driver => Self::Driver,
            Role::Dispatcher => Self::Dispatcher,
            Role::Customer => Self::Customer,
        }
    }
}

/// Why an order left its driver.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReturnName {
    ShiftEnded,
    DriverSilent,
    TakenBack,
    Reassigned,
    Swapped,
}

impl From<ReturnReason> for ReturnName {
    fn from(reason: ReturnReason) -> Self {
        match reason {
            ReturnReason::ShiftEnded => Self::ShiftEnded,
            ReturnReason::DriverSilent => Self::DriverSilent,
            ReturnReason::TakenBack => Self::TakenBack,
            ReturnReason::Reassigned => Self::Reassigned,
            ReturnReason::Swapped => Self::Swapped,
        }
    }
}

/// Why a round ended without a driver.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RoundName {
    AttemptsUsed,
    NoCandidate,
}

impl From<RoundFailure> for RoundName {
    fn from(reason: RoundFailure) -> Self {
        match reason {
            RoundFailure::AttemptsUsed => Self::AttemptsUsed,
            RoundFailure::NoCandidate => Self::NoCandidate,
        }
    }
}

/// What the feed has to know of orders and offers that an event only names.
pub(crate) trait Known {
    /// Who has an order, before the event.
    fn driver(&self, order: &OrderId) -> Option<&DriverId>;

    /// Whom an offer was made to, and what for.
    fn offer(&self, offer: OfferId) -> Option<(&DriverId, &[OrderId])>;
}

impl What {
    /// What an event comes to: often one entry, for some two or one for each order. `state` has the event in it, and may have
    /// further ones.
    pub(crate) fn of(market: &MarketId, event: &Event, state: &State, known: &impl Known) -> Vec<Self> {
        let one = match event.kind.clone() {
            EventKind::Configured { version, .. } => Self::RulesSet { version },
            EventKind::Resumed { down_for, .. } => Self::EngineResumed { down_for_seconds: down_for.as_secs_f64() },
            EventKind::DriverRegistered { driver } => Self::DriverRegistered { driver: driver.id },
            EventKind::DriverRated { driver, rating } => Self::DriverRated { driver, rating: rating.stars() },
            EventKind::ShiftPlanned { driver, planned } => {
                Self::ShiftPlanned { driver, planned_shift: planned.map(PlannedShiftBody::from) }
            }
            EventKind::ShiftStarted { driver, until } => Self::ShiftStarted { driver, until: until.map(Time::from) },
            EventKind::ShiftEnding { driver } => Self::ShiftEnding { driver },
            EventKind::ShiftEnded { driver } => Self::ShiftEnded { driver },
            EventKind::DriverPaused { driver } => Self::DriverPaused { driver },
            EventKind::DriverResumed { driver } => Self::DriverResumed { driver },
            EventKind::DriverSilent { driver } => Self::DriverSilent { driver },
            EventKind::DriverHeard { driver } => Self::DriverHeard { driver },
            EventKind::RepositionSuggested { driver, position, arrive_at } => {
                let (lat, lng) = degrees(position);
                Self::RepositionSuggested { driver, lat, lng, arrive_at: arrive_at.into() }
            }
            EventKind::OrderPlaced { order, ready_at } => Self::OrderPlaced {
                pickup: Box::new((&order.pickup).into()),
                dropoff: Box::new((&order.dropoff).into()),
                promised_at: order.promised_at.map(Time::from),
                ready_at: ready_at.into(),
                order: order.id,
            },
            EventKind::KitchenProgressed { order, status } => Self::KitchenProgressed { order, status: status.into() },
            EventKind::ReadyTimeChanged { order, ready_at } => {
                Self::ReadyTimeChanged { order, ready_at: ready_at.into() }
            }
            EventKind::DispatchStarted { order } => Self::DispatchStarted { order },
            EventKind::OrderHeld { order, reason, slack, .. } => {
                let slack_seconds = slack.map(Millis::as_secs_f64);
                Self::OrderHeld { order, reason: reason.into(), slack_seconds }
            }
            EventKind::OfferMade { offer, driver, orders, stops, expires_at, attempt, .. } => Self::NewOffer {
                offer: OfferName::text(market, offer),
                driver,
                orders: orders.iter().filter_map(|order| state.orders.get(order)).map(OfferedOrder::new).collect(),
                route: route(&stops),
                expires_in_seconds: (expires_at - event.at).as_secs_f64(),
                expires_at: expires_at.into(),
                attempt,
            },
            EventKind::OfferClosed { offer, outcome } => {
                let Some((driver, orders)) = known.offer(offer) else { return Vec::new() };
                let offer = OfferName::text(market, offer);
                let closed = ClosedOffer { offer, driver: driver.clone(), orders: orders.to_vec() };
                match outcome {
                    OfferOutcome::Accepted => Self::OfferAccepted(closed),
                    OfferOutcome::Declined => Self::OfferDeclined(closed),
                    OfferOutcome::Expired => Self::OfferExpired(closed),
                    OfferOutcome::Withdrawn => Self::OfferWithdrawn(closed),
                }
            }
            EventKind::Assigned { orders, driver, stops, .. } => {
                let assigned = |order: OrderId| Self::DriverAssigned(Ride { order, driver: driver.clone() });
                let mut all: Vec<_> = orders.into_iter().map(assigned).collect();
                all.push(Self::RouteUpdate { driver, route: route(&stops) });
                return all;
            }
            EventKind::Returned { order, driver, reason, stops } => {
                let returned = Self::OrderReturned { order, driver: driver.clone(), reason: reason.into() };
                return vec![returned, Self::RouteUpdate { driver, route: route(&stops) }];
            }
            EventKind::ArrivedAtPickup { order, driver } => Self::ArrivedAtPickup(Ride { order, driver }),
            EventKind::PickedUp { order, driver, .. } => Self::PickedUp(Ride { order, driver }),
            EventKind::Departed { order, driver } => Self::Departed(Ride { order, driver }),
            EventKind::ArrivedAtDropoff { order, driver } => Self::ArrivedAtDropoff(Ride { order, driver }),
            EventKind::Delivered { order, driver, .. } => Self::Delivered(Ride { order, driver }),
            EventKind::OrderCancelled { order, reason, stops } => {
                return ended(event, known.driver(&order), order, reason.to_string(), stops, Self::OrderCancelled);
            }
            EventKind::OrderFailed { order, reason, stops } => {
                return ended(event, known.driver(&order), order, fail_reason(&reason), stops, Self::OrderFailed);
            }
            EventKind::AssignmentFailed { order, reason, retry_at } => {
                Self::AssignmentFailed { order, reason: reason.into(), retry_at: retry_at.into() }
            }
            EventKind::RoundStarted { order } => Self::RoundStarted { order },
            EventKind::OrderOverdue { order } => Self::OrderOverdue { order },
            EventKind::OrderRetired { order } => Self::OrderRetired { order },
        };
        vec![one]
    }
}

fn route(stops: &[Stop]) -> Vec<StopReply> {
    stops.iter().map(StopReply::from).collect()
}

fn ended(
    event: &Event,
    driver: Option<&DriverId>,
    order: OrderId,
    reason: String,
    stops: Option<Vec<Stop>>,
    name: impl FnOnce(EndedOrder) -> What,
) -> Vec<What> {
    let end = EndedOrder { order, driver: driver.cloned(), reason, by: event.actor.role.into() };
    let update =
        stops.zip(driver).map(|(stops, driver)| What::RouteUpdate { driver: driver.clone(), route: route(&stops) });
    std::iter::once(name(end)).chain(update).collect()
}

/// What an entry is called, whom it is about, and who may know of it beside dispatchers.
pub(crate) struct About<'a> {
    pub(crate) name: &'static str,
    pub(crate) orders: Vec<&'a OrderId>,
    pub(crate) driver: Option<&'a DriverId>,
    /// Whether it is for the merchants of those orders.
    pub(crate) for_merchants: bool,
}

impl What {
    pub(crate) fn about(&self) -> About<'_> {
        let driver = |name, driver| About { name, orders: Vec::new(), driver: Some(driver), for_merchants: false };
        let order = |name, order| About { name, orders: vec![order], driver: None, for_merchants: true };
        let inside = |name, order| About { name, orders: vec![order], driver: None, for_merchants: false };
        match self {
            Self::RulesSet { .. } => About::nobody("rules_set"),
            Self::EngineResumed { .. } => About::nobody("engine_resumed"),
            Self::DriverRegistered { driver: id } => driver("driver_registered", id),
            Self::DriverRated { driver: id, .. } => driver("driver_rated", id),
            Self::ShiftPlanned { driver: id, .. } => driver("shift_planned", id),
            Self::ShiftStarted { driver: id, .. } => driver("shift_started", id),
            Self::ShiftEnding { driver: id } => driver("shift_ending", id),
            Self::ShiftEnded { driver: id } => driver("shift_ended", id),
            Self::DriverPaused { driver: id } => driver("driver_paused", id),
            Self::DriverResumed { driver: id } => driver("driver_resumed", id),
            Self::DriverSilent { driver: id } => driver("driver_silent", id),
            Self::DriverHeard { driver: id } => driver("driver_heard", id),
            Self::RepositionSuggested { driver: id, .. } => driver("reposition_suggested", id),
            Self::RouteUpdate { driver: id, .. } => driver("route_update", id),
            Self::OrderPlaced { order: id, .. } => order("order_placed", id),
            Self::KitchenProgressed { order: id, .. } => order("kitchen_progressed", id),
            Self::ReadyTimeChanged { order: id, .. } => order("ready_time_changed", id),
            Self::DispatchStarted { order: id } => order("dispatch_started", id),
            Self::AssignmentFailed { order: id, .. } => order("assignment_failed", id),
            Self::OrderOverdue { order: id } => order("order_overdue", id),
            Self::OrderHeld { order: id, .. } => inside("order_held", id),
            Self::RoundStarted { order: id } => inside("round_started", id),
            Self::OrderRetired { order: id } => order(ORDER_RETIRED, id),
            Self::NewOffer { driver, orders, .. } => {
                let orders = orders.iter().map(OfferedOrder::id).collect();
                About { name: "new_offer", orders, driver: Some(driver), for_merchants: false }
            }
            Self::OfferAccepted(offer) => offer.about("offer_accepted"),
            Self::OfferDeclined(offer) => offer.about("offer_declined"),
            Self::OfferExpired(offer) => offer.about("offer_expired"),
            Self::OfferWithdrawn(offer) => offer.about("offer_withdrawn"),
            Self::DriverAssigned(ride) => ride.about("driver_assigned"),
            Self::ArrivedAtPickup(ride) => ride.about("arrived_at_pickup"),
            Self::PickedUp(ride) => ride.about("picked_up"),
            Self::Departed(ride) => ride.about("departed"),
            Self::ArrivedAtDropoff(ride) => ride.about("arrived_at_dropoff"),
            Self::Delivered(ride) => ride.about("delivered"),
            Self::OrderReturned { order, driver, .. } => {
                About { name: "order_returned", orders: vec![order], driver: Some(driver), for_merchants: true }
            }
            Self::OrderCancelled(end) => end.about("order_cancelled"),
            Self::OrderFailed(end) => end.about("order_failed"),
        }
    }
}

impl About<'_> {
    fn nobody(name: &'static str) -> Self {
        Self { name, orders: Vec::new(), driver: None, for_merchants: false }
    }
}

impl ClosedOffer {
    fn about(&self, name: &'static str) -> About<'_> {
        About { name, orders: self.orders.iter().collect(), driver: Some(&self.driver), for_merchants: false }
    }
}

impl Ride {
    fn about(&self, name: &'static str) -> About<'_> {
        About { name, orders: vec![&self.order], driver: Some(&self.driver), for_merchants: true }
    }
}

impl EndedOrder {
    fn about(&self, name: &'static str) -> About<'_> {
        About { name, orders: vec![&self.order], driver: self.driver.as_ref(), for_merchants: true }
    }
}

/// What a stream says beside the entries of the feed. It has no `id`: a stream that begins anew is told the newest at once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Beside {
    /// Where a driver is.
    LocationUpdate(DriverAt),
    /// Where the drivers of a market are that have moved since the last of these; in the first, all.
    Locations {
        #[schema(value_type = Id)]
        market: MarketId,
        at: Time,
        positions: Vec<DriverAt>,
    },
    /// When an order arrives, where that has changed by a minute.
    EtaUpdate(Box<EtaUpdate>),
    /// What the customer is shown of its order. With an `id`, unlike the others.
    StatusUpdate {
        id: String,
        #[serde(flatten)]
        order: Box<TrackReply>,
    },
    /// How things stand where the stream begins.
    Snapshot(Box<Standing>),
    /// How things stand, for a client whose `after` the feed does not reach back to: what came between is not told any more.
    Reset(Box<Standing>),
    /// The last thing a stream says.
    Closing { reason: EndName },
}

impl Beside {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::LocationUpdate(_) => "location_update",
            Self::Locations { .. } => "locations",
            Self::EtaUpdate(_) => "eta_update",
            Self::StatusUpdate { .. } => "status_update",
            Self::Snapshot(_) => "snapshot",
            Self::Reset(_) => "reset",
            Self::Closing { .. } => "closing",
        }
    }

    /// Where the feed goes on after it, for those that say so.
    pub(crate) fn id(&self) -> Option<&str> {
        match self {
            Self::StatusUpdate { id, .. } => Some(id),
            Self::Snapshot(standing) | Self::Reset(standing) => Some(&standing.id),
            _ => None,
        }
    }
}

/// Where a driver was last.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriverAt {
    #[schema(value_type = Id)]
    driver: DriverId,
    #[serde(flatten)]
    position: PositionView,
}

impl DriverAt {
    pub(crate) fn new(driver: DriverId, seen: (Fix, Motion)) -> Self {
        Self { driver, position: seen.into() }
    }
}

/// When an order arrives.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EtaUpdate {
    #[schema(value_type = Id)]
    pub(crate) order: OrderId,
    #[serde(flatten)]
    pub(crate) eta: EtaBody,
    /// Whether it has changed so much (by five minutes) that whoever waits should be told.
    pub(crate) notify: bool,
}

impl EtaUpdate {
    pub(crate) fn new(order: OrderId, told: &Told) -> Self {
        Self { order, eta: told.expected.into(), notify: told.notify }
    }
}

/// How things stand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Standing {
    /// The feed goes on after this.
    pub(crate) id: String,
    pub(crate) at: Time,
    /// The orders that it is about.
    pub(crate) orders: Vec<OrderReply>,
    /// When the order arrives, for those who follow one; they alone are told that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) eta: Option<EtaUpdate>,
    /// The drivers that it is about.
    pub(crate) drivers: Vec<DriverReply>,
    /// The offers they have to answer.
    pub(crate) offers: Vec<OfferReply>,
    /// Whether there are more than fit in: list the rest.
    pub(crate) is_partial: bool,
}

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndName {
    /// The server stops: come back, here or elsewhere.
    Stopping,
    /// So much was not taken that it was given up: come back with the last `id`, and read faster.
    TooSlow,
    /// The key or link lets nobody in any more, or not to this.
    Revoked,
    /// The order left the server's memory.
    Over,
}

impl EndName {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::TooSlow => "too_slow",
            Self::Revoked => "revoked",
            Self::Over => "over",
        }
    }
}

impl From<StreamEnd> for EndName {
    fn from(why: StreamEnd) -> Self {
        match why {
            StreamEnd::Stopping => Self::Stopping,
            StreamEnd::TooSlow => Self::TooSlow,
            StreamEnd::Revoked => Self::Revoked,
            StreamEnd::Over => Self::Over,
        }
    }
}

/// Which events somebody wants of all that it may see.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedQuery {
    pub(crate) market: Option<MarketId>,
    pub(crate) after: Option<String>,
    pub(crate) positions: Option<bool>,
}

/// Where a stream goes on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamQuery {
    pub(crate) after: Option<String>,
}

/// What the last entry of an order is called.
pub(crate) const ORDER_RETIRED: &str = "order_retired";

/// One event as the format of streams has it: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
pub(crate) fn write_event(name: &str, id: Option<&str>, json: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(b"event: ");
    into.extend_from_slice(name.as_bytes());
    if let Some(id) = id {
        into.extend_from_slice(b"\nid: ");
        into.extend_from_slice(id.as_bytes());
    }
    // JSON has no line breaks outside of its texts, and there they are escaped.
    into.extend_from_slice(b"\ndata: ");
    into.extend_from_slice(json);
    into.extend_from_slice(b"\n\n");
}
