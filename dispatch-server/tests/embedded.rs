//! The server inside another application.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use axum::Router;
use common::{Api, keys, order};
use dispatch_server::{Sources, State, router};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

/// Serves this application; gives where.
async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_may_have_parameters_of_its_own() {
    let config =
        Sources { file: Some(keys()), flags: vec!["durability=memory".into()], ..Sources::default() }.load().unwrap();
    let state = State::start(config).unwrap();
    let url = serve(Router::new().nest("/shops/{id}/dispatch", router(state.clone()))).await;
    let api = Api::new(format!("{url}/shops/ana/dispatch"));
    api.send_as("admin", Method::PUT, "/v1/drivers/bob", Some(json!({}))).await.ok();
    let bob = api.send_as("foreign-driver", Method::GET, "/v1/drivers/bob", None).await.ok();
    assert_eq!(bob.at("/id"), "bob");
    api.send_as("driver", Method::GET, "/v1/drivers/bob", None).await.problem(404, "unknown_driver");
    api.send_as("merchant", Method::POST, "/v1/orders", Some(order("o"))).await.ok();
    assert_eq!(api.send_as("merchant", Method::GET, "/v1/orders/o", None).await.ok().at("/id"), "o");
    api.get("/nothing").await.problem(404, "unknown_route");
    api.get("/docs/").await.ok();
    api.get("/docs/swagger-ui.css").await.ok();
    state.stop().await;
    api.send_as("merchant", Method::GET, "/v1/orders/o", None).await.problem(503, "stopping");
}
