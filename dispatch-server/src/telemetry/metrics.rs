//! Counters, gauges and histograms of one server. Nothing here is global: a process may have many servers.

use super::table::{self, Kind, Metric, TABLE};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::formatting::{write_help_line, write_type_line};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// All metrics of a server. Registering takes microseconds and a lock; counting with what that gives takes one atomic step, and a
/// sample of a histogram a few.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    pub(crate) http: Http,
    pub(crate) connections: Connections,
    pub(crate) fixes: Fixes,
    pub(crate) journal: Journal,
    pub(crate) streams: Streams,
    pub(crate) queue_depth: Gauge,
}

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Its id in the contract.
    pub(crate) id: &'static str,
    /// What it is like: operations of one class are as fast as each other, about.
    pub(crate) class: &'static str,
    /// Whether it changes what is kept.
    pub(crate) is_command: bool,
}

/// A request of which nobody knows what it was for.
pub(crate) const UNKNOWN: Operation = Operation { id: "unknown", class: "other", is_command: false };

impl Metrics {
    pub(crate) fn new(operations: impl Iterator<Item = Operation>) -> Arc<Self> {
        let mut builder = PrometheusBuilder::new();
        for metric in TABLE.iter().filter(|metric| metric.kind == Kind::Histogram) {
            let set = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets);
            builder = set.expect("every histogram of the table has buckets; a test says so");
        }
        let recorder = builder.build_recorder();
        for metric in TABLE {
            let (name, unit) = (metric.name.into(), None::<Unit>);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, unit, metric.help.into()),
                Kind::Gauge => recorder.describe_gauge(name, unit, metric.help.into()),
                Kind::Histogram => recorder.describe_histogram(name, unit, metric.help.into()),
            }
        }
        let http = Http::new(&recorder, operations);
        let connections = Connections {
            open: gauge(&recorder, &table::CONNECTIONS, &[]),
            refused: CLOSED.map(|reason| counter(&recorder, &table::CONNECTIONS_REFUSED, &[reason])),
        };
        let fixes = Fixes {
            outcomes: FIXES.map(|outcome| counter(&recorder, &table::FIXES, &[outcome])),
            nearest: histogram(&recorder, &table::NEAREST_TIME, &[]),
        };
        let journal = Journal {
            commit: histogram(&recorder, &table::COMMIT_TIME, &[]),
            batch: histogram(&recorder, &table::BATCH_RECORDS, &[]),
        };
        let streams = Streams {
            open: gauge(&recorder, &table::STREAMS, &[]),
            ended: ENDED.map(|reason| counter(&recorder, &table::STREAMS_ENDED, &[reason])),
            resets: counter(&recorder, &table::STREAM_RESETS, &[]),
            replay_bytes: gauge(&recorder, &table::REPLAY_BYTES, &[]),
        };
        gauge(&recorder, &table::BUILD, &[env!("CARGO_PKG_VERSION")]).set(1.0);
        let queue_depth = gauge(&recorder, &table::QUEUE_DEPTH, &[]);
        Arc::new(Self { recorder, http, connections, fixes, journal, streams, queue_depth })
    }

    pub(crate) fn counter(&self, metric: &'static Metric, labels: &[&str]) -> Counter {
        counter(&self.recorder, metric, labels)
    }

    pub(crate) fn gauge(&self, metric: &'static Metric, labels: &[&str]) -> Gauge {
        gauge(&self.recorder, metric, labels)
    }

    pub(crate) fn histogram(&self, metric: &'static Metric, labels: &[&str]) -> Histogram {
        histogram(&self.recorder, metric, labels)
    }

    /// Everything in the text format of Prometheus. Takes milliseconds with hundreds of markets.
    pub(crate) fn render(&self) -> String {
        let cpu_seconds = super::process::measure(self);
        let mut text = self.recorder.handle().render();
        if let Some(seconds) = cpu_seconds {
            // Counters of the registry are whole numbers.
            let name = table::CPU_TIME.name;
            write_help_line(&mut text, name, None, None, table::CPU_TIME.help);
            write_type_line(&mut text, name, None, None, table::CPU_TIME.kind.name());
            writeln!(text, "{name} {seconds}\n").expect("texts take everything");
        }
        text
    }

    /// Samples of histograms pile up until somebody asks; where nobody does they are folded now and then, until the server is gone.
    pub(crate) fn keep_small(self: &Arc<Self>) -> std::io::Result<()> {
        const PERIOD: Duration = Duration::from_secs(5);
        let metrics = Arc::downgrade(self);
        let run = move || {
            while let Some(metrics) = metrics.upgrade() {
                metrics.recorder.handle().run_upkeep();
                drop(metrics);
                std::thread::sleep(PERIOD);
            }
        };
        std::thread::Builder::new().name("metrics".into()).spawn(run).map(drop)
    }
}

fn key(metric: &'static Metric, labels: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
    let labels = metric.labels.iter().zip(labels).map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(metric.name, labels.collect::<Vec<_>>())
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

fn counter(recorder: &PrometheusRecorder, metric: &'static Metric, labels: &[&str]) -> Counter {
    recorder.register_counter(&key(metric, labels), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, metric: &'static Metric, labels: &[&str]) -> Gauge {
    recorder.register_gauge(&key(metric, labels), &METADATA)
}

fn histogram(recorder: &PrometheusRecorder, metric: &'static Metric, labels: &[&str]) -> Histogram {
    recorder.register_histogram(&key(metric, labels), &METADATA)
}

/// Streams of the feed.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) open: Gauge,
    pub(crate) resets: Counter,
    pub(crate) replay_bytes: Gauge,
    ended: [Counter; 4],
}

const ENDED: [&str; 4] = ["too_slow", "revoked", "over", "stopping"];

/// Why the server ended a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    TooSlow,
    Revoked,
    Over,
    Stopping,
}

impl Streams {
    pub(crate) fn ended(&self, why: StreamEnd) {
        self.ended[why as usize].increment(1);
    }
}

/// Requests.
pub(crate) struct Http {
    operations: BTreeMap<&'static str, Answers>,
    classes: BTreeMap<&'static str, Histogram>,
}

/// What came of the requests for one operation.
struct Answers {
    /// By the first digit of the status, from 1.
    statuses: [Counter; 5],
    accepted: Option<Counter>,
}

impl Http {
    fn new(recorder: &PrometheusRecorder, operations: impl Iterator<Item = Operation>) -> Self {
        let mut http = Self { operations: BTreeMap::new(), classes: BTreeMap::new() };
        for Operation { id, class, is_command } in operations.chain([UNKNOWN]) {
            let status = |status| counter(recorder, &table::REQUESTS, &[id, class, status]);
            let accepted = is_command.then(|| counter(recorder, &table::COMMANDS, &[id, "accepted"]));
            let answers = Answers { statuses: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(status), accepted };
            http.operations.insert(id, answers);
            let time = || histogram(recorder, &table::REQUEST_TIME, &[class]);
            http.classes.entry(class).or_insert_with(time);
        }
        http
    }
}

impl Metrics {
    /// Counts an answered request; `problem` is the code of what was wrong with it.
    pub(crate) fn answered(&self, operation: Operation, status: u16, problem: Option<&str>, took: Duration) {
        let Some(answers) = self.http.operations.get(operation.id) else { return };
        if let Some(count) = usize::from(status / 100).checked_sub(1).and_then(|class| answers.statuses.get(class)) {
            count.increment(1);
        }
        if let Some(time) = self.http.classes.get(operation.class) {
            time.record(took);
        }
        match (&answers.accepted, problem) {
            (None, _) => {}
            (Some(accepted), None) => accepted.increment(1),
            (Some(_), Some(code)) => self.counter(&table::COMMANDS, &[operation.id, code]).increment(1),
        }
    }
}

/// The network.
pub(crate) struct Connections {
    pub(crate) open: Gauge,
    refused: [Counter; CLOSED.len()],
}

/// Why a connection was closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The address has as many as it may.
    Address,
    /// No encrypted connection came of it.
    Tls,
    /// It said nothing, or too slowly, or did not listen.
    Slow,
}

const CLOSED: [&str; 3] = ["address", "tls", "slow"];

impl Connections {
    /// Counts a connection that was closed without an answer.
    pub(crate) fn refused(&self, why: Closed) {
        self.refused[why as usize].increment(1);
    }
}

/// Counts a connection while it lives.
pub(crate) struct Open(Arc<Metrics>);

impl Open {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.connections.open.increment(1.0);
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.open.decrement(1.0);
    }
}

/// Positions. Counting takes one atomic step.
#[derive(Clone)]
pub(crate) struct Fixes {
    outcomes: [Counter; FIXES.len()],
    pub(crate) nearest: Histogram,
}

/// What came of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FixOutcome {
    /// It is where the driver is now.
    Moved,
    /// Ignored: not newer than what the driver reported before.
    Stale,
    TooOld,
    FromFuture,
    TooFast,
    /// The driver, or who reports for it, reports more often than it may.
    RateLimited,
    UnknownDriver,
    /// It is not what it should be.
    Invalid,
    /// Not looked at, because commands wait for the engine.
    Shed,
}

impl FixOutcome {
    /// All of them, as they are numbered.
    pub(crate) const ALL: [Self; 9] = [
        Self::Moved,
        Self::Stale,
        Self::TooOld,
        Self::FromFuture,
        Self::TooFast,
        Self::RateLimited,
        Self::UnknownDriver,
        Self::Invalid,
        Self::Shed,
    ];

    /// Whether it was refused: neither taken nor merely known already.
    pub(crate) fn is_refusal(self) -> bool {
        !matches!(self, Self::Moved | Self::Stale)
    }
}

const FIXES: [&str; FixOutcome::ALL.len()] =
    ["moved", "stale", "too_old", "from_future", "too_fast", "rate_limited", "unknown_driver", "invalid", "shed"];

/// How many positions came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally([u64; FixOutcome::ALL.len()]);

impl Tally {
    pub(crate) fn add(&mut self, outcome: FixOutcome, count: u64) {
        self.0[outcome as usize] += count;
    }

    #[cfg(test)]
    pub(crate) fn of(&self, outcome: FixOutcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Those that are not zero.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (FixOutcome, u64)> {
        FixOutcome::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

impl Fixes {
    pub(crate) fn count(&self, outcome: FixOutcome) {
        self.outcomes[outcome as usize].increment(1);
    }

    /// Counts many at once.
    pub(crate) fn count_all(&self, tally: &Tally) {
        for (outcome, count) in tally.counted() {
            self.outcomes[outcome as usize].increment(count);
        }
    }
}

/// What the journal's thread does.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) commit: Histogram,
    pub(crate) batch: Histogram,
}

#[cfg(test)]
impl Journal {
    /// Where nobody looks.
    pub(crate) fn unseen() -> Self {
        Self { commit: Histogram::noop(), batch: Histogram::noop() }
    }
}
