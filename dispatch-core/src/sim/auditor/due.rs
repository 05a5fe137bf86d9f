//! What must have happened by now.

use super::drivers::Shift;
use super::orders::{Order, Status};
use super::{Auditor, Breach, Check, rule};
use crate::model::{DriverId, OfferId, OrderId};
use crate::units::Timestamp;

/// Who has something due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Order(OrderId),
    Driver(DriverId),
    Offer(OfferId),
}

/// Something that must happen at a time, at the latest, and the rule that says so.
type Due = (Timestamp, &'static str);

impl Auditor {
    /// Looks at everybody who may have something due, and keeps watching those who will.
    pub(super) fn check_due(&mut self, now: Timestamp) -> Check {
        while self.watch.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, subject)) = self.watch.pop_first() else { break };
            if let Some((due, rule)) = self.first_due(&subject) {
                if due <= now {
                    return Err(Breach { rule, detail: format!("{subject:?} was due at {due}") });
                }
                self.watch.insert((due, subject));
            }
        }
        Ok(())
    }

    pub(super) fn watch_order(&mut self, id: &OrderId) {
        self.watch(Subject::Order(id.clone()));
    }

    pub(super) fn watch_driver(&mut self, id: &DriverId) {
        self.watch(Subject::Driver(id.clone()));
    }

    pub(super) fn watch_offer(&mut self, id: OfferId) {
        self.watch(Subject::Offer(id));
    }

    /// Other rules make other times.
    pub(super) fn watch_everything(&mut self) {
        let orders = self.orders.keys().cloned().map(Subject::Order);
        let subjects: Vec<_> = orders.chain(self.drivers.keys().cloned().map(Subject::Driver)).collect();
        for subject in subjects {
            self.watch(subject);
        }
    }

    fn watch(&mut self, subject: Subject) {
        if let Some((due, _)) = self.first_due(&subject) {
            self.watch.insert((due, subject));
        }
    }

    fn first_due(&self, subject: &Subject) -> Option<Due> {
        match subject {
            Subject::Order(id) => self.orders.get(id).and_then(|order| self.order_due(order)),
            Subject::Driver(id) => self.driver_due(id),
            Subject::Offer(id) => self.open.get(id).map(|offer| (offer.expires_at, rule::DUE_OFFER_EXPIRY)),
        }
    }

    fn order_due(&self, order: &Order) -> Option<Due> {
        let (lifetimes, ready) = (self.config.lifetimes, order.ready_latest());
        if let Status::Ended { at } = order.status {
            return Some((at + lifetimes.retire_after, rule::DUE_RETIRE));
        }
        let never = (order.placed_at.max(ready) + lifetimes.never_finished_after, rule::DUE_NEVER_FINISHED);
        let mut dues = vec![never];
        match order.status {
            Status::Pending => dues.extend(order.startable_since.map(|since| {
                let first_look = since.max(ready - self.config.schedule.horizon);
                (first_look + self.config.window, rule::DUE_DISPATCH)
            })),
            Status::Waiting => {
                let origin = order.clock_origin(ready, self.config.preparation);
                dues.push((origin + lifetimes.fail_after, rule::DUE_FAIL));
                if !order.ever_overdue {
                    dues.push((origin + lifetimes.overdue_after, rule::DUE_OVERDUE));
                }
                dues.extend(order.round.retry_at.map(|retry_at| (retry_at, rule::DUE_RETRY)));
            }
            _ => {}
        }
        dues.into_iter().min_by_key(|&(due, _)| due)
    }

    /// A shift that is over ends with the last order. An offer that is still open may bring another one.
    fn driver_due(&self, id: &DriverId) -> Option<Due> {
        let driver = self.drivers.get(id).filter(|driver| driver.orders.is_empty() && driver.offer.is_none())?;
        match driver.shift {
            Shift::Off => None,
            Shift::On => driver.until.map(|until| (until, rule::DUE_SHIFT_END)),
            Shift::Ending => Some((Timestamp::MIN, rule::DUE_SHIFT_END)),
        }
    }
}
