//! What happened: the log. Events carry outcomes, so that they can be applied without travel times, scores or rules.

use crate::config::EngineConfig;
use crate::geo::Position;
use crate::matching::explanation::Decision;
use crate::model::{
    Actor, DriverId, DriverSpec, FailReason, KitchenStatus, OfferId, OrderId, OrderSpec, PlannedShift, Rating, Reason,
};
use crate::offer::OfferOutcome;
use crate::route::{Anchor, Stop};
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// One entry of a market's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number in the log, from 1, without gaps.
    pub seq: u64,
    /// The engine's time when it happened.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The market's rules were set. The first event of every log.
    Configured {
        /// From 1, one more each time.
        version: u32,
        /// The rules.
        config: Box<EngineConfig>,
    },
    /// The engine goes on after it was away. It has the log, and no position yet.
    Resumed {
        /// For how long it was away.
        down_for: Millis,
        /// The offers that were open when it went away, by number, each with when it expires now.
        extended: Vec<(OfferId, Timestamp)>,
    },
    /// A driver became known, or what is known of it changed.
    DriverRegistered {
        /// All that is known of it.
        driver: DriverSpec,
    },
    /// A driver's rating changed.
    DriverRated {
        /// Who.
        driver: DriverId,
        /// The new average.
        rating: Rating,
    },
    /// The next shift of a driver was put on the roster, or taken off.
    ShiftPlanned {
        /// Who.
        driver: DriverId,
        /// The shift.
        planned: Option<PlannedShift>,
    },
    /// A driver began to work.
    ShiftStarted {
        /// Who.
        driver: DriverId,
        /// When it plans to stop.
        until: Option<Timestamp>,
    },
    /// A driver wants to stop and still has orders on board.
    ShiftEnding {
        /// Who.
        driver: DriverId,
    },
    /// A driver stopped working.
    ShiftEnded {
        /// Who.
        driver: DriverId,
    },
    /// A driver gets no new orders for now.
    DriverPaused {
        /// Who.
        driver: DriverId,
    },
    /// A driver gets orders again.
    DriverResumed {
        /// Who.
        driver: DriverId,
    },
    /// A driver on shift has not been heard of for too long.
    DriverSilent {
        /// Who.
        driver: DriverId,
    },
    /// A silent driver was heard of again.
    DriverHeard {
        /// Who.
        driver: DriverId,
    },
    /// A driver with nothing to do had better wait elsewhere. It may, or may not.
    RepositionSuggested {
        /// Who.
        driver: DriverId,
        /// Where orders are to be expected.
        position: Position,
        /// When it would be there.
        arrive_at: Timestamp,
    },
    /// An order was submitted.
    OrderPlaced {
        /// The order as submitted.
        order: Box<OrderSpec>,
        /// When it will be ready.
        ready_at: Timestamp,
    },
    /// The kitchen got further.
    KitchenProgressed {
        /// Which order.
        order: OrderId,
        /// How far.
        status: KitchenStatus,
    },
    /// An order will be ready at another time than thought.
    ReadyTimeChanged {
        /// Which order.
        order: OrderId,
        /// The new time.
        ready_at: Timestamp,
    },
    /// The engine began to look for a driver.
    DispatchStarted {
        /// For which order.
        order: OrderId,
    },
    /// An order is not decided yet; logged when the reason changes.
    OrderHeld {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: HoldReason,
        /// The slack with the driver who would fetch it now.
        slack: Option<Millis>,
        /// What was weighed.
        decision: Decision,
    },
    /// An order, or several, was put to a driver.
    OfferMade {
        /// The offer's number.
        offer: OfferId,
        /// Who is asked.
        driver: DriverId,
        /// What for.
        orders: Vec<OrderId>,
        /// The route the driver would have.
        stops: Vec<Stop>,
        /// It can be accepted strictly before this.
        expires_at: Timestamp,
        /// Which attempt of its round this is, from 1; an offer that is withdrawn was none.
        attempt: u16,
        /// The first offer of the wave it belongs to, which may be itself; absent where drivers are asked one at a time.
        wave: Option<OfferId>,
        /// What was weighed.
        decision: Decision,
    },
    /// An offer got its outcome.
    OfferClosed {
        /// Which offer.
        offer: OfferId,
        /// What became of it.
        outcome: OfferOutcome,
    },
    /// A driver became responsible for an order, or several.
    Assigned {
        /// Which orders.
        orders: Vec<OrderId>,
        /// Who.
        driver: DriverId,
        /// Where the driver sets out; absent where its position was not known.
        from: Option<Anchor>,
        /// The driver's whole route from now on.
        stops: Vec<Stop>,
        /// What was weighed; absent where a driver's acceptance or a dispatcher decided.
        decision: Option<Decision>,
    },
    /// An order left its driver, and waits to be fetched at its pickup again.
    Returned {
        /// Which order.
        order: OrderId,
        /// Who had it.
        driver: DriverId,
        /// Why.
        reason: ReturnReason,
        /// The driver's whole route from now on.
        stops: Vec<Stop>,
    },
    /// A driver got to a pickup.
    ArrivedAtPickup {
        /// For which order.
        order: OrderId,
        /// Who.
        driver: DriverId,
    },
    /// A driver has an order.
    PickedUp {
        /// Which order.
        order: OrderId,
        /// Who.
        driver: DriverId,
        /// When the driver is expected to leave.
        leave_at: Timestamp,
    },
    /// A driver left the pickup with an order.
    Departed {
        /// Which order.
        order: OrderId,
        /// Who.
        driver: DriverId,
    },
    /// A driver got to a dropoff.
    ArrivedAtDropoff {
        /// For which order.
        order: OrderId,
        /// Who.
        driver: DriverId,
    },
    /// An order was handed over.
    Delivered {
        /// Which order.
        order: OrderId,
        /// Who.
        driver: DriverId,
        /// When the driver is expected to leave.
        leave_at: Timestamp,
    },
    /// An order was called off.
    OrderCancelled {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: Reason,
        /// The whole route from now on of the driver who had it.
        stops: Option<Vec<Stop>>,
    },
    /// An order was given up.
    OrderFailed {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: FailReason,
        /// The whole route from now on of the driver who had it.
        stops: Option<Vec<Stop>>,
    },
    /// A round ended without a driver.
    AssignmentFailed {
        /// For which order.
        order: OrderId,
        /// Why.
        reason: RoundFailure,
        /// When the next round begins.
        retry_at: Timestamp,
    },
    /// A new round began: drivers who were asked before may be asked again.
    RoundStarted {
        /// For which order.
        order: OrderId,
    },
    /// An order has been without a driver for too long.
    OrderOverdue {
        /// Which order.
        order: OrderId,
    },
    /// An order that had ended left memory; a delivered one is now completed.
    OrderRetired {
        /// Which order.
        order: OrderId,
    },
}

/// Why an order is not decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// There is time: its slack exceeds the margin.
    SlackAmple,
    /// No driver near enough can take it.
    NoCandidate,
    /// Every driver who can take it is better used for another order.
    Outmatched,
    /// The driver who would fetch it is still busy, and reserved for it in this window.
    DriverBusy,
}

/// Why an order left its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnReason {
    /// The driver ended its shift.
    ShiftEnded,
    /// The driver fell silent.
    DriverSilent,
    /// A dispatcher took it back.
    TakenBack,
    /// A dispatcher gave it to another driver.
    Reassigned,
    /// It is better fetched by another driver, or later.
    Swapped,
}

/// Why a round ended without a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundFailure {
    /// Every attempt was declined or expired.
    AttemptsUsed,
    /// There was no candidate for too long.
    NoCandidate,
}
