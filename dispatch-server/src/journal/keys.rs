//! Requests that are to be carried out once, however often they are sent: what was accepted under which idempotency key.

use dispatch_core::{Millis, Timestamp};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

/// For how long a key is known.
pub(crate) const KNOWN_FOR: Millis = Millis::from_mins(24 * 60);

/// Most keys that are known; past it the oldest are forgotten early.
const MAX_KNOWN: usize = 1_000_000;

/// SHA-256 of some texts, shortened to 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Mark([u8; 16]);

impl Mark {
    pub(crate) fn of(texts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for text in texts {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        Self(hasher.finalize()[..16].try_into().expect("the hash has 32 bytes"))
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("texts take everything");
        text
    })
}

impl From<Mark> for String {
    fn from(Mark(bytes): Mark) -> Self {
        hex(&bytes)
    }
}

impl TryFrom<String> for Mark {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = is_hex.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        Ok(Self(value.ok_or("must be 32 hexadecimal digits")?.to_be_bytes()))
    }
}

/// A request that is to be carried out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Once {
    /// Whose it is, what for, and its key.
    pub(crate) key: Mark,
    /// What it says.
    pub(crate) payload: Mark,
}

/// That such a request was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) key: Mark,
    pub(crate) payload: Mark,
    /// Whether something new came to be.
    pub(crate) created: bool,
}

/// The requests that were accepted lately.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Vec<(Timestamp, Accepted)>")]
pub(crate) struct Keys {
    known: BTreeMap<Mark, (Timestamp, Accepted)>,
    by_age: VecDeque<(Timestamp, Mark)>,
}

impl Keys {
    pub(crate) fn get(&self, key: Mark, now: Timestamp) -> Option<&Accepted> {
        let (at, accepted) = self.known.get(&key)?;
        (now - *at < KNOWN_FOR).then_some(accepted)
    }

    /// All that are known and when they were accepted, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Timestamp, Accepted)> {
        // One that was used again since it was forgotten counts as of then.
        self.by_age.iter().filter_map(|(at, key)| self.known.get(key).filter(|(latest, _)| latest == at))
    }

    /// Keeps a request, whose time is not before that of any other, and forgets old ones.
    pub(crate) fn insert(&mut self, at: Timestamp, accepted: Accepted) {
        self.known.insert(accepted.key, (at, accepted));
        self.by_age.push_back((at, accepted.key));
        while let Some(&(oldest, key)) = self.by_age.front()
            && (at - oldest >= KNOWN_FOR || self.by_age.len() > MAX_KNOWN)
        {
            self.by_age.pop_front();
            // It may have been used again since it was forgotten.
            if self.known.get(&key).is_some_and(|(at, _)| *at == oldest) {
                self.known.remove(&key);
            }
        }
    }
}

impl From<Vec<(Timestamp, Accepted)>> for Keys {
    fn from(entries: Vec<(Timestamp, Accepted)>) -> Self {
        let mut keys = Self::default();
        for (at, accepted) in entries {
            keys.insert(at, accepted);
        }
        keys
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(key: u32) -> Accepted {
        let mark = Mark(u128::from(key).to_be_bytes());
        Accepted { key: mark, payload: mark, created: key.is_multiple_of(2) }
    }

    #[test]
    fn a_key_is_known_for_a_day() {
        let (start, mut keys) = (Timestamp::from_millis(1_000), Keys::default());
        keys.insert(start, accepted(1));
        let day = Millis::from_mins(24 * 60);
        assert_eq!(keys.get(accepted(1).key, start + day - Millis::new(1)), Some(&accepted(1)));
        assert_eq!(keys.get(accepted(1).key, start + day), None);
        assert_eq!(keys.get(accepted(2).key, start), None);
        keys.insert(start + day, accepted(1));
        assert_eq!(keys.get(accepted(1).key, start + day), Some(&accepted(1)), "it may be used again");
        keys.insert(start + day + Millis::new(1), accepted(2));
        assert_eq!(keys.known.len(), 2);
    }

    #[test]
    fn past_the_limit_the_oldest_go() {
        let (at, mut keys) = (Timestamp::from_millis(0), Keys::default());
        for key in 0..=MAX_KNOWN as u32 {
            keys.insert(at, accepted(key));
        }
        assert_eq!((keys.known.len(), keys.get(accepted(0).key, at)), (MAX_KNOWN, None));
    }

    #[test]
    fn keys_come_back_from_json() {
        let mut keys = Keys::default();
        for key in 0..5 {
            keys.insert(Timestamp::from_millis(i64::from(key)), accepted(key));
        }
        let json = serde_json::to_string(&keys).unwrap();
        assert_eq!(serde_json::from_str::<Keys>(&json).unwrap(), keys);
        assert!(serde_json::from_str::<Mark>("\"+1234567890123456789012345678901\"").is_err());
    }

    #[test]
    fn texts_are_told_apart_where_they_are_divided() {
        assert_ne!(Mark::of(&[b"ab", b"c"]), Mark::of(&[b"a", b"bc"]));
    }
}
