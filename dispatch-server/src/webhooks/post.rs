//! Sends one letter over HTTP: to an address that was checked, within a time, and with no more of the answer read than its status.

use super::envelope::CONTENT_TYPE;
use super::line::Outcome;
use super::target::{Reach, Target, TargetError};
use crate::config::WebhooksConfig;
use axum::body::{Body, to_bytes};
use dispatch_core::{Millis, Timestamp};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, Response, header};
use hyper_util::rt::TokioIo;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

/// Most bytes of an answer's body that are read, so that its connection may serve again.
const MOST_READ: usize = 4_096;

/// A connection is used again for this long; then the name is resolved anew.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// What is sent, and what it says of itself.
pub(super) struct Post<'a> {
    pub(super) url: &'a str,
    pub(super) webhook: &'a str,
    pub(super) signature: String,
    pub(super) body: String,
}

/// Sends letters.
pub(super) struct Poster {
    reach: Reach,
    connect: Duration,
    response: Duration,
    /// Whom to trust, read when it is first needed.
    trust: OnceLock<Arc<ClientConfig>>,
}

/// A connection on which nothing is under way.
pub(super) struct Connection {
    sender: SendRequest<Body>,
    driver: Driver,
    since: Instant,
}

/// Moves the bytes of a connection while it is polled; absent once the connection has ended.
struct Driver(Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>);

impl Poster {
    pub(super) fn new(config: &WebhooksConfig) -> Self {
        let millis = |millis: u32| Duration::from_millis(u64::from(millis));
        Self {
            reach: Reach::of(config),
            connect: millis(config.connect_ms),
            response: millis(config.response_ms),
            trust: OnceLock::new(),
        }
    }

    /// Sends a letter: what came of it, and the connection if it may be used again.
    pub(super) async fn send(
        &self,
        kept: Option<Connection>,
        post: &Post<'_>,
        now: Timestamp,
    ) -> (Outcome, Option<Connection>) {
        let sent = match kept.filter(|kept| kept.since.elapsed() < KEPT_FOR && !kept.sender.is_closed()) {
            // The receiver may have closed it a moment ago, which says nothing of the letter: then it is sent on a new one.
            Some(kept) => match self.exchange(kept, post).await {
                Err(Failure::Broken(_)) => self.send_anew(post).await,
                sent => sent,
            },
            None => self.send_anew(post).await,
        };
        match sent {
            Ok((response, connection)) => (outcome(&response, now), connection),
            Err(failure) => (Outcome::Failed { problem: failure.to_string(), retry_after: None }, None),
        }
    }

    async fn send_anew(&self, post: &Post<'_>) -> Result<(Answer, Option<Connection>), Failure> {
        let opened = timeout(self.connect, self.open(post.url)).await;
        self.exchange(opened.map_err(|_| Failure::Connecting(self.connect))??, post).await
    }

    /// Connects to one of the addresses that were checked, and to nothing else: the name is not resolved again.
    async fn open(&self, url: &str) -> Result<Connection, Failure> {
        let wrong = |error: TargetError| Failure::Target(error.to_string());
        let target = Target::parse(url, self.reach).map_err(wrong)?;
        let mut last = None;
        for address in target.resolve(self.reach).await.map_err(wrong)? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Where that cannot be set letters only come later.
                    let _ = stream.set_nodelay(true);
                    return self.greet(&target, stream).await;
                }
                Err(error) => last = Some(error),
            }
        }
        Err(Failure::Target(last.map_or_else(String::new, |error| format!("cannot be connected to: {}", error.kind()))))
    }

    async fn greet(&self, target: &Target, stream: TcpStream) -> Result<Connection, Failure> {
        if !target.is_encrypted {
            return handshake(stream).await;
        }
        let name = ServerName::try_from(target.host.clone());
        let name = name.map_err(|_| Failure::Target("its host is no name for a certificate".into()))?;
        let connector = TlsConnector::from(self.trust.get_or_init(|| Arc::new(trust(native_roots()))).clone());
        let stream = connector.connect(name, stream).await;
        handshake(stream.map_err(|error| Failure::Target(format!("is not who it should be: {error}")))?).await
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        post: &Post<'_>,
    ) -> Result<(Answer, Option<Connection>), Failure> {
        let request = request(post, self.reach).map_err(|error| Failure::Target(error.to_string()))?;
        let Connection { sender, driver, .. } = &mut connection;
        let sent = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let answered = timeout(self.response, driver.drive(sent)).await;
        let response = answered.map_err(|_| Failure::Silent(self.response))?.map_err(Failure::Broken)?;
        let answer = Answer { status: response.status().as_u16(), headers: response.headers().clone() };
        let body = to_bytes(Body::new::<Incoming>(Response::into_body(response)), MOST_READ);
        let rest = timeout(self.response, driver.drive(body)).await;
        let is_over = rest.is_ok_and(|body| body.is_ok());
        Ok((answer, Some(connection).filter(|_| is_over)))
    }
}

/// The status and the headers of an answer.
struct Answer {
    status: u16,
    headers: HeaderMap,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the target {0}")]
    Target(String),
    #[error("no connection within {} s", .0.as_secs_f64())]
    Connecting(Duration),
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("the connection broke: {0}")]
    Broken(hyper::Error),
}

fn outcome(answer: &Answer, now: Timestamp) -> Outcome {
    match answer.status {
        200..=299 => Outcome::Delivered,
        410 => Outcome::Gone,
        // Redirects are not followed: where they lead was not checked by anybody.
        status => Outcome::Failed {
            problem: format!("answered {status}"),
            retry_after: answer
                .headers
                .get(header::RETRY_AFTER)
                .and_then(|after| retry_after(after.to_str().ok()?, now)),
        },
    }
}

/// What `Retry-After` asks for: a number of seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Millis> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Millis::from_secs(i64::from(seconds)));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some((Timestamp::from_millis(date.as_millisecond()) - now).max(Millis::ZERO))
}

fn request(post: &Post<'_>, reach: Reach) -> Result<Request<Body>, TargetError> {
    let target = Target::parse(post.url, reach)?;
    let request = Request::post(target.path.as_str())
        .header(header::HOST, target.authority)
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .header(header::USER_AGENT, concat!("dispatch-server/", env!("CARGO_PKG_VERSION")))
        .header("Dispatch-Webhook-Id", post.webhook)
        .header("Dispatch-Signature", &post.signature)
        .body(Body::from(post.body.clone()));
    request.map_err(|_| TargetError::NoUrl)
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Result<Connection, Failure> {
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Broken)?;
    Ok(Connection { sender, driver: Driver(Some(Box::pin(driver))), since: Instant::now() })
}

impl Driver {
    /// Waits for something that takes the connection. What had arrived when that ended is still there.
    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Some(driver) = &mut self.0 {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = driver => self.0 = None,
            }
        }
        work.await
    }
}

/// Those whom this machine trusts.
fn native_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        tracing::error!("this machine trusts no certificate authority, so that no webhook can be reached by https");
    }
    roots
}

fn trust(roots: RootCertStore) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has suites of both versions");
    config.with_root_certificates(roots).with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerConfig;
    use axum::body::HttpBody;
    use hyper::server::conn::http1 as server;
    use hyper::service::service_fn;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig as Tls;

    fn poster() -> Poster {
        Poster::new(&WebhooksConfig { allow_private: true, ..ServerConfig::default().webhooks })
    }

    /// A server that takes everything, with a certificate for `localhost`, and closes each connection after `requests`: where it is, whom
    /// to trust, and how many connections there were.
    async fn receiver(requests: usize) -> (String, RootCertStore, Arc<AtomicUsize>) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = certified.cert.der().clone();
        let key = certified.signing_key.serialize_der().try_into().unwrap();
        let tls = Tls::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
        let tls = tls.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let (acceptor, listener) = (TlsAcceptor::from(Arc::new(tls)), TcpListener::bind("localhost:0").await.unwrap());
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let (count, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let connections = count.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                connections.fetch_add(1, Ordering::SeqCst);
                let counted = counted.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let is_last = counted.fetch_add(1, Ordering::SeqCst) % requests == requests - 1;
                    async move {
                        assert!(!request.body().is_end_stream());
                        let answer =
                            Response::builder().header("connection", if is_last { "close" } else { "keep-alive" });
                        Ok::<_, Infallible>(answer.body(Body::from("thanks")).unwrap())
                    }
                });
                tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        (url, roots, count)
    }

    async fn send(poster: &Poster, url: &str, kept: Option<Connection>) -> (Outcome, Option<Connection>) {
        let post = Post { url, webhook: "w", signature: "t=0,v1=0".into(), body: "{}".into() };
        poster.send(kept, &post, Timestamp::from_millis(0)).await
    }

    #[tokio::test]
    async fn a_connection_is_encrypted_and_used_again() {
        let (url, roots, connections) = receiver(3).await;
        let poster = poster();
        assert!(poster.trust.set(Arc::new(trust(roots))).is_ok());
        let mut kept = None;
        for _ in 0..7 {
            let (outcome, connection) = send(&poster, &url, kept).await;
            assert_eq!(outcome, Outcome::Delivered);
            kept = connection;
        }
        assert_eq!(connections.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn who_cannot_prove_who_it_is_is_told_nothing() {
        let (url, _, connections) = receiver(1).await;
        let poster = poster();
        assert!(poster.trust.set(Arc::new(trust(RootCertStore::empty()))).is_ok());
        let (Outcome::Failed { problem, .. }, None) = send(&poster, &url, None).await else { panic!("it was told") };
        assert!(problem.starts_with("the target is not who it should be"), "{problem}");
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn who_is_busy_says_for_how_long() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0", Some(0)),
            ("Thu, 01 Jan 2026 00:01:00 GMT", Some(60)),
            ("Wed, 31 Dec 2025 23:59:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Millis::from_secs), "{text}");
        }
    }
}
