//! Snapshots, made from sealed segments beside the running server: the engines never wait for one.

use super::{Feed, Image, Record, chain};
use dispatch_core::Millis;
use dispatch_journal::{Directory, Log, remove_segments, save_snapshot};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// The thread that makes snapshots.
pub(super) struct Compactor {
    sealed: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Compactor {
    /// Makes snapshots of a directory, and keeps its segments for so long after they were sealed, and until whoever follows
    /// has applied them.
    pub(super) fn start(directory: Directory, keep: Millis, feed: Option<Arc<Feed>>) -> std::io::Result<Self> {
        let (sealed, news) = sync_channel(1);
        let run = move || run(&directory, keep, feed.as_deref(), &news);
        let thread = std::thread::Builder::new().name("snapshots".into()).spawn(run)?;
        Ok(Self { sealed, thread })
    }

    /// Where to say that a segment was sealed.
    pub(super) fn sealed(&self) -> SyncSender<()> {
        self.sealed.clone()
    }

    /// Waits for the snapshot that is being made, if one is. Blocks.
    pub(super) fn stop(self) {
        drop(self.sealed);
        let _ = self.thread.join();
    }
}

fn run(directory: &Directory, keep: Millis, feed: Option<&Feed>, sealed: &Receiver<()>) {
    while sealed.recv().is_ok() {
        if let Err(problem) = compact(&directory.reader(), keep, feed) {
            tracing::error!("no snapshot was made: {problem}; a restart will take longer, and segments are kept");
        }
    }
}

/// Folds the sealed segments onto the last snapshot, and removes what is not needed any more.
fn compact(directory: &Directory, keep: Millis, feed: Option<&Feed>) -> Result<(), String> {
    let mut log = Log::open(directory.reader()).map_err(|error| chain(&error))?;
    let mut image = match log.take_snapshot() {
        Some(snapshot) => Image::decode(&snapshot.bytes)?,
        None => Image::default(),
    };
    let report = log.replay_sealed(|record| image.apply(Record::decode(record.payload)?));
    let report = report.map_err(|error| chain(&error))?;
    if report.records == 0 {
        return Ok(());
    }
    let bytes = image.encode();
    save_snapshot(directory, report.last, &bytes).map_err(|error| chain(&error))?;
    let until = image.at.map_or(i64::MIN, |at| (at - keep).as_millis());
    // What is not applied has to stay, and while nobody knows what is, everything.
    let applied = feed.map_or(u64::MAX - 1, |feed| feed.applied().unwrap_or(0));
    let applied = log.segments().partition_point(|segment| segment.first <= applied + 1);
    let removed = remove_segments(directory, &log.segments()[..applied], until).map_err(|error| chain(&error))?;
    tracing::info!(
        "a snapshot of {} bytes was made up to record {}; {} segments were removed",
        bytes.len(),
        report.last,
        removed.len()
    );
    Ok(())
}
