//! The runner: one thread that owns the engines and the clock. Everybody else asks it, through a bounded queue.

mod clock;
mod fleet;
mod world;

pub use clock::{Clock, ManualClock};
pub(crate) use fleet::{FixResult, Fleet, Sightings};
pub(crate) use world::{Market, Page, World};

use crate::config::ServerConfig;
use dispatch_core::{
    ConfigError, DriverId, Engine, EngineConfig, MarketId, Meters, Position, Refusal, StraightLine, Timestamp,
};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Why something asked of the runner was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no market {0}")]
    UnknownMarket(MarketId),
    #[error("the pickup is outside every market")]
    OutsideMarkets,
    #[error("say which market: the server has several and none of them is the default")]
    WhichMarket,
    #[error("driver {driver} is on shift in market {market}; it is in one market at a time")]
    OnShiftElsewhere { driver: DriverId, market: MarketId },
    #[error("this key submits orders of its own places only; name one of them as pickup.id")]
    NotYourPlace,
    #[error("the order has changed: it is at version {version} now")]
    Changed { version: String },
    #[error("order has no driver yet; name one")]
    WhichDriver,
    #[error("not a cursor of this list")]
    Cursor,
    #[error("the server has as many requests waiting as it takes")]
    Busy,
    #[error("the server is stopping")]
    Stopping,
}

type Job = Box<dyn FnOnce(&mut World) + Send>;

enum Message {
    Do(Job),
    Stop,
}

/// Checks the rules of a market, with the names of the score terms, which only an engine knows.
pub(crate) fn check_rules(rules: &EngineConfig) -> Result<(), ConfigError> {
    Engine::new(rules.clone(), StraightLine::default()).map(drop)
}

/// Asks the runner. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    queue: SyncSender<Message>,
    fleet: Arc<Fleet>,
    clock: Clock,
}

/// The runner's thread.
pub(crate) struct Runner(JoinHandle<()>);

impl Runner {
    /// Opens the markets and starts the thread.
    pub(crate) fn start(config: &ServerConfig, clock: Clock) -> Result<(Handle, Self), Error> {
        let fleet = Arc::new(Fleet::default());
        let world = World::new(config, fleet.clone(), clock.now())?;
        let (queue, messages) = sync_channel(config.limits.queue);
        let handle = Handle { queue, fleet, clock: clock.clone() };
        let run = move || {
            let _abort = AbortOnPanic;
            run(world, &messages, &clock);
        };
        let thread = std::thread::Builder::new().name("runner".into()).spawn(run);
        Ok((handle, Self(thread.expect("a process that starts can start a thread"))))
    }

    /// Waits until everything that was asked is answered. Blocks.
    pub(crate) fn join(self) {
        // A runner that panicked has ended the process.
        let _ = self.0.join();
    }
}

/// A state that a bug left half changed must not go on deciding: a panic on the runner's thread ends the process.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the dispatch runner panicked; this is a bug, and the process ends");
            std::process::abort();
        }
    }
}

fn run(mut world: World, messages: &Receiver<Message>, clock: &Clock) {
    loop {
        world.pass_time(clock.now());
        let message = match clock.until(world.next_deadline()) {
            Some(wait) => messages.recv_timeout(wait),
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match message {
            Ok(Message::Do(job)) => {
                world.pass_time(clock.now());
                job(&mut world);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    while let Ok(message) = messages.try_recv() {
        if let Message::Do(job) = message {
            job(&mut world);
        }
    }
}

impl Handle {
    /// Has something done on the runner's thread and waits for the answer.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(move |world: &mut World| {
            // Who asked may have gone away meanwhile; what was asked is done all the same.
            let _ = reply.send(job(world));
        });
        self.queue.try_send(Message::Do(job)).map_err(|error| match error {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Stopping,
        })?;
        answer.await.map_err(|_| Error::Stopping)
    }

    /// Takes in a position, without the runner.
    pub(crate) fn report(
        &self,
        driver: &DriverId,
        position: Position,
        at: Option<Timestamp>,
    ) -> Result<FixResult, Error> {
        self.fleet.report(driver, position, at, self.clock.now())
    }

    /// The nearest drivers of a market who could get an order, nearest first, without the runner.
    pub(crate) fn nearest(
        &self,
        sightings: &Sightings,
        at: Position,
        radius: Meters,
        limit: usize,
        since: Timestamp,
    ) -> Vec<(DriverId, Meters)> {
        self.fleet.nearest(sightings, at, radius, limit, since)
    }

    /// Has the runner answer what is queued and stop. Blocks while the queue is full.
    pub(crate) fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
    }
}
