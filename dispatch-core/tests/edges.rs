//! What is rare, and what nobody should send: the engine stays right, or refuses, but does not panic.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod common;

use common::{Market, at, config, driver, kinds, order, secs};
use dispatch_core::{
    Action, Candidate, DriverId, DriverSpec, Engine, EngineConfig, EventKind, Fix, HoldReason, Label, Leg, Limits,
    MAX_DECISION_BYTES, Meters, Millis, OfferRule, OrderSpec, Position, Positions, Refusal, Role, ScoreTerm,
    ScoreWeight, StraightLine, Timestamp, TravelTime, Vehicle,
};
use proptest::prelude::*;
use std::sync::Arc;

fn direct() -> EngineConfig {
    EngineConfig { offers: OfferRule::Direct, ..config() }
}

fn weight(term: &str, weight: f64) -> ScoreWeight {
    ScoreWeight { term: Label::new(term).unwrap(), weight }
}

/// An engine with a driver on shift and an order that is ready at once, and where the driver is.
fn one_of_each(config: EngineConfig, terms: Vec<Arc<dyn ScoreTerm>>, now: Timestamp) -> (Engine, Positions) {
    let (mut engine, _) = Engine::with_terms(config, Arc::new(StraightLine::default()), terms).unwrap();
    let id = driver("ana");
    let mut spec = OrderSpec::new(order("o"), at(0.0), at(1_000.0));
    spec.preparation = Some(Millis::ZERO);
    for action in [
        Action::RegisterDriver(DriverSpec::new(id.clone())),
        Action::StartShift { driver: id.clone(), until: None },
        Action::SubmitOrder(spec),
    ] {
        engine.handle(now, action.by(Role::System)).unwrap();
    }
    (engine, Positions::from_fixes([(id, Fix { position: at(3_000.0), at: now })]))
}

#[test]
fn time_before_the_epoch_counts_as_the_epoch() {
    for now in [Timestamp::MIN, Timestamp::from_millis(-1)] {
        let (engine, _) = one_of_each(direct(), Vec::new(), now);
        assert_eq!(engine.state().orders[&order("o")].times.placed, Timestamp::default());
    }
}

#[derive(Debug)]
struct NoNumber(&'static str);

impl ScoreTerm for NoNumber {
    fn name(&self) -> &str {
        self.0
    }

    fn value(&self, _: &Candidate<'_>) -> f64 {
        f64::NAN
    }
}

#[test]
fn the_only_driver_gets_the_order_however_bad_its_score_is() {
    let mut harsh = direct();
    harsh.score = vec![weight("to_pickup_min", -1e6)];
    let mut broken = direct();
    broken.score = vec![weight("no_number", 1.0)];
    let term: Arc<dyn ScoreTerm> = Arc::new(NoNumber("no_number"));
    for (config, terms) in [(harsh, Vec::new()), (broken, vec![term])] {
        let now = Timestamp::from_millis(1_750_000_000_000);
        let (mut engine, positions) = one_of_each(config, terms, now);
        let news = kinds(engine.advance(now, &positions));
        assert!(matches!(news[..], [EventKind::Assigned { .. }]), "{news:?}");
    }
}

#[test]
fn a_decision_is_small_whatever_the_terms_are_called() {
    let names: Vec<&'static str> = (0..32).map(|i| &*format!("{i:0>128}").leak()).collect();
    let terms = names.iter().map(|name| Arc::new(NoNumber(name)) as Arc<dyn ScoreTerm>).collect();
    let config = EngineConfig { score: names.iter().map(|name| weight(name, 1.0)).collect(), ..direct() };
    let now = Timestamp::from_millis(1_750_000_000_000);
    let (mut engine, positions) = one_of_each(config, terms, now);
    engine.advance(now, &positions);
    let decision = engine.explain(&order("o")).unwrap().decision.unwrap();
    assert!(decision.encoded_len() <= MAX_DECISION_BYTES);
    assert!(decision.best[0].chosen);
}

#[test]
fn an_open_offer_has_its_place_on_the_route() {
    let limits = Limits { orders_per_driver: 1, ..config().limits };
    let mut market = Market::new(EngineConfig { limits, ..config() });
    market.works("ana", 100.0);
    market.submits("offered", 0, 0.0, 1_000.0);
    market.passes(1);
    market.submits("other", 0, 0.0, 1_000.0);
    let assign = |id: &str| Action::Assign { order: order(id), driver: driver("ana") };
    let refused = market.try_by(Role::Dispatcher, assign("other")).unwrap_err();
    assert!(matches!(refused, Refusal::DriverState { is: "has as many orders as a route may hold", .. }), "{refused}");
    // The very order it is asked about can be given to it.
    market.by(Role::Dispatcher, assign("offered"));
    assert!(market.try_by(Role::Dispatcher, assign("other")).is_err());
}

#[test]
fn a_clock_ahead_of_ours_delays_nothing() {
    let now = Timestamp::from_millis(1_750_000_000_000);
    let (mut engine, _) = one_of_each(direct(), Vec::new(), now);
    let ahead = Fix { position: at(3_000.0), at: now + Millis::from_mins(60) };
    let news = kinds(engine.advance(now, &Positions::from_fixes([(driver("ana"), ahead)])));
    let [EventKind::Assigned { stops, .. }] = &news[..] else { panic!("{news:?}") };
    // 3 km at 25 km/h.
    assert_eq!(stops[0].arrive_at, now + secs(432));
}

#[test]
fn nobody_is_found_by_a_search_of_any_size_where_nobody_is() {
    let mut config = direct();
    config.search.max_radius = Meters::new(f64::MAX).unwrap();
    config.search.candidates = 1_000;
    let now = Timestamp::from_millis(1_750_000_000_000);
    let (mut engine, _) = one_of_each(config.clone(), Vec::new(), now);
    let news = kinds(engine.advance(now, &Positions::default()));
    assert!(matches!(news[..], [EventKind::OrderHeld { reason: HoldReason::NoCandidate, .. }]), "{news:?}");
    // And on the other side of the earth somebody is.
    let id = driver("ana");
    let antipode = Position::new(0.0, 179.9).unwrap();
    let (mut engine, _) = one_of_each(config, Vec::new(), now);
    let news = kinds(engine.advance(now, &Positions::from_fixes([(id, Fix { position: antipode, at: now })])));
    assert!(matches!(news[..], [EventKind::Assigned { .. }]), "{news:?}");
}

/// A router gone mad.
#[derive(Debug)]
struct Mad(Vec<i64>);

impl TravelTime for Mad {
    fn travel(&self, from: Position, to: Position, _: Vehicle, depart: Timestamp) -> Leg {
        let salt = (from.lng() + to.lng()).to_bits() ^ depart.as_millis().cast_unsigned();
        let duration = Millis::new(self.0[(salt % self.0.len() as u64) as usize]);
        Leg { duration, distance: from.distance(to) }
    }
}

fn instant() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        any::<i64>(),
        0..4_000_000_000_000i64,
        i64::MAX - 100_000..i64::MAX
    ]
}

fn mad_action() -> impl Strategy<Value = Action> {
    let driver = || (0..2u8).prop_map(|i| driver(&format!("d{i}")));
    let order = || (0..3u8).prop_map(|i| order(&format!("o{i}")));
    let step = || {
        use dispatch_core::Step::{ArrivedAtDropoff, ArrivedAtPickup, Delivered, Departed, PickedUp};
        prop_oneof![Just(ArrivedAtPickup), Just(PickedUp), Just(Departed), Just(ArrivedAtDropoff), Just(Delivered)]
    };
    prop_oneof![
        driver().prop_map(|id| Action::RegisterDriver(DriverSpec::new(id))),
        (driver(), proptest::option::of(instant()))
            .prop_map(|(driver, until)| Action::StartShift { driver, until: until.map(Timestamp::from_millis) }),
        (order(), proptest::option::of(instant()), proptest::option::of(instant())).prop_map(|(id, prep, promise)| {
            let mut spec = OrderSpec::new(id, at(0.0), at(500.0));
            spec.preparation = prep.map(Millis::new);
            spec.promised_at = promise.map(Timestamp::from_millis);
            Action::SubmitOrder(spec)
        }),
        (order(), instant())
            .prop_map(|(order, at)| Action::SetReadyTime { order, ready_at: Timestamp::from_millis(at) }),
        (order(), driver(), step()).prop_map(|(order, driver, step)| Action::Progress { order, driver, step }),
        (order(), driver()).prop_map(|(order, driver)| Action::Assign { order, driver }),
    ]
}

proptest! {
    #[test]
    fn absurd_times_and_routers_do_no_harm(
        travel in proptest::collection::vec(instant(), 1..4),
        direct in any::<bool>(),
        budget in prop_oneof![Just(1), Just(u64::MAX)],
        calls in proptest::collection::vec((0..3u8, instant(), instant(), mad_action()), 0..60),
    ) {
        let mut config = EngineConfig { work_budget: budget, ..config() };
        if direct {
            config.offers = OfferRule::Direct;
        }
        let mut engine = Engine::new(config, Mad(travel)).unwrap();
        let mut now = Timestamp::from_millis(1_750_000_000_000);
        for (call, jump, fix_at, action) in calls {
            match call {
                // Mostly small steps: who has jumped to the end of time stays there.
                0 => now = Timestamp::from_millis(jump),
                1 => now += Millis::new(jump.rem_euclid(100_000)),
                _ => {}
            }
            let _refused = engine.handle(now, action.by(Role::Dispatcher));
            let fix = |i: u8, at: Timestamp| (DriverId::new(format!("d{i}")).unwrap(), Fix { position: common::at(100.0), at });
            let fixes = [fix(0, Timestamp::from_millis(fix_at)), fix(1, now)];
            engine.advance(now, &Positions::from_fixes(fixes));
            prop_assert!(engine.derived_is_consistent());
            for i in 0..3u8 {
                let id = order(&format!("o{i}"));
                let _ = (engine.eta(&id, Timestamp::from_millis(fix_at)), engine.explain(&id));
            }
            let _ = engine.next_deadline();
        }
    }
}
