//! Writing: batches of records at the end of the newest segment, synced before they count.

use crate::disk::{Disk, DiskFile};
use crate::frame::{self, Batch, HEADER, MAX_SNAPSHOT, Record, SNAPSHOT, SegmentHeader};
use crate::log::{Log, MAX_SEQ, OpenError, Segment, begun_ms, snapshot_name, snapshots};
use std::io;

/// How a journal writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether a batch is synced before it counts. Without it a batch survives the death of this process, and not that of
    /// the machine.
    pub sync: bool,
    /// A segment that is at least this long is not written to any more. A batch is never split, so segments may get longer.
    pub segment_bytes: usize,
}

impl Default for Options {
    /// Synced, in segments of 32 MiB.
    fn default() -> Self {
        Self { sync: true, segment_bytes: 32 << 20 }
    }
}

/// Why a batch was not committed. Some of it may be on the disk all the same, and the journal takes no more: after an error
/// nobody can say what a file holds, least of all by syncing it again.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk says no.
    #[error("cannot write {file}")]
    Io {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An earlier batch was not committed.
    #[error("the journal failed before, and takes no more")]
    Failed,
}

/// A log that is being written.
pub struct Journal<D: Disk> {
    disk: D,
    options: Options,
    segment: Segment,
    file: D::File,
    len: usize,
    next: u64,
    /// All records before this one are durable.
    settled: u64,
    failed: bool,
    /// The batch as it is written; kept for its memory.
    frames: Vec<u8>,
}

impl<D: Disk> Journal<D> {
    /// Goes on behind the records that were replayed, in a new epoch. What a crash left of a batch that was never
    /// acknowledged is cut off; what is whole is made durable. `now_ms` is kept with the new segment, in milliseconds since 1970.
    ///
    /// # Panics
    /// If the log was not replayed.
    pub fn start(log: Log<D>, options: Options, now_ms: i64) -> Result<Self, OpenError> {
        let Log { disk, segments, damaged, report, .. } = log;
        let report = report.expect("who starts a journal has replayed the log");
        let epoch = report.epoch.checked_add(1).filter(|_| report.last <= MAX_SEQ / 2);
        let Some(epoch) = epoch else {
            let file = segments.last().map_or_else(String::new, Segment::name);
            let problem = "no numbers are left to go on with".to_owned();
            return Err(OpenError::Damage { file, offset: 0, problem });
        };
        for name in disk.list().map_err(OpenError::io("the directory"))? {
            if name.ends_with(UNFINISHED) {
                disk.remove(&name).map_err(OpenError::io(&name))?;
            }
        }
        set_aside(&disk, &damaged)?;
        if let Some(last) = segments.last() {
            // It is written anew, not synced: if the sync of whoever wrote it failed, what is read may be on no disk, and
            // another sync would say that it is.
            let name = last.name();
            let file = disk.read(&name).map_err(OpenError::io(&name))?;
            let whole = report.torn.map_or(file.len(), |(_, len)| len as usize);
            appear(&disk, &name, &[&file[..whole]]).map_err(OpenError::io(&name))?;
        }
        let segment = Segment { first: report.last + 1, epoch };
        let file = begin(&disk, &segment, now_ms).map_err(OpenError::io(&segment.name()))?;
        let (next, frames) = (segment.first, Vec::new());
        Ok(Self { disk, options, segment, file, len: HEADER, next, settled: next, failed: false, frames })
    }

    /// Appends the records of a batch and makes them durable. Returns the number of the last record there is.
    pub fn commit(&mut self, batch: &Batch, now_ms: i64) -> Result<u64, CommitError> {
        if self.failed {
            return Err(CommitError::Failed);
        }
        self.failed = true;
        self.write(batch, now_ms).map_err(|source| CommitError::Io { file: self.segment.name(), source })?;
        self.failed = false;
        Ok(self.next - 1)
    }

    fn write(&mut self, batch: &Batch, now_ms: i64) -> io::Result<()> {
        if self.len >= self.options.segment_bytes {
            self.roll(now_ms)?;
        }
        self.frames.clear();
        for payload in batch.payloads() {
            frame::encode(
                &mut self.frames,
                Record { seq: self.next, epoch: self.segment.epoch, payload },
                self.settled,
            );
            self.next += 1;
        }
        self.file.append(&self.frames)?;
        self.len += self.frames.len();
        if self.options.sync {
            self.file.sync()?;
            self.settled = self.next;
        }
        Ok(())
    }

    /// Ends the segment, if there is anything in it, and begins another. What is in a segment that was ended cannot be taken for
    /// torn any more, only for damaged; so this is what to do before leaving a journal alone.
    pub fn seal(&mut self, now_ms: i64) -> Result<(), CommitError> {
        if self.failed {
            return Err(CommitError::Failed);
        }
        if self.len == HEADER {
            return Ok(());
        }
        self.failed = true;
        self.roll(now_ms).map_err(|source| CommitError::Io { file: self.segment.name(), source })?;
        self.failed = false;
        Ok(())
    }

    /// The old segment is durable before there is a new one.
    fn roll(&mut self, now_ms: i64) -> io::Result<()> {
        self.file.sync()?;
        self.settled = self.next;
        self.segment.first = self.next;
        self.file = begin(&self.disk, &self.segment, now_ms)?;
        self.len = HEADER;
        Ok(())
    }

    /// The number of the next record.
    pub fn next_seq(&self) -> u64 {
        self.next
    }

    /// The epoch of what is written.
    pub fn epoch(&self) -> u32 {
        self.segment.epoch
    }

    /// The segment that is written to.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where it is written.
    pub fn disk(&self) -> &D {
        &self.disk
    }
}

/// Makes a segment that is there with its whole header, or not at all.
fn begin<D: Disk>(disk: &D, segment: &Segment, now_ms: i64) -> io::Result<D::File> {
    let header = SegmentHeader { epoch: segment.epoch, first: segment.first, begun_ms: now_ms };
    appear(disk, &segment.name(), &[&header.encode()])
}

/// What a file is called that a crash may leave unfinished.
const UNFINISHED: &str = ".unfinished";

/// Makes a file of these parts, one after the other, that is there whole, or not at all; durable when this returns.
pub fn appear<D: Disk>(disk: &D, name: &str, parts: &[&[u8]]) -> io::Result<D::File> {
    let unfinished = format!("{name}{UNFINISHED}");
    let write = || {
        let mut file = disk.create(&unfinished)?;
        for part in parts {
            file.append(part)?;
        }
        file.sync()?;
        Ok::<_, io::Error>(file)
    };
    // What is left of it may be what fills the disk.
    let file = write().inspect_err(|_| _ = disk.remove(&unfinished))?;
    disk.rename(&unfinished, name)?;
    disk.sync()?;
    Ok(file)
}

/// Gives snapshots that cannot be read another name, so that they do not count as kept.
fn set_aside<D: Disk>(disk: &D, damaged: &[(u64, String)]) -> Result<(), OpenError> {
    for (seq, _) in damaged {
        let name = snapshot_name(*seq);
        disk.rename(&name, &format!("{name}.damaged")).map_err(OpenError::io(&name))?;
    }
    Ok(())
}

/// Gives the snapshots that a log could not read another name, so that they do not count as kept.
pub fn set_damaged_aside<D: Disk>(log: &Log<D>) -> Result<(), OpenError> {
    set_aside(&log.disk, &log.damaged)
}

/// Keeps what was made of all records up to `seq`. Two snapshots are kept, and the segments since the older one.
pub fn save_snapshot<D: Disk>(disk: &D, seq: u64, bytes: &[u8]) -> Result<(), OpenError> {
    let name = snapshot_name(seq);
    if bytes.is_empty() || bytes.len() > MAX_SNAPSHOT {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "a snapshot is of 1 byte to 4 GiB");
        return Err(OpenError::Io { file: name, source });
    }
    let mut frame = SNAPSHOT.to_vec();
    frame::encode(&mut frame, Record { seq, epoch: 0, payload: bytes }, 0);
    appear(disk, &name, &[&frame]).map_err(OpenError::io(&name))?;
    let all = snapshots(disk)?;
    for &old in &all[..all.len().saturating_sub(2)] {
        let name = snapshot_name(old);
        disk.remove(&name).map_err(OpenError::io(&name))?;
    }
    Ok(())
}

/// Removes the segments that neither of the two snapshots needs, and that were sealed before `sealed_before_ms`. Returns them,
/// oldest first.
pub fn remove_segments<D: Disk>(
    disk: &D,
    segments: &[Segment],
    sealed_before_ms: i64,
) -> Result<Vec<Segment>, OpenError> {
    let synced = || disk.sync().map_err(OpenError::io("the directory"));
    let [needed, _] = snapshots(disk)?[..] else { return Ok(Vec::new()) };
    // A snapshot before these two must not come back once the segments after it are gone, nor a segment once the next one is.
    synced()?;
    let mut removed = Vec::new();
    for pair in segments.windows(2) {
        // A segment is sealed when the next one is begun.
        if pair[1].first > needed + 1 || begun_ms(disk, &pair[1])? >= sealed_before_ms {
            break;
        }
        let name = pair[0].name();
        disk.remove(&name).map_err(OpenError::io(&name))?;
        synced()?;
        removed.push(pair[0].clone());
    }
    Ok(removed)
}
