//! Going on after an outage.

use super::{Clock, Engine};
use crate::command::Refusal;
use crate::event::EventKind;
use crate::model::Role;
use crate::state::{Driver, Shift};
use crate::units::Millis;

/// After an outage orders and drivers are paired once this share of the drivers who could get orders has reported, in
/// percent: before, the nearest of those who have would get what another one stands beside.
pub const REPORTED_PERCENT: usize = 80;

/// After an outage the engine waits for reports no longer than this.
pub const WAIT_FOR_REPORTS: Millis = Millis::from_secs(30);

impl Engine {
    pub(super) fn resume(&mut self, down_for: Millis, action: &'static str) -> Result<(), Refusal> {
        let role = self.actor.role;
        if role != Role::System {
            return Err(Refusal::NotForRole { role, action });
        }
        if down_for < Millis::ZERO {
            return Err(Refusal::Invalid { field: "down_for", problem: "must not be negative".into() });
        }
        // Who caused the last event was not away.
        let down_for = down_for.min(self.now() - self.state.at);
        let open = self.state.offers.iter().filter(|offer| offer.is_open(self.now() - down_for));
        let extended = open.map(|offer| (offer.id, offer.expires_at + down_for)).collect();
        self.emit(EventKind::Resumed { down_for, extended });
        self.clock = Clock { now: self.now(), ..Clock::default() };
        self.sighted.clear();
        self.too_few_reported = true;
        self.count_reports();
        Ok(())
    }

    /// Whether pairing waits for drivers to report.
    pub(super) fn awaits_reports(&self) -> bool {
        let is_early = |resumed_at| self.now() - resumed_at < WAIT_FOR_REPORTS;
        self.too_few_reported && self.state.resumed_at.is_some_and(is_early)
    }

    /// Looks whether enough drivers have reported since the end of an outage to pair them with orders. Once they have, that is
    /// that.
    pub(super) fn count_reports(&mut self) {
        let Some(resumed_at) = self.state.resumed_at.filter(|_| self.awaits_reports()) else { return };
        let could = |driver: &&Driver| matches!(driver.shift, Shift::On { .. }) && !driver.paused && !driver.silent;
        let drivers = self.derived.on_shift.iter().map(|id| &self.state.drivers[id]).filter(could);
        let (mut reported, mut all) = (0, 0);
        for driver in drivers {
            all += 1;
            reported += usize::from(self.sighted(&driver.spec.id).is_some_and(|seen| seen.at >= resumed_at));
        }
        self.too_few_reported = reported * 100 < all * REPORTED_PERCENT;
    }
}
