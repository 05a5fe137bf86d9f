//! Who may do what, beyond what can be generated: see `matrix` for every operation as everybody.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Server, keys};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_speaks_for_itself() {
    let server = Server::with(&keys()).await;
    server.driver("admin", "ana").await;
    server.order("merchant", "o").await;
    let offer = server.offer("driver", "ana").await;
    server.send_as("admin", Method::PUT, "/v1/drivers/bob", Some(json!({}))).await.ok();
    let post = async |path: &str, body: Value| server.send_as("driver", Method::POST, path, Some(body)).await;

    // Who is only asked does not give the order up.
    let fail = json!({"reason": "too far"});
    post("/v1/orders/o/fail", fail.clone()).await.problem(409, "not_allowed");
    server.send_as("driver", Method::POST, &format!("/v1/offers/{offer}/accept"), None).await.ok();
    // Another driver looks like none.
    for driver in ["bob", "nobody"] {
        let progress = json!({"step": "picked_up", "driver": driver});
        post("/v1/orders/o/progress", progress).await.problem(404, "unknown_driver");
    }
    post("/v1/orders/o/progress", json!({"step": "picked_up", "driver": "ana"})).await.ok();
    // Whoever gave an order up sees it once more, and not whenever it repeats its request.
    let once = [("authorization", "Bearer driver"), ("idempotency-key", "k"), ("content-type", "application/json")];
    let fail = || server.raw(Method::POST, "/v1/orders/o/fail", &once, fail.to_string().into_bytes());
    fail().await.ok();
    fail().await.problem(409, "already_done");
    // What it reports for others is not known, and does not keep its own from counting.
    server.pass(1);
    let item = |driver| json!({"driver": driver, "lat": 52.52, "lng": 13.4});
    let results = post("/v1/positions", json!({"positions": [item("bob"), item("nobody"), item("ana")]})).await.ok();
    let outcomes = [0, 1, 2].map(|item| results.at(&format!("/results/{item}/outcome")).as_str().unwrap().to_owned());
    assert_eq!(outcomes, ["unknown_driver", "unknown_driver", "moved"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_no_web_page_acts_in_its_users_name() {
    let (open, locked) = (Server::start().await, Server::with(&keys()).await);
    let start = async |server: &Server, host: &str, origin: Option<&str>| {
        let mut headers = vec![("host", host), ("authorization", "Bearer admin")];
        headers.extend(origin.map(|origin| ("origin", origin)));
        server.raw(Method::POST, "/v1/drivers/ana/shift/start", &headers, Vec::new()).await
    };
    for server in [&open, &locked] {
        let here = server.url.strip_prefix("http://").unwrap();
        let port = here.rsplit(':').next().unwrap();
        let ours = |name: &str| (format!("{name}:{port}"), format!("http://{name}:{port}"));
        for (host, origin) in
            [ours("127.0.0.1"), ours("localhost"), ours("LocalHost"), ours("[::1]"), ours("127.1.2.3")]
        {
            start(server, &host, None).await.problem(404, "unknown_driver");
            start(server, &host, Some(&origin)).await.problem(404, "unknown_driver");
        }
        start(server, "localhost", Some("http://localhost")).await.problem(404, "unknown_driver");
        // A name that leads here (rebinding), or a page from elsewhere that posts here.
        for (host, origin) in [
            ("evil.example", None),
            ("evil.example", Some("http://evil.example")),
            ("localhost.evil.example", None),
            ("127.0.0.1.evil.example:8080", None),
            ("10.0.0.1", None),
            (here, Some("http://evil.example")),
            (here, Some("http://localhost:1")),
            (here, Some("null")),
            (here, Some("")),
        ] {
            let answer = start(server, host, origin).await;
            // Where there are keys, a page does not have one.
            let (status, code) = if server.url == open.url { (403, "not_local") } else { (404, "unknown_driver") };
            answer.problem(status, code);
        }
        server.raw(Method::GET, "/health/live", &[("host", "evil.example")], Vec::new()).await.ok();
    }
    open.stop().await;
    locked.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_staff_acts_on_behalf_of_others() {
    let server = Server::with(&keys()).await;
    server.order("merchant", "o").await;
    let cancel = async |key: &str| {
        let behalf = json!({"reason": "r", "on_behalf_of": "merchant"});
        server.send_as(key, Method::POST, "/v1/orders/o/cancel", Some(behalf)).await
    };
    cancel("merchant").await.problem(403, "forbidden").field("on_behalf_of");
    assert_eq!(cancel("dispatcher").await.ok().at("/status"), "cancelled");
    server.stop().await;
}
