//! What the server keeps on its disk: a record of every command and every deadline, and what they amount to.

mod commits;
mod compact;
mod feed;
mod keys;
mod record;

pub(crate) use commits::{Commits, Failed, Reply};
pub(crate) use feed::{Feed, Next};
pub(crate) use keys::{Accepted, Keys, Mark, Once};
pub(crate) use record::{Image, Record, Watch};

use crate::config::{Durability, DurabilityConfig};
use commits::Writer;
use dispatch_core::{Digest, MarketId, Snapshot, Timestamp};
use dispatch_journal::{Directory, Journal, Log, OpenError, Options, is_unwritten, save_snapshot};
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// What was kept elsewhere: an empty data directory begins with it.
pub(crate) struct Restored {
    pub(crate) image: Image,
    /// The last record in it.
    pub(crate) seq: u64,
    /// The epoch it was written in.
    pub(crate) epoch: u32,
}

/// Whoever follows what is written, beside the journal.
pub(crate) struct Followed {
    pub(crate) feed: Arc<Feed>,
    /// Where the records are.
    pub(crate) directory: Directory,
    /// The epoch they are written in from now on.
    pub(crate) epoch: u32,
}

/// Opens what is kept and reads it: what it amounts to, and where to write on. An empty directory is filled by `restore`, if
/// there is somebody who may follow.
pub(crate) fn open(
    config: &DurabilityConfig,
    now: Timestamp,
    restore: Option<impl FnOnce() -> Result<Option<Restored>, String>>,
) -> Result<(Image, Commits, Option<Followed>), String> {
    let sync = match config.mode {
        Durability::Memory => return Ok((Image::default(), Commits::none(), None)),
        Durability::Process => false,
        Durability::Sync => true,
    };
    let directory = Directory::open(&config.data_dir).map_err(|error| chain(&error))?;
    let reader = directory.reader();
    let (is_followed, mut epoch) = (restore.is_some(), 0);
    if let Some(restore) = restore
        && is_unwritten(&reader).map_err(|error| chain(&error))?
        && let Some(restored) = restore()?
    {
        // A server that stops before it has begun to write restores again.
        save_snapshot(&reader, restored.seq, &restored.image.encode()).map_err(|error| chain(&error))?;
        epoch = restored.epoch;
    }
    let mut log = Log::open(directory).map_err(|error| chain(&error))?;
    let image = read(&mut log)?;
    log.go_on_after(epoch);
    let options = Options { sync, segment_bytes: config.segment_bytes };
    let journal = Journal::start(log, options, now.as_millis()).map_err(|error| chain(&error))?;
    let feed = is_followed.then(|| Arc::new(Feed::new(journal.next_seq() - 1)));
    let followed = feed.clone().map(|feed| Followed { feed, directory: reader.reader(), epoch: journal.epoch() });
    let compactor = compact::Compactor::start(reader, config.keep, feed.clone()).map_err(|error| error.to_string())?;
    let commits = Writer::start(journal, compactor, feed).map_err(|error| error.to_string())?;
    Ok((image, commits, followed))
}

/// What a log amounts to.
fn read(log: &mut Log<Directory>) -> Result<Image, String> {
    for problem in log.damaged_snapshots() {
        tracing::warn!("{problem}; an older one and the records since are read instead");
    }
    let mut image = match log.take_snapshot() {
        Some(snapshot) => Image::decode(&snapshot.bytes)?,
        None => Image::default(),
    };
    let report = log.replay(|record| image.apply(Record::decode(record.payload)?));
    let report = report.map_err(|error| chain(&error))?;
    if let Some((file, offset)) = &report.torn {
        tracing::warn!("{file} ends in a record that was never acknowledged, and is cut off at byte {offset}");
    }
    if report.last > 0 {
        tracing::info!("{} records were read, up to {}", report.records, report.last);
    }
    Ok(image)
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
    let failed = |error: OpenError| VerifyError(chain(&error));
    let mut log = Log::open(Directory::read_only(path)).map_err(failed)?;
    let all = log.replay_all(|_| Ok(())).map_err(failed)?;
    let damage = log.check_snapshots().map_err(failed)?.into_iter().filter_map(|(_, problem)| problem).collect();
    let image = read(&mut log).map_err(VerifyError)?;
    let market = |(id, snapshot): (MarketId, Snapshot)| (id, snapshot.state().seq, snapshot.state().hash());
    let markets = image.markets.into_iter().map(market).collect();
    Ok(DataDirReport { records: all.records, last: all.last, markets, torn: all.torn, damage })
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
