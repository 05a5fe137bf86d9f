//! Offers.

use super::{Id, OfferName, OfferText, PayBody, PlaceBody, StopReply, Time};
use crate::runner::Market;
use dispatch_core::{DriverId, Offer, OfferOutcome, Order, OrderId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// Whether an offer can still be accepted, or what became of it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OfferState {
    Open,
    Accepted,
    Declined,
    Expired,
    /// The engine took it back.
    Withdrawn,
}

/// An order, or several, put to a driver.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OfferReply {
    #[schema(value_type = OfferText)]
    id: String,
    #[schema(value_type = Id)]
    driver: DriverId,
    state: OfferState,
    orders: Vec<OfferedOrder>,
    /// The route the driver would have.
    route: Vec<StopReply>,
    made_at: Time,
    /// It can be accepted before this.
    expires_at: Time,
    /// Which offer of its round this is, from 1.
    #[schema(minimum = 1)]
    attempt: u16,
}

/// What a driver is told of an order it is offered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OfferedOrder {
    #[schema(value_type = Id)]
    id: OrderId,
    pickup: PlaceBody,
    dropoff: PlaceBody,
    /// From pickup to dropoff, as the crow flies.
    #[schema(minimum = 0)]
    distance_m: f64,
    #[schema(minimum = 1, maximum = 65_535)]
    units: u16,
    pay: PayBody,
}

impl OfferedOrder {
    pub(crate) fn new(order: &Order) -> Self {
        let spec = &order.spec;
        Self {
            id: spec.id.clone(),
            pickup: (&spec.pickup).into(),
            dropoff: (&spec.dropoff).into(),
            distance_m: spec.pickup.position.distance(spec.dropoff.position).get(),
            units: spec.units.get(),
            pay: (&spec.pay).into(),
        }
    }

    pub(crate) fn id(&self) -> &OrderId {
        &self.id
    }
}

impl OfferReply {
    pub(crate) fn new(market: &Market, offer: &Offer, now: Timestamp) -> Self {
        let state = match offer.outcome {
            None if offer.is_open(now) => OfferState::Open,
            None | Some(OfferOutcome::Expired) => OfferState::Expired,
            Some(OfferOutcome::Accepted) => OfferState::Accepted,
            Some(OfferOutcome::Declined) => OfferState::Declined,
            Some(OfferOutcome::Withdrawn) => OfferState::Withdrawn,
        };
        let orders = offer.orders.iter().filter_map(|id| market.state().orders.get(id)).map(OfferedOrder::new);
        Self {
            id: OfferName::text(market.id(), offer.id),
            driver: offer.driver.clone(),
            state,
            orders: orders.collect(),
            route: offer.stops.iter().map(StopReply::from).collect(),
            made_at: offer.made_at.into(),
            expires_at: offer.expires_at.into(),
            attempt: offer.attempt,
        }
    }
}

/// The offer a driver has to answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriverOfferReply {
    /// `null` while there is none.
    #[schema(required)]
    pub(crate) offer: Option<OfferReply>,
}
