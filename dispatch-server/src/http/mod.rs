//! The HTTP API: routes, guards and handlers. Handlers translate and ask the runner; they decide nothing.

mod docs;
mod drivers;
mod etag;
mod extract;
mod feed;
mod headers;
mod keys;
mod markets;
mod offers;
mod openapi;
mod orders;
mod positions;
mod problem;
mod routes;
mod socket;
mod webhooks;

pub use docs::asyncapi_json;
pub(crate) use extract::PLACE;
pub(crate) use headers::read_origin;
pub(crate) use markets::{live, ready};
pub use openapi::openapi_json;

use crate::State;
use crate::auth::{Caller, Grant, TenantId};
use crate::journal::{Mark, Once};
use crate::runner::{Done, Error, Page, Spot, World};
use crate::telemetry::{Operation, Seen, observe};
use crate::wire::{self, Answer, Cursor};
use axum::RequestPartsExt;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, OriginalUri, RawPathParams, Request, State as Extract};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use dispatch_core::{DriverId, OrderId};
use extract::IfNoneMatch;
use problem::Problem;
use routes::{Access, ROUTES, Route};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

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
    let router = router.fallback(unknown_route).method_not_allowed_fallback(unknown_method);
    let router = headers::lay(router, state.config());
    router.layer(from_fn_with_state(state.clone(), observe)).with_state(state)
}

/// All operations, for whoever counts them.
pub(crate) fn operations() -> impl Iterator<Item = Operation> {
    ROUTES.iter().map(Route::operation)
}

/// What a header of versions says, for fuzzing: the same again, or `None` if it is refused.
#[cfg(feature = "fuzzing")]
pub(crate) fn versions(header: &[u8]) -> Option<String> {
    etag::Tags::of_bytes(header).map(|tags| tags.to_text())
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
    let seen = Seen::of(&request);
    seen.operation(route.operation());
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    let Access::Roles(roles, own) = route.access else {
        // Who looks after the server looks often.
        if !route.path.starts_with("/health/") {
            state.auth().rates.count_stranger(address)?;
        }
        return Ok(next.run(request).await);
    };
    if state.auth().is_open()
        && let Some(address) = address
    {
        check_local(address, &request, &state.config().origins)?;
    }
    let principal = state.auth().identify(credential(route, request.headers()), state.handle().wall_now());
    let Some(principal) = principal else {
        state.auth().rates.count_stranger(address)?;
        return Err(Problem::unauthenticated());
    };
    let role = principal.grant.role();
    seen.role(role.name());
    state.auth().rates.count(&principal, route.cost)?;
    if !roles.contains(&role) {
        return Err(Problem::forbidden(role));
    }
    let (mut parts, body) = request.into_parts();
    if matches!(own, routes::Own::Driver | routes::Own::Order) {
        let params = parts.extract::<RawPathParams>().await.ok();
        if own == routes::Own::Driver {
            check_own_driver(&principal.grant, params.as_ref())?;
        } else if let Some(Ok(order)) = params.as_ref().map(|params| OrderId::new(extract::path_id(params))) {
            seen.order(order);
        }
    }
    let user_agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned);
    let mut caller = Caller { who: Arc::new(principal), address, user_agent, once: None };
    let mut request = Request::from_parts(parts, body);
    if route.is_command()
        && let Some(key) = extract::idempotency_key(request.headers())?
    {
        (caller.once, request) = once(&state, route, &caller, &key, request).await?;
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Tells a request from all others: by who sends it, what for, and its key. Reads its body, which has to be the same.
async fn once(
    state: &State,
    route: &Route,
    caller: &Caller,
    key: &str,
    request: Request,
) -> Result<(Option<Once>, Request), Problem> {
    let (mut parts, body) = request.into_parts();
    let kept = Request::from_parts(parts.clone(), Body::empty());
    parts.extensions.insert(caller.clone());
    let body =
        extract::to_bytes_in_time(Request::from_parts(parts, body), state, state.config().limits.body_bytes).await?;
    let mut texts = vec![caller.who.grant.role().name(), &caller.who.id, route.id, kept.uri().path(), key];
    let tenant = caller.who.scope.tenant.to_string();
    // So that keys which were used before there were tenants still count.
    if caller.who.scope.tenant != TenantId::default() {
        texts.push(&tenant);
    }
    let texts: Vec<_> = texts.into_iter().map(str::as_bytes).collect();
    let once = Once { key: Mark::of(&texts), payload: Mark::of(&[&body]) };
    Ok((Some(once), kept.map(|_| Body::from(body))))
}

/// Without keys only this machine is answered, and of its browsers only pages that come from here or from a listed origin: neither
/// pages from elsewhere that post here, nor those whose name was made to lead here.
fn check_local(address: IpAddr, request: &Request, origins: &[HeaderValue]) -> Result<(), Problem> {
    if !address.to_canonical().is_loopback() {
        return Err(Problem::remote_without_keys());
    }
    let header = |name| request.headers().get(name);
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    // HTTP/2 has the host in the address that is asked for.
    let host = header(header::HOST).map(text).or_else(|| request.uri().authority().map(Authority::to_string));
    let ours = host.as_deref().is_none_or(names_this_machine);
    let same = header(header::ORIGIN).is_none_or(|origin| {
        let from_here = text(origin).split_once("://").is_some_and(|(_, from)| Some(from) == host.as_deref());
        from_here || origins.contains(origin)
    });
    if ours && same { Ok(()) } else { Err(Problem::foreign_page()) }
}

fn names_this_machine(host: &str) -> bool {
    let host = host.parse::<Authority>().map(|authority| authority.host().to_ascii_lowercase()).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// A foreign driver looks like an absent one. An id that is none is the handler's to refuse.
fn check_own_driver(grant: &Grant, params: Option<&RawPathParams>) -> Result<(), Problem> {
    match params.and_then(|params| DriverId::new(extract::path_id(params)).ok()) {
        Some(id) if !grant.covers_driver(&id) => Err(Problem::unknown_driver(&id)),
        _ => Ok(()),
    }
}

/// The key of a request.
fn credential<'a>(route: &Route, headers: &'a HeaderMap) -> Option<&'a str> {
    if route.id == "openSocket" { socket::credential(headers) } else { bearer(headers) }
}

/// The key of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

impl State {
    /// Has a command carried out by the runner, once if its caller says so, and shows what came of it.
    async fn change<T: Send + 'static>(
        &self,
        caller: Caller,
        act: impl FnOnce(&mut World, &Caller) -> Result<bool, Error> + Send + 'static,
        view: impl FnOnce(&World, &Caller, &Done) -> Result<T, Error> + Send + 'static,
    ) -> Result<(StatusCode, T), Problem> {
        // An answer of the runner would wait for what is done and not in the database yet.
        if self.handle().lag().is_some_and(|lag| lag.holds_answers()) {
            return Err(Error::DatabaseAway.into());
        }
        let tenant = caller.who.scope.tenant.clone();
        let done = move |world: &mut World| {
            let done = world.once(&caller, |world| act(world, &caller))?;
            let seen = view(world, &caller, &done).map_err(|error| match error {
                // It retired meanwhile, or is not the caller's any more: not a reason to do it again.
                Error::Refused(_) if done.before => Error::AlreadyDone,
                error => error,
            })?;
            Ok((if done.created { StatusCode::CREATED } else { StatusCode::OK }, seen))
        };
        self.ask(Some(&tenant), done).await
    }

    /// Has somebody look at the world, as [`State::ask`] does.
    async fn look<T: Send + 'static>(
        &self,
        caller: Caller,
        job: impl FnOnce(&World, &Caller) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Problem> {
        let tenant = caller.who.scope.tenant.clone();
        self.ask(Some(&tenant), move |world| job(world, &caller)).await
    }

    /// Has something done by the runner when it is the tenant's turn, within the time a request may take.
    async fn ask<T: Send + 'static>(
        &self,
        tenant: Option<&TenantId>,
        job: impl FnOnce(&mut World) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Problem> {
        // Waiting says nothing more about a request that is being carried out.
        let is_known = |answer: &Result<T, Error>| matches!(answer, Err(Error::InFlight));
        let answer = tokio::time::timeout(self.patience(), self.handle().ask(tenant, job, is_known)).await;
        Ok(answer.map_err(|_| Error::Late)???)
    }
}

/// An answer in JSON.
fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn ok(value: &impl Answer) -> Response {
    json(StatusCode::OK, wire::body(value))
}

/// An answer in JSON with its version.
fn versioned(status: StatusCode, value: &impl Answer) -> Response {
    let mut response = json(status, wire::body(value));
    response.headers_mut().insert(header::ETAG, etag(&wire::version(value)));
    response
}

/// An answer in JSON with its version, or only that if it is known.
fn versioned_unless(known: &IfNoneMatch, value: &impl Answer) -> Response {
    let version = wire::version(value);
    if known.knows(&version) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag(&version))]).into_response();
    }
    versioned(StatusCode::OK, value)
}

/// A version as an `ETag`.
fn etag(version: &str) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("a version consists of digits")
}

/// One page of a list, and where the next begins. The runner is asked for one part after the other until the page is full: a
/// cursor names an entry that was shown, never one that only was looked at.
async fn list<S: Send + 'static, T: Send + 'static>(
    state: &State,
    caller: &Caller,
    mut page: Page<S>,
    look: impl Fn(&World, &Caller, &Page<S>) -> Result<(Vec<T>, Option<Spot>), Error> + Clone + Send + 'static,
) -> Result<(Vec<T>, Option<Cursor>), Problem> {
    let (limit, mut shown) = (page.limit, Vec::new());
    let patience = tokio::time::Instant::now() + state.patience();
    loop {
        let look = look.clone();
        let (part, rest);
        (page, part, rest) = state
            .look(caller.clone(), move |world, caller| {
                let (part, rest) = look(world, caller, &page)?;
                Ok((page, part, rest))
            })
            .await?;
        shown.extend(part);
        if rest.is_none() || shown.len() >= limit {
            return Ok((shown, rest.map(|(market, id)| Cursor { market, id })));
        }
        if tokio::time::Instant::now() >= patience {
            return Err(Error::Late.into());
        }
        page = Page { after: rest, limit: limit - shown.len(), ..page };
    }
}

/// How many entries a page has where a request does not say.
const USUAL_PAGE: usize = 100;

/// How many entries a page has: what was asked for, or as many as usual.
fn page_size(asked: Option<u32>, usual: usize, most: usize) -> Result<usize, Problem> {
    match asked {
        None => Ok(usual.min(most)),
        Some(asked) if asked >= 1 && asked as usize <= most => Ok(asked as usize),
        Some(asked) => Err(Problem::invalid("limit", format!("must be 1 to {most}, not {asked}"))),
    }
}
