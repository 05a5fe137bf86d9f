//! A server under attack: what those feel who mean well. Server and attackers are processes of their own on the same machine. Prints
//! one line of JSON, and fails if the attack got what it wanted.

mod attacker;
#[path = "../child.rs"]
mod child;
#[path = "../folder.rs"]
mod folder;
mod greedy;
mod honest;
mod overload;
mod slow;
mod town;
mod watch;

use clap::{ArgGroup, Parser};
use folder::Folder;
use serde_json::Value;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the attack is.
#[derive(Parser)]
#[command(group = ArgGroup::new("what").required(true))]
struct Options {
    /// Open so many connections: a third dribble a head, a third announce a body and send none of it, a third say nothing.
    #[arg(long, group = "what", value_name = "CONNECTIONS")]
    slow: Option<usize>,
    /// Have one of two tenants ask ten times what it may: reads, searches, commands and positions.
    #[arg(long, group = "what")]
    overload: bool,
    /// For how many seconds the tenant asks too much.
    #[arg(long, default_value_t = 30)]
    attack_seconds: u64,
    /// For how many seconds the server is watched before the attack begins.
    #[arg(long, default_value_t = 10)]
    calm_seconds: u64,
    /// How many honest requests come a second.
    #[arg(long, default_value_t = 200)]
    requests_per_s: u32,
    /// Where the data goes, in a directory of this run's own that is gone at its end; by default beside this program.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Used by this program itself, in a process of its own.
    #[arg(long, group = "what", hide = true, value_name = "DIRECTORY")]
    serve: Option<PathBuf>,
    /// Used by this program itself.
    #[arg(long, group = "what", hide = true, num_args = 3, value_names = ["HOW", "ADDRESS", "MUCH"])]
    attack: Option<Vec<String>>,
}

/// What a run came to: its line, and whether all is well.
struct Outcome {
    line: Value,
    is_well: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(Outcome { line, is_well }) => {
            println!("{line}");
            if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("siege: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Outcome, Box<dyn Error>> {
    let runtime = tokio::runtime::Runtime::new;
    if let Some(directory) = &options.serve {
        match child::serve(town::flags(directory))? {}
    } else if let Some([how, address, much]) = options.attack.as_deref() {
        dispatch_server::raise_open_files(&dispatch_server::ServerConfig::default());
        let (address, much) = (address.parse()?, much.parse()?);
        let line = runtime()?.block_on(async {
            if how == "slowly" { attacker::attack(address, much).await } else { greedy::attack(address, much).await }
        });
        Ok(Outcome { line, is_well: true })
    } else {
        let folder = Folder::new(options.data_dir.as_deref(), "siege")?;
        runtime()?.block_on(async {
            match options.slow {
                Some(connections) => slow::run(connections, options, &folder).await,
                None => overload::run(options, &folder).await,
            }
        })
    }
}
