//! A fixed set of points to search in.

use super::ball::{self, Ball, Centre, Country, TILE_BITS, child};
use super::place::{CellId, Place};
use super::search::{self, Field, Found, Query};
use crate::geo::Position;
use crate::units::Meters;
use std::ops::Range;

/// Points per cell, at most, on the average of a tile.
const PER_CELL: u32 = 4;

/// Tiles have `4^level` cells of one level, the last of which is 23 m high.
const LAST_LEVEL: u32 = 7;

/// So many points are copied at a time.
const AT_ONCE: usize = 16;

/// Points numbered from 0 in the order given, searched by distance.
///
/// They lie in the order of their cells, so that a search reads them in a few straight runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct PointSet {
    /// By row and column.
    regions: Vec<Region>,
    tiles: Vec<Tile>,
    /// Where the points of each cell begin, and the last ones end.
    starts: Vec<u32>,
    /// By cell: where each point is, and its number, or what that was renamed to. A few more follow that are nobody's.
    places: Vec<Place>,
    rows: Vec<u32>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Region {
    at: (u32, u32),
    /// By number plus one.
    tiles: Box<[u32; 256]>,
}

#[derive(Clone, Copy, Debug)]
struct Tile {
    first: u32,
    level: u32,
    points: u32,
}

impl PointSet {
    /// Takes `positions` as rows 0, 1, 2 and so on, in O(n).
    pub(crate) fn new(positions: impl IntoIterator<Item = Position>) -> Self {
        let places: Vec<Place> = positions.into_iter().map(|position| Place::new(position, true)).collect();
        let mut set = Self::default();
        let mut tiles: Vec<u32> = Vec::with_capacity(places.len());
        let mut last = None;
        for place in &places {
            let at = CellId::of(*place, TILE_BITS);
            let tile = match last {
                Some((last, tile)) if last == at => tile,
                _ => set.make_tile(at),
            };
            last = Some((at, tile));
            set.tiles[tile as usize].points += 1;
            tiles.push(tile);
        }
        let mut cells = 0;
        for tile in &mut set.tiles {
            tile.level = (0..LAST_LEVEL).find(|level| tile.points <= PER_CELL << (2 * level)).unwrap_or(LAST_LEVEL);
            tile.first = cells;
            cells += 1 << (2 * tile.level);
        }
        set.fill(&places, &tiles, cells as usize);
        set
    }

    /// The same with other numbers, which have to be in the same order.
    pub(super) fn renamed(mut self, names: &[u32]) -> Self {
        self.rows[..self.len].iter_mut().for_each(|row| *row = names[*row as usize]);
        self
    }

    fn make_tile(&mut self, at: CellId) -> u32 {
        let region = ((at.row >> 4) as u32, (at.col >> 4) as u32);
        let place = self.regions.binary_search_by_key(&region, |region| region.at).unwrap_or_else(|place| {
            self.regions.insert(place, Region { at: region, tiles: Box::new([0; 256]) });
            place
        });
        let tile = &mut self.regions[place].tiles[child(at.row, at.col)];
        if *tile == 0 {
            self.tiles.push(Tile { first: 0, level: 0, points: 0 });
            *tile = self.tiles.len() as u32;
        }
        *tile - 1
    }

    /// Sorts the points by cell, by counting.
    fn fill(&mut self, places: &[Place], tiles: &[u32], cells: usize) {
        let cell = |place: Place, tile: u32| {
            let Tile { first, level, .. } = self.tiles[tile as usize];
            let CellId { row, col, .. } = CellId::of(place, TILE_BITS - level);
            let mask = (1 << level) - 1;
            first as usize + ((row & mask) << level | col & mask) as usize
        };
        let of_point: Vec<u32> = places.iter().zip(tiles).map(|(place, tile)| cell(*place, *tile) as u32).collect();
        let mut starts = vec![0; cells + 1];
        for cell in &of_point {
            starts[*cell as usize + 1] += 1;
        }
        for cell in 0..cells {
            starts[cell + 1] += starts[cell];
        }
        let mut next = starts.clone();
        self.len = places.len();
        self.places = vec![Place::NOBODY; places.len() + AT_ONCE];
        self.rows = vec![0; places.len() + AT_ONCE];
        for ((place, cell), row) in places.iter().zip(&of_point).zip(0..) {
            let next = &mut next[*cell as usize];
            (self.places[*next as usize], self.rows[*next as usize]) = (*place, row);
            *next += 1;
        }
        self.starts = starts;
    }

    /// The at most `limit` nearest `eligible` rows within `radius` of `at` (bound included), nearest first, ties by row.
    ///
    /// Distances are those of [`Position::distance`], to the bit. Takes one or two microseconds for 20 of 20,000; more where few
    /// are eligible, and O(n) where all stand on one spot. Asks about a row at most once, nearer ones first but for
    /// rounding.
    pub(crate) fn nearest(
        &self,
        at: Position,
        radius: Meters,
        limit: usize,
        eligible: impl FnMut(u32) -> bool,
    ) -> Vec<(u32, Meters)> {
        let query = Query { at, radius, limit };
        search::with_memory(|found| search::nearest(self, &query, found, eligible, |a, b| a.cmp(&b)))
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Every row within `radius` of `at` (bound included), by row, by looking at all of them: for a few.
    pub(crate) fn within(&self, at: Position, radius: Meters) -> Vec<u32> {
        let near = (0..self.len()).filter(|entry| self.places[*entry].position().distance(at) <= radius);
        let mut rows: Vec<u32> = near.map(|entry| self.rows[entry]).collect();
        rows.sort_unstable();
        rows
    }

    /// Every row that may be in the ball, in no order, and its position.
    pub(super) fn in_ball(&self, ball: &Ball) -> Vec<(u32, Position)> {
        search::with_memory(|found| search::within(self, ball, found))
    }

    /// Adds points next to each other.
    #[inline]
    fn add(&self, points: Range<usize>, found: &mut Found) {
        for first in points.clone().step_by(AT_ONCE) {
            // Always so many: how many there are cannot be guessed.
            let used = found.names.len() + AT_ONCE.min(points.end - first);
            found.names.extend_from_slice(&self.rows[first..][..AT_ONCE]);
            found.places.extend_from_slice(&self.places[first..][..AT_ONCE]);
            found.names.truncate(used);
            found.places.truncate(used);
        }
    }
}

impl Country for PointSet {
    const SLACK: i64 = 0;

    type Tile = u32;

    fn region(&self, row: usize, col: usize) -> Option<u32> {
        let at = (row as u32, col as u32);
        self.regions.binary_search_by_key(&at, |region| region.at).ok().map(|place| place as u32)
    }

    fn tile(&self, region: u32, child: usize) -> Option<(u32, u32)> {
        let Tile { first, level, .. } = self.tiles[self.regions[region as usize].tiles[child].checked_sub(1)? as usize];
        Some((level, first))
    }

    fn points(&self, first_of_tile: u32, first: usize, count: usize) -> u32 {
        let first = first_of_tile as usize + first;
        self.starts[first + count] - self.starts[first]
    }
}

impl Field for PointSet {
    const STILL: bool = true;

    fn len(&self) -> usize {
        self.len
    }

    fn density(&self, centre: &Centre, some: u32) -> f64 {
        ball::density(self, centre, some)
    }

    fn gather(&self, ball: &Ball, found: &mut Found) -> bool {
        ball.visit(self, |run| {
            let cells = run.tile as usize + run.first;
            let points = self.starts[cells] as usize..self.starts[cells + run.count] as usize;
            self.add(points, found);
            true
        })
    }

    fn gather_slowly(&self, ball: &Ball, found: &mut Found) {
        for (place, row) in self.places.iter().zip(&self.rows).take(self.len) {
            if ball.may_have(*place) {
                found.places.push(*place);
                found.names.push(*row);
            }
        }
    }
}
