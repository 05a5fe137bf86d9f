//! What browsers are told, and which pages may use the API.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Answer, Server, keys, order};
use reqwest::Method;
use serde_json::json;

const HOME: &str = "https://shop.example";

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_safe_to_look_at() {
    let server = Server::with(&keys()).await;
    server.send_as("merchant", Method::POST, "/v1/orders", Some(order("o"))).await.ok();
    for (key, method, path, status, kept) in [
        ("", Method::GET, "/health/live", 200, "no-store"),
        ("", Method::GET, "/openapi.json", 200, "no-store"),
        ("", Method::GET, "/asyncapi.json", 200, "no-store"),
        ("", Method::GET, "/nothing", 404, "no-store"),
        ("", Method::DELETE, "/health/live", 405, "no-store"),
        ("", Method::OPTIONS, "/v1/orders", 405, "no-store"),
        ("", Method::GET, "/v1/orders/o", 401, "no-store"),
        ("foreign-merchant", Method::GET, "/v1/orders/o", 404, "no-store"),
        ("merchant", Method::GET, "/v1/orders", 200, "no-store"),
        ("merchant", Method::GET, "/v1/orders/o", 200, "private, no-cache"),
        ("", Method::GET, "/docs/swagger-ui.css", 200, "private, no-cache"),
    ] {
        let answer = server.send_as(key, method.clone(), path, None).await;
        assert_eq!(answer.status, status, "{method} {path}");
        let page = path.starts_with("/docs");
        let policy = header(&answer, "content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert_eq!(policy.contains("script-src 'self';"), page, "{method} {path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", Some("nosniff")),
            ("x-frame-options", Some("DENY")),
            ("referrer-policy", Some("no-referrer")),
            ("cache-control", Some(kept)),
            // Who speaks no TLS does not ask for it.
            ("strict-transport-security", None),
            ("access-control-allow-origin", None),
        ] {
            assert_eq!(header(&answer, name), value, "{name} of {method} {path}");
        }
    }
    let tag = server.send_as("merchant", Method::GET, "/v1/orders/o", None).await.etag();
    let known = [("authorization", "Bearer merchant"), ("if-none-match", tag.as_str())];
    let same = server.raw(Method::GET, "/v1/orders/o", &known, Vec::new()).await;
    assert_eq!((same.status, header(&same, "cache-control")), (304, Some("private, no-cache")));
    server.stop().await;
}

/// What the page of the contract loads is its server's, and none of its scripts stands in the page itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_contract_keeps_to_its_policy() {
    let server = Server::start().await;
    let page = server.get("/docs/").await.ok();
    let text = page.body.as_str().unwrap();
    let mut parts = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        parts.extend(text.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()));
    }
    assert!(parts.len() >= 6, "{text}");
    for part in parts {
        assert!(!part.contains(':') && !part.starts_with('/'), "{part}");
        server.get(&format!("/docs/{}", part.trim_start_matches("./"))).await.ok();
    }
    for script in text.split("<script").skip(1) {
        let (attributes, rest) = script.split_once('>').unwrap();
        assert!(attributes.contains("src=") && rest.split("</script>").next().unwrap().trim().is_empty(), "{script}");
    }
    assert!(!text.contains("<style") && !text.contains(" style=") && !text.contains(" onload="), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_listed_origins_may_ask() {
    let server = Server::with(&format!("cors.origins = [\"{HOME}\", \"http://localhost:3000\"]\n{}", keys())).await;
    let preflight = async |origin: &str| {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization,if-match"),
        ];
        server.raw(Method::OPTIONS, "/v1/drivers/ana", &asked, Vec::new()).await
    };
    for origin in [HOME, "http://localhost:3000"] {
        let answer = preflight(origin).await.ok();
        assert_eq!(header(&answer, "access-control-allow-origin"), Some(origin));
        assert!(header(&answer, "access-control-allow-methods").unwrap().contains("PUT"));
        let headers = header(&answer, "access-control-allow-headers").unwrap();
        for name in ["authorization", "content-type", "if-match", "if-none-match", "idempotency-key"] {
            assert!(headers.contains(name), "{headers}");
        }
        assert_eq!(header(&answer, "access-control-allow-credentials"), None);
        assert_eq!(header(&answer, "access-control-max-age"), Some("3600"));
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
    }
    for origin in ["https://evil.example", "http://shop.example", "https://shop.example.evil.example", "null"] {
        assert_eq!(header(&preflight(origin).await, "access-control-allow-origin"), None, "{origin}");
    }
    // The answers themselves, refusals included: a page has to be able to read what was wrong.
    for (key, status) in [("admin", 404), ("wrong", 401)] {
        let bearer = format!("Bearer {key}");
        let sent = [("origin", HOME), ("authorization", bearer.as_str())];
        let answer = server.raw(Method::GET, "/v1/orders/o", &sent, Vec::new()).await;
        assert_eq!((answer.status, header(&answer, "access-control-allow-origin")), (status, Some(HOME)));
        assert!(header(&answer, "access-control-expose-headers").unwrap().contains("etag"));
        assert!(header(&answer, "vary").unwrap().contains("origin"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_a_listed_page_acts_and_a_name_that_leads_here_does_not() {
    let server = Server::with(&format!("cors.origins = [\"{HOME}\"]")).await;
    let put = async |host: &str, origin: &str| {
        let headers = [("host", host), ("origin", origin), ("content-type", "application/json")];
        server.raw(Method::PUT, "/v1/drivers/ana", &headers, json!({}).to_string().into_bytes()).await
    };
    put("localhost", HOME).await.ok();
    put("evil.example", HOME).await.problem(403, "not_local");
    put("localhost", "https://evil.example").await.problem(403, "not_local");
    server.stop().await;
}
