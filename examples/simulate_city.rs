//! A synthetic city for a day, in virtual time: orders, kitchens, drivers and an engine that brings them together.
//!
//! Key points:
//! * one seed, one day: the log of two runs of a seed has the same hash, byte for byte;
//! * the run is proven: an auditor that shares no code with the engine reads the log, every order has ended with a
//!   reason, and the recording of what went in replays to the same log;
//! * the engine is asked, not simulated: it is the one that runs live.
//!
//! `cargo run --release --example simulate_city -- --seed 1 --hours 24`

use clap::Parser;
use dispatch_core::sim::city::{City, CityConfig};
use dispatch_core::sim::metrics::Metrics;
use dispatch_core::sim::{Recording, log_hash};
use dispatch_core::{Millis, StraightLine};
use indicatif::{ProgressBar, ProgressStyle};
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

#[derive(Parser)]
struct Options {
    /// The same seed gives the same day.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how many hours orders come.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=24 * 7))]
    hours: u32,
    /// How many drivers there are; about half of them work at a time.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    drivers: u32,
    /// How many orders a whole day brings, on average.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    orders: u32,
    /// How likely a driver takes an offer, 0 to 1.
    #[arg(long, default_value_t = 0.85)]
    acceptance: f64,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Write what went into the engine to this file, as JSON lines.
    #[arg(long)]
    record: Option<PathBuf>,
    /// Instead of simulating, replay what was recorded in this file, and print the hash of the log it gives.
    #[arg(long, conflicts_with_all = ["record", "json"])]
    replay: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let Some(path) = options.replay {
        let recording = Recording::read(BufReader::new(File::open(path)?))?;
        let log = recording.replay(Arc::new(StraightLine::default()), Vec::new())?;
        println!("{} events, log {}", log.len(), log_hash(&log));
        return Ok(());
    }
    let mut city = City::new(CityConfig {
        seed: options.seed,
        hours: options.hours,
        drivers: options.drivers,
        orders_per_day: options.orders,
        acceptance: options.acceptance,
        ..CityConfig::default()
    })?;

    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} h {msg}")?;
    let progress = ProgressBar::new(u64::from(options.hours)).with_style(style);
    let began = Instant::now();
    while city.run(Millis::from_mins(60)) {
        progress.inc(1);
        progress.set_message(format!("{} events", city.log().len()));
    }
    let seconds = began.elapsed().as_secs_f64();
    progress.finish_and_clear();

    let refused = city.refused().clone();
    let proven = city.prove()?;
    let metrics = Metrics::from_events(&proven.log);
    assert!(metrics.orders_placed > 0, "a city has orders");
    if options.json {
        let line = serde_json::json!({
            "seed": options.seed,
            "hours": options.hours,
            "log_hash": proven.log_hash.to_string(),
            "events": proven.log.len(),
            "seconds": seconds,
            "refused": refused,
            "audit": "clean",
            "metrics": metrics,
        });
        println!("{line}");
    } else {
        println!("{metrics}");
        println!("{} events, log {}; auditor clean, replay equal", proven.log.len(), proven.log_hash);
    }
    if let Some(path) = options.record {
        proven.recording.write(BufWriter::new(File::create(path)?))?;
    }
    Ok(())
}
