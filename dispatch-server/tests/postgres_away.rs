//! What goes on while PostgreSQL is killed, frozen or cut off, and what does not.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::cluster::Cluster;
use common::place::{Place, link, until, work};
use common::{Answer, Server};
use dispatch_server::migrate_database;
use reqwest::Method;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_means_that_the_database_has_it() {
    let cluster = Cluster::start();
    let mut place = Place::on(&cluster);
    (place.durability, place.timeout_ms) = ("postgres", 10_000);
    place.more = "[limits]\nrequest_seconds = 5".into();
    migrate_database(&place.config()).unwrap();
    let server = place.start(0).await;
    let ready = async |code: Option<&str>| {
        let began = Instant::now();
        while server.get("/health/ready").await.body["code"].as_str() != code {
            assert!(began.elapsed().as_secs() < 60, "it is never {code:?}");
        }
    };
    ready(None).await;
    server.driver("", "ana").await;
    server.order("", "o-0").await;
    let held = cluster.hold(&place.database, "UPDATE dispatch.servers SET epoch = epoch");
    let waits = submit_twice(&server, "o-1").await;
    drop(held);
    assert_eq!(waits.await.status, 201);
    assert_eq!(cluster.sql(&place.database, "SELECT count(*) FROM dispatch.orders WHERE id = 'o-1'"), "1");
    let offer = server.offer("", "ana").await;

    // Nothing is promised while the database is away, and no offer runs out.
    let held = cluster.hold(&place.database, "UPDATE dispatch.servers SET epoch = epoch");
    let late = submit_twice(&server, "late").await;
    cluster.kill();
    drop(held);
    late.await.problem(503, "late");
    ready(Some("database_away")).await;
    server.post("/v1/orders", common::order("refused")).await.problem(503, "database_away");
    server.act(&format!("/v1/offers/{offer}/accept")).await.problem(503, "database_away");
    // Whoever only asks is answered once it is certain what he sees.
    server.get("/v1/orders/o-0").await.problem(503, "late");
    server.pass(3_600);
    cluster.begin();
    ready(None).await;
    server.act(&format!("/v1/offers/{offer}/accept")).await.ok();
    server.get("/v1/orders/refused").await.problem(404, "unknown_order");
    server.order("", "late").await;

    // Nor once another server goes on in its place.
    let new = place.elsewhere("new");
    let after = new.take_over(&cluster, 7_200).await;
    assert!(server.state.failed().await.to_string().contains("goes on elsewhere"));
    assert!(server.ended().await.is_err());
    after.stop().await;
    new.assert_equal(&cluster);
}

/// Submits an order twice at once under one key, while the database cannot write it: nobody is told that it was done, one is told so,
/// and the other waits.
async fn submit_twice<'a>(server: &'a Server, id: &str) -> Pin<Box<dyn Future<Output = Answer> + 'a>> {
    let submit = || {
        let (key, body) = (id.to_owned(), common::order(id).to_string().into_bytes());
        Box::pin(async move {
            let once = [("idempotency-key", key.as_str()), ("content-type", "application/json")];
            server.raw(Method::POST, "/v1/orders", &once, body).await
        })
    };
    let (mut one, mut other) = (submit(), submit());
    let (refused, waits) = tokio::select! {
        refused = &mut one => (refused, other),
        refused = &mut other => (refused, one),
    };
    refused.problem(409, "in_flight").field("Idempotency-Key");
    waits
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

/// How many connections were cut after the database got the COMMIT, and before.
static CUT: [AtomicU32; 2] = [const { AtomicU32::new(0) }; 2];

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
    let mut writes = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(read @ 1..) = read else { return };
                let says = |word: &[u8]| asked[..read].windows(word.len()).any(|bytes| bytes == word);
                // The first transactions of a connection say who writes, and read.
                writes |= says(b"SET applied_seq");
                let cut = writes && says(b"COMMIT") && cuts.load(Ordering::Relaxed);
                let is_before = number.is_multiple_of(2);
                CUT[usize::from(is_before)].fetch_add(u32::from(cut), Ordering::Relaxed);
                if cut && is_before {
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
    let cluster = Cluster::start();
    let mut place = Place::on(&cluster);
    // The tables are there before connections are cut.
    migrate_database(&place.config()).unwrap();
    let direct = place.url.clone();
    let port = cutter(cluster.port(), &CUTS).await;
    place.url = direct.replace(&format!(":{}/", cluster.port()), &format!(":{port}/"));
    let server = place.start(0).await;
    for round in 0.. {
        work(&server, round).await;
        if CUT.iter().all(|cut| cut.load(Ordering::Relaxed) >= 3) {
            break;
        }
    }
    CUTS.store(false, Ordering::Relaxed);
    until(&server, |(link, behind, _)| link == "connected" && *behind == 0).await;
    server.stop().await;
    place.url = direct;
    place.assert_equal(&cluster);
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
