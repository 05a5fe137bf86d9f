//! The network: who is let in, what a connection may do, and how the server stops.

mod connection;
mod files;
mod places;
#[cfg(test)]
mod tests;
mod tls;
mod watch;

pub use files::raise_open_files;
pub(crate) use places::owner;
pub(crate) use tls::{Tls, TlsFiles};

use crate::telemetry::{Closed, Metrics, Open};
use crate::{JournalFailed, State, router};
use connection::Host;
use places::Places;
use std::any::Any;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch as channel};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// What a connection holds until its end: its places, and that the server waits for it. A web socket outlives the requests that
/// it began as, and takes it along.
#[derive(Clone)]
pub(crate) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] Arc<dyn Any + Send + Sync>);

impl Held {
    fn new(what: impl Any + Send + Sync) -> Self {
        Self(Arc::new(what))
    }
}

/// How long it takes until another connection is tried after one could not be taken: the system has no more files, as a rule, and
/// gets them back when others end.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How often what was turned away is said, if anything was.
const REPORT_EVERY: Duration = Duration::from_mins(1);

/// What connections are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Finish what is under way.
    Draining,
    /// End.
    Over,
}

/// Serves until `shutdown` is done, then says so at `/health/ready` for `limits.drain_notice_seconds`, finishes the requests under
/// way (for `limits.drain_seconds` at most), answers what is queued, and stops. Fails, and stops at once, if nothing can be made
/// durable any more.
pub async fn serve(
    state: State,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), JournalFailed> {
    let limits = state.config().limits;
    let counts = Arc::new(Counts::new(state.0.metrics.clone()));
    let host = Arc::new(Host::new(router(state.clone()), &limits, counts.clone()));
    let (all, places) = (Arc::new(Semaphore::new(limits.connections)), Places::new(limits.connections_per_address));
    let (phase, _) = channel::channel(Phase::Serving);
    let mut report = interval(REPORT_EVERY);
    report.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stopping = async {
        shutdown.await;
        state.announce_stop();
        sleep(Duration::from_secs(limits.drain_notice_seconds)).await;
    };
    let (mut stopping, mut failed) = (pin!(stopping), pin!(state.failed()));
    let (mut follow, mut fresh) = (pin!(Tls::follow_files(state.clone())), pin!(state.keep_keys_fresh()));
    let mut webhooks = pin!(state.send_webhooks());
    let outcome = loop {
        let connected = async {
            let place = all.clone().acquire_owned().await.expect("this semaphore is never closed");
            (accept(&listener).await, place)
        };
        let ((stream, peer), in_all) = tokio::select! {
            connected = connected => connected,
            () = &mut stopping => break Ok(()),
            failed = &mut failed => break Err(failed),
            never = &mut follow => match never {},
            never = &mut fresh => match never {},
            never = &mut webhooks => match never {},
            _ = report.tick() => {
                counts.report();
                continue;
            }
        };
        let Some(of_address) = places.take(peer.ip()) else {
            counts.refuse();
            continue;
        };
        // Answers are written whole, and have nothing to wait for. Where that cannot be set they only come later.
        let _ = stream.set_nodelay(true);
        let (host, state) = (host.clone(), state.clone());
        let held = Held::new((in_all, of_address, Open::new(state.0.metrics.clone()), phase.subscribe()));
        let phase = phase.subscribe();
        tokio::spawn(async move { host.carry(stream, peer, state.tls(), held, phase).await });
    };
    drop(listener);
    // They would never end by themselves.
    state.handle().hub().close();
    phase.send_replace(Phase::Draining);
    let patience = Duration::from_secs(limits.drain_seconds);
    if timeout(patience, phase.closed()).await.is_err() {
        tracing::warn!("requests were still under way after {} s, and are given up", patience.as_secs());
        phase.send_replace(Phase::Over);
        phase.closed().await;
    }
    counts.report();
    state.stop().await;
    outcome
}

/// The next connection. A failure to take one ends nothing, and is not tried again at once.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(connected) => return connected,
            // It went before it came.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                tracing::error!("cannot take a connection, and tries again in a second: {error}");
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Connections that were turned away or cut off.
struct Counts {
    metrics: Arc<Metrics>,
    /// Their address had too many.
    refused: AtomicU64,
    /// The TLS handshake failed, or took too long.
    handshakes: AtomicU64,
    /// A head did not end in time.
    heads: AtomicU64,
    /// The client did not read its answer.
    stalled: AtomicU64,
    /// What of all that was said.
    said: AtomicU64,
}

impl Counts {
    fn new(metrics: Arc<Metrics>) -> Self {
        let [refused, handshakes, heads, stalled, said] = [const { AtomicU64::new(0) }; 5];
        Self { metrics, refused, handshakes, heads, stalled, said }
    }

    fn refuse(&self) {
        self.metrics.connections.refused(Closed::Address);
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn handshake(&self) {
        self.metrics.connections.refused(Closed::Tls);
        self.handshakes.fetch_add(1, Ordering::Relaxed);
    }

    fn cut(&self, fault: watch::Fault) {
        let count = match fault {
            watch::Fault::Head => &self.heads,
            watch::Fault::Stall => &self.stalled,
            // Clients keep connections as long as they may.
            watch::Fault::Idle => return,
        };
        self.metrics.connections.refused(Closed::Slow);
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// One line for however many they are: an attack shall not fill the log.
    fn report(&self) {
        let [refused, handshakes, heads, stalled] =
            [&self.refused, &self.handshakes, &self.heads, &self.stalled].map(|count| count.load(Ordering::Relaxed));
        let sum = refused + handshakes + heads + stalled;
        if self.said.swap(sum, Ordering::Relaxed) != sum {
            tracing::warn!(
                "connections closed since the start: {refused} because their address had too many, {handshakes} in the TLS \
                 handshake, {heads} because a request's head did not end, {stalled} because an answer was not read"
            );
        }
    }
}
