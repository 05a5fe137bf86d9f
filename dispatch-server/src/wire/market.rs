//! Markets, figures and health.

use super::{Id, RulesBody, StatusName, Time};
use crate::area::Area;
use crate::postgres::{Lag, Link};
use crate::runner::Market;
use dispatch_core::{DispatchStatus, MarketId, Millis, Shift, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What kind of area a market has.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AreaName {
    /// Wherever no other market is.
    Everywhere,
    Cells,
    Polygon,
}

/// A market.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MarketReply {
    #[schema(value_type = Id)]
    id: MarketId,
    area: AreaName,
    /// The version of its rules.
    config_version: u32,
    /// How often orders and drivers are matched.
    window_seconds: f64,
}

impl MarketReply {
    pub(crate) fn new(market: &Market) -> Self {
        let state = market.state();
        Self {
            id: market.id().clone(),
            area: match market.area() {
                Area::Everywhere => AreaName::Everywhere,
                Area::Cells(_) => AreaName::Cells,
                Area::Polygon(_) => AreaName::Polygon,
            },
            config_version: state.config_version,
            window_seconds: state.config.window.as_secs_f64(),
        }
    }
}

/// The rules of a market.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConfigReply {
    #[schema(value_type = Id)]
    market: MarketId,
    /// How often the rules were set; each time makes a version.
    #[schema(minimum = 1)]
    version: u32,
    /// The versions that can be put back in force, the oldest first.
    #[schema(max_items = 16)]
    former_versions: Vec<u32>,
    rules: RulesBody,
}

impl ConfigReply {
    pub(crate) fn new(market: &Market) -> Self {
        let state = market.state();
        Self {
            market: market.id().clone(),
            version: state.config_version,
            former_versions: state.former_configs.keys().copied().collect(),
            rules: (&state.config).into(),
        }
    }
}

/// Which rules to put back in force.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBack {
    /// One of the `former_versions`.
    #[schema(maximum = 4_294_967_295_u32)]
    pub(crate) version: u32,
}

/// All markets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MarketsReply {
    pub(crate) markets: Vec<MarketReply>,
}

/// Which market's figures to show; all, if absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatsQuery {
    pub(crate) market: Option<MarketId>,
}

/// Figures of each market.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatsReply {
    /// The server's time.
    pub(crate) at: Time,
    pub(crate) markets: Vec<MarketStats>,
}

/// Figures of one market. Orders are those in memory: ended ones leave it an hour after they ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MarketStats {
    #[schema(value_type = Id)]
    market: MarketId,
    /// How many events the market has had.
    events: u64,
    drivers: DriverCounts,
    orders: OrderCounts,
    positions: PositionCounts,
}

/// How many drivers there are.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct DriverCounts {
    registered: usize,
    on_shift: usize,
    /// With at least one order.
    busy: usize,
    paused: usize,
    silent: usize,
}

/// How many orders there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderCounts {
    by_status: BTreeMap<StatusName, usize>,
    /// Looking for a driver.
    waiting: usize,
    /// With an open offer.
    offered: usize,
    /// Without a driver for too long.
    overdue: usize,
    /// Half of the delivered ones took at most this long from placing; `null` where none was delivered.
    #[schema(required, minimum = 0)]
    median_delivery_seconds: Option<f64>,
}

/// How many positions were reported since the start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PositionCounts {
    reported: u64,
    /// Those that moved their driver.
    moved: u64,
}

impl MarketStats {
    /// Counts what is in memory. Cost: linear in it, a few milliseconds for 100,000 orders.
    pub(crate) fn new(market: &Market) -> Self {
        let state = market.state();
        let mut drivers = DriverCounts::default();
        for driver in market.drivers() {
            drivers.registered += 1;
            drivers.on_shift += usize::from(driver.shift != Shift::Off);
            drivers.busy += usize::from(!driver.stops.is_empty());
            drivers.paused += usize::from(driver.paused);
            drivers.silent += usize::from(driver.silent);
        }
        let mut by_status: BTreeMap<StatusName, usize> = BTreeMap::new();
        let (mut waiting, mut offered, mut overdue) = (0, 0, 0);
        let mut took: Vec<Millis> = Vec::new();
        for order in state.orders.values() {
            *by_status.entry(order.public_status().into()).or_default() += 1;
            waiting += usize::from(order.status == DispatchStatus::Waiting);
            offered += usize::from(matches!(order.status, DispatchStatus::Offered { .. }));
            overdue += usize::from(order.overdue);
            if let (DispatchStatus::Delivered { .. }, Some(ended)) = (&order.status, order.times.ended) {
                took.push(ended - order.times.placed);
            }
        }
        took.sort_unstable();
        let median_delivery_seconds = took.get(took.len() / 2).map(|median| median.as_secs_f64());
        let (reported, moved) = market.sightings().counts();
        Self {
            market: market.id().clone(),
            events: state.seq,
            drivers,
            orders: OrderCounts { by_status, waiting, offered, overdue, median_delivery_seconds },
            positions: PositionCounts { reported, moved },
        }
    }
}

/// Whether the server lives or is ready.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthReply {
    pub(crate) status: HealthName,
    /// The server's time; shown where it is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    at: Option<Time>,
    /// How far the database is behind, if the server has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    postgres: Option<LagBody>,
}

/// How the server is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HealthName {
    /// The process answers.
    Live,
    /// It can decide.
    Ready,
    /// It can decide, and the database does not take what happens.
    Degraded,
}

/// How far the database is behind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LagBody {
    status: LinkName,
    /// The last record of the journal that is in the database; `null` until that is known.
    #[schema(required)]
    applied: Option<u64>,
    /// The last record there is.
    durable: u64,
    /// How long the files are that hold the records between.
    backlog_bytes: u64,
    /// Whether new orders are refused because of it.
    full: bool,
}

/// How the database is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LinkName {
    /// Nobody has asked it yet.
    Connecting,
    /// It takes what happens.
    Connected,
    /// It does not answer, or not in time, or refuses what it is given.
    Away,
    /// Another server writes there in this one's place.
    Fenced,
}

impl HealthReply {
    pub(crate) fn live() -> Self {
        Self { status: HealthName::Live, at: None, postgres: None }
    }

    pub(crate) fn ready(now: Timestamp, lag: Option<Lag>) -> Self {
        let is_well = lag.is_none_or(|lag| lag.link == Link::Connected);
        let status = if is_well { HealthName::Ready } else { HealthName::Degraded };
        Self { status, at: Some(now.into()), postgres: lag.map(LagBody::from) }
    }
}

impl From<Lag> for LagBody {
    fn from(Lag { link, applied, durable, backlog_bytes, is_full, .. }: Lag) -> Self {
        let status = match link {
            Link::Connecting => LinkName::Connecting,
            Link::Connected => LinkName::Connected,
            Link::Away => LinkName::Away,
            Link::Fenced => LinkName::Fenced,
        };
        Self { status, applied, durable, backlog_bytes, full: is_full }
    }
}
