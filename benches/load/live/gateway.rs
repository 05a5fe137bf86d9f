//! Gateways: each sends frames of the positions of its drivers over a socket.

use super::clock::now_ms;
use super::tally::Tally;
use dispatch_server::{FrameFix, encode_frame};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A gateway and its drivers.
pub(super) struct Gateway {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    drivers: Range<u32>,
    turn: u32,
}

/// Where a driver is: all over a city of some 40 km, and 20 m further with every other fix.
pub(super) fn place(driver: u32, turn: u32) -> (i32, i32) {
    let spread = |factor: u32, range: u32| (driver.wrapping_mul(factor) >> 8) % range;
    let (north, east) = (spread(2_654_435_761, 3_600_000), spread(40_503_459, 5_900_000));
    let step = (turn % 2) * 1_800;
    (523_400_000 + (north + step).cast_signed(), 131_000_000 + east.cast_signed())
}

impl Gateway {
    pub(super) async fn open(address: &str, drivers: Range<u32>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let (socket, _) = connect_async(format!("ws://{address}/v1/socket")).await?;
        let mut gateway = Self { socket, drivers, turn: 0 };
        let ids: Vec<_> = gateway.drivers.clone().map(|driver| format!("d-{driver}")).collect();
        let message = json!({"type": "drivers", "drivers": ids}).to_string();
        gateway.socket.send(Message::Text(message.into())).await?;
        let answer = gateway.answer().await?;
        if answer["type"] == "numbered" { Ok(gateway) } else { Err(answer.to_string().into()) }
    }

    async fn answer(&mut self) -> Result<Value, Box<dyn Error + Send + Sync>> {
        loop {
            match self.socket.next().await.ok_or("the socket has ended")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(close) => return Err(format!("{close:?}").into()),
                _ => {}
            }
        }
    }

    /// Sends a position of each driver every `interval`, from `begin` on.
    pub(super) async fn run(mut self, begin: Instant, interval: Duration, tally: Arc<Tally>) {
        let mut due = begin;
        loop {
            sleep_until(due).await;
            if let Err(error) = self.send(&tally).await {
                return tally.error(&format!("gateway: {error}"));
            }
            due += interval;
        }
    }

    async fn send(&mut self, tally: &Tally) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.turn += 1;
        let unknown = FrameFix::UNKNOWN;
        let fix = |(driver, number)| {
            let (lat_e7, lng_e7) = place(driver, self.turn);
            let (accuracy, speed, heading) = (unknown, unknown, unknown);
            FrameFix { driver: number, lat_e7, lng_e7, after_base_ms: 0, accuracy, speed, heading }
        };
        let fixes: Vec<_> = self.drivers.clone().zip(0..).map(fix).collect();
        self.socket.send(Message::Binary(encode_frame(now_ms(), &fixes, false).into())).await?;
        let answer = self.answer().await?;
        let moved = answer["outcomes"]["moved"].as_u64().unwrap_or(0);
        tally.fixes(moved);
        if moved == fixes.len() as u64 { Ok(()) } else { Err(format!("{} were sent: {answer}", fixes.len()).into()) }
    }
}
