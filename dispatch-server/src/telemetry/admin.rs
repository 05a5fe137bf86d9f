//! A second listener for those who run the server: metrics and health, without a key.

use crate::{State, http};
use axum::Router;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Most connections at once; who comes then waits.
const CONNECTIONS: usize = 32;

/// How long the head of a request may take, or a connection rest.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer may take to be read.
const ANSWER: Duration = Duration::from_mins(1);

/// Serves `/metrics`, `/health/live` and `/health/ready` until it is dropped. It asks for no key: the listener must be one that
/// strangers do not reach.
pub async fn serve_admin(state: State, listener: TcpListener) {
    let app = Router::new().route("/metrics", get(metrics));
    let app = app.route("/health/live", get(http::live)).route("/health/ready", get(http::ready));
    let app = TowerToHyperService::new(app.with_state(state));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("this semaphore is never closed");
        let Ok((stream, _)) = listener.accept().await else {
            // No file is left, or the client has gone: neither is better at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let connection = http.serve_connection(TokioIo::new(stream), app.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(ANSWER, connection).await;
            drop(place);
        });
    }
}

async fn metrics(Extract(state): Extract<State>) -> Response {
    let text = tokio::task::spawn_blocking(move || state.metrics()).await.unwrap_or_default();
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
