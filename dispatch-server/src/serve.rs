//! The network: how many connections there are, and how long each may say nothing.

use crate::telemetry::Open;
use crate::{JournalFailed, State, router};
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Serves until `shutdown` is done, then finishes the requests under way (for `limits.drain_seconds` at most), answers what is
/// queued, and stops. Fails, and stops at once, if nothing can be made durable any more.
pub async fn serve(
    state: State,
    mut listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), JournalFailed> {
    let limits = state.config().limits;
    let app = TowerToHyperService::new(router(state.clone()));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(limits.idle_seconds));
    let places = Arc::new(Semaphore::new(limits.connections));
    let open = GracefulShutdown::new();
    let (mut shutdown, mut failed) = (pin!(shutdown), pin!(state.failed()));
    let outcome = loop {
        let connected = async {
            let place = places.clone().acquire_owned().await.expect("this semaphore is never closed");
            (Listener::accept(&mut listener).await, place)
        };
        let ((stream, peer), place) = tokio::select! {
            connected = connected => connected,
            () = &mut shutdown => break Ok(()),
            failed = &mut failed => break Err(failed),
        };
        let app = app.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            app.call(request)
        });
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), answer));
        let counted = Open::new(state.0.metrics.clone());
        tokio::spawn(async move {
            // A connection that broke off is the client's affair.
            let _ = connection.await;
            drop((place, counted));
        });
    };
    drop(listener);
    let patience = Duration::from_secs(limits.drain_seconds);
    if tokio::time::timeout(patience, open.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way after {} s, and are given up", patience.as_secs());
    }
    state.stop().await;
    outcome
}
