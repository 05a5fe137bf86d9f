//! The time of this machine, which the server's goes by.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The milliseconds of the time in the first field of this name.
pub(super) fn time_of(json: &str, field: &str) -> Option<i64> {
    let from = json.find(&format!("\"{field}\":\""))? + field.len() + 4;
    let text = json.get(from..from + 24)?;
    Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond())
}
