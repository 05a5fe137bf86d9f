//! What the engine talks about: ids, drivers, orders, actors and their statuses.

use crate::geo::Position;
use crate::units::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

/// The longest id, in characters.
pub const MAX_ID_LEN: usize = 64;

/// Most skills one driver has or one order asks for.
pub const MAX_SKILLS: usize = 16;

/// An id that is empty, too long or holds a character outside `A-Z a-z 0-9 . _ : -`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No character at all.
    #[error("a {kind} id must not be empty")]
    Empty {
        /// Which kind of id.
        kind: &'static str,
    },
    /// More than [`MAX_ID_LEN`] characters.
    #[error("a {kind} id has at most {MAX_ID_LEN} characters, not {len}")]
    TooLong {
        /// Which kind of id.
        kind: &'static str,
        /// How long it is, in bytes.
        len: usize,
    },
    /// A character that ids do not have.
    #[error("a {kind} id consists of A-Z a-z 0-9 . _ : - and has no {found:?}")]
    Character {
        /// Which kind of id.
        kind: &'static str,
        /// The first character that does not belong.
        found: char,
    },
}

fn check_id(kind: &'static str, id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty { kind });
    }
    if id.len() > MAX_ID_LEN {
        return Err(IdError::TooLong { kind, len: id.len() });
    }
    match id.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-'))) {
        Some(found) => Err(IdError::Character { kind, found }),
        None => Ok(()),
    }
}

macro_rules! id_type {
    ($name:ident, $kind:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Chosen by the caller: 1 to 64 characters of `A-Z a-z 0-9 . _ : -`. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes an id.
            pub fn new(id: impl AsRef<str>) -> Result<Self, IdError> {
                check_id($kind, id.as_ref())?;
                Ok(Self(id.as_ref().into()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(id: String) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(id: &str) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

id_type!(DriverId, "driver", "Names a driver.");
id_type!(OrderId, "order", "Names an order.");
id_type!(MarketId, "market", "Names a market: the orders and drivers matched together, by one engine.");
id_type!(PlaceId, "place", "Names a pickup place: a restaurant, a shop, a depot.");
id_type!(Skill, "skill", "Something an order may ask of a driver, as `cold-box` or `id-check`.");

/// Names an offer; numbered by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OfferId(pub u64);

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Text of at most `MAX` bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(Arc<str>);

/// A name people read: at most 128 bytes.
pub type Label = Text<128>;

/// Why something was done, in somebody's words: at most 256 bytes.
pub type Reason = Text<256>;

/// What an order's source wants shown beside it; opaque to the engine, at most 4 KiB.
pub type DisplayData = Text<4096>;

/// Text over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text has at most {max} bytes here, not {len}")]
pub struct TextError {
    /// The most bytes allowed.
    pub max: usize,
    /// How many there are.
    pub len: usize,
}

impl<const MAX: usize> Text<MAX> {
    /// Checks and takes a text.
    pub fn new(text: impl AsRef<str>) -> Result<Self, TextError> {
        let text = text.as_ref();
        if text.len() > MAX { Err(TextError { max: MAX, len: text.len() }) } else { Ok(Self(text.into())) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> String {
        text.as_str().to_owned()
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
    /// Offered to a driver who has not answered.
    Offered {
        /// The open offer.
        offer: OfferId,
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
    fn ids_name_their_kind_and_what_is_wrong() {
        assert_eq!(DriverId::new("").unwrap_err().to_string(), "a driver id must not be empty");
        assert_eq!(OrderId::new("a b").unwrap_err(), IdError::Character { kind: "order", found: ' ' });
        assert_eq!(PlaceId::new("x".repeat(65)).unwrap_err(), IdError::TooLong { kind: "place", len: 65 });
        assert!(MarketId::new("ü").is_err());
        assert!(OrderId::new("0190a6f2-7f1e-7c39-9d7c-0d2f6f3f6c11").is_ok());
        assert!(serde_json::from_str::<DriverId>("\"a/b\"").is_err());
    }

    #[test]
    fn text_has_a_limit() {
        assert!(Label::new("x".repeat(128)).is_ok());
        assert_eq!(Label::new("x".repeat(129)).unwrap_err(), TextError { max: 128, len: 129 });
    }

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
