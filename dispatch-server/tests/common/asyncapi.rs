//! The contract of streams, sockets and webhooks as a test reads it: whether what is told is as it describes it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use super::contract::Contract;
use serde_json::Value;
use std::sync::LazyLock;

static CONTRACT: LazyLock<Contract> =
    LazyLock::new(|| Contract(serde_json::from_str(&dispatch_server::asyncapi_json()).unwrap()));

/// Asserts that a channel has such a message, and that this is one.
#[track_caller]
pub fn describes(channel: &str, name: &str, payload: &Value) {
    let Contract(contract) = &*CONTRACT;
    let known = &contract["channels"][channel]["messages"][name];
    let message = known["$ref"].as_str().unwrap_or_else(|| panic!("{channel} has no message {name}: {payload}"));
    let schema = &contract.pointer(&message[1..]).unwrap()["payload"];
    CONTRACT.check(schema, payload, &format!("{channel} {name}"));
}

/// The same of what a stream at this path tells.
#[track_caller]
pub fn describes_at(path: &str, name: &str, payload: &Value) {
    let path: Vec<_> = path.split('?').next().unwrap().split('/').collect();
    let is_at = |address: &str| {
        let parts: Vec<_> = address.split('/').collect();
        parts.len() == path.len() && parts.iter().zip(&path).all(|(part, is)| part.starts_with('{') || part == is)
    };
    let channels = CONTRACT.0["channels"].as_object().unwrap();
    let mut found = channels.iter().filter(|(_, channel)| channel["address"].as_str().is_some_and(is_at));
    let (channel, _) = found.next().unwrap_or_else(|| panic!("no channel is at {path:?}"));
    describes(channel, name, payload);
}

/// The same of what a socket says: an answer, or an event of a subscription.
#[track_caller]
pub fn describes_said(said: &Value) {
    let Some(name) = said["event"]["type"].as_str() else {
        return describes("socket", said["type"].as_str().unwrap_or("event"), said);
    };
    // Which of all events it is its type says.
    let Contract(contract) = &*CONTRACT;
    let message = contract.pointer("/components/schemas/EventOfSubscription").unwrap();
    let schema = &contract["components"]["messages"][name]["payload"];
    assert!(message["properties"]["event"]["oneOf"].as_array().unwrap().contains(schema), "no event {name}");
    CONTRACT.check(schema, &said["event"], name);
    let (mut fields, required) = (said.as_object().unwrap().clone(), &message["required"]);
    assert!(fields.remove("event").is_some() && fields.keys().eq(["subscription"]), "{said}: {required}");
    CONTRACT.check(&message["properties"]["subscription"], &said["subscription"], "subscription");
}
