//! The nearest of many moving or standing points, whatever structure they are in.
//!
//! A search gathers everything within a circle that probably has enough, ranks it by a key that is cheap, asks about one
//! after the other, and tries a larger circle if that was not enough. Only what ranks high enough gets its exact distance,
//! and that decides.

use super::ball::{Ball, Centre};
use super::cell::Seen;
use super::place::Place;
use crate::geo::{EARTH_RADIUS_M, Position, STEP_RAD, arc};
use crate::units::Meters;
use std::cell::Cell;
use std::cmp::Ordering;
use std::f64::consts::PI;
use std::mem;

/// Fewer points than this are looked at one by one.
const FEW: usize = 128;

/// No more than this are put in order in one go.
const FEW_RANKED: usize = 32;

/// How often moving points are gathered before they are looked at one by one.
const ATTEMPTS: u32 = 4;

/// What is searched.
pub(super) trait Field {
    /// Whether nothing moves while it is searched.
    const STILL: bool;

    /// How many points there are.
    fn len(&self) -> usize;

    /// About how many points there are near the centre for each square step of latitude, seen from at least some of them.
    fn density(&self, centre: &Centre, some: u32) -> f64;

    /// Adds whatever may be in the ball. Says whether it was all there at one instant; otherwise it is to be done anew.
    fn gather(&self, ball: &Ball, found: &mut Found) -> bool;

    /// Adds whatever may be in the ball, by looking at every point once.
    fn gather_slowly(&self, ball: &Ball, found: &mut Found);
}

/// What a search gathered.
#[derive(Default)]
pub(super) struct Found {
    /// What callers call the points, and where they are or were when they were gathered.
    pub(super) names: Vec<u32>,
    pub(super) places: Vec<Place>,
    /// The lists that moving points were read from: runs of cells by their first and their count, and what was seen in each.
    pub(super) runs: Vec<(u32, u32)>,
    pub(super) seen: Vec<Seen>,
    keys: Vec<f32>,
    /// Key and entry of each point that is near enough, as of [`ranked`].
    ranked: Vec<u64>,
    hits: Vec<Hit>,
    metres: Vec<f64>,
}

impl Found {
    fn clear(&mut self) {
        self.names.clear();
        self.places.clear();
        self.runs.clear();
        self.seen.clear();
    }

    /// Ranks what was gathered, as far as searches find it and its key is at most `limit`.
    fn rank(&mut self, ball: &Ball, limit: f32) {
        self.keys.clear();
        match ball.plane() {
            Some(plane) => self.keys.extend(self.places.iter().map(|place| plane.key(*place))),
            None => self.keys.extend(self.places.iter().map(|place| ball.key(*place))),
        }
        self.ranked.resize(self.places.len() + 1, 0);
        let mut count = 0;
        for ((key, place), entry) in self.keys.iter().zip(&self.places).zip(0..) {
            // Written in any case: which points are near cannot be guessed.
            self.ranked[count] = ranked(*key, entry);
            count += usize::from((*key <= limit) & place.is_searchable());
        }
        self.ranked.truncate(count);
    }
}

/// A point that was asked about and counts.
#[derive(Clone, Copy)]
struct Hit {
    key: f32,
    name: u32,
    position: Position,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Query {
    pub(super) at: Position,
    pub(super) radius: Meters,
    pub(super) limit: usize,
}

/// The nearest eligible points: names and distances, nearest first, ties in the order of names by `tie`.
///
/// Still points are asked about once at most.
pub(super) fn nearest<F: Field>(
    field: &F,
    query: &Query,
    found: &mut Found,
    mut eligible: impl FnMut(u32) -> bool,
    tie: impl Fn(u32, u32) -> Ordering,
) -> Vec<(u32, Meters)> {
    let points = field.len();
    if query.limit == 0 || points == 0 {
        return Vec::new();
    }
    let centre = Centre::new(query.at);
    let whole = (query.radius.get() / EARTH_RADIUS_M).min(PI);
    // Where they are spread at random, 49 of 50 circles with so many on average have enough.
    let wanted = query.limit as f64 + 2.0 * (query.limit as f64).sqrt() + 1.0;
    let mut angle = if points <= FEW || query.limit >= points {
        whole
    } else {
        ((wanted / (PI * field.density(&centre, query.limit as u32))).sqrt() * STEP_RAD).min(whole)
    };
    let mut search = Search { hits: mem::take(&mut found.hits), asked: -1.0, skip: Vec::new() };
    search.hits.clear();
    loop {
        let ball = Ball::new(centre, angle);
        let reach = if angle >= whole { ball.outer_key() } else { ball.inner_key() };
        gather(field, &ball, found);
        found.rank(&ball, reach);
        let enough = search.ask(&ball, reach, query.limit, found, &mut eligible);
        if enough || angle >= whole {
            break;
        }
        let widening = (wanted / search.hits.len().max(1) as f64).sqrt().clamp(1.4, 3.0);
        angle = (angle * widening).min(whole);
        if F::STILL {
            search.go_on(&ball, reach, &Ball::new(centre, angle), found);
        } else {
            // Who was found may since have moved.
            search.hits.clear();
        }
    }
    arc::between_all(query.at, &search.hits, |hit| hit.position, &mut found.metres);
    let nearest = sorted(query, &search.hits, &found.metres, tie);
    found.hits = search.hits;
    nearest
}

/// The hits by distance and within the radius, as many as are wanted.
fn sorted(query: &Query, hits: &[Hit], metres: &[f64], tie: impl Fn(u32, u32) -> Ordering) -> Vec<(u32, Meters)> {
    let distance = |metres: f64| Meters::new(metres).expect("an arc is finite and not negative");
    let found = hits.iter().zip(metres).map(|(hit, &metres)| (hit.name, distance(metres)));
    let mut nearest: Vec<(u32, Meters)> = found.collect();
    // They come in this order already, but for the last few bits.
    if !metres.is_sorted_by(|a, b| a < b) {
        nearest.sort_unstable_by(|a, b| a.1.get().total_cmp(&b.1.get()).then_with(|| tie(a.0, b.0)));
    }
    nearest.truncate(query.limit);
    nearest.truncate(nearest.partition_point(|(_, distance)| *distance <= query.radius));
    nearest
}

/// All that may be in a ball, in no order: names and positions.
pub(super) fn within<F: Field>(field: &F, ball: &Ball, found: &mut Found) -> Vec<(u32, Position)> {
    gather(field, ball, found);
    found.rank(ball, ball.outer_key());
    let entries = found.ranked.iter().map(|ranked| *ranked as u32 as usize);
    entries.map(|entry| (found.names[entry], found.places[entry].position())).collect()
}

fn gather<F: Field>(field: &F, ball: &Ball, found: &mut Found) {
    let points = field.len();
    // Past so many regions looking for them takes longer than looking at everything.
    let is_wide = points <= FEW || ball.regions() as usize > points / 64 + 256;
    for _ in 0..ATTEMPTS {
        found.clear();
        if !is_wide && field.gather(ball, found) {
            return;
        }
    }
    found.clear();
    field.gather_slowly(ball, found);
}

/// What was asked so far.
struct Search {
    /// In the order of their keys.
    hits: Vec<Hit>,
    /// Still points up to this key were asked about.
    asked: f32,
    /// These were, too.
    skip: Vec<u32>,
}

impl Search {
    /// Asks about what was gathered, from near to far; says whether that was enough.
    fn ask(
        &mut self,
        ball: &Ball,
        reach: f32,
        limit: usize,
        found: &mut Found,
        eligible: &mut impl FnMut(u32) -> bool,
    ) -> bool {
        // Keys that differ by less may belong to equal distances.
        let close = 1.0 + 4.0 * ball.error;
        let mut call = self.hits.get(limit - 1).map_or(f32::INFINITY, |hit| hit.key * close);
        // Those that probably are enough are put in order first.
        let part = (limit as f32 * 1.125 + 2.0) / found.ranked.len() as f32;
        let Found { names, places, ranked, .. } = found;
        let first = if ranked.len() > FEW_RANKED && part < 0.8 { partition(ranked, reach * part) } else { 0 };
        let (near, far) = ranked.split_at_mut(first);
        for part in [near, far] {
            part.sort_unstable();
            for &ranked in &*part {
                let (key, entry) = (key(ranked), ranked as u32 as usize);
                if key > call {
                    return call <= reach;
                }
                let name = names[entry];
                let is_new = key > self.asked && (self.skip.is_empty() || self.skip.binary_search(&name).is_err());
                if is_new && eligible(name) {
                    self.hits.push(Hit { key, name, position: places[entry].position() });
                    if self.hits.len() == limit {
                        call = key * close;
                    }
                }
            }
        }
        call <= reach
    }

    /// Remembers who was asked, for the next ball.
    fn go_on(&mut self, ball: &Ball, reach: f32, next: &Ball, found: &Found) {
        if ball.is_plane() == next.is_plane() {
            self.asked = reach;
            return;
        }
        // The keys so far say nothing about those to come.
        self.skip = found.ranked.iter().map(|ranked| found.names[*ranked as u32 as usize]).collect();
        self.skip.sort_unstable();
        self.asked = -1.0;
        for hit in &mut self.hits {
            hit.key = next.key(Place::new(hit.position, true));
        }
        self.hits.sort_by(|a, b| a.key.total_cmp(&b.key));
    }
}

/// Brings keys up to `limit` to the front and says how many they are.
fn partition(ranked: &mut [u64], limit: f32) -> usize {
    let mut front = 0;
    for at in 0..ranked.len() {
        let low = key(ranked[at]) <= limit;
        ranked.swap(front, at);
        front += usize::from(low);
    }
    front
}

/// Sorts by key: the bits of a float that is not negative do. The entry is below.
fn ranked(key: f32, entry: u32) -> u64 {
    u64::from(key.to_bits()) << 32 | u64::from(entry)
}

fn key(ranked: u64) -> f32 {
    f32::from_bits((ranked >> 32) as u32)
}

thread_local! {
    /// The memory of the last search, for the next one.
    static FOUND: Cell<Option<Box<Found>>> = Cell::default();
}

/// Gives a search memory to work in.
pub(super) fn with_memory<T>(search: impl FnOnce(&mut Found) -> T) -> T {
    // A search within a search (from `eligible`) finds nothing here and makes its own.
    let mut found = FOUND.take().unwrap_or_default();
    let result = search(&mut found);
    // One huge search must not occupy memory for ever.
    if found.names.capacity() <= 1 << 16 {
        FOUND.set(Some(found));
    }
    result
}
