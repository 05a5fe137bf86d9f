//! PostgreSQL follows the journal: what its tables hold, who may write there, and what it gives back.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;
#[path = "postgres/retention.rs"]
mod retention;

use common::cluster::Cluster;
use common::place::{Place, until, work};
use common::{START, Server};
use dispatch_core::Timestamp;
use dispatch_server::{ManualClock, State, database_status, migrate_database, verify_data_dir, verify_database};
use serde_json::json;
use std::sync::LazyLock;

/// The cluster of the tests that do nothing to it.
static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::start);

fn server_order(id: &str) -> Vec<u8> {
    common::order(id).to_string().into_bytes()
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
    let lost = place.elsewhere("lost");
    let held = SHARED.sql(&place.database, "SELECT applied_seq, epoch, holder FROM dispatch.servers");
    let server = lost.start(20).await;
    work(&server, 3).await;
    until(&server, |(link, ..)| link == "fenced").await;
    server.stop().await;
    assert_eq!(SHARED.sql(&place.database, "SELECT applied_seq, epoch, holder FROM dispatch.servers"), held);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_over_an_empty_directory_fences_who_wrote_before() {
    let old = Place::on(&SHARED);
    let before = old.start(0).await;
    work(&before, 0).await;
    until(&before, |(link, behind, _)| link == "connected" && *behind == 0).await;
    // It still runs, and its directory is as good as the new one's: yet one of them goes on.
    let new = old.elsewhere("new");
    let after = new.take_over(&SHARED, 10).await;
    // It learns of it though it writes nothing.
    until(&before, |(link, ..)| link == "fenced").await;
    work(&before, 1).await;
    work(&after, 2).await;
    after.stop().await;
    before.stop().await;
    new.assert_equal(&SHARED);
    let before = old.start(20).await;
    until(&before, |(link, ..)| link == "fenced").await;
    before.stop().await;
    new.assert_equal(&SHARED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_waits_for_the_database() {
    let mut place = Place::on(&SHARED);
    place.url = "postgres://postgres@127.0.0.1:1/nothing".into();
    let said = State::start(place.config()).unwrap_err().to_string();
    assert!(said.contains("the data directory is empty") && said.contains("127.0.0.1:1/nothing"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_of_a_directory_one_goes_on() {
    let place = Place::on(&SHARED);
    let server = place.start(0).await;
    work(&server, 0).await;
    server.stop().await;
    let early = place.copy("early");
    let server = place.start(10).await;
    work(&server, 1).await;
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;
    // Whoever comes later with the same records takes over.
    let later = place.copy("later");
    let second = later.start(20).await;
    until(&second, |(link, ..)| link == "connected").await;
    work(&server, 2).await;
    until(&server, |(link, ..)| link == "fenced").await;
    server.stop().await;
    work(&second, 3).await;
    second.stop().await;
    later.assert_equal(&SHARED);
    // One that is behind does not, and neither does it once it has as many records, which are others.
    for round in 4..12 {
        let behind = early.start(30).await;
        until(&behind, |(link, ..)| link == "fenced").await;
        work(&behind, round).await;
        behind.stop().await;
    }
    assert!(verify_data_dir(&early.folder).unwrap().last > verify_data_dir(&later.folder).unwrap().last);
    later.assert_equal(&SHARED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_used_again_takes_nothing_from_history() {
    let cluster = Cluster::start();
    let place = Place::on(&cluster);
    let deliver = async |server: &Server| {
        server.report("", "ana").await;
        server.order("", "again").await;
        let offer = server.offer("", "ana").await;
        server.act(&format!("/v1/offers/{offer}/accept")).await.ok();
        for step in ["arrived_at_pickup", "picked_up", "departed", "arrived_at_dropoff", "delivered"] {
            server.post("/v1/orders/again/progress", json!({ "step": step })).await.ok();
        }
    };
    let server = place.start(0).await;
    server.driver("", "ana").await;
    deliver(&server).await;
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;
    server.pass(4_000);
    server.get("/v1/orders/again").await.problem(404, "unknown_order");
    until(&server, |(_, behind, _)| *behind == 0).await;
    deliver(&server).await;
    until(&server, |(_, behind, _)| *behind == 0).await;
    let history = "SELECT count(*), count(DISTINCT placed_at) FROM dispatch.orders_history WHERE id = 'again'";
    assert_eq!(cluster.sql(&place.database, history), "1|1");
    // In one transaction, too.
    cluster.kill();
    server.pass(4_000);
    deliver(&server).await;
    server.pass(4_000);
    server.get("/v1/orders/again").await.problem(404, "unknown_order");
    deliver(&server).await;
    cluster.begin();
    until(&server, |(_, behind, _)| *behind == 0).await;
    assert_eq!(cluster.sql(&place.database, history), "3|3");
    server.stop().await;
    place.assert_equal(&cluster);
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
    let sql = |sql: &str| SHARED.sql(&place.database, sql);
    let active =
        "SELECT (SELECT count(*) FROM dispatch.active_assignments) > 0, (SELECT count(*) FROM dispatch.assignments t
                  JOIN dispatch.active_assignments USING (market, order_id, driver) WHERE t.ended_at IS NULL)
                  = (SELECT count(*) FROM dispatch.active_assignments)";
    assert_eq!(sql(active), "t|t", "who has what just now is known");
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
    assert!(!two.folder.join("replaced").exists(), "it may have its market once the other gives it up");
    one.assert_equal(&SHARED);
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
