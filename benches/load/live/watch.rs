//! Those who watch.

use super::WINDOW_MS;
use super::clock::{now_ms, time_of};
use super::stream::{Event, Events};
use super::tally::Tally;
use crate::orders::{Load, STEPS};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Watches one order.
pub(super) async fn order(mut events: Events, tally: Arc<Tally>) {
    let mut sequence = Sequence::default();
    loop {
        match events.next().await {
            Ok(event) if event.name == "location_update" => {
                if let Some(at) = time_of(&event.data, "at") {
                    tally.position(now_ms() - at);
                }
            }
            Ok(event) => sequence.check(&event, &tally),
            Err(error) => return tally.error(&format!("watcher: {error}")),
        }
    }
}

/// Watches the market; one of those sees to it that offers are accepted, and orders delivered.
pub(super) async fn market(mut events: Events, tally: Arc<Tally>, drivers: Option<Arc<Load>>) {
    let (mut sequence, mut due) = (Sequence::default(), HashMap::new());
    loop {
        let event = match events.next().await {
            Ok(event) => event,
            Err(error) => return tally.error(&format!("market watcher: {error}")),
        };
        if event.name == "locations" {
            tally.frame();
            continue;
        }
        sequence.check(&event, &tally);
        let (Some(load), "dispatch_started" | "new_offer") = (&drivers, event.name.as_str()) else { continue };
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else { continue };
        if event.name == "dispatch_started" {
            if let (Some(order), Some(at)) = (data["order"].as_str(), time_of(&event.data, "at")) {
                // It is ready, and so due in the next window.
                due.insert(order.to_owned(), at.next_multiple_of_window());
            }
            continue;
        }
        for order in data["orders"].as_array().into_iter().flatten() {
            if let Some(window) = order["id"].as_str().and_then(|order| due.remove(order)) {
                tally.offer(now_ms() - window);
            }
        }
        tokio::spawn(bring(load.clone(), data));
    }
}

trait Window {
    fn next_multiple_of_window(self) -> i64;
}

impl Window for i64 {
    /// Windows are at multiples of their period.
    fn next_multiple_of_window(self) -> i64 {
        (self + WINDOW_MS - 1).div_euclid(WINDOW_MS) * WINDOW_MS
    }
}

/// Accepts an offer and delivers its orders.
async fn bring(load: Arc<Load>, offer: Value) {
    let path = format!("/v1/offers/{}/accept", offer["offer"].as_str().unwrap_or_default());
    load.give(Instant::now(), Method::POST, &path, &json!({})).await;
    for order in offer["orders"].as_array().into_iter().flatten() {
        let path = format!("/v1/orders/{}/progress", order["id"].as_str().unwrap_or_default());
        for step in STEPS {
            load.give(Instant::now(), Method::POST, &path, &json!({"step": step})).await;
        }
    }
}

/// The ids of a stream, which only grow.
#[derive(Default)]
pub(super) struct Sequence {
    last: (u64, u64),
}

impl Sequence {
    fn check(&mut self, event: &Event, tally: &Tally) {
        let Some(id) = &event.id else { return };
        tally.event();
        let spot = spot(id);
        if spot <= self.last {
            tally.error(&format!("{id} came after {:?}", self.last));
        }
        self.last = spot;
    }
}

/// The record and the entry that an id names; all of a record where it names no entry.
pub(super) fn spot(id: &str) -> (u64, u64) {
    let mut parts = id.split('-').skip(2).map(|part| part.parse().unwrap_or(0));
    let record = parts.next().unwrap_or(0);
    (record, parts.next().unwrap_or(u64::MAX))
}
