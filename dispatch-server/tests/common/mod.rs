//! A server on a port of its own, with a clock that tests move, and a client for it.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod asyncapi;
#[cfg(unix)]
pub mod cluster;
pub mod contract;
#[cfg(unix)]
pub mod place;
pub mod receiver;
pub mod socket;
pub mod stream;

use dispatch_core::{Millis, Timestamp};
use dispatch_server::{JournalFailed, KeyHash, ManualClock, Sources, StartError, State, serve};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600_000;

pub struct Server {
    pub api: Api,
    pub clock: ManualClock,
    pub state: State,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), JournalFailed>>,
}

/// A directory of one test's own, gone with it.
pub struct Folder(String);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dispatch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name).into_os_string().into_string().unwrap())
    }

    pub fn path(&self) -> &str {
        &self.0
    }

    /// The files whose names end so, in sequence.
    pub fn files(&self, end: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sends requests to a server.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    client: Client,
}

impl Deref for Server {
    type Target = Api;
    fn deref(&self) -> &Api {
        &self.api
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The value at a JSON pointer.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> &Value {
        self.body.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {:#}", self.body))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{}: {:#}", self.status, self.body);
        self
    }

    /// Asserts a problem with this status and code.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{:#}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        self
    }

    #[track_caller]
    pub fn field(self, field: &str) -> Self {
        assert_eq!(self.body["field"], field, "{:#}", self.body);
        self
    }

    /// Whether an answer refuses a value as one that the contract rules out; in a batch, the item.
    pub fn rules_out(&self) -> bool {
        let invalid_item = self.body["results"][0]["outcome"] == "invalid";
        invalid_item || (self.status == 422 && self.body["code"] == "invalid_value")
    }

    pub fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }
}

impl Server {
    /// A server with the defaults, without keys.
    pub async fn start() -> Self {
        Self::with("").await
    }

    /// A server with this file over the defaults, that keeps nothing.
    pub async fn with(file: &str) -> Self {
        Self::on(ManualClock::new(Timestamp::from_millis(START)), &format!("durability = \"memory\"\n{file}")).await
    }

    /// A server on this clock, with this file over the defaults.
    pub async fn on(clock: ManualClock, file: &str) -> Self {
        Self::try_on(clock, file).await.unwrap()
    }

    /// The same, if it starts.
    pub async fn try_on(clock: ManualClock, file: &str) -> Result<Self, StartError> {
        let sources = Sources { file: Some(file.into()), ..Sources::default() };
        let state = State::start_with_clock(sources.load().unwrap(), clock.clone().into())?;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let served = tokio::spawn(serve(state.clone(), listener, shutdown));
        Ok(Self { api: Api::new(url), clock, state, stop, served })
    }

    /// Moves the clock on. Drivers that keep reporting have to be reported by the test.
    pub fn pass(&self, seconds: i64) {
        self.clock.advance(Millis::from_secs(seconds));
    }

    /// Asks it to stop, and gives what ends when it has.
    pub fn begin_to_stop(self) -> JoinHandle<Result<(), JournalFailed>> {
        // One that failed has stopped by itself.
        let _ = self.stop.send(());
        self.served
    }

    /// How it ends by itself.
    pub async fn ended(self) -> Result<(), JournalFailed> {
        let Self { stop: _stop, served, .. } = self;
        served.await.unwrap()
    }

    pub async fn stop(self) {
        self.begin_to_stop().await.unwrap().unwrap();
    }

    /// The offer the driver has, after the next window.
    pub async fn offer(&self, key: &str, driver: &str) -> String {
        self.pass(1);
        let answer = self.send_as(key, Method::GET, &format!("/v1/drivers/{driver}/offer"), None).await.ok();
        answer.at("/offer/id").as_str().unwrap().to_owned()
    }
}

impl Api {
    pub fn new(url: String) -> Self {
        Self { url, client: Client::new() }
    }

    /// Sends a request as it is.
    pub async fn raw(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // A stream has no end.
        let is_stream = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let bytes = if is_stream { Vec::new().into() } else { response.bytes().await.unwrap() };
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Answer { status, headers, body }
    }

    /// Sends a request with this key (none if empty).
    pub async fn send_as(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let bearer = format!("Bearer {key}");
        let mut headers = Vec::new();
        if !key.is_empty() {
            headers.push(("authorization", bearer.as_str()));
        }
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.raw(method, path, &headers, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send_as("", Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_as("", Method::POST, path, Some(body)).await
    }

    /// The status of the answer, if there is one.
    pub async fn try_post(&self, path: &str, body: Value) -> Option<u16> {
        let sent = self.client.post(format!("{}{path}", self.url)).json(&body).send().await;
        sent.ok().map(|response| response.status().as_u16())
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send_as("", Method::PUT, path, Some(body)).await
    }

    pub async fn act(&self, path: &str) -> Answer {
        self.send_as("", Method::POST, path, None).await
    }

    /// A driver on shift, seen in the middle of Berlin.
    pub async fn driver(&self, key: &str, id: &str) {
        let path = format!("/v1/drivers/{id}");
        self.send_as(key, Method::PUT, &path, Some(json!({}))).await.ok();
        self.send_as(key, Method::POST, &format!("{path}/shift/start"), None).await.ok();
        self.report(key, id).await;
    }

    pub async fn report(&self, key: &str, id: &str) {
        let body = json!({"lat": 52.52, "lng": 13.40});
        self.send_as(key, Method::POST, &format!("/v1/drivers/{id}/position"), Some(body)).await.ok();
    }

    /// A confirmed order that is ready at once, from the middle of Berlin.
    pub async fn order(&self, key: &str, id: &str) {
        self.send_as(key, Method::POST, "/v1/orders", Some(order(id))).await.ok();
        let kitchen = format!("/v1/orders/{id}/kitchen");
        self.send_as(key, Method::POST, &kitchen, Some(json!({"status": "ready"}))).await.ok();
    }
}

/// An order of the place `p`.
pub fn order(id: &str) -> Value {
    json!({
        "id": id,
        "pickup": {"lat": 52.52, "lng": 13.40, "id": "p", "label": "Pizza"},
        "dropoff": {"lat": 52.50, "lng": 13.42},
    })
}

/// The default rules of a market.
pub fn rules() -> Value {
    let score = [
        ("delay_min", -1.0),
        ("delay_min_squared", -0.01),
        ("late_min", -1.0),
        ("until_free_min", -0.2),
        ("to_pickup_min", -0.15),
        ("shift_min", -0.15),
        ("above_floor", -1.0),
    ];
    json!({
        "start_on": "confirmed",
        "preparation_seconds": 900.0,
        "window_seconds": 1.0,
        "search": {
            "radius_m": 5_000.0,
            "max_radius_m": 15_000.0,
            "candidates": 20,
            "busy_until_seconds": 2_400.0,
            "paired": 32,
        },
        "schedule": {
            "margin_seconds": 120.0,
            "horizon_seconds": 1_080.0,
            "commit_ahead_seconds": 120.0,
            "depart_at_probability": null,
        },
        "score": score.map(|(term, weight)| json!({"term": term, "weight": weight})),
        "work_budget": 10_000_000,
        "bundles": {"mode": "same_pickup", "within_m": null, "max_orders": 3, "min_gain_points": 1.0},
        "swap": null,
        "divert": true,
        "reposition": null,
        "floor_orders_per_hour": 1.5,
        "offers": {"mode": "sequential", "size": null, "expires_after_seconds": 30.0},
        "rounds": {
            "attempts": 5,
            "pause_seconds": 10.0,
            "no_candidate_after_seconds": 600.0,
            "retry_after_seconds": 60.0,
        },
        "service": {
            "before_pickup_seconds": 0.0,
            "after_pickup_seconds": 120.0,
            "before_dropoff_seconds": 180.0,
            "after_dropoff_seconds": 0.0,
        },
        "positions": {
            "searchable_for_seconds": 30.0,
            "silent_after_seconds": 120.0,
            "return_orders_of_silent": true,
        },
        "lifetimes": {
            "overdue_after_seconds": 3_600.0,
            "fail_after_seconds": 7_200.0,
            "never_finished_after_seconds": 86_400.0,
            "retire_after_seconds": 3_600.0,
            "plan_ahead_seconds": 604_800.0,
        },
        "limits": {"orders": 1_000_000, "drivers": 1_000_000, "orders_per_driver": 3},
    })
}

/// A shift on the roster.
pub fn planned_shift() -> Value {
    json!({"from": "2026-01-01T01:00:00.000Z", "until": "2026-01-01T05:00:00.000Z", "lat": 52.5, "lng": 13.4})
}

/// Keys of every role, all named after themselves: `admin`, `dispatcher`, `merchant` (place `p`), `foreign-merchant`
/// (place `q`), `driver` (driver `ana`), `foreign-driver` (driver `bob`), `gateway`.
pub fn keys() -> String {
    [
        key("admin", "admin", ""),
        key("dispatcher", "dispatcher", ""),
        key("merchant", "merchant", "places = [\"p\"]"),
        key("foreign-merchant", "merchant", "places = [\"q\"]"),
        key("driver", "driver", "driver = \"ana\""),
        key("foreign-driver", "driver", "driver = \"bob\""),
        key("gateway", "gateway", ""),
    ]
    .concat()
}

/// The same keys, and those of tenant `other`, which has a market of its own, `elsewhere`: for the same driver and the same place,
/// and named after themselves, as `other-admin`. `narrow` is a dispatcher of the first tenant, for none of its markets.
pub fn tenants() -> String {
    let other = |role: &str, more: &str| key(&format!("other-{role}"), role, &format!("tenant = \"other\"\n{more}"));
    [
        keys(),
        other("admin", ""),
        other("dispatcher", ""),
        other("merchant", "places = [\"p\"]"),
        other("driver", "driver = \"ana\""),
        other("gateway", ""),
        key("narrow", "dispatcher", "markets = [\"none\"]"),
        "[[markets]]\nid = \"default\"\n[[markets]]\nid = \"elsewhere\"\ntenant = \"other\"\n".to_owned(),
    ]
    .concat()
}

/// A key that is its own name, and may ask as much as a test does.
pub fn key(name: &str, role: &str, more: &str) -> String {
    let hash = KeyHash::of(name).to_hex();
    format!("[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nrole = \"{role}\"\nrate = 1000.0\n{more}\n")
}
