//! Orders: a customer who orders, waits and sometimes thinks better of it, and a kitchen that cooks.

use crate::city::City;
use crate::place::Place;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How many kitchens there are.
pub(crate) const KITCHENS: u64 = 12;

/// How far a customer is from the kitchen, in metres.
pub(crate) const RIDE_M: std::ops::Range<f64> = 30.0..120.0;

/// The order that is shown around. It goes far, so that there is time to look at it while it is under way.
pub(crate) const SHOWN: u64 = 1;

/// How far that one goes, in metres.
const LONG_RIDE_M: f64 = 3_000.0;

/// How often a waiting customer asks when the order comes.
const ASKS_EVERY: Duration = Duration::from_secs(3);

/// What becomes of an order on its source's side.
#[derive(Debug, PartialEq)]
enum Turn {
    /// The kitchen gets this far.
    Kitchen(&'static str),
    /// The kitchen notices that it will be ready only in this time from now.
    Late(Duration),
    /// It is called off on behalf of one of the two.
    Cancel(&'static str),
}

/// What customer and kitchen do with an order that is said to be ready `said` after it is placed, and how long after the
/// turn before. It may be called off if `fickle`.
fn script(said: Duration, fickle: bool, random: &mut Pcg64Mcg) -> Vec<(Duration, Turn)> {
    let mut seconds = |least: f64, most: f64| Duration::from_secs_f64(random.random_range(least..most));
    let (until_confirmed, until_preparing) = (seconds(0.5, 2.5), seconds(0.5, 3.0));
    // Kitchens are a little early or rather late.
    let real = (said + seconds(0.0, 9.0)).saturating_sub(Duration::from_secs(3));
    let until_ready = real.saturating_sub(until_confirmed + until_preparing);
    let mut turns = vec![(until_confirmed, Turn::Kitchen("confirmed"))];
    let fate: f64 = if fickle { random.random() } else { 1.0 };
    if fate < 0.03 {
        turns.push((until_preparing / 2, Turn::Cancel("customer")));
        return turns;
    }
    turns.push((until_preparing, Turn::Kitchen("preparing")));
    if fate < 0.05 {
        turns.push((until_ready / 2, Turn::Cancel("merchant")));
    } else if real > said {
        turns.push((until_ready / 2, Turn::Late(until_ready / 2)));
        turns.push((until_ready / 2, Turn::Kitchen("ready")));
    } else {
        turns.push((until_ready, Turn::Kitchen("ready")));
    }
    turns
}

/// The name of an order.
pub(crate) fn name(number: u64) -> String {
    format!("order-{number}")
}

/// An order from its submission to its end.
pub(crate) async fn follow(city: Arc<City>, number: u64) {
    let (id, mut random) = (name(number), city.random("order", number));
    let said = random.random_range(5..20);
    if city.api.post("/v1/orders", body(&city, number, said, &mut random)).await.is_none() {
        return;
    }
    city.tally.submitted.add(1);
    // The one that is shown around is not called off.
    for (after, turn) in script(Duration::from_secs(said), number != SHOWN, &mut random) {
        if !city.pause(after).await {
            return;
        }
        let is_end = matches!(turn, Turn::Cancel(_));
        take(&city, &id, turn).await;
        if is_end {
            city.tally.cancelled.add(1);
            return;
        }
    }
    // An order that has ended does not arrive any more.
    while city.pause(ASKS_EVERY).await {
        let Some(answer) = city.api.get(&format!("/v1/orders/{id}/eta")).await else { continue };
        if answer["eta"].is_null() {
            return;
        }
    }
}

fn body(city: &City, number: u64, said: u64, random: &mut Pcg64Mcg) -> Value {
    let kitchen = random.random_range(1..=KITCHENS);
    let mut its_own = city.random("kitchen", kitchen);
    let from = Place::default().at_distance(its_own.random_range(0.0..250.0), &mut its_own);
    let ride_m = if number == SHOWN { LONG_RIDE_M } else { random.random_range(RIDE_M) };
    let place = |place: Place| {
        let (lat, lng) = place.degrees();
        json!({"lat": lat, "lng": lng})
    };
    let (mut pickup, dropoff) = (place(from), place(from.at_distance(ride_m, random)));
    pickup["id"] = json!(format!("kitchen-{kitchen}"));
    pickup["label"] = json!(format!("Kitchen {kitchen}"));
    let pay = json!({"fee_minor": random.random_range(300..600), "tip_minor": random.random_range(0..200)});
    json!({"id": name(number), "pickup": pickup, "dropoff": dropoff, "preparation_seconds": said, "pay": pay})
}

async fn take(city: &City, id: &str, turn: Turn) -> Option<Value> {
    let path = format!("/v1/orders/{id}");
    match turn {
        Turn::Kitchen(status) => city.api.post(&format!("{path}/kitchen"), json!({"status": status})).await,
        Turn::Late(by) => {
            city.api.put(&format!("{path}/ready-time"), json!({"ready_at": city.time(city.now() + by)})).await
        }
        Turn::Cancel(whose) => {
            let body = json!({"reason": "changed their mind", "on_behalf_of": whose});
            city.api.post(&format!("{path}/cancel"), body).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn kitchens_go_forward_and_orders_are_called_off_in_time() {
        let mut called_off = 0;
        for seed in 0..1_000 {
            let turns = script(Duration::from_secs(5 + seed % 15), true, &mut Pcg64Mcg::seed_from_u64(seed));
            let turns: Vec<_> = turns.into_iter().map(|(_, turn)| turn).collect();
            match &turns[..] {
                [Turn::Kitchen("confirmed"), Turn::Cancel("customer")]
                | [Turn::Kitchen("confirmed"), Turn::Kitchen("preparing"), Turn::Cancel("merchant")] => called_off += 1,
                [Turn::Kitchen("confirmed"), Turn::Kitchen("preparing"), Turn::Kitchen("ready")]
                | [Turn::Kitchen("confirmed"), Turn::Kitchen("preparing"), Turn::Late(_), Turn::Kitchen("ready")] => {}
                _ => panic!("{turns:?}"),
            }
        }
        assert!((30..=70).contains(&called_off), "{called_off}");
    }
}
