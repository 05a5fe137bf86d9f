//! A fleet that moves about a city, and the places people search from.

use dispatch_core::{DriverId, Fix, Meters, Millis, Position, Slot, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::ops::Range;
use std::sync::Arc;

/// The most results of a search, and how far they may be.
pub(crate) const LIMIT: usize = 20;
pub(crate) const RADIUS: Meters = Meters::from_km(5);

/// Every fourth driver is busy and not to be found.
pub(crate) fn is_available(driver: u32) -> bool {
    driver % 4 != 3
}

const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// The city: 40 x 40 km around this.
const CENTRE: (f64, f64) = (52.5, 13.4);
const HALF_SIDE_M: f64 = 20_000.0;

/// Four of five drivers are around one of so many centres, a kilometre or two away.
const CLUSTERS: usize = 40;

/// A driver's fix.
pub(crate) type Update = (Slot, Fix);

pub(crate) struct Fleet {
    pub(crate) ids: Arc<[DriverId]>,
    /// The slots that an index gives them; the same in each, since all are asked in the same sequence.
    pub(crate) slots: Vec<Slot>,
    /// The last fix of each driver.
    pub(crate) fixes: Vec<Fix>,
    places: Vec<Metres>,
    clusters: Vec<(Metres, f64)>,
    /// The time of the last fix of anybody.
    now: Timestamp,
    random: Pcg64Mcg,
}

/// Metres to the east and north of the city's centre.
#[derive(Clone, Copy)]
struct Metres(f64, f64);

impl Fleet {
    /// `drivers` drivers, the same for the same seed.
    pub(crate) fn new(drivers: u32, seed: u64) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let cluster = |random: &mut Pcg64Mcg| {
            let at = |random: &mut Pcg64Mcg| random.random_range(-0.9 * HALF_SIDE_M..0.9 * HALF_SIDE_M);
            (Metres(at(random), at(random)), random.random_range(500.0..2_000.0))
        };
        let clusters = (0..CLUSTERS).map(|_| cluster(&mut random)).collect();
        let ids: Arc<[_]> = (0..drivers).map(|n| DriverId::new(format!("driver-{n}")).expect("a valid id")).collect();
        let mut fleet =
            Self { slots: Vec::new(), ids, fixes: Vec::new(), places: Vec::new(), clusters, now: START, random };
        fleet.places = (0..drivers).map(|_| fleet.place()).collect();
        fleet.fixes = fleet.places.iter().map(|place| Fix { position: place.position(), at: START }).collect();
        fleet
    }

    /// Somewhere in the city, rather where others are.
    fn place(&mut self) -> Metres {
        let (Metres(mut east, mut north), spread) = self.clusters[self.random.random_range(0..CLUSTERS)];
        if self.random.random_bool(0.2) {
            (east, north) = (0.0, 0.0);
            for at in [&mut east, &mut north] {
                *at = self.random.random_range(-HALF_SIDE_M..HALF_SIDE_M);
            }
        } else {
            for at in [&mut east, &mut north] {
                // About normal.
                *at += spread * (0..6).map(|_| self.random.random_range(-0.707..0.707)).sum::<f64>();
            }
        }
        Metres(east, north).within_city()
    }

    /// The next `count` fixes of drivers drawn at random, each 10 to 30 m further and a millisecond after the one before.
    pub(crate) fn drive(&mut self, count: usize) -> Vec<Update> {
        self.drive_some(count, 0..self.ids.len())
    }

    /// The same of some drivers.
    pub(crate) fn drive_some(&mut self, count: usize, drivers: Range<usize>) -> Vec<Update> {
        (0..count)
            .map(|_| {
                let driver = self.random.random_range(drivers.clone());
                self.step_of(driver)
            })
            .collect()
    }

    /// Two lists of `count` fixes, of every other driver each.
    pub(crate) fn drive_mixed(&mut self, count: usize) -> [Vec<Update>; 2] {
        let half = self.ids.len() / 2;
        [0, 1].map(|of| {
            (0..count)
                .map(|_| {
                    let driver = 2 * self.random.random_range(0..half) + of;
                    self.step_of(driver)
                })
                .collect()
        })
    }

    fn step_of(&mut self, driver: usize) -> Update {
        let (turn, way) = (self.random.random_range(0.0..std::f64::consts::TAU), self.random.random_range(10.0..30.0));
        let Metres(east, north) = self.places[driver];
        self.places[driver] = Metres(east + way * turn.cos(), north + way * turn.sin()).within_city();
        self.now += Millis::new(1);
        let fix = Fix { position: self.places[driver].position(), at: self.now };
        self.fixes[driver] = fix;
        (self.slots[driver], fix)
    }

    /// `count` places to search from.
    pub(crate) fn queries(&mut self, count: usize) -> Vec<Position> {
        (0..count).map(|_| self.place().position()).collect()
    }

    /// The right answer to a search, nearest first.
    pub(crate) fn nearest(&self, at: Position) -> Vec<(u32, f64)> {
        let available = (0..self.ids.len() as u32).filter(|driver| is_available(*driver));
        let mut found: Vec<(u32, f64)> = available
            .map(|driver| (driver, at.distance(self.fixes[driver as usize].position).get()))
            .filter(|(_, distance)| *distance <= RADIUS.get())
            .collect();
        found.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| self.ids[a.0 as usize].cmp(&self.ids[b.0 as usize])));
        found.truncate(LIMIT);
        found
    }
}

impl Metres {
    /// Whoever would leave the city turns round at its border: nobody lines up along it.
    fn within_city(self) -> Self {
        let within = |at: f64| at - 2.0 * (at - at.clamp(-HALF_SIDE_M, HALF_SIDE_M));
        Self(within(self.0), within(self.1))
    }

    fn position(self) -> Position {
        let degree = 111_195.0;
        let lng = CENTRE.1 + self.0 / degree / CENTRE.0.to_radians().cos();
        Position::new(CENTRE.0 + self.1 / degree, lng).expect("a city is not at a pole")
    }
}

/// East and north in metres on a plane that touches the earth in the city: what planar peers work with.
pub(crate) fn planar(position: Position) -> [f64; 2] {
    let degree = dispatch_core::EARTH_RADIUS_M.to_radians();
    [(position.lng() - CENTRE.1) * degree * CENTRE.0.to_radians().cos(), (position.lat() - CENTRE.0) * degree]
}
