//! What dispatchers ask before they step in, and what is set ahead: opinions, the rules of a market, and the roster.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Server, order, planned_shift, rules};
use reqwest::Method;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const CONFIG: &str = "/v1/markets/default/config";

#[tokio::test(flavor = "multi_thread")]
async fn an_opinion_says_what_an_assignment_would_come_to() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    server.driver("", "bob").await;
    server.put("/v1/drivers/eve", json!({})).await.ok();
    server.post("/v1/orders", order("o")).await.ok();
    let ask = async |driver: &str| server.get(&format!("/v1/orders/o/opinion?driver={driver}")).await;
    ask("ana").await.problem(409, "order_state");
    server.post("/v1/orders/o/kitchen", json!({"status": "confirmed"})).await.ok();
    server.pass(1);
    let (ana, bob) = (ask("ana").await.ok(), ask("bob").await.ok());
    assert_eq!((ana.at("/rank"), bob.at("/rank"), bob.at("/candidates")), (&json!(1), &json!(2), &json!(2)));
    assert_eq!((bob.at("/best_other/driver"), bob.at("/excluded")), (&json!("ana"), &Value::Null));
    assert!(bob.at("/prospect/terms/delay_min").is_number() && bob.at("/price_points").is_number());
    assert!(bob.at("/prospect/deliver_at").as_str() > bob.at("/prospect/pickup_at").as_str());
    server.act("/v1/drivers/ana/shift/pause").await.ok();
    let paused = ask("ana").await.ok();
    assert_eq!((paused.at("/excluded"), paused.at("/prospect")), (&json!("paused"), &Value::Null));

    ask("eve").await.problem(409, "driver_state");
    ask("x").await.problem(404, "unknown_driver");
    server.get("/v1/orders/x/opinion?driver=ana").await.problem(404, "unknown_order");
    // What was said is what comes of it.
    server.post("/v1/orders/o/assign", json!({"driver": "bob"})).await.ok();
    let stops = server.get("/v1/drivers/bob").await.ok();
    assert_eq!(stops.at("/route/1/done_at"), bob.at("/prospect/deliver_at"));
    ask("bob").await.problem(409, "driver_state");
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
    let offer = server.offer("", "ana").await;
    let ana = ask("ana").await.ok();
    let weighed = (ana.at("/answer"), ana.at("/rank"), ana.at("/considered/chosen"));
    assert_eq!(weighed, (&json!("weighed"), &json!(1), &json!(true)));
    let eve = ask("eve").await.ok();
    assert_eq!((eve.at("/answer"), eve.at("/beyond/candidates")), (&json!("beyond"), &json!(1)));
    ask("x").await.problem(404, "unknown_driver");
    server.get("/v1/orders/x/why-not?driver=ana").await.problem(404, "unknown_order");
    let explained = server.get("/v1/orders/o/explanation").await.ok();
    assert_eq!(explained.at("/decision/with"), &json!([]));
    // Who turned it down was asked before, as the next decision says.
    server.act(&format!("/v1/offers/{offer}/decline")).await.ok();
    server.driver("", "eve").await;
    server.pass(10);
    server.report("", "ana").await;
    server.report("", "eve").await;
    server.offer("", "eve").await;
    let ana = ask("ana").await.ok();
    assert_eq!((ana.at("/answer"), ana.at("/failed")), (&json!("failed"), &json!("asked_before")));
    server.stop().await;
}

fn with_window(seconds: f64) -> Value {
    let mut rules = rules();
    rules["window_seconds"] = json!(seconds);
    rules
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_were_decided_together_are_named() {
    let server = Server::start().await;
    server.put("/v1/drivers/ana", json!({"capacity": 3})).await.ok();
    server.act("/v1/drivers/ana/shift/start").await.ok();
    server.put(CONFIG, with_window(2.0)).await.ok();
    // Between two windows: the first is for an order that has nobody.
    server.order("", "n").await;
    server.pass(1);
    server.order("", "o").await;
    server.order("", "p").await;
    server.report("", "ana").await;
    server.offer("", "ana").await;
    let with =
        async |id: &str| server.get(&format!("/v1/orders/{id}/explanation")).await.ok().at("/decision/with").clone();
    assert_eq!((with("o").await, with("p").await), (json!(["p"]), json!(["o"])));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_of_another_market_is_no_choice() {
    let north = "polygon = [[13.0, 52.51], [13.8, 52.51], [13.8, 52.7], [13.0, 52.7]]";
    let server = Server::with(&format!("[[markets]]\nid = \"north\"\n{north}\n[[markets]]\nid = \"rest\"")).await;
    server.put("/v1/drivers/ana", json!({"market": "rest"})).await.ok();
    server.order("", "o").await;
    for about in ["opinion", "why-not"] {
        let answer = server.get(&format!("/v1/orders/o/{about}?driver=ana")).await;
        answer.problem(409, "driver_elsewhere").field("driver");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_set_and_put_back() {
    let server = Server::start().await;
    let first = server.get(CONFIG).await.ok();
    assert_eq!(first.body, json!({"market": "default", "version": 1, "former_versions": [], "rules": rules()}));
    let slow = with_window(5.0);
    let second = server.put(CONFIG, slow.clone()).await.ok();
    assert_eq!((second.at("/version"), second.at("/former_versions")), (&json!(2), &json!([1])));
    assert_eq!(second.at("/rules"), &slow);
    assert_eq!(server.get("/v1/markets/default").await.ok().at("/config_version"), 2);
    // The same again makes no version.
    assert_eq!(server.put(CONFIG, slow).await.ok().at("/version"), 2);

    // They count from now on: the next window is five seconds after that of an order that has nobody.
    server.order("", "n").await;
    server.pass(1);
    server.driver("", "ana").await;
    server.order("", "o").await;
    server.pass(3);
    assert_eq!(server.get("/v1/drivers/ana/offer").await.ok().at("/offer"), &Value::Null);
    server.offer("", "ana").await;
    assert_eq!(server.get("/v1/orders/o/explanation").await.ok().at("/decision/config_version"), 2);

    let back = server.post(&format!("{CONFIG}/rollback"), json!({"version": 1})).await.ok();
    assert_eq!((back.at("/version"), back.at("/rules")), (&json!(3), first.at("/rules")));
    assert_eq!(back.at("/former_versions"), &json!([1, 2]));
    server.post(&format!("{CONFIG}/rollback"), json!({"version": 3})).await.problem(404, "unknown_configuration");
    server.get("/v1/markets/nowhere/config").await.problem(404, "unknown_market");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_changed_only_as_they_were_seen() {
    let server = Server::start().await;
    let seen = server.get(CONFIG).await.ok().etag();
    let put = async |orders: u32, tag: &str| {
        let mut changed = rules();
        changed["limits"]["orders"] = json!(orders);
        server.raw(Method::PUT, CONFIG, &[JSON, ("if-match", tag)], changed.to_string().into_bytes()).await
    };
    let mine = put(10, &seen).await.ok().etag();
    put(20, &seen).await.problem(412, "changed");
    let back = async |tag: &str| {
        let body = br#"{"version":1}"#.to_vec();
        server.raw(Method::POST, &format!("{CONFIG}/rollback"), &[JSON, ("if-match", tag)], body).await
    };
    back(&seen).await.problem(412, "changed");
    let get = async |tag: &str| server.raw(Method::GET, CONFIG, &[("if-none-match", tag)], Vec::new()).await;
    assert_eq!((get(&mine).await.status, get(&seen).await.status), (304, 200));
    back(&mine).await.ok();
    put(30, "*").await.ok();
    put(30, "10").await.problem(422, "invalid_value").field("If-Match");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roster_is_planned_until_the_shift_begins() {
    let server = Server::start().await;
    let path = "/v1/drivers/ana/planned-shift";
    server.put(path, planned_shift()).await.problem(404, "unknown_driver");
    server.put("/v1/drivers/ana", json!({})).await.ok();
    assert_eq!(server.put(path, planned_shift()).await.ok().at("/planned_shift"), &planned_shift());
    let delete = async || server.send_as("", Method::DELETE, path, None).await;
    assert_eq!(delete().await.ok().at("/planned_shift"), &Value::Null);
    delete().await.ok();
    server.put(path, planned_shift()).await.ok();
    let begun = server.act("/v1/drivers/ana/shift/start").await.ok();
    assert_eq!(begun.at("/planned_shift"), &Value::Null);
    server.put(path, planned_shift()).await.problem(409, "driver_state");
    delete().await.problem(409, "driver_state");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_sees_where_it_is_sent() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    assert_eq!(server.get("/v1/drivers/ana").await.ok().at("/heading"), &Value::Null);
    server.order("", "o").await;
    let offer = server.offer("", "ana").await;
    server.act(&format!("/v1/offers/{offer}/accept")).await.ok();
    let sent = server.get("/v1/drivers/ana").await.ok();
    assert_eq!(sent.at("/heading/lat"), &json!(52.52));
    assert_eq!(sent.at("/heading/arrive_at"), sent.at("/route/0/arrive_at"));
    server.stop().await;
}
