//! Requests that are wrong: a 4xx that names the field or the state, and nothing changed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Server, order, planned_shift, rules};
use reqwest::Method;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn wrong_bodies_are_named_and_change_nothing() {
    let server = Server::start().await;
    server.put("/v1/drivers/ana", json!({})).await.ok();
    server.post("/v1/orders", order("o")).await.ok();
    let before = server.get("/v1/stats").await.ok().at("/markets/0/events").clone();
    let place = r#"{"lat":1,"lng":2}"#;
    let table: &[(Method, &str, String, &str)] = &[
        (Method::POST, "/v1/orders", String::new(), "400 malformed_json -"),
        (Method::POST, "/v1/orders", "{".into(), "400 malformed_json -"),
        (Method::POST, "/v1/orders", "[".repeat(10_000), "422 invalid_value body"),
        (Method::POST, "/v1/positions", format!("{{\"positions\":{}", "[".repeat(10_000)), "400 malformed_json -"),
        (Method::POST, "/v1/orders", "{\"a\":".repeat(9_000), "422 invalid_value a"),
        (Method::POST, "/v1/orders", "{} {}".into(), "422 invalid_value id"),
        (Method::POST, "/v1/orders", "null".into(), "422 invalid_value body"),
        (Method::POST, "/v1/orders", format!(r#"{{"id":"x","pickup":{place}}}"#), "422 invalid_value dropoff"),
        (Method::POST, "/v1/orders", format!(r#"{{"id":"x","id":"y","pickup":{place}}}"#), "422 invalid_value id"),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"a/b","pickup":{place},"dropoff":{place}}}"#),
            "422 invalid_value id",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{{"lat":NaN,"lng":1}},"dropoff":{place}}}"#),
            "400 malformed_json -",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{{"lat":1e999,"lng":1}},"dropoff":{place}}}"#),
            "400 malformed_json -",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{{"lat":90.1,"lng":1}},"dropoff":{place}}}"#),
            "422 invalid_value pickup.lat",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{place},"dropoff":{{"lat":1,"lng":-181}}}}"#),
            "422 invalid_value dropoff.lng",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{place},"dropoff":{place},"units":0}}"#),
            "422 invalid_value units",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{place},"dropoff":{place},"preparation_seconds":-1}}"#),
            "422 invalid_value preparation_seconds",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{place},"dropoff":{place},"preparation_seconds":2678400}}"#),
            "422 out_of_range preparation_seconds",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{place},"dropoff":{place},"preparation_seconds":2678401}}"#),
            "422 invalid_value preparation_seconds",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{place},"dropoff":{place},"promised_at":"soon"}}"#),
            "422 invalid_value promised_at",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","pickup":{place},"dropoff":{place},"promised_at":"2020-01-01T00:00:00Z"}}"#),
            "422 out_of_range promised_at",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"x","market":"paris","pickup":{place},"dropoff":{place}}}"#),
            "404 unknown_market market",
        ),
        (
            Method::POST,
            "/v1/orders",
            format!(r#"{{"id":"o","pickup":{place},"dropoff":{place}}}"#),
            "409 order_differs -",
        ),
        (Method::POST, "/v1/orders/o/kitchen", r#"{"status":"eaten"}"#.into(), "422 invalid_value status"),
        (Method::POST, "/v1/orders/o/kitchen", r#"{"status":"placed"}"#.into(), "409 order_state -"),
        (Method::POST, "/v1/orders/x/kitchen", r#"{"status":"ready"}"#.into(), "404 unknown_order -"),
        (Method::POST, "/v1/orders/a%20b/kitchen", r#"{"status":"ready"}"#.into(), "422 invalid_value id"),
        (Method::POST, "/v1/orders/%ff/kitchen", r#"{"status":"ready"}"#.into(), "422 invalid_value id"),
        (
            Method::PUT,
            "/v1/orders/o/ready-time",
            r#"{"ready_at":"2020-01-01T00:00:00Z"}"#.into(),
            "422 out_of_range ready_at",
        ),
        (Method::POST, "/v1/orders/o/cancel", "{}".into(), "422 invalid_value reason"),
        (
            Method::POST,
            "/v1/orders/o/cancel",
            json!({"reason": "x".repeat(257)}).to_string(),
            "422 invalid_value reason",
        ),
        (Method::POST, "/v1/orders/o/progress", r#"{"step":"picked_up","driver":"ana"}"#.into(), "409 order_state -"),
        (Method::POST, "/v1/orders/o/assign", r#"{"driver":"ana"}"#.into(), "409 order_state -"),
        (Method::PUT, "/v1/drivers/ana", r#"{"vehicle":"horse"}"#.into(), "422 invalid_value vehicle"),
        (Method::PUT, "/v1/drivers/ana", r#"{"wings":2}"#.into(), "422 invalid_value wings"),
        (Method::PUT, "/v1/drivers/ana", r#"{"capacity":70000}"#.into(), "422 invalid_value capacity"),
        (Method::POST, "/v1/drivers/ana/shift/start", "[null]".into(), "422 invalid_value body"),
        (Method::POST, "/v1/drivers/ana/shift/start", r#"{"until":5}"#.into(), "422 invalid_value until"),
        (Method::POST, "/v1/drivers/ana/position", r#"{"lat":1}"#.into(), "422 invalid_value lng"),
        (
            Method::POST,
            "/v1/drivers/ana/position",
            r#"{"lat":1,"lng":1,"battery_percent":300}"#.into(),
            "422 invalid_value battery_percent",
        ),
        (Method::POST, "/v1/positions", r#"{"positions":{}}"#.into(), "422 invalid_value positions"),
    ];
    for (method, path, body, expected) in table {
        let answer = server.raw(method.clone(), path, &[JSON], body.clone().into_bytes()).await;
        let text = |name: &str| answer.body[name].as_str().unwrap_or("-");
        let found = format!("{} {} {}", answer.status, text("code"), text("field"));
        assert_eq!(found, *expected, "{path} {}: {}", &body[..body.len().min(100)], answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    assert_eq!(server.get("/v1/stats").await.ok().at("/markets/0/events"), &before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_problems_too() {
    let server = Server::with("[limits]\nbody_bytes = 2000\nbatch_fixes = 2\nbatch_bytes = 5000\npage = 2").await;
    for list in ["/v1/orders?", "/v1/drivers?", "/v1/nearest-drivers?lat=1&lng=1&"] {
        server.get(list.trim_end_matches(['?', '&'])).await.ok();
        server.get(&format!("{list}limit=3")).await.problem(422, "invalid_value").field("limit");
    }
    server.get("/v2").await.problem(404, "unknown_route");
    server.get("/docs/nothing.js").await.problem(404, "unknown_route");
    let answer = server.send_as("", Method::DELETE, "/v1/orders", None).await.problem(405, "method_not_allowed");
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"), "{:?}", answer.headers);
    let big = vec![b' '; 2_001];
    server.raw(Method::POST, "/v1/orders", &[JSON], big).await.problem(413, "body_too_large");
    let text = ("content-type", "text/plain");
    server.raw(Method::POST, "/v1/orders", &[text], b"{}".to_vec()).await.problem(415, "unsupported_media_type");
    let item = json!({"driver": "ana", "lat": 1, "lng": 1});
    let batch = json!({"positions": [item, item, item]});
    server.post("/v1/positions", batch).await.problem(422, "invalid_value").field("positions");
    for (query, field) in
        [("lat=1", "lng"), ("lat=NaN&lng=1", "lat"), ("lat=1&lng=1&x=1", "x"), ("lat=1&lng=1&radius_m=1e9", "radius_m")]
    {
        server.get(&format!("/v1/nearest-drivers?{query}")).await.problem(422, "invalid_value").field(field);
    }
    for (query, field) in [("", "driver"), ("?driver=a%20b", "driver"), ("?driver=ana&x=1", "x")] {
        server.get(&format!("/v1/orders/o/opinion{query}")).await.problem(422, "invalid_value").field(field);
        server.get(&format!("/v1/orders/o/why-not{query}")).await.problem(422, "invalid_value").field(field);
    }
    server.get("/v1/orders?status=eaten").await.problem(422, "invalid_value").field("status");
    server.stop().await;
}

/// The default rules, with another value (or none, if it is not given) at this pointer.
fn rules_with(pointer: &str, value: Option<Value>) -> Value {
    let mut wrong = rules();
    let (above, name) = pointer.rsplit_once('/').unwrap();
    match (wrong.pointer_mut(above).unwrap(), value) {
        (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value.unwrap(),
        (object, Some(value)) => object[name] = value,
        (object, None) => drop(object.as_object_mut().unwrap().remove(name).unwrap()),
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_rules_are_named_and_change_nothing() {
    let server = Server::start().await;
    let config = server.get("/v1/markets/default/config").await.ok();
    let same_term = json!({"term": "delay_min", "weight": 1});
    let often = json!({"every_seconds": 0.5, "look_ahead_seconds": 60, "worth_minutes": 1, "max_travel_seconds": 0, "rest_seconds": 0});
    for (pointer, value, code, field) in [
        // What the contract rules out.
        ("/window_seconds", Some(json!(0.009)), "invalid_value", "window_seconds"),
        ("/window_seconds", Some(json!("1")), "invalid_value", "window_seconds"),
        ("/windw", Some(json!(1)), "invalid_value", "windw"),
        ("/market", Some(json!("default")), "invalid_value", "market"),
        ("/search", None, "invalid_value", "search"),
        ("/search/radius_m", Some(json!(-1)), "invalid_value", "search.radius_m"),
        ("/search/paired", Some(json!(1_001)), "invalid_value", "search.paired"),
        ("/search/radius", Some(json!(1)), "invalid_value", "search.radius"),
        ("/score", Some(json!([])), "invalid_value", "score"),
        ("/score", Some(Value::from(vec![same_term.clone(); 33])), "invalid_value", "score"),
        ("/score/0/weight", Some(json!(1_000_001)), "invalid_value", "score[0].weight"),
        ("/offers/mode", Some(json!("all")), "invalid_value", "offers.mode"),
        ("/swap", Some(json!({})), "invalid_value", "swap.penalty_points"),
        // What is wrong for the sake of another rule, or of what the server knows.
        ("/search/radius_m", Some(json!(15_001)), "out_of_range", "search.max_radius_m"),
        ("/schedule/margin_seconds", Some(json!(1_081)), "out_of_range", "schedule.horizon_seconds"),
        ("/schedule/commit_ahead_seconds", Some(json!(2_401)), "out_of_range", "schedule.commit_ahead_seconds"),
        ("/score/1", Some(same_term), "out_of_range", "score[1].term"),
        ("/score/2/term", Some(json!("luck")), "out_of_range", "score[2].term"),
        ("/bundles/within_m", Some(json!(0)), "out_of_range", "bundles.within_m"),
        ("/bundles/mode", Some(json!("nearby")), "out_of_range", "bundles.within_m"),
        ("/offers/mode", Some(json!("direct")), "out_of_range", "offers.expires_after_seconds"),
        ("/offers/expires_after_seconds", None, "out_of_range", "offers.expires_after_seconds"),
        ("/offers/size", Some(json!(3)), "out_of_range", "offers.size"),
        ("/offers/size", Some(json!(1)), "invalid_value", "offers.size"),
        ("/offers/mode", Some(json!("wave")), "out_of_range", "offers.size"),
        ("/swap", Some(json!({"penalty_points": 1})), "out_of_range", "swap"),
        ("/reposition", Some(often), "out_of_range", "reposition.every_seconds"),
        ("/lifetimes/overdue_after_seconds", Some(json!(7_201)), "out_of_range", "lifetimes.fail_after_seconds"),
        ("/limits/drivers", Some(json!(1_000_001)), "out_of_range", "limits.drivers"),
    ] {
        let answer = server.put("/v1/markets/default/config", rules_with(pointer, value)).await;
        answer.problem(422, code).field(field);
    }
    let unknown = server.put("/v1/markets/nowhere/config", rules()).await;
    unknown.problem(404, "unknown_market").field("market");
    let several = json!({"radius_m": 2, "max_radius_m": 1, "candidates": 1, "busy_until_seconds": 60, "paired": 1});
    let answer = server.put("/v1/markets/default/config", rules_with("/search", Some(several))).await;
    let detail = answer.at("/detail").as_str().unwrap();
    assert!(
        detail.starts_with("search.max_radius_m: ") && detail.contains("; schedule.commit_ahead_seconds: "),
        "{detail}"
    );
    let back = async |body: Value| server.post("/v1/markets/default/config/rollback", body).await;
    back(json!({})).await.problem(422, "invalid_value").field("version");
    back(json!({"version": -1})).await.problem(422, "invalid_value").field("version");
    back(json!({"version": 1})).await.problem(404, "unknown_configuration").field("version");
    assert_eq!(server.get("/v1/markets/default/config").await.ok().body, config.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_shifts_are_named() {
    let server = Server::start().await;
    server.put("/v1/drivers/ana", json!({})).await.ok();
    for (field, value, code) in [
        ("from", json!("2025-12-31T23:59:59Z"), "out_of_range"),
        ("from", json!("noon"), "invalid_value"),
        ("from", json!("2026-01-01T05:00:01Z"), "out_of_range"),
        ("until", json!("2026-01-08T00:00:01Z"), "out_of_range"),
        ("until", json!(null), "invalid_value"),
        ("lat", json!(91), "invalid_value"),
        ("lng", json!(-181), "invalid_value"),
        ("pay", json!(1), "invalid_value"),
    ] {
        let mut shift = planned_shift();
        shift[field] = value;
        let backwards = shift["from"] == "2026-01-01T05:00:01Z";
        let named = if backwards { "until" } else { field };
        server.put("/v1/drivers/ana/planned-shift", shift).await.problem(422, code).field(named);
    }
    assert_eq!(server.get("/v1/drivers/ana").await.ok().at("/planned_shift"), &Value::Null);
    server.stop().await;
}
