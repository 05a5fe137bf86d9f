//! The contract and the server say the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::contract::Contract;
use common::receiver::{Receiver, until};
use common::{Server, keys, order, planned_shift, rules};
use dispatch_server::{Sources, State, router};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_of_a_day_are_described() {
    let server = Server::start().await;
    let contract = Contract::of(&server).await;
    let see = async |id: &str, method: Method, path: &str, body: Option<Value>| {
        let answer = server.send_as("", method, path, body).await;
        contract.describes(id, &answer);
        answer.ok()
    };
    let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
    let registered = json!({"vehicle": "car", "capacity": 2, "skills": ["cold-box"]});
    see("registerDriver", put.clone(), "/v1/drivers/ana", Some(registered.clone())).await;
    see("registerDriver", put.clone(), "/v1/drivers/ana", Some(registered)).await;
    see("rateDriver", put.clone(), "/v1/drivers/ana/rating", Some(json!({"rating": 4.5}))).await;
    see("planShift", put.clone(), "/v1/drivers/ana/planned-shift", Some(planned_shift())).await;
    see("unplanShift", Method::DELETE, "/v1/drivers/ana/planned-shift", None).await;
    see("startShift", post.clone(), "/v1/drivers/ana/shift/start", None).await;
    let position = json!({"lat": 52.52, "lng": 13.4, "accuracy_m": 8, "battery_percent": 87.5});
    see("reportPosition", post.clone(), "/v1/drivers/ana/position", Some(position)).await;
    let items = json!([{"driver": "ana", "lat": 52.52, "lng": 13.4}, {"driver": "eve", "lat": 1, "lng": 1}, 7]);
    see("reportPositions", post.clone(), "/v1/positions", Some(json!({"positions": items}))).await;
    see("pauseShift", post.clone(), "/v1/drivers/ana/shift/pause", None).await;
    see("resumeShift", post.clone(), "/v1/drivers/ana/shift/resume", None).await;
    see("getDriverOffer", get.clone(), "/v1/drivers/ana/offer", None).await;
    for id in ["o", "p", "q", "r"] {
        let mut full = order(id);
        full["skills"] = json!(["cold-box"]);
        full["pay"] = json!({"fee_minor": 500});
        full["display"] = json!("2 Margherita");
        full["promised_at"] = json!("2026-01-01T01:00:00Z");
        see("submitOrder", post.clone(), "/v1/orders", Some(full.clone())).await;
        see("submitOrder", post.clone(), "/v1/orders", Some(full)).await;
    }
    see("explainOrder", get.clone(), "/v1/orders/o/explanation", None).await;
    let at = json!({"ready_at": "2026-01-01T00:05:00Z"});
    see("setReadyTime", put.clone(), "/v1/orders/o/ready-time", Some(at)).await;
    see("kitchenProgress", post.clone(), "/v1/orders/o/kitchen", Some(json!({"status": "ready"}))).await;
    let offer = server.offer("", "ana").await;
    see("getOpinion", get.clone(), "/v1/orders/o/opinion?driver=ana", None).await;
    see("whyNot", get.clone(), "/v1/orders/o/why-not?driver=ana", None).await;
    see("getDriverOffer", get.clone(), "/v1/drivers/ana/offer", None).await;
    see("getOffer", get.clone(), &format!("/v1/offers/{offer}"), None).await;
    see("declineOffer", post.clone(), &format!("/v1/offers/{offer}/decline"), None).await;
    see("kitchenProgress", post.clone(), "/v1/orders/p/kitchen", Some(json!({"status": "ready"}))).await;
    let offer = server.offer("", "ana").await;
    see("explainOrder", get.clone(), "/v1/orders/p/explanation", None).await;
    see("acceptOffer", post.clone(), &format!("/v1/offers/{offer}/accept"), None).await;
    see("getEta", get.clone(), "/v1/orders/p/eta", None).await;
    for step in ["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"] {
        see("getDriver", get.clone(), "/v1/drivers/ana", None).await;
        see("progressOrder", post.clone(), "/v1/orders/p/progress", Some(json!({"step": step}))).await;
        see("getOrder", get.clone(), "/v1/orders/p", None).await;
    }
    see("getEta", get.clone(), "/v1/orders/p/eta", None).await;
    see("kitchenProgress", post.clone(), "/v1/orders/q/kitchen", Some(json!({"status": "ready"}))).await;
    see("assignOrder", post.clone(), "/v1/orders/q/assign", Some(json!({"driver": "ana"}))).await;
    see("takeBackOrder", post.clone(), "/v1/orders/q/take-back", None).await;
    see("cancelOrder", post.clone(), "/v1/orders/q/cancel", Some(json!({"reason": "closed"}))).await;
    see("failOrder", post.clone(), "/v1/orders/r/fail", Some(json!({"reason": "lost"}))).await;
    for (id, path) in [
        ("listDrivers", "/v1/drivers"),
        ("nearestDrivers", "/v1/nearest-drivers?lat=52.5&lng=13.4"),
        ("listOrders", "/v1/orders?limit=2"),
        ("listMarkets", "/v1/markets"),
        ("getMarket", "/v1/markets/default"),
        ("getMarketConfig", "/v1/markets/default/config"),
        ("getStats", "/v1/stats"),
        ("getLive", "/health/live"),
        ("getReady", "/health/ready"),
        ("getOpenApi", "/openapi.json"),
        ("getAsyncApi", "/asyncapi.json"),
        ("getDocs", "/docs"),
        ("getDocsPage", "/docs/"),
        ("getDocsFile", "/docs/index.html"),
        ("getDocsFile", "/docs/swagger-ui.css"),
        ("getDocsFile", "/docs/swagger-ui-bundle.js"),
        ("getDocsFile", "/docs/favicon-16x16.png"),
    ] {
        see(id, get.clone(), path, None).await;
    }
    let mut full = rules();
    full["swap"] = json!({"penalty_points": 5});
    full["offers"] = json!({"mode": "direct"});
    full["bundles"] = json!({"mode": "nearby", "within_m": 500, "max_orders": 3, "min_gain_points": 0.5});
    full["reposition"] = json!({
        "every_seconds": 60, "look_ahead_seconds": 900, "worth_minutes": 1, "max_travel_seconds": 900, "rest_seconds": 300,
    });
    full["schedule"]["depart_at_probability"] = json!(0.5);
    see("setMarketConfig", put, "/v1/markets/default/config", Some(full)).await;
    see("getMarketConfig", get.clone(), "/v1/markets/default/config", None).await;
    let version = Some(json!({"version": 1}));
    see("rollBackMarketConfig", post.clone(), "/v1/markets/default/config/rollback", version).await;
    see("endShift", post, "/v1/drivers/ana/shift/end", None).await;
    let tag = server.get("/v1/orders/p").await.etag();
    let same = server.raw(get, "/v1/orders/p", &[("if-none-match", &tag)], Vec::new()).await;
    assert_eq!(same.status, 304);
    contract.describes("getOrder", &same);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_keys_are_described() {
    let server = Server::start().await;
    let contract = Contract::of(&server).await;
    server.post("/v1/orders", order("o")).await.ok();
    let link = server.act("/v1/orders/o/tracking-links").await.ok();
    contract.describes("createTrackingLink", &link);
    let seen = server.get(&format!("/v1/track/{}", link.at("/token").as_str().unwrap())).await.ok();
    contract.describes("trackOrder", &seen);
    contract.describes("trackOrder", &server.get("/v1/track/none").await);
    // The first key locks the door.
    let made = server.post("/v1/keys", json!({"name": "root", "role": "admin"})).await;
    contract.describes("createKey", &made);
    let (secret, id) = (made.at("/secret").as_str().unwrap(), made.at("/key/id").as_str().unwrap());
    contract.describes("listKeys", &server.send_as(secret, Method::GET, "/v1/keys", None).await.ok());
    let rotated = server.send_as(secret, Method::POST, &format!("/v1/keys/{id}/rotate"), None).await.ok();
    contract.describes("rotateKey", &rotated);
    let secret = rotated.at("/secret").as_str().unwrap();
    let revoked = server.send_as(secret, Method::DELETE, &format!("/v1/keys/{id}"), None).await.ok();
    contract.describes("revokeKey", &revoked);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_described() {
    let server = Server::with("[webhooks]\nallow_http = true\nallow_private = true\nattempts = 1").await;
    let contract = Contract::of(&server).await;
    let receiver = Receiver::start().await;
    receiver.answers(Some((500, None)));
    let see = async |id: &str, method: Method, path: &str, body: Option<Value>| {
        let answer = server.send_as("", method, path, body).await;
        contract.describes(id, &answer);
        answer.ok()
    };
    let new = json!({"url": receiver.url, "name": "erp", "events": ["picked_up", "delivered"], "markets": ["default"]});
    let made = see("createWebhook", Method::POST, "/v1/webhooks", Some(new)).await;
    let path = format!("/v1/webhooks/{}", made.at("/webhook/id").as_str().unwrap());
    see("testWebhook", Method::POST, &format!("{path}/test"), None).await;
    until(async || server.get(&path).await.at("/dead_letters") == 1, || server.pass(1)).await;
    see("getWebhook", Method::GET, &path, None).await;
    see("listWebhooks", Method::GET, "/v1/webhooks", None).await;
    see("listDeadLetters", Method::GET, &format!("{path}/dead-letters"), None).await;
    see("replayDeadLetters", Method::POST, &format!("{path}/dead-letters/replay"), None).await;
    see("rotateWebhookSecret", Method::POST, &format!("{path}/rotate-secret"), None).await;
    see("pauseWebhook", Method::POST, &format!("{path}/pause"), None).await;
    see("resumeWebhook", Method::POST, &format!("{path}/resume"), None).await;
    see("deleteWebhook", Method::DELETE, &path, None).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_described() {
    let server = Server::with(&keys()).await;
    let contract = Contract::of(&server).await;
    for (method, path, operation) in contract.operations() {
        let id = operation["operationId"].as_str().unwrap();
        // A stream that begins does not end.
        let after = if path.ends_with("/feed") { "?after=x" } else { "" };
        let path = path.replace("{id}", "default-7").replace("{file}", "none.js").replace("{token}", "none") + after;
        for key in ["", "admin", "dispatcher", "merchant", "driver"] {
            for body in [None, Some(json!({})), Some(json!([])), Some(json!({"x": 1}))] {
                contract.describes(id, &server.send_as(key, method.clone(), &path, body).await);
            }
        }
        let bearer = ("authorization", "Bearer admin");
        for headers in [&[bearer, JSON][..], &[bearer, ("content-type", "text/plain")], &[bearer]] {
            for body in [&b"{"[..], b"\xff", b"\x00", b"", b"null"] {
                let answer = server.raw(method.clone(), &path, headers, body.to_vec()).await;
                contract.describes(id, &answer);
            }
        }
    }
    server.driver("admin", "ana").await;
    let mut last = 200;
    for _ in 0..6 {
        let body = json!({"lat": 52.52, "lng": 13.4});
        let answer = server.send_as("admin", Method::POST, "/v1/drivers/ana/position", Some(body)).await;
        contract.describes("reportPosition", &answer);
        last = answer.status;
    }
    assert_eq!(last, 429);
    server.stop().await;
}

/// Sends a body to every operation that takes one: the sample of its schema, changed at each field in turn by `change`, which
/// sees the field's schema and its value. Gives every answer with where it was changed.
async fn changed(server: &Server, change: fn(&Value, &Value) -> Option<Value>) -> Vec<(String, common::Answer)> {
    let contract = Contract::of(server).await;
    let mut answers = Vec::new();
    for (method, path, operation) in contract.operations() {
        let Some(schema) = contract.body(operation) else { continue };
        let body = contract.sample(schema, "");
        let path = path.replace("{id}", "ana");
        for (pointer, schema) in contract.fields(schema, "") {
            let Some(value) = change(schema, body.pointer(&pointer).unwrap()) else { continue };
            let mut body = body.clone();
            *body.pointer_mut(&pointer).unwrap() = value;
            let answer = server.send_as("", method.clone(), &path, Some(body)).await;
            answers.push((format!("{method} {path} {pointer}"), answer));
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_no_list_of_its_values() {
    let server = Server::start().await;
    let as_list = |_: &Value, value: &Value| Some(value.as_object()?.values().cloned().collect());
    let answers = changed(&server, as_list).await;
    assert!(answers.len() > 12, "{}", answers.len());
    for (place, answer) in answers {
        assert!(answer.rules_out(), "{place}: {} {}", answer.status, answer.body);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_is_no_object() {
    let server = Server::start().await;
    let as_object = |schema: &Value, value: &Value| {
        schema["enum"].is_array().then(|| Value::from_iter([(value.as_str().unwrap(), Value::Null)]))
    };
    let answers = changed(&server, as_object).await;
    assert_eq!(answers.len(), 8);
    for (place, answer) in answers {
        assert!(answer.rules_out(), "{place}: {} {}", answer.status, answer.body);
    }
    server.stop().await;
}

/// The type of a schema's values, beside null.
fn kind(schema: &Value) -> &str {
    let kind = &schema["type"];
    kind.as_str().or_else(|| kind[0].as_str()).unwrap_or_default()
}

fn is_number(schema: &Value) -> bool {
    matches!(kind(schema), "integer" | "number")
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_those_of_json_schema() {
    let server = Server::start().await;
    let whole = changed(&server, |schema, value| is_number(schema).then(|| json!(value.as_f64()))).await;
    let least = changed(&server, |schema, _| schema.get("minimum").cloned()).await;
    let most = changed(&server, |schema, _| schema.get("maximum").cloned()).await;
    assert!(whole.len() > 15, "{}", whole.len());
    for (place, answer) in whole.into_iter().chain(least).chain(most) {
        assert!(!answer.rules_out(), "{place}: {} {}", answer.status, answer.body);
    }
    let part = changed(&server, |schema, _| (kind(schema) == "integer").then(|| json!(1.5))).await;
    let below = changed(&server, |schema, _| Some(json!(schema["minimum"].as_f64()? - 1.0))).await;
    let just_below = changed(&server, |schema, _| schema.get("exclusiveMinimum").cloned()).await;
    let above = changed(&server, |schema, _| Some(json!(schema["maximum"].as_f64()? + 1.0))).await;
    assert!(part.len() > 4 && below.len() > 15 && above.len() > 15 && just_below.len() == 2);
    for (place, answer) in part.into_iter().chain(below).chain(just_below).chain(above) {
        assert!(answer.rules_out(), "{place}: {} {}", answer.status, answer.body);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_are_counted_in_characters() {
    fn text(length: usize) -> Value {
        json!("\u{1f355}".repeat(length))
    }
    let server = Server::start().await;
    let full = changed(&server, |schema, _| Some(text(schema["maxLength"].as_u64()? as usize))).await;
    let over = changed(&server, |schema, _| Some(text(schema["maxLength"].as_u64()? as usize + 1))).await;
    assert!(full.len() > 6, "{}", full.len());
    for (place, answer) in full {
        assert!(!answer.rules_out(), "{place}: {} {}", answer.status, answer.body);
    }
    for (place, answer) in over {
        assert!(answer.rules_out(), "{place}: {} {}", answer.status, answer.body);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_sets_of_at_most_so_many() {
    let server = Server::start().await;
    let names = |count: usize| (0..count).map(|number| json!(format!("s{number}"))).collect::<Value>();
    for (skills, status) in [(names(16), 201), (names(17), 422), (json!(["a", "b", "a"]), 422)] {
        let driver = server.put(&format!("/v1/drivers/d{status}"), json!({"skills": skills})).await;
        let mut order = order(&format!("o{status}"));
        order["skills"] = skills;
        let order = server.post("/v1/orders", order).await;
        assert_eq!((driver.status, order.status), (status, status), "{} {}", driver.body, order.body);
        if status == 422 {
            driver.problem(422, "invalid_value").field("skills");
            order.problem(422, "invalid_value").field("skills");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_those_of_rfc_3339() {
    let server = Server::start().await;
    server.post("/v1/orders", order("o")).await.ok();
    let ready_at = async |time: &str| server.put("/v1/orders/o/ready-time", json!({"ready_at": time})).await;
    for time in ["2026-01-01t00:01:00z", "2026-01-01T01:01:00.123456789012+01:00", "2025-12-31T23:58:60.5-00:01"] {
        ready_at(time).await.ok();
    }
    for time in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999-23:59", "2024-12-31T23:59:60Z"] {
        ready_at(time).await.problem(422, "out_of_range").field("ready_at");
    }
    for time in ["2026-01-01T00:01:00", "2026-01-01 00:01:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:01:00.Z"] {
        ready_at(time).await.problem(422, "invalid_value").field("ready_at");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_an_item_stands_there_once() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.pass(5);
    let item = r#"{"driver":"eve","lat":52.52,"lng":13.4,"driver":"ana"}"#;
    let body = format!(r#"{{"positions":[{item},{item}]}}"#).into_bytes();
    let answer = server.raw(Method::POST, "/v1/positions", &[JSON], body).await.ok();
    assert_eq!(answer.at("/results/1/outcome"), "invalid");
    assert!(answer.at("/results/1/detail").as_str().unwrap().starts_with("driver: duplicate"), "{:#}", answer.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_entity_tags() {
    let server = Server::start().await;
    let tag = server.post("/v1/orders", order("o")).await.ok().etag();
    let get =
        async |known: &str| server.raw(Method::GET, "/v1/orders/o", &[("if-none-match", known)], Vec::new()).await;
    for known in [&tag, "*", &format!("W/{tag}"), &format!("\"a,b\", {tag}"), &format!(",{tag},,")] {
        assert_eq!(get(known).await.status, 304, "{known}");
    }
    assert_eq!(get("\"other\"").await.status, 200);
    let change = async |expected: &str| {
        let body = br#"{"status":"confirmed"}"#.to_vec();
        server.raw(Method::POST, "/v1/orders/o/kitchen", &[JSON, ("if-match", expected)], body).await
    };
    for wrong in ["", "other", "\"", "\"a\" \"b\"", "*, \"a\"", "w/\"a\"", "\"\u{fc}\""] {
        get(wrong).await.problem(422, "invalid_value").field("If-None-Match");
        change(wrong).await.problem(422, "invalid_value").field("If-Match");
    }
    change(&format!("W/{tag}")).await.problem(412, "changed");
    change(&format!("\"a,b\" , {tag}")).await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_the_server_are_checked_and_then_unknown() {
    let server = Server::start().await;
    for (path, status) in [
        ("/v1/offers/default-9999999999999999999", 404),
        ("/v1/offers/default-10000000000000000000", 422),
        ("/v1/offers/default-0", 422),
        ("/v1/orders?cursor=nowhere~o", 404),
        ("/v1/orders?cursor=~o", 422),
        ("/v1/drivers?cursor=nowhere", 422),
    ] {
        assert_eq!(server.get(path).await.status, status, "{path}");
    }
    // Every id that a driver may have leads to it.
    server.driver("", "nearest").await;
    assert_eq!(server.get("/v1/drivers/nearest").await.ok().at("/id"), "nearest");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_told_those_of_the_path() {
    let server = Server::with(&keys()).await;
    let contract = Contract::of(&server).await;
    for (path, known) in contract.0["paths"].as_object().unwrap() {
        for method in ["DELETE", "PATCH", "OPTIONS", "TRACE", "PUT", "POST", "QUERY"] {
            if known.get(method.to_lowercase()).is_some() {
                continue;
            }
            let path = path.replace("{id}", "x").replace("{file}", "x");
            let answer = server.raw(method.parse().unwrap(), &path, &[], Vec::new()).await;
            let allowed = answer.headers["allow"].to_str().unwrap().to_lowercase();
            let allowed: Vec<_> = allowed.split(',').map(str::trim).filter(|method| *method != "head").collect();
            let known: Vec<_> = known.as_object().unwrap().keys().collect();
            assert!(
                allowed.len() == known.len() && known.iter().all(|name| allowed.contains(&name.as_str())),
                "{path}"
            );
            answer.problem(405, "method_not_allowed");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_no_text_are_problems() {
    let server = Server::start().await;
    for path in
        ["/docs/%ff", "/docs/..%2f..%2fCargo.toml", "/%ff", "/v1/drivers/", "/v1//drivers", "/v1/orders/a%2fb/x"]
    {
        server.get(path).await.problem(404, "unknown_route");
    }
    for path in ["/v1/drivers/%ff", "/v1/orders/%00", "/v1/orders/a%2fb", "/v1/markets/%zz", "/v1/offers/%E2%82-1"] {
        server.get(path).await.problem(422, "invalid_value").field("id");
    }
    for query in ["limit=1&limit=2", "limit=%2B5x", "limit=", "limit=501", "limit=4294967296", "x=1", "market=%ff"] {
        server.get(&format!("/v1/orders?{query}")).await.problem(422, "invalid_value");
    }
    server.stop().await;
}

/// The first line of the answer to these bytes.
async fn status_line(server: &Server, request: Vec<u8>) -> String {
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let talk = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        // The server may stop to read before all is written.
        let _ = stream.write_all(&request);
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_as_the_contract_says() {
    // Room for a path that is too long, and not for one that is longer still.
    let server = Server::with("limits.header_bytes = 131072").await;
    let about = Contract::of(&server).await.0["info"]["description"].as_str().unwrap().to_owned();
    let long = |length: usize| format!("GET /v1/orders?market={} HTTP/1.1\r\n\r\n", "a".repeat(length));
    let headers = "x: y\r\n".repeat(200);
    for (request, status) in [
        (long(60_000), "422 Unprocessable Entity"),
        (long(70_000), "414 URI Too Long"),
        (long(140_000), "431 Request Header Fields Too Large"),
        (format!("GET / HTTP/1.1\r\n{headers}\r\n"), "431 Request Header Fields Too Large"),
        ("GET /a b HTTP/1.1\r\n\r\n".to_owned(), "400 Bad Request"),
        ("POST /v1/orders HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_owned(), "400 Bad Request"),
    ] {
        assert_eq!(status_line(&server, request.into_bytes()).await, format!("HTTP/1.1 {status}"));
        assert!(status.starts_with("422") || about.contains(&format!("({})", &status[..3])), "{about}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_follows_the_configuration() {
    let with = async |file: &str| {
        let server = Server::with(file).await;
        let contract = Contract::of(&server).await;
        server.stop().await;
        contract
    };
    let limited = with("[limits]\npage = 7\nbatch_fixes = 3").await;
    let limit = &limited.operation("listOrders")["parameters"][3];
    assert_eq!((&limit["name"], &limit["schema"]["maximum"]), (&json!("limit"), &json!(7)));
    let batch = &limited.0["components"]["schemas"]["ReportPositions"]["properties"]["positions"];
    assert_eq!(batch["maxItems"], 3);
    assert!(limited.operations().iter().all(|(_, _, operation)| operation.get("security").is_none()));
    assert!(with(&keys()).await.operation("listOrders")["security"].is_array());

    let sources = Sources { flags: vec!["durability=memory".into()], ..Sources::default() };
    let state = State::start(sources.load().unwrap()).unwrap();
    let app = axum::Router::new().nest("/a/b", router(state.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a/b/openapi.json", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    let nested: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(nested["servers"], json!([{"url": "/a/b"}]));
    state.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_to_operations_that_take_what_they_carry() {
    let server = Server::start().await;
    let contract = Contract::of(&server).await;
    let mut links = 0;
    for (_, _, operation) in contract.operations() {
        for response in operation["responses"].as_object().unwrap().values() {
            for link in response["links"].as_object().into_iter().flat_map(|links| links.values()) {
                links += 1;
                let target = contract.operation(link["operationId"].as_str().unwrap());
                for (name, from) in link["parameters"].as_object().unwrap() {
                    let taken = target["parameters"].as_array().unwrap();
                    assert!(taken.iter().any(|parameter| parameter["name"] == *name), "{link}");
                    let pointer = from.as_str().unwrap().strip_prefix("$response.body#/").unwrap();
                    let mut schema = &response["content"]["application/json"]["schema"];
                    for field in pointer.split('/') {
                        schema = contract.resolve(schema);
                        schema = if field == "0" { &schema["items"] } else { &schema["properties"][field] };
                    }
                    assert!(!schema.is_null(), "{link}");
                }
            }
        }
    }
    assert!(links > 20, "{links}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_of_streams_is_of_the_same_routes() {
    let server = Server::with(&keys()).await;
    let contract = Contract::of(&server).await;
    let streams = server.get("/asyncapi.json").await.ok().body;
    let channels = streams["channels"].as_object().unwrap();
    let mut found = 0;
    for (_, path, operation) in contract.operations() {
        let responses = &operation["responses"];
        let is_stream = responses["200"]["content"].get("text/event-stream").is_some();
        if !is_stream && responses.get("101").is_none() {
            continue;
        }
        found += 1;
        let channel = channels.iter().find(|(_, channel)| channel["address"] == path);
        let (name, channel) = channel.unwrap_or_else(|| panic!("no channel is at {path}"));
        for parameter in channel["parameters"].as_object().into_iter().flat_map(|parameters| parameters.keys()) {
            assert!(path.contains(&format!("{{{parameter}}}")), "{path}");
        }
        if is_stream {
            let told = &streams["operations"][operation["operationId"].as_str().unwrap()];
            assert_eq!(told["channel"]["$ref"], format!("#/channels/{name}"));
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let queried = parameters.filter(|parameter| parameter["in"] == "query").map(|parameter| &parameter["name"]);
            let described = told.pointer("/bindings/http/query/properties").and_then(Value::as_object);
            let described = described.into_iter().flat_map(|properties| properties.keys());
            assert_eq!(
                queried.filter_map(Value::as_str).collect::<BTreeSet<_>>(),
                described.map(String::as_str).collect(),
                "{path}"
            );
            assert_eq!(operation["security"].is_array(), told["security"].is_array(), "{path}");
        }
    }
    assert_eq!((found, channels.len()), (5, 6), "those and webhooks");
    server.stop().await;
}
