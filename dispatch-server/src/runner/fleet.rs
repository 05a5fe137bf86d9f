//! The positions of all drivers: reported and searched from any thread, without the runner.

use super::{Clock, Error};
use crate::auth::{Scope, TenantId};
use crate::postgres::Samples;
use crate::telemetry::{FixOutcome, Fixes};
use dispatch_core::{
    ConfigError, DriverId, Fix, FixRules, MarketId, Meters, Millis, Position, PositionIndex, Positions, Refusal,
    Reported, Slot, Timestamp,
};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

/// What became of a reported position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixResult {
    /// The index judged it.
    Judged(Reported),
    /// The driver reports more often than it may.
    RateLimited,
}

/// The positions of one market.
pub(crate) struct Sightings {
    market: MarketId,
    index: PositionIndex,
    reported: AtomicU64,
    moved: AtomicU64,
}

impl Sightings {
    pub(super) fn new(market: MarketId, rules: FixRules) -> Result<Arc<Self>, ConfigError> {
        let index = PositionIndex::new(rules)?;
        Ok(Arc::new(Self { market, index, reported: AtomicU64::new(0), moved: AtomicU64::new(0) }))
    }

    pub(super) fn snapshot(&self, into: &mut Positions) {
        self.index.snapshot(into);
    }

    pub(super) fn market(&self) -> &MarketId {
        &self.market
    }

    /// How many drivers' positions are kept.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many fixes were reported so far, and how many of them moved their driver.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.reported.load(Ordering::Relaxed), self.moved.load(Ordering::Relaxed))
    }
}

/// Where a driver reports to.
struct Post {
    sightings: Arc<Sightings>,
    slot: Slot,
    allowance: Mutex<Allowance>,
    /// When its position was last kept, in milliseconds.
    sampled: AtomicI64,
    /// The time of the last fix that those who follow its market were told, in milliseconds.
    told: AtomicI64,
}

/// Where one driver is, without looking it up again.
#[derive(Clone)]
pub(crate) struct Beacon(Arc<Post>);

impl Beacon {
    /// The last believed fix.
    pub(crate) fn last(&self) -> Option<Fix> {
        self.0.last_fix()
    }
}

/// How soon a driver may report again.
struct Allowance {
    /// What is left; a report takes [`PER_FIX`].
    left: Millis,
    counted_at: Timestamp,
}

/// A driver reports once a second,
const PER_FIX: Millis = Millis::from_secs(1);
/// and up to five times at once.
const BURST: Millis = Millis::from_secs(5);

/// The drivers of every tenant that has a market.
pub(crate) type Fleets = Arc<BTreeMap<TenantId, Arc<Fleet>>>;

/// All drivers of a tenant by id, each with the market it is registered in.
pub(crate) struct Fleet {
    clock: Clock,
    posts: RwLock<BTreeMap<DriverId, Arc<Post>>>,
    /// Where positions are kept, now and then.
    samples: Option<Samples>,
    counts: Fixes,
}

impl Fleet {
    pub(super) fn new(clock: Clock, samples: Option<Samples>, counts: Fixes) -> Self {
        Self { clock, posts: RwLock::default(), samples, counts }
    }

    /// Registers a driver in a market, moving it there if it was in another.
    pub(super) fn register(&self, driver: &DriverId, sightings: &Arc<Sightings>) {
        let mut posts = self.posts.write();
        if let Some(post) = posts.get(driver) {
            if post.sightings.market == sightings.market {
                return;
            }
            post.sightings.index.set_available(post.slot, false);
        }
        let slot = sightings.index.slot(driver);
        let slot = slot.expect("the index holds as many drivers as the market; the configuration is checked for it");
        sightings.index.set_available(slot, false);
        let allowance = Mutex::new(Allowance { left: BURST, counted_at: Timestamp::MIN });
        let [sampled, told] = [const { AtomicI64::new(i64::MIN) }; 2];
        posts.insert(driver.clone(), Arc::new(Post { sightings: sightings.clone(), slot, allowance, sampled, told }));
    }

    /// The market a driver is registered in.
    pub(crate) fn market(&self, driver: &DriverId) -> Option<MarketId> {
        Some(self.posts.read().get(driver)?.sightings.market.clone())
    }

    /// The last believed fix of a driver.
    pub(crate) fn last_fix(&self, driver: &DriverId) -> Option<Fix> {
        let post = self.posts.read().get(driver).cloned()?;
        post.last_fix()
    }

    /// Where to look for a driver's fixes, as long as it stays in its market.
    pub(crate) fn beacon(&self, driver: &DriverId) -> Option<Beacon> {
        self.posts.read().get(driver).cloned().map(Beacon)
    }

    /// The last fix of every driver of a market that has one.
    pub(crate) fn each(&self, market: &MarketId, mut tell: impl FnMut(&DriverId, Fix)) {
        for (driver, post) in &*self.posts.read() {
            if post.sightings.market == *market
                && let Some(fix) = post.last_fix()
            {
                tell(driver, fix);
            }
        }
    }

    /// The same of those that have another one than at the last call.
    pub(crate) fn each_moved(&self, market: &MarketId, mut tell: impl FnMut(&DriverId, Fix)) {
        for (driver, post) in &*self.posts.read() {
            if post.sightings.market == *market
                && let Some(fix) = post.last_fix()
                && post.told.swap(fix.at.as_millis(), Ordering::Relaxed) != fix.at.as_millis()
            {
                tell(driver, fix);
            }
        }
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn set_available(&self, driver: &DriverId, available: bool) {
        if let Some(post) = self.posts.read().get(driver) {
            post.sightings.index.set_available(post.slot, available);
        }
    }

    /// Takes in a position of a driver within this scope; without a time it was measured now.
    pub(crate) fn report(
        &self,
        scope: &Scope,
        driver: &DriverId,
        position: Position,
        at: Option<Timestamp>,
    ) -> Result<FixResult, Error> {
        let result = self.judge(scope, driver, position, at);
        self.counts.count(match result {
            Ok(FixResult::Judged(Reported::Moved)) => FixOutcome::Moved,
            Ok(FixResult::Judged(Reported::Stale)) => FixOutcome::Stale,
            Ok(FixResult::Judged(Reported::TooOld)) => FixOutcome::TooOld,
            Ok(FixResult::Judged(Reported::FromFuture)) => FixOutcome::FromFuture,
            Ok(FixResult::Judged(Reported::TooFast)) => FixOutcome::TooFast,
            Ok(FixResult::RateLimited) => FixOutcome::RateLimited,
            Err(_) => FixOutcome::UnknownDriver,
        });
        result
    }

    fn judge(
        &self,
        scope: &Scope,
        driver: &DriverId,
        position: Position,
        at: Option<Timestamp>,
    ) -> Result<FixResult, Error> {
        let now = self.clock.now();
        let post = self.posts.read().get(driver).cloned().filter(|post| scope.covers(&post.sightings.market));
        let post = post.ok_or_else(|| Refusal::UnknownDriver { driver: driver.clone() })?;
        post.sightings.reported.fetch_add(1, Ordering::Relaxed);
        if !post.allowance.lock().allows(now) {
            return Ok(FixResult::RateLimited);
        }
        let fix = Fix { position, at: at.unwrap_or(now) };
        let judged = post.sightings.index.report(post.slot, fix, now);
        if judged == Reported::Moved {
            post.sightings.moved.fetch_add(1, Ordering::Relaxed);
            self.sample(driver, &post, fix);
        }
        Ok(FixResult::Judged(judged))
    }

    /// Has a position kept, if the last one that was is old enough.
    fn sample(&self, driver: &DriverId, post: &Post, fix: Fix) {
        let Some(samples) = &self.samples else { return };
        let last = post.sampled.load(Ordering::Relaxed);
        let changed = || post.sampled.compare_exchange(last, fix.at.as_millis(), Ordering::Relaxed, Ordering::Relaxed);
        // Of two at once one is enough.
        if samples.is_due(Timestamp::from_millis(last), fix.at) && changed().is_ok() {
            samples.keep(&post.sightings.market, driver, fix.position, fix.at);
        }
    }

    /// The nearest drivers of a market who could get an order and were heard of since `since`, nearest first.
    pub(crate) fn nearest(
        &self,
        sightings: &Sightings,
        at: Position,
        radius: Meters,
        limit: usize,
        since: Timestamp,
    ) -> Vec<(DriverId, Meters)> {
        let posts = self.posts.read();
        let heard = |post: &Arc<Post>| post.last_fix().is_some_and(|fix| fix.at >= since);
        let index = &sightings.index;
        let began = Instant::now();
        let found = index.nearest(at, radius, limit, |slot| posts.get(index.driver(slot)).is_some_and(heard));
        self.counts.nearest.record(began.elapsed());
        found.into_iter().map(|(slot, distance)| (index.driver(slot).clone(), distance)).collect()
    }
}

impl Post {
    fn last_fix(&self) -> Option<Fix> {
        self.sightings.index.last(self.slot).map(|(fix, _)| fix)
    }
}

impl Allowance {
    /// Whether one more report is allowed now, and counts it.
    fn allows(&mut self, now: Timestamp) -> bool {
        let earned = (now - self.counted_at).max(Millis::ZERO);
        self.left = (self.left + earned).min(BURST);
        self.counted_at = self.counted_at.max(now);
        let allowed = self.left >= PER_FIX;
        if allowed {
            self.left = self.left - PER_FIX;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_at_once_then_one_a_second() {
        let start = Timestamp::from_millis(1_000_000);
        let mut allowance = Allowance { left: BURST, counted_at: Timestamp::MIN };
        assert_eq!((0..7).filter(|_| allowance.allows(start)).count(), 5);
        let later = start + Millis::from_secs(2);
        assert_eq!((0..7).filter(|_| allowance.allows(later)).count(), 2);
        assert!(!allowance.allows(start), "an earlier time earns nothing");
    }
}
