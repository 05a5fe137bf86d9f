//! API keys: those of the configuration, and those that are made, rotated and revoked while the server runs.
//!
//! The latter are in one file of the data directory that both the server and the command line change, one after the other.

use super::{Grant, Principal, Rate, Role, Scope, TenantId};
use crate::journal::hex;
use dispatch_core::{DriverId, Label, MarketId, Millis, PlaceId, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// SHA-256 of an API key. Keys are random and long, so a fast hash keeps them as safe as a slow one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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

impl TryFrom<String> for KeyHash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_hex(&text).ok_or("must be the 64 hexadecimal digits of a SHA-256")
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_hex()
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// Random bits, as hexadecimal digits.
pub(super) fn random<const BYTES: usize>() -> io::Result<String> {
    let mut bits = [0; BYTES];
    getrandom::fill(&mut bits).map_err(io::Error::other)?;
    Ok(hex(&bits))
}

/// A new key: `dk_` and 256 random bits.
pub fn new_key() -> io::Result<String> {
    Ok(format!("dk_{}", random::<32>()?))
}

/// A key of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) grant: Grant,
    pub(crate) scope: Scope,
    pub(crate) name: Label,
    pub(crate) rate: f64,
}

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
    hash: KeyHash,
    /// What it was before it was rotated, and until when that still counts.
    #[serde(default)]
    former: Option<(KeyHash, Timestamp)>,
    pub(crate) created_at: Timestamp,
    #[serde(default)]
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) revoked_at: Option<Timestamp>,
}

impl KeyRecord {
    fn principal(&self) -> Option<Principal> {
        Some(Principal {
            grant: Grant::new(self.role, self.places.clone(), self.driver.clone()).ok()?,
            scope: Scope { tenant: self.tenant.clone(), markets: self.markets.clone() },
            name: Some(self.name.clone()),
            id: self.name.to_string(),
            rate: Rate::Times(self.rate),
        })
    }

    fn counts(&self, hash: KeyHash, now: Timestamp) -> bool {
        let former = || self.former.is_some_and(|(former, until)| former == hash && now < until);
        self.is_valid(now) && (self.hash == hash || former())
    }

    /// Whether it lets anybody in now.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|until| now < until)
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

/// What is done to a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyChange {
    /// A new secret; the old one counts for so long.
    Rotate { grace: Millis },
    /// It lets nobody in any more.
    Revoke,
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
    #[error("there are {MAX_KEYS} keys, as many as there may be; revoke some, or let an issuer of tokens name people")]
    Full,
    #[error("keys cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// Most keys beside those of the configuration. Who has many people to let in has an issuer of tokens.
const MAX_KEYS: usize = 10_000;

/// For how long a revoked key is still listed.
const LISTED_FOR: Millis = Millis::from_mins(90 * 24 * 60);

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// What tracking links are signed with.
    link_secret: String,
    keys: Vec<KeyRecord>,
}

impl Kept {
    fn new() -> io::Result<Self> {
        Ok(Self { version: 1, link_secret: random::<32>()?, keys: Vec::new() })
    }

    fn create(&mut self, new: NewKey, now: Timestamp) -> Result<(KeyRecord, String), KeyError> {
        let NewKey { tenant, name, role, places, driver, markets, rate, expires_at } = new;
        self.keys.retain(|key| key.revoked_at.is_none_or(|at| now - at < LISTED_FOR));
        if self.keys.len() >= MAX_KEYS {
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

    fn change(
        &mut self,
        id: &str,
        may: impl Fn(&KeyRecord) -> bool,
        change: KeyChange,
        now: Timestamp,
    ) -> Result<(KeyRecord, Option<String>), KeyError> {
        let key = self.keys.iter_mut().find(|key| key.id == id && may(key));
        let key = key.ok_or_else(|| KeyError::Unknown(id.to_owned()))?;
        let secret = match change {
            KeyChange::Rotate { grace } => {
                if !key.is_valid(now) {
                    return Err(KeyError::NotInForce(id.to_owned()));
                }
                let secret = new_key()?;
                key.former = Some((key.hash, now + grace)).filter(|_| grace > Millis::ZERO);
                key.hash = KeyHash::of(&secret);
                Some(secret)
            }
            KeyChange::Revoke => {
                key.revoked_at.get_or_insert(now);
                None
            }
        };
        Ok((key.clone(), secret))
    }
}

/// The file with the keys. Who changes it holds a lock meanwhile, and reads it first.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

const FILE: &str = "keys.json";
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

    fn stamp(&self) -> Option<Stamp> {
        stamp(&self.0.join(FILE))
    }

    fn read(&self) -> io::Result<Option<Kept>> {
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

    /// Changes what is kept, and gives it as it is then.
    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> Result<T, KeyError>) -> Result<(Kept, T), KeyError> {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.0.display()));
        let lock = std::fs::create_dir_all(&self.0).and_then(|()| File::create(self.0.join(LOCK))).map_err(about)?;
        lock.lock().map_err(about)?;
        let mut kept = match self.read()? {
            Some(kept) => kept,
            None => Kept::new()?,
        };
        let before = kept.clone();
        let done = change(&mut kept)?;
        if kept != before || self.stamp().is_none() {
            self.write(&serde_json::to_vec_pretty(&kept).map_err(io::Error::other)?)?;
        }
        Ok((kept, done))
    }

    /// Puts a file in place that is whole, durable, and read by its owner only.
    fn write(&self, text: &[u8]) -> io::Result<()> {
        let (unfinished, path) = (self.0.join("keys.json.unfinished"), self.0.join(FILE));
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&unfinished)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        File::open(&self.0)?.sync_all()
    }

    /// Makes a key: its id, and the key itself, which is nowhere else.
    pub fn create(&self, options: NewKeyOptions, now: Timestamp) -> Result<(String, String), String> {
        let new = options.check()?;
        let (_, (key, secret)) = self.change(|kept| kept.create(new, now)).map_err(|error| error.to_string())?;
        Ok((key.id, secret))
    }

    /// Gives a key a new secret. The old one counts for `grace` longer.
    pub fn rotate(&self, id: &str, grace: Millis, now: Timestamp) -> Result<String, String> {
        let change = |kept: &mut Kept| kept.change(id, |_| true, KeyChange::Rotate { grace }, now);
        let (_, (_, secret)) = self.change(change).map_err(|error| error.to_string())?;
        secret.ok_or_else(|| "no secret".to_owned())
    }

    /// Has a key let nobody in any more.
    pub fn revoke(&self, id: &str, now: Timestamp) -> Result<(), String> {
        let change = |kept: &mut Kept| kept.change(id, |_| true, KeyChange::Revoke, now);
        self.change(change).map(drop).map_err(|error| error.to_string())
    }

    /// Makes every tracking link that was ever given out worthless.
    pub fn revoke_links(&self) -> Result<(), String> {
        let change = |kept: &mut Kept| {
            kept.link_secret = random::<32>()?;
            Ok(())
        };
        self.change(change).map(drop).map_err(|error| error.to_string())
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
            format!("{}  {}  {}  {}  {is}", key.id, key.tenant, key.role, key.name)
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
    fn check(self) -> Result<NewKey, String> {
        let places = self.places.into_iter().map(PlaceId::new).collect::<Result<BTreeSet<_>, _>>();
        let driver = self.driver.map(DriverId::new).transpose();
        let markets = self.markets.into_iter().map(MarketId::new).collect::<Result<BTreeSet<_>, _>>();
        let tenant = self.tenant.map(TenantId::try_from).transpose();
        let name = Label::new(self.name).map_err(|error| format!("name: {error}"))?;
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

impl Key {
    /// How much more than usual a key may ask.
    pub(crate) const RATES: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;
    pub(crate) const RATES_ARE: &str = "must be a number from 0.01 to 10000";
}

/// Every key the server knows.
#[derive(Debug)]
pub(crate) struct KeyStore {
    configured: BTreeMap<KeyHash, Key>,
    /// Absent where nothing is kept.
    file: Option<KeyFile>,
    known: RwLock<Known>,
    /// One change after the other.
    changing: Mutex<()>,
}

/// The keys of the file, as it was when it was read.
#[derive(Debug)]
struct Known {
    kept: Kept,
    by_hash: BTreeMap<KeyHash, usize>,
    stamp: Option<Stamp>,
}

impl Known {
    fn new(kept: Kept, stamp: Option<Stamp>) -> Self {
        let hashes = |(place, key): (usize, &KeyRecord)| {
            let former = key.former.map(|(hash, _)| hash);
            former.into_iter().chain([key.hash]).map(move |hash| (hash, place)).collect::<Vec<_>>()
        };
        let by_hash = kept.keys.iter().enumerate().flat_map(hashes).collect();
        Self { kept, by_hash, stamp }
    }
}

impl KeyStore {
    /// The keys of the configuration, and those of the file.
    pub(crate) fn open(configured: BTreeMap<KeyHash, Key>, file: Option<KeyFile>) -> Result<Self, KeyError> {
        let stamp = file.as_ref().and_then(KeyFile::stamp);
        let kept = match &file {
            // So that links are signed with the same secret after a restart.
            Some(file) => file.change(|_| Ok(()))?.0,
            None => Kept::new()?,
        };
        Ok(Self { configured, file, known: RwLock::new(Known::new(kept, stamp)), changing: Mutex::new(()) })
    }

    /// Whether there was never any key.
    pub(crate) fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.known.read().kept.keys.is_empty()
    }

    pub(super) fn identify(&self, key: &str, now: Timestamp) -> Option<Principal> {
        // The time this takes tells something about the hashes at most, and from a hash no way leads to a key.
        let hash = KeyHash::of(key);
        if let Some(Key { grant, scope, name, rate }) = self.configured.get(&hash) {
            let (name, id) = (Some(name.clone()), name.to_string());
            return Some(Principal { grant: grant.clone(), scope: scope.clone(), name, id, rate: Rate::Times(*rate) });
        }
        let known = self.known.read();
        let key = &known.kept.keys[*known.by_hash.get(&hash)?];
        key.counts(hash, now).then(|| key.principal()).flatten()
    }

    /// Makes a key: what it is, and the key itself, which is nowhere else.
    pub(crate) fn create(&self, new: NewKey, now: Timestamp) -> Result<(KeyRecord, String), KeyError> {
        let taken = |key: &Key| key.scope.tenant == new.tenant && key.name == new.name;
        if self.configured.values().any(taken) {
            return Err(KeyError::NameTaken(new.name));
        }
        self.change(|kept| kept.create(new, now))
    }

    /// Changes a key that `may` be changed.
    pub(crate) fn alter(
        &self,
        id: &str,
        may: impl Fn(&KeyRecord) -> bool,
        change: KeyChange,
        now: Timestamp,
    ) -> Result<(KeyRecord, Option<String>), KeyError> {
        self.change(|kept| kept.change(id, may, change, now))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let _one = self.changing.lock();
        let (kept, stamp, done) = if let Some(file) = &self.file {
            let (kept, done) = file.change(change)?;
            (kept, file.stamp(), done)
        } else {
            let mut kept = self.known.read().kept.clone();
            let done = change(&mut kept)?;
            (kept, None, done)
        };
        *self.known.write() = Known::new(kept, stamp);
        Ok(done)
    }

    /// Reads the file if it changed since.
    pub(super) fn refresh(&self) {
        let Some(file) = &self.file else { return };
        let _one = self.changing.lock();
        let stamp = file.stamp();
        if stamp == self.known.read().stamp {
            return;
        }
        match file.read() {
            Ok(Some(kept)) => *self.known.write() = Known::new(kept, stamp),
            // Who takes the file away has not opened the door.
            Ok(None) => tracing::warn!("the file of the keys is gone; those that were known still count"),
            Err(error) => tracing::error!("keys cannot be read, and those that were known still count: {error}"),
        }
    }

    /// The keys that `shows` says to, after this id, by id.
    pub(crate) fn list(&self, after: Option<&str>, shows: impl Fn(&KeyRecord) -> bool) -> Vec<KeyRecord> {
        let known = self.known.read();
        let after = |key: &&KeyRecord| after.is_none_or(|after| key.id.as_str() > after);
        let mut keys: Vec<_> = known.kept.keys.iter().filter(after).filter(|key| shows(key)).cloned().collect();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        keys
    }

    /// What tracking links are signed with.
    pub(super) fn link_secret(&self) -> Vec<u8> {
        self.known.read().kept.link_secret.clone().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::Folder;

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    fn options(name: &str) -> NewKeyOptions {
        NewKeyOptions {
            role: Role::Dispatcher,
            name: name.into(),
            places: Vec::new(),
            driver: None,
            tenant: None,
            markets: Vec::new(),
            rate: 1.0,
            expires_at: None,
        }
    }

    fn new(name: &str) -> NewKey {
        options(name).check().unwrap()
    }

    #[test]
    fn a_hash_is_hexadecimal_digits() {
        let key = new_key().unwrap();
        assert_ne!(key, new_key().unwrap());
        let hash = KeyHash::of(&key);
        assert_eq!(KeyHash::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(KeyHash::from_hex(&"g".repeat(64)), None);
        assert_eq!(KeyHash::from_hex("00"), None);
    }

    #[test]
    fn a_key_counts_until_it_is_rotated_expires_or_is_revoked() {
        let store = KeyStore::open(BTreeMap::new(), None).unwrap();
        assert!(store.is_empty());
        let name = |key: &str, at: Timestamp| store.identify(key, at).map(|who| who.id);
        let (first, secret) = store.create(new("ops"), START).unwrap();
        assert_eq!(name(&secret, START).as_deref(), Some("ops"));
        assert_eq!(name("dk_0", START), None);
        assert!(matches!(store.create(new("ops"), START), Err(KeyError::NameTaken(_))));

        let rotate = KeyChange::Rotate { grace: Millis::from_secs(60) };
        let next = store.alter(&first.id, |_| true, rotate, START).unwrap().1.unwrap();
        let (during, after) = (START + Millis::from_secs(59), START + Millis::from_secs(60));
        assert_eq!([name(&secret, during), name(&next, during)].map(|name| name.is_some()), [true, true]);
        assert_eq!([name(&secret, after), name(&next, after)].map(|name| name.is_some()), [false, true]);

        assert!(store.alter(&first.id, |_| false, KeyChange::Revoke, after).is_err(), "somebody else's");
        store.alter(&first.id, |_| true, KeyChange::Revoke, after).unwrap();
        assert_eq!(name(&next, after), None);
        assert!(store.alter(&first.id, |_| true, rotate, after).is_err(), "nothing brings it back");
        assert!(!store.is_empty(), "who revokes the last key locks the door, and does not open it");

        let expiring = NewKey { expires_at: Some(after), ..new("guest") };
        let (_, guest) = store.create(expiring, START).unwrap();
        assert_eq!([name(&guest, during), name(&guest, after)].map(|name| name.is_some()), [true, false]);
        assert!(store.create(new("guest"), after).is_ok(), "its name is free again");
    }

    #[test]
    fn the_command_line_and_the_server_change_one_file() {
        let folder = Folder::new();
        let file = KeyFile::of(Path::new(folder.path()));
        let (id, secret) = file.create(options("cli"), START).unwrap();
        let store = KeyStore::open(BTreeMap::new(), Some(file.clone())).unwrap();
        assert!(store.identify(&secret, START).is_some());
        let (_, of_server) = store.create(new("server"), START).unwrap();
        let (_, late) = file.create(options("late"), START).unwrap();
        assert!(store.identify(&late, START).is_none());
        file.revoke(&id, START).unwrap();
        store.refresh();
        assert_eq!([&secret, &of_server, &late].map(|key| store.identify(key, START).is_some()), [false, true, true]);
        assert_eq!(file.list(START).unwrap().iter().filter(|line| line.ends_with("in force")).count(), 2);
        let again = KeyStore::open(BTreeMap::new(), Some(file.clone())).unwrap();
        assert_eq!(again.link_secret(), store.link_secret(), "links outlive a restart");
        file.revoke_links().unwrap();
        store.refresh();
        assert_ne!(again.link_secret(), store.link_secret());
        // A file that is gone or makes no sense lets nobody in who was not, and nobody out.
        for text in [None, Some("{")] {
            std::fs::remove_file(Path::new(folder.path()).join(FILE)).unwrap();
            text.map_or(Ok(()), |text| std::fs::write(Path::new(folder.path()).join(FILE), text)).unwrap();
            store.refresh();
            assert!(store.identify(&of_server, START).is_some());
            std::fs::write(Path::new(folder.path()).join(FILE), "{").unwrap();
        }
        assert!(KeyStore::open(BTreeMap::new(), Some(file)).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new();
        KeyFile::of(Path::new(folder.path())).create(options("ops"), START).unwrap();
        let mode = std::fs::metadata(Path::new(folder.path()).join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
