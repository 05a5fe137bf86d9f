//! Our position index beside other designs, in one process, interleaved:
//! `cargo run --release -p dispatch-benches --features peers --bin peers -- --drivers 30000,100000,1000000 --json`

mod chart;
mod designs;
mod footprint;
mod foreign;
mod measure;
mod redis;
#[path = "../redis.rs"]
mod redis_server;
mod table;
mod threads;
mod workload;

use clap::Parser;
use designs::{BATCH, Design, Ours, Snapshot};
use dispatch_core::{IndexBackend, Positions};
use measure::{Tally, median};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use workload::Fleet;

/// Measures position indexes side by side: how much each does in a CPU second, how long single calls take, how much memory
/// it needs, and how many of its answers are wrong.
#[derive(Parser)]
struct Arguments {
    /// Fleet sizes.
    #[arg(long, value_delimiter = ',', default_value = "30000,100000,1000000")]
    drivers: Vec<u32>,
    /// Which designs; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    designs: Vec<String>,
    /// How often each is measured; medians are printed.
    #[arg(long, default_value_t = 5)]
    passes: usize,
    /// How many answers of each pass are checked by looking at everybody.
    #[arg(long, default_value_t = 200)]
    checked: usize,
    /// Prints JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Draws updates and searches against fleet size into this file.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Only prints how many bytes a design takes for a driver.
    #[arg(long, hide = true)]
    footprint: Option<String>,
}

const DESIGNS: [&str; 10] =
    ["default", "batched", "grid", "rtree", "snapshot", "rstar", "kiddo", "rstar-dashmap", "limit", "redis"];

/// Every fleet is drawn from the same seed.
const SEED: u64 = 7;

fn main() {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.footprint {
        if let Some(bytes) = footprint::of_this_process(name, arguments.drivers[0]) {
            println!("{bytes}");
        }
        return;
    }
    let mut rows = Vec::new();
    for drivers in &arguments.drivers {
        for row in measure(*drivers, &arguments) {
            println!("{}", if arguments.json { row.to_string() } else { table::line(&row) });
            rows.push(row);
        }
    }
    if !arguments.json {
        println!("\n{}", table::ratios(&rows));
    }
    if let Some(path) = &arguments.svg {
        fs::write(path, chart::draw(&rows)).expect("the chart can be written");
    }
}

fn build(name: &str, fleet: &Fleet) -> Option<Box<dyn Design>> {
    let backend = match name {
        "default" | "batched" | "snapshot" => IndexBackend::default(),
        "grid" => IndexBackend::Grid,
        "rtree" => IndexBackend::RTree,
        "rstar" => return Some(Box::new(foreign::Rstar::new(fleet))),
        "kiddo" => return Some(Box::new(foreign::Kiddo::new(fleet))),
        "rstar-dashmap" => return Some(Box::new(foreign::RstarDashmap::new(fleet))),
        "limit" => return Some(Box::new(foreign::Limit::new(fleet))),
        "redis" => return Some(Box::new(redis::Redis::start(fleet)?)),
        _ => panic!("there is no design `{name}`; there are {DESIGNS:?}"),
    };
    let ours = Ours::new(fleet, backend, if name == "batched" { BATCH } else { 1 });
    Some(if name == "snapshot" { Box::new(Snapshot { ours, positions: Positions::default() }) } else { Box::new(ours) })
}

fn measure(drivers: u32, arguments: &Arguments) -> Vec<Value> {
    let mut fleet = Fleet::new(drivers, SEED);
    let first = Ours::new(&fleet, IndexBackend::default(), 1);
    fleet.slots = fleet.ids.iter().map(|id| first.index.slot(id).expect("every driver has a slot")).collect();
    drop(first);
    let wanted = |name: &&&str| arguments.designs.is_empty() || arguments.designs.iter().any(|wanted| wanted == **name);
    let (mut names, mut designs) = (Vec::new(), Vec::new());
    for name in DESIGNS.iter().filter(wanted) {
        if let Some(design) = build(name, &fleet) {
            names.push(*name);
            designs.push((design, Tally::default()));
        } else {
            eprintln!("{name}: not here, left out");
        }
    }
    for _ in 0..arguments.passes {
        measure::pass(&mut fleet, &mut designs, arguments.checked);
    }
    let tallies: Vec<Tally> = designs.into_iter().map(|(_, tally)| tally).collect();
    let row = |(name, tally): (&&str, &Tally)| {
        json!({
            "design": name,
            "drivers": drivers,
            "updates_per_cpu_s": median(&tally.updates_per_cpu_s).round(),
            "nearest_per_cpu_s": median(&tally.nearest_per_cpu_s).round(),
            "update_p99_ns": median(&tally.update_p99_ns),
            "nearest_p50_us": median(&tally.nearest_p50_us),
            "nearest_p99_us": median(&tally.nearest_p99_us),
            "bytes_per_driver": footprint::bytes_per_driver(name, drivers),
            "wrong": tally.wrong,
        })
    };
    let mut rows: Vec<Value> = names.iter().zip(&tallies).map(row).collect();
    if names.contains(&"default") {
        rows.push(threads::measure(&mut fleet, arguments.passes));
    }
    rows
}
