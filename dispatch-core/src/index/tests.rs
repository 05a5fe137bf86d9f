//! The index, its snapshot and the point set against brute force, and many threads at once.

use super::*;
use crate::geo::{MAX_LAT_E7, MAX_LNG_E7};
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
    /// Anywhere.
    Move(Position),
    /// A few metres on, in steps to the north and east.
    Step(i32, i32),
    Available(bool),
    /// Who has been silent for longer than so many changes is retired.
    Retire(i64),
}

fn change() -> impl Strategy<Value = (usize, Change)> {
    let change = prop_oneof![
        4 => place().prop_map(Change::Move),
        4 => (-6_000..6_000i32, -6_000..6_000i32).prop_map(|(north, east)| Change::Step(north, east)),
        2 => any::<bool>().prop_map(Change::Available),
        1 => (0..1_000i64).prop_map(Change::Retire),
    ];
    (0..400usize, change)
}

/// Long enough apart that every way on earth is slow enough.
const PAUSE: Millis = Millis::from_mins(10 * 24 * 60);

/// As [`PositionIndex::nearest`], with drivers by their ids.
fn nearest(
    index: &PositionIndex,
    at: Position,
    radius: Meters,
    limit: usize,
    mut eligible: impl FnMut(&DriverId) -> bool,
) -> Vec<(&DriverId, Meters)> {
    let found = index.nearest(at, radius, limit, |slot| eligible(index.driver(slot)));
    found.into_iter().map(|(slot, distance)| (index.driver(slot), distance)).collect()
}

const BACKENDS: [IndexBackend; 2] = [IndexBackend::Grid, IndexBackend::RTree];

fn index(backend: IndexBackend) -> PositionIndex {
    PositionIndex::new(FixRules { backend, ..FixRules::default() }).unwrap()
}

/// A quadrangle around a place, from small to wide; its sides may cross.
fn area() -> impl Strategy<Value = Polygon> {
    let corner = || (-1.0..1.0f64, -1.0..1.0f64);
    let corners = [corner(), corner(), corner(), corner()];
    (place(), corners, prop_oneof![Just(0.01), Just(0.3), Just(5.0)]).prop_filter_map("has no inside", |of| {
        let (centre, corners, size) = of;
        let corner = |(north, east): (f64, f64)| {
            let lng = (centre.lng() + east * size + 540.0).rem_euclid(360.0) - 180.0;
            at((centre.lat() + north * size).clamp(-90.0, 90.0), lng)
        };
        Polygon::new(corners.map(corner)).ok()
    })
}

/// What an index ought to know.
#[derive(Default)]
struct Model {
    now: Timestamp,
    drivers: BTreeMap<DriverId, Known>,
}

struct Known {
    last: Option<Fix>,
    available: bool,
    retired: bool,
}

impl Model {
    /// Changes both, the index by its public calls.
    fn change(&mut self, index: &PositionIndex, n: usize, change: &Change) {
        self.now += PAUSE;
        let (slot, now) = (index.slot(&id(n)).unwrap(), self.now);
        let known = self.drivers.entry(id(n)).or_insert(Known { last: None, available: true, retired: false });
        let here = known.last.map_or(at(0.0, 0.0), |last| last.position);
        let report = |known: &mut Known, position: Position| {
            let fix = Fix { position, at: now };
            assert_eq!(index.report(slot, fix, now), Reported::Moved);
            assert_eq!(index.last(slot), Some((fix, Motion::default())));
            (known.last, known.retired) = (Some(fix), false);
        };
        match *change {
            Change::Move(position) => report(known, position),
            Change::Step(north, east) => {
                let (lat, lng) = (here.steps().0 + north, here.steps().1.saturating_add(east));
                let (lat, lng) = (lat.clamp(-MAX_LAT_E7, MAX_LAT_E7), lng.clamp(-MAX_LNG_E7, MAX_LNG_E7));
                report(known, Position::from_steps(lat, lng));
            }
            Change::Available(available) => {
                known.available = available;
                // Who comes back is found where it was last; who was there all along waits for its next fix.
                known.retired &= available;
                index.set_available(slot, available);
            }
            Change::Retire(changes) => {
                let silent_for = PAUSE * changes;
                let is_silent = |known: &&mut Known| {
                    known.available && !known.retired && known.last.is_some_and(|last| now - last.at > silent_for)
                };
                let retired = self.drivers.values_mut().filter(is_silent).map(|known| known.retired = true).count();
                assert_eq!(index.retire(now, silent_for), retired);
            }
        }
    }

    /// Who is to be found, by id.
    fn searchable(&self) -> impl Iterator<Item = (&DriverId, Position)> {
        let searchable = self.drivers.iter().filter(|(_, known)| known.available && !known.retired);
        searchable.filter_map(|(id, known)| Some((id, known.last?.position)))
    }
}

proptest! {
    // `PROPTEST_CASES` is for more of them.
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn a_point_set_answers_like_brute_force(points in vec(place(), 0..1_200), queries in vec(query(), 1..12)) {
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
        fleet in vec(place(), 0..400),
        changes in vec(change(), 0..400),
        queries in vec(query(), 1..12),
        areas in vec(area(), 0..4),
    ) {
        for backend in BACKENDS {
            let index = index(backend);
            let mut model = Model::default();
            for (n, place) in fleet.iter().enumerate() {
                model.change(&index, n, &Change::Move(*place));
            }
            for (n, change) in &changes {
                model.change(&index, *n, change);
            }
            prop_assert_eq!(index.len(), model.drivers.len());
            // What a reused snapshot was searched for before must not show.
            let old = Fix { position: at(0.0, 0.0), at: model.now };
            let mut snapshot = Positions::from_fixes([(id("old"), old)]);
            prop_assert_eq!(snapshot.nearest(at(0.0, 0.0), Meters::ZERO, 1, |_| true).len(), 1);
            index.snapshot(&mut snapshot);
            let fixes: Vec<_> = model.drivers.iter().filter_map(|(id, known)| Some((id, known.last?))).collect();
            prop_assert!(snapshot.iter().eq(fixes.iter().copied()));
            prop_assert_eq!(snapshot.len(), fixes.len());
            for query in &queries {
                let expected = brute(query, model.searchable().filter(|(id, _)| query.accepts(number(id))));
                let Query { at, radius, limit, .. } = *query;
                let eligible = |id: &DriverId| query.accepts(number(id));
                prop_assert_eq!(&nearest(&index, at, radius, limit, eligible), &expected, "{:?} {:?}", backend, query);
                prop_assert_eq!(&snapshot.nearest(at, radius, limit, eligible), &expected, "{:?}", query);
            }
            for area in &areas {
                let expected: Vec<_> = model.searchable().filter(|(_, position)| area.contains(*position)).collect();
                prop_assert_eq!(&index.within_polygon(area, |_| true), &expected, "{:?} {:?}", backend, area);
                prop_assert_eq!(&snapshot.within_polygon(area, |_| true), &expected, "{:?}", area);
            }
            let mut counts = BTreeMap::new();
            for (_, position) in model.searchable() {
                *counts.entry(position.cell(Resolution::Seven)).or_insert(0) += 1;
            }
            prop_assert_eq!(&index.count_by_cell(Resolution::Seven), &counts);
            prop_assert_eq!(&snapshot.count_by_cell(Resolution::Seven), &counts);
        }
    }

    #[test]
    fn many_reports_are_judged_like_one_after_the_other(
        ways in vec((0..12usize, -9_000..9_000i32, -9_000..9_000i32, 0..8_000i64), 0..120),
    ) {
        let now = Timestamp::from_millis(1_000_000);
        let indexes = BACKENDS.map(|backend| [index(backend), index(backend)]);
        for [single, many] in &indexes {
            let slots: Vec<Slot> = (0..12).map(|n| single.slot(&id(n)).unwrap()).collect();
            (0..12).for_each(|n| assert_eq!(many.slot(&id(n)), Ok(slots[n])));
            let report = |(of, north, east, at): (usize, i32, i32, i64)| {
                let position = Position::from_steps(525_000_000 + north, 134_000_000 + east);
                (slots[of], Fix { position, at: Timestamp::from_millis(990_000 + at) })
            };
            let reports: Vec<(Slot, Fix)> = ways.iter().copied().map(report).collect();
            let expected: Vec<_> = reports.iter().map(|(slot, fix)| (*slot, single.report(*slot, *fix, now))).collect();
            let mut found = Vec::new();
            many.report_all(&reports, now, |slot, reported| found.push((slot, reported)));
            prop_assert_eq!(found, expected);
            prop_assert!(slots.iter().all(|slot| single.last(*slot) == many.last(*slot)));
            let all = |index: &PositionIndex| index.within(at(52.5, 13.4), Meters::from_km(5), |_| true);
            prop_assert_eq!(all(single), all(many));
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

/// Enough that they are not looked at one by one.
const FLEET: usize = 200;
const STEPS: i64 = 400;

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
        let found = nearest(index, centre, Meters::from_km(100), usize::MAX, |driver| fleet.contains(driver));
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

/// Looks at one corner: whoever is there is there once.
fn peek(index: &PositionIndex) {
    let corner = corners(FLEET / 2)[0];
    for _ in 0..STEPS * 4 {
        let found = nearest(index, corner, Meters::from_km(3), 50, |driver| driver.as_str() != "d-roamer");
        let once: BTreeSet<_> = found.iter().map(|(driver, _)| *driver).collect();
        assert_eq!(once.len(), found.len());
        for (driver, distance) in found {
            assert!(corners(number(driver)).iter().any(|place| place.distance(corner) == distance));
        }
    }
}

/// Goes off and on duty while it commutes.
fn take_breaks(index: &PositionIndex) {
    let (driver, start) = (id(FLEET), corners(FLEET)[0]);
    let slot = index.slot(&driver).unwrap();
    let is_found = || !index.nearest(start, Meters::from_km(100), 1, |found| found == slot).is_empty();
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
    for step in 0..4 * STEPS {
        let now = Timestamp::from_millis(0) + PAUSE * step;
        let position = at(-0.5 * (step % 100) as f64, (step / 100) as f64);
        assert_eq!(index.report(slot, Fix { position, at: now }, now), Reported::Moved);
        assert_eq!(index.nearest(position, Meters::ZERO, 2, |_| true).len(), 1);
    }
}

#[test]
fn a_search_sees_everybody_once_while_all_move() {
    for backend in BACKENDS {
        let index = index(backend);
        let start = Timestamp::from_millis(-1);
        for n in 0..=FLEET {
            let fix = Fix { position: corners(n)[0], at: start };
            assert_eq!(index.report(index.slot(&id(n)).unwrap(), fix, start), Reported::Moved);
        }
        thread::scope(|scope| {
            scope.spawn(|| commute(&index, 0, 2));
            scope.spawn(|| commute(&index, 1, 2));
            scope.spawn(|| watch(&index));
            scope.spawn(|| peek(&index));
            scope.spawn(|| take_breaks(&index));
            scope.spawn(|| roam(&index));
        });
    }
}

/// Reports one driver's ways from two threads, some of them too late, while it goes off and on duty.
#[test]
fn a_driver_that_many_report_is_where_its_last_fix_says() {
    for backend in BACKENDS {
        let index = index(backend);
        let slot = index.slot(&id(1)).unwrap();
        let way = |step: i64| at(52.5 + 1e-4 * (step % 100) as f64, 13.4);
        let report = |first: i64| {
            for step in (first..40_000).step_by(2) {
                let now = Timestamp::from_millis(0) + PAUSE * step;
                let reported = index.report(slot, Fix { position: way(step), at: now }, now);
                assert!(matches!(reported, Reported::Moved | Reported::Stale));
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| report(0));
            scope.spawn(|| report(1));
            scope.spawn(|| (0..20_000).for_each(|turn| index.set_available(slot, turn % 2 == 1)));
            scope.spawn(|| {
                for _ in 0..20_000 {
                    let Some((fix, _)) = index.last(slot) else { continue };
                    assert_eq!(fix.position, way((fix.at.as_millis()) / PAUSE.get()));
                }
            });
        });
        let last = Timestamp::from_millis(0) + PAUSE * 39_999;
        assert_eq!(index.last(slot).unwrap().0, Fix { position: way(39_999), at: last });
        assert_eq!(index.nearest(way(39_999), Meters::ZERO, 2, |_| true).len(), 1);
    }
}

#[test]
fn what_is_known_of_a_motion_comes_back() {
    let index = index(IndexBackend::Grid);
    let slot = index.slot(&id(1)).unwrap();
    assert_eq!(index.last(slot), None);
    let motion = Motion { accuracy: Some(meters(4.5)), speed_mps: Some(13.25), heading_deg: Some(271.5) };
    for (second, motion) in [(1, motion), (2, Motion::default()), (3, Motion { accuracy: None, ..motion })] {
        let now = Timestamp::from_millis(1_000 * second);
        let fix = Fix { position: at(1.0, 1.0), at: now };
        assert_eq!(index.report_with(slot, fix, motion, now), Reported::Moved);
        assert_eq!(index.last(slot), Some((fix, motion)));
    }
}
