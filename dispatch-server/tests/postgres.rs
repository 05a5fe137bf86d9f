//! PostgreSQL follows the journal: what its tables hold, what becomes of it when it goes away, and what it gives back.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;
#[path = "postgres/retention.rs"]
mod retention;

use common::cluster::Cluster;
use common::{START, Server};
use dispatch_core::Timestamp;
use dispatch_server::{
    DatabaseReport, ManualClock, ServerConfig, Sources, State, database_status, migrate_database, verify_data_dir,
    verify_database,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The cluster of the tests that do nothing to it.
static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::start);

/// A server's data directory and its database.
struct Place {
    folder: PathBuf,
    url: String,
    database: String,
    more: String,
}

impl Place {
    fn on(cluster: &Cluster) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dispatch-pg-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let database = cluster.database();
        let (folder, url, more) = (std::env::temp_dir().join(name), cluster.url(&database), String::new());
        Self { folder, url, database, more }
    }

    fn file(&self) -> String {
        format!(
            "data_dir = '{}'\ndatabase_url = '{}'\n[journal]\nsegment_bytes = 65536\nkeep_days = 0\n\
             [postgres]\nflush_ms = 0\ntimeout_ms = 1000\nretry_max_ms = 100\nmin_free_bytes = 0\n{}",
            self.folder.display(),
            self.url,
            self.more
        )
    }

    fn config(&self) -> ServerConfig {
        Sources { file: Some(self.file()), ..Sources::default() }.load().unwrap()
    }

    /// Starts the server at `seconds` after the beginning.
    async fn start(&self, seconds: i64) -> Server {
        Server::on(ManualClock::new(Timestamp::from_millis(START + seconds * 1_000)), &self.file()).await
    }

    /// Asserts that the tables hold what the journal amounts to, each event once, and says what that is.
    #[track_caller]
    fn assert_equal(&self, cluster: &Cluster) -> DatabaseReport {
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
async fn work(server: &Server, round: usize) {
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
    server.act(&format!("/v1/drivers/{}/pause", driver(3))).await;
    let rules = server.get("/v1/markets/default/config").await.ok();
    let mut changed = rules.at("/rules").clone();
    changed["floor_orders_per_hour"] = json!(0.1 + round as f64);
    server.put("/v1/markets/default/config", changed).await.ok();
}

fn server_order(id: &str) -> Vec<u8> {
    common::order(id).to_string().into_bytes()
}

/// How the database is, by the server's word.
async fn link(server: &Server) -> (String, u64, bool) {
    let ready = server.get("/health/ready").await.ok();
    let is_well = ready.at("/postgres/status") == "connected";
    assert_eq!(ready.at("/status"), if is_well { "ready" } else { "degraded" });
    let behind = ready.at("/postgres/durable").as_u64().unwrap() - ready.at("/postgres/applied").as_u64().unwrap_or(0);
    (ready.at("/postgres/status").as_str().unwrap().to_owned(), behind, ready.at("/postgres/full") == true)
}

/// Asks until the database is as it should be; what takes a minute never comes.
async fn until(server: &Server, what: impl Fn(&(String, u64, bool)) -> bool) {
    let began = Instant::now();
    loop {
        let state = link(server).await;
        if what(&state) {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "the database stays at (status, records behind, full): {state:?}"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_hold_what_the_engines_do() {
    let place = Place::on(&SHARED);
    let mut server = place.start(0).await;
    for (round, later) in [4_000, 8_000, 12_000].into_iter().enumerate() {
        work(&server, round).await;
        server.stop().await;
        place.assert_equal(&SHARED);
        // An hour later orders that ended have left memory.
        server = place.start(later).await;
    }
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;
    server.stop().await;
    place.assert_equal(&SHARED);
    let sql = |sql: &str| SHARED.sql(&place.database, sql);
    assert_eq!(
        sql("SELECT status, driver FROM dispatch.orders WHERE id = 'o-0-0' AND retired_at IS NOT NULL"),
        "delivered|d-0-0"
    );
    let log =
        "SELECT kind, before, after, role FROM dispatch.events WHERE 'o-0-0' = ANY(orders) AND kind = 'delivered'";
    assert_eq!(sql(log), "delivered|arrived_at_dropoff|delivered|dispatcher");
    assert_eq!(sql("SELECT outcome FROM dispatch.assignments WHERE order_id = 'o-0-0'"), "delivered");
    assert!(sql("SELECT count(*) FROM dispatch.eta_history WHERE order_id = 'o-0-0'").parse::<u32>().unwrap() >= 1);
    assert_eq!(sql("SELECT count(*) FROM dispatch.config_versions"), "4");
    assert_eq!(sql("SELECT count(*) > 0 FROM dispatch.offers WHERE outcome = 'declined'"), "t");
    assert_eq!(sql("SELECT count(DISTINCT driver) FROM dispatch.location_history"), "12");
    let status = database_status(&place.config()).unwrap();
    assert!(status.iter().any(|line| line.starts_with("server dispatch: applied up to record")), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_directory_is_gone_goes_on_from_the_database() {
    let mut place = Place::on(&SHARED);
    place.more = "[[markets]]\nid = \"default\"\n[[markets]]\nid = \"west\"\npolygon = [[1, 1], [2, 1], [2, 2]]".into();
    let server = place.start(0).await;
    work(&server, 0).await;
    for market in ["west", "default", "west"] {
        server.put("/v1/drivers/ana", json!({ "market": market })).await.ok();
    }
    let once = [("idempotency-key", "k"), ("content-type", "application/json")];
    let submit = || server_order("once");
    let first = server.raw(reqwest::Method::POST, "/v1/orders", &once, submit()).await;
    assert_eq!(first.status, 201);
    server.stop().await;
    let before = place.assert_equal(&SHARED);
    std::fs::rename(&place.folder, place.folder.with_extension("lost")).unwrap();

    let server = place.start(0).await;
    let again = server.raw(reqwest::Method::POST, "/v1/orders", &once, submit()).await;
    assert_eq!(again.status, 201, "it is answered as the first time");
    assert_eq!(server.get("/v1/drivers/ana").await.ok().at("/market"), "west");
    assert_eq!(server.get("/v1/drivers?limit=500").await.ok().at("/drivers").as_array().unwrap().len(), 5);
    work(&server, 1).await;
    server.stop().await;
    let after = place.assert_equal(&SHARED);
    assert!(after.applied > before.applied && after.markets[0].1 > before.markets[0].1, "numbers go on");
    // It starts again from its new directory, too.
    let server = place.start(10).await;
    work(&server, 2).await;
    server.stop().await;
    place.assert_equal(&SHARED);

    // Whoever still has the old directory may not write any more.
    let lost = Place {
        folder: place.folder.with_extension("lost"),
        url: place.url.clone(),
        database: place.database.clone(),
        more: place.more.clone(),
    };
    let held = SHARED.sql(&place.database, "SELECT applied_seq, epoch, holder FROM dispatch.servers");
    let server = lost.start(20).await;
    work(&server, 3).await;
    until(&server, |(link, ..)| link == "fenced").await;
    server.stop().await;
    assert_eq!(SHARED.sql(&place.database, "SELECT applied_seq, epoch, holder FROM dispatch.servers"), held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_waits_for_the_database() {
    let mut place = Place::on(&SHARED);
    place.url = "postgres://postgres@127.0.0.1:1/nothing".into();
    let said = State::start(place.config()).unwrap_err().to_string();
    assert!(said.contains("the data directory is empty") && said.contains("127.0.0.1:1/nothing"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_later_gets_everything() {
    let place = Place::on(&SHARED);
    let without = place.file().replace("database_url", "# database_url");
    let clock = || ManualClock::new(Timestamp::from_millis(START));
    let server = Server::on(clock(), &without).await;
    // Enough for segments to be folded into snapshots and removed.
    for round in 0..12 {
        work(&server, round).await;
    }
    server.stop().await;
    let server = Server::on(clock(), &without).await;
    work(&server, 12).await;
    server.stop().await;
    let first =
        std::fs::read_dir(&place.folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let first = first.filter(|name| name.ends_with(".segment")).min().unwrap();
    assert!(!first.starts_with("00000000000000000001"), "{first}: the test is about segments that are gone");

    let server = place.start(0).await;
    work(&server, 13).await;
    server.stop().await;
    let (kept, shown) = (verify_data_dir(&place.folder).unwrap(), verify_database(&place.config()).unwrap());
    assert_eq!((shown.applied, shown.markets), (kept.last, kept.markets));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_a_database_and_no_market() {
    let one = Place::on(&SHARED);
    let mut two = Place::on(&SHARED);
    two.url.clone_from(&one.url);
    let server = one.start(0).await;
    work(&server, 0).await;
    server.stop().await;
    let named = two.file().replace("[postgres]", "[postgres]\nserver = \"second\"");
    let server = Server::on(ManualClock::new(Timestamp::from_millis(START)), &named).await;
    work(&server, 0).await;
    until(&server, |(link, ..)| link == "fenced").await;
    server.stop().await;
    one.assert_equal(&SHARED);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_while_the_database_is_killed_and_frozen() {
    let cluster = Cluster::start();
    let place = Place::on(&cluster);
    let server = place.start(0).await;
    work(&server, 0).await;
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;

    cluster.kill();
    work(&server, 1).await;
    until(&server, |(link, behind, _)| link == "away" && *behind > 0).await;
    work(&server, 2).await;
    cluster.begin();
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;

    cluster.freeze();
    work(&server, 3).await;
    until(&server, |(link, behind, _)| link == "away" && *behind > 0).await;
    work(&server, 4).await;
    cluster.thaw();
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;
    server.stop().await;
    place.assert_equal(&cluster);

    // A server that is stopped meanwhile has it written after its next start.
    cluster.kill();
    let server = place.start(0).await;
    work(&server, 5).await;
    server.stop().await;
    cluster.begin();
    let server = place.start(0).await;
    server.stop().await;
    place.assert_equal(&cluster);
}

/// How many connections were cut.
static CUT: AtomicU32 = AtomicU32::new(0);

/// Stands between a server and its database, and cuts some connections when a COMMIT goes by: before or after the database got it.
async fn cutter(port: u16, cuts: &'static AtomicBool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut number = 0_u32;
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let Ok(database) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            number += 1;
            tokio::spawn(pass(client, database, cuts, number));
        }
    });
    own
}

async fn pass(mut client: TcpStream, mut database: TcpStream, cuts: &AtomicBool, number: u32) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut commits = 0;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let is_commit = asked[..read].windows(6).any(|word| word == b"COMMIT");
                commits += u32::from(is_commit);
                // The first of a connection says who writes.
                let cut = is_commit && commits > 1 && cuts.load(Ordering::Relaxed);
                CUT.fetch_add(u32::from(cut), Ordering::Relaxed);
                if cut && number.is_multiple_of(2) {
                    return;
                }
                if database.write_all(&asked[..read]).await.is_err() {
                    return;
                }
                if cut {
                    // It has it, and nobody learns what came of it.
                    let _ = database.read(&mut answered).await;
                    return;
                }
            }
            read = database.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&answered[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_doubt_is_carried_out_once() {
    static CUTS: AtomicBool = AtomicBool::new(true);
    let mut place = Place::on(&SHARED);
    // The tables are there before connections are cut.
    migrate_database(&place.config()).unwrap();
    let direct = place.url.clone();
    let port = cutter(SHARED.port(), &CUTS).await;
    place.url = direct.replace(&format!(":{}/", SHARED.port()), &format!(":{port}/"));
    let server = place.start(0).await;
    for round in 0.. {
        work(&server, round).await;
        if CUT.load(Ordering::Relaxed) >= 6 {
            break;
        }
    }
    CUTS.store(false, Ordering::Relaxed);
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;
    server.stop().await;
    place.url = direct;
    place.assert_equal(&SHARED);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_refused_before_the_disk_is_full() {
    let cluster = Cluster::start();
    let mut place = Place::on(&cluster);
    place.more = "max_backlog_bytes = 200000".into();
    let server = place.start(0).await;
    work(&server, 0).await;
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;
    cluster.kill();
    for round in 1.. {
        work_unless_full(&server, round).await;
        if link(&server).await.2 {
            break;
        }
    }
    let refused = server.post("/v1/orders", common::order("late")).await.problem(503, "backlog_full");
    assert_eq!(refused.headers["retry-after"], "1");
    server.driver("", "zoe").await;
    server.act("/v1/drivers/zoe/shift/end").await.ok();
    cluster.begin();
    until(&server, |(_, behind, full)| *behind == 0 && !full).await;
    server.order("", "late").await;
    server.stop().await;
    place.assert_equal(&cluster);
}

async fn work_unless_full(server: &Server, round: usize) {
    for number in 0..20 {
        server.driver("", &format!("d-{round}-{number}")).await;
        let order = common::order(&format!("o-{round}-{number}"));
        if server.post("/v1/orders", order).await.status == 503 {
            return;
        }
    }
    server.pass(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_role_can_do_what_a_server_does_and_no_more() {
    let mut place = Place::on(&SHARED);
    assert_eq!(migrate_database(&place.config()).unwrap().len(), 2);
    assert_eq!(migrate_database(&place.config()).unwrap(), ["the tables are up to date"]);
    let user = format!("server_{}", place.database);
    SHARED.sql(&place.database, &format!("CREATE ROLE {user} LOGIN IN ROLE dispatch_server"));
    place.url = SHARED.url_of(&user, &place.database);
    let server = place.start(0).await;
    work(&server, 0).await;
    server.stop().await;
    place.assert_equal(&SHARED);
    for forbidden in [
        "DELETE FROM dispatch.events",
        "UPDATE dispatch.events SET role = 'system'",
        "TRUNCATE dispatch.orders",
        "DELETE FROM dispatch.orders",
        "DROP TABLE dispatch.stops",
        "CREATE TABLE dispatch.mine (a int)",
        "UPDATE dispatch.retention_policies SET keep_days = 1",
    ] {
        let tried = format!(
            "SET ROLE {user}; DO $$ BEGIN {forbidden}; RAISE 'was allowed'; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
        );
        SHARED.sql(&place.database, &tried);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_not_make_tables_says_what_is_missing() {
    let mut place = Place::on(&SHARED);
    place.more = "migrate = false".into();
    let said = State::start(place.config()).unwrap_err().to_string();
    assert!(said.contains("database migrate"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_hold_even_if_the_projection_did_not() {
    let place = Place::on(&SHARED);
    migrate_database(&place.config()).unwrap();
    let insert = |order: &str, slot: u32| {
        format!(
            "DO $$ BEGIN INSERT INTO dispatch.active_assignments VALUES ('m', '{order}', 'ana', {slot}); RAISE 'was allowed';
             EXCEPTION WHEN unique_violation THEN NULL; END $$"
        )
    };
    SHARED.sql(&place.database, "INSERT INTO dispatch.active_assignments VALUES ('m', 'o', 'ana', 0)");
    SHARED.sql(&place.database, &insert("o", 1));
    SHARED.sql(&place.database, &insert("p", 0));
}

#[test]
fn a_cluster_takes_another_port_if_its_own_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let cluster = Cluster::start_at(port);
    assert_ne!(cluster.port(), port);
    assert_eq!(cluster.sql("postgres", "SELECT 1"), "1");
}
