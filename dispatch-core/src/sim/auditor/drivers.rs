//! Drivers: registration, shifts, pauses, silence.

use super::{Auditor, Breach, Check, ensure, rule};
use crate::geo::Position;
use crate::model::{DriverId, DriverSpec, OfferId, OrderId, PlannedShift};
use crate::units::Timestamp;
use std::collections::BTreeSet;

/// Where a driver is in its shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    Off,
    On,
    Ending,
}

/// What the rules need to know of a driver.
#[derive(Clone, Debug)]
pub(super) struct Driver {
    pub(super) spec: DriverSpec,
    pub(super) shift: Shift,
    /// When its shift began.
    since: Timestamp,
    pub(super) until: Option<Timestamp>,
    pub(super) paused: bool,
    pub(super) silent: bool,
    pub(super) offer: Option<OfferId>,
    pub(super) orders: BTreeSet<OrderId>,
    /// Where it said it was, and when, since it last had no order.
    pub(super) was_at: BTreeSet<(Position, Timestamp)>,
    /// Where it was sent, and when it was to be there, in this shift.
    pub(super) sent: BTreeSet<(Position, Timestamp)>,
}

impl Driver {
    fn new(spec: DriverSpec) -> Self {
        Self {
            spec,
            shift: Shift::Off,
            since: Timestamp::MIN,
            until: None,
            paused: false,
            silent: false,
            offer: None,
            orders: BTreeSet::new(),
            was_at: BTreeSet::new(),
            sent: BTreeSet::new(),
        }
    }

    /// Whether it can be asked.
    pub(super) fn is_available(&self) -> bool {
        self.shift == Shift::On && !self.paused && !self.silent
    }

    pub(super) fn state(&self) -> &'static str {
        match (self.shift, self.paused, self.silent) {
            (Shift::Off, ..) => "off shift",
            (Shift::Ending, ..) => "ending its shift",
            (Shift::On, _, true) => "silent",
            (Shift::On, true, false) => "paused",
            (Shift::On, false, false) => "on shift",
        }
    }

    pub(super) fn lose(&mut self, order: &OrderId) {
        self.orders.remove(order);
        if self.orders.is_empty() {
            self.was_at.clear();
        }
    }
}

impl Auditor {
    pub(super) fn driver_registered(&mut self, spec: &DriverSpec) -> Check {
        let (registered, limit) = (self.drivers.len(), self.config.limits.drivers);
        if let Some(driver) = self.drivers.get_mut(&spec.id) {
            let same = driver.spec.vehicle == spec.vehicle && driver.spec.capacity == spec.capacity;
            ensure(same || driver.orders.is_empty(), rule::DRIVER_CHANGED, || {
                format!("driver {} has {} orders", spec.id, driver.orders.len())
            })?;
            driver.spec = spec.clone();
            return Ok(());
        }
        ensure(registered < limit as usize, rule::LIMIT_DRIVERS, || format!("{registered} of {limit} are registered"))?;
        self.drivers.insert(spec.id.clone(), Driver::new(spec.clone()));
        self.totals.drivers += 1;
        Ok(())
    }

    pub(super) fn shift_started(&mut self, id: &DriverId, until: Option<Timestamp>) -> Check {
        let at = self.at;
        let driver = self.driver_mut(id)?;
        ensure(driver.shift == Shift::Off, rule::DRIVER_SHIFT, || format!("driver {id} is {}", driver.state()))?;
        driver.sent.clear();
        driver.since = at;
        (driver.shift, driver.until, driver.paused, driver.silent) = (Shift::On, until, false, false);
        self.watch_driver(id);
        Ok(())
    }

    pub(super) fn shift_planned(&mut self, id: &DriverId, planned: Option<PlannedShift>) -> Check {
        let at = self.at;
        let driver = self.driver(id)?;
        ensure(driver.shift == Shift::Off, rule::DRIVER_SHIFT, || format!("driver {id} is {}", driver.state()))?;
        let ahead = planned.is_none_or(|planned| at <= planned.from && planned.from <= planned.until);
        ensure(ahead, rule::SHIFT_PLANNED, || format!("driver {id} is to work {planned:?}"))
    }

    pub(super) fn shift_ending(&mut self, id: &DriverId) -> Check {
        let driver = self.driver(id)?;
        ensure(driver.shift == Shift::On, rule::DRIVER_SHIFT, || format!("driver {id} is {}", driver.state()))?;
        let on_board = driver.orders.iter().any(|order| self.orders[order].status.is_on_board());
        ensure(on_board, rule::SHIFT_ENDING_EMPTY, || format!("driver {id} has nothing on board"))?;
        self.owe_returns(id, rule::SHIFT_RETURNS);
        self.driver_mut(id)?.shift = Shift::Ending;
        self.gone.insert(id.clone());
        self.watch_driver(id);
        Ok(())
    }

    pub(super) fn shift_ended(&mut self, id: &DriverId) -> Check {
        let driver = self.driver_mut(id)?;
        ensure(driver.shift != Shift::Off, rule::DRIVER_SHIFT, || format!("driver {id} is off shift"))?;
        ensure(driver.orders.is_empty(), rule::SHIFT_ENDED_LOADED, || {
            format!("driver {id} still has {:?}", driver.orders)
        })?;
        driver.shift = Shift::Off;
        self.gone.insert(id.clone());
        Ok(())
    }

    pub(super) fn driver_paused(&mut self, id: &DriverId, paused: bool) -> Check {
        let driver = self.on_shift(id)?;
        ensure(driver.paused != paused, rule::DRIVER_PAUSE, || format!("driver {id} is {} already", driver.state()))?;
        driver.paused = paused;
        if paused {
            self.gone.insert(id.clone());
        }
        Ok(())
    }

    pub(super) fn driver_silent(&mut self, id: &DriverId) -> Check {
        let (at, resumed_at, after) = (self.at, self.resumed_at, self.config.positions.silent_after);
        let driver = self.on_shift(id)?;
        ensure(!driver.silent, rule::DRIVER_SILENCE, || format!("driver {id} is silent already"))?;
        let heard = resumed_at.map_or(driver.since, |resumed_at| resumed_at.max(driver.since));
        ensure(at - heard >= after, rule::SILENT_EARLY, || format!("driver {id} could be heard from {heard} on"))?;
        driver.silent = true;
        self.gone.insert(id.clone());
        if self.config.positions.return_orders_of_silent {
            self.owe_returns(id, rule::SILENT_RETURNS);
        }
        Ok(())
    }

    pub(super) fn driver_heard(&mut self, id: &DriverId) -> Check {
        let driver = self.on_shift(id)?;
        ensure(driver.silent, rule::DRIVER_SILENCE, || format!("driver {id} was not silent"))?;
        driver.silent = false;
        Ok(())
    }

    /// Only who has nothing to do and could take an order is told to wait elsewhere.
    pub(super) fn reposition_suggested(&mut self, id: &DriverId, to: Position, arrive_at: Timestamp) -> Check {
        let at = self.at;
        ensure(arrive_at >= at, rule::REPOSITION_PAST, || format!("driver {id} would be there at {arrive_at}"))?;
        let driver = self.on_shift(id)?;
        let idle = driver.is_available() && driver.orders.is_empty() && driver.offer.is_none();
        driver.sent.insert((to, arrive_at));
        let state = driver.state();
        ensure(idle, rule::REPOSITION_IDLE, || format!("driver {id} is {state} or has something to do"))
    }

    fn on_shift(&mut self, id: &DriverId) -> Result<&mut Driver, Breach> {
        let driver = self.driver_mut(id)?;
        ensure(driver.shift != Shift::Off, rule::DRIVER_SHIFT, || format!("driver {id} is off shift"))?;
        Ok(driver)
    }

    /// From here to the end of the instant every order the driver has not picked up must leave it.
    fn owe_returns(&mut self, id: &DriverId, rule: &'static str) {
        let orders = &self.orders;
        let waiting = self.drivers[id].orders.iter().filter(|order| !orders[*order].status.is_on_board());
        self.owed.extend(waiting.map(|order| (order.clone(), rule)));
    }
}
