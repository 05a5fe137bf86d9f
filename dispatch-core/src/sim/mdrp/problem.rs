//! What the checker can find wrong with a solution.

use super::Minute;
use super::solution::Location;
use crate::model::{DriverId, OrderId, PlaceId};

/// One thing that could not have happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum Problem {
    /// A courier that the instance does not have.
    #[error("the instance has no courier {courier}")]
    UnknownCourier { courier: DriverId },
    /// An order that the instance does not have.
    #[error("the instance has no order {order}")]
    UnknownOrder { order: OrderId },
    /// A restaurant that the instance does not have.
    #[error("the instance has no restaurant {restaurant}")]
    UnknownRestaurant { restaurant: PlaceId },
    /// An assignment of nothing.
    #[error("courier {courier} picks up no order at {pickup}")]
    EmptyBundle { courier: DriverId, pickup: Minute },
    /// An order in two assignments, or twice in one.
    #[error("order {order} is assigned more than once")]
    AssignedTwice { order: OrderId },
    /// An order with two rows.
    #[error("order {order} is delivered more than once")]
    DeliveredTwice { order: OrderId },
    /// An order in an assignment that has no row.
    #[error("order {order} is assigned, but has no row among the delivered orders")]
    NotDelivered { order: OrderId },
    /// An order with a row that is in no assignment.
    #[error("order {order} is delivered, but in no assignment")]
    NotAssigned { order: OrderId },
    /// The row of an order names another courier than its assignment.
    #[error("order {order} is delivered by {courier}, but assigned to {assigned}")]
    OtherCourier { order: OrderId, courier: DriverId, assigned: DriverId },
    /// The row of an order has another time than the instance or the assignment.
    #[error("the {column} time of order {order} is {found}, but must be {expected}")]
    OtherTime { order: OrderId, column: &'static str, found: Minute, expected: Minute },
    /// A bundle with orders of two restaurants.
    #[error("courier {courier} picks up order {order} at {pickup} together with orders of another restaurant")]
    MixedBundle { courier: DriverId, pickup: Minute, order: OrderId },
    /// A decision about an order nobody knew of.
    #[error("order {order} is assigned at {assigned}, before it is placed at {placement}")]
    AssignedBeforePlacement { order: OrderId, assigned: Minute, placement: Minute },
    /// A pickup before it was decided.
    #[error("courier {courier} picks up at {pickup} what is assigned at {assigned}")]
    PickupBeforeAssignment { courier: DriverId, pickup: Minute, assigned: Minute },
    /// A pickup of food that is not there.
    #[error("order {order} is picked up at {pickup}, before it is ready at {ready}")]
    PickupBeforeReady { order: OrderId, pickup: Minute, ready: Minute },
    /// A pickup after the shift.
    #[error("courier {courier} picks up at {pickup}, after the shift ends at {off}")]
    PickupAfterShift { courier: DriverId, pickup: Minute, off: Minute },
    /// A pickup sooner after arrival than half the service takes.
    #[error("courier {courier} picks up at {pickup}, but half the service takes until {earliest}")]
    PickupBeforeService { courier: DriverId, pickup: Minute, earliest: Minute },
    /// Drop-offs of a bundle closer than a service, or in another sequence than stated.
    #[error("order {order} is dropped off at {dropoff}, too soon after the one before it at {previous}")]
    DropoffTooSoon { order: OrderId, dropoff: Minute, previous: Minute },
    /// A drop-off that is not at arrival plus half the service.
    #[error("order {order} is dropped off at {dropoff}, but arrival and half the service give {expected}")]
    WrongDropoff { order: OrderId, dropoff: Minute, expected: Minute },
    /// A courier leaves where it is not.
    #[error("courier {courier} leaves at {departure} from {origin}, but is at {at}")]
    LeavesFromElsewhere { courier: DriverId, departure: Minute, origin: Location, at: Location },
    /// A courier moves before the shift.
    #[error("courier {courier} leaves at {departure}, before the shift begins at {on}")]
    LeavesBeforeShift { courier: DriverId, departure: Minute, on: Minute },
    /// A courier leaves before it is there.
    #[error("courier {courier} leaves at {departure}, before arriving at {arrival}")]
    LeavesBeforeArrival { courier: DriverId, departure: Minute, arrival: Minute },
    /// A courier leaves while it still serves.
    #[error("courier {courier} leaves at {departure}, before the service ends at {free}")]
    LeavesBeforeServed { courier: DriverId, departure: Minute, free: Minute },
    /// A courier who carries orders leaves at another time than when the service is over.
    #[error("courier {courier} leaves for its next customer at {departure}, not at {expected}")]
    WrongDeparture { courier: DriverId, departure: Minute, expected: Minute },
    /// A courier with an assignment goes elsewhere than the assignment demands.
    #[error("courier {courier} leaves at {departure} for {destination}, but has to go to {demanded}")]
    Diverted { courier: DriverId, departure: Minute, destination: Location, demanded: Location },
    /// A courier without an assignment goes where no order comes from.
    #[error("courier {courier} leaves at {departure} for {destination} without an order")]
    IdleMove { courier: DriverId, departure: Minute, destination: Location },
    /// A courier with orders does not go on.
    #[error("courier {courier} has order {order}, but does not go to its customer")]
    NeverLeaves { courier: DriverId, order: OrderId },
    /// At the pickup the courier is elsewhere.
    #[error("courier {courier} picks up at {pickup}, but is not at {restaurant} then")]
    NotAtRestaurant { courier: DriverId, pickup: Minute, restaurant: PlaceId },
    /// At the drop-off the courier is elsewhere.
    #[error("order {order} is dropped off at {dropoff}, but courier {courier} is not there then")]
    NotAtCustomer { order: OrderId, courier: DriverId, dropoff: Minute },
}
