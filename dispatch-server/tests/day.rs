//! An order from submission to the customer, and what happens on other days.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{START, Server, order};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_from_submission_to_delivered() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    let submitted = server.post("/v1/orders", order("o")).await.ok();
    assert_eq!((submitted.status, submitted.at("/status").as_str()), (201, Some("pending")));
    assert_eq!(server.post("/v1/orders", order("o")).await.status, 200);
    server.post("/v1/orders/o/kitchen", json!({"status": "ready"})).await.ok();
    server.pass(1);

    let offered = server.get("/v1/orders/o").await.ok();
    assert_eq!(offered.at("/dispatch"), "offered");
    let offer = server.get("/v1/drivers/ana/offer").await.ok();
    let id = offer.at("/offer/id").as_str().unwrap();
    assert_eq!(offered.at("/offers"), &json!([id]));
    assert_eq!(offer.at("/offer/orders/0/pickup/label"), "Pizza");
    assert_eq!(offer.at("/offer/route").as_array().unwrap().len(), 2);
    let accepted = server.act(&format!("/v1/offers/{id}/accept")).await.ok();
    assert_eq!(accepted.at("/state"), "accepted");
    assert_eq!(server.get("/v1/orders/o").await.ok().at("/offers"), &json!([]));

    let eta = server.get("/v1/orders/o/eta").await.ok();
    let parts = eta.at("/eta").as_object().unwrap().values().filter_map(serde_json::Value::as_f64).sum::<f64>();
    let at: jiff::Timestamp = eta.at("/eta/at").as_str().unwrap().parse().unwrap();
    assert!((at.as_millisecond() - START) as f64 / 1e3 - 1.0 - parts < 0.01, "{:#}", eta.body);
    let why = server.get("/v1/orders/o/explanation").await.ok();
    assert_eq!(why.at("/decision/best/0/driver"), "ana");
    assert_eq!(why.at("/decision/best/0/chosen"), true);
    assert!(why.at("/text").as_str().unwrap().contains("ana"));

    for (step, status) in [
        ("arrived_at_pickup", "driver_assigned"),
        ("picked_up", "picked_up"),
        ("departed", "in_transit"),
        ("arrived_at_dropoff", "in_transit"),
        ("delivered", "delivered"),
    ] {
        server.pass(60);
        server.report("", "ana").await;
        let order = server.post("/v1/orders/o/progress", json!({"step": step})).await.ok();
        assert_eq!(order.at("/status"), status, "{step}");
    }
    assert_eq!(server.get("/v1/orders/o/eta").await.ok().at("/eta"), &json!(null));
    let stats = server.get("/v1/stats").await.ok();
    assert_eq!(stats.at("/markets/0/orders/by_status/delivered"), 1);
    assert_eq!(stats.at("/markets/0/orders/median_delivery_seconds"), 301.0);
    assert_eq!(stats.at("/markets/0/drivers/on_shift"), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_a_wave_to_accept_gets_the_order() {
    let server = Server::with("[rules]\noffers = { wave = { size = 2, expires_after = 30000 } }").await;
    server.driver("", "ana").await;
    server.driver("", "bob").await;
    server.order("", "o").await;
    let ana = server.offer("", "ana").await;
    let bob = server.get("/v1/drivers/bob/offer").await.ok().at("/offer/id").as_str().unwrap().to_owned();
    let mut both = [ana.clone(), bob.clone()];
    both.sort();
    assert_eq!(server.get("/v1/orders/o").await.ok().at("/offers"), &json!(both));
    server.act(&format!("/v1/offers/{bob}/accept")).await.ok();
    let late = server.act(&format!("/v1/offers/{ana}/accept")).await.problem(409, "offer_closed");
    assert!(late.at("/detail").as_str().unwrap().contains("was taken by another driver"), "{late:?}");
    assert_eq!(server.get(&format!("/v1/offers/{ana}")).await.ok().at("/state"), "withdrawn");
    let taken = server.get("/v1/orders/o").await.ok();
    assert_eq!((taken.at("/driver"), taken.at("/offers")), (&json!("bob"), &json!([])));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_are_declined_and_expire() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.order("", "o").await;
    let offer = server.offer("", "ana").await;
    let declined = server.act(&format!("/v1/offers/{offer}/decline")).await.ok();
    assert_eq!(declined.at("/state"), "declined");
    server.act(&format!("/v1/offers/{offer}/accept")).await.problem(409, "offer_closed");

    server.driver("", "bob").await;
    server.pass(15);
    server.report("", "bob").await;
    let offer = server.offer("", "bob").await;
    server.pass(30);
    server.act(&format!("/v1/offers/{offer}/accept")).await.problem(409, "offer_closed");
    assert_eq!(server.get(&format!("/v1/offers/{offer}")).await.ok().at("/state"), "expired");
    server.act("/v1/offers/default-99/accept").await.problem(404, "unknown_offer");
    server.act("/v1/offers/nowhere-1/accept").await.problem(404, "unknown_offer");
    server.act("/v1/offers/1/accept").await.problem(422, "invalid_value").field("id");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatchers_step_in() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.driver("", "bob").await;
    server.order("", "o").await;
    server.post("/v1/orders/o/assign", json!({"driver": "ana"})).await.ok();
    let moved = server.post("/v1/orders/o/assign", json!({"driver": "bob"})).await.ok();
    assert_eq!(moved.at("/driver"), "bob");
    server.post("/v1/orders/o/assign", json!({"driver": "bob"})).await.problem(409, "driver_state");
    server.post("/v1/orders/o/assign", json!({"driver": "eve"})).await.problem(404, "unknown_driver");
    let progress = json!({"step": "picked_up", "driver": "ana"});
    server.post("/v1/orders/o/progress", progress).await.problem(409, "not_yours");
    assert_eq!(server.act("/v1/orders/o/take-back").await.ok().at("/dispatch"), "waiting");
    server.act("/v1/orders/o/take-back").await.problem(409, "order_state");
    server.post("/v1/orders/o/progress", json!({"step": "picked_up"})).await.problem(409, "no_driver");
    let cancelled = server.post("/v1/orders/o/cancel", json!({"reason": "closed"})).await.ok();
    assert_eq!((cancelled.at("/status"), cancelled.at("/reason")), (&json!("cancelled"), &json!("closed")));

    server.order("", "p").await;
    let customer = json!({"reason": "hungry no more", "on_behalf_of": "customer"});
    server.post("/v1/orders/p/cancel", customer).await.problem(409, "not_allowed");
    assert_eq!(server.post("/v1/orders/p/fail", json!({"reason": "lost"})).await.ok().at("/status"), "failed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_guard_changes() {
    let server = Server::start().await;
    let first = server.post("/v1/orders", order("o")).await.ok().etag();
    assert_eq!(server.get("/v1/orders/o").await.etag(), first);
    let same = server.raw(Method::GET, "/v1/orders/o", &[("if-none-match", &first)], Vec::new()).await;
    assert_eq!(same.status, 304);

    let kitchen = async |tag: &str, status: &str| {
        let headers = [("if-match", tag), ("content-type", "application/json")];
        let body = json!({"status": status}).to_string().into_bytes();
        server.raw(Method::POST, "/v1/orders/o/kitchen", &headers, body).await
    };
    kitchen(&format!("\"other\", {first}"), "confirmed").await.ok();
    // The first window has found that nobody can take it, which is news, too.
    let second = server.get("/v1/orders/o").await.etag();
    assert_ne!(first, second);
    kitchen(&first, "ready").await.problem(412, "changed");
    assert_eq!(server.get("/v1/orders/o").await.etag(), second, "a refusal changes nothing");
    kitchen("*", "ready").await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shifts_and_ratings() {
    let server = Server::start().await;
    server.put("/v1/drivers/ana", json!({"vehicle": "bicycle", "capacity": 2, "skills": ["cold-box"]})).await.ok();
    server.act("/v1/drivers/ana/shift/end").await.problem(409, "driver_state");
    server.act("/v1/drivers/ana/shift/resume").await.problem(409, "driver_state");
    let started = server.post("/v1/drivers/ana/shift/start", json!({"until": "2026-01-01T08:00:00Z"})).await.ok();
    assert_eq!((started.at("/shift"), started.at("/capacity")), (&json!("on"), &json!(2)));
    assert_eq!(started.at("/shift_until"), "2026-01-01T08:00:00.000Z");
    server.act("/v1/drivers/ana/shift/start").await.problem(409, "driver_state");
    assert_eq!(server.act("/v1/drivers/ana/shift/pause").await.ok().at("/paused"), true);
    assert_eq!(server.act("/v1/drivers/ana/shift/resume").await.ok().at("/paused"), false);
    assert_eq!(server.put("/v1/drivers/ana/rating", json!({"rating": 4.5})).await.ok().at("/rating"), 4.5);
    server.put("/v1/drivers/ana/rating", json!({"rating": 5.5})).await.problem(422, "invalid_value").field("rating");
    assert_eq!(server.act("/v1/drivers/ana/shift/end").await.ok().at("/shift"), "off");
    let late = json!({"until": "2025-01-01T08:00:00Z"});
    server.post("/v1/drivers/ana/shift/start", late).await.problem(422, "out_of_range").field("until");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_and_who_is_near() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.put("/v1/drivers/off", json!({})).await.ok();
    let near = "/v1/nearest-drivers?lat=52.52&lng=13.41&radius_m=2000&limit=5";
    let found = server.get(near).await.ok();
    assert_eq!(found.at("/drivers").as_array().unwrap().len(), 1);
    assert!((found.at("/drivers/0/distance_m").as_f64().unwrap() - 676.6).abs() < 1.0, "{:#}", found.body);

    server.pass(1);
    let batch = json!({"positions": [
        {"driver": "ana", "lat": 52.52, "lng": 13.40},
        {"driver": "ana", "lat": 52.52, "lng": 13.40},
        {"driver": "ana", "lat": 48.0, "lng": 11.0, "at": "2026-01-01T00:00:02Z"},
        {"driver": "ana", "lat": 52.52, "lng": 13.40, "at": "2025-12-31T23:00:00Z"},
        {"driver": "ana", "lat": 52.52, "lng": 13.40, "at": "2026-01-01T00:10:00Z"},
        {"driver": "ana", "lat": 52.52, "lng": 13.40},
        {"driver": "eve", "lat": 52.52, "lng": 13.40},
        {"driver": "off", "lat": 91, "lng": 13.40},
        {"driver": "off", "lat": 52.52, "lng": 13.40, "colour": "red"},
        {"driver": "off", "lat": 52.52, "lng": 13.40},
    ]});
    let results = server.post("/v1/positions", batch).await.ok();
    let outcomes: Vec<_> =
        results.at("/results").as_array().unwrap().iter().map(|item| item["outcome"].clone()).collect();
    assert_eq!(
        outcomes,
        [
            "moved",
            "stale",
            "too_fast",
            "too_old",
            "from_future",
            "rate_limited",
            "unknown_driver",
            "invalid",
            "invalid",
            "moved"
        ]
    );
    assert!(results.at("/results/7/detail").as_str().unwrap().contains("lat"));
    let body = json!({"lat": 52.52, "lng": 13.40});
    server.post("/v1/drivers/ana/position", body.clone()).await.problem(429, "rate_limited");
    server.post("/v1/drivers/eve/position", body).await.problem(404, "unknown_driver");
    let old = json!({"lat": 52.52, "lng": 13.40, "at": "2025-12-31T23:00:00Z"});
    server.post("/v1/drivers/off/position", old).await.problem(422, "too_old").field("at");
    server.act("/v1/drivers/ana/shift/pause").await.ok();
    assert_eq!(server.get(near).await.ok().at("/drivers"), &json!([]), "the paused and those off shift are not near");
    server.act("/v1/drivers/ana/shift/resume").await.ok();
    server.pass(31);
    assert_eq!(server.get(near).await.ok().at("/drivers"), &json!([]), "nor who was not heard of");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_have_pages() {
    let server = Server::start().await;
    for number in 0..7 {
        server.post("/v1/orders", order(&format!("o-{number}"))).await.ok();
        server.put(&format!("/v1/drivers/d-{number}"), json!({})).await.ok();
    }
    server.post("/v1/orders/o-3/kitchen", json!({"status": "confirmed"})).await.ok();
    for (list, things) in [("/v1/orders", "orders"), ("/v1/drivers", "drivers")] {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("{list}?limit=3{cursor}")).await.ok();
            ids.extend(page.body[things].as_array().unwrap().iter().map(|thing| thing["id"].clone()));
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let expected: Vec<_> = (0..7).map(|number| format!("{}-{number}", &things[..1])).collect();
        assert_eq!(ids, expected);
        server.get(&format!("{list}?limit=0")).await.problem(422, "invalid_value").field("limit");
        server.get(&format!("{list}?cursor=x")).await.problem(422, "invalid_value").field("cursor");
        server.get(&format!("{list}?cursor=x~y")).await.problem(404, "unknown_market").field("cursor");
        server.get(&format!("{list}?market=x")).await.problem(404, "unknown_market");
    }
    let confirmed = server.get("/v1/orders?status=confirmed").await.ok();
    assert_eq!(confirmed.at("/orders/0/id"), "o-3");
    assert_eq!(confirmed.at("/orders").as_array().unwrap().len(), 1);
    assert_eq!(server.get("/v1/drivers?shift=on").await.ok().at("/drivers"), &json!([]));
    server.stop().await;
}
