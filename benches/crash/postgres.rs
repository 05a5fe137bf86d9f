//! A loaded server whose database is killed, started again, frozen and thawed. Commands have to go on as before, and afterwards the
//! tables have to hold what the engine does.

use crate::cluster::Cluster;
use crate::{Folder, Outcome};
use dispatch_server::{Sources, State, serve, verify_data_dir, verify_database};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// How many clients there are, and how often each gives a command.
const CLIENTS: usize = 16;
const EVERY: Duration = Duration::from_millis(40);

/// How long each phase is measured, and how long what comes before it is not.
const PHASE: Duration = Duration::from_secs(15);
const SETTLE: Duration = Duration::from_secs(3);

/// Commands may be this much slower while the database is away: by this factor, or by so much.
const MAX_FACTOR: f64 = 1.2;
const MAX_MORE_MS: f64 = 2.0;

/// Catching up takes no longer than this.
const MAX_CATCH_UP: Duration = Duration::from_mins(1);

/// What is measured, one phase after the other.
const PHASES: [&str; 3] = ["before", "killed", "frozen"];

/// What all clients share.
struct City {
    client: Client,
    url: String,
    over: AtomicBool,
    /// Which phase it is, if it is measured.
    phase: AtomicUsize,
    took: Mutex<[Vec<Duration>; 3]>,
    failed: AtomicUsize,
}

/// No phase.
const UNMEASURED: usize = usize::MAX;

impl City {
    async fn give(&self, method: Method, path: &str, body: Option<Value>) {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = if let Some(body) = &body { request.json(body) } else { request };
        let (phase, began) = (self.phase.load(Ordering::Relaxed), Instant::now());
        let answer = request.send().await;
        let took = began.elapsed();
        if !answer.is_ok_and(|answer| answer.status().is_success()) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        } else if phase != UNMEASURED && phase == self.phase.load(Ordering::Relaxed) {
            self.took.lock().await[phase].push(took);
        }
    }

    /// Gives commands at even times: an order, a driver for it, and all it takes until it is delivered.
    async fn client(self: Arc<Self>, number: usize) {
        sleep(EVERY * number as u32 / CLIENTS as u32).await;
        let mut pace = interval(EVERY);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let driver = format!("d-{number}");
        self.give(Method::PUT, &format!("/v1/drivers/{driver}"), Some(json!({}))).await;
        self.give(Method::POST, &format!("/v1/drivers/{driver}/shift/start"), None).await;
        let steps = ["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"];
        for count in 0.. {
            let order = format!("o-{number}-{count}");
            let at = |more: f64| json!({"lat": 52.5 + more, "lng": 13.4 + number as f64 * 0.001});
            let placed = json!({"id": order, "pickup": at(0.0), "dropoff": at(0.01)});
            let path = format!("/v1/orders/{order}");
            let mut commands = vec![
                ("/v1/orders".to_owned(), placed),
                (format!("{path}/kitchen"), json!({"status": "ready"})),
                (format!("{path}/assign"), json!({"driver": driver})),
            ];
            commands.extend(steps.map(|step| (format!("{path}/progress"), json!({"step": step}))));
            for (path, body) in commands {
                if self.over.load(Ordering::Relaxed) {
                    return;
                }
                pace.tick().await;
                self.give(Method::POST, &path, Some(body)).await;
            }
        }
    }

    /// How far the database is behind, and whether the server reaches it.
    async fn lag(&self) -> Result<(u64, bool), Box<dyn Error>> {
        let ready: Value = self.client.get(format!("{}/health/ready", self.url)).send().await?.json().await?;
        let lag = &ready["postgres"];
        let behind = lag["durable"].as_u64().unwrap_or(0).saturating_sub(lag["applied"].as_u64().unwrap_or(0));
        Ok((behind, lag["status"] == "connected"))
    }

    /// Measures a phase; how far the database is behind at its end.
    async fn measure(&self, phase: usize) -> Result<u64, Box<dyn Error>> {
        sleep(SETTLE).await;
        self.phase.store(phase, Ordering::Relaxed);
        sleep(PHASE).await;
        self.phase.store(UNMEASURED, Ordering::Relaxed);
        Ok(self.lag().await?.0)
    }

    /// Waits until the database has almost everything while more is coming; how long that took.
    async fn catch_up(&self) -> Result<f64, Box<dyn Error>> {
        let began = Instant::now();
        let caught_up = async {
            loop {
                let (behind, connected) = self.lag().await?;
                if connected && behind < 1_000 {
                    return Ok(began.elapsed().as_secs_f64());
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(MAX_CATCH_UP, caught_up).await.map_err(|_| "the database did not catch up")?
    }
}

/// The 99th percentile in milliseconds, and the median.
fn percentiles(mut took: Vec<Duration>) -> (f64, f64) {
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).map_or(0.0, |took| took.as_secs_f64() * 1e3);
    (at(0.99), at(0.5))
}

pub(crate) fn run(folder: &Folder) -> Result<Outcome, Box<dyn Error>> {
    let cluster = Cluster::start();
    let database = cluster.database();
    let flags = vec![
        format!("data_dir={}", folder.0.display()),
        format!("database_url={}", cluster.url(&database)),
        "postgres.timeout_ms=1000".into(),
        "postgres.retry_max_ms=500".into(),
    ];
    let sources = Sources { flags, ..Sources::default() };
    tokio::runtime::Runtime::new()?.block_on(async {
        let state = State::start(sources.load()?)?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(state, listener, async {
            let _ = stopped.await;
        }));
        let city = Arc::new(City {
            client: Client::new(),
            url,
            over: AtomicBool::new(false),
            phase: AtomicUsize::new(UNMEASURED),
            took: Mutex::default(),
            failed: AtomicUsize::new(0),
        });
        let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(city.clone().client(number))).collect();
        city.measure(0).await?;
        cluster.kill();
        let behind_when_killed = city.measure(1).await?;
        cluster.begin();
        let after_kill = city.catch_up().await?;
        cluster.freeze();
        let behind_when_frozen = city.measure(2).await?;
        cluster.thaw();
        let after_freeze = city.catch_up().await?;
        city.over.store(true, Ordering::Relaxed);
        for client in clients {
            client.await?;
        }
        let _ = stop.send(());
        server.await??;
        let config = sources.load()?;
        let kept = verify_data_dir(&folder.0)?;
        let shown = tokio::task::spawn_blocking(move || verify_database(&config)).await??;
        let took = std::mem::take(&mut *city.took.lock().await);
        let commands: usize = took.iter().map(Vec::len).sum();
        let percentiles = took.map(percentiles);
        let limit = (percentiles[0].0 * MAX_FACTOR).max(percentiles[0].0 + MAX_MORE_MS);
        let is_equal = (shown.applied, &shown.markets) == (kept.last, &kept.markets);
        let failed = city.failed.load(Ordering::Relaxed);
        let mut line = json!({
            "commands": commands,
            "failed": failed,
            "p99_limit_ms": limit,
            "behind_when_killed": behind_when_killed,
            "behind_when_frozen": behind_when_frozen,
            "caught_up_after_kill_seconds": after_kill,
            "caught_up_after_freeze_seconds": after_freeze,
            "records": kept.last,
            "applied": shown.applied,
            "engine_hash": kept.markets.first().map(|(_, _, hash)| hash.to_string()),
            "rows_hash": shown.markets.first().map(|(_, _, hash)| hash.to_string()),
            "rows_equal_engine": is_equal,
        });
        for (name, (p99, p50)) in PHASES.iter().zip(percentiles) {
            line[format!("{name}_p99_ms")] = json!(p99);
            line[format!("{name}_p50_ms")] = json!(p50);
        }
        let was_away = behind_when_killed > 0 && behind_when_frozen > 0;
        let is_fast = percentiles.iter().all(|(p99, _)| *p99 > 0.0 && *p99 <= limit);
        Ok(Outcome { line, is_well: is_equal && was_away && is_fast && failed == 0 })
    })
}
