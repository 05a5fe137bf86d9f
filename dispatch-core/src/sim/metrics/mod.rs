//! What a log amounts to, in numbers: how many orders arrived, how fast, and what the drivers' time went into.

mod collector;

use crate::event::Event;
use collector::Collector;
use serde::Serialize;
use std::fmt;

/// The numbers of one log. A mean, share or percentile of nothing is absent.
///
/// Percentiles are interpolated linearly between the two nearest samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// How many orders were placed.
    pub orders_placed: u64,
    /// How many were delivered.
    pub orders_delivered: u64,
    /// How many were called off.
    pub orders_cancelled: u64,
    /// How many failed because no driver took them.
    pub orders_failed_no_driver: u64,
    /// How many failed because their longest life was over.
    pub orders_failed_never_finished: u64,
    /// How many failed because somebody said so.
    pub orders_failed_reported: u64,
    /// The share of the placed orders that was delivered.
    pub delivered_pct: Option<f64>,

    /// How many offers were made.
    pub offers_made: u64,
    /// How many were accepted.
    pub offers_accepted: u64,
    /// How many were turned down.
    pub offers_declined: u64,
    /// How many were not answered.
    pub offers_expired: u64,
    /// How many were taken back.
    pub offers_withdrawn: u64,
    /// The accepted share of those accepted, declined or expired.
    pub acceptance_pct: Option<f64>,
    /// How many offers it took until one was accepted.
    pub offers_per_assignment: Option<f64>,
    /// How many rounds ended without a driver.
    pub assignment_failures: u64,
    /// How often an order was flagged overdue.
    pub orders_overdue: u64,

    /// How long an order was due before it had a driver, mean. It is due from when it is first offered or assigned, or was
    /// held without slack beyond the margin, if that was earlier; held for another reason than ample slack, from when that
    /// slack has shrunk. While it is held for ample slack it is not, also after refusals: who is left is near enough to be
    /// asked later. Only an order's first driver counts.
    pub due_to_assigned_mean_s: Option<f64>,
    /// From due to a driver, median.
    pub due_to_assigned_p50_s: Option<f64>,
    /// From due to a driver, 95th percentile.
    pub due_to_assigned_p95_s: Option<f64>,
    /// The same where drivers were enough: at most 70 % of those on shift had an order when this one became due, and there was
    /// always one near enough who could take it.
    pub due_to_assigned_supplied_p95_s: Option<f64>,
    /// The share of the orders with a driver that were so.
    pub supplied_pct: Option<f64>,
    /// From the first offer to a driver, mean: what answers and refusals cost. Without the time an order was held before.
    pub offered_to_assigned_mean_s: Option<f64>,
    /// From the first offer to a driver, median.
    pub offered_to_assigned_p50_s: Option<f64>,
    /// From the first offer to a driver, 95th percentile.
    pub offered_to_assigned_p95_s: Option<f64>,
    /// From the start of dispatch to the first driver, mean.
    pub dispatch_to_assigned_mean_s: Option<f64>,
    /// From the start of dispatch to the first driver, median.
    pub dispatch_to_assigned_p50_s: Option<f64>,
    /// From the start of dispatch to the first driver, 95th percentile.
    pub dispatch_to_assigned_p95_s: Option<f64>,

    /// How long ready food waited for its driver, mean over all that was picked up; none where the driver waited.
    pub food_waiting_mean_min: Option<f64>,
    /// How long drivers were at the pickup before they had the order, mean over those who said that they were there.
    pub driver_waiting_mean_min: Option<f64>,
    /// From placed to delivered, mean.
    pub click_to_door_mean_min: Option<f64>,
    /// From placed to delivered, median.
    pub click_to_door_p50_min: Option<f64>,
    /// From placed to delivered, 90th percentile.
    pub click_to_door_p90_min: Option<f64>,
    /// From ready to delivered, mean.
    pub ready_to_door_mean_min: Option<f64>,
    /// From ready to picked up, mean over the delivered orders; negative where food was fetched before its time.
    pub ready_to_pickup_mean_min: Option<f64>,

    /// The drivers' time on shift. A shift that has not ended counts up to the last event.
    pub on_shift_h: f64,
    /// Delivered orders for each hour on shift.
    pub orders_per_driver_hour: Option<f64>,
    /// The same of the driver whom a tenth of the drivers did not reach, among those on shift for an hour at least.
    pub orders_per_hour_worst_decile: Option<f64>,
    /// The share of the time on shift in which a driver had at least one order.
    pub utilisation_pct: Option<f64>,
}

impl Metrics {
    /// Measures a log from its first event on. What does not fit together is left out, not reported: judging a log is
    /// the auditor's.
    pub fn from_events(events: &[Event]) -> Self {
        let mut collector = Collector::default();
        for event in events {
            collector.take(event);
        }
        collector.finish()
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>, unit: &str| match value {
            Some(value) => format!("{value:.1}{unit}"),
            None => "-".to_owned(),
        };
        let failed = self.orders_failed_no_driver + self.orders_failed_never_finished + self.orders_failed_reported;
        let spread = |mean, p50, high: &str, value| {
            format!("{} (p50 {}, {high} {})", number(mean, ""), number(p50, ""), number(value, ""))
        };
        let rows = [
            ("orders placed", self.orders_placed.to_string()),
            ("  delivered", format!("{} ({})", self.orders_delivered, number(self.delivered_pct, " %"))),
            ("  cancelled", self.orders_cancelled.to_string()),
            (
                "  failed",
                format!(
                    "{failed} (no driver {}, never finished {}, reported {})",
                    self.orders_failed_no_driver, self.orders_failed_never_finished, self.orders_failed_reported
                ),
            ),
            ("offers made", self.offers_made.to_string()),
            ("  accepted", format!("{} ({})", self.offers_accepted, number(self.acceptance_pct, " %"))),
            ("  declined", self.offers_declined.to_string()),
            ("  expired", self.offers_expired.to_string()),
            ("  withdrawn", self.offers_withdrawn.to_string()),
            ("offers per assignment", number(self.offers_per_assignment, "")),
            ("assignment failures", self.assignment_failures.to_string()),
            ("overdue", self.orders_overdue.to_string()),
            (
                "due to assigned, s",
                spread(self.due_to_assigned_mean_s, self.due_to_assigned_p50_s, "p95", self.due_to_assigned_p95_s),
            ),
            (
                "  with drivers enough",
                format!(
                    "p95 {} ({} of the orders)",
                    number(self.due_to_assigned_supplied_p95_s, ""),
                    number(self.supplied_pct, " %")
                ),
            ),
            (
                "offered to assigned, s",
                spread(
                    self.offered_to_assigned_mean_s,
                    self.offered_to_assigned_p50_s,
                    "p95",
                    self.offered_to_assigned_p95_s,
                ),
            ),
            (
                "dispatch to assigned, s",
                spread(
                    self.dispatch_to_assigned_mean_s,
                    self.dispatch_to_assigned_p50_s,
                    "p95",
                    self.dispatch_to_assigned_p95_s,
                ),
            ),
            ("food waiting, min", number(self.food_waiting_mean_min, "")),
            ("driver waiting, min", number(self.driver_waiting_mean_min, "")),
            (
                "click to door, min",
                spread(self.click_to_door_mean_min, self.click_to_door_p50_min, "p90", self.click_to_door_p90_min),
            ),
            ("ready to door, min", number(self.ready_to_door_mean_min, "")),
            ("ready to pickup, min", number(self.ready_to_pickup_mean_min, "")),
            ("hours on shift", format!("{:.1}", self.on_shift_h)),
            ("orders per driver hour", number(self.orders_per_driver_hour, "")),
            ("  of the worst tenth", number(self.orders_per_hour_worst_decile, " at most")),
            ("utilisation", number(self.utilisation_pct, " %")),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:<24} {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::auditor::script::{Script, driver_spec, edit, order_id};
    use super::*;
    use crate::event::{HoldReason, RoundFailure};
    use crate::model::{FailReason, KitchenStatus, Reason, Role};
    use crate::offer::OfferOutcome;

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn nothing_has_no_means() {
        let metrics = Metrics::from_events(&[]);
        assert_eq!(metrics, Metrics::default());
        assert!(metrics.to_string().contains("click to door, min       - (p50 -, p90 -)"));
        assert!(serde_json::to_value(&metrics).unwrap()["click_to_door_mean_min"].is_null());
    }

    /// Two orders of which one is delivered after 30 min; a driver on shift for an hour who has an order for 20 min.
    fn one_delivered() -> Vec<Event> {
        Script::new()
            .driver("d")
            .order("o")
            .hold("o", HoldReason::SlackAmple, Some(120 + 300))
            .placed("p")
            .cancelled(Role::Customer, "p")
            .at(570)
            .offer("d", &["o"])
            .at(600)
            .close(1, OfferOutcome::Expired)
            .round_failed("o", RoundFailure::AttemptsUsed)
            .offer("d", &["o"])
            .accept()
            .at(960)
            .at_pickup("d", "o")
            .at(1_200)
            .picked_up("d", "o")
            .at(1_800)
            .delivered("d", "o")
            .at(3_600)
            .shift_ended("d")
            .events()
    }

    #[test]
    fn counts_and_times_of_one_delivery() {
        let metrics = Metrics::from_events(&one_delivered());
        assert_eq!((metrics.orders_placed, metrics.orders_delivered, metrics.orders_cancelled), (2, 1, 1));
        assert_eq!((metrics.offers_made, metrics.offers_accepted, metrics.offers_expired), (2, 1, 1));
        assert_eq!(metrics.assignment_failures, 1);
        let expected = [
            (metrics.delivered_pct, 50.0),
            (metrics.acceptance_pct, 50.0),
            (metrics.offers_per_assignment, 2.0),
            (metrics.due_to_assigned_mean_s, 30.0),
            (metrics.offered_to_assigned_mean_s, 30.0),
            (metrics.dispatch_to_assigned_p95_s, 600.0),
            (metrics.food_waiting_mean_min, 5.0),
            (metrics.driver_waiting_mean_min, 4.0),
            (metrics.click_to_door_p90_min, 30.0),
            (metrics.ready_to_door_mean_min, 15.0),
            (metrics.ready_to_pickup_mean_min, 5.0),
            (metrics.orders_per_driver_hour, 1.0),
            (metrics.orders_per_hour_worst_decile, 1.0),
            (metrics.utilisation_pct, 100.0 / 3.0),
        ];
        for (i, (value, expected)) in expected.into_iter().enumerate() {
            assert!(near(value, expected), "{i}: {value:?} instead of {expected}");
        }
        assert!(metrics.to_string().contains("delivered              1 (50.0 %)"), "{metrics}");
    }

    #[test]
    fn open_shifts_and_orders_count_up_to_the_last_event() {
        let metrics = Metrics::from_events(&one_delivered()[..17]);
        assert!((metrics.on_shift_h - 1_200.0 / 3_600.0).abs() < 1e-9, "{}", metrics.on_shift_h);
        assert!(near(metrics.utilisation_pct, 50.0), "{:?}", metrics.utilisation_pct);
    }

    #[test]
    fn a_decision_shows_that_an_order_was_due() {
        let early = Script::new().driver("d").order("o").hold("o", HoldReason::SlackAmple, Some(900)).at(60);
        let offered = early.clone().offer("d", &["o"]).at(70).accept();
        assert!(near(Metrics::from_events(&offered.events()).due_to_assigned_mean_s, 10.0));
        let outmatched = early.hold("o", HoldReason::Outmatched, Some(30)).at(90).by_hand("d", &["o"]);
        assert!(near(Metrics::from_events(&outmatched.events()).due_to_assigned_mean_s, 30.0));
    }

    #[test]
    fn while_it_is_held_for_ample_slack_an_order_is_not_due() {
        let refused = Script::new().driver("d").register(driver_spec("e")).shift("e", None).order("o");
        let refused = refused.offer("d", &["o"]).at(20).close(1, OfferOutcome::Declined);
        let held = refused.hold("o", HoldReason::SlackAmple, Some(500)).at(400).offer("e", &["o"]).at(407).accept();
        assert!(near(Metrics::from_events(&held.events()).due_to_assigned_mean_s, 27.0));
    }

    #[test]
    fn drivers_are_enough_while_some_are_free_and_one_is_near() {
        let supplied = |script: Script| Metrics::from_events(&script.events()).supplied_pct;
        let one = || Script::new().driver("d").order("o");
        assert!(near(supplied(one().by_hand("d", &["o"])), 100.0));
        assert!(near(supplied(one().hold("o", HoldReason::NoCandidate, None).by_hand("d", &["o"])), 0.0));
        // The only one has an order already.
        assert!(near(supplied(one().by_hand("d", &["o"]).order("p").by_hand("d", &["p"])), 50.0));
    }

    #[test]
    fn failures_are_counted_by_reason() {
        let fail = |reason| Script::new().placed("o").failed("o", reason).overdue("o").events();
        let all = [
            fail(FailReason::NoDriver),
            fail(FailReason::NeverFinished),
            fail(FailReason::Reported(Reason::new("spilled").unwrap())),
        ];
        let metrics = Metrics::from_events(&all.concat());
        let failed =
            (metrics.orders_failed_no_driver, metrics.orders_failed_never_finished, metrics.orders_failed_reported);
        assert_eq!((failed, metrics.orders_overdue), ((1, 1, 1), 3));
    }

    #[test]
    fn what_the_kitchen_said_is_ready_outweighs_what_was_announced() {
        let script = Script::new().driver("d").order("o").by_hand("d", &["o"]).ready_at("o", 300);
        let script = script.at(600).kitchen("o", KitchenStatus::Ready).ready_at("o", 60).at(660).picked_up("d", "o");
        assert!(near(Metrics::from_events(&script.events()).food_waiting_mean_min, 1.0));
    }

    #[test]
    fn reassigned_orders_leave_their_first_driver_free() {
        let script = Script::new().driver("d").register(driver_spec("e")).order("o").by_hand("d", &["o"]).at(600);
        let script = script.returned("d", "o").edit(edit!(Returned { order } => *order = order_id("o"))).at(1_200);
        let metrics = Metrics::from_events(&script.shift_ended("d").events());
        assert!(near(metrics.utilisation_pct, 50.0), "{:?}", metrics.utilisation_pct);
    }
}
