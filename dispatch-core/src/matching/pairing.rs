//! Pairing: the assignment of rows (orders) to columns (drivers) at the least total cost.
//!
//! Sparse shortest augmenting paths after Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse
//! linear assignment problems" (Computing 38, 1987): a first pass of augmenting row reduction settles most rows, Dijkstra's
//! search on reduced costs the rest. Every row may also stay unmatched at a cost of its own, so that a solution always exists.
//! Work is counted in edges relaxed; when the budget is spent, the rows still open take the cheapest free column each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A sparse assignment problem, row by row. Rows that come first are served first when the budget runs out.
#[derive(Clone, Debug)]
pub struct Pairing {
    columns: usize,
    /// Where each row's edges begin in `edges`; one more entry than rows.
    starts: Vec<usize>,
    edges: Vec<(u32, i64)>,
    unmatched: Vec<i64>,
}

/// What was found, and what it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// For each row the index of its chosen edge among the row's edges, if it was matched.
    pub chosen: Vec<Option<usize>>,
    /// What all rows together cost, unmatched ones included.
    pub total: i64,
    /// For each row what the total would fall by, at most, if the row were gone: its dual value. Exact where optimal.
    pub burdens: Vec<i64>,
    /// How many edges were relaxed.
    pub work: u64,
    /// Whether the budget sufficed, so that the total cost is the least possible.
    pub optimal: bool,
}

/// Costs must stay within this, so that sums along a path cannot overflow.
pub const MAX_COST: i64 = 1 << 50;

impl Pairing {
    /// An empty problem with this many columns.
    pub fn new(columns: usize) -> Self {
        assert!(u32::try_from(columns).is_ok(), "columns are numbered in 32 bits");
        Self { columns, starts: vec![0], edges: Vec::new(), unmatched: Vec::new() }
    }

    /// Adds a row: its edges as (column, cost), each column at most once, and what it costs to leave it unmatched.
    pub fn push_row(&mut self, edges: impl IntoIterator<Item = (u32, i64)>, unmatched: i64) {
        self.edges.extend(edges);
        let row = &self.edges[self.starts[self.starts.len() - 1]..];
        assert!(row.iter().all(|&(column, cost)| (column as usize) < self.columns && cost.abs() <= MAX_COST));
        assert!(unmatched.abs() <= MAX_COST);
        self.starts.push(self.edges.len());
        self.unmatched.push(unmatched);
    }

    fn rows(&self) -> usize {
        self.unmatched.len()
    }

    fn row(&self, row: usize) -> &[(u32, i64)] {
        &self.edges[self.starts[row]..self.starts[row + 1]]
    }

    /// Solves the problem, relaxing at most `budget` edges (and one row more). Equal problems get equal answers.
    ///
    /// Cost: O(rows x edges x log edges) at worst; close to linear in the edges for the sparse problems of dispatch.
    pub fn solve(&self, budget: u64) -> Pairs {
        let mut solver = Solver::new(self, budget);
        let mut open: Vec<usize> = (0..self.rows()).collect();
        for _ in 0..REDUCTION_PASSES {
            open = solver.reduce(open);
        }
        let mut left = Vec::new();
        for row in open {
            if solver.work >= budget || !solver.augment(row) {
                left.push(row);
            }
        }
        solver.pair_greedily(&left);
        solver.finish(left.is_empty())
    }
}

/// Passes of row reduction before the shortest paths; more settle few further rows.
const REDUCTION_PASSES: usize = 2;

const NOBODY: u32 = u32::MAX;

struct Solver<'a> {
    problem: &'a Pairing,
    budget: u64,
    work: u64,
    /// Dual value of each column; not positive, and 0 for a column nobody has.
    price: Vec<i64>,
    /// Which row has each column.
    owner: Vec<u32>,
    /// For each row its chosen edge; `None` is unmatched or still open.
    chosen: Vec<Option<usize>>,
    /// Scratch of one shortest-path search, reset through `touched`.
    distance: Vec<i64>,
    /// The row and edge by which the search reached each column.
    reached_by: Vec<(u32, u32)>,
    touched: Vec<u32>,
}

impl<'a> Solver<'a> {
    fn new(problem: &'a Pairing, budget: u64) -> Self {
        Self {
            problem,
            budget,
            work: 0,
            price: vec![0; problem.columns],
            owner: vec![NOBODY; problem.columns],
            chosen: vec![None; problem.rows()],
            distance: vec![i64::MAX; problem.columns],
            reached_by: vec![(NOBODY, 0); problem.columns],
            touched: Vec::new(),
        }
    }

    /// Augmenting row reduction: each open row takes its cheapest column, lowering the column's price by the margin to
    /// the second cheapest, and puts out its owner. Returns the rows left open.
    fn reduce(&mut self, open: Vec<usize>) -> Vec<usize> {
        let mut left = Vec::new();
        let mut queue = open;
        queue.reverse();
        // A row put out goes on at once while prices fall; this bound leaves stubborn fights to the shortest paths.
        let mut fights = 2 * queue.len();
        while let Some(row) = queue.pop() {
            if self.work >= self.budget {
                left.push(row);
                continue;
            }
            let unmatched = self.problem.unmatched[row];
            let edges = self.problem.row(row);
            self.work += edges.len() as u64;
            let (mut best, mut best_cost, mut second_cost) = (None, unmatched, unmatched);
            for (i, &(column, cost)) in edges.iter().enumerate() {
                let reduced = cost - self.price[column as usize];
                if reduced < best_cost {
                    second_cost = best_cost;
                    (best, best_cost) = (Some(i), reduced);
                } else if reduced < second_cost {
                    second_cost = reduced;
                }
            }
            let Some(edge) = best else {
                // Staying unmatched is cheapest, and prices only fall: it stays the cheapest.
                self.chosen[row] = None;
                continue;
            };
            let column = edges[edge].0 as usize;
            let owner = self.owner[column];
            if owner != NOBODY && (best_cost == second_cost || fights == 0) {
                left.push(row);
                continue;
            }
            self.price[column] -= second_cost - best_cost;
            self.owner[column] = row as u32;
            self.chosen[row] = Some(edge);
            if owner != NOBODY {
                fights -= 1;
                self.chosen[owner as usize] = None;
                queue.push(owner as usize);
            }
        }
        left.sort_unstable();
        left
    }

    /// Matches `row` along a shortest augmenting path; false when the budget ran out first.
    fn augment(&mut self, row: usize) -> bool {
        let mut frontier: BinaryHeap<Reverse<(i64, u32)>> = BinaryHeap::new();
        let mut settled: Vec<u32> = Vec::new();
        // The best way to end: at a free column, or by leaving some row on the path unmatched.
        let mut end: (i64, End) = (self.problem.unmatched[row], End::Unmatched(row as u32));
        let mut current = (row as u32, 0);
        let finished = loop {
            let (from, base) = current;
            if self.work >= self.budget {
                break false;
            }
            self.relax(from, base, end.0, &mut frontier);
            let next = loop {
                let Some(Reverse((distance, column))) = frontier.pop() else { break None };
                if distance == self.distance[column as usize] {
                    break Some((distance, column));
                }
            };
            let Some((distance, column)) = next.filter(|(distance, _)| *distance < end.0) else { break true };
            let owner = self.owner[column as usize];
            if owner == NOBODY {
                end = (distance, End::Free(column));
                break true;
            }
            settled.push(column);
            // The owner could stay unmatched instead: its reduced cost of that, on top of the distance to it.
            let base = distance - self.owner_cost(owner);
            let unmatched = base + self.problem.unmatched[owner as usize];
            if unmatched < end.0 {
                end = (unmatched, End::Unmatched(owner));
            }
            current = (owner, base);
        };
        if finished {
            for &column in &settled {
                self.price[column as usize] += (self.distance[column as usize] - end.0).min(0);
            }
            self.flip(row as u32, end.1);
        }
        for column in self.touched.drain(..) {
            self.distance[column as usize] = i64::MAX;
        }
        finished
    }

    fn finish(self, optimal: bool) -> Pairs {
        let problem = self.problem;
        let cost = |(row, chosen): (usize, &Option<usize>)| match chosen {
            Some(edge) => problem.row(row)[*edge].1,
            None => problem.unmatched[row],
        };
        let total = self.chosen.iter().enumerate().map(cost).sum();
        let burden = |row: usize| {
            let reduced = problem.row(row).iter().map(|&(column, cost)| cost - self.price[column as usize]);
            reduced.fold(problem.unmatched[row], i64::min)
        };
        let burdens = (0..problem.rows()).map(burden).collect();
        Pairs { total, burdens, chosen: self.chosen, work: self.work, optimal }
    }

    /// What the row pays for the column it has, reduced by the column's price.
    fn owner_cost(&self, row: u32) -> i64 {
        let edge = self.chosen[row as usize].expect("the owner of a column has chosen it");
        let (column, cost) = self.problem.row(row as usize)[edge];
        cost - self.price[column as usize]
    }

    fn relax(&mut self, row: u32, base: i64, bound: i64, frontier: &mut BinaryHeap<Reverse<(i64, u32)>>) {
        let edges = self.problem.row(row as usize);
        self.work += edges.len() as u64;
        for (edge, &(column, cost)) in edges.iter().enumerate() {
            let distance = base + cost - self.price[column as usize];
            let known = &mut self.distance[column as usize];
            if distance < *known && distance < bound {
                if *known == i64::MAX {
                    self.touched.push(column);
                }
                *known = distance;
                self.reached_by[column as usize] = (row, edge as u32);
                frontier.push(Reverse((distance, column)));
            }
        }
    }

    /// Moves every row on the path to the end one column on.
    fn flip(&mut self, start: u32, end: End) {
        let mut free = match end {
            End::Free(column) => Some(column),
            End::Unmatched(row) => {
                let freed = self.chosen[row as usize].take();
                freed.map(|edge| self.problem.row(row as usize)[edge].0)
            }
        };
        while let Some(column) = free {
            let (row, edge) = self.reached_by[column as usize];
            let left = self.chosen[row as usize].replace(edge as usize);
            self.owner[column as usize] = row;
            free = if row == start { None } else { left.map(|edge| self.problem.row(row as usize)[edge].0) };
        }
    }

    /// Gives each row its cheapest free column where that is cheaper than none.
    fn pair_greedily(&mut self, rows: &[usize]) {
        for &row in rows {
            let edges = self.problem.row(row);
            let free = edges.iter().enumerate().filter(|(_, (column, _))| self.owner[*column as usize] == NOBODY);
            let cheapest = free.min_by_key(|(_, (_, cost))| *cost);
            if let Some((edge, &(column, _))) = cheapest.filter(|(_, (_, cost))| *cost < self.problem.unmatched[row]) {
                self.owner[column as usize] = row as u32;
                self.chosen[row] = Some(edge);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum End {
    Free(u32),
    Unmatched(u32),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Rows = Vec<(Vec<Option<i64>>, i64)>;

    fn problem(columns: usize, rows: &Rows) -> Pairing {
        let mut pairing = Pairing::new(columns);
        for (costs, unmatched) in rows {
            let edges = costs.iter().enumerate().filter_map(|(j, cost)| cost.map(|cost| (j as u32, cost)));
            pairing.push_row(edges, *unmatched);
        }
        pairing
    }

    /// The total cost of a solution; panics where two rows share a column.
    fn total(pairing: &Pairing, pairs: &Pairs) -> i64 {
        let mut taken = vec![false; pairing.columns];
        let cost = |(row, chosen): (usize, &Option<usize>)| match chosen {
            None => pairing.unmatched[row],
            Some(edge) => {
                let (column, cost) = pairing.row(row)[*edge];
                assert!(!std::mem::replace(&mut taken[column as usize], true), "column {column} twice");
                cost
            }
        };
        pairs.chosen.iter().enumerate().map(cost).sum()
    }

    /// The least total cost by trying everything.
    fn brute_force(pairing: &Pairing, row: usize, taken: &mut Vec<bool>) -> i64 {
        if row == pairing.rows() {
            return 0;
        }
        let mut best = pairing.unmatched[row] + brute_force(pairing, row + 1, taken);
        for &(column, cost) in pairing.row(row) {
            if !taken[column as usize] {
                taken[column as usize] = true;
                best = best.min(cost + brute_force(pairing, row + 1, taken));
                taken[column as usize] = false;
            }
        }
        best
    }

    fn rows(columns: usize, most: usize) -> impl Strategy<Value = Rows> {
        let cost = proptest::option::weighted(0.7, prop_oneof![-20..20i64, 0..5i64]);
        proptest::collection::vec(
            (proptest::collection::vec(cost, columns), prop_oneof![0..30i64, Just(1_000)]),
            0..most,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_total_is_the_least((columns, rows) in (0..6usize).prop_flat_map(|n| (Just(n), rows(n, 7)))) {
            let pairing = problem(columns, &rows);
            let pairs = pairing.solve(u64::MAX);
            prop_assert!(pairs.optimal);
            prop_assert_eq!(total(&pairing, &pairs), brute_force(&pairing, 0, &mut vec![false; columns]));
        }

        #[test]
        fn a_spent_budget_still_gives_a_pairing(rows in rows(5, 12), budget in 0..60u64) {
            let pairing = problem(5, &rows);
            let pairs = pairing.solve(budget);
            prop_assert!(total(&pairing, &pairs) >= total(&pairing, &pairing.solve(u64::MAX)));
            prop_assert!(pairs.work <= budget + 5 || pairs.work <= 5);
        }
    }

    #[test]
    fn large_problems_agree_with_the_dual_bound() {
        // Weak duality: any feasible prices bound the optimum from below, so equality proves it.
        let (n, m, k) = (300usize, 200u64, 12u64);
        let mut seed = 7u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        let mut pairing = Pairing::new(m as usize);
        for _ in 0..n {
            let first = next() % m;
            let edges: Vec<_> =
                (0..k).map(|i| (((first + i * 7) % m) as u32, (next() % 1_000).cast_signed())).collect();
            pairing.push_row(edges, 1_500);
        }
        let mut solver = Solver::new(&pairing, u64::MAX);
        let open = solver.reduce((0..n).collect());
        for row in open {
            assert!(solver.augment(row));
        }
        let prices = solver.price.clone();
        let pairs = solver.finish(true);
        assert_eq!(pairs.total, total(&pairing, &pairs));
        assert_eq!(pairs.total, pairs.burdens.iter().sum::<i64>() + prices.iter().sum::<i64>());
        assert!(prices.iter().all(|price| *price <= 0));
    }

    #[test]
    fn ties_and_empty_rows() {
        let pairing = problem(1, &vec![(vec![Some(3)], 3), (vec![None], 9), (vec![Some(3)], 4)]);
        let pairs = pairing.solve(u64::MAX);
        assert_eq!(pairs.chosen, [None, None, Some(0)]);
    }
}
