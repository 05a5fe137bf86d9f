//! Snapshots, made from sealed segments beside the running server: the engines never wait for one.

use super::{Feed, Image, Record, Room, chain};
use dispatch_core::Millis;
use dispatch_journal::{Directory, Log, Segment, remove_segments, save_snapshot, segments, set_damaged_aside};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often to look whether there is room.
const LOOK: Duration = Duration::from_secs(10);

/// Room that a snapshot leaves for the journal, in bytes.
const SPARE: u64 = 64 << 20;

/// The thread that makes snapshots.
pub(super) struct Compactor {
    sealed: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Compactor {
    pub(super) fn start(place: Place) -> std::io::Result<Self> {
        let (sealed, news) = sync_channel(1);
        let thread = std::thread::Builder::new().name("snapshots".into()).spawn(move || run(&place, &news))?;
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

/// What snapshots are made of.
pub(super) struct Place {
    pub(super) directory: Directory,
    pub(super) room: Room,
    /// How long segments stay after they were sealed.
    pub(super) keep: Millis,
    /// Whoever follows: segments stay until it has applied them.
    pub(super) feed: Option<Arc<Feed>>,
}

fn run(place: &Place, sealed: &Receiver<()>) {
    loop {
        match sealed.recv_timeout(LOOK) {
            Ok(()) => {
                // Of records that contradict each other the engine's state panics.
                let made = catch_unwind(AssertUnwindSafe(|| place.compact()));
                if let Err(problem) = made.unwrap_or_else(|_| Err("a panic, which is a bug".into())) {
                    tracing::error!(
                        "no snapshot was made: {problem}; a restart will take longer, and segments are kept"
                    );
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Err(problem) = place.make_room() {
            tracing::error!("the disk is almost full, and segments that nobody needs stay: {problem}");
        }
    }
}

impl Place {
    /// Folds the sealed segments onto the last snapshot, and removes what is not needed any more.
    fn compact(&self) -> Result<(), String> {
        let directory = &self.directory;
        let mut log = Log::open(directory.reader()).map_err(|error| chain(&error))?;
        for problem in log.damaged_snapshots() {
            tracing::error!("{problem}; an older one and the records since are read instead");
        }
        set_damaged_aside(&log).map_err(|error| chain(&error))?;
        let mut image = match log.take_snapshot() {
            Some(snapshot) => Image::decode(&snapshot.bytes)?,
            None => Image::default(),
        };
        let report = log.replay_sealed(|record| image.apply(Record::decode(record.payload)?));
        let report = report.map_err(|error| chain(&error))?;
        if report.records == 0 {
            return Ok(());
        }
        let until = image.at.map_or(i64::MIN, |at| (at - self.keep).as_millis());
        let bytes = image.encode();
        drop(image);
        self.make_room()?;
        let needed = bytes.len() as u64 + SPARE;
        if let Some(free) = self.room.free_bytes().filter(|free| *free < needed) {
            return Err(format!("it takes {needed} bytes, and {free} are free"));
        }
        save_snapshot(directory, report.last, &bytes).map_err(|error| chain(&error))?;
        let removed = self.remove(log.segments(), until)?;
        tracing::info!(
            "a snapshot of {} bytes was made up to record {}; {removed} segments were removed",
            bytes.len(),
            report.last,
        );
        Ok(())
    }

    /// While the disk is almost full, what nobody needs does not stay.
    fn make_room(&self) -> Result<(), String> {
        if self.room.is_low() {
            self.remove(&segments(&self.directory).map_err(|error| chain(&error))?, i64::MAX)?;
        }
        Ok(())
    }

    /// Removes segments that were sealed before then and that nobody needs; how many.
    fn remove(&self, segments: &[Segment], sealed_before_ms: i64) -> Result<usize, String> {
        // What is not applied has to stay, and while nobody knows what is, everything.
        let applied = self.feed.as_ref().map_or(u64::MAX, |feed| feed.not_awaited());
        let applied = segments.partition_point(|segment| segment.first <= applied.saturating_add(1));
        let removed = remove_segments(&self.directory, &segments[..applied], sealed_before_ms);
        Ok(removed.map_err(|error| chain(&error))?.len())
    }
}
