//! What callers ask of the engine, and why it refuses.

use crate::config::{ConfigError, EngineConfig};
use crate::model::{
    Actor, DriverId, DriverSpec, KitchenStatus, OfferId, OrderId, OrderSpec, PlannedShift, Rating, Reason, Role,
};
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// Something asked of the engine, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Who asks. The engine trusts it; authentication is the caller's.
    pub actor: Actor,
    /// What is asked.
    pub action: Action,
}

impl Action {
    /// This action as a command of an actor of whom only the role is known.
    pub fn by(self, role: Role) -> Command {
        Command { actor: Actor::of(role), action: self }
    }
}

/// What can be asked of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Replace the market's rules. For dispatchers and the system.
    Configure(Box<EngineConfig>),
    /// Put rules that were in force before back in force, as a new version. The last [`MAX_FORMER_CONFIGS`] are kept.
    ///
    /// [`MAX_FORMER_CONFIGS`]: crate::MAX_FORMER_CONFIGS
    RollBackConfiguration {
        /// Which version.
        version: u32,
    },
    /// Go on after an outage, with nothing but the log. For the system, after [`Engine::restore`] and before anything else.
    ///
    /// Open offers are open that much longer, nobody is silent for not having been heard meanwhile, and orders and drivers
    /// are paired once [`REPORTED_PERCENT`] % of the drivers who could get orders have sent a new fix, or after
    /// [`WAIT_FOR_REPORTS`]. Deadlines stay where they were. From here on the engine is what its log makes it, whichever
    /// snapshot it was restored from.
    ///
    /// [`Engine::restore`]: crate::Engine::restore
    /// [`REPORTED_PERCENT`]: crate::REPORTED_PERCENT
    /// [`WAIT_FOR_REPORTS`]: crate::WAIT_FOR_REPORTS
    Resume {
        /// For how long the engine was away. Counts from the last event at most.
        down_for: Millis,
    },
    /// Make a driver known, or change what is known of it; a change needs a driver without orders and offers.
    RegisterDriver(DriverSpec),
    /// Set a driver's rating.
    RateDriver {
        /// Who.
        driver: DriverId,
        /// The new average.
        rating: Rating,
    },
    /// Put the next shift of a driver who is off shift on the roster, or take it off.
    PlanShift {
        /// Who.
        driver: DriverId,
        /// The shift; `None` takes it off.
        planned: Option<PlannedShift>,
    },
    /// A driver begins to work.
    StartShift {
        /// Who.
        driver: DriverId,
        /// When the shift is planned to end: no pickup is planned after it, and it ends by itself once the route is done.
        until: Option<Timestamp>,
    },
    /// A driver stops working. Orders not picked up go back; with one on board the driver stays responsible for it.
    EndShift {
        /// Who.
        driver: DriverId,
    },
    /// A driver on shift gets no new orders for now.
    PauseDriver {
        /// Who.
        driver: DriverId,
    },
    /// A paused driver gets orders again.
    ResumeDriver {
        /// Who.
        driver: DriverId,
    },
    /// Hand an order to the engine.
    SubmitOrder(OrderSpec),
    /// The kitchen got further.
    Kitchen {
        /// Which order.
        order: OrderId,
        /// How far; only forward, and steps may be left out.
        status: KitchenStatus,
    },
    /// The kitchen knows better when the order will be ready.
    SetReadyTime {
        /// Which order.
        order: OrderId,
        /// The new time.
        ready_at: Timestamp,
    },
    /// Call an order off before it is picked up.
    CancelOrder {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: Reason,
    },
    /// Give an order up, also after it was picked up.
    FailOrder {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: Reason,
    },
    /// A driver takes an offer.
    AcceptOffer {
        /// Which offer.
        offer: OfferId,
        /// Who answers.
        driver: DriverId,
    },
    /// A driver turns an offer down.
    DeclineOffer {
        /// Which offer.
        offer: OfferId,
        /// Who answers.
        driver: DriverId,
    },
    /// A driver got further with an order.
    Progress {
        /// Which order.
        order: OrderId,
        /// Who.
        driver: DriverId,
        /// How far.
        step: Step,
    },
    /// Give an order to a driver by hand, taking it from another where it has one.
    Assign {
        /// Which order.
        order: OrderId,
        /// To whom.
        driver: DriverId,
    },
    /// Take an order that is not picked up from its driver, back to waiting.
    TakeBack {
        /// Which order.
        order: OrderId,
    },
}

/// What a driver does with an order, in this sequence; arriving and departing may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Is at the pickup.
    ArrivedAtPickup,
    /// Has the order.
    PickedUp,
    /// Has left the pickup.
    Departed,
    /// Is at the dropoff.
    ArrivedAtDropoff,
    /// Has handed the order over.
    Delivered,
}

impl Action {
    /// The action as one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Configure(_) => "configure",
            Self::RollBackConfiguration { .. } => "roll_back_configuration",
            Self::Resume { .. } => "resume",
            Self::RegisterDriver(_) => "register_driver",
            Self::RateDriver { .. } => "rate_driver",
            Self::PlanShift { .. } => "plan_shift",
            Self::StartShift { .. } => "start_shift",
            Self::EndShift { .. } => "end_shift",
            Self::PauseDriver { .. } => "pause_driver",
            Self::ResumeDriver { .. } => "resume_driver",
            Self::SubmitOrder(_) => "submit_order",
            Self::Kitchen { .. } => "kitchen",
            Self::SetReadyTime { .. } => "set_ready_time",
            Self::CancelOrder { .. } => "cancel_order",
            Self::FailOrder { .. } => "fail_order",
            Self::AcceptOffer { .. } => "accept_offer",
            Self::DeclineOffer { .. } => "decline_offer",
            Self::Progress { .. } => "progress",
            Self::Assign { .. } => "assign",
            Self::TakeBack { .. } => "take_back",
        }
    }
}

/// Why a command was not carried out. A refused command changed nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No such order, or it has left memory.
    #[error("there is no order {order}")]
    UnknownOrder {
        /// Which.
        order: OrderId,
    },
    /// No such driver.
    #[error("there is no driver {driver}")]
    UnknownDriver {
        /// Which.
        driver: DriverId,
    },
    /// No such offer, or it has left memory.
    #[error("there is no offer {offer}")]
    UnknownOffer {
        /// Which.
        offer: OfferId,
    },
    /// The id is taken by an order with other content.
    #[error("order {order} exists with other content")]
    OrderDiffers {
        /// Which.
        order: OrderId,
    },
    /// The order is not in a state in which this can be done.
    #[error("order {order} is {is}, so {action} does not apply")]
    OrderState {
        /// Which.
        order: OrderId,
        /// Its state.
        is: &'static str,
        /// What was asked.
        action: &'static str,
    },
    /// The driver is not in a state in which this can be done.
    #[error("driver {driver} {is}, so {action} does not apply")]
    DriverState {
        /// Which.
        driver: DriverId,
        /// Its state.
        is: &'static str,
        /// What was asked.
        action: &'static str,
    },
    /// The offer is no longer open.
    #[error("offer {offer} {is}")]
    OfferClosed {
        /// Which.
        offer: OfferId,
        /// What became of it.
        is: &'static str,
    },
    /// The offer or order is another driver's.
    #[error("driver {driver} has no part in this: it is another driver's")]
    NotYours {
        /// Who asked.
        driver: DriverId,
    },
    /// The actor may not do this, or not any more.
    #[error("a {role} may not {action} an order that is {is}")]
    NotAllowed {
        /// On whose behalf it was asked.
        role: Role,
        /// What was asked.
        action: &'static str,
        /// The state of the order.
        is: &'static str,
    },
    /// The actor may not do this at all.
    #[error("a {role} may not {action}")]
    NotForRole {
        /// On whose behalf it was asked.
        role: Role,
        /// What was asked.
        action: &'static str,
    },
    /// The driver cannot carry this beside what it has.
    #[error("driver {driver} carries {capacity} units at once, and this would need {needed}")]
    Capacity {
        /// Who.
        driver: DriverId,
        /// What it carries at once.
        capacity: u32,
        /// What it would have to carry.
        needed: u32,
    },
    /// The driver lacks a skill the order asks for.
    #[error("driver {driver} lacks a skill that order {order} asks for")]
    Skill {
        /// Who.
        driver: DriverId,
        /// For which order.
        order: OrderId,
    },
    /// A value of the command is out of range.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which value.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The market is full.
    #[error("the market holds at most {limit} {what}")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: u32,
    },
    /// The configuration was never in force before, or is not remembered.
    #[error("there is no former configuration {version} in memory")]
    UnknownConfiguration {
        /// Which version.
        version: u32,
    },
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
