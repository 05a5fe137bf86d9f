//! The markets and what callers do with them. Everything here happens on the runner's thread.

use super::Error;
use super::etas::{Etas, Expected, Told};
use super::figures::Figures;
use super::fleet::{Fleet, Fleets, Sightings};
use super::ledger::{Done, Ledger};
use super::market::{Market, is_able};
use crate::StartError;
use crate::area::Area;
use crate::auth::{Caller, Grant, Link, Scope, TenantId};
use crate::config::{MarketConfig, ServerConfig};
use crate::journal::{Image, Moved};
use crate::telemetry::Metrics;
use crate::wire::EtaUpdate;
use dispatch_core::{
    Action, Actor, Command, ConfigError, ConfigProblem, Driver, DriverId, DriverSpec, Engine, Explanation, FixRules,
    MarketId, Millis, Offer, OfferId, Opinion, Order, OrderId, OrderSpec, Position, Positions, PublicStatus, Refusal,
    Role, Snapshot, State, Timestamp, TravelTime, WhyNot,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Which orders or drivers a list shows, and from where.
pub(crate) struct Page<S> {
    pub(crate) market: Option<MarketId>,
    pub(crate) after: Option<Spot>,
    pub(crate) limit: usize,
    pub(crate) filter: S,
}

/// An entry of a list: its market and its id.
pub(crate) type Spot = (MarketId, String);

/// What a list shows, and the last entry that was looked at, shown or not, if there may be more.
pub(crate) type Listed<'a, T> = (Vec<(&'a Market, &'a T)>, Option<Spot>);

/// The runner looks at this many entries of a list in one go, so that no list holds up the decisions.
const MAX_SCANNED: usize = 10_000;

/// When nothing could become durable for this long, drivers could not answer: it was an outage.
const OUTAGE: Millis = Millis::from_secs(1);

/// All markets of the server.
pub(crate) struct World {
    markets: Vec<Market>,
    /// How many drivers each market's positions are kept for.
    max_drivers: u32,
    fleets: Fleets,
    now: Timestamp,
    ledger: Ledger,
    /// Since when nothing can become durable, if nothing can.
    shut_since: Option<Timestamp>,
    /// The last record that the feed tells of.
    told: u64,
}

/// Whether a server with this configuration can begin with what was kept elsewhere: tries it, and takes as much memory again.
pub(super) fn restores(config: &ServerConfig, image: &Image) -> Result<(), StartError> {
    fits(config, image)?;
    let travel: Arc<dyn TravelTime> = Arc::new(config.travel.clone());
    for (market, snapshot) in &image.markets {
        Engine::restore(travel.clone(), Vec::new(), snapshot.clone(), [])
            .map_err(|error| StartError(format!("market {market}: {error}")))?;
    }
    Ok(())
}

/// Whether a server with this configuration can go on from what was kept.
pub(super) fn fits(config: &ServerConfig, image: &Image) -> Result<(), StartError> {
    for (market, snapshot) in &image.markets {
        let state = snapshot.state();
        if !config.markets.iter().any(|configured| configured.id == *market) {
            let open = state.orders.values().filter(|order| !order.status.is_terminal()).count();
            if open > 0 {
                return Err(StartError(format!(
                    "market {market} is kept with {open} orders under way, and not in the configuration: put it back under \
                     markets, at least until they have ended"
                )));
            }
        } else if state.config.limits.drivers > config.fixes.max_drivers {
            let drivers = state.config.limits.drivers;
            return Err(StartError(format!("market {market}: fixes.max_drivers must be at least {drivers}")));
        }
    }
    Ok(())
}

impl World {
    /// The markets of the configuration, as the records left them.
    pub(super) fn new(
        config: &ServerConfig,
        image: Image,
        fleets: Fleets,
        now: Timestamp,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        fits(config, &image)?;
        let Image { markets: mut kept, homes, keys, .. } = image;
        let (max_drivers, markets, ledger) = (config.fixes.max_drivers, Vec::new(), Ledger::new(keys));
        let mut world = Self { markets, max_drivers, fleets, now, ledger, shut_since: None, told: 0 };
        let travel: Arc<dyn TravelTime> = Arc::new(config.travel.clone());
        for market in &config.markets {
            let kept = kept.remove(&market.id);
            // Since its own last event: it may have stood still while others went on.
            let down_for = kept.as_ref().map(|snapshot| now - snapshot.state().at);
            world.open(market, kept, &travel, config.fixes, metrics)?;
            if let Some(down_for) = down_for {
                world.resume(&market.id, down_for);
            }
        }
        for market in kept.keys() {
            tracing::warn!("market {market} is kept and not in the configuration: it stands still");
        }
        world.house(&homes);
        Ok(world)
    }

    /// Opens a market, as it was or new.
    fn open(
        &mut self,
        config: &MarketConfig,
        kept: Option<Snapshot>,
        travel: &Arc<dyn TravelTime>,
        fixes: FixRules,
        metrics: &Metrics,
    ) -> Result<(), StartError> {
        let MarketConfig { id, tenant, area, rules } = config;
        let wrong = |problem: &dyn std::fmt::Display| StartError(format!("market {id}: {problem}"));
        let engine = if let Some(snapshot) = kept {
            let engine = Engine::restore(travel.clone(), Vec::new(), snapshot, []).map_err(|error| wrong(&error))?;
            if engine.state().config != *rules {
                let version = engine.state().config_version;
                tracing::info!(
                    "market {id} goes on with its rules of version {version}; those of the configuration are for new markets"
                );
            }
            engine
        } else {
            let opened = Engine::with_terms(rules.clone(), travel.clone(), Vec::new());
            let (engine, first) = opened.map_err(|error| wrong(&error))?;
            self.ledger.keep(self.now, id, vec![first]);
            engine
        };
        let sightings = Sightings::new(id.clone(), fixes).map_err(|error| wrong(&error))?;
        let fleet = self.fleets[tenant].clone();
        let (id, tenant, area) = (id.clone(), tenant.clone(), area.clone());
        let (left, positions) = (BTreeSet::new(), Positions::default());
        let figures = Figures::new(metrics, &id, engine.state());
        let etas = Etas::of(&engine, self.now);
        self.markets.push(Market { id, tenant, area, engine, sightings, fleet, left, positions, figures, etas });
        Ok(())
    }

    /// Makes the drivers known where they work.
    fn house(&mut self, homes: &BTreeMap<DriverId, BTreeSet<MarketId>>) {
        for market in &mut self.markets {
            for (id, driver) in &market.engine.state().drivers {
                let works_here = homes.get(id).is_some_and(|homes| homes.contains(&market.id));
                // Two markets that became one tenant's may both have one of this id.
                if works_here && market.fleet.market(id).is_none() {
                    market.fleet.register(id, &market.sightings);
                    market.fleet.set_available(id, is_able(driver));
                } else {
                    market.left.insert(id.clone());
                    market.figures.left(id);
                }
            }
        }
    }

    /// Does what is due in every market, if what is done now can become durable soon; otherwise time stands still for drivers and offers.
    pub(super) fn pass_time(&mut self, now: Timestamp, is_open: bool) {
        self.now = self.now.max(now);
        if !is_open {
            self.shut_since.get_or_insert(self.now);
            return;
        }
        let down_for = self.shut_since.take().map_or(Millis::ZERO, |since| self.now - since);
        if down_for >= OUTAGE {
            let markets: Vec<_> = self.markets.iter().map(|market| market.id.clone()).collect();
            for market in &markets {
                self.resume(market, down_for);
            }
        }
        for market in &mut self.markets {
            let events = market.pass_time(self.now);
            self.ledger.keep(self.now, &market.id, events);
        }
    }

    fn resume(&mut self, market: &MarketId, down_for: Millis) {
        let resume = Command { actor: Actor::SYSTEM, action: Action::Resume { down_for } };
        self.give(market, resume).expect("the system may say for how long it was away");
    }

    /// What is to be kept of what was done.
    pub(super) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Does what a caller asks, once if it says so: what was accepted before is not done again.
    pub(crate) fn once(
        &mut self,
        caller: &Caller,
        act: impl FnOnce(&mut Self) -> Result<bool, Error>,
    ) -> Result<Done, Error> {
        let before = caller.once.map(|once| self.ledger.before(once, self.now)).transpose()?.flatten();
        if let Some(done) = before {
            return Ok(done);
        }
        if self.shut_since.is_some() {
            return Err(Error::DatabaseAway);
        }
        let created = act(self)?;
        if let Some(once) = caller.once {
            self.ledger.accept(once, created, self.now, &self.markets[0].id);
        }
        Ok(Done { created, before: false })
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.markets.iter().filter_map(Market::next_deadline).min()
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// What a market is in by now.
    pub(super) fn state(&self, market: &MarketId) -> Option<&State> {
        self.markets.iter().find(|known| known.id == *market).map(Market::state)
    }

    /// Notes that the feed tells of all up to a record.
    pub(super) fn note_told(&mut self, record: u64) {
        self.told = record;
    }

    /// The last record that the feed tells of: what a reader sees now comes after it, and before the next.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// Every market, whoever asks.
    pub(super) fn all(&self) -> impl Iterator<Item = &Market> {
        self.markets.iter()
    }

    /// The markets a caller may know of.
    pub(crate) fn markets(&self, scope: &Scope) -> impl Iterator<Item = &Market> {
        self.markets.iter().filter(|market| market.is_in(scope))
    }

    pub(crate) fn market(&self, scope: &Scope, id: &MarketId) -> Result<&Market, Error> {
        self.markets(scope).find(|market| market.id == *id).ok_or_else(|| Error::UnknownMarket(id.clone()))
    }

    /// The market a pickup is in: the first whose area holds it, else the one without an area.
    pub(crate) fn market_at(&self, scope: &Scope, position: Position) -> Option<&Market> {
        let here = |market: &&Market| market.area != Area::Everywhere && market.area.contains(position);
        let default = |market: &&Market| market.area == Area::Everywhere;
        self.markets(scope).find(here).or_else(|| self.markets(scope).find(default))
    }

    /// A market of somebody's drivers or orders.
    fn home(&self, id: &MarketId) -> &Market {
        self.markets
            .iter()
            .find(|market| market.id == *id)
            .expect("markets stay, and drivers are in none that is not there")
    }

    /// The drivers of a tenant, if it has any market.
    fn fleet(&self, caller: &Caller) -> Option<&Fleet> {
        self.fleets.get(&caller.who.scope.tenant).map(|fleet| &**fleet)
    }

    fn market_mut(&mut self, id: &MarketId) -> &mut Market {
        self.markets.iter_mut().find(|market| market.id == *id).expect("markets stay, and this one was found before")
    }

    fn command(&mut self, market: &MarketId, caller: &Caller, action: Action) -> Result<(), Error> {
        self.command_as(market, caller, None, action)
    }

    /// Gives a command, on behalf of another role where the caller may say so.
    fn command_as(
        &mut self,
        market: &MarketId,
        caller: &Caller,
        role: Option<Role>,
        action: Action,
    ) -> Result<(), Error> {
        let mut actor = caller.actor();
        actor.role = role.unwrap_or(actor.role);
        Ok(self.give(market, Command { actor, action })?)
    }

    fn give(&mut self, market: &MarketId, command: Command) -> Result<(), Refusal> {
        let (now, action) = (self.now, command.action.name());
        let events = self.market_mut(market).handle(now, command)?;
        tracing::debug!(%market, action, events = events.len(), "carried out");
        if !events.is_empty() {
            self.ledger.record(self.now, market).events.extend(events);
        }
        Ok(())
    }

    /// Sets the rules of a market, if `check` finds it as it was expected. Rules that are in force already make no version.
    pub(crate) fn set_rules(
        &mut self,
        caller: &Caller,
        id: &MarketId,
        check: impl FnOnce(&Market) -> Result<(), Error>,
        action: Action,
    ) -> Result<(), Error> {
        let market = self.market(&caller.who.scope, id)?;
        check(market)?;
        let rules = match &action {
            Action::Configure(rules) if **rules == market.state().config => return Ok(()),
            Action::Configure(rules) => Some(&**rules),
            Action::RollBackConfiguration { version } => market.state().former_configs.get(version),
            _ => None,
        };
        if rules.is_some_and(|rules| rules.limits.drivers > self.max_drivers) {
            let problem = format!("must be at most {}, as many as positions are kept for", self.max_drivers);
            let problems = vec![ConfigProblem { key: "limits.drivers".into(), problem }];
            return Err(Refusal::Config(ConfigError { problems }).into());
        }
        self.command(id, caller, action)
    }

    // Drivers.

    /// A driver that this caller may see.
    pub(crate) fn driver(&self, caller: &Caller, id: &DriverId) -> Result<(&Market, &Driver), Error> {
        let unknown = || Refusal::UnknownDriver { driver: id.clone() };
        let market = self.fleet(caller).and_then(|fleet| fleet.market(id)).ok_or_else(unknown)?;
        let market =
            Some(self.home(&market)).filter(|home| home.is_in(&caller.who.scope) && caller.who.grant.covers_driver(id));
        let market = market.ok_or_else(unknown)?;
        Ok((market, market.state().drivers.get(id).ok_or_else(unknown)?))
    }

    /// Makes a driver known in a market (where it is already, if none is named), or changes what is known of it.
    pub(crate) fn register(
        &mut self,
        caller: &Caller,
        market: Option<MarketId>,
        spec: DriverSpec,
    ) -> Result<bool, Error> {
        let id = spec.id.clone();
        let home = self.fleet(caller).and_then(|fleet| fleet.market(&id));
        if home.as_ref().is_some_and(|home| !caller.who.scope.covers(home)) {
            return Err(Error::NotYourMarket);
        }
        let market = match market.or_else(|| home.clone()) {
            Some(market) => self.market(&caller.who.scope, &market)?.id.clone(),
            None => self.only_market(&caller.who.scope)?.id.clone(),
        };
        let mut rating = None;
        if let Some(home) = home.as_ref().filter(|home| **home != market) {
            let driver = self.home(home).state().drivers.get(&id);
            if driver.is_some_and(Driver::is_on_shift) {
                return Err(Error::OnShiftElsewhere { driver: id, market: home.clone() });
            }
            rating = driver.map(|driver| driver.rating);
        }
        self.command(&market, caller, Action::RegisterDriver(spec))?;
        if let Some(rating) = rating {
            self.command(&market, caller, Action::RateDriver { driver: id.clone(), rating })?;
        }
        let from = home.clone().filter(|home| *home != market);
        if let Some(home) = &from {
            let home = self.market_mut(home);
            home.left.insert(id.clone());
            home.figures.left(&id);
        }
        if from.is_some() || home.is_none() {
            self.ledger.record(self.now, &market).moved = Some(Moved { driver: id.clone(), from });
        }
        let market = self.market_mut(&market);
        market.left.remove(&id);
        market.fleet.register(&id, &market.sightings);
        Ok(home.is_none())
    }

    /// The market of a server that has one, or the one without an area.
    fn only_market(&self, scope: &Scope) -> Result<&Market, Error> {
        let mut markets = self.markets(scope);
        match (markets.next(), markets.next()) {
            (Some(only), None) => Ok(only),
            _ => self.markets(scope).find(|market| market.area == Area::Everywhere).ok_or(Error::WhichMarket),
        }
    }

    /// Does something to a driver that this caller may act for.
    pub(crate) fn driver_command(&mut self, caller: &Caller, id: &DriverId, action: Action) -> Result<(), Error> {
        let market = self.driver(caller, id)?.0.id.clone();
        self.command(&market, caller, action)
    }

    /// The drivers a caller may see, by market and id.
    pub(crate) fn drivers<'a>(
        &'a self,
        caller: &Caller,
        page: &Page<impl Fn(&Driver) -> bool>,
    ) -> Result<Listed<'a, Driver>, Error> {
        let entries = |market: &'a Market, after: Bound<String>| {
            let after = after.map(|id| DriverId::new(id).expect("a cursor holds an id"));
            market.state().drivers.range((after, Bound::Unbounded)).map(|(id, driver)| (id.as_str(), driver))
        };
        self.list(&caller.who.scope, page, entries, |market, driver| {
            let id = &driver.spec.id;
            caller.who.grant.covers_driver(id) && !market.left.contains(id) && (page.filter)(driver)
        })
    }

    // Orders.

    /// The order of this id of a tenant and its market, whoever asks.
    fn find(&self, tenant: &TenantId, id: &OrderId) -> Option<(&Market, &Order)> {
        let markets = self.markets.iter().filter(|market| market.tenant == *tenant);
        markets.into_iter().find_map(|market| Some((market, market.state().orders.get(id)?)))
    }

    /// An order that this caller may see.
    pub(crate) fn order(&self, caller: &Caller, id: &OrderId) -> Result<(&Market, &Order), Error> {
        let covers = |(market, order): &(&Market, &Order)| {
            market.is_in(&caller.who.scope) && caller.who.grant.covers_order(order, market.state())
        };
        let found = self.find(&caller.who.scope.tenant, id).filter(covers);
        found.ok_or_else(|| Refusal::UnknownOrder { order: id.clone() }.into())
    }

    /// Takes an order in; false where it was known with the same content.
    pub(crate) fn submit(
        &mut self,
        caller: &Caller,
        market: Option<&MarketId>,
        spec: OrderSpec,
    ) -> Result<bool, Error> {
        if let Grant::Merchant(places) = &caller.who.grant
            && !spec.pickup.id.as_ref().is_some_and(|place| places.contains(place))
        {
            return Err(Error::NotYourPlace);
        }
        let asked = market.map(|market| self.market(&caller.who.scope, market)).transpose()?;
        let known = self.find(&caller.who.scope.tenant, &spec.id).map(|(market, _)| market);
        let market = match (known, asked) {
            (Some(known), _) if !known.is_in(&caller.who.scope) => return Err(Error::NotYourMarket),
            (Some(known), Some(asked)) if known.id != asked.id => {
                return Err(Refusal::OrderDiffers { order: spec.id }.into());
            }
            (Some(known), _) => known,
            (None, Some(asked)) if !asked.area.contains(spec.pickup.position) => {
                return Err(Error::OutsideMarket(asked.id.clone()));
            }
            (None, Some(asked)) => asked,
            (None, None) => self.market_at(&caller.who.scope, spec.pickup.position).ok_or(Error::OutsideMarkets)?,
        };
        let (market, new) = (market.id.clone(), known.is_none());
        self.command(&market, caller, Action::SubmitOrder(spec))?;
        Ok(new)
    }

    /// Does something to an order that this caller may act on, if `check` finds it as it was expected.
    pub(crate) fn order_command(
        &mut self,
        caller: &Caller,
        id: &OrderId,
        role: Option<Role>,
        check: impl FnOnce(&Market, &Order) -> Result<(), Error>,
        action: impl FnOnce(&Order) -> Result<Action, Error>,
    ) -> Result<(), Error> {
        let (market, order) = self.order(caller, id)?;
        check(market, order)?;
        let action = action(order)?;
        Self::check_part(caller, market, order, &action)?;
        let market = market.id.clone();
        self.command_as(&market, caller, role, action)
    }

    /// An order that somebody has just done something to: who gave it up could not look it up any more.
    pub(crate) fn done(&self, caller: &Caller, id: &OrderId) -> Result<(&Market, &Order), Error> {
        self.find(&caller.who.scope.tenant, id).ok_or_else(|| Refusal::UnknownOrder { order: id.clone() }.into())
    }

    /// A driver speaks for itself only, and gives up only what it has: being asked is not enough. Whoever is named works in
    /// the order's market.
    fn check_part(caller: &Caller, market: &Market, order: &Order, action: &Action) -> Result<(), Error> {
        if let (Action::FailOrder { .. }, Grant::Driver(own)) = (action, &caller.who.grant)
            && order.status.driver() != Some(own)
        {
            let (role, is) = (Role::Driver, order.status.name());
            return Err(Refusal::NotAllowed { role, action: action.name(), is }.into());
        }
        let (Action::Progress { driver, .. } | Action::Assign { driver, .. }) = action else { return Ok(()) };
        if !caller.who.grant.covers_driver(driver) {
            return Err(Refusal::UnknownDriver { driver: driver.clone() }.into());
        }
        Self::check_works_in(caller, market, driver)
    }

    fn check_works_in(caller: &Caller, market: &Market, driver: &DriverId) -> Result<(), Error> {
        match market.fleet.market(driver) {
            Some(home) if !caller.who.scope.covers(&home) => {
                Err(Refusal::UnknownDriver { driver: driver.clone() }.into())
            }
            Some(home) if home != market.id => Err(Error::DriverElsewhere { driver: driver.clone(), market: home }),
            _ => Ok(()),
        }
    }

    /// When an order arrives; absent for one that has ended.
    pub(crate) fn eta(&self, caller: &Caller, id: &OrderId) -> Result<(Option<Expected>, Vec<Told>), Error> {
        let (market, order) = self.order(caller, id)?;
        Ok((market.expected(&order.spec.id, self.now), market.etas.told(id).copied().collect()))
    }

    /// What is to be told of arrival times since the last call.
    pub(super) fn take_etas(&mut self) -> Vec<(MarketId, Vec<EtaUpdate>)> {
        let news = |market: &mut Market| {
            let news = market.etas.take_news();
            let news: Vec<_> = news.into_iter().map(|(order, told)| EtaUpdate::new(order, &told)).collect();
            (!news.is_empty()).then(|| (market.id.clone(), news))
        };
        self.markets.iter_mut().filter_map(news).collect()
    }

    /// What a tracking link shows, and when that arrives.
    pub(crate) fn tracked(&self, link: &Link) -> Option<(&Market, &Order, Option<Expected>)> {
        let market = self.markets.iter().find(|market| market.id == link.market && market.tenant == link.tenant)?;
        let order = market.state().orders.get(&link.order).filter(|order| order.times.placed == link.placed)?;
        Some((market, order, market.expected(&link.order, self.now)))
    }

    /// Why an order has the driver it has, or none.
    pub(crate) fn explain(&self, caller: &Caller, id: &OrderId) -> Result<Explanation, Error> {
        let (market, order) = self.order(caller, id)?;
        Ok(market.engine.explain(&order.spec.id).expect("an order that was found can be explained"))
    }

    /// What giving an order to this driver by hand would come to.
    pub(crate) fn opinion(&self, caller: &Caller, id: &OrderId, driver: &DriverId) -> Result<Opinion, Error> {
        let market = self.order(caller, id)?.0;
        Self::check_works_in(caller, market, driver)?;
        Ok(market.engine.opinion(id, driver)?)
    }

    /// Why an order did not go to this driver.
    pub(crate) fn why_not(&self, caller: &Caller, id: &OrderId, driver: &DriverId) -> Result<WhyNot, Error> {
        let market = self.order(caller, id)?.0;
        Self::check_works_in(caller, market, driver)?;
        Ok(market.engine.why_not(id, driver)?)
    }

    /// The orders a caller may see, by market and id.
    pub(crate) fn orders<'a>(
        &'a self,
        caller: &Caller,
        page: &Page<Option<PublicStatus>>,
    ) -> Result<Listed<'a, Order>, Error> {
        let entries = |market: &'a Market, after: Bound<String>| {
            let after = after.map(|id| OrderId::new(id).expect("a cursor holds an id"));
            market.state().orders.range((after, Bound::Unbounded)).map(|(id, order)| (id.as_str(), order))
        };
        self.list(&caller.who.scope, page, entries, |market, order| {
            page.filter.is_none_or(|status| order.public_status() == status)
                && caller.who.grant.covers_order(order, market.state())
        })
    }

    /// A part of a list, which goes through the markets one after the other.
    fn list<'a, T: 'a, S, I: Iterator<Item = (&'a str, &'a T)>>(
        &'a self,
        scope: &Scope,
        page: &Page<S>,
        entries: impl Fn(&'a Market, Bound<String>) -> I,
        shows: impl Fn(&'a Market, &'a T) -> bool,
    ) -> Result<Listed<'a, T>, Error> {
        let first = match &page.after {
            Some((market, _)) => {
                let here = |known: &Market| known.id == *market && known.is_in(scope);
                self.markets.iter().position(here).ok_or(Error::Cursor)?
            }
            None => 0,
        };
        if let Some(market) = &page.market {
            self.market(scope, market)?;
        }
        let (mut found, mut scanned) = (Vec::new(), 0);
        for (number, market) in self.markets.iter().enumerate().skip(first) {
            if !market.is_in(scope) || page.market.as_ref().is_some_and(|only| *only != market.id) {
                continue;
            }
            let after = page.after.as_ref().filter(|_| number == first);
            let from = after.map_or(Bound::Unbounded, |(_, id)| Bound::Excluded(id.clone()));
            for (id, entry) in entries(market, from) {
                scanned += 1;
                if shows(market, entry) {
                    found.push((market, entry));
                }
                if found.len() >= page.limit || scanned >= MAX_SCANNED {
                    return Ok((found, Some((market.id.clone(), id.to_owned()))));
                }
            }
        }
        Ok((found, None))
    }

    // Offers.

    /// An offer that this caller may see.
    pub(crate) fn offer(&self, caller: &Caller, market: &MarketId, id: OfferId) -> Result<(&Market, &Offer), Error> {
        let market = self.market(&caller.who.scope, market).ok();
        let offer = market.and_then(|market| Some((market, market.state().offers.get(id)?)));
        let offer = offer.filter(|(_, offer)| caller.who.grant.covers_driver(&offer.driver));
        offer.ok_or_else(|| Refusal::UnknownOffer { offer: id }.into())
    }

    /// Answers an offer for the driver it was made to.
    pub(crate) fn answer(
        &mut self,
        caller: &Caller,
        market: &MarketId,
        offer: OfferId,
        accept: bool,
    ) -> Result<(), Error> {
        let driver = self.offer(caller, market, offer)?.1.driver.clone();
        let action =
            if accept { Action::AcceptOffer { offer, driver } } else { Action::DeclineOffer { offer, driver } };
        self.command(market, caller, action)
    }

    /// Since when a driver must have been heard of to be found near a place of this market.
    pub(crate) fn searchable_since(&self, market: &Market) -> Timestamp {
        let searchable_for: Millis = market.state().config.positions.searchable_for;
        self.now - searchable_for
    }
}
