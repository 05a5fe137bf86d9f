//! A synthetic city for a day, in virtual time: orders, kitchens, drivers and an engine that brings them together.
//!
//! Key points:
//! * one seed, one day: the log of two runs of a seed has the same hash, byte for byte;
//! * the run is proven: an auditor that shares no code with the engine reads the log, every order has ended with a
//!   reason, and the recording of what went in replays to the same log;
//! * the engine is asked, not simulated: it is the one that runs live.
//!
//! `cargo run --release --example simulate_city -- --seed 1 --hours 24`, with `--offers wave` to ask several drivers at once;
//! `--price-of-fairness 10` tells over ten days what it costs customers that every driver gets a share of the orders.

use clap::{Parser, ValueEnum};
use dispatch_core::sim::city::{City, CityConfig};
use dispatch_core::sim::metrics::Metrics;
use dispatch_core::sim::{Proven, Recording, log_hash};
use dispatch_core::{EngineConfig, Millis, OfferRule, StraightLine};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
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
    /// How drivers are told of orders.
    #[arg(long, value_enum, default_value_t = Offers::Sequential)]
    offers: Offers,
    /// For how many seconds an offer is open.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(1..=3_600))]
    offer_seconds: i64,
    /// How many drivers a wave asks.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=10))]
    wave_size: u16,
    /// Drivers with fewer orders an hour than this are preferred; 0 is no fairness, absent is the default of the engine.
    #[arg(long)]
    floor: Option<f64>,
    /// Simulate this many days from the seed on, each with and without the floor, and print the difference.
    #[arg(long, conflicts_with_all = ["record", "replay", "json"], value_parser = clap::value_parser!(u64).range(2..=1_000))]
    price_of_fairness: Option<u64>,
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

#[derive(Clone, Copy, ValueEnum)]
enum Offers {
    /// Assigned at once.
    Direct,
    /// One driver after the other is asked.
    Sequential,
    /// Several are asked at once, and the first to accept gets it.
    Wave,
}

/// A day that is over.
struct Simulated {
    proven: Proven,
    metrics: Metrics,
    refused: BTreeMap<&'static str, u64>,
    seconds: f64,
}

impl Options {
    fn rules(&self) -> EngineConfig {
        let default = EngineConfig::default();
        let expires_after = Millis::from_secs(self.offer_seconds);
        let offers = match self.offers {
            Offers::Direct => OfferRule::Direct,
            Offers::Sequential => OfferRule::Sequential { expires_after },
            Offers::Wave => OfferRule::Wave { size: self.wave_size, expires_after },
        };
        EngineConfig { offers, floor_orders_per_hour: self.floor.unwrap_or(default.floor_orders_per_hour), ..default }
    }

    fn simulate(&self, seed: u64, engine: EngineConfig, progress: &ProgressBar) -> Result<Simulated, Box<dyn Error>> {
        let mut city = City::new(CityConfig {
            seed,
            hours: self.hours,
            drivers: self.drivers,
            orders_per_day: self.orders,
            acceptance: self.acceptance,
            engine,
            ..CityConfig::default()
        })?;
        let began = Instant::now();
        while city.run(Millis::from_mins(60)) {
            progress.inc(1);
            progress.set_message(format!("{} events", city.log().len()));
        }
        let seconds = began.elapsed().as_secs_f64();
        let refused = city.refused().clone();
        let proven = city.prove()?;
        let metrics = Metrics::from_events(&proven.log);
        assert!(metrics.orders_placed > 0, "a city has orders");
        Ok(Simulated { proven, metrics, refused, seconds })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    if let Some(path) = options.replay {
        let recording = Recording::read(BufReader::new(File::open(path)?))?;
        let log = recording.replay(Arc::new(StraightLine::default()), Vec::new())?;
        println!("{} events, log {}", log.len(), log_hash(&log));
        return Ok(());
    }
    if let Some(days) = options.price_of_fairness {
        return price_of_fairness(&options, days);
    }
    let progress = progress(u64::from(options.hours))?;
    let Simulated { proven, metrics, refused, seconds } = options.simulate(options.seed, options.rules(), &progress)?;
    progress.finish_and_clear();
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

fn progress(hours: u64) -> Result<ProgressBar, Box<dyn Error>> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} h {msg}")?;
    Ok(ProgressBar::new(hours).with_style(style))
}

/// Days with and without the floor. The people of a day behave differently once one decision is different, so a single day
/// says nothing: the means of many do, with their standard error.
fn price_of_fairness(options: &Options, days: u64) -> Result<(), Box<dyn Error>> {
    let rules = options.rules();
    let mut rows: [(&str, Vec<[f64; 2]>); 4] = [
        ("click to door, min", Vec::new()),
        ("ready to door, min", Vec::new()),
        ("due to assigned p95, s", Vec::new()),
        ("orders per hour of the worst tenth", Vec::new()),
    ];
    let progress = progress(u64::from(options.hours) * days * 2)?;
    for seed in options.seed..options.seed + days {
        let mut both = Vec::new();
        for floor in [rules.floor_orders_per_hour, 0.0] {
            let engine = EngineConfig { floor_orders_per_hour: floor, ..rules.clone() };
            let metrics = options.simulate(seed, engine, &progress)?.metrics;
            both.push([
                metrics.click_to_door_mean_min,
                metrics.ready_to_door_mean_min,
                metrics.due_to_assigned_p95_s,
                metrics.orders_per_hour_worst_decile,
            ]);
        }
        for (i, (_, pairs)) in rows.iter_mut().enumerate() {
            pairs.extend(both[0][i].zip(both[1][i]).map(<[f64; 2]>::from));
        }
    }
    progress.finish_and_clear();
    println!("{days} days, floor {} orders an hour; each row: with, without, difference", rules.floor_orders_per_hour);
    for (name, pairs) in &rows {
        let mean = |of: &dyn Fn(&[f64; 2]) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
        let (with, without) = (mean(&|pair| pair[0]), mean(&|pair| pair[1]));
        let difference = with - without;
        let variance = mean(&|pair| (pair[0] - pair[1] - difference).powi(2));
        let error = (variance / (pairs.len() as f64 - 1.0)).sqrt();
        println!("{name:<36} {with:>7.2} {without:>7.2} {difference:>+7.2} ± {error:.2}");
    }
    Ok(())
}
