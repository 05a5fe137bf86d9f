//! Those who mean well: orders that are placed, made, looked at and cancelled, and drivers who report, at a steady rate.

use crate::child::Server;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

const DRIVERS: u64 = 200;

/// How many requests follow one another: one order.
const REQUESTS: u32 = 5;

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

/// What a server acknowledged: that there is an order, and what one of its fields says from then on.
pub(crate) struct Fact {
    pub(crate) order: String,
    pub(crate) says: Option<(&'static str, &'static str)>,
}

impl Fact {
    /// Whether it is still so.
    pub(crate) fn holds(&self, orders: &BTreeMap<String, Value>) -> bool {
        orders.get(&self.order).is_some_and(|order| self.says.is_none_or(|(field, value)| order[field] == value))
    }
}

pub(crate) struct Honest {
    client: Client,
    url: String,
    key: &'static str,
    orders: AtomicU64,
    felt: Mutex<Felt>,
    facts: Mutex<Vec<Fact>>,
}

impl Honest {
    /// One who has a key.
    pub(crate) fn new(server: &Server, key: &'static str) -> Self {
        let (client, url) = (Client::new(), server.url.clone());
        Self { client, url, key, orders: AtomicU64::new(0), felt: Mutex::default(), facts: Mutex::default() }
    }

    /// Makes the drivers known.
    pub(crate) async fn start(server: &Server, key: &'static str) -> Result<Arc<Self>, Box<dyn Error>> {
        let honest = Self::new(server, key);
        honest.employ(DRIVERS, false).await?;
        Ok(Arc::new(honest))
    }

    /// Makes so many drivers known, and has them begin to work if that is wanted.
    pub(crate) async fn employ(&self, drivers: u64, at_work: bool) -> Result<(), Box<dyn Error>> {
        for number in 0..drivers {
            let path = format!("/v1/drivers/d-{number}");
            self.ask(Instant::now(), Method::PUT, &path, &json!({})).await;
            if at_work {
                self.ask(Instant::now(), Method::POST, &format!("{path}/shift/start"), &Value::Null).await;
            }
        }
        self.take().first_error.map_or(Ok(()), |error| Err(error.into()))
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

    /// What was acknowledged since this was asked last.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        std::mem::take(&mut *self.facts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All orders there are.
    pub(crate) async fn orders(&self) -> Result<BTreeMap<String, Value>, Box<dyn Error>> {
        let (mut orders, mut rest) = (BTreeMap::new(), String::new());
        loop {
            let page = self.client.get(format!("{}/v1/orders?limit=500{rest}", self.url)).bearer_auth(self.key);
            let mut page: Value = page.send().await?.error_for_status()?.json().await?;
            let Value::Array(shown) = page["orders"].take() else { return Err("a page without orders".into()) };
            orders.extend(shown.into_iter().map(|order| (order["id"].as_str().unwrap_or_default().to_owned(), order)));
            let Some(cursor) = page["next_cursor"].as_str() else { return Ok(orders) };
            rest = format!("&cursor={cursor}");
        }
    }

    fn take(&self) -> Felt {
        std::mem::take(&mut *self.felt.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One order, from when it should have begun: what waits for its turn counts.
    async fn order(&self, due: Instant) {
        let number = self.orders.fetch_add(1, Ordering::Relaxed);
        let order = format!("o-{number}");
        let at = |shift: f64| json!({"lat": 52.5 + shift, "lng": 13.4 + shift});
        let path = format!("/v1/orders/{order}");
        let placed = json!({"id": order, "pickup": at(0.0), "dropoff": at(0.01)});
        if self.ask(due, Method::POST, "/v1/orders", &placed).await {
            self.acknowledged(&order, None);
        }
        if self.ask(Instant::now(), Method::POST, &format!("{path}/kitchen"), &json!({"status": "confirmed"})).await {
            self.acknowledged(&order, Some(("kitchen", "confirmed")));
        }
        self.ask(Instant::now(), Method::GET, &path, &Value::Null).await;
        let position = format!("/v1/drivers/d-{}/position", number % DRIVERS);
        self.ask(Instant::now(), Method::POST, &position, &at(0.0)).await;
        if self.ask(Instant::now(), Method::POST, &format!("{path}/cancel"), &json!({"reason": "siege"})).await {
            self.acknowledged(&order, Some(("status", "cancelled")));
        }
    }

    fn acknowledged(&self, order: &str, says: Option<(&'static str, &'static str)>) {
        let fact = Fact { order: order.to_owned(), says };
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).push(fact);
    }

    /// Whether all went well.
    async fn ask(&self, since: Instant, method: Method, path: &str, body: &Value) -> bool {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(self.key);
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
        let is_well = answer.is_ok();
        let mut felt = self.felt.lock().unwrap_or_else(PoisonError::into_inner);
        felt.latencies.push(since.elapsed());
        if let Err(error) = answer {
            felt.errors += 1;
            felt.first_error.get_or_insert(error);
        }
        is_well
    }
}
