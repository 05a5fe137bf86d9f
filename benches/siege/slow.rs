//! Many connections that take a place and do nothing with it. All have to be gone in time, and nobody else may feel them.

use crate::attacker::Kind;
use crate::folder::Folder;
use crate::honest::Honest;
use crate::town::{HONEST_KEY, default_of, open};
use crate::watch::watch;
use crate::{Options, Outcome};
use serde_json::{Map, json};
use std::error::Error;

/// How much longer than the limit says a connection may last, in seconds: some thousand are closed at the same time, on a machine that
/// has other things to do.
const LATE: f64 = 10.0;

pub(crate) async fn run(connections: usize, options: &Options, folder: &Folder) -> Result<Outcome, Box<dyn Error>> {
    let server = open(folder)?;
    let honest = Honest::start(&server, HONEST_KEY).await?;
    let watched = watch(&server, &honest, options, "slowly", connections as u64).await?;

    let report = &watched.report;
    let sum = |field: &str| Kind::ALL.iter().filter_map(|kind| report[kind.name()][field].as_u64()).sum::<u64>();
    let (opened, closed) = (sum("opened"), sum("closed"));
    let longest = |kind: Kind| report[kind.name()]["longest_s"].as_f64().unwrap_or(0.0);
    let in_time = Kind::ALL.into_iter().all(|kind| longest(kind) <= limit_s(kind) + LATE);
    let is_well = watched.errors == 0 && opened == connections as u64 && closed == opened && in_time;
    let more = json!({
        "opened": opened,
        "closed": closed,
        "longest_s": Kind::ALL.iter().map(|kind| (kind.name().to_owned(), longest(*kind).into())).collect::<Map<_, _>>(),
    });
    Ok(Outcome { line: watched.line("slow", more), is_well })
}

/// How long the server lets such a connection last, in seconds: the attack is on the defaults.
fn limit_s(kind: Kind) -> f64 {
    default_of(match kind {
        Kind::Dribble => "header_seconds",
        Kind::Body => "request_seconds",
        Kind::Silent => "idle_seconds",
    })
}
