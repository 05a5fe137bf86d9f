//! Orders at a steady rate, each from placed to delivered by hand, so that nothing but commands is measured.

use crate::Options;
use crate::child::Server;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub(crate) const STEPS: [&str; 5] = ["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"];

pub(crate) struct Figures {
    pub(crate) latencies: Vec<Duration>,
    /// Commands a second at saturation.
    pub(crate) saturated: f64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// Seconds of a processor that the server took for the steady load.
    pub(crate) cpu: f64,
}

/// Gives commands to a server.
pub(crate) struct Load {
    client: Client,
    url: String,
    drivers: u32,
    latencies: Mutex<Vec<Duration>>,
    errors: Mutex<(u64, Option<String>)>,
    next: AtomicU64,
}

pub(crate) async fn run(server: &Server, options: &Options) -> Result<Figures, Box<dyn Error>> {
    let load = Arc::new(Load::new(server, options.drivers)?);
    load.clone().staff(options.drivers).await;
    load.take();

    let before = cpu_seconds(server.process.id());
    let (start, mut orders) = (Instant::now(), JoinSet::new());
    for number in 0..options.orders_per_s * options.seconds {
        let due = start + Duration::from_secs(1) * number / options.orders_per_s;
        sleep_until(due).await;
        let load = load.clone();
        // From when it should have begun: what waits for its turn counts.
        orders.spawn(async move { load.deliver(due).await });
        while orders.try_join_next().is_some() {}
    }
    orders.join_all().await;
    let (latencies, cpu) = (load.take(), cpu_seconds(server.process.id()) - before);

    let end = Instant::now() + Duration::from_secs(u64::from(options.seconds)) / 6;
    let (began, mut workers) = (Instant::now(), JoinSet::new());
    for _ in 0..options.at_once {
        let load = load.clone();
        workers.spawn(async move {
            while Instant::now() < end {
                load.deliver(Instant::now()).await;
            }
        });
    }
    workers.join_all().await;
    let saturated = load.take().len() as f64 / began.elapsed().as_secs_f64();
    let (errors, first_error) = load.errors();
    Ok(Figures { latencies, saturated, errors, first_error, cpu })
}

/// How many seconds of a processor a process has used; 0 where the system does not say.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which may have spaces in it: user and system time, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

impl Load {
    pub(crate) fn new(server: &Server, drivers: u32) -> Result<Self, reqwest::Error> {
        Ok(Self {
            client: Client::builder().pool_max_idle_per_host(1_000).build()?,
            url: server.url.clone(),
            drivers,
            latencies: Mutex::default(),
            errors: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// How many commands were not carried out, and what was wrong with the first.
    pub(crate) fn errors(&self) -> (u64, Option<String>) {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives a command that began at `since`, and notes how long it took.
    pub(crate) async fn give(&self, since: Instant, method: Method, path: &str, body: &Value) {
        let request = self.client.request(method, format!("{}{path}", self.url)).json(body);
        let answer = match request.send().await {
            Ok(response) if response.status().is_success() => {
                response.bytes().await.map(drop).map_err(|e| e.to_string())
            }
            Ok(response) => Err(format!("{path}: {}", response.text().await.unwrap_or_default())),
            Err(error) => Err(error.to_string()),
        };
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(since.elapsed());
        if let Err(error) = answer {
            let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
            errors.0 += 1;
            errors.1.get_or_insert(error);
        }
    }

    /// Has all drivers come on shift.
    pub(crate) async fn staff(self: Arc<Self>, drivers: u32) {
        let mut workers = JoinSet::new();
        for worker in 0..16 {
            let load = self.clone();
            workers.spawn(async move {
                for number in (worker..drivers).step_by(16) {
                    let path = format!("/v1/drivers/d-{number}");
                    load.give(Instant::now(), Method::PUT, &path, &json!({})).await;
                    load.give(Instant::now(), Method::POST, &format!("{path}/shift/start"), &json!({})).await;
                }
            });
        }
        workers.join_all().await;
    }

    /// An order from placed to delivered.
    async fn deliver(&self, since: Instant) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (order, driver) = (format!("o-{number}"), format!("d-{}", number % u64::from(self.drivers)));
        let spot = |step: u64| {
            let step = number.wrapping_mul(step) % 1_000;
            json!({"lat": 52.45 + step as f64 * 1e-4, "lng": 13.3 + step as f64 * 2e-4})
        };
        let placed = json!({"id": order, "pickup": spot(7), "dropoff": spot(13)});
        self.give(since, Method::POST, "/v1/orders", &placed).await;
        let path = format!("/v1/orders/{order}");
        let ready = json!({"status": "ready"});
        self.give(Instant::now(), Method::POST, &format!("{path}/kitchen"), &ready).await;
        self.give(Instant::now(), Method::POST, &format!("{path}/assign"), &json!({"driver": driver})).await;
        for step in STEPS {
            self.give(Instant::now(), Method::POST, &format!("{path}/progress"), &json!({"step": step})).await;
        }
    }
}
