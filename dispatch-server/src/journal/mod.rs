//! What the server keeps on its disk: a record of every command and every deadline, and what they amount to.

mod commits;
mod compact;
mod record;

pub(crate) use commits::{Commits, Failed, Reply};
pub(crate) use record::{Image, Record};

use crate::config::{Durability, DurabilityConfig};
use commits::Writer;
use dispatch_core::Timestamp;
use dispatch_journal::{Directory, Journal, Log, Options};
use std::error::Error;
use std::fmt::Write;

/// Opens what is kept and reads it: what it amounts to, and where to write on.
pub(crate) fn open(config: &DurabilityConfig, now: Timestamp) -> Result<(Image, Commits), String> {
    let sync = match config.mode {
        Durability::Memory => return Ok((Image::default(), Commits::none())),
        Durability::Process => false,
        Durability::Sync => true,
    };
    let directory = Directory::open(&config.data_dir).map_err(|error| chain(&error))?;
    let reader = directory.reader();
    let mut log = Log::open(directory).map_err(|error| chain(&error))?;
    let image = read(&mut log)?;
    let options = Options { sync, segment_bytes: config.segment_bytes };
    let journal = Journal::start(log, options, now.as_millis()).map_err(|error| chain(&error))?;
    let compactor = compact::Compactor::start(reader, config.keep).map_err(|error| error.to_string())?;
    let commits = Writer::start(journal, compactor).map_err(|error| error.to_string())?;
    Ok((image, commits))
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
