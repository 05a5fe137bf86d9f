//! The contract and a page that shows it. Nothing of the page is loaded from elsewhere.

use super::json;
use super::openapi::Edition;
use super::problem::Problem;
use crate::State;
use crate::config::ServerConfig;
use crate::wire::{self, Place};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{OriginalUri, RawPathParams, State as Extract};
use axum::http::{StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use parking_lot::Mutex;
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

/// The page asks for the contract relative to itself, so that it works below any prefix.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("../openapi.json").validator_url("none").try_it_out_enabled(true)));

/// The contract served last, with the server and the path it is for: making it takes milliseconds, and it hardly ever changes.
static SERVED: Mutex<Option<(Edition, String, String)>> = Mutex::new(None);

/// What the contract says depends on the configuration, and on the path the server is nested below.
pub(super) async fn openapi(Extract(state): Extract<State>, OriginalUri(uri): OriginalUri) -> Response {
    let edition = Edition::of(state.config(), !state.auth().is_open());
    let prefix = uri.path().strip_suffix("/openapi.json").unwrap_or_default();
    let mut served = SERVED.lock();
    let contract = match served.take() {
        Some((known, below, contract)) if known == edition && below == prefix => contract,
        _ => edition.json(prefix),
    };
    let answer = json(StatusCode::OK, contract.clone().into_bytes());
    *served = Some((edition, prefix.to_owned(), contract));
    answer
}

/// The contract of streams that was served last, likewise.
static STREAMS: Mutex<Option<(Place, String)>> = Mutex::new(None);

pub(super) async fn asyncapi(Extract(state): Extract<State>, OriginalUri(uri): OriginalUri) -> Response {
    let prefix = uri.path().strip_suffix("/asyncapi.json").unwrap_or_default();
    let place = place(state.config(), prefix, !state.auth().is_open());
    let mut served = STREAMS.lock();
    let contract = match served.take() {
        Some((known, contract)) if known == place => contract,
        _ => wire::asyncapi(&place),
    };
    let answer = json(StatusCode::OK, contract.clone().into_bytes());
    *served = Some((place, contract));
    answer
}

fn place(config: &ServerConfig, prefix: &str, needs_key: bool) -> Place {
    Place { host: config.listen.to_string(), prefix: prefix.to_owned(), has_tls: config.has_tls(), needs_key }
}

/// The contract of the streams, sockets and webhooks of a server with API keys, as JSON: `AsyncAPI` 3.0. A running server serves its own at
/// `/asyncapi.json`.
pub fn asyncapi_json() -> String {
    wire::asyncapi(&place(&ServerConfig::default(), "", true))
}

/// The page lies at a path with a slash, or its parts would be looked for beside it.
pub(super) async fn redirect() -> Response {
    Html(r#"<!doctype html><meta http-equiv="refresh" content="0;url=docs/"><a href="docs/">docs/</a>"#).into_response()
}

pub(super) async fn index(OriginalUri(uri): OriginalUri) -> Result<Response, Problem> {
    part("index.html", &uri)
}

pub(super) async fn file(
    params: Result<RawPathParams, RawPathParamsRejection>,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Problem> {
    // A name that is no text is no file's.
    let params = params.map_err(|_| Problem::unknown_route(uri.path()))?;
    // What it is nested under may have parameters of its own, which come first.
    let file = params.iter().last().map_or("", |(_, file)| file);
    part(file, &uri)
}

fn part(file: &str, uri: &Uri) -> Result<Response, Problem> {
    match utoipa_swagger_ui::serve(file, CONFIG.clone()) {
        Ok(Some(file)) => Ok(([(header::CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response()),
        Ok(None) | Err(_) => Err(Problem::unknown_route(uri.path())),
    }
}
