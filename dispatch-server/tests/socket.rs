//! Sockets: subscriptions, a driver's answers, positions, and what ends them.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Server, keys};
use dispatch_server::{FrameFix, encode_frame};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

fn moved(reply: &Value) -> u64 {
    assert_eq!(reply["type"], "received", "{reply}");
    reply["outcomes"]["moved"].as_u64().unwrap()
}

#[tokio::test]
async fn a_driver_works_over_a_socket() {
    let server = Server::with(&keys()).await;
    server.driver("dispatcher", "ana").await;
    let mut socket = server.try_socket("driver", true).await.unwrap();
    let subscribed = socket.ask(json!({"type": "subscribe", "ref": 7, "topic": {"driver": "ana"}})).await;
    assert_eq!(subscribed, json!({"type": "subscribed", "ref": 7}));
    let standing = socket.event(7, "snapshot").await;
    assert_eq!((&standing["drivers"][0]["id"], standing["offers"].as_array().unwrap().len()), (&json!("ana"), 0));
    server.pass(2);
    let at = json!({"driver": "ana", "lat": 52.52, "lng": 13.40});
    assert_eq!(moved(&socket.ask(json!({"type": "positions", "positions": [at]})).await), 1);
    for (order, answer, closed) in [("o-1", "decline", "offer_declined"), ("o-2", "accept", "offer_accepted")] {
        server.order("dispatcher", order).await;
        server.pass(1);
        server.send_as("dispatcher", Method::GET, "/v1/markets", None).await.ok();
        let offer = socket.event(7, "new_offer").await;
        assert_eq!(offer["orders"][0]["id"], order);
        let offer = &offer["offer"];
        socket.say(json!({"type": answer, "ref": 1, "offer": offer})).await;
        let told = [socket.hear().await.unwrap(), socket.hear().await.unwrap()];
        let answered = told.iter().find(|told| told["type"] == "answered").unwrap_or_else(|| panic!("{told:?}"));
        assert_eq!((&answered["ref"], &answered["offer"]["id"]), (&json!(1), offer));
        let event = told.iter().find(|told| told["subscription"] == 7).unwrap();
        assert_eq!((&event["event"]["type"], &event["event"]["offer"]), (&json!(closed), offer));
        // A second time it is over.
        if answer == "decline" {
            let again = socket.ask(json!({"type": "accept", "ref": 2, "offer": offer})).await;
            assert_eq!((&again["type"], &again["problem"]["code"]), (&json!("problem"), &json!("offer_closed")));
        }
    }
    assert_eq!(socket.event(7, "route_update").await["route"].as_array().unwrap().len(), 2);
    // What is not a driver's it cannot follow.
    for topic in [json!({"order": "o-2"}), json!({"driver": "bob"})] {
        let refused = socket.ask(json!({"type": "subscribe", "ref": 8, "topic": topic})).await;
        assert!(matches!(refused["problem"]["status"].as_u64(), Some(403 | 404)), "{refused}");
    }
    assert_eq!(socket.ask(json!({"type": "unsubscribe", "ref": 7})).await, json!({"type": "unsubscribed", "ref": 7}));
    assert_eq!(socket.ask(json!({"type": "unsubscribe", "ref": 7})).await["problem"]["field"], "ref");
}

#[tokio::test]
async fn a_gateway_sends_frames() {
    let server = Server::with(&keys()).await;
    server.driver("dispatcher", "ana").await;
    server.driver("dispatcher", "bob").await;
    server.pass(3);
    let mut socket = server.socket("gateway").await;
    let numbered = socket.ask(json!({"type": "drivers", "drivers": ["bob", "nobody", "ana"]})).await;
    assert_eq!(numbered, json!({"type": "numbered", "numbered": 3}));
    let fix = |driver: u32| FrameFix {
        driver,
        lat_e7: 525_200_000,
        lng_e7: 134_001_000,
        after_base_ms: 0,
        accuracy: FrameFix::UNKNOWN,
        speed: FrameFix::UNKNOWN,
        heading: FrameFix::UNKNOWN,
    };
    let frame = encode_frame(common::START + 3_000, &[fix(0), fix(1), fix(2), fix(3)], false);
    socket.say_bytes(frame.clone()).await;
    let reply = socket.answer().await;
    assert_eq!(moved(&reply), 2);
    let refused: Vec<_> = reply["rejected"].as_array().unwrap().iter().map(|item| &item["index"]).collect();
    assert_eq!(refused, [1, 3]);
    let seen = server.send_as("dispatcher", Method::GET, "/v1/drivers/bob", None).await.ok();
    assert_eq!(seen.at("/position/lng"), 13.4001);
    socket.say_bytes(frame[..frame.len() - 1].to_vec()).await;
    assert_eq!(socket.answer().await["problem"]["field"], "frame");
    // Nothing else is for gateways.
    for message in
        [json!({"type": "subscribe", "ref": 1, "topic": {}}), json!({"type": "accept", "ref": 1, "offer": "default-1"})]
    {
        assert_eq!(socket.ask(message).await["problem"]["code"], "forbidden");
    }
}

#[tokio::test]
async fn a_bad_message_is_refused_and_names_the_field() {
    let server = Server::with("[streams]\nper_socket = 2").await;
    let mut socket = server.socket("").await;
    for (message, field) in [
        (json!({"ref": 1}), Some("type")),
        (json!({"type": "sing"}), Some("type")),
        (json!({"type": "subscribe", "topic": {}}), Some("ref")),
        (json!({"type": "subscribe", "ref": 1}), Some("topic")),
        (json!({"type": "subscribe", "ref": -1, "topic": {}}), Some("ref")),
        (json!({"type": "subscribe", "ref": 1, "topic": {"order": "a b"}}), Some("topic.order")),
        (json!({"type": "subscribe", "ref": 1, "topic": {"order": "a", "driver": "b"}}), Some("topic")),
        (json!({"type": "subscribe", "ref": 1, "topic": {}, "after": "x"}), Some("after")),
        (json!({"type": "subscribe", "ref": 1, "topic": {}, "x": 1}), Some("x")),
        (json!({"type": "accept", "offer": "x"}), Some("offer")),
        (json!({"type": "drivers", "drivers": ["a b"]}), Some("drivers[0]")),
        (json!({"type": "positions", "positions": 1}), Some("positions")),
        (json!([]), Some("body")),
    ] {
        let reply = socket.ask(message.clone()).await;
        let problem = &reply["problem"];
        assert_eq!((&reply["type"], problem["field"].as_str()), (&json!("problem"), field), "{message}: {reply}");
    }
    socket.send(Message::Text("{".into())).await;
    assert_eq!(socket.answer().await["problem"]["code"], "malformed_json");
    let bad = json!({"type": "positions", "ref": 3, "positions": [{"driver": "x", "lat": 91, "lng": 0}]});
    let reply = socket.ask(bad).await;
    assert_eq!((&reply["ref"], &reply["rejected"][0]["outcome"]), (&json!(3), &json!("invalid")));
    // So many subscriptions, each by a name of its own; the socket goes on.
    for (number, code) in [(1, None), (1, Some("invalid_value")), (2, None), (3, Some("invalid_value"))] {
        let reply = socket.ask(json!({"type": "subscribe", "ref": number, "topic": {}, "positions": false})).await;
        assert_eq!(reply["problem"]["code"].as_str(), code, "{reply}");
    }
    server.order("", "o-1").await;
    assert_eq!(socket.event(1, "order_placed").await["order"], "o-1");
    // What is no request for a socket is told so.
    server.get("/v1/socket").await.problem(400, "not_a_socket");
    // A message that is too long ends it.
    socket.send(Message::Text("x".repeat(1_100_000).into())).await;
    while socket.hear().await.is_ok() {}
}

#[tokio::test]
async fn a_socket_goes_on_where_it_was() {
    let server = Server::start().await;
    let mut socket = server.socket("").await;
    socket.say(json!({"type": "subscribe", "ref": 1, "topic": {"market": "default"}})).await;
    let begin = socket.event(1, "snapshot").await["id"].take();
    server.order("", "o-1").await;
    let mut told = Vec::new();
    while told.last().is_none_or(|event: &Value| event["type"] != "dispatch_started") {
        let said = socket.hear().await.unwrap();
        if said["event"]["id"].is_string() {
            told.push(said["event"].clone());
        }
    }
    let mut again = server.socket("").await;
    let subscribe = json!({"type": "subscribe", "ref": 9, "topic": {}, "after": begin, "positions": false});
    assert_eq!(again.ask(subscribe).await["type"], "subscribed");
    for expected in &told {
        assert_eq!(again.hear().await.unwrap(), json!({"subscription": 9, "event": expected}));
    }
    let gone = json!({"type": "subscribe", "ref": 2, "topic": {}, "after": "00000000-1-1", "positions": false});
    again.say(gone).await;
    assert_eq!(again.event(2, "reset").await["orders"][0]["id"], "o-1");
}

#[tokio::test]
async fn sockets_end_when_they_have_to() {
    let server = Server::with(&keys()).await;
    for as_browser in [false, true] {
        assert_eq!(server.try_socket("nobody", as_browser).await.err(), Some(401));
    }
    let made =
        server.send_as("admin", Method::POST, "/v1/keys", Some(json!({"name": "x", "role": "dispatcher"}))).await.ok();
    let mut passing = server.socket(made.at("/secret").as_str().unwrap()).await;
    let mut stays = server.socket("merchant").await;
    assert_eq!(passing.ask(json!({"type": "unsubscribe", "ref": 1})).await["type"], "problem");
    let id = made.at("/key/id").as_str().unwrap();
    server.send_as("admin", Method::DELETE, &format!("/v1/keys/{id}"), None).await.ok();
    assert_eq!(passing.hear().await.unwrap_err(), "revoked");
    assert_eq!(stays.ask(json!({"type": "unsubscribe", "ref": 1})).await["type"], "problem");
    let stopped = server.begin_to_stop();
    assert_eq!(stays.hear().await.unwrap_err(), "stopping");
    stopped.await.unwrap().unwrap();
}

const FEED: &str = include_str!("../../docs/feed.md");

/// What a message of the documentation or of a socket is: its type, or that of its event.
fn kind(message: &str) -> String {
    let types: Vec<_> = message.split("\"type\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    types.first().unwrap_or_else(|| panic!("no type: {message}")).to_string()
}

#[tokio::test]
async fn the_session_of_the_documentation_works() {
    let session = FEED.split("```text\n> ").nth(1).unwrap().split("\n```").next().unwrap();
    let server = Server::with(&keys()).await;
    server.driver("dispatcher", "ana").await;
    server.pass(2);
    let mut socket = server.try_socket("driver", true).await.unwrap();
    let (mut said, mut told) = (0, 0);
    for part in session.split("\n> ") {
        let mut lines = part.lines();
        socket.send(Message::Text(lines.next().unwrap().into())).await;
        said += 1;
        let mut expected: Vec<_> = lines.map(|line| kind(line.strip_prefix("< ").unwrap())).collect();
        let mut heard = Vec::new();
        while heard.len() < expected.len() {
            let message = socket.hear().await.unwrap();
            let is_event = message["event"].is_object();
            heard
                .push(if is_event { &message["event"]["type"] } else { &message["type"] }.as_str().unwrap().to_owned());
            if message["type"] == "received" {
                server.order("dispatcher", "o-1").await;
                server.pass(1);
                server.send_as("dispatcher", Method::GET, "/v1/markets", None).await.ok();
            }
        }
        told += heard.len();
        // Answers and events come in any order.
        expected.sort();
        heard.sort();
        assert_eq!(heard, expected, "{part}");
    }
    assert_eq!((said, told), (4, 9));
}
