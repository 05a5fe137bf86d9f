//! Connections without a network, in time that stands still unless all wait.

use super::connection::Host;
use super::{Counts, Held, Phase};
use crate::ServerConfig;
use crate::telemetry::Metrics;
use axum::Router;
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, interval};

const LONG: usize = 200_000;

struct Connection {
    client: DuplexStream,
    carried: JoinHandle<()>,
    phase: watch::Sender<Phase>,
    counts: Arc<Counts>,
    begun: Instant,
}

/// A connection to a server with the default limits, whose `/long` gives a long answer.
fn connect() -> Connection {
    let (counts, limits) = (Arc::new(Counts::new(Metrics::new(std::iter::empty()))), ServerConfig::default().limits);
    let app = Router::new().route("/long", get(|| async { vec![b'x'; LONG] })).route("/", get(|| async { "short" }));
    let host = Host::new(app, &limits, counts.clone());
    let (phase, phases) = watch::channel(Phase::Serving);
    let (client, server) = duplex(4_096);
    let peer = "127.0.0.1:1".parse().unwrap();
    let carried = tokio::spawn(async move { host.carry(server, peer, None, Held::new(()), phases).await });
    Connection { client, carried, phase, counts, begun: Instant::now() }
}

impl Connection {
    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    /// After how many seconds it ended, if nobody does anything any more.
    async fn ended(&mut self) -> u64 {
        (&mut self.carried).await.unwrap();
        self.begun.elapsed().as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let mut connection = connect();
    connection.send("GET /long HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(connection.ended().await, 30);
    assert_eq!(connection.counts.stalled.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_a_little_and_too_slowly_is_cut_off() {
    let Connection { mut client, carried, begun, phase: _phase, .. } = connect();
    client.write_all(b"GET /long HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut each = interval(Duration::from_secs(10));
    let mut taken = [0; 1_024];
    // A kilobyte in ten seconds, for ever: something always moves.
    while !carried.is_finished() {
        each.tick().await;
        client.read_exact(&mut taken).await.unwrap();
    }
    assert!(begun.elapsed() < Duration::from_mins(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_its_whole_answer() {
    let Connection { mut client, begun, phase: _phase, .. } = connect();
    client.write_all(b"GET /long HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut each, mut all, mut taken) = (interval(Duration::from_secs(5)), Vec::new(), [0; 10_000]);
    loop {
        each.tick().await;
        match client.read(&mut taken).await.unwrap() {
            0 => break,
            length => all.extend_from_slice(&taken[..length]),
        }
    }
    assert!(all.len() > LONG && all.ends_with(&vec![b'x'; LONG]), "{}", all.len());
    assert!(begun.elapsed() > Duration::from_secs(75), "it took longer than idling may: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn idling_and_dribbling_end() {
    let mut silent = connect();
    assert_eq!(silent.ended().await, 75);
    let mut begun = connect();
    begun.send("GET / HTTP/1.1\r\n").await;
    assert_eq!(begun.ended().await, 10);
    assert_eq!(begun.counts.heads.load(Ordering::Relaxed), 1);
    let mut answered = connect();
    answered.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert_eq!(answered.ended().await, 75);
    let mut text = String::new();
    answered.client.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("short"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn http2_without_requests_is_dismissed_and_then_cut_off() {
    let mut connection = connect();
    connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    // It is told after the usual time, and has a little to say good-bye; or its end is that it answers no ping.
    assert!((60..=85).contains(&connection.ended().await));
    let mut frames = Vec::new();
    connection.client.read_to_end(&mut frames).await.unwrap();
    assert_eq!(&frames[3..4], b"\x04", "settings come first");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_who_idles_and_waits_for_who_does_not() {
    let mut idle = connect();
    idle.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let mut byte = [0];
    idle.client.read_exact(&mut byte).await.unwrap();
    idle.phase.send_replace(Phase::Draining);
    assert_eq!(idle.ended().await, 0);
    let mut busy = connect();
    busy.send("GET /long HTTP/1.1\r\nhost: h\r\n\r\n").await;
    busy.client.read_exact(&mut byte).await.unwrap();
    busy.phase.send_replace(Phase::Draining);
    let mut rest = Vec::new();
    busy.client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&vec![b'x'; LONG]));
    let mut stuck = connect();
    stuck.send("GET /long HTTP/1.1\r\nhost: h\r\n\r\n").await;
    stuck.client.read_exact(&mut byte).await.unwrap();
    stuck.phase.send_replace(Phase::Over);
    assert_eq!(stuck.ended().await, 0);
}
