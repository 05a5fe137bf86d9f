//! What every answer tells browsers and caches.

use crate::State;
use crate::config::ServerConfig;
use axum::Router;
use axum::extract::{Request, State as Extract};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use std::time::Duration;
use tower_http::cors::CorsLayer;

/// An answer of the API is no page: nothing of it runs, and nothing shows it in a frame.
const API_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// The page of the contract has scripts, styles and pictures of its own, and asks the server it comes from. Its styles have pictures in
/// them, and its scripts set styles.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// For how long browsers remember to come by TLS only: a year.
const TLS_ONLY: &str = "max-age=31536000";

/// For how long browsers remember what a page may ask.
const PREFLIGHT: Duration = Duration::from_hours(1);

/// An origin as browsers send it. They are compared byte by byte, so nothing else could ever be one.
pub(crate) fn read_origin(text: &str) -> Result<HeaderValue, &'static str> {
    let (scheme, authority) = text.split_once("://").unwrap_or_default();
    let has_host = authority.parse::<Authority>().is_ok_and(|parsed| !parsed.host().is_empty());
    let is_plain = !authority.contains(|c: char| c.is_ascii_uppercase() || "@/*?#".contains(c));
    let origin = HeaderValue::from_str(text).ok();
    let origin = origin.filter(|_| ["http", "https"].contains(&scheme) && has_host && is_plain);
    origin.ok_or("must be an origin as browsers send it: https://shop.example, without a path and in lower case")
}

/// Lays them over all answers of a router, refusals included.
pub(super) fn lay(router: Router<State>, config: &ServerConfig) -> Router<State> {
    let router = if config.origins.is_empty() { router } else { router.layer(cors(config)) };
    router.layer(from_fn_with_state(Texts::of(config), add))
}

/// Which pages may ask, and what they may see. There are no cookies: who asks says so with its key.
fn cors(config: &ServerConfig) -> CorsLayer {
    let name = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(config.origins.clone())
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            name("idempotency-key"),
            name("x-idempotency-key"),
            name("x-request-id"),
        ])
        .expose_headers([header::ETAG, header::LOCATION, header::RETRY_AFTER, name("x-request-id")])
        .max_age(PREFLIGHT)
}

#[derive(Clone, Copy)]
struct Texts {
    tls: bool,
}

impl Texts {
    fn of(config: &ServerConfig) -> Self {
        Self { tls: config.tls.is_some() }
    }
}

async fn add(Extract(texts): Extract<Texts>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let is_page = response.headers().get(header::CONTENT_TYPE).is_some_and(is_of_page);
    let headers = response.headers_mut();
    let mut set = |name, text| headers.insert(name, HeaderValue::from_static(text));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CONTENT_SECURITY_POLICY, if is_page { DOCS_POLICY } else { API_POLICY });
    if texts.tls {
        set(header::STRICT_TRANSPORT_SECURITY, TLS_ONLY);
    }
    // What has a version may be kept by who asks with it, and nothing else of the API: it is about people.
    let kept = is_page || headers.contains_key(header::ETAG);
    headers
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(if kept { "private, no-cache" } else { "no-store" }));
    response
}

/// Whether an answer is a part of a page; the API answers in JSON only.
fn is_of_page(kind: &HeaderValue) -> bool {
    kind.to_str().is_ok_and(|kind| ["text/", "image/"].iter().any(|family| kind.starts_with(family)))
}
