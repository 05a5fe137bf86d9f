//! The thread that follows the journal and writes what it says.

use super::breaker::Breaker;
use super::changes::Changes;
use super::samples::{Sample, Samples};
use super::session::{Applied, Holder, REPLACED, Session, WAY_OUT};
use super::{Database, Trouble, history, restore, rows};
use crate::journal::{Acknowledge, Feed, Followed, Image, Mark, Next, Record, chain, drawn};
use dispatch_journal::{Directory, Disk, Log, OpenError, appear, read_on, segments};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// One transaction takes records of about this many bytes.
const MAX_BYTES: u64 = 16 << 20;

/// How often the backlog and the disk are looked at while the database is away.
const LOOK: Duration = Duration::from_secs(1);

/// A server that stops waits this long for the database, on top of what it is patient with one statement: what is not there by
/// then will be after the next start.
const LAST_CALL: Duration = Duration::from_secs(10);

/// Writing everything anew may take this long for one statement.
const MUCH: Duration = Duration::from_mins(10);

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
    /// Whether answers wait for it.
    is_awaited: bool,
}

impl Lag {
    /// Whether answers wait for a database that is not there.
    pub(crate) fn holds_answers(&self) -> bool {
        self.is_awaited && self.link != Link::Connected
    }
}

/// The projector's thread, and what it is asked.
pub(crate) struct Projection {
    thread: Mutex<Option<JoinHandle<()>>>,
    feed: Arc<Feed>,
    link: Arc<Mutex<Link>>,
    is_awaited: bool,
    samples: Samples,
}

impl Projection {
    /// Begins to follow.
    pub(crate) fn start(database: Database, followed: Followed) -> std::io::Result<Self> {
        let Followed { feed, directory, identity, acknowledge } = followed;
        let link = Arc::new(Mutex::new(Link::Connecting));
        let (samples, taken) = Samples::new(database.sample_every);
        let was_replaced = directory.list()?.iter().any(|name| name == REPLACED);
        let server = database.server.clone();
        let holder = Holder { server, directory: identity, was_replaced, token: drawn()?, epoch: None };
        let is_awaited = acknowledge.is_some();
        let breaker = Breaker::new(FIRST_WAIT, database.longest_wait);
        let known = feed.durable();
        let mut projector = Projector {
            database,
            feed: feed.clone(),
            acknowledge,
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
            // A bug in the projection is no reason to stop dispatching: it counts as a database that is away.
            while catch_unwind(AssertUnwindSafe(|| runtime.block_on(projector.run()))).is_err() {
                projector.forget();
                projector.fail(&Trouble::Bug);
                if projector.feed.is_closed() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("postgres".into()).spawn(run)?;
        Ok(Self { thread: Mutex::new(Some(thread)), feed, link, is_awaited, samples })
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
            is_awaited: self.is_awaited,
        }
    }

    /// How long the oldest record that is not in the tables has been durable.
    pub(crate) fn lag_time(&self) -> Duration {
        self.feed.lag_time()
    }

    /// Waits until all is written, or cannot be soon, once the journal is closed. Blocks.
    pub(crate) fn join(&self) {
        if let Some(thread) = self.thread.lock().take() {
            thread.join().expect("what panics there is caught");
        }
    }
}

struct Projector {
    database: Database,
    feed: Arc<Feed>,
    /// Whom to tell what is in the tables, if answers wait for it.
    acknowledge: Option<Acknowledge>,
    link: Arc<Mutex<Link>>,
    directory: Directory,
    holder: Holder,
    breaker: Breaker,
    started: Instant,
    /// The last record when the server started: nothing after it can be there before this process has written.
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

/// What a step came to.
enum Step {
    /// There was nothing to write.
    Idle,
    /// All there was, was written.
    Wrote,
    /// As much as one transaction takes was written, and there is more.
    WroteSome,
}

impl Projector {
    async fn run(&mut self) {
        let mut over = pin!(over(self.feed.clone()));
        loop {
            let is_closing = self.feed.is_closed();
            if !is_closing && let Err(wait) = self.breaker.admit(self.started.elapsed()) {
                self.look();
                // Only the end of the server is news to whoever waits for the database.
                let _ = timeout(wait.min(LOOK), self.closed()).await;
                continue;
            }
            let began = Instant::now();
            let step = tokio::select! {
                biased;
                () = &mut over => {
                    // A statement that was given up may still be under way there.
                    self.session = None;
                    break;
                }
                step = self.step() => step,
            };
            match step {
                Ok(Step::WroteSome) => self.look(),
                Ok(Step::Wrote) => {
                    let took = began.elapsed();
                    self.look();
                    if !is_closing && self.acknowledge.is_none() {
                        // Writing takes half of the time at most, and what comes meanwhile is written together.
                        if let Err(trouble @ Trouble::Fenced(_)) = self.rest(took.max(self.database.flush)).await {
                            return self.stand_by(&trouble).await;
                        }
                    }
                }
                Ok(Step::Idle) if is_closing => break,
                Ok(Step::Idle) => {
                    self.look();
                    if timeout(LOOK, self.feed.news()).await.is_err() {
                        match self.ping().await {
                            Ok(()) => {}
                            Err(trouble @ Trouble::Fenced(_)) => return self.stand_by(&trouble).await,
                            Err(trouble) => self.fail(&trouble),
                        }
                    }
                }
                Err(trouble @ (Trouble::Fenced(_) | Trouble::Taken(_))) => return self.stand_by(&trouble).await,
                Err(trouble) => {
                    self.fail(&trouble);
                    if is_closing {
                        break;
                    }
                }
            }
        }
        let left = self.feed.durable().saturating_sub(self.applied);
        if let Some(mut session) = self.session.take() {
            if left == 0 {
                // If it is not said it is known after a while.
                let _ = session.release(&self.holder).await;
            }
            session.close().await;
        }
        if left > 0 {
            tracing::warn!("{left} records are not in PostgreSQL; the next start writes them");
        }
    }

    /// Somebody else writes in this server's place: writes nothing any more.
    async fn stand_by(&mut self, trouble: &Trouble) {
        self.set_link(Link::Fenced);
        let (place, problem) = (&self.database.place, trouble.to_string());
        tracing::error!("PostgreSQL at {place}: {problem}. Nothing more is written there");
        self.session = None;
        let note = format!("{place}: {problem}\n");
        if matches!(trouble, Trouble::Fenced(_))
            && let Err(error) = appear(&self.directory, REPLACED, &[note.as_bytes()])
        {
            tracing::error!("the file `{REPLACED}` of the data directory cannot be written: {error}");
        }
        if let Some(acknowledge) = &self.acknowledge {
            acknowledge.fail(&problem);
        }
        // The journal does not wait for the database any more.
        self.feed.let_go();
        self.closed().await;
    }

    /// Waits for so long, or until the feed is closed, and says now and then that this server is there.
    async fn rest(&mut self, how_long: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + how_long;
        while timeout(LOOK.min(until.saturating_duration_since(Instant::now())), self.closed()).await.is_err() {
            if Instant::now() >= until {
                return Ok(());
            }
            if let Err(trouble) = self.ping().await {
                self.fail(&trouble);
                return Err(trouble);
            }
        }
        Ok(())
    }

    /// Says that this server is there, and learns whether the database is, and still this server's to write to.
    async fn ping(&mut self) -> Result<(), Trouble> {
        match &mut self.session {
            Some(session) => session.hold(&self.holder).await,
            None => Ok(()),
        }
    }

    /// Done when the feed is closed.
    async fn closed(&self) {
        while !self.feed.is_closed() {
            self.feed.news().await;
        }
    }

    /// Writes what is next.
    async fn step(&mut self) -> Result<Step, Trouble> {
        if self.session.is_none() {
            let session = self.connect().await?;
            self.session = Some(session);
        }
        if self.changes.is_empty() {
            self.gather()?;
        }
        if self.changes.is_empty() {
            self.succeed();
            self.keep_samples().await?;
            return Ok(Step::Idle);
        }
        let (Some(session), Some(image)) = (&mut self.session, &self.image) else { return Ok(Step::Idle) };
        if self.changes.all {
            session.be_patient(MUCH).await?;
        }
        rows::partitions(session, &self.changes).await?;
        history::partitions(session, &self.changes).await?;
        session.begin().await?;
        session.advance(&self.holder, self.applied, &self.changes.upto, image.at).await?;
        rows::write(session, &self.holder.server, &self.changes, image).await?;
        history::write(session, &self.changes, image).await?;
        session.commit().await?;
        if self.changes.all {
            session.be_patient(self.database.patience).await?;
            // The sign of life that this was is as old as the transaction is long.
            session.hold(&self.holder).await?;
        }
        let is_all = self.changes.bytes < MAX_BYTES;
        self.written();
        self.succeed();
        self.keep_samples().await?;
        Ok(if is_all { Step::Wrote } else { Step::WroteSome })
    }

    /// Connects, as the one who writes, and knows what the tables hold.
    async fn connect(&mut self) -> Result<Session, Trouble> {
        let mut session = self.database.session().await?;
        let (directory, known) = (&self.directory, self.known);
        let applied = session.claim(&mut self.holder, |applied| fits(applied, directory, known)).await?;
        if std::mem::take(&mut self.holder.was_replaced) {
            // It was by somebody elsewhere, who has no say here.
            self.directory.remove(REPLACED).map_err(|error| Trouble::Journal(format!("{REPLACED}: {error}")))?;
        }
        self.settle(applied.seq);
        if self.image.is_none() {
            self.load(&mut session).await?;
        }
        self.applied_up_to(self.applied);
        Ok(session)
    }

    /// All that was to be written is.
    fn written(&mut self) {
        self.applied = self.changes.upto.seq;
        self.changes = Changes::default();
        self.applied_up_to(self.applied);
    }

    fn applied_up_to(&self, seq: u64) {
        self.feed.set_applied(seq);
        if let Some(acknowledge) = &self.acknowledge {
            acknowledge.up_to(seq);
        }
    }

    /// Finds out what became of a transaction in doubt: the tables are where they were before it, or after it.
    fn settle(&mut self, applied: u64) {
        if self.image.is_none() {
            self.applied = applied;
        } else if applied == self.changes.upto.seq && !self.changes.is_empty() {
            tracing::info!("what was being written to PostgreSQL when it went away is there");
            self.written();
        } else if applied != self.applied {
            // Somebody set it back, or restored an older backup: begin from what is there.
            self.forget();
            self.applied = applied;
        }
    }

    /// What is known of the tables may be wrong: they are read again.
    fn forget(&mut self) {
        (self.session, self.image, self.changes) = (None, None, Changes::default());
    }

    /// Reads what the tables hold, or, where the journal does not go back that far, what the journal begins with.
    async fn load(&mut self, session: &mut Session) -> Result<(), Trouble> {
        match read_on(&self.directory, self.applied, |_| Ok(())) {
            Ok(_) => {
                session.begin_to_read().await?;
                let restored = restore::read(session, &self.database.server).await?;
                session.commit().await?;
                let restored = restored.filter(|restored| restored.seq == self.applied);
                let moved = || Trouble::Nonsense("somebody else is writing there".into());
                self.image = Some(restored.ok_or_else(moved)?.image);
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
        let (changes, mut seq, mut last) = (&mut self.changes, self.applied, Vec::new());
        let mut fold = |seq: u64, record: &[u8]| {
            changes.bytes += record.len() as u64;
            changes.record(image, seq, Record::decode(record)?)?;
            last.clear();
            last.extend_from_slice(record);
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
        self.changes.upto.hash = hash(&last);
        gathered.map_err(|problem| {
            // Half a record may be in it.
            self.forget();
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
        match history::samples(session, &taken).await {
            // They are soft, and no reason to hold up what is not.
            Err(Trouble::Sql(sqlx::Error::Database(error))) => {
                tracing::warn!("{} positions are not kept in PostgreSQL: {error}", taken.len());
                Ok(())
            }
            kept => kept,
        }
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
        if let Some(acknowledge) = &self.acknowledge {
            acknowledge.set_open(link == Link::Connected);
        }
        std::mem::replace(&mut *self.link.lock(), link) != link
    }

    /// Looks how much there is to catch up with, and whether that is too much.
    fn look(&self) {
        let applied = self.feed.applied().unwrap_or(self.known);
        let backlog = if self.feed.durable() > applied { self.backlog(applied) } else { Some(0) };
        // Of a directory that cannot be read just now, what was known last.
        let backlog = backlog.unwrap_or_else(|| self.feed.backlog_bytes());
        self.feed.set_backlog(backlog);
        let is_full = backlog > self.database.max_backlog_bytes;
        if self.feed.set_full(is_full) {
            if is_full {
                tracing::error!("{backlog} bytes wait for PostgreSQL: new orders are refused until they are fewer");
            } else {
                tracing::info!("new orders are taken again");
            }
        }
    }

    /// How long the files are that hold a record after `applied`, in bytes.
    fn backlog(&self, applied: u64) -> Option<u64> {
        let segments = segments(&self.directory).ok()?;
        let first = segments.partition_point(|segment| segment.first <= applied + 1).saturating_sub(1);
        let path = |name: String| self.directory.path().join(name);
        // One that is gone meanwhile was applied.
        let len = |name| std::fs::metadata(path(name)).map_or(0, |file| file.len());
        Some(segments[first..].iter().map(|segment| len(segment.name())).sum())
    }
}

/// Done when nothing more is to come and the time for what is left is over.
async fn over(feed: Arc<Feed>) {
    while !feed.is_closed() {
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(LAST_CALL).await;
}

/// A hash of a record, as the tables have it of the last one in them.
fn hash(record: &[u8]) -> String {
    Mark::of(&[record]).into()
}

/// Whether the tables and a journal say the same: they do not if one of them was put back to what it was before.
fn fits(applied: &Applied, directory: &Directory, known: u64) -> Result<(), Trouble> {
    let Applied { seq, hash: applied } = applied;
    if *seq > known {
        let problem = format!("it goes up to record {seq}, and the data directory lost what it had after {known}");
        return Err(Trouble::Fenced(format!("{problem}. {WAY_OUT}")));
    }
    if *seq == 0 || applied.is_empty() {
        return Ok(());
    }
    let mut fits = true;
    let read = read_on(directory, seq - 1, |record| {
        fits &= record.seq != *seq || hash(record.payload) == *applied;
        Ok(())
    });
    match read {
        Ok(_) if !fits => {
            let problem =
                format!("record {seq} is another one there than in the data directory, which lost what it had");
            Err(Trouble::Fenced(format!("{problem}. {WAY_OUT}")))
        }
        // A record that is folded into a snapshot cannot be compared any more.
        Ok(_) | Err(OpenError::Gap { .. }) => Ok(()),
        Err(error) => Err(Trouble::Journal(chain(&error))),
    }
}
