//! What is printed: the beginning, a line of figures a second, and the sum at the end.

use crate::SETTINGS;
use crate::api::Answers;
use crate::city::{City, DRIVERS, ORDERS_A_MINUTE};
use crate::order::{self, KITCHENS};
use crate::place::CENTRE;
use crate::server::Log;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Says what was started and what was chosen for it.
pub(crate) fn begin(url: &str, port: u16, seed: u64) {
    let settings = SETTINGS.join(" \\\n               --set ");
    let shown = order::name(order::SHOWN);
    say(&format!(
        "\
Server       {url}
Docs         {url}/docs/
Started as   dispatch-server serve --listen 127.0.0.1:{port} \\
               --set {settings}
City         seed {seed}: {DRIVERS} drivers on e-bikes, {KITCHENS} kitchens, {ORDERS_A_MINUTE} orders a minute, on average
             Time is real, so distances and times are short: rides of {} to {} m, dishes ready in 5 to 20 s,
             and the settings above to match. {shown} alone goes 3 km, so that there is time to look at it.
             Half of the drivers report their position themselves, half through a gateway in batches.
             Some decline offers or let them expire; some customers and kitchens cancel.

Ctrl-C ends it.
",
        order::RIDE_M.start, order::RIDE_M.end
    ));
}

/// Lines to paste into a shell, each tried out before it is shown; `None` until the order they are about has a driver.
pub(crate) async fn samples(city: &City) -> Option<String> {
    let order = order::name(order::SHOWN);
    city.api.get(&format!("/v1/orders/{order}")).await?["driver"].as_str()?;
    let (lat, lng) = CENTRE;
    let mut lines = vec![
        "Ask it in another shell who is near, when an order arrives, why it has its driver, and for all figures:"
            .to_owned(),
    ];
    for path in [
        format!("/v1/nearest-drivers?lat={lat}&lng={lng}&limit=3"),
        format!("/v1/orders/{order}/eta"),
        format!("/v1/orders/{order}/explanation"),
        "/v1/stats".to_owned(),
    ] {
        city.api.get(&path).await?;
        lines.push(format!("  curl '{}{path}'", city.api.url));
    }
    Some(lines.join("\n") + "\n")
}

/// What stands in the columns of [`line()`]; both fit on a narrow terminal.
pub(crate) const HEAD: &str = "    s  drivers  fixes/s  waiting  offered  riding  delivered  median min to door";

/// The figures of now: the server's where it counts, the clients' where they do.
pub(crate) fn line(city: &City, stats: &Value, fixes_per_second: f64) -> String {
    let market = &stats["markets"][0];
    let count = |name: &str| market.pointer(name).and_then(Value::as_u64).unwrap_or_default();
    let riding: u64 = ["driver_assigned", "picked_up", "in_transit"]
        .into_iter()
        .map(|status| count(&format!("/orders/by_status/{status}")))
        .sum();
    let median = city.tally.median_minutes().map_or("-".to_owned(), |minutes| format!("{minutes:.1}"));
    format!(
        "{:5}  {:7}  {fixes_per_second:7.0}  {:7}  {:7}  {riding:6}  {:9}  {median:>18}",
        city.now().as_secs(),
        count("/drivers/on_shift"),
        count("/orders/waiting"),
        count("/orders/offered"),
        city.tally.delivered.get(),
    )
}

/// Shows a line in place of the one before on a terminal, below it elsewhere.
pub(crate) fn show(line: &str) {
    if std::io::stdout().is_terminal() {
        write(&format!("\r\x1b[K{line}"));
    } else {
        say(line);
    }
}

/// Shows a line that stays.
pub(crate) fn say(line: &str) {
    write(&format!("{line}\n"));
}

fn write(text: &str) {
    let mut out = std::io::stdout();
    // Nobody there to read is no reason to leave the server behind.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints the sum; `awake` is how long the city was.
pub(crate) fn sum(city: &City, log: &Log, awake: Duration) {
    let tally = &city.tally;
    let Answers { requests, lost_races, unexpected, shown } = city.api.answers();
    let (submitted, delivered, cancelled) = (tally.submitted.get(), tally.delivered.get(), tally.cancelled.get());
    let seconds = awake.as_secs_f64();
    let median = tally.median_minutes().map_or("-".to_owned(), |minutes| format!("{minutes:.2}"));
    say(&format!("\n\nAfter {seconds:.0} s:"));
    for (name, figure) in [
        ("orders submitted", submitted.to_string()),
        ("assigned", tally.assigned.get().to_string()),
        ("delivered", delivered.to_string()),
        ("cancelled", cancelled.to_string()),
        ("still under way", (submitted.saturating_sub(delivered + cancelled)).to_string()),
        ("minutes from click to door, median", median),
        ("fixes a second", format!("{:.1}", tally.fixes.get() as f64 / seconds)),
        ("requests", requests.to_string()),
        ("lost races (409: offer over, order called off)", lost_races.to_string()),
        ("unexpected answers", unexpected.to_string()),
        ("errors in the server's log", log.errors.to_string()),
        ("warnings in the server's log", log.warnings.to_string()),
    ] {
        say(&format!("  {name:<48}{figure:>8}"));
    }
    for what in shown.iter().chain(&log.shown) {
        say(&format!("  ! {what}"));
    }
}
