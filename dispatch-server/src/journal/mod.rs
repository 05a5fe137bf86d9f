//! What the server keeps on its disk: a record of every command and every deadline, and what they amount to.

mod commits;
mod compact;
mod feed;
mod keys;
mod record;
mod room;

pub(crate) use commits::{Acknowledge, Behind, Commits, Failed, Reply};
pub(crate) use feed::{Feed, Next};
pub(crate) use keys::{Accepted, KNOWN_FOR, Keys, Mark, Once, hex};
pub(crate) use record::{Audience, Image, Moved, Record, Watch};
pub(crate) use room::Room;

use crate::config::{Durability, DurabilityConfig};
use crate::telemetry::Journal as Figures;
use commits::Writer;
use dispatch_core::{Digest, MarketId, Snapshot, Timestamp};
use dispatch_journal::{
    Directory, Disk, Journal, Log, OpenError, Options, Record as LogRecord, appear, is_unwritten, save_snapshot,
};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What was kept elsewhere: an empty data directory begins with it.
pub(crate) struct Restored {
    pub(crate) image: Image,
    /// The last record in it.
    pub(crate) seq: u64,
}

/// Whoever follows what is written, beside the journal.
pub(crate) struct Followed {
    pub(crate) feed: Arc<Feed>,
    /// Where the records are.
    pub(crate) directory: Directory,
    /// Which directory that is.
    pub(crate) identity: String,
    /// Whom to tell what was applied, if answers wait for it.
    pub(crate) acknowledge: Option<Acknowledge>,
}

/// Opens what is kept and reads it: what it amounts to, and where to write on. An empty directory is filled by `restore`, if
/// there is somebody who may follow; it is told which directory it is. The last of what is kept is told to an audience.
pub(crate) fn open(
    config: &DurabilityConfig,
    now: Timestamp,
    restore: Option<impl FnOnce(&str) -> Result<Option<Restored>, String>>,
    audience: &mut impl Audience,
    figures: &Figures,
) -> Result<(Image, Commits, Option<Followed>), String> {
    let (sync, waits_for_follower) = match config.mode {
        Durability::Memory => {
            let nothing = Image::default();
            audience.begin(&drawn().map_err(|error| error.to_string())?, 0, &nothing);
            return Ok((nothing, Commits::none(), None));
        }
        Durability::Process => (false, false),
        Durability::Sync => (true, false),
        Durability::Postgres => (true, true),
    };
    let mut is_restored = false;
    let directory = Directory::open(&config.data_dir).map_err(|error| chain(&error))?;
    let reader = directory.reader();
    let is_new = is_unwritten(&reader).map_err(|error| chain(&error))?;
    let identity = identity_of(&reader).map_err(|error| chain(&error))?;
    let has_follower = restore.is_some();
    if is_new
        && let Some(restore) = restore
        && let Some(restored) = restore(&identity)?
    {
        // A server that stops before it has begun to write restores again.
        save_snapshot(&reader, restored.seq, &restored.image.encode()).map_err(|error| chain(&error))?;
        is_restored = true;
    }
    let mut log = Log::open(directory).map_err(|error| chain(&error))?;
    let path = std::path::absolute(reader.path()).unwrap_or_else(|_| reader.path().to_owned());
    match log.snapshot() {
        Some(snapshot) if is_new && !is_restored => {
            return Err(format!(
                "{} has a snapshot of all records up to {} and no segment, where every server leaves one: what came after it \
                 is gone. Put the segments back, or move all of it away to begin anew",
                path.display(),
                snapshot.seq
            ));
        }
        None if is_new => tracing::warn!("nothing is kept in {} yet: the server begins anew", path.display()),
        _ => {}
    }
    let image = read_told(&mut log, &identity, audience)?;
    let options = Options { sync, segment_bytes: config.segment_bytes };
    let journal = Journal::start(log, options, now.as_millis()).map_err(|error| chain(&error))?;
    let last = journal.next_seq() - 1;
    let feed = has_follower.then(|| Arc::new(Feed::new(last)));
    let room = config.room();
    let place = compact::Place { directory: reader.reader(), room, keep: config.keep, feed: feed.clone() };
    let compactor = compact::Compactor::start(place).map_err(|error| error.to_string())?;
    let commits = Writer::start(journal, Some(compactor), feed.clone(), waits_for_follower, figures.clone());
    let commits = commits.map_err(|error| error.to_string())?;
    let acknowledge = commits.acknowledge();
    let followed = feed.map(|feed| Followed { feed, directory: reader, identity, acknowledge });
    Ok((image, commits, followed))
}

impl DurabilityConfig {
    /// The disk where it is kept.
    pub(crate) fn room(&self) -> Room {
        Room::new(self.data_dir.clone(), self.min_free_bytes)
    }
}

/// Where a data directory says which one it is.
const IDENTITY: &str = "identity";

/// Which data directory this is, drawn once: what it holds may be found elsewhere, too.
fn identity_of(directory: &Directory) -> Result<String, OpenError> {
    let failed = |source| OpenError::Io { file: IDENTITY.to_owned(), source };
    match directory.read(IDENTITY) {
        Ok(bytes) if bytes.len() == 33 => Ok(String::from_utf8_lossy(&bytes[..32]).into_owned()),
        Ok(_) => Err(OpenError::Damage { file: IDENTITY.to_owned(), offset: 0, problem: "it has no 32 digits".into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = drawn().map_err(failed)?;
            appear(directory, IDENTITY, &[format!("{identity}\n").as_bytes()]).map_err(failed)?;
            Ok(identity)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A name of 32 hexadecimal digits that nothing else has.
pub(crate) fn drawn() -> io::Result<String> {
    let mut bits = [0_u8; 16];
    getrandom::fill(&mut bits)?;
    Ok(format!("{:032x}", u128::from_le_bytes(bits)))
}

/// What a log amounts to, with the last of its records told to somebody.
///
/// Everything since the snapshot before the last is told, however little there is since the last: who was there when the server
/// ended finds what it has missed.
fn read_told(log: &mut Log<Directory>, identity: &str, audience: &mut impl Audience) -> Result<Image, String> {
    let newest = log.snapshot().map_or(0, |snapshot| snapshot.seq);
    let older = log.snapshot_before(newest).ok().flatten();
    let is_whole = log.segments().first().is_some_and(|first| first.first == 1);
    let from = match older {
        Some(older) => Some((older.seq, Image::decode(&older.bytes))),
        None => (newest > 0 && is_whole).then(|| (0, Ok(Image::default()))),
    };
    if let Some((seq, Ok(mut image))) = from {
        audience.begin(identity, seq, &image);
        let told = log.replay_after(seq, |record| apply_told(&mut image, record, audience));
        // What is damaged between the two is not needed, and nobody is told of it.
        if told.is_ok_and(|report| report.last >= newest) {
            finish(log, |_| Ok(()))?;
            return Ok(image);
        }
    }
    let mut image = begun(log)?;
    audience.begin(identity, newest, &image);
    finish(log, |record| apply_told(&mut image, record, audience))?;
    Ok(image)
}

fn apply_told(image: &mut Image, record: LogRecord<'_>, audience: &mut impl Audience) -> Result<(), String> {
    let record = Record::decode(record.payload)?;
    image.apply(record.clone())?;
    audience.hear(&record, image);
    Ok(())
}

/// What a log amounts to.
fn read(log: &mut Log<Directory>) -> Result<Image, String> {
    let mut image = begun(log)?;
    finish(log, |record| image.apply(Record::decode(record.payload)?))?;
    Ok(image)
}

/// What the newest snapshot holds.
fn begun(log: &mut Log<Directory>) -> Result<Image, String> {
    for problem in log.damaged_snapshots() {
        tracing::warn!("{problem}; an older one and the records since are read instead");
    }
    log.take_snapshot().map_or_else(|| Ok(Image::default()), |snapshot| Image::decode(&snapshot.bytes))
}

/// Reads the records since.
fn finish(log: &mut Log<Directory>, visit: impl FnMut(LogRecord<'_>) -> Result<(), String>) -> Result<(), String> {
    let report = log.replay(visit).map_err(|error| chain(&error))?;
    if let Some((file, offset)) = &report.torn {
        tracing::warn!("{file} ends in a record that was never acknowledged, and is cut off at byte {offset}");
    }
    if report.last > 0 {
        tracing::info!("{} records were read, up to {}", report.records, report.last);
    }
    Ok(())
}

/// What a data directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDirReport {
    /// How many records there are, and the last one.
    pub records: u64,
    /// The last record.
    pub last: u64,
    /// Each market with the number of its last event and the hash of what all its events amount to.
    pub markets: Vec<(MarketId, u64, Digest)>,
    /// A tail that was never acknowledged or is being written: its file, and from which byte on.
    pub torn: Option<(String, u64)>,
    /// What is damaged and was not needed.
    pub damage: Vec<String>,
}

/// Reads all of a data directory: every record there is, every snapshot, and what a restart would read, which has to make sense.
/// Fails with what would keep a server from starting. Takes about as long as a restart; nothing is changed.
pub fn verify_data_dir(path: &Path) -> Result<DataDirReport, VerifyError> {
    let files = || Directory::read_only(path).list().ok().map(BTreeSet::from_iter);
    for _ in 0..3 {
        let before = files();
        let verified = verify(path);
        // Beside a running server a snapshot may be replaced, and a segment removed, while it is being read.
        if verified.is_ok() || files() == before {
            return verified;
        }
    }
    verify(path)
}

fn verify(path: &Path) -> Result<DataDirReport, VerifyError> {
    let failed = |error: OpenError| VerifyError(chain(&error));
    let mut log = Log::open(Directory::read_only(path)).map_err(failed)?;
    let all = log.replay_all(|_| Ok(())).map_err(failed)?;
    let (mut whole, mut damage) = (Vec::new(), Vec::new());
    for (seq, problem) in log.check_snapshots().map_err(failed)? {
        problem.map_or_else(|| whole.push(seq), |problem| damage.push(problem));
    }
    for (number, seq) in whole.iter().enumerate() {
        let before = number.checked_sub(1).map(|before| whole[before]);
        check_snapshot(&log, before, *seq).map_err(VerifyError)?;
    }
    let image = read(&mut log).map_err(VerifyError)?;
    let market = |(id, snapshot): (MarketId, Snapshot)| (id, snapshot.state().seq, snapshot.state().hash());
    let markets = image.markets.into_iter().map(market).collect();
    Ok(DataDirReport { records: all.records, last: all.last, markets, torn: all.torn, damage })
}

/// Folds the records since the snapshot before one, or since the first record if that is there: that has to come to the same.
fn check_snapshot(log: &Log<Directory>, before: Option<u64>, seq: u64) -> Result<(), String> {
    let failed = |error: OpenError| chain(&error);
    let read = |seq| Image::decode(&log.snapshot_at(seq).map_err(failed)?.bytes);
    let mut image = match before {
        Some(before) => read(before)?,
        None if log.segments().first().is_some_and(|first| first.first == 1) => Image::default(),
        None => return Ok(()),
    };
    let apply = |record: LogRecord<'_>| {
        if record.seq > seq { Ok(()) } else { image.apply(Record::decode(record.payload)?) }
    };
    log.replay_after(before.unwrap_or(0), apply).map_err(failed)?;
    if image == read(seq)? {
        return Ok(());
    }
    Err(format!("the snapshot of all records up to {seq} is not what they come to"))
}

/// A data directory that a server would not start with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct VerifyError(String);

impl std::fmt::Display for DataDirReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} records up to {}", self.records, self.last)?;
        for (market, seq, hash) in &self.markets {
            writeln!(f, "market {market}: {seq} events, hash {hash}")?;
        }
        if let Some((file, offset)) = &self.torn {
            writeln!(f, "{file} ends in a record that was never acknowledged or is being written, at byte {offset}")?;
        }
        self.damage.iter().try_for_each(|problem| writeln!(f, "{problem}; it is not needed"))
    }
}

/// A state that a bug left half changed must not go on deciding, nor a thread stop on which others wait: a panic ends the
/// process.
pub(crate) struct AbortOnPanic(pub(crate) &'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the dispatch {} panicked; this is a bug, and the process ends", self.0);
            std::process::abort();
        }
    }
}

/// An error with everything that caused it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, ": {error}").expect("texts take everything");
        cause = error.source();
    }
    text
}
