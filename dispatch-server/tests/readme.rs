//! The session of `README.md` does what it says: its lines are run as they are printed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::Server;
use dispatch_server::ServerConfig;
use serde_json::Value;
use std::process::Command;

const README: &str = include_str!("../../README.md");

/// The line of the session that says where the server is.
const ADDRESS: &str = "URL=http://";

/// The lines of the block that begins with the server's address. Without comments: not every shell knows them when lines
/// are entered by hand.
fn session() -> Vec<&'static str> {
    let block = README.split("```sh\n").find(|block| block.starts_with(ADDRESS)).expect("README.md has a session");
    let lines: Vec<_> = block.split("```").next().unwrap().lines().collect();
    assert!(!lines.iter().any(|line| line.contains('#')), "no comments: {lines:?}");
    lines
}

/// What a line prints in a shell in which the lines of `before` were entered; JSON.
fn enter(before: &str, line: &str) -> Value {
    // As somebody with `show-error` and a status line in their `.curlrc` would see it.
    let curl = r#"curl() { command curl --silent --show-error --write-out '%{http_code}' "$@"; }"#;
    let ended = Command::new("sh").args(["-c", &format!("{curl}\n{before}\n{line}")]).output().unwrap();
    let (said, complained) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{line}\n{said}\n{complained}");
    let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{line}\nno line: {said}"));
    assert!(status.starts_with('2'), "{line}\n{body}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{line}\n{error}: {body}"))
}

// The lines block one thread while the server answers on the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_of_the_readme_works_as_printed() {
    let curl = Command::new("curl").arg("--version").output();
    assert!(curl.is_ok_and(|curl| curl.status.success()), "this test needs `curl`; `cargo xtask test` installs it");
    let server = Server::start().await;
    let session = session();
    assert_eq!(session[0], format!("{ADDRESS}{}", ServerConfig::default().listen), "the default address");
    let mut variables = format!("URL={}\n", server.url);
    let (mut etas, mut explanations, mut last) = (0, 0, Value::Null);
    for line in &session[1..] {
        if let Some(seconds) = line.strip_prefix("sleep ") {
            // The clock of this server goes on when it is told.
            server.pass(seconds.parse().unwrap());
        } else if line.starts_with("curl ") {
            last = enter(&variables, line);
            etas += usize::from(last.pointer("/eta/at").is_some());
            explanations += usize::from(last.pointer("/decision/best/0/driver").is_some_and(|driver| driver == "ana"));
        } else {
            let name = line.split('=').next().unwrap();
            assert!(name.chars().all(|c| c.is_ascii_uppercase()), "neither `curl`, `sleep` nor a variable: {line}");
            variables.push_str(line);
            variables.push('\n');
        }
    }
    assert_eq!((etas, explanations), (1, 1));
    assert_eq!(last["status"], "delivered");
    server.stop().await;
}
