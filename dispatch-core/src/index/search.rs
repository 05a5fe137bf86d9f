//! The nearest of many points of the unit sphere, and the R*-trees the moving ones are in.

use crate::geo::{Position, chord_squared, chord_to_meters, meters_to_chord};
use crate::units::Meters;
use rstar::{AABB, PointDistance, RTree, RTreeObject};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A tree of points, each with a key.
pub(super) type Tree<K> = RTree<Entry<K>>;

/// A point of the unit sphere and what stands there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry<K> {
    pub(super) unit: [f64; 3],
    pub(super) key: K,
}

impl<K> RTreeObject for Entry<K> {
    type Envelope = AABB<[f64; 3]>;

    fn envelope(&self) -> Self::Envelope {
        AABB::from_point(self.unit)
    }
}

impl<K> PointDistance for Entry<K> {
    fn distance_2(&self, point: &[f64; 3]) -> f64 {
        chord_squared(self.unit, *point)
    }
}

/// Squared chords that differ by less than this factor may be the same distance after rounding, so no search stops
/// within it. Three decimal digits wider than the rounding of an arc sine and a square root.
pub(super) const ROUNDING: f64 = 1.0 + 1e-12;

/// The squared chord beyond which certainly nothing is within `radius`.
pub(super) fn chord_beyond(radius: Meters) -> f64 {
    meters_to_chord(radius) * ROUNDING
}

/// Collects the nearest of the points it is offered: by distance, then by key.
///
/// Whatever offers them may leave out those that are [settled](Nearest::is_settled_at).
pub(super) struct Nearest<'a, K> {
    unit: [f64; 3],
    radius: Meters,
    limit: usize,
    /// The squared chord beyond which nothing can be among the nearest any more.
    cutoff: f64,
    /// What was found, the worst on top; at most `limit`.
    found: BinaryHeap<Found<&'a K>>,
}

impl<'a, K: Ord + Clone> Nearest<'a, K> {
    pub(super) fn new(at: Position, radius: Meters, limit: usize) -> Self {
        let cutoff = if limit == 0 { f64::NEG_INFINITY } else { chord_beyond(radius) };
        Self { unit: at.unit_vector(), radius, limit, cutoff, found: BinaryHeap::new() }
    }

    /// Where the search is from.
    pub(super) fn unit(&self) -> [f64; 3] {
        self.unit
    }

    /// Whether everything that is `chord` (squared) or further away is out of the question.
    pub(super) fn is_settled_at(&self, chord: f64) -> bool {
        chord > self.cutoff
    }

    /// The least squared chord to anything in `tree`, which must not be empty.
    pub(super) fn least_chord(&self, tree: &Tree<K>) -> f64 {
        tree.root().envelope().distance_2(&self.unit)
    }

    /// Is offered everything in `tree`, from near to far.
    pub(super) fn search(&mut self, tree: &'a Tree<K>, mut eligible: impl FnMut(&K) -> bool) {
        for (Entry { key, .. }, chord) in tree.nearest_neighbor_iter_with_distance_2(self.unit) {
            if self.is_settled_at(chord) {
                break;
            }
            self.offer(chord, key, &mut eligible);
        }
    }

    /// Takes in a point `chord` (squared) away if it is near enough to count so far and, asked last, `eligible`.
    pub(super) fn offer(&mut self, chord: f64, key: &'a K, mut eligible: impl FnMut(&K) -> bool) {
        if self.is_settled_at(chord) {
            return;
        }
        let candidate = Found { distance: chord_to_meters(chord), chord, key };
        let full = self.found.len() == self.limit;
        let counts =
            candidate.distance <= self.radius && !(full && self.found.peek().is_some_and(|worst| candidate >= *worst));
        if counts && eligible(key) {
            self.take(candidate, full);
        }
    }

    fn take(&mut self, candidate: Found<&'a K>, full: bool) {
        if full {
            self.found.pop();
        }
        self.found.push(candidate);
        if self.found.len() == self.limit
            && let Some(worst) = self.found.peek()
        {
            self.cutoff = self.cutoff.min(worst.chord * ROUNDING);
        }
    }

    /// What was found, nearest first.
    pub(super) fn into_sorted(self) -> Vec<(K, Meters)> {
        self.found.into_sorted_vec().into_iter().map(|found| (found.key.clone(), found.distance)).collect()
    }
}

/// An entry that counts so far; ordered by distance, then key.
struct Found<K> {
    distance: Meters,
    chord: f64,
    key: K,
}

impl<K: Ord> Ord for Found<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.get().total_cmp(&other.distance.get()).then_with(|| self.key.cmp(&other.key))
    }
}

impl<K: Ord> PartialOrd for Found<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Found<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord> Eq for Found<K> {}
