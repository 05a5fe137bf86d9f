//! Markets, figures and health.

use super::extract::{IfMatch, IfNoneMatch, Json, PathId, Query};
use super::problem::Problem;
use super::{ok, versioned, versioned_unless};
use crate::State;
use crate::auth::Caller;
use crate::runner::{Done, Error, Market, World};
use crate::wire::{
    ConfigReply, HealthReply, MarketReply, MarketStats, MarketsReply, RollBack, RulesBody, StatsQuery, StatsReply,
};
use axum::extract::State as Extract;
use axum::response::Response;
use dispatch_core::{Action, MarketId};

pub(super) async fn list(Extract(state): Extract<State>, caller: Caller) -> Result<Response, Problem> {
    let list = |world: &World, caller: &Caller| {
        Ok(MarketsReply { markets: world.markets(&caller.who.scope).map(MarketReply::new).collect() })
    };
    Ok(ok(&state.look(caller, list).await?))
}

pub(super) async fn get(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<MarketId>,
) -> Result<Response, Problem> {
    Ok(ok(&state
        .look(caller, move |world, caller| Ok(MarketReply::new(world.market(&caller.who.scope, &id)?)))
        .await?))
}

pub(super) async fn config(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<MarketId>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let config =
        state.look(caller, move |world, caller| Ok(ConfigReply::new(world.market(&caller.who.scope, &id)?))).await?;
    Ok(versioned_unless(&known, &config))
}

/// Sets the rules of a market if they are at the expected version.
async fn set_rules(
    state: State,
    caller: Caller,
    id: MarketId,
    expected: IfMatch,
    action: Action,
) -> Result<Response, Problem> {
    let market = id.clone();
    let act = move |world: &mut World, caller: &Caller| {
        let check = |market: &Market| expected.check(&ConfigReply::new(market));
        world.set_rules(caller, &market, check, action)?;
        Ok(false)
    };
    let view =
        move |world: &World, caller: &Caller, _: &Done| Ok(ConfigReply::new(world.market(&caller.who.scope, &id)?));
    let (status, rules) = state.change(caller, act, view).await?;
    Ok(versioned(status, &rules))
}

pub(super) async fn configure(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<MarketId>,
    expected: IfMatch,
    Json(body): Json<RulesBody>,
) -> Result<Response, Problem> {
    let rules = body.into_core(id.clone()).map_err(|error| Problem::from(&error))?;
    set_rules(state, caller, id, expected, Action::Configure(Box::new(rules))).await
}

pub(super) async fn roll_back(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<MarketId>,
    expected: IfMatch,
    Json(body): Json<RollBack>,
) -> Result<Response, Problem> {
    set_rules(state, caller, id, expected, Action::RollBackConfiguration { version: body.version }).await
}

pub(super) async fn stats(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(query): Query<StatsQuery>,
) -> Result<Response, Problem> {
    let count = move |world: &World, caller: &Caller| {
        let markets = match &query.market {
            Some(market) => vec![MarketStats::new(world.market(&caller.who.scope, market)?)],
            None => world.markets(&caller.who.scope).map(MarketStats::new).collect(),
        };
        Ok(StatsReply { at: world.now().into(), markets })
    };
    Ok(ok(&state.look(caller, count).await?))
}

pub(crate) async fn live() -> Response {
    ok(&HealthReply::live())
}

pub(crate) async fn ready(Extract(state): Extract<State>) -> Result<Response, Problem> {
    if state.is_stopping() {
        return Err(Error::Stopping.into());
    }
    let lag = state.handle().lag();
    if lag.is_some_and(|lag| lag.holds_answers()) {
        return Err(Error::DatabaseAway.into());
    }
    let now = state.ask(None, |world| Ok(world.now())).await?;
    Ok(ok(&HealthReply::ready(now, lag)))
}
