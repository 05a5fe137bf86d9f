//! API keys: those of the configuration, and those of the file that may change while the server runs.

use super::key_file::{Kept, KeyError, KeyFile, KeyRecord, NewKey, Stamp};
use super::{Grant, Principal, Rate, Scope};
use crate::journal::hex;
use dispatch_core::{Label, Millis, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

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

/// Whether a name is one, fits on one line of a log or a terminal, and changes nothing there.
pub(crate) fn is_plain(name: &Label) -> bool {
    !name.as_str().is_empty() && !name.as_str().chars().any(char::is_control)
}

/// Random bits, as hexadecimal digits.
pub(crate) fn random<const BYTES: usize>() -> io::Result<String> {
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

impl Key {
    /// How much more than usual a key may ask.
    pub(crate) const RATES: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;
    pub(crate) const RATES_ARE: &str = "must be a number from 0.01 to 10000";
}

/// Every key the server knows.
#[derive(Debug)]
pub(crate) struct KeyStore {
    configured: BTreeMap<KeyHash, Key>,
    /// There was a key once. A file that was taken away does not open the door.
    locked: AtomicBool,
    /// Absent where nothing is kept.
    file: Option<KeyFile>,
    known: RwLock<Known>,
    changes: watch::Sender<()>,
    /// One change after the other.
    changing: Mutex<()>,
}

/// The keys of the file, as it was when it was read.
#[derive(Debug)]
pub(super) struct Known {
    kept: Kept,
    by_hash: BTreeMap<KeyHash, usize>,
    stamp: Option<Stamp>,
}

impl Known {
    pub(super) fn new(kept: Kept, stamp: Option<Stamp>) -> Self {
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
        let kept = file.as_ref().map(KeyFile::read).transpose()?.flatten().map_or_else(Kept::new, Ok)?;
        let locked = AtomicBool::new(!configured.is_empty() || !kept.keys.is_empty());
        let known = RwLock::new(Known::new(kept, stamp));
        Ok(Self { configured, locked, file, known, changes: watch::channel(()).0, changing: Mutex::new(()) })
    }

    /// Told of each change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether there was never any key.
    pub(crate) fn is_empty(&self) -> bool {
        !self.locked.load(Ordering::Relaxed)
    }

    /// Takes over what is kept now.
    fn know(&self, known: Known) {
        self.locked.fetch_or(!known.kept.keys.is_empty(), Ordering::Relaxed);
        *self.known.write() = known;
        self.changes.send_replace(());
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

    /// Gives a key that `may` be changed a new secret; the old one counts for `grace` longer.
    pub(crate) fn rotate(
        &self,
        id: &str,
        may: impl Fn(&KeyRecord) -> bool,
        grace: Millis,
        now: Timestamp,
    ) -> Result<(KeyRecord, String), KeyError> {
        self.change(|kept| kept.rotate(id, may, grace, now))
    }

    /// Has a key that `may` be changed let nobody in any more.
    pub(crate) fn revoke(
        &self,
        id: &str,
        may: impl Fn(&KeyRecord) -> bool,
        now: Timestamp,
    ) -> Result<KeyRecord, KeyError> {
        self.change(|kept| kept.revoke(id, may, now))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let _one = self.changing.lock();
        let known = || self.known.read().kept.clone();
        let (known, done) = if let Some(file) = &self.file {
            // A file that was taken away comes back with what it held.
            file.change(|| Ok(known()), change)?
        } else {
            let mut kept = known();
            let done = change(&mut kept)?;
            (Known::new(kept, None), done)
        };
        self.know(known);
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
            Ok(Some(kept)) => return self.know(Known::new(kept, stamp)),
            // Who takes the file away has not opened the door.
            Ok(None) => tracing::warn!("the file of the keys is gone; those that were known still count"),
            Err(error) => tracing::error!("keys cannot be read, and those that were known still count: {error}"),
        }
        // Said once, and not with every look.
        self.known.write().stamp = stamp;
    }

    /// The keys that `shows` says to, after this id, by id.
    pub(crate) fn list(&self, after: Option<&str>, shows: impl Fn(&KeyRecord) -> bool) -> Vec<KeyRecord> {
        let known = self.known.read();
        let after = |key: &&KeyRecord| after.is_none_or(|after| key.id.as_str() > after);
        let mut keys: Vec<_> = known.kept.keys.iter().filter(after).filter(|key| shows(key)).cloned().collect();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        keys
    }

    /// Has the secret of links kept, so that they outlive a restart. Reads and writes files.
    pub(super) fn keep_link_secret(&self) -> Result<(), KeyError> {
        let is_kept = self.file.is_none() || self.known.read().stamp.is_some();
        if is_kept { Ok(()) } else { self.change(|_| Ok(())) }
    }

    /// What tracking links are signed with.
    pub(super) fn link_secret(&self) -> Vec<u8> {
        self.known.read().kept.link_secret.clone().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key_file::{FILE, LISTED_FOR, MAX_ENDED, MAX_KEYS, NewKeyOptions};
    use super::super::{Role, TenantId};
    use super::*;
    use crate::common::Folder;
    use std::path::Path;

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
        assert_eq!(name(&secret, START), Some(first.id.clone()));
        assert_eq!(name("dk_0", START), None);
        assert!(matches!(store.create(new("ops"), START), Err(KeyError::NameTaken(_))));

        let rotate = |at| store.rotate(&first.id, |_| true, Millis::from_secs(60), at);
        let (_, next) = rotate(START).unwrap();
        let (during, after) = (START + Millis::from_secs(59), START + Millis::from_secs(60));
        assert_eq!([name(&secret, during), name(&next, during)].map(|name| name.is_some()), [true, true]);
        assert_eq!([name(&secret, after), name(&next, after)].map(|name| name.is_some()), [false, true]);

        assert!(store.revoke(&first.id, |_| false, after).is_err(), "somebody else's");
        store.revoke(&first.id, |_| true, after).unwrap();
        assert_eq!(name(&next, after), None);
        assert!(rotate(after).is_err(), "nothing brings it back");
        assert!(!store.is_empty(), "who revokes the last key locks the door, and does not open it");

        let expiring = NewKey { expires_at: Some(after), ..new("guest") };
        let (_, guest) = store.create(expiring, START).unwrap();
        assert_eq!([name(&guest, during), name(&guest, after)].map(|name| name.is_some()), [true, false]);
        assert!(store.create(new("guest"), after).is_ok(), "its name is free again");
    }

    #[test]
    fn a_tenant_fills_its_own_places_alone_and_ended_keys_fill_none() {
        let mut kept = Kept::new().unwrap();
        let (key, _) = kept.create(new("0"), START).unwrap();
        let ended = |n: i64| KeyRecord { id: format!("e{n}"), revoked_at: Some(START + Millis::new(n)), ..key.clone() };
        kept.keys.extend((0..5_000).map(ended));
        kept.keys.extend((1..MAX_KEYS).map(|n| KeyRecord { name: Label::new(n.to_string()).unwrap(), ..key.clone() }));
        let later = START + Millis::from_mins(1);
        assert!(matches!(kept.create(new("one more"), later), Err(KeyError::Full)));
        let ends = kept.keys.iter().filter(|key| !key.is_valid(later)).count();
        assert_eq!((ends, kept.keys.len()), (MAX_ENDED, MAX_ENDED + MAX_KEYS));
        let other = TenantId::try_from("other".to_owned()).unwrap();
        assert!(kept.create(NewKey { tenant: other, ..new("one more") }, later).is_ok());
        let first = kept.keys.remove(0);
        assert!(first.is_valid(later) && kept.create(new("one more"), later + LISTED_FOR).is_ok());
        assert!(kept.keys.iter().all(|key| key.is_valid(later)), "those that ended are forgotten in time");
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
        again.keep_link_secret().unwrap();
        assert_eq!(again.link_secret(), store.link_secret(), "links outlive a restart");
        file.revoke_links().unwrap();
        store.refresh();
        assert_ne!(again.link_secret(), store.link_secret());
        // A file that was taken away comes back with whatever is changed next.
        std::fs::remove_file(Path::new(folder.path()).join(FILE)).unwrap();
        store.refresh();
        store.create(new("after"), START).unwrap();
        assert!(store.identify(&of_server, START).is_some() && store.identify(&late, START).is_some());
        assert_eq!(file.list(START).unwrap().iter().filter(|line| line.ends_with("in force")).count(), 3);
        // A file that is gone or makes no sense lets nobody in who was not, and nobody out.
        for text in [None, Some("{")] {
            std::fs::remove_file(Path::new(folder.path()).join(FILE)).unwrap();
            text.map_or(Ok(()), |text| std::fs::write(Path::new(folder.path()).join(FILE), text)).unwrap();
            store.refresh();
            assert!(store.identify(&of_server, START).is_some() && !store.is_empty());
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
