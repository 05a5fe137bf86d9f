//! Slack, and when an order is decided.
//!
//! Slack = preparation left − time until the driver who would fetch the order is at the pickup. While it is ample the
//! order is held, because the decision gets better with every order and driver that appears; what is late is never held.

use crate::config::ScheduleRule;
use crate::units::{Millis, Timestamp};

/// The slack of a pair: how much later the decision could fall without the food waiting. Negative means late.
pub(crate) fn pickup_slack(ready_at: Timestamp, pickup_possible_at: Timestamp) -> Millis {
    ready_at - pickup_possible_at
}

/// How much later the decision could fall without breaking the promise; ample without one.
pub(crate) fn promise_slack(promised_at: Option<Timestamp>, deliver_at: Timestamp) -> Option<Millis> {
    promised_at.map(|promised| promised - deliver_at)
}

/// The lowest of the slacks: what makes an order urgent.
pub(crate) fn urgency(pickup: Millis, promise: Option<Millis>) -> Millis {
    promise.map_or(pickup, |promise| pickup.min(promise))
}

/// Whether an order with this slack is decided now rather than held.
pub(crate) fn is_due(slack: Millis, rule: &ScheduleRule) -> bool {
    slack <= rule.margin
}

/// When an order that will be ready at `ready_at` is first looked at.
pub(crate) fn first_look(ready_at: Timestamp, rule: &ScheduleRule) -> Timestamp {
    ready_at - rule.horizon
}
