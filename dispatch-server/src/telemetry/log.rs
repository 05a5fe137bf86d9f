//! The log of a process, and where its traces go.

use super::trace::{self, REQUEST, STEPS};
use crate::{LogFormat, ServerConfig};
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

/// The log and the traces of a process, as a configuration says.
#[derive(Debug)]
#[must_use = "spans that wait are lost without `finish`"]
pub struct Telemetry(Option<SdkTracerProvider>);

/// A log or traces that could not begin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("telemetry: {0}")]
pub struct TelemetryError(String);

/// A stopping server waits this long for the collector.
const LAST_CALL: Duration = Duration::from_secs(5);

impl Telemetry {
    /// Begins, for the whole process: once, and within a tokio runtime if there are traces.
    pub fn start<W>(config: &ServerConfig, filter: EnvFilter, colours: bool, writer: W) -> Result<Self, TelemetryError>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let lines = match config.log {
            LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(writer).boxed(),
            LogFormat::Json => {
                let lines = fmt::layer().json().flatten_event(true).with_current_span(false);
                lines.with_writer(writer).boxed()
            }
        };
        let provider = config.trace.as_ref().map(trace::provider).transpose().map_err(TelemetryError)?;
        let spans = provider.as_ref().map(|provider| {
            let spans = tracing_opentelemetry::layer().with_tracer(trace::tracer(provider));
            let spans = spans.with_location(false).with_threads(false).with_tracked_inactivity(false);
            spans.with_filter(
                Targets::new().with_target(REQUEST, LevelFilter::DEBUG).with_target(STEPS, LevelFilter::DEBUG),
            )
        });
        let begun = registry().with(lines.with_filter(filter)).with(spans).try_init();
        begun.map_err(|error| TelemetryError(error.to_string()))?;
        Ok(Self(provider))
    }

    /// Sends what waits for the collector, if it takes it within seconds. The runtime has to live as long.
    pub async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let shut_down = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_CALL));
        if let Ok(Err(error)) = shut_down.await {
            tracing::warn!("the last traces are lost: {error}");
        }
    }
}
