//! Streams: what they tell, to whom, and that nothing is missing after an interruption.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::stream::{Event, Stream};
use common::{Folder, Server, keys, order, tenants};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeSet;

const LIFE: [&str; 5] = ["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"];

/// Has a driver bring an order that it was assigned.
async fn bring(server: &Server, key: &str, id: &str) {
    for step in LIFE {
        let path = format!("/v1/orders/{id}/progress");
        server.send_as(key, Method::POST, &path, Some(json!({"step": step}))).await.ok();
    }
}

async fn assign(server: &Server, key: &str, id: &str, driver: &str) {
    let path = format!("/v1/orders/{id}/assign");
    server.send_as(key, Method::POST, &path, Some(json!({"driver": driver}))).await.ok();
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.name.as_str()).collect()
}

#[tokio::test]
async fn an_order_is_told_from_how_it_stands_to_its_end() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.order("", "o-1").await;
    let mut stream = server.stream("", "/v1/orders/o-1/feed", None).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.data["orders"][0]["id"]), ("snapshot", &json!("o-1")));
    assert_eq!(first.data["orders"].as_array().unwrap().len(), 1);
    assign(&server, "", "o-1", "ana").await;
    bring(&server, "", "o-1").await;
    let events = stream.until("delivered").await;
    assert_eq!(names(&events), [&["offer_withdrawn", "driver_assigned"], LIFE.as_slice()].concat());
    assert!(events[1..].iter().all(|event| event.data["order"] == "o-1"));
    // An hour after its end it leaves memory, and the stream ends.
    server.pass(3_601);
    server.get("/v1/markets").await.ok();
    assert_eq!(stream.named("closing").await.data["reason"], "over");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn whoever_comes_back_misses_nothing_and_hears_nothing_twice() {
    let folder = Folder::new();
    let config = format!("durability = \"process\"\ndata_dir = \"{}\"", folder.path());
    let clock = dispatch_server::ManualClock::new(dispatch_core::Timestamp::from_millis(common::START));
    let server = Server::on(clock.clone(), &config).await;
    server.driver("", "ana").await;
    let mut all = server.stream("", "/v1/feed", None).await;
    let begin = all.named("snapshot").await.id.unwrap();
    server.order("", "o-1").await;
    assign(&server, "", "o-1", "ana").await;
    bring(&server, "", "o-1").await;
    let told = all.until("delivered").await;
    drop(all);
    // From each place, over the query as well, and after a restart.
    let check = async |server: &Server| {
        for (number, event) in told.iter().enumerate() {
            let mut again = server.stream("", "/v1/feed", event.id.as_deref()).await;
            for expected in &told[number + 1..] {
                assert_eq!(again.next().await.as_ref(), Some(expected));
            }
        }
        let mut again = server.stream("", &format!("/v1/feed?positions=false&after={begin}"), None).await;
        assert_eq!(again.until("delivered").await, told);
        // Of one order the same, and nothing of others.
        let concerns = |event: &&Event| {
            event.data["order"] == "o-1" || event.data["orders"].is_array() || event.data["offer"].is_string()
        };
        let of_order: Vec<_> = told.iter().filter(concerns).cloned().collect();
        let mut again = server.stream("", "/v1/orders/o-1/feed", Some(&begin)).await;
        assert_eq!(again.until("delivered").await, of_order);
    };
    check(&server).await;
    server.stop().await;
    let server = Server::on(clock.clone(), &config).await;
    check(&server).await;
    // It goes on behind what was before.
    let mut again = server.stream("", "/v1/feed", told.last().unwrap().id.as_deref()).await;
    server.order("", "o-2").await;
    let after = again.until("order_placed").await;
    assert_eq!(after.last().unwrap().data["order"], "o-2");
}

#[tokio::test]
async fn what_the_feed_does_not_reach_back_to_is_a_reset() {
    let server = Server::with("[streams]\nreplay_bytes = 2000").await;
    let mut stream = server.stream("", "/v1/feed", None).await;
    let begin = stream.named("snapshot").await.id.unwrap();
    for number in 0..10 {
        server.order("", &format!("o-{number}")).await;
    }
    let elsewhere = begin.replacen(&begin[..8], if begin.starts_with("00000000") { "00000001" } else { "00000000" }, 1);
    let (log, rest) = begin.split_once('-').unwrap();
    let at = rest.split('-').next().unwrap();
    for lost in [&begin, &elsewhere, &format!("{log}-{at}-999999")] {
        let mut again = server.stream("", "/v1/feed", Some(lost)).await;
        let first = again.next().await.unwrap();
        assert_eq!((first.name.as_str(), first.data["orders"].as_array().unwrap().len()), ("reset", 10), "{lost}");
        // And it goes on from there.
        server.act("/v1/orders/o-1/cancel").await;
        let cancel = json!({"reason": "no more"});
        server.post(&format!("/v1/orders/o-{}/cancel", lost.len() % 7), cancel).await;
        drop(again);
    }
    for wrong in ["x", "%00", "0-0-0-0-0", "1", "ffffffff-1-1-4294967295"] {
        let path = format!("/v1/feed?after={wrong}");
        server.get(&path).await.problem(422, "invalid_value").field("after");
    }
}

#[tokio::test]
async fn everybody_is_told_what_is_theirs() {
    let server = Server::with(&tenants()).await;
    server.driver("dispatcher", "ana").await;
    server.driver("other-dispatcher", "ana").await;
    let mut staff = server.stream("dispatcher", "/v1/feed", None).await;
    let mut merchant = server.stream("merchant", "/v1/feed", None).await;
    let mut foreign = server.stream("foreign-merchant", "/v1/feed", None).await;
    let mut driver = server.stream("driver", "/v1/feed", None).await;
    let mut other = server.stream("other-admin", "/v1/feed?positions=false", None).await;
    let mut own = server.stream("driver", "/v1/drivers/ana/feed", None).await;
    for (key, path) in [
        ("driver", "/v1/drivers/bob/feed"),
        ("merchant", "/v1/drivers/ana/feed"),
        ("other-admin", "/v1/orders/o-1/feed"),
        ("foreign-merchant", "/v1/orders/o-1/feed"),
        ("narrow", "/v1/orders/o-1/feed"),
    ] {
        let answer = server.send_as(key, Method::GET, path, None).await;
        assert!(matches!(answer.status, 403 | 404), "{key} {path}: {}", answer.status);
    }
    server.order("merchant", "o-1").await;
    let offer = server.offer("driver", "ana").await;
    server.send_as("driver", Method::POST, &format!("/v1/offers/{offer}/accept"), None).await.ok();
    bring(&server, "driver", "o-1").await;
    let all = names(&staff.until("delivered").await).join(" ");
    assert!(all.contains("new_offer offer_accepted driver_assigned route_update"), "{all}");
    assert_eq!(
        names(&merchant.until("delivered").await),
        [
            &["order_placed", "kitchen_progressed", "ready_time_changed", "dispatch_started", "driver_assigned"],
            LIFE.as_slice()
        ]
        .concat()
    );
    let expected = [&["new_offer", "offer_accepted", "driver_assigned", "route_update"], LIFE.as_slice()].concat();
    let told = driver.until("delivered").await;
    assert_eq!(names(&told), expected);
    assert_eq!(own.until("delivered").await, told);
    assert_eq!(told[0].data["orders"][0]["pickup"]["label"], "Pizza");
    assert_eq!(told[0].data["expires_in_seconds"], 30.0);
    // Nothing of all that is for anybody else: what they are told next is their own.
    let foreign_order = json!({
        "id": "o-2", "pickup": {"lat": 52.52, "lng": 13.40, "id": "q"}, "dropoff": {"lat": 52.50, "lng": 13.42},
    });
    server.send_as("foreign-merchant", Method::POST, "/v1/orders", Some(foreign_order)).await.ok();
    assert_eq!(foreign.entry().await.data["order"], "o-2");
    server.send_as("other-admin", Method::POST, "/v1/orders", Some(order("o-9"))).await.ok();
    assert_eq!(other.entry().await.data["order"], "o-9");
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_its_streams() {
    let server = Server::with(&keys()).await;
    let body = json!({"name": "passing", "role": "dispatcher"});
    let made = server.send_as("admin", Method::POST, "/v1/keys", Some(body)).await.ok();
    let (secret, id) = (made.at("/secret").as_str().unwrap(), made.at("/key/id").as_str().unwrap());
    let mut stream = server.stream(secret, "/v1/feed?positions=false", None).await;
    stream.named("snapshot").await;
    let mut stays = server.stream("dispatcher", "/v1/feed?positions=false", None).await;
    server.send_as("admin", Method::DELETE, &format!("/v1/keys/{id}"), None).await.ok();
    assert_eq!(stream.named("closing").await.data["reason"], "revoked");
    assert!(stream.next().await.is_none());
    server.order("dispatcher", "o-1").await;
    assert_eq!(stays.entry().await.name, "order_placed");
}

#[tokio::test]
async fn streams_end_with_the_server_and_do_not_hold_it_up() {
    let server = Server::start().await;
    let mut stream = server.stream("", "/v1/feed", None).await;
    stream.named("snapshot").await;
    let stopped = server.begin_to_stop();
    assert_eq!(stream.named("closing").await.data["reason"], "stopping");
    assert!(stream.next().await.is_none());
    stopped.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_says_nothing_says_so() {
    let server = Server::with("[streams]\nheartbeat_seconds = 1").await;
    let mut stream = server.stream("", "/v1/feed?positions=false", None).await;
    stream.named("snapshot").await;
    assert_eq!(stream.block().await.unwrap(), ":");
    assert_eq!(stream.block().await.unwrap(), ":");
}

#[tokio::test]
async fn there_are_only_so_many_streams() {
    let server = Server::with("[streams]\nsubscriptions = 3\nper_principal = 2").await;
    let first = server.stream("", "/v1/feed", None).await;
    let _second = server.stream("", "/v1/feed", None).await;
    server.get("/v1/feed").await.problem(429, "rate_limited");
    drop(first);
    // The place comes back once the server has noticed.
    let mut status = 429;
    while status == 429 {
        let request = reqwest::Client::new().get(format!("{}/v1/feed", server.url));
        status = request.send().await.unwrap().status().as_u16();
        tokio::task::yield_now().await;
    }
    assert_eq!(status, 200);
}

#[tokio::test]
async fn positions_are_told_the_newest_of_each() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.driver("", "bob").await;
    server.order("", "o-1").await;
    assign(&server, "", "o-1", "ana").await;
    let mut market = server.stream("", "/v1/feed", None).await;
    let first = market.named("locations").await;
    let drivers = first.data["positions"].as_array().unwrap().iter().map(|at| at["driver"].as_str().unwrap());
    assert_eq!(drivers.collect::<BTreeSet<_>>(), BTreeSet::from(["ana", "bob"]), "{first:?}");
    let mut of_order = server.stream("", "/v1/orders/o-1/feed", None).await;
    assert_eq!(of_order.named("location_update").await.data["driver"], "ana");
    server.pass(3);
    let moved = json!({"lat": 52.521, "lng": 13.401, "heading_deg": 90});
    server.post("/v1/drivers/ana/position", moved).await.ok();
    let told = of_order.named("location_update").await;
    assert_eq!((&told.data["lat"], &told.data["heading_deg"]), (&json!(52.521), &json!(90.0)));
    loop {
        let moved = market.named("locations").await;
        let at = moved.data["positions"].as_array().unwrap();
        if at.iter().any(|at| at["driver"] == "ana" && at["lat"] == 52.521) {
            break;
        }
    }
}

async fn link(server: &Server, key: &str, order: &str) -> String {
    let path = format!("/v1/orders/{order}/tracking-links");
    let made = server.send_as(key, Method::POST, &path, None).await.ok();
    format!("/v1/track/{}/feed", made.at("/token").as_str().unwrap())
}

#[tokio::test]
async fn a_customer_follows_its_order() {
    let server = Server::with(&keys()).await;
    server.driver("dispatcher", "ana").await;
    server.order("dispatcher", "o-1").await;
    let path = link(&server, "merchant", "o-1").await;
    let mut stream: Stream = server.stream("", &path, None).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.data["status"]), ("status_update", &json!("ready_for_pickup")));
    assert!(first.data["eta"]["p90"].as_str() >= first.data["eta"]["p50"].as_str());
    assign(&server, "dispatcher", "o-1", "ana").await;
    let assigned = stream.named("status_update").await;
    assert_eq!((&assigned.data["status"], &assigned.data["driver"]), (&json!("driver_assigned"), &json!(null)));
    // Where its driver is it learns once the driver has the order.
    server.pass(2);
    server.report("driver", "ana").await;
    for step in ["arrived_at_pickup", "picked_up"] {
        let path = "/v1/orders/o-1/progress";
        server.send_as("driver", Method::POST, path, Some(json!({"step": step}))).await.ok();
    }
    let mut before = Vec::new();
    let at = loop {
        let event = stream.next().await.unwrap();
        if event.name == "location_update" {
            break event;
        }
        before.push(event);
    };
    assert_eq!(at.data["driver"], "ana");
    assert_eq!(before.iter().rfind(|event| event.name == "status_update").unwrap().data["status"], "picked_up");
    for step in ["departed", "delivered"] {
        let path = "/v1/orders/o-1/progress";
        server.send_as("driver", Method::POST, path, Some(json!({"step": step}))).await.ok();
    }
    while stream.named("status_update").await.data["status"] != "delivered" {}
}

#[tokio::test]
async fn where_its_driver_is_a_customer_sees_as_the_server_is_set() {
    for (from, before, after) in [("pickup", false, true), ("assignment", true, true), ("never", false, false)] {
        let server = Server::with(&format!("{}\n[tracking]\nposition_from = \"{from}\"", keys())).await;
        server.driver("dispatcher", "ana").await;
        server.order("dispatcher", "o-1").await;
        assign(&server, "dispatcher", "o-1", "ana").await;
        let path = link(&server, "merchant", "o-1").await;
        let shown = async || {
            let mut stream = server.stream("", &path, None).await;
            let first = stream.next().await.unwrap();
            let track = server.get(path.strip_suffix("/feed").unwrap()).await.ok();
            assert_eq!(first.data["driver"], *track.at("/driver"));
            if !first.data["driver"].is_null() {
                assert_eq!(stream.named("location_update").await.data["driver"], "ana");
            }
            !first.data["driver"].is_null()
        };
        assert_eq!(shown().await, before, "{from}");
        for step in ["arrived_at_pickup", "picked_up"] {
            let path = "/v1/orders/o-1/progress";
            server.send_as("driver", Method::POST, path, Some(json!({"step": step}))).await.ok();
        }
        assert_eq!(shown().await, after, "{from}");
    }
}

#[tokio::test]
async fn an_arrival_that_changes_is_told_and_kept() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.post("/v1/orders", order("o-1")).await.ok();
    server.post("/v1/orders/o-1/kitchen", json!({"status": "confirmed"})).await.ok();
    let mut stream = server.stream("", "/v1/orders/o-1/feed", None).await;
    let first = stream.next().await.unwrap();
    assert_eq!(first.data["eta"]["order"], "o-1");
    server
        .send_as("", Method::PUT, "/v1/orders/o-1/ready-time", Some(json!({"ready_at": "2026-01-01T00:45:00Z"})))
        .await
        .ok();
    let told = stream.named("eta_update").await;
    assert_eq!((&told.data["order"], &told.data["notify"]), (&json!("o-1"), &json!(true)));
    let eta = server.get("/v1/orders/o-1/eta").await.ok();
    assert_eq!(eta.at("/history").as_array().unwrap().len(), 2);
    assert_eq!(eta.at("/history/1/eta/at"), &told.data["at"]);
    assert_eq!(eta.at("/eta/at"), &told.data["at"]);
}
