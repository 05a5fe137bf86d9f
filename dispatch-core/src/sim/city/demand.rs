//! Where orders come from, and how kitchens make them.

use super::{City, Happening};
use crate::command::Action;
use crate::config::StartOn;
use crate::geo::Position;
use crate::model::{KitchenStatus, OrderId, OrderSpec, Pay, PlaceId, Role};
use crate::units::{Millis, Timestamp};
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// The middle of the city, in degrees.
pub(super) const CENTRE: (f64, f64) = (52.52, 13.405);

/// How the orders of a day are spread over its hours, in parts of 1,000: lunch and dinner.
const HOURS: [u32; 24] = [8, 4, 2, 1, 1, 2, 6, 14, 22, 26, 34, 72, 104, 84, 48, 36, 40, 68, 116, 128, 90, 54, 28, 12];

/// The share of the busiest hour.
const BUSIEST: u32 = 128;

/// Where orders come from.
#[derive(Debug)]
pub(super) struct Source {
    places: Vec<(PlaceId, Position)>,
    per_day: u32,
    opens: Timestamp,
    orders: u64,
}

/// An order in the making, as it really is: the engine hears of it bit by bit.
#[derive(Debug)]
pub(super) struct Kitchen {
    /// How far it is.
    pub(super) status: KitchenStatus,
    /// When it will really be ready.
    pub(super) ready_at: Timestamp,
}

/// A point up to `within_m` metres north or south and east or west of `centre`, in degrees.
pub(super) fn scatter(centre: (f64, f64), within_m: f64, random: &mut Pcg64Mcg) -> Position {
    let degree_m = 111_195.0;
    let mut offset = || random.random_range(-within_m..=within_m) / degree_m;
    let (lat, lng) = (centre.0 + offset(), centre.1 + offset() / libm::cos(centre.0.to_radians()));
    Position::new(lat, lng).expect("a city lies on the earth")
}

impl Source {
    pub(super) fn new(places: u32, per_day: u32, opens: Timestamp, random: &mut Pcg64Mcg) -> Self {
        let place = |i: u32| {
            // Most places crowd the centre, some stand in the outskirts.
            let within_m = if i.is_multiple_of(3) { 5_000.0 } else { 2_000.0 };
            let id = PlaceId::new(format!("place-{i}")).expect("a valid id");
            (id, scatter(CENTRE, within_m, random))
        };
        Self { places: (0..places.max(1)).map(place).collect(), per_day: per_day.max(1), opens, orders: 0 }
    }

    fn hour(&self, now: Timestamp) -> usize {
        ((now - self.opens).get() / 3_600_000).rem_euclid(24) as usize
    }

    /// The mean time between orders in the busiest hour.
    fn shortest_gap(&self) -> Millis {
        Millis::from_mins(60) * 1_000 / (i64::from(self.per_day) * i64::from(BUSIEST))
    }

    /// The next order.
    fn next(&mut self, random: &mut Pcg64Mcg) -> OrderSpec {
        self.orders += 1;
        let id = OrderId::new(format!("order-{}", self.orders)).expect("a valid id");
        let (place, from) = self.places[random.random_range(0..self.places.len())].clone();
        let to = scatter((from.lat(), from.lng()), 3_000.0, random);
        let mut spec = OrderSpec::new(id, from, to);
        spec.pickup.id = Some(place);
        spec.preparation = random.random_bool(0.8).then(|| Millis::from_secs(random.random_range(300..1_800)));
        spec.pay = Pay { fee_minor: random.random_range(300..700), tip_minor: random.random_range(0..300) };
        spec
    }
}

impl City {
    /// A customer orders, if this hour is busy enough, and the next possible order is planned (thinning).
    pub(super) fn order(&mut self) {
        if self.now >= self.closes {
            return;
        }
        let gap = self.source.shortest_gap().get() as f64;
        let gap = Millis::new((-libm::log(1.0 - self.random.random::<f64>()) * gap) as i64 + 1);
        self.plan_in(gap, Happening::Order);
        let share = f64::from(HOURS[self.source.hour(self.now)]) / f64::from(BUSIEST);
        if !self.chance(share) {
            return;
        }
        let mut spec = self.source.next(&mut self.random);
        let said = spec.preparation.unwrap_or(self.config.engine.preparation);
        if self.chance(0.5) {
            spec.promised_at = Some(self.now + said + Millis::from_mins(25));
        }
        let order = spec.id.clone();
        // Kitchens are a little early or rather late.
        let ready_at = self.now + said + self.seconds(-120, 420);
        let starts_placed = self.config.engine.start_on == StartOn::Placed;
        let status = if starts_placed { KitchenStatus::Confirmed } else { KitchenStatus::Placed };
        self.kitchens.insert(order.clone(), Kitchen { status, ready_at });
        self.command(Role::Customer, Action::SubmitOrder(spec));
        let until_confirmed = self.seconds(2, 90);
        self.plan_in(until_confirmed, Happening::Kitchen(order.clone()));
        if self.chance(0.02) {
            let until_changed = self.seconds(1, 900);
            self.plan_in(until_changed, Happening::ChangeOfMind(order));
        }
    }

    /// A kitchen gets one step further, and says so; sometimes it notices half way that it will be late.
    pub(super) fn cook(&mut self, id: &OrderId) {
        let Some(&Kitchen { status, ready_at }) = self.kitchens.get(id) else { return };
        let order = id.clone();
        let next = match status {
            KitchenStatus::Placed => KitchenStatus::Confirmed,
            KitchenStatus::Confirmed => KitchenStatus::Preparing,
            KitchenStatus::Preparing | KitchenStatus::Ready => KitchenStatus::Ready,
        };
        if next == KitchenStatus::Ready && self.now < ready_at {
            if self.chance(0.5) {
                self.command(Role::Merchant, Action::SetReadyTime { order: order.clone(), ready_at });
            }
            self.plan(ready_at, Happening::Kitchen(order));
            return;
        }
        if let Some(kitchen) = self.kitchens.get_mut(id) {
            kitchen.status = next;
        }
        self.command(Role::Merchant, Action::Kitchen { order: order.clone(), status: next });
        if next != KitchenStatus::Ready {
            let until_next = self.seconds(20, 240);
            self.plan_in(until_next, Happening::Kitchen(order));
        }
    }
}
