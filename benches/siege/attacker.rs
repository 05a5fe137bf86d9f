//! Those who take places and give nothing.

use crate::town::STOLEN_KEY;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};

/// How often one that dribbles sends a byte.
const DRIBBLE: Duration = Duration::from_secs(2);

/// A connection that is still open after this long is given up on.
const PATIENCE: Duration = Duration::from_secs(150);

/// How many of this machine's addresses they come from.
const ADDRESSES: usize = 200;

/// How many connections are opened at once.
const AT_ONCE: usize = 50;

/// What such a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A head, byte by byte.
    Dribble,
    /// A head that announces a body, and none of it. With a key that is good, or the body would not be waited for.
    Body,
    Silent,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Dribble, Self::Body, Self::Silent];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dribble => "dribble",
            Self::Body => "body",
            Self::Silent => "silent",
        }
    }

    fn beginning(self) -> String {
        match self {
            Self::Dribble => "GET /v1/orders HTTP/1.1\r\nhost: localhost\r\nx-slow: ".into(),
            Self::Body => format!(
                "POST /v1/drivers/d-0/position HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {STOLEN_KEY}\r\n\
                 content-type: application/json\r\ncontent-length: 1000\r\n\r\n"
            ),
            Self::Silent => String::new(),
        }
    }
}

/// Opens so many connections, of all kinds in turn, and says for each kind how many there were, how many were closed, and how long
/// the longest lasted.
pub(crate) async fn attack(server: SocketAddr, connections: u64) -> Value {
    let (mut opening, mut held) = (JoinSet::new(), JoinSet::new());
    let mut opened = Vec::new();
    for number in 0..connections as usize {
        while opening.len() >= AT_ONCE {
            opened.extend(opening.join_next().await);
        }
        let kind = Kind::ALL[number % Kind::ALL.len()];
        opening.spawn(async move { (kind, Instant::now(), open(server, number % ADDRESSES).await) });
        for (kind, begun, stream) in opened.drain(..).flatten() {
            start(&mut held, kind, begun, stream);
        }
    }
    for (kind, begun, stream) in opening.join_all().await {
        start(&mut held, kind, begun, stream);
    }
    let lasted = held.join_all().await;
    let kinds = Kind::ALL.map(|kind| {
        let of_kind = || lasted.iter().filter(move |(other, _)| *other == kind);
        let closed: Vec<f64> = of_kind().filter_map(|(_, lasted)| *lasted).map(|lasted| lasted.as_secs_f64()).collect();
        let longest = closed.iter().copied().fold(0.0, f64::max);
        (kind.name().to_owned(), json!({"opened": of_kind().count(), "closed": closed.len(), "longest_s": longest}))
    });
    Value::Object(kinds.into_iter().collect())
}

type Lasted = (Kind, Option<Duration>);

fn start(held: &mut JoinSet<Lasted>, kind: Kind, begun: Instant, stream: std::io::Result<TcpStream>) {
    // One that could not be opened is missing in the count.
    if let Ok(stream) = stream {
        held.spawn(async move {
            let ended = timeout(PATIENCE, hold(stream, kind)).await;
            (kind, ended.ok().map(|()| begun.elapsed()))
        });
    }
}

async fn open(server: SocketAddr, address: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, 0, 0, 2 + address as u8), 0).into())?;
    socket.connect(server).await
}

/// Keeps a connection open until the server closes it.
async fn hold(mut stream: TcpStream, kind: Kind) {
    let mut each = interval(DRIBBLE);
    let mut buffer = [0; 1_024];
    if stream.write_all(kind.beginning().as_bytes()).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => if matches!(read, Ok(0) | Err(_)) {
                return;
            },
            _ = each.tick(), if kind == Kind::Dribble => if stream.write_all(b"x").await.is_err() {
                return;
            },
        }
    }
}
