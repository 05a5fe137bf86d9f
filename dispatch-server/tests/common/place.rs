//! A server that keeps what happens in a directory and in a database, and some of what happens on a day.

use super::cluster::Cluster;
use super::{START, Server, order};
use dispatch_core::Timestamp;
use dispatch_server::{DatabaseReport, ManualClock, ServerConfig, Sources, verify_data_dir, verify_database};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A server's data directory and its database.
pub struct Place {
    pub folder: PathBuf,
    pub url: String,
    pub database: String,
    pub durability: &'static str,
    pub timeout_ms: u32,
    pub more: String,
}

impl Place {
    pub fn on(cluster: &Cluster) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dispatch-pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let database = cluster.database();
        let (folder, url) = (std::env::temp_dir().join(name), cluster.url(&database));
        Self { folder, url, database, durability: "sync", timeout_ms: 1_000, more: String::new() }
    }

    pub fn file(&self) -> String {
        format!(
            "durability = '{}'\ndata_dir = '{}'\ndatabase_url = '{}'\n[journal]\nsegment_bytes = 65536\nkeep_days = 0\nmin_free_bytes = 0\n\
             [postgres]\nflush_ms = 0\ntimeout_ms = {}\nretry_max_ms = 100\n{}",
            self.durability,
            self.folder.display(),
            self.url,
            self.timeout_ms,
            self.more
        )
    }

    pub fn config(&self) -> ServerConfig {
        Sources { file: Some(self.file()), ..Sources::default() }.load().unwrap()
    }

    /// Starts the server at `seconds` after the beginning.
    pub async fn start(&self, seconds: i64) -> Server {
        Server::on(ManualClock::new(Timestamp::from_millis(START + seconds * 1_000)), &self.file()).await
    }

    /// The same server with what is in its data directory now, in another one.
    pub fn copy(&self, end: &str) -> Self {
        let copy = self.elsewhere(end);
        let copied = || {
            let _ = std::fs::remove_dir_all(&copy.folder);
            std::fs::create_dir(&copy.folder)?;
            for file in std::fs::read_dir(&self.folder)? {
                let file = file?.path();
                std::fs::copy(&file, copy.folder.join(file.file_name().unwrap_or_default()))?;
            }
            Ok::<(), std::io::Error>(())
        };
        // A server may be making a snapshot there.
        assert!((0..10).any(|_| copied().is_ok()), "{} can be copied", self.folder.display());
        copy
    }

    /// Starts the server in the place of one that seems to be gone, and is not.
    pub async fn take_over(&self, cluster: &Cluster, seconds: i64) -> Server {
        let clock = ManualClock::new(Timestamp::from_millis(START + seconds * 1_000));
        let file = self.file();
        let taking = tokio::spawn(async move { Server::try_on(clock, &file).await });
        // It waits for as long as the other one gives signs of life, which it may do at any time.
        while !taking.is_finished() {
            cluster.sql(&self.database, "UPDATE dispatch.servers SET changed_at = now() - interval '2 minutes'");
        }
        taking.await.unwrap().unwrap()
    }

    /// The same server with another data directory.
    pub fn elsewhere(&self, end: &str) -> Self {
        let folder = self.folder.with_extension(end);
        let (url, database, more) = (self.url.clone(), self.database.clone(), self.more.clone());
        Self { folder, url, database, durability: self.durability, timeout_ms: self.timeout_ms, more }
    }

    /// Asserts that the tables hold what the journal amounts to, each event once, and says what that is.
    #[track_caller]
    pub fn assert_equal(&self, cluster: &Cluster) -> DatabaseReport {
        let kept = verify_data_dir(&self.folder).unwrap();
        let shown = verify_database(&self.config()).unwrap();
        assert_eq!((shown.applied, &shown.markets), (kept.last, &kept.markets));
        let counts =
            cluster.sql(&self.database, "SELECT count(*), max(seq), min(seq) FROM dispatch.events GROUP BY market");
        for count in counts.lines() {
            let [count, last, first] = count.split('|').collect::<Vec<_>>()[..] else { panic!("{count}") };
            assert_eq!((first, count), ("1", last), "every event is there once");
        }
        let active = "SELECT (SELECT count(*) FROM dispatch.active_assignments),
                             (SELECT count(*) FROM dispatch.assignments WHERE ended_at IS NULL),
                             (SELECT count(*) FROM dispatch.orders WHERE retired_at IS NULL AND status IN
                                  ('assigned', 'arrived_at_pickup', 'picked_up', 'arrived_at_dropoff'))";
        let active = cluster.sql(&self.database, active);
        let counts: Vec<_> = active.split('|').collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "{active}");
        shown
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Some of what happens on a day, with names of this round.
pub async fn work(server: &Server, round: usize) {
    let driver = |number: usize| format!("d-{round}-{number}");
    for number in 0..4 {
        server.driver("", &driver(number)).await;
    }
    for number in 0..6 {
        server.order("", &format!("o-{round}-{number}")).await;
    }
    server.pass(1);
    for number in 0..4 {
        let offer = server.get(&format!("/v1/drivers/{}/offer", driver(number))).await.ok();
        let Some(offer) = offer.body["offer"]["id"].as_str().map(str::to_owned) else { continue };
        let answer = if number == 3 { "decline" } else { "accept" };
        server.act(&format!("/v1/offers/{offer}/{answer}")).await.ok();
        let mine = server.get(&format!("/v1/drivers/{}", driver(number))).await.ok();
        let orders = mine.body["orders"].as_array().cloned().unwrap_or_default();
        for order in orders.iter().filter_map(Value::as_str).take(1) {
            let path = format!("/v1/orders/{order}");
            let steps: &[&str] = match number {
                0 => &["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"],
                1 => &["arrived_at_pickup"],
                _ => &[],
            };
            for step in steps {
                server.post(&format!("{path}/progress"), json!({"step": step})).await.ok();
            }
            if number == 2 {
                server.post(&format!("{path}/cancel"), json!({"reason": "no \u{0} time"})).await;
            }
        }
    }
    // The kitchen goes on with an order that has a driver.
    let early = format!("/v1/orders/k-{round}");
    server.post("/v1/orders", order(&format!("k-{round}"))).await.ok();
    server.post(&format!("{early}/kitchen"), json!({"status": "confirmed"})).await.ok();
    server.post(&format!("{early}/assign"), json!({"driver": driver(1)})).await.ok();
    server.post(&format!("{early}/kitchen"), json!({"status": "preparing"})).await.ok();
    server.act(&format!("/v1/drivers/{}/pause", driver(3))).await;
    let rules = server.get("/v1/markets/default/config").await.ok();
    let mut changed = rules.at("/rules").clone();
    changed["floor_orders_per_hour"] = json!(0.1 + round as f64);
    server.put("/v1/markets/default/config", changed).await.ok();
}

/// How the database is, by the server's word.
pub async fn link(server: &Server) -> (String, u64, bool) {
    let ready = server.get("/health/ready").await.ok();
    let is_well = ready.at("/postgres/status") == "connected";
    assert_eq!(ready.at("/status"), if is_well { "ready" } else { "degraded" });
    let behind = ready.at("/postgres/durable").as_u64().unwrap() - ready.at("/postgres/applied").as_u64().unwrap_or(0);
    (ready.at("/postgres/status").as_str().unwrap().to_owned(), behind, ready.at("/postgres/full") == true)
}

/// Asks until the database is as it should be.
pub async fn until(server: &Server, what: impl Fn(&(String, u64, bool)) -> bool) {
    let began = std::time::Instant::now();
    loop {
        let seen = link(server).await;
        if what(&seen) {
            return;
        }
        assert!(began.elapsed().as_secs() < 60, "it stays {seen:?}");
        tokio::task::yield_now().await;
    }
}
