//! A server under load: how long commands take when so many orders come a second, and how many it takes at most; or how many positions.
//! The server is a process of its own on the same machine. Prints one line of JSON, and fails if a command was not answered as it should be.

#[path = "../child.rs"]
mod child;
#[path = "../folder.rs"]
mod folder;
mod live;
mod orders;
#[path = "../redis.rs"]
mod redis_server;
mod saturate;

use child::Server;
use clap::Parser;
use dispatch_server::Sources;
use folder::Folder;
use saturate::Way;
use serde_json::{Value, json};
use std::error::Error;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What the load is.
#[derive(Clone, Parser)]
struct Options {
    /// What an answer promises: memory, process or sync.
    #[arg(long, default_value = "sync")]
    durability: String,
    /// How many orders come a second; each is eight commands, from placed to delivered.
    #[arg(long, default_value_t = 350)]
    orders_per_s: u32,
    /// For how long.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// How many drivers bring them.
    #[arg(long, default_value_t = 5_000)]
    drivers: u32,
    /// How many commands are under way at once when the server is asked for all it can do; for a sixth of the time.
    #[arg(long, default_value_t = 64)]
    at_once: u32,
    /// Sends nothing but positions, as many as the server takes. Then more drivers are of use: 50000.
    #[arg(long, value_name = "WAY")]
    saturate: Option<Way>,
    /// How many positions come together.
    #[arg(long, default_value_t = 1_000)]
    batch: usize,
    /// How many watch an order each, while drivers move and orders come; ten others watch the whole market.
    #[arg(long)]
    watchers: Option<u32>,
    /// How many gateways send the positions of the drivers.
    #[arg(long, default_value_t = 100)]
    gateways: u32,
    /// How often a driver reports, in seconds.
    #[arg(long, default_value_t = 3)]
    interval: u32,
    /// Then as many streams of the whole market that nobody reads, and all of it again.
    #[arg(long, default_value_t = 0)]
    stalled: u32,
    /// How often watchers come back, all together, with the last id they have.
    #[arg(long)]
    reconnects: Option<u64>,
    /// Where the data goes, in a directory of this run's own that is gone at its end; by default beside this program.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Used by this program itself, in a process of its own.
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    serve: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(line) => {
            println!("{line}");
            if line["errors"] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Value, Box<dyn Error>> {
    let durability = &options.durability;
    if let Some(way) = options.saturate {
        match options.serve {
            Some(_) => match child::serve(saturate::flags())? {},
            None => return saturate::run(options, way),
        }
    }
    if let Some(directory) = &options.serve {
        let mut flags = live::flags();
        flags.extend([format!("durability={durability}"), format!("data_dir={}", directory.display())]);
        match child::serve(flags)? {}
    }
    let folder = Folder::new(options.data_dir.as_deref(), "load")?;
    let args: [&OsStr; 4] = ["--durability".as_ref(), durability.as_ref(), "--serve".as_ref(), folder.0.as_os_str()];
    let server = Server::start(args)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let watchers = options.watchers.or((options.stalled > 0).then_some(WATCHERS_BESIDE_STALLED));
    if options.reconnects.is_some() || watchers.is_some() {
        raise_open_files()?;
    }
    if let Some(reconnects) = options.reconnects {
        return runtime.block_on(live::reconnects(&server, options, reconnects));
    }
    if let Some(watchers) = watchers {
        return runtime.block_on(live::run(&server, options, watchers));
    }
    let figures = runtime.block_on(orders::run(&server, options))?;
    let orders::Figures { mut latencies, saturated, errors, first_error, cpu } = figures;
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).map_or(0.0, millis);
    Ok(json!({
        "durability": options.durability,
        "orders_per_s": options.orders_per_s,
        "seconds": options.seconds,
        "commands": latencies.len(),
        "commands_per_s": latencies.len() as f64 / f64::from(options.seconds),
        "command_p50_ms": at(0.5),
        "command_p99_ms": at(0.99),
        "command_max_ms": latencies.last().map_or(0.0, millis),
        "server_cpu_share": cpu / f64::from(options.seconds),
        "errors": errors,
        "first_error": first_error,
        "saturated_commands_per_s": saturated,
    }))
}

/// How many watch beside streams that nobody reads, where it is not said.
const WATCHERS_BESIDE_STALLED: u32 = 500;

/// Has this process open as many sockets as the server may have connections.
fn raise_open_files() -> Result<(), Box<dyn Error>> {
    dispatch_server::raise_open_files(&Sources { flags: live::flags(), ..Sources::default() }.load()?);
    Ok(())
}

fn millis(latency: &Duration) -> f64 {
    latency.as_secs_f64() * 1e3
}
