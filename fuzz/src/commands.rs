//! What people, phones and time do to a market, drawn from the input.

use crate::bytes::Bytes;
use dispatch_core::{
    Action, Actor, Command, DriverId, DriverSpec, Engine, EngineConfig, Event, Fix, FixRules, KitchenStatus, Millis,
    OfferId, OrderId, OrderSpec, PlannedShift, Position, PositionIndex, Positions, Rating, Reason, Role, Snapshot,
    Step, StraightLine, Timestamp,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The engine takes whatever comes, in any sequence, at any time, from anybody. A refusal changes nothing, reading changes nothing, the
/// events fold to the state, what is derived equals what it would be if derived anew, and a snapshot gives the same engine.
pub fn commands(input: &[u8]) {
    let mut bytes = Bytes::of(input);
    let config = rules(&mut bytes);
    let Ok((engine, first)) = Engine::with_terms(config, Arc::new(StraightLine::default()), Vec::new()) else { return };
    let mut folded = Snapshot::default();
    folded.apply(&first).expect("the first event begins a log");
    let index = PositionIndex::new(FixRules::default()).expect("the default rules are valid");
    let now = Timestamp::from_millis(1_700_000_000_000);
    let mut market = Market { engine, folded, index, positions: Positions::default(), now };
    for _ in 0..400 {
        if bytes.is_empty() {
            break;
        }
        market.step(&mut bytes);
    }
}

struct Market {
    engine: Engine,
    /// The events, applied to an empty state.
    folded: Snapshot,
    index: PositionIndex,
    positions: Positions,
    now: Timestamp,
}

impl Market {
    fn step(&mut self, bytes: &mut Bytes) {
        match bytes.below(16) {
            0..=3 => self.pass(Millis::new(i64::from(bytes.byte()) * 100)),
            4 => self.pass(Millis::from_secs(bytes.short().into())),
            5 => self.pass(Millis::new(-i64::from(bytes.short()))),
            6 | 7 => {
                let slot = self.index.slot(&driver(bytes)).expect("the index has room for a few drivers");
                let at = self.now - Millis::new(i64::from(bytes.byte()) * 500);
                let _ = self.index.report(slot, Fix { position: position(bytes), at }, self.now);
            }
            8 => self.restart(bytes),
            9 => self.look(bytes),
            _ => self.ask(bytes),
        }
    }

    fn pass(&mut self, time: Millis) {
        self.now += time;
        self.index.snapshot(&mut self.positions);
        let events = self.engine.advance(self.now, &self.positions);
        self.note(&events);
    }

    fn ask(&mut self, bytes: &mut Bytes) {
        let before = self.engine.state_hash();
        let command = Command { actor: actor(bytes), action: self.action(bytes) };
        match self.engine.handle(self.now, command) {
            Ok(events) => self.note(&events),
            Err(refusal) => {
                assert!(!refusal.to_string().is_empty());
                assert_eq!(self.engine.state_hash(), before, "refused, and changed: {refusal}");
            }
        }
    }

    fn note(&mut self, events: &[Event]) {
        for event in events {
            self.folded.apply(event).expect("events come in sequence");
        }
        assert_eq!(
            self.engine.state_hash(),
            self.folded.state().hash(),
            "the events do not fold to the state: {events:?}"
        );
        assert!(self.engine.derived_is_consistent(), "after {events:?}");
    }

    /// Goes on from a snapshot as it comes back from a disk, as after an outage or without one.
    fn restart(&mut self, bytes: &mut Bytes) {
        let written = serde_json::to_vec(&self.engine.snapshot()).expect("a snapshot can be written");
        let snapshot: Snapshot = serde_json::from_slice(&written).expect("a snapshot that was written is read again");
        let before = self.engine.state_hash();
        self.engine = Engine::restore(Arc::new(StraightLine::default()), Vec::new(), snapshot, [])
            .expect("a snapshot of an engine");
        assert_eq!(self.engine.state_hash(), before, "a snapshot is not what it was made of");
        let down_for = Millis::new(i64::from(bytes.short()) * 10);
        self.now += down_for;
        let resumed = self.engine.handle(self.now, Action::Resume { down_for }.by(Role::System));
        let resumed = resumed.expect("the system may go on");
        self.note(&resumed);
    }

    fn look(&mut self, bytes: &mut Bytes) {
        let before = self.engine.state_hash();
        let (order, driver) = (order(bytes), driver(bytes));
        if let Some(explanation) = self.engine.explain(&order) {
            assert!(!explanation.to_string().is_empty());
        }
        let _ = self.engine.eta(&order, self.now);
        let _ = self.engine.opinion(&order, &driver);
        let _ = self.engine.why_not(&order, &driver);
        let _ = self.engine.next_deadline();
        assert_eq!(self.engine.state_hash(), before, "reading changes nothing");
    }

    fn action(&self, bytes: &mut Bytes) -> Action {
        let reason = || Reason::new("because").expect("short");
        match bytes.below(24) {
            0..=2 => Action::SubmitOrder(self.order_spec(bytes)),
            3 => Action::RegisterDriver(driver_spec(bytes)),
            4 | 5 => Action::StartShift { driver: driver(bytes), until: (bytes.byte() < 64).then(|| self.time(bytes)) },
            6 => Action::EndShift { driver: driver(bytes) },
            7 => Action::PauseDriver { driver: driver(bytes) },
            8 => Action::ResumeDriver { driver: driver(bytes) },
            9 | 10 => Action::Kitchen { order: order(bytes), status: bytes.pick(&KITCHEN) },
            11 => Action::SetReadyTime { order: order(bytes), ready_at: self.time(bytes) },
            12 => Action::CancelOrder { order: order(bytes), reason: reason() },
            13 => Action::FailOrder { order: order(bytes), reason: reason() },
            14 | 15 => Action::AcceptOffer { offer: offer(bytes), driver: driver(bytes) },
            16 => Action::DeclineOffer { offer: offer(bytes), driver: driver(bytes) },
            17 | 18 => Action::Progress { order: order(bytes), driver: driver(bytes), step: bytes.pick(&STEPS) },
            19 => Action::Assign { order: order(bytes), driver: driver(bytes) },
            20 => Action::TakeBack { order: order(bytes) },
            21 => Action::RateDriver {
                driver: driver(bytes),
                rating: Rating::new(f64::from(bytes.byte() % 6)).expect("0 to 5"),
            },
            22 => {
                let planned = PlannedShift { from: self.time(bytes), until: self.time(bytes), start: position(bytes) };
                Action::PlanShift { driver: driver(bytes), planned: (bytes.byte() < 192).then_some(planned) }
            }
            _ => match bytes.below(3) {
                0 => Action::Configure(Box::new(rules(bytes))),
                1 => Action::RollBackConfiguration { version: bytes.byte().into() },
                _ => Action::Resume { down_for: Millis::new(i64::from(bytes.short()) - 1_000) },
            },
        }
    }

    fn order_spec(&self, bytes: &mut Bytes) -> OrderSpec {
        let mut spec = OrderSpec::new(order(bytes), position(bytes), position(bytes));
        let kind = bytes.byte();
        spec.pickup.id = (kind & 1 != 0).then(|| "place".parse().expect("a valid id"));
        spec.preparation = (kind & 2 != 0).then(|| self.time(bytes) - self.now);
        spec.promised_at = (kind & 4 != 0).then(|| self.time(bytes));
        spec.units = serde_json::from_value(json!(1 + kind % 3)).expect("a few units");
        if kind & 128 != 0 {
            spec.skills.insert("cold".parse().expect("a valid skill"));
        }
        spec
    }

    /// Mostly soon, sometimes absurd.
    fn time(&self, bytes: &mut Bytes) -> Timestamp {
        match bytes.below(16) {
            0 => Timestamp::from_millis(bytes.long().cast_signed()),
            1 => Timestamp::from_millis(bytes.pick(&[i64::MIN, i64::MAX, 0, -1])),
            2..=4 => self.now - Millis::from_secs(bytes.short().into()),
            _ => self.now + Millis::from_secs(bytes.byte().into()),
        }
    }
}

const KITCHEN: [KitchenStatus; 4] =
    [KitchenStatus::Placed, KitchenStatus::Confirmed, KitchenStatus::Preparing, KitchenStatus::Ready];

const STEPS: [Step; 5] =
    [Step::ArrivedAtPickup, Step::PickedUp, Step::Departed, Step::ArrivedAtDropoff, Step::Delivered];

fn driver(bytes: &mut Bytes) -> DriverId {
    DriverId::new(["d0", "d1", "d2", "d3"][bytes.below(4)]).expect("a valid id")
}

fn driver_spec(bytes: &mut Bytes) -> DriverSpec {
    let mut spec = DriverSpec::new(driver(bytes));
    spec.capacity = serde_json::from_value(json!(1 + bytes.below(4))).expect("a few units");
    if bytes.byte() < 64 {
        spec.skills.insert("cold".parse().expect("a valid skill"));
    }
    spec
}

fn order(bytes: &mut Bytes) -> OrderId {
    OrderId::new(["o0", "o1", "o2", "o3", "o4", "o5", "o6", "o7"][bytes.below(8)]).expect("a valid id")
}

fn offer(bytes: &mut Bytes) -> OfferId {
    OfferId(if bytes.byte() < 8 { bytes.long() } else { bytes.below(24) as u64 })
}

fn actor(bytes: &mut Bytes) -> Actor {
    let roles = [Role::System, Role::Customer, Role::Merchant, Role::Driver, Role::Dispatcher, Role::Dispatcher];
    Actor::of(bytes.pick(&roles))
}

/// A small town, and the ends of the earth.
fn position(bytes: &mut Bytes) -> Position {
    let (lat, lng) = (f64::from(bytes.byte()), f64::from(bytes.byte()));
    let (lat, lng) = match (lat, lng) {
        (255.0, _) => (90.0, lng.min(180.0)),
        (254.0, _) => (-90.0, -180.0),
        (253.0, _) => (lng / 4.0, 180.0),
        _ => (52.5 + lat / 10_000.0, 13.4 + lng / 10_000.0),
    };
    Position::new(lat, lng).expect("in range")
}

/// Valid rules, but for a few that are not.
fn rules(bytes: &mut Bytes) -> EngineConfig {
    let offers = [
        json!("direct"),
        json!({ "sequential": { "expires_after": 5_000 } }),
        json!({ "wave": { "size": 3, "expires_after": 10_000 } }),
        json!({ "sequential": { "expires_after": 30_000 } }),
    ];
    let bundles = [
        json!("off"),
        json!("same_pickup"),
        json!({ "nearby": { "within": 500.0 } }),
        json!({ "interleaved": { "within": 2_000.0 } }),
    ];
    let (offers, bundles) = (&offers[bytes.below(4)], &bundles[bytes.below(4)]);
    let kind = bytes.byte();
    let wait =
        json!({ "every": 60_000, "look_ahead": 900_000, "worth_min": 1.0, "max_travel": 900_000, "rest": 300_000 });
    let optional = |bit: u8, value: Value| if kind & bit == 0 { Value::Null } else { value };
    let learned = json!({ "learned": { "depart_at_probability": 0.5 } });
    let mut rules = serde_json::to_value(EngineConfig::default()).expect("rules can be written");
    let mut set = |path: &str, value: Value| *rules.pointer_mut(path).expect("the rules have it") = value;
    set("/start_on", json!(if kind & 1 == 0 { "placed" } else { "confirmed" }));
    set("/swap", if *offers == json!("direct") { optional(2, json!({ "penalty": 1.0 })) } else { Value::Null });
    set("/offers", offers.clone());
    set("/bundles/mode", bundles.clone());
    set("/bundles/max_orders", json!(1 + bytes.below(4)));
    set("/bundles/min_gain", json!(0.1));
    set("/divert", json!(kind & 4 != 0));
    set("/reposition", optional(8, wait));
    set("/preparation", json!(i64::from(bytes.byte()) * 5_000));
    set("/window", json!(1_000 + i64::from(bytes.byte()) * 50));
    set("/schedule/ready_times", if kind & 16 == 0 { json!("stated") } else { learned });
    set("/positions/return_orders_of_silent", json!(kind & 32 != 0));
    set("/limits", json!({ "orders": 6, "drivers": 3, "orders_per_driver": 1 + bytes.below(4) }));
    serde_json::from_value(rules).expect("rules as the configuration has them")
}

/// Days in a few bytes: everybody comes, something is ordered, time passes.
pub(crate) fn commands_seeds() -> Vec<Vec<u8>> {
    let day = |offers: u8, bundles: u8, kind: u8| {
        let mut bytes = vec![offers, bundles, kind, 2, 0, 0, 3];
        for number in 0..3 {
            bytes.extend([10, 4, 3, number, 2, 255]);
            bytes.extend([10, 4, 4, number, 255]);
            bytes.extend([6, number, 0, 10 + number, 10]);
        }
        for number in 0..4 {
            bytes.extend([10, 4, 0, number, 20, 20, 40 + number, 60, 1]);
            bytes.extend([10, 4, 9, number, 3]);
            bytes.extend([0, 20]);
        }
        for number in 1..5 {
            bytes.extend([10, 4, 14, 255, number, number % 3]);
            bytes.extend([9, number, number % 3]);
        }
        bytes.extend([8, 10, 0, 0, 50]);
        for number in 0..4 {
            for step in [1, 4] {
                bytes.extend([10, 4, 17, number, number % 3, step, 6, number % 3, 0, 40, 60, 0, 100]);
            }
        }
        bytes.extend([4, 255, 20]);
        bytes
    };
    vec![day(0, 0, 2), day(1, 1, 1), day(2, 2, 8), day(0, 3, 6), day(3, 1, 16), day(2, 3, 32)]
}
