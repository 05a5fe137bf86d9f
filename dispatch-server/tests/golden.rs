//! Data directories of every released version, and of the next, are read for ever, and show what they always showed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Folder, START, Server, order};
use dispatch_core::Timestamp;
use dispatch_server::ManualClock;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Set once for each release, it has the directory of this version written, to be looked at and committed.
const WRITE: &str = "DISPATCH_WRITE_GOLDEN";

/// What the API showed, beside the files of the directory.
const SHOWN: &str = "shown.json";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_millis(START))
}

fn file(path: &str) -> String {
    format!("data_dir = '{path}'\n[journal]\nsegment_bytes = 65536\nmin_free_bytes = 0")
}

async fn shown(server: &Server) -> Value {
    let mut all = serde_json::Map::new();
    for path in ["/v1/orders?limit=500", "/v1/drivers?limit=500", "/v1/markets/default/config"] {
        all.insert(path.into(), server.get(path).await.ok().body);
    }
    for driver in all["/v1/drivers?limit=500"]["drivers"].as_array_mut().unwrap() {
        driver.as_object_mut().unwrap().remove("position");
    }
    all.into()
}

/// What was shown is shown still; what is shown besides is new since.
fn assert_within(before: &Value, now: &Value, place: &str) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (key, value) in before {
                assert_within(value, &now[key], &format!("{place}.{key}"));
            }
        }
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() => {
            for (i, (before, now)) in before.iter().zip(now).enumerate() {
                assert_within(before, now, &format!("{place}.{i}"));
            }
        }
        _ => assert_eq!(before, now, "{place}"),
    }
}

#[tokio::test]
async fn directories_of_all_versions_show_what_they_always_showed() {
    if std::env::var_os(WRITE).is_some() {
        write_the_directory_of_this_version().await;
    }
    let mut versions = 0;
    for version in std::fs::read_dir(golden()).unwrap() {
        let version = version.unwrap().path();
        let folder = Folder::new();
        std::fs::create_dir(folder.path()).unwrap();
        for entry in std::fs::read_dir(&version).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, Path::new(folder.path()).join(from.file_name().unwrap())).unwrap();
        }
        let server = Server::on(clock(), &file(folder.path())).await;
        let before: Value = serde_json::from_slice(&std::fs::read(version.join(SHOWN)).unwrap()).unwrap();
        assert_within(&before, &shown(&server).await, &version.display().to_string());
        server.stop().await;
        versions += 1;
    }
    assert!(versions > 0);
}

async fn write_the_directory_of_this_version() {
    let folder = golden().join(env!("CARGO_PKG_VERSION"));
    assert!(!folder.exists(), "a released version stays as it is");
    let server = Server::on(clock(), &file(folder.to_str().unwrap())).await;
    let post = async |path: &str, body: Value| server.post(path, body).await.ok();
    for number in 0..12 {
        server.driver("", &format!("d-{number}")).await;
    }
    post("/v1/drivers/d-0/shift/pause", json!({})).await;
    post("/v1/drivers/d-0/shift/resume", json!({})).await;
    server.put("/v1/drivers/d-1/rating", json!({"rating": 4.5})).await.ok();
    for number in 0..36 {
        let (id, driver) = (format!("o-{number}"), format!("d-{}", number % 12));
        server.order("", &id).await;
        server.pass(1);
        let offer = server.get(&format!("/v1/drivers/{driver}/offer")).await.ok();
        if let (Some(offer), true) = (offer.at("/offer")["id"].as_str(), number % 5 != 0) {
            let answer = if number % 4 == 0 { "decline" } else { "accept" };
            server.act(&format!("/v1/offers/{offer}/{answer}")).await.ok();
        }
        let path = format!("/v1/orders/{id}");
        if server.get(&path).await.ok().at("/driver").is_string() && number % 3 != 0 {
            for step in ["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"] {
                server.pass(20);
                post(&format!("{path}/progress"), json!({"step": step})).await;
            }
        } else if number % 7 == 0 {
            post(&format!("{path}/cancel"), json!({"reason": "changed my mind"})).await;
        }
    }
    let headers = [("idempotency-key", "golden"), ("content-type", "application/json")];
    server.raw(Method::POST, "/v1/orders", &headers, order("once").to_string().into_bytes()).await.ok();
    let mut rules = server.get("/v1/markets/default/config").await.ok().at("/rules").clone();
    rules["bundles"]["max_orders"] = json!(2);
    server.put("/v1/markets/default/config", rules).await.ok();
    post("/v1/markets/default/config/rollback", json!({"version": 1})).await;
    let shown = shown(&server).await;
    server.stop().await;
    std::fs::remove_file(folder.join("lock")).unwrap();
    std::fs::write(folder.join(SHOWN), serde_json::to_vec_pretty(&shown).unwrap()).unwrap();
}
