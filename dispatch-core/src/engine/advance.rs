//! The passing of time: positions noticed, deadlines met, windows run.

use super::Engine;
use crate::derived::Deadline;
use crate::event::{EventKind, HoldReason, ReturnReason, RoundFailure};
use crate::index::Positions;
use crate::model::{DispatchStatus, DriverId, FailReason, OrderId};
use crate::offer::OfferOutcome;
use crate::route::Anchor;
use crate::state::{Driver, Hold, Shift};
use crate::units::{Meters, Millis, Timestamp};

/// A driver this far from the pickup has left it.
const DEPARTED_BEYOND: Meters = Meters::from_m(100);

impl Engine {
    pub(super) fn pass_time(&mut self, positions: &Positions) {
        self.watch(positions);
        self.meet_deadlines();
        if self.next_window().is_some_and(|at| at <= self.now()) {
            self.run_window();
            self.clock.last_window = self.now();
            // A window may take the last order from a driver whose shift is over.
            self.meet_deadlines();
        }
    }

    /// When something is to be done next; `None` while only a command can change anything.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let deadline = self.derived.deadlines.first().map(|(at, _)| *at);
        let watch = (!self.derived.on_shift.is_empty())
            .then(|| self.clock.last_watch + self.state.config.positions.searchable_for);
        [deadline, self.next_window(), watch].into_iter().flatten().min()
    }

    /// When orders and drivers are matched next; `None` while there is nothing to match.
    fn next_window(&self) -> Option<Timestamp> {
        let config = &self.state.config;
        // While reports are awaited every look at the positions counts as a window without pairs.
        let last = if self.awaits_reports() { self.clock.last_watch } else { self.clock.last_window };
        let next = |every| last.next_multiple(every);
        let waiting = self.derived.waiting.first().map(|(first_look, _)| next(config.window).max(*first_look));
        let movable = (!self.derived.movable.is_empty()).then(|| next(config.window));
        let reposition = config.reposition.filter(|_| !self.derived.on_shift.is_empty()).map(|rule| next(rule.every));
        [waiting, movable, reposition].into_iter().flatten().min()
    }

    /// Notes where every driver on shift is, who fell silent, who is back, and who has left a pickup.
    fn watch(&mut self, positions: &Positions) {
        let now = self.now();
        self.clock.last_watch = now;
        let resumed_at = self.state.resumed_at.unwrap_or(Timestamp::MIN);
        self.sighted.clear();
        let mut news: Vec<(DriverId, bool)> = Vec::new();
        let mut departed: Vec<(OrderId, DriverId)> = Vec::new();
        let mut fixes = positions.iter().peekable();
        for id in &self.derived.on_shift {
            while fixes.next_if(|(other, _)| *other < id).is_some() {}
            // Some clocks are ahead of ours; nobody is where it will be.
            let fix = fixes
                .next_if(|(other, _)| *other == id)
                .map(|(_, fix)| Anchor { position: fix.position, at: fix.at.min(now) });
            let driver = &self.state.drivers[id];
            let fix_at = fix.map_or(Timestamp::MIN, |fix| fix.at);
            // Only a fix ends a silence.
            let heard_at = if driver.silent { fix_at } else { fix_at.max(shift_start(driver)).max(resumed_at) };
            let silent = now - heard_at >= self.state.config.positions.silent_after;
            if silent != driver.silent {
                news.push((id.clone(), silent));
            }
            if let Some(fix) = fix {
                self.sighted.push((id.clone(), fix));
                departed.extend(self.departed(driver, fix).map(|order| (order, id.clone())));
            }
        }
        for (driver, silent) in news {
            self.note_silence(driver, silent);
        }
        self.count_reports();
        for (order, driver) in departed {
            self.emit(EventKind::Departed { order, driver });
        }
    }

    fn note_silence(&mut self, driver: DriverId, silent: bool) {
        if !silent {
            self.emit(EventKind::DriverHeard { driver });
            return;
        }
        self.emit(EventKind::DriverSilent { driver: driver.clone() });
        self.withdraw_offer_of(&driver);
        if self.state.config.positions.return_orders_of_silent {
            self.return_orders(&driver, ReturnReason::DriverSilent);
        }
    }

    /// The orders on board whose pickup this fix shows to be left behind.
    fn departed<'a>(&'a self, driver: &'a Driver, fix: Anchor) -> impl Iterator<Item = OrderId> + 'a {
        driver.orders().map(|id| &self.state.orders[id]).filter_map(move |order| {
            let there = matches!(order.status, DispatchStatus::PickedUp { departed: false, .. });
            let later = there && order.times.picked_up.is_some_and(|at| fix.at > at);
            let away = later && fix.position.distance(order.spec.pickup.position) > DEPARTED_BEYOND;
            away.then(|| order.spec.id.clone())
        })
    }

    fn meet_deadlines(&mut self) {
        while let Some((at, deadline)) = self.derived.deadlines.first().cloned() {
            if at > self.now() {
                break;
            }
            self.meet(deadline.clone());
            assert!(!self.derived.deadlines.contains(&(at, deadline)), "a deadline is met once");
        }
    }

    fn meet(&mut self, deadline: Deadline) {
        match deadline {
            Deadline::OfferExpires(offer) => self.close_offer(offer, OfferOutcome::Expired),
            Deadline::RoundFails(order) => self.fail_round(order, RoundFailure::NoCandidate),
            Deadline::RoundStarts(order) => self.emit(EventKind::RoundStarted { order }),
            Deadline::Overdue(order) => self.emit(EventKind::OrderOverdue { order }),
            Deadline::NoDriver(order) => self.give_up(order, FailReason::NoDriver),
            Deadline::NeverFinished(order) => self.give_up(order, FailReason::NeverFinished),
            Deadline::Retires(order) => self.emit(EventKind::OrderRetired { order }),
            Deadline::ShiftEnds(driver) => self.emit(EventKind::ShiftEnded { driver }),
        }
    }

    fn give_up(&mut self, order: OrderId, reason: FailReason) {
        self.end_order(order, |order, stops| EventKind::OrderFailed { order, reason, stops });
    }

    /// Whether an order held for want of candidates is looked at in this window: at once, then after every pause.
    pub(super) fn is_paused(&self, hold: Option<Hold>) -> bool {
        let Some(hold) = hold.filter(|hold| hold.reason == HoldReason::NoCandidate) else { return false };
        let pause = self.state.config.rounds.pause;
        let pauses = |until: Timestamp| (until - hold.since).get().checked_div(pause.get());
        pause > Millis::ZERO && pauses(self.now()) == pauses(self.clock.last_window.max(hold.since))
    }
}

fn shift_start(driver: &Driver) -> Timestamp {
    match driver.shift {
        Shift::On { since, .. } | Shift::Ending { since } => since,
        Shift::Off => unreachable!("only drivers on shift are watched"),
    }
}
