//! Going on after an outage: what was promised holds, nobody is blamed for it, and nothing is decided half blind.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Market, asked, config, driver, order, secs};
use dispatch_core::{Action, EngineConfig, EventKind, Millis, OfferId, OfferOutcome, OfferRule, Refusal, Role};
use proptest::prelude::*;

fn direct() -> EngineConfig {
    EngineConfig { offers: OfferRule::Direct, ..config() }
}

/// Ana has an offer for the order, bo is further away.
fn offered() -> Market {
    let mut market = Market::new(config());
    market.works("ana", 100.0);
    market.works("bo", 3_000.0);
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(asked(&market.passes(1)), ["ana"]);
    market
}

fn attempts(market: &Market) -> u16 {
    market.engine.state().orders[&order("o")].round.attempts
}

proptest! {
    #[test]
    fn an_open_offer_is_open_for_the_outage_longer(before in 1..29i64, down in 0..3_000i64) {
        let a_second_before = || {
            let mut market = offered();
            market.passes(before);
            let expires_at = market.now + secs(30 - before + down);
            let news = market.restarts(down);
            assert_eq!(news, [EventKind::Resumed { down_for: secs(down), extended: vec![(OfferId(1), expires_at)] }]);
            assert_eq!(market.passes(29 - before), []);
            market
        };
        let mut market = a_second_before();
        market.accepts("ana");
        prop_assert_eq!(market.status("o"), "assigned");
        let mut market = a_second_before();
        let news = market.passes(1);
        prop_assert!(matches!(news[0], EventKind::OfferClosed { outcome: OfferOutcome::Expired, .. }), "{news:?}");
        prop_assert_eq!(attempts(&market), 1 + asked(&news).len() as u16);
    }
}

#[test]
fn an_outage_burns_no_attempt() {
    let mut market = offered();
    market.passes(20);
    market.restarts(600);
    assert_eq!(attempts(&market), 1);
    market.accepts("ana");
    assert_eq!(market.status("o"), "assigned");
    let rate = market.engine.state().drivers[&driver("ana")].acceptance.rate();
    assert!(rate > 0.99, "{rate}");
}

#[test]
fn an_offer_that_had_expired_before_the_outage_stays_expired() {
    let mut market = offered();
    // Nobody has noticed yet.
    market.now += secs(30);
    let silent_for = secs(10);
    market.now += silent_for;
    let news = market.by(Role::System, Action::Resume { down_for: silent_for });
    assert_eq!(news, [EventKind::Resumed { down_for: silent_for, extended: Vec::new() }]);
    let refused = market.try_by(Role::Driver, Action::AcceptOffer { offer: OfferId(1), driver: driver("ana") });
    assert!(matches!(refused, Err(Refusal::OfferClosed { .. })), "{refused:?}");
}

#[test]
fn an_outage_counts_from_the_last_event_at_most() {
    let mut market = offered();
    market.passes(10);
    market.restarts(100);
    let again = market.by(Role::System, Action::Resume { down_for: secs(100) });
    assert!(matches!(&again[..], [EventKind::Resumed { down_for: Millis::ZERO, .. }]), "{again:?}");
}

#[test]
fn only_the_system_says_so() {
    let mut market = offered();
    for role in [Role::Merchant, Role::Driver, Role::Dispatcher, Role::Customer] {
        let refused = market.try_by(role, Action::Resume { down_for: secs(1) });
        assert!(matches!(refused, Err(Refusal::NotForRole { .. })), "{refused:?}");
    }
    let refused = market.try_by(Role::System, Action::Resume { down_for: secs(-1) });
    assert!(matches!(refused, Err(Refusal::Invalid { field: "down_for", .. })), "{refused:?}");
}

/// Five drivers on shift whom nobody has heard since a restart, and an order that is due.
fn unheard() -> Market {
    let mut market = Market::new(direct());
    for (i, id) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        market.works(id, 100.0 * (i as f64 + 1.0));
    }
    market.passes(10);
    for id in ["a", "b", "c", "d", "e"] {
        market.disappears(id);
    }
    market.submits("o", 0, 0.0, 1_000.0);
    market.restarts(5);
    market
}

#[test]
fn pairing_waits_for_four_drivers_of_five() {
    let mut market = unheard();
    for (id, metres) in [("e", 500.0), ("d", 400.0), ("c", 300.0)] {
        market.moves(id, metres);
        assert_eq!(market.passes(2), [], "with {id}");
    }
    market.moves("a", 100.0);
    let news = market.passes(1);
    assert!(matches!(&news[..], [EventKind::Assigned { driver, .. }] if driver.as_str() == "a"), "{news:?}");
}

#[test]
fn pairing_waits_thirty_seconds_and_no_longer() {
    let mut market = unheard();
    market.moves("e", 500.0);
    assert_eq!(market.passes(29), []);
    let news = market.passes(1);
    assert!(matches!(&news[..], [EventKind::Assigned { driver, .. }] if driver.as_str() == "e"), "{news:?}");
}

#[test]
fn whoever_gets_no_orders_is_not_waited_for() {
    let mut market = unheard();
    for id in ["b", "c", "d"] {
        market.by(Role::Driver, Action::PauseDriver { driver: driver(id) });
    }
    market.by(Role::Driver, Action::EndShift { driver: driver("e") });
    assert_eq!(market.passes(1), []);
    market.moves("a", 100.0);
    let news = market.passes(1);
    assert!(matches!(&news[..], [EventKind::Assigned { driver, .. }] if driver.as_str() == "a"), "{news:?}");
}

#[test]
fn an_order_without_a_candidate_is_looked_at_as_soon_as_enough_have_reported() {
    let mut market = Market::new(direct());
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(4);
    market.works("a", 100.0);
    market.restarts(20);
    let news = market.passes(1);
    assert!(matches!(&news[..], [EventKind::Assigned { .. }]), "{news:?}");
}

#[test]
fn deadlines_stay_where_they_were() {
    let mut market = Market::new(config());
    market.submits("o", 15, 0.0, 1_000.0);
    market.passes(60);
    market.restarts(2 * 3_600 - 61);
    let overdue = market.passes(1);
    assert!(matches!(overdue.last(), Some(EventKind::OrderFailed { .. })), "{overdue:?}");
}

#[test]
fn nobody_is_silent_for_the_outage() {
    let mut market = Market::new(direct());
    market.works("ana", 100.0);
    market.passes(600);
    market.disappears("ana");
    market.restarts(3_600);
    assert_eq!(market.passes(119), []);
    assert_eq!(market.passes(1), [EventKind::DriverSilent { driver: driver("ana") }]);
}

#[test]
fn only_a_fix_ends_a_silence_also_after_a_restart() {
    let mut market = Market::new(direct());
    market.works("ana", 100.0);
    market.disappears("ana");
    assert_eq!(market.passes(120), [EventKind::DriverSilent { driver: driver("ana") }]);
    market.restarts(0);
    assert_eq!(market.passes(10), []);
    market.moves("ana", 100.0);
    assert_eq!(market.passes(1), [EventKind::DriverHeard { driver: driver("ana") }]);
}
