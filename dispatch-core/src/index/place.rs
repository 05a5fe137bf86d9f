//! Positions and the state of a driver, each packed into one word, and the cells of the earth.
//!
//! Latitude and longitude are counted in steps of 1e-7 degree from the south pole and from the antimeridian, so that
//! they are never negative and a cell is what they share in their upper bits. Towards the poles cells take more and more
//! steps of longitude, so that they stay about as wide as they are high.

use super::fix::Motion;
use super::record;
use crate::geo::{MAX_LAT_E7, MAX_LNG_E7, Position};
use crate::units::Timestamp;

/// Steps of longitude all around the earth.
pub(super) const TURN: i64 = 2 * MAX_LNG_E7 as i64;

/// The steps of latitude of a region, as a power of two: 47 km.
pub(super) const REGION_BITS: u32 = 22;

/// Rows of regions from pole to pole.
pub(super) const REGION_ROWS: usize = ((2 * MAX_LAT_E7 as usize) >> REGION_BITS) + 1;

/// How far a driver may be outside of its cell, in steps of latitude: 46 m. Without it drivers at a border would change
/// cells with every fix. Cells are at least twice as large.
pub(super) const SLACK: i64 = 1 << 12;

/// A position and whether searches find the driver there: 31 bits of latitude, 32 of longitude, and that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u64);

impl Place {
    /// Somewhere, not to be found.
    pub(super) const NOBODY: Self = Self(0);

    #[inline]
    pub(super) fn new(position: Position, searchable: bool) -> Self {
        let (lat, lng) = position.steps();
        let (lat, lng) = ((lat + MAX_LAT_E7) as u64, (i64::from(lng) + i64::from(MAX_LNG_E7)) as u64);
        Self(lat << 33 | lng << 1 | u64::from(searchable))
    }

    pub(super) fn position(self) -> Position {
        Position::from_steps(self.lat() as i32 - MAX_LAT_E7, (self.lng() - i64::from(MAX_LNG_E7)) as i32)
    }

    pub(super) fn is_searchable(self) -> bool {
        self.0 & 1 == 1
    }

    pub(super) fn hidden(self) -> Self {
        Self(self.0 & !1)
    }

    /// Steps from the south pole.
    pub(super) fn lat(self) -> i64 {
        i64::from((self.0 >> 33) as u32)
    }

    /// Steps from the antimeridian to the east.
    pub(super) fn lng(self) -> i64 {
        i64::from((self.0 >> 1) as u32)
    }
}

/// How many powers of two wider than high, in steps, the cells of a row of regions are: as many as make them about square.
pub(super) fn widening(lat: i64) -> u32 {
    WIDENINGS[(lat >> REGION_BITS) as usize].into()
}

const WIDENINGS: [u8; REGION_ROWS] = {
    // Where the cosine falls below 2^-0.5, 2^-1.5 and so on: degrees from the equator, in steps.
    const BOUNDS: [i64; 7] =
        [450_000_000, 692_951_889, 798_201_015, 849_278_340, 874_664_540, 887_338_690, 893_670_370];
    let mut widenings = [0; REGION_ROWS];
    let mut row = 0;
    while row < REGION_ROWS {
        let middle = ((2 * row.cast_signed() as i64 + 1) << (REGION_BITS - 1)) - MAX_LAT_E7 as i64;
        let mut widening = 0;
        while widening < BOUNDS.len() && middle.abs() > BOUNDS[widening] {
            widening += 1;
        }
        widenings[row] = widening as u8;
        row += 1;
    }
    // One region has the pole, and all of the longitudes.
    widenings[0] = 32 - REGION_BITS as u8;
    widenings[REGION_ROWS - 1] = 32 - REGION_BITS as u8;
    widenings
};

/// A cell of any size: what positions in it share of latitude above `bits`, and of longitude above `bits + widening`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CellId {
    pub(super) bits: u32,
    pub(super) widening: u32,
    pub(super) row: i64,
    pub(super) col: i64,
}

impl CellId {
    /// The cell of this many steps, as a power of two, that a place is in.
    pub(super) fn of(place: Place, bits: u32) -> Self {
        let (lat, lng) = (place.lat(), place.lng());
        let widening = widening(lat);
        Self { bits, widening, row: lat >> bits, col: lng >> (bits + widening) }
    }

    /// Whether a place is within the cell or its slack.
    pub(super) fn is_near(self, place: Place) -> bool {
        let near = |at: i64, start: i64, size: i64, slack: i64| (start - slack..start + size + slack).contains(&at);
        let wide = self.bits + self.widening;
        near(place.lat(), self.row << self.bits, 1 << self.bits, SLACK)
            && near(place.lng(), self.col << wide, 1 << wide, SLACK << self.widening)
    }
}

/// The time of a driver's last fix, the cell that lists it, and what else there is to know before it may be moved.
///
/// From the lowest bit: the lock of the record; whether fixes were refused as jumps since; whether it waits for a fix to
/// be listed; whether there is a [`Motion`](super::Motion) beside; the size of its cell (5 bits) and its widening (4);
/// the last two bits of the row and of the column of its cell, which is the one of those nearest to its place;
/// milliseconds since the epoch (47, signed). So a fix that leaves the driver in its cell changes the time and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp(pub(super) u64);

const BITS_AT: u32 = 4;
const WIDENING_AT: u32 = 9;
const ROW_AT: u32 = 13;
const COL_AT: u32 = 15;
const TIME_AT: u32 = 17;

/// The size that stands for no cell: everywhere is within it.
const NOWHERE_BITS: u32 = 31;

impl Stamp {
    pub(super) const LOCKED: u64 = record::LOCKED;
    pub(super) const JUMPED: u64 = 1 << 1;
    pub(super) const AWAITED: u64 = 1 << 2;
    pub(super) const MOTION: u64 = 1 << 3;

    /// Before the first fix, of an available driver.
    pub(super) const NEW: Self = Self(Self::NOWHERE.0 | Self::AWAITED | (i64::MIN as u64));

    /// In no cell, at time zero.
    const NOWHERE: Self = Self((NOWHERE_BITS as u64) << BITS_AT | 1 << WIDENING_AT);

    /// The last time that fits, and the negative of the first: two millennia before and after the epoch.
    pub(super) const MAX_TIME: i64 = i64::MAX >> TIME_AT;

    /// No cell is smaller, in steps of latitude or of longitude.
    pub(super) const LEAST_SIZE: u64 = 2 * SLACK as u64;

    /// The time of the last fix; the earliest of all if there is none.
    pub(super) fn at(self) -> i64 {
        self.0.cast_signed() >> TIME_AT
    }

    /// Whether a cell lists the driver: whether searches find it.
    #[inline]
    pub(super) fn is_listed(self) -> bool {
        self.field(BITS_AT, WIDENING_AT - BITS_AT) != u64::from(NOWHERE_BITS)
    }

    /// The time of the last fix, if there is one.
    pub(super) fn last(self) -> Option<Timestamp> {
        (self.at() != i64::MIN >> TIME_AT).then(|| Timestamp::from_millis(self.at()))
    }

    pub(super) fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn with(self, flag: u64, set: bool) -> Self {
        Self(if set { self.0 | flag } else { self.0 & !flag })
    }

    /// Whether a stamp can have this time.
    pub(super) fn fits(at: Timestamp) -> bool {
        (at.as_millis().wrapping_add(Self::MAX_TIME) as u64) <= 2 * Self::MAX_TIME as u64
    }

    /// The same but for the time, which has to fit.
    pub(super) fn timed(self, at: Timestamp) -> Self {
        Self(self.0 & ((1 << TIME_AT) - 1) | (at.as_millis() << TIME_AT) as u64)
    }

    /// The same with the flag for a packed motion, and whether that is to be written: unless there is none, before or now.
    pub(super) fn with_motion(self, before: Self, motion: u64) -> (Self, bool) {
        let any = motion != Motion::NONE;
        (self.with(Self::MOTION, any), any || before.has(Self::MOTION))
    }

    /// The cell that lists the driver, which is at `place`.
    pub(super) fn cell(self, place: Place) -> Option<CellId> {
        let (bits, wide) = self.sizes();
        // The cell is that of the place or one beside it.
        let near = |at: i64, last_bits: u64| at - 1 + ((last_bits.cast_signed() - at + 1) & 3);
        let (row, col) =
            (near(place.lat() >> bits, self.field(ROW_AT, 2)), near(place.lng() >> wide, self.field(COL_AT, 2)));
        (bits != NOWHERE_BITS).then_some(CellId { bits, widening: wide - bits, row, col })
    }

    /// The same but listed in a cell, or in none, with the driver at `place`, which has to be within the slack of the cell.
    pub(super) fn listed(self, cell: Option<CellId>, place: Place) -> Self {
        let keep = self.0 & !((1 << TIME_AT) - (1 << BITS_AT));
        let Some(CellId { bits, widening, row, col }) = cell else {
            return Self(keep | Self::NOWHERE.0);
        };
        let listed = Self(
            keep | u64::from(bits) << BITS_AT
                | u64::from(widening) << WIDENING_AT
                | (row as u64 & 3) << ROW_AT
                | (col as u64 & 3) << COL_AT,
        );
        debug_assert_eq!(listed.cell(place), cell, "{place:?} is not near its cell");
        listed
    }

    /// Whether a driver stays within the slack of the cell that lists it, when it comes at most [`Stamp::LEAST_SIZE`] far in
    /// either direction to `new`.
    #[inline]
    pub(super) fn stays(self, new: Place) -> bool {
        let (bits, wide) = self.sizes();
        let (high, long) = (1 << bits, 1 << wide);
        let (slack_lat, slack_lng) = (SLACK as u64, (SLACK as u64) << (wide - bits));
        // From the border of the slack on, as far as the last bits of the cell tell: four cells further it is the same.
        let lat_off = (new.lat() as u64 + slack_lat).wrapping_sub(self.field(ROW_AT, 2) * high) & (4 * high - 1);
        let lng_off = (new.lng() as u64 + slack_lng).wrapping_sub(self.field(COL_AT, 2) * long) & (4 * long - 1);
        lat_off < high + 2 * slack_lat && lng_off < long + 2 * slack_lng
    }

    #[inline]
    fn field(self, at: u32, bits: u32) -> u64 {
        self.0 >> at & ((1 << bits) - 1)
    }

    /// The size of the cell, and how wide it is, as powers of two.
    #[inline]
    fn sizes(self) -> (u32, u32) {
        let bits = self.field(BITS_AT, WIDENING_AT - BITS_AT);
        (bits as u32, (bits + self.field(WIDENING_AT, ROW_AT - WIDENING_AT)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position() -> impl Strategy<Value = Position> {
        let lat = prop_oneof![4 => -MAX_LAT_E7..=MAX_LAT_E7, 1 => Just(MAX_LAT_E7), 1 => Just(-MAX_LAT_E7)];
        let lng = prop_oneof![4 => -MAX_LNG_E7..=MAX_LNG_E7, 1 => Just(MAX_LNG_E7), 1 => Just(-MAX_LNG_E7)];
        (lat, lng).prop_map(|(lat, lng)| Position::from_steps(lat, lng))
    }

    #[test]
    fn cells_are_about_square() {
        for lat in (0..2 * i64::from(MAX_LAT_E7)).step_by(1 << 20) {
            let row = lat >> REGION_BITS;
            let middle = ((2 * row + 1) << (REGION_BITS - 1)) - i64::from(MAX_LAT_E7);
            let narrow = (middle as f64 * 1e-7).to_radians().cos() * f64::from(1 << widening(lat));
            // Next to the poles they are as they are.
            let expected = if middle.abs() > 895_000_000 { -50.0..50.0 } else { 0.70..1.42 };
            assert!(expected.contains(&narrow), "{lat}: {narrow}");
        }
        assert_eq!((widening(0), widening(2 * i64::from(MAX_LAT_E7))), (10, 10));
    }

    #[test]
    fn a_new_driver_is_nowhere_and_has_no_time() {
        assert_eq!(Stamp::NEW.last(), None);
        assert!(Stamp::NEW.has(Stamp::AWAITED) && !Stamp::NEW.has(Stamp::JUMPED | Stamp::MOTION | 1));
        assert_eq!(Stamp::NEW.cell(Place(0)), None);
    }

    proptest! {
        #[test]
        fn places_come_back(position in position(), searchable: bool) {
            let place = Place::new(position, searchable);
            prop_assert_eq!(place.position(), position);
            prop_assert_eq!(place.is_searchable(), searchable);
            prop_assert_eq!(place.hidden(), Place::new(position, false));
        }

        #[test]
        fn a_stamp_keeps_its_cell_while_the_driver_is_near(
            start in position(), bits in 13..19u32, millis in -Stamp::MAX_TIME..=Stamp::MAX_TIME,
            steps in proptest::collection::vec((-9_000..9_000i32, -90_000..90_000i32), 1..20),
        ) {
            let mut place = Place::new(start, true);
            let cell = CellId::of(place, bits);
            let stamp = Stamp::NEW.with(Stamp::AWAITED, false).timed(Timestamp::from_millis(millis)).listed(Some(cell), place);
            for (north, east) in steps {
                let (lat, lng) = place.position().steps();
                let lat = (lat + north).clamp(-MAX_LAT_E7, MAX_LAT_E7);
                let lng = (lng.saturating_add(east)).clamp(-MAX_LNG_E7, MAX_LNG_E7);
                let next = Place::new(Position::from_steps(lat, lng), true);
                let wide = bits + cell.widening;
                let within = |at: i64, start: i64, size: i64, slack: i64| (start - slack..start + size + slack).contains(&at);
                let near = within(next.lat(), cell.row << bits, 1 << bits, SLACK)
                    && within(next.lng(), cell.col << wide, 1 << wide, SLACK << cell.widening);
                prop_assert_eq!(cell.is_near(next), near);
                if u64::from(north.unsigned_abs().max(east.unsigned_abs())) < Stamp::LEAST_SIZE {
                    prop_assert_eq!(stamp.stays(next), near);
                }
                if near {
                    place = next;
                }
                prop_assert_eq!(stamp.cell(place), Some(cell));
                prop_assert_eq!(stamp.last(), Some(Timestamp::from_millis(millis)));
                prop_assert_eq!(stamp.listed(Some(cell), place), stamp);
            }
            let nowhere = stamp.listed(None, place);
            prop_assert_eq!(nowhere.cell(place), None);
            prop_assert!(nowhere.stays(Place::new(Position::from_steps(0, 0), false)));
            prop_assert_eq!(nowhere.at(), millis);
        }
    }
}
