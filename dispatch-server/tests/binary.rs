//! The `dispatch-server` command as its operators meet it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn a_log_that_is_not_on_a_terminal_is_plain_text() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatch-server"));
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "info").env_remove("NO_COLOR");
    command.env("DISPATCH_DURABILITY", "memory");
    let mut server = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(line.contains("listening on http://127.0.0.1:"), "{line}");
    assert!(!line.contains('\u{1b}'), "{line:?}");
}

/// The rest of the line behind this, from a log.
fn behind(log: &mut impl BufRead, text: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ends before {text:?}");
        if let Some((_, rest)) = line.split_once(text) {
            return rest.trim().to_owned();
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_admin_port_has_metrics_and_nothing_else_and_no_collector_holds_up_the_end() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatch-server"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--set", "trace.sample=1"]);
    // Nobody listens there.
    command.args(["--set", "trace.otlp_endpoint=http://127.0.0.1:9/v1/traces"]);
    command.env("RUST_LOG", "info").env("DISPATCH_DURABILITY", "memory");
    let mut server = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let metrics = behind(&mut log, "metrics are at ");
    let public = behind(&mut log, "listening on ");
    let public = public.split(',').next().unwrap();
    let stats = reqwest::get(format!("{public}/v1/stats")).await.unwrap();
    assert_eq!(stats.status(), 200);
    assert_eq!(reqwest::get(format!("{public}/metrics")).await.unwrap().status(), 404);
    let shown = reqwest::get(&metrics).await.unwrap();
    assert!(shown.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
    let shown = shown.text().await.unwrap();
    assert!(shown.contains("# TYPE dispatch_http_request_seconds histogram"), "{shown}");
    assert!(shown.contains("operation=\"getStats\",class=\"other\",status=\"2xx\"} 1\n"), "{shown}");
    let admin = metrics.strip_suffix("/metrics").unwrap();
    for (path, status) in [("/health/live", 200), ("/health/ready", 200), ("/v1/stats", 404)] {
        assert_eq!(reqwest::get(format!("{admin}{path}")).await.unwrap().status(), status, "{path}");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&server), rustix::process::Signal::TERM).unwrap();
    behind(&mut log, "the collector does not take traces");
    let rest = std::io::read_to_string(log).unwrap();
    assert!(!rest.contains("panicked"), "{rest}");
    assert!(server.wait().unwrap().success());
}
