//! Clients that do what no honest client does, over real sockets. Each waits for the end of its connection, however long that takes:
//! what is asserted is that it comes, and that the server goes on.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Folder, Server, order};
use h2::client::{Connection, SendRequest};
use reqwest::Method;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::interval;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

type Bytes = axum::body::Bytes;

/// So long that nothing of a test comes near it.
const PATIENT: &str = "header_seconds = 3600\nidle_seconds = 3600\nstall_seconds = 3600\nrequest_seconds = 3600";

/// A server with one impatience.
async fn impatient(limit: &str) -> Server {
    let patient: Vec<_> = PATIENT.lines().filter(|line| !line.starts_with(limit)).collect();
    Server::with(&format!("[limits]\n{}\n{limit} = 1", patient.join("\n"))).await
}

fn address(server: &Server) -> String {
    server.url.split_once("://").unwrap().1.to_owned()
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(address(server)).await.unwrap()
}

/// What comes until the connection ends, by a farewell or not.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    all
}

fn status(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_dribbles_is_cut_off() {
    let server = impatient("header_seconds").await;
    for begun in ["", "GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: "] {
        let (mut read, mut write) = connect(&server).await.into_split();
        let dribble = tokio::spawn(async move {
            write.write_all(begun.as_bytes()).await.unwrap();
            let mut each = interval(Duration::from_millis(20));
            while write.write_all(b"x").await.is_ok() {
                each.tick().await;
            }
        });
        assert_eq!(status(&rest(&mut read).await), "", "no answer, but an end");
        dribble.await.unwrap();
    }
    server.get("/health/live").await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_cut_off() {
    let server = impatient("idle_seconds").await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // Headers of HTTP/2 without their end: what else is sent has to be more of them.
    let endless = format!("{preface}\0\0\x03\x01\x01\0\0\0\x01\u{2}\u{6}\u{4}");
    for begun in ["", "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", preface, &endless] {
        let mut silent = connect(&server).await;
        silent.write_all(begun.as_bytes()).await.unwrap();
        let answer = rest(&mut silent).await;
        assert_eq!(status(&answer) == "HTTP/1.1 200 OK", begun.starts_with("GET"), "{begun:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_that_only_pings_is_dismissed() {
    let server = impatient("idle_seconds").await;
    let (mut requests, mut connection) = h2::client::handshake(connect(&server).await).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    let ended = tokio::spawn(connection);
    let mut each = interval(Duration::from_millis(20));
    while ping.ping(h2::Ping::opaque()).await.is_ok() {
        each.tick().await;
    }
    let _ = ended.await.unwrap();
    assert!(std::future::poll_fn(|context| requests.poll_ready(context)).await.is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_is_a_408() {
    let server = impatient("request_seconds").await;
    let mut slow = connect(&server).await;
    let head = "POST /v1/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n";
    slow.write_all(format!("{head}connection: close\r\n\r\n{{").as_bytes()).await.unwrap();
    let answer = rest(&mut slow).await;
    assert_eq!(status(&answer), "HTTP/1.1 408 Request Timeout");
    assert!(String::from_utf8_lossy(&answer).contains("request_timeout"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_cut_off() {
    let server = impatient("stall_seconds").await;
    let mut deaf = connect(&server).await;
    // Asks for more and more until the connection is gone, and never looks at what comes.
    let asked = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    while deaf.write_all(asked.as_bytes()).await.is_ok() {}
    // An HTTP/2 client that takes none of an answer, and answers every ping meanwhile.
    let (mut requests, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(connect(&server).await).await.unwrap();
    let (answer, _) = requests.send_request(get(&server, "/health/live"), true).unwrap();
    let ended = tokio::spawn(connection);
    let mut body = answer.await.unwrap().into_body();
    assert!(!matches!(body.data().await, Some(Ok(_))), "its window is closed");
    let _ = ended.await.unwrap();
    server.get("/health/live").await.ok();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_a_431() {
    let server = Server::start().await;
    let large = "x".repeat(20_000);
    let mut stream = connect(&server).await;
    // It may be answered before all of it is written.
    let _ = stream.write_all(format!("GET /health/live HTTP/1.1\r\nx: {large}\r\n\r\n").as_bytes()).await;
    assert_eq!(status(&rest(&mut stream).await), "HTTP/1.1 431 Request Header Fields Too Large");
    let (mut requests, _connection) = speak_http2(connect(&server).await).await;
    let mut request = get(&server, "/health/live");
    request.headers_mut().insert("x", large.parse().unwrap());
    assert_eq!(requests.send_request(request, true).unwrap().0.await.unwrap().status(), 431);
    server.stop().await;
}

fn get(server: &Server, path: &str) -> axum::http::Request<()> {
    axum::http::Request::get(format!("{}{path}", server.url)).body(()).unwrap()
}

/// A client of HTTP/2 on a stream, with what carries it.
async fn speak_http2<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (requests, connection): (_, Connection<T, Bytes>) = h2::client::handshake(stream).await.unwrap();
    (requests, tokio::spawn(connection))
}

/// What an answer of HTTP/2 says, when all of it is there.
async fn text(answer: h2::client::ResponseFuture) -> (axum::http::response::Parts, String) {
    let (parts, mut body) = answer.await.unwrap().into_parts();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    (parts, String::from_utf8(all).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http2_is_the_same_api() {
    let server = Server::start().await;
    let (mut requests, connection) = speak_http2(connect(&server).await).await;
    let (parts, contract) = text(requests.send_request(get(&server, "/openapi.json"), true).unwrap().0).await;
    assert_eq!(parts.status, 200);
    // Longer than a piece of an answer, and whole.
    assert!(contract.len() > 100_000, "{}", contract.len());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&contract).unwrap(), server.get("/openapi.json").await.body);
    let mut foreign = get(&server, "/v1/orders");
    foreign.headers_mut().insert("origin", "http://evil.example".parse().unwrap());
    assert_eq!(text(requests.send_request(foreign, true).unwrap().0).await.0.status, 403);
    // No `host` header says whose name leads here, but the request itself does.
    let mut rebound = get(&server, "/v1/orders");
    *rebound.uri_mut() = "http://evil.example/v1/orders".parse().unwrap();
    assert_eq!(text(requests.send_request(rebound, true).unwrap().0).await.0.status, 403);
    let mut own = get(&server, "/v1/orders");
    own.headers_mut().insert("origin", server.url.parse().unwrap());
    assert_eq!(text(requests.send_request(own, true).unwrap().0).await.0.status, 200);
    drop(requests);
    connection.await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_ends_its_connection_alone() {
    let server = Server::start().await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in (1..400_u32).step_by(2) {
        // GET / over http, whole, and not wanted after all.
        flood.extend([0, 0, 3, 1, 5]);
        flood.extend(stream.to_be_bytes());
        flood.extend([0x82, 0x86, 0x84]);
        flood.extend([0, 0, 4, 3, 0]);
        flood.extend(stream.to_be_bytes());
        flood.extend(8_u32.to_be_bytes());
    }
    let mut stream = connect(&server).await;
    stream.write_all(&flood).await.unwrap();
    let answer = rest(&mut stream).await;
    let (mut frames, mut goaway) = (&answer[..], None);
    while let [a, b, c, kind, _, _, _, _, _, behind @ ..] = frames {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let payload = &behind[..length];
        goaway = (*kind == 7).then(|| payload[7]).or(goaway);
        frames = &behind[length..];
    }
    assert_eq!(goaway, Some(0xb), "ENHANCE_YOUR_CALM");
    server.get("/health/live").await.ok();
    server.stop().await;
}

/// A certificate for `localhost` in a directory of its own, with the settings that name it.
fn certificate(folder: &Folder) -> (CertificateDer<'static>, String) {
    std::fs::create_dir_all(folder.path()).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = format!("{}/{name}.pem", folder.path());
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = (file("certificate", made.cert.pem()), file("key", made.signing_key.serialize_pem()));
    (made.cert.der().clone(), format!("[tls]\ncertificate = {certificate:?}\nkey = {key:?}\n"))
}

async fn shake(server: &Server, root: &CertificateDer<'static>, protocols: &[&str]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = "localhost".try_into().unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, connect(server).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_speaks_both() {
    let folder = Folder::new();
    let (root, settings) = certificate(&folder);
    let server = Server::with(&settings).await;
    let stream = shake(&server, &root, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut requests, connection) = speak_http2(stream).await;
    let (parts, body) = text(requests.send_request(get(&server, "/health/ready"), true).unwrap().0).await;
    assert_eq!(parts.status, 200);
    assert_eq!(parts.headers["strict-transport-security"], "max-age=31536000");
    assert!(body.contains("\"status\""), "{body}");
    drop(requests);
    connection.await.unwrap().unwrap();
    for protocols in [&["http/1.1"][..], &[]] {
        let mut stream = shake(&server, &root, protocols).await;
        stream
            .write_all(b"GET /docs/swagger-ui.css HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let answer = rest(&mut stream).await;
        assert_eq!(status(&answer), "HTTP/1.1 200 OK");
        assert!(answer.len() > 100_000, "{}", answer.len());
    }
    // Who does not encrypt is not understood.
    let mut plain = connect(&server).await;
    plain.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(!status(&rest(&mut plain).await).contains("HTTP"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_handshake_is_cut_off() {
    let folder = Folder::new();
    let (root, settings) = certificate(&folder);
    let server = Server::with(&format!("{settings}[limits]\nheader_seconds = 1")).await;
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut half = connect(&server).await;
        half.write_all(begun).await.unwrap();
        assert_eq!(rest(&mut half).await, b"");
    }
    // The same time is for what comes after it.
    let mut begun = shake(&server, &root, &[]).await;
    begun.write_all(b"GET /").await.unwrap();
    assert_eq!(rest(&mut begun).await, b"");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_http2_finish_and_go() {
    let server = Server::start().await;
    let (mut requests, connection) = speak_http2(connect(&server).await).await;
    let (_idle, idle_connection) = speak_http2(connect(&server).await).await;
    let post = axum::http::Request::post(format!("{}/v1/orders", server.url));
    let post = post.header("content-type", "application/json").body(()).unwrap();
    let (answer, mut body) = requests.send_request(post, false).unwrap();
    // Once this is answered the server has seen the one before.
    let seen = requests.send_request(get(&server, "/health/live"), true).unwrap().0;
    assert_eq!(text(seen).await.0.status, 200);
    let served = server.begin_to_stop();
    // The end of the idle one says that the stop has begun.
    let _ = idle_connection.await.unwrap();
    body.send_data(order("o").to_string().into(), true).unwrap();
    let (parts, _) = text(answer).await;
    assert_eq!(parts.status, 201);
    connection.await.unwrap().unwrap();
    assert!(std::future::poll_fn(|context| requests.poll_ready(context)).await.is_err(), "GOAWAY");
    served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_announced_before_it_begins() {
    let server = Server::with("limits.drain_notice_seconds = 1").await;
    let api = server.api.clone();
    let served = server.begin_to_stop();
    loop {
        let answer = api.get("/health/ready").await;
        if answer.status == 503 {
            answer.problem(503, "stopping");
            break;
        }
    }
    api.get("/health/live").await.ok();
    api.put("/v1/drivers/ana", json!({})).await.ok();
    served.await.unwrap().unwrap();
    assert!(TcpStream::connect(api.url.strip_prefix("http://").unwrap()).await.is_err());
}

/// The server on an address of this machine that is not its own alone, if it has one.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections() {
    use dispatch_server::{Sources, State, serve};
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: this only asks the system which way it would go.
    let outside = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Some(outside) = outside.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback()) else {
        eprintln!("this machine has no address but its own: nothing is checked");
        return;
    };
    let flags = ["durability=memory", "limits.connections_per_address=2"].map(str::to_owned).to_vec();
    let state = State::start(Sources { flags, ..Sources::default() }.load().unwrap()).unwrap();
    let listener = tokio::net::TcpListener::bind((outside, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(serve(state, listener, async move {
        let _ = stopped.await;
    }));
    let connect = async || TcpStream::connect(address).await.unwrap();
    let (_first, mut second) = (connect().await, connect().await);
    let mut third = connect().await;
    assert_eq!(rest(&mut third).await, b"", "it ends at once");
    // A place that is given up is another's.
    second.write_all(b"GET /health/live HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(status(&rest(&mut second).await), "HTTP/1.1 200 OK");
    loop {
        let mut next = connect().await;
        // The server may not have seen the end of the other yet.
        let _ = next.write_all(b"GET /health/live HTTP/1.1\r\nconnection: close\r\n\r\n").await;
        if status(&rest(&mut next).await) == "HTTP/1.1 200 OK" {
            break;
        }
    }
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}

/// A system without files to give away ends nothing, and is asked again.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_files_waits_for_them() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_dispatch-server")]);
    command.env("RUST_LOG", "info").env("DISPATCH_DURABILITY", "memory").stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut wait_for = |words: &str| log.by_ref().find(|line| line.contains(words)).unwrap();
    assert!(wait_for("too few").contains("the system allows 64 open files"));
    let line = wait_for("listening on http://");
    let url = line.split("listening on ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let address = url.strip_prefix("http://").unwrap();
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    wait_for("cannot take a connection");
    drop(crowd);
    let live = common::Api::new(url.clone()).send_as("", Method::GET, "/health/live", None).await;
    process.kill().unwrap();
    process.wait().unwrap();
    live.ok();
}
