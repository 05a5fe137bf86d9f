//! The binary as it is run.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Api, Folder, Server};
use dispatch_core::Timestamp;
use dispatch_server::{DOCUMENTED_DEFAULTS, KeyHash, ManualClock};
use reqwest::Method;
use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatch-server"));
    command.args(args).env_remove("DISPATCH_CONFIG").env_remove("RUST_LOG").env("DISPATCH_DURABILITY", "memory");
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What it printed, if it was content.
#[track_caller]
fn printed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// What it complained about, if it was not.
#[track_caller]
fn complaint(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""), "{args:?}");
    text(&output.stderr).to_owned()
}

/// A key that was made, and the lines that let it in.
#[track_caller]
fn key(args: &[&str]) -> (String, String) {
    let printed = printed(&[&["key", "create", "--print"], args].concat());
    let (key, lines) = printed.split_once('\n').unwrap();
    assert!(key.starts_with("dk_") && key.len() == 67, "{key}");
    assert!(lines.contains(&KeyHash::of(key).to_hex()) && !lines.contains(key), "{lines}");
    (key.to_owned(), lines.to_owned())
}

#[tokio::test]
async fn keys_open_what_their_role_may() {
    let (odd, long) = ("\"\\ \u{301}'\n[[", "x".repeat(129));
    let (admin, admin_lines) = key(&["--role", "admin", "--name", odd]);
    let (dispatcher, dispatcher_lines) = key(&["--role", "dispatcher"]);
    let (merchant, merchant_lines) = key(&["--role", "merchant", "--places", "p", "q"]);
    let (driver, driver_lines) = key(&["--role", "driver", "--driver", "ana"]);
    let server = Server::with(&[admin_lines, dispatcher_lines, merchant_lines, driver_lines].concat()).await;
    let status = async |key: &str, path: &str| server.send_as(key, Method::GET, path, None).await.status;
    for (key, stats, own, orders) in [
        (&admin, 200, 404, 200),
        (&dispatcher, 200, 404, 200),
        (&merchant, 403, 403, 200),
        (&driver, 403, 404, 200),
        (&"dk_0".to_owned(), 401, 401, 401),
    ] {
        let found =
            [status(key, "/v1/stats").await, status(key, "/v1/drivers/ana").await, status(key, "/v1/orders").await];
        assert_eq!(found, [stats, own, orders], "{key}");
    }
    for place in ["p", "q", "r"] {
        let place_of = json!({"lat": 1, "lng": 1, "id": place});
        let order = json!({"id": place, "pickup": place_of, "dropoff": place_of});
        let status = server.send_as(&merchant, Method::POST, "/v1/orders", Some(order)).await.status;
        assert_eq!(status, if place == "r" { 403 } else { 201 });
    }
    server.stop().await;

    for (args, about) in [
        (&["--role", "merchant"][..], "places"),
        (&["--role", "driver"], "driver"),
        (&["--role", "admin", "--driver", "ana"], "driver"),
        (&["--role", "driver", "--driver", "a b"], "driver"),
        (&["--role", "driver", "--driver", "ana\"\nrole = \"admin"], "driver"),
        (&["--role", "merchant", "--places", "p\", \"q"], "places"),
        (&["--role", "admin", "--name", &long], "name"),
    ] {
        let complaint = complaint(&[&["key", "create", "--print"], args].concat());
        assert!(complaint.contains(about), "{args:?}: {complaint}");
    }
}

#[tokio::test]
async fn keys_are_made_beside_a_server_that_runs() {
    let folder = Folder::new();
    let file = format!("data_dir = '{}'", folder.path());
    let kept = |args: &[&str]| {
        let place = ["--data-dir", folder.path(), "--set", "durability=sync"];
        printed(&[&["key"], args, &place].concat())
    };
    let root = kept(&["create", "--role", "admin", "--name", "root", "--rate", "100"]);
    let clock = ManualClock::new(Timestamp::from_millis(common::START));
    let server = Server::on(clock.clone(), &file).await;
    let status = async |key: &str| server.send_as(key.trim(), Method::GET, "/v1/stats", None).await.status;
    assert_eq!([status("").await, status(&root).await], [401, 200]);
    // What is made while it runs counts within a second or two.
    let desk = kept(&["create", "--role", "dispatcher", "--tenant", "default", "--days", "30"]);
    let within = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while status(&desk).await != 200 {
        assert!(std::time::Instant::now() < within, "the key was never read");
        tokio::task::yield_now().await;
    }
    let listed = kept(&["list"]);
    assert_eq!(listed.lines().filter(|line| line.ends_with("in force")).count(), 2, "{listed}");
    let id = listed.lines().find(|line| line.contains("root")).unwrap().split(' ').next().unwrap();
    let next = kept(&["rotate", id]);
    kept(&["revoke-links"]);
    server.stop().await;
    let server = Server::on(clock, &file).await;
    let status = async |key: &str| server.send_as(key.trim(), Method::GET, "/v1/stats", None).await.status;
    assert_eq!([status(&root).await, status(&next).await], [401, 200]);
    server.stop().await;
    kept(&["revoke", id]);
    assert!(kept(&["list"]).contains("revoked"));
    let place = ["--data-dir", folder.path(), "--set", "durability=sync"];
    assert!(complaint(&[&["key", "revoke", "key-none"][..], &place].concat()).contains("key-none"));
    assert!(complaint(&["key", "list"]).contains("memory"));
}

#[test]
fn the_configuration_is_printed_and_checked() {
    assert_eq!(printed(&["print-config"]), DOCUMENTED_DEFAULTS);
    assert!(printed(&["check-config", "--listen", "[::1]:1"]).contains("[::1]:1"));
    assert!(complaint(&["check-config", "--set", "limits.queue=0"]).contains("limits.queue"));
    assert!(complaint(&["check-config", "--config", "/nowhere"]).contains("/nowhere"));
    assert!(complaint(&["serve", "--listen", "0.0.0.0:0"]).contains("listen"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    assert!(complaint(&["serve", "--listen", &taken]).contains(&taken) || cfg!(windows));
    let mut named = command(&["check-config"]);
    let named = named.env("DISPATCH_LIMITS_QUEUE", "x").output().unwrap();
    assert!(text(&named.stderr).contains("limits.queue"), "{}", text(&named.stderr));
}

/// A running server, killed if the test ends before it does.
struct Running {
    process: Child,
    log: BufReader<std::process::ChildStderr>,
    api: Api,
}

impl Running {
    fn start() -> Self {
        Self::of(command(&["serve", "--listen", "127.0.0.1:0"]))
    }

    fn of(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it listened");
        }
        let url = line.split_once("listening on ").unwrap().1.split(',').next().unwrap();
        let api = Api::new(url.to_owned());
        Self { process, log, api }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn asked_to_end_it_ends_well() {
    for (signal, used) in [("TERM", false), ("INT", false), ("TERM", true), ("INT", true)] {
        let mut running = Running::start();
        if used {
            running.api.get("/health/ready").await.ok();
        }
        // The first moment is as good as any other.
        let kill = format!("kill -{signal} {}", running.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let mut log = String::new();
        running.log.read_to_string(&mut log).unwrap();
        assert_eq!(running.process.wait().unwrap().code(), Some(0), "{signal}: {log}");
        assert!(log.contains("stopping") && log.trim_end().ends_with("stopped"), "{log}");
        assert!(!log.contains('\u{1b}'), "a log that is no terminal has no colours: {log}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn where_nothing_can_be_written_any_more_it_stops_and_has_promised_nothing_else() {
    let folder = Folder::new();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--set", "durability=sync", "--data-dir", folder.path()];
    let mut limited = Command::new("sh");
    // As a disk that is full: no file may grow beyond 64 blocks.
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_dispatch-server")])
        .args(serve);
    let mut running = Running::of(limited);
    let mut placed = 0;
    while running.api.try_post("/v1/orders", common::order(&format!("o-{placed}"))).await == Some(201) {
        placed += 1;
    }
    let mut log = String::new();
    running.log.read_to_string(&mut log).unwrap();
    assert_eq!(running.process.wait().unwrap().code(), Some(1), "{log}");
    assert!(log.contains("nothing can be made durable any more"), "{log}");
    assert!(placed > 10, "it stopped after {placed} orders");

    let running = Running::of(command(&serve));
    for number in 0..placed {
        running.api.get(&format!("/v1/orders/o-{number}")).await.ok();
    }
}

#[tokio::test]
async fn people_can_look_into_a_data_directory() {
    let folder = Folder::new();
    let clock = ManualClock::new(Timestamp::from_millis(common::START));
    let server = Server::on(clock, &format!("data_dir = '{}'", folder.path())).await;
    server.driver("", "ana").await;
    let place = ["--data-dir", folder.path()];
    let journal = |what: &str| printed(&[&["journal", what], &place[..]].concat());
    // Beside the server that writes.
    let records = journal("export");
    let last: serde_json::Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
    assert_eq!(last["seq"], records.lines().count());
    assert_eq!(last["record"]["events"][0]["kind"]["shift_started"]["driver"], "ana");
    assert_eq!(
        printed(&["journal", "export", "--from", "3", place[0], place[1]]).lines().count() + 2,
        records.lines().count()
    );
    assert!(journal("inspect").contains("00000000000000000001-0000000001.segment"), "{}", journal("inspect"));
    assert!(journal("verify").contains("market default: 3 events"), "{}", journal("verify"));
    server.stop().await;

    let segment = format!("{}/00000000000000000001-0000000001.segment", folder.path());
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[70] ^= 8;
    std::fs::write(&segment, bytes).unwrap();
    let said = complaint(&["journal", "verify", place[0], place[1]]);
    assert!(said.contains("00000000000000000001-0000000001.segment is damaged at byte 32"), "{said}");
    assert!(journal("inspect").contains("is damaged at byte 32"), "{}", journal("inspect"));
    assert!(complaint(&["journal", "verify", "--data-dir", "/nowhere"]).contains("No such file"));
}
