//! The HTTP API: routes, guards and handlers. Handlers translate and ask the runner; they decide nothing.

mod docs;
mod drivers;
mod etag;
mod extract;
mod markets;
mod offers;
mod openapi;
mod orders;
mod problem;
mod routes;

pub use openapi::openapi_json;

use crate::State;
use crate::auth::{Caller, Grant};
use crate::runner::{Error, World};
use crate::wire::{self, Answer};
use axum::RequestPartsExt;
use axum::Router;
use axum::extract::{ConnectInfo, OriginalUri, RawPathParams, Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use dispatch_core::DriverId;
use problem::Problem;
use routes::{Access, ROUTES, Route};
use std::net::SocketAddr;

/// All routes of the server, ready to be nested into another application or served as they are.
///
/// Requests carry the peer's address into the log if the application is served with
/// [`into_make_service_with_connect_info`](Router::into_make_service_with_connect_info).
pub fn router(state: State) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let guarded = (route.mount)().route_layer(from_fn_with_state((state.clone(), route), guard));
        router = router.route(route.path, guarded);
    }
    router.fallback(unknown_route).method_not_allowed_fallback(unknown_method).with_state(state)
}

async fn unknown_route(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::unknown_route(uri.path())
}

async fn unknown_method(method: Method) -> Problem {
    Problem::method(method.as_str())
}

/// Lets a request through to its route if the route's policy does, and says who makes it.
async fn guard(
    Extract((state, route)): Extract<(State, &'static Route)>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Access::Roles(roles, own) = route.access else { return Ok(next.run(request).await) };
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let keys = &state.config().keys;
    if keys.0.is_empty() && address.is_some_and(|address| !address.to_canonical().is_loopback()) {
        return Err(Problem::remote_without_keys());
    }
    let (grant, name) = keys.identify(bearer(request.headers())).ok_or_else(Problem::unauthenticated)?;
    if !roles.contains(&grant.role()) {
        return Err(Problem::forbidden(grant.role()));
    }
    let (mut parts, body) = request.into_parts();
    if own == routes::Own::Driver {
        check_own_driver(&grant, parts.extract::<RawPathParams>().await.ok().as_ref())?;
    }
    let user_agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned);
    parts.extensions.insert(Caller { grant, name, address, user_agent });
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// A foreign driver looks like an absent one. An id that is none is the handler's to refuse.
fn check_own_driver(grant: &Grant, params: Option<&RawPathParams>) -> Result<(), Problem> {
    let id = params.and_then(|params| params.iter().find(|(name, _)| *name == "id"));
    let id = id.and_then(|(_, id)| DriverId::new(id).ok());
    match id {
        Some(id) if !grant.covers_driver(&id) => Err(Problem::unknown_driver(&id)),
        _ => Ok(()),
    }
}

/// The key of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

impl State {
    /// Has something done by the runner, within the time a request may take.
    async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut World) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Problem> {
        let answer = tokio::time::timeout(self.patience(), self.handle().ask(job)).await;
        Ok(answer.map_err(|_| Problem::late())???)
    }
}

/// An answer in JSON.
fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn ok(value: &impl Answer) -> Response {
    json(StatusCode::OK, wire::body(value))
}

/// How many entries a page has: what was asked for, at most and by default the server's limit (100 by default).
fn page_size(asked: Option<u32>, most: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(most.min(100)),
        Some(asked) if asked >= 1 && asked as usize <= most => Ok(asked as usize),
        Some(asked) => Err(Problem::invalid("limit", format!("must be 1 to {most}, not {asked}"))),
    }
}
