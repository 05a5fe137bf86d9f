//! `cargo xtask measure`: runs what is timed a few times and prints the median, so that one slow run decides nothing.

use crate::run::{self, Failure, cargo};
use serde_json::Value;

/// How often each measurement is run; odd, so that the median is one of the runs.
const RUNS: usize = 5;

/// Something timed: a cargo command, and what to read off each of its runs.
struct Measurement {
    /// What it is called on the command line.
    name: &'static str,
    /// What it tells.
    about: &'static str,
    /// What `cargo run` is told to run, and with what.
    program: &'static str,
    /// What is read off a run.
    readings: &'static [Reading],
}

/// A number read off one run: a field of the JSON objects that the command prints, one a line; where several lines have
/// it, the last one counts.
struct Reading {
    field: &'static str,
    unit: &'static str,
}

/// Every measurement there is. The first run builds what it needs and is not counted.
const MEASUREMENTS: &[Measurement] = &[
    Measurement {
        name: "fuzz_rate",
        about: "how fast the target position_json takes random input: what reading and checking JSON costs",
        program: "--package dispatch-fuzz --example random -- position_json 2",
        readings: &[Reading { field: "inputs_per_second", unit: "1/s" }],
    },
    Measurement {
        name: "city_day",
        about: "how long a simulated city takes for a day of orders: world, engine and position index, without the proof",
        program: "--example simulate_city -- --seed 1 --json",
        readings: &[Reading { field: "seconds", unit: "s" }],
    },
    Measurement {
        name: "position_index",
        about: "updates and searches of the position index with 100,000 drivers, as the program `peers` measures them",
        program: "--package dispatch-benches --features peers --bin peers -- --drivers 100000 --designs default --passes 1 --json",
        readings: &[
            Reading { field: "updates_per_cpu_s", unit: "1/s" },
            Reading { field: "nearest_per_cpu_s", unit: "1/s" },
            Reading { field: "nearest_p99_us", unit: "us" },
            Reading { field: "snapshot_copy_ms", unit: "ms" },
            Reading { field: "bytes_per_driver", unit: "B" },
        ],
    },
    Measurement {
        name: "load",
        about: "how long commands take with 350 orders a second, and how many it takes at most, by the program `load`",
        program: "--package dispatch-benches --bin load -- --seconds 12",
        readings: &[
            Reading { field: "command_p50_ms", unit: "ms" },
            Reading { field: "command_p99_ms", unit: "ms" },
            Reading { field: "saturated_commands_per_s", unit: "1/s" },
        ],
    },
    Measurement {
        name: "watched_city",
        about: "30,000 drivers who report every 3 s, 35 orders a second, 2,000 who watch one and ten who watch all, by the program `load`",
        program: "--package dispatch-benches --bin load -- --drivers 30000 --interval 3 --gateways 100 --orders-per-s 35 --watchers 2000 \
                  --seconds 20",
        readings: &[
            Reading { field: "fixes_per_s", unit: "1/s" },
            Reading { field: "fix_to_watcher_p99_ms", unit: "ms" },
            Reading { field: "due_to_first_offer_after_window_p99_ms", unit: "ms" },
            Reading { field: "server_cpu_share", unit: "of a processor" },
        ],
    },
    Measurement {
        name: "reconnects",
        about: "watchers that come back 20,000 times: how many a second, by the program `load`, which fails if one missed anything",
        program: "--package dispatch-benches --bin load -- --reconnects 20000",
        readings: &[Reading { field: "reconnects_per_s", unit: "1/s" }],
    },
    Measurement {
        name: "ingest_binary",
        about: "positions in frames, for each second of a processor that the server uses, by the program `load`; Redis GEOADD beside it",
        program: "--package dispatch-benches --bin load -- --saturate binary --drivers 50000 --seconds 8",
        readings: &[Reading { field: "fixes_per_server_cpu_s", unit: "1/s" }],
    },
    Measurement {
        name: "ingest_json_batch",
        about: "the same in batches of 100 over HTTP",
        program: "--package dispatch-benches --bin load -- --saturate json-batch --batch 100 --drivers 50000 --seconds 8",
        readings: &[Reading { field: "fixes_per_server_cpu_s", unit: "1/s" }],
    },
    Measurement {
        name: "ingest_json_single",
        about: "the same one a request over HTTP",
        program: "--package dispatch-benches --bin load -- --saturate json-single --drivers 50000 --seconds 8",
        readings: &[Reading { field: "fixes_per_server_cpu_s", unit: "1/s" }],
    },
    Measurement {
        name: "siege",
        about: "requests of others while 5,000 connections take a place and do nothing with it, by the program `siege`",
        program: "--package dispatch-benches --bin siege -- --slow 5000",
        readings: &[
            Reading { field: "p99_calm_ms", unit: "ms" },
            Reading { field: "p99_ms", unit: "ms" },
            Reading { field: "rss_calm_mb", unit: "MB" },
            Reading { field: "rss_peak_mb", unit: "MB" },
        ],
    },
    Measurement {
        name: "overload",
        about: "requests of others while a tenant asks ten times what it may, by the program `siege`",
        program: "--package dispatch-benches --bin siege -- --overload",
        readings: &[
            Reading { field: "offered_per_s", unit: "1/s" },
            Reading { field: "p99_calm_ms", unit: "ms" },
            Reading { field: "p99_ms", unit: "ms" },
            Reading { field: "rss_calm_mb", unit: "MB" },
            Reading { field: "rss_peak_mb", unit: "MB" },
        ],
    },
    Measurement {
        name: "recovery",
        about: "a start from a journal of a million records with 100,000 drivers: how long, and the memory beside a running server's",
        program: "--package dispatch-benches --bin crash -- --recovery 1000000",
        readings: &[Reading { field: "seconds", unit: "s" }, Reading { field: "peak_to_live", unit: "" }],
    },
];

/// What `measure` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which measurements to run; all of them if none is named.
    names: Vec<String>,
    /// Only list what can be measured.
    #[arg(long)]
    list: bool,
}

/// Lists or runs measurements.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let chosen = choose(MEASUREMENTS, &arguments.names)?;
    if arguments.list {
        for measurement in chosen {
            println!("{:24} {}", measurement.name, measurement.about);
        }
        return Ok(());
    }
    let mut table = vec![row("measurement", ["min", "median", "max"].map(str::to_owned), "")];
    let mut missed = Vec::new();
    for measurement in chosen {
        let (lines, unmet) = measure(measurement)?;
        table.extend(lines);
        missed.extend(unmet.map(|failure| format!("{}: {failure}", measurement.name)));
    }
    println!("\n{}", table.join("\n"));
    if missed.is_empty() { Ok(()) } else { Err(Failure::Because(format!("bars were missed\n{}", missed.join("\n")))) }
}

fn choose<'a>(all: &'a [Measurement], names: &[String]) -> Result<Vec<&'a Measurement>, Failure> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        all.iter().find(|m| m.name == name).ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|m| m.name).collect();
            Failure::Because(format!("there is no measurement `{name}`; there are: {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// Runs a measurement and gives the lines of its readings, and how a run ended that printed them and missed a bar of its own.
fn measure(measurement: &Measurement) -> Result<(Vec<String>, Option<Failure>), Failure> {
    let mut values = vec![Vec::new(); measurement.readings.len()];
    let mut missed = None;
    for counted in std::iter::once(false).chain([true; RUNS]) {
        let mut output = Vec::new();
        let run = ["run", "--quiet", "--release", "--locked"].into_iter().chain(measurement.program.split_whitespace());
        match run::run_reading(cargo(run), |line| output.push(line.to_owned())) {
            Err(failure @ Failure::Status { .. }) if !output.is_empty() => missed = Some(failure),
            ended => ended?,
        }
        for (values, reading) in values.iter_mut().zip(measurement.readings) {
            let value = read(reading, &output).ok_or_else(|| {
                let Measurement { name, .. } = measurement;
                Failure::Because(format!("measurement `{name}` printed no JSON line with a number `{}`", reading.field))
            })?;
            if counted {
                values.push(value);
            }
        }
    }
    let lines = measurement.readings.iter().zip(values).map(|(reading, mut values)| {
        values.sort_by(f64::total_cmp);
        let shown = [values[0], values[RUNS / 2], values[RUNS - 1]].map(|value| format!("{value:.3}"));
        row(&format!("{} {}", measurement.name, reading.field), shown, reading.unit)
    });
    Ok((lines.collect(), missed))
}

fn read(reading: &Reading, output: &[String]) -> Option<f64> {
    let objects = output.iter().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut numbers = objects.filter_map(|object| object.get(reading.field)?.as_f64());
    numbers.next()
}

fn row(name: &str, [min, median, max]: [String; 3], unit: &str) -> String {
    format!("{name:40} {min:>12} {median:>12} {max:>12} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_with_the_number_counts() {
        let output: Vec<_> = ["text", r#"{"ms": 1}"#, r#"{"ms": 2.5, "n": "x"}"#, r#"{"other": 3}"#, "{broken", "7"]
            .map(str::to_owned)
            .into();
        let field = |field| read(&Reading { field, unit: "ms" }, &output).map(f64::to_bits);
        assert_eq!(field("ms"), Some(2.5f64.to_bits()));
        assert_eq!(field("n"), None);
        assert_eq!(field("absent"), None);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        assert_eq!(choose(MEASUREMENTS, &[]).map(|chosen| chosen.len()).unwrap(), MEASUREMENTS.len());
        assert!(choose(&[], &[]).unwrap().is_empty());
        let Err(refused) = choose(MEASUREMENTS, &["nonsense".to_owned()]) else { panic!("must be refused") };
        assert!(MEASUREMENTS.iter().all(|m| refused.to_string().contains(m.name)));
    }

    #[test]
    fn names_are_unique_and_something_is_read() {
        for (i, measurement) in MEASUREMENTS.iter().enumerate() {
            assert!(!measurement.readings.is_empty(), "{}", measurement.name);
            assert!(MEASUREMENTS[..i].iter().all(|earlier| earlier.name != measurement.name), "{}", measurement.name);
        }
    }
}
