//! Webhooks that follow a log made of a list.

use super::envelope::Entry;
use super::source::News;
use super::*;
use crate::common::receiver::{Receiver, until};
use crate::common::{Folder, START};
use crate::config::ServerConfig;
use crate::runner::ManualClock;
use std::path::Path;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A log whose entries are numbered from 1; a place is the number of the entry before it.
#[derive(Clone)]
struct Log(Arc<tokio::sync::watch::Sender<(Vec<Entry>, usize)>>);

impl Log {
    fn new() -> Self {
        Self(Arc::new(tokio::sync::watch::Sender::new((Vec::new(), 0))))
    }

    fn write(&self, market: &str, kind: &str) {
        self.0.send_modify(|(entries, _)| {
            let cursor = (entries.len() + 1).to_string();
            let json = format!(r#"{{"id":"{cursor}","type":"{kind}"}}"#);
            let (at, market) = (Timestamp::from_millis(START), MarketId::new(market).unwrap());
            entries.push(Entry { cursor, at, market, kind: kind.into(), subject: None, json });
        });
    }

    /// Forgets all there is.
    fn forget(&self) {
        self.0.send_modify(|(entries, forgotten)| *forgotten = entries.len());
    }

    fn source(&self) -> Source {
        let (head, log) = (self.0.clone(), self.0.clone());
        let after = move |_: &Webhook, cursor: String| {
            let (out, news) = mpsc::channel(1);
            let mut log = log.subscribe();
            let mut place: usize = cursor.parse().unwrap();
            tokio::spawn(async move {
                let forgotten = log.borrow().1;
                if place < forgotten {
                    place = forgotten;
                    out.send(News::Reset { resumes_after: place.to_string() }).await.ok()?;
                }
                loop {
                    let entry = log.wait_for(|(entries, _)| entries.len() > place).await.ok()?.0[place].clone();
                    out.send(News::Entry(entry)).await.ok()?;
                    place += 1;
                }
                #[expect(unreachable_code, reason = "says what `?` gives")]
                Some(())
            });
            news
        };
        Source { head: Box::new(move || head.borrow().0.len().to_string()), after: Box::new(after) }
    }
}

struct Desk {
    webhooks: Arc<Webhooks>,
    sending: JoinHandle<()>,
    clock: ManualClock,
}

impl Desk {
    fn open(log: &Log, folder: &Folder, pending: usize) -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(START));
        let config = WebhooksConfig {
            allow_http: true,
            allow_private: true,
            pending,
            attempts: 3,
            ..ServerConfig::default().webhooks
        };
        let tenant = |name: &str| TenantId::try_from(name.to_owned()).unwrap();
        let market = |market: &str, of: &str| (MarketId::new(market).unwrap(), tenant(of));
        let tenants = BTreeMap::from([market("a", "default"), market("b", "default"), market("x", "other")]);
        std::fs::create_dir_all(folder.path()).unwrap();
        let folder = Some(Path::new(folder.path()).to_owned());
        let metrics = Metrics::new(std::iter::empty());
        let webhooks = Webhooks::open(&config, tenants, folder, clock.clone().into(), &metrics, log.source()).unwrap();
        let webhooks = Arc::new(webhooks);
        let sends = webhooks.clone();
        let sending = tokio::spawn(async move { match sends.send().await {} });
        Self { webhooks, sending, clock }
    }

    fn create(&self, receiver: &Receiver, markets: Option<&[&str]>, events: Option<&[EventType]>) -> String {
        let new = NewWebhook {
            tenant: TenantId::default(),
            name: None,
            url: receiver.url.clone(),
            events: events.map(|events| events.iter().copied().collect()),
            markets: markets.map(|ids| ids.iter().map(|id| MarketId::new(*id).unwrap()).collect()),
        };
        self.webhooks.create(new, self.clock.now()).unwrap().0.webhook.id
    }

    fn seen(&self, id: &str) -> Seen {
        self.webhooks.get(id, |_| true).unwrap()
    }

    fn tick(&self) {
        self.clock.advance(Millis::from_secs(1));
    }

    async fn close(self) {
        self.webhooks.close();
        self.sending.abort();
        let _ = self.sending.await;
    }
}

fn ids(receiver: &Receiver) -> Vec<String> {
    receiver.told().iter().map(|told| told.event()["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_told_in_order_to_whom_it_is_for() {
    let (log, folder) = (Log::new(), Folder::new());
    let (all, some) = (Receiver::start().await, Receiver::start().await);
    log.write("a", "order_placed");
    let desk = Desk::open(&log, &folder, 4);
    desk.create(&all, None, None);
    desk.create(&some, Some(&["b"]), Some(&[EventType::PickedUp, EventType::Delivered]));
    for number in 0..50 {
        log.write(["a", "b", "x"][number % 3], ["picked_up", "departed"][number % 2]);
    }
    // Entry 2 is the first after the webhooks were made; every third is another tenant's.
    let expected: Vec<_> = (2..=51).filter(|number| number % 3 != 1).map(|number: usize| number.to_string()).collect();
    all.hears(expected.len(), || ()).await;
    assert_eq!(ids(&all), expected);
    let expected: Vec<_> = (2..=51).filter(|number| number % 6 == 0).map(|number: usize| number.to_string()).collect();
    some.hears(expected.len(), || ()).await;
    let told = some.told();
    assert!(told.iter().all(|told| told.kind() == "dispatch.picked_up" && told.event()["source"] == "/markets/b"));
    assert_eq!(ids(&some), expected);
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_it_goes_on_and_a_gap_is_said() {
    let (log, folder, receiver) = (Log::new(), Folder::new(), Receiver::start().await);
    let desk = Desk::open(&log, &folder, 4);
    let id = desk.create(&receiver, None, None);
    log.write("a", "picked_up");
    receiver.hears(1, || ()).await;
    until(async || desk.seen(&id).pending == 0, || ()).await;
    // It fails, and waits for its next attempt when the server stops.
    receiver.answers_next([Some((500, None))]);
    log.write("a", "departed");
    until(async || desk.seen(&id).standing.problem.is_some(), || ()).await;
    desk.close().await;
    log.write("a", "delivered");
    let desk = Desk::open(&log, &folder, 4);
    receiver.hears(4, || desk.tick()).await;
    let mut told = ids(&receiver);
    // The one that failed waits for a while, and the next one not for it.
    told[2..].sort();
    assert_eq!(told, ["1", "2", "2", "3"]);
    until(async || desk.seen(&id).pending == 0, || ()).await;
    desk.close().await;

    log.write("a", "order_retired");
    log.forget();
    log.write("a", "order_placed");
    let desk = Desk::open(&log, &folder, 4);
    let told = receiver.hears(6, || ()).await;
    assert_eq!((told[4].kind().as_str(), told[5].kind().as_str()), ("dispatch.reset", "dispatch.order_placed"));
    let data = serde_json::json!({"webhook": id, "after": "3", "resumes_after": "4"});
    assert_eq!(told[4].event()["data"], data);
    until(async || desk.seen(&id).pending == 0, || ()).await;
    desk.close().await;

    // Where it is not known any more what was told, that is said, too.
    std::fs::remove_file(Path::new(folder.path()).join(format!("{id}.json"))).unwrap();
    let desk = Desk::open(&log, &folder, 4);
    let told = receiver.hears(7, || ()).await;
    let data = serde_json::json!({"webhook": id, "after": null, "resumes_after": "5"});
    assert_eq!((told[6].kind().as_str(), &told[6].event()["data"]), ("dispatch.reset", &data));
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_holds_the_log_up_and_loses_nothing() {
    let (log, folder, receiver) = (Log::new(), Folder::new(), Receiver::start().await);
    let desk = Desk::open(&log, &folder, 4);
    let id = desk.create(&receiver, None, None);
    receiver.answers(Some((503, None)));
    for _ in 0..20 {
        log.write("a", "picked_up");
    }
    receiver.hears(4, || ()).await;
    until(async || desk.seen(&id).pending == 4, || ()).await;
    // All that is on its way is given up in time, and what comes behind it is tried.
    until(async || desk.seen(&id).dead >= 8, || desk.tick()).await;
    assert!(desk.seen(&id).pending <= 4);
    receiver.answers(Some((200, None)));
    until(async || desk.seen(&id).pending == 0 && ids(&receiver).contains(&"20".to_owned()), || desk.tick()).await;
    let dead = desk.seen(&id).dead;
    let before = receiver.told().len();
    assert_eq!(desk.webhooks.replay(&id, |_| true, None).unwrap(), dead);
    receiver.hears(before + dead, || ()).await;
    until(async || desk.seen(&id).pending == 0, || ()).await;
    let told: BTreeSet<_> = ids(&receiver).into_iter().collect();
    assert_eq!((told.len(), desk.seen(&id).dead, desk.seen(&id).dropped), (20, 0, 0));
    // Nothing that was delivered is sent again.
    let good = receiver.told().len();
    desk.webhooks.test(&id, |_| true, desk.clock.now()).unwrap();
    receiver.hears(good + 1, || desk.tick()).await;
    assert_eq!(receiver.told().last().unwrap().kind(), "dispatch.test");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pauses_misses_nothing() {
    let (log, folder, receiver) = (Log::new(), Folder::new(), Receiver::start().await);
    let desk = Desk::open(&log, &folder, 4);
    let id = desk.create(&receiver, None, None);
    desk.webhooks.pause(&id, |_| true, Some(Pause::Asked)).unwrap();
    for _ in 0..10 {
        log.write("a", "picked_up");
    }
    desk.webhooks.pause(&id, |_| true, None).unwrap();
    receiver.hears(10, || ()).await;
    let expected: Vec<_> = (1..=10).map(|number| number.to_string()).collect();
    assert_eq!(ids(&receiver), expected);
    // Once it is deleted nothing is left of it.
    desk.webhooks.delete(&id, |_| true).unwrap();
    log.write("a", "picked_up");
    desk.close().await;
    assert!(!Path::new(folder.path()).join(format!("{id}.json")).exists());
    let desk = Desk::open(&log, &folder, 4);
    assert_eq!(desk.webhooks.list(None, 10, |_| true).len(), 0);
    desk.close().await;
    assert_eq!(receiver.told().len(), 10);
}
