//! `cargo xtask fuzz`: random input for the fuzz targets, guided by coverage where the tools for that are there.

use crate::run::{self, Failure, cargo};
use std::process::Command;

/// Every target: a function of the same name in `fuzz/src/lib.rs`.
const TARGETS: &[&str] = &["position_json"];

/// What `fuzz` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long to run each target.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Which target to run; every one if none is named.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
}

/// Runs the fuzz targets one after the other.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let guided = run::works(cargo_fuzz(&["--version"]));
    if !guided {
        eprintln!(
            "no coverage guidance: that takes a nightly toolchain and cargo-fuzz (`rustup toolchain install nightly`, \
             `cargo install cargo-fuzz`). The same targets are run on random mutations of valid input instead."
        );
    }
    for &target in TARGETS.iter().filter(|&&target| arguments.target.as_deref().is_none_or(|only| only == target)) {
        let seconds = arguments.seconds.to_string();
        run::run(if guided {
            let limit = format!("-max_total_time={seconds}");
            cargo_fuzz(&["run", "--features", "libfuzzer", target, "--", &limit])
        } else {
            let driver = ["run", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--example", "random"];
            cargo(driver.into_iter().chain(["--", target, &seconds]))
        })?;
    }
    Ok(())
}

/// `cargo fuzz` under the nightly toolchain, whatever toolchain runs this program.
fn cargo_fuzz(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).args(arguments).current_dir(run::root());
    command
}
