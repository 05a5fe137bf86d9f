//! Positions as they come: with how a driver moves, as lines, and as often as is set.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::contract::Contract;
use common::{Answer, Server, keys};
use reqwest::Method;
use serde_json::{Value, json};

const LINES: (&str, &str) = ("content-type", "application/x-ndjson; charset=utf-8");

async fn lines(server: &Server, text: impl Into<Vec<u8>>) -> Answer {
    server.raw(Method::POST, "/v1/positions", &[LINES], text.into()).await
}

#[tokio::test]
async fn one_bad_line_does_not_refuse_the_rest() {
    let server = Server::start().await;
    for id in ["ana", "bob"] {
        server.put(&format!("/v1/drivers/{id}"), json!({})).await.ok();
    }
    let text = "{\"driver\": \"ana\", \"lat\": 52.5, \"lng\": 13.4, \"at\": \"2025-12-31T23:59:50Z\"}\n\
                {\"driver\": \"ana\", \"lat\": 52.5, \"lng\": 13.4}\r\n\
                \n\
                {\"driver\": \"ana\", \"lat\": 91, \"lng\": 13.4}\n\
                not json\n\
                [\"ana\", 52.5, 13.4]\n\
                {\"driver\": \"eve\", \"lat\": 52.5, \"lng\": 13.4}\n\
                {\"driver\": \"bob\", \"lat\": 52.5, \"lng\": 13.4, \"heading_deg\": 90}";
    let answer = lines(&server, text).await.ok();
    Contract::of(&server).await.describes("reportPositions", &answer);
    assert_eq!(answer.body["lines"], 7);
    let outcomes = answer.body["outcomes"].as_object().unwrap();
    let counted: Vec<_> = outcomes.iter().filter(|(_, count)| **count != 0).collect();
    assert_eq!(json!(counted), json!([["invalid", 3], ["moved", 3], ["unknown_driver", 1]]));
    let rejected = answer.body["rejected"].as_array().unwrap();
    let listed = rejected.iter().map(|line| (line["line"].as_u64().unwrap(), line["outcome"].as_str().unwrap()));
    let listed: Vec<_> = listed.collect();
    assert_eq!(listed, [(4, "invalid"), (5, "invalid"), (6, "invalid"), (7, "unknown_driver")]);
    assert!(rejected[0]["detail"].as_str().unwrap().starts_with("lat: "), "{}", rejected[0]);
    assert!(rejected[3].get("detail").is_none());
    assert_eq!(server.get("/v1/drivers/bob").await.ok().body["position"]["heading_deg"], 90.0);
    assert_eq!(lines(&server, "").await.ok().body["lines"], 0);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_is_limited_in_its_lines_and_as_a_whole() {
    let server = Server::with("[limits]\nline_bytes = 256\nstream_bytes = 40000").await;
    server.put("/v1/drivers/ana", json!({})).await.ok();
    let good = "{\"driver\": \"ana\", \"lat\": 52.5, \"lng\": 13.4}\n";
    let long = format!("{{\"driver\": \"ana\", \"network\": \"{}\"}}\n", "x".repeat(300));
    let answer = lines(&server, format!("{long}{good}{long}")).await.ok();
    assert_eq!((&answer.body["outcomes"]["moved"], &answer.body["outcomes"]["invalid"]), (&json!(1), &json!(2)));
    assert_eq!(answer.at("/rejected/1/detail"), "must have at most 256 bytes");
    assert_eq!(answer.at("/rejected/1/line"), 3);
    let many = lines(&server, "x\n".repeat(20_000)).await.ok();
    assert_eq!((&many.body["lines"], many.body["rejected"].as_array().unwrap().len()), (&json!(20_000), 100));
    lines(&server, "x\n".repeat(20_001)).await.problem(413, "body_too_large");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_counts_for_whoever_sends_it() {
    let server = Server::with(&format!("[rates]\npositions_per_second = 1\n{}", keys())).await;
    server.send_as("admin", Method::PUT, "/v1/drivers/ana", Some(json!({}))).await.ok();
    server.send_as("admin", Method::PUT, "/v1/drivers/bob", Some(json!({}))).await.ok();
    let send = async |key: &str, text: String| {
        let bearer = format!("Bearer {key}");
        let headers = [LINES, ("authorization", bearer.as_str())];
        server.raw(Method::POST, "/v1/positions", &headers, text.into_bytes()).await
    };
    let of =
        |driver: &str, count: usize| format!("{{\"driver\":\"{driver}\",\"lat\":52.5,\"lng\":13.4}}\n").repeat(count);
    // A thousand a second: of what comes together either all are looked at or none.
    let many = send("gateway", of("eve", 1_200)).await.ok();
    let count = |outcome: &str| many.body["outcomes"][outcome].as_u64().unwrap();
    assert!((201..=456).contains(&count("rate_limited")), "{:#}", many.body);
    assert_eq!((count("rate_limited") + count("unknown_driver"), many.at("/lines")), (1_200, &json!(1_200)));
    server.pass(1);
    let one = send("gateway", of("bob", 7)).await.ok();
    let count = |outcome: &str| one.body["outcomes"][outcome].as_u64().unwrap();
    assert_eq!(["moved", "stale", "rate_limited"].map(count), [1, 4, 2]);
    let own = send("driver", format!("{}{}", of("ana", 1), of("bob", 1))).await.ok();
    assert_eq!((own.at("/outcomes/moved"), own.at("/rejected/0/outcome")), (&json!(1), &json!("unknown_driver")));
    send("merchant", of("ana", 1)).await.problem(403, "forbidden");
    server.stop().await;
}

#[tokio::test]
async fn how_a_driver_moves_is_shown_where_it_was_said() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    let shown = async || server.get("/v1/drivers/ana").await.ok().body["position"].clone();
    let has = |shown: &Value, field: &str| shown.get(field).is_some();
    let plain = shown().await;
    assert!(!["accuracy_m", "speed_mps", "heading_deg"].iter().any(|field| has(&plain, field)), "{plain}");
    server.pass(1);
    let moving = json!({"lat": 52.52, "lng": 13.4, "accuracy_m": 4.96, "speed_mps": 4.201, "heading_deg": 360});
    server.post("/v1/drivers/ana/position", moving).await.ok();
    let at = "2026-01-01T00:00:01.000Z";
    let expected =
        json!({"lat": 52.52, "lng": 13.4, "at": at, "accuracy_m": 5.0, "speed_mps": 4.2, "heading_deg": 0.0});
    assert_eq!(shown().await, expected);
    server.pass(1);
    let item = json!({"driver": "ana", "lat": 52.52, "lng": 13.4, "speed_mps": 1});
    server.post("/v1/positions", json!({"positions": [item]})).await.ok();
    let batched = shown().await;
    assert_eq!((&batched["speed_mps"], has(&batched, "heading_deg")), (&json!(1.0), false));
    let answer = server.get("/v1/drivers/ana").await;
    Contract::of(&server).await.describes("getDriver", &answer);
    server.stop().await;
}

#[tokio::test]
async fn a_driver_reports_as_often_as_is_set() {
    let server = Server::with("[fixes]\nper_second = 0.5\nburst = 2").await;
    server.put("/v1/drivers/ana", json!({})).await.ok();
    let here = json!({"lat": 52.52, "lng": 13.4});
    let report = async || server.post("/v1/drivers/ana/position", here.clone()).await;
    report().await.ok();
    report().await.ok();
    report().await.problem(429, "rate_limited");
    server.pass(1);
    report().await.problem(429, "rate_limited");
    server.pass(1);
    report().await.ok();
    report().await.problem(429, "rate_limited");
    server.stop().await;
}
