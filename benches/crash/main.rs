//! Proof that what was acknowledged survives: a loaded server that is killed over and over, a disk that tears and fails, and how
//! long a restart takes. Each run prints one line of JSON and fails if a figure that must be zero is not.

#[path = "../child.rs"]
mod child;
#[cfg(unix)]
#[allow(dead_code, unreachable_pub, reason = "the server's tests use the rest of it")]
#[path = "../../dispatch-server/tests/common/cluster.rs"]
mod cluster;
mod disk;
#[path = "../folder.rs"]
mod folder;
mod kills;
mod memory;
#[cfg(unix)]
mod postgres;
mod recovery;

use clap::{ArgGroup, Parser};
use folder::Folder;
use serde_json::Value;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is tried.
#[derive(Parser)]
#[command(group = ArgGroup::new("what").required(true))]
struct Options {
    /// Kill a loaded server this many times, and look for what it had acknowledged.
    #[arg(long, group = "what", value_name = "TIMES")]
    kills: Option<u32>,
    /// Let a journal live on a disk that loses, tears and fails at any call.
    #[arg(long, group = "what")]
    simulated_disk: bool,
    /// How many such disks.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Have the journal skip its sync call: the run has to fail then.
    #[arg(long, requires = "simulated_disk")]
    skip_sync: bool,
    /// Kill the database of a loaded server, and freeze it.
    #[cfg(unix)]
    #[arg(long, group = "what")]
    postgres_outage: bool,
    /// Start from a journal of so many records, with 100,000 drivers.
    #[arg(long, group = "what", value_name = "RECORDS")]
    recovery: Option<u64>,
    /// Where the data goes, in a directory of this run's own that is gone at its end; by default beside this program.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Used by this program itself, in a process of its own.
    #[arg(long, group = "what", hide = true, value_name = "DIRECTORY")]
    serve: Option<PathBuf>,
    /// Used by this program itself.
    #[arg(long, group = "what", hide = true, value_name = "DIRECTORY")]
    recover: Option<PathBuf>,
    /// Used by this program itself.
    #[arg(long, group = "what", hide = true, num_args = 2, value_names = ["DIRECTORY", "RECORDS"])]
    write: Option<Vec<String>>,
}

/// What a run came to: its line, and whether all is well.
struct Outcome {
    line: Value,
    is_well: bool,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(Outcome { line, is_well }) => {
            println!("{line}");
            if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<Outcome, Box<dyn Error>> {
    let folder = |name| Folder::new(options.data_dir.as_deref(), name);
    #[cfg(unix)]
    if options.postgres_outage {
        return postgres::run(&folder("crash-postgres")?);
    }
    if let Some(directory) = options.serve {
        kills::serve(&directory)
    } else if let Some(directory) = options.recover {
        recovery::recover(&directory)
    } else if let Some([directory, records]) = options.write.as_deref() {
        recovery::write(directory.as_ref(), records.parse()?)
    } else if let Some(times) = options.kills {
        kills::run(times, &folder("crash-kills")?)
    } else if let Some(records) = options.recovery {
        recovery::run(records, &folder("crash-recovery")?)
    } else {
        Ok(disk::run(options.seeds, !options.skip_sync))
    }
}
