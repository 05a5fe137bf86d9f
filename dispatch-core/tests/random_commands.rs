//! Random commands, fixes and jumps of time, from people who know nothing: whatever they do, the run is proven in the
//! end. Races between accepting, expiring, cancelling and reassigning are what this is about, so ids are few and
//! answers often come at the very instant an offer expires.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use dispatch_core::sim::{Input, Recording, Simulation};
use dispatch_core::{
    Action, BundleMode, DriverId, DriverSpec, EngineConfig, Event, Fix, FixRules, KitchenStatus, Meters, Millis,
    OfferId, OfferRule, OrderId, OrderSpec, PlannedShift, Position, Rating, ReadyTimes, Reason, RepositionRule, Role,
    ScorePreset, Skill, StartOn, Step, StraightLine, SwapRule, Timestamp, Units, Vehicle,
};
use proptest::prelude::*;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Op {
    Wait(i64),
    Fix {
        driver: u8,
        east_m: i32,
    },
    Command {
        role: Role,
        action: Box<Action>,
    },
    /// The engine is away for so long, and goes on from its log.
    Restart(i64),
    /// An answer to the newest offers, at once or when the offer expires.
    Answer {
        back: u64,
        late_ms: i64,
        accept: bool,
    },
}

fn driver_id(i: u8) -> DriverId {
    DriverId::new(format!("d{i}")).unwrap()
}

fn order_id(i: u8) -> OrderId {
    OrderId::new(format!("o{i}")).unwrap()
}

fn at(east_m: i32) -> Position {
    Position::new(0.0, f64::from(east_m) / 111_195.08).unwrap()
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        1 => Just(Role::System),
        1 => Just(Role::Merchant),
        1 => Just(Role::Driver),
        3 => Just(Role::Dispatcher),
        1 => Just(Role::Customer)
    ]
}

fn kitchen() -> impl Strategy<Value = KitchenStatus> {
    prop_oneof![Just(KitchenStatus::Confirmed), Just(KitchenStatus::Preparing), Just(KitchenStatus::Ready)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::ArrivedAtPickup),
        3 => Just(Step::PickedUp),
        1 => Just(Step::Departed),
        1 => Just(Step::ArrivedAtDropoff),
        3 => Just(Step::Delivered)
    ]
}

fn driver_spec() -> impl Strategy<Value = DriverSpec> {
    (0..3u8, 1..=3u16, any::<bool>()).prop_map(|(id, capacity, cold)| {
        let mut spec = DriverSpec::new(driver_id(id));
        spec.vehicle = if cold { Vehicle::Van } else { Vehicle::Bicycle };
        spec.capacity = Units::new(capacity).unwrap();
        spec.skills.extend(cold.then(|| Skill::new("cold-box").unwrap()));
        spec
    })
}

fn order_spec() -> impl Strategy<Value = OrderSpec> {
    // Few pickups, so that orders share them.
    let from = prop_oneof![Just(-900), Just(0), Just(700), -3_000..3_000i32];
    let who = (0..5u8, from, -3_000..3_000i32);
    (who, proptest::option::of(-1..40i64), proptest::option::of(0..90i64), 1..=3u16, proptest::bool::weighted(0.2))
        .prop_map(|((id, from, to), preparation, promise, units, cold)| {
            let mut spec = OrderSpec::new(order_id(id), at(from), at(to));
            spec.preparation = preparation.map(Millis::from_mins);
            spec.promised_at = promise.map(|mins| START + Millis::from_mins(mins));
            spec.units = Units::new(units).unwrap();
            spec.skills.extend(cold.then(|| Skill::new("cold-box").unwrap()));
            spec
        })
}

fn config() -> impl Strategy<Value = EngineConfig> {
    let offers = prop_oneof![
        Just(OfferRule::Direct),
        Just(EngineConfig::default().offers),
        (2..4u16).prop_map(|size| OfferRule::Wave { size, expires_after: Millis::from_secs(30) })
    ];
    let preset = prop_oneof![Just(ScorePreset::Timely), Just(ScorePreset::Classic), Just(ScorePreset::Additive)];
    (offers, any::<bool>(), any::<bool>(), 1..4u16, preset, routes()).prop_map(
        |(offers, placed, returns, attempts, preset, routes)| {
            let mut config = EngineConfig { score: preset.weights(), offers, ..EngineConfig::default() };
            config.start_on = if placed { StartOn::Placed } else { StartOn::Confirmed };
            config.rounds.attempts = attempts;
            config.positions.return_orders_of_silent = returns;
            (config.bundles.mode, config.reposition, config.schedule.ready_times) =
                (routes.bundles, routes.reposition, routes.ready_times);
            config.swap = routes.swap.filter(|_| offers == OfferRule::Direct);
            config.divert = routes.divert;
            config
        },
    )
}

/// The rules of routes that are not one order after the other.
#[derive(Clone, Debug)]
struct Routes {
    bundles: BundleMode,
    swap: Option<SwapRule>,
    divert: bool,
    reposition: Option<RepositionRule>,
    ready_times: ReadyTimes,
}

fn routes() -> impl Strategy<Value = Routes> {
    let within = Meters::from_m(1_500);
    let bundles = prop_oneof![
        Just(BundleMode::Off),
        Just(BundleMode::SamePickup),
        Just(BundleMode::Nearby { within }),
        Just(BundleMode::Interleaved { within })
    ];
    let swap = (0..3u8).prop_map(|penalty| SwapRule { penalty: f64::from(penalty) });
    let reposition = RepositionRule {
        every: Millis::from_mins(1),
        look_ahead: Millis::from_mins(30),
        worth_min: 50.0,
        max_travel: Millis::from_mins(30),
        rest: Millis::from_mins(1),
    };
    let ready_times = prop_oneof![Just(ReadyTimes::Stated), Just(ReadyTimes::Learned { depart_at_probability: 0.1 })];
    (bundles, proptest::option::of(swap), any::<bool>(), proptest::option::of(Just(reposition)), ready_times).prop_map(
        |(bundles, swap, divert, reposition, ready_times)| Routes { bundles, swap, divert, reposition, ready_times },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let reason = || Reason::new("why not").unwrap();
    let (driver, order) = (|| (0..3u8).prop_map(driver_id), || (0..5u8).prop_map(order_id));
    prop_oneof![
        1 => config().prop_map(|config| Action::Configure(Box::new(config))),
        1 => (-1..60i64).prop_map(|secs| Action::Resume { down_for: Millis::from_secs(secs) }),
        1 => (0..6u32).prop_map(|version| Action::RollBackConfiguration { version }),
        2 => driver_spec().prop_map(Action::RegisterDriver),
        1 => (driver(), 0..=5u8).prop_map(|(driver, stars)| Action::RateDriver {
            driver,
            rating: Rating::new(f64::from(stars)).unwrap()
        }),
        1 => (driver(), proptest::option::of((0..60i64, 0..60i64, -900..900i32))).prop_map(|(driver, planned)| {
            let planned = planned.map(|(from, mins, east_m)| {
                let from = START + Millis::from_mins(from);
                PlannedShift { from, until: from + Millis::from_mins(mins), start: at(east_m) }
            });
            Action::PlanShift { driver, planned }
        }),
        4 => (driver(), proptest::option::of(0..120i64)).prop_map(|(driver, mins)| Action::StartShift {
            driver,
            until: mins.map(|mins| START + Millis::from_mins(mins))
        }),
        1 => driver().prop_map(|driver| Action::EndShift { driver }),
        1 => driver().prop_map(|driver| Action::PauseDriver { driver }),
        2 => driver().prop_map(|driver| Action::ResumeDriver { driver }),
        6 => order_spec().prop_map(Action::SubmitOrder),
        4 => (order(), kitchen()).prop_map(|(order, status)| Action::Kitchen { order, status }),
        1 => (order(), -10..200i64).prop_map(|(order, mins)| Action::SetReadyTime {
            order,
            ready_at: START + Millis::from_mins(mins)
        }),
        1 => order().prop_map(move |order| Action::CancelOrder { order, reason: reason() }),
        1 => order().prop_map(move |order| Action::FailOrder { order, reason: reason() }),
        1 => (0..4u64, driver()).prop_map(|(offer, driver)| Action::AcceptOffer { offer: OfferId(offer), driver }),
        8 => (order(), driver(), step()).prop_map(|(order, driver, step)| Action::Progress { order, driver, step }),
        3 => (order(), driver()).prop_map(|(order, driver)| Action::Assign { order, driver }),
        1 => order().prop_map(|order| Action::TakeBack { order }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let millis = prop_oneof![0..3_000i64, 1_000..60_000i64, 0..1_800_000i64, Just(30_000)];
    prop_oneof![
        5 => millis.prop_map(Op::Wait),
        2 => prop_oneof![0..60_000i64, 0..1_800_000i64].prop_map(Op::Restart),
        6 => (0..3u8, -3_000..3_000i32).prop_map(|(driver, east_m)| Op::Fix { driver, east_m }),
        12 => (role(), action()).prop_map(|(role, action)| Op::Command { role, action: Box::new(action) }),
        6 => (0..3u64, prop_oneof![Just(-1i64), Just(0), Just(i64::MIN)], any::<bool>())
            .prop_map(|(back, late_ms, accept)| Op::Answer { back, late_ms, accept }),
    ]
}

const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// A simulation and its time.
struct World {
    simulation: Simulation,
    now: Timestamp,
}

impl World {
    /// Lets time pass, meeting every deadline on the way.
    fn wait_until(&mut self, until: Timestamp) {
        while let Some(deadline) = self.simulation.engine().next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(deadline);
            self.simulation.advance(self.now);
        }
        self.now = self.now.max(until);
    }

    fn act(&mut self, role: Role, action: Action) {
        let before = self.simulation.engine().state_hash();
        if self.simulation.command(self.now, action.by(role)).is_err() {
            assert_eq!(self.simulation.engine().state_hash(), before, "a refusal changes nothing");
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Wait(millis) => self.wait_until(self.now + Millis::new(millis)),
            Op::Fix { driver, east_m } => {
                let fix = Fix { position: at(east_m), at: self.now };
                let _reported = self.simulation.report(self.now, &driver_id(driver), fix);
            }
            Op::Restart(millis) => {
                self.now += Millis::new(millis);
                self.simulation.restart(self.now, Millis::new(millis));
            }
            Op::Command { role, action } => self.act(role, *action),
            Op::Answer { back, late_ms, accept } => {
                let Some(offer) = self.simulation.engine().state().offers.iter().rev().nth(back as usize).cloned()
                else {
                    return;
                };
                if late_ms != i64::MIN {
                    // Time jumps, and nobody has noticed yet what has expired.
                    self.now = self.now.max(offer.expires_at + Millis::new(late_ms));
                }
                let (offer, driver) = (offer.id, offer.driver);
                let answer =
                    if accept { Action::AcceptOffer { offer, driver } } else { Action::DeclineOffer { offer, driver } };
                self.act(Role::Driver, answer);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_people_do_the_run_is_proven(config in config(), ops in proptest::collection::vec(op(), 0..120)) {
        let travel = Arc::new(StraightLine::default());
        let simulation = Simulation::new(config, FixRules::default(), travel.clone(), Vec::new()).unwrap();
        let mut world = World { simulation, now: START };
        for op in ops {
            world.run(op);
        }
        // Faults stop: nobody does anything any more, and still every order ends.
        let open = |world: &World| world.simulation.engine().state().orders.values().any(|o| !o.status.is_terminal());
        while open(&world) {
            let next = world.simulation.engine().next_deadline().expect("an open order has a deadline");
            world.wait_until(next);
        }
        let proven = world.simulation.prove().unwrap();

        let mut file = Vec::new();
        proven.recording.write(&mut file).unwrap();
        let read = Recording::read(&file[..]).unwrap();
        prop_assert_eq!(&read, &proven.recording);
        let replayed: Vec<Event> = read.replay(travel, Vec::new()).unwrap();
        prop_assert_eq!(replayed, proven.log);
    }
}

#[test]
fn a_broken_recording_names_the_line() {
    let simulation =
        Simulation::new(EngineConfig::default(), FixRules::default(), Arc::new(StraightLine::default()), Vec::new());
    let mut simulation = simulation.unwrap();
    simulation.advance(START);
    let proven = simulation.prove().unwrap();
    assert_eq!(proven.recording.inputs, [Input::Advance { now: START }]);
    let mut file = Vec::new();
    proven.recording.write(&mut file).unwrap();
    let mut text = String::from_utf8(file).unwrap();
    text.push_str("{\"advance\":{\"nwo\":1}}\n");
    let error = Recording::read(text.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("line 3: "), "{error}");
    assert!(Recording::read(&b""[..]).unwrap_err().to_string().contains("empty"));
}
