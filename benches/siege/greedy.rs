//! Those who ask ten times what they may, each at its own pace, whatever is answered.

use crate::town::{DISPATCHERS, GATEWAYS, default_of, greedy_key};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How many times what it may the tenant asks.
pub(crate) const TIMES: f64 = 10.0;

/// How many connections dispatchers and gateways have together.
const OF_DISPATCHERS: usize = 192;
const OF_GATEWAYS: usize = 64;

/// How many drivers the tenant has; a batch has the position of each.
pub(crate) const DRIVERS: u64 = 1_000;

/// What dispatchers read, in turn.
const READS: [&str; 5] = ["orders?limit=500", "drivers?limit=500", "drivers/d-7", "stats", "markets"];

/// What one connection has seen.
#[derive(Default)]
struct Tally {
    sent: u64,
    done: u64,
    too_often: u64,
    unavailable: u64,
    without_retry_after: u64,
    other: u64,
    first_other: Option<String>,
    /// The orders that were acknowledged.
    orders: Vec<String>,
}

/// The pace of many connections together.
#[derive(Clone, Copy)]
struct Pace {
    begun: Instant,
    until: Instant,
    per_s: f64,
    connections: usize,
}

/// Asks for so many seconds, and says how much that was and what was answered.
pub(crate) async fn attack(server: SocketAddr, seconds: u64) -> Value {
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let per_minute = ["reads_per_minute", "searches_per_minute", "commands_per_minute"].map(default_of);
    let dispatchers_per_s = DISPATCHERS as f64 * per_minute.iter().sum::<f64>() / 60.0;
    let gateways_per_s = GATEWAYS as f64 * default_of("positions_per_second") / DRIVERS as f64;
    let mut connections = JoinSet::new();
    let pace = |per_s: f64, connections| Pace { begun, until, per_s: per_s * TIMES, connections };
    let of_dispatchers = pace(dispatchers_per_s, OF_DISPATCHERS);
    for number in 0..OF_DISPATCHERS {
        let key = greedy_key("dispatcher", number % DISPATCHERS);
        let request = move |n: u64| wanted(&key, n, per_minute.map(|count| count as u64));
        connections.spawn(keep_asking(server, number, of_dispatchers, request));
    }
    let of_gateways = pace(gateways_per_s, OF_GATEWAYS);
    for number in 0..OF_GATEWAYS {
        let batch = post(&greedy_key("gateway", number % GATEWAYS), "positions", &positions());
        connections.spawn(keep_asking(server, number, of_gateways, move |_| (batch.clone(), None)));
    }
    let tallies = connections.join_all().await;
    let took_s = begun.elapsed().as_secs_f64();
    let sum = |field: fn(&Tally) -> u64| tallies.iter().map(field).sum::<u64>();
    json!({
        "offered_per_s": sum(|tally| tally.sent) as f64 / took_s,
        "allowed_per_s": dispatchers_per_s + gateways_per_s,
        "answered_2xx": sum(|tally| tally.done),
        "answered_429": sum(|tally| tally.too_often),
        "answered_503": sum(|tally| tally.unavailable),
        "without_retry_after": sum(|tally| tally.without_retry_after),
        "other": sum(|tally| tally.other),
        "first_other": tallies.iter().find_map(|tally| tally.first_other.as_ref()),
        "orders": tallies.iter().flat_map(|tally| &tally.orders).collect::<Vec<_>>(),
    })
}

/// Asks on one connection, behind time at once, until it is over.
async fn keep_asking(
    server: SocketAddr,
    number: usize,
    pace: Pace,
    request: impl Fn(u64) -> (String, Option<String>),
) -> Tally {
    let (mut tally, mut connection) = (Tally::default(), None);
    for n in (number as u64..).step_by(pace.connections) {
        let due = pace.begun + Duration::from_secs_f64(n as f64 / pace.per_s);
        if due.max(Instant::now()) >= pace.until {
            break;
        }
        sleep_until(due).await;
        let (request, order) = request(n);
        tally.sent += 1;
        match ask(&mut connection, server, &request).await {
            Ok(answer) => tally.note(&answer, order),
            Err(error) => {
                connection = None;
                tally.note_other(error.to_string());
            }
        }
    }
    tally
}

impl Tally {
    fn note(&mut self, answer: &Answer, order: Option<String>) {
        match answer.status {
            200..300 => {
                self.done += 1;
                self.orders.extend(order);
            }
            429 => self.too_often += 1,
            503 => self.unavailable += 1,
            status => self.note_other(format!("status {status}")),
        }
        self.without_retry_after += u64::from(matches!(answer.status, 429 | 503) && !answer.says_when);
    }

    fn note_other(&mut self, what: String) {
        self.other += 1;
        self.first_other.get_or_insert(what);
    }
}

/// What a dispatcher asks as its `n`th, and which order that is: reads, searches and commands as often as they are allowed.
fn wanted(key: &str, n: u64, [reads, searches, commands]: [u64; 3]) -> (String, Option<String>) {
    // A prime, so that they come mixed.
    let place = n * 7_919 % (reads + searches + commands);
    if place < commands {
        let order = format!("a-{n}");
        let at = |lat: f64| json!({"lat": lat, "lng": 13.4});
        let body = json!({"id": order, "pickup": at(52.5), "dropoff": at(52.51)}).to_string();
        return (post(key, "orders", &body), Some(order));
    }
    let what = if place < commands + searches {
        "nearest-drivers?lat=52.5&lng=13.4&limit=500"
    } else {
        READS[n as usize % READS.len()]
    };
    (format!("GET /v1/{what} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\n\r\n"), None)
}

fn post(key: &str, what: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/{what} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

fn positions() -> String {
    let position =
        |driver: u64| json!({"driver": format!("d-{driver}"), "lat": 52.5 + driver as f64 * 1e-5, "lng": 13.4});
    json!({"positions": (0..DRIVERS).map(position).collect::<Vec<_>>()}).to_string()
}

struct Answer {
    status: u16,
    /// Whether it has a `Retry-After`.
    says_when: bool,
}

/// Sends a request and reads its answer, on this connection or a new one. By hand: these are many, and share the machine with the server.
async fn ask(connection: &mut Option<BufReader<TcpStream>>, server: SocketAddr, request: &str) -> io::Result<Answer> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => BufReader::new(TcpStream::connect(server).await?),
    };
    stream.write_all(request.as_bytes()).await?;
    let (mut answer, mut length, mut closes) = (Answer { status: 0, says_when: false }, 0, false);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            None if line.is_empty() => break,
            None => answer.status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("retry-after", value)) => answer.says_when = value.parse().is_ok_and(|seconds: u64| seconds > 0),
            Some(("connection", "close")) => closes = true,
            Some(_) => {}
        }
    }
    tokio::io::copy_buf(&mut (&mut stream).take(length), &mut tokio::io::sink()).await?;
    *connection = (!closes).then_some(stream);
    Ok(answer)
}
