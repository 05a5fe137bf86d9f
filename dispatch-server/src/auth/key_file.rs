//! Keys that are made, rotated and revoked while the server runs or stands still: one file of the data directory, which the server
//! and the command line change one after the other.

use super::keys::{Key, KeyHash, Known, is_plain, new_key, random};
use super::{Grant, Principal, Rate, Role, Scope, TenantId};
use crate::private_file;
use dispatch_core::{DriverId, Label, MarketId, Millis, PlaceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// A key that was made while the server ran, or by the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    /// Names the key; not secret.
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    pub(crate) name: Label,
    pub(crate) role: Role,
    #[serde(default)]
    pub(crate) places: BTreeSet<PlaceId>,
    #[serde(default)]
    pub(crate) driver: Option<DriverId>,
    #[serde(default)]
    pub(crate) markets: Option<BTreeSet<MarketId>>,
    pub(crate) rate: f64,
    pub(super) hash: KeyHash,
    /// What it was before it was rotated, and until when that still counts.
    #[serde(default)]
    pub(super) former: Option<(KeyHash, Timestamp)>,
    pub(crate) created_at: Timestamp,
    #[serde(default)]
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) revoked_at: Option<Timestamp>,
}

impl KeyRecord {
    pub(super) fn principal(&self) -> Option<Principal> {
        Some(Principal {
            grant: Grant::new(self.role, self.places.clone(), self.driver.clone()).ok()?,
            scope: Scope { tenant: self.tenant.clone(), markets: self.markets.clone() },
            name: Some(self.name.clone()),
            id: self.id.clone(),
            rate: Rate::Times(self.rate),
        })
    }

    pub(super) fn counts(&self, hash: KeyHash, now: Timestamp) -> bool {
        let former = || self.former.is_some_and(|(former, until)| former == hash && now < until);
        self.is_valid(now) && (self.hash == hash || former())
    }

    /// Whether it lets anybody in now.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.ended_at(now).is_none()
    }

    /// Since when it lets nobody in, if it does not.
    pub(super) fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.revoked_at.or(self.expires_at.filter(|until| *until <= now))
    }
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) tenant: TenantId,
    pub(crate) name: Label,
    pub(crate) role: Role,
    pub(crate) places: BTreeSet<PlaceId>,
    pub(crate) driver: Option<DriverId>,
    pub(crate) markets: Option<BTreeSet<MarketId>>,
    pub(crate) rate: f64,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Why keys were not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("there is no key {0}")]
    Unknown(String),
    #[error("a key that is in force is called `{0}` already")]
    NameTaken(Label),
    #[error("key {0} is not in force any more")]
    NotInForce(String),
    #[error("{MAX_KEYS} keys are in force, as many as may be; revoke some, or let an issuer of tokens name people")]
    Full,
    #[error("keys cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// Most keys of a tenant that are in force. Who has many people to let in has an issuer of tokens.
pub(super) const MAX_KEYS: usize = 10_000;

/// For how long a key that was revoked or has expired is still listed,
pub(super) const LISTED_FOR: Millis = Millis::from_mins(90 * 24 * 60);

/// and how many such keys of a tenant, the latest.
pub(super) const MAX_ENDED: usize = 1_000;

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) version: u32,
    /// What tracking links are signed with.
    pub(super) link_secret: String,
    pub(super) keys: Vec<KeyRecord>,
}

impl Kept {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { version: 1, link_secret: random::<32>()?, keys: Vec::new() })
    }

    pub(super) fn create(&mut self, new: NewKey, now: Timestamp) -> Result<(KeyRecord, String), KeyError> {
        let NewKey { tenant, name, role, places, driver, markets, rate, expires_at } = new;
        self.forget(&tenant, now);
        if self.keys.iter().filter(|key| key.tenant == tenant && key.is_valid(now)).count() >= MAX_KEYS {
            return Err(KeyError::Full);
        }
        if self.keys.iter().any(|key| key.tenant == tenant && key.name == name && key.is_valid(now)) {
            return Err(KeyError::NameTaken(name));
        }
        let (id, secret) = (format!("key-{}", random::<8>()?), new_key()?);
        let hash = KeyHash::of(&secret);
        let (former, created_at, revoked_at) = (None, now, None);
        let key = KeyRecord {
            id,
            tenant,
            name,
            role,
            places,
            driver,
            markets,
            rate,
            hash,
            former,
            created_at,
            expires_at,
            revoked_at,
        };
        self.keys.push(key.clone());
        Ok((key, secret))
    }

    /// Forgets keys of a tenant that ended long ago, or before many others.
    fn forget(&mut self, tenant: &TenantId, now: Timestamp) {
        let ended = |key: &KeyRecord| key.ended_at(now).filter(|_| key.tenant == *tenant);
        let mut times: Vec<_> = self.keys.iter().filter_map(ended).collect();
        times.sort_unstable();
        let kept_from = times.len().checked_sub(MAX_ENDED).map_or(Timestamp::MIN, |first| times[first]);
        self.keys.retain(|key| ended(key).is_none_or(|at| now - at < LISTED_FOR && at >= kept_from));
    }

    /// Gives a key that `may` be changed a new secret; the old one counts for `grace` longer.
    pub(super) fn rotate(
        &mut self,
        id: &str,
        may: impl Fn(&KeyRecord) -> bool,
        grace: Millis,
        now: Timestamp,
    ) -> Result<(KeyRecord, String), KeyError> {
        let key = self.find(id, may)?;
        if !key.is_valid(now) {
            return Err(KeyError::NotInForce(id.to_owned()));
        }
        let secret = new_key()?;
        key.former = Some((key.hash, now + grace)).filter(|_| grace > Millis::ZERO);
        key.hash = KeyHash::of(&secret);
        Ok((key.clone(), secret))
    }

    /// Has a key that `may` be changed let nobody in any more.
    pub(super) fn revoke(
        &mut self,
        id: &str,
        may: impl Fn(&KeyRecord) -> bool,
        now: Timestamp,
    ) -> Result<KeyRecord, KeyError> {
        let key = self.find(id, may)?;
        key.revoked_at.get_or_insert(now);
        Ok(key.clone())
    }

    fn find(&mut self, id: &str, may: impl Fn(&KeyRecord) -> bool) -> Result<&mut KeyRecord, KeyError> {
        let key = self.keys.iter_mut().find(|key| key.id == id && may(key));
        key.ok_or_else(|| KeyError::Unknown(id.to_owned()))
    }
}

/// The file with the keys. Who changes it holds a lock meanwhile, and reads it first.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

pub(super) const FILE: &str = "keys.json";
const LOCK: &str = "keys.lock";

/// When a file was written, and how long it is.
pub(super) type Stamp = (jiff::Timestamp, u64);

pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?.try_into().ok()?, about.len()))
}

impl KeyFile {
    /// The file in a data directory, which need not be there yet.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.0.join(FILE)
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        stamp(&self.path())
    }

    pub(super) fn read(&self) -> io::Result<Option<Kept>> {
        let path = self.0.join(FILE);
        let wrong = |problem: String| io::Error::other(format!("{}: {problem}", path.display()));
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let kept: Kept = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if kept.version == 1 { Ok(Some(kept)) } else { Err(wrong(format!("is of version {}, not 1", kept.version))) }
    }

    /// Changes what is kept, or else `absent`, and gives it as it is then.
    pub(super) fn change<T>(
        &self,
        absent: impl FnOnce() -> io::Result<Kept>,
        change: impl FnOnce(&mut Kept) -> Result<T, KeyError>,
    ) -> Result<(Known, T), KeyError> {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.0.display()));
        let lock =
            std::fs::create_dir_all(&self.0).and_then(|()| private_file::open(&self.0.join(LOCK))).map_err(about)?;
        lock.lock().map_err(about)?;
        let mut kept = match self.read()? {
            Some(kept) => kept,
            None => absent()?,
        };
        let before = kept.clone();
        let done = change(&mut kept)?;
        if kept != before || self.stamp().is_none() {
            private_file::replace(&self.0, FILE, &serde_json::to_vec_pretty(&kept).map_err(io::Error::other)?)?;
        }
        // Before the lock goes, or it might be that of what somebody else wrote.
        let stamp = self.stamp();
        drop(lock);
        Ok((Known::new(kept, stamp), done))
    }

    /// Makes a key: its id, and the key itself, which is nowhere else.
    pub fn create(&self, options: NewKeyOptions, now: Timestamp) -> Result<(String, String), String> {
        let new = options.check()?;
        let (_, (key, secret)) =
            self.change(Kept::new, |kept| kept.create(new, now)).map_err(|error| error.to_string())?;
        Ok((key.id, secret))
    }

    /// Gives a key a new secret. The old one counts for `grace` longer.
    pub fn rotate(&self, id: &str, grace: Millis, now: Timestamp) -> Result<String, String> {
        let changed = self.change(Kept::new, |kept| kept.rotate(id, |_| true, grace, now));
        changed.map(|(_, (_, secret))| secret).map_err(|error| error.to_string())
    }

    /// Has a key let nobody in any more.
    pub fn revoke(&self, id: &str, now: Timestamp) -> Result<(), String> {
        let changed = self.change(Kept::new, |kept| kept.revoke(id, |_| true, now));
        changed.map(drop).map_err(|error| error.to_string())
    }

    /// Makes every tracking link that was ever given out worthless.
    pub fn revoke_links(&self) -> Result<(), String> {
        let change = |kept: &mut Kept| {
            kept.link_secret = random::<32>()?;
            Ok(())
        };
        self.change(Kept::new, change).map(drop).map_err(|error| error.to_string())
    }

    /// A line for each key: id, tenant, role, name, and whether it lets anybody in.
    pub fn list(&self, now: Timestamp) -> io::Result<Vec<String>> {
        let keys = self.read()?.map(|kept| kept.keys).unwrap_or_default();
        let line = |key: &KeyRecord| {
            let is = match key.is_valid(now) {
                true => "in force",
                false if key.revoked_at.is_some() => "revoked",
                false => "expired",
            };
            format!("{}  {}  {}  {:?}  {is}", key.id, key.tenant, key.role, key.name.as_str())
        };
        Ok(keys.iter().map(line).collect())
    }
}

/// What a key that the command line makes is to be.
#[derive(Clone, Debug)]
pub struct NewKeyOptions {
    /// What it is for.
    pub role: Role,
    /// Who holds it.
    pub name: String,
    /// For a merchant: the ids of its places.
    pub places: Vec<String>,
    /// For a driver: its id.
    pub driver: Option<String>,
    /// Whose markets; the default tenant's if absent.
    pub tenant: Option<String>,
    /// Which markets; all of the tenant's if empty.
    pub markets: Vec<String>,
    /// How much more than usual it may ask.
    pub rate: f64,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

impl NewKeyOptions {
    pub(super) fn check(self) -> Result<NewKey, String> {
        let places = self.places.into_iter().map(PlaceId::new).collect::<Result<BTreeSet<_>, _>>();
        let driver = self.driver.map(DriverId::new).transpose();
        let markets = self.markets.into_iter().map(MarketId::new).collect::<Result<BTreeSet<_>, _>>();
        let tenant = self.tenant.map(TenantId::try_from).transpose();
        let name = Label::new(self.name).map_err(|error| format!("name: {error}"))?;
        if !is_plain(&name) {
            return Err("name: must not be empty or have control characters".into());
        }
        let (places, driver) =
            (places.map_err(|error| format!("places: {error}"))?, driver.map_err(|error| format!("driver: {error}"))?);
        Grant::new(self.role, places.clone(), driver.clone()).map_err(|error| format!("{}: {error}", error.field()))?;
        if !Key::RATES.contains(&self.rate) {
            return Err(format!("rate: {}", Key::RATES_ARE));
        }
        let markets = markets.map_err(|error| format!("markets: {error}"))?;
        Ok(NewKey {
            tenant: tenant.map_err(|error| format!("tenant: {error}"))?.unwrap_or_default(),
            name,
            role: self.role,
            places,
            driver,
            markets: Some(markets).filter(|markets| !markets.is_empty()),
            rate: self.rate,
            expires_at: self.expires_at,
        })
    }
}
