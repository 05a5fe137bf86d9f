//! `dispatch-server health`: asks a running server whether it is ready, for whoever watches it and has no HTTP client.

use dispatch_server::ServerConfig;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What is waited for each step at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most bytes of an answer that are looked at.
const MAX_ANSWER: u64 = 65_536;

/// Where a server with this configuration is asked from its own machine: at its port for that, if it has one.
pub(crate) fn here(config: &ServerConfig) -> Result<String, &'static str> {
    match config.admin {
        Some(admin) => Ok(at(admin)),
        None if config.has_tls() => Err("with TLS, set admin.listen: health is asked there, without TLS"),
        None => Ok(at(config.listen)),
    }
}

fn at(mut listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{listen}")
}

/// Asks `/health/ready` below a URL, and prints the answer; an error unless that is 200.
pub(crate) fn run(url: &str) -> Result<(), Box<dyn Error>> {
    let (status, body) = ready(url).map_err(|error| format!("{url}: {error}"))?;
    if status != 200 {
        return Err(format!("{url} is not ready: {status} {}", body.trim()).into());
    }
    println!("{}", body.trim());
    Ok(())
}

fn ready(url: &str) -> Result<(u16, String), Box<dyn Error>> {
    let rest = url.strip_prefix("http://").ok_or("must be as http://127.0.0.1:8080, without TLS")?;
    let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = host.to_socket_addrs()?.next().ok_or("it has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let path = format!("{}/health/ready", prefix.trim_end_matches('/'));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((status.ok_or("it does not answer as HTTP/1.1 does")?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What asking a server comes to that answers this; what it was asked.
    fn asked(prefix: &str, answer: &'static str) -> (Result<(u16, String), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}{prefix}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let outcome = ready(&url).map_err(|error| error.to_string());
        (outcome, server.join().unwrap())
    }

    #[test]
    fn the_status_and_the_body_are_read() {
        let (ready, request) = asked("/below/", "HTTP/1.1 200 OK\r\nx: y\r\n\r\n{\"status\":\"ready\"}\n");
        assert_eq!(ready.unwrap(), (200, "{\"status\":\"ready\"}\n".to_owned()));
        assert!(request.starts_with("GET /below/health/ready HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert_eq!(asked("", "HTTP/1.1 503 Service Unavailable\r\n\r\n").0.unwrap().0, 503);
        for answer in ["", "hello", "HTTP/1.1 ", "HTTP/1.1 2é0"] {
            assert!(asked("", answer).0.is_err(), "{answer}");
        }
    }

    #[test]
    fn a_server_is_asked_where_it_listens() {
        for (listen, url) in [
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("10.1.2.3:8080", "http://10.1.2.3:8080"),
        ] {
            assert_eq!(at(listen.parse().unwrap()), url);
        }
        for wrong in ["https://127.0.0.1", "127.0.0.1:80", "http://", "http://nowhere"] {
            assert!(run(wrong).is_err(), "{wrong}");
        }
    }
}
