//! `cargo xtask demo`: the real server and a city of clients that talk to it over HTTP.

use crate::run::{self, Failure, cargo};

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
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    for package in ["dispatch-server", "dispatch-demo"] {
        run::run(cargo(["build", "--release", "--locked", "--package", package]))?;
    }
    let mut demo = cargo(["run", "--quiet", "--release", "--locked", "--package", "dispatch-demo", "--"]);
    let Arguments { seconds, port, seed } = arguments;
    let options = [("--seconds", *seconds), ("--port", port.map(u64::from)), ("--seed", *seed)];
    for (name, value) in options.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        demo.arg(name).arg(value.to_string());
    }
    run::become_it(demo)
}
