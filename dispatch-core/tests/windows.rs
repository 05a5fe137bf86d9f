//! What a window decides, and which times the routes and answers that follow from it say.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Market, asked, at, config, driver, order, secs};
use dispatch_core::{
    Action, DriverSpec, EngineConfig, EventKind, Exclusion, HoldReason, Label, Meters, Millis, OfferOutcome, OfferRule,
    OrderSpec, Role, ScoreWeight, Step, Units,
};

fn direct() -> EngineConfig {
    EngineConfig { offers: OfferRule::Direct, ..config() }
}

fn assigned(news: &[EventKind]) -> Vec<&str> {
    let orders = news.iter().filter_map(|kind| match kind {
        EventKind::Assigned { orders, .. } => Some(orders[0].as_str()),
        _ => None,
    });
    orders.collect()
}

#[test]
fn a_search_widens_while_nobody_is_found() {
    let mut market = Market::new(direct());
    market.works("far", 7_000.0);
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(assigned(&market.passes(1)), ["o"]);
    let decision = market.engine.explain(&order("o")).unwrap().decision.unwrap();
    assert_eq!(decision.radius, Meters::from_km(10));
}

/// A driver with room for two units.
fn roomy(id: &str) -> DriverSpec {
    DriverSpec { capacity: Units::new(2).unwrap(), ..DriverSpec::new(driver(id)) }
}

/// A market whose driver is at a door and free in three minutes, and an order that waits.
fn at_the_door(orders_per_driver: u16) -> Market {
    let mut rules = direct();
    rules.limits.orders_per_driver = orders_per_driver;
    let mut market = Market::new(rules);
    market.works("ana", 0.0);
    market.submits("first", 0, 0.0, 100.0);
    market.passes(1);
    market.progress("first", "ana", Step::PickedUp);
    market.moves("ana", 100.0);
    market.passes(200);
    market.progress("first", "ana", Step::ArrivedAtDropoff);
    market.submits("next", 0, 0.0, 1_000.0);
    market
}

#[test]
fn a_busy_driver_is_reserved_until_it_can_set_out_soon() {
    let mut market = at_the_door(2);
    let news = market.passes(59);
    assert!(matches!(news[..], [EventKind::OrderHeld { reason: HoldReason::DriverBusy, .. }]), "{news:?}");
    // Handing over takes three minutes; two before they are over it is told.
    assert_eq!(assigned(&market.passes(1)), ["next"]);
}

#[test]
fn a_busy_driver_is_asked_as_soon_as_the_order_is_due() {
    let mut market = at_the_door(2);
    let rules = EngineConfig { offers: config().offers, ..market.engine.state().config.clone() };
    market.by(Role::Dispatcher, Action::Configure(Box::new(rules)));
    assert_eq!(asked(&market.passes(1)), ["ana"]);
}

#[test]
fn a_full_route_takes_no_more() {
    let news = at_the_door(1).passes(120);
    assert!(matches!(news[..], [EventKind::OrderHeld { reason: HoldReason::NoCandidate, .. }]), "{news:?}");
}

#[test]
fn a_bundle_leaves_a_route_no_longer_than_it_may_be() {
    for (orders_per_driver, taken) in [(2, 1), (3, 2)] {
        let mut rules = direct();
        rules.limits.orders_per_driver = orders_per_driver;
        let mut market = Market::new(rules);
        market.by(Role::Driver, Action::RegisterDriver(roomy("ana")));
        market.by(Role::Driver, Action::StartShift { driver: driver("ana"), until: None });
        market.moves("ana", 0.0);
        market.submits("first", 0, 0.0, 100.0);
        market.passes(1);
        market.progress("first", "ana", Step::PickedUp);
        market.moves("ana", 100.0);
        market.passes(200);
        // Two orders of one place, for a driver who is about to hand over.
        market.progress("first", "ana", Step::ArrivedAtDropoff);
        market.passes(170);
        market.submits("next", 0, 0.0, 1_000.0);
        market.submits("other", 0, 0.0, 1_010.0);
        assert_eq!(assigned(&market.passes(2)).len(), taken);
    }
}

#[test]
fn a_driver_who_is_busy_for_too_long_is_no_candidate() {
    let mut market = at_the_door(2);
    let mut rules = market.engine.state().config.clone();
    rules.search.busy_until = Millis::from_mins(1);
    rules.schedule.commit_ahead = Millis::from_mins(1);
    market.by(Role::Dispatcher, Action::Configure(Box::new(rules)));
    let news = market.passes(119);
    assert!(matches!(news[..], [EventKind::OrderHeld { reason: HoldReason::NoCandidate, .. }]), "{news:?}");
}

#[test]
fn who_is_excluded_is_counted_once_however_far_the_search_widens() {
    let mut market = Market::new(direct());
    market.works("ana", 100.0);
    market.by(Role::Driver, Action::PauseDriver { driver: driver("ana") });
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    let decision = market.engine.explain(&order("o")).unwrap().decision.unwrap();
    assert_eq!(decision.radius, Meters::from_km(15));
    assert_eq!(decision.excluded.into_iter().collect::<Vec<_>>(), [(Exclusion::Paused, 1)]);
}

#[test]
fn somebody_looks_for_silent_drivers_while_nothing_waits() {
    let mut market = Market::new(direct());
    assert_eq!(market.engine.next_deadline(), None);
    market.works("ana", 100.0);
    market.passes(1);
    assert_eq!(market.engine.next_deadline(), Some(market.now + secs(30)));
}

#[test]
fn a_promise_is_as_urgent_as_food() {
    for (minutes, at_once) in [(23, true), (60, false)] {
        let mut market = Market::new(direct());
        market.works("ana", 0.0);
        // In the customer's hands after 15 + 2 + 2.4 + 3 minutes.
        let mut spec = OrderSpec::new(order("o"), at(0.0), at(1_000.0));
        spec.promised_at = Some(market.now + Millis::from_mins(minutes));
        market.by(Role::Customer, Action::SubmitOrder(spec));
        assert_eq!(!assigned(&market.passes(1)).is_empty(), at_once, "promised in {minutes} min");
    }
}

#[test]
fn the_order_that_is_left_out_is_not_the_oldest() {
    let mut rules = direct();
    rules.score = vec![ScoreWeight { term: Label::new("to_pickup_min").unwrap(), weight: -1.0 }];
    rules.rounds.pause = Millis::ZERO;
    let mut market = Market::new(rules);
    market.submits("old", 0, 0.0, 1_000.0);
    market.passes(300);
    market.submits("new", 0, 0.0, 1_000.0);
    market.works("ana", 100.0);
    assert_eq!(assigned(&market.passes(1)), ["old"]);
}

#[test]
fn with_little_work_allowed_the_most_urgent_order_is_served_first() {
    let mut rules = direct();
    rules.work_budget = 1;
    let mut market = Market::new(rules);
    // All are near both drivers, and urgent first is not first by name.
    for (id, minutes) in [("a", 2), ("b", 1), ("c", 0)] {
        market.submits(id, minutes, 0.0, 1_000.0);
    }
    market.works("ana", 100.0);
    assert_eq!(assigned(&market.passes(1)), ["c"]);
}

#[test]
fn who_goes_home_or_falls_silent_loses_its_offer() {
    let patient = || EngineConfig { offers: OfferRule::Sequential { expires_after: secs(600) }, ..config() };
    let mut market = Market::new(patient());
    market.works("ana", 100.0);
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(asked(&market.passes(1)), ["ana"]);
    let news = market.by(Role::Driver, Action::EndShift { driver: driver("ana") });
    assert!(matches!(
        news[..],
        [EventKind::OfferClosed { outcome: OfferOutcome::Withdrawn, .. }, EventKind::ShiftEnded { .. },]
    ));

    let mut market = Market::new(patient());
    market.works("ana", 100.0);
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(asked(&market.passes(1)), ["ana"]);
    market.disappears("ana");
    let news = market.passes(120);
    assert!(
        matches!(
            news[..2],
            [EventKind::DriverSilent { .. }, EventKind::OfferClosed { outcome: OfferOutcome::Withdrawn, .. },]
        ),
        "{news:?}"
    );
}

#[test]
fn service_after_the_last_event_of_a_stop_counts_for_the_driver_not_for_the_customer() {
    let mut rules = direct();
    rules.service.after_dropoff = Millis::from_mins(5);
    let mut market = Market::new(rules);
    market.works("ana", 0.0);
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    let eta = market.engine.eta(&order("o"), market.now).unwrap();
    let parts = [eta.to_pickup, eta.preparation_left, eta.pickup_service, eta.to_dropoff, eta.hand_off];
    assert_eq!(parts.into_iter().fold(market.now, |at, part| at + part), eta.at);
    // 2 min pickup, 1 km at 25 km/h, 3 min hand-off.
    assert_eq!(eta.at, market.now + secs(120 + 144 + 180));

    let news = market.progress("o", "ana", Step::PickedUp);
    assert!(matches!(news[..], [EventKind::PickedUp { leave_at, .. }] if leave_at == market.now + secs(120)));
    let news = market.progress("o", "ana", Step::Delivered);
    assert!(matches!(news[..], [EventKind::Delivered { leave_at, .. }] if leave_at == market.now + secs(300)));

    // In a new shift the driver is where it says, not at its last door.
    market.by(Role::Driver, Action::EndShift { driver: driver("ana") });
    market.by(Role::Driver, Action::StartShift { driver: driver("ana"), until: None });
    market.moves("ana", 5_000.0);
    market.submits("next", 0, 5_000.0, 6_000.0);
    let news = market.passes(1);
    let [EventKind::Assigned { from: Some(from), .. }] = &news[..] else { panic!("{news:?}") };
    assert_eq!(from.position, at(5_000.0));
}

#[test]
fn what_is_left_of_a_route_is_expected_sooner() {
    let mut market = Market::new(direct());
    market.works("ana", 0.0);
    market.submits("first", 0, 0.0, 1_000.0);
    market.passes(1);
    market.submits("second", 0, 0.0, 1_000.0);
    market.by(Role::Dispatcher, Action::Assign { order: order("second"), driver: driver("ana") });
    let news = market.by(Role::Dispatcher, Action::TakeBack { order: order("first") });
    let [EventKind::Returned { stops, .. }] = &news[..] else { panic!("{news:?}") };
    assert_eq!((stops.len(), stops[0].arrive_at), (2, market.now));
}

#[test]
fn the_work_budget_decides_between_the_best_pairing_and_a_greedy_one() {
    for (work_budget, takes_c) in [(1, "near"), (1_000, "far")] {
        let mut rules = EngineConfig { work_budget, ..direct() };
        rules.score = vec![ScoreWeight { term: Label::new("to_pickup_min").unwrap(), weight: -1.0 }];
        let mut market = Market::new(rules);
        market.works("near", 100.0);
        market.works("far", -200.0);
        // 100 + 600 metres of way, or 200 + 300.
        market.submits("c", 0, 0.0, 1_000.0);
        market.submits("d", 1, 400.0, 1_000.0);
        market.passes(1);
        assert_eq!(market.engine.state().orders[&order("c")].status.driver(), Some(&driver(takes_c)));
    }
}
