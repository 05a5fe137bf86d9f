//! What is left after a restart.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Folder, START, Server, order};
use dispatch_core::Timestamp;
use dispatch_journal::{Directory, Log, save_snapshot};
use dispatch_server::{ManualClock, Sources, State, verify_data_dir};
use reqwest::Method;
use serde_json::{Value, json};
use std::path::Path;

/// A file that has the data in a folder, in segments so small that they are sealed all the time.
fn file(folder: &Folder, more: &str) -> String {
    format!("data_dir = '{}'\n{more}\n[journal]\nsegment_bytes = 65536\nmin_free_bytes = 0", folder.path())
}

fn clock(after: i64) -> ManualClock {
    ManualClock::new(Timestamp::from_millis(START + after * 1_000))
}

/// Everything the API shows that is not soft.
async fn shown(server: &Server) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["/v1/orders?limit=500", "/v1/drivers?limit=500", "/v1/markets", "/v1/markets/default/config"] {
        all.push(server.get(path).await.ok().body);
    }
    // Positions are reported anew.
    for driver in all[1]["drivers"].as_array_mut().unwrap() {
        driver.as_object_mut().unwrap().remove("position");
    }
    all
}

/// Where two documents differ first.
fn difference(one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            a.iter().find_map(|(key, value)| Some(format!("{key}.{}", difference(value, b.get(key)?)?)))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| Some(format!("{i}.{}", difference(a, b)?)))
        }
        _ => (one != other).then(|| format!(": {one} is {other} now").chars().take(300).collect()),
    }
}

/// Brings so many drivers and orders: enough for segments to be sealed.
async fn fill(server: &Server, count: usize) {
    for number in 0..count {
        server.driver("", &format!("d-{number}")).await;
        server.order("", &format!("o-{number}")).await;
    }
}

/// Why a server does not start.
fn complaint(file: &str) -> String {
    let sources = Sources { file: Some(file.into()), ..Sources::default() };
    State::start(sources.load().unwrap()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let (folder, now) = (Folder::new(), clock(0));
    let mut server = Server::on(now.clone(), &file(&folder, "")).await;
    for round in 0..3 {
        for number in 0..60 {
            server.driver("", &format!("d-{round}-{number}")).await;
            server.order("", &format!("o-{round}-{number}")).await;
            server.pass(1);
        }
        let rules = server.get("/v1/markets/default/config").await.ok();
        let mut changed = rules.at("/rules").clone();
        changed["floor_orders_per_hour"] = json!(f64::from(round) + 0.1);
        server.put("/v1/markets/default/config", changed).await.ok();
        let before = shown(&server).await;
        server.stop().await;
        server = Server::on(now.clone(), &file(&folder, "")).await;
        assert_eq!(difference(&json!(before), &json!(shown(&server).await)), None);
    }
    server.stop().await;
    assert_eq!(folder.files(".snapshot").len(), 2, "sealed segments were folded");
}

#[tokio::test]
async fn a_snapshot_that_is_not_what_its_records_come_to_is_found() {
    let folder = Folder::new();
    let server = Server::on(clock(0), &file(&folder, "")).await;
    fill(&server, 120).await;
    server.stop().await;
    let path = Path::new(folder.path());
    let report = verify_data_dir(path).unwrap();
    let [older, _] = &folder.files(".snapshot")[..] else { panic!("sealed segments were folded") };
    let seq: u64 = older.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    // As a bug would write it: whole, and of another time.
    let directory = Directory::read_only(path);
    let bytes = Log::open(directory.reader()).unwrap().snapshot_at(seq).unwrap().bytes;
    save_snapshot(&directory, report.last, &bytes).unwrap();
    let said = verify_data_dir(path).unwrap_err().to_string();
    assert_eq!(said, format!("the snapshot of all records up to {} is not what they come to", report.last));
}

#[tokio::test]
async fn a_market_with_orders_under_way_is_not_forgotten() {
    let folder = Folder::new();
    let markets = |ids: &[&str]| {
        let market =
            |id: &&str| format!("\n[[markets]]\nid = \"{id}\"\npolygon = [[13, 52], [14, 52], [14, 53], [13, 53]]");
        file(&folder, "") + &ids.iter().map(market).collect::<String>()
    };
    let server = Server::on(clock(0), &markets(&["a", "b"])).await;
    let mut there = order("o");
    there["market"] = json!("a");
    server.post("/v1/orders", there).await.ok();
    server.stop().await;
    let said = complaint(&markets(&["b"]));
    assert!(said.contains("market a is kept with 1 orders under way"), "{said}");
    let server = Server::on(clock(0), &markets(&["a", "b"])).await;
    server.post("/v1/orders/o/cancel", json!({"reason": "closed"})).await.ok();
    server.stop().await;
    Server::on(clock(0), &markets(&["b"])).await.stop().await;
}

#[tokio::test]
async fn a_snapshot_without_a_segment_is_no_beginning() {
    let folder = Folder::new();
    let server = Server::on(clock(0), &file(&folder, "")).await;
    fill(&server, 120).await;
    server.stop().await;
    for segment in folder.files(".segment") {
        std::fs::remove_file(segment).unwrap();
    }
    let said = complaint(&file(&folder, ""));
    assert!(said.contains("and no segment") && said.contains(folder.path()), "{said}");
    for snapshot in folder.files(".snapshot") {
        std::fs::write(snapshot, "not any more").unwrap();
    }
    let said = complaint(&file(&folder, ""));
    assert!(said.contains("no snapshot can be read"), "{said}");
}

#[cfg(unix)]
#[tokio::test]
async fn orders_wait_while_the_disk_is_almost_full() {
    let folder = Folder::new();
    let low = |bytes: u64| file(&folder, "").replace("min_free_bytes = 0", &format!("min_free_bytes = {bytes}"));
    let server = Server::on(clock(0), &low(0)).await;
    fill(&server, 200).await;
    server.stop().await;
    let kept = folder.files(".segment").len();
    assert!(kept > 4, "segments stay for a week");
    let server = Server::on(clock(0), &low(u64::MAX / 2)).await;
    let refused = server.post("/v1/orders", order("late")).await.problem(503, "disk_low");
    assert_eq!(refused.headers["retry-after"], "1");
    for number in 0..200 {
        server.act(&format!("/v1/drivers/d-{number}/shift/end")).await.ok();
    }
    server.stop().await;
    Server::on(clock(0), &low(u64::MAX / 2)).await.stop().await;
    assert!(folder.files(".segment").len() < kept, "what nobody needs makes room");
}

#[tokio::test]
async fn time_does_not_go_back_for_a_restart() {
    let folder = Folder::new();
    let server = Server::on(clock(1_000), &file(&folder, "")).await;
    server.order("", "o").await;
    server.stop().await;
    let behind = clock(0);
    let server = Server::on(behind.clone(), &file(&folder, "")).await;
    assert_eq!(behind.now(), clock(1_000).now());
    server.stop().await;
}

#[tokio::test]
async fn a_driver_who_moved_is_where_it_went() {
    let (folder, markets) =
        (Folder::new(), "markets = [{ id = \"default\" }, { id = \"west\", polygon = [[1, 1], [2, 1], [2, 2]] }]");
    let server = Server::on(clock(0), &file(&folder, markets)).await;
    for market in ["default", "west", "default", "west"] {
        server.put("/v1/drivers/ana", json!({ "market": market })).await.ok();
    }
    let server = {
        server.stop().await;
        Server::on(clock(9), &file(&folder, markets)).await
    };
    assert_eq!(server.get("/v1/drivers/ana").await.ok().at("/market"), "west");
    assert_eq!(server.get("/v1/drivers").await.ok().at("/drivers").as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn one_server_uses_a_directory_at_a_time() {
    let folder = Folder::new();
    let server = Server::on(clock(0), &file(&folder, "")).await;
    let said = complaint(&file(&folder, ""));
    assert!(said.contains("another process uses") && said.contains(folder.path()), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn damage_is_said_with_its_file_and_byte() {
    let folder = Folder::new();
    let server = Server::on(clock(0), &file(&folder, "")).await;
    server.driver("", "ana").await;
    server.stop().await;
    let segment = folder.files(".segment").remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let said = complaint(&file(&folder, ""));
    assert!(said.contains(segment.file_name().unwrap().to_str().unwrap()), "{said}");
    assert!(said.contains("is damaged at byte 32"), "{said}");
    // Nothing was changed by looking.
    assert_eq!(std::fs::read(&segment).unwrap(), bytes);
}

#[test]
fn a_directory_that_cannot_be_is_said() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").join("data");
    let said = complaint(&format!("data_dir = {file:?}"));
    assert!(said.contains("Cargo.toml/data"), "{said}");
}

#[tokio::test]
async fn what_is_kept_in_memory_alone_is_gone() {
    let folder = Folder::new();
    let file = file(&folder, "durability = \"memory\"");
    let server = Server::on(clock(0), &file).await;
    server.post("/v1/orders", order("o")).await.ok();
    server.stop().await;
    assert!(!Path::new(folder.path()).exists());
}

/// Sends a command with an idempotency key.
async fn once(server: &Server, key: &str, path: &str, body: &Value) -> common::Answer {
    let headers = [("idempotency-key", key), ("content-type", "application/json")];
    server.raw(Method::POST, path, &headers, body.to_string().into_bytes()).await
}

#[tokio::test]
async fn a_request_with_a_key_is_carried_out_once_and_answered_as_the_first_time() {
    let (folder, now) = (Folder::new(), clock(0));
    let mut server = Server::on(now.clone(), &file(&folder, "")).await;
    for restarted in [false, true] {
        if restarted {
            server.stop().await;
            server = Server::on(now.clone(), &file(&folder, "")).await;
        }
        let placed = once(&server, "k-1", "/v1/orders", &order("o")).await.ok();
        assert_eq!((placed.status, placed.at("/id").as_str()), (201, Some("o")), "after a restart: {restarted}");
        // What the state would refuse by now was done, and shows what came of it.
        let cancelled = once(&server, "k-2", "/v1/orders/o/cancel", &json!({"reason": "no"})).await.ok();
        assert_eq!((cancelled.status, cancelled.at("/status").as_str()), (200, Some("cancelled")));
    }
    server.act("/v1/orders/o/cancel").await.problem(415, "unsupported_media_type");
    once(&server, "k-3", "/v1/orders/o/cancel", &json!({"reason": "no"})).await.problem(409, "order_state");
    // A refusal keeps nothing: the same key may be used for something else.
    once(&server, "k-3", "/v1/orders", &order("p")).await.ok();
    once(&server, "k-1", "/v1/orders", &order("q")).await.problem(422, "key_reused").field("Idempotency-Key");
    server.get("/v1/orders/q").await.problem(404, "unknown_order");
    // The key of one request is nothing to another.
    assert_eq!(once(&server, "k-2", "/v1/orders", &order("q")).await.status, 201);
    // Not even where what came of it is gone.
    server.pass(2 * 3_600);
    server.get("/v1/orders/o").await.problem(404, "unknown_order");
    once(&server, "k-2", "/v1/orders/o/cancel", &json!({"reason": "no"})).await.problem(409, "already_done");
    once(&server, "k-1", "/v1/orders", &order("o")).await.problem(409, "already_done").field("Idempotency-Key");
    server.pass(24 * 3_600);
    once(&server, "k-3", "/v1/orders", &order("r")).await.ok();
    server.stop().await;
}

#[tokio::test]
async fn an_odd_key_is_refused() {
    let server = Server::start().await;
    for key in ["", "a b", "a\tb", &"x".repeat(65)] {
        once(&server, key, "/v1/orders", &order("o")).await.problem(422, "invalid_value").field("Idempotency-Key");
    }
    let body = order("o").to_string().into_bytes();
    let json = ("content-type", "application/json");
    let both = [("idempotency-key", "a"), ("x-idempotency-key", "b"), json];
    server.raw(Method::POST, "/v1/orders", &both, body.clone()).await.problem(422, "invalid_value");
    assert_eq!(
        server.raw(Method::POST, "/v1/orders", &[("x-idempotency-key", "a"), json], body.clone()).await.status,
        201
    );
    assert_eq!(
        server.raw(Method::POST, "/v1/orders", &both[..1], body).await.problem(415, "unsupported_media_type").status,
        415
    );
    server.stop().await;
}

#[tokio::test]
async fn many_short_lives_leave_few_files() {
    let folder = Folder::new();
    for life in 0..20 {
        let server = Server::on(clock(life), &file(&folder, "").replace("[journal]", "[journal]\nkeep_days = 0")).await;
        server.post("/v1/orders", order(&format!("o-{life}"))).await.ok();
        server.stop().await;
    }
    assert_eq!(folder.files(".snapshot").len(), 2);
    assert!(folder.files(".segment").len() < 10, "{:?}", folder.files(".segment"));
}

#[tokio::test]
async fn what_was_sealed_by_an_orderly_end_cannot_be_cut_short() {
    let folder = Folder::new();
    let server = Server::on(clock(0), &file(&folder, "")).await;
    server.post("/v1/orders", order("o")).await.ok();
    server.stop().await;
    let segment = folder.files(".segment").remove(0);
    let bytes = std::fs::read(&segment).unwrap();
    std::fs::write(&segment, &bytes[..bytes.len() - 8]).unwrap();
    let said = complaint(&file(&folder, ""));
    assert!(said.contains("is damaged"), "{said}");
}
