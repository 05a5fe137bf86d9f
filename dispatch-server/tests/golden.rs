//! Data directories of every released version, and of the next, are read for ever, and show what they always showed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Folder, START, Server, order, planned_shift, rules};
use dispatch_core::{Event, EventKind, Timestamp};
use dispatch_journal::{Directory, Log};
use dispatch_server::{ManualClock, verify_data_dir};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Set once for each release, it has the directory of this version written, to be looked at and committed.
const WRITE: &str = "DISPATCH_WRITE_GOLDEN";

/// What the API showed, beside the files of the directory.
const SHOWN: &str = "shown.json";

/// What all its records come to, by number and hash. The hash is of all that is kept in memory, which may become more: then, and
/// only if what is shown is the same, this file is removed to be written anew.
const KEPT: &str = "kept.json";

/// The kinds of events; one that is missing here does not compile.
macro_rules! kinds {
    ($($kind:ident)*) => {
        const KINDS: &[&str] = &[$(stringify!($kind)),*];

        fn name(kind: &EventKind) -> &'static str {
            match kind {
                $(EventKind::$kind { .. } => stringify!($kind),)*
            }
        }
    };
}

kinds! {
    Configured Resumed DriverRegistered DriverRated ShiftPlanned ShiftStarted ShiftEnding ShiftEnded DriverPaused
    DriverResumed DriverSilent DriverHeard RepositionSuggested OrderPlaced KitchenProgressed ReadyTimeChanged
    DispatchStarted OrderHeld OfferMade OfferClosed Assigned Returned ArrivedAtPickup PickedUp Departed
    ArrivedAtDropoff Delivered OrderCancelled OrderFailed AssignmentFailed RoundStarted OrderOverdue OrderRetired
}

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
    let mut kinds = BTreeSet::new();
    for version in std::fs::read_dir(golden()).unwrap() {
        let version = version.unwrap().path();
        let folder = Folder::new();
        std::fs::create_dir(folder.path()).unwrap();
        for entry in std::fs::read_dir(&version).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, Path::new(folder.path()).join(from.file_name().unwrap())).unwrap();
        }
        let now = kept(Path::new(folder.path()));
        if std::env::var_os(WRITE).is_some() && !version.join(KEPT).exists() {
            write(&version, KEPT, &now);
        }
        assert_eq!(read(&version, KEPT), now, "{}", version.display());
        kinds.extend(kinds_in(Path::new(folder.path())));
        let server = Server::on(clock(), &file(folder.path())).await;
        assert_within(&read(&version, SHOWN), &shown(&server).await, &version.display().to_string());
        server.stop().await;
    }
    assert_eq!(kinds, KINDS.iter().copied().collect(), "every kind of event is in some directory");
}

fn read(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
}

fn write(folder: &Path, file: &str, value: &Value) {
    std::fs::write(folder.join(file), serde_json::to_vec_pretty(value).unwrap()).unwrap();
}

/// What a directory amounts to, with every record in it read, those before the snapshots too.
fn kept(folder: &Path) -> Value {
    let report = verify_data_dir(folder).unwrap();
    assert_eq!(
        (report.records, report.torn, report.damage),
        (report.last, None, Vec::new()),
        "all is there from the first on"
    );
    let market = |(id, seq, hash): (_, u64, _)| json!({"market": id, "events": seq, "hash": format!("{hash}")});
    json!({"records": report.records, "markets": report.markets.into_iter().map(market).collect::<Vec<_>>()})
}

fn kinds_in(folder: &Path) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    let visit = |record: dispatch_journal::Record<'_>| {
        let record: Value = serde_json::from_slice(record.payload).map_err(|error| error.to_string())?;
        for event in record["events"].as_array().into_iter().flatten() {
            let event: Event = serde_json::from_value(event.clone()).map_err(|error| error.to_string())?;
            kinds.insert(name(&event.kind));
        }
        Ok(())
    };
    Log::open(Directory::read_only(folder)).unwrap().replay_all(visit).unwrap();
    kinds
}

async fn write_the_directory_of_this_version() {
    let folder = golden().join(env!("CARGO_PKG_VERSION"));
    if folder.exists() {
        // A released version stays as it is.
        return;
    }
    let (clock, file) = (clock(), file(folder.to_str().unwrap()));
    let server = Server::on(clock.clone(), &file).await;
    morning(&server).await;
    server.stop().await;
    let server = Server::on(clock, &file).await;
    evening(&server).await;
    let shown = shown(&server).await;
    server.stop().await;
    std::fs::remove_file(folder.join("lock")).unwrap();
    write(&folder, SHOWN, &shown);
}

const DRIVERS: [&str; 3] = ["ana", "bob", "cem"];

/// Time passes, and the drivers say where they are.
async fn pass(server: &Server, seconds: i64) {
    server.pass(seconds);
    for driver in DRIVERS {
        server.report("", driver).await;
    }
}

/// The offer an order gets in the next window.
async fn offer(server: &Server, order: &str) -> String {
    pass(server, 1).await;
    let order = server.get(&format!("/v1/orders/{order}")).await.ok();
    order.at("/offers/0").as_str().unwrap().to_owned()
}

/// An order that a driver accepts. Returns who.
async fn accepted(server: &Server, order: &str) -> String {
    server.order("", order).await;
    let offer = offer(server, order).await;
    server.act(&format!("/v1/offers/{offer}/accept")).await.ok();
    server.get(&format!("/v1/orders/{order}")).await.ok().at("/driver").as_str().unwrap().to_owned()
}

async fn progress(server: &Server, order: &str, steps: &[&str]) {
    for step in steps {
        pass(server, 20).await;
        server.post(&format!("/v1/orders/{order}/progress"), json!({"step": step})).await.ok();
    }
}

const STEPS: [&str; 5] = ["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"];

async fn morning(server: &Server) {
    let post = async |path: &str, body: Value| server.post(path, body).await.ok();
    let mut rules = rules();
    rules["rounds"] =
        json!({"attempts": 2, "pause_seconds": 10, "no_candidate_after_seconds": 300, "retry_after_seconds": 60});
    for (lifetime, seconds) in [("overdue", 600), ("fail", 1_200), ("retire", 900)] {
        rules["lifetimes"][format!("{lifetime}_after_seconds")] = json!(seconds);
    }
    rules["reposition"] = json!({
        "every_seconds": 60, "look_ahead_seconds": 900, "worth_minutes": 5, "max_travel_seconds": 900, "rest_seconds": 300,
    });
    server.put("/v1/markets/default/config", rules).await.ok();
    for driver in DRIVERS {
        server.driver("", driver).await;
    }
    server.act("/v1/drivers/ana/shift/pause").await.ok();
    server.act("/v1/drivers/ana/shift/resume").await.ok();
    server.put("/v1/drivers/bob/rating", json!({"rating": 4.5})).await.ok();
    server.put("/v1/drivers/eve", json!({"vehicle": "bicycle", "capacity": 2, "skills": ["cold-box"]})).await.ok();
    server.put("/v1/drivers/eve/planned-shift", planned_shift()).await.ok();

    for order in ["delivered-1", "delivered-2"] {
        accepted(server, order).await;
        progress(server, order, &STEPS).await;
    }
    server.order("", "declined").await;
    for _ in 0..2 {
        let offer = offer(server, "declined").await;
        server.act(&format!("/v1/offers/{offer}/decline")).await.ok();
    }
    // The next round begins; its offer expires.
    pass(server, 60).await;
    offer(server, "declined").await;
    pass(server, 30).await;
    post("/v1/orders/declined/cancel", json!({"reason": "changed my mind"})).await;

    post("/v1/orders", order("early")).await;
    post("/v1/orders/early/kitchen", json!({"status": "confirmed"})).await;
    pass(server, 1).await;
    server.put("/v1/orders/early/ready-time", json!({"ready_at": "2026-01-01T00:40:00Z"})).await.ok();
    post("/v1/orders/early/assign", json!({"driver": "bob"})).await;
    server.act("/v1/orders/early/take-back").await.ok();
    post("/v1/orders/early/assign", json!({"driver": "cem"})).await;
    post("/v1/orders/early/fail", json!({"reason": "the kitchen burns"})).await;

    let driver = accepted(server, "the-last").await;
    progress(server, "the-last", &STEPS[..2]).await;
    server.act(&format!("/v1/drivers/{driver}/shift/end")).await.ok();
    progress(server, "the-last", &STEPS[2..]).await;
    server.post(&format!("/v1/drivers/{driver}/shift/start"), json!({"until": "2026-01-01T08:00:00Z"})).await.ok();

    accepted(server, "of-the-silent").await;
    server.pass(121);
    server.get("/v1/orders/of-the-silent").await.ok();
    pass(server, 30).await;
    let offer = offer(server, "of-the-silent").await;
    server.act(&format!("/v1/offers/{offer}/accept")).await.ok();
    progress(server, "of-the-silent", &STEPS).await;

    let mut far = order("far");
    far["pickup"] = json!({"lat": 48.1, "lng": 11.6});
    post("/v1/orders", far).await;
    post("/v1/orders/far/kitchen", json!({"status": "ready"})).await;
    // It has no candidate, is overdue, and fails; what ended before leaves memory.
    for _ in 0..14 {
        pass(server, 100).await;
    }
}

async fn evening(server: &Server) {
    pass(server, 1).await;
    accepted(server, "evening-1").await;
    progress(server, "evening-1", &STEPS).await;
    accepted(server, "evening-2").await;
    progress(server, "evening-2", &STEPS[..3]).await;
    // Dan has nothing to do, and orders come from elsewhere.
    server.put("/v1/drivers/dan", json!({})).await.ok();
    server.act("/v1/drivers/dan/shift/start").await.ok();
    for _ in 0..3 {
        server.post("/v1/drivers/dan/position", json!({"lat": 52.55, "lng": 13.45})).await.ok();
        pass(server, 25).await;
    }
    let headers = [("idempotency-key", "golden"), ("content-type", "application/json")];
    server.raw(Method::POST, "/v1/orders", &headers, order("once").to_string().into_bytes()).await.ok();
    server.post("/v1/orders/once/kitchen", json!({"status": "confirmed"})).await.ok();
    server.order("", "offered").await;
    offer(server, "offered").await;
    server.post("/v1/markets/default/config/rollback", json!({"version": 1})).await.ok();
}
