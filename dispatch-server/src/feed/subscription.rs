//! One who follows something.

use super::cursor::Cursor;
use super::hub::{Entry, Gone, Hub, Taken, Topic};
use super::live::Frame;
use crate::auth::TenantId;
use crate::runner::Beacon;
use crate::wire::EtaUpdate;
use dispatch_core::{DriverId, Fix, Motion, OrderId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// Where a subscription is woken, and what it is to be told beside the feed.
pub(super) struct Seat {
    news: Notify,
    beside: Mutex<Beside>,
}

#[derive(Default)]
struct Beside {
    follows: Option<Follows>,
    /// The newest positions of each market that is followed as a whole.
    frames: BTreeMap<u16, Due>,
    etas: BTreeMap<OrderId, Arc<EtaUpdate>>,
}

/// A driver whose position is told.
struct Follows {
    driver: DriverId,
    beacon: Beacon,
    told: Option<(Fix, Motion)>,
}

/// What is to be told of a market's positions.
enum Due {
    /// Nothing.
    Told,
    /// All of them: none were told, or those before were not taken in time.
    All,
    /// Those that moved.
    Moved(Frame),
}

impl Seat {
    pub(super) fn new() -> Self {
        Self { news: Notify::new(), beside: Mutex::default() }
    }

    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    pub(super) fn tell_eta(&self, eta: Arc<EtaUpdate>) {
        self.beside.lock().etas.insert(eta.order.clone(), eta);
        self.wake();
    }

    /// Wakes the subscription if the driver it follows has moved.
    pub(super) fn look(&self) {
        let moved = self.beside.lock().follows.as_ref().is_some_and(|follows| follows.beacon.last() != follows.told);
        if moved {
            self.wake();
        }
    }

    /// Those of a market who moved; where the last ones were not taken, all are to be told anew.
    pub(super) fn tell_moved(&self, market: u16, moved: &Frame) {
        let mut beside = self.beside.lock();
        let Some(frame) = beside.frames.get_mut(&market) else { return };
        *frame = if matches!(frame, Due::Told) { Due::Moved(moved.clone()) } else { Due::All };
        drop(beside);
        self.wake();
    }
}

/// What a subscription is told.
pub(crate) enum News {
    Entries(Vec<Arc<Entry>>),
    /// Where the driver is that it follows.
    Location(DriverId, (Fix, Motion)),
    /// Where the drivers of a market are.
    Locations(Frame),
    Eta(Arc<EtaUpdate>),
    /// Nothing, for so long that somebody may wonder.
    Beat,
    /// It did not take what it was told: it is over.
    TooSlow,
    /// The server stops.
    Stopping,
}

/// Somebody's place in the feed.
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    seat: Arc<Seat>,
    principal: (TenantId, String),
    topics: Vec<Topic>,
    markets: Vec<u16>,
    is_merchant: bool,
    next: u64,
    /// How many entries may wait for it, if more than usual.
    allowed: usize,
    beat_at: Instant,
    closing: watch::Receiver<bool>,
}

impl Subscription {
    pub(super) fn new(
        hub: Arc<Hub>,
        seat: Arc<Seat>,
        principal: (TenantId, String),
        topics: Vec<Topic>,
        markets: Vec<u16>,
        is_merchant: bool,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let beat_at = Instant::now();
        Self { hub, seat, principal, topics, markets, is_merchant, next: 0, allowed: usize::MAX, beat_at, closing }
    }

    /// Goes on behind a cursor.
    pub(crate) fn begin(&mut self, cursor: Cursor) -> Result<(), Gone> {
        self.next = self.hub.resume(cursor)?;
        self.allowed = usize::MAX;
        self.beat_at = Instant::now() + self.heartbeat();
        Ok(())
    }

    /// A place behind all that it was told or that is not for it, if nothing has gone past it since.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.hub.before(self.next)
    }

    /// Whether it is one order that it follows.
    pub(crate) fn follows_one_order(&self) -> bool {
        matches!(self.topics.as_slice(), [Topic::Order(..)])
    }

    /// Is told when its order arrives, before anything else.
    pub(crate) fn tell(&self, eta: EtaUpdate) {
        self.seat.tell_eta(Arc::new(eta));
    }

    /// Is told where this driver is from now on, or no driver.
    pub(crate) fn follow(&self, whom: Option<(DriverId, Beacon)>) {
        let follows = whom.map(|(driver, beacon)| Follows { driver, beacon, told: None });
        let anybody = follows.is_some();
        self.seat.beside.lock().follows = follows;
        self.hub.live().follow(&self.seat, anybody);
    }

    /// Is told where the drivers of a market are from now on.
    pub(crate) fn follow_market(&self, market: u16) {
        self.seat.beside.lock().frames.insert(market, Due::All);
        self.hub.live().follow_market(&self.seat, market);
    }

    /// What there is to be told next; waits for it. Whoever gives up waiting misses nothing.
    pub(crate) async fn next(&mut self) -> News {
        loop {
            if *self.closing.borrow_and_update() {
                return News::Stopping;
            }
            let beat = self.heartbeat();
            if let Some(news) = self.take() {
                self.beat_at = Instant::now() + beat;
                return news;
            }
            tokio::select! {
                () = self.seat.news.notified() => {}
                _ = self.closing.changed() => {}
                () = sleep_until(self.beat_at) => {
                    self.beat_at = Instant::now() + beat;
                    return News::Beat;
                }
            }
        }
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.hub.limits.heartbeat_seconds)
    }

    fn take(&mut self) -> Option<News> {
        loop {
            let queue = self.hub.limits.queue;
            let taken = self.hub.ring.lock().take(&self.topics, &mut self.next, &mut self.allowed, queue);
            match taken {
                Taken::Nothing => break,
                Taken::TooMuch => return Some(News::TooSlow),
                Taken::Entries(mut entries) => {
                    entries.retain(|entry| self.shows(entry));
                    if !entries.is_empty() {
                        return Some(News::Entries(entries));
                    }
                }
            }
        }
        let mut beside = self.seat.beside.lock();
        if let Some((_, eta)) = beside.etas.pop_first() {
            return Some(News::Eta(eta));
        }
        if let Some(follows) = &mut beside.follows {
            let last = follows.beacon.last();
            if let Some(seen) = last.filter(|_| last != follows.told) {
                follows.told = last;
                return Some(News::Location(follows.driver.clone(), seen));
            }
        }
        let due = beside.frames.iter_mut().find(|(_, frame)| !matches!(frame, Due::Told));
        let (market, frame) = due.map(|(market, frame)| (*market, std::mem::replace(frame, Due::Told)))?;
        drop(beside);
        Some(News::Locations(match frame {
            Due::Moved(moved) => moved,
            Due::Told | Due::All => self.hub.live().all(market),
        }))
    }

    fn shows(&self, entry: &Entry) -> bool {
        let home = self.hub.home(&entry.market).map(|(market, _)| market);
        home.is_some_and(|market| self.markets.contains(&market)) && (entry.for_merchants || !self.is_merchant)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(&self.seat, &self.topics, &self.principal);
    }
}
