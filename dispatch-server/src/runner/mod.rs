//! The runner: one thread that owns the engines and the clock. Everybody else asks it, through a bounded queue.

mod allowance;
mod clock;
mod etas;
mod figures;
mod fleet;
mod ingest;
mod ledger;
mod market;
mod measures;
mod queue;
mod standing;
mod world;

pub(crate) use allowance::ReportRate;
pub use clock::{Clock, ManualClock};
pub(crate) use etas::{Expected, Told};
pub(crate) use fleet::{Beacon, Fleet, Fleets, Item};
pub(crate) use ingest::{Receipt, Session};
pub(crate) use ledger::Done;
pub(crate) use market::Market;
pub(crate) use standing::{Followed, Wanted};
pub(crate) use world::{Page, Spot, World};

use crate::StartError;
use crate::auth::{TenantId, TooOften};
use crate::config::{Durability, ServerConfig};
use crate::feed::{Hub, Press};
use crate::journal::{self, AbortOnPanic, Commits, Failed, Image, Reply, Room};
use crate::postgres::{Database, Lag, Projection};
use crate::telemetry::{Fixes, Metrics, STEPS, Tally};
use clock::Steps;
use dispatch_core::{ConfigError, DriverId, Engine, EngineConfig, MarketId, Millis, Refusal, StraightLine, Timestamp};
use measures::Measures;
use queue::{Next, Queue, Refused};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tracing::Span;

/// Why something asked of the runner was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no market {0}")]
    UnknownMarket(MarketId),
    #[error("the pickup is outside every market")]
    OutsideMarkets,
    #[error("the pickup is outside market {0}")]
    OutsideMarket(MarketId),
    #[error("there is no market at this place")]
    NoMarketThere,
    #[error("say which market: the server has several and none of them is the default")]
    WhichMarket,
    #[error("one of this id is in a market that is not the caller's")]
    NotYourMarket,
    #[error("driver {driver} is on shift in market {market}; it is in one market at a time")]
    OnShiftElsewhere { driver: DriverId, market: MarketId },
    #[error("driver {driver} works in market {market}, and the order is in another")]
    DriverElsewhere { driver: DriverId, market: MarketId },
    #[error("this key submits orders of its own places only; name one of them as pickup.id")]
    NotYourPlace,
    #[error("it has changed: it is at version {version} now")]
    Changed { version: String },
    #[error("order has no driver yet; name one")]
    WhichDriver,
    #[error("not a cursor of this list")]
    Cursor,
    #[error("too much waits for the database, and no new orders are taken until it is less")]
    BacklogFull,
    #[error("the disk is almost full, and no new orders are taken until there is room")]
    DiskLow,
    #[error("the database does not answer, and without it nothing can be promised")]
    DatabaseAway,
    #[error("it was carried out before, and what came of it has been forgotten since")]
    AlreadyDone,
    #[error("another request came with this idempotency key; take a new key for a new request")]
    KeyReused,
    #[error("the same request is being carried out; ask again in a moment")]
    InFlight,
    #[error("there is no such link, or not any more")]
    NoLink,
    #[error(transparent)]
    TooOften(#[from] TooOften),
    #[error("the server did not answer in time; what was asked may still happen")]
    Late,
    #[error("the server has as many requests waiting as it takes")]
    Busy,
    #[error("commands wait for the engine, and no positions are taken until they do not")]
    Overloaded,
    #[error("the server is stopping")]
    Stopping,
}

/// What is asked; the answer is sent once what it may have seen is durable, or at once if it says so.
type Job = Box<dyn FnOnce(&mut World) -> (Reply, bool) + Send>;

/// Checks the rules of a market, with the names of the score terms, which only an engine knows.
pub(crate) fn check_rules(rules: &EngineConfig) -> Result<(), ConfigError> {
    Engine::new(rules.clone(), StraightLine::default()).map(drop)
}

/// Asks the runner. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Handle {
    queue: Arc<Queue<Job>>,
    lines: Arc<BTreeMap<TenantId, usize>>,
    stopping: Arc<AtomicBool>,
    fleets: Fleets,
    clock: Clock,
    failure: Option<watch::Receiver<Option<String>>>,
    projection: Option<Arc<Projection>>,
    room: Option<Room>,
    fixes: Fixes,
    /// Positions are refused while a command of their tenant has been waiting for longer.
    shed_after: Millis,
    measures: Measures,
    hub: Arc<Hub>,
}

/// The runner's thread.
pub(crate) struct Runner(JoinHandle<()>);

impl Runner {
    /// Reads what is kept, opens the markets and starts the thread.
    pub(crate) fn start(config: &ServerConfig, clock: Clock, metrics: &Metrics) -> Result<(Handle, Self), StartError> {
        let database = config.postgres.as_ref().map(Database::new);
        let fits = |image: &Image| world::restores(config, image).map_err(|StartError(problem)| problem);
        let restore = database.as_ref().map(|database| |directory: &str| database.restore(directory, fits));
        let markets = config.markets.iter().map(|market| (market.id.clone(), market.tenant.clone()));
        let hub = Hub::new(config.streams, markets, metrics.streams.clone());
        let mut press = Press::new(hub.clone());
        let opened = journal::open(&config.durability, clock.now(), restore, &mut press, &metrics.journal);
        let (image, commits, followed) = opened.map_err(StartError)?;
        let projection = database.zip(followed).map(|(database, followed)| Projection::start(database, followed));
        let projection = projection.transpose();
        let projection = projection.map_err(|error| StartError(format!("no thread for PostgreSQL: {error}")))?;
        let projection = projection.map(Arc::new);
        let ahead = image.at.map_or(Millis::ZERO, |at| at - clock.now());
        if ahead > Millis::from_mins(1) {
            let ahead = ahead.as_secs_f64();
            tracing::warn!(
                "what is kept ends {ahead:.0} s ahead of the clock of this machine, which was or is wrong; time goes on from there"
            );
        }
        let clock = clock.not_before(image.at);
        let samples = projection.as_ref().map(|projection| projection.samples());
        let fixes = metrics.fixes.clone();
        let fleet = |tenant: &TenantId| {
            let fleet = Fleet::new(clock.clone(), config.report_rate, samples.clone(), fixes.clone());
            (tenant.clone(), Arc::new(fleet))
        };
        let fleets: Fleets = Arc::new(config.markets.iter().map(|market| fleet(&market.tenant)).collect());
        hub.start(&fleets).map_err(|error| StartError(format!("no thread for positions: {error}")))?;
        let world = World::new(config, image, fleets.clone(), clock.now(), metrics)?;
        let failure = commits.failure();
        // The first line is for the server itself, and for tenants without a market.
        let lines: BTreeMap<_, _> = fleets.keys().cloned().zip(1..).collect();
        let queue = Arc::new(Queue::new(lines.len() + 1, lines.len(), config.limits.queue, clock.clone()));
        let jobs = queue.clone();
        let room = (config.durability.mode != Durability::Memory).then(|| config.durability.room());
        let measures = Measures::new(config, metrics, &world, &commits, room.clone());
        let (followed, time) = (projection.clone(), clock.clone());
        let run = move || {
            let _abort = AbortOnPanic("runner");
            // Who could not write has said so, and stops the server.
            let _ = run(world, &jobs, &clock, &commits, &mut press);
            press.hub().close();
            jobs.abandon();
            drop(commits);
            if let Some(projection) = followed {
                projection.join();
            }
        };
        let thread = std::thread::Builder::new().name("runner".into()).spawn(run);
        let thread = thread.map_err(|error| StartError(format!("no thread for the runner: {error}")))?;
        let (lines, stopping, clock) = (Arc::new(lines), Arc::default(), time);
        let shed_after = Millis::new(config.limits.shed_after_ms);
        let handle = Handle {
            queue,
            lines,
            stopping,
            fleets,
            clock,
            failure,
            projection,
            room,
            fixes,
            shed_after,
            measures,
            hub,
        };
        Ok((handle, Self(thread)))
    }

    /// Waits until everything that was asked is answered. Blocks.
    pub(crate) fn join(self) {
        // A runner that panicked has ended the process.
        let _ = self.0.join();
    }
}

/// How often to look whether what is done can become durable, where somebody else has a say in it.
const LOOK: Duration = Duration::from_millis(50);

/// Has what was done kept, and told once that is so.
fn keep(world: &mut World, commits: &Commits, press: &mut Press) -> Result<(), Failed> {
    let records = world.ledger().take();
    commits.push(&records)?;
    let mut entries = Vec::new();
    for record in &records {
        entries.append(&mut press.write(record, world.state(&record.market)));
    }
    if !entries.is_empty() {
        let hub = press.hub().clone();
        commits.then(Box::new(move || hub.publish(entries)));
    }
    for (market, etas) in world.take_etas() {
        let hub = press.hub().clone();
        if let Some((market, _)) = hub.home(&market) {
            commits.then(Box::new(move || hub.publish_etas(market, etas)));
        }
    }
    world.note_told(press.last());
    Ok(())
}

fn run(mut world: World, jobs: &Queue<Job>, clock: &Clock, commits: &Commits, press: &mut Press) -> Result<(), Failed> {
    let mut steps = Steps::default();
    loop {
        if let Some(news) = steps.watch(clock.wall_ahead()) {
            tracing::warn!("{news}");
        }
        let is_open = commits.is_open();
        world.pass_time(clock.now(), is_open);
        keep(&mut world, commits, press)?;
        let wait = clock.until(world.next_deadline().filter(|_| is_open));
        let wait = if commits.may_shut() { Some(wait.map_or(LOOK, |wait| wait.min(LOOK))) } else { wait };
        match jobs.next(wait) {
            Next::This(job) => {
                world.pass_time(clock.now(), commits.is_open());
                // What it sees is told before what it does.
                keep(&mut world, commits, press)?;
                world.ledger().settle(commits.durable());
                let (reply, at_once) = job(&mut world);
                keep(&mut world, commits, press)?;
                if at_once {
                    reply();
                } else {
                    commits.reply(reply);
                }
            }
            Next::Nothing => {}
            Next::Ended => return Ok(()),
        }
    }
}

impl Handle {
    /// Has something done on the runner's thread and waits for the answer, until all that it may have seen is durable; an answer
    /// of which `is_known` says so is given at once.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        tenant: Option<&TenantId>,
        job: impl FnOnce(&mut World) -> T + Send + 'static,
        is_known: fn(&T) -> bool,
    ) -> Result<T, Error> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Error::Stopping);
        }
        let (reply, answer) = oneshot::channel();
        let request = Span::current();
        let job: Job = Box::new(move |world: &mut World| {
            let _request = request.enter();
            let answer = tracing::debug_span!(target: STEPS, "decide").in_scope(|| job(world));
            let at_once = is_known(&answer);
            let commit = tracing::debug_span!(target: STEPS, "commit");
            let reply = move || {
                // Before the answer: whoever has it may look at the trace.
                drop(commit);
                // Who asked may have gone away meanwhile; what was asked is done all the same.
                drop(reply.send(answer));
            };
            (Box::new(reply) as Reply, at_once)
        });
        self.queue.push(self.line(tenant), job).map_err(|refused| match refused {
            Refused::Full => Error::Busy,
            Refused::Closed => Error::Stopping,
        })?;
        let is_ending = || self.stopping.load(Ordering::SeqCst) || self.has_failed();
        answer.await.map_err(|_| if is_ending() { Error::Stopping } else { Error::Late })
    }

    fn line(&self, tenant: Option<&TenantId>) -> usize {
        tenant.and_then(|tenant| self.lines.get(tenant)).copied().unwrap_or_default()
    }

    /// Whether a tenant's positions are refused for now: its commands have been waiting for too long, and come first.
    pub(crate) fn sheds(&self, tenant: &TenantId) -> bool {
        self.queue.wait(self.line(Some(tenant))) > self.shed_after
    }

    /// What makes the server stop, once something does: nothing can be made durable any more.
    pub(crate) async fn failed(&self) -> String {
        if let Some(mut failure) = self.failure.clone()
            && let Ok(problem) = failure.wait_for(Option::is_some).await
        {
            return problem.clone().unwrap_or_default();
        }
        // The journal was closed, or there is none.
        std::future::pending().await
    }

    fn has_failed(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.borrow().is_some())
    }

    /// The positions of all drivers of a tenant, which do not pass through the runner.
    pub(crate) fn fleet(&self, tenant: &TenantId) -> Option<&Arc<Fleet>> {
        self.fleets.get(tenant)
    }

    /// Where to look for a driver of a market.
    pub(crate) fn beacon(&self, market: &MarketId, driver: &DriverId) -> Option<Beacon> {
        let fleet = self.fleets.values().find(|fleet| fleet.market(driver).as_ref() == Some(market))?;
        fleet.beacon(driver)
    }

    /// Counts positions that no fleet looked at.
    pub(crate) fn count_fixes(&self, tally: &Tally) {
        self.fixes.count_all(tally);
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time of this machine, which tokens and keys go by: they are made elsewhere.
    pub(crate) fn wall_now(&self) -> Timestamp {
        self.clock.wall_now()
    }

    /// What happens, for those who follow it.
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How far the database is behind, if there is one.
    pub(crate) fn lag(&self) -> Option<Lag> {
        self.projection.as_ref().map(|projection| projection.lag())
    }

    /// Sets what is known only when somebody asks. Reads the disk.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        metrics.queue_depth.set(self.queue.depth() as f64);
        self.measures.take(metrics, self.lag(), self.projection.as_ref().map(|projection| projection.lag_time()));
    }

    /// Whether there is so little room on the disk that new orders have to wait.
    pub(crate) fn disk_is_low(&self) -> bool {
        self.room.as_ref().is_some_and(Room::is_low)
    }

    /// Refuses what is asked from now on, and has the runner answer what is queued and end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.queue.close();
    }
}
