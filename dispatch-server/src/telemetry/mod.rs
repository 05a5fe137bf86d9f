//! What the server says of itself: a log, metrics and traces, all without secrets and without places.

mod admin;
mod log;
mod metrics;
mod process;
mod request;
pub(crate) mod table;
mod trace;

pub use admin::serve_admin;
pub use log::{Telemetry, TelemetryError};
pub(crate) use metrics::{Closed, FixOutcome, Fixes, Journal, Metrics, Open, Operation, StreamEnd, Streams, Tally};
pub(crate) use request::{Problematic, Seen, observe};
pub use table::metrics_markdown;
pub(crate) use trace::{STEPS, TraceConfig};
