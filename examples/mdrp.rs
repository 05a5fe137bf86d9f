//! Runs the public meal delivery instances (Grubhub and Georgia Tech) and prints how good the decisions are.
//!
//! Key points:
//! * the same [`Engine`](dispatch_core::Engine) decides that runs live, with the information a live market has;
//! * every run is proven: by the auditor, by replay, and by a check of the solution that is stricter than the public one;
//! * `--out` writes each solution in the files the public evaluator reads.
//!
//! `cargo run --release --example mdrp -- --json ../mdrplib/public_instances/*`

use clap::{Parser, ValueEnum};
use dispatch_core::sim::mdrp::{Day, Instance, Knowledge, Metrics, check, mean};
use dispatch_core::{BundleMode, EngineConfig, Millis, ScorePreset};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Options {
    /// Folders of instances.
    #[arg(required = true)]
    instances: Vec<PathBuf>,
    /// Print JSON lines instead of a table.
    #[arg(long)]
    json: bool,
    /// Ready times are not known before, only how long a restaurant takes on the mean.
    #[arg(long)]
    noisy_ready: bool,
    /// Leave one idea out, to see what it is worth.
    #[arg(long, value_enum)]
    without: Vec<Idea>,
    /// Another score.
    #[arg(long, value_enum, default_value = "timely")]
    score: Preset,
    /// Minutes from one decision to the next.
    #[arg(long, default_value_t = 1)]
    window_min: i64,
    /// Write each solution into a folder of this one.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Idea {
    /// Orders of one restaurant on one trip.
    Bundles,
    /// Moving orders to another driver until they are picked up.
    Swap,
    /// Reserving drivers who are still busy.
    Forward,
    /// Waiting until a driver would not come too early.
    Holding,
    /// Sending idle drivers to where orders are expected.
    Reposition,
    /// Preferring drivers below their guarantee.
    Fairness,
}

/// The scores there are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    Timely,
    Classic,
    Additive,
}

impl Options {
    fn knowledge(&self) -> Knowledge {
        if self.noisy_ready { Knowledge::Noisy } else { Knowledge::Exact }
    }

    fn config(&self, instance: &Instance) -> EngineConfig {
        let mut config = Day::config(instance, self.knowledge());
        let preset = match self.score {
            Preset::Timely => ScorePreset::Timely,
            Preset::Classic => ScorePreset::Classic,
            Preset::Additive => ScorePreset::Additive,
        };
        config.score = preset.weights();
        config.window = Millis::from_mins(self.window_min);
        if let Some(reposition) = &mut config.reposition {
            reposition.every = reposition.every.max(config.window);
        }
        for idea in &self.without {
            match idea {
                Idea::Bundles => config.bundles.mode = BundleMode::Off,
                Idea::Swap => config.swap = None,
                Idea::Forward => config.search.busy_until = Millis::ZERO,
                Idea::Holding => config.schedule.margin = config.schedule.horizon,
                Idea::Reposition => config.reposition = None,
                Idea::Fairness => config.score.retain(|weight| weight.term.as_str() != "above_floor"),
            }
        }
        config
    }
}

#[derive(Serialize)]
struct Row {
    instance: String,
    #[serde(flatten)]
    metrics: Metrics,
    decide_ms_p99: f64,
    seconds: f64,
}

#[derive(Serialize)]
struct Mean {
    #[serde(flatten)]
    metrics: Metrics,
    decide_ms_p99: f64,
    seconds: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {eta}")?;
    let progress = ProgressBar::new(options.instances.len() as u64).with_style(style);
    if !options.json {
        println!(
            "{:<20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "instance", "orders", "deliv %", "CtD", "RtP", "cost", "s"
        );
    }
    let mut rows = Vec::new();
    for dir in &options.instances {
        let row = run(dir, &options)?;
        progress.set_message(row.instance.clone());
        progress.inc(1);
        let line =
            if options.json { serde_json::to_string(&row)? } else { line(&row.instance, &row.metrics, row.seconds) };
        progress.suspend(|| println!("{line}"));
        rows.push(row);
    }
    progress.finish_and_clear();

    let average = |value: fn(&Row) -> f64| rows.iter().map(value).sum::<f64>() / rows.len() as f64;
    let metrics: Vec<Metrics> = rows.iter().map(|row| row.metrics).collect();
    let mean = Mean {
        metrics: mean(&metrics).ok_or("no instance has orders")?,
        decide_ms_p99: average(|row| row.decide_ms_p99),
        seconds: average(|row| row.seconds),
    };
    if options.json {
        println!("{}", serde_json::json!({ "mean": mean }));
    } else {
        println!("{}", line("mean", &mean.metrics, mean.seconds));
    }
    Ok(())
}

fn run(dir: &Path, options: &Options) -> Result<Row, Box<dyn Error>> {
    let instance = Instance::read(dir)?;
    let mut day = Day::new(&instance, options.config(&instance), options.knowledge())?;
    let mut decided = Vec::new();
    let began = Instant::now();
    while day.begin_minute() {
        let decides = Instant::now();
        day.decide();
        decided.push(decides.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    let (solution, _) = day.finish().map_err(|flaw| format!("{}: {flaw}", instance.name()))?;
    if let Err(problems) = check(&instance, &solution) {
        let first: Vec<String> = problems.iter().take(5).map(ToString::to_string).collect();
        return Err(format!("{}: {} problems: {}", instance.name(), problems.len(), first.join("; ")).into());
    }
    if let Some(out) = &options.out {
        solution.write(&out.join(instance.name()))?;
    }
    let metrics = Metrics::of(&instance, &solution).ok_or("an instance has orders")?;
    Ok(Row { instance: instance.name().to_owned(), metrics, decide_ms_p99: p99_ms(decided), seconds })
}

fn p99_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let index = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

fn line(name: &str, m: &Metrics, seconds: f64) -> String {
    format!(
        "{name:<20} {:>8} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {seconds:>8.2}",
        m.orders, m.delivered_pct, m.click_to_door_mean, m.ready_to_pickup_mean, m.cost_per_order
    )
}
