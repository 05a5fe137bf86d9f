//! The project's own commands, run as `cargo xtask <command>`. Plain cargo is all they need.

mod demo;
mod fuzz;
mod fuzz_api;
mod measure;
mod needs;
mod run;
mod supply;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a server and a city of clients to watch.
    Demo(demo::Arguments),
    /// Install what the checks need, then run them all: format, lints, documentation, tests.
    Test,
    /// Run timing measurements five times each and print minimum, median and maximum.
    Measure(measure::Arguments),
    /// Feed random input to the fuzz targets.
    Fuzz(fuzz::Arguments),
    /// Ask the running server whatever its contract allows and forbids, as every role.
    FuzzApi(fuzz_api::Arguments),
    /// Hold all dependencies against deny.toml: licences, sources, known flaws, what is banned.
    Deny(supply::DenyArguments),
    /// List what the server is linked from, as CycloneDX.
    Sbom(supply::SbomArguments),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo(arguments) => run::report(demo::run(&arguments)),
        Command::Test => test::run(),
        Command::Measure(arguments) => run::report(measure::run(&arguments)),
        Command::Fuzz(arguments) => run::report(fuzz::run(&arguments)),
        Command::FuzzApi(arguments) => run::report(fuzz_api::run(&arguments)),
        Command::Deny(arguments) => run::report(supply::deny(&arguments)),
        Command::Sbom(arguments) => run::report(supply::sbom(&arguments)),
    }
}
