//! Single values, each checked while it is read.

use dispatch_core::{MAX_SKILLS, MarketId, Millis, OfferId, OrderId, Position, Skill};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use utoipa::ToSchema;

/// 1 to 64 characters of `A-Z a-z 0-9 . _ : -`, chosen by the caller.
#[derive(ToSchema)]
#[schema(pattern = "^[A-Za-z0-9._:-]{1,64}$")]
#[expect(dead_code, reason = "the schema of ids; the values are ids of the core")]
pub(crate) struct Id(String);

/// A latitude in degrees, from -90 to 90.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schema(value_type = f64, minimum = -90, maximum = 90)]
pub(crate) struct Lat(f64);

impl TryFrom<f64> for Lat {
    type Error = String;
    fn try_from(degrees: f64) -> Result<Self, String> {
        let holds = (-90.0..=90.0).contains(&degrees);
        if holds {
            Ok(Self(degrees))
        } else {
            Err(format!("must be a number of degrees from -90 to 90, not {degrees}"))
        }
    }
}

impl From<Lat> for f64 {
    fn from(lat: Lat) -> f64 {
        lat.0
    }
}

/// A longitude in degrees, from -180 to 180.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schema(value_type = f64, minimum = -180, maximum = 180)]
pub(crate) struct Lng(f64);

impl TryFrom<f64> for Lng {
    type Error = String;
    fn try_from(degrees: f64) -> Result<Self, String> {
        let holds = (-180.0..=180.0).contains(&degrees);
        if holds {
            Ok(Self(degrees))
        } else {
            Err(format!("must be a number of degrees from -180 to 180, not {degrees}"))
        }
    }
}

impl From<Lng> for f64 {
    fn from(lng: Lng) -> f64 {
        lng.0
    }
}

/// The position at a latitude and a longitude.
pub(crate) fn position(lat: Lat, lng: Lng) -> Position {
    Position::new(lat.0, lng.0).expect("both were checked when they were read")
}

/// Latitude and longitude of a position.
pub(crate) fn degrees(position: Position) -> (Lat, Lng) {
    (Lat(position.lat()), Lng(position.lng()))
}

/// A number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "f64")]
pub(crate) struct Within<const LEAST: i32, const MOST: i32>(pub(super) f64);

impl<const LEAST: i32, const MOST: i32> Within<LEAST, MOST> {
    pub(super) fn get(self) -> f64 {
        self.0
    }
}

impl<const LEAST: i32, const MOST: i32> TryFrom<f64> for Within<LEAST, MOST> {
    type Error = String;
    fn try_from(number: f64) -> Result<Self, String> {
        let holds = (f64::from(LEAST)..=f64::from(MOST)).contains(&number);
        if holds { Ok(Self(number)) } else { Err(format!("must be a number from {LEAST} to {MOST}, not {number}")) }
    }
}

/// A whole number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Count<T, const LEAST: u64, const MOST: u64>(pub(super) T);

impl<T: Copy, const LEAST: u64, const MOST: u64> Count<T, LEAST, MOST> {
    pub(super) fn get(self) -> T {
        self.0
    }
}

impl<'de, T: TryFrom<u64>, const LEAST: u64, const MOST: u64> Deserialize<'de> for Count<T, LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(from)?;
        let within = T::try_from(number).ok().filter(|_| (LEAST..=MOST).contains(&number));
        within.map(Self).ok_or_else(|| D::Error::custom(format!("must be {LEAST} to {MOST}, not {number}")))
    }
}

/// A duration in seconds, to the millisecond; `LEAST` and `MOST` are in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "f64", into = "f64")]
pub(super) struct Secs<const LEAST: i64, const MOST: i64>(pub(super) Millis);

impl<const LEAST: i64, const MOST: i64> Secs<LEAST, MOST> {
    const BOUNDS: RangeInclusive<f64> = LEAST as f64 / 1e3..=MOST as f64 / 1e3;

    pub(super) fn get(self) -> Millis {
        self.0
    }
}

impl<const LEAST: i64, const MOST: i64> TryFrom<f64> for Secs<LEAST, MOST> {
    type Error = String;
    fn try_from(number: f64) -> Result<Self, String> {
        if Self::BOUNDS.contains(&number) {
            return Ok(Self(Millis::from_secs_f64(number)));
        }
        Err(format!("must be {} to {} s, not {number}", Self::BOUNDS.start(), Self::BOUNDS.end()))
    }
}

impl<const LEAST: i64, const MOST: i64> From<Secs<LEAST, MOST>> for f64 {
    fn from(duration: Secs<LEAST, MOST>) -> f64 {
        seconds(duration.0)
    }
}

/// Skills, each named once.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Vec<Skill>")]
pub(crate) struct Skills(pub(crate) BTreeSet<Skill>);

impl TryFrom<Vec<Skill>> for Skills {
    type Error = String;
    fn try_from(named: Vec<Skill>) -> Result<Self, String> {
        if named.len() > MAX_SKILLS {
            return Err(format!("must be at most {MAX_SKILLS}, not {}", named.len()));
        }
        let mut skills = BTreeSet::new();
        for skill in named {
            if skills.contains(&skill) {
                return Err(format!("{skill} stands twice"));
            }
            skills.insert(skill);
        }
        Ok(Self(skills))
    }
}

/// Seconds, to the millisecond.
pub(crate) fn seconds(duration: Millis) -> f64 {
    duration.as_secs_f64()
}

/// Names an offer, as `default-1`: the market and the number there, chosen by the server.
#[derive(ToSchema)]
#[schema(as = OfferId, pattern = "^[A-Za-z0-9._:-]{1,64}-[1-9][0-9]{0,18}$")]
#[expect(dead_code, reason = "the schema of the values, which are texts of OfferName")]
pub(crate) struct OfferText(String);

/// Where the next page of a list begins; made by the server.
#[derive(ToSchema)]
#[schema(as = Cursor, pattern = "^[A-Za-z0-9._:-]{1,64}~[A-Za-z0-9._:-]{1,64}$")]
#[expect(dead_code, reason = "the schema of the values, which are texts of Cursor")]
pub(crate) struct CursorText(String);

/// Where somebody is in the feed: the id of an event.
#[derive(ToSchema)]
#[schema(as = FeedCursor, pattern = "^[0-9a-f]{8}-[0-9]{1,19}-[0-9]{1,20}(-[0-9]{1,10})?$")]
#[expect(dead_code, reason = "the schema of the values, which are texts of the feed's cursors")]
pub(crate) struct FeedCursorText(String);

/// Names an offer in all markets: the market and the number there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfferName {
    pub(crate) market: MarketId,
    pub(crate) number: OfferId,
}

impl OfferName {
    pub(crate) fn text(market: &MarketId, number: OfferId) -> String {
        format!("{market}-{number}")
    }
}

impl std::str::FromStr for OfferName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be the id of an offer, as default-1, not `{text}`");
        let (market, number) = text.rsplit_once('-').ok_or_else(wrong)?;
        let plain = (1..20).contains(&number.len()) && !number.starts_with(['+', '0']);
        let number = number.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
        Ok(Self { market: MarketId::new(market).map_err(|_| wrong())?, number: OfferId(number) })
    }
}

/// Where the next page of a list begins.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Cursor {
    pub(crate) market: MarketId,
    pub(crate) id: String,
}

impl From<Cursor> for String {
    fn from(Cursor { market, id }: Cursor) -> String {
        format!("{market}~{id}")
    }
}

impl TryFrom<String> for Cursor {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "must be a next_cursor of this list".to_owned();
        let (market, id) = text.split_once('~').ok_or_else(wrong)?;
        // All kinds of ids have one form.
        let id = OrderId::new(id).map_err(|_| wrong())?.to_string();
        Ok(Self { market: MarketId::new(market).map_err(|_| wrong())?, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skills_are_few_and_named_once() {
        let skills =
            |names: &[String]| serde_json::from_value::<Skills>(names.into()).map(|Skills(skills)| skills.len());
        let many: Vec<_> = (0..17).map(|number| format!("s{number}")).collect();
        assert_eq!(skills(&many[..16]).unwrap(), 16);
        assert!(skills(&many).unwrap_err().to_string().contains("at most 16"));
        let twice = ["a", "b", "a"].map(str::to_owned);
        assert!(skills(&twice).unwrap_err().to_string().contains("a stands twice"));
    }

    #[test]
    fn offers_are_named_by_market_and_number() {
        let name: OfferName = "north-west-12".parse().unwrap();
        assert_eq!((name.market.as_str(), name.number), ("north-west", OfferId(12)));
        assert_eq!(OfferName::text(&name.market, name.number), "north-west-12");
        for bad in ["", "12", "-1", "a-", "a-x", "a b-1", "a-+1", "a-01", "a-10000000000000000000"] {
            assert!(bad.parse::<OfferName>().is_err(), "{bad}");
        }
    }
}
