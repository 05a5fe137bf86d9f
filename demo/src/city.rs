//! What all agents of the city share: the server, the time, chance, and what they count.

use crate::api::Api;
use crate::place::Place;
use crate::{driver, order};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many drivers there are.
pub(crate) const DRIVERS: u64 = 60;

/// How many orders come in a minute.
pub(crate) const ORDERS_A_MINUTE: f64 = 60.0;

/// What drivers ride: their speed is the server's for it.
const VEHICLE: &str = "bicycle";

/// How often the gateway sends the fixes it was handed.
const BATCH_EVERY: Duration = Duration::from_secs(1);

/// A city, awake as long as this is kept.
pub(crate) struct City {
    pub(crate) api: Api,
    pub(crate) tally: Tally,
    seed: u64,
    woke: (jiff::Timestamp, Instant),
    open: watch::Receiver<bool>,
    /// Fixes on their way to the server by the gateway.
    basket: Mutex<Vec<Value>>,
}

/// What agents count: only what the server acknowledged.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) fixes: Count,
    pub(crate) submitted: Count,
    pub(crate) assigned: Count,
    pub(crate) delivered: Count,
    pub(crate) cancelled: Count,
    /// From click to door, in seconds.
    door_to_door: Mutex<Vec<f64>>,
}

#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// Counts a delivery by the server's times of the order.
    pub(crate) fn deliver(&self, times: &Value) {
        self.delivered.add(1);
        let time = |name: &str| times[name].as_str()?.parse::<jiff::Timestamp>().ok();
        if let (Some(placed), Some(ended)) = (time("placed_at"), time("ended_at")) {
            self.door_to_door.lock().push(ended.duration_since(placed).as_secs_f64());
        }
    }

    /// The median of the minutes from click to door; `None` before the first delivery.
    pub(crate) fn median_minutes(&self) -> Option<f64> {
        let mut seconds = self.door_to_door.lock().clone();
        seconds.sort_unstable_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).map(|median| median / 60.0)
    }
}

impl City {
    /// A city whose agents go to bed when `open` turns false.
    pub(crate) fn new(api: Api, seed: u64, open: watch::Receiver<bool>) -> Self {
        let woke = (jiff::Timestamp::now(), Instant::now());
        Self { api, tally: Tally::default(), seed, woke, open, basket: Mutex::default() }
    }

    /// The time since the city woke up.
    pub(crate) fn now(&self) -> Duration {
        self.woke.1.elapsed()
    }

    /// A time of the city as the API has it.
    pub(crate) fn time(&self, at: Duration) -> String {
        format!("{:.3}", self.woke.0 + at)
    }

    /// The chance of one agent: the same for a seed, whatever the others do.
    pub(crate) fn random(&self, kind: &str, number: u64) -> Pcg64Mcg {
        let kind = kind.bytes().fold(0_u64, |sum, byte| sum * 31 + u64::from(byte));
        Pcg64Mcg::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (kind << 32) ^ number)
    }

    /// Waits; false if the city closes meanwhile.
    pub(crate) async fn pause(&self, span: Duration) -> bool {
        let mut open = self.open.clone();
        tokio::select! {
            () = tokio::time::sleep(span) => *self.open.borrow(),
            _ = open.wait_for(|open| !open) => false,
        }
    }

    /// A driver's fix: every second driver sends its own, the others hand it to the gateway.
    pub(crate) async fn report(&self, driver: &str, number: u64, at: Place) {
        let (lat, lng) = at.degrees();
        let mut fix = json!({"lat": lat, "lng": lng, "at": self.time(self.now()), "accuracy_m": 5});
        if number.is_multiple_of(2) {
            fix["driver"] = json!(driver);
            self.basket.lock().push(fix);
        } else if let Some(answer) = self.api.post(&format!("/v1/drivers/{driver}/position"), fix).await {
            self.moved(&answer);
        }
    }

    fn moved(&self, result: &Value) {
        if result["outcome"] == "moved" {
            self.tally.fixes.add(1);
        } else {
            self.api.unexpected(format!("a position was answered {result}"));
        }
    }
}

/// Wakes all agents up, and is done when the last is back in bed.
pub(crate) async fn live(city: Arc<City>) {
    let mut agents = JoinSet::new();
    agents.spawn(gateway(city.clone()));
    for number in 1..=DRIVERS {
        agents.spawn(driver::drive(city.clone(), number, VEHICLE));
    }
    let mut random = city.random("demand", 0);
    // Drivers come first.
    let mut gap = Duration::from_secs(2);
    let mut number = 0;
    while city.pause(gap).await {
        number += 1;
        agents.spawn(order::follow(city.clone(), number));
        while let Some(ended) = agents.try_join_next() {
            note(&city, ended);
        }
        gap = Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() * 60.0 / ORDERS_A_MINUTE);
    }
    while let Some(ended) = agents.join_next().await {
        note(&city, ended);
    }
}

fn note(city: &City, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        city.api.unexpected(format!("an agent of the city broke: {error}"));
    }
}

/// Sends what drivers hand it, in batches.
async fn gateway(city: Arc<City>) {
    while city.pause(BATCH_EVERY).await {
        let positions = std::mem::take(&mut *city.basket.lock());
        if positions.is_empty() {
            continue;
        }
        let Some(answer) = city.api.post("/v1/positions", json!({"positions": positions})).await else { continue };
        for result in answer["results"].as_array().into_iter().flatten() {
            city.moved(result);
        }
    }
}
