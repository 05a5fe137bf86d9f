//! How good stated ready times are: learned from every order whose merchant says that it is ready.
//!
//! What is learned is the ratio of the real preparation to the stated one, as a histogram for each pickup place and one
//! for the market. A place that is new is believed to be like the market, a market that is new to be right on the mean.

use crate::model::PlaceId;
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ratios from 0 to 4, in steps of 0.05; what takes longer counts as the last.
const BINS: usize = 80;
const STEP: f64 = 0.05;

/// As how many orders of its own the market counts for a place, and the prior for the market.
const PRIOR_ORDERS: f64 = 20.0;

/// How far ratios are spread before anything is known.
const PRIOR_DEVIATION: f64 = 0.4;

/// Most places remembered; orders of further ones count for the market alone.
const MAX_PLACES: usize = 10_000;

/// What was learned about ready times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    market: Ratios,
    places: BTreeMap<PlaceId, Ratios>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ratios {
    orders: u32,
    /// How many orders had which ratio; empty before the first.
    bins: Vec<u32>,
}

impl Ratios {
    fn record(&mut self, ratio: f64) {
        self.bins.resize(BINS, 0);
        self.bins[((ratio / STEP) as usize).min(BINS - 1)] += 1;
        self.orders += 1;
    }

    /// How many orders had at most this ratio; linear within a step.
    fn up_to(&self, ratio: f64) -> f64 {
        let place = (ratio / STEP).clamp(0.0, BINS as f64);
        let (whole, part) = (place as usize, place.fract());
        let full: u32 = self.bins.iter().take(whole).sum();
        f64::from(full) + part * f64::from(self.bins.get(whole).copied().unwrap_or(0))
    }
}

impl Readiness {
    /// Learns from an order that was stated to take `stated` and took `actual`.
    pub(crate) fn record(&mut self, place: Option<&PlaceId>, stated: Millis, actual: Millis) {
        if stated < Millis::from_secs(1) || actual < Millis::ZERO {
            return;
        }
        let ratio = actual.as_secs_f64() / stated.as_secs_f64();
        self.market.record(ratio);
        let Some(place) = place else { return };
        if self.places.contains_key(place) || self.places.len() < MAX_PLACES {
            self.places.entry(place.clone()).or_default().record(ratio);
        }
    }

    /// The probability that an order of this place takes at most `ratio` times what was stated.
    fn share(&self, place: Option<&PlaceId>, ratio: f64) -> f64 {
        let prior = 0.5 * (1.0 + libm::erf((ratio - 1.0) / (PRIOR_DEVIATION * std::f64::consts::SQRT_2)));
        let market = (self.market.up_to(ratio) + PRIOR_ORDERS * prior) / (f64::from(self.market.orders) + PRIOR_ORDERS);
        let Some(own) = place.and_then(|place| self.places.get(place)) else { return market };
        (own.up_to(ratio) + PRIOR_ORDERS * market) / (f64::from(own.orders) + PRIOR_ORDERS)
    }

    /// By when an order that was placed at `placed`, was stated to be ready at `stated_at` and is not ready at `now` will be
    /// ready with this probability.
    pub(crate) fn ready_by(
        &self,
        place: Option<&PlaceId>,
        placed: Timestamp,
        stated_at: Timestamp,
        now: Timestamp,
        probability: f64,
    ) -> Timestamp {
        let stated = stated_at - placed;
        if stated < Millis::from_secs(1) {
            return stated_at.max(now);
        }
        let so_far = (now - placed).as_secs_f64() / stated.as_secs_f64();
        let passed = self.share(place, so_far);
        let wanted = passed + probability * (1.0 - passed);
        let at = |ratio: f64| placed + Millis::from_secs_f64(ratio * stated.as_secs_f64());
        let (mut below, mut share_below) = (so_far, passed);
        for bin in (so_far / STEP) as usize..BINS {
            let ratio = (bin + 1) as f64 * STEP;
            let share = self.share(place, ratio);
            if share >= wanted {
                let part = if share > share_below { (wanted - share_below) / (share - share_below) } else { 1.0 };
                return at(below + part * (ratio - below)).max(now);
            }
            (below, share_below) = (ratio, share);
        }
        // Longer than anything that was learned: any moment now.
        now.max(stated_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: i64) -> Timestamp {
        Timestamp::from_millis(0) + Millis::from_mins(minutes)
    }

    #[test]
    fn before_anything_is_known_the_stated_time_is_the_median() {
        let by = Readiness::default().ready_by(None, minutes(0), minutes(20), minutes(0), 0.5);
        assert!((by - minutes(20)).as_mins_f64().abs() < 0.2, "{by}");
    }

    #[test]
    fn a_place_that_is_always_late_is_learned_to_be() {
        let (late, other) = (PlaceId::new("late").unwrap(), PlaceId::new("other").unwrap());
        let mut readiness = Readiness::default();
        for _ in 0..200 {
            readiness.record(Some(&late), Millis::from_mins(10), Millis::from_mins(20));
            readiness.record(Some(&other), Millis::from_mins(10), Millis::from_mins(10));
        }
        let by = |place| readiness.ready_by(Some(place), minutes(0), minutes(10), minutes(0), 0.5).as_millis() / 60_000;
        assert_eq!((by(&late), by(&other)), (20, 10));
    }

    #[test]
    fn what_is_not_ready_yet_is_ready_later_the_longer_it_takes() {
        let readiness = Readiness::default();
        let by = |now| readiness.ready_by(None, minutes(0), minutes(20), minutes(now), 0.1);
        assert!(by(0) < by(10) && by(10) < by(25) && by(25) > minutes(25), "{} {} {}", by(0), by(10), by(25));
        assert_eq!(by(1_000), minutes(1_000));
    }
}
