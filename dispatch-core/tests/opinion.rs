//! What the engine says about one driver: before an assignment by hand, and after a decision.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Market, at, config, driver, order, secs};
use dispatch_core::{
    Action, DriverSpec, EngineConfig, EventKind, Exclusion, Millis, OfferRule, Opinion, OrderSpec, Prospect, Recorded,
    Refusal, Role, Skill, Standing, Step, StopKind, Units,
};
use proptest::prelude::*;

fn direct() -> EngineConfig {
    EngineConfig { offers: OfferRule::Direct, ..config() }
}

#[track_caller]
fn opinion(market: &Market, id: &str, by: &str) -> Opinion {
    let before = market.engine.state_hash();
    let opinion = market.engine.opinion(&order(id), &driver(by)).unwrap();
    assert_eq!(market.engine.state_hash(), before, "a question changes nothing");
    opinion
}

#[track_caller]
fn candidate(opinion: &Opinion) -> (&Prospect, u32) {
    match &opinion.standing {
        Standing::Candidate { prospect, rank } => (prospect, *rank),
        Standing::Excluded(test) => panic!("excluded: {test:?}"),
    }
}

#[track_caller]
fn fails(market: &Market, id: &str, by: &str, test: Exclusion) {
    let opinion = opinion(market, id, by);
    assert_eq!(opinion.standing, Standing::Excluded(test), "{opinion}");
    assert_eq!(opinion.price_milli, None);
    assert!(opinion.to_string().contains(test.name()), "{opinion}");
}

/// Ana is near, bob is further, and an order is ready in half an hour.
fn two_drivers() -> Market {
    let mut market = Market::new(direct());
    market.works("ana", 500.0);
    market.works("bob", 4_000.0);
    market.submits("o", 30, 0.0, 3_000.0);
    market.passes(1);
    market
}

#[test]
fn an_opinion_compares_a_driver_with_the_best_of_the_others() {
    let market = two_drivers();
    let (ana, bob) = (opinion(&market, "o", "ana"), opinion(&market, "o", "bob"));
    let ((of_ana, first), (of_bob, second)) = (candidate(&ana), candidate(&bob));
    assert_eq!((first, second, ana.candidates, bob.candidates), (1, 2, 2, 2));
    assert_eq!((ana.best_other.as_ref(), bob.best_other.as_ref()), (Some(of_bob), Some(of_ana)));
    let price = of_ana.score_milli - of_bob.score_milli;
    assert!(price > 0, "{bob}");
    assert_eq!((ana.price_milli, bob.price_milli), (Some(-price), Some(price)));
    for prospect in [of_ana, of_bob] {
        assert_eq!(prospect.contributions_milli.iter().sum::<i64>(), prospect.score_milli);
        assert_eq!(prospect.contributions_milli.len(), bob.terms.len());
        assert!(prospect.pickup_at < prospect.deliver_at);
    }
    assert!(bob.to_string().contains("rank 2 of 2") && bob.to_string().contains("ana is better by"), "{bob}");
    assert!(ana.to_string().contains("ana is better by"), "{ana}");
    assert_eq!(serde_json::to_value(&bob).unwrap()["standing"]["candidate"]["rank"], 2);
}

#[test]
fn an_assignment_by_hand_has_the_times_of_the_opinion() {
    let mut market = two_drivers();
    market.submits("first", 5, 1_000.0, 2_000.0);
    for id in ["first", "o"] {
        let opinion = opinion(&market, id, "bob");
        let (prospect, _) = candidate(&opinion);
        let news = market.by(Role::Dispatcher, Action::Assign { order: order(id), driver: driver("bob") });
        let [EventKind::Assigned { stops, .. }] = &news[..] else { panic!("{news:?}") };
        let done =
            |kind| stops.iter().find(|stop| stop.kind == kind && stop.orders.contains(&order(id))).unwrap().done_at;
        assert_eq!(
            (prospect.pickup_at, prospect.deliver_at),
            (done(StopKind::Pickup), done(StopKind::Dropoff)),
            "{id}"
        );
    }
}

#[test]
fn the_first_failed_test_is_named_and_the_best_other_is_shown_all_the_same() {
    let mut market = two_drivers();
    market.by(Role::Driver, Action::PauseDriver { driver: driver("ana") });
    fails(&market, "o", "ana", Exclusion::Paused);
    let opinion = opinion(&market, "o", "ana");
    assert_eq!((opinion.best_other.unwrap().driver, opinion.candidates), (driver("bob"), 1));
    market.by(Role::Driver, Action::ResumeDriver { driver: driver("ana") });

    let mut demanding = OrderSpec::new(order("cold"), at(0.0), at(1_000.0));
    demanding.preparation = Some(Millis::from_mins(30));
    demanding.skills.insert(Skill::new("cold").unwrap());
    market.by(Role::Customer, Action::SubmitOrder(demanding.clone()));
    fails(&market, "cold", "ana", Exclusion::Skill);
    demanding.id = order("heavy");
    demanding.units = Units::new(2).unwrap();
    market.by(Role::Customer, Action::SubmitOrder(demanding));
    fails(&market, "heavy", "ana", Exclusion::Capacity);

    let until = Some(market.now + Millis::from_mins(10));
    market.by(Role::Driver, Action::RegisterDriver(DriverSpec::new(driver("eve"))));
    market.by(Role::Driver, Action::StartShift { driver: driver("eve"), until });
    fails(&market, "o", "eve", Exclusion::NoRecentFix);
    market.moves("eve", 0.0);
    market.passes(1);
    fails(&market, "o", "eve", Exclusion::ShiftEnds);

    let mut rules = market.engine.state().config.clone();
    rules.limits.orders_per_driver = 1;
    market.by(Role::Dispatcher, Action::Configure(Box::new(rules)));
    market.by(Role::Dispatcher, Action::Assign { order: order("o"), driver: driver("bob") });
    market.submits("next", 30, 0.0, 1_000.0);
    fails(&market, "next", "bob", Exclusion::Busy);
}

#[test]
fn who_was_asked_is_no_candidate() {
    let mut market = Market::new(config());
    market.works("ana", 0.0);
    market.works("bob", 3_000.0);
    market.submits("o", 0, 0.0, 1_000.0);
    market.passes(1);
    fails(&market, "o", "ana", Exclusion::OfferOpen);
    market.declines("ana");
    fails(&market, "o", "ana", Exclusion::AskedBefore);
    assert_eq!(candidate(&opinion(&market, "o", "bob")).1, 1);
    market.passes(1);
    market.accepts("bob");
    let record = market.engine.why_not(&order("o"), &driver("ana")).unwrap();
    assert!(matches!(record.answer, Recorded::Beyond { candidates: 1, recorded: 1, last_milli: None, .. }), "{record}");
}

#[test]
fn an_opinion_is_refused_where_an_assignment_would_be() {
    let mut market = Market::new(EngineConfig { offers: OfferRule::Direct, ..EngineConfig::default() });
    market.works("ana", 0.0);
    market.works("bob", 9_000.0);
    market.submits("o", 0, 0.0, 1_000.0);
    let ask =
        |market: &Market, id: &str, by: &str| market.engine.opinion(&order(id), &driver(by)).map(drop).unwrap_err();
    assert!(matches!(ask(&market, "x", "ana"), Refusal::UnknownOrder { .. }));
    assert!(matches!(ask(&market, "o", "eve"), Refusal::UnknownDriver { .. }));
    assert!(matches!(ask(&market, "o", "ana"), Refusal::OrderState { is: "pending", .. }));
    market.is_ready("o");
    market.by(Role::Driver, Action::EndShift { driver: driver("bob") });
    assert!(matches!(ask(&market, "o", "bob"), Refusal::DriverState { is: "is not on shift", .. }));
    market.passes(1);
    assert!(matches!(ask(&market, "o", "ana"), Refusal::DriverState { is: "has this order", .. }));

    // What is on board of a driver who cannot go on may still go to another one, who fetches it at the pickup.
    market.progress("o", "ana", Step::PickedUp);
    market.by(Role::Driver, Action::StartShift { driver: driver("bob"), until: None });
    market.passes(1);
    let opinion = opinion(&market, "o", "bob");
    assert_eq!((candidate(&opinion).1, opinion.best_other.as_ref()), (1, None), "{opinion}");
    market.progress("o", "ana", Step::Delivered);
    assert!(matches!(ask(&market, "o", "bob"), Refusal::OrderState { is: "delivered", .. }));
}

#[test]
fn what_was_recorded_answers_why_not() {
    let mut market = Market::new(direct());
    for i in 0..10 {
        market.works(&format!("d{i}"), 100.0 + f64::from(i) * 400.0);
    }
    market.submits("o", 0, 0.0, 1_000.0);
    let ask = |market: &Market, by: &str| market.engine.why_not(&order("o"), &driver(by)).unwrap();
    assert_eq!(ask(&market, "d0").answer, Recorded::Nothing);
    market.passes(1);
    let decision = market.engine.explain(&order("o")).unwrap().decision.unwrap();

    let Recorded::Weighed { considered, rank: 1, chosen: None, .. } = ask(&market, "d0").answer else { panic!() };
    assert!(considered.chosen);
    let second = ask(&market, "d1");
    let Recorded::Weighed { considered, rank: 2, chosen: Some(chosen), terms } = &second.answer else {
        panic!("{second}")
    };
    assert_eq!((considered, chosen, terms), (&decision.best[1], &decision.best[0], &decision.terms));
    assert!(second.to_string().contains("did not go to driver d1"), "{second}");
    let last = ask(&market, "d9");
    let Recorded::Beyond { candidates: 10, recorded, last_milli, radius, .. } = &last.answer else { panic!("{last}") };
    assert_eq!((*recorded as usize, *radius), (decision.best.len(), decision.radius));
    assert_eq!(*last_milli, Some(decision.best.last().unwrap().score_milli));
    assert!(last.to_string().contains("recorded of 10 candidates"), "{last}");
    assert!(matches!(market.engine.why_not(&order("x"), &driver("d0")), Err(Refusal::UnknownOrder { .. })));
    assert!(matches!(market.engine.why_not(&order("o"), &driver("x")), Err(Refusal::UnknownDriver { .. })));
}

#[test]
fn a_test_that_is_failed_for_good_is_told_apart() {
    let mut market = Market::new(direct());
    market.works("ana", 0.0);
    market.works("bob", 0.0);
    let skill = Skill::new("cold").unwrap();
    market.by(
        Role::Driver,
        Action::RegisterDriver(DriverSpec { skills: [skill.clone()].into(), ..DriverSpec::new(driver("bob")) }),
    );
    let mut spec = OrderSpec::new(order("o"), at(0.0), at(1_000.0));
    (spec.preparation, spec.skills) = (Some(secs(0)), [skill].into());
    market.by(Role::Customer, Action::SubmitOrder(spec));
    market.passes(1);
    let record = market.engine.why_not(&order("o"), &driver("ana")).unwrap();
    assert_eq!(record.answer, Recorded::Failed(Exclusion::Skill));
    assert_eq!(record.to_string(), "order o could not go to driver ana: skill\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_first_of_the_opinions_gets_the_only_order(places in proptest::collection::vec(0.0..4_000.0, 1..6)) {
        let mut market = Market::new(direct());
        for (i, place) in places.iter().enumerate() {
            market.works(&format!("d{i}"), *place);
        }
        market.passes(1);
        market.submits("o", 0, 0.0, 2_000.0);
        let names: Vec<String> = (0..places.len()).map(|i| format!("d{i}")).collect();
        let mut ranks: Vec<(u32, &str)> =
            names.iter().map(|name| (candidate(&opinion(&market, "o", name)).1, name.as_str())).collect();
        ranks.sort_unstable();
        prop_assert!(ranks.iter().zip(1..).all(|((rank, _), place)| *rank == place), "{ranks:?}");
        market.passes(1);
        let state = &market.engine.state().orders[&order("o")];
        prop_assert_eq!(state.status.driver().unwrap().as_str(), ranks[0].1);
    }
}
