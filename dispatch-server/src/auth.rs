//! Who calls: API keys, what they grant, and whom a caller may see.

use crate::journal::Once;
use dispatch_core::{Actor, DriverId, Label, Order, PlaceId, Reason, Role as CoreRole, State};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Everything.
    Admin,
    /// Steps in by hand: everything about drivers, orders and offers.
    Dispatcher,
    /// Submits the orders of its places and sees only those.
    Merchant,
    /// Acts for itself and sees only what it is asked or responsible for.
    Driver,
}

impl Role {
    /// The role as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Dispatcher => "dispatcher",
            Self::Merchant => "merchant",
            Self::Driver => "driver",
        }
    }
}

/// What a caller may do, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    Admin,
    Dispatcher,
    Merchant(BTreeSet<PlaceId>),
    Driver(DriverId),
}

impl Grant {
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Admin => Role::Admin,
            Self::Dispatcher => Role::Dispatcher,
            Self::Merchant(_) => Role::Merchant,
            Self::Driver(_) => Role::Driver,
        }
    }

    /// The driver that acts for itself.
    pub(crate) fn driver(&self) -> Option<&DriverId> {
        match self {
            Self::Driver(driver) => Some(driver),
            Self::Admin | Self::Dispatcher | Self::Merchant(_) => None,
        }
    }

    /// Whether it may see and act for this driver.
    pub(crate) fn covers_driver(&self, driver: &DriverId) -> bool {
        match self {
            Self::Admin | Self::Dispatcher => true,
            Self::Merchant(_) => false,
            Self::Driver(own) => own == driver,
        }
    }

    /// Whether it may see and act on this order: the merchant's own, or what the driver is asked or responsible for.
    pub(crate) fn covers_order(&self, order: &Order, state: &State) -> bool {
        match self {
            Self::Admin | Self::Dispatcher => true,
            Self::Merchant(places) => order.spec.pickup.id.as_ref().is_some_and(|place| places.contains(place)),
            Self::Driver(own) => {
                let asked = || state.drivers.get(own).and_then(|driver| state.offers.get(driver.offer?));
                order.status.driver() == Some(own) || asked().is_some_and(|offer| offer.orders.contains(&order.spec.id))
            }
        }
    }
}

/// Who makes a request, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) grant: Grant,
    pub(crate) name: Option<Label>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
    /// Whether what it asks is to be carried out once.
    pub(crate) once: Option<Once>,
}

impl Caller {
    /// The caller as the log knows it.
    pub(crate) fn actor(&self) -> Actor {
        let role = match self.grant.role() {
            Role::Admin | Role::Dispatcher => CoreRole::Dispatcher,
            Role::Merchant => CoreRole::Merchant,
            Role::Driver => CoreRole::Driver,
        };
        let address = self.address.and_then(|address| Label::new(address.to_string()).ok());
        let user_agent = self.user_agent.as_deref().and_then(|agent| Reason::new(prefix(agent, 256)).ok());
        Actor { role, name: self.name.clone(), address, user_agent }
    }
}

/// The beginning of a text that takes at most `max` bytes.
fn prefix(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// SHA-256 of an API key. Keys are random and long, so a fast hash keeps them as safe as a slow one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// The hash as 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// A new key: `dk_` and 256 random bits.
pub fn new_key() -> Result<String, getrandom::Error> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    Ok(format!("dk_{}", hex(&bits)))
}

/// A key the server accepts.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) grant: Grant,
    pub(crate) name: Label,
}

/// Every key the server accepts, by its hash; without any, everybody is admin.
#[derive(Debug, Default)]
pub(crate) struct Keys(pub(crate) BTreeMap<KeyHash, Key>);

impl Keys {
    /// What a request with this bearer key may do; `None` for a key that is absent or unknown.
    pub(crate) fn identify(&self, key: Option<&str>) -> Option<(Grant, Option<Label>)> {
        if self.0.is_empty() {
            return Some((Grant::Admin, None));
        }
        // The time this takes tells something about the hashes at most, and from a hash no way leads to a key.
        let Key { grant, name } = self.0.get(&KeyHash::of(key?))?;
        Some((grant.clone(), Some(name.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_their_hash_alone() {
        let key = new_key().unwrap();
        assert_ne!(key, new_key().unwrap());
        let hash = KeyHash::of(&key);
        assert_eq!(KeyHash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(KeyHash::from_hex(&"g".repeat(64)), None);
        assert_eq!(KeyHash::from_hex("00"), None);
        let known = Key { grant: Grant::Dispatcher, name: Label::new("ops").unwrap() };
        let keys = Keys(BTreeMap::from([(hash, known)]));
        assert_eq!(keys.identify(Some(&key)).map(|(grant, _)| grant), Some(Grant::Dispatcher));
        assert_eq!(keys.identify(Some("dk_0")), None);
        assert_eq!(keys.identify(None), None);
        assert_eq!(Keys::default().identify(None), Some((Grant::Admin, None)));
    }

    #[test]
    fn a_long_user_agent_is_cut_between_characters() {
        assert_eq!(prefix("aüb", 2), "a");
        assert_eq!(prefix("aüb", 3), "aü");
        assert_eq!(prefix("ab", 256), "ab");
    }
}
