//! API keys and tracking links.

use super::{EtaBody, Id, Lat, Lng, Secs, StatusName, Time, degrees};
use crate::auth::{Key, KeyRecord, Link, NewKey, Role, Scope};
use crate::config::TrackedFrom;
use crate::runner::{Expected, Market};
use dispatch_core::{DriverId, Fix, Label, MarketId, Millis, Order, OrderId, PlaceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Most places or markets of a key.
pub(crate) const MAX_NAMED: usize = 256;

/// A key to be made, of the tenant of whoever makes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// Who holds it, in at most 128 characters; no other key in force is called so.
    #[schema(value_type = String, max_length = 128)]
    name: Label,
    role: Role,
    /// For a merchant: the ids of its places.
    #[serde(default)]
    #[schema(value_type = BTreeSet<Id>, max_items = 256)]
    places: Few<PlaceId>,
    /// For a driver: its id.
    #[schema(value_type = Option<Id>)]
    driver: Option<DriverId>,
    /// Which markets it is for; as many as whoever makes it may see, if absent.
    #[schema(value_type = Option<BTreeSet<Id>>, max_items = 256)]
    markets: Option<Few<MarketId>>,
    /// When it ends by itself; never, if absent.
    expires_at: Option<Time>,
    /// How many times what is usual it may ask, from 0.01 to 10,000; 1 if absent. All of a tenant together have a limit beside.
    #[schema(value_type = Option<f64>, minimum = 0.01, maximum = 10_000)]
    rate: Option<KeyRate>,
}

/// How many times what is usual a key may ask.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct KeyRate(f64);

impl TryFrom<f64> for KeyRate {
    type Error = &'static str;
    fn try_from(times: f64) -> Result<Self, Self::Error> {
        if Key::RATES.contains(&times) { Ok(Self(times)) } else { Err(Key::RATES_ARE) }
    }
}

/// At most [`MAX_NAMED`] ids, each once.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<T>", bound = "T: Deserialize<'de> + Ord")]
pub(crate) struct Few<T>(pub(super) BTreeSet<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord> TryFrom<Vec<T>> for Few<T> {
    type Error = String;
    fn try_from(ids: Vec<T>) -> Result<Self, String> {
        let given = ids.len();
        let ids = BTreeSet::from_iter(ids);
        if given <= MAX_NAMED && ids.len() == given {
            Ok(Self(ids))
        } else {
            Err(format!("must be at most {MAX_NAMED}, each named once"))
        }
    }
}

impl CreateKey {
    /// The key as one of somebody who may see this; the field that reaches further is an error.
    pub(crate) fn within(self, scope: &Scope) -> Result<NewKey, &'static str> {
        Ok(NewKey {
            tenant: scope.tenant.clone(),
            name: self.name,
            role: self.role,
            places: self.places.0,
            driver: self.driver,
            markets: markets_within(self.markets, scope)?,
            rate: self.rate.map_or(1.0, |KeyRate(times)| times),
            expires_at: self.expires_at.map(Time::get),
        })
    }
}

/// The markets that something is for which somebody makes who may see this; `markets`, if it reaches further.
pub(super) fn markets_within(
    markets: Option<Few<MarketId>>,
    scope: &Scope,
) -> Result<Option<BTreeSet<MarketId>>, &'static str> {
    match (&scope.markets, markets.map(|markets| markets.0)) {
        (None, markets) => Ok(markets),
        (Some(own), None) => Ok(Some(own.clone())),
        (Some(own), Some(markets)) if markets.is_subset(own) => Ok(Some(markets)),
        _ => Err("markets"),
    }
}

/// A new secret for a key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKey {
    /// For how long the secret before still counts: up to a week, and not at all if absent.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 604_800)]
    grace_seconds: Option<Secs<0, 604_800_000>>,
}

impl RotateKey {
    pub(crate) fn grace(&self) -> Millis {
        self.grace_seconds.map_or(Millis::ZERO, Secs::get)
    }
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyReply {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = String, max_length = 128)]
    name: Label,
    role: Role,
    #[schema(value_type = BTreeSet<Id>)]
    places: BTreeSet<PlaceId>,
    #[schema(required, value_type = Option<Id>)]
    driver: Option<DriverId>,
    /// `null` for all markets of its tenant.
    #[schema(required, value_type = Option<BTreeSet<Id>>)]
    markets: Option<BTreeSet<MarketId>>,
    /// How many times what is usual it may ask.
    rate: f64,
    created_at: Time,
    #[schema(required)]
    expires_at: Option<Time>,
    #[schema(required)]
    revoked_at: Option<Time>,
}

impl From<KeyRecord> for KeyReply {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: key.id,
            name: key.name,
            role: key.role,
            places: key.places,
            driver: key.driver,
            markets: key.markets,
            rate: key.rate,
            created_at: key.created_at.into(),
            expires_at: key.expires_at.map(Time::from),
            revoked_at: key.revoked_at.map(Time::from),
        }
    }
}

/// A key with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretReply {
    pub(crate) key: KeyReply,
    /// What to send as `Authorization: Bearer`.
    pub(crate) secret: String,
}

/// Which part of a list to show, of things that the server names.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    pub(crate) cursor: Option<MadeId>,
    pub(crate) limit: Option<u32>,
}

/// Names a key or a webhook, as `key-0123456789abcdef`: chosen by the server.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct MadeId(pub(crate) String);

impl TryFrom<String> for MadeId {
    type Error = dispatch_core::IdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The same characters as in every other id.
        PlaceId::new(text.clone()).map(|_| Self(text))
    }
}

impl std::str::FromStr for MadeId {
    type Err = dispatch_core::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

/// One page of keys, revoked ones included, by id.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeysReply {
    pub(crate) keys: Vec<KeyReply>,
    /// Where the next page begins; absent after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Id>)]
    pub(crate) next_cursor: Option<String>,
}

/// A link to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateLink {
    /// For how long it shows the order: up to 31 days; a day if absent.
    #[schema(value_type = Option<f64>, minimum = 1, maximum = 2_678_400)]
    valid_seconds: Option<Secs<1_000, 2_678_400_000>>,
}

impl CreateLink {
    pub(crate) fn valid_for(&self) -> Millis {
        self.valid_seconds.map_or(Millis::from_mins(24 * 60), Secs::get)
    }
}

/// A link that shows one order to whoever has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinkReply {
    #[schema(value_type = Id)]
    pub(crate) order: OrderId,
    /// What to ask `/v1/track/{token}` with.
    #[schema(pattern = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$")]
    pub(crate) token: String,
    pub(crate) expires_at: Time,
}

/// What a customer sees of its order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackReply {
    #[schema(value_type = Id)]
    order: OrderId,
    status: StatusName,
    /// What the pickup is called.
    #[schema(required, value_type = Option<String>, max_length = 128)]
    from: Option<Label>,
    dropoff_lat: Lat,
    dropoff_lng: Lng,
    placed_at: Time,
    /// When it is, or was, ready for pickup.
    ready_at: Time,
    #[schema(required)]
    picked_up_at: Option<Time>,
    #[schema(required)]
    ended_at: Option<Time>,
    /// When it arrives; `null` once it has ended.
    #[schema(required)]
    eta: Option<EtaBody>,
    /// Where its driver is, from pickup (or as the server is set) to delivery.
    #[schema(required)]
    driver: Option<DriverSpot>,
    /// When the link ends.
    link_expires_at: Time,
}

/// Where a driver was last seen.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriverSpot {
    lat: Lat,
    lng: Lng,
    at: Time,
}

impl TrackReply {
    pub(crate) fn new(market: &Market, order: &Order, eta: Option<Expected>, link: &Link, from: TrackedFrom) -> Self {
        let (spec, times) = (&order.spec, &order.times);
        let fix = order
            .status
            .driver()
            .filter(|_| from.shows(&order.status))
            .and_then(|driver| market.fleet().last_fix(driver));
        let (dropoff_lat, dropoff_lng) = degrees(spec.dropoff.position);
        Self {
            order: spec.id.clone(),
            status: order.public_status().into(),
            from: spec.pickup.label.clone(),
            dropoff_lat,
            dropoff_lng,
            placed_at: times.placed.into(),
            ready_at: order.ready_at.into(),
            picked_up_at: times.picked_up.map(Time::from),
            ended_at: times.ended.map(Time::from),
            eta: eta.map(EtaBody::from),
            driver: fix.map(|(fix, _)| fix.into()),
            link_expires_at: link.expires_at.into(),
        }
    }
}

impl From<Fix> for DriverSpot {
    fn from(Fix { position, at }: Fix) -> Self {
        let (lat, lng) = degrees(position);
        Self { lat, lng, at: at.into() }
    }
}
