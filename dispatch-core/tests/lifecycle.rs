//! What happens to an order from submission to its end, and what is refused on the way.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Market, asked, at, config, driver, order, secs};
use dispatch_core::{
    Action, DriverSpec, EngineConfig, EventKind, FailReason, HoldReason, KitchenStatus, Limits, Millis, OfferOutcome,
    OfferRule, OrderSpec, PublicStatus, Reason, Refusal, RestoreError, ReturnReason, Role, RoundFailure, Skill,
    StartOn, Step, StraightLine, Units,
};
use std::sync::Arc;

fn direct() -> EngineConfig {
    EngineConfig { offers: OfferRule::Direct, ..config() }
}

fn reason() -> Reason {
    Reason::new("a reason").unwrap()
}

#[test]
fn an_order_goes_from_hand_to_hand() {
    let mut market = Market::new(EngineConfig { start_on: StartOn::Confirmed, ..config() });
    market.works("ana", 500.0);
    market.submits("o", 0, 0.0, 2_000.0);
    let public = |market: &Market| market.engine.state().orders[&order("o")].public_status();
    assert_eq!(public(&market), PublicStatus::Pending);
    assert_eq!(market.passes(5), []);
    market.by(Role::Merchant, Action::Kitchen { order: order("o"), status: KitchenStatus::Confirmed });
    assert_eq!(public(&market), PublicStatus::Confirmed);
    assert_eq!(asked(&market.passes(1)), ["ana"]);
    market.accepts("ana");
    assert_eq!(public(&market), PublicStatus::DriverAssigned);
    market.moves("ana", 0.0);
    market.passes(60);
    market.progress("o", "ana", Step::ArrivedAtPickup);
    market.progress("o", "ana", Step::PickedUp);
    assert_eq!(public(&market), PublicStatus::PickedUp);
    // A fix more than 100 m from the pickup says as much as the driver could.
    market.moves("ana", 99.0);
    assert_eq!(market.passes(1), []);
    market.moves("ana", 101.0);
    assert_eq!(market.passes(1), [EventKind::Departed { order: order("o"), driver: driver("ana") }]);
    assert_eq!(public(&market), PublicStatus::InTransit);
    market.progress("o", "ana", Step::ArrivedAtDropoff);
    market.progress("o", "ana", Step::Delivered);
    assert_eq!(public(&market), PublicStatus::Delivered);
    // An hour later it is completed, and out of memory.
    assert_eq!(market.passes(3_600), [EventKind::OrderRetired { order: order("o") }]);
    assert_eq!(market.engine.explain(&order("o")), None);
}

#[test]
fn an_order_is_held_until_its_slack_is_used_up() {
    let mut market = Market::new(direct());
    market.works("ana", 0.0);
    // Ready in 15 min, no way to go, and decided 2 min before it would be too late.
    market.submits("o", 15, 0.0, 1_000.0);
    let held = market.passes(1);
    assert!(matches!(held[..], [EventKind::OrderHeld { reason: HoldReason::SlackAmple, .. }]), "{held:?}");
    assert_eq!(market.passes(13 * 60 - 2), []);
    let news = market.passes(1);
    assert!(matches!(&news[..], [EventKind::Assigned { driver, .. }] if driver.as_str() == "ana"), "{news:?}");
}

#[test]
fn what_is_late_is_never_held() {
    let mut market = Market::new(direct());
    market.works("far", 4_900.0);
    // Ready in 5 min, but 11.8 min away: slack is negative from the beginning.
    market.submits("o", 5, 0.0, 1_000.0);
    assert!(matches!(market.passes(1)[..], [EventKind::Assigned { .. }]));
}

#[test]
fn an_expiry_is_a_predicate() {
    let mut market = Market::new(config());
    market.works("ana", 100.0);
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(asked(&market.passes(1)), ["ana"]);
    let offer = market.offer("ana");
    let accept = Action::AcceptOffer { offer, driver: driver("ana") };
    // At the very instant of its expiry, before anything noticed it.
    market.now += secs(30);
    let refused = market.try_by(Role::Driver, accept.clone()).unwrap_err();
    assert_eq!(refused, Refusal::OfferClosed { offer, is: "has expired" });

    let mut market = Market::new(config());
    market.works("ana", 100.0);
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    market.now += Millis::new(29_999);
    let events = market.by(Role::Driver, accept.clone());
    assert!(matches!(
        events[..],
        [EventKind::OfferClosed { outcome: OfferOutcome::Accepted, .. }, EventKind::Assigned { .. }]
    ));
    let again = market.try_by(Role::Driver, accept).unwrap_err();
    assert_eq!(again, Refusal::OfferClosed { offer, is: "was accepted" });
}

#[test]
fn an_offer_is_answered_by_whom_it_was_made_to() {
    let mut market = Market::new(config());
    market.works("ana", 100.0);
    market.works("bo", 4_000.0);
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    let offer = market.offer("ana");
    let refused = market.try_by(Role::Driver, Action::AcceptOffer { offer, driver: driver("bo") }).unwrap_err();
    assert_eq!(refused, Refusal::NotYours { driver: driver("bo") });
    let unknown = dispatch_core::OfferId(99);
    let refused =
        market.try_by(Role::Driver, Action::DeclineOffer { offer: unknown, driver: driver("bo") }).unwrap_err();
    assert_eq!(refused, Refusal::UnknownOffer { offer: unknown });
}

#[test]
fn nobody_is_asked_twice_in_a_round_and_a_round_has_five_attempts() {
    let mut market = Market::new(config());
    for (i, id) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        market.works(id, 100.0 * (i as f64 + 1.0));
    }
    market.submits("o", 0, 0.0, 1_000.0);
    let mut asked_in_turn = Vec::new();
    for _ in 0..4 {
        let now_asked = asked(&market.passes(1));
        assert_eq!(now_asked.len(), 1);
        market.declines(&now_asked[0]);
        asked_in_turn.extend(now_asked);
    }
    asked_in_turn.extend(asked(&market.passes(1)));
    assert_eq!(asked_in_turn, ["a", "b", "c", "d", "e"]);
    // The fifth lets it expire.
    let news = market.passes(30);
    let retry_at = market.now + secs(60);
    assert!(
        matches!(news[..], [
            EventKind::OfferClosed { outcome: OfferOutcome::Expired, .. },
            EventKind::AssignmentFailed { reason: RoundFailure::AttemptsUsed, retry_at: at, .. },
        ] if at == retry_at),
        "{news:?}"
    );
    assert_eq!(market.passes(59), []);
    let news = market.passes(1);
    assert!(matches!(news[0], EventKind::RoundStarted { .. }), "{news:?}");
    assert_eq!(asked(&news), ["a"]);
    let rate = |id: &str| market.engine.state().drivers[&driver(id)].acceptance.rate();
    assert!(rate("e") < 0.01 && rate("f") > 0.99);
}

#[test]
fn without_drivers_the_order_is_overdue_after_one_hour_and_fails_after_two() {
    let mut market = Market::new(config());
    market.submits("o", 15, 0.0, 1_000.0);
    let news = market.passes(2 * 3_600);
    let rounds = news.iter().filter(|kind| matches!(kind, EventKind::RoundStarted { .. })).count();
    // 10 min of search and 60 s of rest, over and over.
    assert_eq!(rounds, 10, "{news:?}");
    let overdue = news.iter().filter(|kind| matches!(kind, EventKind::OrderOverdue { .. })).count();
    assert_eq!(overdue, 1);
    let failed = EventKind::OrderFailed { order: order("o"), reason: FailReason::NoDriver, stops: None };
    assert_eq!(news.last(), Some(&failed));
}

#[test]
fn an_order_for_much_later_does_not_fail_before_it_is_due() {
    let mut market = Market::new(config());
    market.submits("o", 5 * 60, 0.0, 1_000.0);
    let news = market.passes(4 * 3_600);
    assert_eq!(news, [], "an order is first looked at shortly before it is ready");
    assert_eq!(market.status("o"), "waiting");
}

#[test]
fn a_silent_driver_loses_what_it_has_not_picked_up() {
    let mut market = Market::new(direct());
    market.works("ana", 100.0);
    market.works("bo", 3_000.0);
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    assert_eq!(market.engine.state().orders[&order("o")].status.driver(), Some(&driver("ana")));
    market.disappears("ana");
    // The last fix was a second before the silence began.
    assert_eq!(market.passes(119), []);
    let news = market.passes(1);
    let silent = EventKind::DriverSilent { driver: driver("ana") };
    assert_eq!(news[0], silent);
    assert!(matches!(news[1], EventKind::Returned { reason: ReturnReason::DriverSilent, .. }));
    assert!(matches!(&news[2], EventKind::Assigned { driver, .. } if driver.as_str() == "bo"), "{news:?}");
    market.moves("ana", 100.0);
    assert_eq!(market.passes(1), [EventKind::DriverHeard { driver: driver("ana") }]);
}

#[test]
fn ending_a_shift_returns_what_is_not_on_board() {
    let mut market = Market::new(EngineConfig { offers: OfferRule::Direct, ..config() });
    let mut spec = DriverSpec::new(driver("ana"));
    spec.capacity = Units::new(2).unwrap();
    market.works("ana", 100.0);
    market.by(Role::Driver, Action::EndShift { driver: driver("ana") });
    market.by(Role::Driver, Action::RegisterDriver(spec));
    market.by(Role::Driver, Action::StartShift { driver: driver("ana"), until: None });
    market.submits("on-board", 0, 0.0, 1_000.0);
    market.passes(1);
    market.progress("on-board", "ana", Step::PickedUp);
    market.submits("to-fetch", 0, 0.0, 1_000.0);
    market.by(Role::Dispatcher, Action::Assign { order: order("to-fetch"), driver: driver("ana") });
    let news = market.by(Role::Driver, Action::EndShift { driver: driver("ana") });
    assert!(matches!(&news[..], [
        EventKind::Returned { order, reason: ReturnReason::ShiftEnded, .. },
        EventKind::ShiftEnding { .. },
    ] if order.as_str() == "to-fetch"));
    assert!(market.passes(60).iter().all(|kind| !matches!(kind, EventKind::Assigned { .. })));
    let news = market.progress("on-board", "ana", Step::Delivered);
    assert_eq!(news[1], EventKind::ShiftEnded { driver: driver("ana") });
}

#[test]
fn a_shift_that_ends_as_planned_takes_nobody_else_out_of_the_search() {
    let mut market = Market::new(direct());
    market.works("bo", 100.0);
    market.by(Role::Driver, Action::RegisterDriver(DriverSpec::new(driver("ana"))));
    let until = Some(market.now + secs(10));
    market.by(Role::Driver, Action::StartShift { driver: driver("ana"), until });
    market.moves("ana", 50.0);
    market.passes(9);
    market.submits("o", 0, 0.0, 1_000.0);
    // Ana's shift ends in the very window that decides.
    let news = market.passes(1);
    assert!(
        matches!(&news[..], [
        EventKind::ShiftEnded { .. },
        EventKind::Assigned { driver, .. },
    ] if driver.as_str() == "bo"),
        "{news:?}"
    );
}

#[test]
fn who_may_cancel_depends_on_how_far_it_is() {
    let cancel = || Action::CancelOrder { order: order("o"), reason: reason() };
    let mut market = Market::new(direct());
    market.submits("o", 0, 0.0, 1_000.0);
    market.by(Role::Merchant, Action::Kitchen { order: order("o"), status: KitchenStatus::Preparing });
    let refused = market.try_by(Role::Customer, cancel()).unwrap_err();
    assert_eq!(refused.to_string(), "a customer may not cancel_order an order that is being prepared");
    assert!(matches!(market.try_by(Role::Driver, cancel()), Err(Refusal::NotAllowed { .. })));
    market.works("ana", 100.0);
    market.passes(1);
    market.progress("o", "ana", Step::PickedUp);
    assert!(matches!(market.try_by(Role::Dispatcher, cancel()), Err(Refusal::OrderState { is: "picked_up", .. })));
    let fail = || Action::FailOrder { order: order("o"), reason: reason() };
    assert!(matches!(market.try_by(Role::Customer, fail()), Err(Refusal::NotAllowed { .. })));
    market.by(Role::Driver, fail());
    assert_eq!(market.status("o"), "failed");
    assert_eq!(market.engine.state().drivers[&driver("ana")].stops, []);

    let mut market = Market::new(config());
    market.works("ana", 100.0);
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    let news = market.by(Role::Customer, cancel());
    assert!(matches!(news[0], EventKind::OfferClosed { outcome: OfferOutcome::Withdrawn, .. }));
    assert!(matches!(news[1], EventKind::OrderCancelled { .. }));
}

#[test]
fn a_dispatcher_assigns_reassigns_and_takes_back() {
    let mut market = Market::new(config());
    market.works("ana", 100.0);
    market.works("bo", 200.0);
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    let to = |id: &str| Action::Assign { order: order("o"), driver: driver(id) };
    let news = market.by(Role::Dispatcher, to("bo"));
    assert!(matches!(&news[..], [
        EventKind::OfferClosed { outcome: OfferOutcome::Withdrawn, .. },
        EventKind::Assigned { driver, .. },
    ] if driver.as_str() == "bo"));
    let refused = market.try_by(Role::Dispatcher, to("bo")).unwrap_err();
    assert_eq!(refused.to_string(), "driver bo has this order, so assign does not apply");
    let news = market.by(Role::Dispatcher, to("ana"));
    assert!(matches!(news[0], EventKind::Returned { reason: ReturnReason::Reassigned, .. }));
    market.by(Role::Dispatcher, Action::TakeBack { order: order("o") });
    assert_eq!(market.status("o"), "waiting");
    assert_eq!(asked(&market.passes(1)), ["bo"], "who had it taken away is not asked again in this round");
    assert!(matches!(market.try_by(Role::Dispatcher, to("nobody")), Err(Refusal::UnknownDriver { .. })));
}

#[test]
fn capacity_and_skills_bind_dispatchers_too() {
    let mut market = Market::new(direct());
    market.works("ana", 100.0);
    let mut heavy = OrderSpec::new(order("heavy"), at(0.0), at(1_000.0));
    heavy.units = Units::new(2).unwrap();
    let mut cold = OrderSpec::new(order("cold"), at(0.0), at(1_000.0));
    cold.skills.insert(Skill::new("cold-box").unwrap());
    for spec in [heavy, cold] {
        market.by(Role::Customer, Action::SubmitOrder(spec));
    }
    market.passes(1_200);
    assert_eq!((market.status("heavy"), market.status("cold")), ("waiting", "waiting"));
    let assign = |id: &str| Action::Assign { order: order(id), driver: driver("ana") };
    assert!(matches!(
        market.try_by(Role::Dispatcher, assign("heavy")),
        Err(Refusal::Capacity { capacity: 1, needed: 2, .. })
    ));
    assert!(matches!(market.try_by(Role::Dispatcher, assign("cold")), Err(Refusal::Skill { .. })));

    // One fits at a time: the next is fetched after the first is brought, not before.
    for id in ["first", "second"] {
        market.submits(id, 0, 0.0, 1_000.0);
    }
    for id in ["first", "second"] {
        if market.status(id) == "waiting" {
            market.by(Role::Dispatcher, assign(id));
        }
    }
    market.progress("first", "ana", Step::PickedUp);
    let pickup = Action::Progress { order: order("second"), driver: driver("ana"), step: Step::PickedUp };
    assert!(matches!(market.try_by(Role::Driver, pickup), Err(Refusal::Capacity { .. })));
}

#[test]
fn submitting_again_is_harmless_and_other_content_is_refused() {
    let mut market = Market::new(config());
    let spec = OrderSpec::new(order("o"), at(0.0), at(1_000.0));
    market.by(Role::Customer, Action::SubmitOrder(spec.clone()));
    assert_eq!(market.by(Role::Customer, Action::SubmitOrder(spec.clone())), []);
    let other = OrderSpec { preparation: Some(secs(1)), ..spec };
    let refused = market.try_by(Role::Customer, Action::SubmitOrder(other)).unwrap_err();
    assert_eq!(refused, Refusal::OrderDiffers { order: order("o") });
}

#[test]
fn limits_refuse() {
    let mut market =
        Market::new(EngineConfig { limits: Limits { orders: 1, drivers: 1, orders_per_driver: 1 }, ..config() });
    market.works("ana", 0.0);
    let more = Action::RegisterDriver(DriverSpec::new(driver("bo")));
    assert_eq!(market.try_by(Role::Driver, more), Err(Refusal::Full { what: "drivers", limit: 1 }));
    market.submits("o", 0, 0.0, 1_000.0);
    let more = Action::SubmitOrder(OrderSpec::new(order("p"), at(0.0), at(1.0)));
    assert_eq!(market.try_by(Role::Customer, more), Err(Refusal::Full { what: "orders", limit: 1 }));
}

#[test]
fn a_wrong_value_is_named() {
    let mut market = Market::new(config());
    let mut spec = OrderSpec::new(order("o"), at(0.0), at(1_000.0));
    spec.preparation = Some(secs(-1));
    let refused = market.try_by(Role::Customer, Action::SubmitOrder(spec.clone())).unwrap_err();
    assert!(refused.to_string().starts_with("preparation: must be from"), "{refused}");
    spec.preparation = None;
    spec.promised_at = Some(market.now + Millis::from_mins(60 * 24 * 365));
    let refused = market.try_by(Role::Customer, Action::SubmitOrder(spec)).unwrap_err();
    assert!(refused.to_string().starts_with("promised_at: must be from"), "{refused}");
    let mut wrong = market.engine.state().config.clone();
    wrong.window = Millis::ZERO;
    let refused = market.try_by(Role::Dispatcher, Action::Configure(Box::new(wrong))).unwrap_err();
    assert!(refused.to_string().contains("window: must be"), "{refused}");
    let mut unknown = market.engine.state().config.clone();
    unknown.score[0].term = dispatch_core::Label::new("luck").unwrap();
    let refused = market.try_by(Role::Dispatcher, Action::Configure(Box::new(unknown))).unwrap_err();
    assert!(refused.to_string().contains("score[0].term: there is no score term `luck`"), "{refused}");
}

#[test]
fn time_never_goes_back() {
    let mut market = Market::new(config());
    market.works("ana", 0.0);
    market.passes(10);
    let now = market.now;
    market.now = now - secs(5);
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(market.engine.state().orders[&order("o")].times.placed, now);
}

#[test]
fn a_refused_command_does_not_move_the_clock() {
    let mut market = Market::new(config());
    let now = market.now;
    market.now = now + Millis::from_mins(60);
    assert!(market.try_by(Role::Driver, Action::EndShift { driver: driver("nobody") }).is_err());
    market.now = now;
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(market.engine.state().orders[&order("o")].times.placed, now);
}

#[test]
fn a_changed_configuration_decides_from_then_on_and_is_part_of_the_explanation() {
    let mut market = Market::new(direct());
    market.works("ana", 100.0);
    let mut changed = market.engine.state().config.clone();
    changed.schedule.margin = Millis::from_mins(10);
    market.by(Role::Dispatcher, Action::Configure(Box::new(changed)));
    market.submits("o", 11, 0.0, 1_000.0);
    let news = market.passes(60);
    assert!(matches!(news[..], [EventKind::OrderHeld { .. }, EventKind::Assigned { .. }]), "{news:?}");
    let explanation = market.engine.explain(&order("o")).unwrap();
    let decision = explanation.decision.unwrap();
    assert_eq!(decision.config_version, 2);
    assert!(decision.best[0].chosen && decision.best[0].driver == driver("ana"));
    assert!(decision.encoded_len() <= dispatch_core::MAX_DECISION_BYTES);
}

#[test]
fn the_parts_of_an_eta_add_up() {
    let mut market = Market::new(direct());
    market.works("ana", 1_000.0);
    market.submits("o", 12, 0.0, 3_000.0);
    let adds_up = |market: &Market| {
        let eta = market.engine.eta(&order("o"), market.now).unwrap();
        let parts = [eta.to_pickup, eta.preparation_left, eta.pickup_service, eta.to_dropoff, eta.hand_off];
        assert_eq!(parts.into_iter().fold(market.now, |at, part| at + part), eta.at, "{eta:?}");
        assert!(parts.into_iter().all(|part| part >= Millis::ZERO), "{eta:?}");
        eta
    };
    // 12 min of preparation, 2 min pickup, 7.2 min at 25 km/h, 3 min hand-off; the driver is there before it is ready.
    let expected = market.now + Millis::from_mins(17) + secs(432);
    assert_eq!(adds_up(&market).at, expected);
    market.passes(8 * 60);
    assert_eq!(market.status("o"), "assigned");
    assert_eq!(adds_up(&market).at, expected);
    market.moves("ana", 0.0);
    market.is_ready("o");
    market.progress("o", "ana", Step::PickedUp);
    let eta = adds_up(&market);
    assert_eq!((eta.to_pickup, eta.preparation_left), (Millis::ZERO, Millis::ZERO));
    market.passes(60);
    adds_up(&market);
    market.progress("o", "ana", Step::Delivered);
    assert_eq!(market.engine.eta(&order("o"), market.now), None);
}

#[test]
fn a_gap_in_the_log_is_not_restored_over() {
    let mut market = Market::new(config());
    let snapshot = market.engine.snapshot();
    market.submits("o", 15, 0.0, 1_000.0);
    let mut events =
        market.engine.handle(market.now, Action::CancelOrder { order: order("o"), reason: reason() }.by(Role::System));
    let events = std::mem::take(events.as_mut().unwrap());
    let restored = dispatch_core::Engine::restore(Arc::new(StraightLine::default()), Vec::new(), snapshot, events);
    assert_eq!(restored.unwrap_err(), RestoreError::Gap { expected: 2, found: 4 });
}

#[test]
fn a_driver_who_pauses_loses_its_offer_and_the_order_no_attempt() {
    let mut rules = config();
    rules.rounds.attempts = 1;
    let mut market = Market::new(rules);
    market.works("ana", 100.0);
    market.works("bo", 1_000.0);
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(asked(&market.passes(1)), ["ana"]);
    let news = market.by(Role::Driver, Action::PauseDriver { driver: driver("ana") });
    assert!(matches!(
        news[..],
        [EventKind::OfferClosed { outcome: OfferOutcome::Withdrawn, .. }, EventKind::DriverPaused { .. },]
    ));
    let news = market.passes(1);
    assert!(matches!(&news[..], [EventKind::OfferMade { driver, attempt: 1, .. }] if driver.as_str() == "bo"));
    let news = market.declines("bo");
    assert!(matches!(
        news[..],
        [
            EventKind::OfferClosed { outcome: OfferOutcome::Declined, .. },
            EventKind::AssignmentFailed { reason: RoundFailure::AttemptsUsed, .. },
        ]
    ));
}

#[test]
fn a_round_that_had_more_attempts_than_new_rules_allow_has_failed() {
    let mut market = Market::new(config());
    for (i, id) in ["a", "b", "c"].into_iter().enumerate() {
        market.works(id, 100.0 * (i as f64 + 1.0));
    }
    market.submits("o", 0, 0.0, 1_000.0);
    for id in ["a", "b"] {
        assert_eq!(asked(&market.passes(1)), [id]);
        market.declines(id);
    }
    let mut fewer = market.engine.state().config.clone();
    fewer.rounds.attempts = 2;
    market.by(Role::Dispatcher, Action::Configure(Box::new(fewer)));
    let news = market.passes(1);
    assert!(matches!(news[..], [EventKind::AssignmentFailed { reason: RoundFailure::AttemptsUsed, .. }]), "{news:?}");
}

#[test]
fn a_driver_is_idle_since_its_last_order_left_it() {
    let mut market = Market::new(direct());
    market.works("ana", 100.0);
    let idle_since = |market: &Market| market.engine.state().drivers[&driver("ana")].idle_since;
    assert_eq!(idle_since(&market), market.now);
    market.submits("taken-back", 0, 0.0, 1_000.0);
    market.passes(60);
    market.by(Role::Dispatcher, Action::TakeBack { order: order("taken-back") });
    assert_eq!(idle_since(&market), market.now);
    market.by(Role::Customer, Action::CancelOrder { order: order("taken-back"), reason: reason() });
    market.submits("delivered", 0, 0.0, 1_000.0);
    market.passes(60);
    market.progress("delivered", "ana", Step::PickedUp);
    assert_ne!(idle_since(&market), market.now);
    market.progress("delivered", "ana", Step::Delivered);
    assert_eq!(idle_since(&market), market.now);
}

#[test]
fn an_order_without_candidates_is_looked_at_after_every_pause() {
    let mut market = Market::new(direct());
    market.submits("o", 0, 0.0, 1_000.0);
    let held = market.passes(1);
    assert!(matches!(held[..], [EventKind::OrderHeld { reason: HoldReason::NoCandidate, .. }]), "{held:?}");
    market.works("ana", 100.0);
    assert_eq!(market.passes(9), [], "nine seconds into the pause of ten");
    assert!(matches!(market.passes(1)[..], [EventKind::Assigned { .. }]));
}

#[test]
fn busy_drivers_take_orders_up_to_the_limit_of_a_route() {
    let mut market = Market::new(direct());
    market.works("ana", 0.0);
    for id in ["first", "second", "third", "fourth"] {
        market.submits(id, 0, 0.0, 100.0);
        market.passes(11);
    }
    let statuses = |market: &Market| ["first", "second", "third", "fourth"].map(|id| market.status(id));
    // The first stop takes two minutes, the last three: nobody is sent before it can set out within two.
    assert_eq!(statuses(&market), ["assigned", "waiting", "waiting", "waiting"]);
    let hand = |id: &str| Action::Assign { order: order(id), driver: driver("ana") };
    market.by(Role::Dispatcher, hand("second"));
    market.by(Role::Dispatcher, hand("third"));
    let refused = market.try_by(Role::Dispatcher, hand("fourth")).unwrap_err();
    assert!(refused.to_string().contains("as many orders as a route may hold"), "{refused}");
    market.progress("first", "ana", Step::PickedUp);
    market.progress("first", "ana", Step::Delivered);
    market.by(Role::Dispatcher, hand("fourth"));
}

#[test]
fn an_overdue_order_that_finds_a_driver_is_not_overdue() {
    let mut market = Market::new(direct());
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(3_700);
    assert!(market.engine.state().orders[&order("o")].overdue);
    market.works("ana", 100.0);
    market.passes(120);
    assert_eq!(market.status("o"), "assigned");
    assert!(!market.engine.state().orders[&order("o")].overdue);
}

#[test]
fn a_silent_driver_is_given_nothing() {
    let mut market = Market::new(config());
    market.works("ana", 100.0);
    market.disappears("ana");
    market.passes(121);
    market.submits("o", 0, 0.0, 1_000.0);
    let assign = Action::Assign { order: order("o"), driver: driver("ana") };
    assert!(matches!(market.try_by(Role::Dispatcher, assign), Err(Refusal::DriverState { is: "is silent", .. })));
}

#[test]
fn what_is_ready_is_ready_now() {
    let mut market = Market::new(config());
    market.submits("o", 15, 0.0, 1_000.0);
    market.passes(60);
    market.is_ready("o");
    assert_eq!(market.engine.state().orders[&order("o")].ready_at, market.now);
}

#[test]
fn a_restored_engine_knows_the_time_of_its_last_event() {
    let mut market = Market::new(config());
    let snapshot = market.engine.snapshot();
    let later = market.now + secs(100);
    let spec = |id: &str| OrderSpec::new(order(id), at(0.0), at(1_000.0));
    let events = market.engine.handle(later, Action::SubmitOrder(spec("o")).by(Role::Customer)).unwrap();
    let travel = Arc::new(StraightLine::default());
    market.engine = dispatch_core::Engine::restore(travel, Vec::new(), snapshot, events).unwrap();
    market.by(Role::Customer, Action::SubmitOrder(spec("p")));
    assert_eq!(market.engine.state().orders[&order("p")].times.placed, later);
}

#[test]
fn who_loses_an_order_heads_there_no_more() {
    let mut market = Market::new(direct());
    market.works("ana", 100.0);
    market.submits("o", 0, 2_000.0, 4_000.0);
    market.passes(1);
    let heading =
        |market: &Market| market.engine.state().drivers[&driver("ana")].heading.map(|heading| heading.position);
    assert_eq!(heading(&market), Some(at(2_000.0)));
    market.by(Role::Merchant, Action::CancelOrder { order: order("o"), reason: reason() });
    assert_eq!(heading(&market), None);
    market.submits("p", 0, 2_000.0, 4_000.0);
    market.submits("q", 0, 6_000.0, 7_000.0);
    market.passes(1);
    market.by(Role::Dispatcher, Action::Assign { order: order("q"), driver: driver("ana") });
    assert_eq!(heading(&market), Some(at(2_000.0)));
    market.by(Role::Dispatcher, Action::TakeBack { order: order("p") });
    assert_eq!(heading(&market), Some(at(6_000.0)));
}

#[test]
fn orders_placed_before_are_confirmed_once_placing_confirms() {
    let mut market = Market::new(EngineConfig::default());
    market.submits("o", 0, 0.0, 1_000.0);
    assert_eq!(market.status("o"), "pending");
    let news = market.by(Role::Dispatcher, Action::Configure(Box::new(config())));
    assert!(matches!(&news[1..], [EventKind::DispatchStarted { order }] if order.as_str() == "o"), "{news:?}");
    let again = market.by(Role::Dispatcher, Action::Configure(Box::new(config())));
    assert_eq!(again.len(), 1);
}
