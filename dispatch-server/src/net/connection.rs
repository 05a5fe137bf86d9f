//! One connection, from its handshake to its end.

use super::tls::{Tls, has_begun, is_http2};
use super::watch::{Fault, Patience, Verdict, Watch, Watched};
use super::{Counts, Held, Phase};
use crate::config::Limits;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until, timeout};

/// Most requests of one HTTP/2 connection that are under way at once; a client that wants more waits.
const STREAMS: u32 = 100;

/// Streams that were reset before anybody looked at them: so many at once are an attack (they cost the client nothing), and end the
/// connection. Clients give up a request now and then, not a score of them between two looks.
const PENDING_RESETS: usize = 20;

/// Streams that the server reset because the client broke the protocol: so many end the connection.
const ERROR_RESETS: usize = 64;

/// How much of a request's body is taken before its handler asks for it, and of all bodies of a connection together: memory of a
/// connection is bounded by that, and not by how many streams it has.
const STREAM_WINDOW: u32 = 65_536;
const CONNECTION_WINDOW: u32 = 262_144;

/// Most bytes of one answer that wait for an HTTP/2 client.
const SEND_BUFFER: usize = 65_536;

/// What all connections share.
pub(super) struct Host {
    app: TowerToHyperService<Router>,
    http: Builder<TokioExecutor>,
    patience: Patience,
    counts: Arc<Counts>,
}

impl Host {
    pub(super) fn new(app: Router, limits: &Limits, counts: Arc<Counts>) -> Self {
        let patience = Patience {
            head: Duration::from_secs(limits.header_seconds),
            idle: Duration::from_secs(limits.idle_seconds),
            stall: Duration::from_secs(limits.stall_seconds),
        };
        let mut http = Builder::new(TokioExecutor::new());
        // Hyper's own time for a head begins with the end of the answer before, and so is one for idling: the watch has both.
        http.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(limits.header_bytes);
        http.http2()
            .timer(TokioTimer::new())
            .max_header_list_size(limits.header_bytes as u32)
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_local_error_reset_streams(ERROR_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(patience.stall)
            .keep_alive_timeout(patience.stall);
        Self { app: TowerToHyperService::new(app), http, patience, counts }
    }

    /// Carries a connection from its first byte to its last.
    pub(super) async fn carry<T>(
        &self,
        stream: T,
        peer: SocketAddr,
        tls: Option<&Tls>,
        held: Held,
        mut phase: Receiver<Phase>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let watch = Arc::new(Watch::new(self.patience));
        let stream = Watched::new(stream, watch.clone());
        let Some(tls) = tls else {
            let connection =
                self.http.serve_connection_with_upgrades(TokioIo::new(stream), self.service(peer, held, &watch));
            return self.attend(connection, &watch, phase).await;
        };
        let stream = tokio::select! {
            shaken = timeout(self.patience.head, tls.accept(stream)) => match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(_)) | Err(_) => return self.counts.handshake(),
            },
            // Nothing is under way yet.
            _ = phase.changed() => return,
        };
        let http2 = is_http2(&stream);
        watch.agree(http2, has_begun(&stream));
        let http = self.http.clone();
        let http = if http2 { http.http2_only() } else { http.http1_only() };
        let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), self.service(peer, held, &watch));
        self.attend(connection, &watch, phase).await;
    }

    /// What answers the requests of one connection.
    fn service(
        &self,
        peer: SocketAddr,
        held: Held,
        watch: &Arc<Watch>,
    ) -> impl Service<Request<Incoming>, Response = Answered, Error = std::convert::Infallible, Future: Send + 'static> + use<>
    {
        let (app, watch) = (self.app.clone(), watch.clone());
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(held.clone());
            let (under_way, answer) = (watch.begin(), app.call(request));
            async move { Ok(answer.await?.map(|body| under_way.answer(body))) }
        })
    }

    /// Lets a connection go on until it ends, does not what is expected of it, or the server stops.
    async fn attend(&self, connection: impl GracefulConnection, watch: &Watch, mut phase: Receiver<Phase>) {
        let mut connection = pin!(connection);
        let mut look = pin!(sleep_until(Instant::now()));
        let (mut draining, mut dismissed) = (false, false);
        loop {
            tokio::select! {
                // One that broke off is the client's affair.
                _ = connection.as_mut() => return,
                () = look.as_mut() => match watch.verdict(Instant::now()) {
                    Verdict::LookAgain(at) => look.as_mut().reset(at),
                    // A client of HTTP/2 is told first, so that it does not send a request into a closed connection.
                    Verdict::Over(Fault::Idle) if !dismissed => {
                        dismissed = true;
                        connection.as_mut().graceful_shutdown();
                        look.as_mut().reset(Instant::now() + self.patience.shortest());
                    }
                    Verdict::Over(fault) => return self.counts.cut(fault),
                },
                changed = phase.changed() => {
                    // Without a server nobody waits for the end of what is under way.
                    if changed.is_err() || *phase.borrow_and_update() == Phase::Over {
                        return;
                    }
                    if !draining {
                        draining = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}

type Answered = hyper::Response<super::watch::Answer>;
