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
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod journal;
mod postgres;
mod runner;
mod serve;
mod wire;

#[cfg(test)]
extern crate self as dispatch_server;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod tests;

pub use auth::{KeyHash, Role, new_key};
pub use config::{ConfigError, DOCUMENTED_DEFAULTS, MAX_MARKETS, ServerConfig, Sources};
pub use http::{openapi_json, router};
pub use journal::{DataDirReport, verify_data_dir};
pub use postgres::{
    DatabaseError, DatabaseReport, RetentionOptions, database_status, migrate_database, retain, verify_database,
};
pub use runner::{Clock, ManualClock};
pub use serve::serve;

use parking_lot::Mutex;
use runner::{Handle, Runner};
use std::sync::Arc;
use std::time::Duration;

/// A running server without its network: markets, positions and the thread that owns the engines. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    config: ServerConfig,
    handle: Handle,
    runner: Mutex<Option<Runner>>,
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
    pub fn start_with_clock(config: ServerConfig, clock: Clock) -> Result<Self, StartError> {
        let (handle, runner) = Runner::start(&config, clock)?;
        Ok(Self(Arc::new(Shared { config, handle, runner: Mutex::new(Some(runner)) })))
    }

    /// Answers what is queued and stops deciding; requests after that are answered 503.
    pub async fn stop(&self) {
        let state = self.clone();
        let stopped = tokio::task::spawn_blocking(move || {
            state.handle().stop();
            if let Some(runner) = state.0.runner.lock().take() {
                runner.join();
            }
        });
        // Cancelled only if the whole runtime ends meanwhile.
        let _ = stopped.await;
    }

    /// Done once nothing can be made durable any more: requests are answered 503 from then on, and the server has to be started
    /// again. [`serve`] sees to it.
    pub async fn failed(&self) -> JournalFailed {
        JournalFailed(self.handle().failed().await)
    }

    fn config(&self) -> &ServerConfig {
        &self.0.config
    }

    fn handle(&self) -> &Handle {
        &self.0.handle
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
