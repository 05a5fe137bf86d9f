//! Many connections that take a place and do nothing with it. All have to be gone in time, and nobody else may feel them.

use crate::attacker::Kind;
use crate::child::Server;
use crate::folder::Folder;
use crate::honest::Honest;
use crate::{Options, Outcome};
use dispatch_server::DOCUMENTED_DEFAULTS;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How much longer than the limit says a connection may last, in seconds: some thousand are closed at the same time, on a machine that
/// has other things to do.
const LATE: f64 = 10.0;

/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) async fn run(connections: usize, options: &Options, folder: &Folder) -> Result<Outcome, Box<dyn Error>> {
    let server = Server::start([OsStr::new("--serve"), folder.0.as_os_str()])?;
    let honest = Honest::start(&server).await?;
    let rate = options.requests_per_s;

    let enough = Arc::new(AtomicBool::new(false));
    let living = tokio::spawn(honest.clone().live(rate, enough.clone()));
    sleep(Duration::from_secs(options.calm_seconds)).await;
    enough.store(true, Ordering::Relaxed);
    let mut calm = living.await?;
    let rss_calm = resident_mb(&server);

    let address = server.url.strip_prefix("http://").unwrap_or(&server.url).to_owned();
    let mut attackers = Command::new(std::env::current_exe()?);
    attackers.args(["--attack-slowly", &address, &connections.to_string()]).stdout(Stdio::piped());
    let attack = tokio::task::spawn_blocking(move || attackers.output());
    let enough = Arc::new(AtomicBool::new(false));
    let living = tokio::spawn(honest.live(rate, enough.clone()));
    let mut rss_peak = rss_calm;
    while !attack.is_finished() {
        sleep(LOOK).await;
        rss_peak = rss_peak.max(resident_mb(&server));
    }
    let report: Value = serde_json::from_slice(&attack.await??.stdout)?;
    enough.store(true, Ordering::Relaxed);
    let mut felt = living.await?;

    let sum = |field: &str| Kind::ALL.iter().filter_map(|kind| report[kind.name()][field].as_u64()).sum::<u64>();
    let (opened, closed) = (sum("opened"), sum("closed"));
    let longest = |kind: Kind| report[kind.name()]["longest_s"].as_f64().unwrap_or(0.0);
    let in_time = Kind::ALL.into_iter().all(|kind| longest(kind) <= limit_s(kind) + LATE);
    let errors = calm.errors + felt.errors;
    let line = json!({
        "attack": "slow",
        "opened": opened,
        "closed": closed,
        "longest_s": Kind::ALL.iter().map(|kind| (kind.name().to_owned(), longest(*kind).into())).collect::<Map<_, _>>(),
        "requests": calm.requests() + felt.requests(),
        "p50_calm_ms": calm.at(0.5),
        "p50_ms": felt.at(0.5),
        "p99_calm_ms": calm.at(0.99),
        "p99_ms": felt.at(0.99),
        "rss_calm_mb": rss_calm,
        "rss_peak_mb": rss_peak,
        "errors": errors,
        "first_error": calm.first_error.or(felt.first_error),
    });
    let is_well = errors == 0 && opened == connections as u64 && closed == opened && in_time;
    Ok(Outcome { line, is_well })
}

/// How long the server lets such a connection last, in seconds: the attack is on the defaults.
fn limit_s(kind: Kind) -> f64 {
    let setting = match kind {
        Kind::Dribble => "\nheader_seconds = ",
        Kind::Body => "\nrequest_seconds = ",
        Kind::Silent => "\nidle_seconds = ",
    };
    let value = DOCUMENTED_DEFAULTS.split(setting).nth(1).and_then(|rest| rest.lines().next());
    value.and_then(|value| value.parse().ok()).expect("the defaults name every limit")
}

/// The memory that the server has, in megabytes; 0 where the system does not say.
fn resident_mb(server: &Server) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1_024.0
}
