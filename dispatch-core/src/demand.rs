//! Where orders have come from lately, and how many are to be expected.

use crate::geo::Position;
use crate::units::{Millis, Timestamp};
use h3o::Resolution;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Cells of about 50 m across, so that a cell is one pickup place or its next door.
const RESOLUTION: Resolution = Resolution::Eleven;

/// How long an order counts for where orders come from, and for how many there are now: after this time, 1/e.
const PLACES_MEMORY: Millis = Millis::from_mins(12 * 60);
const RATE_MEMORY: Millis = Millis::from_mins(30);

/// Most cells remembered; past it those with the least orders are forgotten, a tenth at once: to find them takes a look at all.
const MAX_CELLS: usize = 10_000;
const KEPT_CELLS: usize = MAX_CELLS / 10 * 9;

/// What every known cell is believed to have had besides its orders, so that one order does not make a trend.
const PRIOR: f64 = 0.5;

/// The orders of a market by the H3 cell of their pickup, older ones counting less and less.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DemandMap {
    cells: BTreeMap<u64, Cell>,
    /// All orders, as the cells count them.
    total: Fading,
    /// All orders, as they count for how many there are now.
    lately: Fading,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Cell {
    /// The pickup of the last order.
    pickup: Position,
    orders: Fading,
}

/// A count whose entries fade with time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fading {
    count: f64,
    at: Timestamp,
}

impl Fading {
    fn at(self, now: Timestamp, memory: Millis) -> f64 {
        self.count * libm::exp(-((now - self.at).as_secs_f64() / memory.as_secs_f64()))
    }

    fn add(&mut self, now: Timestamp, memory: Millis) {
        *self = Self { count: self.at(now, memory) + 1.0, at: now };
    }
}

impl DemandMap {
    /// Counts an order that was placed.
    pub(crate) fn record(&mut self, pickup: Position, now: Timestamp) {
        let cell = u64::from(pickup.cell(RESOLUTION));
        if !self.cells.contains_key(&cell) && self.cells.len() >= MAX_CELLS {
            let count = |(cell, known): (&u64, &Cell)| (known.orders.at(now, PLACES_MEMORY), *cell);
            let mut cells: Vec<(f64, u64)> = self.cells.iter().map(count).collect();
            cells.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            for (_, least) in &cells[KEPT_CELLS..] {
                self.cells.remove(least);
            }
        }
        let entry = self.cells.entry(cell).or_insert(Cell { pickup, orders: Fading::default() });
        entry.pickup = pickup;
        entry.orders.add(now, PLACES_MEMORY);
        self.total.add(now, PLACES_MEMORY);
        self.lately.add(now, RATE_MEMORY);
    }

    /// The places orders come from, and how many are to be expected at each within `look_ahead`, if orders go on coming as
    /// in the last half hour. Cost: linear in the cells.
    pub fn expected(&self, now: Timestamp, look_ahead: Millis) -> impl Iterator<Item = (Position, f64)> + '_ {
        let orders = self.lately.at(now, RATE_MEMORY) * (look_ahead.as_secs_f64() / RATE_MEMORY.as_secs_f64());
        let all = self.total.at(now, PLACES_MEMORY) + PRIOR * self.cells.len() as f64;
        self.cells.values().map(move |cell| {
            let share = (cell.orders.at(now, PLACES_MEMORY) + PRIOR) / all;
            (cell.pickup, orders * share)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_place_expects_more_and_old_orders_fade() {
        let mut map = DemandMap::default();
        let (busy, quiet) = (Position::new(52.5, 13.4).unwrap(), Position::new(52.6, 13.5).unwrap());
        let at = |minute| Timestamp::from_millis(0) + Millis::from_mins(minute);
        (0..20).for_each(|minute| map.record(busy, at(minute)));
        map.record(quiet, at(20));
        let expected = |now| {
            let mut all: Vec<_> = map.expected(now, Millis::from_mins(30)).map(|(_, orders)| orders).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let now = expected(at(20));
        assert!(now[1] > 10.0 * now[0] && (10.0..21.0).contains(&(now[0] + now[1])), "{now:?}");
        assert!(expected(at(24 * 60))[1] < 1e-3);
    }

    #[test]
    fn cells_beyond_the_limit_push_out_those_with_the_least_orders() {
        let mut map = DemandMap::default();
        let at = Timestamp::from_millis(0);
        let place = |i: usize| Position::new(-60.0 + i as f64 * 0.01, 10.0).unwrap();
        (0..2).for_each(|_| (0..5).for_each(|i| map.record(place(i), at)));
        (5..MAX_CELLS + 50).for_each(|i| map.record(place(i), at));
        assert_eq!(map.cells.len(), KEPT_CELLS + 50);
        assert!((0..5).all(|i| map.cells.contains_key(&u64::from(place(i).cell(RESOLUTION)))));
    }
}
