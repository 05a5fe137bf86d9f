//! One market: what its engine decides, where its drivers are, and who may know of it.

use super::etas::{Etas, Expected};
use super::figures::Figures;
use super::fleet::{Fleet, Sightings};
use crate::area::Area;
use crate::auth::{Scope, TenantId};
use crate::wire::EtaUpdate;
use dispatch_core::{
    Command, Driver, DriverId, Engine, Event, EventKind, MarketId, OrderId, Positions, Refusal, Shift, State, Timestamp,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// One market: its engine and its positions.
pub(crate) struct Market {
    pub(super) id: MarketId,
    pub(super) tenant: TenantId,
    pub(super) area: Area,
    pub(super) engine: Engine,
    pub(super) sightings: Arc<Sightings>,
    /// All drivers of its tenant.
    pub(super) fleet: Arc<Fleet>,
    /// Drivers the engine knows that work in another market now.
    pub(super) left: BTreeSet<DriverId>,
    /// What the last window saw; kept for its memory.
    pub(super) positions: Positions,
    pub(super) figures: Figures,
    pub(super) etas: Etas,
}

impl Market {
    pub(crate) fn id(&self) -> &MarketId {
        &self.id
    }

    pub(crate) fn area(&self) -> &Area {
        &self.area
    }

    pub(crate) fn state(&self) -> &State {
        self.engine.state()
    }

    /// The drivers that work here.
    pub(crate) fn drivers(&self) -> impl Iterator<Item = &Driver> {
        self.state().drivers.values().filter(|driver| !self.left.contains(&driver.spec.id))
    }

    pub(crate) fn sightings(&self) -> &Arc<Sightings> {
        &self.sightings
    }

    /// All drivers of its tenant.
    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Whether a caller may know of it.
    pub(super) fn is_in(&self, scope: &Scope) -> bool {
        self.tenant == scope.tenant && scope.covers(&self.id)
    }

    /// When there is something to do next.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        [self.engine.next_deadline(), self.etas.look_at()].into_iter().flatten().min()
    }

    pub(super) fn pass_time(&mut self, now: Timestamp) -> Vec<Event> {
        if self.next_deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let began = Instant::now();
        self.sightings.snapshot(&mut self.positions);
        let events = self.engine.advance(now, &self.positions);
        self.figures.window(began.elapsed());
        self.note(&events, now);
        if self.etas.look_at().is_some_and(|at| at <= now) {
            self.etas.look(&self.engine, &self.fleet, now);
        }
        events
    }

    /// When an order arrives; absent for one that has ended.
    pub(super) fn expected(&self, order: &OrderId, now: Timestamp) -> Option<Expected> {
        let eta = self.engine.eta(order, now)?;
        Some(self.etas.expected(self.state().orders.get(order)?, eta, now))
    }

    /// What was last told of an order's arrival.
    pub(super) fn eta_update(&self, order: &OrderId) -> Option<EtaUpdate> {
        self.etas.told(order).next_back().map(|told| EtaUpdate::new(order.clone(), told))
    }

    pub(super) fn handle(&mut self, now: Timestamp, command: Command) -> Result<Vec<Event>, Refusal> {
        let events = self.engine.handle(now, command)?;
        self.note(&events, now);
        Ok(events)
    }

    /// Searches find who could get an order; whether a driver can changes with these events alone.
    fn note(&mut self, events: &[Event], now: Timestamp) {
        self.figures.note(&self.engine, events);
        self.etas.note(&self.engine, events, now);
        for event in events {
            if let EventKind::ShiftStarted { driver, .. }
            | EventKind::ShiftEnding { driver }
            | EventKind::ShiftEnded { driver }
            | EventKind::DriverPaused { driver }
            | EventKind::DriverResumed { driver }
            | EventKind::DriverSilent { driver }
            | EventKind::DriverHeard { driver } = &event.kind
            {
                self.fleet.set_available(driver, self.state().drivers.get(driver).is_some_and(is_able));
            }
        }
    }
}

/// Whether a driver could get an order.
pub(super) fn is_able(driver: &Driver) -> bool {
    matches!(driver.shift, Shift::On { .. }) && !driver.paused && !driver.silent
}
