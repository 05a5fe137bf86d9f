//! Drivers and their positions.

use super::{
    Cursor, CursorText, Id, Invalid, Lat, Lng, OfferName, OfferText, Skills, Time, Within, degrees, parse,
    parse_if_valid, position,
};
use crate::runner::{Item, Market};
use crate::telemetry::FixOutcome;
use dispatch_core::{
    Driver, DriverId, DriverSpec, Fix, Heading, Label, MarketId, Meters, Motion, OrderId, PlannedShift, Position,
    Rating, Shift, Skill, Stop, StopKind, Timestamp, Units, Vehicle,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// What a driver moves with; decides the speed.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VehicleName {
    Bicycle,
    Motorcycle,
    Car,
    Van,
}

/// What is known of a driver beside its position and its shift.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterDriver {
    /// Where it works; where it worked before, or the default market, if absent.
    #[schema(value_type = Option<Id>)]
    market: Option<MarketId>,
    /// `car` if absent.
    vehicle: Option<VehicleName>,
    /// How many units it carries at once; 1 if absent.
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 65_535)]
    capacity: Option<Units>,
    /// What it can do beyond the ordinary, at most 16.
    #[serde(default)]
    #[schema(value_type = BTreeSet<Id>, max_items = 16)]
    skills: Skills,
}

impl RegisterDriver {
    pub(crate) fn into_core(self, id: DriverId) -> (Option<MarketId>, DriverSpec) {
        let vehicle = match self.vehicle {
            Some(VehicleName::Bicycle) => Vehicle::Bicycle,
            Some(VehicleName::Motorcycle) => Vehicle::Motorcycle,
            Some(VehicleName::Car) | None => Vehicle::Car,
            Some(VehicleName::Van) => Vehicle::Van,
        };
        let capacity = self.capacity.unwrap_or(Units::MIN);
        (self.market, DriverSpec { id, vehicle, capacity, skills: self.skills.0 })
    }
}

/// The beginning of a shift.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartShift {
    /// When it is planned to end: no pickup is planned after it.
    until: Option<Time>,
}

impl StartShift {
    pub(crate) fn until(&self) -> Option<Timestamp> {
        self.until.map(Time::get)
    }
}

/// The next shift of a driver who is off shift. The engine plans ahead with it; it begins by command.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlannedShiftBody {
    /// When it begins: from now on, and no further ahead than the market plans.
    from: Time,
    /// When it ends.
    until: Time,
    /// Where the driver will be when it begins.
    lat: Lat,
    lng: Lng,
}

impl PlannedShiftBody {
    pub(crate) fn into_core(self) -> PlannedShift {
        PlannedShift { from: self.from.get(), until: self.until.get(), start: position(self.lat, self.lng) }
    }
}

impl From<PlannedShift> for PlannedShiftBody {
    fn from(shift: PlannedShift) -> Self {
        let (lat, lng) = degrees(shift.start);
        Self { from: shift.from.into(), until: shift.until.into(), lat, lng }
    }
}

/// A driver's rating.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateDriver {
    /// The new average, 0 to 5 stars.
    #[schema(value_type = f64, minimum = 0, maximum = 5)]
    pub(crate) rating: Rating,
}

/// Where a driver is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "devices send more than is kept; it is checked all the same")]
pub(crate) struct ReportPosition {
    lat: Lat,
    lng: Lng,
    /// When it was measured; now, if absent. The server takes what is neither too old nor too far ahead of its time.
    at: Option<Time>,
    /// How exact it is.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    accuracy_m: Option<Within<0, 1_000_000>>,
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000)]
    speed_mps: Option<Within<0, 1_000>>,
    /// Clockwise from north.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 360)]
    heading_deg: Option<Within<0, 360>>,
    #[schema(value_type = Option<f64>, minimum = -1_000, maximum = 100_000)]
    altitude_m: Option<Within<-1_000, 100_000>>,
    /// Of the device.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 100)]
    battery_percent: Option<Within<0, 100>>,
    /// How the device is connected.
    #[schema(value_type = Option<String>, max_length = 128)]
    network: Option<Label>,
}

impl ReportPosition {
    pub(crate) fn into_core(self, driver: DriverId) -> Item {
        let motion = motion(self.accuracy_m, self.speed_mps, self.heading_deg);
        Item { driver, position: position(self.lat, self.lng), at: self.at.map(Time::get), motion }
    }
}

fn motion(
    accuracy_m: Option<Within<0, 1_000_000>>,
    speed_mps: Option<Within<0, 1_000>>,
    heading_deg: Option<Within<0, 360>>,
) -> Motion {
    Motion {
        accuracy: accuracy_m.and_then(|accuracy| Meters::new(accuracy.get()).ok()),
        speed_mps: speed_mps.map(Within::get),
        heading_deg: heading_deg.map(Within::get),
    }
}

/// Positions of several drivers.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportPositions {
    /// Each is judged by itself; one that does not do leaves the others alone. At most 1,000.
    #[schema(value_type = Vec<DriverPosition>, max_items = 1000)]
    positions: Vec<ReadItem>,
}

/// An item as it is wanted, so that nothing larger is kept of a batch.
#[derive(Debug)]
struct ReadItem(Result<Item, String>);

impl<'de> Deserialize<'de> for ReadItem {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        DriverPosition::deserialize(from).map(|item| Self(Ok(item.into_core())))
    }
}

/// The same, whatever the items are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnyPositions {
    positions: Vec<Box<RawValue>>,
}

impl ReportPositions {
    /// Reads a batch: each item as it is, or what is wrong with it. That one does not do is only looked for where something does not.
    pub(crate) fn read(body: &[u8]) -> Result<Vec<Result<Item, String>>, Invalid> {
        if let Some(Self { positions }) = parse_if_valid(body) {
            return Ok(positions.into_iter().map(|ReadItem(item)| item).collect());
        }
        let AnyPositions { positions } = parse(body)?;
        Ok(positions.into_iter().map(|item| DriverPosition::read(item.get().as_bytes())).collect())
    }
}

/// Where one driver is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "devices send more than is kept; it is checked all the same")]
pub(crate) struct DriverPosition {
    #[schema(value_type = Id)]
    driver: DriverId,
    lat: Lat,
    lng: Lng,
    /// When it was measured; now, if absent.
    at: Option<Time>,
    /// How exact it is.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    accuracy_m: Option<Within<0, 1_000_000>>,
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000)]
    speed_mps: Option<Within<0, 1_000>>,
    /// Clockwise from north.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 360)]
    heading_deg: Option<Within<0, 360>>,
    #[schema(value_type = Option<f64>, minimum = -1_000, maximum = 100_000)]
    altitude_m: Option<Within<-1_000, 100_000>>,
    /// Of the device.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 100)]
    battery_percent: Option<Within<0, 100>>,
    /// How the device is connected.
    #[schema(value_type = Option<String>, max_length = 128)]
    network: Option<Label>,
}

impl DriverPosition {
    /// Reads one item.
    pub(crate) fn read(item: &[u8]) -> Result<Item, String> {
        let named =
            |Invalid { field, problem }| field.map_or_else(|| problem.clone(), |field| format!("{field}: {problem}"));
        parse(item).map(Self::into_core).map_err(named)
    }

    fn into_core(self) -> Item {
        let motion = motion(self.accuracy_m, self.speed_mps, self.heading_deg);
        Item { driver: self.driver, position: position(self.lat, self.lng), at: self.at.map(Time::get), motion }
    }
}

/// What became of a reported position. Only `moved` changes where the driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PositionOutcome {
    /// It is where the driver is now.
    Moved,
    /// Ignored: not newer than what the driver reported before.
    Stale,
    /// Refused: older than the server takes.
    TooOld,
    /// Refused: too far ahead of the server's time.
    FromFuture,
    /// Refused: the driver cannot have come here since its last position.
    TooFast,
    /// Refused: the driver reports too often, or whoever reports for it more than it may.
    RateLimited,
    /// Refused: there is no such driver.
    UnknownDriver,
    /// Refused: the item is not what it should be.
    Invalid,
    /// Refused without a look at it: commands wait, and come first.
    Shed,
}

impl From<FixOutcome> for PositionOutcome {
    fn from(outcome: FixOutcome) -> Self {
        match outcome {
            FixOutcome::Moved => Self::Moved,
            FixOutcome::Stale => Self::Stale,
            FixOutcome::TooOld => Self::TooOld,
            FixOutcome::FromFuture => Self::FromFuture,
            FixOutcome::TooFast => Self::TooFast,
            FixOutcome::RateLimited => Self::RateLimited,
            FixOutcome::UnknownDriver => Self::UnknownDriver,
            FixOutcome::Invalid => Self::Invalid,
            FixOutcome::Shed => Self::Shed,
        }
    }
}

/// What became of a reported position.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PositionReply {
    pub(crate) outcome: PositionOutcome,
}

/// What became of each position of a batch, in its sequence.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PositionsReply {
    results: Vec<PositionItem>,
}

/// What became of one position of a batch.
#[derive(Debug, Serialize, ToSchema)]
struct PositionItem {
    outcome: PositionOutcome,
    /// What is wrong with an `invalid` item.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

impl PositionsReply {
    /// What became of each of these.
    pub(crate) fn new(outcomes: Vec<FixOutcome>, items: Vec<Result<Item, String>>) -> Self {
        let item = |(outcome, item): (FixOutcome, Result<Item, String>)| PositionItem {
            outcome: outcome.into(),
            detail: item.err(),
        };
        Self { results: outcomes.into_iter().zip(items).map(item).collect() }
    }
}

/// Whether a driver works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ShiftName {
    Off,
    On,
    /// Delivering what is on board, then off.
    Ending,
}

impl From<Shift> for ShiftName {
    fn from(shift: Shift) -> Self {
        match shift {
            Shift::Off => Self::Off,
            Shift::On { .. } => Self::On,
            Shift::Ending { .. } => Self::Ending,
        }
    }
}

/// A driver and its work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriverReply {
    #[schema(value_type = Id)]
    id: DriverId,
    #[schema(value_type = Id)]
    market: MarketId,
    vehicle: VehicleName,
    /// How many units it carries at once.
    #[schema(minimum = 1, maximum = 65_535)]
    capacity: u16,
    #[schema(value_type = BTreeSet<Id>, max_items = 16)]
    skills: Vec<Skill>,
    /// The average of its ratings, in stars.
    #[schema(minimum = 0, maximum = 5)]
    rating: f64,
    /// How much of its last 100 offers it accepted.
    #[schema(minimum = 0, maximum = 1)]
    acceptance: f64,
    shift: ShiftName,
    #[schema(required)]
    shift_since: Option<Time>,
    #[schema(required)]
    shift_until: Option<Time>,
    /// Its next shift, if that is on the roster.
    #[schema(required)]
    planned_shift: Option<PlannedShiftBody>,
    /// Whether it gets no new orders for now.
    paused: bool,
    /// Whether it has not been heard of for too long.
    silent: bool,
    /// The offer it has to answer.
    #[schema(required, value_type = Option<OfferText>)]
    offer: Option<String>,
    /// The orders it is responsible for, in the sequence of their dropoffs.
    #[schema(value_type = Vec<Id>)]
    orders: Vec<OrderId>,
    /// What it still has to do, as planned when its route last changed.
    route: Vec<StopReply>,
    /// Where it was last sent, to fetch or to wait, unless it has left there with an order since. With an empty `route` it is
    /// where to wait for the next order.
    #[schema(required)]
    heading: Option<HeadingReply>,
    /// Where it was last.
    #[schema(required)]
    position: Option<PositionView>,
}

/// Where a driver was last.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PositionView {
    lat: Lat,
    lng: Lng,
    at: Time,
    /// How exact that is, as far as it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    accuracy_m: Option<f64>,
    /// How fast it was, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0)]
    speed_mps: Option<f64>,
    /// Where it was heading, clockwise from north, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 360)]
    heading_deg: Option<f64>,
}

impl From<(Fix, Motion)> for PositionView {
    fn from((fix, motion): (Fix, Motion)) -> Self {
        let (lat, lng) = degrees(fix.position);
        let Motion { accuracy, speed_mps, heading_deg } = motion;
        Self { lat, lng, at: fix.at.into(), accuracy_m: accuracy.map(Meters::get), speed_mps, heading_deg }
    }
}

/// Where a driver was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeadingReply {
    lat: Lat,
    lng: Lng,
    /// When it is expected there, or was.
    arrive_at: Time,
    /// When it was sent.
    sent_at: Time,
}

impl From<Heading> for HeadingReply {
    fn from(heading: Heading) -> Self {
        let (lat, lng) = degrees(heading.position);
        Self { lat, lng, arrive_at: heading.arrive_at.into(), sent_at: heading.since.into() }
    }
}

impl DriverReply {
    pub(crate) fn new(market: &Market, driver: &Driver, last: Option<(Fix, Motion)>) -> Self {
        let (since, until) = match driver.shift {
            Shift::Off => (None, None),
            Shift::On { since, until } => (Some(since), until),
            Shift::Ending { since } => (Some(since), None),
        };
        Self {
            id: driver.spec.id.clone(),
            market: market.id().clone(),
            vehicle: match driver.spec.vehicle {
                Vehicle::Bicycle => VehicleName::Bicycle,
                Vehicle::Motorcycle => VehicleName::Motorcycle,
                Vehicle::Car => VehicleName::Car,
                Vehicle::Van => VehicleName::Van,
            },
            capacity: driver.spec.capacity.get(),
            skills: driver.spec.skills.iter().cloned().collect(),
            rating: driver.rating.stars(),
            acceptance: driver.acceptance.rate(),
            shift: driver.shift.into(),
            shift_since: since.map(Time::from),
            shift_until: until.map(Time::from),
            planned_shift: driver.planned.map(PlannedShiftBody::from),
            paused: driver.paused,
            silent: driver.silent,
            offer: driver.offer.map(|offer| OfferName::text(market.id(), offer)),
            orders: driver.orders().cloned().collect(),
            route: driver.stops.iter().map(StopReply::from).collect(),
            heading: driver.heading.filter(|_| driver.is_on_shift()).map(HeadingReply::from),
            position: last.map(PositionView::from),
        }
    }
}

/// What happens at a stop.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StopKindName {
    Pickup,
    Dropoff,
}

/// One stop of a route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StopReply {
    kind: StopKindName,
    lat: Lat,
    lng: Lng,
    #[schema(value_type = Vec<Id>)]
    orders: Vec<OrderId>,
    /// When the driver is expected there.
    arrive_at: Time,
    /// When the orders are expected to change hands.
    done_at: Time,
    /// When the driver is expected to leave.
    leave_at: Time,
}

impl From<&Stop> for StopReply {
    fn from(stop: &Stop) -> Self {
        let (lat, lng) = degrees(stop.position);
        let kind = match stop.kind {
            StopKind::Pickup => StopKindName::Pickup,
            StopKind::Dropoff => StopKindName::Dropoff,
        };
        let (arrive_at, done_at, leave_at) = (stop.arrive_at.into(), stop.done_at.into(), stop.leave_at.into());
        Self { kind, lat, lng, orders: stop.orders.clone(), arrive_at, done_at, leave_at }
    }
}

/// Which drivers a list shows.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DriversQuery {
    pub(crate) market: Option<MarketId>,
    pub(crate) shift: Option<ShiftName>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) limit: Option<u32>,
}

/// One page of drivers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DriversReply {
    pub(crate) drivers: Vec<DriverReply>,
    /// Where the next page begins; absent after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<CursorText>)]
    pub(crate) next_cursor: Option<Cursor>,
}

/// Where to look for drivers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NearestQuery {
    lat: Lat,
    lng: Lng,
    pub(crate) market: Option<MarketId>,
    pub(crate) radius_m: Option<Radius>,
    pub(crate) limit: Option<u32>,
}

impl NearestQuery {
    pub(crate) fn position(&self) -> Position {
        position(self.lat, self.lng)
    }
}

/// How far to search, in metres.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
pub(crate) struct Radius(pub(crate) Meters);

/// How far drivers are searched at most, in metres.
pub(crate) const MAX_RADIUS_M: f64 = 50_000.0;

impl TryFrom<f64> for Radius {
    type Error = String;
    fn try_from(metres: f64) -> Result<Self, String> {
        let radius = Meters::new(metres).ok().filter(|radius| radius.get() <= MAX_RADIUS_M);
        radius.map(Self).ok_or_else(|| format!("must be 0 to {MAX_RADIUS_M} m, not {metres}"))
    }
}

/// Drivers near a place, the nearest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NearestReply {
    pub(crate) drivers: Vec<NearDriver>,
}

/// One driver near a place.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NearDriver {
    #[schema(value_type = Id)]
    pub(crate) id: DriverId,
    /// As the crow flies.
    #[schema(minimum = 0)]
    pub(crate) distance_m: f64,
}
