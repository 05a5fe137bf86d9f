//! Where webhooks learn what happens: the feed.

use super::envelope::Entry;
use super::hook::Webhook;
use crate::feed::{self, Cursor, Hub, Topic};
use crate::wire::Time;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// What a webhook learns from the log.
#[derive(Debug)]
pub(super) enum News {
    Entry(Entry),
    /// Up to here there was nothing else.
    Passed(String),
    /// What came after the place that was asked for is not known any more, up to here.
    Reset {
        resumes_after: String,
    },
}

/// Listens to what comes after a place.
type Follow = dyn Fn(&Webhook, String) -> mpsc::Receiver<News> + Send + Sync;

/// Where entries come from.
pub(crate) struct Source {
    /// The place behind all entries there are.
    pub(super) head: Box<dyn Fn() -> String + Send + Sync>,
    /// What comes after a place of the log, in its order, for as long as somebody listens: at least what is of the webhook's tenant.
    /// It ends with the server.
    pub(super) after: Box<Follow>,
}

/// Nobody else can follow anything now: it is tried again after this.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// So much is taken from the feed before it is looked at.
const TAKEN: usize = 16;

impl Source {
    /// The feed.
    pub(crate) fn of(hub: Arc<Hub>) -> Self {
        let feed = hub.clone();
        let after = move |webhook: &Webhook, place: String| {
            let (out, news) = mpsc::channel(TAKEN);
            let (hub, webhook) = (feed.clone(), webhook.clone());
            // It ends once nobody listens.
            tokio::spawn(async move { follow(&hub, &webhook, place.parse().ok(), &out).await });
            news
        };
        Self { head: Box::new(move || hub.head().to_string()), after: Box::new(after) }
    }
}

/// Passes on what comes after a place, or after now if there is none. Gives nothing; it ends once nobody listens.
async fn follow(hub: &Arc<Hub>, webhook: &Webhook, mut place: Option<Cursor>, out: &mpsc::Sender<News>) -> Option<()> {
    let markets = hub.markets_of(&webhook.tenant);
    let topics: Vec<_> = markets.iter().copied().map(Topic::Market).collect();
    loop {
        let principal = (webhook.tenant.clone(), webhook.id.clone());
        let Ok(mut subscription) = hub.subscribe((principal, usize::MAX), topics.clone(), markets.clone(), false)
        else {
            tokio::select! {
                () = sleep(AFTER_REFUSAL) => continue,
                () = out.closed() => return None,
            }
        };
        if place.is_none_or(|place| subscription.begin(place).is_err()) {
            let head = hub.head();
            place = Some(head);
            out.send(News::Reset { resumes_after: head.to_string() }).await.ok()?;
            continue;
        }
        loop {
            let news = tokio::select! {
                news = subscription.next() => news,
                () = out.closed() => return None,
            };
            match news {
                feed::News::Entries(entries) => {
                    for entry in entries {
                        place = Some(entry.cursor);
                        out.send(News::Entry(Entry::of(&entry))).await.ok()?;
                    }
                }
                feed::News::Beat => {
                    if let Some(passed) = subscription.cursor() {
                        place = Some(passed);
                        out.send(News::Passed(passed.to_string())).await.ok()?;
                    }
                }
                // From where it is, if that is still known.
                feed::News::TooSlow => break,
                feed::News::Stopping => return None,
                feed::News::Location(..) | feed::News::Locations(_) | feed::News::Eta(_) => {}
            }
        }
    }
}

/// What of an entry's JSON is needed beside all of it.
#[derive(Deserialize)]
struct Stamp {
    at: Time,
}

impl Entry {
    fn of(entry: &feed::Entry) -> Self {
        let stamp = serde_json::from_slice(&entry.json).map(|Stamp { at }| at.get());
        Self {
            cursor: entry.cursor.to_string(),
            at: stamp.unwrap_or(entry.cursor.at),
            market: entry.market.clone(),
            kind: entry.name.to_owned(),
            subject: entry.subject().map(str::to_owned),
            json: String::from_utf8_lossy(&entry.json).into_owned(),
        }
    }
}
