//! Who may do what: every route with every role, own and foreign objects.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Server, keys, order};
use reqwest::Method;
use serde_json::{Value, json};

const ROLES: [&str; 5] = ["", "admin", "dispatcher", "merchant", "driver"];

/// Every operation of the contract that needs a key.
async fn operations(server: &Server) -> Vec<(Method, String, String)> {
    let contract = server.get("/openapi.json").await.ok();
    let mut operations = Vec::new();
    for (path, methods) in contract.at("/paths").as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"].is_array() {
                let method = method.to_uppercase().parse().unwrap();
                operations.push((method, path.clone(), operation["description"].as_str().unwrap().to_owned()));
            }
        }
    }
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_roles_of_the_policy_come_through() {
    let server = Server::with(&keys()).await;
    let operations = operations(&server).await;
    assert!(operations.len() > 25, "{}", operations.len());
    for (method, path, policy) in &operations {
        let path = path.replace("{id}", "default-7");
        for role in ROLES {
            let answer = server.send_as(role, method.clone(), &path, None).await;
            let roles = policy.strip_prefix("For keys of role ").unwrap().split('.').next().unwrap();
            let allowed = roles.split(", ").any(|allowed| allowed == role);
            match role {
                "" => drop(answer.problem(401, "unauthenticated")),
                _ if allowed => {
                    assert!(![401, 403].contains(&answer.status), "{role} {method} {path}: {}", answer.body);
                }
                _ => drop(answer.problem(403, "forbidden")),
            }
        }
        server.send_as("wrong", method.clone(), &path, None).await.problem(401, "unauthenticated");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_key_is_short_and_known() {
    let server = Server::with(&keys()).await;
    for path in ["/health/live", "/health/ready", "/openapi.json", "/docs", "/docs/", "/docs/swagger-ui.css"] {
        server.get(path).await.ok();
    }
    let contract = server.get("/openapi.json").await.ok();
    let methods =
        contract.at("/paths").as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let public: Vec<&Value> = methods.filter(|operation| !operation["security"].is_array()).collect();
    let mut names: Vec<_> = public.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["getDocs", "getDocsFile", "getDocsPage", "getLive", "getOpenApi", "getReady"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_looks_like_absent() {
    let server = Server::with(&keys()).await;
    let send = async |key: &str, method: Method, path: &str, body: Option<Value>| {
        server.send_as(key, method, path, body).await
    };
    let (get, post) = (Method::GET, Method::POST);
    server.driver("admin", "ana").await;
    server.driver("admin", "bob").await;
    server.send_as("merchant", post.clone(), "/v1/orders", Some(order("o"))).await.ok();
    send("merchant", post.clone(), "/v1/orders/o/kitchen", Some(json!({"status": "ready"}))).await.ok();
    // Bob is away, so that ana is asked.
    send("foreign-driver", post.clone(), "/v1/drivers/bob/shift/end", None).await.ok();
    let offer = server.offer("driver", "ana").await;

    let alike = async |key: &str, method: &Method, there: &str, absent: &str, body: Option<Value>| {
        let foreign = server.send_as(key, method.clone(), there, body.clone()).await;
        let unknown = server.send_as(key, method.clone(), absent, body).await;
        assert_eq!((foreign.status, unknown.status), (404, 404), "{key} {method} {there}: {}", foreign.body);
        let ids = |text: String, path: &str| {
            let id = path.split('/').nth(3).unwrap().rsplit('-').next().unwrap().to_owned();
            text.replace(&format!(" {id}\""), " ID\"")
        };
        assert_eq!(ids(foreign.body.to_string(), there), ids(unknown.body.to_string(), absent));
    };
    for (key, path) in
        [("foreign-merchant", ""), ("foreign-merchant", "/eta"), ("foreign-driver", ""), ("foreign-driver", "/eta")]
    {
        alike(key, &get, &format!("/v1/orders/o{path}"), &format!("/v1/orders/x{path}"), None).await;
    }
    for (key, path, body) in [
        ("foreign-merchant", "kitchen", json!({"status": "ready"})),
        ("foreign-merchant", "cancel", json!({"reason": "r"})),
        ("foreign-merchant", "fail", json!({"reason": "r"})),
        ("foreign-driver", "fail", json!({"reason": "r"})),
        ("foreign-driver", "progress", json!({"step": "picked_up"})),
    ] {
        alike(key, &post, &format!("/v1/orders/o/{path}"), &format!("/v1/orders/x/{path}"), Some(body)).await;
    }
    alike(
        "foreign-merchant",
        &Method::PUT,
        "/v1/orders/o/ready-time",
        "/v1/orders/x/ready-time",
        Some(json!({"ready_at": "2026-01-01T01:00:00Z"})),
    )
    .await;
    for path in ["shift/start", "shift/end", "shift/pause", "shift/resume"] {
        alike("foreign-driver", &post, &format!("/v1/drivers/ana/{path}"), &format!("/v1/drivers/x/{path}"), None)
            .await;
    }
    let body = Some(json!({"lat": 1, "lng": 1}));
    alike("foreign-driver", &post, "/v1/drivers/ana/position", "/v1/drivers/x/position", body).await;
    for path in ["", "/offer"] {
        alike("foreign-driver", &get, &format!("/v1/drivers/ana{path}"), &format!("/v1/drivers/x{path}"), None).await;
    }
    alike("foreign-driver", &get, &format!("/v1/offers/{offer}"), "/v1/offers/default-99", None).await;
    for answer in ["accept", "decline"] {
        let there = format!("/v1/offers/{offer}/{answer}");
        alike("foreign-driver", &post, &there, &format!("/v1/offers/default-99/{answer}"), None).await;
    }

    // Their lists are empty, and what they report for others is not known.
    for key in ["foreign-merchant", "foreign-driver"] {
        assert_eq!(send(key, get.clone(), "/v1/orders", None).await.ok().at("/orders"), &json!([]));
    }
    let batch =
        json!({"positions": [{"driver": "ana", "lat": 1, "lng": 1}, {"driver": "bob", "lat": 52.52, "lng": 13.4}]});
    server.pass(1);
    let results = send("foreign-driver", post.clone(), "/v1/positions", Some(batch)).await.ok();
    assert_eq!(results.at("/results/0/outcome"), "unknown_driver");
    assert_eq!(results.at("/results/1/outcome"), "moved");
    send("foreign-merchant", post.clone(), "/v1/orders", Some(order("p")))
        .await
        .problem(403, "not_your_place")
        .field("pickup.id");

    // Their own they see, and act on.
    assert_eq!(send("driver", get.clone(), "/v1/orders", None).await.ok().at("/orders/0/id"), "o");
    assert_eq!(send("merchant", get.clone(), "/v1/orders", None).await.ok().at("/orders/0/id"), "o");
    send("driver", get.clone(), "/v1/orders/o", None).await.ok();
    send("driver", post.clone(), &format!("/v1/offers/{offer}/accept"), None).await.ok();
    send("merchant", get, "/v1/orders/o/eta", None).await.ok();
    send("driver", post.clone(), "/v1/orders/o/progress", Some(json!({"step": "picked_up"}))).await.ok();
    let behalf = json!({"reason": "r", "on_behalf_of": "customer"});
    send("merchant", post.clone(), "/v1/orders/o/cancel", Some(behalf))
        .await
        .problem(403, "forbidden")
        .field("on_behalf_of");
    let failed = send("driver", post, "/v1/orders/o/fail", Some(json!({"reason": "fell"}))).await.ok();
    assert_eq!(failed.at("/status"), "failed");
    server.stop().await;
}
