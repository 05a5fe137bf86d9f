//! The socket: subscriptions, a driver's answers and positions over one connection.

use super::feed::{self, Guard};
use super::problem::Problem;
use super::{bearer, offers};
use crate::State;
use crate::auth::{Caller, Cost, Role};
use crate::config::TrackedFrom;
use crate::feed::{News, Subscription};
use crate::net::Held;
use crate::runner::{Session, Wanted};
use crate::telemetry::StreamEnd;
use crate::wire::{self, Beside, DriverAt, Received, SocketReply, SocketRequest};
use axum::Extension;
use axum::extract::State as Extract;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// What the server speaks. Browsers, which cannot set headers, send their key beside it as `bearer.KEY`.
const PROTOCOL: &str = "dispatch.v1";

/// Most bytes that wait to be sent. A message is sent as soon as it is made, so this is how long one may be.
const MAX_WRITE_BUFFER: usize = 128 << 20;

/// So many messages of all subscriptions wait for the socket to be free.
const WAITING: usize = 8;

/// The key of a web socket, from its header or from its protocols.
pub(super) fn credential(headers: &HeaderMap) -> Option<&str> {
    let protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut protocols = protocols.flat_map(|value| value.split(',')).map(str::trim);
    bearer(headers).or_else(|| protocols.find_map(|protocol| protocol.strip_prefix("bearer.")))
}

pub(super) async fn open(
    Extract(state): Extract<State>,
    caller: Caller,
    held: Option<Extension<Held>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| Problem::no_socket(&rejection.body_text()))?;
    let limits = state.config().limits;
    let is_driver = caller.who.grant.driver().is_some();
    let most = if is_driver { limits.body_bytes } else { limits.batch_bytes };
    let guard = Guard::new(&state, credential(&headers), &caller);
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .max_message_size(most)
        .max_frame_size(most)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER);
    Ok(upgrade.on_upgrade(move |socket| async move {
        // The place of its connection is taken until it ends.
        let _held = held;
        let session = Session::new(&state, caller.who.clone());
        let (told, tells) = mpsc::channel(WAITING);
        let talk = Talk {
            state,
            caller,
            guard,
            session,
            subscriptions: BTreeMap::new(),
            begun: 0,
            tasks: JoinSet::new(),
            told,
        };
        talk.run(socket, tells).await;
    }))
}

/// What a subscription has for the socket.
enum Tell {
    Event(String),
    /// How things stand, and the room that takes.
    First(String, OwnedSemaphorePermit),
    /// It is over.
    Over(StreamEnd),
}

/// A subscription of a socket: its `ref`, and which of those it is that were called so one after the other.
type Number = (u32, u64);

/// One socket.
struct Talk {
    state: State,
    caller: Caller,
    guard: Guard,
    session: Session,
    subscriptions: BTreeMap<u32, (u64, AbortHandle)>,
    /// How many subscriptions there were.
    begun: u64,
    /// Each subscription waits in a task of its own; they end with the socket.
    tasks: JoinSet<()>,
    told: mpsc::Sender<(Number, Tell)>,
}

/// A socket that is over, and why, for a client that is still there.
struct Over(Option<StreamEnd>);

impl Talk {
    async fn run(mut self, mut socket: WebSocket, mut tells: mpsc::Receiver<(Number, Tell)>) {
        let patience = Duration::from_secs(self.state.config().limits.drain_seconds);
        let stopping = self.state.handle().hub().stopping();
        // A client that takes nothing does not hold up a stop for longer than others may.
        let gone = async {
            stopping.await;
            sleep(patience).await;
        };
        let Over(why) = tokio::select! {
            Err(over) = self.converse(&mut socket, &mut tells) => over,
            () = gone => return,
        };
        let Some(why) = why else { return };
        self.state.0.metrics.streams.ended(why);
        let code = if why == StreamEnd::Stopping { close_code::AWAY } else { close_code::POLICY };
        let reason = wire::EndName::from(why).name();
        let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
        // Who does not take it is gone.
        let _ = timeout(self.patience(), socket.send(close)).await;
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(self.state.config().limits.stall_seconds)
    }

    async fn converse(
        &mut self,
        socket: &mut WebSocket,
        tells: &mut mpsc::Receiver<(Number, Tell)>,
    ) -> Result<Infallible, Over> {
        let beat = Duration::from_secs(self.state.config().streams.heartbeat_seconds);
        let mut stopping = pin!(self.state.handle().hub().stopping());
        let mut ping_at = Instant::now() + beat;
        let mut heard_at = Instant::now();
        loop {
            tokio::select! {
                message = socket.recv() => {
                    heard_at = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => {
                            let reply = self.answer(&text).await;
                            self.send(socket, text_of(&reply)).await?;
                        }
                        Some(Ok(Message::Binary(frame))) => {
                            let reply = self.take(&frame);
                            self.send(socket, text_of(&reply)).await?;
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Over(None)),
                    }
                }
                Some(((number, begun), tell)) = tells.recv() => match tell {
                    // What was on its way when the client ended it.
                    _ if self.subscriptions.get(&number).is_none_or(|(known, _)| *known != begun) => {}
                    Tell::Event(text) => self.send(socket, Message::Text(text.into())).await?,
                    Tell::First(text, _room) => self.send(socket, Message::Text(text.into())).await?,
                    Tell::Over(StreamEnd::Over) => {
                        self.subscriptions.remove(&number);
                        let closing = Beside::Closing { reason: StreamEnd::Over.into() };
                        let text = wire::beside_of_subscription(number, &closing);
                        self.send(socket, Message::Text(text.into())).await?;
                    }
                    Tell::Over(why) => return Err(Over(Some(why))),
                },
                () = self.guard.changed() => {
                    if !self.guard.holds() {
                        return Err(Over(Some(StreamEnd::Revoked)));
                    }
                }
                () = sleep_until(ping_at) => {
                    // A client that is there answers the last one at least.
                    if heard_at.elapsed() >= beat * 3 || !self.guard.holds() {
                        return Err(Over((heard_at.elapsed() < beat * 3).then_some(StreamEnd::Revoked)));
                    }
                    ping_at = Instant::now() + beat;
                    self.send(socket, Message::Ping(axum::body::Bytes::new())).await?;
                }
                () = &mut stopping => return Err(Over(Some(StreamEnd::Stopping))),
            }
        }
    }

    async fn send(&self, socket: &mut WebSocket, message: Message) -> Result<(), Over> {
        match timeout(self.patience(), socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over(None)),
        }
    }

    /// Carries out a message.
    async fn answer(&mut self, text: &str) -> SocketReply {
        let request = match SocketRequest::read(text.as_bytes()) {
            Ok(request) => request,
            Err(invalid) => return problem(None, invalid.into()),
        };
        match request {
            SocketRequest::Subscribe(wanted) => {
                let number = wanted.r#ref;
                match self.subscribe(&wanted).await {
                    Ok(()) => SocketReply::Subscribed { r#ref: number },
                    Err(error) => problem(Some(number), error),
                }
            }
            SocketRequest::Unsubscribe(end) => {
                let number = end.r#ref;
                match self.subscriptions.remove(&number) {
                    Some((_, task)) => {
                        task.abort();
                        SocketReply::Unsubscribed { r#ref: number }
                    }
                    None => problem(Some(number), Problem::invalid("ref", "names no subscription of this socket")),
                }
            }
            SocketRequest::Accept(answer) => self.answer_offer(answer.r#ref, answer.offer, true).await,
            SocketRequest::Decline(answer) => self.answer_offer(answer.r#ref, answer.offer, false).await,
            SocketRequest::Drivers(drivers) => {
                if let Err(error) = self.check_role(&[Role::Admin, Role::Dispatcher, Role::Driver, Role::Gateway]) {
                    return problem(drivers.r#ref, error);
                }
                match self.session.number(drivers.first.unwrap_or(0) as usize, &drivers.drivers) {
                    Ok(numbered) => SocketReply::Numbered { r#ref: drivers.r#ref, numbered },
                    Err(error) => problem(drivers.r#ref, Problem::invalid("drivers", error.to_string())),
                }
            }
            SocketRequest::Positions(positions) => {
                let most = self.state.config().limits.batch_fixes;
                if positions.count() > most {
                    let detail = format!("must be at most {most}, not {}", positions.count());
                    return problem(positions.r#ref, Problem::invalid("positions", detail));
                }
                if let Err(error) = self.check_role(&[Role::Admin, Role::Dispatcher, Role::Driver, Role::Gateway]) {
                    return problem(positions.r#ref, error);
                }
                let items = positions.read();
                let receipt = self.session.report_items(&items);
                let detail = |index: u32| items[index as usize].as_ref().err().cloned();
                SocketReply::Received(Received::new(positions.r#ref, receipt, detail))
            }
        }
    }

    /// Takes in a frame of positions.
    fn take(&mut self, frame: &[u8]) -> SocketReply {
        if let Err(error) = self.check_role(&[Role::Admin, Role::Dispatcher, Role::Driver, Role::Gateway]) {
            return problem(None, error);
        }
        match self.session.report_frame(frame) {
            Ok(receipt) => SocketReply::Received(Received::new(None, receipt, |_| None)),
            Err(error) => problem(None, Problem::invalid("frame", error.to_string())),
        }
    }

    fn check_role(&self, may: &[Role]) -> Result<(), Problem> {
        let role = self.caller.who.grant.role();
        if may.contains(&role) { Ok(()) } else { Err(Problem::forbidden(role)) }
    }

    async fn answer_offer(&self, r#ref: Option<u32>, offer: wire::OfferName, accept: bool) -> SocketReply {
        let answered = async {
            self.check_role(&[Role::Admin, Role::Dispatcher, Role::Driver])?;
            self.state.auth().rates.count(&self.caller.who, Cost::Command)?;
            offers::decide(&self.state, self.caller.clone(), offer, accept).await
        };
        match answered.await {
            Ok(offer) => SocketReply::Answered { r#ref, offer: Box::new(offer) },
            Err(error) => problem(r#ref, error),
        }
    }

    async fn subscribe(&mut self, wanted: &wire::Subscribe) -> Result<(), Problem> {
        let (number, most) = (wanted.r#ref, self.state.config().streams.per_socket);
        let after = wanted.after()?;
        let what = wanted.wanted()?;
        let (may, cost): (&[Role], _) = match what {
            Wanted::Order(_) => (&[Role::Admin, Role::Dispatcher, Role::Merchant], Cost::Read),
            Wanted::Driver(_) => (&[Role::Admin, Role::Dispatcher, Role::Driver], Cost::Read),
            Wanted::All(_) => (&[Role::Admin, Role::Dispatcher, Role::Merchant, Role::Driver], Cost::Search),
        };
        self.check_role(may)?;
        if self.subscriptions.contains_key(&number) {
            return Err(Problem::invalid("ref", "is in use on this socket"));
        }
        if self.subscriptions.len() >= most {
            return Err(Problem::invalid("ref", format!("one socket has at most {most} subscriptions")));
        }
        self.state.auth().rates.count(&self.caller.who, cost)?;
        let caller = self.caller.clone();
        let positions = wanted.positions.unwrap_or(true);
        let (subscription, first) = feed::open(&self.state, caller, what, after, positions).await?;
        let first = first.map(|first| wire::beside_of_subscription(number, &first));
        let hub = self.state.handle().hub();
        let room = first.as_ref().map(|first| hub.room(first.len())).transpose()?;
        let first = first.zip(room).map(|(first, room)| Tell::First(first, room));
        let (state, told) = (self.state.clone(), self.told.clone());
        while self.tasks.try_join_next().is_some() {}
        self.begun += 1;
        let task = self.tasks.spawn(tell(state, subscription, (number, self.begun), first, told));
        self.subscriptions.insert(number, (self.begun, task));
        Ok(())
    }
}

/// Hands over what a subscription is told, as fast as the socket takes it.
async fn tell(
    state: State,
    mut subscription: Subscription,
    number: Number,
    first: Option<Tell>,
    told: mpsc::Sender<(Number, Tell)>,
) {
    let called = number.0;
    if let Some(first) = first
        && told.send((number, first)).await.is_err()
    {
        return;
    }
    loop {
        let beside = |beside: Beside| wire::beside_of_subscription(called, &beside);
        let text = match subscription.next().await {
            News::Beat => continue,
            News::TooSlow => return drop(told.send((number, Tell::Over(StreamEnd::TooSlow))).await),
            News::Stopping => return,
            News::Location(driver, seen) => beside(Beside::LocationUpdate(DriverAt::new(driver, seen))),
            News::Locations(frame) => wire::of_subscription(called, &frame.json),
            News::Eta(eta) => beside(Beside::EtaUpdate(Box::new((*eta).clone()))),
            News::Entries(mut entries) => {
                let is_over = feed::cut_at_end(&subscription, &mut entries);
                feed::follow(&state, &subscription, &entries, TrackedFrom::Assignment);
                for entry in &entries {
                    if told.send((number, Tell::Event(wire::of_subscription(called, &entry.json)))).await.is_err() {
                        return;
                    }
                }
                if is_over {
                    return drop(told.send((number, Tell::Over(StreamEnd::Over))).await);
                }
                continue;
            }
        };
        if told.send((number, Tell::Event(text))).await.is_err() {
            return;
        }
    }
}

fn text_of(reply: &SocketReply) -> Message {
    let text = String::from_utf8(wire::line(reply)).expect("JSON is text");
    Message::Text(text.into())
}

fn problem(r#ref: Option<u32>, problem: Problem) -> SocketReply {
    SocketReply::Problem { r#ref, problem: problem.into_body() }
}
