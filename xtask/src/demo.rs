//! `cargo xtask demo`: the real server and a city of clients that talk to it over HTTP.

use crate::run::{self, Failure, cargo};
use std::env::consts::EXE_SUFFIX;
use std::process::Command;

/// What `demo` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// End after this long; run until Ctrl-C if absent.
    #[arg(long)]
    seconds: Option<u64>,
    /// Where the server listens on this machine; any free port if absent.
    #[arg(long)]
    port: Option<u16>,
    /// Which city.
    #[arg(long)]
    seed: Option<u64>,
}

/// Builds the server and its clients, and becomes the program that runs both.
///
/// Without optimization: a stranger waits for the build, and a city of one request after the other needs none.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    run::run(cargo(["build", "--locked", "--package", "dispatch-server", "--package", "dispatch-demo"]))?;
    let mut demo = Command::new(run::target()?.join("debug").join(format!("dispatch-demo{EXE_SUFFIX}")));
    let Arguments { seconds, port, seed } = arguments;
    let options = [("--seconds", *seconds), ("--port", port.map(u64::from)), ("--seed", *seed)];
    for (name, value) in options.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        demo.arg(name).arg(value.to_string());
    }
    run::become_it(demo)
}
