//! Offers.

use super::extract::PathId;
use super::ok;
use super::problem::Problem;
use crate::State;
use crate::auth::Caller;
use crate::runner::{Error, World};
use crate::wire::{DriverOfferReply, OfferName, OfferReply};
use axum::extract::State as Extract;
use axum::response::Response;
use dispatch_core::DriverId;

fn view(world: &World, caller: &Caller, name: &OfferName) -> Result<OfferReply, Error> {
    let (market, offer) = world.offer(caller, &name.market, name.number)?;
    Ok(OfferReply::new(market, offer, world.now()))
}

pub(super) async fn get(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(name): PathId<OfferName>,
) -> Result<Response, Problem> {
    Ok(ok(&state.look(caller, move |world, caller| view(world, caller, &name)).await?))
}

pub(super) async fn of_driver(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(id): PathId<DriverId>,
) -> Result<Response, Problem> {
    let find = move |world: &World, caller: &Caller| {
        let (market, driver) = world.driver(caller, &id)?;
        let offer = driver.offer.and_then(|offer| market.state().offers.get(offer));
        Ok(DriverOfferReply { offer: offer.map(|offer| OfferReply::new(market, offer, world.now())) })
    };
    Ok(ok(&state.look(caller, find).await?))
}

async fn answer(state: State, caller: Caller, name: OfferName, accept: bool) -> Result<Response, Problem> {
    Ok(ok(&decide(&state, caller, name, accept).await?))
}

/// Answers an offer.
pub(super) async fn decide(
    state: &State,
    caller: Caller,
    name: OfferName,
    accept: bool,
) -> Result<OfferReply, Problem> {
    let (market, number) = (name.market.clone(), name.number);
    let act = move |world: &mut World, caller: &Caller| {
        world.answer(caller, &market, number, accept)?;
        Ok(false)
    };
    Ok(state.change(caller, act, move |world, caller, _| view(world, caller, &name)).await?.1)
}

pub(super) async fn accept(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(name): PathId<OfferName>,
) -> Result<Response, Problem> {
    answer(state, caller, name, true).await
}

pub(super) async fn decline(
    Extract(state): Extract<State>,
    caller: Caller,
    PathId(name): PathId<OfferName>,
) -> Result<Response, Problem> {
    answer(state, caller, name, false).await
}
