//! Who calls: API keys, tokens of issuers and tracking links; what they grant, and whom a caller may see.

mod issuers;
mod key_file;
mod keys;
mod links;
mod rates;

pub(crate) use issuers::{Algorithm, Issuer};
pub(crate) use key_file::{KeyError, KeyRecord, NewKey};
pub use key_file::{KeyFile, NewKeyOptions};
pub(crate) use keys::{Key, KeyStore, is_plain, random};
pub use keys::{KeyHash, new_key};
pub(crate) use links::{Link, LinkError};
pub(crate) use rates::{Cost, Rates, RatesConfig, TooOften};

use crate::journal::Once;
use dispatch_core::{Actor, DriverId, Label, MarketId, Order, PlaceId, Reason, Role as CoreRole, State, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// What a key is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Deserialize, Serialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = RoleName)]
pub enum Role {
    /// Everything.
    Admin,
    /// Steps in by hand: everything about drivers, orders and offers.
    Dispatcher,
    /// Submits the orders of its places and sees only those.
    Merchant,
    /// Acts for itself and sees only what it is asked or responsible for.
    Driver,
    /// Reports the positions of drivers, and does nothing else.
    Gateway,
}

impl Role {
    /// The role as one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Dispatcher => "dispatcher",
            Self::Merchant => "merchant",
            Self::Driver => "driver",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose markets, drivers and orders they are. Nobody sees anything of another tenant, not even that it exists; two tenants may
/// use the same ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct TenantId(String);

impl TryFrom<String> for TenantId {
    type Error = dispatch_core::IdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        // The same characters as in every other id.
        PlaceId::new(text.clone()).map(|_| Self(text))
    }
}

impl From<TenantId> for String {
    fn from(TenantId(text): TenantId) -> Self {
        text
    }
}

impl Default for TenantId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a caller may look: the markets of its tenant, or some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) tenant: TenantId,
    /// All of the tenant's if absent.
    pub(crate) markets: Option<BTreeSet<MarketId>>,
}

impl Scope {
    /// Whether it may see a market of its tenant.
    pub(crate) fn covers(&self, market: &MarketId) -> bool {
        self.markets.as_ref().is_none_or(|markets| markets.contains(market))
    }

    /// Whether it may see something of a tenant that is for these markets, or for all of them.
    pub(crate) fn covers_all(&self, tenant: &TenantId, markets: Option<&BTreeSet<MarketId>>) -> bool {
        let within = |own: &_| markets.is_some_and(|markets| markets.is_subset(own));
        *tenant == self.tenant && self.markets.as_ref().is_none_or(within)
    }
}

/// What a caller may do, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    Admin,
    Dispatcher,
    Merchant(BTreeSet<PlaceId>),
    Driver(DriverId),
    Gateway,
}

/// A role with nobody to be it for, or with somebody it is not for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GrantError {
    #[error("a merchant needs at least one place id")]
    NoPlaces,
    #[error("only a merchant has places")]
    Places,
    #[error("a driver needs its driver id")]
    NoDriver,
    #[error("only a driver has a driver id")]
    Driver,
}

impl GrantError {
    /// The field that is wrong.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::NoPlaces | Self::Places => "places",
            Self::NoDriver | Self::Driver => "driver",
        }
    }
}

impl Grant {
    /// What a role may do for these places, or as this driver.
    pub(crate) fn new(role: Role, places: BTreeSet<PlaceId>, driver: Option<DriverId>) -> Result<Self, GrantError> {
        if !places.is_empty() && role != Role::Merchant {
            return Err(GrantError::Places);
        }
        if driver.is_some() && role != Role::Driver {
            return Err(GrantError::Driver);
        }
        Ok(match role {
            Role::Admin => Self::Admin,
            Role::Dispatcher => Self::Dispatcher,
            Role::Gateway => Self::Gateway,
            Role::Merchant if places.is_empty() => return Err(GrantError::NoPlaces),
            Role::Merchant => Self::Merchant(places),
            Role::Driver => Self::Driver(driver.ok_or(GrantError::NoDriver)?),
        })
    }

    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Admin => Role::Admin,
            Self::Dispatcher => Role::Dispatcher,
            Self::Merchant(_) => Role::Merchant,
            Self::Driver(_) => Role::Driver,
            Self::Gateway => Role::Gateway,
        }
    }

    /// The driver that acts for itself.
    pub(crate) fn driver(&self) -> Option<&DriverId> {
        match self {
            Self::Driver(driver) => Some(driver),
            Self::Admin | Self::Dispatcher | Self::Merchant(_) | Self::Gateway => None,
        }
    }

    /// Whether it may see and act for this driver.
    pub(crate) fn covers_driver(&self, driver: &DriverId) -> bool {
        match self {
            Self::Admin | Self::Dispatcher | Self::Gateway => true,
            Self::Merchant(_) => false,
            Self::Driver(own) => own == driver,
        }
    }

    /// Whether it may see and act on this order: the merchant's own, or what the driver is asked or responsible for.
    pub(crate) fn covers_order(&self, order: &Order, state: &State) -> bool {
        match self {
            Self::Admin | Self::Dispatcher => true,
            Self::Gateway => false,
            Self::Merchant(places) => order.spec.pickup.id.as_ref().is_some_and(|place| places.contains(place)),
            Self::Driver(own) => {
                let asked = || state.drivers.get(own).and_then(|driver| state.offers.get(driver.offer?));
                order.status.driver() == Some(own) || asked().is_some_and(|offer| offer.orders.contains(&order.spec.id))
            }
        }
    }
}

/// Somebody the server knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Principal {
    pub(crate) grant: Grant,
    pub(crate) scope: Scope,
    /// Who it is, for people; nobody in particular where there are no keys.
    pub(crate) name: Option<Label>,
    /// Who it is, for the server: no other of its tenant is called so.
    pub(crate) id: String,
    /// How much more than usual it may ask.
    pub(crate) rate: Rate,
}

impl Principal {
    /// Whoever is there, where there are no keys.
    pub(crate) fn anybody() -> Self {
        Self { grant: Grant::Admin, scope: Scope::default(), name: None, id: String::new(), rate: Rate::Unlimited }
    }
}

/// How much somebody may ask, in multiples of what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    Times(f64),
    Unlimited,
}

/// Who makes a request, and from where.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) who: Arc<Principal>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
    /// Whether what it asks is to be carried out once.
    pub(crate) once: Option<Once>,
}

impl Caller {
    /// The caller as the log knows it.
    pub(crate) fn actor(&self) -> Actor {
        let role = match self.who.grant.role() {
            Role::Admin | Role::Dispatcher => CoreRole::Dispatcher,
            Role::Merchant => CoreRole::Merchant,
            // A gateway gives no commands.
            Role::Driver | Role::Gateway => CoreRole::Driver,
        };
        let address = self.address.and_then(|address| Label::new(address.to_string()).ok());
        let user_agent = self.user_agent.as_deref().and_then(|agent| Reason::new(prefix(agent, 256)).ok());
        Actor { role, name: self.who.name.clone(), address, user_agent }
    }
}

/// The beginning of a text that takes at most `max` bytes.
fn prefix(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// All ways to know who calls.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) keys: KeyStore,
    pub(crate) rates: Rates,
    issuers: Vec<Issuer>,
    require_key: bool,
}

impl Auth {
    /// Who may call with these keys and tokens.
    pub(crate) fn new(keys: KeyStore, issuers: Vec<Issuer>, rates: Rates, require_key: bool) -> Self {
        Self { keys, rates, issuers, require_key }
    }

    /// Whether nobody needs a key: none was ever made, and none is required.
    pub(crate) fn is_open(&self) -> bool {
        !self.require_key && self.issuers.is_empty() && self.keys.is_empty()
    }

    /// Who sends this bearer credential; `None` for one that is absent, unknown, expired or revoked.
    pub(crate) fn identify(&self, bearer: Option<&str>, now: Timestamp) -> Option<Principal> {
        if self.is_open() {
            return Some(Principal::anybody());
        }
        let bearer = bearer?;
        // A token has three parts with dots between them, a key none.
        if !bearer.contains('.') {
            return self.keys.identify(bearer, now);
        }
        let known = issuers::identify(&self.issuers, bearer, now);
        known.inspect_err(|problem| tracing::debug!("a token is refused: {problem}")).ok()
    }

    /// Told of each change of the keys.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.keys.changes()
    }

    /// Reads files that changed since the last call: keys made by the command line, and key sets of issuers.
    pub(crate) fn refresh(&self) {
        self.keys.refresh();
        self.issuers.iter().for_each(Issuer::refresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_user_agent_is_cut_between_characters() {
        assert_eq!(prefix("aüb", 2), "a");
        assert_eq!(prefix("aüb", 3), "aü");
        assert_eq!(prefix("ab", 256), "ab");
    }

    #[test]
    fn a_role_is_for_whom_it_is_for() {
        let (places, driver) = (BTreeSet::from([PlaceId::new("p").unwrap()]), DriverId::new("d").unwrap());
        let grant = |role, places: &BTreeSet<_>, driver: Option<&DriverId>| {
            Grant::new(role, places.clone(), driver.cloned()).map(|grant| grant.role()).map_err(GrantError::field)
        };
        let none = BTreeSet::new();
        for role in [Role::Admin, Role::Dispatcher, Role::Gateway] {
            assert_eq!(grant(role, &none, None), Ok(role));
            assert_eq!(grant(role, &places, None), Err("places"));
            assert_eq!(grant(role, &none, Some(&driver)), Err("driver"));
        }
        assert_eq!(grant(Role::Merchant, &places, None), Ok(Role::Merchant));
        assert_eq!(grant(Role::Merchant, &none, None), Err("places"));
        assert_eq!(grant(Role::Driver, &none, Some(&driver)), Ok(Role::Driver));
        assert_eq!(grant(Role::Driver, &none, None), Err("driver"));
        assert_eq!(grant(Role::Driver, &places, Some(&driver)), Err("places"));
    }
}
