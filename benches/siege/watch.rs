//! What every attack has in common: those who mean well are watched before and during it, and so is the server's memory.

use crate::Options;
use crate::child::Server;
use crate::honest::{Felt, Honest};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What an attack was like.
pub(crate) struct Watched {
    /// What the attackers say.
    pub(crate) report: Value,
    pub(crate) errors: u64,
    pub(crate) p99_calm_ms: f64,
    pub(crate) p99_ms: f64,
    line: Value,
}

impl Watched {
    /// All of it in one line, with what this attack has to say beside.
    pub(crate) fn line(self, attack: &str, more: Value) -> Value {
        let fields = [json!({"attack": attack}), more, self.line].into_iter().filter_map(|part| match part {
            Value::Object(fields) => Some(fields),
            _ => None,
        });
        Value::Object(fields.flatten().collect::<Map<_, _>>())
    }
}

/// Watches the server in calm and while attackers, in a process of their own, do what `how` and `much` say.
pub(crate) async fn watch(
    server: &Server,
    honest: &Arc<Honest>,
    options: &Options,
    how: &str,
    much: u64,
) -> Result<Watched, Box<dyn Error>> {
    let live = || {
        let enough = Arc::new(AtomicBool::new(false));
        (tokio::spawn(honest.clone().live(options.requests_per_s, enough.clone())), enough)
    };
    let (living, enough) = live();
    sleep(Duration::from_secs(options.calm_seconds)).await;
    enough.store(true, Ordering::Relaxed);
    let mut calm: Felt = living.await?;
    let rss_calm = resident_mb(server);

    let address = server.url.strip_prefix("http://").unwrap_or(&server.url);
    let mut attackers = Command::new(std::env::current_exe()?);
    attackers.args(["--attack", how, address, &much.to_string()]).stdout(Stdio::piped());
    let (living, enough) = live();
    let attack = tokio::task::spawn_blocking(move || attackers.output());
    let mut rss_peak = rss_calm;
    while !attack.is_finished() {
        sleep(LOOK).await;
        rss_peak = rss_peak.max(resident_mb(server));
    }
    let report = serde_json::from_slice(&attack.await??.stdout)?;
    enough.store(true, Ordering::Relaxed);
    let mut felt = living.await?;

    let errors = calm.errors + felt.errors;
    let (p99_calm_ms, p99_ms) = (calm.at(0.99), felt.at(0.99));
    let line = json!({
        "requests": calm.requests() + felt.requests(),
        "p50_calm_ms": calm.at(0.5),
        "p50_ms": felt.at(0.5),
        "p99_calm_ms": p99_calm_ms,
        "p99_ms": p99_ms,
        "rss_calm_mb": rss_calm,
        "rss_peak_mb": rss_peak,
        "errors": errors,
        "first_error": calm.first_error.or(felt.first_error),
    });
    Ok(Watched { report, errors, p99_calm_ms, p99_ms, line })
}

/// The memory that the server has, in megabytes; 0 where the system does not say.
fn resident_mb(server: &Server) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1_024.0
}
