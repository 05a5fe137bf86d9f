//! Somebody who is told by webhooks what happens, and answers as a test says.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Told {
    pub headers: HeaderMap,
    pub body: String,
}

impl Told {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The event in its envelope.
    pub fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn kind(&self) -> String {
        self.event()["type"].as_str().unwrap().to_owned()
    }
}

/// How it answers: the status, and a header if there is one; `None` to not answer at all.
pub type Reply = Option<(u16, Option<(&'static str, String)>)>;

#[derive(Default)]
struct Desk {
    told: Vec<Told>,
    replies: VecDeque<Reply>,
    usual: Reply,
}

#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    desk: Arc<Mutex<Desk>>,
}

impl Receiver {
    /// One that takes everything.
    pub async fn start() -> Self {
        let desk = Arc::new(Mutex::new(Desk { usual: Some((204, None)), ..Desk::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?a=b", listener.local_addr().unwrap());
        let app = Router::new().fallback(take).with_state(desk.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        Self { url, desk }
    }

    /// What it answers from now on.
    pub fn answers(&self, reply: Reply) {
        self.desk.lock().unwrap().usual = reply;
    }

    /// What it answers next.
    pub fn answers_next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.desk.lock().unwrap().replies.extend(replies);
    }

    pub fn told(&self) -> Vec<Told> {
        self.desk.lock().unwrap().told.clone()
    }

    /// Waits until it was told so often, while `meanwhile` happens over and over.
    pub async fn hears(&self, count: usize, meanwhile: impl Fn()) -> Vec<Told> {
        until(async || self.told().len() >= count, meanwhile).await;
        self.told()
    }
}

async fn take(State(desk): State<Arc<Mutex<Desk>>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let reply = {
        let mut desk = desk.lock().unwrap();
        desk.told.push(Told { headers, body: String::from_utf8(body.to_vec()).unwrap() });
        desk.replies.pop_front().unwrap_or_else(|| desk.usual.clone())
    };
    let Some((status, header)) = reply else { return std::future::pending().await };
    let headers: HeaderMap =
        header.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    (StatusCode::from_u16(status).unwrap(), headers, "x".repeat(100))
}

/// Waits until something is so, while `meanwhile` happens over and over.
pub async fn until(is_so: impl AsyncFn() -> bool, meanwhile: impl Fn()) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed().as_secs() < 60, "it does not come to be");
        meanwhile();
        tokio::task::yield_now().await;
    }
}
