//! A circle on the earth: which cells it reaches, and how far from its centre things are.

use super::place::{CellId, Place, REGION_BITS, TURN, widening};
use super::polygon::Polygon;
use crate::geo::{EARTH_RADIUS_M, MAX_LAT_E7, Position, STEP_RAD, arc};
use crate::units::Meters;
use std::f64::consts::{FRAC_PI_2, PI};
use std::ops::RangeInclusive;

/// Steps of latitude from the south pole to the north pole.
const MAX_LAT: i64 = 2 * MAX_LAT_E7 as i64;

/// The bits of a tile: a region has 16 x 16 of them.
pub(super) const TILE_BITS: u32 = 18;

/// The place searched from, and its trigonometry.
#[derive(Clone, Copy)]
pub(super) struct Centre {
    at: Position,
    place: Place,
    lat: i64,
    lng: i64,
    cos: f64,
    sin: f64,
}

impl Centre {
    pub(super) fn new(at: Position) -> Self {
        let place = Place::new(at, false);
        let cos = arc::cos_of_mean(2 * at.steps().0);
        let sin = (1.0 - cos * cos).max(0.0).sqrt().copysign(at.lat());
        Self { at, place, lat: place.lat(), lng: place.lng(), cos, sin }
    }

    pub(super) fn unit_vector(&self) -> [f64; 3] {
        self.at.unit_vector()
    }
}

/// All that is within an angle of a centre, with a key for each place that grows with its distance.
///
/// Near its centre the key is the squared distance on a plane, in steps of latitude; elsewhere it is the haversine.
/// Either is off by at most [`Ball::error`], which is why whoever ranks by key decides close calls by the exact distance.
#[derive(Clone, Copy)]
pub(super) struct Ball {
    centre: Centre,
    angle: f64,
    /// How far it reaches to the north and south, and to the east and west: `TURN` is all around.
    reach: (i64, i64),
    plane: Option<Plane>,
    /// The key of its rim.
    rim: f64,
    /// The greatest relative error of a key within it.
    pub(super) error: f32,
}

/// A plane that touches the earth at the centre; a degree of longitude shrinks linearly to the north.
#[derive(Clone, Copy)]
pub(super) struct Plane {
    cos2: f32,
    slope: f32,
    /// The centre in steps, the longitude wrapped at 2^32.
    lat: i32,
    lng: i32,
    /// Whether cells of the ball may be on the other side of the antimeridian.
    wraps: bool,
    /// No place of the ball has a lower cosine than one over this.
    most_sec: f32,
}

impl Plane {
    /// The key of a place in the ball's cells.
    #[inline]
    pub(super) fn key(&self, place: Place) -> f32 {
        /// What a turn around the earth is short of a turn of 32 bits.
        const GAP: i32 = ((1 << 32) - TURN) as i32;
        let north = (place.lat() as i32).wrapping_sub(self.lat) as f32;
        let mut east = (place.lng() as i32).wrapping_sub(self.lng);
        if self.wraps {
            // Nothing is that far: it is on the other side of the antimeridian.
            east = if east > GAP / 2 { east.wrapping_sub(GAP) } else { east };
            east = if east < -GAP / 2 { east.wrapping_add(GAP) } else { east };
        }
        let east = east as f32;
        north * north + (self.cos2 + self.slope * north) * (east * east)
    }
}

/// A plane does up to this angle (64 km) if, seen from the centre, longitudes differ by at most that many radians.
const PLANE_ANGLE: f64 = 0.01;
const PLANE_LNG: f64 = 0.05;

impl Ball {
    /// All within `angle`, in radians, which may be more than half a turn.
    pub(super) fn new(centre: Centre, angle: f64) -> Self {
        // The lowest cosine within the ball, or less.
        let least_cos = centre.cos * (1.0 - angle * angle / 2.0) - centre.sin.abs() * angle;
        let reach_lat = (angle.min(PI) / STEP_RAD) as i64 + 2;
        if angle <= PLANE_ANGLE && least_cos >= 0.1 && angle <= PLANE_LNG * least_cos {
            let reach_lng = angle / least_cos;
            // And the widest cells that it reaches, twice over.
            let margin = (reach_lng / STEP_RAD) as i64 + (1 << 23);
            let plane = Plane {
                wraps: !(margin..TURN - margin).contains(&centre.lng),
                cos2: (centre.cos * centre.cos) as f32,
                slope: (-centre.sin * centre.cos * STEP_RAD) as f32,
                lat: centre.lat as i32,
                lng: centre.lng as i32,
                most_sec: (1.0 / least_cos) as f32,
            };
            return Self {
                centre,
                angle,
                reach: (reach_lat, (reach_lng / STEP_RAD) as i64 + 2),
                plane: Some(plane),
                rim: (angle / STEP_RAD) * (angle / STEP_RAD),
                // Leaving out the terms of fourth order, and rounding to 24 bits.
                error: (1.6 * reach_lng * reach_lng + 1e-6) as f32,
            };
        }
        let sin_lng = libm::sin(angle.min(FRAC_PI_2)) / centre.cos;
        let has_pole = centre.at.lat().abs().to_radians() + angle > FRAC_PI_2 - 1e-9 || sin_lng >= 1.0;
        let reach_lng = if has_pole { TURN } else { (libm::asin(sin_lng) * (1.0 + 1e-9) / STEP_RAD) as i64 + 2 };
        let rim = arc::haversine_of(
            Meters::new(angle.min(PI) * EARTH_RADIUS_M).expect("an angle is finite and not negative"),
        );
        Self { centre, angle: angle.min(PI), reach: (reach_lat, reach_lng), plane: None, rim, error: 1e-6 }
    }

    /// A circle that has all of a polygon.
    pub(super) fn surrounding(polygon: &Polygon) -> Self {
        let (centre, radius) = polygon.surroundings();
        Self::new(Centre::new(centre), (radius.get() / EARTH_RADIUS_M).min(PI))
    }

    pub(super) fn centre(&self) -> &Centre {
        &self.centre
    }

    /// In radians, at most half a turn.
    pub(super) fn angle(&self) -> f64 {
        self.angle
    }

    /// Every place within the ball has a key of at most this.
    pub(super) fn outer_key(&self) -> f32 {
        (self.rim * (1.0 + 2.0 * f64::from(self.error))) as f32
    }

    /// Every place with a key of at most this is within the ball.
    pub(super) fn inner_key(&self) -> f32 {
        (self.rim * (1.0 - 2.0 * f64::from(self.error))) as f32
    }

    /// How keys are computed near the centre.
    pub(super) fn plane(&self) -> Option<Plane> {
        self.plane
    }

    pub(super) fn is_plane(&self) -> bool {
        self.plane.is_some()
    }

    /// The key of a place; only a place that [`Ball::may_have`] or a cell of the ball has a place in is right on the plane.
    pub(super) fn key(&self, place: Place) -> f32 {
        match self.plane {
            Some(plane) => plane.key(place),
            None => arc::haversine(self.centre.at, place.position()) as f32,
        }
    }

    /// Whether a place is within reach to all four sides: a quick test that few places pass.
    pub(super) fn may_have(&self, place: Place) -> bool {
        let east = (place.lng() - self.centre.lng).abs();
        (place.lat() - self.centre.lat).abs() <= self.reach.0 && east.min(TURN - east) <= self.reach.1
    }

    /// How many regions there are within reach, about.
    pub(super) fn regions(&self) -> i64 {
        let wide = REGION_BITS + widening(self.centre.lat);
        (((2 * self.reach.0) >> REGION_BITS) + 2) * (((2 * self.reach.1.min(TURN / 2)) >> wide) + 2)
    }

    /// The rows of cells of `1 << bits` steps within reach, `slack` steps further.
    fn rows(&self, bits: u32, slack: i64) -> RangeInclusive<i64> {
        let (south, north) = (self.centre.lat - self.reach.0 - slack, self.centre.lat + self.reach.0 + slack);
        south.max(0) >> bits..=north.min(MAX_LAT) >> bits
    }

    /// How far the ball reaches to the east and west, somewhere in a row of cells; `None` if it does not reach the row.
    fn reach_in_row(&self, row: i64, bits: u32, slack: i64) -> Option<i64> {
        let Some(plane) = self.plane else { return Some(self.reach.1) };
        let (south, north) = ((row << bits) - slack, ((row + 1) << bits) + slack);
        let off = (south - self.centre.lat).max(self.centre.lat - north).max(0) as f64;
        // The plane is off by less than a thousandth.
        let squared = (self.rim * 1.001 + 4.0 - off * off) as f32;
        // Short floats are quicker, and off by a metre at most.
        (squared >= 0.0).then(|| (squared.sqrt() * plane.most_sec) as i64 + 100)
    }
}

fn intersect(a: RangeInclusive<i64>, b: RangeInclusive<i64>) -> RangeInclusive<i64> {
    *a.start().max(b.start())..=*a.end().min(b.end())
}

/// What is divided into regions of 16 x 16 tiles, each of which is divided into cells by its own measure.
pub(super) trait Country {
    /// How far from its cell something may be, in steps of latitude.
    const SLACK: i64;

    /// A tile.
    type Tile: Copy;

    /// A region by row and column.
    fn region(&self, row: usize, col: usize) -> Option<u32>;

    /// A tile of a region, and its level: it has `2^level x 2^level` cells.
    fn tile(&self, region: u32, child: usize) -> Option<(u32, Self::Tile)>;

    /// About how many points are in cells next to each other.
    fn points(&self, tile: Self::Tile, first: usize, count: usize) -> u32;
}

/// The place of a tile in its region.
pub(super) fn child(tile_row: i64, tile_col: i64) -> usize {
    ((tile_row & 15) << 4 | tile_col & 15) as usize
}

/// About how many points there are around a centre for each square step of latitude, from a square of cells in its tile
/// that has at least `some`. If the tile has only a few, they count as more: no search begins with much more than a tile.
pub(super) fn density<C: Country>(country: &C, centre: &Centre, some: u32) -> f64 {
    let at = CellId::of(centre.place, TILE_BITS);
    let tile = country
        .region((at.row >> 4) as usize, (at.col >> 4) as usize)
        .and_then(|region| country.tile(region, child(at.row, at.col)));
    let side = f64::from(1 << TILE_BITS);
    let area = side * (side * f64::from(1 << at.widening) * centre.cos).max(side / 8.0);
    let Some((level, tile)) = tile else { return FEW_IN_TILE / area };
    let cell = CellId::of(centre.place, TILE_BITS - level);
    let last = (1 << level) - 1;
    let (row, col) = (cell.row & last, cell.col & last);
    let mut reach = 1;
    loop {
        let rows = (row - reach).max(0)..=(row + reach).min(last);
        let cols = (col - reach).max(0)..=(col + reach).min(last);
        let (high, wide) = (rows.end() - rows.start() + 1, cols.end() - cols.start() + 1);
        let points: u32 =
            rows.map(|row| country.points(tile, (row << level | cols.start()) as usize, wide as usize)).sum();
        if points >= some || reach > last {
            let part = (high * wide) as f64 / f64::from(1 << (2 * level));
            return f64::from(points).max(FEW_IN_TILE * part) / (area * part);
        }
        reach *= 2;
    }
}

const FEW_IN_TILE: f64 = 10.0;

/// Cells of one row of a tile, next to each other.
pub(super) struct Run<T> {
    pub(super) tile: T,
    /// The number of the first cell in the tile, row by row.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Ball {
    /// Shows every cell that may have something of the ball, once; ends with `false` as soon as `show` says so.
    pub(super) fn visit<C: Country>(&self, country: &C, mut show: impl FnMut(Run<C::Tile>) -> bool) -> bool {
        for region_row in self.rows(REGION_BITS, C::SLACK) {
            let widening = widening(region_row << REGION_BITS);
            let wide = REGION_BITS + widening;
            let slack_lng = C::SLACK << widening;
            // As it is, and a turn further: the same meridian may have two longitudes.
            for (turn, all) in self.turns(wide, slack_lng) {
                let span = self.span(turn, self.reach.1 + slack_lng, all);
                for region_col in span.start() >> wide..=span.end() >> wide {
                    let Some(region) = country.region(region_row as usize, region_col as usize) else { continue };
                    let within = RegionAt { region, row: region_row, col: region_col, widening, turn, all };
                    if !self.visit_region(country, &within, &mut show) {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn visit_region<C: Country>(
        &self,
        country: &C,
        at: &RegionAt,
        show: &mut impl FnMut(Run<C::Tile>) -> bool,
    ) -> bool {
        let slack_lng = C::SLACK << at.widening;
        let wide = TILE_BITS + at.widening;
        for row in intersect(at.row << 4..=at.row << 4 | 15, self.rows(TILE_BITS, C::SLACK)) {
            let Some(reach) = self.reach_in_row(row, TILE_BITS, C::SLACK) else { continue };
            let span = self.span(at.turn, reach + slack_lng, at.all);
            for col in intersect(at.col << 4..=at.col << 4 | 15, span.start() >> wide..=span.end() >> wide) {
                let Some((level, tile)) = country.tile(at.region, child(row, col)) else { continue };
                let bits = TILE_BITS - level;
                let cell_rows = intersect(row << level..=((row + 1) << level) - 1, self.rows(bits, C::SLACK));
                for cell_row in cell_rows {
                    let Some(reach) = self.reach_in_row(cell_row, bits, C::SLACK) else { continue };
                    let span = self.span(at.turn, reach + slack_lng, at.all);
                    let wide = bits + at.widening;
                    let cols =
                        intersect(col << level..=((col + 1) << level) - 1, span.start() >> wide..=span.end() >> wide);
                    if cols.is_empty() {
                        continue;
                    }
                    let first = ((cell_row - (row << level)) << level) + cols.start() - (col << level);
                    let count = (cols.end() - cols.start() + 1) as usize;
                    if !show(Run { tile, first: first as usize, count }) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// By how much to turn the longitude of the centre to reach everything, and whether that is all longitudes, for regions
    /// of `1 << wide` steps.
    fn turns(&self, wide: u32, slack: i64) -> impl Iterator<Item = (i64, bool)> {
        let reach = self.reach.1 + slack;
        // Both ends in one region would show it twice.
        let all = 2 * reach + (2 << wide) >= TURN;
        let (west, east) = (self.centre.lng - reach, self.centre.lng + reach);
        let turns = [(0, true), (TURN, !all && west <= 0), (-TURN, !all && east >= TURN)];
        turns.into_iter().filter(|(_, needed)| *needed).map(move |(turn, _)| (turn, all))
    }

    /// The longitudes within `reach` of the turned centre.
    fn span(&self, turn: i64, reach: i64, all: bool) -> RangeInclusive<i64> {
        if all {
            return 0..=TURN;
        }
        let centre = self.centre.lng + turn;
        (centre - reach).max(0)..=(centre + reach).min(TURN)
    }
}

struct RegionAt {
    region: u32,
    row: i64,
    col: i64,
    widening: u32,
    turn: i64,
    all: bool,
}
