//! As many positions as a server takes: in frames, in JSON batches, or one a request. What counts is how many it takes for each second of
//! a processor that it uses.

use crate::Options;
use crate::child::Server;
use crate::orders::cpu_seconds;
use crate::redis_server::{PIPELINE, RedisServer};
use clap::ValueEnum;
use dispatch_core::DriverId;
use dispatch_server::{FrameFix, KeyHash, encode_frame};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// How positions come.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Frames over sockets.
    Binary,
    /// Batches of JSON in requests.
    JsonBatch,
    /// One in a request.
    JsonSingle,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::JsonBatch => "json-batch",
            Self::JsonSingle => "json-single",
        }
    }

    /// How many connections each of two threads has, all with a request under way at once.
    fn connections(self) -> usize {
        match self {
            Self::Binary => 1,
            Self::JsonBatch => 4,
            Self::JsonSingle => 64,
        }
    }
}

const ADMIN: &str = "saturate-admin";
const GATEWAY: &str = "saturate-gateway";

/// The settings of the server: drivers may report as often as they can be asked to here, and keys count.
pub(crate) fn flags() -> Vec<String> {
    let key = |name: &str, role: &str| {
        format!("{{ name = {name:?}, hash = {:?}, role = {role:?}, rate = 10000.0 }}", KeyHash::of(name).to_hex())
    };
    let keys = format!("keys=[{}, {}]", key(ADMIN, "admin"), key(GATEWAY, "gateway"));
    ["durability=memory", "fixes.per_second=1000", "fixes.burst=1000", "rates.tenant_per_second=1000000", &keys]
        .map(str::to_owned)
        .into()
}

/// What was taken in.
#[derive(Default)]
struct Taken {
    moved: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Taken {
    /// Notes that so many of a request moved their drivers.
    fn note(&mut self, count: u64, moved: Result<u64, String>) {
        let error = match moved {
            Ok(moved) if moved == count => None,
            Ok(moved) => Some(format!("{moved} of {count} moved")),
            Err(ref error) => Some(error.clone()),
        };
        let moved = moved.unwrap_or(0);
        self.moved += moved;
        self.errors += count - moved.min(count);
        self.first_error = self.first_error.take().or(error);
    }

    fn and(self, other: Self) -> Self {
        Self {
            moved: self.moved + other.moved,
            errors: self.errors + other.errors,
            first_error: self.first_error.or(other.first_error),
        }
    }
}

pub(crate) fn run(options: &Options, way: Way) -> Result<Value, Box<dyn Error>> {
    let drivers: Vec<_> = (0..options.drivers).map(Driver::new).collect();
    let seconds = Duration::from_secs(options.seconds.into());
    let (taken, took, cpu) = match way {
        Way::Binary => over_sockets(&drivers, options)?,
        Way::JsonBatch | Way::JsonSingle => over_http(&drivers, options, way)?,
    };
    let redis = redis(&drivers, seconds / 4);
    Ok(json!({
        "saturate": way.name(),
        "drivers": options.drivers,
        "batch": if way == Way::JsonSingle { 1 } else { options.batch },
        "fixes": taken.moved,
        "seconds": took.as_secs_f64(),
        "server_cpu_s": cpu,
        "fixes_per_server_cpu_s": taken.moved as f64 / cpu,
        "errors": taken.errors,
        "first_error": taken.first_error,
        "redis_geoadd_per_cpu_s": redis,
    }))
}

/// A driver who goes to and fro between two places.
struct Driver {
    id: DriverId,
    steps: [(i32, i32); 2],
}

impl Driver {
    fn new(number: u32) -> Self {
        let id = DriverId::new(format!("driver-{number}")).expect("a valid id");
        // All over a city of 40 km, and 15 m to the next place.
        let spread = |factor: u32| (number.wrapping_mul(factor) >> 10).cast_signed() % 1_800_000;
        let (north, east) = (524_000_000 + 2 * spread(2_654_435_761), 133_000_000 + 3 * spread(40_503_457));
        Self { id, steps: [(north, east), (north + 1_000, east + 1_500)] }
    }

    fn degrees(&self, turn: usize) -> (f64, f64) {
        let (lat, lng) = self.steps[turn % 2];
        (f64::from(lat) / 1e7, f64::from(lng) / 1e7)
    }
}

/// The time of this machine, in milliseconds since 1970.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The same, as JSON has it.
fn now_text() -> String {
    jiff::Timestamp::from_millisecond(now_ms()).map_or_else(|_| String::new(), |now| format!("{now:.3}"))
}

type Measured = (Taken, Duration, f64);

/// Frames over sockets to a server in a process of its own, written beforehand: only their time changes.
fn over_sockets(drivers: &[Driver], options: &Options) -> Result<Measured, Box<dyn Error>> {
    let server = Server::start(["--saturate", Way::Binary.name(), "--serve", "nowhere"])?;
    let address = server.url.trim_start_matches("http://").to_owned();
    employ(&address, &drivers.iter().map(|driver| driver.id.clone()).collect::<Vec<_>>())?;
    let end = Duration::from_secs(options.seconds.into());
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut senders = Vec::new();
        for drivers in drivers.chunks(drivers.len().div_ceil(SOCKETS)) {
            senders.push(Frames::open(&address, drivers, options.batch).await?);
        }
        let (began, before) = (Instant::now(), cpu_seconds(server.process.id()));
        let mut tasks = tokio::task::JoinSet::new();
        for sender in senders {
            tasks.spawn(sender.run(began + end));
        }
        let taken = tasks.join_all().await.into_iter().fold(Taken::default(), Taken::and);
        Ok((taken, began.elapsed(), cpu_seconds(server.process.id()) - before))
    })
}

/// So many sockets send at once.
const SOCKETS: usize = 8;

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// The frames of some drivers over one socket.
struct Frames {
    socket: Socket,
    frames: [Vec<Vec<u8>>; 2],
}

impl Frames {
    async fn open(address: &str, drivers: &[Driver], batch: usize) -> Result<Self, Box<dyn Error>> {
        let mut request = format!("ws://{address}/v1/socket").into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {GATEWAY}").parse()?);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
        let ids: Vec<_> = drivers.iter().map(|driver| driver.id.as_str()).collect();
        let message = json!({"type": "drivers", "drivers": ids}).to_string();
        socket.send(Message::Text(message.into())).await?;
        answer(&mut socket).await?;
        let numbered: Vec<_> = drivers.iter().zip(0..).collect();
        let frame = |turn: usize, drivers: &[(&Driver, u32)]| {
            let unknown = FrameFix::UNKNOWN;
            let fix = |(driver, number): &(&Driver, u32)| {
                let (lat_e7, lng_e7) = driver.steps[turn];
                let (accuracy, speed, heading) = (unknown, unknown, unknown);
                FrameFix { driver: *number, lat_e7, lng_e7, after_base_ms: 0, accuracy, speed, heading }
            };
            encode_frame(0, &drivers.iter().map(fix).collect::<Vec<_>>(), false)
        };
        let frames = [0, 1].map(|turn| numbered.chunks(batch).map(|drivers| frame(turn, drivers)).collect());
        Ok(Self { socket, frames })
    }

    /// Sends a position of each driver, again and again.
    async fn run(mut self, end: Instant) -> Taken {
        let (mut taken, mut at) = (Taken::default(), 0);
        for turn in 0.. {
            // A driver's next position is a later one, however soon it comes.
            at = now_ms().max(at + 1);
            for frame in &mut self.frames[turn % 2] {
                // The base time of the header.
                frame[8..16].copy_from_slice(&at.to_le_bytes());
                let count = u64::from(u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]));
                let sent = self.socket.send(Message::Binary(frame.clone().into())).await;
                let moved = match sent {
                    Ok(()) => {
                        answer(&mut self.socket).await.map(|answer| answer["outcomes"]["moved"].as_u64().unwrap_or(0))
                    }
                    Err(error) => Err(error.to_string()),
                };
                taken.note(count, moved);
            }
            if Instant::now() >= end {
                break;
            }
        }
        taken
    }
}

async fn answer(socket: &mut Socket) -> Result<Value, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).map_err(|error| error.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => return Err(format!("{other:?}")),
        }
    }
}

/// Requests to a server in a process of its own.
fn over_http(drivers: &[Driver], options: &Options, way: Way) -> Result<Measured, Box<dyn Error>> {
    let server = Server::start(["--saturate", way.name(), "--serve", "nowhere"])?;
    let address = server.url.trim_start_matches("http://").to_owned();
    employ(&address, &drivers.iter().map(|driver| driver.id.clone()).collect::<Vec<_>>())?;
    let mut senders = Vec::new();
    for drivers in drivers.chunks(drivers.len().div_ceil(2)) {
        let mut connections = Vec::new();
        for drivers in drivers.chunks(drivers.len().div_ceil(way.connections())) {
            let requests = if way == Way::JsonSingle { singles(drivers) } else { batches(drivers, options.batch) };
            connections.push((Connection::open(&address)?, requests));
        }
        senders.push(connections);
    }
    let (began, before) = (Instant::now(), cpu_seconds(server.process.id()));
    let end = began + Duration::from_secs(options.seconds.into());
    let send = |mut connections: Vec<(Connection, Vec<Request>)>| {
        let mut taken = Taken::default();
        for turn in 0.. {
            // As many clients would: nobody waits for the answer of another.
            for (connection, requests) in &mut connections {
                let turn = turn % requests.len();
                // One that fails is noted when there is no answer.
                let _ = connection.send(requests[turn].now());
            }
            for (connection, requests) in &mut connections {
                taken.note(requests[turn % requests.len()].count, connection.receive());
            }
            if Instant::now() >= end {
                break;
            }
        }
        taken
    };
    let taken = std::thread::scope(|scope| {
        let threads: Vec<_> = senders.into_iter().map(|sender| scope.spawn(move || send(sender))).collect();
        let taken = threads.into_iter().map(|thread| thread.join().expect("what a sender may fail at, it notes"));
        taken.fold(Taken::default(), Taken::and)
    });
    Ok((taken, began.elapsed(), cpu_seconds(server.process.id()) - before))
}

/// A request that was written beforehand: only the time changes.
struct Request {
    bytes: Vec<u8>,
    /// Where times stand.
    times: Vec<usize>,
    count: u64,
}

impl Request {
    fn new(path: &str, body: &str, count: usize) -> Self {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {GATEWAY}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let bytes = format!("{head}{body}");
        let times = bytes.match_indices("\"at\":\"").map(|(at, key)| at + key.len()).collect();
        Self { bytes: bytes.into_bytes(), times, count: count as u64 }
    }

    /// As it is to be sent now.
    fn now(&mut self) -> &[u8] {
        let now = now_text();
        for at in &self.times {
            self.bytes[*at..*at + now.len()].copy_from_slice(now.as_bytes());
        }
        &self.bytes
    }
}

/// Each of these drivers in a request of its own, at one place and then at the other.
fn singles(drivers: &[Driver]) -> Vec<Request> {
    let now = now_text();
    let single = |turn: usize| {
        drivers.iter().map(move |driver| {
            let (lat, lng) = driver.degrees(turn);
            (driver.id.clone(), json!({"lat": lat, "lng": lng, "at": "TIME"}))
        })
    };
    let request = |(id, body): (DriverId, Value)| {
        Request::new(&format!("/v1/drivers/{id}/position"), &body.to_string().replace("TIME", &now), 1)
    };
    single(0).chain(single(1)).map(request).collect()
}

/// The same, so many to a request.
fn batches(drivers: &[Driver], batch: usize) -> Vec<Request> {
    let now = now_text();
    let batch = |turn: usize| {
        drivers.chunks(batch).map(move |drivers| {
            let item = |driver: &Driver| {
                let (lat, lng) = driver.degrees(turn);
                json!({"driver": driver.id.as_str(), "lat": lat, "lng": lng, "at": "TIME"})
            };
            (drivers.len(), json!({"positions": drivers.iter().map(item).collect::<Vec<_>>()}))
        })
    };
    let request =
        |(count, body): (usize, Value)| Request::new("/v1/positions", &body.to_string().replace("TIME", &now), count);
    batch(0).chain(batch(1)).map(request).collect()
}

/// A connection with one request under way at most.
struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Result<Self, Box<dyn Error>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    fn send(&mut self, request: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(request)
    }

    /// Says how many positions of the request that was sent moved their drivers.
    fn receive(&mut self) -> Result<u64, String> {
        let status = self.read_answer().map_err(|error| error.to_string())?;
        if status / 100 != 2 {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&self.body)));
        }
        Ok(self.body.windows(7).filter(|word| word == b"\"moved\"").count() as u64)
    }

    fn read_answer(&mut self) -> std::io::Result<u16> {
        let (mut status, mut length) = (0, 0);
        loop {
            self.line.clear();
            self.stream.read_line(&mut self.line)?;
            let line = self.line.trim_end();
            if let Some(answer) = line.strip_prefix("HTTP/1.1 ") {
                status = answer.split(' ').next().and_then(|status| status.parse().ok()).unwrap_or(0);
            } else if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(status)
    }
}

/// Makes drivers known.
fn employ(address: &str, drivers: &[DriverId]) -> Result<(), String> {
    let employ = |drivers: &[DriverId]| {
        let mut connection = Connection::open(address).map_err(|error| error.to_string())?;
        for id in drivers {
            let request = format!(
                "PUT /v1/drivers/{id} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\n\
                 content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            connection.send(request.as_bytes()).map_err(|error| error.to_string())?;
            connection.receive()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            drivers.chunks(drivers.len().div_ceil(8)).map(|drivers| scope.spawn(move || employ(drivers))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("what it may fail at, it says"))
    })
}

/// How many positions Redis takes in a second of a processor, where there is one: as `GEOADD`, many to a round trip.
fn redis(drivers: &[Driver], seconds: Duration) -> Option<f64> {
    let mut redis = RedisServer::start()?;
    let (began, before, mut count) = (Instant::now(), redis.cpu_seconds()?, 0);
    for turn in 0.. {
        for drivers in drivers.chunks(PIPELINE) {
            for driver in drivers {
                let (lat, lng) = driver.degrees(turn);
                redis.add("drivers", lat, lng, driver.id.as_str());
            }
            redis.read_all(drivers.len());
            count += drivers.len();
        }
        if began.elapsed() >= seconds {
            break;
        }
    }
    Some(count as f64 / (redis.cpu_seconds()? - before))
}
