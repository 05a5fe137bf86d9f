//! Drivers, their shifts, and who is near.

use super::extract::{Json, JsonOrNothing, PathId, Query};
use super::problem::Problem;
use super::{USUAL_PAGE, json, ok, page_size};
use crate::State;
use crate::auth::Caller;
use crate::runner::{Error, Page, World};
use crate::wire::{
    self, DriverReply, DriversQuery, DriversReply, NearDriver, NearestQuery, NearestReply, PlannedShiftBody,
    RateDriver, RegisterDriver, StartShift,
};
use axum::extract::State as Extract;
use axum::response::Response;
use dispatch_core::{Action, Driver, DriverId, Meters};

fn view(world: &World, caller: &Caller, id: &DriverId) -> Result<DriverReply, Error> {
    let (market, driver) = world.driver(caller, id)?;
    Ok(DriverReply::new(market, driver, market.fleet().last_fix(id)))
}

pub(super) async fn register(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
    Json(body): Json<RegisterDriver>,
) -> Result<Response, Problem> {
    let (market, spec) = body.into_core(id.clone());
    let register = move |world: &mut World, caller: &Caller| world.register(caller, market, spec);
    let (status, driver) = state.change(caller, register, move |world, caller, _| view(world, caller, &id)).await?;
    Ok(json(status, wire::body(&driver)))
}

pub(super) async fn get(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
) -> Result<Response, Problem> {
    Ok(ok(&state.look(caller, move |world, caller| view(world, caller, &id)).await?))
}

pub(super) async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(query): Query<DriversQuery>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit, USUAL_PAGE, state.config().limits.page)?;
    let after = query.cursor.map(|cursor| (cursor.market, cursor.id));
    let filter = move |driver: &Driver| query.shift.is_none_or(|shift| shift == driver.shift.into());
    let page = Page { market: query.market, after, limit, filter };
    let look = |world: &World, caller: &Caller, page: &Page<_>| {
        let (drivers, rest) = world.drivers(caller, page)?;
        let view =
            |(market, driver): (_, &Driver)| DriverReply::new(market, driver, market.fleet().last_fix(&driver.spec.id));
        Ok((drivers.into_iter().map(view).collect(), rest))
    };
    let (drivers, next_cursor) = super::list(&state, &caller, page, look).await?;
    Ok(ok(&DriversReply { drivers, next_cursor }))
}

async fn command(state: State, caller: Caller, id: DriverId, action: Action) -> Result<Response, Problem> {
    let driver = id.clone();
    let act = move |world: &mut World, caller: &Caller| {
        world.driver_command(caller, &driver, action)?;
        Ok(false)
    };
    Ok(ok(&state.change(caller, act, move |world, caller, _| view(world, caller, &id)).await?.1))
}

pub(super) async fn start_shift(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
    JsonOrNothing(body): JsonOrNothing<StartShift>,
) -> Result<Response, Problem> {
    let action = Action::StartShift { driver: id.clone(), until: body.until() };
    command(state, caller, id, action).await
}

pub(super) async fn plan_shift(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
    Json(body): Json<PlannedShiftBody>,
) -> Result<Response, Problem> {
    let action = Action::PlanShift { driver: id.clone(), planned: Some(body.into_core()) };
    command(state, caller, id, action).await
}

pub(super) async fn unplan_shift(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
) -> Result<Response, Problem> {
    let action = Action::PlanShift { driver: id.clone(), planned: None };
    command(state, caller, id, action).await
}

pub(super) async fn end_shift(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
) -> Result<Response, Problem> {
    let action = Action::EndShift { driver: id.clone() };
    command(state, caller, id, action).await
}

pub(super) async fn pause(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
) -> Result<Response, Problem> {
    let action = Action::PauseDriver { driver: id.clone() };
    command(state, caller, id, action).await
}

pub(super) async fn resume(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
) -> Result<Response, Problem> {
    let action = Action::ResumeDriver { driver: id.clone() };
    command(state, caller, id, action).await
}

pub(super) async fn rate(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
    Json(body): Json<RateDriver>,
) -> Result<Response, Problem> {
    let action = Action::RateDriver { driver: id.clone(), rating: body.rating };
    command(state, caller, id, action).await
}

/// How far drivers are searched where a request does not say.
const DEFAULT_RADIUS: Meters = Meters::from_km(5);

/// How many are found where a request does not say.
const USUAL_NEAREST: usize = 20;

pub(super) async fn nearest(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(query): Query<NearestQuery>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit, USUAL_NEAREST, state.config().limits.page)?;
    let at = query.position();
    let radius = query.radius_m.map_or(DEFAULT_RADIUS, |radius| radius.0);
    // The runner only says which market it is; the search is not its work.
    let market = query.market;
    let find = move |world: &World, caller: &Caller| {
        let scope = &caller.who.scope;
        let market = match &market {
            Some(market) => world.market(scope, market)?,
            None => world.market_at(scope, at).ok_or(Error::NoMarketThere)?,
        };
        Ok((market.sightings().clone(), world.searchable_since(market)))
    };
    let (sightings, since) = state.look(caller.clone(), find).await?;
    let fleet = state.handle().fleet(&caller.who.scope.tenant).ok_or(Error::NoMarketThere)?;
    let near = fleet.nearest(&sightings, at, radius, limit, since);
    let drivers = near.into_iter().map(|(id, distance)| NearDriver { id, distance_m: distance.get() });
    Ok(ok(&NearestReply { drivers: drivers.collect() }))
}
