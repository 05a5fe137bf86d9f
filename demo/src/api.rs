//! The clients' side of the server's API: requests, and what is counted of their answers.

use parking_lot::Mutex;
use reqwest::{Client, Method};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many unexpected answers are kept to be shown.
const SHOWN: usize = 10;

/// A server, seen by its clients.
pub(crate) struct Api {
    /// Where it is, as `http://127.0.0.1:8080`.
    pub(crate) url: String,
    client: Client,
    requests: AtomicU64,
    lost_races: AtomicU64,
    unexpected: AtomicU64,
    shown: Mutex<Vec<String>>,
}

/// What clients were answered so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) requests: u64,
    /// Answered 409 where that can happen to anybody: the order was called off or the offer had ended meanwhile.
    pub(crate) lost_races: u64,
    /// Everything else that did not succeed.
    pub(crate) unexpected: u64,
    /// The first of those.
    pub(crate) shown: Vec<String>,
}

impl Api {
    pub(crate) fn new(url: String) -> reqwest::Result<Self> {
        let client = Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let none = AtomicU64::default;
        let (requests, lost_races, unexpected) = (none(), none(), none());
        Ok(Self { url, client, requests, lost_races, unexpected, shown: Mutex::default() })
    }

    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        self.expect(Method::GET, path, None).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Option<Value> {
        self.expect(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Option<Value> {
        self.expect(Method::POST, path, Some(body)).await
    }

    /// A request that has to succeed; `None` if it did not, which is noted.
    async fn expect(&self, method: Method, path: &str, body: Option<Value>) -> Option<Value> {
        match self.send(method, path, body).await {
            Ok(answer) => Some(answer),
            Err(Failed { what, .. }) => {
                self.unexpected(what);
                None
            }
        }
    }

    /// A request that comes too late now and then, and is then answered 409: `None`.
    pub(crate) async fn race(&self, path: &str, body: Value) -> Option<Value> {
        match self.send(Method::POST, path, Some(body)).await {
            Ok(answer) => Some(answer),
            Err(Failed { status: Some(409), .. }) => {
                self.lost_races.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(Failed { what, .. }) => {
                self.unexpected(what);
                None
            }
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failed> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let asked = format!("{method} {path}");
        let lost = |error: reqwest::Error| Failed { status: None, what: format!("{asked}: {error:?}") };
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url));
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let text = response.text().await.map_err(lost)?;
        let failed = |why: &str| Failed { status: Some(status.as_u16()), what: format!("{asked}: {why} {text}") };
        if !status.is_success() {
            return Err(failed(status.as_str()));
        }
        serde_json::from_str(&text).map_err(|_| failed("no JSON:"))
    }

    /// Notes an answer that should not have been given.
    pub(crate) fn unexpected(&self, what: String) {
        self.unexpected.fetch_add(1, Ordering::Relaxed);
        let mut shown = self.shown.lock();
        if shown.len() < SHOWN {
            shown.push(what);
        }
    }

    pub(crate) fn answers(&self) -> Answers {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Answers {
            requests: count(&self.requests),
            lost_races: count(&self.lost_races),
            unexpected: count(&self.unexpected),
            shown: self.shown.lock().clone(),
        }
    }
}

struct Failed {
    status: Option<u16>,
    what: String,
}
