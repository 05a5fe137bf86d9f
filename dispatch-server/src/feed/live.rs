//! Where drivers are, for those who follow them: looked at twenty times a second, and for whole markets once. So a fix costs nothing
//! more, and who is told of a driver is told the newest.

use super::subscription::Seat;
use crate::runner::Fleet;
use crate::wire::{self, Beside, DriverAt};
use axum::body::Bytes;
use dispatch_core::{DriverId, MarketId};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often drivers that somebody follows are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// In so many looks the drivers of a market are looked at once.
const LOOKS_PER_FRAME: u64 = 20;

/// Where the drivers of a market are: made once, and shared by all who are told.
#[derive(Clone)]
pub(crate) struct Frame {
    /// As an event of a stream.
    pub(crate) text: Bytes,
    /// The JSON in it.
    pub(crate) json: Bytes,
}

impl Frame {
    fn new(beside: &Beside) -> Self {
        let (json, mut text) = (wire::line(beside), Vec::new());
        wire::write_event(beside.name(), None, &json, &mut text);
        let (text, end) = (Bytes::from(text), json.len() + EVENT_END);
        let json = text.slice(text.len() - end..text.len() - EVENT_END);
        Self { text, json }
    }
}

/// So many bytes end an event.
const EVENT_END: usize = 2;

/// Who follows drivers.
pub(super) struct Live {
    followers: Mutex<Followers>,
    changed: Condvar,
    markets: BTreeMap<u16, Market>,
}

#[derive(Default)]
struct Followers {
    /// Of one driver each, by their addresses.
    drivers: BTreeMap<usize, Arc<Seat>>,
    /// Of whole markets.
    markets: Vec<(u16, Arc<Seat>)>,
    closed: bool,
}

struct Market {
    id: MarketId,
    fleet: Arc<Fleet>,
    /// Where all of its drivers were at the last look, if anybody asked since.
    all: Mutex<Option<Frame>>,
}

impl Live {
    pub(super) fn start(markets: BTreeMap<u16, (MarketId, Arc<Fleet>)>) -> std::io::Result<Arc<Self>> {
        let market = |(number, (id, fleet))| (number, Market { id, fleet, all: Mutex::default() });
        let markets = markets.into_iter().map(market).collect();
        let live = Arc::new(Self { followers: Mutex::default(), changed: Condvar::new(), markets });
        let looker = live.clone();
        std::thread::Builder::new().name("positions".into()).spawn(move || looker.run())?;
        Ok(live)
    }

    pub(super) fn follow(&self, seat: &Arc<Seat>, anybody: bool) {
        let mut followers = self.followers.lock();
        if anybody {
            followers.drivers.insert(Arc::as_ptr(seat).addr(), seat.clone());
            self.changed.notify_one();
        } else {
            followers.drivers.remove(&Arc::as_ptr(seat).addr());
        }
    }

    pub(super) fn follow_market(&self, seat: &Arc<Seat>, market: u16) {
        // What was made for those before may be old.
        self.markets[&market].all.lock().take();
        self.followers.lock().markets.push((market, seat.clone()));
        self.changed.notify_one();
    }

    pub(super) fn leave(&self, seat: &Arc<Seat>) {
        let mut followers = self.followers.lock();
        followers.drivers.remove(&Arc::as_ptr(seat).addr());
        followers.markets.retain(|(_, other)| !Arc::ptr_eq(other, seat));
    }

    pub(super) fn close(&self) {
        self.followers.lock().closed = true;
        self.changed.notify_one();
    }

    fn run(&self) {
        let mut due = Instant::now();
        for look in 0_u64.. {
            let mut followers = self.followers.lock();
            self.changed.wait_while(&mut followers, |followers| {
                !followers.closed && followers.drivers.is_empty() && followers.markets.is_empty()
            });
            due = (due + LOOK).max(Instant::now());
            self.changed.wait_while_for(&mut followers, |followers| !followers.closed, due - Instant::now());
            if followers.closed {
                return;
            }
            for seat in followers.drivers.values() {
                seat.look();
            }
            let markets = if look % LOOKS_PER_FRAME == 0 { followers.markets.clone() } else { Vec::new() };
            drop(followers);
            self.tell(&markets);
        }
    }

    fn tell(&self, followers: &[(u16, Arc<Seat>)]) {
        for (number, market) in &self.markets {
            let mut followers = followers.iter().filter(|(followed, _)| followed == number).peekable();
            if followers.peek().is_none() {
                continue;
            }
            market.all.lock().take();
            if let Some(moved) = market.frame(false) {
                for (_, seat) in followers {
                    seat.tell_moved(*number, &moved);
                }
            }
        }
    }

    /// Where all drivers of a market are, as of the last look.
    pub(super) fn all(&self, market: u16) -> Frame {
        let market = &self.markets[&market];
        let mut all = market.all.lock();
        all.get_or_insert_with(|| market.frame(true).expect("all are told, however few there are")).clone()
    }
}

impl Market {
    /// Where all are, or those that moved, if any have.
    fn frame(&self, all: bool) -> Option<Frame> {
        let mut positions = Vec::new();
        let tell = |driver: &DriverId, seen| positions.push(DriverAt::new(driver.clone(), seen));
        if all {
            self.fleet.each(&self.id, tell);
        } else {
            self.fleet.each_moved(&self.id, tell);
        }
        let at = self.fleet.now().into();
        let is_needed = all || !positions.is_empty();
        is_needed.then(|| Frame::new(&Beside::Locations { market: self.id.clone(), at, positions }))
    }
}
