//! One window's plan: which driver fetches which orders, alone or bundled.
//!
//! Every order is a row and every driver a column of a [`Pairing`]. Its optimum tells what each order burdens the window
//! with; where two orders of neighbouring pickups burden it with more than fetching them together costs, they become one
//! row, and the window is paired again. What makes the total worse is undone.

use crate::config::EngineConfig;
use crate::matching::candidates::{Demand, Supply, Terms};
use crate::matching::explanation::Exclusion;
use crate::matching::pairing::{Pairing, Pairs};
use crate::matching::score::Score;
use crate::route::plan::{self, Call, SetOut, Task};
use crate::units::{Meters, Millis};
use std::borrow::Cow;
use std::cmp::Reverse;

/// How often bundles are looked for in one window. Each pass adds one order to a bundle at most.
const BUNDLE_PASSES: usize = 3;

/// What leaving an order waiting costs, in thousandths of a score point: more than the worst score there can be, so that
/// it happens only where there are too few drivers.
const UNMATCHED_MILLI: i64 = 100_000_000_000_000;

/// An order burdens the window with this at most, when it comes to bundling it: one that nobody can fetch is no reason to
/// spoil everybody else's.
const MOST_BURDEN_MILLI: i64 = 50_000;

/// Drivers who are late by more than this, or missing, make it worth to plan what others do next.
const LATE: Millis = Millis::from_mins(10);

/// What a window has to decide about.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    pub(crate) terms: Terms<'a>,
    pub(crate) rules: &'a EngineConfig,
    pub(crate) score: &'a Score,
    pub(crate) demands: Vec<Demand<'a>>,
    /// Every driver once; then drivers who are planned to fetch something, after that.
    pub(crate) supplies: Vec<Supply<'a>>,
    /// Orders one by one, then every bundle that was tried.
    pub(crate) rows: Vec<Row<'a>>,
}

/// A driver an order, or a bundle, could go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Which supply.
    pub(crate) supply: u32,
    /// The score it would have, negated, in thousandths.
    pub(crate) cost: i64,
    /// Whether it is fetched or brought in between what the driver has to do, not after it.
    pub(crate) joins: bool,
}

/// One order, or a bundle.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    /// Which orders, the one that was there first leading.
    pub(crate) demands: Vec<u32>,
    /// The stops of a bundle; empty for one order, whose stops are plain.
    calls: Vec<Call<'a>>,
    /// Who could take it, each once.
    pub(crate) edges: Vec<Edge>,
}

/// Which rows there are, every order in one of them, and who they go to.
#[derive(Debug)]
pub(crate) struct Plan {
    rows: Vec<u32>,
    pairs: Pairs,
    work_left: u64,
}

impl<'a> Planner<'a> {
    /// What it costs if the driver fetches the order after all it has to do; otherwise the first test it fails.
    pub(crate) fn append(&self, demand: u32, supply: u32) -> Result<Edge, Exclusion> {
        let (asks, driver) = (&self.demands[demand as usize], &self.supplies[supply as usize]);
        asks.may_go_to(driver.driver)?;
        let score = self.terms.alone(&asks.task, driver, |candidate| self.score.total_milli(candidate));
        let cost = self.moving(&[demand], driver) - score.ok_or(Exclusion::ShiftEnds)?;
        Ok(Edge { supply, cost, joins: false })
    }

    /// What it costs if the order is fetched or brought in between what the driver has to do.
    pub(crate) fn join(&self, demand: u32, supply: u32) -> Result<Edge, Exclusion> {
        let (asks, driver) = (&self.demands[demand as usize], &self.supplies[supply as usize]);
        asks.may_go_to(driver.driver)?;
        let (cost, _) = self.best_join(demand, supply).ok_or(Exclusion::Capacity)?;
        Ok(Edge { supply, cost, joins: true })
    }

    /// The driver's stops with the order in the best place in between, and what that costs.
    pub(crate) fn best_join(&self, demand: u32, supply: u32) -> Option<(i64, Vec<Call<'a>>)> {
        let (asks, driver) = (&self.demands[demand as usize], &self.supplies[supply as usize]);
        let set_out = driver.at_start();
        let now = self.cost(&driver.stops, &set_out, driver)?;
        let (cost, calls) = self.cheapest(&driver.stops, asks.task, &set_out, driver)?;
        Some((cost - now + self.moving(&[demand], driver), calls))
    }

    /// These stops with the order in the best place in between, and what they cost then.
    fn cheapest(
        &self,
        calls: &[Call<'a>],
        task: Task<'a>,
        set_out: &SetOut,
        driver: &Supply<'a>,
    ) -> Option<(i64, Vec<Call<'a>>)> {
        let mut best: Option<(i64, Vec<Call<'a>>)> = None;
        plan::insertions(calls, task, self.rules.bundles.mode, |route| {
            let Some(cost) = self.cost(route, set_out, driver) else { return };
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, route.to_vec()));
            }
        });
        best
    }

    fn cost(&self, calls: &[Call<'a>], set_out: &SetOut, driver: &Supply<'a>) -> Option<i64> {
        self.terms.route(calls, set_out, driver, |candidate| -self.score.total_milli(candidate))
    }

    /// What it costs that orders leave the driver who has them.
    fn moving(&self, demands: &[u32], to: &Supply<'_>) -> i64 {
        let Some(swap) = self.rules.swap else { return 0 };
        let holders = demands.iter().filter_map(|&demand| self.demands[demand as usize].holder);
        let leaving = holders.filter(|holder| **holder != to.driver.id).count();
        (swap.penalty * 1_000.0 * leaving as f64) as i64
    }

    /// Each row of the plan, and the driver it goes to.
    pub(crate) fn choices<'s>(&'s self, plan: &'s Plan) -> impl Iterator<Item = (&'s Row<'a>, Option<Edge>)> {
        let row = |row: &u32| &self.rows[*row as usize];
        let rows = plan.rows.iter().map(row).zip(&plan.pairs.chosen);
        rows.map(|(row, chosen)| (row, chosen.map(|edge| row.edges[edge])))
    }

    /// The stops a row takes.
    pub(crate) fn calls<'s>(&self, row: &'s Row<'a>) -> Cow<'s, [Call<'a>]> {
        match row.demands[..] {
            [demand] => plan::alone(self.demands[demand as usize].task).into(),
            _ => (&row.calls).into(),
        }
    }

    /// Adds a row of one order.
    pub(crate) fn push_row(&mut self, demand: u32, mut edges: Vec<Edge>) {
        let paired = self.rules.search.paired as usize;
        if edges.len() > paired {
            edges.select_nth_unstable_by_key(paired, |edge| (edge.cost, edge.supply));
            edges.truncate(paired);
        }
        self.rows.push(Row { demands: vec![demand], calls: Vec::new(), edges });
    }

    /// Pairs all rows at the least total cost.
    pub(crate) fn solve(&self) -> Plan {
        self.solve_within((0..self.rows.len() as u32).collect(), self.rules.work_budget)
    }

    fn solve_within(&self, rows: Vec<u32>, budget: u64) -> Plan {
        let mut pairing = Pairing::new(self.supplies.len());
        for &row in &rows {
            let row = &self.rows[row as usize];
            pairing.push_row(row.edges.iter().map(|edge| (edge.supply, edge.cost)), self.unmatched(row));
        }
        let pairs = pairing.solve(budget);
        Plan { rows, work_left: budget.saturating_sub(pairs.work), pairs }
    }

    /// What it costs that nobody fetches these orders: a point more for every minute they are late, so that old orders are
    /// not the ones left out.
    fn unmatched(&self, row: &Row<'_>) -> i64 {
        let one = |&demand: &u32| {
            let late = self.terms.now - self.demands[demand as usize].task.ready_at;
            UNMATCHED_MILLI + (late.max(Millis::ZERO).as_mins_f64() * 1_000.0) as i64
        };
        row.demands.iter().map(one).sum()
    }

    /// The drivers after what they are planned to fetch, where some order has nobody else, or nobody in time.
    pub(crate) fn next_turns(&self, plan: &Plan) -> Vec<Supply<'a>> {
        let mut all_served = true;
        let mut turns = Vec::new();
        for (row, edge) in self.choices(plan) {
            let Some(edge) = edge else {
                all_served = false;
                continue;
            };
            if edge.joins {
                continue;
            }
            let task = &self.demands[row.demands[0] as usize].task;
            let supply = &self.supplies[edge.supply as usize];
            let times = self.terms.alone(task, supply, |candidate| (candidate.reach_at, candidate.done_at));
            let (reach_at, done_at) = times.expect("it was weighed before");
            all_served &= reach_at - task.ready_at <= LATE;
            if self.has_room(supply, 2) && supply.until.is_none_or(|until| done_at < until) {
                turns.push(supply.after(task, done_at));
            }
        }
        if all_served { Vec::new() } else { turns }
    }

    /// Bundles orders where that makes the whole window better. Only the first `drivers` supplies carry bundles.
    pub(crate) fn bundle(&mut self, mut plan: Plan, drivers: usize) -> Plan {
        let Some(within) = self.rules.bundles.mode.reach() else { return plan };
        for _ in 0..BUNDLE_PASSES {
            let merged = self.merge(&plan, within, drivers);
            if merged.len() == plan.rows.len() {
                break;
            }
            let better = self.solve_within(merged, plan.work_left);
            if better.pairs.total >= plan.pairs.total - self.min_gain() {
                break;
            }
            plan = better;
        }
        plan
    }

    fn min_gain(&self) -> i64 {
        (self.rules.bundles.min_gain * 1_000.0) as i64
    }

    /// The rows with the best merges made, each row in one merge at most.
    fn merge(&mut self, plan: &Plan, within: Meters, drivers: usize) -> Vec<u32> {
        let mut merges = self.merges(plan, within, drivers);
        merges.sort_by_key(|merge| (Reverse(merge.gain), merge.from, merge.into));
        let mut rows: Vec<Option<u32>> = plan.rows.iter().copied().map(Some).collect();
        let mut touched = vec![false; rows.len()];
        for Merge { from, into, calls, .. } in merges {
            if touched[from] || touched[into] {
                continue;
            }
            (touched[from], touched[into]) = (true, true);
            let row = |place: usize| &self.rows[plan.rows[place] as usize];
            let merged = self.merged(row(into), row(from), calls);
            (rows[from], rows[into]) = (None, Some(self.rows.len() as u32));
            self.rows.push(merged);
        }
        rows.into_iter().flatten().collect()
    }

    /// Every way to add a single order to a row that has a driver, where that is worth more than it costs.
    fn merges(&self, plan: &Plan, within: Meters, drivers: usize) -> Vec<Merge<'a>> {
        let row = |place: usize| &self.rows[plan.rows[place] as usize];
        let pickup = |row: &Row<'_>| self.demands[row.demands[0] as usize].task.order.pickup.position;
        // Rows by where they are fetched first, so that neighbours in this sequence are the ones to compare.
        let mut places: Vec<usize> = (0..plan.rows.len()).collect();
        places.sort_by_key(|&place| (pickup(row(place)), place));
        let near = |a: &Row<'_>, b: &Row<'_>| {
            pickup(a) == pickup(b) || (within > Meters::ZERO && pickup(a).distance(pickup(b)) <= within)
        };
        let mut merges = Vec::new();
        for (into, (leading, edge)) in self.choices(plan).enumerate() {
            let Some(edge) = edge.filter(|edge| !edge.joins && (edge.supply as usize) < drivers) else { continue };
            let supply = &self.supplies[edge.supply as usize];
            let orders = leading.demands.len() + 1;
            if orders > usize::from(self.rules.bundles.max_orders) || !self.has_room(supply, orders) {
                continue;
            }
            let alike = if within > Meters::ZERO {
                0..places.len()
            } else {
                let at = pickup(leading);
                let first = places.partition_point(|&place| pickup(row(place)) < at);
                first..places.partition_point(|&place| pickup(row(place)) <= at)
            };
            let near_by = places[alike].iter().copied().filter(|&from| {
                let joining = row(from);
                from != into && joining.demands.len() == 1 && near(leading, joining)
            });
            let calls = self.calls(leading);
            let mut cost = None;
            merges.extend(near_by.filter_map(|from| {
                // Most orders have no neighbour: only those that do need to know.
                let now = (*cost.get_or_insert_with(|| self.cost(&calls, &supply.at_end(), supply)))?;
                self.try_merge(plan, from, into, supply, (&calls, now))
            }));
        }
        merges
    }

    /// Adds the single order of the row `from` to these stops, which cost the driver so much as they are.
    fn try_merge(
        &self,
        plan: &Plan,
        from: usize,
        into: usize,
        supply: &Supply<'a>,
        (leading, now): (&[Call<'a>], i64),
    ) -> Option<Merge<'a>> {
        let joining = &self.demands[self.rows[plan.rows[from] as usize].demands[0] as usize];
        joining.may_go_to(supply.driver).ok()?;
        let (cost, calls) = self.cheapest(leading, joining.task, &supply.at_end(), supply)?;
        let gain = plan.pairs.burdens[from].min(MOST_BURDEN_MILLI) - (cost - now) - self.min_gain();
        (gain > 0).then_some(Merge { gain, from, into, calls })
    }

    /// Whether so many more orders leave the driver's route no longer than it may be.
    fn has_room(&self, driver: &Supply<'_>, orders: usize) -> bool {
        usize::from(driver.load) + orders <= usize::from(self.rules.limits.orders_per_driver)
    }

    fn merged(&self, leading: &Row<'a>, joining: &Row<'a>, calls: Vec<Call<'a>>) -> Row<'a> {
        let mut demands = leading.demands.clone();
        demands.extend(&joining.demands);
        let mut supplies: Vec<u32> =
            leading.edges.iter().chain(&joining.edges).filter(|edge| !edge.joins).map(|edge| edge.supply).collect();
        supplies.sort_unstable();
        supplies.dedup();
        let edge = |supply: u32| {
            let driver = &self.supplies[supply as usize];
            let able = |&demand: &u32| self.demands[demand as usize].may_go_to(driver.driver).is_ok();
            let able = self.has_room(driver, demands.len()) && demands.iter().all(able);
            let cost = able.then(|| self.cost(&calls, &driver.at_end(), driver)).flatten()?;
            Some(Edge { supply, cost: cost + self.moving(&demands, driver), joins: false })
        };
        let edges = supplies.into_iter().filter_map(edge).collect();
        Row { demands, calls, edges }
    }
}

/// A way to bundle two rows.
struct Merge<'a> {
    gain: i64,
    from: usize,
    into: usize,
    calls: Vec<Call<'a>>,
}
