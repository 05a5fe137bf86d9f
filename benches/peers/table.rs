//! The figures for people.

use crate::chart::short;
use serde_json::Value;

/// What was measured of a design, or of threads.
pub(crate) fn line(row: &Value) -> String {
    let number = |field: &str| row[field].as_f64().map_or_else(|| "-".to_owned(), short);
    if row["measure"] == "threads" {
        return format!(
            "{} drivers: two writers / one {}, of mixed drivers {}, nearest p99 beside a writer / alone {}, snapshot copy {} ms\n",
            number("drivers"),
            number("two_writers_per_one"),
            number("two_mixed_writers_per_one"),
            number("nearest_p99_beside_writer_per_alone"),
            number("snapshot_copy_ms"),
        );
    }
    format!(
        "{:14} {:>5} drivers: {:>5} updates/s, p99 {:>5} ns; {:>5} nearest/s, p50 {:>5} us, p99 {:>5} us; {:>4} bytes; {} wrong",
        row["design"].as_str().unwrap_or_default(),
        number("drivers"),
        number("updates_per_cpu_s"),
        number("update_p99_ns"),
        number("nearest_per_cpu_s"),
        number("nearest_p50_us"),
        number("nearest_p99_us"),
        number("bytes_per_driver"),
        row["wrong"],
    )
}

/// How our designs compare with the others, at each fleet size.
pub(crate) fn ratios(rows: &[Value]) -> String {
    let pairs = [
        ("updates_per_cpu_s", "default", &["rstar", "kiddo", "limit"][..]),
        ("nearest_per_cpu_s", "default", &["rstar", "kiddo", "redis"]),
        ("nearest_per_cpu_s", "snapshot", &["rstar"]),
        ("updates_per_cpu_s", "rtree", &["rstar"]),
        ("nearest_per_cpu_s", "rtree", &["rstar"]),
    ];
    let mut sizes: Vec<&Value> = rows.iter().map(|row| &row["drivers"]).collect();
    sizes.dedup();
    let mut lines = Vec::new();
    for drivers in sizes {
        let rate = |design: &str, field: &str| {
            rows.iter().find(|row| row["design"] == design && row["drivers"] == *drivers)?[field].as_f64()
        };
        for (field, ours, others) in pairs {
            for other in others {
                if let Some((a, b)) = rate(ours, field).zip(rate(other, field)) {
                    lines.push(format!("{drivers:>8} {field}: {ours} / {other} = {:.2}", a / b));
                }
            }
        }
    }
    lines.join("\n")
}
