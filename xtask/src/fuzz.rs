//! `cargo xtask fuzz`: random input for the fuzz targets, guided by coverage where the tools for that are there.

use crate::run::{self, Failure, cargo};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

/// Every target: a function of the same name in `fuzz/src/lib.rs`.
const TARGETS: &[&str] = &["position_json", "wire", "commands", "journal", "frame"];

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
        if guided {
            follow(target, &seconds)?;
        } else {
            run::run(random(&[target, &seconds]))?;
        }
    }
    Ok(())
}

/// Runs a target under libFuzzer. What it finds lies in `target/fuzz-corpus`, so that it goes on there; what the repository has in
/// `fuzz/corpus` is only read.
fn follow(target: &str, seconds: &str) -> Result<(), Failure> {
    let found = format!("target/fuzz-corpus/{target}");
    let kept = format!("fuzz/corpus/{target}");
    run::run(random(&["--seeds", target, &found]))?;
    let limit = format!("-max_total_time={seconds}");
    // An input that takes this long is a finding, too, and so is one that takes this many megabytes.
    let options = ["--", &limit, "-timeout=10", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1"];
    let corpora: &[&str] = if run::root().join(&kept).is_dir() { &[&found, &kept] } else { &[&found] };
    // Nothing of ours is unsafe code, which is what sanitizers are for.
    let mut command = cargo_fuzz(&["run", "--sanitizer", "none", target]);
    command.args(corpora).args(options);
    let before = artifacts(target);
    run::run(command).map_err(|failure| {
        let new: Vec<_> = artifacts(target).difference(&before).map(|file| file.display().to_string()).collect();
        if new.is_empty() { failure } else { Failure::Because(format!("{target} is broken by {}", new.join(", "))) }
    })
}

/// The inputs that broke a target.
fn artifacts(target: &str) -> BTreeSet<PathBuf> {
    let folder = run::root().join("fuzz/artifacts").join(target);
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The program that mutates without guidance, and knows the valid input.
fn random(arguments: &[&str]) -> Command {
    let driver = ["run", "--release", "--locked", "--package", "dispatch-fuzz", "--example", "random", "--"];
    cargo(driver.into_iter().chain(arguments.iter().copied()))
}

/// `cargo fuzz` under the nightly toolchain, whatever toolchain runs this program.
fn cargo_fuzz(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz"]).args(arguments).current_dir(run::root());
    command
}
