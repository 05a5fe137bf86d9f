//! The thread that follows the journal and writes what it says.

use super::breaker::Breaker;
use super::changes::Changes;
use super::samples::{Sample, Samples};
use super::session::{Holder, Session};
use super::{Database, Trouble, history, restore, rows};
use crate::journal::{Feed, Followed, Image, Next, Record, chain};
use dispatch_journal::{Directory, Disk, Log, OpenError, read_on};
use parking_lot::Mutex;
use sqlx::query;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// One transaction takes records of about this many bytes.
const MAX_BYTES: u64 = 16 << 20;

/// How often the backlog and the disk are looked at while the database is away.
const LOOK: Duration = Duration::from_secs(1);

/// How soon a first failure is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// How the database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nobody has asked it yet.
    Connecting,
    /// It takes what happens.
    Connected,
    /// It does not answer, or not in time, or refuses what it is given.
    Away,
    /// Somebody else writes there in this server's place.
    Fenced,
}

/// How far the database is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) link: Link,
    /// The last record that is in the tables; absent until it is known.
    pub(crate) applied: Option<u64>,
    /// The last record there is.
    pub(crate) durable: u64,
    pub(crate) backlog_bytes: u64,
    /// Whether orders are refused because of it.
    pub(crate) is_full: bool,
}

/// The projector's thread, and what it is asked.
pub(crate) struct Projection {
    thread: Mutex<Option<JoinHandle<()>>>,
    feed: Arc<Feed>,
    link: Arc<Mutex<Link>>,
    samples: Samples,
}

impl Projection {
    /// Begins to follow.
    pub(crate) fn start(database: Database, followed: Followed) -> std::io::Result<Self> {
        let Followed { feed, directory, epoch } = followed;
        let link = Arc::new(Mutex::new(Link::Connecting));
        let (samples, taken) = Samples::new(database.sample_every);
        let mut bits = [0_u8; 16];
        getrandom::fill(&mut bits)?;
        let token = format!("{:032x}", u128::from_le_bytes(bits));
        let holder = Holder { server: database.server.clone(), epoch: i64::from(epoch), token };
        let breaker = Breaker::new(FIRST_WAIT, database.longest_wait);
        let known = feed.durable();
        let projector = Projector {
            database,
            feed: feed.clone(),
            link: link.clone(),
            directory,
            holder,
            breaker,
            started: Instant::now(),
            known,
            session: None,
            image: None,
            applied: 0,
            changes: Changes::default(),
            samples: taken,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            let _guard = SayOnPanic(projector.link.clone());
            runtime.block_on(projector.run());
        };
        let thread = std::thread::Builder::new().name("postgres".into()).spawn(run)?;
        Ok(Self { thread: Mutex::new(Some(thread)), feed, link, samples })
    }

    /// Takes positions in.
    pub(crate) fn samples(&self) -> Samples {
        self.samples.clone()
    }

    pub(crate) fn lag(&self) -> Lag {
        Lag {
            link: *self.link.lock(),
            applied: self.feed.applied(),
            durable: self.feed.durable(),
            backlog_bytes: self.feed.backlog_bytes(),
            is_full: self.feed.is_full(),
        }
    }

    /// Waits until all is written, or cannot be now, once the journal is closed. Blocks.
    pub(crate) fn join(&self) {
        if let Some(thread) = self.thread.lock().take() {
            // A panic has been said.
            let _ = thread.join();
        }
    }
}

/// A bug in the projection is no reason to stop dispatching.
struct SayOnPanic(Arc<Mutex<Link>>);

impl Drop for SayOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "the thread that writes to PostgreSQL panicked; this is a bug, and nothing more is written there"
            );
            *self.0.lock() = Link::Away;
        }
    }
}

struct Projector {
    database: Database,
    feed: Arc<Feed>,
    link: Arc<Mutex<Link>>,
    directory: Directory,
    holder: Holder,
    breaker: Breaker,
    started: Instant,
    /// What was there when the server started: what was applied is at least that, until it is known.
    known: u64,
    session: Option<Session>,
    /// What the tables hold, and the changes; absent until it was read.
    image: Option<Image>,
    /// The last record in the tables.
    applied: u64,
    /// What is to be written next; kept as it is until it is known to be written.
    changes: Changes,
    samples: Receiver<Sample>,
}

impl Projector {
    async fn run(mut self) {
        loop {
            let closing = self.feed.is_closed();
            if !closing && let Err(wait) = self.breaker.admit(self.started.elapsed()) {
                self.look();
                // Only the end of the server is news to whoever waits for the database.
                let _ = timeout(wait.min(LOOK), self.closed()).await;
                continue;
            }
            let began = Instant::now();
            match self.step().await {
                Ok(true) => {
                    let took = began.elapsed();
                    self.look();
                    if !closing {
                        // Writing takes half of the time at most, and what comes meanwhile is written together.
                        let _ = timeout(took.max(self.database.flush), self.closed()).await;
                    }
                }
                Ok(false) if closing => break,
                Ok(false) => {
                    self.look();
                    if timeout(LOOK, self.feed.news()).await.is_err()
                        && let Err(trouble) = self.ping().await
                    {
                        self.fail(&trouble);
                    }
                }
                Err(Trouble::Fenced(problem)) => {
                    self.set_link(Link::Fenced);
                    tracing::error!(
                        "PostgreSQL at {}: {problem}. Nothing more is written there. If this is the server that is to go on, \
                         stop the other one and start this one again; if not, stop it",
                        self.database.place
                    );
                    self.session = None;
                    while !self.feed.is_closed() {
                        self.look();
                        let _ = timeout(LOOK, self.closed()).await;
                    }
                    return;
                }
                Err(trouble) => {
                    self.fail(&trouble);
                    if closing {
                        break;
                    }
                }
            }
        }
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        let left = self.feed.durable().saturating_sub(self.applied);
        if left > 0 {
            tracing::warn!(
                "{left} records are not in PostgreSQL yet; they will be once it answers, after the next start"
            );
        }
    }

    /// Asks whether the database is still there.
    async fn ping(&mut self) -> Result<(), Trouble> {
        match &mut self.session {
            Some(session) => session.run(query("SELECT 1")).await.map(drop),
            None => Ok(()),
        }
    }

    /// Done when the feed is closed.
    async fn closed(&self) {
        while !self.feed.is_closed() {
            self.feed.news().await;
        }
    }

    /// Writes what is next; false if there is nothing.
    async fn step(&mut self) -> Result<bool, Trouble> {
        if self.session.is_none() {
            let mut session = self.database.session().await?;
            let applied = session.claim(&self.holder).await?;
            self.settle(applied);
            if self.image.is_none() {
                self.load(&mut session).await?;
            }
            self.feed.set_applied(self.applied);
            self.session = Some(session);
        }
        if self.changes.is_empty() {
            self.gather()?;
        }
        self.keep_samples().await?;
        if self.changes.is_empty() {
            self.succeed();
            return Ok(false);
        }
        let (Some(session), Some(image)) = (&mut self.session, &self.image) else { return Ok(false) };
        session.begin().await?;
        session.advance(&self.holder, self.applied, self.changes.upto, image.at).await?;
        rows::write(session, &self.holder.server, &self.changes, image).await?;
        history::write(session, &self.changes, image).await?;
        session.commit().await?;
        self.written();
        self.succeed();
        Ok(true)
    }

    /// All that was to be written is.
    fn written(&mut self) {
        self.applied = self.changes.upto;
        self.changes = Changes::default();
        self.feed.set_applied(self.applied);
    }

    /// Finds out what became of a transaction in doubt: the tables are where they were before it, or after it.
    fn settle(&mut self, applied: u64) {
        if self.image.is_none() {
            self.applied = applied;
        } else if applied == self.changes.upto && !self.changes.is_empty() {
            tracing::info!("what was being written to PostgreSQL when it went away is there");
            self.written();
        } else if applied != self.applied {
            // Somebody set it back, or restored an older backup: begin from what is there.
            (self.image, self.changes, self.applied) = (None, Changes::default(), applied);
        }
    }

    /// Reads what the tables hold, or, where the journal does not go back that far, what the journal begins with.
    async fn load(&mut self, session: &mut Session) -> Result<(), Trouble> {
        let durable = self.feed.durable();
        if self.applied > durable {
            return Err(Trouble::Fenced(format!(
                "it holds server `{}` up to record {}, and the data directory ends with {durable}: one of them belongs to \
                 another server, or the directory lost what it had. Set postgres.server to another name, or move the data \
                 directory away to go on from the database",
                self.database.server, self.applied
            )));
        }
        match read_on(&self.directory, self.applied, |_| Ok(())) {
            Ok(_) => {
                let restored = restore::read(session, &self.database).await?;
                self.image = Some(restored.map_or_else(Image::default, |restored| restored.image));
            }
            Err(OpenError::Gap { .. }) => {
                let mut log = Log::open(self.directory.reader()).map_err(|error| Trouble::Journal(chain(&error)))?;
                let snapshot = log.take_snapshot();
                let missing = || Trouble::Journal("it begins with no snapshot".into());
                let (seq, bytes) = snapshot.map(|snapshot| (snapshot.seq, snapshot.bytes)).ok_or_else(missing)?;
                let image = Image::decode(&bytes).map_err(Trouble::Nonsense)?;
                tracing::warn!(
                    "the journal does not go back to record {}, where PostgreSQL is: all of it is written anew, as it was at \
                     record {seq}, and the events between are missing there",
                    self.applied
                );
                self.changes = Changes::of_all(&image, seq);
                self.image = Some(image);
            }
            Err(error) => return Err(Trouble::Journal(chain(&error))),
        }
        Ok(())
    }

    /// Folds the next records.
    fn gather(&mut self) -> Result<(), Trouble> {
        let Some(image) = &mut self.image else { return Ok(()) };
        let (changes, mut seq) = (&mut self.changes, self.applied);
        let mut fold = |seq: u64, record: &[u8]| {
            changes.bytes += record.len() as u64;
            changes.record(image, seq, Record::decode(record)?)?;
            Ok::<u64, String>(changes.bytes)
        };
        let mut bytes = 0;
        let gathered = loop {
            match self.feed.next(seq, MAX_BYTES as usize) {
                Next::Nothing => break Ok(()),
                Next::Records(records) => {
                    let mut each = records.iter().map(|(number, record)| {
                        seq = *number;
                        fold(*number, record).map(|folded| bytes = folded)
                    });
                    if let Err(problem) = each.try_for_each(|folded| folded) {
                        break Err(problem);
                    }
                }
                Next::OnDisk(durable) => {
                    let before = seq;
                    let read = read_on(&self.directory, seq, |record| {
                        if record.seq <= durable {
                            seq = record.seq;
                            bytes = fold(record.seq, record.payload)?;
                        }
                        Ok(())
                    });
                    match read {
                        Ok(_) if seq == before => break Ok(()),
                        Ok(_) => {}
                        Err(error) => break Err(chain(&error)),
                    }
                }
            }
            if bytes >= MAX_BYTES {
                break Ok(());
            }
        };
        gathered.map_err(|problem| {
            // Half a record may be in it.
            (self.image, self.changes, self.session) = (None, Changes::default(), None);
            Trouble::Nonsense(format!("what it holds and what the journal says do not fit: {problem}"))
        })
    }

    /// Writes the positions that wait.
    async fn keep_samples(&mut self) -> Result<(), Trouble> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let mut taken = Vec::new();
        while let Ok(sample) = self.samples.try_recv() {
            taken.push(sample);
        }
        history::samples(session, &taken).await
    }

    fn succeed(&mut self) {
        self.breaker.succeeded();
        if self.set_link(Link::Connected) {
            tracing::info!("PostgreSQL at {} takes what happens, from record {} on", self.database.place, self.applied);
        }
    }

    fn fail(&mut self, trouble: &Trouble) {
        let mut chance = [0];
        // Without chance all wait equally long.
        let _ = getrandom::fill(&mut chance);
        let news = self.breaker.is_closed();
        self.breaker.failed(self.started.elapsed(), chance[0]);
        // A connection that failed in between is in no state to go on.
        self.session = None;
        self.set_link(Link::Away);
        if news {
            let (place, trouble) = (&self.database.place, chain(trouble));
            tracing::warn!("PostgreSQL at {place} does not take what happens: {trouble}; everything else goes on");
        }
    }

    /// True if that is new.
    fn set_link(&self, link: Link) -> bool {
        std::mem::replace(&mut *self.link.lock(), link) != link
    }

    /// Looks how much there is to catch up with, and whether that is too much.
    fn look(&self) {
        let applied = self.feed.applied().unwrap_or(self.known);
        let backlog = if self.feed.durable() > applied { self.backlog(applied) } else { 0 };
        self.feed.set_backlog(backlog);
        let crowded = backlog > self.database.max_backlog_bytes;
        let low = backlog > 0 && free_bytes(&self.directory).is_some_and(|free| free < self.database.min_free_bytes);
        if self.feed.set_full(crowded || low) {
            match (crowded, low) {
                (false, false) => tracing::info!("new orders are taken again"),
                (true, _) => {
                    tracing::error!("{backlog} bytes wait for PostgreSQL: new orders are refused until they are fewer");
                }
                (_, true) => tracing::error!(
                    "the disk is almost full, and {backlog} bytes on it wait for PostgreSQL: new orders are refused until \
                     there is room"
                ),
            }
        }
    }

    /// How long the files are that hold a record after `applied`, in bytes.
    fn backlog(&self, applied: u64) -> u64 {
        let names = self.directory.list().unwrap_or_default();
        let segments =
            names.iter().filter_map(|name| Some((name.strip_suffix(".segment")?.get(..20)?.parse().ok()?, name)));
        let mut segments: Vec<(u64, &String)> = segments.collect();
        segments.sort_unstable();
        let applied = segments.partition_point(|(first, _)| *first <= applied + 1).saturating_sub(1);
        let len = |name: &String| std::fs::metadata(self.directory.path().join(name)).map_or(0, |file| file.len());
        segments[applied..].iter().map(|(_, name)| len(name)).sum()
    }
}

/// How much may still be written to the disk of a directory, where the system says so.
#[cfg(unix)]
fn free_bytes(directory: &Directory) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory.path()).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Directory) -> Option<u64> {
    None
}
