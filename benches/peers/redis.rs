//! Redis GEO as a design: what people use today.

use crate::designs::Design;
use crate::redis_server::{PIPELINE, RedisServer};
use crate::workload::{Fleet, LIMIT, RADIUS, Update, is_available};
use dispatch_core::Position;
use std::io;

pub(crate) struct Redis {
    server: RedisServer,
    /// The first circle that is searched, in metres.
    first_radius: f64,
}

impl Redis {
    /// Starts a server of its own and fills it. `None` if there is no Redis here.
    pub(crate) fn start(fleet: &Fleet) -> Option<Self> {
        // About twice as many as are wanted, where most are.
        let first_radius = 350.0 * (30_000.0 / fleet.ids.len() as f64).sqrt();
        let mut redis = Self { server: RedisServer::start()?, first_radius };
        for batch in fleet.fixes.iter().zip(0..).filter(|(_, n)| is_available(*n)).collect::<Vec<_>>().chunks(PIPELINE)
        {
            for (fix, driver) in batch {
                redis.add(*driver, fix.position);
            }
            redis.server.read_all(batch.len());
        }
        Some(redis)
    }

    fn add(&mut self, driver: u32, at: Position) {
        // Busy drivers are another key's.
        let key = if is_available(driver) { "free" } else { "busy" };
        self.server.add(key, at.lat(), at.lng(), &driver.to_string());
    }

    fn ask(&mut self, at: Position, radius: f64) {
        let (lng, lat) = (format!("{:.7}", at.lng()), format!("{:.7}", at.lat()));
        let (radius, limit) = (format!("{radius:.0}"), LIMIT.to_string());
        let words = [
            "GEOSEARCH",
            "free",
            "FROMLONLAT",
            &lng,
            &lat,
            "BYRADIUS",
            &radius,
            "m",
            "ASC",
            "COUNT",
            &limit,
            "WITHDIST",
        ];
        self.server.queue(&words);
    }

    /// A small circle first, then larger ones: the time Redis takes grows with all that is within.
    fn find(&mut self, at: Position) -> Vec<(u32, f64)> {
        let mut radius = self.first_radius;
        loop {
            radius = radius.min(RADIUS.get());
            self.ask(at, radius);
            let found = self.server.read();
            if found.len() >= 2 * LIMIT || radius >= RADIUS.get() {
                let number = |word: &String| word.parse::<f64>().expect("members are numbers");
                return found.chunks(2).map(|pair| (number(&pair[0]) as u32, number(&pair[1]))).collect();
            }
            radius *= 2.0;
        }
    }
}

impl Design for Redis {
    fn update(&mut self, updates: &[Update]) {
        for batch in updates.chunks(PIPELINE) {
            for (slot, fix) in batch {
                self.add(slot.index(), fix.position);
            }
            self.server.read_all(batch.len());
        }
    }

    fn search(&mut self, queries: &[Position]) -> usize {
        queries.iter().map(|at| self.find(*at).len()).sum()
    }

    fn nearest(&mut self, at: Position) -> Option<Vec<(u32, f64)>> {
        Some(self.find(at))
    }

    /// Bytes that the server uses, as it says.
    fn bytes(&mut self) -> Option<f64> {
        self.server.queue(&["INFO", "memory"]);
        self.server.send();
        let header = self.server.line().expect("the server answers");
        let mut body = vec![0; header[1..].parse::<usize>().expect("a length") + 2];
        io::Read::read_exact(&mut self.server.stream, &mut body).expect("the server answers");
        let text = String::from_utf8_lossy(&body);
        let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used?.parse().ok()
    }

    fn cpu_seconds(&self) -> Option<f64> {
        self.server.cpu_seconds()
    }
}
