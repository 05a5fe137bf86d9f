//! A tenant that asks ten times what it may. It is told when to come back, nobody else may feel it, and what anybody was told is done
//! stays done.

use crate::child::Server;
use crate::folder::Folder;
use crate::honest::{Fact, Honest};
use crate::town::{GREEDY_ADMIN, HONEST_KEY, open};
use crate::watch::watch;
use crate::{Options, Outcome, greedy};
use serde_json::json;
use std::error::Error;

/// By how much the 99th percentile may be above that of the calm: by this factor, or so many milliseconds.
const FACTOR: f64 = 1.2;
const MARGIN_MS: f64 = 2.0;

/// What part of the ten times has to be offered, or it is not this attack.
const OFFERED: f64 = 0.9;

pub(crate) async fn run(options: &Options, folder: &Folder) -> Result<Outcome, Box<dyn Error>> {
    let server = open(folder)?;
    let honest = Honest::start(&server, HONEST_KEY).await?;
    Honest::new(&server, GREEDY_ADMIN).employ(greedy::DRIVERS, true).await?;
    let watched = watch(&server, &honest, options, "greedily", options.attack_seconds).await?;

    let orders = watched.report["orders"].as_array().into_iter().flatten().filter_map(|order| order.as_str());
    let theirs: Vec<_> = orders.map(|order| Fact { order: order.to_owned(), says: None }).collect();
    let facts = [(HONEST_KEY, honest.facts()), (GREEDY_ADMIN, theirs)];
    let lost_now = lost(&server, &facts).await?;
    // Killed, and started again.
    drop(server);
    let lost = lost_now.max(lost(&open(folder)?, &facts).await?);

    let number = |field: &str| watched.report[field].as_f64().unwrap_or_default();
    let most_ms = f64::max(FACTOR * watched.p99_calm_ms, watched.p99_calm_ms + MARGIN_MS);
    let wrong: Vec<_> = [
        (lost > 0, "what was acknowledged is lost"),
        (number("without_retry_after") > 0.0, "a refusal does not say when to come back"),
        (number("other") > 0.0 || watched.errors > 0, "something was answered that should not be"),
        (number("offered_per_s") < OFFERED * greedy::TIMES * number("allowed_per_s"), "too little was asked"),
        (watched.p99_ms > most_ms, "others feel it"),
    ]
    .into_iter()
    .filter_map(|(is_so, what)| is_so.then_some(what))
    .collect();
    let is_well = wrong.is_empty();
    let mut more = watched.report.clone();
    more["orders"] = facts[1].1.len().into();
    more["acknowledged"] = facts.iter().map(|(_, facts)| facts.len()).sum::<usize>().into();
    more["lost"] = lost.into();
    more["wrong"] = json!(wrong);
    Ok(Outcome { line: watched.line("overload", more), is_well })
}

/// How much of what those with these keys were told is not so.
async fn lost(server: &Server, facts: &[(&'static str, Vec<Fact>)]) -> Result<usize, Box<dyn Error>> {
    let mut lost = 0;
    for (key, facts) in facts {
        let orders = Honest::new(server, key).orders().await?;
        lost += facts.iter().filter(|fact| !fact.holds(&orders)).count();
    }
    Ok(lost)
}
