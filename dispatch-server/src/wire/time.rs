//! Times as RFC 3339 has them.

use dispatch_core::Timestamp;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// A time as RFC 3339 has it. Answers have UTC to the millisecond: `2026-01-31T12:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(into = "String")]
#[schema(value_type = String, format = DateTime)]
pub(crate) struct Time(Timestamp);

impl Time {
    pub(crate) fn get(self) -> Timestamp {
        self.0
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Reader)
    }
}

/// Reads a text that is not copied: positions have a time each.
struct Reader;

impl Visitor<'_> for Reader {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        let millis = millis(text.as_bytes());
        let time = millis.map(|millis| Time(Timestamp::from_millis(millis)));
        time.ok_or_else(|| E::custom(format!("must be a time like 2026-01-31T12:00:00Z, not `{text}`")))
    }
}

impl From<Time> for String {
    fn from(Time(time): Time) -> String {
        // Times that are answered lie within what the engine plans ahead of a clock that is roughly right.
        let time = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        format!("{time:.3}")
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

/// Milliseconds since the epoch of an RFC 3339 date-time; `None` for any other text. All of the years 0000 to 9999 are read,
/// at any offset, and fractions of any length.
fn millis(text: &[u8]) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    let (hour, minute, second) = (number(&clock[1..3])?, number(&clock[4..6])?, number(&clock[7..])?);
    let separators = [date[4], date[7], clock[0].to_ascii_uppercase(), clock[3], clock[6]] == *b"--T::";
    let (fraction, zone) = fraction(rest)?;
    let offset = offset(zone)?;
    let leap = second == 60 && (hour * 60 + minute - offset).rem_euclid(24 * 60) == 24 * 60 - 1;
    let exists = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !(separators && exists && hour < 24 && minute < 60 && (second < 60 || leap)) {
        return None;
    }
    let minutes = (days_before(year, month) + day - 1) * 24 * 60 + hour * 60 + minute - offset;
    Some((minutes * 60 + second) * 1_000 + fraction)
}

/// A number of digits alone.
fn number(digits: &[u8]) -> Option<i64> {
    let digit = |number: i64, digit: &u8| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'));
    digits.iter().try_fold(0, digit)
}

/// The milliseconds of a fraction of a second, if there is one, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(fraction) = text.strip_prefix(b".") else { return Some((0, text)) };
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, rest) = fraction.split_at(digits);
    let place = |place: usize| fraction.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    (digits > 0).then(|| (place(0) * 100 + place(1) * 10 + place(2), rest))
}

/// How many minutes a zone is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), hours @ .., b':', tens, ones] if hours.len() == 2 => {
            let (hours, minutes) = (number(hours)?, number(&[*tens, *ones])?);
            let sign = if *sign == b'+' { 1 } else { -1 };
            (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
        }
        _ => None,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    // Leap days of the years before this one, counted from the year 0.
    let leap_days = |year: i64| (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let in_year: i64 = (1..month).map(|month| days_in(year, month)).sum();
    (year - 1970) * 365 + leap_days(year) - leap_days(1970) + in_year
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::value;

    fn time(text: &str) -> Result<i64, String> {
        Reader.visit_str(text).map(|time| time.get().as_millis()).map_err(|error: value::Error| error.to_string())
    }

    #[test]
    fn times_are_rfc_3339() {
        for (text, millis) in [
            ("1970-01-01T00:00:01.5Z", 1_500),
            ("1970-01-01t00:00:00z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T00:01:00-23:59", 0),
            ("1970-01-01T00:00:00.0009999999999999999999Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
            ("2017-01-01T00:59:60.5+01:00", 1_483_228_800_500),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000),
            ("9999-12-31T23:59:59-23:59", 253_402_387_139_000),
        ] {
            assert_eq!(time(text), Ok(millis), "{text}");
        }
        assert_eq!(String::from(Time(Timestamp::from_millis(1_500))), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn nothing_else_is_a_time() {
        for bad in [
            "",
            "x",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00Z",
            "1970-01-01 00:00:00Z",
            "1970-01-01T00:00:00 Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00,5Z",
            "1970-01-01T00:00:00+01",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00+00:60",
            "1970-01-01T00:00:00+01:00[Europe/Berlin]",
            "1970-13-01T00:00:00Z",
            "1970-00-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "1970-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:60Z",
            "1970-01-01T23:59:61Z",
            "+1970-01-01T00:00:00Z",
            "-001970-01-01T00:00:00Z",
            "19700101T000000Z",
            "1970-01-0\u{661}T00:00:00Z",
            "197\u{661}-01-01T00:00:00Z",
        ] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Every time that is answered is read as the same time.
        #[test]
        fn answers_are_read_back(millis in -62_167_219_200_000i64..253_402_207_200_000) {
            let text = String::from(Time(Timestamp::from_millis(millis)));
            prop_assert_eq!(time(&text), Ok(millis), "{}", text);
        }

        #[test]
        fn no_text_panics(text in "[0-9+:.TZtz-]{0,30}") {
            let _ = time(&text);
        }
    }
}
