//! Orders.

use super::extract::{IfMatch, IfNoneMatch, Json, PathId, Query};
use super::problem::Problem;
use super::{USUAL_PAGE, ok, page_size, versioned, versioned_unless};
use crate::State;
use crate::auth::{Caller, Role};
use crate::runner::{Done, Error, Page, World};
use crate::wire::{
    AboutDriver, AssignOrder, CancelOrder, EtaBody, EtaReply, ExplanationReply, FailOrder, KitchenProgress,
    OpinionReply, OrderReply, OrdersQuery, OrdersReply, Progress, ReadyTime, SubmitOrder, ToldBody, WhyNotReply,
};
use axum::extract::State as Extract;
use axum::response::Response;
use dispatch_core::{Action, Order, OrderId, Role as CoreRole};

fn view(world: &World, caller: &Caller, id: &OrderId) -> Result<OrderReply, Error> {
    let (market, order) = world.order(caller, id)?;
    Ok(OrderReply::new(market, order))
}

pub(super) async fn submit(
    Extract(state): Extract<State>,
    caller: Caller,
    Json(body): Json<SubmitOrder>,
) -> Result<Response, Problem> {
    let is_full = state.handle().lag().is_some_and(|lag| lag.is_full);
    let is_low = state.handle().disk_is_low();
    let (market, spec) = body.into_core();
    let id = spec.id.clone();
    let submit = move |world: &mut World, caller: &Caller| match (is_low, is_full) {
        (true, _) => Err(Error::DiskLow),
        (_, true) => Err(Error::BacklogFull),
        _ => world.submit(caller, market.as_ref(), spec),
    };
    let (status, order) = state.change(caller, submit, move |world, caller, _| view(world, caller, &id)).await?;
    Ok(versioned(status, &order))
}

pub(super) async fn list(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(query): Query<OrdersQuery>,
) -> Result<Response, Problem> {
    let limit = page_size(query.limit, USUAL_PAGE, state.config().limits.page)?;
    let after = query.cursor.map(|cursor| (cursor.market, cursor.id));
    let page = Page { market: query.market, after, limit, filter: query.status.map(Into::into) };
    let look = |world: &World, caller: &Caller, page: &Page<_>| {
        let (orders, rest) = world.orders(caller, page)?;
        Ok((orders.into_iter().map(|(market, order)| OrderReply::new(market, order)).collect(), rest))
    };
    let (orders, next_cursor) = super::list(&state, &caller, page, look).await?;
    Ok(ok(&OrdersReply { orders, next_cursor }))
}

pub(super) async fn get(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    known: IfNoneMatch,
) -> Result<Response, Problem> {
    let order = state.look(caller, move |world, caller| view(world, caller, &id)).await?;
    Ok(versioned_unless(&known, &order))
}

pub(super) async fn eta(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
) -> Result<Response, Problem> {
    let eta = move |world: &World, caller: &Caller| {
        let (eta, told) = world.eta(caller, &id)?;
        Ok(EtaReply { order: id, eta: eta.map(EtaBody::from), history: told.iter().map(ToldBody::from).collect() })
    };
    Ok(ok(&state.look(caller, eta).await?))
}

pub(super) async fn explanation(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
) -> Result<Response, Problem> {
    let explained = state.look(caller, move |world, caller| world.explain(caller, &id)).await?;
    Ok(ok(&ExplanationReply::from(explained)))
}

pub(super) async fn opinion(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    Query(about): Query<AboutDriver>,
) -> Result<Response, Problem> {
    let opinion = state.look(caller, move |world, caller| world.opinion(caller, &id, &about.driver)).await?;
    Ok(ok(&OpinionReply::from(opinion)))
}

pub(super) async fn why_not(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    Query(about): Query<AboutDriver>,
) -> Result<Response, Problem> {
    let why = state.look(caller, move |world, caller| world.why_not(caller, &id, &about.driver)).await?;
    Ok(ok(&WhyNotReply::from(why)))
}

/// An order that somebody wants changed.
struct Change {
    state: State,
    caller: Caller,
    id: OrderId,
    expected: IfMatch,
    role: Option<CoreRole>,
}

impl Change {
    /// Makes the change if the order is at the expected version.
    async fn make(
        self,
        action: impl FnOnce(&Order) -> Result<Action, Error> + Send + 'static,
    ) -> Result<Response, Problem> {
        let Self { state, caller, id, expected, role } = self;
        let order = id.clone();
        let act = move |world: &mut World, caller: &Caller| {
            let check = |market: &_, order: &_| expected.check(&OrderReply::new(market, order));
            world.order_command(caller, &order, role, check, action)?;
            Ok(false)
        };
        let view = move |world: &World, caller: &Caller, done: &Done| {
            // Whoever gives an order up sees it once more, and not with every repetition.
            let (market, order) = if done.before { world.order(caller, &id)? } else { world.done(caller, &id)? };
            Ok(OrderReply::new(market, order))
        };
        let (status, order) = state.change(caller, act, view).await?;
        Ok(versioned(status, &order))
    }
}

pub(super) async fn kitchen(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    expected: IfMatch,
    Json(body): Json<KitchenProgress>,
) -> Result<Response, Problem> {
    let action = body.action(id.clone());
    Change { state, caller, id, expected, role: None }.make(|_| Ok(action)).await
}

pub(super) async fn ready_time(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    expected: IfMatch,
    Json(body): Json<ReadyTime>,
) -> Result<Response, Problem> {
    let action = Action::SetReadyTime { order: id.clone(), ready_at: body.at() };
    Change { state, caller, id, expected, role: None }.make(|_| Ok(action)).await
}

pub(super) async fn cancel(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    expected: IfMatch,
    Json(body): Json<CancelOrder>,
) -> Result<Response, Problem> {
    let role = body.role();
    let own = caller.who.grant.role();
    if role.is_some() && !matches!(own, Role::Admin | Role::Dispatcher) {
        return Err(Problem::not_on_behalf(own));
    }
    let action = Action::CancelOrder { order: id.clone(), reason: body.reason };
    Change { state, caller, id, expected, role }.make(|_| Ok(action)).await
}

pub(super) async fn fail(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    expected: IfMatch,
    Json(body): Json<FailOrder>,
) -> Result<Response, Problem> {
    let action = Action::FailOrder { order: id.clone(), reason: body.reason };
    Change { state, caller, id, expected, role: None }.make(|_| Ok(action)).await
}

pub(super) async fn progress(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    expected: IfMatch,
    Json(body): Json<Progress>,
) -> Result<Response, Problem> {
    let step = body.step();
    let who = body.driver.or_else(|| caller.who.grant.driver().cloned());
    let order = id.clone();
    let action = move |known: &Order| {
        let driver = who.or_else(|| known.status.driver().cloned()).ok_or(Error::WhichDriver)?;
        Ok(Action::Progress { order, driver, step })
    };
    Change { state, caller, id, expected, role: None }.make(action).await
}

pub(super) async fn assign(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    expected: IfMatch,
    Json(body): Json<AssignOrder>,
) -> Result<Response, Problem> {
    let action = Action::Assign { order: id.clone(), driver: body.driver };
    Change { state, caller, id, expected, role: None }.make(|_| Ok(action)).await
}

pub(super) async fn take_back(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<OrderId>,
    expected: IfMatch,
) -> Result<Response, Problem> {
    let action = Action::TakeBack { order: id.clone() };
    Change { state, caller, id, expected, role: None }.make(|_| Ok(action)).await
}
