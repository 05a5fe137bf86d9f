//! Markets, figures and health.

use super::extract::{Json, PathId, Query};
use super::ok;
use super::problem::Problem;
use crate::State;
use crate::auth::Caller;
use crate::runner::World;
use crate::wire::{
    ConfigBody, ConfigReply, HealthReply, MarketReply, MarketStats, MarketsReply, RollBack, StatsQuery, StatsReply,
};
use axum::extract::State as Extract;
use axum::response::Response;
use dispatch_core::{Action, MarketId};

pub(super) async fn list(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let list = |world: &mut World| Ok(MarketsReply { markets: world.markets().iter().map(MarketReply::new).collect() });
    Ok(ok(&state.ask(list).await?))
}

pub(super) async fn get(Extract(state): Extract<State>, PathId(id): PathId<MarketId>) -> Result<Response, Problem> {
    Ok(ok(&state.ask(move |world| Ok(MarketReply::new(world.market(&id)?))).await?))
}

pub(super) async fn config(Extract(state): Extract<State>, PathId(id): PathId<MarketId>) -> Result<Response, Problem> {
    Ok(ok(&state.ask(move |world| Ok(ConfigReply::new(world.market(&id)?))).await?))
}

async fn set(state: State, caller: Caller, id: MarketId, action: Action) -> Result<Response, Problem> {
    let done = move |world: &mut World| Ok(ConfigReply::new(world.market_command(&caller, &id, action)?));
    Ok(ok(&state.ask(done).await?))
}

pub(super) async fn configure(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<MarketId>,
    Json(body): Json<ConfigBody>,
) -> Result<Response, Problem> {
    set(state, caller, id, Action::Configure(Box::new(body.into_core()?))).await
}

pub(super) async fn roll_back(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<MarketId>,
    Json(body): Json<RollBack>,
) -> Result<Response, Problem> {
    set(state, caller, id, Action::RollBackConfiguration { version: body.version }).await
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
