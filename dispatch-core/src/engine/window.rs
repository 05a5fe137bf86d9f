//! One window: due orders and drivers near them as a sparse graph, planned, and decided where it is time.

use super::Engine;
use super::commit::Ruling;
use crate::config::{BundleMode, ReadyTimes};
use crate::index::PointSet;
use crate::matching::candidates::{self, Demand, Supply, Terms};
use crate::matching::explanation::Exclusion;
use crate::matching::plan::{Edge, Plan, Planner, Row};
use crate::model::{DriverId, OrderId, PlannedShift};
use crate::route::plan::{Call, Task};
use crate::route::{self, Anchor, StopKind};
use crate::state::{Driver, Order, Shift};
use crate::units::{Meters, Millis, Timestamp};
use std::collections::BTreeMap;

/// An order that is not ready when it should be is believed to be ready after this.
const NOT_READY_YET: Millis = Millis::from_mins(1);

/// The drivers who could take an order in this window.
pub(super) struct Fleet<'a> {
    pub(super) supplies: Vec<Supply<'a>>,
    pub(super) groups: Groups,
    /// Who on shift is no candidate for anything.
    pub(super) excluded: BTreeMap<Exclusion, u32>,
}

/// The supplies, searchable by where they would be met.
pub(super) struct Groups {
    /// Drivers without an order, by where they are.
    free: Group,
    /// Drivers with orders, by where their route ends.
    busy: Group,
    /// Drivers with orders, by the stops at which more could be added.
    joinable: Group,
}

/// Some of the supplies.
struct Group {
    points: PointSet,
    /// Which supply each point is.
    rows: Vec<u32>,
}

impl Group {
    fn new(members: impl IntoIterator<Item = (u32, crate::geo::Position)>) -> Self {
        let (rows, places): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        Self { points: PointSet::new(places), rows }
    }
}

/// The drivers who could take one order.
pub(super) struct Shortlist<'a> {
    /// Which demand it is for.
    pub(super) demand: u32,
    pub(super) order: &'a Order,
    pub(super) radius: Meters,
    /// Each driver once.
    pub(super) found: Vec<Edge>,
    pub(super) excluded: BTreeMap<Exclusion, u32>,
}

/// A window that is decided but not carried out.
pub(super) struct Decided<'a> {
    pub(super) planner: Planner<'a>,
    /// How many supplies are drivers as they are now, and not after what they are planned to do.
    pub(super) drivers: usize,
    /// By the number of the demand.
    pub(super) shortlists: Vec<Shortlist<'a>>,
    pub(super) plan: Plan,
}

impl Engine {
    pub(super) fn run_window(&mut self) {
        let (rulings, moves) = {
            let decided = self.decide();
            (self.rule(&decided), self.suggest_moves(&decided))
        };
        // Who takes an order over from another driver gets it after the other one has lost it.
        let (returned, others): (Vec<_>, Vec<_>) =
            rulings.into_iter().partition(|ruling| matches!(ruling, Ruling::Return { .. }));
        for ruling in returned.into_iter().chain(others) {
            self.carry_out_ruling(ruling);
        }
        for (driver, event) in moves {
            // Who was asked in a wave has better things to do.
            if self.state.drivers[&driver].offer.is_none() {
                self.emit(event);
            }
        }
    }

    fn decide(&self) -> Decided<'_> {
        let mut waiting = self.undecided_orders();
        waiting.sort_by_key(|order| (order.ready_at, &order.spec.id));
        let config = &self.state.config;
        let fleet = if waiting.is_empty() && config.reposition.is_none() { Fleet::empty() } else { self.fleet() };
        let Fleet { supplies, groups, excluded } = fleet;
        let terms = Terms { now: self.now(), service: &config.service, travel: &*self.travel };
        let demands = waiting.iter().map(|order| self.demand(order)).collect();
        let mut planner = Planner { terms, rules: config, score: &self.score, demands, supplies, rows: Vec::new() };
        let drivers = planner.supplies.len();

        let shortlists: Vec<Shortlist<'_>> = (0..)
            .zip(waiting)
            .map(|(demand, order)| self.shortlist(&planner, demand, order, &groups, &excluded))
            .collect();
        for (demand, list) in (0..).zip(&shortlists) {
            planner.push_row(demand, list.found.clone());
        }
        let mut plan = planner.solve();
        let turns = planner.next_turns(&plan);
        if !turns.is_empty() {
            let members = (drivers as u32..).zip(turns.iter().map(|turn| turn.from.position)).collect::<Vec<_>>();
            planner.supplies.extend(turns);
            let group = Group::new(members);
            for (demand, list) in (0..).zip(&shortlists) {
                let (edges, _) = search(&planner, demand, &group, list.radius, Planner::append);
                planner.rows[demand as usize].edges.extend(edges);
            }
            plan = planner.solve();
        }
        let plan = planner.bundle(plan, drivers);
        Decided { planner, drivers, shortlists, plan }
    }

    /// The orders that look for a driver, and those that may still move to another one.
    fn undecided_orders(&self) -> Vec<&Order> {
        let due = self.derived.waiting.iter().take_while(|(first_look, _)| *first_look <= self.now());
        let waiting = due.map(|(_, id)| &self.state.orders[id]).filter(|order| !self.is_paused(order.hold));
        waiting.chain(self.derived.movable.iter().map(|id| &self.state.orders[id])).collect()
    }

    pub(super) fn demand<'a>(&'a self, order: &'a Order) -> Demand<'a> {
        let task = self.task(order);
        let ready_soonest = match self.state.config.schedule.ready_times {
            ReadyTimes::Learned { depart_at_probability } if !order.is_ready_for_sure() => {
                let (place, placed) = (order.spec.pickup.id.as_ref(), order.times.placed);
                self.state.readiness.ready_by(place, placed, order.ready_at, self.now(), depart_at_probability)
            }
            _ => order.ready_at,
        };
        Demand { task, ready_soonest, asked: &order.round.asked, holder: order.status.driver() }
    }

    fn task<'a>(&'a self, order: &'a Order) -> Task<'a> {
        Task::new(&order.spec, self.expected_ready_at(order), order.times.picked_up, &*self.travel)
    }

    pub(super) fn expected_ready_at(&self, order: &Order) -> Timestamp {
        match self.state.config.schedule.ready_times {
            ReadyTimes::Learned { .. } if !order.is_ready_for_sure() => order.ready_at.max(self.now() + NOT_READY_YET),
            _ => order.ready_at,
        }
    }

    pub(super) fn fleet(&self) -> Fleet<'_> {
        let mut fleet = Fleet::empty();
        fleet.supplies.reserve(self.derived.on_shift.len() + self.derived.rostered.len());
        let mut sighted = self.sighted.iter().peekable();
        for id in &self.derived.on_shift {
            // Who was sighted may have gone off shift since.
            while sighted.next_if(|(seen, _)| seen < id).is_some() {}
            let seen = sighted.next_if(|(seen, _)| seen == id).map(|(_, fix)| *fix);
            match self.supply(&self.state.drivers[id], seen) {
                Ok(supply) => fleet.supplies.push(supply),
                Err(exclusion) => *fleet.excluded.entry(exclusion).or_default() += 1,
            }
        }
        fleet.supplies.extend(self.derived.rostered.iter().filter_map(|id| self.rostered(&self.state.drivers[id])));
        let by_load = |busy: bool| {
            let all = (0..).zip(&fleet.supplies);
            all.filter(move |(_, supply)| (supply.load > 0) == busy).map(|(row, supply)| (row, supply.from.position))
        };
        let interleaved = matches!(self.state.config.bundles.mode, BundleMode::Interleaved { .. });
        let joinable = (0..).zip(&fleet.supplies).flat_map(|(row, supply)| {
            let stops = supply.stops.iter().filter(|call| call.kind == StopKind::Pickup).map(|call| call.position);
            let start = (interleaved && !supply.stops.is_empty()).then_some(supply.start.position);
            stops.chain(start).map(move |position| (row, position))
        });
        fleet.groups = Groups {
            free: Group::new(by_load(false)),
            busy: Group::new(by_load(true)),
            joinable: Group::new(joinable),
        };
        fleet
    }

    /// Where and when the driver could set out to fetch one more order; otherwise the first test it fails.
    pub(super) fn supply<'a>(&'a self, driver: &'a Driver, seen: Option<Anchor>) -> Result<Supply<'a>, Exclusion> {
        let now = self.now();
        let config = &self.state.config;
        let Shift::On { since, until } = driver.shift else { return Err(Exclusion::Paused) };
        if driver.paused {
            return Err(Exclusion::Paused);
        }
        let seen = seen.filter(|fix| now - fix.at <= config.positions.searchable_for).ok_or(Exclusion::NoRecentFix)?;
        if driver.offer.is_some() {
            return Err(Exclusion::OfferOpen);
        }
        let mut stops = driver.stops.clone();
        if config.swap.is_some() {
            route::keep(&mut stops, |id| !self.derived.movable.contains(id));
        }
        let dropoffs = || stops.iter().filter(|stop| stop.kind == StopKind::Dropoff).flat_map(|stop| &stop.orders);
        let load = dropoffs().count();
        if load >= usize::from(config.limits.orders_per_driver) {
            return Err(Exclusion::Busy);
        }
        let bound = dropoffs().filter(|id| !self.state.orders[*id].status.is_on_board()).count();
        let start = self.departure(driver, Some(seen)).ok_or(Exclusion::NoRecentFix)?;
        self.project(driver, Some(start), &mut stops, |order| self.ready_at(order));
        let end = stops.last().map(|last| Anchor { position: last.position, at: last.leave_at });
        let from = end.unwrap_or(Anchor { at: start.at.max(now), ..start });
        if from.at - now > config.search.busy_until {
            return Err(Exclusion::Busy);
        }
        let joinable = match config.bundles.mode {
            BundleMode::Off => false,
            BundleMode::Interleaved { .. } => true,
            _ => stops.iter().any(|stop| stop.kind == StopKind::Pickup),
        };
        Ok(Supply {
            driver: &driver.spec,
            rating: driver.rating,
            acceptance: driver.acceptance.rate(),
            load: load as u16,
            idle_for: driver.stops.is_empty().then(|| now - driver.idle_since),
            from,
            until,
            fetched: driver.fetched + bound as u32,
            floor: config.floor_orders_per_hour * ((until.unwrap_or(now) - since).as_secs_f64() / 3_600.0),
            there_since: end.is_none().then(|| self.bound_for(driver)).flatten().map(|heading| heading.arrive_at),
            start,
            stops: if joinable { stops.iter().map(|stop| self.call(stop)).collect() } else { Vec::new() },
        })
    }

    /// A driver whose shift begins soon. It can be reserved, not sent.
    fn rostered<'a>(&self, driver: &'a Driver) -> Option<Supply<'a>> {
        let (now, config) = (self.now(), &self.state.config);
        let PlannedShift { from, until, start } = driver.planned?;
        let start = Anchor { position: start, at: from };
        (from > now && from - now <= config.search.busy_until).then(|| Supply {
            driver: &driver.spec,
            rating: driver.rating,
            acceptance: driver.acceptance.rate(),
            load: 0,
            idle_for: None,
            from: start,
            until: Some(until),
            fetched: 0,
            floor: config.floor_orders_per_hour * ((until - from).as_secs_f64() / 3_600.0),
            there_since: None,
            start,
            stops: Vec::new(),
        })
    }

    fn call(&self, stop: &route::Stop) -> Call<'_> {
        let tasks = stop.orders.iter().map(|id| self.task(&self.state.orders[id])).collect();
        Call { kind: stop.kind, position: stop.position, arrived_at: stop.arrived_at, tasks }
    }

    /// The drivers nearest to the pickup who can take the order; the search widens while there is none.
    pub(super) fn shortlist<'a>(
        &self,
        planner: &Planner<'_>,
        demand: u32,
        order: &'a Order,
        groups: &Groups,
        fleet_excluded: &BTreeMap<Exclusion, u32>,
    ) -> Shortlist<'a> {
        let rule = &self.state.config.search;
        let joins = match self.state.config.bundles.mode.reach() {
            Some(within) => search(planner, demand, &groups.joinable, within, Planner::join).0,
            None => Vec::new(),
        };
        let mut list = Shortlist { demand, order, radius: rule.radius, found: Vec::new(), excluded: BTreeMap::new() };
        for radius in candidates::widening(rule.radius, rule.max_radius) {
            list.radius = radius;
            list.excluded.clone_from(fleet_excluded);
            for group in [&groups.free, &groups.busy] {
                let (edges, excluded) = search(planner, demand, group, radius, Planner::append);
                list.found.extend(edges);
                for (exclusion, drivers) in excluded {
                    *list.excluded.entry(exclusion).or_default() += drivers;
                }
            }
            if !list.found.is_empty() || !joins.is_empty() {
                break;
            }
        }
        if !joins.is_empty() {
            list.found.extend(joins);
            list.found.sort_unstable_by_key(|edge| (edge.supply, edge.cost, edge.joins));
            list.found.dedup_by_key(|edge| edge.supply);
        }
        list
    }
}

impl Fleet<'_> {
    fn empty() -> Self {
        let none = || Group::new([]);
        let groups = Groups { free: none(), busy: none(), joinable: none() };
        Self { supplies: Vec::new(), groups, excluded: BTreeMap::new() }
    }
}

/// The supplies of the group nearest to the pickup that can take the order, and how many failed which test first.
fn search<'p>(
    planner: &Planner<'p>,
    demand: u32,
    group: &Group,
    radius: Meters,
    fit: impl Fn(&Planner<'p>, u32, u32) -> Result<Edge, Exclusion>,
) -> (Vec<Edge>, BTreeMap<Exclusion, u32>) {
    let at = planner.demands[demand as usize].task.order.pickup.position;
    let limit = planner.rules.search.candidates as usize;
    if group.points.len() <= limit {
        let mut edges = Vec::new();
        let mut excluded: BTreeMap<Exclusion, u32> = BTreeMap::new();
        for point in group.points.within(at, radius) {
            match fit(planner, demand, group.rows[point as usize]) {
                Ok(edge) => edges.push(edge),
                Err(exclusion) => *excluded.entry(exclusion).or_default() += 1,
            }
        }
        return (edges, excluded);
    }
    // The search asks about a few more drivers than it returns.
    let mut able: Vec<(u32, Edge)> = Vec::new();
    let mut excluded: BTreeMap<Exclusion, u32> = BTreeMap::new();
    let nearest = group.points.nearest(at, radius, limit, |point| {
        match fit(planner, demand, group.rows[point as usize]) {
            Ok(edge) => able.push((point, edge)),
            Err(exclusion) => {
                *excluded.entry(exclusion).or_default() += 1;
                return false;
            }
        }
        true
    });
    able.sort_unstable_by_key(|(point, _)| *point);
    let edge = |(point, _): (u32, Meters)| {
        let place = able.binary_search_by_key(&point, |(point, _)| *point).expect("only who is able is returned");
        able[place].1
    };
    (nearest.into_iter().map(edge).collect(), excluded)
}

/// The orders of a row.
pub(super) fn orders<'a>(planner: &Planner<'a>, row: &Row<'_>) -> Vec<&'a OrderId> {
    row.demands.iter().map(|&demand| &planner.demands[demand as usize].task.order.id).collect()
}

/// Who an order goes to.
pub(super) fn driver_of<'a>(planner: &Planner<'a>, edge: Edge) -> &'a DriverId {
    &planner.supplies[edge.supply as usize].driver.id
}
