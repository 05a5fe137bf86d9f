//! Figures that are looked up when somebody asks for them.

use super::World;
use super::fleet::Sightings;
use crate::config::ServerConfig;
use crate::journal::{Behind, Commits, Room};
use crate::postgres::{Lag, Link};
use crate::telemetry::{Metrics, table};
use std::sync::Arc;
use std::time::Duration;

const LINKS: [(&str, Option<Link>); 5] = [
    ("none", None),
    ("connecting", Some(Link::Connecting)),
    ("connected", Some(Link::Connected)),
    ("away", Some(Link::Away)),
    ("fenced", Some(Link::Fenced)),
];

/// Where to look.
#[derive(Clone)]
pub(super) struct Measures {
    journal: Behind,
    /// Where the journal is, if there is one.
    room: Option<Room>,
    markets: Vec<Arc<Sightings>>,
}

impl Measures {
    pub(super) fn new(
        config: &ServerConfig,
        metrics: &Metrics,
        world: &World,
        commits: &Commits,
        room: Option<Room>,
    ) -> Self {
        metrics.gauge(&table::QUEUE_CAPACITY, &[]).set(config.limits.queue as f64);
        let min_free = config.durability.min_free_bytes as f64;
        metrics.gauge(&table::MIN_FREE_BYTES, &[]).set(min_free);
        let markets = world.all().map(|market| market.sightings().clone()).collect();
        Self { journal: commits.behind(), room, markets }
    }

    /// Sets them.
    pub(super) fn take(&self, metrics: &Metrics, lag: Option<Lag>, lag_time: Option<Duration>) {
        let set = |metric, value: f64| metrics.gauge(metric, &[]).set(value);
        set(&table::JOURNAL_LAG, self.journal.records() as f64);
        let room = self.room.as_ref();
        set(&table::JOURNAL_STALLED, self.journal.stalled_for().as_secs_f64());
        set(&table::FREE_BYTES, room.and_then(Room::free_bytes).map_or(f64::NAN, |free| free as f64));
        let snapshot = room.and_then(Room::newest_snapshot);
        set(&table::SNAPSHOT_AGE, snapshot.map_or(f64::NAN, |age| age.as_secs_f64()));
        let records = lag.map_or(0, |lag| lag.durable.saturating_sub(lag.applied.unwrap_or(0)));
        set(&table::POSTGRES_LAG, records as f64);
        set(&table::POSTGRES_LAG_BYTES, lag.map_or(0, |lag| lag.backlog_bytes) as f64);
        set(&table::POSTGRES_LAG_TIME, lag_time.unwrap_or_default().as_secs_f64());
        for (state, link) in LINKS {
            let is_so = link == lag.map(|lag| lag.link);
            metrics.gauge(&table::POSTGRES_LINK, &[state]).set(f64::from(u8::from(is_so)));
        }
        for sightings in &self.markets {
            metrics.gauge(&table::INDEX_DRIVERS, &[sightings.market().as_str()]).set(sightings.len() as f64);
        }
    }
}
