//! Traces for a collector: a request, its decision on the runner's thread, and the time until that is durable.

use async_trait::async_trait;
use axum::http::HeaderMap;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Where spans of requests come from, as a filter names it.
pub(super) const REQUEST: &str = "dispatch_server::request";

/// Where spans of the steps of a request come from.
pub(crate) const STEPS: &str = "dispatch_server::steps";

/// A collector has this long to take a batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many spans wait for the collector; what ends then is dropped.
const QUEUE: usize = 2_048;

/// Where traces go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TraceConfig {
    pub(crate) endpoint: String,
    /// The share of the requests that are traced where the caller does not say.
    pub(crate) sample: f64,
}

impl TraceConfig {
    /// Checks the two settings; none where there is no endpoint.
    pub(crate) fn read(endpoint: String, sample: f64) -> Result<Option<Self>, String> {
        if !(0.0..=1.0).contains(&sample) {
            return Err("sample: must be 0 to 1".into());
        }
        if endpoint.is_empty() {
            return Ok(None);
        }
        let uri = endpoint.parse::<hyper::Uri>().ok();
        let uri = uri.filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()));
        match uri {
            Some(_) => Ok(Some(Self { endpoint, sample })),
            None => Err("otlp_endpoint: must be as http://127.0.0.1:4318/v1/traces".into()),
        }
    }
}

/// Sends spans of this server; called within a runtime, which has to live until it is shut down.
pub(super) fn provider(config: &TraceConfig) -> Result<SdkTracerProvider, String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector { runtime: Handle::current(), is_away: AtomicBool::new(false) })
        .with_endpoint(&config.endpoint)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| error.to_string())?;
    let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample)));
    let resource = Resource::builder().with_service_name("dispatch-server").build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor);
    Ok(provider.with_sampler(sampler).with_resource(resource).build())
}

pub(super) fn tracer(provider: &SdkTracerProvider) -> SdkTracer {
    provider.tracer("dispatch-server")
}

/// Goes on with the trace of whoever sent this request, if it names one.
pub(super) fn follow(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let from = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Nobody traces: then nobody needs to know.
        let _ = span.set_parent(from);
    }
}

/// Posts batches to a collector, one connection each: there is one every few seconds. The thread that waits for it is that of
/// the batches alone.
#[derive(Debug)]
struct Collector {
    runtime: Handle,
    is_away: AtomicBool,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The caller's thread has no runtime.
        let sent = self.runtime.spawn(async { tokio::time::timeout(PATIENCE, post(request)).await? });
        let sent = sent.await.map_err(HttpError::from).flatten();
        let problem = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        if self.is_away.swap(problem.is_some(), Ordering::Relaxed) != problem.is_some() {
            if let Some(problem) = problem {
                tracing::warn!("the collector does not take traces, which are lost: {problem}");
            } else {
                tracing::info!("the collector takes traces again");
            }
        }
        sent
    }
}

async fn post(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri().clone();
    let authority = uri.authority().ok_or("the collector's address has no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    request.headers_mut().insert("host", authority.as_str().parse()?);
    *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let response = sender.send_request(request.map(axum::body::Body::from)).await?;
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(axum::body::Body::new(body), 1 << 20).await?;
    Ok(Response::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_place_without_encryption() {
        assert_eq!(TraceConfig::read(String::new(), 0.1), Ok(None));
        let endpoint = "http://[::1]:4318/v1/traces";
        assert!(TraceConfig::read(endpoint.into(), 1.0).unwrap().is_some());
        for (endpoint, sample) in [("https://a/v1", 0.1), ("a:4318", 0.1), ("http://", 0.1), ("", 1.1), ("", f64::NAN)]
        {
            assert!(TraceConfig::read(endpoint.into(), sample).is_err(), "{endpoint} {sample}");
        }
    }
}
