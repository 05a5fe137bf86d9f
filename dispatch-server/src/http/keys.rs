//! API keys and tracking links.

use super::extract::{Json, JsonOrNothing, PathId, Query};
use super::problem::Problem;
use super::{USUAL_PAGE, json, ok, page_size};
use crate::State;
use crate::auth::{Caller, Grant, KeyError, KeyRecord, Link, is_plain};
use crate::runner::{Error, World};
use crate::wire::{
    self, CreateKey, CreateLink, KeyReply, KeysReply, LinkReply, MadeId, PageQuery, RotateKey, SecretReply, TrackReply,
};
use axum::extract::{RawPathParams, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use dispatch_core::OrderId;

/// A key that a caller may know of: of its tenant, and for no market that is not the caller's.
fn covers(caller: &Caller) -> impl Fn(&KeyRecord) -> bool + Send + 'static {
    let scope = caller.who.scope.clone();
    move |key| scope.covers_all(&key.tenant, key.markets.as_ref())
}

/// Changes keys, which are in a file.
async fn change<T: Send + 'static>(
    state: State,
    change: impl FnOnce(&State) -> Result<T, KeyError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(move || change(&state)).await;
    Ok(done.map_err(|_| Error::Stopping)??)
}

pub(super) async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Json(body): Json<CreateKey>,
) -> Result<Response, Problem> {
    let new = body.within(&caller.who.scope).map_err(Problem::beyond_own_markets)?;
    if !is_plain(&new.name) {
        return Err(Problem::out_of_range("name", "must not be empty or have control characters"));
    }
    Grant::new(new.role, new.places.clone(), new.driver.clone())
        .map_err(|error| Problem::out_of_range(error.field(), error.to_string()))?;
    let now = state.handle().wall_now();
    if new.expires_at.is_some_and(|until| until <= now) {
        return Err(Problem::out_of_range("expires_at", "must be in the future"));
    }
    let (key, secret) = change(state, move |state| state.auth().keys.create(new, now)).await?;
    tracing::info!("key {} of role {} was made by {}", key.id, key.role, name(&caller));
    Ok(json(StatusCode::CREATED, wire::body(&SecretReply { key: key.into(), secret })))
}

pub(super) async fn rotate(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<MadeId>,
    JsonOrNothing(body): JsonOrNothing<RotateKey>,
) -> Result<Response, Problem> {
    let (now, may, grace) = (state.handle().wall_now(), covers(&caller), body.grace());
    let (key, secret) = change(state, move |state| state.auth().keys.rotate(&id.0, may, grace, now)).await?;
    tracing::info!("key {} was rotated by {}", key.id, name(&caller));
    Ok(ok(&SecretReply { key: key.into(), secret }))
}

pub(super) async fn revoke(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<MadeId>,
) -> Result<Response, Problem> {
    let (now, may) = (state.handle().wall_now(), covers(&caller));
    let key = change(state, move |state| state.auth().keys.revoke(&id.0, may, now)).await?;
    tracing::info!("key {} was revoked by {}", key.id, name(&caller));
    Ok(ok(&KeyReply::from(key)))
}

pub(super) async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit, USUAL_PAGE, state.config().limits.page)?;
    let after = query.cursor.as_ref().map(|MadeId(id)| id.as_str());
    let mut keys = state.auth().keys.list(after, covers(&caller));
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next_cursor = keys.last().filter(|_| more).map(|key| key.id.clone());
    Ok(ok(&KeysReply { keys: keys.into_iter().map(KeyReply::from).collect(), next_cursor }))
}

pub(super) fn name(caller: &Caller) -> String {
    caller.who.name.as_ref().map_or("somebody on this machine".into(), |name| format!("{:?}", name.as_str()))
}

pub(super) async fn link(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    JsonOrNothing(body): JsonOrNothing<CreateLink>,
) -> Result<Response, Problem> {
    let order = id.clone();
    let find = move |world: &World, caller: &Caller| {
        let (market, order) = world.order(caller, &order)?;
        Ok((market.id().clone(), order.times.placed))
    };
    let (market, placed) = state.look(caller.clone(), find).await?;
    let expires_at = state.handle().now() + body.valid_for();
    let link = Link { tenant: caller.who.scope.tenant.clone(), market, order: id.clone(), placed, expires_at };
    let token = change(state, move |state| state.auth().sign(&link)).await?;
    Ok(ok(&LinkReply { order: id, token, expires_at: expires_at.into() }))
}

pub(super) async fn track(Extract(state): Extract<State>, params: RawPathParams) -> Result<Response, Problem> {
    let link = state.auth().follow(super::extract::path_id(&params), state.handle().now())?;
    let tenant = link.tenant.clone();
    let from = state.config().tracked_from;
    let show = move |world: &mut World| {
        let (market, order, eta) = world.tracked(&link).ok_or(Error::NoLink)?;
        Ok(TrackReply::new(market, order, eta, &link, from))
    };
    Ok(ok(&state.ask(Some(&tenant), show).await?))
}
