//! Bodies made to break something, on every operation that takes one: a 4xx that names the field, and a server that goes on.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::contract::Contract;
use common::{Answer, Server, order};
use reqwest::Method;
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

/// What stands for a value that JSON has no word for, until the text is made.
const MARK: &str = "a mark that is replaced";

struct Operation {
    method: Method,
    path: String,
    body: Value,
    /// Every field as a JSON pointer, with its schema.
    fields: Vec<(String, Value)>,
}

impl Operation {
    async fn send(&self, server: &Server, body: Vec<u8>) -> Answer {
        server.raw(self.method.clone(), &self.path, &[JSON], body).await
    }

    /// The text of the body with something else at a field.
    fn with(&self, pointer: &str, text: &str) -> Vec<u8> {
        let mut body = self.body.clone();
        *body.pointer_mut(pointer).unwrap() = json!(MARK);
        body.to_string().replacen(&json!(MARK).to_string(), text, 1).into_bytes()
    }
}

/// A field as answers name it.
fn name(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".").replace(".0", "[0]")
}

/// Asserts that a body was refused; and where, if that can be said of JSON that is whole. A batch names the item.
#[track_caller]
fn refused(answer: &Answer, field: Option<&str>, told: &str) {
    let told = format!("{told}: {} {:#}", answer.status, answer.body);
    if answer.body["results"][0]["outcome"] == "invalid" {
        let detail = answer.body["results"][0]["detail"].as_str().unwrap();
        let last = field.unwrap_or_default().rsplit('.').next().unwrap();
        return assert!(detail.contains(last) || last.starts_with("positions"), "{told}");
    }
    assert!([400, 413, 422].contains(&answer.status), "{told}");
    if let (Some(field), 422) = (field, answer.status) {
        let named = answer.body["field"].as_str().unwrap();
        let is_part = |long: &str, short: &str| long.starts_with(short) || short == "body" || short.is_empty();
        assert!(is_part(named, field) || is_part(field, named), "{told}: not {field}");
    }
}

async fn operations(server: &Server) -> Vec<Operation> {
    let contract = Contract::of(server).await;
    let mut operations = Vec::new();
    for (method, path, operation) in contract.operations() {
        let Some(schema) = contract.body(operation) else { continue };
        let fields =
            contract.fields(schema, "").into_iter().map(|(pointer, schema)| (pointer, schema.clone())).collect();
        let path = path.replace("/markets/{id}", "/markets/default").replace("{id}", "ana");
        operations.push(Operation { method, path, body: contract.sample(schema, ""), fields });
    }
    operations
}

fn kinds(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        kind => vec![kind.as_str().unwrap()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_json_or_too_much_of_it() {
    let server = Server::start().await;
    let mut tried = 0;
    for operation in operations(&server).await {
        let whole = operation.body.to_string();
        let told = |what: &str| format!("{} {} {what}", operation.method, operation.path);
        for cut in (0..whole.len()).step_by(1 + whole.len() / 40) {
            let answer = operation.send(&server, whole.as_bytes()[..cut].to_vec()).await;
            // Where a body may be left out, none at all is one.
            if cut > 0 {
                refused(&answer, None, &told(&format!("cut after {cut}")));
            }
            tried += 1;
        }
        let limit = if operation.path == "/v1/positions" { 1_000_000 } else { 65_536 };
        let padded = format!("{whole}{}", " ".repeat(limit + 1 - whole.len()));
        operation.send(&server, padded.into_bytes()).await.problem(413, "body_too_large");
        for garbage in ["\u{0}", "\u{feff}{}", "{}{}", "{'a':1}", "{\"a\":1,}", "//", "\"\\ud800\"", "{\"\\ud800\":1}"]
        {
            let answer = operation.send(&server, garbage.as_bytes().to_vec()).await;
            refused(&answer, None, &told(garbage));
        }
        refused(&operation.send(&server, vec![0xff; 10]).await, None, &told("no UTF-8"));
        for (pointer, _) in &operation.fields {
            for raw in ["NaN", "-Infinity", "1e999", "0x10", "01", "1.", "\"\\ud800\"", "undefined"] {
                let answer = operation.send(&server, operation.with(pointer, raw)).await;
                refused(&answer, None, &told(&format!("{pointer} = {raw}")));
                tried += 1;
            }
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let depth = 10_000;
                let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
                let answer = operation.send(&server, operation.with(pointer, &deep)).await;
                refused(&answer, Some(&name(pointer)), &told(&format!("{pointer} is deep")));
            }
        }
    }
    assert!(tried > 1_500, "{tried}");
    server.get("/health/ready").await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_other_kinds_twice_or_out_of_range() {
    let server = Server::start().await;
    server.put("/v1/drivers/ana", json!({})).await.ok();
    server.post("/v1/orders", order("ana")).await.ok();
    let before = server.get("/v1/orders/ana").await.ok().body;
    let mut tried = 0;
    for operation in operations(&server).await {
        let told = |what: String| format!("{} {} {what}", operation.method, operation.path);
        for (pointer, schema) in &operation.fields {
            let kinds = kinds(schema);
            let mut wrong: Vec<&str> = Vec::new();
            let others = [
                ("boolean", "true"),
                ("string", "\"\\u0000 no value of anything\""),
                ("array", "[{}]"),
                ("object", "{\"x\":1}"),
            ];
            wrong.extend(others.into_iter().filter(|(kind, _)| !kinds.contains(kind)).map(|(_, value)| value));
            if !kinds.contains(&"number") && !kinds.contains(&"integer") {
                wrong.push("7");
            }
            match pointer.rsplit('/').next().unwrap() {
                "lat" => wrong.extend(["90.0000001", "-91", "1e308"]),
                "lng" => wrong.extend(["180.0000001", "-181", "-1e308"]),
                _ => {}
            }
            if kinds.contains(&"integer") {
                wrong.extend(["1.5", "-1", "18446744073709551616"]);
            }
            if schema["format"] == "date-time" {
                wrong.extend([
                    "\"2026-02-30T00:00:00Z\"",
                    "\"2026-01-01\"",
                    "\"now\"",
                    "\"+10000-01-01T00:00:00Z\"",
                    "1767225600",
                ]);
            }
            for value in wrong {
                let answer = operation.send(&server, operation.with(pointer, value)).await;
                refused(&answer, Some(&name(pointer)), &told(format!("{pointer} = {value}")));
                tried += 1;
            }
            // What the contract allows, at its edges: never an error of the server.
            let edges: &[&str] = match (pointer.rsplit('/').next().unwrap(), schema["format"].as_str()) {
                ("lat", _) => &["90", "-90", "-0.0", "1e-320"],
                ("lng", _) => &["180", "-180", "179.9999999", "-179.9999999"],
                (_, Some("date-time")) => {
                    &["\"0000-01-01T00:00:00Z\"", "\"9999-12-31T23:59:59Z\"", "\"1969-12-31T23:59:59-23:59\""]
                }
                _ => &[],
            };
            for value in edges {
                let answer = operation.send(&server, operation.with(pointer, value)).await;
                assert!(answer.status < 500, "{}: {:#}", told(format!("{pointer} = {value}")), answer.body);
                assert!(!answer.rules_out(), "{}: {:#}", told(format!("{pointer} = {value}")), answer.body);
                tried += 1;
            }
            // Twice the same name in one object.
            let Some((above, last)) = pointer.rsplit_once('/').filter(|(_, last)| *last != "0") else { continue };
            let value = operation.body.pointer(pointer).unwrap();
            let Value::Object(mut object) = operation.body.pointer(above).unwrap().clone() else { continue };
            object.remove(last);
            let rest = Value::Object(object).to_string();
            let comma = if rest == "{}" { "" } else { "," };
            let twice = format!("{{\"{last}\":{value},\"{last}\":{value}{comma}{}", &rest[1..]);
            let text = match above {
                "" => twice.into_bytes(),
                above => operation.with(above, &twice),
            };
            let answer = operation.send(&server, text).await;
            refused(&answer, Some(&name(pointer)), &told(format!("{pointer} twice")));
            tried += 1;
        }
    }
    assert!(tried > 400, "{tried}");
    let after = server.get("/v1/orders/ana").await.ok().body;
    assert_eq!(after["pickup"], before["pickup"]);
    server.get("/health/ready").await.ok();
    server.stop().await;
}
