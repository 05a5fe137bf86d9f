//! What a server tells in its log and in traces, and what it keeps to itself.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use axum::Router;
use axum::extract::{Request, State as Extract};
use axum::routing::post;
use common::{Answer, Folder, START, Server};
use dispatch_core::Timestamp;
use dispatch_server::{KeyHash, ManualClock, Sources, Telemetry};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What nobody may find in a log: it stands in keys, headers, queries, paths and texts of the day.
const SECRET: &str = "hush";

/// Where the day takes place: long enough not to be a duration by chance.
const PLACES: [&str; 4] = ["48.137154", "11.576124", "48.141592", "11.560317"];

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A log in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What a collector was given.
type Collected = Arc<Mutex<Vec<Vec<u8>>>>;

async fn collector() -> (String, Collected) {
    let collected = Collected::default();
    let take = async |Extract(collected): Extract<Collected>, request: Request| {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        collected.lock().unwrap().push(body.to_vec());
    };
    let app = Router::new().route("/v1/traces", post(take)).with_state(collected.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    (url, collected)
}

fn keys() -> String {
    let key = |name: &str, more: &str| {
        let hash = KeyHash::of(&format!("{SECRET}-{name}")).to_hex();
        format!("[[keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nrole = \"{name}\"\n{more}\n")
    };
    [key("dispatcher", ""), key("merchant", "places = [\"p\"]"), key("driver", "driver = \"ana\"")].concat()
}

/// Asks as somebody, with headers beside.
async fn ask(
    server: &Server,
    who: &str,
    method: Method,
    path: &str,
    more: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let bearer = format!("Bearer {SECRET}-{who}");
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    headers.extend_from_slice(more);
    server.raw(method, path, &headers, body.map(|body| body.to_string().into_bytes()).unwrap_or_default()).await
}

/// A day with everything that may go wrong with a request.
async fn day(server: &Server) {
    let place = |lat: usize| json!({"lat": PLACES[lat].parse::<f64>().unwrap(), "lng": PLACES[lat + 1].parse::<f64>().unwrap()});
    let (post, get) = (Method::POST, Method::GET);
    ask(server, "dispatcher", Method::PUT, "/v1/drivers/ana", &[], Some(json!({}))).await.ok();
    ask(server, "driver", post.clone(), "/v1/drivers/ana/shift/start", &[], None).await.ok();
    ask(server, "driver", post.clone(), "/v1/drivers/ana/position", &[], Some(place(0))).await.ok();
    let (mut pickup, mut dropoff) = (place(0), place(2));
    pickup["id"] = json!("p");
    pickup["label"] = json!(SECRET);
    dropoff["label"] = json!(SECRET);
    let order = json!({"id": "order-1", "pickup": pickup, "dropoff": dropoff});
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let headers = [("x-request-id", "request-1"), ("idempotency-key", "hush-once"), ("traceparent", parent.as_str())];
    let placed = ask(server, "merchant", post.clone(), "/v1/orders", &headers, Some(order)).await.ok();
    assert_eq!(placed.headers["x-request-id"], "request-1");
    let kitchen = json!({"status": "ready"});
    ask(server, "merchant", post.clone(), "/v1/orders/order-1/kitchen", &[], Some(kitchen)).await.ok();
    server.pass(1);
    let near = format!("/v1/nearest-drivers?lat={}&lng={}", PLACES[0], PLACES[1]);
    ask(server, "dispatcher", get.clone(), &near, &[], None).await.ok();
    let offer = ask(server, "driver", get.clone(), "/v1/drivers/ana/offer", &[], None).await.ok();
    let accept = format!("/v1/offers/{}/accept", offer.at("/offer/id").as_str().unwrap());
    ask(server, "driver", post.clone(), &accept, &[], None).await.ok();
    for step in ["picked_up", "delivered"] {
        server.pass(60);
        let step = json!({"step": step});
        ask(server, "driver", post.clone(), "/v1/orders/order-1/progress", &[], Some(step)).await.ok();
    }
    // Nobody tells of these more than that they were refused.
    for (who, method, path, body, status) in [
        ("nobody", get.clone(), "/v1/orders/order-1", None, 401),
        ("driver", get.clone(), "/v1/stats", None, 403),
        ("driver", get.clone(), "/hush/way?token=hush", None, 404),
        ("driver", Method::DELETE, "/v1/stats", None, 405),
        ("dispatcher", get.clone(), "/v1/orders/hush%20?q=hush", None, 422),
        ("dispatcher", post.clone(), "/v1/orders", Some(json!({"id": "hush-x", "hush": "hush"})), 422),
        ("driver", post, "/v1/drivers/ana/position", Some(json!({"lat": 948.137_154, "lng": "hush"})), 422),
    ] {
        let answer = ask(server, who, method, path, &[("x-request-id", "not an id")], body).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["x-request-id"].len(), 36, "{path}");
    }
}

fn spans(collected: &Collected) -> Vec<Span> {
    let requests = collected.lock().unwrap();
    let requests = requests.iter().map(|body| ExportTraceServiceRequest::decode(&body[..]).unwrap());
    let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_told_without_secrets_and_places() {
    let folder = Folder::new();
    let (endpoint, collected) = collector().await;
    let traces = format!("[log]\nformat = \"json\"\n[trace]\notlp_endpoint = \"{endpoint}\"\nsample = 0.0\n");
    let file = format!("data_dir = {:?}\n{traces}{}", folder.path(), keys());
    let config = Sources { file: Some(file.clone()), ..Sources::default() }.load().unwrap();
    let lines = Lines::default();
    let telemetry = Telemetry::start(&config, EnvFilter::new("dispatch_server=trace"), false, lines.clone()).unwrap();
    let clock = ManualClock::new(Timestamp::from_millis(START));
    let server = Server::on(clock.clone(), &file).await;
    day(&server).await;
    server.stop().await;
    // What is read back is told, too.
    Server::on(clock, &file).await.stop().await;
    telemetry.finish().await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for place in PLACES.iter().chain([&SECRET]) {
        let told = text.lines().find(|line| line.contains(place));
        assert_eq!(told, None, "{place} is in the log");
    }
    let told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(told.iter().all(Value::is_object));
    let request_id = |line: &Value| line.pointer("/spans/0/request_id").cloned().unwrap_or_default();
    // All that is told of a request has its id.
    let of_requests = |line: &&Value| line["message"] == "answered" || line["message"] == "carried out";
    assert!(
        told.iter()
            .filter(of_requests)
            .filter(|line| line["action"] != "resume")
            .all(|line| request_id(line).is_string())
    );
    let answered: Vec<_> = told.iter().filter(|line| line["message"] == "answered").collect();
    let placed = answered.iter().find(|line| request_id(line) == "request-1").unwrap();
    assert_eq!((&placed["level"], &placed["status"]), (&json!("INFO"), &json!(201)), "{placed}");
    assert_eq!((&placed["operation"], &placed["role"]), (&json!("submitOrder"), &json!("merchant")));
    assert!(placed["duration_ms"].as_f64().unwrap() > 0.0);
    let progress = answered.iter().find(|line| line["operation"] == "progressOrder").unwrap();
    assert_eq!(progress["order"], "order-1");
    let refused = answered.iter().find(|line| line["status"] == 403).unwrap();
    assert_eq!((&refused["level"], &refused["code"]), (&json!("DEBUG"), &json!("forbidden")));
    assert_eq!(answered.iter().filter(|line| line["operation"] == "reportPosition").count(), 2);
    let decided = told.iter().find(|line| line["message"] == "carried out" && line["action"] == "submit_order");
    assert_eq!(request_id(decided.expect("the runner tells what it carried out")), "request-1");

    let spans = spans(&collected);
    let bodies = collected.lock().unwrap().concat();
    let has = |text: &str| bodies.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(has("request-1") && has("submitOrder") && !has(SECRET), "the traces have ids and no secrets");
    let of_trace: Vec<_> = spans.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    assert_eq!(of_trace.len(), spans.len(), "only who says so is traced, at a share of 0");
    let named = |name: &str| *of_trace.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(hex(&named("request").parent_span_id), "00f067aa0ba902b7");
    for step in ["decide", "commit"] {
        assert_eq!(named(step).parent_span_id, named("request").span_id, "{step}");
    }
    assert!(named("commit").start_time_unix_nano >= named("decide").end_time_unix_nano);
}

fn hex(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:0width$x}", width = bytes.len() * 2)
}
