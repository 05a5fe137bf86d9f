//! Several markets in one server.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Server, order};
use h3o::{CellIndex, LatLng, Resolution};
use serde_json::{Value, json};
use std::fmt::Write;

const TWO_CITIES: &str = r#"
    [[markets]]
    id = "berlin"
    polygon = [[13.0, 52.3], [13.8, 52.3], [13.8, 52.7], [13.0, 52.7]]
    [[markets]]
    id = "munich"
    polygon = [[11.3, 48.0], [11.8, 48.0], [11.8, 48.3], [11.3, 48.3]]
    rules = { start_on = "placed" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn markets_are_found_by_the_pickup() {
    let server = Server::with(TWO_CITIES).await;
    assert_eq!(server.post("/v1/orders", order("b")).await.ok().at("/market"), "berlin");
    let mut munich = order("m");
    munich["pickup"] = json!({"lat": 48.14, "lng": 11.58});
    let taken = server.post("/v1/orders", munich.clone()).await.ok();
    assert_eq!((taken.at("/market"), taken.at("/dispatch")), (&json!("munich"), &json!("waiting")));
    munich["id"] = json!("n");
    munich["market"] = json!("berlin");
    server.post("/v1/orders", munich).await.problem(422, "outside_markets").field("pickup");
    let mut elsewhere = order("b");
    elsewhere["market"] = json!("munich");
    server.post("/v1/orders", elsewhere).await.problem(409, "order_differs");
    let mut nowhere = order("n");
    nowhere["pickup"] = json!({"lat": 0, "lng": 0});
    server.post("/v1/orders", nowhere).await.problem(422, "outside_markets").field("pickup");
    server.get("/v1/orders/n").await.problem(404, "unknown_order");

    server.put("/v1/drivers/ana", json!({})).await.problem(422, "which_market").field("market");
    server.put("/v1/drivers/ana", json!({"market": "paris"})).await.problem(404, "unknown_market");
    assert_eq!(server.put("/v1/drivers/ana", json!({"market": "berlin"})).await.status, 201);
    server.put("/v1/drivers/ana/rating", json!({"rating": 3})).await.ok();
    server.act("/v1/drivers/ana/shift/start").await.ok();
    server.put("/v1/drivers/ana", json!({"market": "munich"})).await.problem(409, "on_shift_elsewhere");
    server.act("/v1/drivers/ana/shift/end").await.ok();
    let moved = server.put("/v1/drivers/ana", json!({"market": "munich"})).await.ok();
    assert_eq!((moved.status, moved.at("/market"), moved.at("/rating")), (200, &json!("munich"), &json!(3.0)));
    assert_eq!(server.get("/v1/drivers").await.ok().at("/drivers").as_array().unwrap().len(), 1);
    let stats = server.get("/v1/stats").await.ok();
    let registered = |market: usize| stats.at(&format!("/markets/{market}/drivers/registered")).clone();
    assert_eq!((registered(0), registered(1)), (json!(0), json!(1)), "a driver is in one market");
    let markets = server.get("/v1/markets").await.ok();
    assert_eq!((markets.at("/markets/0/id"), markets.at("/markets/1/area")), (&json!("berlin"), &json!("polygon")));
    assert_eq!(server.get("/v1/markets/munich").await.ok().at("/window_seconds"), 1.0);
    server.get("/v1/markets/paris").await.problem(404, "unknown_market");
    server.stop().await;
}

fn cells(around: (f64, f64), resolution: Resolution, rings: u32) -> Vec<CellIndex> {
    LatLng::new(around.0, around.1).unwrap().to_cell(resolution).grid_disk(rings)
}

fn market(id: &str, cells: &[CellIndex], more: &str) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| format!("\"{cell}\"")).collect();
    format!("[[markets]]\nid = \"{id}\"\ncells = [{}]\n{more}\n", cells.join(", "))
}

#[tokio::test(flavor = "multi_thread")]
async fn h3_markets_have_the_orders_of_their_cells() {
    // West and east of Berlin meet; the east is described by cells of two sizes, and overlaps the west.
    let west = cells((52.52, 13.30), Resolution::Six, 1);
    let east = [cells((52.52, 13.45), Resolution::Six, 1), cells((52.45, 13.60), Resolution::Seven, 2)].concat();
    let inside = |area: &[CellIndex], lat: f64, lng: f64| {
        let here = LatLng::new(lat, lng).unwrap();
        area.iter().any(|cell| here.to_cell(cell.resolution()) == *cell)
    };
    let server = Server::with(&[market("west", &west, ""), market("east", &east, "")].concat()).await;
    let mut found = std::collections::BTreeMap::new();
    for (number, (row, column)) in (0..15).flat_map(|row| (0..20).map(move |column| (row, column))).enumerate() {
        let (lat, lng) = (52.40 + f64::from(row) * 0.02, 13.15 + f64::from(column) * 0.03);
        let expected = if inside(&west, lat, lng) {
            "west"
        } else if inside(&east, lat, lng) {
            "east"
        } else {
            "none"
        };
        *found.entry(expected).or_insert(0) += 1;
        let mut order = order(&format!("o-{number}"));
        order["pickup"] = json!({"lat": lat, "lng": lng});
        let answer = server.post("/v1/orders", order.clone()).await;
        match expected {
            "none" => drop(answer.problem(422, "outside_markets").field("pickup")),
            market => assert_eq!(answer.ok().at("/market"), market, "{lat} {lng}"),
        }
        // Where it is said, it has to be right as well; the west wins where both are, but the east may be asked for.
        for (id, area) in [("west", &west), ("east", &east)] {
            order["id"] = json!(format!("{id}-{number}"));
            order["market"] = json!(id);
            let answer = server.post("/v1/orders", order.clone()).await;
            if inside(area, lat, lng) {
                assert_eq!(answer.ok().at("/market"), id);
            } else {
                answer.problem(422, "outside_markets").field("pickup");
            }
        }
        let near = server.get(&format!("/v1/nearest-drivers?lat={lat}&lng={lng}")).await;
        match expected {
            "none" => drop(near.problem(422, "outside_markets").field("lat")),
            _ => drop(near.ok()),
        }
    }
    assert!(found.len() == 3 && found.values().all(|count| *count > 20), "{found:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_gets_the_orders_of_its_market() {
    let here = (52.52, 13.40);
    let (north, south) = (cells(here, Resolution::Nine, 0), cells(here, Resolution::Five, 0));
    let server = Server::with(&[market("north", &north, ""), market("south", &south, "")].concat()).await;
    server.put("/v1/drivers/ana", json!({"market": "north"})).await.ok();
    server.act("/v1/drivers/ana/shift/start").await.ok();
    server.report("", "ana").await;
    let mut below = order("below");
    below["pickup"] = json!({"lat": 52.515, "lng": 13.40});
    assert_eq!(server.post("/v1/orders", below).await.ok().at("/market"), "south");
    server.post("/v1/orders/below/kitchen", json!({"status": "ready"})).await.ok();
    server.pass(1);
    assert_eq!(server.get("/v1/orders/below").await.ok().at("/held"), "no_candidate");
    assert_eq!(server.get("/v1/drivers/ana/offer").await.ok().at("/offer"), &Value::Null);
    for path in ["/v1/orders/below/assign", "/v1/orders/below/progress"] {
        let by_ana = if path.ends_with("assign") {
            json!({"driver": "ana"})
        } else {
            json!({"driver": "ana", "step": "picked_up"})
        };
        server.post(path, by_ana).await.problem(409, "driver_elsewhere").field("driver");
    }
    let near = async |market: &str| {
        let near = server.get(&format!("/v1/nearest-drivers?lat=52.52&lng=13.4{market}")).await.ok();
        near.at("/drivers").as_array().unwrap().len()
    };
    assert_eq!((near("").await, near("&market=north").await, near("&market=south").await), (1, 1, 0));

    server.act("/v1/drivers/ana/shift/end").await.ok();
    server.put("/v1/drivers/ana", json!({"market": "south"})).await.ok();
    server.act("/v1/drivers/ana/shift/start").await.ok();
    assert_eq!((near("&market=north").await, near("&market=south").await), (0, 0), "it has not reported there yet");
    server.pass(10);
    server.report("", "ana").await;
    assert_eq!((near("&market=north").await, near("&market=south").await), (0, 1));
    assert_eq!(server.offer("", "ana").await, "south-1");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_market_says_so() {
    let here = (52.52, 13.40);
    let mut file =
        market("full", &cells(here, Resolution::Nine, 0), "rules = { limits = { orders = 1, drivers = 1 } }");
    file.write_str("[[markets]]\nid = \"rest\"").unwrap();
    let server = Server::with(&file).await;
    server.post("/v1/orders", order("o")).await.ok();
    server.put("/v1/drivers/ana", json!({"market": "full"})).await.ok();
    let events = async || server.get("/v1/stats?market=full").await.ok().at("/markets/0/events").clone();
    let before = events().await;
    let refused = server.post("/v1/orders", order("p")).await.problem(503, "full");
    assert_eq!(refused.headers["retry-after"], "1");
    server.put("/v1/drivers/bob", json!({"market": "full"})).await.problem(503, "full");
    server.get("/v1/drivers/bob").await.problem(404, "unknown_driver");
    assert_eq!(events().await, before);
    // What is known is, and the others have room.
    assert_eq!(server.post("/v1/orders", order("o")).await.status, 200);
    assert_eq!(server.put("/v1/drivers/ana", json!({"market": "full"})).await.status, 200);
    let mut elsewhere = order("p");
    elsewhere["pickup"] = json!({"lat": 0, "lng": 0});
    assert_eq!(server.post("/v1/orders", elsewhere).await.ok().at("/market"), "rest");
    assert_eq!(server.put("/v1/drivers/bob", json!({})).await.ok().at("/market"), "rest");
    // A driver the full market has no room for stays where it is.
    server.put("/v1/drivers/bob", json!({"market": "full"})).await.problem(503, "full");
    assert_eq!(server.get("/v1/drivers/bob").await.ok().at("/market"), "rest");
    server.stop().await;
}
