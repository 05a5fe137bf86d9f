//! Single values, each checked while it is read.

use dispatch_core::{MarketId, Millis, OfferId, OrderId, Position, Timestamp};
use serde::{Deserialize, Serialize};
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

/// A time as RFC 3339 has it, in milliseconds: `2026-01-31T12:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = DateTime)]
pub(crate) struct Time(Timestamp);

impl Time {
    pub(crate) fn get(self) -> Timestamp {
        self.0
    }
}

impl TryFrom<String> for Time {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("must be a time like 2026-01-31T12:00:00Z, not `{text}`");
        // The parser knows more forms than RFC 3339 does.
        let bytes = text.as_bytes();
        let zone = bytes.ends_with(b"Z") || (bytes.len() > 6 && matches!(bytes[bytes.len() - 6], b'+' | b'-'));
        if bytes.len() > 40 || bytes.get(10) != Some(&b'T') || bytes.get(16) != Some(&b':') || !zone {
            return Err(wrong());
        }
        let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
        Ok(Self(Timestamp::from_millis(time.as_millisecond())))
    }
}

impl From<Time> for String {
    fn from(Time(time): Time) -> String {
        // Times that are answered were read before or lie within the plans of the engine.
        let time = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        format!("{time:.3}")
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

/// Seconds, to the millisecond.
pub(crate) fn seconds(duration: Millis) -> f64 {
    duration.as_secs_f64()
}

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
        let plain = !number.starts_with(['+', '0']);
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
    fn times_are_rfc_3339() {
        let time = |text: &str| Time::try_from(text.to_owned()).map(|time| time.get().as_millis());
        assert_eq!(time("1970-01-01T00:00:01.5Z"), Ok(1_500));
        assert_eq!(time("1970-01-01T01:00:00+01:00"), Ok(0));
        for bad in ["", "1970-01-01", "1970-01-01 00:00:00Z", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "x"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert!(time("1970-01-01T00:00:00+01:00[Europe/Berlin]").is_err());
        assert_eq!(String::from(Time(Timestamp::from_millis(1_500))), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn offers_are_named_by_market_and_number() {
        let name: OfferName = "north-west-12".parse().unwrap();
        assert_eq!((name.market.as_str(), name.number), ("north-west", OfferId(12)));
        assert_eq!(OfferName::text(&name.market, name.number), "north-west-12");
        for bad in ["", "12", "-1", "a-", "a-x", "a b-1", "a-+1", "a-01", "a-99999999999999999999"] {
            assert!(bad.parse::<OfferName>().is_err(), "{bad}");
        }
    }
}
