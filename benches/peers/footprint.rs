//! How many bytes a design takes for a driver, as the operating system sees it: each design is built in a process of its
//! own, with the fleet, its ids and its fixes in memory before.

use crate::SEED;
use crate::build;
use crate::designs::Design;
use crate::workload::Fleet;
use std::env;
use std::fs;
use std::process::Command;

/// Asks a new process.
pub(crate) fn bytes_per_driver(name: &str, drivers: u32) -> Option<f64> {
    let program = env::current_exe().ok()?;
    let arguments = ["--footprint", name, "--drivers", &drivers.to_string()].map(str::to_owned);
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Measures it in this process, which does nothing else.
pub(crate) fn of_this_process(name: &str, drivers: u32) -> Option<f64> {
    let mut fleet = Fleet::new(drivers, SEED);
    let before = resident()?;
    let mut design: Box<dyn Design> = build(name, &fleet)?;
    fleet.slots = Vec::new();
    // The first search may build more.
    design.refresh();
    let bytes = design.bytes().or_else(|| Some(resident()? - before))?;
    Some((bytes / f64::from(drivers)).round())
}

/// Bytes of this process in memory.
fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1_024.0)
}
