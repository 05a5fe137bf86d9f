//! API keys that are made, rotated and revoked while the server runs; tracking links; how much everybody may ask.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Folder, START, Server, key, order, tenants};
use dispatch_core::Timestamp;
use dispatch_server::ManualClock;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

fn text<'a>(answer: &'a common::Answer, pointer: &str) -> &'a str {
    answer.at(pointer).as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_from_its_making_to_its_end() {
    let server = Server::with(&tenants()).await;
    let post = async |who: &str, path: &str, body: Value| server.send_as(who, Method::POST, path, Some(body)).await;
    let works = async |secret: &str| server.send_as(secret, Method::GET, "/v1/stats", None).await.status;
    let made = post("admin", "/v1/keys", json!({"name": "desk", "role": "dispatcher"})).await;
    assert_eq!(made.status, 201, "{:#}", made.body);
    let (id, first) = (text(&made, "/key/id").to_owned(), text(&made, "/secret").to_owned());
    assert_eq!(works(&first).await, 200);
    post("admin", "/v1/keys", json!({"name": "desk", "role": "admin"})).await.problem(409, "name_taken").field("name");

    // Its secret is nowhere, not even in its list.
    let listed = server.send_as("admin", Method::GET, "/v1/keys", None).await.ok();
    assert!(listed.body.to_string().contains(&id) && !listed.body.to_string().contains(&first));

    // Both secrets count for a while, then the new one alone.
    let rotated = post("admin", &format!("/v1/keys/{id}/rotate"), json!({"grace_seconds": 60})).await.ok();
    let second = text(&rotated, "/secret").to_owned();
    assert_eq!([works(&first).await, works(&second).await], [200, 200]);
    server.pass(60);
    assert_eq!([works(&first).await, works(&second).await], [401, 200]);

    // To another tenant and to other markets it is not there, not even for an admin.
    for (who, code) in [("other-admin", 404), ("dispatcher", 403), ("narrow", 403)] {
        assert_eq!(post(who, &format!("/v1/keys/{id}/rotate"), json!({})).await.status, code, "{who}");
        assert_eq!(server.send_as(who, Method::DELETE, &format!("/v1/keys/{id}"), None).await.status, code, "{who}");
    }
    let others = server.send_as("other-admin", Method::GET, "/v1/keys", None).await.ok();
    assert_eq!(others.body, json!({"keys": []}));

    server.send_as("admin", Method::DELETE, &format!("/v1/keys/{id}"), None).await.ok();
    assert_eq!(works(&second).await, 401);
    post("admin", &format!("/v1/keys/{id}/rotate"), json!({})).await.problem(409, "not_in_force");
    server.send_as("admin", Method::DELETE, "/v1/keys/key-0", None).await.problem(404, "unknown_key");

    // One that ends by itself.
    let until = json!({"name": "guest", "role": "dispatcher", "expires_at": "2026-01-01T00:02:00Z"});
    let guest = post("admin", "/v1/keys", until).await;
    let guest = text(&guest, "/secret").to_owned();
    assert_eq!(works(&guest).await, 200);
    server.pass(60);
    assert_eq!(works(&guest).await, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_key_that_reaches_further_than_its_own() {
    let berlin = key("berlin-admin", "admin", "markets = [\"berlin\"]");
    let markets = "[[markets]]\nid = \"berlin\"\n[[markets]]\nid = \"bonn\"\ncells = [\"8a1fa19b1b97fff\"]\n";
    let server = Server::with(&[key("admin", "admin", ""), berlin, markets.into()].concat()).await;
    let make = async |who: &str, body: Value| server.send_as(who, Method::POST, "/v1/keys", Some(body)).await;
    let sees = async |secret: &str| {
        let markets = server.send_as(secret, Method::GET, "/v1/markets", None).await.ok();
        markets.at("/markets").as_array().unwrap().iter().map(|market| market["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(sees("admin").await, ["berlin", "bonn"]);
    let wide = json!({"name": "a", "role": "admin", "markets": ["berlin", "bonn"]});
    make("berlin-admin", wide.clone()).await.problem(403, "not_your_market").field("markets");
    let made = make("berlin-admin", json!({"name": "b", "role": "admin"})).await;
    assert_eq!(sees(text(&made, "/secret")).await, ["berlin"]);
    let wide = make("admin", wide).await;
    assert_eq!(sees(text(&wide, "/secret")).await, ["berlin", "bonn"]);
    // The narrow admin does not see the wide key, and cannot take it over.
    let id = text(&wide, "/key/id");
    let rotate = server.send_as("berlin-admin", Method::POST, &format!("/v1/keys/{id}/rotate"), None).await;
    rotate.problem(404, "unknown_key");
    let listed = server.send_as("berlin-admin", Method::GET, "/v1/keys", None).await.ok();
    assert!(!listed.body.to_string().contains(id));

    for (body, field) in [
        (json!({"name": "x", "role": "merchant"}), "places"),
        (json!({"name": "x", "role": "driver"}), "driver"),
        (json!({"name": "x", "role": "admin", "driver": "ana"}), "driver"),
        (json!({"name": "x", "role": "root"}), "role"),
        (json!({"name": "x", "role": "admin", "rate": 0}), "rate"),
        (json!({"name": "x\ny", "role": "admin"}), "name"),
        (json!({"name": "", "role": "admin"}), "name"),
        (json!({"name": "x", "role": "admin", "markets": ["bonn", "bonn"]}), "markets"),
        (json!({"name": "x", "role": "merchant", "places": vec!["p"; 257]}), "places"),
        (json!({"name": "x", "role": "admin", "tenant": "other"}), "tenant"),
        (json!({"name": "x".repeat(129), "role": "admin"}), "name"),
        (json!({"role": "admin"}), "name"),
        (json!({"name": "x", "role": "admin", "expires_at": "2025-01-01T00:00:00Z"}), "expires_at"),
    ] {
        let refused = make("admin", body).await;
        assert_eq!((refused.status, refused.at("/field")), (422, &json!(field)), "{:#}", refused.body);
    }
    // Pages.
    let page = server.send_as("admin", Method::GET, "/v1/keys?limit=1", None).await.ok();
    let next = text(&page, "/next_cursor");
    let rest = server.send_as("admin", Method::GET, &format!("/v1/keys?cursor={next}"), None).await.ok();
    assert_eq!(rest.at("/keys").as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_links_outlive_a_restart_and_the_door_stays_locked() {
    let folder = Folder::new();
    let file = format!("data_dir = '{}'", folder.path());
    let clock = ManualClock::new(Timestamp::from_millis(START));
    let server = Server::on(clock.clone(), &file).await;
    server.put("/v1/drivers/ana", json!({})).await.ok();
    let made = server.post("/v1/keys", json!({"name": "root", "role": "admin"})).await;
    let (id, root) = (text(&made, "/key/id").to_owned(), text(&made, "/secret").to_owned());
    server.get("/v1/stats").await.problem(401, "unauthenticated");
    server.send_as(&root, Method::POST, "/v1/orders", Some(order("o"))).await.ok();
    let link = server.send_as(&root, Method::POST, "/v1/orders/o/tracking-links", None).await.ok();
    let track = format!("/v1/track/{}", text(&link, "/token"));
    server.get(&track).await.ok();
    server.stop().await;

    let server = Server::on(clock.clone(), &file).await;
    server.get("/v1/stats").await.problem(401, "unauthenticated");
    server.send_as(&root, Method::GET, "/v1/stats", None).await.ok();
    server.get(&track).await.ok();
    server.send_as(&root, Method::DELETE, &format!("/v1/keys/{id}"), None).await.ok();
    server.stop().await;

    // Without any key in force nobody gets in: an empty keyring is not an open door.
    let server = Server::on(clock, &file).await;
    server.get("/v1/stats").await.problem(401, "unauthenticated");
    server.send_as(&root, Method::GET, "/v1/stats", None).await.problem(401, "unauthenticated");
    server.stop().await;
    assert!(!std::fs::read_to_string(Path::new(folder.path()).join("keys.json")).unwrap().contains(&root));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_one_order_until_it_ends() {
    let server = Server::with(&tenants()).await;
    server.driver("admin", "ana").await;
    server.order("admin", "o-1").await;
    server.send_as("other-admin", Method::POST, "/v1/orders", Some(order("o-1"))).await.ok();
    let make = async |who: &str, body: Value| {
        server.send_as(who, Method::POST, "/v1/orders/o-1/tracking-links", Some(body)).await
    };
    let link = make("merchant", json!({"valid_seconds": 3600})).await.ok();
    let path = format!("/v1/track/{}", text(&link, "/token"));
    let seen = server.get(&path).await.ok();
    assert_eq!(
        (seen.at("/order"), seen.at("/driver"), seen.at("/from")),
        (&json!("o-1"), &Value::Null, &json!("Pizza"))
    );

    // The driver is seen from pickup to delivery.
    let offer = server.offer("driver", "ana").await;
    server.send_as("driver", Method::POST, &format!("/v1/offers/{offer}/accept"), None).await.ok();
    let assigned = server.get(&path).await.ok();
    assert_eq!((text(&assigned, "/status"), assigned.at("/driver")), ("driver_assigned", &Value::Null));
    assert!(assigned.at("/eta/at").is_string());
    let step = async |step: &str| {
        let body = json!({"step": step});
        server.send_as("driver", Method::POST, "/v1/orders/o-1/progress", Some(body)).await.ok();
        server.get(&path).await.ok()
    };
    assert_eq!(step("picked_up").await.at("/driver/lat"), &json!(52.52));
    let delivered = step("delivered").await;
    assert_eq!((delivered.at("/driver"), delivered.at("/eta")), (&Value::Null, &Value::Null));
    assert!(delivered.at("/ended_at").is_string() && !delivered.body.to_string().contains("ana"));

    // Of the other tenant's order of the same name it shows nothing, and theirs nothing of this one.
    let theirs = make("other-admin", json!({})).await.ok();
    let theirs = server.get(&format!("/v1/track/{}", text(&theirs, "/token"))).await.ok();
    assert_eq!(theirs.at("/status"), "pending");

    // A link that was changed anywhere is none; nor is a link a key, or a key a link.
    let token = text(&link, "/token").to_owned();
    for place in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        let answer = server.get(&format!("/v1/track/{}", String::from_utf8(forged).unwrap())).await;
        // The last digits of a part may hold bits that count for nothing.
        let same = answer.status == 200
            && answer.at("/order") == "o-1"
            && answer.at("/link_expires_at") == link.at("/expires_at");
        assert!(same || answer.status == 404, "{place}: {:#}", answer.body);
        assert!(!same || token[place + 1..].chars().next().is_none_or(|next| next == '.'), "{place}");
    }
    server.send_as(&token, Method::GET, "/v1/orders/o-1", None).await.problem(401, "unauthenticated");
    server.get("/v1/track/admin").await.problem(404, "unknown_link");
    server.pass(3_600);
    server.get(&path).await.problem(404, "unknown_link");
    for wrong in [json!({"valid_seconds": 0}), json!({"valid_seconds": 1e9}), json!({"valid_seconds": "1"})] {
        make("merchant", wrong).await.problem(422, "invalid_value").field("valid_seconds");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_waits_and_nobody_else_does() {
    let rates = "[rates]\nreads_per_minute = 30\nsearches_per_minute = 20\ncommands_per_minute = 10\npositions_per_second = 4\n";
    let plain = |name: &str| key(name, "admin", "").replace("rate = 1000.0\n", "");
    let gateway = key("gate", "gateway", "").replace("rate = 1000.0\n", "");
    let server = Server::with(&[rates.into(), plain("a"), plain("b"), gateway].concat()).await;
    let get = async |who: &str, path: &str| server.send_as(who, Method::GET, path, None).await;
    for _ in 0..3 {
        get("a", "/v1/stats").await.ok();
    }
    let refused = get("a", "/v1/stats").await.problem(429, "rate_limited");
    assert_eq!(refused.headers["retry-after"], "2");
    get("b", "/v1/stats").await.ok();
    get("a", "/v1/nearest-drivers?lat=1&lng=1").await.ok();
    server.send_as("a", Method::PUT, "/v1/drivers/ana", Some(json!({}))).await.ok();
    let again = server.send_as("a", Method::PUT, "/v1/drivers/eve", Some(json!({}))).await;
    assert_eq!(again.problem(429, "rate_limited").headers["retry-after"], "6");
    get("b", "/v1/drivers/eve").await.problem(404, "unknown_driver");
    // A gateway by positions alone: as many requests as it likes, and a batch all or nothing.
    let batch = |size: usize| json!({"positions": vec![json!({"driver": "ana", "lat": 1, "lng": 1}); size]});
    let report = async |size: usize| server.send_as("gate", Method::POST, "/v1/positions", Some(batch(size))).await;
    for _ in 0..10 {
        server.pass(1);
        report(3).await.ok();
        report(2).await.problem(429, "rate_limited");
    }
    for _ in 0..3 {
        get("gate", "/v1/markets").await.ok();
    }
    get("gate", "/v1/markets").await.problem(429, "rate_limited");
    for _ in 0..3 {
        get("a", "/v1/stats").await.ok();
    }
    get("a", "/v1/stats").await.problem(429, "rate_limited");
    server.pass(2);
    get("a", "/v1/stats").await.ok();
    get("a", "/v1/stats").await.problem(429, "rate_limited");
    // What is not there, and what is not allowed, counts like everything else.
    server.pass(60);
    for path in ["/v1/orders/none", "/v1/drivers/none", "/v1/markets/none"] {
        get("a", path).await;
    }
    get("a", "/v1/stats").await.problem(429, "rate_limited");
    get("a", "/health/live").await.ok();
    server.stop().await;
}
