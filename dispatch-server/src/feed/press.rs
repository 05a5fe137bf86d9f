//! Makes entries of records: one after the other, the same ones whether a record was just made or is read again after a restart.

use super::cursor::{Cursor, Spot};
use super::hub::{Entry, Hub, Rider, Topic};
use crate::journal::{Audience, Image, Record};
use crate::wire::{self, FeedEvent, Known, What};
use dispatch_core::{DriverId, Event, EventKind, MarketId, OfferId, OrderId, PlaceId, State, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Writes the feed.
pub(crate) struct Press {
    hub: Arc<Hub>,
    scribes: BTreeMap<MarketId, Scribe>,
    /// The last record.
    last: u64,
}

/// What the events of a market only name, as it was before the next of them.
#[derive(Default)]
struct Scribe {
    orders: BTreeMap<OrderId, Order>,
    /// The open ones.
    offers: BTreeMap<OfferId, (DriverId, Vec<OrderId>)>,
}

/// An order in memory.
#[derive(Default)]
struct Order {
    place: Option<PlaceId>,
    driver: Option<DriverId>,
}

impl Known for Scribe {
    fn driver(&self, order: &OrderId) -> Option<&DriverId> {
        self.orders.get(order)?.driver.as_ref()
    }

    fn offer(&self, offer: OfferId) -> Option<(&DriverId, &[OrderId])> {
        self.offers.get(&offer).map(|(driver, orders)| (driver, orders.as_slice()))
    }
}

impl Audience for Press {
    fn begin(&mut self, log: &str, seq: u64, image: &Image) {
        self.last = seq;
        self.hub.begin_behind(log, seq, image.at.unwrap_or(Timestamp::from_millis(0)));
        let scribe =
            |(market, snapshot): (&MarketId, &dispatch_core::Snapshot)| (market.clone(), Scribe::of(snapshot.state()));
        self.scribes = image.markets.iter().map(scribe).collect();
    }

    fn hear(&mut self, record: &Record, image: &Image) {
        let state = image.markets.get(&record.market).map(dispatch_core::Snapshot::state);
        let entries = self.write(record, state);
        self.hub.publish(entries);
    }
}

impl Press {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, scribes: BTreeMap::new(), last: 0 }
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The last record that entries were made of.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// The entries of the next record, of a market that is in this state by now.
    pub(crate) fn write(&mut self, record: &Record, state: Option<&State>) -> Vec<Entry> {
        self.last += 1;
        let (Some((market, tenant)), Some(state)) = (self.hub.home(&record.market), state) else { return Vec::new() };
        let scribe = self.scribes.entry(record.market.clone()).or_default();
        let mut entries = Vec::new();
        for event in &record.events {
            for what in What::of(&record.market, event, state, scribe) {
                let spot = Spot { record: self.last, index: entries.len() as u32 };
                let cursor = Cursor { log: self.hub.log(), at: record.at, spot };
                entries.push(scribe.entry(cursor, &record.market, (market, tenant), event, what));
            }
            scribe.note(event);
        }
        entries
    }
}

impl Scribe {
    fn of(state: &State) -> Self {
        let order = |(id, order): (&OrderId, &dispatch_core::Order)| {
            let driver = order.status.driver().filter(|_| !order.status.is_terminal()).cloned();
            (id.clone(), Order { place: order.spec.pickup.id.clone(), driver })
        };
        let offer = |offer: &dispatch_core::Offer| (offer.id, (offer.driver.clone(), offer.orders.clone()));
        let open = state.offers.iter().filter(|offer| offer.outcome.is_none());
        Self { orders: state.orders.iter().map(order).collect(), offers: open.map(offer).collect() }
    }

    fn entry(&self, cursor: Cursor, id: &MarketId, (market, tenant): (u16, u16), event: &Event, what: What) -> Entry {
        let about = what.about();
        let mut topics = vec![Topic::Market(market)];
        topics.extend(about.orders.iter().map(|order| Topic::Order(market, (*order).clone())));
        topics.extend(about.driver.map(|driver| Topic::Driver(tenant, driver.clone())));
        if about.for_merchants {
            let place = match &event.kind {
                EventKind::OrderPlaced { order, .. } => order.pickup.id.as_ref(),
                _ => about.orders.first().and_then(|order| self.orders.get(*order)?.place.as_ref()),
            };
            topics.extend(place.map(|place| Topic::Place(tenant, place.clone())));
        }
        let (name, for_merchants) = (about.name, about.for_merchants);
        let rider = match &what {
            What::DriverAssigned(ride) => Some(Rider::Fetches(ride.driver.clone())),
            What::PickedUp(ride) => Some(Rider::Carries(ride.driver.clone())),
            What::Delivered(_) | What::OrderReturned { .. } | What::OrderCancelled(_) | What::OrderFailed(_) => {
                Some(Rider::Nobody)
            }
            _ => None,
        };
        let json = wire::line(&FeedEvent { id: &cursor.to_string(), at: event.at.into(), market: id, what });
        Entry { cursor, name, market: id.clone(), json: json.into(), topics, for_merchants, rider }
    }

    /// Goes on by an event that was told.
    fn note(&mut self, event: &Event) {
        match &event.kind {
            EventKind::OrderPlaced { order, .. } => {
                let place = order.pickup.id.clone();
                self.orders.insert(order.id.clone(), Order { place, driver: None });
            }
            EventKind::Assigned { orders, driver, .. } => {
                for order in orders {
                    self.orders.entry(order.clone()).or_default().driver = Some(driver.clone());
                }
            }
            EventKind::Returned { order, .. }
            | EventKind::Delivered { order, .. }
            | EventKind::OrderCancelled { order, .. }
            | EventKind::OrderFailed { order, .. } => {
                self.orders.entry(order.clone()).or_default().driver = None;
            }
            EventKind::OrderRetired { order } => {
                self.orders.remove(order);
            }
            EventKind::OfferMade { offer, driver, orders, .. } => {
                self.offers.insert(*offer, (driver.clone(), orders.clone()));
            }
            EventKind::OfferClosed { offer, .. } => {
                self.offers.remove(offer);
            }
            _ => {}
        }
    }
}
