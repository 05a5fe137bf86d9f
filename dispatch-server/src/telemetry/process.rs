//! What the system says of this process, where it has `/proc`.

use super::metrics::Metrics;
use super::table;

/// Sets what is known and gives the processor time, in seconds.
#[cfg(target_os = "linux")]
pub(super) fn measure(metrics: &Metrics) -> Option<f64> {
    use std::fs;
    let set = |metric, value: Option<f64>| metrics.gauge(metric, &[]).set(value.unwrap_or(f64::NAN));
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let stat = fs::read_to_string("/proc/self/stat").ok();
    // The name of the program, in parentheses, may have spaces in it; fields are counted from the third on.
    let stat = stat.as_deref().and_then(|stat| stat.rsplit_once(") ")).map(|(_, rest)| rest);
    let field = |number: usize| stat?.split(' ').nth(number - 3)?.parse::<f64>().ok();
    let booted = fs::read_to_string("/proc/stat").ok();
    let booted = booted.as_deref().and_then(|stat| stat.lines().find_map(|line| line.strip_prefix("btime ")));
    let booted = booted.and_then(|seconds| seconds.parse::<f64>().ok());
    set(&table::STARTED, booted.zip(field(22)).map(|(booted, started)| booted + started / ticks));
    let pages = fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.as_deref().and_then(|pages| pages.split(' ').nth(1)?.parse::<f64>().ok());
    set(&table::RESIDENT, pages.map(|pages| pages * rustix::param::page_size() as f64));
    // The directory that is read is one of them.
    set(&table::OPEN_FDS, fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1) as f64));
    field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn measure(metrics: &Metrics) -> Option<f64> {
    for metric in [&table::STARTED, &table::RESIDENT, &table::OPEN_FDS] {
        metrics.gauge(metric, &[]).set(f64::NAN);
    }
    None
}
