//! What somebody follows, and how that stands at the moment.

use super::fleet::Beacon;
use super::market::Market;
use super::{Error, World};
use crate::auth::{Caller, Grant, Link};
use crate::config::TrackedFrom;
use crate::feed::{Cursor, Hub, Topic};
use crate::wire::{DriverReply, EtaUpdate, OfferReply, OrderReply, Standing};
use dispatch_core::{Driver, DriverId, MarketId, Order, OrderId};

/// What somebody wants to follow.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Order(OrderId),
    Driver(DriverId),
    /// All that it may see, of one market or of all.
    All(Option<MarketId>),
}

/// What that comes to.
pub(crate) struct Followed {
    pub(crate) topics: Vec<Topic>,
    /// The markets that it may see.
    pub(crate) markets: Vec<u16>,
    /// Those whose positions it may see as a whole.
    pub(crate) fleets: Vec<u16>,
    /// The driver whose positions it is told.
    pub(crate) rider: Option<(DriverId, Beacon)>,
    /// Where the feed goes on.
    pub(crate) cursor: Cursor,
    /// When the order arrives that it follows.
    pub(crate) eta: Option<EtaUpdate>,
    /// How things stand, where it does not go on from somewhere.
    pub(crate) standing: Option<Standing>,
}

/// The runner looks at this many orders, and as many drivers, for one answer: no answer holds up the decisions.
const MAX_SHOWN: usize = 10_000;

impl World {
    /// What a caller follows from here on, or from `after` on, if the feed reaches back to that.
    pub(crate) fn follow(
        &self,
        hub: &Hub,
        caller: &Caller,
        wanted: &Wanted,
        after: Option<Cursor>,
    ) -> Result<Followed, Error> {
        let scope = &caller.who.scope;
        let visible: Vec<_> = self.markets(scope).filter_map(|market| hub.home(market.id())).collect();
        let markets = visible.iter().map(|(market, _)| *market).collect();
        let tenant = hub.tenant(&scope.tenant);
        let here = hub.cursor(self.told(), self.now());
        let mut known = after.filter(|after| hub.reaches(*after, self.told()));
        let mut followed = Followed {
            topics: Vec::new(),
            markets,
            fleets: Vec::new(),
            rider: None,
            cursor: here,
            eta: None,
            standing: None,
        };
        let mut shown = Shown::default();
        match wanted {
            Wanted::Order(id) => {
                let (market, order) = self.order(caller, id)?;
                followed.topics.extend(hub.home(market.id()).map(|(market, _)| Topic::Order(market, id.clone())));
                followed.rider = rider(market, order);
                followed.eta = market.eta_update(id);
                // Another order may have had its id before.
                known = known.filter(|known| known.at >= order.times.placed);
                shown.orders.push((market, order));
            }
            Wanted::Driver(id) => {
                let (market, driver) = self.driver(caller, id)?;
                followed.topics.extend(tenant.map(|tenant| Topic::Driver(tenant, id.clone())));
                let is_itself = caller.who.grant.driver() == Some(id);
                let beacon = market.fleet().beacon(id).filter(|_| !is_itself);
                followed.rider = beacon.map(|beacon| (id.clone(), beacon));
                shown.driver_at_work(market, driver);
            }
            Wanted::All(only) => {
                let only = only.as_ref().map(|id| self.market(scope, id)).transpose()?;
                if let Some(only) = only {
                    followed.markets = hub.home(only.id()).map(|(market, _)| market).into_iter().collect();
                }
                let is_here = |market: &&Market| only.is_none_or(|only| only.id() == market.id());
                self.all_of(caller, self.markets(scope).filter(is_here), tenant, &mut followed, &mut shown);
            }
        }
        match known {
            Some(known) => followed.cursor = known,
            None => followed.standing = Some(shown.standing(here, self, followed.eta.take())),
        }
        Ok(followed)
    }

    fn all_of<'a>(
        &'a self,
        caller: &Caller,
        markets: impl Iterator<Item = &'a Market>,
        tenant: Option<u16>,
        followed: &mut Followed,
        shown: &mut Shown<'a>,
    ) {
        match &caller.who.grant {
            Grant::Admin | Grant::Dispatcher => {
                followed.topics.extend(followed.markets.iter().copied().map(Topic::Market));
                followed.fleets.clone_from(&followed.markets);
                for market in markets {
                    shown.orders(market, |_| true);
                    shown.drivers(market);
                }
            }
            Grant::Merchant(places) => {
                let places = tenant
                    .into_iter()
                    .flat_map(|tenant| places.iter().map(move |place| Topic::Place(tenant, place.clone())));
                followed.topics.extend(places);
                for market in markets {
                    shown.orders(market, |order| caller.who.grant.covers_order(order, market.state()));
                }
            }
            Grant::Driver(id) => {
                followed.topics.extend(tenant.map(|tenant| Topic::Driver(tenant, id.clone())));
                if let Ok((market, driver)) = self.driver(caller, id) {
                    shown.driver_at_work(market, driver);
                }
            }
            Grant::Gateway => {}
        }
    }

    /// The order of a tracking link, its market by number, and who has it.
    pub(crate) fn follow_link(
        &self,
        hub: &Hub,
        link: &Link,
        from: TrackedFrom,
    ) -> Option<(u16, Option<(DriverId, Beacon)>)> {
        let (market, order, _) = self.tracked(link)?;
        let rider = rider(market, order).filter(|_| from.shows(&order.status));
        Some((hub.home(market.id())?.0, rider))
    }
}

/// Whose position those are told who follow an order.
fn rider(market: &Market, order: &Order) -> Option<(DriverId, Beacon)> {
    let driver = order.status.driver().filter(|_| !order.status.is_terminal())?;
    Some((driver.clone(), market.fleet().beacon(driver)?))
}

/// What is to be shown.
#[derive(Default)]
struct Shown<'a> {
    orders: Vec<(&'a Market, &'a Order)>,
    drivers: Vec<(&'a Market, &'a Driver)>,
    /// How many of a list were looked at, and whether there are more.
    looked_at: usize,
    is_partial: bool,
}

impl<'a> Shown<'a> {
    fn driver(&mut self, market: &'a Market, driver: &'a Driver) {
        self.drivers.push((market, driver));
    }

    fn orders(&mut self, market: &'a Market, shows: impl Fn(&Order) -> bool) {
        let orders = market.state().orders.values();
        let room = MAX_SHOWN.saturating_sub(self.looked_at);
        self.looked_at += orders.len().min(room);
        self.is_partial |= orders.len() > room;
        self.orders.extend(orders.take(room).filter(|order| shows(order)).map(|order| (market, order)));
    }

    fn drivers(&mut self, market: &'a Market) {
        let room = MAX_SHOWN.saturating_sub(self.drivers.len());
        let mut drivers = market.drivers();
        self.drivers.extend(drivers.by_ref().take(room).map(|driver| (market, driver)));
        self.is_partial |= drivers.next().is_some();
    }

    /// A driver with the orders it is responsible for.
    fn driver_at_work(&mut self, market: &'a Market, driver: &'a Driver) {
        self.driver(market, driver);
        let orders = driver.orders().filter_map(|order| market.state().orders.get(order));
        self.orders.extend(orders.map(|order| (market, order)));
    }

    fn standing(&self, cursor: Cursor, world: &World, eta: Option<EtaUpdate>) -> Standing {
        let now = world.now();
        let (orders, drivers) = (self.orders.iter(), self.drivers.iter());
        let offers = drivers.clone().filter_map(|(market, driver)| {
            let offer = market.state().offers.get(driver.offer?)?;
            Some(OfferReply::new(market, offer, now))
        });
        Standing {
            id: cursor.to_string(),
            at: now.into(),
            orders: orders.map(|(market, order)| OrderReply::new(market, order)).collect(),
            eta,
            offers: offers.collect(),
            drivers: drivers
                .map(|(market, driver)| DriverReply::new(market, driver, market.fleet().last_fix(&driver.spec.id)))
                .collect(),
            is_partial: self.is_partial,
        }
    }
}
