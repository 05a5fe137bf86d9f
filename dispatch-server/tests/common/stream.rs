//! A client of event streams.

use super::{Api, asyncapi};
use reqwest::{Client, Response};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

pub struct Stream {
    path: String,
    response: Response,
    rest: String,
}

/// Nothing takes this long; who waits for it in vain is told so.
const PATIENCE: Duration = Duration::from_secs(30);

impl Api {
    /// Opens a stream with this key (none if empty), behind this id.
    pub async fn stream(&self, key: &str, path: &str, after: Option<&str>) -> Stream {
        let mut request = Client::new().get(format!("{}{path}", self.url));
        if !key.is_empty() {
            request = request.bearer_auth(key);
        }
        if let Some(after) = after {
            request = request.header("Last-Event-ID", after);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { path: path.to_owned(), response, rest: String::new() }
    }
}

impl Stream {
    /// The next event, heartbeats aside, as the contract describes it; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.block().await {
                Some(block) if block.starts_with(':') => {}
                Some(block) => {
                    let event = Event::read(&block);
                    asyncapi::describes_at(&self.path, &event.name, &event.data);
                    return Some(event);
                }
                None => return None,
            }
        }
    }

    /// The next event or heartbeat as it is.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.rest = rest;
                return Some(block);
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("a stream says something").unwrap()?;
            self.rest += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next entry of the feed: what has an id, but for how things stand.
    pub async fn entry(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.id.is_some() && !["snapshot", "reset", "status_update"].contains(&event.name.as_str()) {
                return event;
            }
        }
    }

    /// The next event of this name.
    pub async fn named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ends without {name}"));
            if event.name == name {
                return event;
            }
        }
    }

    /// All entries up to the first of this name, which is the last.
    pub async fn until(&mut self, name: &str) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            events.push(self.entry().await);
            if events.last().unwrap().name == name {
                return events;
            }
        }
    }
}

impl Event {
    fn read(block: &str) -> Self {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let data = serde_json::from_str(field("data").unwrap_or_else(|| panic!("no data: {block}"))).unwrap();
        let event = Self { name: field("event").unwrap().into(), id: field("id").map(str::to_owned), data };
        assert_eq!(event.data["type"], event.name.as_str());
        assert_eq!(event.data.get("id").and_then(Value::as_str), event.id.as_deref());
        event
    }
}
