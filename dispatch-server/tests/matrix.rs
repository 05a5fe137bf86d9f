//! Who may do what: every operation, as everybody, with one's own, with foreign and with absent things.
//!
//! Each operation has a row here, written from what it is for and not from the server's table of routes, and everything else is
//! generated. An operation without a row fails the test.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Answer, Server, keys, order, planned_shift, rules, tenants};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everybody: without a key, with an unknown one, and the keys of [`keys`]. The things are those of `ana` and of place `p`, so
/// of `driver` and `merchant`.
const CALLERS: [&str; 9] =
    ["", "unknown", "admin", "dispatcher", "merchant", "foreign-merchant", "driver", "foreign-driver", "gateway"];

/// Everybody of another tenant, and who may see no market of the first; see [`tenants`].
const STRANGERS: [&str; 6] =
    ["other-admin", "other-dispatcher", "other-merchant", "other-driver", "other-gateway", "narrow"];

/// What has happened before a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// `ana` and `bob` are registered, and the rules were set once, so that there are former ones.
    Known,
    /// `ana` is on shift.
    Working,
    /// `ana` has paused.
    Paused,
    /// Order `o-1` was submitted.
    Submitted,
    /// It is offered to `ana`.
    Offered,
    /// `ana` has it.
    Assigned,
    /// It is on board.
    PickedUp,
    /// It is at its customer's.
    Delivered,
    /// It was called off while `ana` had it.
    Cancelled,
}

use Stage::{Assigned, Cancelled, Delivered, Known, Offered, Paused, PickedUp, Submitted, Working};

const STAGES: [Stage; 9] = [Known, Working, Paused, Submitted, Offered, Assigned, PickedUp, Delivered, Cancelled];

/// Who may do something, and to whom what there is looks like nothing. Nobody else may.
#[derive(Clone, Copy)]
struct Who {
    may: &'static [&'static str],
    foreign: &'static [&'static str],
}

const EVERYBODY: Who = Who { may: &CALLERS, foreign: &[] };
const ANY_KEY: Who = Who {
    may: &["admin", "dispatcher", "merchant", "foreign-merchant", "driver", "foreign-driver", "gateway"],
    foreign: &[],
};
const ADMIN: Who = Who { may: &["admin"], foreign: &[] };
const STAFF: Who = Who { may: &["admin", "dispatcher"], foreign: &[] };
const THE_DRIVER: Who = Who { may: &["admin", "dispatcher", "driver"], foreign: &["foreign-driver"] };
const REPORTS: Who = Who { may: &["admin", "dispatcher", "driver", "gateway"], foreign: &["foreign-driver"] };
const THE_SOURCE: Who = Who { may: &["admin", "dispatcher", "merchant"], foreign: &["foreign-merchant"] };
const FOLLOWS: Who =
    Who { may: &["admin", "dispatcher", "merchant", "foreign-merchant", "driver", "foreign-driver"], foreign: &[] };
const WHOEVER_HAS_PART: Who =
    Who { may: &["admin", "dispatcher", "merchant", "driver"], foreign: &["foreign-merchant", "foreign-driver"] };

/// How nothing looks.
enum Nothing {
    /// An unknown id.
    Unknown(&'static str),
    /// Something new comes to be.
    New,
    /// The answer has this at this pointer.
    Shows(&'static str, Value),
    /// It is refused with this code.
    Refused(&'static str),
    /// There is always something.
    Never,
}

struct Row {
    operation: &'static str,
    who: Who,
    stage: Stage,
    /// What the `{id}` of the path is, and one of the same length that does not exist.
    id: [&'static str; 2],
    body: Value,
    status: u16,
    nothing: Nothing,
}

fn row(operation: &'static str, who: Who, stage: Stage) -> Row {
    Row { operation, who, stage, id: [""; 2], body: Value::Null, status: 200, nothing: Nothing::Never }
}

impl Row {
    fn driver(self) -> Self {
        Self { id: ["ana", "eve"], nothing: Nothing::Unknown("unknown_driver"), ..self }
    }

    fn order(self) -> Self {
        Self { id: ["o-1", "x-1"], nothing: Nothing::Unknown("unknown_order"), ..self }
    }

    fn offer(self) -> Self {
        Self { id: ["default-1", "default-9"], nothing: Nothing::Unknown("unknown_offer"), ..self }
    }

    fn market(self) -> Self {
        Self { id: ["default", "nowhere"], nothing: Nothing::Unknown("unknown_market"), ..self }
    }

    fn with(self, body: Value) -> Self {
        Self { body, ..self }
    }

    fn or(self, nothing: Nothing) -> Self {
        Self { nothing, ..self }
    }

    fn gives(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

fn rows() -> Vec<Row> {
    let place = json!({"lat": 52.52, "lng": 13.4});
    let fix = json!({"positions": [{"driver": "ana", "lat": 52.52, "lng": 13.4}]});
    let soon = json!({"ready_at": "2026-01-01T00:10:00Z"});
    vec![
        row("registerDriver", STAFF, Known).driver().with(json!({})).or(Nothing::New),
        row("listDrivers", STAFF, Known),
        row("nearestDrivers", STAFF, Known),
        row("getDriver", THE_DRIVER, Known).driver(),
        row("startShift", THE_DRIVER, Known).driver(),
        row("endShift", THE_DRIVER, Offered).driver(),
        row("pauseShift", THE_DRIVER, Offered).driver(),
        row("resumeShift", THE_DRIVER, Paused).driver(),
        row("planShift", STAFF, Known).driver().with(planned_shift()),
        row("unplanShift", STAFF, Known).driver(),
        row("rateDriver", STAFF, Known).driver().with(json!({"rating": 4})),
        row("getDriverOffer", THE_DRIVER, Offered).driver(),
        row("reportPosition", REPORTS, Working).driver().with(place),
        row("reportPositions", REPORTS, Working)
            .with(fix)
            .or(Nothing::Shows("/results/0/outcome", json!("unknown_driver"))),
        row("submitOrder", THE_SOURCE, Known).with(order("o-1")).gives(201).or(Nothing::Refused("not_your_place")),
        row("listOrders", WHOEVER_HAS_PART, Offered).or(Nothing::Shows("/orders", json!([]))),
        row("getOrder", WHOEVER_HAS_PART, Offered).order(),
        row("kitchenProgress", THE_SOURCE, Submitted).order().with(json!({"status": "confirmed"})),
        row("setReadyTime", THE_SOURCE, Submitted).order().with(soon),
        row("cancelOrder", THE_SOURCE, Offered).order().with(json!({"reason": "closed"})),
        row("failOrder", WHOEVER_HAS_PART, Assigned).order().with(json!({"reason": "lost"})),
        row("progressOrder", THE_DRIVER, Assigned).order().with(json!({"step": "picked_up"})),
        row("assignOrder", STAFF, Offered).order().with(json!({"driver": "ana"})),
        row("takeBackOrder", STAFF, Assigned).order(),
        row("getEta", WHOEVER_HAS_PART, Offered).order(),
        row("explainOrder", STAFF, Offered).order(),
        row("getOpinion", STAFF, Offered).order(),
        row("whyNot", STAFF, Offered).order(),
        row("createTrackingLink", THE_SOURCE, Submitted).order(),
        // What a link shows, and whose keys are whose: see `links` and `keys`.
        row("trackOrder", EVERYBODY, Known).gives(404),
        row("followTrackedOrder", EVERYBODY, Known).gives(404),
        // What streams and sockets tell whom: see `feed` and `socket`.
        row("followAll", FOLLOWS, Offered),
        row("followOrder", THE_SOURCE, Offered).order(),
        row("followDriver", THE_DRIVER, Known).driver(),
        row("openSocket", ANY_KEY, Known).gives(400),
        row("createKey", ADMIN, Known).with(json!({"name": "new", "role": "dispatcher"})).gives(201),
        row("listKeys", ADMIN, Known),
        row("rotateKey", ADMIN, Known).gives(404),
        row("revokeKey", ADMIN, Known).gives(404),
        // Whose webhooks are whose: see `webhooks`.
        row("createWebhook", ADMIN, Known).with(json!({"url": "https://example.com/"})).gives(201),
        row("listWebhooks", ADMIN, Known),
        row("getWebhook", ADMIN, Known).gives(404),
        row("deleteWebhook", ADMIN, Known).gives(404),
        row("rotateWebhookSecret", ADMIN, Known).gives(404),
        row("testWebhook", ADMIN, Known).gives(404),
        row("pauseWebhook", ADMIN, Known).gives(404),
        row("resumeWebhook", ADMIN, Known).gives(404),
        row("listDeadLetters", ADMIN, Known).gives(404),
        row("replayDeadLetters", ADMIN, Known).gives(404),
        row("getOffer", THE_DRIVER, Offered).offer(),
        row("acceptOffer", THE_DRIVER, Offered).offer(),
        row("declineOffer", THE_DRIVER, Offered).offer(),
        row("listMarkets", ANY_KEY, Known),
        row("getMarket", ANY_KEY, Known).market(),
        row("getMarketConfig", STAFF, Known).market(),
        row("setMarketConfig", ADMIN, Known).market().with(rules()),
        row("rollBackMarketConfig", ADMIN, Known).market().with(json!({"version": 1})),
        row("getStats", STAFF, Known),
        row("getLive", EVERYBODY, Known),
        row("getReady", EVERYBODY, Known),
        row("getOpenApi", EVERYBODY, Known),
        row("getAsyncApi", EVERYBODY, Known),
        row("getDocs", EVERYBODY, Known),
        row("getDocsPage", EVERYBODY, Known),
        row("getDocsFile", EVERYBODY, Known),
    ]
}

impl Stage {
    async fn reach(self) -> Server {
        let server = Server::with(&tenants()).await;
        let at_least = |stage| self >= stage;
        let act = async |path: &str| {
            server.send_as("admin", Method::POST, path, None).await.ok();
        };
        for driver in ["ana", "bob"] {
            server.send_as("admin", Method::PUT, &format!("/v1/drivers/{driver}"), Some(json!({}))).await.ok();
        }
        let mut other = rules();
        other["limits"]["orders"] = json!(1_000);
        server.send_as("admin", Method::PUT, "/v1/markets/default/config", Some(other)).await.ok();
        if at_least(Self::Working) {
            server.driver("admin", "ana").await;
        }
        if self == Self::Paused {
            act("/v1/drivers/ana/shift/pause").await;
        }
        if at_least(Self::Submitted) {
            server.send_as("admin", Method::POST, "/v1/orders", Some(order("o-1"))).await.ok();
        }
        if at_least(Self::Offered) {
            server.order("admin", "o-1").await;
            assert_eq!(server.offer("admin", "ana").await, "default-1");
        }
        if at_least(Self::Assigned) {
            act("/v1/offers/default-1/accept").await;
        }
        let progress: &[_] = match self {
            Self::PickedUp => &["picked_up"],
            Self::Delivered => &["picked_up", "delivered"],
            _ => &[],
        };
        for step in progress {
            server.send_as("admin", Method::POST, "/v1/orders/o-1/progress", Some(json!({"step": step}))).await.ok();
        }
        if self == Self::Cancelled {
            let reason = json!({"reason": "closed"});
            server.send_as("admin", Method::POST, "/v1/orders/o-1/cancel", Some(reason)).await.ok();
        }
        server
    }
}

/// An operation of the contract and how it is tried.
struct Try {
    row: Row,
    method: Method,
    path: String,
}

impl Try {
    /// The path for what exists, or for what does not.
    fn path(&self, absent: bool) -> String {
        let id = match self.row.operation {
            "getDocsFile" => ["swagger-ui.css"; 2],
            "rotateKey" | "revokeKey" => ["key-0"; 2],
            operation
                if operation.ends_with("Webhook")
                    || ["rotateWebhookSecret", "listDeadLetters", "replayDeadLetters"].contains(&operation) =>
            {
                ["webhook-0"; 2]
            }
            _ => self.row.id,
        };
        let path =
            self.path.replace("{id}", id[usize::from(absent)]).replace("{file}", id[0]).replace("{token}", "none");
        match self.row.operation {
            "nearestDrivers" => path + "?lat=52.52&lng=13.4",
            "getOpinion" | "whyNot" => path + "?driver=ana",
            _ => path,
        }
    }

    async fn send(&self, server: &Server, caller: &str, absent: bool) -> Answer {
        let mut body = Some(self.row.body.clone()).filter(|body| !body.is_null());
        if absent && self.row.operation == "reportPositions" {
            body = Some(serde_json::from_str(&body.unwrap().to_string().replace("ana", "eve")).unwrap());
        }
        server.send_as(caller, self.method.clone(), &self.path(absent), body).await
    }

    /// What the answer says, whichever of the two ids it names.
    fn told(&self, answer: Answer) -> (u16, Vec<(String, String)>, String) {
        let Answer { status, headers, body } = answer;
        let [own, absent] = self.row.id;
        let mut text = body.to_string();
        if !own.is_empty() {
            text = text.replace(&format!(" {absent}\""), &format!(" {own}\""));
            text = text.replace(absent.rsplit('-').next().unwrap(), own.rsplit('-').next().unwrap());
        }
        let headers = headers.iter().filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        (status, headers.collect(), text)
    }

    /// What a foreign thing tells is what an absent one tells, whatever is sent.
    async fn tells_nothing(&self, server: &Server, caller: &str, etag: &str) {
        let valid = self.row.body.to_string();
        let json = ("content-type", "application/json");
        for body in [valid.as_str(), "{}", "{", ""] {
            for headers in [
                &[][..],
                &[("if-match", etag)],
                &[("if-match", "\"0\"")],
                &[("if-match", "*")],
                &[("if-none-match", etag)],
                &[("if-none-match", "*")],
            ] {
                let bearer = format!("Bearer {caller}");
                let headers = [headers, &[json, ("authorization", &bearer)]].concat();
                let mut answers = Vec::new();
                for absent in [false, true] {
                    let body = body.as_bytes().to_vec();
                    answers.push(self.told(server.raw(self.method.clone(), &self.path(absent), &headers, body).await));
                }
                assert_eq!(answers[0], answers[1], "{} as {caller} {headers:?}: {body}", self.row.operation);
            }
        }
    }

    /// Tries everything that is refused on one server, and each thing that is done on a server of its own.
    async fn all(&self) -> usize {
        let Row { operation, who, stage, status, nothing, .. } = &self.row;
        let server = stage.reach().await;
        let events =
            async || server.send_as("admin", Method::GET, "/v1/stats", None).await.ok().at("/markets/0/events").clone();
        let before = events().await;
        let order = server.send_as("admin", Method::GET, "/v1/orders/o-1", None).await;
        let etag = if order.status == 200 { order.etag() } else { "\"0\"".into() };
        let mut tried = 0;
        for caller in CALLERS {
            let can = who.may.contains(&caller);
            for absent in [false, true] {
                let done = can && (!absent || matches!(nothing, Nothing::New | Nothing::Refused(_)));
                if done || absent && matches!(nothing, Nothing::Never) {
                    continue;
                }
                tried += 1;
                let answer = self.send(&server, caller, absent).await;
                let told = format!("{operation} as {caller:?}, absent: {absent}: {} {:#}", answer.status, answer.body);
                let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
                if can || who.foreign.contains(&caller) {
                    match nothing {
                        Nothing::Unknown(unknown) => {
                            assert_eq!((answer.status, code.as_str()), (404, *unknown), "{told}");
                        }
                        Nothing::Shows(pointer, value) if who.foreign.contains(&caller) => {
                            assert_eq!((answer.status, answer.at(pointer)), (200, value), "{told}");
                        }
                        Nothing::Refused(refused) if !can => {
                            assert_eq!((answer.status, code.as_str()), (403, *refused), "{told}");
                        }
                        _ => {}
                    }
                } else if ["", "unknown"].contains(&caller) {
                    assert_eq!((answer.status, code.as_str()), (401, "unauthenticated"), "{told}");
                    assert_eq!(answer.headers["www-authenticate"], "Bearer", "{told}");
                } else {
                    assert_eq!((answer.status, code.as_str()), (403, "forbidden"), "{told}");
                }
            }
            if who.foreign.contains(&caller) && matches!(nothing, Nothing::Unknown(_)) {
                self.tells_nothing(&server, caller, &etag).await;
            }
        }
        assert_eq!(events().await, before, "{operation}: what is refused changes nothing");
        server.stop().await;
        for caller in who.may {
            let server = stage.reach().await;
            let answer = self.send(&server, caller, false).await;
            assert_eq!(answer.status, *status, "{operation} as {caller:?}: {:#}", answer.body);
            if let Nothing::Shows(pointer, value) = nothing {
                assert_ne!(answer.at(pointer), value, "{operation} as {caller:?}");
            }
            if let Nothing::New = nothing {
                assert_eq!(self.send(&server, caller, true).await.status, 201, "{operation} as {caller:?}");
            }
            tried += 1;
            server.stop().await;
        }
        tried
    }
}

/// The stages at which something can be done; at the others the state refuses it, or there is nothing yet.
fn fits(operation: &str) -> &'static [Stage] {
    match operation {
        "startShift" | "planShift" | "unplanShift" => &[Known],
        "endShift" => &STAGES[1..],
        "pauseShift" => &[Working, Submitted, Offered, Assigned, PickedUp, Delivered, Cancelled],
        "resumeShift" => &[Paused],
        "kitchenProgress" | "setReadyTime" => &[Submitted],
        "cancelOrder" => &[Submitted, Offered, Assigned],
        "failOrder" => &[Submitted, Offered, Assigned, PickedUp],
        "progressOrder" | "takeBackOrder" => &[Assigned],
        "assignOrder" | "acceptOffer" | "declineOffer" | "getOpinion" => &[Offered],
        "getOrder" | "getEta" | "explainOrder" | "whyNot" | "createTrackingLink" | "followOrder" => &STAGES[3..],
        "getOffer" => &STAGES[4..],
        _ => &STAGES,
    }
}

/// What the refusals of a state are called, and the states they name.
const STATES: [(&str, &[&str]); 4] = [
    ("driver_state", &["is on shift", "is not on shift", "is paused", "is not paused", "has this order"]),
    (
        "order_state",
        &["is pending", "is waiting", "is offered", "is assigned", "is picked_up", "is delivered", "is cancelled"],
    ),
    ("offer_closed", &["was accepted", "was withdrawn"]),
    ("no_driver", &["has no driver"]),
];

impl Try {
    /// Does it at every stage: as often as not the state is the wrong one.
    async fn at_every_stage(&self) {
        let Row { operation, nothing, status, .. } = &self.row;
        for stage in STAGES {
            let server = stage.reach().await;
            let events = async || {
                server.send_as("admin", Method::GET, "/v1/stats", None).await.ok().at("/markets/0/events").clone()
            };
            let before = events().await;
            let answer = self.send(&server, "admin", false).await;
            let told = format!("{operation} at {stage:?}: {} {:#}", answer.status, answer.body);
            if fits(operation).contains(&stage) {
                // An order that is known is not new.
                let known = *operation == "submitOrder" && stage >= Submitted;
                assert_eq!(answer.status, if known { 200 } else { *status }, "{told}");
            } else {
                let there = if self.row.id[0] == "ana" {
                    Known
                } else if self.row.id[0] == "o-1" {
                    Submitted
                } else {
                    Offered
                };
                let code = answer.body["code"].as_str().unwrap_or_default();
                match nothing {
                    Nothing::Unknown(unknown) if stage < there => {
                        assert_eq!((answer.status, code), (404, *unknown), "{told}");
                    }
                    _ => {
                        let names = STATES.iter().find(|(known, _)| *known == code).map_or(&[][..], |(_, names)| names);
                        let detail = answer.body["detail"].as_str().unwrap();
                        assert!(answer.status == 409 && names.iter().any(|name| detail.contains(name)), "{told}");
                    }
                }
                assert_eq!(events().await, before, "{told}");
            }
            server.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_takes_what_fits_and_names_itself_otherwise() {
    let contract = contract().await;
    let mut tries = tokio::task::JoinSet::new();
    for row in rows() {
        let (method, path) = contract[row.operation].clone();
        tries.spawn(async move { Try { row, method, path }.at_every_stage().await });
    }
    tries.join_all().await;
}

/// The operations of the contract, by their names: method and path.
async fn contract() -> BTreeMap<String, (Method, String)> {
    let server = Server::with(&keys()).await;
    let contract = server.get("/openapi.json").await.ok();
    server.stop().await;
    let paths = contract.at("/paths").as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| {
            let name = operation["operationId"].as_str().unwrap().to_owned();
            (name, (method.to_uppercase().parse().unwrap(), path.clone()))
        })
    });
    operations.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_what_is_theirs_and_sees_nothing_else() {
    let mut contract = contract().await;
    let mut tries = tokio::task::JoinSet::new();
    for row in rows() {
        let (method, path) = contract.remove(row.operation).unwrap_or_else(|| panic!("no {}", row.operation));
        tries.spawn(async move { Try { row, method, path }.all().await });
    }
    assert!(contract.is_empty(), "these need a row: {contract:?}");
    let tried: usize = tries.join_all().await.iter().sum();
    // 59 operations as 9 callers, most of them with two things.
    assert!(tried > 750, "{tried}");
}

impl Try {
    /// What strangers ask tells them nothing, and changes nothing, whatever their role.
    async fn as_strangers(&self) -> usize {
        let Row { operation, who, stage, id, nothing, .. } = &self.row;
        let server = stage.reach().await;
        let world = async || {
            let mut world = Vec::new();
            for path in [
                "/v1/stats",
                "/v1/orders",
                "/v1/drivers",
                "/v1/markets",
                "/v1/markets/default/config",
                "/v1/keys",
                "/v1/webhooks",
            ] {
                let mut seen = server.send_as("admin", Method::GET, path, None).await.ok().body;
                // Everybody's windows pass.
                seen.as_object_mut().unwrap().remove("at");
                world.push(seen);
            }
            world
        };
        let before = world().await;
        let mut tried = 0;
        for stranger in STRANGERS {
            let role = stranger.strip_prefix("other-").unwrap_or("dispatcher");
            let answer = self.send(&server, stranger, false).await;
            tried += 1;
            if who.may == CALLERS {
                continue;
            }
            let told = format!("{operation} as {stranger}: {} {:#}", answer.status, answer.body);
            if !who.may.contains(&role) {
                assert_eq!((answer.status, answer.body["code"].as_str()), (403, Some("forbidden")), "{told}");
                continue;
            }
            let text = answer.body.to_string();
            for theirs in ["ana", "bob", "o-1", "default", "Pizza"] {
                let asked = id[0].contains(theirs) || self.row.body.to_string().contains(theirs);
                assert!(asked || !text.contains(theirs), "{told}");
            }
            match nothing {
                Nothing::Unknown(unknown) => {
                    assert_eq!((answer.status, answer.body["code"].as_str()), (404, Some(*unknown)), "{told}");
                    // A driver may ask for the one it is, of its own tenant: what it knows by that is who it is.
                    if role != "driver" {
                        self.tells_nothing(&server, stranger, "\"0\"").await;
                    }
                }
                Nothing::Shows(pointer, value) => assert_eq!(answer.at(pointer), value, "{told}"),
                Nothing::New | Nothing::Refused(_) | Nothing::Never => {}
            }
            assert_eq!(world().await, before, "{told}");
        }
        server.stop().await;
        tried
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_sees_nothing_and_changes_nothing() {
    let mut contract = contract().await;
    let mut tries = tokio::task::JoinSet::new();
    for row in rows() {
        let (method, path) = contract.remove(row.operation).unwrap_or_else(|| panic!("no {}", row.operation));
        tries.spawn(async move { Try { row, method, path }.as_strangers().await });
    }
    let tried: usize = tries.join_all().await.iter().sum();
    assert_eq!(tried, rows().len() * STRANGERS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_knows_the_methods_of_the_contract_and_no_other() {
    let mut paths: BTreeMap<String, Vec<Method>> = BTreeMap::new();
    for (method, path) in contract().await.into_values() {
        paths.entry(path).or_default().push(method);
    }
    let server = Server::with(&keys()).await;
    for (path, known) in paths {
        for method in ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let method: Method = method.parse().unwrap();
            let answer = server.send_as("", method.clone(), &path, None).await;
            // Who asks for the head of something asks for it.
            let meant = if method == Method::HEAD { Method::GET } else { method.clone() };
            if known.contains(&meant) {
                assert_ne!(answer.status, 405, "{method} {path}");
                continue;
            }
            assert_eq!(answer.status, 405, "{method} {path}");
            let allowed = answer.headers["allow"].to_str().unwrap().to_owned();
            assert!(known.iter().all(|known| allowed.contains(known.as_str())), "{method} {path}: {allowed}");
        }
    }
    server.stop().await;
}
