//! Decides which driver fetches which order, when and in which stop sequence.

mod command;
mod config;
mod eta;
mod event;
mod geo;
mod matching;
mod model;
mod offer;
mod route;
mod schedule;
#[cfg(feature = "sim")]
pub mod sim;
mod units;

pub use command::{Action, Command, Refusal, Step};
pub use config::*;
pub use eta::{Eta, Leg, SpeedError, StraightLine, TravelTime};
pub use event::{Event, EventKind, HoldReason, ReturnReason, RoundFailure};
pub use geo::{EARTH_RADIUS_M, Position, PositionError};
pub use matching::explanation::{Considered, Decision, Exclusion, MAX_DECISION_BYTES, MAX_RECORDED};
pub use model::*;
pub use offer::{MAX_OFFERS_PER_ORDER, Offer, OfferBook, OfferOutcome};
pub use route::{Anchor, Stop, StopKind};
pub use units::{Meters, MetersError, Millis, Timestamp};
