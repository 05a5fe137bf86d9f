//! How much everybody may ask.

use super::{Grant, Principal, Rate, TenantId};
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

/// Most principals and addresses that are counted at once; past it those that asked nothing for a minute are forgotten early.
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

/// Whom requests are counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Known(TenantId, String),
    /// All of a tenant together: it may have many who ask.
    Tenant(TenantId),
    /// Somebody without a key that counts, at this address.
    Stranger(IpAddr),
}

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
    allowances: DashMap<Who, Arc<Allowance>>,
    swept_at: AtomicI64,
}

impl Rates {
    pub(crate) fn new(config: RatesConfig, clock: Clock) -> Self {
        Self { config, clock, allowances: DashMap::new(), swept_at: AtomicI64::new(i64::MIN) }
    }

    /// Counts a request of somebody the server knows.
    pub(crate) fn count(&self, who: &Principal, cost: Cost) -> Result<(), TooOften> {
        let Rate::Times(times) = who.rate else { return Ok(()) };
        // What a gateway does is report positions, and those are counted.
        if who.grant == Grant::Gateway && cost == Cost::Read {
            return Ok(());
        }
        let tenant = &who.scope.tenant;
        self.take(Who::Known(tenant.clone(), who.id.clone()), times, cost)?;
        match cost {
            // They were counted as a request before.
            Cost::Positions(_) => Ok(()),
            _ => self.take(Who::Tenant(tenant.clone()), 1.0, Cost::Read),
        }
    }

    /// Counts a request of somebody the server does not know. Programs on this machine are not counted: a proxy speaks for many.
    pub(crate) fn count_stranger(&self, address: Option<IpAddr>) -> Result<(), TooOften> {
        match address.map(|address| address.to_canonical()).filter(|address| !address.is_loopback()) {
            Some(address) => self.take(Who::Stranger(network(address)), 1.0, Cost::Read),
            None => Ok(()),
        }
    }

    fn take(&self, who: Who, times: f64, cost: Cost) -> Result<(), TooOften> {
        let known = self.allowances.get(&who).map(|known| known.clone());
        let allowance = known.unwrap_or_else(|| {
            self.make_room();
            let new = Arc::new(Allowance::new(&self.config, &who, times, &self.clock));
            self.allowances.entry(who).or_insert(new).clone()
        });
        allowance.asked_at.store(self.clock.now().as_millis(), Ordering::Relaxed);
        allowance.take(cost)
    }

    /// Forgets who has not asked for a while, once a minute or when there are too many.
    fn make_room(&self) {
        let now = self.clock.now();
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

/// Who holds an IPv6 address holds its whole network.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Allowance {
    fn new(config: &RatesConfig, who: &Who, times: f64, clock: &Clock) -> Self {
        let RatesConfig { searches_per_minute, commands_per_minute, positions_per_second, .. } = *config;
        let limiter = |count: u32, per: Duration| {
            let count = NonZeroU32::new((f64::from(count) * times) as u32).unwrap_or(NonZeroU32::MIN);
            let quota = Quota::with_period(per / count.get()).expect("no limit is above a billion a second");
            RateLimiter::direct_with_clock(quota.allow_burst(count), ServerTime(clock.clone()))
        };
        let (minute, second) = (Duration::from_mins(1), Duration::from_secs(1));
        let reads = match who {
            Who::Known(..) => limiter(config.reads_per_minute, minute),
            Who::Stranger(_) => limiter(config.strangers_per_minute, minute),
            Who::Tenant(_) => limiter(config.tenant_per_second, second),
        };
        Self {
            reads,
            searches: limiter(searches_per_minute, minute),
            commands: limiter(commands_per_minute, minute),
            positions: limiter(positions_per_second, second),
            asked_at: AtomicI64::new(clock.now().as_millis()),
        }
    }

    fn take(&self, cost: Cost) -> Result<(), TooOften> {
        let (limiter, count) = match cost {
            Cost::Read => (&self.reads, 1),
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
            .field("counted", &self.allowances.len())
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
            reads_per_minute: 6,
            searches_per_minute: 1,
            commands_per_minute: 2,
            positions_per_second: 10,
            strangers_per_minute: 3,
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
        assert_eq!(costs.map(|cost| allowed(&rates, &b, cost)), [15, 2, 5, 5]);
        assert_eq!(rates.count(&a, Cost::Search), Err(TooOften { after_s: 60 }));
        assert_eq!(rates.count(&a, Cost::Read), Err(TooOften { after_s: 10 }));
        clock.advance(Millis::from_secs(10));
        assert_eq!(costs.map(|cost| allowed(&rates, &a, cost)), [1, 0, 0, 2]);
        clock.advance(Millis::from_secs(60));
        assert_eq!(costs.map(|cost| allowed(&rates, &a, cost)), [6, 1, 2, 2]);
        assert_eq!(rates.count(&a, Cost::Positions(11)), Err(TooOften { after_s: 1 }), "more than there ever is");
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
        assert_eq!(allowed(&rates, &gateway, Cost::Read), 100);
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
        assert_eq!(rates.allowances.len(), 1);
    }
}
