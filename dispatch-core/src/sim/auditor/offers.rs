//! Offers and assignments.

use super::drivers::Shift;
use super::orders::{Status, cannot};
use super::routes::Plan;
use super::{Auditor, Breach, Check, ensure, rule};
use crate::config::OfferRule;
use crate::event::EventKind;
use crate::matching::explanation::Decision;
use crate::model::{DriverId, OfferId, OrderId, Role};
use crate::offer::OfferOutcome;
use crate::route::{Stop, StopKind};
use crate::units::Timestamp;
use std::collections::BTreeSet;

/// An offer without an outcome.
#[derive(Clone, Debug)]
pub(super) struct OpenOffer {
    pub(super) id: OfferId,
    /// The first offer of its wave; itself where it is alone.
    pub(super) wave: OfferId,
    pub(super) driver: DriverId,
    pub(super) orders: BTreeSet<OrderId>,
    pub(super) made_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// Offers to several drivers for the same orders, or to one.
#[derive(Clone, Debug)]
pub(super) struct Wave {
    orders: BTreeSet<OrderId>,
    made_at: Timestamp,
    attempt: u16,
    /// How many drivers were asked.
    asked: u16,
    pub(super) open: BTreeSet<OfferId>,
    /// Whether somebody declined or let expire.
    used: bool,
}

/// Who decided an assignment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// A driver, by accepting an offer made then.
    Acceptance(Timestamp),
    Dispatcher,
    Engine,
}

impl Auditor {
    /// Judges an [`EventKind::OfferMade`].
    pub(super) fn offer_made(&mut self, event: &EventKind) -> Check {
        let EventKind::OfferMade { offer: id, driver: driver_id, orders, stops, expires_at, attempt, wave, decision } =
            event
        else {
            unreachable!("the caller matched it")
        };
        let (most, expires_after) = match self.config.offers {
            OfferRule::Direct => {
                return Err(Breach { rule: rule::OFFER_DIRECT, detail: format!("offer {id} was made") });
            }
            OfferRule::Sequential { expires_after } => (None, expires_after),
            OfferRule::Wave { size, expires_after } => (Some(size), expires_after),
        };
        ensure(wave.is_some() == most.is_some(), rule::OFFER_WAVE, || format!("offer {id} is of wave {wave:?}"))?;
        let (wave, most) = (wave.unwrap_or(*id), most.unwrap_or(1));
        let (expected, expiry) = (self.totals.offers + 1, self.at + expires_after);
        ensure(id.0 == expected, rule::OFFER_NUMBER, || format!("expected offer {expected}, got {id}"))?;
        ensure(*expires_at == expiry, rule::OFFER_EXPIRES_AT, || format!("{expires_at} instead of {expiry}"))?;
        let distinct = distinct(orders)?;
        let driver = self.driver(driver_id)?;
        ensure(driver.is_available(), rule::OFFER_AVAILABLE, || format!("driver {driver_id} is {}", driver.state()))?;
        ensure(driver.offer.is_none(), rule::OFFER_ONE_OPEN, || {
            format!("driver {driver_id} has not answered offer {:?}", driver.offer)
        })?;
        if wave == *id {
            self.check_attempt(orders, *attempt)?;
        } else {
            self.check_joins(wave, &distinct, *attempt, most)?;
        }
        self.check_not_asked(orders, driver_id)?;
        self.check_skills(orders, driver_id)?;
        self.check_route(driver_id, orders, stops, Plan::Anew)?;
        self.check_engine_limits(orders, driver_id, stops)?;
        self.check_decision(decision, Some(driver_id))?;

        self.totals.offers += 1;
        self.driver_mut(driver_id)?.offer = Some(*id);
        if wave == *id {
            for order in orders {
                self.set_status(order, Status::Offered(wave));
            }
        }
        let (orders, made_at, attempt) = (distinct, self.at, *attempt);
        let new = Wave { orders: orders.clone(), made_at, attempt, asked: 0, open: BTreeSet::new(), used: false };
        let known = self.waves.entry(wave).or_insert(new);
        known.asked += 1;
        known.open.insert(*id);
        let (driver, expires_at) = (driver_id.clone(), *expires_at);
        self.open.insert(*id, OpenOffer { id: *id, wave, driver, orders, made_at, expires_at });
        self.watch_offer(*id);
        Ok(())
    }

    /// An offer that goes with others is like them, and not one too many.
    fn check_joins(&self, wave: OfferId, orders: &BTreeSet<OrderId>, attempt: u16, most: u16) -> Check {
        let Some(known) = self.waves.get(&wave) else {
            return Err(Breach { rule: rule::OFFER_WAVE, detail: format!("wave {wave} has no open offer") });
        };
        let alike = known.orders == *orders && known.made_at == self.at && known.attempt == attempt;
        ensure(alike, rule::OFFER_WAVE_ALIKE, || {
            format!("wave {wave} is attempt {} for {:?} at {}", known.attempt, known.orders, known.made_at)
        })?;
        ensure(known.asked < most, rule::OFFER_WAVE_SIZE, || format!("wave {wave} has asked {} of {most}", known.asked))
    }

    fn check_not_asked(&self, orders: &[OrderId], driver: &DriverId) -> Check {
        orders.iter().try_for_each(|id| {
            ensure(!self.order(id)?.round.asked.contains(driver), rule::OFFER_ASKED_BEFORE, || {
                format!("driver {driver} did not take order {id} in this round")
            })
        })
    }

    /// The orders wait, in an open round, and may be offered as this attempt: one more than were turned down or expired. An
    /// offer of several orders counts for each of them and says the attempt of the one that is furthest.
    fn check_attempt(&mut self, orders: &[OrderId], attempt: u16) -> Check {
        let mut used = 0;
        for id in orders {
            let order = self.live(id)?;
            order.must_wait()?;
            ensure(order.round.retry_at.is_none(), rule::ROUND_CLOSED, || format!("order {id} is between rounds"))?;
            used = used.max(order.round.used);
        }
        ensure(attempt == used + 1, rule::OFFER_ATTEMPT, || format!("attempt {attempt} should be {}", used + 1))?;
        let limit = self.config.rounds.attempts;
        ensure(attempt <= limit, rule::OFFER_ATTEMPT_LIMIT, || format!("attempt {attempt} of {limit}"))
    }

    pub(super) fn offer_closed(&mut self, id: OfferId, outcome: OfferOutcome) -> Check {
        let made = (1..=self.totals.offers).contains(&id.0);
        ensure(made, rule::OFFER_KNOWN, || format!("offer {id} was never made"))?;
        let Some(offer) = self.open.remove(&id) else {
            return Err(Breach { rule: rule::OFFER_ONE_OUTCOME, detail: format!("offer {id} is closed") });
        };
        let (at, expires_at) = (self.at, offer.expires_at);
        match outcome {
            OfferOutcome::Accepted | OfferOutcome::Declined => {
                ensure(at < expires_at, rule::OFFER_ANSWERED_LATE, || format!("offer {id} expired at {expires_at}"))?;
            }
            OfferOutcome::Expired => {
                ensure(at >= expires_at, rule::OFFER_EXPIRED_EARLY, || {
                    format!("offer {id} is open until {expires_at}")
                })?;
            }
            OfferOutcome::Withdrawn => {}
        }
        self.driver_mut(&offer.driver)?.offer = None;
        self.watch_driver(&offer.driver);
        let wave = self.waves.get_mut(&offer.wave).expect("an open offer is of a wave");
        wave.open.remove(&id);
        let refused = matches!(outcome, OfferOutcome::Declined | OfferOutcome::Expired);
        let (used, over) = (refused && !wave.used, wave.open.is_empty());
        wave.used |= refused;
        if over {
            self.waves.remove(&offer.wave);
        }
        for order in &offer.orders {
            let round = &mut self.live(order)?.round;
            round.used += u16::from(used);
            if refused {
                round.asked.insert(offer.driver.clone());
            }
            if over {
                self.set_status(order, Status::Waiting);
            }
        }
        if outcome == OfferOutcome::Accepted {
            self.accepted = Some(offer);
        }
        Ok(())
    }

    /// Whether this offer is open and of this wave.
    pub(super) fn is_open_in(&self, offer: OfferId, wave: OfferId) -> bool {
        self.waves.get(&wave).is_some_and(|wave| wave.open.contains(&offer))
    }

    pub(super) fn assigned(
        &mut self,
        role: Role,
        orders: &[OrderId],
        driver: &DriverId,
        stops: &[Stop],
        decision: Option<&Decision>,
    ) -> Check {
        let distinct = distinct(orders)?;
        let by = match self.accepted.take() {
            Some(offer) => {
                ensure(offer.driver == *driver && offer.orders == distinct, rule::OFFER_ACCEPT_ASSIGNS, || {
                    format!("offer {} was for driver {} and {:?}", offer.id, offer.driver, offer.orders)
                })?;
                if let Some(wave) = self.waves.get(&offer.wave) {
                    let detail = format!("{:?} are open beside offer {}", wave.open, offer.id);
                    return Err(Breach { rule: rule::OFFER_WAVE_WITHDRAWN, detail });
                }
                By::Acceptance(offer.made_at)
            }
            None if role == Role::Dispatcher => By::Dispatcher,
            None => By::Engine,
        };
        if by == By::Engine {
            let direct = self.config.offers == OfferRule::Direct;
            ensure(direct, rule::ASSIGN_WITHOUT_OFFER, || format!("driver {driver} was not asked for {orders:?}"))?;
        }
        self.check_assignable(orders, driver, by)?;
        self.check_skills(orders, driver)?;
        ensure(decision.is_some() == (by == By::Engine), rule::DECISION_PRESENT, || {
            format!("driver {driver} got {orders:?} {} a decision", if decision.is_some() { "with" } else { "without" })
        })?;
        for order in orders {
            self.set_status(order, Status::Assigned { driver: driver.clone(), arrived: false });
        }
        let plan = if let By::Acceptance(made_at) = by { Plan::Since(made_at) } else { Plan::Anew };
        self.check_route(driver, &[], stops, plan)?;
        let pickups = stops.iter().filter(|stop| stop.kind == StopKind::Pickup);
        self.driver_mut(driver)?.sent.extend(pickups.map(|stop| (stop.position, stop.arrive_at)));
        if by == By::Engine {
            self.check_engine_limits(orders, driver, stops)?;
        }
        decision.map_or(Ok(()), |decision| self.check_decision(decision, Some(driver)))
    }

    /// The driver can get orders, and these have none and wait for one.
    fn check_assignable(&mut self, orders: &[OrderId], id: &DriverId, by: By) -> Check {
        let driver = self.driver(id)?;
        let can = driver.shift == Shift::On && !driver.silent && (!driver.paused || by == By::Dispatcher);
        ensure(can, rule::ASSIGN_AVAILABLE, || format!("driver {id} is {}", driver.state()))?;
        for id in orders {
            let order = self.live(id)?;
            if let Some(other) = order.status.driver() {
                return Err(Breach { rule: rule::ORDER_TWO_DRIVERS, detail: format!("driver {other} has order {id}") });
            }
            if order.status != Status::Waiting {
                return cannot(order, "be assigned");
            }
            ensure(by != By::Engine || order.round.retry_at.is_none(), rule::ROUND_CLOSED, || {
                format!("order {id} is between rounds")
            })?;
        }
        Ok(())
    }

    fn check_skills(&self, orders: &[OrderId], driver: &DriverId) -> Check {
        let skills = &self.driver(driver)?.spec.skills;
        for id in orders {
            let asked = &self.order(id)?.spec.skills;
            ensure(asked.is_subset(skills), rule::ASSIGN_SKILLS, || {
                format!("order {id} asks for {asked:?}, driver {driver} has {skills:?}")
            })?;
        }
        Ok(())
    }

    /// What the engine keeps to and a dispatcher need not: orders on one route, and the end of the shift.
    fn check_engine_limits(&self, orders: &[OrderId], id: &DriverId, stops: &[Stop]) -> Check {
        let driver = self.driver(id)?;
        let (planned, most) = (driver.orders.union(&orders.iter().cloned().collect()).count(), self.config.limits);
        ensure(planned <= usize::from(most.orders_per_driver), rule::ASSIGN_ORDERS_PER_DRIVER, || {
            format!("driver {id} would have {planned} orders of at most {}", most.orders_per_driver)
        })?;
        let Some(until) = driver.until else { return Ok(()) };
        let pickups = stops.iter().filter(|stop| stop.kind == StopKind::Pickup);
        let mut new = pickups.filter(|stop| stop.orders.iter().any(|order| orders.contains(order)));
        new.try_for_each(|stop| {
            ensure(stop.done_at <= until, rule::ASSIGN_AFTER_SHIFT, || {
                format!("{:?} is picked up at {}, the shift ends at {until}", stop.orders, stop.done_at)
            })
        })
    }
}

fn distinct(orders: &[OrderId]) -> Result<BTreeSet<OrderId>, Breach> {
    let distinct: BTreeSet<_> = orders.iter().cloned().collect();
    ensure(!orders.is_empty() && distinct.len() == orders.len(), rule::OFFER_ORDERS, || {
        format!("it is for {orders:?}")
    })?;
    Ok(distinct)
}
