//! What dispatchers ask before they step in, and what admins set: opinions, rules of markets, and the roster.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Server, keys, order};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_opinion_says_what_an_assignment_would_come_to() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.driver("", "bob").await;
    server.put("/v1/drivers/eve", json!({})).await.ok();
    server.post("/v1/orders", order("o")).await.ok();
    let opinion = "/v1/orders/o/opinion?driver=";
    server.get(&format!("{opinion}ana")).await.problem(409, "order_state");
    server.post("/v1/orders/o/kitchen", json!({"status": "confirmed"})).await.ok();
    server.pass(1);
    let (ana, bob) = (server.get(&format!("{opinion}ana")).await.ok(), server.get(&format!("{opinion}bob")).await.ok());
    assert_eq!((ana.at("/rank"), bob.at("/rank"), bob.at("/candidates")), (&json!(1), &json!(2), &json!(2)));
    assert_eq!((bob.at("/best_other/driver"), bob.at("/excluded")), (&json!("ana"), &Value::Null));
    assert!(bob.at("/prospect/terms/delay_min").is_number() && bob.at("/price").is_number());
    assert!(bob.at("/prospect/deliver_at").as_str() > bob.at("/prospect/pickup_at").as_str());
    server.act("/v1/drivers/ana/shift/pause").await.ok();
    let paused = server.get(&format!("{opinion}ana")).await.ok();
    assert_eq!((paused.at("/excluded"), paused.at("/prospect")), (&json!("paused"), &Value::Null));

    server.get(&format!("{opinion}eve")).await.problem(409, "driver_state");
    server.get(&format!("{opinion}x")).await.problem(404, "unknown_driver");
    server.get("/v1/orders/x/opinion?driver=ana").await.problem(404, "unknown_order");
    server.get("/v1/orders/o/opinion").await.problem(422, "invalid_value").field("driver");
    server.get(&format!("{opinion}a%20b")).await.problem(422, "invalid_value").field("driver");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_answers_why_not() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.put("/v1/drivers/eve", json!({})).await.ok();
    server.post("/v1/orders", order("o")).await.ok();
    let ask = async |driver: &str| server.get(&format!("/v1/orders/o/why-not?driver={driver}")).await;
    assert_eq!(ask("ana").await.ok().at("/answer"), "nothing");
    server.post("/v1/orders/o/kitchen", json!({"status": "ready"})).await.ok();
    server.offer("", "ana").await;
    let ana = ask("ana").await.ok();
    assert_eq!(
        (ana.at("/answer"), ana.at("/rank"), ana.at("/considered/chosen")),
        (&json!("weighed"), &json!(1), &json!(true))
    );
    let eve = ask("eve").await.ok();
    assert_eq!((eve.at("/answer"), eve.at("/beyond/candidates")), (&json!("beyond"), &json!(1)));
    ask("x").await.problem(404, "unknown_driver");
    let explained = server.get("/v1/orders/o/explanation").await.ok();
    assert_eq!(explained.at("/decision/with"), &json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_set_the_rules_and_go_back() {
    let server = Server::with(&keys()).await;
    let path = "/v1/markets/default/config";
    let put = async |rules: &Value| server.send_as("admin", Method::PUT, path, Some(rules.clone())).await;
    let first = server.send_as("admin", Method::GET, path, None).await.ok();
    assert_eq!((first.at("/version"), first.at("/former_versions")), (&json!(1), &json!([])));
    let mut rules = first.at("/rules").clone();
    rules["window"] = json!(2_000);
    let second = put(&rules).await.ok();
    assert_eq!((second.at("/version"), second.at("/rules")), (&json!(2), &rules));
    assert_eq!(second.at("/former_versions"), &json!([1]));

    let wrong = |key: &str, value: Value| {
        let mut wrong = rules.clone();
        wrong[key] = value;
        wrong
    };
    put(&wrong("window", json!(0))).await.problem(422, "invalid_value").field("window");
    put(&wrong("window", json!("x"))).await.problem(422, "invalid_value").field("window");
    put(&wrong("windw", json!(1))).await.problem(422, "invalid_value").field("windw");
    put(&wrong("market", json!("other"))).await.problem(422, "invalid_value").field("market");
    put(&wrong("score", json!([{"term": "luck", "weight": 1.0}])))
        .await
        .problem(422, "invalid_value")
        .field("score[0].term");
    let mut missing = rules.clone();
    missing.as_object_mut().unwrap().remove("search");
    put(&missing).await.problem(422, "invalid_value").field("search");
    let body = Some(rules.clone());
    server.send_as("admin", Method::PUT, "/v1/markets/x/config", body).await.problem(404, "unknown_market");

    let back = async |key: &str, version: Value| {
        server.send_as(key, Method::POST, &format!("{path}/rollback"), Some(json!({"version": version}))).await
    };
    back("admin", json!(2)).await.problem(404, "unknown_configuration");
    back("admin", json!("x")).await.problem(422, "invalid_value").field("version");
    back("dispatcher", json!(1)).await.problem(403, "forbidden");
    let third = back("admin", json!(1)).await.ok();
    assert_eq!((third.at("/version"), third.at("/rules")), (&json!(3), first.at("/rules")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roster_is_planned_by_dispatchers() {
    let server = Server::with(&keys()).await;
    let path = "/v1/drivers/ana/planned-shift";
    let planned =
        json!({"from": "2026-01-01T01:00:00.000Z", "until": "2026-01-01T05:00:00.000Z", "lat": 52.5, "lng": 13.4});
    let put = async |key: &str, body: &Value| server.send_as(key, Method::PUT, path, Some(body.clone())).await;
    put("dispatcher", &planned).await.problem(404, "unknown_driver");
    server.send_as("admin", Method::PUT, "/v1/drivers/ana", Some(json!({}))).await.ok();
    put("driver", &planned).await.problem(403, "forbidden");
    assert_eq!(put("dispatcher", &planned).await.ok().at("/planned_shift"), &planned);
    let mut past = planned.clone();
    past["from"] = json!("2020-01-01T00:00:00Z");
    put("admin", &past).await.problem(422, "invalid_value").field("from");
    past["lat"] = json!(91);
    put("admin", &past).await.problem(422, "invalid_value").field("lat");
    let gone = server.send_as("admin", Method::DELETE, path, None).await.ok();
    assert_eq!(gone.at("/planned_shift"), &Value::Null);
    server.driver("admin", "ana").await;
    put("admin", &planned).await.problem(409, "driver_state");
    server.send_as("admin", Method::DELETE, path, None).await.problem(409, "driver_state");
    server.stop().await;
}
