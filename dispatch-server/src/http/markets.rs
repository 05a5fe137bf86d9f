//! Markets, figures and health.

use super::extract::{PathId, Query};
use super::ok;
use super::problem::Problem;
use crate::State;
use crate::runner::World;
use crate::wire::{HealthReply, MarketReply, MarketStats, MarketsReply, StatsQuery, StatsReply};
use axum::extract::State as Extract;
use axum::response::Response;
use dispatch_core::MarketId;

pub(super) async fn list(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let list = |world: &mut World| Ok(MarketsReply { markets: world.markets().iter().map(MarketReply::new).collect() });
    Ok(ok(&state.ask(list).await?))
}

pub(super) async fn get(Extract(state): Extract<State>, PathId(id): PathId<MarketId>) -> Result<Response, Problem> {
    Ok(ok(&state.ask(move |world| Ok(MarketReply::new(world.market(&id)?))).await?))
}

pub(super) async fn stats(
    Extract(state): Extract<State>,
    Query(query): Query<StatsQuery>,
) -> Result<Response, Problem> {
    let count = move |world: &mut World| {
        let markets = match &query.market {
            Some(market) => vec![MarketStats::new(world.market(market)?)],
            None => world.markets().iter().map(MarketStats::new).collect(),
        };
        Ok(StatsReply { at: world.now().into(), markets })
    };
    Ok(ok(&state.ask(count).await?))
}

pub(super) async fn live() -> Response {
    ok(&HealthReply::live())
}

pub(super) async fn ready(Extract(state): Extract<State>) -> Result<Response, Problem> {
    Ok(ok(&HealthReply::ready(state.ask(|world| Ok(world.now())).await?)))
}
