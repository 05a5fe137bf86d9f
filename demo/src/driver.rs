//! Drivers: each does what its route says, at its own speed, and answers its offers in its own way.

use crate::city::City;
use crate::place::Place;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How often a driver looks at its work and reports where it is.
const TICK: Duration = Duration::from_secs(1);

/// How likely an offer is accepted.
const ACCEPTS: f64 = 0.88;
/// How likely it is declined; the rest expires.
const DECLINES: f64 = 0.09;

/// A driver as it is, whatever the server believes. Time is the time since the city woke up.
struct Driver {
    at: Place,
    /// Where it waits for orders.
    home: Place,
    speed_mps: f64,
    moved: Duration,
    doing: Doing,
    answer: Option<Answer>,
    random: Pcg64Mcg,
}

enum Doing {
    /// Without an order, on the way home or there.
    Free,
    Riding(Stop),
    /// At a stop; the orders change hands at `done`, which is not known before they are ready.
    Serving {
        stop: Stop,
        done: Option<Duration>,
    },
}

/// What it will say to an offer, and when.
struct Answer {
    offer: String,
    reply: Reply,
    at: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Reply {
    Accept,
    Decline,
    /// Never said.
    Nothing,
}

/// What the server tells a driver.
#[derive(Clone, Debug, Default)]
struct Seen {
    offer: Option<String>,
    next: Option<Stop>,
    /// Whether the orders of the next stop can be picked up.
    ready: bool,
}

/// One stop of a route.
#[derive(Clone, Debug, PartialEq)]
struct Stop {
    is_pickup: bool,
    at: Place,
    orders: Vec<String>,
}

/// What a driver tells the server.
#[derive(Debug, PartialEq)]
enum Deed {
    Accept(String),
    Decline(String),
    /// It got this far with an order.
    Step(String, &'static str),
}

impl Driver {
    fn new(home: Place, mut random: Pcg64Mcg) -> Self {
        // About 20 km/h, as the crow flies.
        let speed_mps = random.random_range(5.0..6.5);
        Self { at: home, home, speed_mps, moved: Duration::ZERO, doing: Doing::Free, answer: None, random }
    }

    fn seconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_secs_f64(self.random.random_range(least..most))
    }

    /// Does what there is to do until `now`, and gives what the server has to hear of it.
    fn tick(&mut self, now: Duration, seen: &Seen) -> Vec<Deed> {
        let metres = self.speed_mps * now.saturating_sub(self.moved).as_secs_f64();
        self.moved = now;
        let mut deeds: Vec<_> = self.consider(now, seen.offer.as_deref()).into_iter().collect();
        // Routes change while one rides: orders are called off, or taken back.
        let goal = match &self.doing {
            Doing::Free => None,
            Doing::Riding(stop) | Doing::Serving { stop, .. } => Some(stop),
        };
        if goal != seen.next.as_ref() {
            self.doing = seen.next.clone().map_or(Doing::Free, Doing::Riding);
        }
        match std::mem::replace(&mut self.doing, Doing::Free) {
            Doing::Free => self.at = self.at.towards(self.home, metres),
            Doing::Riding(stop) => {
                self.at = self.at.towards(stop.at, metres);
                if self.at == stop.at {
                    deeds.extend(stop.steps(if stop.is_pickup { "arrived_at_pickup" } else { "arrived_at_dropoff" }));
                    self.doing = Doing::Serving { stop, done: None };
                } else {
                    self.doing = Doing::Riding(stop);
                }
            }
            Doing::Serving { stop, done: Some(done) } if now >= done => {
                // What comes next is on the route.
                if stop.is_pickup {
                    deeds.extend(stop.steps("picked_up"));
                    deeds.extend(stop.steps("departed"));
                } else {
                    deeds.extend(stop.steps("delivered"));
                }
            }
            Doing::Serving { stop, done } => {
                let can = !stop.is_pickup || seen.ready;
                let done = done.or_else(|| can.then(|| now + self.seconds(1.0, 3.0)));
                self.doing = Doing::Serving { stop, done };
            }
        }
        deeds
    }

    /// Thinks about an offer for a while, then answers it or not.
    fn consider(&mut self, now: Duration, offer: Option<&str>) -> Option<Deed> {
        let offer = offer?;
        if self.answer.as_ref().is_none_or(|answer| answer.offer != offer) {
            let reply = match self.random.random::<f64>() {
                chance if chance < ACCEPTS => Reply::Accept,
                chance if chance < ACCEPTS + DECLINES => Reply::Decline,
                _ => Reply::Nothing,
            };
            let at = now + self.seconds(0.5, 3.0);
            self.answer = Some(Answer { offer: offer.to_owned(), reply, at });
        }
        let answer = self.answer.as_mut().filter(|answer| now >= answer.at)?;
        let deed = match answer.reply {
            Reply::Accept => Deed::Accept(offer.to_owned()),
            Reply::Decline => Deed::Decline(offer.to_owned()),
            Reply::Nothing => return None,
        };
        answer.reply = Reply::Nothing;
        Some(deed)
    }

    /// The orders it stands at a pickup for, which may not be ready.
    fn waits_for(&self) -> &[String] {
        match &self.doing {
            Doing::Serving { stop, done: None } if stop.is_pickup => &stop.orders,
            _ => &[],
        }
    }
}

impl Stop {
    fn read(stop: &Value) -> Option<Self> {
        let orders = stop["orders"].as_array()?.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        let at = Place::from_degrees(stop["lat"].as_f64()?, stop["lng"].as_f64()?);
        Some(Self { is_pickup: stop["kind"] == "pickup", at, orders })
    }

    fn steps(&self, step: &'static str) -> impl Iterator<Item = Deed> {
        self.orders.iter().map(move |order| Deed::Step(order.clone(), step))
    }
}

/// A driver's day: on shift as long as the city is open.
pub(crate) async fn drive(city: Arc<City>, number: u64, vehicle: &'static str) {
    let (id, mut random) = (format!("driver-{number}"), city.random("driver", number));
    let home = Place::default().at_distance(random.random_range(20.0..300.0), &mut random);
    if !city.pause(Duration::from_secs_f64(random.random())).await {
        return;
    }
    let path = format!("/v1/drivers/{id}");
    city.api.put(&path, json!({"vehicle": vehicle})).await;
    city.api.post(&format!("{path}/shift/start"), json!({})).await;
    let mut driver = Driver::new(home, random);
    driver.moved = city.now();
    loop {
        city.report(&id, number, driver.at).await;
        if !city.pause(TICK).await {
            return;
        }
        let Some(seen) = look(&city, &path, &driver).await else { continue };
        for deed in driver.tick(city.now(), &seen) {
            tell(&city, &id, deed).await;
        }
    }
}

async fn look(city: &City, path: &str, driver: &Driver) -> Option<Seen> {
    let known = city.api.get(path).await?;
    let mut ready = true;
    for order in driver.waits_for() {
        let order = city.api.get(&format!("/v1/orders/{order}")).await?;
        ready &= order["kitchen"] == "ready";
    }
    let next = known["route"].get(0).and_then(Stop::read);
    Some(Seen { offer: known["offer"].as_str().map(str::to_owned), next, ready })
}

async fn tell(city: &City, id: &str, deed: Deed) {
    match deed {
        Deed::Accept(offer) => {
            if city.api.race(&format!("/v1/offers/{offer}/accept"), json!({})).await.is_some() {
                city.tally.assigned.add(1);
            }
        }
        Deed::Decline(offer) => {
            city.api.race(&format!("/v1/offers/{offer}/decline"), json!({})).await;
        }
        Deed::Step(order, step) => {
            let body = json!({"driver": id, "step": step});
            let order = city.api.race(&format!("/v1/orders/{order}/progress"), body).await;
            if let Some(order) = order.filter(|_| step == "delivered") {
                city.tally.deliver(&order["times"]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn driver(seed: u64) -> Driver {
        Driver::new(Place::default(), Pcg64Mcg::seed_from_u64(seed))
    }

    fn stop(is_pickup: bool, east_m: f64) -> Stop {
        Stop { is_pickup, at: Place { east_m, north_m: 0.0 }, orders: vec!["o".into()] }
    }

    /// Lets a driver work, a second at a time, and gives what it said when, until it has said `last`.
    fn work(driver: &mut Driver, seen: &Seen, last: &'static str) -> Vec<(u64, &'static str)> {
        let mut said = Vec::new();
        let from = driver.moved.as_secs();
        for second in from + 1..from + 200 {
            for deed in driver.tick(Duration::from_secs(second), seen) {
                let Deed::Step(_, step) = deed else { panic!("{deed:?}") };
                said.push((second, step));
            }
            if said.last().is_some_and(|(_, step)| *step == last) {
                return said;
            }
        }
        panic!("never {last}: {said:?}");
    }

    #[test]
    fn a_route_is_ridden_stop_by_stop() {
        let mut driver = driver(1);
        let mut seen = Seen { next: Some(stop(true, 60.0)), ..Seen::default() };
        let arrived = work(&mut driver, &seen, "arrived_at_pickup")[0].0;
        assert!((9..=12).contains(&arrived), "60 m at 5 to 6.5 m/s take 9.2 to 12 s, not {arrived}");
        for second in arrived + 1..100 {
            assert_eq!(driver.tick(Duration::from_secs(second), &seen), [], "the dish is not ready");
        }
        assert_eq!(driver.waits_for(), ["o"]);
        seen.ready = true;
        let steps: Vec<_> = work(&mut driver, &seen, "departed").into_iter().map(|(_, step)| step).collect();
        assert_eq!(steps, ["picked_up", "departed"]);
        seen.next = Some(stop(false, 0.0));
        let steps: Vec<_> = work(&mut driver, &seen, "delivered").into_iter().map(|(_, step)| step).collect();
        assert_eq!(steps, ["arrived_at_dropoff", "delivered"]);
    }

    #[test]
    fn a_driver_whose_order_is_gone_rides_home() {
        let mut driver = driver(2);
        let seen = Seen { next: Some(stop(true, 50.0)), ..Seen::default() };
        for second in 1..=20 {
            driver.tick(Duration::from_secs(second), &seen);
        }
        assert!(driver.at.distance_m(driver.home) > 49.0);
        for second in 21..=40 {
            assert_eq!(driver.tick(Duration::from_secs(second), &Seen::default()), []);
        }
        assert_eq!(driver.at, driver.home);
    }

    #[test]
    fn an_offer_is_answered_once_after_a_while_or_never() {
        let mut said = [0; 3];
        for seed in 0..200 {
            let mut driver = driver(seed);
            let seen = Seen { offer: Some("default-1".into()), ..Seen::default() };
            assert_eq!(driver.tick(Duration::ZERO, &seen), []);
            let deeds: Vec<_> = (1..10).flat_map(|second| driver.tick(Duration::from_secs(second), &seen)).collect();
            match &deeds[..] {
                [Deed::Accept(offer)] if offer == "default-1" => said[0] += 1,
                [Deed::Decline(offer)] if offer == "default-1" => said[1] += 1,
                [] => said[2] += 1,
                _ => panic!("{deeds:?}"),
            }
        }
        assert!(said[0] > 150 && said[1] > 5 && said[2] > 0, "{said:?}");
    }
}
