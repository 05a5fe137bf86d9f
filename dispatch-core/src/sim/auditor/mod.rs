//! Judges a log by itself: re-derives every rule from the events alone.
//!
//! The auditor shares no code with the engine. It keeps a small model of its own, compares each event with it, and
//! names the rule that an event breaks. What the log does not show (fixes, travel times, scores) it does not judge.
//!
//! Where a rule depends on configured durations, the configuration in force at the event counts.

mod decisions;
mod drivers;
mod due;
mod offers;
mod orders;
mod routes;
pub mod rule;
#[cfg(test)]
pub(super) mod script;
#[cfg(test)]
mod tests;

use crate::config::{EngineConfig, ServiceTimes, StartOn};
use crate::event::{Event, EventKind, ReturnReason};
use crate::model::{DriverId, OfferId, OrderId, Role};
use crate::offer::OfferOutcome;
use crate::units::{Millis, Timestamp};
use drivers::Driver;
use due::Subject;
use offers::{OpenOffer, Wave};
use orders::{Order, Status};
use std::collections::{BTreeMap, BTreeSet};

/// Reads a log event by event and keeps what the rules need to judge the next one.
///
/// After a violation its model is undefined; start anew.
#[derive(Clone, Debug, Default)]
pub struct Auditor {
    seq: u64,
    at: Timestamp,
    /// When the event before the last one happened.
    before: Timestamp,
    /// When the engine last went on after an outage.
    resumed_at: Option<Timestamp>,
    version: u32,
    config: EngineConfig,
    /// The service times of every version: a route that was planned earlier may follow earlier ones.
    services: Vec<ServiceTimes>,
    drivers: BTreeMap<DriverId, Driver>,
    /// The orders in memory, ended ones included.
    orders: BTreeMap<OrderId, Order>,
    open: BTreeMap<OfferId, OpenOffer>,
    /// The waves with an open offer, by their first offer. An offer to one driver alone is a wave of its own.
    waves: BTreeMap<OfferId, Wave>,
    /// An accepted offer whose assignment must come next.
    accepted: Option<OpenOffer>,
    /// Orders that must leave their driver in this instant, and by which rule.
    owed: BTreeMap<OrderId, &'static str>,
    /// Drivers who became unavailable in this instant.
    gone: BTreeSet<DriverId>,
    /// When to look at whom again; entries may be stale, never missing.
    watch: BTreeSet<(Timestamp, Subject)>,
    totals: Summary,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} at {at} breaks {rule}: {detail}")]
pub struct Violation {
    /// The number of the event, or of the last one before a check between events.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The rule's name, one of [`rule::ALL`].
    pub rule: &'static str,
    /// What is wrong, in words.
    pub detail: String,
}

/// What a log came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many events there were.
    pub events: u64,
    /// How many drivers were registered.
    pub drivers: u64,
    /// How many orders were placed.
    pub orders: u64,
    /// How many of them were delivered.
    pub delivered: u64,
    /// How many were called off.
    pub cancelled: u64,
    /// How many were given up.
    pub failed: u64,
    /// How many offers were made.
    pub offers: u64,
}

/// A violation before it is known at which event.
#[derive(Debug)]
struct Breach {
    rule: &'static str,
    detail: String,
}

type Check = Result<(), Breach>;

fn ensure(holds: bool, rule: &'static str, detail: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Breach { rule, detail: detail() }) }
}

impl Auditor {
    /// An auditor that expects the first event of a log.
    pub fn new() -> Self {
        Self { at: Timestamp::MIN, ..Self::default() }
    }

    /// Judges the next event. Costs about what applying it costs; an event with a route costs the length of the route.
    pub fn observe(&mut self, event: &Event) -> Result<(), Violation> {
        self.enter(event).and_then(|()| self.judge(event)).map_err(|breach| breach.found(event.seq, event.at))
    }

    /// Judges what is left after the engine's `advance(now)` returned: nothing may be overdue.
    ///
    /// Costs a logarithm for each order, driver and offer that has come due since it was last looked at.
    pub fn check_instant(&mut self, now: Timestamp) -> Result<(), Violation> {
        let seq = self.seq;
        ensure(now >= self.at, rule::LOG_TIME, || format!("the instant {now} is before the last event, {}", self.at))
            .and_then(|()| self.settle())
            .and_then(|()| self.check_due(now))
            .map_err(|breach| breach.found(seq, now))
    }

    /// Judges the end of a log: every order has ended. Gives the totals.
    pub fn finish(&self, now: Timestamp) -> Result<Summary, Violation> {
        let unfinished = self.orders.iter().find(|(_, order)| !order.status.has_ended());
        self.settle()
            .and_then(|()| match unfinished {
                None => Ok(()),
                Some((id, order)) => Err(Breach {
                    rule: rule::LIVE_ORDERS,
                    detail: format!("order {id}, placed at {}, is still {}", order.placed_at, order.status.name()),
                }),
            })
            .map_err(|breach| breach.found(self.seq, now))?;
        Ok(self.totals)
    }

    /// The log as such: numbers, time, and what must be over before time goes on.
    fn enter(&mut self, event: &Event) -> Check {
        let expected = self.seq + 1;
        ensure(event.seq == expected, rule::LOG_SEQUENCE, || format!("expected event {expected}, got {}", event.seq))?;
        let first = matches!(event.kind, EventKind::Configured { .. });
        ensure(self.seq > 0 || first, rule::LOG_CONFIGURED_FIRST, || "the log begins with something else".into())?;
        ensure(event.at >= self.at, rule::LOG_TIME, || format!("{} comes after {}", event.at, self.at))?;
        self.check_next_after_acceptance(event)?;
        if event.at > self.at {
            self.settle()?;
            self.gone.clear();
        }
        (self.seq, self.before, self.at) = (event.seq, self.at, event.at);
        self.totals.events += 1;
        Ok(())
    }

    /// What must be true whenever time goes on.
    fn settle(&self) -> Check {
        self.check_accepted()?;
        if let Some((order, &rule)) = self.owed.first_key_value() {
            return Err(Breach { rule, detail: format!("order {order} stayed with its driver after {}", self.at) });
        }
        for driver in &self.gone {
            let state = &self.drivers[driver];
            if let Some(offer) = state.offer.filter(|_| !state.is_available()) {
                let detail = format!("offer {offer} stayed open after {} with driver {driver}", self.at);
                return Err(Breach { rule: rule::OFFER_UNANSWERABLE, detail });
            }
        }
        Ok(())
    }

    /// An accepted offer withdraws the others of its wave and assigns.
    fn check_next_after_acceptance(&self, event: &Event) -> Check {
        let Some(accepted) = self.accepted.as_ref().filter(|_| event.at == self.at) else {
            return self.check_accepted();
        };
        match &event.kind {
            EventKind::Assigned { .. } => Ok(()),
            EventKind::OfferClosed { offer, outcome } if self.is_open_in(*offer, accepted.wave) => match outcome {
                OfferOutcome::Withdrawn => Ok(()),
                OfferOutcome::Accepted => Err(Breach {
                    rule: rule::OFFER_WAVE_ONE_ACCEPTED,
                    detail: format!("offer {} of the same wave was accepted before offer {offer}", accepted.id),
                }),
                OfferOutcome::Declined | OfferOutcome::Expired => self.check_accepted(),
            },
            _ => self.check_accepted(),
        }
    }

    fn check_accepted(&self) -> Check {
        match &self.accepted {
            None => Ok(()),
            Some(offer) => Err(Breach {
                rule: rule::OFFER_ACCEPT_ASSIGNS,
                detail: format!(
                    "offer {} to driver {} was accepted, and no assignment followed",
                    offer.id, offer.driver
                ),
            }),
        }
    }

    fn judge(&mut self, event: &Event) -> Check {
        let role = event.actor.role;
        match &event.kind {
            EventKind::Configured { version, config } => self.configured(role, *version, config),
            EventKind::Resumed { down_for, extended } => self.resumed(role, *down_for, extended),
            EventKind::DriverRegistered { driver } => self.driver_registered(driver),
            EventKind::DriverRated { driver, .. } => self.driver(driver).map(drop),
            EventKind::ShiftPlanned { driver, planned } => self.shift_planned(driver, *planned),
            EventKind::ShiftStarted { driver, until } => self.shift_started(driver, *until),
            EventKind::RepositionSuggested { driver, position, arrive_at } => {
                self.reposition_suggested(driver, *position, *arrive_at)
            }
            EventKind::ShiftEnding { driver } => self.shift_ending(driver),
            EventKind::ShiftEnded { driver } => self.shift_ended(driver),
            EventKind::DriverPaused { driver } => self.driver_paused(driver, true),
            EventKind::DriverResumed { driver } => self.driver_paused(driver, false),
            EventKind::DriverSilent { driver } => self.driver_silent(driver),
            EventKind::DriverHeard { driver } => self.driver_heard(driver),
            EventKind::OrderPlaced { order, ready_at } => self.order_placed(order, *ready_at),
            EventKind::KitchenProgressed { order, status } => self.kitchen_progressed(order, *status),
            EventKind::ReadyTimeChanged { order, ready_at } => self.ready_time_changed(order, *ready_at),
            EventKind::DispatchStarted { order } => self.dispatch_started(order),
            EventKind::OrderHeld { order, reason, slack, decision } => self.held(order, *reason, *slack, decision),
            EventKind::OfferMade { .. } => self.offer_made(&event.kind),
            EventKind::OfferClosed { offer, outcome } => self.offer_closed(*offer, *outcome),
            EventKind::Assigned { orders, driver, stops, decision, .. } => {
                self.assigned(role, orders, driver, stops, decision.as_ref())
            }
            EventKind::Returned { order, driver, reason, stops } => {
                // What a driver carries leaves it only by the hand of a dispatcher.
                let by_hand = role == Role::Dispatcher && *reason == ReturnReason::Reassigned;
                self.returned(order, driver, by_hand, stops)
            }
            EventKind::ArrivedAtPickup { order, driver } => self.arrived_at_pickup(order, driver),
            EventKind::PickedUp { order, driver, leave_at } => self.picked_up(order, driver, *leave_at),
            EventKind::Departed { order, driver } => self.departed(order, driver),
            EventKind::ArrivedAtDropoff { order, driver } => self.arrived_at_dropoff(order, driver),
            EventKind::Delivered { order, driver, leave_at } => self.delivered(order, driver, *leave_at),
            EventKind::OrderCancelled { order, stops, .. } => self.cancelled(role, order, stops.as_deref()),
            EventKind::OrderFailed { order, reason, stops } => self.failed(order, reason, stops.as_deref()),
            EventKind::AssignmentFailed { order, reason, retry_at } => self.round_failed(order, *reason, *retry_at),
            EventKind::RoundStarted { order } => self.round_started(order),
            EventKind::OrderOverdue { order } => self.overdue(order),
            EventKind::OrderRetired { order } => self.retired(order),
        }
    }

    fn configured(&mut self, role: Role, version: u32, config: &EngineConfig) -> Check {
        let may = matches!(role, Role::System | Role::Dispatcher);
        ensure(may, rule::LOG_CONFIG_ROLE, || format!("a {role} set version {version}"))?;
        let expected = self.version + 1;
        ensure(version == expected, rule::LOG_CONFIG_VERSION, || {
            format!("expected version {expected}, got {version}")
        })?;
        self.version = version;
        self.config = config.clone();
        self.services.push(config.service);
        if config.start_on == StartOn::Placed {
            for order in self.orders.values_mut() {
                order.startable_since.get_or_insert(self.at);
            }
        }
        self.watch_everything();
        Ok(())
    }

    fn resumed(&mut self, role: Role, down_for: Millis, extended: &[(OfferId, Timestamp)]) -> Check {
        ensure(role == Role::System, rule::RESUME_ROLE, || format!("a {role} said so"))?;
        let went_away = self.at - down_for;
        let possible = went_away <= self.at && self.before <= went_away;
        ensure(possible, rule::RESUME_OUTAGE, || {
            format!("away for {} ms, the last event was at {}", down_for.get(), self.before)
        })?;
        let open = self.open.values().filter(|offer| went_away < offer.expires_at);
        let expected: Vec<_> = open.map(|offer| (offer.id, offer.expires_at + down_for)).collect();
        ensure(extended == expected, rule::RESUME_OFFERS, || format!("{extended:?} instead of {expected:?}"))?;
        for (offer, expires_at) in expected {
            self.open.get_mut(&offer).expect("it is one of those open").expires_at = expires_at;
            self.watch_offer(offer);
        }
        self.resumed_at = Some(self.at);
        Ok(())
    }

    fn driver(&self, id: &DriverId) -> Result<&Driver, Breach> {
        self.drivers.get(id).ok_or_else(|| unknown_driver(id))
    }

    fn driver_mut(&mut self, id: &DriverId) -> Result<&mut Driver, Breach> {
        self.drivers.get_mut(id).ok_or_else(|| unknown_driver(id))
    }

    fn order(&self, id: &OrderId) -> Result<&Order, Breach> {
        self.orders.get(id).ok_or_else(|| unknown_order(id))
    }

    /// An order that has not ended, for an event about it: its last hold is no longer the last thing that happened.
    fn live(&mut self, id: &OrderId) -> Result<&mut Order, Breach> {
        let order = self.orders.get_mut(id).ok_or_else(|| unknown_order(id))?;
        ensure(!order.status.has_ended(), rule::ORDER_ENDED, || format!("order {id} has ended"))?;
        order.last_hold = None;
        Ok(order)
    }

    /// Moves a known order along its track, and with it the orders of its driver.
    fn set_status(&mut self, id: &OrderId, status: Status) {
        let order = self.orders.get_mut(id).expect("the caller looked it up");
        let new = status.driver().cloned();
        let old = std::mem::replace(&mut order.status, status).driver().cloned();
        self.watch_order(id);
        if old == new {
            return;
        }
        self.owed.remove(id);
        if let Some(old) = old {
            self.drivers.get_mut(&old).expect("it got an order").lose(id);
            self.watch_driver(&old);
        }
        if let Some(new) = new {
            self.drivers.get_mut(&new).expect("the caller looked it up").orders.insert(id.clone());
        }
    }

    fn units(&self, id: &OrderId) -> u32 {
        u32::from(self.orders[id].spec.units.get())
    }
}

fn unknown_driver(id: &DriverId) -> Breach {
    Breach { rule: rule::DRIVER_KNOWN, detail: format!("driver {id} was never registered") }
}

fn unknown_order(id: &OrderId) -> Breach {
    Breach { rule: rule::ORDER_KNOWN, detail: format!("order {id} was never placed, or has left memory") }
}

impl Breach {
    fn found(self, seq: u64, at: Timestamp) -> Violation {
        Violation { seq, at, rule: self.rule, detail: self.detail }
    }
}
