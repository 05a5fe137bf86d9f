//! One window: due orders and drivers near them as a sparse graph, paired, and decided where it is time.

use super::Engine;
use crate::config::OfferRule;
use crate::event::{EventKind, HoldReason, RoundFailure};
use crate::index::PointSet;
use crate::matching::candidates::{self, Candidate, Demand, Reach, Supply};
use crate::matching::explanation::{Considered, Decision, Exclusion, MAX_RECORDED};
use crate::matching::pairing::Pairing;
use crate::model::{DriverId, OrderId};
use crate::route::Anchor;
use crate::schedule;
use crate::state::{Driver, Order, Shift};
use crate::units::{Meters, Millis};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What leaving an order unmatched costs, in thousandths of a score point: more than the worst score there can be, so that
/// it happens only where there are too few drivers. A point more for every minute the food has waited, so that old orders
/// are not the ones left out.
const UNMATCHED_MILLI: i64 = 100_000_000_000_000;

/// The drivers who could take an order in this window.
struct Fleet<'a> {
    supplies: Vec<Supply<'a>>,
    /// Drivers without an order, by where they are.
    free: Group,
    /// Drivers with orders, by where their route ends.
    busy: Group,
    /// Who on shift is no candidate for anything.
    excluded: BTreeMap<Exclusion, u32>,
}

/// Some of the supplies, searchable.
struct Group {
    points: PointSet,
    /// Which supply each point is.
    rows: Vec<u32>,
}

/// The drivers who could take one order.
struct Shortlist<'a> {
    order: &'a Order,
    radius: Meters,
    /// Supply, candidate and score, in the sequence found.
    found: Vec<(u32, Candidate<'a>, i64)>,
    excluded: BTreeMap<Exclusion, u32>,
}

/// What a window decided about an order.
enum Ruling {
    Commit { order: OrderId, driver: DriverId, decision: Decision },
    Hold { order: OrderId, reason: HoldReason, slack: Option<Millis>, decision: Decision },
}

impl Engine {
    pub(super) fn run_window(&mut self) {
        for ruling in self.decide() {
            match ruling {
                Ruling::Hold { order, reason, slack, decision } => {
                    self.emit(EventKind::OrderHeld { order, reason, slack, decision });
                }
                Ruling::Commit { order, driver, decision } => self.commit(order, driver, decision),
            }
        }
    }

    fn commit(&mut self, order: OrderId, driver: DriverId, decision: Decision) {
        match self.state.config.offers {
            OfferRule::Direct => self.assign(&order, &driver, Some(decision)),
            OfferRule::Sequential { expires_after } => {
                let waiting = &self.state.orders[&order];
                // New rules may allow fewer attempts than the round has had.
                if waiting.round.attempts >= self.state.config.rounds.attempts {
                    return self.fail_round(order, RoundFailure::AttemptsUsed);
                }
                let (_, stops) = self.route_with(&self.state.drivers[&driver], waiting);
                self.emit(EventKind::OfferMade {
                    offer: self.state.offers.next_id(),
                    driver,
                    attempt: waiting.round.attempts + 1,
                    orders: vec![order],
                    stops,
                    expires_at: self.now() + expires_after,
                    decision,
                });
            }
        }
    }

    fn decide(&self) -> Vec<Ruling> {
        let mut waiting = self.waiting_orders();
        if waiting.is_empty() {
            return Vec::new();
        }
        let fleet = self.fleet();
        waiting.sort_by_key(|order| (order.ready_at, &order.spec.id));
        let shortlists: Vec<Shortlist<'_>> = waiting.into_iter().map(|order| self.shortlist(order, &fleet)).collect();

        let mut pairing = Pairing::new(fleet.supplies.len());
        for list in &shortlists {
            let costs = list.found.iter().map(|(supply, _, score)| (*supply, -score));
            let late = (self.now() - list.order.ready_at).max(Millis::ZERO);
            pairing.push_row(costs, UNMATCHED_MILLI + (late.as_mins_f64() * 1_000.0) as i64);
        }
        let pairs = pairing.solve(self.state.config.work_budget);
        shortlists.iter().zip(pairs.chosen).filter_map(|(list, chosen)| self.rule(list, chosen, &fleet)).collect()
    }

    fn waiting_orders(&self) -> Vec<&Order> {
        let due = self.derived.waiting.iter().take_while(|(first_look, _)| *first_look <= self.now());
        due.map(|(_, id)| &self.state.orders[id]).filter(|order| !self.is_paused(order.hold)).collect()
    }

    fn fleet(&self) -> Fleet<'_> {
        let mut supplies = Vec::new();
        let mut excluded = BTreeMap::new();
        let (mut free, mut busy) = (Vec::new(), Vec::new());
        let mut sighted = self.sighted.iter().peekable();
        for id in &self.derived.on_shift {
            // Who was sighted may have gone off shift since.
            while sighted.next_if(|(seen, _)| seen < id).is_some() {}
            let seen = sighted.next_if(|(seen, _)| seen == id).map(|(_, fix)| *fix);
            match self.supply(&self.state.drivers[id], seen) {
                Ok(supply) => {
                    let group = if supply.load == 0 { &mut free } else { &mut busy };
                    group.push(supplies.len() as u32);
                    supplies.push(supply);
                }
                Err(exclusion) => *excluded.entry(exclusion).or_default() += 1,
            }
        }
        let group = |rows: Vec<u32>| {
            let points = PointSet::new(rows.iter().map(|&row| supplies[row as usize].from.position));
            Group { points, rows }
        };
        let (free, busy) = (group(free), group(busy));
        Fleet { supplies, free, busy, excluded }
    }

    /// Where and when the driver could set out to fetch one more order; otherwise the first test it fails.
    fn supply<'a>(&'a self, driver: &'a Driver, seen: Option<Anchor>) -> Result<Supply<'a>, Exclusion> {
        let now = self.now();
        let config = &self.state.config;
        let Shift::On { until, .. } = driver.shift else { return Err(Exclusion::Paused) };
        if driver.paused {
            return Err(Exclusion::Paused);
        }
        let seen = seen.filter(|fix| now - fix.at <= config.positions.searchable_for).ok_or(Exclusion::NoRecentFix)?;
        if driver.offer.is_some() {
            return Err(Exclusion::OfferOpen);
        }
        let load = driver.orders().count();
        if load >= usize::from(config.limits.orders_per_driver) {
            return Err(Exclusion::Busy);
        }
        let mut stops = driver.stops.clone();
        let departure = self.departure(driver, Some(seen));
        self.project(driver, departure, &mut stops, |order| self.ready_at(order));
        let end = stops.last().map(|last| Anchor { position: last.position, at: last.leave_at });
        let from = end.or(departure).ok_or(Exclusion::NoRecentFix)?;
        if from.at - now > config.search.busy_until {
            return Err(Exclusion::Busy);
        }
        Ok(Supply {
            driver: &driver.spec,
            rating: driver.rating,
            acceptance: driver.acceptance.rate(),
            load: load as u16,
            idle_for: (load == 0).then(|| now - driver.idle_since),
            from,
            until,
        })
    }

    /// The drivers nearest to the pickup who can take the order; the search widens while there is none.
    fn shortlist<'a>(&'a self, order: &'a Order, fleet: &'a Fleet<'a>) -> Shortlist<'a> {
        let rule = &self.state.config.search;
        let mut list = Shortlist { order, radius: rule.radius, found: Vec::new(), excluded: BTreeMap::new() };
        for radius in candidates::widening(rule.radius, rule.max_radius) {
            list.radius = radius;
            list.excluded.clone_from(&fleet.excluded);
            self.search(&mut list, &fleet.free, &fleet.supplies);
            self.search(&mut list, &fleet.busy, &fleet.supplies);
            if !list.found.is_empty() {
                break;
            }
        }
        list
    }

    fn search<'a>(&'a self, list: &mut Shortlist<'a>, group: &Group, supplies: &'a [Supply<'a>]) {
        let config = &self.state.config;
        let order = list.order;
        let demand = Demand { order: &order.spec, ready_at: order.ready_at, asked: &order.round.asked };
        let limit = config.search.candidates as usize;
        // The search asks about a few more drivers than it returns.
        let mut able: Vec<(u32, Reach)> = Vec::new();
        let nearest = group.points.nearest(order.spec.pickup.position, list.radius, limit, |point| {
            let supply = &supplies[group.rows[point as usize] as usize];
            match candidates::reach(&demand, supply, &config.service, &*self.travel) {
                Ok(reach) => able.push((point, reach)),
                Err(exclusion) => {
                    *list.excluded.entry(exclusion).or_default() += 1;
                    return false;
                }
            }
            true
        });
        able.sort_unstable_by_key(|(point, _)| *point);
        for (point, _) in nearest {
            let place = able.binary_search_by_key(&point, |(point, _)| *point).expect("only who is able is returned");
            let (_, reach) = &able[place];
            let row = group.rows[point as usize];
            let supply = &supplies[row as usize];
            let candidate = reach.complete(&demand, supply, self.now(), &config.service, &*self.travel);
            list.found.push((row, candidate, self.score.total_milli(&candidate)));
        }
    }

    /// Commits, or holds where the reason is new; `None` where the order goes on being held as it was.
    fn rule(&self, list: &Shortlist<'_>, chosen: Option<usize>, fleet: &Fleet<'_>) -> Option<Ruling> {
        let config = &self.state.config;
        let order = list.order;
        let held = |reason: HoldReason, slack: Option<Millis>| {
            let known = order.hold.is_some_and(|hold| hold.reason == reason);
            let id = order.spec.id.clone();
            (!known).then(|| Ruling::Hold { order: id, reason, slack, decision: self.decision(list, None) })
        };
        let Some(index) = chosen else {
            return held(if list.found.is_empty() { HoldReason::NoCandidate } else { HoldReason::Outmatched }, None);
        };
        let (supply, candidate, _) = &list.found[index];
        let pickup = schedule::pickup_slack(candidate.ready_at, candidate.reach_at);
        let slack = schedule::urgency(pickup, schedule::promise_slack(order.spec.promised_at, candidate.deliver_at));
        if !schedule::is_due(slack, &config.schedule) {
            return held(HoldReason::SlackAmple, Some(slack));
        }
        if candidate.until_free() > config.schedule.commit_ahead {
            return held(HoldReason::DriverBusy, Some(slack));
        }
        let driver = fleet.supplies[*supply as usize].driver.id.clone();
        Some(Ruling::Commit { order: order.spec.id.clone(), driver, decision: self.decision(list, Some(index)) })
    }

    /// Records what was weighed: the best candidates and, if it is not among them, the chosen one.
    fn decision(&self, list: &Shortlist<'_>, chosen: Option<usize>) -> Decision {
        let mut ranked: Vec<usize> = (0..list.found.len()).collect();
        ranked.sort_by_key(|&i| (Reverse(list.found[i].2), &list.found[i].1.supply.driver.id));
        let place = chosen.and_then(|chosen| ranked.iter().position(|&i| i == chosen));
        if let Some(place) = place.filter(|&place| place >= MAX_RECORDED) {
            ranked.swap(place, MAX_RECORDED - 1);
        }
        ranked.truncate(MAX_RECORDED);
        let best = ranked.into_iter().map(|i| {
            let (_, candidate, _) = &list.found[i];
            let scored = self.score.explain(candidate);
            Considered {
                driver: candidate.supply.driver.id.clone(),
                score_milli: scored.total_milli,
                contributions_milli: scored.contributions_milli,
                chosen: chosen == Some(i),
            }
        });
        let decision = Decision {
            config_version: self.state.config_version,
            radius: list.radius,
            candidates: list.found.len() as u32,
            terms: self.score.names().to_vec(),
            best: best.collect(),
            excluded: list.excluded.clone(),
        };
        decision.fit()
    }
}
