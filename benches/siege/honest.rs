//! Those who mean well: orders that are placed, looked at and cancelled, and drivers who report, at a steady rate.

use crate::child::Server;
use dispatch_server::KeyHash;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The key of those who mean well, and the one that was stolen.
const KEY: &str = "siege-admin";
pub(crate) const STOLEN_KEY: &str = "siege-driver";

const DRIVERS: u64 = 200;

/// How many requests follow one another: one order.
const REQUESTS: u32 = 4;

/// The settings that let both keys in.
pub(crate) fn keys() -> Vec<String> {
    let key = |name: &str, role: &str| {
        format!("{{ name = {name:?}, hash = \"{}\", role = {role} }}", KeyHash::of(name).to_hex())
    };
    vec![format!("keys=[{}, {}]", key(KEY, "\"admin\""), key(STOLEN_KEY, "\"driver\", driver = \"d-0\""))]
}

/// What they felt.
#[derive(Default)]
pub(crate) struct Felt {
    latencies: Vec<Duration>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Felt {
    /// The latency that this share of requests did not exceed, in milliseconds.
    pub(crate) fn at(&mut self, share: f64) -> f64 {
        self.latencies.sort_unstable();
        let place = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }

    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }
}

pub(crate) struct Honest {
    client: Client,
    url: String,
    orders: AtomicU64,
    felt: Mutex<Felt>,
}

impl Honest {
    /// Makes the drivers known.
    pub(crate) async fn start(server: &Server) -> Result<Arc<Self>, Box<dyn Error>> {
        let honest =
            Self { client: Client::new(), url: server.url.clone(), orders: AtomicU64::new(0), felt: Mutex::default() };
        for number in 0..DRIVERS {
            honest.ask(Instant::now(), Method::PUT, &format!("/v1/drivers/d-{number}"), &json!({})).await;
        }
        match honest.take().first_error {
            None => Ok(Arc::new(honest)),
            Some(error) => Err(error.into()),
        }
    }

    /// Goes on until it is told to stop, and says what it was like.
    pub(crate) async fn live(self: Arc<Self>, requests_per_s: u32, enough: Arc<AtomicBool>) -> Felt {
        let (begun, mut orders) = (Instant::now(), JoinSet::new());
        for number in 0_u32.. {
            let due = begun + Duration::from_secs(u64::from(REQUESTS)) * number / requests_per_s;
            sleep_until(due).await;
            if enough.load(Ordering::Relaxed) {
                break;
            }
            let honest = self.clone();
            orders.spawn(async move { honest.order(due).await });
            while orders.try_join_next().is_some() {}
        }
        orders.join_all().await;
        self.take()
    }

    fn take(&self) -> Felt {
        std::mem::take(&mut *self.felt.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One order, from when it should have begun: what waits for its turn counts.
    async fn order(&self, due: Instant) {
        let number = self.orders.fetch_add(1, Ordering::Relaxed);
        let order = format!("o-{number}");
        let at = |shift: f64| json!({"lat": 52.5 + shift, "lng": 13.4 + shift});
        let placed = json!({"id": order, "pickup": at(0.0), "dropoff": at(0.01)});
        self.ask(due, Method::POST, "/v1/orders", &placed).await;
        let path = format!("/v1/orders/{order}");
        self.ask(Instant::now(), Method::GET, &path, &Value::Null).await;
        let position = format!("/v1/drivers/d-{}/position", number % DRIVERS);
        self.ask(Instant::now(), Method::POST, &position, &at(0.0)).await;
        self.ask(Instant::now(), Method::POST, &format!("{path}/cancel"), &json!({"reason": "siege"})).await;
    }

    async fn ask(&self, since: Instant, method: Method, path: &str, body: &Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(KEY);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(response) if response.status().is_success() => {
                response.bytes().await.map(drop).map_err(|error| error.to_string())
            }
            Ok(response) => Err(format!("{path}: {}", response.text().await.unwrap_or_default())),
            Err(error) => Err(error.to_string()),
        };
        let mut felt = self.felt.lock().unwrap_or_else(PoisonError::into_inner);
        felt.latencies.push(since.elapsed());
        if let Err(error) = answer {
            felt.errors += 1;
            felt.first_error.get_or_insert(error);
        }
    }
}
