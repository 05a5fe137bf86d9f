//! Names and bounded texts.

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The longest id, in characters.
pub const MAX_ID_LEN: usize = 64;

/// An id that is empty, too long or holds a character outside `A-Z a-z 0-9 . _ : -`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No character at all.
    #[error("the {kind} id must not be empty")]
    Empty {
        /// Which kind of id.
        kind: &'static str,
    },
    /// More than [`MAX_ID_LEN`] characters.
    #[error("the {kind} id has at most {MAX_ID_LEN} characters, not {len}")]
    TooLong {
        /// Which kind of id.
        kind: &'static str,
        /// How long it is, in bytes.
        len: usize,
    },
    /// A character that ids do not have.
    #[error("the {kind} id consists of A-Z a-z 0-9 . _ : - and has no {found:?}")]
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

/// Reads a text and checks it, without a copy of its own: positions have an id each.
struct Checked<T>(PhantomData<T>);

impl<T: std::str::FromStr<Err: fmt::Display>> Visitor<'_> for Checked<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! id_type {
    ($name:ident, $kind:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Chosen by the caller: 1 to 64 characters of `A-Z a-z 0-9 . _ : -`. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(into = "String")]
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

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Checked(PhantomData))
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

/// Text of at most `MAX` characters (Unicode code points, up to four bytes each).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(Arc<str>);

/// A name people read: at most 128 characters.
pub type Label = Text<128>;

/// Why something was done, in somebody's words: at most 256 characters.
pub type Reason = Text<256>;

/// What an order's source wants shown beside it; opaque to the engine, at most 4,096 characters.
pub type DisplayData = Text<4096>;

/// Text over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text has at most {max} characters here, not {len}")]
pub struct TextError {
    /// The most characters allowed.
    pub max: usize,
    /// How many there are.
    pub len: usize,
}

impl<const MAX: usize> Text<MAX> {
    /// Checks and takes a text.
    pub fn new(text: impl AsRef<str>) -> Result<Self, TextError> {
        let text = text.as_ref();
        let len = text.chars().count();
        if len > MAX { Err(TextError { max: MAX, len }) } else { Ok(Self(text.into())) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_kind_and_what_is_wrong() {
        assert_eq!(DriverId::new("").unwrap_err().to_string(), "the driver id must not be empty");
        assert_eq!(OrderId::new("a b").unwrap_err(), IdError::Character { kind: "order", found: ' ' });
        assert_eq!(PlaceId::new("x".repeat(65)).unwrap_err(), IdError::TooLong { kind: "place", len: 65 });
        assert!(MarketId::new("ü").is_err());
        assert!(OrderId::new("0190a6f2-7f1e-7c39-9d7c-0d2f6f3f6c11").is_ok());
        assert!(serde_json::from_str::<DriverId>("\"a/b\"").is_err());
    }

    #[test]
    fn text_has_a_limit() {
        assert!(Label::new("x".repeat(128)).is_ok());
        assert!(Label::new("\u{1f355}".repeat(128)).is_ok(), "characters count, not bytes");
        assert_eq!(Label::new("x".repeat(129)).unwrap_err(), TextError { max: 128, len: 129 });
    }
}
