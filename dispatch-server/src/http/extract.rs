//! What handlers take from a request; whatever is wrong with it is a problem that names the field.

use super::etag::Tags;
use super::problem::{IDEMPOTENCY_KEY, Problem};
use crate::State;
use crate::auth::Caller;
use crate::runner::Error;
use crate::wire::{self, Answer, Question};
use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use std::convert::Infallible;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::str::FromStr;
use tokio::sync::Semaphore;

impl FromRequestParts<State> for Caller {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().expect("the guard of every route with a caller leaves one"))
    }
}

/// The `{id}` of the path.
pub(crate) struct PathId<T>(pub(crate) T);

/// The parameter of a route. It is the last one: those of a prefix, whatever their names, come before.
pub(crate) fn path_id(params: &RawPathParams) -> &str {
    params.iter().last().map_or("", |(_, id)| id)
}

impl<T: FromStr<Err: Display>> FromRequestParts<State> for PathId<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|error| Problem::invalid("id", error.to_string()))?;
        path_id(&params).parse().map(Self).map_err(|error: T::Err| Problem::invalid("id", error.to_string()))
    }
}

/// The query.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: Question> FromRequestParts<State> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        Ok(Self(wire::parse_query(parts.uri.query().unwrap_or_default())?))
    }
}

/// The JSON of the body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Question> FromRequest<State> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let limit = state.config().limits.body_bytes;
        Ok(Self(wire::parse(&read(request, state, limit).await?)?))
    }
}

/// The JSON of the body, or the default for an empty one.
pub(crate) struct JsonOrNothing<T>(pub(crate) T);

impl<T: Question + Default> FromRequest<State> for JsonOrNothing<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let limit = state.config().limits.body_bytes;
        let json = is_json(request.headers());
        let body = to_bytes_in_time(request, state, limit).await?;
        match (body.is_empty(), json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => Ok(Self(wire::parse(&body)?)),
            (false, false) => Err(Problem::media_type()),
        }
    }
}

/// Reads a JSON body of at most `limit` bytes.
pub(crate) async fn read(request: Request, state: &State, limit: usize) -> Result<Vec<u8>, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::media_type());
    }
    to_bytes_in_time(request, state, limit).await
}

pub(crate) async fn to_bytes_in_time(request: Request, state: &State, limit: usize) -> Result<Vec<u8>, Problem> {
    let caller = request.extensions().get::<Caller>();
    let tenant = caller.expect("the guard of every route with a body leaves a caller").who.scope.tenant.clone();
    let read = gather(announced_body(request, limit)?, limit, state.bodies(&tenant));
    tokio::time::timeout(state.patience(), read).await.map_err(|_| Problem::slow())?
}

/// A body, unless it says that it is larger than `limit` bytes.
pub(crate) fn announced_body(request: Request, limit: usize) -> Result<Body, Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(Problem::too_large(limit));
    }
    Ok(request.into_body())
}

/// Collects a body, as long as there is room for the bodies of its tenant that are on their way.
async fn gather(mut body: Body, limit: usize, room: &Semaphore) -> Result<Vec<u8>, Problem> {
    let (mut bytes, mut held) = (Vec::new(), Vec::new());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| Problem::broken_body())?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Problem::too_large(limit));
        }
        bytes.extend_from_slice(&data);
        let more = bytes.len().div_ceil(PLACE) - held.len();
        for _ in 0..more {
            held.push(room.try_acquire().map_err(|_| Error::Busy)?);
        }
    }
    Ok(bytes)
}

/// How many bytes of a body take one place of the room for bodies.
pub(crate) const PLACE: usize = 16_384;

/// Most characters of an idempotency key.
const MAX_KEY: usize = 64;

/// The idempotency key of a request, under either of its names.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = [IDEMPOTENCY_KEY, "X-Idempotency-Key"].into_iter().flat_map(|name| headers.get_all(name));
    let Some(key) = given.next() else { return Ok(None) };
    if given.any(|other| other != key) {
        return Err(Problem::invalid(IDEMPOTENCY_KEY, "must be one and the same, however often it is given"));
    }
    let fits = |key: &&str| (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let text = key.to_str().ok().filter(fits);
    let text = text.ok_or_else(|| {
        Problem::invalid(IDEMPOTENCY_KEY, "must be 1 to 64 printable ASCII characters, without spaces")
    })?;
    Ok(Some(text.to_owned()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The version that a change expects: the `If-Match` of the request.
pub(crate) struct IfMatch(Option<Tags>);

impl FromRequestParts<State> for IfMatch {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        Tags::of(&parts.headers, &header::IF_MATCH).map(Self)
    }
}

impl IfMatch {
    /// Refuses what is at another version.
    pub(crate) fn check(&self, answer: &impl Answer) -> Result<(), Error> {
        let Some(expected) = &self.0 else { return Ok(()) };
        let version = wire::version(answer);
        if expected.name(&version, false) { Ok(()) } else { Err(Error::Changed { version }) }
    }
}

/// The version that a reader knows: the `If-None-Match` of the request.
pub(crate) struct IfNoneMatch(Option<Tags>);

impl FromRequestParts<State> for IfNoneMatch {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        Tags::of(&parts.headers, &header::IF_NONE_MATCH).map(Self)
    }
}

impl IfNoneMatch {
    /// Whether something is still at that version.
    pub(crate) fn knows(&self, version: &str) -> bool {
        // Caches may have weakened the tag.
        self.0.as_ref().is_some_and(|known| known.name(version, true))
    }
}
