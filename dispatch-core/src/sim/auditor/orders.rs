//! Orders: both tracks, cancelling, failing, leaving memory.

use super::{Auditor, Breach, Check, ensure, rule};
use crate::config::StartOn;
use crate::event::{HoldReason, RoundFailure};
use crate::matching::explanation::Decision;
use crate::model::{DriverId, FailReason, KitchenStatus, OfferId, OrderId, OrderSpec, Role};
use crate::route::Stop;
use crate::units::{Millis, Timestamp};
use std::collections::BTreeSet;

/// Where an order is on its dispatch track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Waiting,
    /// In the wave with this first offer.
    Offered(OfferId),
    Assigned {
        driver: DriverId,
        arrived: bool,
    },
    OnBoard {
        driver: DriverId,
        departed: bool,
        arrived: bool,
    },
    Ended {
        at: Timestamp,
    },
}

impl Status {
    pub(super) fn driver(&self) -> Option<&DriverId> {
        match self {
            Self::Assigned { driver, .. } | Self::OnBoard { driver, .. } => Some(driver),
            Self::Pending | Self::Waiting | Self::Offered(_) | Self::Ended { .. } => None,
        }
    }

    pub(super) fn is_on_board(&self) -> bool {
        matches!(self, Self::OnBoard { .. })
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Offered(_) => "offered",
            Self::Assigned { arrived: false, .. } => "assigned",
            Self::Assigned { arrived: true, .. } => "at its pickup",
            Self::OnBoard { arrived: false, .. } => "on board",
            Self::OnBoard { arrived: true, .. } => "at its dropoff",
            Self::Ended { .. } => "ended",
        }
    }
}

/// One series of offers for an order.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// In how many of its offers somebody declined or let expire; a wave counts as one.
    pub(super) used: u16,
    /// Who declined or let expire.
    pub(super) asked: BTreeSet<DriverId>,
    /// Since when there has been no candidate, at the earliest.
    pub(super) no_candidate_since: Option<Timestamp>,
    /// When the next begins; present once this one failed.
    pub(super) retry_at: Option<Timestamp>,
}

/// What the rules need to know of an order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) spec: OrderSpec,
    pub(super) placed_at: Timestamp,
    pub(super) ready_at: Timestamp,
    /// Earlier ready times and until when each was believed.
    pub(super) superseded: Vec<(Timestamp, Timestamp)>,
    pub(super) kitchen: KitchenStatus,
    /// When the kitchen said it is ready.
    pub(super) ready_since: Option<Timestamp>,
    /// Since when its dispatch may start.
    pub(super) startable_since: Option<Timestamp>,
    pub(super) status: Status,
    /// Since when it has waited for a driver, the last time it began to.
    pub(super) waiting_since: Timestamp,
    /// Whether it was flagged overdue since it last began to wait.
    pub(super) overdue: bool,
    /// Whether it was ever flagged overdue.
    pub(super) ever_overdue: bool,
    pub(super) round: Round,
    /// Why it was held, if that was the last event about it.
    pub(super) last_hold: Option<HoldReason>,
    /// Why it was last held.
    pub(super) held_for: Option<HoldReason>,
}

impl Order {
    /// When it is ready at the earliest: by the announced time or by what the kitchen said.
    pub(super) fn ready_earliest(&self) -> Timestamp {
        self.ready_since.map_or(self.ready_at, |since| since.min(self.ready_at))
    }

    /// When it is ready at the latest.
    pub(super) fn ready_latest(&self) -> Timestamp {
        self.ready_since.map_or(self.ready_at, |since| since.max(self.ready_at))
    }

    /// The earliest ready time anybody believed in since `since`.
    pub(super) fn ready_earliest_since(&self, since: Timestamp) -> Timestamp {
        let earlier = self.superseded.iter().filter(|(until, _)| *until >= since).map(|&(_, ready)| ready);
        earlier.fold(self.ready_earliest(), Timestamp::min)
    }

    /// From when the time without a driver counts, given its ready time.
    pub(super) fn clock_origin(&self, ready: Timestamp, preparation: Millis) -> Timestamp {
        self.waiting_since.max(ready - preparation)
    }

    pub(super) fn must_wait(&self) -> Check {
        ensure(self.status == Status::Waiting, rule::ORDER_TRANSITION, || {
            format!("order {} is {}, not waiting", self.spec.id, self.status.name())
        })
    }
}

impl Auditor {
    pub(super) fn order_placed(&mut self, spec: &OrderSpec, ready_at: Timestamp) -> Check {
        let (id, at) = (&spec.id, self.at);
        ensure(!self.orders.contains_key(id), rule::ORDER_DUPLICATE, || format!("order {id} is in memory"))?;
        let (held, limit) = (self.orders.len(), self.config.limits.orders);
        ensure(held < limit as usize, rule::LIMIT_ORDERS, || format!("{held} of {limit} are in memory"))?;
        let expected = at + spec.preparation.unwrap_or(self.config.preparation);
        ensure(ready_at == expected, rule::ORDER_READY_AT, || format!("{ready_at} instead of {expected}"))?;
        self.check_ahead(ready_at)?;
        spec.promised_at.map_or(Ok(()), |promised| self.check_ahead(promised))?;
        let order = Order {
            spec: spec.clone(),
            placed_at: at,
            ready_at,
            superseded: Vec::new(),
            kitchen: KitchenStatus::Placed,
            ready_since: None,
            startable_since: (self.config.start_on == StartOn::Placed).then_some(at),
            status: Status::Pending,
            waiting_since: at,
            overdue: false,
            ever_overdue: false,
            round: Round::default(),
            last_hold: None,
            held_for: None,
        };
        self.orders.insert(id.clone(), order);
        self.totals.orders += 1;
        self.watch_order(id);
        Ok(())
    }

    fn check_ahead(&self, time: Timestamp) -> Check {
        let last = self.at + self.config.lifetimes.plan_ahead;
        ensure(time <= last, rule::ORDER_PLAN_AHEAD, || format!("{time} is after {last}"))
    }

    pub(super) fn kitchen_progressed(&mut self, id: &OrderId, status: KitchenStatus) -> Check {
        let at = self.at;
        let order = self.live(id)?;
        ensure(status > order.kitchen, rule::KITCHEN_FORWARD, || format!("{status:?} after {:?}", order.kitchen))?;
        order.kitchen = status;
        order.startable_since.get_or_insert(at);
        if status == KitchenStatus::Ready {
            order.ready_since = Some(at);
        }
        self.watch_order(id);
        Ok(())
    }

    pub(super) fn ready_time_changed(&mut self, id: &OrderId, ready_at: Timestamp) -> Check {
        let at = self.at;
        self.check_ahead(ready_at)?;
        let order = self.live(id)?;
        ensure(ready_at != order.ready_at, rule::ORDER_READY_CHANGED, || format!("it is {ready_at} already"))?;
        order.superseded.push((at, order.ready_at));
        order.ready_at = ready_at;
        self.watch_order(id);
        Ok(())
    }

    pub(super) fn dispatch_started(&mut self, id: &OrderId) -> Check {
        let (at, on_placing) = (self.at, self.config.start_on == StartOn::Placed);
        let order = self.live(id)?;
        ensure(order.status == Status::Pending, rule::ORDER_TRANSITION, || {
            format!("order {id} is {}, not pending", order.status.name())
        })?;
        ensure(on_placing || order.kitchen >= KitchenStatus::Confirmed, rule::DISPATCH_START, || {
            format!("order {id} is not confirmed")
        })?;
        order.waiting_since = at;
        self.set_status(id, Status::Waiting);
        Ok(())
    }

    pub(super) fn held(
        &mut self,
        id: &OrderId,
        reason: HoldReason,
        slack: Option<Millis>,
        decision: &Decision,
    ) -> Check {
        let (at, margin) = (self.at, self.config.schedule.margin);
        let last = self.order(id)?.last_hold;
        let order = self.live(id)?;
        order.must_wait()?;
        ensure(last != Some(reason), rule::HOLD_REPEATED, || format!("order {id} was already held for {reason:?}"))?;
        let ample = slack.is_some_and(|slack| slack > margin);
        ensure(reason != HoldReason::SlackAmple || ample, rule::HOLD_SLACK, || {
            format!("order {id} has slack {slack:?}, the margin is {margin}")
        })?;
        order.last_hold = Some(reason);
        order.held_for = Some(reason);
        if reason == HoldReason::NoCandidate {
            order.round.no_candidate_since.get_or_insert(at);
        }
        self.check_decision(decision, None)
    }

    /// An order a driver is to get further with: not ended, and that driver's.
    fn of_driver(&mut self, id: &OrderId, driver: &DriverId) -> Result<&mut Order, Breach> {
        self.driver(driver)?;
        let order = self.live(id)?;
        if let Some(responsible) = order.status.driver() {
            ensure(responsible == driver, rule::ORDER_DRIVER, || format!("driver {responsible} has order {id}"))?;
        }
        Ok(order)
    }

    pub(super) fn arrived_at_pickup(&mut self, id: &OrderId, driver: &DriverId) -> Check {
        let order = self.of_driver(id, driver)?;
        let position = order.spec.pickup.position;
        let next = match order.status {
            Status::Assigned { arrived: false, .. } => Status::Assigned { driver: driver.clone(), arrived: true },
            _ => return cannot(order, "reach its pickup"),
        };
        self.set_status(id, next);
        self.driver_was_at(driver, position)
    }

    pub(super) fn picked_up(&mut self, id: &OrderId, driver: &DriverId, leave_at: Timestamp) -> Check {
        let order = self.of_driver(id, driver)?;
        let position = order.spec.pickup.position;
        let next = match order.status {
            Status::Assigned { .. } => Status::OnBoard { driver: driver.clone(), departed: false, arrived: false },
            _ => return cannot(order, "be picked up"),
        };
        self.check_leave(leave_at)?;
        self.set_status(id, next);
        self.driver_was_at(driver, position)?;
        let (load, capacity) = (self.on_board(driver), u32::from(self.driver(driver)?.spec.capacity.get()));
        ensure(load <= capacity, rule::CAPACITY_ON_BOARD, || {
            format!("driver {driver} has {load} of {capacity} on board")
        })
    }

    pub(super) fn departed(&mut self, id: &OrderId, driver: &DriverId) -> Check {
        let order = self.of_driver(id, driver)?;
        let next = match order.status {
            Status::OnBoard { departed: false, arrived: false, .. } => {
                Status::OnBoard { driver: driver.clone(), departed: true, arrived: false }
            }
            _ => return cannot(order, "leave its pickup"),
        };
        self.set_status(id, next);
        Ok(())
    }

    pub(super) fn arrived_at_dropoff(&mut self, id: &OrderId, driver: &DriverId) -> Check {
        let order = self.of_driver(id, driver)?;
        let position = order.spec.dropoff.position;
        let next = match order.status {
            Status::OnBoard { arrived: false, departed, .. } => {
                Status::OnBoard { driver: driver.clone(), departed, arrived: true }
            }
            _ => return cannot(order, "reach its dropoff"),
        };
        self.set_status(id, next);
        self.driver_was_at(driver, position)
    }

    pub(super) fn delivered(&mut self, id: &OrderId, driver: &DriverId, leave_at: Timestamp) -> Check {
        let at = self.at;
        let order = self.of_driver(id, driver)?;
        let position = order.spec.dropoff.position;
        if !order.status.is_on_board() {
            return cannot(order, "be delivered");
        }
        self.check_leave(leave_at)?;
        self.driver_was_at(driver, position)?;
        self.set_status(id, Status::Ended { at });
        self.totals.delivered += 1;
        Ok(())
    }

    fn driver_was_at(&mut self, driver: &DriverId, position: crate::geo::Position) -> Check {
        let at = self.at;
        self.driver_mut(driver)?.was_at.insert((position, at));
        Ok(())
    }

    fn check_leave(&self, leave_at: Timestamp) -> Check {
        ensure(leave_at >= self.at, rule::ORDER_LEAVE_AT, || format!("it leaves at {leave_at}"))
    }

    pub(super) fn returned(&mut self, id: &OrderId, driver: &DriverId, by_hand: bool, stops: &[Stop]) -> Check {
        let at = self.at;
        let order = self.of_driver(id, driver)?;
        let reassigned = by_hand && order.status.is_on_board();
        if !matches!(order.status, Status::Assigned { .. }) && !reassigned {
            return cannot(order, "go back to waiting");
        }
        // Whoever asked before asks anew: the order comes back to a market that has changed.
        (order.waiting_since, order.overdue, order.round) = (at, false, Round::default());
        order.held_for = None;
        self.set_status(id, Status::Waiting);
        self.check_kept_route(driver, stops)
    }

    pub(super) fn cancelled(&mut self, role: Role, id: &OrderId, stops: Option<&[Stop]>) -> Check {
        let order = self.live(id)?;
        ensure(!order.status.is_on_board(), rule::CANCEL_PICKED_UP, || format!("order {id} is picked up"))?;
        let may = match role {
            Role::Customer => order.kitchen < KitchenStatus::Preparing,
            Role::Merchant | Role::Dispatcher | Role::System => true,
            Role::Driver => false,
        };
        ensure(may, rule::CANCEL_ROLE, || format!("a {role} cancelled order {id}, which is {:?}", order.kitchen))?;
        self.totals.cancelled += 1;
        self.end(id, stops)
    }

    pub(super) fn failed(&mut self, id: &OrderId, reason: &FailReason, stops: Option<&[Stop]>) -> Check {
        let (at, preparation, lifetimes) = (self.at, self.config.preparation, self.config.lifetimes);
        let order = self.live(id)?;
        let ready = order.ready_earliest();
        match reason {
            FailReason::NoDriver => {
                order.must_wait()?;
                let earliest = order.clock_origin(ready, preparation) + lifetimes.fail_after;
                ensure(at >= earliest, rule::FAIL_NO_DRIVER, || format!("order {id} had until {earliest}"))?;
            }
            FailReason::NeverFinished => {
                let earliest = order.placed_at.max(ready) + lifetimes.never_finished_after;
                ensure(at >= earliest, rule::FAIL_NEVER_FINISHED, || format!("order {id} had until {earliest}"))?;
            }
            FailReason::Reported(_) => {}
        }
        self.totals.failed += 1;
        self.end(id, stops)
    }

    /// Ends an order that is not delivered. An open offer for it must have been closed before.
    fn end(&mut self, id: &OrderId, stops: Option<&[Stop]>) -> Check {
        let at = self.at;
        let order = self.order(id)?;
        if let Status::Offered(wave) = order.status {
            return cannot(order, &format!("end while offers for it are open: {:?}", self.waves[&wave].open));
        }
        let driver = order.status.driver().cloned();
        ensure(driver.is_some() == stops.is_some(), rule::ROUTE_PRESENT, || match &driver {
            Some(driver) => format!("the route of driver {driver}, who had order {id}, is missing"),
            None => format!("order {id} had no driver"),
        })?;
        self.set_status(id, Status::Ended { at });
        match (driver, stops) {
            (Some(driver), Some(stops)) => self.check_kept_route(&driver, stops),
            _ => Ok(()),
        }
    }

    pub(super) fn round_failed(&mut self, id: &OrderId, reason: RoundFailure, retry_at: Timestamp) -> Check {
        let (at, rules) = (self.at, self.config.rounds);
        let order = self.live(id)?;
        order.must_wait()?;
        let round = &mut order.round;
        ensure(round.retry_at.is_none(), rule::ROUND_CLOSED, || format!("the round of order {id} failed already"))?;
        match reason {
            RoundFailure::AttemptsUsed => {
                ensure(round.used >= rules.attempts, rule::ROUND_ATTEMPTS_USED, || {
                    format!("order {id} had {} of {} offers", round.used, rules.attempts)
                })?;
            }
            RoundFailure::NoCandidate => {
                let earliest = round.no_candidate_since.map(|since| since + rules.no_candidate_after);
                ensure(earliest.is_some_and(|earliest| at >= earliest), rule::ROUND_NO_CANDIDATE, || match earliest {
                    Some(earliest) => format!("order {id} had until {earliest}"),
                    None => format!("order {id} was not held for want of a candidate"),
                })?;
            }
        }
        let expected = at + rules.retry_after;
        ensure(retry_at == expected, rule::ROUND_RETRY_AT, || format!("{retry_at} instead of {expected}"))?;
        round.retry_at = Some(retry_at);
        self.watch_order(id);
        Ok(())
    }

    pub(super) fn round_started(&mut self, id: &OrderId) -> Check {
        let at = self.at;
        let order = self.live(id)?;
        order.must_wait()?;
        let due = order.round.retry_at;
        ensure(due.is_some_and(|due| at >= due), rule::ROUND_STARTED, || match due {
            Some(due) => format!("the round of order {id} was announced for {due}"),
            None => format!("the round of order {id} did not fail"),
        })?;
        order.round = Round::default();
        // A hold that goes on needs no event of its own in the new round.
        order.round.no_candidate_since = (order.held_for == Some(HoldReason::NoCandidate)).then_some(at);
        Ok(())
    }

    pub(super) fn overdue(&mut self, id: &OrderId) -> Check {
        let (at, preparation, after) = (self.at, self.config.preparation, self.config.lifetimes.overdue_after);
        let order = self.live(id)?;
        if !matches!(order.status, Status::Waiting | Status::Offered(_)) {
            return cannot(order, "be overdue for a driver");
        }
        ensure(!order.overdue, rule::OVERDUE_TWICE, || format!("order {id} was flagged already"))?;
        let earliest = order.clock_origin(order.ready_earliest(), preparation) + after;
        ensure(at >= earliest, rule::OVERDUE_EARLY, || format!("order {id} had until {earliest}"))?;
        (order.overdue, order.ever_overdue) = (true, true);
        Ok(())
    }

    pub(super) fn retired(&mut self, id: &OrderId) -> Check {
        let order = self.order(id)?;
        let Status::Ended { at: ended_at } = order.status else { return cannot(order, "leave memory") };
        let earliest = ended_at + self.config.lifetimes.retire_after;
        ensure(self.at >= earliest, rule::RETIRE_EARLY, || format!("order {id} stays until {earliest}"))?;
        self.orders.remove(id);
        Ok(())
    }
}

pub(super) fn cannot(order: &Order, what: &str) -> Check {
    let detail = format!("order {} is {} and cannot {what}", order.spec.id, order.status.name());
    Err(Breach { rule: rule::ORDER_TRANSITION, detail })
}
