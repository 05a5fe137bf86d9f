//! One request: its id, its span, its line in the log, its counts.

use super::metrics::{Operation, UNKNOWN};
use super::trace;
use crate::State;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use dispatch_core::{OrderId, Timestamp};
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tracing::Instrument;
use uuid::{Builder, Uuid};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is learned of a request while it is on its way; whoever learns something says so.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Facts>);

#[derive(Default)]
struct Facts {
    operation: OnceLock<Operation>,
    role: OnceLock<&'static str>,
    order: OnceLock<OrderId>,
}

impl Seen {
    /// Of a request that [`observe`] let through.
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    pub(crate) fn operation(&self, operation: Operation) {
        let _ = self.0.operation.set(operation);
    }

    /// Who asks.
    pub(crate) fn role(&self, role: &'static str) {
        let _ = self.0.role.set(role);
    }

    /// What it is about.
    pub(crate) fn order(&self, order: OrderId) {
        let _ = self.0.order.set(order);
    }
}

/// The code of a problem, left in the answer that tells of it.
#[derive(Clone)]
pub(crate) struct Problematic(pub(crate) String);

/// Sees a request through: everything that is logged until it is answered has its id, and so has the answer.
pub(crate) async fn observe(Extract(state): Extract<State>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers(), state.handle().wall_now());
    // The id alone: what is added to a span later is costly, and everything else is in the last line.
    let span = tracing::info_span!(target: trace::REQUEST, "request", request_id = id.text());
    trace::follow(&span, request.headers());
    let seen = Seen::default();
    request.extensions_mut().insert(seen.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    let problem = response.extensions_mut().remove::<Problematic>().map(|problem| problem.0);
    let (status, took) = (response.status().as_u16(), began.elapsed());
    let operation = seen.0.operation.get().copied().unwrap_or(UNKNOWN);
    state.0.metrics.answered(operation, status, problem.as_deref(), took);
    span.in_scope(|| line(operation, &seen.0, status, problem.as_deref(), took));
    response.headers_mut().insert(REQUEST_ID, id.0);
    response
}

/// What changes something, and what went wrong here, is news; the rest is detail.
fn line(operation: Operation, facts: &Facts, status: u16, code: Option<&str>, took: Duration) {
    let duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
    let (role, order) = (facts.role.get().copied(), facts.order.get().map(OrderId::as_str));
    macro_rules! answered {
        ($level:ident) => {
            tracing::$level!(
                target: trace::REQUEST, operation = operation.id, role, order, status, code, duration_ms, "answered"
            )
        };
    }
    // Whoever is refused at the door could fill the log otherwise.
    let is_refused = matches!(status, 401 | 403 | 429);
    if (operation.is_command && !is_refused) || status >= 500 {
        answered!(info);
    } else {
        answered!(debug);
    }
}

struct RequestId(HeaderValue);

impl RequestId {
    fn text(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// The id a client gave, if it is one, or a new one.
fn request_id(headers: &HeaderMap, now: Timestamp) -> RequestId {
    // An order's id is of the same alphabet as every id.
    let given = headers.get(&REQUEST_ID).filter(|id| id.to_str().is_ok_and(|id| OrderId::new(id).is_ok()));
    RequestId(given.cloned().unwrap_or_else(|| {
        let mut text = Uuid::encode_buffer();
        let drawn = HeaderValue::try_from(&*draw(now).hyphenated().encode_lower(&mut text));
        drawn.expect("a UUID consists of digits and hyphens")
    }))
}

/// Random bits for some ids, and how many of them are used.
struct Pool([u8; 640], usize);

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool([0; 640], 640)) };
}

/// A new id, of this time. Random bits are asked of the system for many at once: a request may take less time than asking.
fn draw(now: Timestamp) -> Uuid {
    POOL.with_borrow_mut(|Pool(bits, used)| {
        if *used == bits.len() {
            if getrandom::fill(bits).is_err() {
                return Uuid::now_v7();
            }
            *used = 0;
        }
        let random = *bits[*used..].first_chunk().expect("the pool holds a whole number of ids");
        *used += random.len();
        Builder::from_unix_timestamp_millis(u64::try_from(now.as_millis()).unwrap_or(0), &random).into_uuid()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_are_taken_if_they_are_ids() {
        let id = |given: &str| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(given).unwrap())]);
            request_id(&headers, Timestamp::from_millis(1_000)).text().to_owned()
        };
        for good in ["a", "A-z.0_9:", &"x".repeat(64)] {
            assert_eq!(id(good), good);
        }
        for bad in ["", "a b", "a\"b", "a/b", &"x".repeat(65)] {
            assert_eq!(Uuid::parse_str(&id(bad)).unwrap().get_version_num(), 7, "{bad}");
        }
    }

    #[test]
    fn no_id_is_drawn_twice() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let drawn: std::collections::BTreeSet<_> = (0..1_000).map(|_| draw(now)).collect();
        assert_eq!(drawn.len(), 1_000);
        let seconds = drawn.first().and_then(Uuid::get_timestamp).map(|at| at.to_unix().0);
        assert_eq!(seconds, Some(1_767_225_600));
    }
}
