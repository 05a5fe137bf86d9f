//! A loaded server that is killed over and over. What it acknowledged has to be in its journal afterwards, once.

use crate::child::{self, Server};
use crate::{Folder, Outcome};
use dispatch_journal::{Directory, Log};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::sleep;

const DRIVERS: usize = 40;
const CUSTOMERS: usize = 8;

/// What a driver says of an order, in its sequence; the names of the events are the same.
const STEPS: [&str; 5] = ["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"];

/// The server of one life.
pub(crate) fn serve(directory: &Path) -> Result<Outcome, Box<dyn Error>> {
    let flags = [
        format!("data_dir={}", directory.display()),
        "rules.window=100".into(),
        // Small enough for segments to be sealed and snapshots to be made all the time.
        "journal.segment_bytes=262144".into(),
        "rules.rounds.attempts=100".into(),
    ];
    match child::serve(flags.to_vec())? {}
}

fn start(directory: &Path) -> Result<Server, Box<dyn Error>> {
    Server::start([OsStr::new("--serve"), directory.as_os_str()])
}

/// Something the server said it did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Acknowledged {
    Placed { order: String },
    Ready { order: String },
    Accepted { offer: u64 },
    Step { order: String, step: &'static str },
}

/// A request. One with a key is to be carried out once, however often it is sent.
#[derive(Clone, Debug)]
struct Ask {
    method: Method,
    path: String,
    body: Option<Value>,
    key: Option<String>,
}

/// What all clients share.
struct City {
    client: Client,
    url: watch::Receiver<String>,
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// The commands that were carried out, with the status of the answer.
    done: Mutex<Vec<(Ask, StatusCode)>>,
    keys: AtomicU64,
    over: AtomicBool,
}

/// How many of the latest commands, and how many of all, are sent again after each kill.
const REPEATED: usize = 20;

impl City {
    /// Asks until the server of some life answers; a conflict is an answer.
    async fn send(&self, ask: &Ask) -> Option<(StatusCode, Value)> {
        while !self.over.load(Ordering::Relaxed) {
            let url = self.url.borrow().clone();
            let mut request = self.client.request(ask.method.clone(), format!("{url}{}", ask.path));
            if let Some(body) = &ask.body {
                request = request.json(body);
            }
            if let Some(key) = &ask.key {
                request = request.header("idempotency-key", key);
            }
            if let Ok(response) = request.timeout(Duration::from_secs(5)).send().await {
                let status = response.status();
                if let Ok(answer) = response.json::<Value>().await
                    && !status.is_server_error()
                    && answer["code"] != "in_flight"
                {
                    return Some((status, answer));
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
        None
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Option<(StatusCode, Value)> {
        self.send(&Ask { method, path: path.to_owned(), body, key: None }).await
    }

    /// Has something done, once.
    async fn command(&self, method: Method, path: &str, body: Option<Value>) -> Option<(StatusCode, Value)> {
        let key = Some(format!("k-{}", self.keys.fetch_add(1, Ordering::Relaxed)));
        let ask = Ask { method, path: path.to_owned(), body, key };
        let (status, answer) = self.send(&ask).await?;
        if status.is_success() {
            self.done.lock().unwrap_or_else(PoisonError::into_inner).push((ask, status));
        }
        Some((status, answer))
    }

    /// Sends some of what was carried out again. Returns how much, and the answers that are not as they were.
    async fn repeat(&self, random: &mut Pcg64Mcg) -> (u64, Vec<String>) {
        let some: Vec<_> = {
            let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            let latest = done.iter().rev().take(REPEATED).cloned();
            let any = (0..REPEATED.min(done.len())).map(|_| done[random.random_range(0..done.len())].clone());
            latest.chain(any).collect()
        };
        let mut changed = Vec::new();
        for (ask, before) in &some {
            if let Some((now, answer)) = self.send(ask).await
                && now != *before
            {
                changed.push(format!("{ask:?}: {before}, then {now} {answer}"));
            }
        }
        (some.len() as u64, changed)
    }

    fn note(&self, what: Acknowledged) {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    async fn customer(self: Arc<Self>, number: usize) {
        let mut random = Pcg64Mcg::seed_from_u64(number as u64);
        let mut place = || json!({"lat": random.random_range(52.45..52.55), "lng": random.random_range(13.3..13.5)});
        for count in 0.. {
            let order = format!("o-{number}-{count}");
            let body = json!({"id": order, "pickup": place(), "dropoff": place()});
            let Some((status, _)) = self.command(Method::POST, "/v1/orders", Some(body)).await else { return };
            if status.is_success() {
                self.note(Acknowledged::Placed { order: order.clone() });
            }
            let path = format!("/v1/orders/{order}/kitchen");
            let ready = Some(json!({"status": "ready"}));
            let Some((status, _)) = self.command(Method::POST, &path, ready).await else { return };
            if status.is_success() {
                self.note(Acknowledged::Ready { order });
            }
        }
    }

    /// A driver who accepts what it is offered and delivers it at once.
    async fn driver(self: Arc<Self>, number: usize) -> Option<()> {
        let driver = format!("d-{number}");
        let path = format!("/v1/drivers/{driver}");
        let place = json!({"lat": 52.45 + number as f64 * 0.002, "lng": 13.3 + number as f64 * 0.004});
        self.command(Method::PUT, &path, Some(json!({}))).await?;
        self.command(Method::POST, &format!("{path}/shift/start"), None).await?;
        loop {
            self.ask(Method::POST, &format!("{path}/position"), Some(place.clone())).await?;
            let (_, found) = self.ask(Method::GET, &format!("{path}/offer"), None).await?;
            let Some(name) = found["offer"]["id"].as_str() else {
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            let (status, _) = self.command(Method::POST, &format!("/v1/offers/{name}/accept"), None).await?;
            if status.is_success() {
                let offer = name.rsplit('-').next()?.parse().ok()?;
                self.note(Acknowledged::Accepted { offer });
            }
            let (_, seen) = self.ask(Method::GET, &path, None).await?;
            for order in seen["orders"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                self.deliver(order).await?;
            }
        }
    }

    async fn deliver(&self, order: &str) -> Option<()> {
        let path = format!("/v1/orders/{order}/progress");
        for step in STEPS {
            let (status, _) = self.command(Method::POST, &path, Some(json!({"step": step}))).await?;
            if status.is_success() {
                self.note(Acknowledged::Step { order: order.to_owned(), step });
            }
        }
        Some(())
    }
}

pub(crate) fn run(times: u32, folder: &Folder) -> Result<Outcome, Box<dyn Error>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (address, url) = watch::channel(String::new());
    let (client, acknowledged, done) = (Client::new(), Mutex::default(), Mutex::default());
    let (keys, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let city = Arc::new(City { client, url, acknowledged, done, keys, over });
    let (mut repeated, mut changed) = (0, Vec::new());
    let mut random = Pcg64Mcg::seed_from_u64(u64::from(times));
    let mut slowest = Duration::ZERO;
    let mut server = start(&folder.0)?;
    address.send_replace(server.url.clone());
    for number in 0..CUSTOMERS {
        runtime.spawn(city.clone().customer(number));
    }
    for number in 0..DRIVERS {
        runtime.spawn(city.clone().driver(number));
    }
    for _ in 0..times {
        std::thread::sleep(Duration::from_millis(random.random_range(50..1_200)));
        drop(server);
        let began = Instant::now();
        server = start(&folder.0)?;
        slowest = slowest.max(began.elapsed());
        address.send_replace(server.url.clone());
        let (some, others) = runtime.block_on(city.repeat(&mut random));
        repeated += some;
        changed.extend(others);
    }
    std::thread::sleep(Duration::from_secs(2));
    city.over.store(true, Ordering::Relaxed);
    runtime.shutdown_timeout(Duration::from_secs(10));
    drop(server);
    let acknowledged = std::mem::take(&mut *city.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
    let history = History::read(&folder.0)?;
    dispatch_server::verify_data_dir(&folder.0)?;
    let lost: Vec<_> = acknowledged.iter().filter(|what| !history.has(what)).collect();
    let line = json!({
        "kills": times,
        "acknowledged": acknowledged.len(),
        "orders": history.placed.len(),
        "deliveries": history.steps.iter().filter(|(_, step)| *step == "delivered").count(),
        "records": history.records,
        "snapshots": Log::open(Directory::read_only(&folder.0))?.check_snapshots()?.len(),
        "slowest_start_ms": slowest.as_millis() as u64,
        "lost": lost.len(),
        "first_lost": lost.first().map(|what| format!("{what:?}")),
        "repeated": repeated,
        "answered_otherwise": changed.len(),
        "first_answered_otherwise": changed.first(),
        "duplicated": history.duplicated,
        "double_assignments": history.double_assignments,
    });
    let is_once = history.duplicated == 0 && history.double_assignments == 0 && changed.is_empty();
    let is_well = lost.is_empty() && is_once && !acknowledged.is_empty() && (repeated > 0 || times == 0);
    Ok(Outcome { line, is_well })
}

/// What the journal says happened, read without the engine.
#[derive(Default)]
struct History {
    records: u64,
    /// What requests were carried out, by their keys as they are kept.
    keys: BTreeSet<String>,
    placed: BTreeSet<String>,
    ready: BTreeSet<String>,
    accepted: BTreeSet<u64>,
    /// The steps of each order with the driver it has, and with whom it ever had.
    steps: BTreeSet<(String, &'static str)>,
    ever: BTreeSet<(String, &'static str)>,
    drivers: BTreeMap<String, String>,
    duplicated: u64,
    double_assignments: u64,
}

impl History {
    fn read(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let mut history = Self::default();
        Log::open(Directory::read_only(directory))?.replay_all(|record| {
            let record: Value = serde_json::from_slice(record.payload).map_err(|error| error.to_string())?;
            history.records += 1;
            if let Some(key) = record["accepted"]["key"].as_str() {
                history.duplicated += u64::from(!history.keys.insert(key.to_owned()));
            }
            for event in record["events"].as_array().into_iter().flatten() {
                let (kind, event) = match &event["kind"] {
                    Value::Object(kind) => kind.iter().next().ok_or("an event without a kind")?,
                    other => return Err(format!("{other} is no event")),
                };
                history.apply(kind, event);
            }
            Ok(())
        })?;
        Ok(history)
    }

    fn apply(&mut self, kind: &str, event: &Value) {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        if let Some(step) = STEPS.into_iter().find(|step| *step == kind) {
            let step = (text("order"), step);
            self.ever.insert(step.clone());
            self.duplicated += u64::from(!self.steps.insert(step));
            return;
        }
        let new = match kind {
            "order_placed" => self.placed.insert(event["order"]["id"].as_str().unwrap_or_default().to_owned()),
            "kitchen_progressed" if event["status"] == "ready" => self.ready.insert(text("order")),
            "offer_closed" if event["outcome"] == "accepted" => {
                self.accepted.insert(event["offer"].as_u64().unwrap_or(0))
            }
            "assigned" => {
                for order in event["orders"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    let before = self.drivers.insert(order.to_owned(), text("driver"));
                    self.double_assignments += u64::from(before.is_some());
                }
                true
            }
            "returned" => {
                let order = text("order");
                self.steps.retain(|(of, _)| *of != order);
                self.drivers.remove(&order).is_some()
            }
            _ => true,
        };
        self.duplicated += u64::from(!new);
    }

    fn has(&self, what: &Acknowledged) -> bool {
        match what {
            Acknowledged::Placed { order } => self.placed.contains(order),
            Acknowledged::Ready { order } => self.ready.contains(order),
            Acknowledged::Accepted { offer } => self.accepted.contains(offer),
            Acknowledged::Step { order, step } => self.ever.contains(&(order.clone(), step)),
        }
    }
}
