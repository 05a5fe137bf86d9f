//! What only shows while the runner is held up: over real sockets, in virtual time.

use crate::auth::{Caller, Principal, TenantId};
use crate::common::{Api, START, Server, keys, order};
use crate::runner::{Error, Session, World};
use crate::telemetry::FixOutcome;
use crate::{FrameFix, encode_frame};
use dispatch_core::{Millis, OrderId, OrderSpec, PlaceId, Position};
use reqwest::Method;
use serde_json::json;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

static TENANT: LazyLock<TenantId> = LazyLock::new(TenantId::default);

/// Holds the runner up until it is dropped.
struct Hold {
    _gate: Sender<()>,
}

async fn hold(server: &Server) -> Hold {
    let (gate, opened) = channel();
    let (begun, begins) = oneshot::channel();
    let handle = server.state.handle().clone();
    tokio::spawn(async move {
        let wait = move |_: &mut _| {
            begun.send(()).unwrap();
            let _ = opened.recv();
        };
        handle.ask(Some(&TENANT), wait, |()| false).await
    });
    begins.await.unwrap();
    Hold { _gate: gate }
}

/// Puts what is asked into the queue without waiting for the answer.
async fn queue<T>(asked: &mut Pin<Box<impl Future<Output = T>>>) {
    std::future::poll_fn(|context| {
        assert!(asked.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// Waits until nothing on this thread can go on: time that stands still passes only then.
async fn settle() {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(1)).await;
    tokio::time::resume();
}

async fn connect(api: &Api) -> std::io::Result<TcpStream> {
    TcpStream::connect(api.url.strip_prefix("http://").unwrap()).await
}

#[tokio::test]
async fn a_full_queue_is_a_503_at_once() {
    let server = Server::with("[limits]\nqueue = 2").await;
    let held = hold(&server).await;
    let mut waiting = [(); 2].map(|()| Box::pin(server.state.handle().ask(Some(&TENANT), |_| (), |()| false)));
    for asked in &mut waiting {
        queue(asked).await;
    }
    let refused = server.get("/v1/orders").await.problem(503, "busy");
    assert_eq!(refused.headers["retry-after"], "1");
    // What does not need the runner goes on.
    server.get("/health/live").await.ok();
    server.post("/v1/drivers/ana/position", json!({"lat": 1, "lng": 1})).await.problem(404, "unknown_driver");
    drop(held);
    for asked in waiting {
        assert_eq!(asked.await, Ok(()));
    }
    server.get("/v1/orders").await.ok();
    server.stop().await;
}

#[tokio::test]
async fn what_takes_too_long_is_given_up_and_may_still_happen() {
    let server = Server::start().await;
    let held = hold(&server).await;
    tokio::time::pause();
    let late = server.post("/v1/orders", order("o")).await.problem(503, "late");
    tokio::time::resume();
    assert_eq!(late.headers["retry-after"], "1");
    drop(held);
    server.get("/v1/orders/o").await.ok();
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_a_408() {
    let server = Server::start().await;
    let mut slow = connect(&server).await.unwrap();
    let head = "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n";
    slow.write_all(format!("{head}\r\n{{").as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("application/problem+json") && answer.contains("request_timeout"), "{answer}");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_hung_up_on() {
    let server = Server::start().await;
    for begun in ["", "GET /health/live HTTP/1.1\r\nhost: ", "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let mut silent = connect(&server).await.unwrap();
        silent.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = String::new();
        silent.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), begun.ends_with("\r\n\r\n"), "{begun}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_is_one_too_many_waits_outside() {
    let server = Server::with("[limits]\nconnections = 2").await;
    let inside = [connect(&server).await.unwrap(), connect(&server).await.unwrap()];
    settle().await;
    let api = server.api.clone();
    let outside = tokio::spawn(async move { api.get("/health/live").await });
    settle().await;
    assert!(!outside.is_finished());
    drop(inside);
    outside.await.unwrap().ok();
    server.stop().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let server = Server::with("[limits]\ndrain_seconds = 3").await;
    let mut slow = connect(&server).await.unwrap();
    slow.write_all(b"POST /v1/orders HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n")
        .await
        .unwrap();
    settle().await;
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    server.stop().await;
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn a_long_list_shows_what_is_ones_own_and_nothing_of_others() {
    let server = Server::with(&keys()).await;
    // Between two orders of `q` lie more of `p` than the runner looks at in one go.
    let submit = |world: &mut World| {
        let caller = Caller { who: Principal::anybody().into(), address: None, user_agent: None, once: None };
        for number in 0..25_000 {
            let spec = |place| {
                let mut spec = OrderSpec::new(
                    OrderId::new(format!("o-{number:05}")).unwrap(),
                    Position::new(1.0, 1.0).unwrap(),
                    Position::new(1.0, 1.0).unwrap(),
                );
                spec.pickup.id = Some(PlaceId::new(place).unwrap());
                spec
            };
            let place = if [0, 24_000, 24_001].contains(&number) { "q" } else { "p" };
            world.submit(&caller, None, spec(place)).unwrap();
        }
    };
    server.state.handle().ask(Some(&TENANT), submit, |()| false).await.unwrap();
    let list = async |query: &str| {
        let page = server.send_as("foreign-merchant", Method::GET, &format!("/v1/orders?{query}"), None).await.ok();
        let ids = page.at("/orders").as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), page.body["next_cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(list("").await, (vec!["o-00000".into(), "o-24000".into(), "o-24001".into()], None));
    let (ids, cursor) = list("limit=2").await;
    assert_eq!((ids, cursor.as_deref()), (vec!["o-00000".into(), "o-24000".into()], Some("default~o-24000")));
    assert_eq!(list("limit=2&cursor=default~o-24000").await, (vec!["o-24001".into()], None));
    assert_eq!(list("status=delivered").await, (Vec::new(), None));
    server.stop().await;
}

#[tokio::test]
async fn what_is_queued_is_answered_and_nothing_after_the_stop() {
    let server = Server::start().await;
    let handle = server.state.handle().clone();
    let held = hold(&server).await;
    let mut taken = Box::pin(handle.ask(Some(&TENANT), |_| 7, |_| false));
    queue(&mut taken).await;
    handle.stop();
    assert_eq!(
        handle.ask(Some(&TENANT), |_| 8, |_| false).await,
        Err(Error::Stopping),
        "refused while the runner is held"
    );
    drop(held);
    assert_eq!(taken.await, Ok(7));
    server.get("/v1/orders").await.problem(503, "stopping");
    server.state.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_panic_of_the_runner_ends_the_process() {
    const INNER: &str = "LET_THE_RUNNER_PANIC";
    if std::env::var_os(INNER).is_some() {
        let server = Server::start().await;
        let _ = server.state.handle().ask(Some(&TENANT), |_| panic!("a bug"), |()| false).await;
        server.state.stop().await;
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let name = "tests::a_panic_of_the_runner_ends_the_process";
    let ended = again.args([name, "--exact", "--nocapture"]).env(INNER, "").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("the dispatch runner panicked"), "{said}");
}

#[tokio::test]
async fn a_drain_answers_what_was_sent_and_lets_nobody_in() {
    let server = Server::start().await;
    let (api, state) = (server.api.clone(), server.state.clone());
    let held = hold(&server).await;
    let send = |number: usize| {
        let api = api.clone();
        tokio::spawn(async move { api.post("/v1/orders", order(&format!("o-{number}"))).await })
    };
    let sent: Vec<_> = (0..50).map(send).collect();
    settle().await;
    let mut served = pin!(server.begin_to_stop());
    settle().await;
    assert!(connect(&api).await.is_err(), "a new connection is refused");
    assert!(!served.is_finished(), "it waits for what was sent");
    drop(held);
    for answer in sent {
        assert_eq!(answer.await.unwrap().status, 201);
    }
    (&mut served).await.unwrap().unwrap();
    assert_eq!(state.handle().ask(Some(&TENANT), |_| (), |()| false).await, Err(Error::Stopping));
}

#[tokio::test]
async fn positions_give_way_while_commands_wait() {
    let server = Server::start().await;
    server.driver("", "ana").await;
    let fix = json!({"lat": 52.52, "lng": 13.4});
    let mut session = Session::new(&server.state, Principal::anybody().into());
    let ana = "ana".parse().unwrap();
    session.number(0, &[ana]).unwrap();
    let frame = encode_frame(START, &[], false);
    let held = hold(&server).await;
    let mut waiting = Box::pin(server.state.handle().ask(Some(&TENANT), |_| (), |()| false));
    queue(&mut waiting).await;
    server.clock.advance(Millis::new(100));
    server.post("/v1/drivers/ana/position", fix.clone()).await.ok();
    server.clock.advance(Millis::new(1));
    let refused = server.post("/v1/drivers/ana/position", fix.clone()).await.problem(503, "overloaded");
    assert_eq!(refused.headers["retry-after"], "1");
    let batch = json!({"positions": [{"driver": "ana", "lat": 52.52, "lng": 13.4}]});
    server.post("/v1/positions", batch.clone()).await.problem(503, "overloaded");
    let lines = [("content-type", "application/x-ndjson")];
    let line = br#"{"driver": "ana", "lat": 52.52, "lng": 13.4}"#.to_vec();
    server.raw(Method::POST, "/v1/positions", &lines, line.clone()).await.problem(503, "overloaded");
    let unknown = FrameFix::UNKNOWN;
    let here = FrameFix {
        driver: 0,
        lat_e7: 525_200_000,
        lng_e7: 134_000_000,
        after_base_ms: 50,
        accuracy: unknown,
        speed: unknown,
        heading: unknown,
    };
    let shed = session.report_frame(&encode_frame(START, &[here; 3], false)).unwrap();
    assert_eq!((shed.tally.of(FixOutcome::Shed), shed.refused.len(), shed.retry_after_s), (3, 3, Some(1)));
    assert_eq!(session.report_items(&[Err(String::new())]).tally.of(FixOutcome::Shed), 1);
    assert!(session.report_frame(&frame).is_ok());
    // What needs nobody to decide goes on, and so do the positions of others.
    server.get("/health/live").await.ok();
    let other = TenantId::try_from("other".to_owned()).unwrap();
    assert!(!server.state.handle().sheds(&other));
    assert!(server.state.metrics().contains("dispatch_fixes_total{outcome=\"shed\"} 7"));
    drop(held);
    waiting.await.unwrap();
    server.pass(10);
    server.post("/v1/drivers/ana/position", fix).await.ok();
    server.post("/v1/positions", batch).await.ok();
    server.raw(Method::POST, "/v1/positions", &lines, line).await.ok();
    server.stop().await;
}
