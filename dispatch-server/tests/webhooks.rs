//! Webhooks over HTTP: what is sent, what happens when it does not arrive, and whose they are.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::receiver::{Receiver, until};
use common::{Answer, Folder, START, Server, key, tenants};
use dispatch_core::Timestamp;
use dispatch_server::ManualClock;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use std::path::Path;

const OPEN: &str = "[webhooks]\nallow_http = true\nallow_private = true\n";

fn text<'a>(answer: &'a Answer, pointer: &str) -> &'a str {
    answer.at(pointer).as_str().unwrap()
}

/// Makes a webhook that is told tests alone: its path and its secret.
async fn webhook(server: &Server, receiver: &Receiver) -> (String, String) {
    let made = server.post("/v1/webhooks", json!({"url": receiver.url, "events": []})).await;
    assert_eq!(made.status, 201, "{:#}", made.body);
    (format!("/v1/webhooks/{}", text(&made, "/webhook/id")), text(&made, "/secret").to_owned())
}

/// Has a test sent: the event's id.
async fn test(server: &Server, path: &str) -> String {
    text(&server.act(&format!("{path}/test")).await.ok(), "/event").to_owned()
}

/// As a receiver checks a signature.
fn is_signed(header: &str, body: &str, secret: &str) -> bool {
    let time = header.split(',').find_map(|part| part.strip_prefix("t=")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    let expected = mac.finalize().into_bytes();
    let expected = expected.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    header.split(',').filter_map(|part| part.strip_prefix("v1=")).any(|signature| signature == expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_a_signed_cloud_event() {
    let (server, receiver) = (Server::with(OPEN).await, Receiver::start().await);
    let (path, first) = webhook(&server, &receiver).await;
    let event = test(&server, &path).await;
    let told = receiver.hears(1, || ()).await.remove(0);
    let id = path.rsplit('/').next().unwrap();
    assert_eq!((told.header("content-type"), told.header("dispatch-webhook-id")), ("application/cloudevents+json", id));
    let expected = json!({
        "specversion": "1.0", "id": event, "source": format!("/webhooks/{id}"), "type": "dispatch.test",
        "time": "2026-01-01T00:00:00.000Z", "datacontenttype": "application/json", "data": {"webhook": id},
    });
    assert_eq!(told.event(), expected);
    let signature = told.header("dispatch-signature");
    assert!(signature.starts_with("t=1767225600,v1=") && is_signed(signature, &told.body, &first), "{signature}");
    assert!(!is_signed(signature, &format!("{} ", told.body), &first));

    // Both secrets sign for a while, then the new one alone.
    let rotated = server.post(&format!("{path}/rotate-secret"), json!({"grace_seconds": 60})).await.ok();
    let second = text(&rotated, "/secret").to_owned();
    for (count, pass, with_first) in [(2, 59, true), (3, 1, false)] {
        server.pass(pass);
        test(&server, &path).await;
        let told = receiver.hears(count, || ()).await.pop().unwrap();
        let signature = told.header("dispatch-signature");
        assert!(is_signed(signature, &told.body, &second));
        assert_eq!(is_signed(signature, &told.body, &first), with_first);
    }
    until(async || server.get(&path).await.at("/pending") == 0, || ()).await;
    let shown = server.get(&path).await.ok();
    assert_eq!((shown.at("/status"), shown.at("/last_failure")), (&json!("active"), &Value::Null));
    assert!(shown.at("/last_delivery_at").is_string());
    let listed = server.get("/v1/webhooks").await.ok().body.to_string();
    assert!(listed.contains(id) && !listed.contains(&first) && !listed.contains(&second));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_sent_again_until_it_is_a_dead_letter() {
    let file = format!("{OPEN}attempts = 3\ndead_letters = 2\nresponse_ms = 300\n");
    let (server, receiver) = (Server::with(&file).await, Receiver::start().await);
    let (path, _) = webhook(&server, &receiver).await;
    let dead = async || server.get(&format!("{path}/dead-letters")).await.ok();
    let is_dead = async |count: usize| dead().await.at("/dead_letters").as_array().unwrap().len() == count;
    let elsewhere = ("location", Receiver::start().await.url);
    // An error, a redirect, which is not followed, and no answer at all.
    receiver.answers_next([Some((500, None)), Some((307, Some(elsewhere))), None]);
    let event = test(&server, &path).await;
    until(async || is_dead(1).await, || server.pass(1)).await;
    let letters = dead().await;
    let letter = letters.at("/dead_letters/0");
    assert_eq!(
        (&letter["event"], &letter["type"], &letter["attempts"]),
        (&json!(event), &json!("dispatch.test"), &json!(3))
    );
    assert_eq!(letter["failure"], "no answer within 0.3 s");
    assert_eq!(receiver.told().len(), 3);

    let replayed = server.act(&format!("{path}/dead-letters/replay")).await.ok();
    assert_eq!(replayed.at("/replayed"), 1);
    let told = receiver.hears(4, || ()).await;
    assert!(told.iter().all(|told| told.event()["id"] == event.as_str()));
    assert!(is_dead(0).await);

    // The oldest is forgotten, and that is said.
    receiver.answers(Some((500, None)));
    let mut events = Vec::new();
    for count in 1..=3 {
        events.push(test(&server, &path).await);
        until(async || server.get(&path).await.at("/pending") == 0, || server.pass(1)).await;
        assert!(is_dead(count.min(2)).await);
    }
    let shown = server.get(&path).await.ok();
    assert_eq!((shown.at("/dead_letters"), shown.at("/dropped_dead_letters")), (&json!(2), &json!(1)));
    assert_eq!(shown.at("/last_failure"), "answered 500");
    let page = server.get(&format!("{path}/dead-letters?limit=1")).await.ok();
    let next = server.get(&format!("{path}/dead-letters?cursor={}", text(&page, "/next_cursor"))).await.ok();
    assert_eq!(
        (page.at("/dead_letters/0/event"), next.at("/dead_letters/0/event")),
        (&json!(events[1]), &json!(events[2]))
    );
    assert_eq!(next.body.get("next_cursor"), None);
    // Those that are named, and no others.
    receiver.answers(Some((200, None)));
    let before = receiver.told().len();
    let ids = json!({"ids": [next.at("/dead_letters/0/id"), "9999", "no-number"]});
    assert_eq!(server.post(&format!("{path}/dead-letters/replay"), ids).await.ok().at("/replayed"), 1);
    assert_eq!(receiver.hears(before + 1, || ()).await.pop().unwrap().event()["id"], events[2].as_str());
    assert!(is_dead(1).await);

    let metrics = server.state.metrics();
    for line in [
        "dispatch_webhook_deliveries_total{outcome=\"dead\"} 4",
        "dispatch_webhook_dead_letters 1",
        "dispatch_webhook_dead_letters_dropped_total 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_says_when_to_come_back_and_when_never() {
    let (server, receiver) = (Server::with(OPEN).await, Receiver::start().await);
    let (path, _) = webhook(&server, &receiver).await;
    for (count, as_date) in [(1, false), (3, true)] {
        let began = server.clock.now().as_millis();
        let date = (began - START) / 1_000 + 200;
        let date = format!("Thu, 01 Jan 2026 {:02}:{:02}:{:02} GMT", date / 3_600, date / 60 % 60, date % 60);
        let after = if as_date { date } else { "200".to_owned() };
        receiver.answers_next([Some((429, Some(("retry-after", after))))]);
        test(&server, &path).await;
        receiver.hears(count, || ()).await;
        until(async || server.get(&path).await.at("/last_failure_at") == &now(&server), || ()).await;
        assert_eq!(server.get(&path).await.at("/last_failure"), "answered 429");
        // Not before it asks for.
        server.pass(199);
        server.get("/v1/stats").await.ok();
        assert_eq!(receiver.told().len(), count);
        receiver.hears(count + 1, || server.pass(1)).await;
        assert!(server.clock.now().as_millis() - began >= 200_000);
        until(async || server.get(&path).await.at("/pending") == 0, || ()).await;
    }

    receiver.answers_next([Some((410, None))]);
    let event = test(&server, &path).await;
    until(async || server.get(&path).await.at("/status") == "gone", || ()).await;
    let later = test(&server, &path).await;
    let before = receiver.told().len();
    server.pass(10_000);
    server.get("/v1/stats").await.ok();
    assert_eq!(receiver.told().len(), before);
    assert_eq!(server.act(&format!("{path}/resume")).await.ok().at("/status"), "active");
    let told = receiver.hears(before + 2, || ()).await;
    let ids: Vec<_> = told[before..].iter().map(|told| told.event()["id"].clone()).collect();
    assert_eq!(ids, [json!(event), json!(later)], "what it did not take is sent again, and first");
    server.stop().await;
}

/// The time of a server, as answers have it.
fn now(server: &Server) -> Value {
    let seconds = (server.clock.now().as_millis() - START) / 1_000;
    json!(format!("2026-01-01T{:02}:{:02}:{:02}.000Z", seconds / 3_600, seconds / 60 % 60, seconds % 60))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_outlives_a_restart() {
    let (folder, receiver) = (Folder::new(), Receiver::start().await);
    let file = format!("data_dir = '{}'\ndurability = 'process'\n{OPEN}attempts = 2\n", folder.path());
    let clock = ManualClock::new(Timestamp::from_millis(START));
    let server = Server::on(clock.clone(), &file).await;
    let (path, secret) = webhook(&server, &receiver).await;
    receiver.answers(Some((500, None)));
    let dead = test(&server, &path).await;
    until(async || server.get(&path).await.at("/dead_letters") == 1, || server.pass(1)).await;
    let waiting = test(&server, &path).await;
    receiver.hears(3, || ()).await;
    until(async || server.get(&path).await.at("/last_failure_at") == &now(&server), || ()).await;
    let paused = server.act(&format!("{path}/pause")).await.ok();
    assert_eq!((paused.at("/status"), paused.at("/pending")), (&json!("paused"), &json!(1)));
    server.stop().await;
    #[cfg(unix)]
    for end in ["webhooks.json", ".json"] {
        use std::os::unix::fs::PermissionsExt;
        for file in folder.files(end) {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
    }

    receiver.answers(Some((200, None)));
    let server = Server::on(clock.clone(), &file).await;
    let shown = server.get(&path).await.ok();
    assert_eq!(
        (shown.at("/status"), shown.at("/pending"), shown.at("/dead_letters")),
        (&json!("paused"), &json!(1), &json!(1))
    );
    assert_eq!(receiver.told().len(), 3);
    server.act(&format!("{path}/resume")).await.ok();
    // Where it is not known up to which place it was told, that is said: see the unit tests.
    let told = receiver.hears(4, || server.pass(1)).await;
    assert_eq!(told[3].event()["id"], waiting.as_str());
    assert!(is_signed(told[3].header("dispatch-signature"), &told[3].body, &secret));
    server.act(&format!("{path}/dead-letters/replay")).await.ok();
    assert_eq!(receiver.hears(5, || ()).await[4].event()["id"], dead.as_str());
    server.send_as("", Method::DELETE, &path, None).await.ok();
    server.get(&path).await.problem(404, "unknown_webhook");
    server.stop().await;
    let left: Vec<_> = folder.files(".json").iter().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(left, ["webhooks.json"]);

    std::fs::write(Path::new(folder.path()).join("webhooks.json"), "{").unwrap();
    assert!(Server::try_on(clock, &file).await.is_err_and(|error| error.to_string().contains("webhooks.json")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_of_its_tenant_and_of_the_markets_of_whoever_made_it() {
    let more = key("berlin-admin", "admin", "markets = [\"default\"]");
    let server = Server::with(&format!("{}{more}{OPEN}per_tenant = 2\n", tenants())).await;
    let receiver = Receiver::start().await;
    let make = async |who: &str, body: Value| server.send_as(who, Method::POST, "/v1/webhooks", Some(body)).await;
    let url = receiver.url.as_str();
    let made = make("admin", json!({"url": url, "name": "erp"})).await;
    let path = format!("/v1/webhooks/{}", text(&made, "/webhook/id"));
    for (method, end) in [
        (Method::GET, ""),
        (Method::POST, "/test"),
        (Method::POST, "/pause"),
        (Method::POST, "/resume"),
        (Method::POST, "/rotate-secret"),
        (Method::GET, "/dead-letters"),
        (Method::POST, "/dead-letters/replay"),
        (Method::DELETE, ""),
    ] {
        for who in ["other-admin", "berlin-admin"] {
            let answer = server.send_as(who, method.clone(), &format!("{path}{end}"), None).await;
            answer.problem(404, "unknown_webhook");
        }
        let answer = server.send_as("dispatcher", method.clone(), &format!("{path}{end}"), None).await;
        answer.problem(403, "forbidden");
    }
    for who in ["other-admin", "berlin-admin"] {
        assert_eq!(server.send_as(who, Method::GET, "/v1/webhooks", None).await.ok().body, json!({"webhooks": []}));
    }
    // Neither another tenant's market nor one that there is not, which look the same.
    for (who, markets) in
        [("admin", json!(["elsewhere"])), ("admin", json!(["x"])), ("berlin-admin", json!(["elsewhere"]))]
    {
        let refused = make(who, json!({"url": url, "markets": markets})).await;
        refused.problem(403, "not_your_market").field("markets");
    }
    let narrow = make("berlin-admin", json!({"url": url, "events": ["picked_up"]})).await;
    assert_eq!(
        (narrow.at("/webhook/markets"), narrow.at("/webhook/events")),
        (&json!(["default"]), &json!(["picked_up"]))
    );
    make("admin", json!({"url": url})).await.problem(503, "full");
    assert_eq!(make("other-admin", json!({"url": url})).await.status, 201);
    let page = server.send_as("admin", Method::GET, "/v1/webhooks?limit=1", None).await.ok();
    let rest = format!("/v1/webhooks?cursor={}", text(&page, "/next_cursor"));
    assert_eq!(
        server.send_as("admin", Method::GET, &rest, None).await.ok().at("/webhooks").as_array().unwrap().len(),
        1
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_anything_at_a_private_address() {
    let server = Server::start().await;
    let make = async |body: Value| server.post("/v1/webhooks", body).await;
    for url in [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:192.168.0.1]/",
        "https://user:password@example.com/",
        "https://",
        "ftp://example.com/",
        "",
    ] {
        make(json!({"url": url})).await.problem(422, "out_of_range").field("url");
    }
    make(json!({"url": "a".repeat(2_049)})).await.problem(422, "invalid_value").field("url");
    make(json!({"url": "https://example.com/", "events": ["unknown"]})).await.problem(422, "invalid_value");
    make(json!({"url": "https://example.com/", "name": "a\nb"})).await.problem(422, "out_of_range").field("name");
    make(json!({})).await.problem(422, "invalid_value").field("url");
    // A name is found to lead there when something is to be sent.
    let made = make(json!({"url": "https://localhost:9/"})).await;
    let path = format!("/v1/webhooks/{}", text(&made, "/webhook/id"));
    test(&server, &path).await;
    until(async || server.get(&path).await.at("/last_failure").is_string(), || ()).await;
    let failure = server.get(&path).await;
    assert_eq!(failure.at("/last_failure"), "the target leads to an address that is not public");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_an_order_is_told_also_after_a_restart() {
    let (folder, receiver) = (Folder::new(), Receiver::start().await);
    let file = format!("data_dir = '{}'\ndurability = 'process'\n{OPEN}", folder.path());
    let clock = ManualClock::new(Timestamp::from_millis(START));
    let server = Server::on(clock.clone(), &file).await;
    server.put("/v1/drivers/ana", json!({})).await.ok();
    let events = json!(["order_placed", "order_cancelled"]);
    let made = server.post("/v1/webhooks", json!({"url": receiver.url, "events": events})).await.ok();
    let path = format!("/v1/webhooks/{}", text(&made, "/webhook/id"));
    server.post("/v1/orders", common::order("o-1")).await.ok();
    let told = receiver.hears(1, || ()).await;
    let event = told[0].event();
    assert_eq!((&event["type"], &event["subject"]), (&json!("dispatch.order_placed"), &json!("o-1")));
    assert_eq!((&event["source"], &event["id"]), (&json!("/markets/default"), &event["data"]["id"]));
    assert_eq!((&event["time"], &event["data"]["order"]), (&event["data"]["at"], &json!("o-1")));
    until(async || server.get(&path).await.at("/pending") == 0, || ()).await;
    server.act(&format!("{path}/pause")).await.ok();
    server.post("/v1/orders", common::order("o-2")).await.ok();
    server.stop().await;

    let server = Server::on(clock, &file).await;
    server.act(&format!("{path}/resume")).await.ok();
    server.post("/v1/orders/o-1/cancel", json!({"reason": "closed"})).await.ok();
    let told = receiver.hears(3, || ()).await;
    for told in &told {
        common::asyncapi::describes("webhook", &told.kind(), &told.event());
    }
    let told: Vec<_> = told.iter().map(|told| (told.kind(), told.event()["subject"].clone())).collect();
    assert_eq!(told[1], ("dispatch.order_placed".into(), json!("o-2")));
    assert_eq!(told[2], ("dispatch.order_cancelled".into(), json!("o-1")));
    server.stop().await;
}
