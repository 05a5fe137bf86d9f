//! How much everybody may ask.

use super::{Grant, Principal, Rate, TenantId};
use crate::net::owner;
use crate::runner::Clock;
use dashmap::DashMap;
use dispatch_core::{Millis, Timestamp};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde::Deserialize;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How much a principal may ask where its key does not say more.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RatesConfig {
    pub(crate) reads_per_minute: u32,
    pub(crate) searches_per_minute: u32,
    pub(crate) commands_per_minute: u32,
    pub(crate) positions_per_second: u32,
    pub(crate) strangers_per_minute: u32,
    pub(crate) tenant_per_second: u32,
}

/// What a request counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    Read,
    /// A request with positions, which are counted beside.
    Report,
    /// Something that takes longer than looking one thing up.
    Search,
    Command,
    /// So many positions.
    Positions(u32),
}

/// Somebody asked too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is more than may be asked; ask again in {after_s} s")]
pub(crate) struct TooOften {
    pub(crate) after_s: u64,
}

/// Most principals, tenants and addresses that are counted, of each; past it all begin anew.
const MAX_COUNTED: usize = 200_000;

/// After this long without a request nothing is left to remember: every limit is for a minute at most.
const FORGOTTEN_AFTER: Millis = Millis::from_mins(1);

type Limiter = RateLimiter<NotKeyed, InMemoryState, ServerTime, NoOpMiddleware<Duration>>;

/// The server's time, for limits.
#[derive(Clone, Debug)]
struct ServerTime(Clock);

impl governor::clock::Clock for ServerTime {
    type Instant = Duration;
    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.now().as_millis()).unwrap_or(0))
    }
}

/// A principal of a tenant, and how many times what is usual it may ask, as bits: who may ask more from now on begins anew.
type Known = (TenantId, String, u64);

/// What somebody may still ask.
struct Allowance {
    reads: Limiter,
    searches: Limiter,
    commands: Limiter,
    positions: Limiter,
    asked_at: AtomicI64,
}

/// Counts requests.
pub(crate) struct Rates {
    config: RatesConfig,
    clock: Clock,
    known: Counted<Known>,
    /// All of a tenant together: it may have many who ask.
    tenants: Counted<TenantId>,
    /// Whoever is at an address without a key that counts.
    strangers: Counted<IpAddr>,
}

/// Those who asked lately.
struct Counted<K> {
    allowances: DashMap<K, Arc<Allowance>>,
    swept_at: AtomicI64,
}

impl Rates {
    pub(crate) fn new(config: RatesConfig, clock: Clock) -> Self {
        Self { config, clock, known: Counted::new(), tenants: Counted::new(), strangers: Counted::new() }
    }

    /// Counts a request of somebody the server knows.
    pub(crate) fn count(&self, who: &Principal, cost: Cost) -> Result<(), TooOften> {
        let Rate::Times(times) = who.rate else { return Ok(()) };
        let RatesConfig { reads_per_minute, tenant_per_second, .. } = self.config;
        let tenant = &who.scope.tenant;
        // Of gateways positions are counted, and not how they come; and positions came with a request.
        let are_positions = matches!(cost, Cost::Positions(_));
        let is_counted = !are_positions && (who.grant != Grant::Gateway || cost != Cost::Report);
        if is_counted || are_positions {
            let known = (tenant.clone(), who.id.clone(), times.to_bits());
            let new = || Allowance::new(&self.config, per_minute(reads_per_minute), times, &self.clock);
            self.known.of(known, self.clock.now(), new).take(cost)?;
        }
        // After it: who asks more than it may is not to use up what others may.
        if is_counted {
            let new = || Allowance::new(&self.config, per_second(tenant_per_second), 1.0, &self.clock);
            self.tenants.of(tenant.clone(), self.clock.now(), new).take(Cost::Read)?;
        }
        Ok(())
    }

    /// Counts a request of somebody the server does not know. Programs on this machine are not counted: a proxy speaks for many.
    pub(crate) fn count_stranger(&self, address: Option<IpAddr>) -> Result<(), TooOften> {
        let most = self.config.strangers_per_minute;
        match address.map(owner).filter(|address| !address.is_loopback() && most > 0) {
            Some(address) => {
                let new = || Allowance::new(&self.config, per_minute(most), 1.0, &self.clock);
                self.strangers.of(address, self.clock.now(), new).take(Cost::Read)
            }
            None => Ok(()),
        }
    }
}

impl<K: Eq + std::hash::Hash> Counted<K> {
    fn new() -> Self {
        Self { allowances: DashMap::new(), swept_at: AtomicI64::new(i64::MIN) }
    }

    /// What somebody may still ask, noting that it asks now.
    fn of(&self, who: K, now: Timestamp, new: impl FnOnce() -> Allowance) -> Arc<Allowance> {
        let known = self.allowances.get(&who).map(|known| known.clone());
        let allowance = known.unwrap_or_else(|| {
            self.make_room(now);
            self.allowances.entry(who).or_insert_with(|| Arc::new(new())).clone()
        });
        allowance.asked_at.store(now.as_millis(), Ordering::Relaxed);
        allowance
    }

    /// Forgets who has not asked for a while, once a minute or when there are too many.
    fn make_room(&self, now: Timestamp) {
        let (before, full) = (self.swept_at.load(Ordering::Relaxed), self.allowances.len() >= MAX_COUNTED);
        let is_due = now.as_millis().saturating_sub(before) >= FORGOTTEN_AFTER.get();
        let turn = || self.swept_at.compare_exchange(before, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed);
        if is_due && turn().is_ok() {
            let asked = |allowance: &Allowance| Timestamp::from_millis(allowance.asked_at.load(Ordering::Relaxed));
            self.allowances.retain(|_, allowance| now - asked(allowance) < FORGOTTEN_AFTER);
        } else if full {
            // More at once than any fleet has: memory is worth more than what they have asked so far.
            self.allowances.clear();
        }
    }
}

/// So many in that time.
type Most = (u32, Duration);

const fn per_minute(count: u32) -> Most {
    (count, Duration::from_mins(1))
}

const fn per_second(count: u32) -> Most {
    (count, Duration::from_secs(1))
}

/// How many may come at once: what there may be in six seconds, or in all. A minute's worth from each of a tenant's keys in the same
/// second is what all others would feel.
fn at_once(count: NonZeroU32, per: Duration) -> NonZeroU32 {
    let longest = Duration::from_secs(6);
    let part =
        if per > longest { count.get().div_ceil((per.as_secs() / longest.as_secs()) as u32) } else { count.get() };
    NonZeroU32::new(part).unwrap_or(NonZeroU32::MIN)
}

impl Allowance {
    fn new(config: &RatesConfig, reads: Most, times: f64, clock: &Clock) -> Self {
        let RatesConfig { searches_per_minute, commands_per_minute, positions_per_second, .. } = *config;
        let limiter = |(count, per): Most| {
            let count = (f64::from(count) * times).min(1e9);
            let count = NonZeroU32::new(count as u32).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::with_period(per / count.get()).expect("a billion in a second are a nanosecond each");
            RateLimiter::direct_with_clock(quota.allow_burst(at_once(count, per)), ServerTime(clock.clone()))
        };
        Self {
            reads: limiter(reads),
            searches: limiter(per_minute(searches_per_minute)),
            commands: limiter(per_minute(commands_per_minute)),
            positions: limiter(per_second(positions_per_second)),
            asked_at: AtomicI64::new(clock.now().as_millis()),
        }
    }

    fn take(&self, cost: Cost) -> Result<(), TooOften> {
        let (limiter, count) = match cost {
            Cost::Read | Cost::Report => (&self.reads, 1),
            Cost::Search => (&self.searches, 1),
            Cost::Command => (&self.commands, 1),
            Cost::Positions(count) => (&self.positions, count),
        };
        let Some(count) = NonZeroU32::new(count) else { return Ok(()) };
        let now = Duration::from_millis(u64::try_from(limiter.clock().0.now().as_millis()).unwrap_or(0));
        match limiter.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => {
                Err(TooOften { after_s: until.wait_time_from(now).as_millis().div_ceil(1_000).max(1) as u64 })
            }
            // More at once than a whole second's worth.
            Err(_) => Err(TooOften { after_s: 1 }),
        }
    }
}

impl std::fmt::Debug for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rates")
            .field("config", &self.config)
            .field("counted", &self.known.allowances.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Grant, Scope};
    use super::*;
    use crate::ManualClock;

    fn rates(clock: &ManualClock) -> Rates {
        let config = RatesConfig {
            reads_per_minute: 60,
            searches_per_minute: 10,
            commands_per_minute: 20,
            positions_per_second: 10,
            strangers_per_minute: 30,
            tenant_per_second: 1_000,
        };
        Rates::new(config, clock.clone().into())
    }

    fn who(id: &str, grant: Grant, times: f64) -> Principal {
        Principal { grant, scope: Scope::default(), name: None, id: id.into(), rate: Rate::Times(times) }
    }

    fn allowed(rates: &Rates, who: &Principal, cost: Cost) -> usize {
        (0..100).filter(|_| rates.count(who, cost).is_ok()).count()
    }

    #[test]
    fn each_has_its_own_and_it_grows_again() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000_000_000));
        let rates = rates(&clock);
        let (a, b) = (who("a", Grant::Admin, 1.0), who("b", Grant::Admin, 2.5));
        let costs = [Cost::Read, Cost::Search, Cost::Command, Cost::Positions(5)];
        assert_eq!(costs.map(|cost| allowed(&rates, &a, cost)), [6, 1, 2, 2]);
        assert_eq!(costs.map(|cost| allowed(&rates, &b, cost)), [15, 3, 5, 5]);
        assert_eq!(rates.count(&a, Cost::Search), Err(TooOften { after_s: 6 }));
        assert_eq!(rates.count(&a, Cost::Read), Err(TooOften { after_s: 1 }));
        clock.advance(Millis::from_secs(2));
        assert_eq!(costs.map(|cost| allowed(&rates, &a, cost)), [2, 0, 0, 2]);
        clock.advance(Millis::from_secs(60));
        assert_eq!(costs.map(|cost| allowed(&rates, &a, cost)), [6, 1, 2, 2]);
        assert_eq!(rates.count(&a, Cost::Positions(11)), Err(TooOften { after_s: 1 }), "more than there ever is");
    }

    #[test]
    fn more_than_there_is_time_for_is_as_much_as_there_is() {
        let rates = rates(&ManualClock::new(Timestamp::from_millis(1_000_000_000)));
        assert_eq!(rates.count(&who("a", Grant::Admin, 1e12), Cost::Positions(1_000_000)), Ok(()));
        assert_eq!(allowed(&rates, &who("a", Grant::Admin, 1.0), Cost::Command), 2, "with another rate it begins anew");
    }

    #[test]
    fn many_who_ask_are_one_tenant() {
        let rates = rates(&ManualClock::new(Timestamp::from_millis(1_000_000_000)));
        let all: usize = (0..1_000).map(|n| allowed(&rates, &who(&n.to_string(), Grant::Admin, 1.0), Cost::Read)).sum();
        assert_eq!(all, 1_000);
        let mut other = who("0", Grant::Admin, 1.0);
        other.scope.tenant = TenantId::try_from("other".to_owned()).unwrap();
        assert_eq!(allowed(&rates, &other, Cost::Read), 6);
    }

    #[test]
    fn gateways_are_limited_by_positions_alone() {
        let rates = rates(&ManualClock::new(Timestamp::from_millis(1_000_000_000)));
        let gateway = who("g", Grant::Gateway, 1.0);
        assert_eq!(allowed(&rates, &gateway, Cost::Report), 100);
        assert_eq!(allowed(&rates, &gateway, Cost::Read), 6);
        assert_eq!(allowed(&rates, &gateway, Cost::Positions(1)), 10);
    }

    #[test]
    fn strangers_are_counted_by_network_and_forgotten() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000_000_000));
        let rates = rates(&clock);
        let allowed = |address: &str| {
            let address = Some(address.parse().unwrap());
            (0..100).filter(|_| rates.count_stranger(address).is_ok()).count()
        };
        assert_eq!([allowed("192.0.2.1"), allowed("192.0.2.2"), allowed("192.0.2.1")], [3, 3, 0]);
        assert_eq!([allowed("2001:db8::1"), allowed("2001:db8::2"), allowed("2001:db8:0:1::1")], [3, 0, 3]);
        assert_eq!([allowed("127.0.0.1"), allowed("::ffff:127.0.0.1")], [100, 100]);
        assert_eq!(allowed("::ffff:192.0.2.1"), 0, "the same address in other words");
        clock.advance(FORGOTTEN_AFTER);
        assert_eq!(allowed("192.0.2.3"), 3);
        assert_eq!(rates.strangers.allowances.len(), 1);
    }
}
