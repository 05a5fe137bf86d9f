//! Has every webhook told what its line says: one task each, and one that looks after them.

use super::Webhooks;
use super::envelope::{Entry, Notice, of_entry, signature};
use super::hook::{Hook, Pause};
use super::line::{Fate, Letter, Outcome};
use super::post::Post;
use super::source::News;
use crate::telemetry::{Metrics, table};
use metrics::{Counter, Histogram};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often it is written down how far webhooks were told. What was told since is told again after a crash.
const KEEP_EVERY: Duration = Duration::from_secs(2);

/// What came of letters.
pub(super) struct Figures {
    /// By [`Fate`].
    fates: [Counter; 4],
    dropped: Counter,
    time: Histogram,
}

impl Figures {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let fate = |outcome| metrics.counter(&table::WEBHOOK_DELIVERIES, &[outcome]);
        Self {
            fates: ["delivered", "failed", "dead", "gone"].map(fate),
            dropped: metrics.counter(&table::WEBHOOKS_DROPPED, &[]),
            time: metrics.histogram(&table::WEBHOOK_TIME, &[]),
        }
    }
}

impl Webhooks {
    /// Sends letters for as long as it is polled. Who comes second waits.
    pub(crate) async fn send(self: &Arc<Self>) -> Infallible {
        let _one = self.sending.lock().await;
        let (mut tasks, mut known) = (JoinSet::new(), BTreeSet::new());
        let mut tick = interval(KEEP_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let hooks = self.hooks.read().clone();
            known.retain(|id| hooks.contains_key(id));
            for (id, hook) in hooks {
                if known.insert(id) {
                    tasks.spawn(self.clone().serve(hook));
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                _ = tick.tick() => {
                    let webhooks = self.clone();
                    // Cancelled only if the whole runtime ends meanwhile.
                    let _ = tokio::task::spawn_blocking(move || webhooks.keep()).await;
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(bug) = ended {
                        tracing::error!("a webhook is not served any more until the server is started again: {bug}");
                    }
                }
            }
        }
    }

    /// Serves one webhook until it is deleted or the server stops.
    async fn serve(self: Arc<Self>, hook: Arc<Hook>) {
        let (mut sent, mut news) = (JoinSet::new(), None);
        while !hook.is_deleted() && !self.is_closed.load(Ordering::SeqCst) {
            let is_paused = hook.about.read().pause.is_some();
            if is_paused {
                news = None;
            } else {
                // Which may put a letter into the line.
                news.get_or_insert_with(|| self.follow(&hook));
                self.hand_out(&hook, &mut sent);
            }
            let has_room = hook.see(|line| line.has_room(&self.policy));
            let wake = hook.see(|line| line.next_at(&self.policy)).filter(|_| !is_paused);
            tokio::select! {
                Some(new) = next(news.as_mut()), if has_room => self.learn(&hook, new),
                Some(ended) = sent.join_next() => match ended {
                    Ok((number, outcome)) => self.settle(&hook, number, outcome).await,
                    Err(bug) => tracing::error!("something is not sent until the server is started again: {bug}"),
                },
                () = async {
                    match wake {
                        Some(at) => self.clock.reached(at).await,
                        None => std::future::pending().await,
                    }
                } => {}
                () = hook.changed.notified() => {}
            }
        }
    }

    /// Begins to send whatever is to be sent now.
    fn hand_out(self: &Arc<Self>, hook: &Arc<Hook>, sent: &mut JoinSet<(u64, Outcome)>) {
        while let Some((number, letter)) = hook.take(self.clock.now(), &self.policy) {
            let (webhooks, hook) = (self.clone(), hook.clone());
            sent.spawn(async move { (number, webhooks.deliver(&hook, letter).await) });
        }
    }

    /// What comes after what the webhook was told.
    fn follow(&self, hook: &Hook) -> mpsc::Receiver<News> {
        let cursor = hook.see(|line| line.cursor().map(str::to_owned));
        let cursor = cursor.unwrap_or_else(|| {
            let head = (self.source.head)();
            self.learn(hook, News::Reset { resumes_after: head.clone() });
            head
        });
        (self.source.after)(&hook.about.read(), cursor)
    }

    /// Puts what a webhook wants to know into its line, and notes up to where it was looked at in any case.
    fn learn(&self, hook: &Hook, news: News) {
        match news {
            News::Entry(entry) => {
                let letter = of_entry(&entry).filter(|_| self.is_for(hook, &entry));
                hook.change(|line| {
                    if let Some(letter) = letter {
                        line.push(letter);
                    }
                    line.move_to(entry.cursor);
                });
            }
            News::Passed(cursor) => hook.change(|line| line.move_to(cursor)),
            News::Reset { resumes_after } => {
                let (id, now) = (hook.about.read().id.clone(), self.clock.wall_now());
                hook.change(|line| {
                    let notice = Notice::Reset { webhook: &id, after: line.cursor(), resumes_after: &resumes_after };
                    let letter = notice.letter(&format!("reset-{resumes_after}"), now);
                    line.push(letter);
                    line.move_to(resumes_after);
                });
            }
        }
    }

    fn is_for(&self, hook: &Hook, entry: &Entry) -> bool {
        let about = hook.about.read();
        self.is_of(&entry.market, &about.tenant) && about.wants(&entry.market, &entry.kind)
    }

    async fn deliver(&self, hook: &Hook, letter: Letter) -> Outcome {
        let _place = self.at_once.acquire().await.expect("this semaphore is never closed");
        let (about, now) = (hook.about.read().clone(), self.clock.wall_now());
        let signature = signature(about.secrets(now), now, &letter.body);
        let post = Post { url: &about.url, webhook: &about.id, signature, body: letter.body };
        let (kept, began) = (hook.idle.lock().take(), Instant::now());
        let (outcome, connection) = self.poster.send(kept, &post, now).await;
        self.figures.time.record(began.elapsed());
        if connection.is_some() {
            *hook.idle.lock() = connection;
        }
        outcome
    }

    async fn settle(self: &Arc<Self>, hook: &Arc<Hook>, number: u64, outcome: Outcome) {
        let chance = getrandom::u32().unwrap_or(u32::MAX);
        let (fate, dropped) = hook.change(|line| {
            let before = line.dropped();
            let fate = line.ended(number, outcome, self.clock.now(), chance, &self.policy);
            (fate, line.dropped() - before)
        });
        self.figures.fates[fate as usize].increment(1);
        self.figures.dropped.increment(dropped);
        if fate == Fate::Gone {
            let (webhooks, id) = (self.clone(), hook.about.read().id.clone());
            tracing::warn!("the receiver of webhook {id} is gone, and is told nothing until the webhook is resumed");
            let pause = move || webhooks.pause(&id, |_| true, Some(Pause::Gone));
            // Cancelled only if the whole runtime ends meanwhile.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(pause).await {
                tracing::error!("{error}");
            }
        }
    }
}

/// What comes next of the log; nothing where nobody follows it, or once it has ended.
async fn next(news: Option<&mut mpsc::Receiver<News>>) -> Option<News> {
    match news {
        Some(news) => news.recv().await,
        None => None,
    }
}
