//! What comes of a window: who is told, which orders are held, and why.

use super::Engine;
use super::window::{Decided, Shortlist, driver_of, orders};
use crate::config::OfferRule;
use crate::event::{EventKind, HoldReason, ReturnReason, RoundFailure};
use crate::matching::candidates::Supply;
use crate::matching::explanation::{Considered, Decision, MAX_RECORDED};
use crate::matching::plan::{Edge, Planner, Row};
use crate::matching::reposition::{Idler, reposition};
use crate::matching::score::Scored;
use crate::model::{DriverId, OrderId};
use crate::offer::Offer;
use crate::route::plan::{Call, SetOut};
use crate::route::{self, Stop};
use crate::schedule;
use crate::units::{Millis, Timestamp};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A driver is busy enough to count as soon idle.
const SOON_IDLE: Millis = Millis::from_mins(10);

/// A driver whose shift ends within this time is not sent anywhere to wait.
const SHIFT_LEFT: Millis = Millis::from_mins(15);

/// A way shorter than this is not worth a suggestion.
const SHORTEST_MOVE: Millis = Millis::from_mins(1);

/// What a window decided.
pub(super) enum Ruling {
    /// The order leaves its driver.
    Return { order: OrderId },
    /// These orders go to a driver, on this route, unless one of the others is faster to accept.
    Commit { orders: Vec<(OrderId, Decision)>, driver: DriverId, stops: Vec<Stop>, others: Vec<Asked> },
    /// The order waits.
    Hold { order: OrderId, reason: HoldReason, slack: Option<Millis>, decision: Decision },
}

/// A driver who is asked, on which route, and why.
pub(super) struct Asked {
    driver: DriverId,
    stops: Vec<Stop>,
    decision: Decision,
}

/// What is to be done about a row now.
enum Verdict<'a> {
    Commit { driver: &'a DriverId, edge: Edge, calls: Vec<Call<'a>> },
    Hold { reason: HoldReason, slack: Option<Millis> },
}

impl Engine {
    /// What to do about every row: commits where it is time, holds where the reason is new, and takes back what its
    /// driver is not to fetch any more.
    pub(super) fn rule(&self, decided: &Decided<'_>) -> Vec<Ruling> {
        let Decided { planner, shortlists, plan, .. } = decided;
        let mut rulings = Vec::new();
        let paired = planner.choices(plan).filter_map(|(_, edge)| edge);
        let mut taken: BTreeSet<&DriverId> = match self.state.config.offers {
            OfferRule::Wave { .. } => paired.map(|edge| driver_of(planner, edge)).collect(),
            OfferRule::Direct | OfferRule::Sequential { .. } => BTreeSet::new(),
        };
        for (row, edge) in planner.choices(plan) {
            let verdict = self.verdict(decided, row, edge);
            let taker = match &verdict {
                Verdict::Commit { driver, .. } => Some(*driver),
                Verdict::Hold { .. } => None,
            };
            for &demand in &row.demands {
                let asks = &planner.demands[demand as usize];
                if asks.holder.is_some() && asks.holder != taker {
                    rulings.push(Ruling::Return { order: asks.task.order.id.clone() });
                }
            }
            match verdict {
                Verdict::Hold { reason, slack } => {
                    let lists = row.demands.iter().map(|&demand| &shortlists[demand as usize]);
                    rulings.extend(lists.filter_map(|list| self.hold(planner, list, reason, slack)));
                }
                Verdict::Commit { driver, edge, calls } => {
                    let new: Vec<u32> = row
                        .demands
                        .iter()
                        .copied()
                        .filter(|&demand| planner.demands[demand as usize].holder != Some(driver))
                        .collect();
                    if new.is_empty() {
                        continue;
                    }
                    let together = orders(planner, row);
                    let reasons = |&demand: &u32| {
                        let list = &shortlists[demand as usize];
                        let with = together.iter().copied().filter(|id| **id != list.order.spec.id).cloned().collect();
                        let decision = self.decision(planner, list, Some(edge), with);
                        (list.order.spec.id.clone(), decision)
                    };
                    let orders = new.iter().map(reasons).collect();
                    let stops = self.planned_stops(planner, edge, &calls);
                    let others = self.others(decided, row, &mut taken);
                    rulings.push(Ruling::Commit { orders, driver: driver.clone(), stops, others });
                }
            }
        }
        rulings
    }

    fn verdict<'a>(&self, decided: &'a Decided<'a>, row: &Row<'a>, edge: Option<Edge>) -> Verdict<'a> {
        let planner = &decided.planner;
        let config = &self.state.config;
        let Some(edge) = edge else {
            let none = row.demands.iter().all(|&demand| decided.shortlists[demand as usize].found.is_empty());
            let reason = if none { HoldReason::NoCandidate } else { HoldReason::Outmatched };
            return Verdict::Hold { reason, slack: None };
        };
        let supply = &planner.supplies[edge.supply as usize];
        let driver = &supply.driver.id;
        if edge.joins {
            // The driver goes on to the stop in question whatever is decided: it is now or never.
            let (_, calls) = planner.best_join(row.demands[0], edge.supply).expect("it was weighed before");
            return Verdict::Commit { driver, edge, calls };
        }
        let slack = slack(planner, row, supply);
        if edge.supply as usize >= decided.drivers {
            return Verdict::Hold { reason: HoldReason::DriverBusy, slack: Some(slack) };
        }
        let commit = Verdict::Commit { driver, edge, calls: planner.calls(row).into_owned() };
        let keeps = |&demand: &u32| planner.demands[demand as usize].holder == Some(driver);
        if row.demands.iter().any(keeps) {
            return commit;
        }
        if !schedule::is_due(slack, &config.schedule) {
            return Verdict::Hold { reason: HoldReason::SlackAmple, slack: Some(slack) };
        }
        let works = self.state.drivers[driver].is_on_shift();
        let direct = config.offers == OfferRule::Direct;
        if !works || direct && supply.from.at - self.now() > config.schedule.commit_ahead {
            return Verdict::Hold { reason: HoldReason::DriverBusy, slack: Some(slack) };
        }
        commit
    }

    /// Who else is asked for a row in the same wave: the next best who could set out now and whom no other row takes.
    fn others<'a>(&self, decided: &Decided<'a>, row: &Row<'a>, taken: &mut BTreeSet<&'a DriverId>) -> Vec<Asked> {
        let OfferRule::Wave { size, .. } = self.state.config.offers else { return Vec::new() };
        let Decided { planner, drivers, shortlists, .. } = decided;
        let config = &self.state.config;
        let mut edges: Vec<Edge> = row.edges.iter().copied().filter(|edge| (edge.supply as usize) < *drivers).collect();
        edges.sort_by_key(|edge| (edge.cost, edge.supply));
        let lead = row.demands[0];
        let list = &shortlists[lead as usize];
        let with: Vec<OrderId> = orders(planner, row).into_iter().skip(1).cloned().collect();
        let mut others = Vec::new();
        for edge in edges {
            if others.len() + 1 >= usize::from(size) {
                break;
            }
            let supply = &planner.supplies[edge.supply as usize];
            let driver = &supply.driver.id;
            // A driver on the roster can be reserved, not asked.
            let on_shift = self.state.drivers[driver].is_on_shift();
            let now = edge.joins || supply.from.at - self.now() <= config.schedule.commit_ahead;
            if !(on_shift && now && taken.insert(driver)) {
                continue;
            }
            let calls = if edge.joins {
                planner.best_join(lead, edge.supply).expect("it was weighed before").1
            } else {
                planner.calls(row).into_owned()
            };
            let stops = self.planned_stops(planner, edge, &calls);
            let decision = self.decision(planner, list, Some(edge), with.clone());
            others.push(Asked { driver: driver.clone(), stops, decision });
        }
        others
    }

    fn hold(
        &self,
        planner: &Planner<'_>,
        list: &Shortlist<'_>,
        reason: HoldReason,
        slack: Option<Millis>,
    ) -> Option<Ruling> {
        let known = list.order.hold.is_some_and(|hold| hold.reason == reason);
        let order = list.order.spec.id.clone();
        let decision = || self.decision(planner, list, None, Vec::new());
        (!known).then(|| Ruling::Hold { order, reason, slack, decision: decision() })
    }

    /// The driver's whole route: what it has to do anyway and these stops, or these stops alone where they contain that.
    fn planned_stops(&self, planner: &Planner<'_>, edge: Edge, calls: &[Call<'_>]) -> Vec<Stop> {
        let mut stops = Vec::new();
        if !edge.joins {
            let driver = &self.state.drivers[driver_of(planner, edge)];
            stops.clone_from(&driver.stops);
            route::keep(&mut stops, |id| !self.derived.movable.contains(id));
        }
        stops.extend(calls.iter().map(Call::to_stop));
        stops
    }

    pub(super) fn carry_out_ruling(&mut self, ruling: Ruling) {
        match ruling {
            Ruling::Return { order } => self.return_order(order, ReturnReason::Swapped),
            Ruling::Hold { order, reason, slack, decision } => {
                self.emit(EventKind::OrderHeld { order, reason, slack, decision });
            }
            Ruling::Commit { orders, driver, stops, others } => self.commit(orders, driver, stops, others),
        }
    }

    fn commit(&mut self, orders: Vec<(OrderId, Decision)>, driver: DriverId, stops: Vec<Stop>, mut others: Vec<Asked>) {
        match self.state.config.offers {
            OfferRule::Direct => {
                // One by one, each with its own reasons: the last of them completes the route.
                let mut to_come: BTreeSet<OrderId> = orders.iter().map(|(order, _)| order.clone()).collect();
                for (order, decision) in orders {
                    to_come.remove(&order);
                    let mut part = stops.clone();
                    route::keep(&mut part, |id| !to_come.contains(id));
                    self.assign_on_route(vec![order], &driver, part, Some(decision));
                }
            }
            OfferRule::Sequential { expires_after } | OfferRule::Wave { expires_after, .. } => {
                let (orders, decisions): (Vec<_>, Vec<_>) = orders.into_iter().unzip();
                let decision = decisions.into_iter().next().expect("an offer is for an order");
                others.insert(0, Asked { driver, stops, decision });
                self.ask(&orders, others, self.now() + expires_after);
            }
        }
    }

    /// Asks these drivers for the same orders, all at once.
    fn ask(&mut self, orders: &[OrderId], asked: Vec<Asked>, expires_at: Timestamp) {
        let limit = self.state.config.rounds.attempts;
        let attempts = |id: &OrderId| self.state.orders[id].round.attempts;
        let made = orders.iter().map(attempts).max().expect("an offer is for an order");
        // New rules may allow fewer attempts than the round has had.
        if made >= limit {
            for order in orders {
                if self.state.orders[order].round.attempts >= limit {
                    self.fail_round(order.clone(), RoundFailure::AttemptsUsed);
                }
            }
            return;
        }
        let first = self.state.offers.next_id();
        let wave = matches!(self.state.config.offers, OfferRule::Wave { .. }).then_some(first);
        for Asked { driver, stops, decision } in asked {
            let (_, stops) = self.projected(&driver, stops);
            self.emit(EventKind::OfferMade {
                offer: self.state.offers.next_id(),
                driver,
                orders: orders.to_vec(),
                stops,
                expires_at,
                attempt: made + 1,
                wave,
                decision,
            });
        }
    }

    fn projected(&self, driver: &DriverId, mut stops: Vec<Stop>) -> (Option<route::Anchor>, Vec<Stop>) {
        let driver = &self.state.drivers[driver];
        let from = self.departure(driver, self.sighted(&driver.spec.id));
        self.project(driver, from, &mut stops, |id| self.ready_at(id));
        (from, stops)
    }

    /// Makes the driver responsible for waiting orders, on this route.
    pub(super) fn assign_on_route(
        &mut self,
        orders: Vec<OrderId>,
        driver: &DriverId,
        stops: Vec<Stop>,
        decision: Option<Decision>,
    ) {
        let (from, stops) = self.projected(driver, stops);
        self.emit(EventKind::Assigned { orders, driver: driver.clone(), from, stops, decision });
    }

    /// The route an offer would give its driver now: the one it was made with, without what was done or ended since, and
    /// with what came to the driver since at the end.
    pub(super) fn route_by(&self, offer: &Offer) -> Vec<Stop> {
        let current = &self.state.drivers[&offer.driver].stops;
        let open = |kind, id: &OrderId| {
            offer.orders.contains(id) || current.iter().any(|stop| stop.kind == kind && stop.orders.contains(id))
        };
        let mut stops = offer.stops.clone();
        for stop in &mut stops {
            stop.orders.retain(|id| open(stop.kind, id));
            let same =
                |other: &&Stop| other.kind == stop.kind && other.orders.iter().any(|id| stop.orders.contains(id));
            stop.arrived_at = current.iter().find(same).and_then(|stop| stop.arrived_at);
        }
        stops.retain(|stop| !stop.orders.is_empty());
        for stop in current {
            let planned = |id: &OrderId| stops.iter().any(|known| known.kind == stop.kind && known.orders.contains(id));
            let missing: Vec<OrderId> = stop.orders.iter().filter(|id| !planned(id)).cloned().collect();
            if !missing.is_empty() {
                stops.push(Stop { orders: missing, ..stop.clone() });
            }
        }
        stops
    }

    /// Records what was weighed: the best candidates and, if it is not among them, the chosen one.
    fn decision(
        &self,
        planner: &Planner<'_>,
        list: &Shortlist<'_>,
        chosen: Option<Edge>,
        with: Vec<OrderId>,
    ) -> Decision {
        let mut ranked: Vec<&Edge> = list.found.iter().collect();
        ranked.sort_by_key(|edge| (edge.cost, edge.supply));
        ranked.truncate(MAX_RECORDED);
        if let Some(edge) = chosen.as_ref() {
            if let Some(place) = ranked.iter().position(|known| known.supply == edge.supply) {
                ranked[place] = edge;
            } else {
                ranked.truncate(MAX_RECORDED - 1);
                ranked.push(edge);
            }
        }
        let considered = |edge: &&Edge| {
            let supply = &planner.supplies[edge.supply as usize];
            let scored = self.explained(planner, list.demand, edge);
            Considered {
                driver: supply.driver.id.clone(),
                score_milli: scored.total_milli,
                contributions_milli: scored.contributions_milli,
                chosen: chosen.is_some_and(|chosen| chosen.supply == edge.supply),
            }
        };
        let mut best: Vec<Considered> = ranked.iter().map(considered).collect();
        best.sort_by(|a, b| (Reverse(a.score_milli), &a.driver).cmp(&(Reverse(b.score_milli), &b.driver)));
        let decision = Decision {
            config_version: self.state.config_version,
            radius: list.radius,
            candidates: list.found.len().max(best.len()) as u32,
            terms: self.score.names().to_vec(),
            best,
            excluded: list.excluded.clone(),
            with,
        };
        decision.fit()
    }

    /// The score of the order alone with this driver; where it joins others, what it changes.
    pub(super) fn explained(&self, planner: &Planner<'_>, demand: u32, edge: &Edge) -> Scored {
        let supply = &planner.supplies[edge.supply as usize];
        let task = &planner.demands[demand as usize].task;
        if !edge.joins {
            let alone = planner.terms.alone(task, supply, |candidate| self.score.explain(candidate));
            return alone.unwrap_or_else(|| Scored::nothing(self.score.names().len()));
        }
        let explain = |calls: &[Call<'_>], set_out: &SetOut| {
            let scored = planner.terms.route(calls, set_out, supply, |candidate| self.score.explain(candidate));
            scored.expect("it was weighed before")
        };
        let (_, with) = planner.best_join(demand, edge.supply).expect("it was weighed before");
        explain(&with, &supply.at_start()).less(&explain(&supply.stops, &supply.at_start()))
    }

    /// Tells idle drivers where orders are to be expected.
    pub(super) fn suggest_moves(&self, decided: &Decided<'_>) -> Vec<(DriverId, EventKind)> {
        let Some(rule) = &self.state.config.reposition else { return Vec::new() };
        let now = self.now();
        if self.clock.last_window.next_multiple(rule.every) > now {
            return Vec::new();
        }
        let used: BTreeSet<u32> =
            decided.planner.choices(&decided.plan).filter_map(|(_, edge)| edge).map(|edge| edge.supply).collect();
        let drivers = (0..).zip(&decided.planner.supplies[..decided.drivers]);
        let idle: Vec<&Supply<'_>> = drivers
            .filter(|(row, supply)| {
                let lasts = supply.until.is_none_or(|until| until - now >= SHIFT_LEFT);
                !used.contains(row) && lasts && supply.from.at - now <= SOON_IDLE
            })
            .map(|(_, supply)| supply)
            .collect();
        let idlers: Vec<Idler> = idle
            .iter()
            .map(|supply| Idler {
                position: supply.from.position,
                vehicle: supply.driver.vehicle,
                free_at: supply.from.at,
            })
            .collect();
        let expected = self.state.demand.expected(now, rule.look_ahead);
        let targets = reposition(&idlers, expected, now, rule, &*self.travel, self.state.config.work_budget);
        let mut moves = Vec::new();
        for (supply, target) in idle.into_iter().zip(targets) {
            let Some((position, way)) = target else { continue };
            let driver = &self.state.drivers[&supply.driver.id];
            let free = supply.load == 0 && supply.from.at <= now;
            let rested = driver.heading.is_none_or(|heading| now - heading.since >= rule.rest);
            if free && rested && way >= SHORTEST_MOVE {
                let (driver, arrive_at) = (supply.driver.id.clone(), now + way);
                moves.push((driver.clone(), EventKind::RepositionSuggested { driver, position, arrive_at }));
            }
        }
        moves
    }
}

/// How much later the driver could be sent.
fn slack(planner: &Planner<'_>, row: &Row<'_>, supply: &Supply<'_>) -> Millis {
    let calls = planner.calls(row);
    let at_first = |id: &OrderId| calls[0].tasks.iter().any(|task| task.order.id == *id);
    let demands = row.demands.iter().map(|&demand| &planner.demands[demand as usize]);
    let first = demands.filter(|demand| at_first(&demand.task.order.id));
    let ready = first.map(|demand| demand.ready_soonest).max().expect("a row is for an order");
    let judged = planner.terms.route(&calls, &supply.at_end(), supply, |candidate| {
        let promise = |d: &route::plan::Delivery<'_>| schedule::promise_slack(d.order.promised_at, d.deliver_at);
        let promise = candidate.deliveries.iter().filter_map(promise).min();
        schedule::urgency(schedule::pickup_slack(ready, candidate.reach_at), promise)
    });
    judged.expect("a driver who was chosen can do it")
}
