//! Where somebody is in the feed.

use dispatch_core::Timestamp;
use std::fmt;
use std::str::FromStr;

/// An entry's place in the feed: the record of the journal, and which entry of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) record: u64,
    pub(crate) index: u32,
}

impl Spot {
    /// Behind all entries of a record.
    pub(crate) fn behind(record: u64) -> Self {
        Self { record, index: u32::MAX }
    }
}

/// Where somebody is in the feed, to come back to. Clients do not look into it.
///
/// A record's number alone would not do: a log that lost its end, or another log, has another record of that number. So a
/// cursor says which log, and when the record was written; the time of a server never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) log: u32,
    pub(crate) at: Timestamp,
    pub(crate) spot: Spot,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, at, spot } = self;
        write!(f, "{log:08x}-{}-{}", at.as_millis(), spot.record)?;
        if spot.index == u32::MAX { Ok(()) } else { write!(f, "-{}", spot.index) }
    }
}

impl FromStr for Cursor {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let parts: Vec<&str> = text.splitn(5, '-').collect();
            let (&[log, at, record], index) = (parts.first_chunk::<3>()?, &parts[3..]);
            let index = match index {
                [] => u32::MAX,
                [index] => number(index)?,
                _ => return None,
            };
            let spot = Spot { record: number(record)?, index };
            let log = (log.len() == 8).then(|| u32::from_str_radix(log, 16).ok())??;
            Some(Self { log, at: Timestamp::from_millis(number(at)?), spot })
        };
        // Only as it was written: there is one text for each.
        let cursor = read().filter(|cursor: &Self| cursor.to_string() == text);
        cursor.ok_or("must be the id of an event that this server sent")
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_from_its_text(log: u32, at in 0_i64.., record: u64, index: u32) {
            let cursor = Cursor { log, at: Timestamp::from_millis(at), spot: Spot { record, index } };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn other_texts_are_refused(text in "[0-9a-f+-]{0,40}|.*") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
