//! Runs the public meal delivery instances (Grubhub and Georgia Tech) and prints how good the decisions are.
//!
//! Key points:
//! * the same [`Engine`](dispatch_core::Engine) decides that runs live, with the information a live market has;
//! * every run is proven: by the auditor, by replay, and by a check of the solution that is stricter than the public one;
//! * `--out` writes each solution in the files the public evaluator reads.
//!
//! `cargo run --release --example mdrp -- --json ../mdrplib/public_instances/*`

use clap::Parser;
use dispatch_core::sim::mdrp::{Day, Instance, Knowledge, Metrics, check, mean};
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
    /// Write each solution into a folder of this one.
    #[arg(long)]
    out: Option<PathBuf>,
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
    let knowledge = if options.noisy_ready { Knowledge::Noisy } else { Knowledge::Exact };
    let mut rows = Vec::new();
    for dir in &options.instances {
        let row = run(dir, knowledge, options.out.as_deref())?;
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

fn run(dir: &Path, knowledge: Knowledge, out: Option<&Path>) -> Result<Row, Box<dyn Error>> {
    let instance = Instance::read(dir)?;
    let mut day = Day::new(&instance, Day::config(&instance, knowledge), knowledge)?;
    let mut decided = Vec::new();
    let began = Instant::now();
    while day.begin_minute() {
        let decides = Instant::now();
        day.decide();
        decided.push(decides.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    if std::env::var_os("DUMP").is_some() {
        for e in day.log() {
            println!("{}", serde_json::to_string(e)?);
        }
    }
    let (solution, _) = day.finish().map_err(|flaw| format!("{}: {flaw}", instance.name()))?;
    if let Err(problems) = check(&instance, &solution) {
        let first: Vec<String> = problems.iter().take(5).map(ToString::to_string).collect();
        return Err(format!("{}: {} problems: {}", instance.name(), problems.len(), first.join("; ")).into());
    }
    if let Some(out) = out {
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
