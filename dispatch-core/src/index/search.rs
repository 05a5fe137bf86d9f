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

/// So many keys are computed at a time.
pub(super) const LANES: usize = 8;

/// So many are put in order at once.
const SORTED_AT_ONCE: usize = 32;

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

    /// Where a gathered point is, or was when it was gathered.
    fn position(&self, found: &Found, entry: u32) -> Position;

    /// What callers call a gathered point.
    fn name(&self, found: &Found, entry: u32) -> u32;
}

/// What a search gathered.
#[derive(Default)]
pub(super) struct Found {
    /// Key and entry of each point, as of [`ranked`]. What is behind `count` is there to be overwritten.
    ranked: Vec<u64>,
    count: usize,
    /// Points with a higher key are not added.
    limit: f32,
    /// Slots and places of moving points, by entry.
    pub(super) slots: Vec<u32>,
    pub(super) places: Vec<Place>,
    /// The lists that moving points were read from: runs of cells by their first and their count, and what was seen in each.
    pub(super) runs: Vec<(u32, u32)>,
    pub(super) seen: Vec<Seen>,
    hits: Vec<Hit>,
    metres: Vec<f64>,
}

impl Found {
    fn clear(&mut self, limit: f32) {
        (self.count, self.limit) = (0, limit);
        self.slots.clear();
        self.places.clear();
        self.runs.clear();
        self.seen.clear();
    }

    /// Adds points whose keys are given: entries from `first` on. An infinite key is nobody's.
    #[inline]
    pub(super) fn add(&mut self, keys: [f32; LANES], first: u32) {
        if self.ranked.len() < self.count + LANES {
            self.ranked.resize(2 * (self.count + LANES), 0);
        }
        let room = &mut self.ranked[self.count..][..LANES];
        let mut added = 0;
        for (key, entry) in keys.into_iter().zip(first..) {
            // Written in any case: which points are near cannot be guessed.
            room[added % LANES] = ranked(key, entry);
            added += usize::from(key <= self.limit);
        }
        self.count += added;
    }

    /// Adds one point.
    pub(super) fn add_one(&mut self, key: f32, entry: u32) {
        let mut keys = [f32::INFINITY; LANES];
        keys[0] = key;
        self.add(keys, entry);
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
        gather(field, &ball, reach, found);
        let enough = search.ask(field, &ball, query.limit, found, &mut eligible);
        if enough || angle >= whole {
            break;
        }
        let widening = (wanted / search.hits.len().max(1) as f64).sqrt().clamp(1.4, 3.0);
        angle = (angle * widening).min(whole);
        if F::STILL {
            search.go_on(field, &ball, &Ball::new(centre, angle), found);
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
    let mut nearest: Vec<(u32, Meters)> = Vec::with_capacity(hits.len());
    for (hit, &metres) in hits.iter().zip(metres) {
        let distance = Meters::new(metres).expect("an arc is finite and not negative");
        if distance > query.radius {
            continue;
        }
        // They come in this order already, but for the last few bits.
        let is_before = |other: &(u32, Meters)| {
            metres.total_cmp(&other.1.get()).then_with(|| tie(hit.name, other.0)) == Ordering::Less
        };
        let mut place = nearest.len();
        nearest.push((hit.name, distance));
        while place > 0 && is_before(&nearest[place - 1]) {
            nearest.swap(place - 1, place);
            place -= 1;
        }
    }
    nearest.truncate(query.limit);
    nearest
}

/// All that may be in a ball, in no order: names and positions.
pub(super) fn within<F: Field>(field: &F, ball: &Ball, found: &mut Found) -> Vec<(u32, Position)> {
    gather(field, ball, ball.outer_key(), found);
    let entries = found.ranked[..found.count].iter().map(|ranked| *ranked as u32);
    entries.map(|entry| (field.name(found, entry), field.position(found, entry))).collect()
}

fn gather<F: Field>(field: &F, ball: &Ball, limit: f32, found: &mut Found) {
    let points = field.len();
    // Past so many regions looking for them takes longer than looking at everything.
    let is_wide = points <= FEW || ball.regions() as usize > points / 64 + 256;
    for _ in 0..ATTEMPTS {
        found.clear(limit);
        if !is_wide && field.gather(ball, found) {
            return;
        }
    }
    found.clear(limit);
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
    fn ask<F: Field>(
        &mut self,
        field: &F,
        ball: &Ball,
        limit: usize,
        found: &mut Found,
        eligible: &mut impl FnMut(u32) -> bool,
    ) -> bool {
        // Keys that differ by less may belong to equal distances.
        let close = 1.0 + 4.0 * ball.error;
        let mut call = self.hits.get(limit - 1).map_or(f32::INFINITY, |hit| hit.key * close);
        // Those that probably are enough are put in order first.
        let part = (limit as f32 * 1.125 + 2.0) / found.count as f32;
        let mut ranked = mem::take(&mut found.ranked);
        let first = if found.count > SORTED_AT_ONCE && part < 0.8 {
            partition(&mut ranked[..found.count], found.limit * part)
        } else {
            0
        };
        for part in [0..first, first..found.count] {
            let part = &mut ranked[part];
            part.sort_unstable();
            for &ranked in &*part {
                let (key, entry) = (key(ranked), ranked as u32);
                if key > call {
                    break;
                }
                let name = field.name(found, entry);
                let is_new = key > self.asked && (self.skip.is_empty() || self.skip.binary_search(&name).is_err());
                if is_new && eligible(name) {
                    self.hits.push(Hit { key, name, position: field.position(found, entry) });
                    if self.hits.len() == limit {
                        call = key * close;
                    }
                }
            }
            if part.last().is_some_and(|last| key(*last) > call) {
                break;
            }
        }
        found.ranked = ranked;
        call <= found.limit
    }

    /// Remembers who was asked, for the next ball.
    fn go_on<F: Field>(&mut self, field: &F, ball: &Ball, next: &Ball, found: &Found) {
        if ball.is_plane() == next.is_plane() {
            self.asked = found.limit;
            return;
        }
        // The keys so far say nothing about those to come.
        let asked = found.ranked[..found.count].iter().map(|ranked| field.name(found, *ranked as u32));
        self.skip = asked.collect();
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
    if found.ranked.len().max(found.slots.capacity()) <= 1 << 16 {
        FOUND.set(Some(found));
    }
    result
}
