//! Webhooks: what happens is told to whoever asked for it, over HTTP, at least once and in the order of the log.
//!
//! Each webhook follows the log by itself, from where it is kept to have been told. [`line`] decides what is sent and when, without
//! clock and network; [`run`] carries that out; [`post`] sends one letter.

mod envelope;
mod hook;
mod line;
mod post;
mod run;
mod source;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use hook::{EventType, Pause, Webhook};
pub(crate) use line::{Dead, Standing};
pub(crate) use source::Source;
pub(crate) use target::{MAX_URL, TargetError};

use crate::auth::{TenantId, random};
use crate::config::WebhooksConfig;
use crate::private_file;
use crate::runner::Clock;
use crate::telemetry::{Metrics, table};
use dispatch_core::{Label, MarketId, Millis, Timestamp};
use envelope::Notice;
use hook::{Hook, Secret, read_line};
use line::{Line, Policy};
use parking_lot::{Mutex, RwLock};
use post::Poster;
use run::Figures;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use target::{Reach, Target};
use tokio::sync::{Notify, Semaphore};

/// Why webhooks were not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error("there is no webhook {0}")]
    Unknown(String),
    #[error("there are as many webhooks as may be; delete some")]
    Full,
    #[error("so much is on its way to this webhook that a test would have to wait; resume it, or mend its receiver")]
    NoRoom,
    #[error("{0}")]
    Target(#[from] TargetError),
    #[error("webhooks cannot be kept: {0}")]
    Io(#[from] io::Error),
}

/// What a new webhook is to be.
#[derive(Debug)]
pub(crate) struct NewWebhook {
    pub(crate) tenant: TenantId,
    pub(crate) name: Option<Label>,
    pub(crate) url: String,
    pub(crate) events: Option<BTreeSet<EventType>>,
    pub(crate) markets: Option<BTreeSet<MarketId>>,
}

/// A webhook and how it stands.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) webhook: Webhook,
    pub(crate) pending: usize,
    pub(crate) dead: usize,
    pub(crate) dropped: u64,
    pub(crate) standing: Standing,
}

/// All webhooks of a server.
pub(crate) struct Webhooks {
    per_tenant: usize,
    reach: Reach,
    policy: Policy,
    clock: Clock,
    poster: Poster,
    at_once: Semaphore,
    source: Source,
    figures: Figures,
    /// Whose each market is.
    tenants: BTreeMap<MarketId, TenantId>,
    /// Absent where nothing is kept.
    folder: Option<PathBuf>,
    hooks: RwLock<BTreeMap<String, Arc<Hook>>>,
    /// One change of the list after the other.
    changing: Mutex<()>,
    /// The list has changed.
    changed: Notify,
    is_closed: AtomicBool,
    /// Whoever sends letters holds it.
    sending: tokio::sync::Mutex<()>,
}

const FILE: &str = "webhooks.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    version: u32,
    webhooks: Vec<Webhook>,
}

impl Webhooks {
    /// Reads the webhooks that are kept in a folder.
    pub(crate) fn open(
        config: &WebhooksConfig,
        tenants: BTreeMap<MarketId, TenantId>,
        folder: Option<PathBuf>,
        clock: Clock,
        metrics: &Metrics,
        source: Source,
    ) -> io::Result<Self> {
        let webhooks = Self {
            per_tenant: config.per_tenant,
            reach: Reach::of(config),
            policy: config.into(),
            clock,
            poster: Poster::new(config),
            at_once: Semaphore::new(config.requests),
            source,
            figures: Figures::new(metrics),
            tenants,
            folder,
            hooks: RwLock::default(),
            changing: Mutex::new(()),
            changed: Notify::new(),
            is_closed: AtomicBool::new(false),
            sending: tokio::sync::Mutex::new(()),
        };
        let hooks = webhooks.read().map_err(|error| io::Error::other(format!("{FILE}: {error}")))?;
        *webhooks.hooks.write() = hooks;
        Ok(webhooks)
    }

    fn read(&self) -> io::Result<BTreeMap<String, Arc<Hook>>> {
        let Some(folder) = &self.folder else { return Ok(BTreeMap::new()) };
        let kept: Kept = match std::fs::read(folder.join(FILE)) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        if kept.version != 1 {
            return Err(io::Error::other(format!("is of version {}, not 1", kept.version)));
        }
        let hook = |about: Webhook| {
            // Where the file is lost nobody knows what it was told: that is a gap, and said.
            let line = read_line(folder, &about.id)?.unwrap_or_default().resume();
            Ok((about.id.clone(), Arc::new(Hook::new(about, line))))
        };
        kept.webhooks.into_iter().map(hook).collect()
    }

    /// Changes the list, writes it, and lets it count then.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<String, Webhook>) -> Result<T, WebhookError>,
    ) -> Result<T, WebhookError> {
        let _one = self.changing.lock();
        let before: BTreeMap<_, _> =
            self.hooks.read().iter().map(|(id, hook)| (id.clone(), hook.about.read().clone())).collect();
        let mut after = before.clone();
        let done = change(&mut after)?;
        if after == before {
            return Ok(done);
        }
        let new = |about: &Webhook| (about.id.clone(), Arc::new(Hook::new(about.clone(), self.new_line())));
        let new: Vec<_> = after.values().filter(|about| !before.contains_key(&about.id)).map(new).collect();
        if let Some(folder) = &self.folder {
            // Where it begins is kept before anybody may rely on it.
            new.iter().try_for_each(|(_, hook)| hook.keep(folder))?;
            let kept = Kept { version: 1, webhooks: after.values().cloned().collect() };
            let json = serde_json::to_vec_pretty(&kept).map_err(io::Error::other)?;
            private_file::replace(folder, FILE, &json)?;
        }
        let mut hooks = self.hooks.write();
        hooks.extend(new);
        hooks.retain(|id, hook| {
            let Some(about) = after.remove(id) else {
                hook.forget(self.folder.as_deref());
                return false;
            };
            *hook.about.write() = about;
            hook.changed.notify_one();
            true
        });
        self.changed.notify_one();
        Ok(done)
    }

    /// A line that begins with whatever comes next.
    fn new_line(&self) -> Line {
        let mut line = Line::default();
        line.move_to((self.source.head)());
        line
    }

    /// Checks where a new webhook is to lead, as far as that can be said without asking anybody.
    pub(crate) fn check(&self, new: &NewWebhook) -> Result<(), TargetError> {
        Target::parse(&new.url, self.reach).map(drop)
    }

    /// Whether a market is a tenant's.
    pub(crate) fn is_of(&self, market: &MarketId, tenant: &TenantId) -> bool {
        self.tenants.get(market) == Some(tenant)
    }

    /// Makes a webhook, which is told of everything that happens from now on: it and its secret. Writes files.
    pub(crate) fn create(&self, new: NewWebhook, now: Timestamp) -> Result<(Seen, Secret), WebhookError> {
        self.check(&new)?;
        let NewWebhook { tenant, name, url, events, markets } = new;
        let (id, secret) = (format!("webhook-{}", random::<8>()?), Secret::new()?);
        let (created_at, former, pause) = (now, None, None);
        let about =
            Webhook { id, tenant, name, url, events, markets, secret: secret.clone(), former, created_at, pause };
        let id = about.id.clone();
        self.change(|all| {
            if all.values().filter(|other| other.tenant == about.tenant).count() >= self.per_tenant {
                return Err(WebhookError::Full);
            }
            all.insert(about.id.clone(), about);
            Ok(())
        })?;
        let hook = self.find(&id, |_| true)?;
        Ok((Seen::of(&hook), secret))
    }

    /// Removes a webhook that `may` be seen, with all that it was still to be told. Writes files.
    pub(crate) fn delete(&self, id: &str, may: impl Fn(&Webhook) -> bool) -> Result<Seen, WebhookError> {
        let hook = self.find(id, may)?;
        self.change(|all| all.remove(id).map(drop).ok_or_else(|| WebhookError::Unknown(id.to_owned())))?;
        Ok(Seen::of(&hook))
    }

    /// Gives a webhook that `may` be seen a new secret; letters are signed with the old one, too, for `grace` longer. Writes files.
    pub(crate) fn rotate(
        &self,
        id: &str,
        may: impl Fn(&Webhook) -> bool,
        grace: Millis,
        now: Timestamp,
    ) -> Result<(Seen, Secret), WebhookError> {
        let secret = Secret::new()?;
        let seen = self.update(id, may, |about| {
            let former = std::mem::replace(&mut about.secret, secret.clone());
            about.former = Some((former, now + grace)).filter(|_| grace > Millis::ZERO);
        })?;
        Ok((seen, secret))
    }

    /// Has a webhook that `may` be seen wait, or go on from where it is. Writes files.
    pub(crate) fn pause(
        &self,
        id: &str,
        may: impl Fn(&Webhook) -> bool,
        pause: Option<Pause>,
    ) -> Result<Seen, WebhookError> {
        self.update(id, may, |about| about.pause = pause)
    }

    fn update(
        &self,
        id: &str,
        may: impl Fn(&Webhook) -> bool,
        update: impl FnOnce(&mut Webhook),
    ) -> Result<Seen, WebhookError> {
        let hook = self.find(id, may)?;
        self.change(|all| {
            let about = all.get_mut(id).ok_or_else(|| WebhookError::Unknown(id.to_owned()))?;
            update(about);
            Ok(())
        })?;
        Ok(Seen::of(&hook))
    }

    fn find(&self, id: &str, may: impl Fn(&Webhook) -> bool) -> Result<Arc<Hook>, WebhookError> {
        let found = self.hooks.read().get(id).filter(|hook| may(&hook.about.read())).cloned();
        found.ok_or_else(|| WebhookError::Unknown(id.to_owned()))
    }

    /// A webhook that `may` be seen.
    pub(crate) fn get(&self, id: &str, may: impl Fn(&Webhook) -> bool) -> Result<Seen, WebhookError> {
        self.find(id, may).map(|hook| Seen::of(&hook))
    }

    /// The webhooks that `may` be seen, after this id, by id: one more than `limit` if there are so many.
    pub(crate) fn list(&self, after: Option<&str>, limit: usize, may: impl Fn(&Webhook) -> bool) -> Vec<Seen> {
        let hooks = self.hooks.read();
        let rest = hooks.iter().filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
        let shown = rest.filter(|(_, hook)| may(&hook.about.read()));
        shown.take(limit + 1).map(|(_, hook)| Seen::of(hook)).collect()
    }

    /// Has a webhook that `may` be seen told that this is a test: the id of the event.
    pub(crate) fn test(
        &self,
        id: &str,
        may: impl Fn(&Webhook) -> bool,
        now: Timestamp,
    ) -> Result<String, WebhookError> {
        let hook = self.find(id, may)?;
        let event = format!("test-{}", random::<8>()?);
        let letter = Notice::Test { webhook: id }.letter(&event, now);
        let is_taken = hook.change(|line| {
            let has_room = line.has_room(&self.policy);
            if has_room {
                line.push(letter);
            }
            has_room
        });
        if !is_taken {
            return Err(WebhookError::NoRoom);
        }
        hook.changed.notify_one();
        Ok(event)
    }

    /// The dead letters of a webhook that `may` be seen, after this number: one more than `limit` if there are so many.
    pub(crate) fn dead_letters(
        &self,
        id: &str,
        may: impl Fn(&Webhook) -> bool,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Dead)>, WebhookError> {
        let hook = self.find(id, may)?;
        let taken = |(number, dead): (u64, &Dead)| (number, dead.clone());
        Ok(hook.see(|line| line.dead_letters(after).take(limit + 1).map(taken).collect()))
    }

    /// Sends dead letters again of a webhook that `may` be seen, these or all: how many. Writes files.
    pub(crate) fn replay(
        &self,
        id: &str,
        may: impl Fn(&Webhook) -> bool,
        numbers: Option<&[u64]>,
    ) -> Result<usize, WebhookError> {
        let hook = self.find(id, may)?;
        let count = hook.change(|line| line.replay(numbers, self.clock.now()));
        if let Some(folder) = &self.folder {
            hook.keep(folder)?;
        }
        hook.changed.notify_one();
        Ok(count)
    }

    /// Sends no more letters, and keeps how far all webhooks were told. Writes files.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        for hook in self.hooks.read().values() {
            hook.changed.notify_one();
        }
        self.keep();
    }

    /// Writes what changed since; what cannot be written was said.
    fn keep(&self) {
        let Some(folder) = &self.folder else { return };
        let hooks: Vec<_> = self.hooks.read().values().cloned().collect();
        for hook in hooks {
            let _ = hook.keep(folder);
        }
    }

    /// Sets what is known only by looking.
    pub(crate) fn measure(&self, metrics: &Metrics) {
        let hooks = self.hooks.read();
        let sum = |of: fn(&Line) -> usize| hooks.values().map(|hook| hook.see(of)).sum::<usize>() as f64;
        metrics.gauge(&table::WEBHOOKS_PENDING, &[]).set(sum(Line::pending));
        metrics.gauge(&table::WEBHOOKS_DEAD, &[]).set(sum(Line::dead));
    }
}

impl Seen {
    fn of(hook: &Hook) -> Self {
        let webhook = hook.about.read().clone();
        hook.see(|line| Self {
            webhook,
            pending: line.pending(),
            dead: line.dead(),
            dropped: line.dropped(),
            standing: line.standing().clone(),
        })
    }
}
