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

pub(super) async fn list(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let list = |world: &mut World| Ok(MarketsReply { markets: world.markets().iter().map(MarketReply::new).collect() });
    Ok(ok(&state.ask(list).await?))
}

pub(super) async fn get(Extract(state): Extract<State>, PathId(id): PathId<MarketId>) -> Result<Response, Problem> {
    Ok(ok(&state.ask(move |world| Ok(MarketReply::new(world.market(&id)?))).await?))
}

pub(super) async fn config(
    Extract(state): Extract<State>,
    PathId(id): PathId<MarketId>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let config = state.ask(move |world| Ok(ConfigReply::new(world.market(&id)?))).await?;
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
    let view = move |world: &World, _: &Caller, _: &Done| Ok(ConfigReply::new(world.market(&id)?));
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

pub(crate) async fn live() -> Response {
    ok(&HealthReply::live())
}

pub(crate) async fn ready(Extract(state): Extract<State>) -> Result<Response, Problem> {
    let lag = state.handle().lag();
    if lag.is_some_and(|lag| lag.holds_answers()) {
        return Err(Error::DatabaseAway.into());
    }
    let now = state.ask(|world| Ok(world.now())).await?;
    Ok(ok(&HealthReply::ready(now, lag)))
}
