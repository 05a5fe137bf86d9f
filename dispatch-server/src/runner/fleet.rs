//! The positions of all drivers: reported and searched from any thread, without the runner.

use super::Clock;
use super::allowance::{Allowance, ReportRate};
use crate::auth::{Principal, TenantId};
use crate::postgres::Samples;
use crate::telemetry::{FixOutcome, Fixes, Tally};
use dispatch_core::{
    ConfigError, DriverId, Fix, FixRules, MarketId, Meters, Motion, Position, PositionIndex, Positions, Reported, Slot,
    Timestamp,
};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

/// One position to be taken in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) driver: DriverId,
    pub(crate) position: Position,
    /// When it was measured; now, if absent.
    pub(crate) at: Option<Timestamp>,
    pub(crate) motion: Motion,
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
pub(super) struct Post {
    sightings: Arc<Sightings>,
    slot: Slot,
    allowance: Allowance,
    /// When its position was last kept, in milliseconds.
    sampled: AtomicI64,
    /// The time of the last fix that those who follow its market were told, in milliseconds.
    told: AtomicI64,
    /// The driver reports elsewhere now: whoever kept this has to look it up again.
    moved_away: AtomicBool,
}

/// Where one driver is, without looking it up again.
#[derive(Clone)]
pub(crate) struct Beacon(Arc<Post>);

impl Beacon {
    /// The last believed fix, and how the driver was moving then.
    pub(crate) fn last(&self) -> Option<(Fix, Motion)> {
        self.0.last()
    }
}

/// The drivers of every tenant that has a market.
pub(crate) type Fleets = Arc<BTreeMap<TenantId, Arc<Fleet>>>;

/// All drivers of a tenant by id, each with the market it is registered in.
pub(crate) struct Fleet {
    clock: Clock,
    rate: ReportRate,
    posts: RwLock<HashMap<DriverId, Arc<Post>>>,
    /// Where positions are kept, now and then.
    samples: Option<Samples>,
    counts: Fixes,
}

impl Fleet {
    pub(super) fn new(clock: Clock, rate: ReportRate, samples: Option<Samples>, counts: Fixes) -> Self {
        Self { clock, rate, posts: RwLock::default(), samples, counts }
    }

    /// Registers a driver in a market, moving it there if it was in another.
    pub(super) fn register(&self, driver: &DriverId, sightings: &Arc<Sightings>) {
        let mut posts = self.posts.write();
        if let Some(post) = posts.get(driver) {
            if post.sightings.market == sightings.market {
                return;
            }
            post.moved_away.store(true, Ordering::Release);
            post.sightings.index.set_available(post.slot, false);
        }
        let slot = sightings.index.slot(driver);
        let slot = slot.expect("the index holds as many drivers as the market; the configuration is checked for it");
        sightings.index.set_available(slot, false);
        let [sampled, told] = [const { AtomicI64::new(i64::MIN) }; 2];
        let (allowance, moved_away) = (Allowance::new(), AtomicBool::new(false));
        let post = Post { sightings: sightings.clone(), slot, allowance, sampled, told, moved_away };
        posts.insert(driver.clone(), Arc::new(post));
    }

    /// The market a driver is registered in.
    pub(crate) fn market(&self, driver: &DriverId) -> Option<MarketId> {
        Some(self.posts.read().get(driver)?.sightings.market.clone())
    }

    /// The last believed fix of a driver, and how it was moving then.
    pub(crate) fn last_fix(&self, driver: &DriverId) -> Option<(Fix, Motion)> {
        let post = self.posts.read().get(driver).cloned()?;
        post.last()
    }

    /// Where to look for a driver's fixes, as long as it stays in its market.
    pub(crate) fn beacon(&self, driver: &DriverId) -> Option<Beacon> {
        self.posts.read().get(driver).cloned().map(Beacon)
    }

    /// The last fix of every driver of a market that has one.
    pub(crate) fn each(&self, market: &MarketId, mut tell: impl FnMut(&DriverId, (Fix, Motion))) {
        for (driver, post) in self.posts_of(market) {
            if let Some(seen) = post.last() {
                tell(&driver, seen);
            }
        }
    }

    /// The same of those that have another one than at the last call.
    pub(crate) fn each_moved(&self, market: &MarketId, mut tell: impl FnMut(&DriverId, (Fix, Motion))) {
        for (driver, post) in self.posts_of(market) {
            if let Some(seen) = post.last()
                && post.told.swap(seen.0.at.as_millis(), Ordering::Relaxed) != seen.0.at.as_millis()
            {
                tell(&driver, seen);
            }
        }
    }

    /// Where the drivers of a market report to. Whoever registers one does not wait for longer than this takes.
    fn posts_of(&self, market: &MarketId) -> Vec<(DriverId, Arc<Post>)> {
        let posts = self.posts.read();
        let here = posts.iter().filter(|(_, post)| post.sightings.market == *market);
        here.map(|(driver, post)| (driver.clone(), post.clone())).collect()
    }

    pub(super) fn set_available(&self, driver: &DriverId, available: bool) {
        if let Some(post) = self.posts.read().get(driver) {
            post.sightings.index.set_available(post.slot, available);
        }
    }

    /// Takes in a position of a driver, if `who` may report it.
    pub(crate) fn report(&self, who: &Principal, item: &Item) -> FixOutcome {
        let now = self.clock.now();
        let post = self.posts.read().get(&item.driver).cloned().filter(|post| covers(who, &item.driver, post));
        let mut outcome = FixOutcome::UnknownDriver;
        if let Some(post) = post {
            let mut run = Run::new(self, now, 1, |_, judged| outcome = judged);
            run.add(0, &post, Fix { position: item.position, at: item.at.unwrap_or(now) }, item.motion);
            run.end();
        }
        self.counts.count(outcome);
        outcome
    }

    /// Takes in many positions, each as [`Fleet::report`] does, and tells what became of each by its index; not quite in sequence.
    /// Those that could not be read are invalid.
    pub(crate) fn report_all(
        &self,
        who: &Principal,
        items: &[Result<Item, String>],
        mut judged: impl FnMut(usize, FixOutcome),
    ) {
        let (now, mut tally) = (self.clock.now(), Tally::default());
        let mut judge = |number: usize, outcome| {
            tally.add(outcome, 1);
            judged(number, outcome);
        };
        for (chunk, begin) in items.chunks(AT_ONCE).zip((0..).step_by(AT_ONCE)) {
            // Whoever comes or moves meanwhile does not wait for more than these.
            let posts = self.posts.read();
            let post = |item: &Item| posts.get(&item.driver).filter(|post| covers(who, &item.driver, post));
            // All are looked up first: then waiting for the memory of one is waiting for that of others, too.
            let found: Vec<_> = chunk.iter().map(|item| item.as_ref().ok().and_then(post)).collect();
            let mut run = Run::new(self, now, chunk.len(), &mut judge);
            for ((item, post), number) in chunk.iter().zip(&found).zip(begin..) {
                match (item, post) {
                    (Ok(item), Some(post)) => {
                        let fix = Fix { position: item.position, at: item.at.unwrap_or(now) };
                        run.add(number, post, fix, item.motion);
                    }
                    (Ok(_), None) => (run.judged)(number, FixOutcome::UnknownDriver),
                    (Err(_), _) => (run.judged)(number, FixOutcome::Invalid),
                }
            }
            run.end();
        }
        self.counts.count_all(&tally);
    }

    /// Where a driver reports to, if `who` may report it.
    pub(super) fn post(&self, who: &Principal, driver: &DriverId) -> Option<Arc<Post>> {
        self.posts.read().get(driver).filter(|post| covers(who, driver, post)).cloned()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Has a position kept, if the last one that was is old enough.
    fn sample(&self, post: &Post, fix: Fix) {
        let Some(samples) = &self.samples else { return };
        let last = post.sampled.load(Ordering::Relaxed);
        let changed = || post.sampled.compare_exchange(last, fix.at.as_millis(), Ordering::Relaxed, Ordering::Relaxed);
        // Of two at once one is enough.
        if samples.is_due(Timestamp::from_millis(last), fix.at) && changed().is_ok() {
            let driver = post.sightings.index.driver(post.slot);
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

/// So many positions are looked up together.
const AT_ONCE: usize = 64;

/// Whether a driver is there for whoever reports it.
fn covers(who: &Principal, driver: &DriverId, post: &Post) -> bool {
    who.grant.covers_driver(driver) && who.scope.covers(&post.sightings.market)
}

impl Post {
    fn last(&self) -> Option<(Fix, Motion)> {
        self.sightings.index.last(self.slot)
    }

    fn last_fix(&self) -> Option<Fix> {
        self.sightings.index.last(self.slot).map(|(fix, _)| fix)
    }

    /// Whether the driver still reports here.
    pub(super) fn is_current(&self) -> bool {
        !self.moved_away.load(Ordering::Acquire)
    }
}

/// Positions that are taken in together, as long as they are of one market.
pub(super) struct Run<'a, F> {
    fleet: &'a Fleet,
    now: Timestamp,
    /// Told what became of a position, by the number it was added with.
    pub(super) judged: F,
    posts: Vec<(usize, &'a Post)>,
    reports: Vec<(Slot, Fix)>,
    /// How each was moving; empty where that is known of none.
    motions: Vec<Motion>,
}

impl<'a, F: FnMut(usize, FixOutcome)> Run<'a, F> {
    pub(super) fn new(fleet: &'a Fleet, now: Timestamp, most: usize, judged: F) -> Self {
        let (posts, reports) = (Vec::with_capacity(most), Vec::with_capacity(most));
        Self { fleet, now, judged, posts, reports, motions: Vec::new() }
    }

    /// Adds a position of the driver who reports to `post`; what was added for another market is taken in first.
    pub(super) fn add(&mut self, number: usize, post: &'a Post, fix: Fix, motion: Motion) {
        if self.posts.last().is_some_and(|(_, last)| !Arc::ptr_eq(&last.sightings, &post.sightings)) {
            self.flush();
        }
        if !post.allowance.allows(self.now, self.fleet.rate) {
            post.sightings.reported.fetch_add(1, Ordering::Relaxed);
            return (self.judged)(number, FixOutcome::RateLimited);
        }
        if motion != Motion::default() || !self.motions.is_empty() {
            self.motions.resize(self.posts.len(), Motion::default());
            self.motions.push(motion);
        }
        self.posts.push((number, post));
        self.reports.push((post.slot, fix));
    }

    /// Takes in what was added.
    pub(super) fn end(mut self) {
        self.flush();
    }

    fn flush(&mut self) {
        let Some((_, first)) = self.posts.first() else { return };
        let sightings = &first.sightings;
        let (mut reports, mut moved) = (self.posts.iter().zip(&self.reports), 0);
        let mut judge = |reported: Reported| {
            let ((number, post), (_, fix)) = reports.next().expect("each is judged once");
            if reported == Reported::Moved {
                moved += 1;
                self.fleet.sample(post, *fix);
            }
            (self.judged)(*number, outcome(reported));
        };
        if self.motions.is_empty() {
            sightings.index.report_all(&self.reports, self.now, |_, reported| judge(reported));
        } else {
            for ((slot, fix), motion) in self.reports.iter().zip(&self.motions) {
                judge(sightings.index.report_with(*slot, *fix, *motion, self.now));
            }
        }
        sightings.reported.fetch_add(self.reports.len() as u64, Ordering::Relaxed);
        sightings.moved.fetch_add(moved, Ordering::Relaxed);
        self.posts.clear();
        self.reports.clear();
        self.motions.clear();
    }
}

fn outcome(reported: Reported) -> FixOutcome {
    match reported {
        Reported::Moved => FixOutcome::Moved,
        Reported::Stale => FixOutcome::Stale,
        Reported::TooOld => FixOutcome::TooOld,
        Reported::FromFuture => FixOutcome::FromFuture,
        Reported::TooFast => FixOutcome::TooFast,
    }
}
