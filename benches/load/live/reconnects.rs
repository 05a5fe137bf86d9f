//! Watchers that come back again and again, each with the last id it has: whether what they have seen in the end is all there was, once.

use super::joined;
use super::stream::Events;
use super::watch::spot;
use crate::Options;
use crate::child::Server;
use crate::orders::Load;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How many orders there are, with a watcher each.
const ORDERS: u64 = 200;

/// How many changes are under way at once.
const CHANGERS: usize = 16;

/// How long a watcher stays at most when nothing comes.
const STAY: Duration = Duration::from_millis(5);

pub(crate) async fn run(server: &Server, options: &Options, reconnects: u64) -> Result<Value, Box<dyn Error>> {
    let load = Arc::new(Load::new(server, options.drivers)?);
    let address: Arc<str> = server.url.trim_start_matches("http://").into();
    let at = json!({"lat": 52.5, "lng": 13.4});
    for order in 0..ORDERS {
        let order = json!({"id": format!("o-{order}"), "pickup": at, "dropoff": at});
        load.give(Instant::now(), Method::POST, "/v1/orders", &order).await;
    }
    // One that never leaves sees everything.
    let mut witness = Events::open(&address, "/v1/feed?positions=false", None).await?;
    let snapshot = witness.next().await?.id.ok_or("a snapshot has an id")?;
    // It reads all the while, or it would be too slow.
    let witness = tokio::spawn(async move { witnessed(witness).await.map_err(|error| error.to_string()) });
    let (left, began) = (Arc::new(AtomicU64::new(reconnects)), Instant::now());
    let mut watchers = JoinSet::new();
    for order in 0..ORDERS {
        let (address, left, begin) = (address.clone(), left.clone(), snapshot.clone());
        watchers.spawn(async move { watch(&address, order, begin, &left).await.map_err(|error| error.to_string()) });
    }
    let (news, mut changers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..CHANGERS {
        let (load, left, news) = (load.clone(), left.clone(), news.clone());
        changers.spawn(async move {
            while left.load(Ordering::Relaxed) > 0 {
                change(&load, news.fetch_add(1, Ordering::Relaxed)).await;
            }
        });
    }
    changers.join_all().await;
    let took = began.elapsed().as_secs_f64();
    // The last thing that happens to each order: its watcher stays until it has seen that.
    for order in 0..ORDERS {
        let reason = json!({"reason": "over"});
        load.give(Instant::now(), Method::POST, &format!("/v1/orders/o-{order}/cancel"), &reason).await;
    }
    let mut expected = witness.await??;
    let (mut missing, mut twice, mut seen) = (0, 0, 0);
    while let Some(watched) = watchers.join_next().await {
        let (order, ids) = watched??;
        seen += ids.len();
        let expected = expected.remove(&order).unwrap_or_default();
        missing += expected.iter().filter(|id| !ids.contains(*id)).count();
        twice += ids.windows(2).filter(|pair| spot(&pair[0]) >= spot(&pair[1])).count();
    }
    let (errors, first_error) = load.errors();
    let head = json!({
        "reconnects": reconnects,
        "seconds": took,
        "reconnects_per_s": reconnects as f64 / took,
        "changes": news.load(Ordering::Relaxed),
        "events_seen": seen,
        "events_missing": missing,
        "events_twice_or_out_of_order": twice,
    });
    Ok(joined(head, json!({"errors": errors + missing as u64 + twice as u64, "first_error": first_error})))
}

/// The ids of all that happens to each order, until all of them have ended.
async fn witnessed(mut events: Events) -> Result<HashMap<String, Vec<String>>, Box<dyn Error + Send + Sync>> {
    let (mut seen, mut ended) = (HashMap::<String, Vec<String>>::new(), 0);
    while ended < ORDERS {
        let event = events.next().await?;
        let data: Value = serde_json::from_str(&event.data)?;
        if let (Some(id), Some(order)) = (event.id, data["order"].as_str()) {
            seen.entry(order.to_owned()).or_default().push(id);
            ended += u64::from(event.name == "order_cancelled");
        }
    }
    Ok(seen)
}

/// Something happens to an order.
async fn change(load: &Load, number: u64) {
    let ready_at = jiff::Timestamp::now() + Duration::from_secs(3_600 + number % 1_800);
    let path = format!("/v1/orders/o-{}/ready-time", number % ORDERS);
    load.give(Instant::now(), Method::PUT, &path, &json!({"ready_at": format!("{ready_at:.3}")})).await;
}

/// Follows an order from connection to connection, as long as there are any left, and to its end.
async fn watch(
    address: &str,
    order: u64,
    mut last: String,
    left: &AtomicU64,
) -> Result<(String, Vec<String>), Box<dyn Error + Send + Sync>> {
    let (path, mut ids) = (format!("/v1/orders/o-{order}/feed"), Vec::new());
    loop {
        let is_last = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
        let mut events = Events::open(address, &path, Some(&last)).await?;
        let stay = if is_last { Duration::from_secs(30) } else { STAY };
        while let Ok(event) = timeout(stay, events.next()).await {
            let event = event?;
            if event.name == "reset" || event.name == "snapshot" {
                return Err(format!("{path} began anew behind {last}").into());
            }
            let Some(id) = event.id else { continue };
            last.clone_from(&id);
            ids.push(id);
            if event.name == "order_cancelled" {
                return Ok((format!("o-{order}"), ids));
            }
        }
        if is_last {
            return Err(format!("{path} says nothing more").into());
        }
        events.reset();
    }
}
