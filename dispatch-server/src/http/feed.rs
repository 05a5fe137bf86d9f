//! The feed as Server-Sent Events: of an order, of a driver, of all that somebody may see, and of the order of a tracking link.

use super::bearer;
use super::extract::{PathId, Query, path_id};
use super::problem::Problem;
use crate::State;
use crate::auth::{Caller, Link, Principal, Role};
use crate::config::TrackedFrom;
use crate::feed::{Cursor, Entry, News, Rider, Subscription, TooManyStreams};
use crate::runner::{Beacon, Error, Followed, Wanted, World};
use crate::telemetry::StreamEnd;
use crate::wire::{self, Beside, DriverAt, FeedQuery, ORDER_RETIRED, StreamQuery, TrackReply};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{RawPathParams, State as Extract};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dispatch_core::{DriverId, OrderId};
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// Most streams of one tracking link: a family and all their devices.
const MAX_PER_LINK: usize = 50;

/// The header with the last event that a client has.
const LAST_EVENT_ID: &str = "Last-Event-ID";

pub(super) async fn all(
    Extract(state): Extract<State>,
    caller: Caller,
    headers: HeaderMap,
    Query(query): Query<FeedQuery>,
) -> Result<Response, Problem> {
    let after = after(&headers, query.after)?;
    let guard = Guard::new(&state, bearer(&headers), &caller);
    let positions = query.positions.unwrap_or(true);
    stream(state, caller, guard, Wanted::All(query.market), after, positions).await
}

pub(super) async fn of_order(
    Extract(state): Extract<State>,
    caller: Caller,
    headers: HeaderMap,
    PathId(id): PathId<OrderId>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    let after = after(&headers, query.after)?;
    let guard = Guard::new(&state, bearer(&headers), &caller);
    stream(state, caller, guard, Wanted::Order(id), after, true).await
}

pub(super) async fn of_driver(
    Extract(state): Extract<State>,
    caller: Caller,
    headers: HeaderMap,
    PathId(id): PathId<DriverId>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    let after = after(&headers, query.after)?;
    let guard = Guard::new(&state, bearer(&headers), &caller);
    stream(state, caller, guard, Wanted::Driver(id), after, true).await
}

/// What a customer is told. It begins with how its order stands, whatever it knows already.
pub(super) async fn of_link(Extract(state): Extract<State>, params: RawPathParams) -> Result<Response, Problem> {
    let text = path_id(&params).to_owned();
    let link = state.auth().follow(&text, state.handle().now())?;
    let hub = state.handle().hub().clone();
    let find = {
        let (link, hub, from) = (link.clone(), hub.clone(), state.config().tracked_from);
        move |world: &mut World| {
            let (market, rider) = world.follow_link(&hub, &link, from).ok_or(Error::NoLink)?;
            Ok((market, rider, hub.cursor(world.told(), world.now())))
        }
    };
    let (market, rider, cursor) = state.ask(Some(&link.tenant), find).await?;
    let topic = crate::feed::Topic::Order(market, link.order.clone());
    let principal = (link.tenant.clone(), format!("link {}", link.order));
    let mut subscription = hub.subscribe((principal, MAX_PER_LINK), vec![topic], vec![market], true)?;
    subscription.begin(cursor).map_err(|_| Error::Late)?;
    subscription.follow(rider);
    let guard = Guard { state: state.clone(), credential: Credential::Link(text), changes: state.auth().changes() };
    let first = show(&state, &link, cursor).await?;
    let check_at = Instant::now() + heartbeat(&state);
    Ok(answer(Stream {
        state,
        subscription,
        guard,
        check_at,
        audience: Audience::Customer { link },
        first: Some(first),
        room: None,
    }))
}

/// The state of a customer's order, as an event.
async fn show(state: &State, link: &Link, cursor: Cursor) -> Result<Bytes, Problem> {
    let (link, from) = (link.clone(), state.config().tracked_from);
    let tenant = link.tenant.clone();
    let show = move |world: &mut World| {
        let (market, order, eta) = world.tracked(&link).ok_or(Error::NoLink)?;
        Ok(TrackReply::new(market, order, eta, &link, from))
    };
    let order = Box::new(state.ask(Some(&tenant), show).await?);
    Ok(text_of(&Beside::StatusUpdate { id: cursor.to_string(), order }))
}

/// Where a stream goes on: what the browser says by itself, or the query.
fn after(headers: &HeaderMap, query: Option<String>) -> Result<Option<Cursor>, Problem> {
    let (field, text) = match headers.get(LAST_EVENT_ID) {
        Some(id) => (LAST_EVENT_ID, Some(id.to_str().unwrap_or_default().to_owned())),
        None => ("after", query),
    };
    // Browsers send an empty one after a stream without ids.
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|problem: &str| Problem::invalid(field, problem.to_owned()))).transpose()
}

async fn stream(
    state: State,
    caller: Caller,
    guard: Guard,
    wanted: Wanted,
    after: Option<Cursor>,
    positions: bool,
) -> Result<Response, Problem> {
    let (subscription, first) = open(&state, caller, wanted, after, positions).await?;
    let first = first.map(|first| text_of(&first));
    let room = first.as_ref().map(|first| state.handle().hub().room(first.len())).transpose()?;
    let check_at = Instant::now() + heartbeat(&state);
    Ok(answer(Stream { state, subscription, guard, check_at, audience: Audience::Known, first, room }))
}

fn heartbeat(state: &State) -> Duration {
    Duration::from_secs(state.config().streams.heartbeat_seconds)
}

/// Opens a subscription: with how things stand, unless it goes on from where the client was.
pub(super) async fn open(
    state: &State,
    caller: Caller,
    wanted: Wanted,
    after: Option<Cursor>,
    positions: bool,
) -> Result<(Subscription, Option<Beside>), Problem> {
    let hub = state.handle().hub().clone();
    let principal = (caller.who.scope.tenant.clone(), caller.who.id.clone());
    let is_merchant = caller.who.grant.role() == Role::Merchant;
    let (feed, tenant) = (hub.clone(), principal.0.clone());
    let follow = move |world: &mut World| world.follow(&feed, &caller, &wanted, after);
    let Followed { topics, markets, fleets, rider, cursor, eta, standing } = state.ask(Some(&tenant), follow).await?;
    let most = state.config().streams.per_principal;
    let mut subscription = hub.subscribe((principal, most), topics, markets, is_merchant)?;
    // What happened since is in memory, but for the unlikely case that all of it was replaced within this moment.
    subscription.begin(cursor).map_err(|_| Error::Late)?;
    subscription.follow(rider);
    if let Some(eta) = eta {
        subscription.tell(eta);
    }
    if positions {
        for market in fleets {
            subscription.follow_market(market);
        }
    }
    let standing = standing.map(Box::new);
    let first =
        standing.map(|standing| if after.is_some() { Beside::Reset(standing) } else { Beside::Snapshot(standing) });
    if matches!(first, Some(Beside::Reset(_))) {
        state.0.metrics.streams.resets.increment(1);
    }
    Ok((subscription, first))
}

impl From<TooManyStreams> for Problem {
    fn from(error: TooManyStreams) -> Self {
        Self::too_many_streams(error)
    }
}

/// Sees to it that nobody goes on who would not be let in any more.
pub(super) struct Guard {
    state: State,
    credential: Credential,
    changes: watch::Receiver<()>,
}

enum Credential {
    Key(Option<String>, Arc<Principal>),
    Link(String),
}

impl Guard {
    pub(super) fn new(state: &State, key: Option<&str>, caller: &Caller) -> Self {
        let credential = Credential::Key(key.map(str::to_owned), caller.who.clone());
        Self { state: state.clone(), credential, changes: state.auth().changes() }
    }

    /// Done when keys have changed.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<Infallible>().await;
        }
    }

    pub(super) fn holds(&self) -> bool {
        let (auth, handle) = (self.state.auth(), self.state.handle());
        match &self.credential {
            Credential::Key(key, who) => {
                auth.identify(key.as_deref(), handle.wall_now()).is_some_and(|known| known == **who)
            }
            Credential::Link(text) => auth.follow(text, handle.now()).is_ok(),
        }
    }
}

/// Whom a stream is for.
enum Audience {
    /// Whoever has a key: everything as it is.
    Known,
    /// Whoever has a link: how the order stands, each time that something happened to it.
    Customer { link: Link },
}

/// A stream of events. It costs nothing while nothing happens.
struct Stream {
    state: State,
    subscription: Subscription,
    guard: Guard,
    check_at: Instant,
    audience: Audience,
    first: Option<Bytes>,
    /// The room that takes, until the client asks for more.
    room: Option<OwnedSemaphorePermit>,
}

impl Stream {
    /// The next events as text, and whether more may come.
    async fn next(mut self) -> (Option<Self>, Bytes) {
        if let Some(first) = self.first.take() {
            return (Some(self), first);
        }
        self.room = None;
        // However much there is to tell, and nothing it was not let in for.
        if self.check_at <= Instant::now() && !self.check() {
            return self.end(StreamEnd::Revoked);
        }
        let news = tokio::select! {
            news = self.subscription.next() => news,
            () = self.guard.changed() => News::Beat,
        };
        let text = match news {
            News::Beat if self.check() => Bytes::from_static(b":\n\n"),
            News::Beat => return self.end(StreamEnd::Revoked),
            News::TooSlow => return self.end(StreamEnd::TooSlow),
            News::Stopping => return self.end(StreamEnd::Stopping),
            News::Entries(mut entries) => {
                let is_over = cut_at_end(&self.subscription, &mut entries);
                match self.tell(&entries).await {
                    Ok(text) if is_over => {
                        let (rest, closing) = self.end(StreamEnd::Over);
                        return (rest, [text, closing].concat().into());
                    }
                    Ok(text) => text,
                    Err(why) => return self.end(why),
                }
            }
            News::Location(driver, seen) => text_of(&Beside::LocationUpdate(DriverAt::new(driver, seen))),
            News::Locations(frame) => frame.text,
            News::Eta(eta) => text_of(&Beside::EtaUpdate(Box::new((*eta).clone()))),
        };
        (Some(self), text)
    }

    /// Whether it may go on; asked again a heartbeat from now at the latest.
    fn check(&mut self) -> bool {
        self.check_at = Instant::now() + heartbeat(&self.state);
        self.guard.holds()
    }

    async fn tell(&mut self, entries: &[Arc<Entry>]) -> Result<Bytes, StreamEnd> {
        match &self.audience {
            Audience::Known => {
                follow(&self.state, &self.subscription, entries, TrackedFrom::Assignment);
                let mut text = Vec::new();
                for entry in entries {
                    wire::write_event(entry.name, Some(&entry.cursor.to_string()), &entry.json, &mut text);
                }
                Ok(text.into())
            }
            Audience::Customer { link } => {
                let last = entries.last().expect("nobody is told nothing");
                // Another order may have its id by now.
                let shown = show(&self.state, link, last.cursor).await;
                let text = shown
                    .map_err(|problem| if problem.is_unknown() { StreamEnd::Over } else { StreamEnd::Stopping })?;
                follow(&self.state, &self.subscription, entries, self.state.config().tracked_from);
                Ok(text)
            }
        }
    }

    fn end(self, why: StreamEnd) -> (Option<Self>, Bytes) {
        self.state.0.metrics.streams.ended(why);
        (None, text_of(&Beside::Closing { reason: why.into() }))
    }
}

/// Whether an order that is followed has left memory: what comes after that is of another one of its id.
pub(super) fn cut_at_end(subscription: &Subscription, entries: &mut Vec<Arc<Entry>>) -> bool {
    let end = entries.iter().position(|entry| entry.name == ORDER_RETIRED);
    let end = end.filter(|_| subscription.follows_one_order());
    if let Some(end) = end {
        entries.truncate(end + 1);
    }
    end.is_some()
}

/// Has a subscription be told where the driver is who has its order now.
pub(super) fn follow(state: &State, subscription: &Subscription, entries: &[Arc<Entry>], from: TrackedFrom) {
    let Some(rider) = entries.iter().rev().find_map(|entry| Some((entry.rider.as_ref()?, &entry.market))) else {
        return;
    };
    if !subscription.follows_one_order() {
        return;
    }
    let beacon = |driver: &DriverId| -> Option<(DriverId, Beacon)> {
        Some((driver.clone(), state.handle().beacon(rider.1, driver)?))
    };
    match rider.0 {
        Rider::Fetches(driver) if from == TrackedFrom::Assignment => subscription.follow(beacon(driver)),
        Rider::Carries(driver) if from != TrackedFrom::Never => subscription.follow(beacon(driver)),
        Rider::Fetches(_) | Rider::Carries(_) | Rider::Nobody => subscription.follow(None),
    }
}

fn text_of(beside: &Beside) -> Bytes {
    let mut text = Vec::new();
    wire::write_event(beside.name(), beside.id(), &wire::line(beside), &mut text);
    text.into()
}

fn answer(stream: Stream) -> Response {
    let body = Body::new(Events { rest: Some(Rest::Idle(Box::new(stream))) });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies would gather what is to be seen at once.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (StatusCode::OK, headers, body).into_response()
}

type Next = Pin<Box<dyn Future<Output = (Option<Stream>, Bytes)> + Send>>;

/// The body of a stream: the next events are only made when the client has taken the last.
struct Events {
    rest: Option<Rest>,
}

enum Rest {
    Idle(Box<Stream>),
    Waiting(Next),
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut waiting = match self.rest.take() {
            None => return Poll::Ready(None),
            Some(Rest::Idle(stream)) => Box::pin(stream.next()),
            Some(Rest::Waiting(waiting)) => waiting,
        };
        match waiting.as_mut().poll(context) {
            Poll::Pending => {
                self.rest = Some(Rest::Waiting(waiting));
                Poll::Pending
            }
            Poll::Ready((stream, text)) => {
                self.rest = stream.map(|stream| Rest::Idle(Box::new(stream)));
                Poll::Ready(Some(Ok(Frame::data(text))))
            }
        }
    }
}
