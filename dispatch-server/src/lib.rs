//! The dispatch engine behind a network API: drivers report, orders come in, offers go out, and every decision can be
//! explained. The binary `dispatch-server` is this library and a command line.
//!
//! # Inside another application
//!
//! [`State::start`] opens the markets and starts the thread that owns their engines; [`router`] is an [`axum::Router`] that
//! nests below any prefix.
//!
//! ```
//! use dispatch_server::{Sources, State, router};
//!
//! let config = Sources { flags: vec!["durability=memory".into()], ..Sources::default() }.load()?;
//! let app: axum::Router = axum::Router::new().nest("/dispatch", router(State::start(config)?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Without API keys everybody is admin, so the server then answers its own machine only, and no web page but its own. It can
//! tell where a request comes from if the application is served with connect information, as [`serve`] does; without, the host
//! application has to see to it.
//!
//! # How it works
//!
//! One thread, the runner, owns the engines and reads the clock. Handlers put what they want into its bounded queue and wait for
//! the answer; a full queue is a clear 503. Positions do not pass through it: they go straight to the index, from any thread.
//! All state is in memory, and what changes it is in the journal (see `durability` and `data_dir`): a request is answered once
//! what it did, and what it may have seen, is durable. If nothing can be made durable any more the server stops.
//!
//! A PostgreSQL database (`database_url`) may follow the journal. Nothing waits for it, but with `durability = "postgres"`: while it
//! is away all goes on, until so much waits for it that new orders are refused.
//!
//! A panic on the runner's thread is a bug that may have left the state half changed, and nobody should decide on it any
//! more: it ends the process, a host application included.
//!
//! An order's version (its `ETag`) is a hash of what the API shows of it. So it changes with anything a client can see and
//! with nothing else, and needs no counter.

mod area;
mod auth;
mod config;
mod feed;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod journal;
mod net;
mod postgres;
mod private_file;
mod runner;
mod telemetry;
mod webhooks;
mod wire;

#[cfg(test)]
extern crate self as dispatch_server;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod tests;

pub use auth::{KeyFile, KeyHash, NewKeyOptions, Role, new_key};
pub use config::{ConfigError, DOCUMENTED_DEFAULTS, LogFormat, MAX_MARKETS, ServerConfig, Sources};
pub use http::{asyncapi_json, openapi_json, router};
pub use journal::{DataDirReport, verify_data_dir};
pub use net::{raise_open_files, serve};
pub use postgres::{
    DatabaseError, DatabaseReport, RetentionOptions, database_status, migrate_database, retain, verify_database,
};
pub use runner::{Clock, ManualClock};
pub use telemetry::{Telemetry, TelemetryError, metrics_markdown, serve_admin};
pub use wire::frame::{FrameFix, encode_frame};

use auth::{Auth, KeyStore, Rates, TenantId};
use config::Durability;
use net::Tls;
use parking_lot::Mutex;
use runner::{Handle, Runner};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use telemetry::Metrics;
use tokio::sync::Semaphore;
use webhooks::{Source, Webhooks};

/// A running server without its network: markets, positions and the thread that owns the engines. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    config: ServerConfig,
    auth: Auth,
    metrics: Arc<Metrics>,
    webhooks: Arc<Webhooks>,
    handle: Handle,
    runner: Mutex<Option<Runner>>,
    /// Absent where the configuration names no certificate.
    tls: Option<Tls>,
    /// Room for the bodies of a tenant's requests that are on their way.
    bodies: BTreeMap<TenantId, Semaphore>,
    /// It still answers, and not for long.
    stopping: AtomicBool,
}

/// The journal takes no more: nothing that happened since can be relied on, and nobody was told that it can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing can be made durable any more: {0}")]
pub struct JournalFailed(String);

/// A server that could not start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the server cannot start: {0}")]
pub struct StartError(String);

impl State {
    /// Opens the markets of a configuration, on the clock of this machine.
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        Self::start_with_clock(config, Clock::real())
    }

    /// The same on another clock.
    pub fn start_with_clock(mut config: ServerConfig, clock: Clock) -> Result<Self, StartError> {
        let keys = KeyStore::open(std::mem::take(&mut config.keys), config.key_file());
        let keys = keys.map_err(|error| StartError(error.to_string()))?;
        let issuers = std::mem::take(&mut config.issuers);
        let is_open = !config.require_key && keys.is_empty() && issuers.is_empty();
        if is_open && !config.listen.ip().is_loopback() {
            let problem = "listen: must be a loopback address such as 127.0.0.1:8080 while there are no keys: make one by \
                           `dispatch-server key create --role admin`";
            return Err(StartError(problem.into()));
        }
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let metrics = Metrics::new(http::operations());
        metrics.keep_small().map_err(|error| StartError(format!("no thread for metrics: {error}")))?;
        let (handle, runner) = Runner::start(&config, clock, &metrics)?;
        let auth = Auth::new(keys, issuers, Rates::new(config.rates, handle.clock().clone()), config.require_key);
        let of_tenants = config.markets.iter().map(|market| (market.id.clone(), market.tenant.clone())).collect();
        let folder = (config.durability.mode != Durability::Memory).then(|| config.data_dir().to_owned());
        let (clock, source) = (handle.clock().clone(), Source::of(handle.hub().clone()));
        let webhooks = Webhooks::open(&config.webhooks, of_tenants, folder, clock, &metrics, source);
        let webhooks = Arc::new(webhooks.map_err(|error| StartError(error.to_string()))?);
        let (runner, stopping) = (Mutex::new(Some(runner)), AtomicBool::new(false));
        let room = || Semaphore::new(config.limits.tenant_bodies_bytes.div_ceil(http::PLACE));
        // Those without a market share what the first line has.
        let tenants = config.markets.iter().map(|market| market.tenant.clone()).chain([TenantId::default()]);
        let bodies = tenants.map(|tenant| (tenant, room())).collect();
        Ok(Self(Arc::new(Shared { config, auth, metrics, webhooks, handle, runner, tls, bodies, stopping })))
    }

    /// Answers what is queued and stops deciding; requests after that are answered 503.
    pub async fn stop(&self) {
        let state = self.clone();
        let stopped = tokio::task::spawn_blocking(move || {
            state.handle().stop();
            if let Some(runner) = state.0.runner.lock().take() {
                runner.join();
            }
            state.webhooks().close();
        });
        // Cancelled only if the whole runtime ends meanwhile.
        let _ = stopped.await;
    }

    /// Done once nothing can be made durable any more: requests are answered 503 from then on, and the server has to be started
    /// again. [`serve`] sees to it.
    pub async fn failed(&self) -> JournalFailed {
        JournalFailed(self.handle().failed().await)
    }

    /// Has `/health/ready` say that the server is about to stop, while requests go on being answered.
    fn announce_stop(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    fn bodies(&self, tenant: &TenantId) -> &Semaphore {
        let bodies = &self.0.bodies;
        bodies.get(tenant).unwrap_or_else(|| &bodies[&TenantId::default()])
    }

    fn tls(&self) -> Option<&Tls> {
        self.0.tls.as_ref()
    }

    /// Whether nobody needs a key: everybody on this machine is admin, by way of a proxy as well.
    pub fn is_open(&self) -> bool {
        self.auth().is_open()
    }

    /// The metrics of this server, in the text format of Prometheus. Takes a few milliseconds and asks the system: not for a thread
    /// that serves others.
    pub fn metrics(&self) -> String {
        self.handle().measure(&self.0.metrics);
        self.webhooks().measure(&self.0.metrics);
        self.0.metrics.render()
    }

    fn config(&self) -> &ServerConfig {
        &self.0.config
    }

    fn handle(&self) -> &Handle {
        &self.0.handle
    }

    fn webhooks(&self) -> &Webhooks {
        &self.0.webhooks
    }

    fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// Reads keys anew that the command line or an issuer changed, once a second, for as long as it is polled. [`serve`] does.
    pub async fn keep_keys_fresh(&self) -> Infallible {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let state = self.clone();
            // Cancelled only if the whole runtime ends meanwhile.
            let _ = tokio::task::spawn_blocking(move || state.auth().refresh()).await;
        }
    }

    /// Tells webhooks what happens, for as long as it is polled. [`serve`] does.
    pub async fn send_webhooks(&self) -> Infallible {
        self.0.webhooks.send().await
    }

    /// How long a request may take to arrive, and to be answered.
    fn patience(&self) -> Duration {
        Duration::from_secs(self.config().limits.request_seconds)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("config", self.config()).finish_non_exhaustive()
    }
}
