//! Decides, for every order, which driver fetches it, when, and in which stop sequence: in memory, deterministic,
//! explainable. Made to be embedded: no clock, no IO, no threads of its own.
//!
//! # A minute with it
//!
//! An [`Engine`] holds one market. Commands go in with the time, events come out; positions live in a
//! [`PositionIndex`], of which the engine sees a snapshot once per window.
//!
//! ```
//! use dispatch_core::{
//!     Action, DriverId, DriverSpec, Engine, EngineConfig, EventKind, Fix, OrderId, OrderSpec, Position, Positions, Role,
//!     StartOn, StraightLine, Timestamp,
//! };
//!
//! let now = Timestamp::from_millis(1_750_000_000_000);
//! let config = EngineConfig { start_on: StartOn::Placed, ..EngineConfig::default() };
//! let mut engine = Engine::new(config, StraightLine::default())?;
//!
//! let ana = DriverId::new("ana")?;
//! engine.handle(now, Action::RegisterDriver(DriverSpec::new(ana.clone())).by(Role::Driver))?;
//! engine.handle(now, Action::StartShift { driver: ana.clone(), until: None }.by(Role::Driver))?;
//!
//! let order = OrderId::new("order-1")?;
//! let spec = OrderSpec::new(order.clone(), Position::new(52.52, 13.41)?, Position::new(52.51, 13.39)?);
//! engine.handle(now, Action::SubmitOrder(spec).by(Role::Customer))?;
//!
//! // It takes 15 minutes to prepare, so the decision is held: until then a better driver may appear.
//! let positions = Positions::from_fixes([(ana, Fix { position: Position::new(52.53, 13.40)?, at: now })]);
//! let events = engine.advance(now, &positions);
//! assert!(matches!(events[..], [dispatch_core::Event { kind: EventKind::OrderHeld { .. }, .. }]));
//! println!("{}", engine.explain(&order).expect("the order is known"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! * **One log.** [`Engine::handle`] and [`Engine::advance`] check, then emit [`Event`]s, and nothing changes but by
//!   applying one: folding the events gives the [`State`]. Write them down, and you have durability, an audit trail and a
//!   feed; [`Engine::restore`] goes on from a [`Snapshot`] and the events after it, and [`Action::Resume`] says how long it
//!   was away.
//! * **Time is an argument.** Call [`Engine::advance`] when [`Engine::next_deadline`] says so. An offer is open while
//!   `now < expires_at`, whether or not anything noticed that it expired.
//! * **Slack.** An order is held while the driver who would fetch it would come too early, and decided when the slack
//!   is used up ([`ScheduleRule`]).
//! * **Windows.** Each [`EngineConfig::window`] the waiting orders and the drivers near them are paired at the least total
//!   cost ([`Pairing`]). Drivers who are still busy take part: they can be reserved, window by window.
//! * **Scores.** What makes a driver good is a weighted sum of terms ([`ScorePreset`], [`built_in_score_terms`]); write your
//!   own as [`ScoreTerm`], and your own travel times as [`TravelTime`]. There are no other extension points.
//! * **Explanations.** Every decision keeps what was weighed: [`Engine::explain`], and for one driver [`Engine::why_not`];
//!   before somebody assigns by hand there is [`Engine::opinion`].
//! * **Same inputs, same events, byte for byte**, on every machine; with the feature `sim` a whole day runs in virtual time,
//!   is recorded, replayed, and proven by an auditor that reads only the log.
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | market | the orders and drivers matched together, by one engine |
//! | fix | one reading of a driver's position |
//! | stop, route | where a driver has something to do; its stops in sequence, with projected times |
//! | slack | how much later a decision could fall without the food waiting; negative is late |
//! | hold, due | not decided while there is slack; decided now |
//! | window | one matching of waiting orders and drivers |
//! | candidate, score term, pairing | a driver who can take an order; what judges it; who gets which |
//! | offer, assignment | an order put to a driver; a driver responsible for an order |
//! | refusal | a command not carried out, with the reason; it changed nothing |
//! | event, log, snapshot | what happened; all of it, numbered; the state at one point of it |

mod command;
mod config;
mod demand;
mod derived;
mod engine;
mod eta;
mod event;
mod geo;
mod index;
mod matching;
mod model;
mod offer;
mod readiness;
mod route;
mod schedule;
#[cfg(feature = "sim")]
pub mod sim;
mod state;
mod units;

pub use command::{Action, Command, Refusal, Step};
pub use config::{
    BundleMode, BundleRule, ConfigError, ConfigProblem, EngineConfig, FixRules, IndexBackend, Lifetimes, Limits,
    MAX_INDEXED_DRIVERS, MAX_SCORE_TERMS, OfferRule, PositionRule, ReadyTimes, RepositionRule, RoundRule, ScheduleRule,
    ScorePreset, ScoreWeight, SearchRule, ServiceTimes, StartOn, SwapRule,
};
pub use demand::DemandMap;
pub use engine::{
    Engine, Explanation, Opinion, Prospect, REPORTED_PERCENT, Recorded, RestoreError, Snapshot, Standing,
    WAIT_FOR_REPORTS, WhyNot,
};
pub use eta::{Eta, Leg, SpeedError, StraightLine, TravelTime};
pub use event::{Event, EventKind, HoldReason, ReturnReason, RoundFailure};
pub use geo::{ANYWHERE, EARTH_RADIUS_M, Position, PositionError};
pub use index::{Fix, IndexFull, MAX_CORNERS, Motion, Polygon, PolygonError, PositionIndex, Positions, Reported, Slot};
pub use matching::candidates::{Candidate, Supply};
pub use matching::explanation::{Considered, Decision, Exclusion, MAX_DECISION_BYTES, MAX_RECORDED};
pub use matching::pairing::{MAX_COST, Pairing, Pairs};
pub use matching::score::{ScoreTerm, built_in_score_terms};
pub use model::{
    Acceptance, Actor, DispatchStatus, DisplayData, DriverId, DriverSpec, FailReason, IdError, KitchenStatus, Label,
    MAX_ID_LEN, MAX_SKILLS, MarketId, OfferId, OrderId, OrderSpec, Pay, Place, PlaceId, PlannedShift, PublicStatus,
    Rating, RatingError, Reason, Role, Skill, Text, TextError, Units, Vehicle,
};
pub use offer::{MAX_OFFERS_PER_ORDER, Offer, OfferBook, OfferOutcome};
pub use readiness::Readiness;
pub use route::{Anchor, Stop, StopKind};
pub use state::{Digest, Driver, Heading, Hold, MAX_FORMER_CONFIGS, Order, OrderTimes, Round, Shift, State};
pub use units::{Meters, MetersError, Millis, Timestamp};
