//! Waves: an order is put to several drivers at once, and the first to accept gets it.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Market, asked, config, driver, order, secs};
use dispatch_core::{
    Action, DriverSpec, EngineConfig, EventKind, OfferOutcome, OfferRule, Reason, Refusal, Role, RoundFailure,
    ScorePreset, Step, Units,
};

fn waves_of(size: u16) -> EngineConfig {
    let offers = OfferRule::Wave { size, expires_after: secs(30) };
    // The nearest is the best.
    EngineConfig { offers, score: ScorePreset::Classic.weights(), ..config() }
}

/// Ana, bo and cy wait near a pickup, the nearest first, and an order has just been put to them.
fn offered(config: EngineConfig) -> Market {
    let mut market = Market::new(config);
    for (i, id) in ["ana", "bo", "cy"].into_iter().enumerate() {
        market.works(id, 100.0 * (i as f64 + 1.0));
    }
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    market
}

fn attempts(market: &Market) -> u16 {
    market.engine.state().orders[&order("o")].round.attempts
}

/// The outcomes of the offers closed, in sequence, with who had been asked.
fn closed(market: &Market, news: &[EventKind]) -> Vec<(String, OfferOutcome)> {
    let closed = news.iter().filter_map(|kind| match kind {
        EventKind::OfferClosed { offer, outcome } => {
            Some((market.engine.state().offers.get(*offer).unwrap().driver.to_string(), *outcome))
        }
        _ => None,
    });
    closed.collect()
}

fn all(outcome: OfferOutcome, ids: &[&str]) -> Vec<(String, OfferOutcome)> {
    ids.iter().map(|id| ((*id).to_owned(), outcome)).collect()
}

#[test]
fn a_wave_is_made_at_once_and_asks_the_best() {
    let market = offered(waves_of(2));
    let state = market.engine.state();
    let first = market.offer("ana");
    assert_eq!(state.orders[&order("o")].status.offers(), [first, market.offer("bo")]);
    assert_eq!(state.drivers[&driver("cy")].offer, None);
    assert!(state.offers.iter().all(|offer| offer.wave == Some(first) && offer.attempt == 1));
    assert!(state.offers.iter().all(|offer| offer.made_at == market.now && offer.expires_at == market.now + secs(30)));
    let decision = state.orders[&order("o")].decision.as_ref().unwrap();
    assert!(decision.best[0].chosen, "the order says why the best was chosen");

    // There are no more than there are.
    let market = offered(waves_of(10));
    assert_eq!(market.engine.state().orders[&order("o")].status.offers().len(), 3);
}

#[test]
fn the_first_to_accept_gets_it() {
    let mut market = offered(waves_of(3));
    let (late, bo) = (market.offer("ana"), market.offer("bo"));
    let news = market.accepts("bo");
    let [EventKind::OfferClosed { offer, outcome: OfferOutcome::Accepted }, between @ .., assigned] = &news[..] else {
        panic!("{news:?}")
    };
    assert_eq!(*offer, bo);
    assert_eq!(closed(&market, between), all(OfferOutcome::Withdrawn, &["ana", "cy"]));
    assert_eq!(between.len(), 2);
    assert!(matches!(assigned, EventKind::Assigned { driver, .. } if driver.as_str() == "bo"));
    let accept = Action::AcceptOffer { offer: late, driver: driver("ana") };
    let refused = market.try_by(Role::Driver, accept).unwrap_err();
    assert_eq!(refused, Refusal::OfferClosed { offer: late, is: "was taken by another driver" });
    // Who was too slow has not turned anything down.
    let rate = |id: &str| market.engine.state().drivers[&driver(id)].acceptance.rate();
    assert!(["ana", "bo", "cy"].into_iter().all(|id| rate(id) > 0.99));
}

#[test]
fn a_wave_that_all_decline_is_one_attempt() {
    let mut rules = waves_of(2);
    rules.rounds.attempts = 2;
    let mut market = offered(rules);
    assert_eq!(market.declines("ana").len(), 1);
    assert_eq!(market.status("o"), "offered", "bo may still take it");
    assert_eq!(asked(&market.passes(1)), [""; 0]);
    market.declines("bo");
    assert_eq!((market.status("o"), attempts(&market)), ("waiting", 1));
    assert_eq!(asked(&market.passes(1)), ["cy"], "nobody is asked twice");
    let news = market.declines("cy");
    let used = RoundFailure::AttemptsUsed;
    assert!(matches!(&news[1..], [EventKind::AssignmentFailed { reason, .. }] if *reason == used), "{news:?}");
    let rate = |id: &str| market.engine.state().drivers[&driver(id)].acceptance.rate();
    assert!(["ana", "bo", "cy"].into_iter().all(|id| rate(id) < 0.01));
}

#[test]
fn who_pauses_leaves_the_wave_to_the_others() {
    let pause = |id: &str| Action::PauseDriver { driver: driver(id) };
    let mut market = offered(waves_of(2));
    let news = market.by(Role::Driver, pause("ana"));
    assert_eq!(closed(&market, &news), all(OfferOutcome::Withdrawn, &["ana"]));
    assert_eq!(market.status("o"), "offered");
    market.accepts("bo");
    assert_eq!(market.status("o"), "assigned");

    // When all are gone nobody has turned it down; when one has, that was an attempt.
    let mut market = offered(waves_of(2));
    market.by(Role::Driver, pause("ana"));
    market.by(Role::Driver, pause("bo"));
    assert_eq!((market.status("o"), attempts(&market)), ("waiting", 0));
    let mut rules = waves_of(2);
    rules.rounds.attempts = 1;
    let mut market = offered(rules);
    market.declines("ana");
    let news = market.by(Role::Driver, pause("bo"));
    assert!(
        matches!(
            news[..],
            [
                EventKind::OfferClosed { outcome: OfferOutcome::Withdrawn, .. },
                EventKind::AssignmentFailed { reason: RoundFailure::AttemptsUsed, .. },
                EventKind::DriverPaused { .. },
            ]
        ),
        "{news:?}"
    );
}

#[test]
fn an_order_that_ends_or_goes_elsewhere_frees_the_whole_wave() {
    let free = |market: &Market| market.engine.state().drivers.values().all(|driver| driver.offer.is_none());
    let mut market = offered(waves_of(3));
    let cancel = Action::CancelOrder { order: order("o"), reason: Reason::new("why not").unwrap() };
    let news = market.by(Role::Customer, cancel);
    assert_eq!(closed(&market, &news), all(OfferOutcome::Withdrawn, &["ana", "bo", "cy"]));
    assert!(matches!(news[3..], [EventKind::OrderCancelled { .. }]) && free(&market), "{news:?}");

    // By hand, even to a driver who is asked.
    let mut market = offered(waves_of(3));
    let news = market.by(Role::Dispatcher, Action::Assign { order: order("o"), driver: driver("cy") });
    assert_eq!(closed(&market, &news), all(OfferOutcome::Withdrawn, &["ana", "bo", "cy"]));
    assert!(matches!(&news[3..], [EventKind::Assigned { driver, .. }] if driver.as_str() == "cy"), "{news:?}");
    assert!(free(&market));
}

#[test]
fn a_wave_expires_as_a_whole() {
    let mut market = offered(waves_of(2));
    assert_eq!(market.passes(29), []);
    let news = market.passes(1);
    assert_eq!(closed(&market, &news), all(OfferOutcome::Expired, &["ana", "bo"]));
    assert_eq!(asked(&news), ["cy"]);
    assert_eq!(attempts(&market), 2);
}

#[test]
fn a_wave_leaves_to_every_order_its_driver() {
    let mut market = Market::new(waves_of(3));
    for (i, id) in ["ana", "bo", "cy", "di"].into_iter().enumerate() {
        market.works(id, 100.0 * (i as f64 + 1.0));
    }
    // Di has an order of its own to fetch, so that only the others are asked for the first one.
    market.submits("o", 0, 0.0, 1_000.0);
    market.submits("p", 0, 450.0, 1_000.0);
    market.passes(1);
    let state = market.engine.state();
    let drivers = |id: &str| {
        let offers = state.orders[&order(id)].status.offers().iter();
        offers.map(|offer| state.offers.get(*offer).unwrap().driver.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(drivers("o").len() + drivers("p").len(), 4, "each driver is asked once");
    assert_eq!((drivers("o").len(), &drivers("p")[..]), (3, &["di".to_owned()][..]));
}

/// A driver with room for two orders, on shift.
fn works_with_room(market: &mut Market, id: &str, metres: f64) {
    let spec = DriverSpec { capacity: Units::new(2).unwrap(), ..DriverSpec::new(driver(id)) };
    market.by(Role::Driver, Action::RegisterDriver(spec));
    market.by(Role::Driver, Action::StartShift { driver: driver(id), until: None });
    market.moves(id, metres);
}

#[test]
fn an_order_does_not_pay_for_the_attempts_of_those_it_is_bundled_with() {
    let mut rules = EngineConfig { score: ScorePreset::Timely.weights(), ..waves_of(2) };
    rules.rounds.attempts = 2;
    let mut market = Market::new(rules);
    works_with_room(&mut market, "ana", 100.0);
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    market.declines("ana");
    market.by(Role::Driver, Action::PauseDriver { driver: driver("ana") });
    works_with_room(&mut market, "bo", 100.0);
    market.submits("p", 0, 0.0, 1_010.0);
    let round = |market: &Market, id| market.engine.state().orders[&order(id)].round.clone();
    assert_eq!(asked(&market.passes(1)), ["bo"]);
    let offer = market.engine.state().offers.get(market.offer("bo")).unwrap().clone();
    assert_eq!((offer.orders.len(), offer.attempt), (2, 2));
    market.declines("bo");
    assert!(round(&market, "o").retry_at.is_some());
    assert_eq!((round(&market, "p").retry_at, round(&market, "p").attempts), (None, 1));
}

#[test]
fn an_order_that_leaves_its_bundle_leaves_the_others_waiting() {
    let cancel = Action::CancelOrder { order: order("o"), reason: Reason::new("why not").unwrap() };
    let assign = Action::Assign { order: order("o"), driver: driver("bo") };
    for (role, action) in [(Role::Customer, cancel), (Role::Dispatcher, assign)] {
        let mut market = Market::new(EngineConfig { score: ScorePreset::Timely.weights(), ..waves_of(2) });
        works_with_room(&mut market, "ana", 100.0);
        works_with_room(&mut market, "bo", 4_500.0);
        market.submits("o", 0, 0.0, 1_000.0);
        market.submits("p", 0, 0.0, 1_010.0);
        market.passes(1);
        let news = market.by(role, action);
        assert_eq!(closed(&market, &news), all(OfferOutcome::Withdrawn, &["ana", "bo"]));
        let state = market.engine.state();
        assert_eq!((market.status("p"), state.orders[&order("p")].round.attempts), ("waiting", 0));
        assert!(asked(&market.passes(1)).contains(&"ana".to_owned()), "nobody has turned p down");
    }
}

#[test]
fn a_driver_who_loses_an_order_may_be_asked_in_the_next_wave_unless_it_was_taken_back() {
    let mut market = offered(waves_of(2));
    market.accepts("ana");
    market.by(Role::Dispatcher, Action::TakeBack { order: order("o") });
    assert_eq!(asked(&market.passes(1)), ["bo", "cy"], "the dispatcher wants another one");
    // By hand to who is not asked; then it is no driver's and everybody may be.
    market.by(Role::Dispatcher, Action::Assign { order: order("o"), driver: driver("ana") });
    market.by(Role::Driver, Action::EndShift { driver: driver("ana") });
    assert_eq!(asked(&market.passes(1)), ["bo", "cy"]);
}

#[test]
fn a_bundle_is_offered_in_one_wave_and_remembered_until_its_orders_are_forgotten() {
    let mut market = Market::new(EngineConfig { score: ScorePreset::Timely.weights(), ..waves_of(2) });
    // Two orders of one place: ana takes both sooner than bo would be there for one.
    for (id, metres) in [("ana", 100.0), ("bo", 4_500.0)] {
        works_with_room(&mut market, id, metres);
    }
    market.submits("o", 0, 0.0, 1_000.0);
    market.submits("p", 0, 0.0, 1_010.0);
    assert_eq!(asked(&market.passes(1)), ["ana", "bo"]);
    let both = [market.offer("ana"), market.offer("bo")];
    assert!(market.engine.state().orders.values().all(|order| order.status.offers() == both));
    let late = both[0];
    let news = market.accepts("bo");
    assert_eq!(closed(&market, &news[1..]), all(OfferOutcome::Withdrawn, &["ana"]));
    assert!(matches!(&news[2..], [EventKind::Assigned { orders, .. }] if orders.len() == 2), "{news:?}");
    for step in [Step::PickedUp, Step::Delivered] {
        market.progress("o", "bo", step);
        market.progress("p", "bo", step);
    }
    market.passes(3_601);
    assert!(market.engine.state().orders.is_empty());
    assert_eq!(market.engine.state().offers.get(late), None);
}
