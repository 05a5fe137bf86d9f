//! A fixed set of points to search in.

use super::search::{Nearest, ROUNDING};
use crate::geo::{Position, chord_squared, chord_to_meters, meters_to_chord};
use crate::units::Meters;

/// Points numbered from 0 in the order given, searched by distance.
///
/// A k-d tree without pointers: the middle point of a slice splits the others into the half before it and the half
/// after it, down to slices short enough to scan.
#[derive(Clone, Debug)]
pub(crate) struct PointSet {
    points: Vec<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    unit: [f64; 3],
    row: u32,
    /// Which coordinate splits the slice that this is the middle of.
    axis: u8,
}

/// Slices this short are scanned: measured, flat from 4 to 16.
const SCAN: usize = 8;

impl PointSet {
    /// Takes `positions` as rows 0, 1, 2 and so on, in O(n log n): about 4 ms for 20,000.
    pub(crate) fn new(positions: impl IntoIterator<Item = Position>) -> Self {
        let point = |(row, position): (u32, Position)| Point { unit: position.unit_vector(), row, axis: 0 };
        let mut points: Vec<_> = (0..).zip(positions).map(point).collect();
        split(&mut points);
        Self { points }
    }

    /// The at most `limit` nearest `eligible` rows within `radius` of `at` (bound included), nearest first, ties by row.
    ///
    /// Distances are those of [`Position::distance`], to the bit. Takes about 4 µs for 20 of 20,000; more where few are
    /// eligible, and O(n) where all stand on one spot. Which rows `eligible` is asked about, and in which order, is
    /// the tree's business.
    pub(crate) fn nearest(
        &self,
        at: Position,
        radius: Meters,
        limit: usize,
        mut eligible: impl FnMut(u32) -> bool,
    ) -> Vec<(u32, Meters)> {
        let mut nearest = Nearest::new(at, radius, limit);
        visit(&self.points, &mut nearest, &mut |&row| eligible(row));
        nearest.into_sorted()
    }
}

impl PointSet {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    /// Every row within `radius` of `at` (bound included), by row.
    pub(crate) fn within(&self, at: Position, radius: Meters) -> Vec<u32> {
        let unit = at.unit_vector();
        // Where rounding cannot matter, the distance need not be computed.
        let certain = meters_to_chord(radius) / ROUNDING;
        let is_within = |point: &&Point| {
            let chord = chord_squared(point.unit, unit);
            chord < certain || chord_to_meters(chord) <= radius
        };
        let mut rows: Vec<u32> = self.points.iter().filter(is_within).map(|point| point.row).collect();
        rows.sort_unstable();
        rows
    }
}

fn split(points: &mut [Point]) {
    // By coordinate and then by number, so that the tree, and with it the sequence in which a search asks, is the same
    // whatever way the selection takes.
    if points.len() <= SCAN {
        points.sort_unstable_by_key(|point| point.row);
        return;
    }
    let (axis, middle) = (widest(points), points.len() / 2);
    points.select_nth_unstable_by(middle, |a, b| a.unit[axis].total_cmp(&b.unit[axis]).then(a.row.cmp(&b.row)));
    points[middle].axis = axis as u8;
    split(&mut points[..middle]);
    split(&mut points[middle + 1..]);
}

/// The coordinate in which the points differ most.
fn widest(points: &[Point]) -> usize {
    let width = |axis: usize| {
        let coordinates = || points.iter().map(|point| point.unit[axis]);
        coordinates().fold(f64::MIN, f64::max) - coordinates().fold(f64::MAX, f64::min)
    };
    let [x, y, z] = [width(0), width(1), width(2)];
    if x >= y && x >= z {
        0
    } else if y >= z {
        1
    } else {
        2
    }
}

fn visit<'a>(points: &'a [Point], nearest: &mut Nearest<'a, u32>, eligible: &mut impl FnMut(&u32) -> bool) {
    if points.len() <= SCAN {
        for point in points {
            nearest.offer(chord_squared(point.unit, nearest.unit()), &point.row, &mut *eligible);
        }
        return;
    }
    let middle = points.len() / 2;
    let (before, Point { unit, row, axis }, after) = (&points[..middle], &points[middle], &points[middle + 1..]);
    let beyond = nearest.unit()[usize::from(*axis)] - unit[usize::from(*axis)];
    let (near, far) = if beyond < 0.0 { (before, after) } else { (after, before) };
    visit(near, nearest, eligible);
    nearest.offer(chord_squared(*unit, nearest.unit()), row, &mut *eligible);
    // Whatever is on the far side is at least as far as the plane between.
    if !nearest.is_settled_at(beyond * beyond) {
        visit(far, nearest, eligible);
    }
}
