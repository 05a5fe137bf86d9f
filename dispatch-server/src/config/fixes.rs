//! Which positions are taken, and how often.

use super::Problems;
use crate::runner::ReportRate;
use dispatch_core::FixRules;
use serde::Deserialize;
use toml::{Table, Value};

/// What only the server knows of fixes stands among the rules of the index.
#[derive(Deserialize)]
struct RawReports {
    per_second: f64,
    burst: u32,
}

pub(super) fn read_fixes(check: &mut Problems, mut table: Table) -> (FixRules, ReportRate) {
    let mine = ["per_second", "burst"].into_iter().filter_map(|key| Some((key.to_owned(), table.remove(key)?)));
    let (mine, rules) = (Value::Table(mine.collect()), Value::Table(table));
    let rules: Option<FixRules> = read_part(check, "fixes", rules);
    let rules = rules.unwrap_or_default();
    if let Err(error) = rules.validate() {
        check.all("fixes", error);
    }
    let RawReports { per_second, burst } =
        read_part(check, "fixes", mine).unwrap_or(RawReports { per_second: 1.0, burst: 1 });
    let (slow, few) = ((0.01..=1_000.0).contains(&per_second), (1..=1_000).contains(&burst));
    check.that("fixes.per_second", slow, "must be 0.01 to 1000");
    check.that("fixes.burst", few, "must be 1 to 1000");
    let rate = if slow && few { ReportRate::new(per_second, burst) } else { ReportRate::new(1.0, 1) };
    (rules, rate)
}

/// Reads a table that is more than one thing.
fn read_part<T: for<'de> Deserialize<'de>>(check: &mut Problems, key: &str, table: Value) -> Option<T> {
    let read = serde_path_to_error::deserialize(table);
    read.map_err(|error| check.0.push(format!("{key}.{}: {}", error.path(), error.inner().to_string().trim()))).ok()
}
