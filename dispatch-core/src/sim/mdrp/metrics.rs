//! How good a solution is, as the public evaluator counts it.

use super::Minute;
use super::instance::Instance;
use super::solution::{DeliveredOrder, Solution};
use crate::model::DriverId;
use serde::Serialize;
use std::collections::BTreeMap;

/// The figures of one instance, or their means over several. Times are minutes.
///
/// Means are over delivered orders, so they get *better* by leaving hard orders undelivered: read them beside
/// `delivered_pct`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// How many orders there are.
    pub orders: f64,
    /// How many were delivered.
    pub delivered: f64,
    /// The same in percent.
    pub delivered_pct: f64,
    /// From placement to drop-off.
    pub click_to_door_mean: f64,
    /// Below which nine in ten orders are, with linear interpolation.
    pub click_to_door_p90: f64,
    /// From ready to drop-off.
    pub ready_to_door_mean: f64,
    /// From ready to pickup.
    pub ready_to_pickup_mean: f64,
    /// By how much click-to-door exceeds the instance's target, zero where it does not.
    pub overage_mean: f64,
    /// What all couriers are paid, used or not, per delivered order.
    pub cost_per_order: f64,
    /// Orders per assignment.
    pub orders_per_bundle: f64,
}

impl Metrics {
    /// The figures of `solution`, which should have passed [`check`](super::check()). None when it delivers nothing:
    /// then there is nothing to take a mean of.
    pub fn of(instance: &Instance, solution: &Solution) -> Option<Self> {
        let rows = &solution.orders;
        if rows.is_empty() || solution.assignments.is_empty() {
            return None;
        }
        let (orders, delivered) = (instance.orders().len() as f64, rows.len() as f64);
        let over = |minutes: fn(&DeliveredOrder) -> i64| rows.iter().map(minutes).sum::<i64>() as f64 / delivered;
        let target = instance.parameters().target_click_to_door;
        let mut click_to_door: Vec<i64> = rows.iter().map(|row| row.dropoff - row.placement).collect();
        click_to_door.sort_unstable();
        let overage: i64 = click_to_door.iter().map(|minutes| (minutes - target).max(0)).sum();
        let bundled: usize = solution.assignments.iter().map(|assignment| assignment.bundle.len()).sum();
        Some(Self {
            orders,
            delivered,
            delivered_pct: 100.0 * delivered / orders,
            click_to_door_mean: over(|row| row.dropoff - row.placement),
            click_to_door_p90: percentile(&click_to_door, 0.9),
            ready_to_door_mean: over(|row| row.dropoff - row.ready),
            ready_to_pickup_mean: over(|row| row.pickup - row.ready),
            overage_mean: overage as f64 / delivered,
            cost_per_order: total_pay(instance, solution) / delivered,
            orders_per_bundle: bundled as f64 / solution.assignments.len() as f64,
        })
    }

    /// The same figures, each changed with that of `other`.
    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            orders: f(self.orders, other.orders),
            delivered: f(self.delivered, other.delivered),
            delivered_pct: f(self.delivered_pct, other.delivered_pct),
            click_to_door_mean: f(self.click_to_door_mean, other.click_to_door_mean),
            click_to_door_p90: f(self.click_to_door_p90, other.click_to_door_p90),
            ready_to_door_mean: f(self.ready_to_door_mean, other.ready_to_door_mean),
            ready_to_pickup_mean: f(self.ready_to_pickup_mean, other.ready_to_pickup_mean),
            overage_mean: f(self.overage_mean, other.overage_mean),
            cost_per_order: f(self.cost_per_order, other.cost_per_order),
            orders_per_bundle: f(self.orders_per_bundle, other.orders_per_bundle),
        }
    }
}

/// The mean of each figure over instances, every instance counting the same, however large. None without instances.
pub fn mean(instances: &[Metrics]) -> Option<Metrics> {
    let sum = instances.iter().copied().reduce(|sum, one| sum.zip(one, |a, b| a + b))?;
    let count = instances.len() as f64;
    Some(sum.zip(sum, |figure, _| figure / count))
}

/// What all couriers get: the orders they delivered, or the guarantee for the shift when that is more.
fn total_pay(instance: &Instance, solution: &Solution) -> f64 {
    let mut delivered: BTreeMap<&DriverId, u32> = BTreeMap::new();
    for row in &solution.orders {
        *delivered.entry(&row.courier).or_default() += 1;
    }
    let parameters = instance.parameters();
    let pay = instance.couriers().iter().map(|courier| {
        let earned = f64::from(delivered.get(&courier.id).copied().unwrap_or(0)) * f64::from(parameters.pay_per_order);
        earned.max(guaranteed(courier.on, courier.off, parameters.guaranteed_pay_per_hour))
    });
    pay.sum()
}

fn guaranteed(on: Minute, off: Minute, per_hour: u32) -> f64 {
    (off - on) as f64 * f64::from(per_hour) / 60.0
}

/// The value below which the share `q` of `sorted` lies, between neighbours in proportion; `sorted` is not empty.
fn percentile(sorted: &[i64], q: f64) -> f64 {
    let rank = q * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let [low, high] = [below, (below + 1).min(sorted.len() - 1)].map(|index| sorted[index] as f64);
    low + (high - low) * (rank - rank.floor())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{small_instance, small_solution};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn figures_of_a_day_counted_by_hand() {
        let metrics = Metrics::of(&small_instance(), &small_solution()).unwrap();
        // Click-to-door 20, 27, 23 and 22; the target is 25. One courier: 3 orders against a guarantee of 100 minutes,
        // the other: 1 order against 50 minutes.
        let expected = Metrics {
            orders: 5.0,
            delivered: 4.0,
            delivered_pct: 80.0,
            click_to_door_mean: 23.0,
            click_to_door_p90: 23.0 + 0.7 * 4.0,
            ready_to_door_mean: (10.0 + 15.0 + 11.0 + 16.0) / 4.0,
            ready_to_pickup_mean: (3.0 + 0.0 + 4.0 + 8.0) / 4.0,
            overage_mean: 0.5,
            cost_per_order: (30.0 + 12.5) / 4.0,
            orders_per_bundle: 4.0 / 3.0,
        };
        assert!((metrics.click_to_door_p90 - expected.click_to_door_p90).abs() < 1e-9);
        assert_eq!(Metrics { click_to_door_p90: 0.0, ..metrics }, Metrics { click_to_door_p90: 0.0, ..expected });
    }

    #[test]
    fn nothing_delivered_has_no_mean() {
        assert_eq!(Metrics::of(&small_instance(), &Solution::default()), None);
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn instances_count_the_same_whatever_their_size() {
        let small = Metrics::of(&small_instance(), &small_solution()).unwrap();
        let large = Metrics { orders: 3000.0, delivered_pct: 100.0, ..small };
        let mean = mean(&[small, large]).unwrap();
        assert_eq!((mean.orders, mean.delivered_pct, mean.delivered), (1502.5, 90.0, 4.0));
    }

    #[test]
    fn names_are_those_reports_rely_on() {
        let json = serde_json::to_value(Metrics::of(&small_instance(), &small_solution())).unwrap();
        let mut names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names.join(" "),
            "click_to_door_mean click_to_door_p90 cost_per_order delivered delivered_pct orders orders_per_bundle \
             overage_mean ready_to_door_mean ready_to_pickup_mean"
        );
    }

    #[test]
    fn percentiles_interpolate() {
        let tens: &[i64] = &[0, 10, 20, 30, 40];
        for (sorted, q, value) in [(&[7][..], 0.9, 7.0), (&[1, 2], 0.9, 1.9), (tens, 0.5, 20.0), (tens, 1.0, 40.0)] {
            assert!((percentile(sorted, q) - value).abs() < 1e-12, "{sorted:?}, {q}");
        }
    }

    proptest! {
        #[test]
        fn a_percentile_has_its_share_on_either_side(mut values in prop::collection::vec(-100i64..100, 1..40), q in 0.0..=1.0f64) {
            values.sort_unstable();
            let value = percentile(&values, q);
            let rank = q * (values.len() - 1) as f64;
            prop_assert!(values[rank.floor() as usize] as f64 <= value && value <= values[rank.ceil() as usize] as f64);
        }
    }
}
