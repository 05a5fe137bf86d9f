//! Group commit: records are written and synced by a thread of their own, all that have come meanwhile at once; an answer waits
//! until all that it may have seen is durable.

use super::{AbortOnPanic, Feed, Record, chain, compact::Compactor};
use dispatch_core::Timestamp;
use dispatch_journal::{Batch, Directory, Journal};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// An answer, ready to be sent.
pub(crate) type Reply = Box<dyn FnOnce() + Send>;

/// Records may wait up to this many bytes; then whoever brings more waits, too.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// And so many answers; then whoever brings more waits, too.
const MAX_WAITING_ANSWERS: usize = 10_000;

/// Where records go, and answers wait for them.
pub(crate) struct Commits(Option<Running>);

struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<Journal<Directory>>,
    compactor: Compactor,
    feed: Option<Arc<Feed>>,
    waits_for_follower: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write, or nothing more will come.
    filled: Condvar,
    /// There is room again.
    drained: Condvar,
    /// What went wrong, once something has.
    failed: watch::Sender<Option<String>>,
    /// The last record before the process started.
    before: u64,
    /// Whether whoever has to have records before they are durable is there to take them.
    is_open: AtomicBool,
}

#[derive(Default)]
struct Queue {
    batch: Batch,
    /// The server's time of the last record in it.
    at: Timestamp,
    /// The last record that was brought, and the last that is durable, counted from the start of the process.
    brought: u64,
    durable: u64,
    /// Answers, and the record each waits for.
    waiting: VecDeque<(u64, Reply)>,
    closed: bool,
    failed: bool,
}

/// Nothing can be made durable any more; what was brought may be or not.
#[derive(Debug)]
pub(crate) struct Failed;

impl Commits {
    /// Where nothing is kept.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// What went wrong, once something has.
    pub(crate) fn failure(&self) -> Option<watch::Receiver<Option<String>>> {
        self.0.as_ref().map(|running| running.shared.failed.subscribe())
    }

    /// For a follower whom answers wait for: where to say what it has.
    pub(super) fn acknowledge(&self) -> Option<Acknowledge> {
        self.0.as_ref().filter(|running| running.waits_for_follower).map(|running| Acknowledge(running.shared.clone()))
    }

    /// Whether it may come and go whether what is done can become durable.
    pub(crate) fn may_shut(&self) -> bool {
        self.0.as_ref().is_some_and(|running| running.waits_for_follower)
    }

    /// Whether what is done now can become durable soon.
    pub(crate) fn is_open(&self) -> bool {
        self.0.as_ref().is_none_or(|running| running.shared.is_open.load(Ordering::Acquire))
    }

    /// Has records written. Blocks while too many wait.
    pub(crate) fn push(&self, records: &[Record]) -> Result<(), Failed> {
        let Some(Running { shared, .. }) = &self.0 else { return Ok(()) };
        if records.is_empty() {
            return Ok(());
        }
        let encoded: Vec<_> = records.iter().map(|record| (record.at, record.encode())).collect();
        let mut queue = shared.queue.lock();
        shared.drained.wait_while(&mut queue, |queue| queue.batch.bytes() > MAX_WAITING_BYTES && !queue.failed);
        if queue.failed {
            return Err(Failed);
        }
        for (at, record) in &encoded {
            let pushed = queue.batch.push(record);
            pushed.expect("a request does little, and what a deadline comes to is divided");
            queue.brought += 1;
            queue.at = *at;
        }
        shared.filled.notify_one();
        Ok(())
    }

    /// How many of the records that were brought are durable.
    pub(crate) fn durable(&self) -> u64 {
        self.0.as_ref().map_or(u64::MAX, |running| running.shared.queue.lock().durable)
    }

    /// Sends an answer once all that was brought so far is durable: at once where it is.
    pub(crate) fn reply(&self, reply: Reply) {
        let Some(Running { shared, .. }) = &self.0 else { return reply() };
        let mut queue = shared.queue.lock();
        if queue.durable == queue.brought {
            drop(queue);
            return reply();
        }
        if shared.is_open.load(Ordering::Acquire) {
            shared.drained.wait_while(&mut queue, |queue| queue.waiting.len() >= MAX_WAITING_ANSWERS && !queue.failed);
        }
        // Otherwise nobody sends it, and who waits for it is told so.
        if !queue.failed && queue.waiting.len() < MAX_WAITING_ANSWERS {
            let brought = queue.brought;
            queue.waiting.push_back((brought, reply));
        }
    }
}

impl Drop for Commits {
    /// Writes what was brought, answers, and ends. Blocks.
    fn drop(&mut self) {
        let Some(Running { shared, thread, compactor, feed, .. }) = self.0.take() else { return };
        shared.queue.lock().closed = true;
        shared.filled.notify_one();
        // The journal holds the lock of the directory until nobody changes anything there.
        let journal = thread.join();
        compactor.stop();
        drop(journal);
        if let Some(feed) = feed {
            feed.close();
        }
    }
}

impl Shared {
    /// Sends what waited for the records up to one.
    fn settle(&self, durable: u64) {
        let mut queue = self.queue.lock();
        queue.durable = queue.durable.max(durable);
        let ready = queue.waiting.partition_point(|(seq, _)| *seq <= durable);
        let ready: Vec<_> = queue.waiting.drain(..ready).collect();
        drop(queue);
        self.drained.notify_one();
        for (_, reply) in ready {
            reply();
        }
    }

    /// Nothing is answered any more that has not been, and nobody tries to write again.
    fn fail(&self, problem: &str) {
        tracing::error!("{problem}; nothing can be made durable any more, and the server stops");
        // Whoever is told that there will be no answer is to know why.
        self.failed.send_replace(Some(problem.to_owned()));
        let mut queue = self.queue.lock();
        queue.failed = true;
        queue.waiting.clear();
        drop(queue);
        self.drained.notify_one();
    }
}

/// A follower whom answers wait for.
#[derive(Clone)]
pub(crate) struct Acknowledge(Arc<Shared>);

impl Acknowledge {
    /// It has all records up to this one.
    pub(crate) fn up_to(&self, seq: u64) {
        self.0.settle(seq.saturating_sub(self.0.before));
    }

    /// Whether it takes records now.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.0.is_open.store(is_open, Ordering::Release);
    }

    /// It will never have them.
    pub(crate) fn fail(&self, problem: &str) {
        self.0.fail(problem);
    }
}

/// The thread that owns the journal.
pub(super) struct Writer {
    shared: Arc<Shared>,
    journal: Journal<Directory>,
    sealed: std::sync::mpsc::SyncSender<()>,
    feed: Option<Arc<Feed>>,
    waits_for_follower: bool,
}

impl Writer {
    pub(super) fn start(
        journal: Journal<Directory>,
        compactor: Compactor,
        feed: Option<Arc<Feed>>,
        waits_for_follower: bool,
    ) -> std::io::Result<Commits> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            filled: Condvar::new(),
            drained: Condvar::new(),
            failed: watch::channel(None).0,
            before: journal.next_seq() - 1,
            is_open: AtomicBool::new(!waits_for_follower),
        });
        let (writers, sealed) = (shared.clone(), compactor.sealed());
        let writer = Self { shared: writers, journal, sealed, feed: feed.clone(), waits_for_follower };
        // What the last start wrote is sealed by this one, however little it is.
        let _ = compactor.sealed().try_send(());
        let run = || {
            let _abort = AbortOnPanic("journal");
            writer.run()
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(run)?;
        Ok(Commits(Some(Running { shared, thread, compactor, feed, waits_for_follower })))
    }

    fn run(mut self) -> Journal<Directory> {
        let mut batch = Batch::default();
        loop {
            let mut queue = self.shared.queue.lock();
            self.shared.filled.wait_while(&mut queue, |queue| queue.batch.is_empty() && !queue.closed);
            if queue.batch.is_empty() {
                drop(queue);
                return self.end();
            }
            std::mem::swap(&mut batch, &mut queue.batch);
            let at = queue.at;
            drop(queue);
            self.shared.drained.notify_one();
            let segment = self.journal.segment().clone();
            if let Err(error) = self.journal.commit(&batch, at.as_millis()) {
                self.shared.fail(&chain(&error));
                return self.journal;
            }
            if let Some(feed) = &self.feed {
                feed.offer(&batch, self.journal.next_seq() - 1);
            }
            if *self.journal.segment() != segment {
                // If one is being made already, the next will have this segment in it as well.
                let _ = self.sealed.try_send(());
            }
            if !self.waits_for_follower {
                self.shared.settle(self.journal.next_seq() - 1 - self.shared.before);
            }
            batch.clear();
        }
    }

    /// Seals what was written: a segment that is not the newest has to be whole, or is damaged.
    fn end(mut self) -> Journal<Directory> {
        let at = self.shared.queue.lock().at;
        if let Err(error) = self.journal.seal(at.as_millis()) {
            tracing::error!("{}; all that was answered is durable", chain(&error));
        }
        self.journal
    }
}
