//! The contract and a page that shows it. Nothing of the page is loaded from elsewhere.

use super::extract::PathId;
use super::problem::Problem;
use super::{json, openapi_json};
use axum::extract::OriginalUri;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use std::sync::{Arc, LazyLock};
use utoipa_swagger_ui::Config;

/// The page asks for the contract relative to itself, so that it works below any prefix.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::from("../openapi.json").validator_url("none").try_it_out_enabled(true)));

static CONTRACT: LazyLock<String> = LazyLock::new(openapi_json);

pub(super) async fn openapi() -> Response {
    json(StatusCode::OK, CONTRACT.clone().into_bytes())
}

/// The page lies at a path with a slash, or its parts would be looked for beside it.
pub(super) async fn redirect() -> Response {
    Html(r#"<!doctype html><meta http-equiv="refresh" content="0;url=docs/"><a href="docs/">docs/</a>"#).into_response()
}

pub(super) async fn index(uri: OriginalUri) -> Result<Response, Problem> {
    file(PathId("index.html".into()), uri).await
}

pub(super) async fn file(PathId(file): PathId<String>, OriginalUri(uri): OriginalUri) -> Result<Response, Problem> {
    match utoipa_swagger_ui::serve(&file, CONFIG.clone()) {
        Ok(Some(file)) => Ok(([(header::CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response()),
        Ok(None) | Err(_) => Err(Problem::unknown_route(uri.path())),
    }
}
