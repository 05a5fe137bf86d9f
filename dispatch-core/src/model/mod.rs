//! What the engine talks about: ids, drivers, orders, actors and their statuses.

mod id;

pub use id::{
    DisplayData, DriverId, IdError, Label, MAX_ID_LEN, MarketId, OfferId, OrderId, PlaceId, Reason, Skill, Text,
    TextError,
};

use crate::geo::Position;
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;

/// Most skills one driver has or one order asks for.
pub const MAX_SKILLS: usize = 16;

/// On whose behalf a command is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The engine itself, or the program around it.
    System,
    /// The place an order is picked up from.
    Merchant,
    /// A driver.
    Driver,
    /// Whoever steps in by hand.
    Dispatcher,
    /// Who ordered.
    Customer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::Merchant => "merchant",
            Self::Driver => "driver",
            Self::Dispatcher => "dispatcher",
            Self::Customer => "customer",
        })
    }
}

/// Who gave a command, and from where; kept with every event that follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// On whose behalf.
    pub role: Role,
    /// The account, where there is one.
    pub name: Option<Label>,
    /// The network address, where there is one.
    pub address: Option<Label>,
    /// The client program, where there is one.
    pub user_agent: Option<Reason>,
}

impl Actor {
    /// An actor of whom only the role is known.
    pub const fn of(role: Role) -> Self {
        Self { role, name: None, address: None, user_agent: None }
    }

    /// The engine itself.
    pub const SYSTEM: Self = Self::of(Role::System);
}

/// What a driver moves with. Decides the speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vehicle {
    /// A bicycle.
    Bicycle,
    /// A motorcycle or scooter.
    Motorcycle,
    /// A car.
    #[default]
    Car,
    /// A van.
    Van,
}

impl Vehicle {
    /// Every kind, each at its own number.
    pub const ALL: [Self; 4] = [Self::Bicycle, Self::Motorcycle, Self::Car, Self::Van];
}

/// How much a driver carries or an order weighs, in units the market chooses; at least one.
pub type Units = NonZeroU16;

/// The average of a driver's ratings: 0 to 5 stars, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rating(u16);

/// A rating outside 0 to 5.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("a rating is a number from 0 to 5, not {0}")]
pub struct RatingError(pub f64);

impl Rating {
    /// Five stars: what a new driver starts with.
    pub const BEST: Self = Self(500);

    /// A rating of `stars` (0 to 5), rounded to hundredths.
    pub fn new(stars: f64) -> Result<Self, RatingError> {
        if (0.0..=5.0).contains(&stars) { Ok(Self((stars * 100.0).round() as u16)) } else { Err(RatingError(stars)) }
    }

    /// The rating in stars.
    pub fn stars(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl TryFrom<f64> for Rating {
    type Error = RatingError;
    fn try_from(stars: f64) -> Result<Self, RatingError> {
        Self::new(stars)
    }
}

impl From<Rating> for f64 {
    fn from(rating: Rating) -> f64 {
        rating.stars()
    }
}

/// How a driver answered its last 100 offers. An expired offer counts as not accepted, a withdrawn one not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// One bit an answer, the newest lowest; 1 is accepted.
    answers: u128,
    /// How many of the bits are answers, at most [`Acceptance::SPAN`].
    count: u8,
}

impl Acceptance {
    /// How many offers it looks back.
    pub const SPAN: u8 = 100;

    /// Adds the newest answer, forgetting the oldest beyond [`Acceptance::SPAN`].
    pub(crate) fn record(&mut self, accepted: bool) {
        let kept = (1 << Self::SPAN) - 1;
        self.answers = (self.answers << 1 | u128::from(accepted)) & kept;
        self.count = (self.count + 1).min(Self::SPAN);
    }

    /// The accepted share, 0 to 1; 1 before any answer.
    pub fn rate(self) -> f64 {
        if self.count == 0 { 1.0 } else { f64::from(self.answers.count_ones()) / f64::from(self.count) }
    }
}

/// What is known of a driver beside its position and its shift; given when it is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverSpec {
    /// Its name among drivers.
    pub id: DriverId,
    /// What it moves with.
    pub vehicle: Vehicle,
    /// How many units it carries at once.
    pub capacity: Units,
    /// What it can do beyond the ordinary; at most [`MAX_SKILLS`].
    pub skills: BTreeSet<Skill>,
}

impl DriverSpec {
    /// A car that carries one unit and has no particular skill.
    pub fn new(id: DriverId) -> Self {
        Self { id, vehicle: Vehicle::default(), capacity: Units::MIN, skills: BTreeSet::new() }
    }
}

/// A shift that is on the roster but has not begun. It counts when orders are planned ahead, and begins by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedShift {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Where the driver will be when it begins.
    pub start: Position,
}

/// One end of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Where it is.
    pub position: Position,
    /// Which known place it is. Orders of one place can share a pickup.
    pub id: Option<PlaceId>,
    /// What the driver reads.
    pub label: Option<Label>,
}

impl Place {
    /// A place of which only the position is known.
    pub const fn at(position: Position) -> Self {
        Self { position, id: None, label: None }
    }

    /// Whether a driver at the one is at the other: the same position, and not two places of different names.
    pub fn is_same(&self, other: &Self) -> bool {
        let differ = matches!((&self.id, &other.id), (Some(a), Some(b)) if a != b);
        self.position == other.position && !differ
    }
}

/// What the driver earns for an order, in the smallest unit of the market's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// What the market pays.
    pub fee_minor: u32,
    /// What the customer adds.
    pub tip_minor: u32,
}

/// An order as its source submits it.
///
/// ```
/// use dispatch_core::{OrderId, OrderSpec, Position};
/// let order = OrderSpec::new(OrderId::new("o-1")?, Position::new(52.52, 13.40)?, Position::new(52.50, 13.43)?);
/// assert_eq!(order.units.get(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderSpec {
    /// Its name; submitting the same order again under it is harmless.
    pub id: OrderId,
    /// Where it is fetched.
    pub pickup: Place,
    /// Where it is brought.
    pub dropoff: Place,
    /// From placing to ready; the market's default when absent.
    pub preparation: Option<Millis>,
    /// When the customer was told it would arrive.
    pub promised_at: Option<Timestamp>,
    /// How much of a driver's capacity it takes.
    pub units: Units,
    /// What its driver must be able to do; at most [`MAX_SKILLS`].
    pub skills: BTreeSet<Skill>,
    /// What its driver earns.
    pub pay: Pay,
    /// Shown beside it; opaque to the engine.
    pub display: Option<DisplayData>,
}

impl OrderSpec {
    /// An order of one unit between two positions, with defaults for everything else.
    pub fn new(id: OrderId, pickup: Position, dropoff: Position) -> Self {
        Self {
            id,
            pickup: Place::at(pickup),
            dropoff: Place::at(dropoff),
            preparation: None,
            promised_at: None,
            units: Units::MIN,
            skills: BTreeSet::new(),
            pay: Pay::default(),
            display: None,
        }
    }
}

/// The kitchen track of an order, told by its source. Only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KitchenStatus {
    /// Submitted.
    Placed,
    /// The merchant took it.
    Confirmed,
    /// Being made.
    Preparing,
    /// Can be picked up.
    Ready,
}

/// The dispatch track of an order, kept by the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DispatchStatus {
    /// Not to be dispatched yet: the merchant has not confirmed it.
    Pending,
    /// Looking for a driver: held, or due.
    Waiting,
    /// Offered to a driver who has not answered, or to several.
    Offered {
        /// The open offers, at least one; more than one only within a wave.
        offers: Vec<OfferId>,
    },
    /// A driver is on its way to the pickup.
    Assigned {
        /// Who.
        driver: DriverId,
    },
    /// The driver is at the pickup.
    ArrivedAtPickup {
        /// Who.
        driver: DriverId,
    },
    /// The driver has it.
    PickedUp {
        /// Who.
        driver: DriverId,
        /// Whether the driver has left the pickup.
        departed: bool,
    },
    /// The driver is at the dropoff.
    ArrivedAtDropoff {
        /// Who.
        driver: DriverId,
    },
    /// Handed over.
    Delivered {
        /// Who brought it.
        driver: DriverId,
    },
    /// Called off before it was picked up.
    Cancelled {
        /// Why.
        reason: Reason,
    },
    /// Given up.
    Failed {
        /// Why.
        reason: FailReason,
    },
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailReason {
    /// No driver took it within the market's limit.
    NoDriver,
    /// It was still under way when the longest life of an order ended.
    NeverFinished,
    /// Somebody said so.
    Reported(Reason),
}

impl DispatchStatus {
    /// The driver responsible for the order now, or who delivered it.
    pub fn driver(&self) -> Option<&DriverId> {
        match self {
            Self::Assigned { driver }
            | Self::ArrivedAtPickup { driver }
            | Self::PickedUp { driver, .. }
            | Self::ArrivedAtDropoff { driver }
            | Self::Delivered { driver } => Some(driver),
            Self::Pending | Self::Waiting | Self::Offered { .. } | Self::Cancelled { .. } | Self::Failed { .. } => None,
        }
    }

    /// The open offers of the order: one, or several of one wave.
    pub fn offers(&self) -> &[OfferId] {
        if let Self::Offered { offers } = self { offers } else { &[] }
    }

    /// Whether the order has ended.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Cancelled { .. } | Self::Failed { .. })
    }

    /// Whether a driver is to fetch the order but does not have it yet.
    pub fn is_before_pickup(&self) -> bool {
        matches!(self, Self::Assigned { .. } | Self::ArrivedAtPickup { .. })
    }

    /// Whether a driver carries the order.
    pub fn is_on_board(&self) -> bool {
        matches!(self, Self::PickedUp { .. } | Self::ArrivedAtDropoff { .. })
    }

    /// The status as one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Offered { .. } => "offered",
            Self::Assigned { .. } => "assigned",
            Self::ArrivedAtPickup { .. } => "arrived_at_pickup",
            Self::PickedUp { .. } => "picked_up",
            Self::ArrivedAtDropoff { .. } => "arrived_at_dropoff",
            Self::Delivered { .. } => "delivered",
            Self::Cancelled { .. } => "cancelled",
            Self::Failed { .. } => "failed",
        }
    }
}

/// What the customer is shown: both tracks in one word. The first line that fits, read from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicStatus {
    /// Handed over.
    Delivered,
    /// Called off.
    Cancelled,
    /// Given up.
    Failed,
    /// On its way to the customer.
    InTransit,
    /// The driver has it and is still at the pickup.
    PickedUp,
    /// A driver is to fetch it.
    DriverAssigned,
    /// Made, and without a driver.
    ReadyForPickup,
    /// Being made.
    Preparing,
    /// The merchant took it.
    Confirmed,
    /// Submitted.
    Pending,
}

impl PublicStatus {
    /// Derives the public status from the two tracks.
    pub fn of(kitchen: KitchenStatus, dispatch: &DispatchStatus) -> Self {
        match dispatch {
            DispatchStatus::Delivered { .. } => Self::Delivered,
            DispatchStatus::Cancelled { .. } => Self::Cancelled,
            DispatchStatus::Failed { .. } => Self::Failed,
            DispatchStatus::PickedUp { departed: true, .. } | DispatchStatus::ArrivedAtDropoff { .. } => {
                Self::InTransit
            }
            DispatchStatus::PickedUp { departed: false, .. } => Self::PickedUp,
            DispatchStatus::Assigned { .. } | DispatchStatus::ArrivedAtPickup { .. } => Self::DriverAssigned,
            DispatchStatus::Pending | DispatchStatus::Waiting | DispatchStatus::Offered { .. } => match kitchen {
                KitchenStatus::Ready => Self::ReadyForPickup,
                KitchenStatus::Preparing => Self::Preparing,
                KitchenStatus::Confirmed => Self::Confirmed,
                KitchenStatus::Placed => Self::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ratings_are_stars() {
        assert_eq!(Rating::new(4.567).unwrap(), Rating(457));
        for bad in [-0.1, 5.1, f64::NAN] {
            assert!(Rating::new(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn acceptance_is_the_share_of_the_last_hundred(answers in proptest::collection::vec(any::<bool>(), 0..300)) {
            let mut acceptance = Acceptance::default();
            for &accepted in &answers {
                acceptance.record(accepted);
            }
            let last = &answers[answers.len().saturating_sub(100)..];
            let share = if last.is_empty() { 1.0 } else { last.iter().filter(|a| **a).count() as f64 / last.len() as f64 };
            prop_assert!((acceptance.rate() - share).abs() < 1e-12);
        }
    }
}
