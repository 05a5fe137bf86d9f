//! Where idle drivers wait best: near the orders to be expected.
//!
//! Each place is a row for its first expected order, one for its second, and so on, worth the probability that it comes
//! (orders arrive as a Poisson process); idle drivers are columns, at the cost of the way. So two drivers are not sent
//! after the same order, and who stands right already stays.

use crate::config::RepositionRule;
use crate::eta::TravelTime;
use crate::geo::Position;
use crate::matching::pairing::Pairing;
use crate::model::Vehicle;
use crate::units::{Millis, Timestamp};

/// Expected orders of one place that count.
const MOST_ORDERS: u32 = 3;

/// An order less probable than this is not waited for.
const LEAST_PROBABILITY: f64 = 0.05;

/// The drivers considered for one expected order.
const NEAREST: usize = 8;

/// What a minute of the way, or of waiting until the driver is free, costs in minutes saved.
const MINUTE_COST: f64 = 0.1;

/// A driver with nothing planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idler {
    pub(crate) position: Position,
    pub(crate) vehicle: Vehicle,
    /// When it has nothing to do, and could set out from there.
    pub(crate) free_at: Timestamp,
}

/// For each idler where it had better wait, if anywhere in particular, and how long the way is.
pub(crate) fn reposition(
    idlers: &[Idler],
    expected: impl Iterator<Item = (Position, f64)>,
    now: Timestamp,
    rule: &RepositionRule,
    travel: &dyn TravelTime,
    budget: u64,
) -> Vec<Option<(Position, Millis)>> {
    let mut pairing = Pairing::new(idlers.len());
    let mut rows: Vec<(Position, Vec<(u32, Millis)>)> = Vec::new();
    for (place, mean) in expected {
        let likely: Vec<f64> = at_least(mean).take_while(|probability| *probability >= LEAST_PROBABILITY).collect();
        if likely.is_empty() {
            continue;
        }
        let way = |idler: &Idler| travel.travel(idler.position, place, idler.vehicle, now).duration;
        let cost = |idler: &Idler, way: Millis| {
            let until_free = (idler.free_at - now).max(Millis::ZERO);
            milli(MINUTE_COST * (way + until_free).as_mins_f64())
        };
        let mut near: Vec<(i64, u32, Millis)> = (0..)
            .zip(idlers)
            .map(|(column, idler)| (idler, column, way(idler)))
            .filter(|(_, _, way)| *way <= rule.max_travel)
            .map(|(idler, column, way)| (cost(idler, way), column, way))
            .collect();
        if near.len() > NEAREST {
            near.select_nth_unstable(NEAREST);
            near.truncate(NEAREST);
        }
        for probability in likely {
            pairing.push_row(near.iter().map(|&(cost, column, _)| (column, cost)), milli(probability * rule.worth_min));
            rows.push((place, near.iter().map(|&(_, column, way)| (column, way)).collect()));
        }
    }
    let mut targets = vec![None; idlers.len()];
    for ((place, near), chosen) in rows.iter().zip(pairing.solve(budget).chosen) {
        if let Some(edge) = chosen {
            let (column, way) = near[edge];
            targets[column as usize] = Some((*place, way));
        }
    }
    targets
}

fn milli(minutes: f64) -> i64 {
    (minutes * 1_000.0).clamp(0.0, 1e9) as i64
}

/// The probabilities of at least one order, at least two, and so on, where `mean` are expected.
fn at_least(mean: f64) -> impl Iterator<Item = f64> {
    let mut exactly = libm::exp(-mean);
    let mut more = 1.0 - exactly;
    (1..=MOST_ORDERS).map(move |orders| {
        let probability = more;
        exactly *= mean / f64::from(orders);
        more -= exactly;
        probability
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eta::StraightLine;

    const RULE: RepositionRule = RepositionRule {
        every: Millis::from_mins(2),
        look_ahead: Millis::from_mins(30),
        worth_min: 5.0,
        max_travel: Millis::from_mins(15),
        rest: Millis::from_mins(5),
    };

    fn targets(idlers: &[(f64, i64)], expected: &[(f64, f64)]) -> Vec<Option<f64>> {
        let now = Timestamp::from_millis(0);
        let place = |lng| Position::new(0.0, lng).unwrap();
        let idler = |&(lng, free): &(f64, i64)| Idler {
            position: place(lng),
            vehicle: Vehicle::Car,
            free_at: now + Millis::from_mins(free),
        };
        let idlers: Vec<_> = idlers.iter().map(idler).collect();
        let expected = expected.iter().map(|&(lng, mean)| (place(lng), mean));
        let found = reposition(&idlers, expected, now, &RULE, &StraightLine::default(), u64::MAX);
        found.into_iter().map(|target| target.map(|(place, _)| place.lng())).collect()
    }

    #[test]
    fn who_is_nearer_goes_and_one_is_enough_for_one_order() {
        assert_eq!(targets(&[(0.00, 0), (0.02, 0)], &[(0.03, 0.5)]), [None, Some(0.03)]);
        assert_eq!(targets(&[(0.00, 0), (0.02, 0)], &[(0.03, 5.0)]), [Some(0.03), Some(0.03)]);
    }

    #[test]
    fn nobody_is_sent_too_far_or_for_too_little() {
        assert_eq!(targets(&[(0.0, 0)], &[(0.08, 5.0), (0.01, 0.02)]), [None]);
    }

    #[test]
    fn probabilities_are_those_of_poisson() {
        let all: Vec<_> = at_least(1.0).collect();
        for (found, expected) in all.iter().zip([0.632_120_6, 0.264_241_1, 0.080_301_4]) {
            assert!((found - expected).abs() < 1e-6, "{all:?}");
        }
    }
}
