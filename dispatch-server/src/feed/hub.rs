//! What happened lately, and who follows it.

use super::cursor::{Cursor, Spot};
use super::live::Live;
use super::subscription::{Seat, Subscription};
use crate::auth::TenantId;
use crate::config::StreamLimits;
use crate::runner::Fleets;
use crate::telemetry::Streams as Figures;
use crate::wire::EtaUpdate;
use axum::body::Bytes;
use dispatch_core::{DriverId, MarketId, OrderId, PlaceId, Timestamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// One thing that happened, as everybody is told.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) cursor: Cursor,
    pub(crate) name: &'static str,
    pub(crate) market: MarketId,
    /// Its JSON.
    pub(crate) json: Bytes,
    /// Whom it is for.
    pub(super) topics: Vec<Topic>,
    pub(crate) for_merchants: bool,
    /// The order whose driver is another one from here on, and who that is.
    pub(crate) rider: Option<Rider>,
}

/// Who has an order from an entry on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rider {
    /// On the way to fetch it.
    Fetches(DriverId),
    /// Has it on board.
    Carries(DriverId),
    Nobody,
}

impl Entry {
    /// The order it is about, or else the driver.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.topics.iter().find_map(|topic| match topic {
            Topic::Order(_, order) => Some(order.as_str()),
            Topic::Driver(_, driver) => Some(driver.as_str()),
            Topic::Market(_) | Topic::Place(..) => None,
        })
    }
}

/// What somebody follows. Markets and tenants by their numbers in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    Market(u16),
    Order(u16, OrderId),
    /// Of a tenant, wherever it works.
    Driver(u16, DriverId),
    /// The orders of a place of a tenant.
    Place(u16, PlaceId),
}

/// Why the feed cannot be gone on with from a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Nobody else can follow anything now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooManyStreams {
    #[error("the server has as many streams as it takes")]
    All,
    #[error("this key has as many streams as one may have")]
    Yours,
}

/// An entry costs so much beside its JSON: the lists it stands in, and itself.
const ENTRY_BYTES: usize = 600;

/// The last entries, and who follows what.
pub(crate) struct Hub {
    /// Which log it is of, once that is known.
    log: OnceLock<u32>,
    pub(super) limits: StreamLimits,
    /// The markets of the configuration, with their tenants.
    homes: BTreeMap<MarketId, (u16, u16)>,
    tenants: BTreeMap<TenantId, u16>,
    pub(super) ring: Mutex<Ring>,
    /// Once there are drivers.
    live: OnceLock<Arc<Live>>,
    pub(super) figures: Figures,
    closing: watch::Sender<bool>,
    /// Room for what streams begin with.
    room: Arc<Semaphore>,
}

/// So many bytes take one place of that room.
const PLACE_BYTES: usize = 4_096;

/// The last entries, as many as fit, and in which of them each topic is.
pub(super) struct Ring {
    entries: VecDeque<Arc<Entry>>,
    /// The number of the first of them, counted from the start of the process.
    first: u64,
    bytes: usize,
    /// What lies behind this is here.
    floor: (Spot, Timestamp),
    channels: HashMap<Topic, Channel>,
    seats: usize,
    principals: HashMap<(TenantId, String), usize>,
}

/// The entries of one topic by number, and who follows it.
#[derive(Default)]
struct Channel {
    entries: VecDeque<u64>,
    /// Behind the last of its entries that are not here any more.
    dropped: u64,
    seats: Vec<Arc<Seat>>,
}

/// What there is for a subscription.
pub(super) enum Taken {
    Nothing,
    Entries(Vec<Arc<Entry>>),
    /// More waits than may, or some of it is gone.
    TooMuch,
}

/// So many entries are taken at once.
const BATCH: usize = 64;

impl Hub {
    /// A feed of these markets.
    pub(crate) fn new(
        limits: StreamLimits,
        markets: impl Iterator<Item = (MarketId, TenantId)>,
        figures: Figures,
    ) -> Arc<Self> {
        let (mut homes, mut tenants) = (BTreeMap::new(), BTreeMap::new());
        for (number, (market, tenant)) in (0..).zip(markets) {
            let count = tenants.len() as u16;
            homes.insert(market, (number, *tenants.entry(tenant).or_insert(count)));
        }
        let ring = Ring {
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            floor: (Spot::behind(0), Timestamp::from_millis(0)),
            channels: HashMap::new(),
            seats: 0,
            principals: HashMap::new(),
        };
        let (ring, closing) = (Mutex::new(ring), watch::channel(false).0);
        let (log, live) = (OnceLock::new(), OnceLock::new());
        let room = Arc::new(Semaphore::new(limits.snapshot_bytes / PLACE_BYTES));
        Arc::new(Self { log, limits, homes, tenants, ring, live, figures, closing, room })
    }

    /// Begins to look where drivers are.
    pub(crate) fn start(&self, fleets: &Fleets) -> std::io::Result<()> {
        let fleet =
            |number| self.tenants.iter().find(|(_, other)| **other == number).map(|(tenant, _)| &fleets[tenant]);
        let market =
            |(id, (number, tenant)): (&MarketId, &(u16, u16))| Some((*number, (id.clone(), fleet(*tenant)?.clone())));
        let live = Live::start(self.homes.iter().filter_map(market).collect())?;
        assert!(self.live.set(live).is_ok(), "a feed starts once");
        Ok(())
    }

    pub(super) fn live(&self) -> &Live {
        self.live.get().expect("nobody follows anything before the feed has started")
    }

    pub(super) fn log(&self) -> u32 {
        *self.log.get().expect("the feed begins before anything is told or asked")
    }

    /// The numbers of a market and its tenant; there are none of a market that is not in the configuration.
    pub(crate) fn home(&self, market: &MarketId) -> Option<(u16, u16)> {
        self.homes.get(market).copied()
    }

    /// The number of a tenant that has a market.
    pub(crate) fn tenant(&self, tenant: &TenantId) -> Option<u16> {
        self.tenants.get(tenant).copied()
    }

    /// A cursor behind all that a record came to.
    pub(crate) fn cursor(&self, record: u64, at: Timestamp) -> Cursor {
        Cursor { log: self.log(), at, spot: Spot::behind(record) }
    }

    /// Begins behind a record of a log: nothing before it is here.
    pub(super) fn begin_behind(&self, log: &str, record: u64, at: Timestamp) {
        let digits = log.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.log.get_or_init(|| digits.expect("a log is called by hexadecimal digits"));
        let mut ring = self.ring.lock();
        assert_eq!(ring.seats, 0, "nobody follows what has not begun");
        ring.first += ring.entries.len() as u64;
        (ring.entries, ring.bytes, ring.floor) = (VecDeque::new(), 0, (Spot::behind(record), at));
        ring.channels.clear();
    }

    /// Tells everybody whom it concerns what is durable now.
    pub(crate) fn publish(&self, entries: Vec<Entry>) {
        let mut touched = HashSet::new();
        let mut ring = self.ring.lock();
        for entry in entries {
            touched.extend(entry.topics.iter().cloned());
            ring.push(entry);
        }
        let channels = touched.iter().filter_map(|topic| ring.channels.get(topic));
        let woken: Vec<_> = channels.flat_map(|channel| channel.seats.iter().cloned()).collect();
        ring.shrink(self.limits.replay_bytes);
        let bytes = ring.bytes;
        drop(ring);
        self.figures.replay_bytes.set(bytes as f64);
        for seat in woken {
            seat.wake();
        }
    }

    /// Tells those who follow an order when it arrives.
    pub(crate) fn publish_etas(&self, market: u16, etas: Vec<EtaUpdate>) {
        for eta in etas {
            let topic = Topic::Order(market, eta.order.clone());
            let seats = self.ring.lock().channels.get(&topic).map(|channel| channel.seats.clone());
            let eta = Arc::new(eta);
            for seat in seats.into_iter().flatten() {
                seat.tell_eta(eta.clone());
            }
        }
    }

    /// A place for somebody who has no more than `most`: these topics, of these markets, and only what merchants may see if they are one.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        (principal, most): ((TenantId, String), usize),
        topics: Vec<Topic>,
        markets: Vec<u16>,
        is_merchant: bool,
    ) -> Result<Subscription, TooManyStreams> {
        let mut ring = self.ring.lock();
        if ring.seats >= self.limits.subscriptions {
            return Err(TooManyStreams::All);
        }
        let of_principal = ring.principals.entry(principal.clone()).or_default();
        if *of_principal >= most {
            return Err(TooManyStreams::Yours);
        }
        *of_principal += 1;
        ring.seats += 1;
        let seat = Arc::new(Seat::new());
        for topic in &topics {
            ring.channels.entry(topic.clone()).or_default().seats.push(seat.clone());
        }
        drop(ring);
        self.figures.open.increment(1);
        Ok(Subscription::new(self.clone(), seat, principal, topics, markets, is_merchant, self.closing.subscribe()))
    }

    /// Room for so many bytes that a stream begins with, until its client has taken them.
    pub(crate) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, TooManyStreams> {
        let places = u32::try_from(bytes.div_ceil(PLACE_BYTES)).map_err(|_| TooManyStreams::All)?;
        self.room.clone().try_acquire_many_owned(places).map_err(|_| TooManyStreams::All)
    }

    /// Gives the place of a subscription back.
    pub(super) fn leave(&self, seat: &Arc<Seat>, topics: &[Topic], principal: &(TenantId, String)) {
        let mut ring = self.ring.lock();
        for topic in topics {
            if let Some(channel) = ring.channels.get_mut(topic) {
                channel.seats.retain(|other| !Arc::ptr_eq(other, seat));
                if channel.seats.is_empty() && channel.entries.is_empty() {
                    ring.channels.remove(topic);
                }
            }
        }
        ring.seats -= 1;
        if let Some(count) = ring.principals.get_mut(principal) {
            *count -= 1;
            if *count == 0 {
                ring.principals.remove(principal);
            }
        }
        drop(ring);
        self.figures.open.decrement(1);
        self.live().leave(seat);
    }

    /// The numbers of the markets of a tenant.
    pub(crate) fn markets_of(&self, tenant: &TenantId) -> Vec<u16> {
        let tenant = self.tenant(tenant);
        self.homes.values().filter(|(_, of)| Some(*of) == tenant).map(|(market, _)| *market).collect()
    }

    /// A cursor behind all entries there are.
    pub(crate) fn head(&self) -> Cursor {
        let ring = self.ring.lock();
        let number = ring.first + ring.entries.len() as u64;
        ring.before(number).unwrap_or_else(|| self.floor(&ring))
    }

    /// A cursor behind all entries before this number, if none of those behind it is gone.
    pub(super) fn before(&self, number: u64) -> Option<Cursor> {
        let ring = self.ring.lock();
        if number == ring.first { Some(self.floor(&ring)) } else { ring.before(number) }
    }

    /// A cursor before all entries that are here.
    fn floor(&self, ring: &Ring) -> Cursor {
        let (spot, at) = ring.floor;
        Cursor { log: self.log(), at, spot }
    }

    /// The number of the first entry behind a cursor.
    pub(super) fn resume(&self, cursor: Cursor) -> Result<u64, Gone> {
        let ring = self.ring.lock();
        if cursor.log != self.log() || cursor.spot < ring.floor.0 {
            return Err(Gone);
        }
        let at = ring.entries.partition_point(|entry| entry.cursor.spot <= cursor.spot);
        // A log that lost its end has other records of the same numbers, written later.
        let is_later = |entry: &Arc<Entry>| entry.cursor.at > cursor.at;
        let is_earlier = |entry: &Arc<Entry>| entry.cursor.at < cursor.at;
        let before = at.checked_sub(1).and_then(|before| ring.entries.get(before));
        if before.is_some_and(is_later) || ring.entries.get(at).is_some_and(is_earlier) {
            return Err(Gone);
        }
        Ok(ring.first + at as u64)
    }

    /// Whether a cursor can be gone on from. One that names a record which has not been written is of another log.
    pub(crate) fn reaches(&self, cursor: Cursor, last_record: u64) -> bool {
        cursor.spot.record <= last_record && self.resume(cursor).is_ok()
    }

    /// Done when all streams are to end.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closing = self.closing.subscribe();
        async move {
            // A feed that is gone has ended.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }

    /// Has all streams end.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
        if let Some(live) = self.live.get() {
            live.close();
        }
    }
}

impl Ring {
    fn before(&self, number: u64) -> Option<Cursor> {
        let place = number.checked_sub(self.first + 1)?;
        self.entries.get(place as usize).map(|entry| entry.cursor)
    }

    fn push(&mut self, entry: Entry) {
        let number = self.first + self.entries.len() as u64;
        self.bytes += entry.json.len() + ENTRY_BYTES;
        for topic in &entry.topics {
            let channel = self.channels.entry(topic.clone()).or_default();
            channel.entries.push_back(number);
        }
        self.entries.push_back(Arc::new(entry));
    }

    fn shrink(&mut self, limit: usize) {
        while self.bytes > limit
            && let Some(entry) = self.entries.pop_front()
        {
            self.bytes -= entry.json.len() + ENTRY_BYTES;
            self.floor = (entry.cursor.spot, entry.cursor.at);
            self.first += 1;
            for topic in &entry.topics {
                let channel =
                    self.channels.get_mut(topic).expect("an entry stands in the channel of each of its topics");
                channel.entries.pop_front();
                channel.dropped = self.first;
                if channel.entries.is_empty() && channel.seats.is_empty() {
                    self.channels.remove(topic);
                }
            }
        }
    }

    /// The next entries of some topics from a number on; moves the number behind them. No more than `allowed` may wait.
    pub(super) fn take(&self, topics: &[Topic], next: &mut u64, allowed: &mut usize, queue: usize) -> Taken {
        let channels: Vec<_> = topics.iter().filter_map(|topic| self.channels.get(topic)).collect();
        let (mut numbers, mut waiting) = (Vec::new(), 0);
        for channel in channels {
            if channel.dropped > *next {
                return Taken::TooMuch;
            }
            let from = channel.entries.partition_point(|number| number < next);
            waiting += channel.entries.len() - from;
            numbers.extend(channel.entries.range(from..).take(BATCH).copied());
        }
        // Who comes back may have much to catch up with, and no more after that.
        if waiting > (*allowed).max(queue) {
            return Taken::TooMuch;
        }
        *allowed = waiting;
        numbers.sort_unstable();
        numbers.dedup();
        numbers.truncate(BATCH);
        *next = if waiting > BATCH {
            numbers.last().map_or(*next, |last| last + 1)
        } else {
            self.first + self.entries.len() as u64
        };
        let entry = |number: u64| self.entries[(number - self.first) as usize].clone();
        if numbers.is_empty() { Taken::Nothing } else { Taken::Entries(numbers.into_iter().map(entry).collect()) }
    }
}
