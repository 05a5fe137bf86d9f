//! Every metric there is: its name, kind, labels, unit, buckets and meaning. What is registered, `docs/metrics.md`, and the names that
//! alerts and the dashboard may use all come from here.

use std::fmt::Write;

/// One metric.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What it is divided by; each label has few values.
    pub(crate) labels: &'static [&'static str],
    pub(crate) unit: &'static str,
    /// Of a histogram, their upper ends.
    pub(crate) buckets: &'static [f64],
    pub(crate) help: &'static str,
}

/// What kind of metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    /// As it is now.
    Gauge,
    /// How many of what size since the start of the process.
    Histogram,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const NONE: &[f64] = &[];
const HTTP: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
const NEAREST: &[f64] = &[1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2];
const ASSIGN: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0];
const COUNTS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 25.0];
const SIGNED: &[f64] = &[-1800.0, -900.0, -600.0, -300.0, -180.0, -60.0, 0.0, 60.0, 180.0, 300.0, 600.0, 900.0, 1800.0];
const WAITING: &[f64] = &[0.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0];
const DELIVERY: &[f64] = &[600.0, 900.0, 1200.0, 1500.0, 1800.0, 2400.0, 3000.0, 3600.0, 5400.0, 7200.0];
const DISTANCE: &[f64] = &[500.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0, 7500.0, 10_000.0, 15_000.0, 25_000.0];
const WINDOW: &[f64] = &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
const COMMIT: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
const BATCH: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0];
const DELIVERING: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

macro_rules! table {
    ($($row:ident: $kind:ident $name:literal [$($label:literal),*] $unit:literal $buckets:ident $help:literal;)*) => {
        $(pub(crate) const $row: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            unit: $unit,
            buckets: $buckets,
            help: $help,
        };)*

        /// All of them.
        pub(crate) const TABLE: &[&Metric] = &[$(&$row),*];
    };
}

table! {
    REQUESTS: Counter "dispatch_http_requests_total" ["operation", "class", "status"] "requests" NONE
        "Requests answered, by the operation's id in the contract, its class, and the status as 2xx.";
    REQUEST_TIME: Histogram "dispatch_http_request_seconds" ["class"] "seconds" HTTP
        "From a request's head to its answer, the wait for the disk included. class: orders (and offers), positions, drivers, search, other.";
    CONNECTIONS: Gauge "dispatch_connections_open" [] "connections" NONE
        "Connections that are open.";
    CONNECTIONS_REFUSED: Counter "dispatch_connections_refused_total" ["reason"] "connections" NONE
        "Connections that were closed without an answer.";
    COMMANDS: Counter "dispatch_commands_total" ["operation", "outcome"] "commands" NONE
        "Requests that change something, by what came of them: accepted, or the code of the problem.";
    FIXES: Counter "dispatch_fixes_total" ["outcome"] "fixes" NONE
        "Positions reported, by what came of them.";
    NEAREST_TIME: Histogram "dispatch_nearest_seconds" [] "seconds" NEAREST
        "Searches for the nearest drivers, without the request around them.";

    OFFERS_MADE: Counter "dispatch_offers_made_total" ["market"] "offers" NONE
        "Offers put to drivers.";
    OFFERS_CLOSED: Counter "dispatch_offers_closed_total" ["market", "outcome"] "offers" NONE
        "Offers that ended: accepted, declined, expired or withdrawn.";
    OFFERS_PER_ASSIGNMENT: Histogram "dispatch_offers_per_assignment" ["market"] "offers" COUNTS
        "Offers an order took until it was first assigned; 0 where nobody was asked.";
    DUE_TO_OFFER: Histogram "dispatch_due_to_first_offer_seconds" ["market"] "seconds" ASSIGN
        "From when an order was due to its first offer.";
    TIME_TO_ASSIGN: Histogram "dispatch_time_to_assign_seconds" ["market"] "seconds" ASSIGN
        "From when an order was due to its first driver. Time held for ample slack is not counted.";
    SLACK_AT_PICKUP: Histogram "dispatch_slack_at_pickup_seconds" ["market"] "seconds" SIGNED
        "From the driver's arrival at the pickup to when the order was ready; negative where the order was ready first.";
    DRIVER_WAITING: Histogram "dispatch_driver_waiting_seconds" ["market"] "seconds" WAITING
        "From a driver's arrival at the pickup to taking the order.";
    FOOD_WAITING: Histogram "dispatch_food_waiting_seconds" ["market"] "seconds" WAITING
        "From when an order was ready to its being taken.";
    ETA_ERROR: Histogram "dispatch_eta_error_seconds" ["market"] "seconds" SIGNED
        "Delivery minus the time expected when the driver was assigned; positive is late. The share within 3 minutes is le=180 less le=-180.";
    DELIVERY_TIME: Histogram "dispatch_delivery_seconds" ["market"] "seconds" DELIVERY
        "From placing an order to its delivery.";
    DELIVERY_DISTANCE: Histogram "dispatch_delivery_metres" ["market"] "metres" DISTANCE
        "From pickup to dropoff of delivered orders, as the crow flies.";
    ORDERS_PLACED: Counter "dispatch_orders_placed_total" ["market"] "orders" NONE
        "Orders submitted.";
    ORDERS_ENDED: Counter "dispatch_orders_ended_total" ["market", "outcome"] "orders" NONE
        "Orders that ended: delivered, cancelled or failed.";
    ORDERS_FAILED: Counter "dispatch_orders_failed_total" ["market", "reason"] "orders" NONE
        "Orders given up: no_driver, never_finished, or reported by somebody.";
    ROUNDS_FAILED: Counter "dispatch_rounds_failed_total" ["market", "reason"] "rounds" NONE
        "Rounds that ended without a driver: attempts_used or no_candidate.";
    ORDERS: Gauge "dispatch_orders" ["market", "status"] "orders" NONE
        "Orders in memory by public status.";
    DRIVERS: Gauge "dispatch_drivers" ["market", "status"] "drivers" NONE
        "Registered drivers: off shift, paused, silent, idle, asked, or busy.";
    ACTIVE_DRIVERS: Gauge "dispatch_active_drivers" ["market"] "drivers" NONE
        "Drivers on shift who are neither paused nor silent.";
    WINDOW_TIME: Histogram "dispatch_window_seconds" ["market"] "seconds" WINDOW
        "What was due in a market: computing a window, with the copy of the positions.";
    INDEX_DRIVERS: Gauge "dispatch_index_drivers" ["market"] "drivers" NONE
        "Drivers whom the index has a place for, with a position or not yet.";

    STREAMS: Gauge "dispatch_streams_open" [] "streams" NONE
        "Subscriptions of the feed that are open.";
    STREAMS_ENDED: Counter "dispatch_streams_ended_total" ["reason"] "streams" NONE
        "Subscriptions that the server ended: too_slow, revoked, over (the order left memory) or stopping.";
    STREAM_RESETS: Counter "dispatch_stream_resets_total" [] "streams" NONE
        "Streams that could not be gone on with where they were, and began anew from how things stood.";
    REPLAY_BYTES: Gauge "dispatch_feed_replay_bytes" [] "bytes" NONE
        "Memory of the entries that streams can be gone on with from.";

    QUEUE_DEPTH: Gauge "dispatch_runner_queue_depth" [] "requests" NONE
        "Requests waiting for the engine.";
    QUEUE_CAPACITY: Gauge "dispatch_runner_queue_capacity" [] "requests" NONE
        "How many may wait; past it requests are answered 503 busy.";
    COMMIT_TIME: Histogram "dispatch_journal_commit_seconds" [] "seconds" COMMIT
        "Writing and syncing one batch of records.";
    BATCH_RECORDS: Histogram "dispatch_journal_batch_records" [] "records" BATCH
        "Records made durable together.";
    JOURNAL_LAG: Gauge "dispatch_journal_lag_records" [] "records" NONE
        "Records brought to the journal that are not durable yet.";
    JOURNAL_STALLED: Gauge "dispatch_journal_stalled_seconds" [] "seconds" NONE
        "For how long nothing has become durable while something waits to.";
    FREE_BYTES: Gauge "dispatch_journal_free_bytes" [] "bytes" NONE
        "Free on the disk of the data directory.";
    MIN_FREE_BYTES: Gauge "dispatch_journal_min_free_bytes" [] "bytes" NONE
        "New orders are refused while fewer are free.";
    SNAPSHOT_AGE: Gauge "dispatch_journal_snapshot_age_seconds" [] "seconds" NONE
        "Since the newest snapshot was made; NaN before the first.";
    POSTGRES_LAG: Gauge "dispatch_postgres_lag_records" [] "records" NONE
        "Durable records that are not in PostgreSQL.";
    POSTGRES_LAG_BYTES: Gauge "dispatch_postgres_lag_bytes" [] "bytes" NONE
        "The files of the journal that hold them.";
    POSTGRES_LAG_TIME: Gauge "dispatch_postgres_lag_seconds" [] "seconds" NONE
        "How long the oldest of them has been waiting; to the second.";
    POSTGRES_LINK: Gauge "dispatch_postgres_link" ["state"] "0 or 1" NONE
        "How the database is: 1 for none, connecting, connected, away (the breaker is open) or fenced (somebody else writes there), 0 for the others.";

    WEBHOOK_DELIVERIES: Counter "dispatch_webhook_deliveries_total" ["outcome"] "requests" NONE
        "Requests to webhooks, by what came of them: delivered, failed (to be sent again), dead (given up), gone (answered 410).";
    WEBHOOK_TIME: Histogram "dispatch_webhook_delivery_seconds" [] "seconds" DELIVERING
        "From sending a request to a webhook to its answer, connecting included.";
    WEBHOOKS_PENDING: Gauge "dispatch_webhook_pending" [] "events" NONE
        "Events on their way to webhooks, those to be sent again included.";
    WEBHOOKS_DEAD: Gauge "dispatch_webhook_dead_letters" [] "events" NONE
        "Events that could not be delivered to webhooks, and are kept to be sent again.";
    WEBHOOKS_DROPPED: Counter "dispatch_webhook_dead_letters_dropped_total" [] "events" NONE
        "Of those, the ones that were forgotten because there were too many.";

    CPU_TIME: Counter "dispatch_process_cpu_seconds_total" [] "seconds" NONE
        "Processor time of the process.";
    RESIDENT: Gauge "dispatch_process_resident_bytes" [] "bytes" NONE
        "Memory of the process.";
    OPEN_FDS: Gauge "dispatch_process_open_fds" [] "files" NONE
        "Open files and sockets.";
    STARTED: Gauge "dispatch_process_start_time_seconds" [] "seconds" NONE
        "When the process started, since 1970.";
    BUILD: Gauge "dispatch_build_info" ["version"] "1" NONE
        "The version that runs.";
}

/// The table in Markdown: what `docs/metrics.md` has.
pub fn metrics_markdown() -> String {
    let mut text = String::from(INTRODUCTION);
    for Metric { name, kind, labels, unit, help, .. } in TABLE {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let kind = kind.name();
        writeln!(text, "| `{name}` | {kind} | {labels} | {unit} | {help} |").expect("texts take everything");
    }
    text
}

const INTRODUCTION: &str = "# Metrics

What a server says of itself in the text format of Prometheus, at `/metrics` of the admin port (`admin.listen`). Alerts that use it are in
[ops/prometheus-alerts.yml](../ops/prometheus-alerts.yml), a dashboard in [ops/grafana-dashboard.json](../ops/grafana-dashboard.json).

Everything counts from the start of the process. A histogram has the series `_bucket`, `_sum` and `_count`. Labels have few values: there
are at most 256 markets, and operations and codes are those of the contract. Of orders that were placed before the process started, no
times to an offer or to a driver are known, nor the number of offers.

This file is made from the server's table of metrics: `DISPATCH_WRITE_DOCS=1 cargo test -p dispatch-server --test metrics` writes it.

| metric | kind | labels | unit | meaning |
| --- | --- | --- | --- | --- |
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for (number, metric) in TABLE.iter().enumerate() {
            let Metric { name, kind, buckets, .. } = metric;
            assert!(name.starts_with("dispatch_"), "{name}");
            assert!(TABLE[..number].iter().all(|other| other.name != *name), "{name} stands twice");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(buckets.is_empty(), *kind != Kind::Histogram, "{name}");
            assert!(buckets.is_sorted_by(|a, b| a < b), "{name}");
            let base = ["seconds", "bytes", "metres"];
            let is_measured = base.contains(&metric.unit);
            let stem = name.trim_end_matches("_total");
            assert_eq!(is_measured, base.iter().any(|unit| stem.ends_with(unit)), "{name}");
        }
    }
}
