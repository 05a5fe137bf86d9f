//! A fixed set of points to search in.

use super::ball::{self, Ball, Centre, Country, Plane, TILE_BITS, child};
use super::place::{CellId, Place};
use super::search::{self, Field, Found, LANES, Query};
use crate::geo::{MAX_LAT_E7, MAX_LNG_E7, Position};
use crate::units::Meters;
use std::array;
use std::iter;
use std::ops::Range;

/// Points per cell, at most, on the average of a tile.
const PER_CELL: u32 = 4;

/// Tiles have `4^level` cells of one level, the last of which is 23 m high.
const LAST_LEVEL: u32 = 7;

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
    /// By cell: latitude and longitude in steps, the latter wrapped at 2^32; a few more follow that are nobody's.
    lat: Vec<i32>,
    lng: Vec<i32>,
    /// By cell: the number of the point, or what it was renamed to.
    rows: Vec<u32>,
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
        self.rows.iter_mut().for_each(|row| *row = names[*row as usize]);
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
        let mut points = vec![(0, 0, 0); places.len()];
        for ((place, cell), row) in places.iter().zip(&of_point).zip(0..) {
            let next = &mut next[*cell as usize];
            points[*next as usize] = (place.lat() as i32, (place.lng() as u32).cast_signed(), row);
            *next += 1;
        }
        self.starts = starts;
        let padded =
            |steps: fn(&(i32, i32, u32)) -> i32| points.iter().map(steps).chain(iter::repeat_n(0, LANES)).collect();
        (self.lat, self.lng) = (padded(|point| point.0), padded(|point| point.1));
        self.rows = points.iter().map(|(.., row)| *row).collect();
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
        self.rows.len()
    }

    /// Every row within `radius` of `at` (bound included), by row, by looking at all of them: for a few.
    pub(crate) fn within(&self, at: Position, radius: Meters) -> Vec<u32> {
        let near = (0..self.len()).filter(|entry| self.place(*entry).distance(at) <= radius);
        let mut rows: Vec<u32> = near.map(|entry| self.rows[entry]).collect();
        rows.sort_unstable();
        rows
    }

    /// Every row that may be in the ball, in no order, and its position.
    pub(super) fn in_ball(&self, ball: &Ball) -> Vec<(u32, Position)> {
        search::with_memory(|found| search::within(self, ball, found))
    }

    fn place(&self, entry: usize) -> Position {
        let lng = i64::from(self.lng[entry] as u32) - i64::from(MAX_LNG_E7);
        Position::from_steps(self.lat[entry] - MAX_LAT_E7, lng as i32)
    }

    /// Adds points next to each other, near enough to the centre for a plane.
    #[inline]
    fn add_on_plane(&self, points: Range<usize>, plane: &Plane, found: &mut Found) {
        for first in points.clone().step_by(LANES) {
            let lanes = |steps: &[i32]| *steps[first..].first_chunk::<LANES>().expect("both lists are longer by that");
            let keys = plane.keys(lanes(&self.lat), lanes(&self.lng));
            let count = points.end - first;
            found.add(array::from_fn(|n| if n < count { keys[n] } else { f32::INFINITY }), first as u32);
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
        self.rows.len()
    }

    fn density(&self, centre: &Centre, some: u32) -> f64 {
        ball::density(self, centre, some)
    }

    fn gather(&self, ball: &Ball, found: &mut Found) -> bool {
        ball.visit(self, |run| {
            let cells = run.tile as usize + run.first;
            let points = self.starts[cells] as usize..self.starts[cells + run.count] as usize;
            match ball.plane() {
                Some(plane) => self.add_on_plane(points, &plane, found),
                None => points.for_each(|entry| {
                    let key = ball.key(Place::new(self.place(entry), true));
                    found.add_one(key, entry as u32);
                }),
            }
            true
        })
    }

    fn gather_slowly(&self, ball: &Ball, found: &mut Found) {
        for entry in 0..self.rows.len() {
            let place = Place::new(self.place(entry), true);
            if ball.may_have(place) {
                found.add_one(ball.key(place), entry as u32);
            }
        }
    }

    fn position(&self, _: &Found, entry: u32) -> Position {
        self.place(entry as usize)
    }

    fn name(&self, _: &Found, entry: u32) -> u32 {
        self.rows[entry as usize]
    }
}
