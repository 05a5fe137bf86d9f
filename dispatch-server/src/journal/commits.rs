//! Group commit: records are written and synced by a thread of their own, all that have come meanwhile at once; an answer waits
//! until all that it may have seen is durable.

use super::{AbortOnPanic, Feed, Record, chain, compact::Compactor};
use crate::telemetry::Journal as Figures;
use dispatch_core::Timestamp;
use dispatch_journal::{Batch, Disk, Journal};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
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
    /// It gives the journal back: whoever drops it lets the directory go.
    thread: JoinHandle<Box<dyn Send>>,
    compactor: Option<Compactor>,
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
    /// The last record for which all that waited was sent: what comes later is sent after that.
    settled: u64,
    /// Answers, and the record each waits for.
    waiting: VecDeque<(u64, Reply)>,
    closed: bool,
    failed: bool,
    /// When something last became durable, or began to wait to.
    moved_on: Option<Instant>,
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

    /// For whoever wants to know how much is not durable yet.
    pub(crate) fn behind(&self) -> Behind {
        Behind(self.0.as_ref().map(|running| running.shared.clone()))
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
        if queue.brought == queue.durable {
            queue.moved_on = Some(Instant::now());
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
        if queue.settled == queue.brought {
            drop(queue);
            return reply();
        }
        shared.drained.wait_while(&mut queue, |queue| {
            queue.waiting.len() >= MAX_WAITING_ANSWERS && !queue.failed && shared.is_open.load(Ordering::Acquire)
        });
        // Otherwise nobody sends it, and who waits for it is told so.
        if !queue.failed && queue.waiting.len() < MAX_WAITING_ANSWERS {
            let brought = queue.brought;
            queue.waiting.push_back((brought, reply));
        }
    }
}

impl Commits {
    /// Has something done once all that was brought so far is durable, however much waits: there is no more of it than of records.
    pub(crate) fn then(&self, act: Reply) {
        let Some(Running { shared, .. }) = &self.0 else { return act() };
        let mut queue = shared.queue.lock();
        if queue.settled == queue.brought {
            drop(queue);
            return act();
        }
        if !queue.failed {
            let brought = queue.brought;
            queue.waiting.push_back((brought, act));
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
        if let Some(compactor) = compactor {
            compactor.stop();
        }
        drop(journal);
        if let Some(feed) = feed {
            feed.close();
        }
    }
}

impl Shared {
    /// Sends what waited for the records up to one.
    fn settle(&self, durable: u64) {
        loop {
            let mut queue = self.queue.lock();
            queue.durable = queue.durable.max(durable);
            queue.moved_on = Some(Instant::now());
            let ready = queue.waiting.partition_point(|(seq, _)| *seq <= durable);
            let ready: Vec<_> = queue.waiting.drain(..ready).collect();
            if ready.is_empty() {
                queue.settled = queue.durable;
                drop(queue);
                self.drained.notify_one();
                return;
            }
            drop(queue);
            self.drained.notify_one();
            for (_, reply) in ready {
                reply();
            }
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

/// How much is not durable yet.
#[derive(Clone)]
pub(crate) struct Behind(Option<Arc<Shared>>);

impl Behind {
    /// How many records were brought that are not.
    pub(crate) fn records(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| {
            let queue = shared.queue.lock();
            queue.brought.saturating_sub(queue.durable)
        })
    }

    /// For how long nothing has become durable while something waits to.
    pub(crate) fn stalled_for(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |shared| {
            let queue = shared.queue.lock();
            let waits = queue.brought > queue.durable;
            queue.moved_on.filter(|_| waits).map_or(Duration::ZERO, |moved_on| moved_on.elapsed())
        })
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
        // Whoever is about to wait looks at it under this lock.
        let _queue = self.0.queue.lock();
        self.0.is_open.store(is_open, Ordering::Release);
        self.0.drained.notify_one();
    }

    /// It will never have them.
    pub(crate) fn fail(&self, problem: &str) {
        self.0.fail(problem);
    }
}

/// The thread that owns the journal.
pub(super) struct Writer<D: Disk> {
    shared: Arc<Shared>,
    journal: Journal<D>,
    /// Where to say that a segment was sealed.
    sealed: Option<std::sync::mpsc::SyncSender<()>>,
    feed: Option<Arc<Feed>>,
    waits_for_follower: bool,
    figures: Figures,
}

impl<D: Disk + Send + 'static> Writer<D>
where
    D::File: Send,
{
    pub(super) fn start(
        journal: Journal<D>,
        compactor: Option<Compactor>,
        feed: Option<Arc<Feed>>,
        waits_for_follower: bool,
        figures: Figures,
    ) -> std::io::Result<Commits> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            filled: Condvar::new(),
            drained: Condvar::new(),
            failed: watch::channel(None).0,
            before: journal.next_seq() - 1,
            is_open: AtomicBool::new(!waits_for_follower),
        });
        let (writers, sealed) = (shared.clone(), compactor.as_ref().map(Compactor::sealed));
        let writer = Self { shared: writers, journal, sealed, feed: feed.clone(), waits_for_follower, figures };
        // What the last start wrote is sealed by this one, however little it is.
        writer.say_sealed();
        let run = || {
            let _abort = AbortOnPanic("journal");
            Box::new(writer.run()) as Box<dyn Send>
        };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(run)?;
        Ok(Commits(Some(Running { shared, thread, compactor, feed, waits_for_follower })))
    }

    fn say_sealed(&self) {
        if let Some(sealed) = &self.sealed {
            // If a snapshot is being made already, the next will have this segment in it as well.
            let _ = sealed.try_send(());
        }
    }

    fn run(mut self) -> Journal<D> {
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
            let began = Instant::now();
            if let Err(error) = self.journal.commit(&batch, at.as_millis()) {
                self.shared.fail(&chain(&error));
                return self.journal;
            }
            self.figures.commit.record(began.elapsed());
            self.figures.batch.record(batch.len() as f64);
            if let Some(feed) = &self.feed {
                feed.offer(&batch, self.journal.next_seq() - 1);
            }
            if *self.journal.segment() != segment {
                self.say_sealed();
            }
            if !self.waits_for_follower {
                self.shared.settle(self.journal.next_seq() - 1 - self.shared.before);
            }
            batch.clear();
        }
    }

    /// Seals what was written: a segment that is not the newest has to be whole, or is damaged.
    fn end(mut self) -> Journal<D> {
        let at = self.shared.queue.lock().at;
        if let Err(error) = self.journal.seal(at.as_millis()) {
            tracing::error!("{}; all that was answered is durable", chain(&error));
        }
        self.journal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatch_core::MarketId;
    use dispatch_journal::{Directory, DiskFile, Log, Options};
    use std::fs::File;
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A directory whose segments are synced when the test says how that ends.
    struct Slow(Directory, Arc<Mutex<Option<Gate>>>);

    /// Where a sync says that it has begun, and learns how it ends.
    struct Gate(Sender<()>, Receiver<io::Result<()>>);

    struct SlowFile(File, Arc<Mutex<Option<Gate>>>);

    impl Disk for Slow {
        type File = SlowFile;
        fn list(&self) -> io::Result<Vec<String>> {
            self.0.list()
        }
        fn read(&self, name: &str) -> io::Result<Vec<u8>> {
            self.0.read(name)
        }
        fn create(&self, name: &str) -> io::Result<SlowFile> {
            Ok(SlowFile(self.0.create(name)?, self.1.clone()))
        }
        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }
        fn sync(&self) -> io::Result<()> {
            Disk::sync(&self.0)
        }
    }

    impl DiskFile for SlowFile {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.append(bytes)
        }
        fn sync(&mut self) -> io::Result<()> {
            // Once the test has seen enough, as the disk says.
            let told = self.1.lock().as_ref().and_then(|Gate(begun, ends)| begun.send(()).ok().and(ends.recv().ok()));
            told.unwrap_or_else(|| DiskFile::sync(&mut self.0))
        }
    }

    /// Commits that are synced through a gate: where a sync says that it began, and where to say how it ends.
    fn gated(path: &str, sync: bool) -> (Commits, Receiver<()>, Sender<io::Result<()>>) {
        let gate = Arc::default();
        let mut log = Log::open(Slow(Directory::open(path).unwrap(), Arc::clone(&gate))).unwrap();
        log.replay(|_| Ok(())).unwrap();
        let journal = Journal::start(log, Options { sync, ..Options::default() }, 0).unwrap();
        let commits = Writer::start(journal, None, None, false, Figures::unseen()).unwrap();
        let ((begun, begins), (end, ends)) = (channel(), channel());
        *gate.lock() = Some(Gate(begun, ends));
        (commits, begins, end)
    }

    fn record() -> Record {
        Record::of(Timestamp::default(), MarketId::new("m").unwrap(), Vec::new())
    }

    fn asked(commits: &Commits) -> Receiver<()> {
        let (answer, answered) = channel();
        commits.reply(Box::new(move || answer.send(()).unwrap()));
        answered
    }

    #[test]
    fn an_answer_waits_for_the_disk() {
        let folder = crate::common::Folder::new();
        let (commits, begins, end) = gated(folder.path(), true);
        commits.push(&[record()]).unwrap();
        let answered = asked(&commits);
        begins.recv().unwrap();
        // It waits, and so does whoever asks now and may see what was done.
        let also = asked(&commits);
        assert!(answered.try_recv().is_err() && also.try_recv().is_err() && commits.durable() == 0);
        end.send(Ok(())).unwrap();
        answered.recv().unwrap();
        also.recv().unwrap();
        assert_eq!(commits.durable(), 1);
        asked(&commits).recv().expect("what is durable is said");
    }

    #[test]
    fn what_may_not_be_on_the_disk_is_never_said() {
        let folder = crate::common::Folder::new();
        let (commits, begins, end) = gated(folder.path(), true);
        let failure = commits.failure().unwrap();
        commits.push(&[record()]).unwrap();
        let answered = asked(&commits);
        begins.recv().unwrap();
        end.send(Err(io::Error::other("gone"))).unwrap();
        assert!(answered.recv().is_err(), "the answer was given up");
        assert!(failure.borrow().as_ref().unwrap().contains("gone"));
        assert!(asked(&commits).recv().is_err());
        assert!(commits.push(&[record()]).is_err());
        assert_eq!(commits.durable(), 0);
    }

    #[test]
    fn without_sync_the_write_is_enough() {
        let folder = crate::common::Folder::new();
        let (commits, begins, _end) = gated(folder.path(), false);
        commits.push(&[record()]).unwrap();
        asked(&commits).recv().unwrap();
        assert!(begins.try_recv().is_err(), "nothing was synced");
    }
}
