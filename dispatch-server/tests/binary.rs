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
