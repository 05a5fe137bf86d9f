//! The index, its snapshot and the point set against brute force, and many threads at once.

use super::*;
use crate::units::Millis;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;

fn at(lat: f64, lng: f64) -> Position {
    Position::new(lat, lng).unwrap()
}

fn id(n: impl fmt::Display) -> DriverId {
    DriverId::new(format!("d-{n}")).unwrap()
}

fn meters(meters: f64) -> Meters {
    Meters::new(meters).unwrap()
}

/// Where search structures go wrong: one spot shared by many, equal distances, poles, the antimeridian, far apart.
fn place() -> impl Strategy<Value = Position> {
    let sign = || prop_oneof![Just(-1.0), Just(1.0)];
    prop_oneof![
        3 => (0..12i32, 0..12i32).prop_map(|(i, j)| at(52.5 + 0.001 * f64::from(i), 13.4 + 0.001 * f64::from(j))),
        3 => (52.3..52.7f64, 13.1..13.8f64).prop_map(|(lat, lng)| at(lat, lng)),
        1 => (0..4i32, 0..4i32).prop_map(|(i, j)| at(0.01 * f64::from(i - 2), 0.01 * f64::from(j - 2))),
        1 => (sign(), 0.0..0.05f64, -180.0..=180.0f64).prop_map(|(sign, off, lng)| at(sign * (90.0 - off), lng)),
        1 => (sign(), -180.0..=180.0f64).prop_map(|(sign, lng)| at(sign * 90.0, lng)),
        1 => (sign(), 0.0..0.1f64, -0.1..0.1f64).prop_map(|(sign, off, lat)| at(lat, sign * (180.0 - off))),
        1 => (sign(), -1..=1i32).prop_map(|(sign, lat)| at(0.01 * f64::from(lat), sign * 180.0)),
        1 => (-1.0..=1.0f64, -180.0..=180.0f64).prop_map(|(sin, lng)| at(sin.asin().to_degrees(), lng)),
    ]
}

#[derive(Clone, Debug)]
struct Query {
    at: Position,
    radius: Meters,
    limit: usize,
    refused: usize,
}

impl Query {
    /// Three of four are eligible, or all of them.
    fn accepts(&self, n: usize) -> bool {
        n % 4 != self.refused
    }
}

fn query() -> impl Strategy<Value = Query> {
    let radius = prop_oneof![
        1 => Just(0.0),
        4 => 0.0..5_000.0f64,
        3 => 0.0..500_000.0f64,
        1 => 0.0..20_100_000.0f64,
        2 => Just(1e300),
    ];
    let limit = prop_oneof![1 => Just(0), 6 => 1..30usize, 1 => Just(usize::MAX)];
    (place(), radius, limit, 0..5usize).prop_map(|(at, radius, limit, refused)| Query {
        at,
        radius: meters(radius),
        limit,
        refused,
    })
}

/// The answer by looking at everything.
fn brute<K: Ord + Copy>(query: &Query, points: impl Iterator<Item = (K, Position)>) -> Vec<(K, Meters)> {
    let mut found: Vec<_> = points
        .map(|(key, position)| (key, query.at.distance(position)))
        .filter(|(_, distance)| *distance <= query.radius)
        .collect();
    found.sort_by(|a, b| a.1.get().total_cmp(&b.1.get()).then_with(|| a.0.cmp(&b.0)));
    found.truncate(query.limit);
    found
}

/// The number in a driver's name.
fn number(driver: &DriverId) -> usize {
    driver.as_str()[2..].parse().unwrap()
}

#[derive(Clone, Debug)]
enum Change {
    Move(Position),
    Available(bool),
}

fn change() -> impl Strategy<Value = (usize, Change)> {
    let change = prop_oneof![4 => place().prop_map(Change::Move), 1 => any::<bool>().prop_map(Change::Available)];
    (0..120usize, change)
}

/// Long enough apart that every way on earth is slow enough.
const PAUSE: Millis = Millis::from_mins(10 * 24 * 60);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_point_set_answers_like_brute_force(points in vec(place(), 0..400), queries in vec(query(), 1..12)) {
        let set = PointSet::new(points.iter().copied());
        for query in queries {
            let eligible = (0..).zip(points.iter().copied()).filter(|(row, _)| query.accepts(*row as usize));
            let expected: Vec<(u32, Meters)> = brute(&query, eligible);
            let found = set.nearest(query.at, query.radius, query.limit, |row| query.accepts(row as usize));
            prop_assert_eq!(found, expected, "{:?}", query);
        }
    }

    #[test]
    fn the_index_and_its_snapshot_answer_like_brute_force(
        changes in vec(change(), 0..400),
        queries in vec(query(), 1..12),
    ) {
        let index = PositionIndex::new(FixRules::default()).unwrap();
        let mut model: BTreeMap<DriverId, (Option<Fix>, bool)> = BTreeMap::new();
        let mut now = Timestamp::from_millis(0);
        let mut snapshot = Positions::from_fixes([(id("old"), Fix { position: at(0.0, 0.0), at: now })]);
        for (n, change) in changes {
            now += PAUSE;
            let slot = index.slot(&id(n)).unwrap();
            let (last, available) = model.entry(id(n)).or_insert((None, true));
            match change {
                Change::Move(position) => {
                    *last = Some(Fix { position, at: now });
                    prop_assert_eq!(index.report(slot, Fix { position, at: now }, now), Reported::Moved);
                }
                Change::Available(is) => {
                    *available = is;
                    index.set_available(slot, is);
                }
            }
        }
        prop_assert_eq!(index.len(), model.len());
        // What a reused snapshot was searched for before must not show.
        prop_assert_eq!(snapshot.nearest(at(0.0, 0.0), Meters::ZERO, 1, |_| true).len(), 1);
        index.snapshot(&mut snapshot);
        let fixes: Vec<_> = model.iter().filter_map(|(id, (fix, _))| Some((id, (*fix)?))).collect();
        prop_assert!(snapshot.iter().eq(fixes.iter().copied()));
        prop_assert_eq!(snapshot.len(), fixes.len());
        for query in queries {
            let searched = model.iter().filter_map(|(id, (fix, available))| {
                (*available && query.accepts(number(id))).then_some((id, (*fix)?.position))
            });
            let expected = brute(&query, searched);
            let Query { at, radius, limit, .. } = query;
            let eligible = |id: &DriverId| query.accepts(number(id));
            prop_assert_eq!(&index.nearest(at, radius, limit, eligible), &expected, "{:?}", query);
            prop_assert_eq!(&snapshot.nearest(at, radius, limit, eligible), &expected, "{:?}", query);
        }
    }

    #[test]
    fn of_several_fixes_of_a_driver_the_last_given_counts(fixes in vec((0..20usize, place()), 0..60)) {
        let fix = |(n, (driver, position)): (i64, &(usize, Position))| {
            (id(driver), Fix { position: *position, at: Timestamp::from_millis(-n) })
        };
        let given: Vec<_> = (0..).zip(&fixes).map(fix).collect();
        let expected: BTreeMap<_, _> = given.iter().cloned().collect();
        let positions = Positions::from_fixes(given);
        prop_assert!(positions.iter().eq(expected.iter().map(|(id, fix)| (id, *fix))));
        prop_assert!((0..25).all(|n| positions.get(&id(n)) == expected.get(&id(n)).copied()));
        let found = positions.nearest(at(0.0, 0.0), meters(1e9), usize::MAX, |_| true);
        prop_assert_eq!(found.len(), expected.len());
    }
}

#[test]
fn nobody_is_found_where_nobody_is() {
    let index = PositionIndex::new(FixRules::default()).unwrap();
    let (here, mut snapshot) = (at(1.0, 2.0), Positions::default());
    assert!(index.is_empty());
    assert_eq!(index.slot(&id(1)), index.slot(&id(1)));
    index.snapshot(&mut snapshot);
    assert!(snapshot.is_empty() && index.len() == 1);
    assert_eq!(index.nearest(here, meters(1e9), 5, |_| true), []);
    assert_eq!(snapshot.nearest(here, meters(1e9), 5, |_| true), []);
    assert_eq!(PointSet::new([]).nearest(here, meters(1e9), 5, |_| true), []);
}

#[test]
fn a_refused_fix_moves_nobody() {
    let index = PositionIndex::new(FixRules::default()).unwrap();
    let slot = index.slot(&id(1)).unwrap();
    let (home, away, now) = (at(10.0, 10.0), at(11.0, 10.0), Timestamp::from_millis(1_000_000));
    assert_eq!(index.report(slot, Fix { position: home, at: now }, now), Reported::Moved);
    let later = |secs| now + Millis::from_secs(secs);
    for (at, expected) in [
        (now, Reported::Stale),
        (later(-301), Reported::TooOld),
        (later(61), Reported::FromFuture),
        (later(1), Reported::TooFast),
    ] {
        assert_eq!(index.report(slot, Fix { position: away, at }, now), expected);
        assert_eq!(index.nearest(home, Meters::ZERO, 1, |_| true).len(), 1);
    }
}

#[test]
fn there_are_no_more_drivers_than_allowed() {
    let index = PositionIndex::new(FixRules { max_drivers: 2_000, ..FixRules::default() }).unwrap();
    let slots: BTreeSet<_> = (0..2_000).map(|n| index.slot(&id(n)).unwrap()).collect();
    assert_eq!(slots.len(), 2_000);
    assert_eq!(index.slot(&id("new")), Err(IndexFull { max_drivers: 2_000 }));
    assert!(index.slot(&id(7)).is_ok());
    assert!(PositionIndex::new(FixRules { max_drivers: 0, ..FixRules::default() }).is_err());
}

/// Two corners of a city, in different cells.
fn corners(n: usize) -> [Position; 2] {
    let off = n as f64 * 1e-4;
    [at(52.3 + off, 13.0), at(52.7, 13.8 - off)]
}

const FLEET: usize = 60;
const STEPS: i64 = 1_500;

/// Moves every `stride`-th driver from corner to corner.
fn commute(index: &PositionIndex, first: usize, stride: usize) {
    for step in 0..STEPS {
        let now = Timestamp::from_millis(0) + PAUSE * step;
        for n in (first..=FLEET).step_by(stride) {
            let fix = Fix { position: corners(n)[usize::from(step % 2 == 1)], at: now };
            assert_eq!(index.report(index.slot(&id(n)).unwrap(), fix, now), Reported::Moved);
        }
    }
}

/// Sees every driver of the fleet once, at one of its corners, in searches and in snapshots.
fn watch(index: &PositionIndex) {
    let fleet: BTreeSet<_> = (0..FLEET).map(id).collect();
    let centre = at(52.5, 13.4);
    let mut snapshot = Positions::default();
    for _ in 0..STEPS {
        let found = index.nearest(centre, Meters::from_km(100), usize::MAX, |driver| fleet.contains(driver));
        assert_eq!(found.len(), FLEET);
        assert_eq!(found.iter().map(|(driver, _)| (*driver).clone()).collect::<BTreeSet<_>>(), fleet);
        for (driver, distance) in found {
            assert!(corners(number(driver)).iter().any(|corner| corner.distance(centre) == distance));
        }
        index.snapshot(&mut snapshot);
        for driver in &fleet {
            let fix = snapshot.get(driver).unwrap();
            assert!(corners(number(driver)).contains(&fix.position));
        }
    }
}

/// Goes off and on duty while it commutes.
fn take_breaks(index: &PositionIndex) {
    let (driver, start) = (id(FLEET), corners(FLEET)[0]);
    let slot = index.slot(&driver).unwrap();
    let is_found = || !index.nearest(start, Meters::from_km(100), 1, |found| *found == driver).is_empty();
    for _ in 0..STEPS {
        index.set_available(slot, false);
        assert!(!is_found());
        index.set_available(slot, true);
        assert!(is_found());
    }
}

/// Goes through more cells than there may be empty shards.
fn roam(index: &PositionIndex) {
    let slot = index.slot(&id("roamer")).unwrap();
    for step in 0..STEPS {
        let now = Timestamp::from_millis(0) + PAUSE * step;
        let position = at(-0.5 * (step % 100) as f64, (step / 100) as f64);
        assert_eq!(index.report(slot, Fix { position, at: now }, now), Reported::Moved);
        assert_eq!(index.nearest(position, Meters::ZERO, 2, |_| true).len(), 1);
    }
}

#[test]
fn a_search_sees_everybody_once_while_all_move() {
    let index = PositionIndex::new(FixRules::default()).unwrap();
    let start = Timestamp::from_millis(-1);
    for n in 0..=FLEET {
        let fix = Fix { position: corners(n)[0], at: start };
        assert_eq!(index.report(index.slot(&id(n)).unwrap(), fix, start), Reported::Moved);
    }
    thread::scope(|scope| {
        scope.spawn(|| commute(&index, 0, 2));
        scope.spawn(|| commute(&index, 1, 2));
        scope.spawn(|| watch(&index));
        scope.spawn(|| watch(&index));
        scope.spawn(|| take_breaks(&index));
        scope.spawn(|| roam(&index));
    });
}
