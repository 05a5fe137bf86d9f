//! Webhooks and their dead letters.

use super::extract::{Json, JsonOrNothing, PathId, Query};
use super::keys::name;
use super::problem::Problem;
use super::{USUAL_PAGE, json, ok, page_size};
use crate::State;
use crate::auth::{Caller, is_plain};
use crate::runner::Error;
use crate::webhooks::{Pause, Webhook, WebhookError, Webhooks};
use crate::wire::{
    self, CreateWebhook, DeadLettersQuery, DeadLettersReply, LetterId, MadeId, PageQuery, ReplayDeadLetters,
    ReplayReply, RotateWebhookSecret, TestReply, WebhookReply, WebhookSecretReply, WebhooksReply,
};
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::Response;

/// A webhook that a caller may know of: of its tenant, and for no market that is not the caller's.
fn covers(caller: &Caller) -> impl Fn(&Webhook) -> bool + Send + 'static {
    let scope = caller.who.scope.clone();
    move |webhook| scope.covers_all(&webhook.tenant, webhook.markets.as_ref())
}

/// Changes webhooks, which are in files.
async fn change<T: Send + 'static>(
    state: &State,
    change: impl FnOnce(&Webhooks) -> Result<T, WebhookError> + Send + 'static,
) -> Result<T, Problem> {
    let state = state.clone();
    let done = tokio::task::spawn_blocking(move || change(state.webhooks())).await;
    Ok(done.map_err(|_| Error::Stopping)??)
}

pub(super) async fn create(
    Extract(state): Extract<State>,
    caller: Caller,
    Json(body): Json<CreateWebhook>,
) -> Result<Response, Problem> {
    let new = body.within(&caller.who.scope).map_err(Problem::beyond_own_markets)?;
    let foreign = |market: &_| !state.webhooks().is_of(market, &new.tenant);
    if new.markets.iter().flatten().any(foreign) {
        return Err(Problem::beyond_own_markets("markets"));
    }
    if new.name.as_ref().is_some_and(|name| !is_plain(name)) {
        return Err(Problem::out_of_range("name", "must not be empty or have control characters"));
    }
    let now = state.handle().wall_now();
    let (webhook, secret) = change(&state, move |webhooks| webhooks.create(new, now)).await?;
    tracing::info!("webhook {} was made by {}", webhook.webhook.id, name(&caller));
    let reply = WebhookSecretReply { webhook: webhook.into(), secret: secret.into_text() };
    Ok(json(StatusCode::CREATED, wire::body(&reply)))
}

pub(super) async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit, USUAL_PAGE, state.config().limits.page)?;
    let after = query.cursor.as_ref().map(|MadeId(id)| id.as_str());
    let mut webhooks = state.webhooks().list(after, limit, covers(&caller));
    let more = webhooks.len() > limit;
    webhooks.truncate(limit);
    let next_cursor = webhooks.last().filter(|_| more).map(|last| last.webhook.id.clone());
    Ok(ok(&WebhooksReply { webhooks: webhooks.into_iter().map(WebhookReply::from).collect(), next_cursor }))
}

pub(super) async fn get(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(MadeId(id)): PathId<MadeId>,
) -> Result<Response, Problem> {
    Ok(ok(&WebhookReply::from(state.webhooks().get(&id, covers(&caller))?)))
}

pub(super) async fn delete(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(MadeId(id)): PathId<MadeId>,
) -> Result<Response, Problem> {
    let may = covers(&caller);
    let webhook = change(&state, move |webhooks| webhooks.delete(&id, may)).await?;
    tracing::info!("webhook {} was deleted by {}", webhook.webhook.id, name(&caller));
    Ok(ok(&WebhookReply::from(webhook)))
}

pub(super) async fn rotate(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(MadeId(id)): PathId<MadeId>,
    JsonOrNothing(body): JsonOrNothing<RotateWebhookSecret>,
) -> Result<Response, Problem> {
    let (now, may, grace) = (state.handle().wall_now(), covers(&caller), body.grace());
    let (webhook, secret) = change(&state, move |webhooks| webhooks.rotate(&id, may, grace, now)).await?;
    tracing::info!("webhook {} got a new secret by {}", webhook.webhook.id, name(&caller));
    Ok(ok(&WebhookSecretReply { webhook: webhook.into(), secret: secret.into_text() }))
}

pub(super) async fn pause(state: Extract<State>, caller: Caller, id: PathId<MadeId>) -> Result<Response, Problem> {
    set_pause(state, caller, id, Some(Pause::Asked)).await
}

pub(super) async fn resume(state: Extract<State>, caller: Caller, id: PathId<MadeId>) -> Result<Response, Problem> {
    set_pause(state, caller, id, None).await
}

async fn set_pause(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(MadeId(id)): PathId<MadeId>,
    pause: Option<Pause>,
) -> Result<Response, Problem> {
    let may = covers(&caller);
    let webhook = change(&state, move |webhooks| webhooks.pause(&id, may, pause)).await?;
    let done = if pause.is_some() { "paused" } else { "resumed" };
    tracing::info!("webhook {} was {done} by {}", webhook.webhook.id, name(&caller));
    Ok(ok(&WebhookReply::from(webhook)))
}

pub(super) async fn test(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(MadeId(id)): PathId<MadeId>,
) -> Result<Response, Problem> {
    let event = state.webhooks().test(&id, covers(&caller), state.handle().wall_now())?;
    Ok(ok(&TestReply { event }))
}

pub(super) async fn dead_letters(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(MadeId(id)): PathId<MadeId>,
    Query(query): Query<DeadLettersQuery>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit, USUAL_PAGE, state.config().limits.page)?;
    let after = query.cursor.and_then(|LetterId(number)| number);
    let mut dead = state.webhooks().dead_letters(&id, covers(&caller), after, limit)?;
    let more = dead.len() > limit;
    dead.truncate(limit);
    let next_cursor = dead.last().filter(|_| more).map(|(number, _)| number.to_string());
    Ok(ok(&DeadLettersReply { dead_letters: dead.into_iter().map(From::from).collect(), next_cursor }))
}

pub(super) async fn replay(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(MadeId(id)): PathId<MadeId>,
    JsonOrNothing(body): JsonOrNothing<ReplayDeadLetters>,
) -> Result<Response, Problem> {
    let (may, numbers) = (covers(&caller), body.numbers());
    let replayed = change(&state, move |webhooks| webhooks.replay(&id, may, numbers.as_deref())).await?;
    Ok(ok(&ReplayReply { replayed }))
}
