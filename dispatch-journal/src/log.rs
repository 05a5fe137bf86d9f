//! Reading a directory: which records there are, and what is wrong with it.

use crate::disk::Disk;
use crate::frame::{self, HEADER, MAX_PAYLOAD, MAX_SNAPSHOT, Record, SNAPSHOT, SegmentHeader};
use std::io;

/// Why a log cannot be read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system says no.
    #[error("cannot use {file}")]
    Io {
        /// Which file, or what of the directory.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was durable is not what it was.
    #[error("{file} is damaged at byte {offset}: {problem}")]
    Damage {
        /// Which file.
        file: String,
        /// Where.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
    /// Records that must have been there are in no file.
    #[error("the records from {expected} on are missing: {file} begins with {found}")]
    Gap {
        /// The first that is missing.
        expected: u64,
        /// Which file comes instead.
        file: String,
        /// Its first record.
        found: u64,
    },
    /// The log ends before the snapshot does.
    #[error("the records after {last} are missing: {file} holds all up to {snapshot}")]
    Behind {
        /// The last record there is.
        last: u64,
        /// The snapshot.
        file: String,
        /// The last record in it.
        snapshot: u64,
    },
    /// Every snapshot is damaged, and the records from the first on are not there any more.
    #[error("no snapshot can be read, and the records before {first} are gone: {problem}")]
    NoSnapshot {
        /// The first record there is.
        first: u64,
        /// What is wrong with the last snapshot.
        problem: String,
    },
    /// A record is whole, and its reader cannot make sense of it.
    #[error("record {seq} in {file} makes no sense: {problem}")]
    Nonsense {
        /// Which record.
        seq: u64,
        /// Which file.
        file: String,
        /// What its reader says.
        problem: String,
    },
}

impl OpenError {
    pub(crate) fn io(file: &str) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io { file: file.to_owned(), source }
    }

    /// Whether a file is damaged, or the disk does not give it back.
    fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Damage { .. } => true,
            // EIO; of this process running out of something, or not being allowed, the disk is innocent.
            Self::Io { source, .. } => source.raw_os_error() == Some(5) || source.kind() == io::ErrorKind::Other,
            _ => false,
        }
    }

    fn damage(file: &str, offset: usize, problem: impl Into<String>) -> Self {
        Self::Damage { file: file.to_owned(), offset: offset as u64, problem: problem.into() }
    }
}

fn with_cause(error: &OpenError) -> String {
    match error {
        OpenError::Io { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    }
}

/// The last number that a record may have: no file that names a greater one is a server's.
pub(crate) const MAX_SEQ: u64 = i64::MAX.unsigned_abs();

/// A file of records, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The first record in it, if there is any.
    pub first: u64,
    /// The epoch it was written in.
    pub epoch: u32,
}

impl Segment {
    /// The name of the file.
    pub fn name(&self) -> String {
        format!("{:020}-{:010}.segment", self.first, self.epoch)
    }

    fn parse(name: &str) -> Option<Self> {
        let (first, epoch) = name.strip_suffix(".segment")?.split_once('-')?;
        let segment = Self { first: first.parse().ok()?, epoch: epoch.parse().ok()? };
        let is_possible = (1..=MAX_SEQ).contains(&segment.first) && segment.epoch > 0;
        (is_possible && segment.name() == name).then_some(segment)
    }
}

/// When a segment was begun, in milliseconds since 1970.
pub(crate) fn begun_ms<D: Disk>(disk: &D, segment: &Segment) -> Result<i64, OpenError> {
    let name = segment.name();
    let file = disk.read(&name).map_err(OpenError::io(&name))?;
    Ok(SegmentHeader::decode(&file).map_err(|problem| OpenError::damage(&name, 0, problem))?.begun_ms)
}

/// What was made of all records up to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last record in it.
    pub seq: u64,
    /// What was made of them.
    pub bytes: Vec<u8>,
}

pub(crate) fn snapshot_name(seq: u64) -> String {
    format!("{seq:020}.snapshot")
}

/// The last records of the snapshots there are, oldest first.
pub(crate) fn snapshots<D: Disk>(disk: &D) -> Result<Vec<u64>, OpenError> {
    let names = disk.list().map_err(OpenError::io("the directory"))?;
    let seq = |name: &String| {
        let seq = name.strip_suffix(".snapshot")?.parse().ok()?;
        (seq <= MAX_SEQ && snapshot_name(seq) == *name).then_some(seq)
    };
    let mut found: Vec<u64> = names.iter().filter_map(seq).collect();
    found.sort_unstable();
    Ok(found)
}

fn read_snapshot<D: Disk>(disk: &D, seq: u64) -> Result<Snapshot, OpenError> {
    let name = snapshot_name(seq);
    let mut bytes = disk.read(&name).map_err(OpenError::io(&name))?;
    if !bytes.starts_with(SNAPSHOT) {
        return Err(OpenError::damage(&name, 0, "it does not begin as a snapshot of a known version does"));
    }
    let broken = |broken: frame::Broken| OpenError::damage(&name, broken.bytes.start, broken.problem);
    let frame = frame::decode(&bytes, SNAPSHOT.len(), MAX_SNAPSHOT).map_err(broken)?;
    if frame.record.seq != seq || frame.end != bytes.len() {
        return Err(OpenError::damage(&name, SNAPSHOT.len(), "it is not what its name says"));
    }
    let body = SNAPSHOT.len() + HEADER;
    let len = frame.record.payload.len();
    bytes.truncate(body + len);
    bytes.drain(..body);
    Ok(Snapshot { seq, bytes })
}

/// What [`Log::replay`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many records were read.
    pub records: u64,
    /// The last record there is, 0 for none.
    pub last: u64,
    /// The epoch of the newest segment, 0 for none.
    pub epoch: u32,
    /// A tail that was never acknowledged, or is being written: its file, and from which byte on.
    pub torn: Option<(String, u64)>,
}

/// What is in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its whole records.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
    /// What is wrong after them.
    pub problem: Option<String>,
}

/// A directory that is being read.
pub struct Log<D: Disk> {
    pub(crate) disk: D,
    pub(crate) segments: Vec<Segment>,
    snapshot: Option<Snapshot>,
    pub(crate) damaged: Vec<(u64, String)>,
    pub(crate) report: Option<Report>,
}

impl<D: Disk> Log<D> {
    /// Looks what there is and reads the newest snapshot that is whole.
    pub fn open(disk: D) -> Result<Self, OpenError> {
        let segments = segments(&disk)?;
        let (mut damaged, mut snapshot) = (Vec::new(), None);
        for seq in snapshots(&disk)?.into_iter().rev() {
            match read_snapshot(&disk, seq) {
                Ok(read) => {
                    snapshot = Some(read);
                    break;
                }
                Err(error) if error.is_of_the_disk() => damaged.push((seq, with_cause(&error))),
                Err(error) => return Err(error),
            }
        }
        let first = segments.first().map_or(1, |segment| segment.first);
        if let (None, Some((_, problem)), true) = (&snapshot, damaged.first(), first > 1 || segments.is_empty()) {
            return Err(OpenError::NoSnapshot { first, problem: problem.clone() });
        }
        Ok(Self { disk, segments, snapshot, damaged, report: None })
    }

    /// The newest whole snapshot; there is none of a young log.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Takes the snapshot out, so that its memory can be freed.
    pub fn take_snapshot(&mut self) -> Option<Snapshot> {
        let seq = self.snapshot.as_ref()?.seq;
        self.snapshot.replace(Snapshot { seq, bytes: Vec::new() })
    }

    /// Newer snapshots that are damaged, with what is wrong.
    pub fn damaged_snapshots(&self) -> impl Iterator<Item = &str> {
        self.damaged.iter().map(|(_, problem)| problem.as_str())
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// What is in one segment.
    pub fn inspect(&self, segment: &Segment) -> Result<Contents, OpenError> {
        let name = segment.name();
        let file = self.disk.read(&name).map_err(OpenError::io(&name))?;
        let is_newest = self.segments.last() == Some(segment);
        let mut report = Report { last: segment.first - 1, ..Report::default() };
        let problem = match read_segment(&name, &file, segment, is_newest, &mut report, |_| Ok(())) {
            Ok(()) => {
                report.torn.map(|(_, at)| format!("what follows byte {at} was never acknowledged or is being written"))
            }
            Err(error) => Some(error.to_string()),
        };
        Ok(Contents { records: report.records, bytes: file.len() as u64, problem })
    }

    /// Which snapshots there are, oldest first, each with what is wrong with it if it cannot be read.
    pub fn check_snapshots(&self) -> Result<Vec<(u64, Option<String>)>, OpenError> {
        let check = |seq| match read_snapshot(&self.disk, seq) {
            Ok(_) => Ok((seq, None)),
            Err(error) if error.is_of_the_disk() => Ok((seq, Some(with_cause(&error)))),
            Err(error) => Err(error),
        };
        snapshots(&self.disk)?.into_iter().map(check).collect()
    }

    /// The newest whole snapshot of fewer records than `seq`. The records since may be gone.
    pub fn snapshot_before(&self, seq: u64) -> Result<Option<Snapshot>, OpenError> {
        for older in snapshots(&self.disk)?.into_iter().rev().filter(|older| *older < seq) {
            match read_snapshot(&self.disk, older) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) if error.is_of_the_disk() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// One of the snapshots there are.
    pub fn snapshot_at(&self, seq: u64) -> Result<Snapshot, OpenError> {
        read_snapshot(&self.disk, seq)
    }

    /// Reads every record after the snapshot, in sequence, and gives it to `visit`, which may find that it makes no sense.
    pub fn replay(&mut self, visit: impl FnMut(Record<'_>) -> Result<(), String>) -> Result<&Report, OpenError> {
        let after = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let report = self.read(after, self.segments.len(), visit)?;
        if let Some(snapshot) = self.snapshot.as_ref().filter(|snapshot| report.last < snapshot.seq) {
            let (last, snapshot) = (report.last, snapshot.seq);
            return Err(OpenError::Behind { last, file: snapshot_name(snapshot), snapshot });
        }
        Ok(self.report.insert(report))
    }

    /// As [`Log::replay`], without the newest segment, which may be being written to. Whatever else is not whole is damage.
    pub fn replay_sealed(&self, visit: impl FnMut(Record<'_>) -> Result<(), String>) -> Result<Report, OpenError> {
        let after = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        self.read(after, self.segments.len().saturating_sub(1), visit)
    }

    /// As [`Log::replay`], after any record.
    pub fn replay_after(
        &self,
        after: u64,
        visit: impl FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Report, OpenError> {
        self.read(after, self.segments.len(), visit)
    }

    /// As [`Log::replay`], from the first record there is, whatever the snapshots say.
    pub fn replay_all(&self, visit: impl FnMut(Record<'_>) -> Result<(), String>) -> Result<Report, OpenError> {
        let after = self.segments.first().map_or(0, |segment| segment.first - 1);
        self.read(after, self.segments.len(), visit)
    }

    /// The records after `after` in the first `count` segments.
    fn read(
        &self,
        after: u64,
        count: usize,
        mut visit: impl FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Report, OpenError> {
        let after = after.min(MAX_SEQ);
        // The segment that holds the first record asked for is the last that does not begin after it.
        let from = self.segments[..count].partition_point(|segment| segment.first <= after + 1).saturating_sub(1);
        let mut report = Report { last: after, ..Report::default() };
        for (number, segment) in self.segments[..count].iter().enumerate().skip(from) {
            let name = segment.name();
            if number == from && segment.first <= after + 1 {
                report.last = segment.first - 1;
            }
            if segment.first != report.last + 1 {
                return Err(OpenError::Gap { expected: report.last + 1, file: name, found: segment.first });
            }
            let file = self.disk.read(&name).map_err(OpenError::io(&name))?;
            let is_newest = number + 1 == self.segments.len();
            read_segment(&name, &file, segment, is_newest, &mut report, |record| {
                if record.seq <= after { Ok(()) } else { visit(record) }
            })?;
        }
        Ok(report)
    }
}

/// Reads on beside whoever writes: the records after `after` in the one segment that holds the next of them. What is at its end
/// may be written and not durable yet, which only the writer knows.
pub fn read_on<D: Disk>(
    disk: &D,
    after: u64,
    mut visit: impl FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Report, OpenError> {
    let (segments, after) = (segments(disk)?, after.min(MAX_SEQ));
    let number = segments.partition_point(|segment| segment.first <= after + 1);
    let mut report = Report { last: after, ..Report::default() };
    let Some(number) = number.checked_sub(1) else {
        return match segments.first() {
            Some(next) => Err(OpenError::Gap { expected: after + 1, file: next.name(), found: next.first }),
            None => Ok(report),
        };
    };
    let segment = &segments[number];
    let name = segment.name();
    let file = disk.read(&name).map_err(OpenError::io(&name))?;
    report.last = segment.first - 1;
    read_segment(&name, &file, segment, number + 1 == segments.len(), &mut report, |record| {
        if record.seq <= after { Ok(()) } else { visit(record) }
    })?;
    Ok(report)
}

/// Whether nobody ever began to write there. There may be a snapshot that was to be the beginning.
pub fn is_unwritten<D: Disk>(disk: &D) -> Result<bool, OpenError> {
    Ok(segments(disk)?.is_empty())
}

/// All segments, oldest first.
pub fn segments<D: Disk>(disk: &D) -> Result<Vec<Segment>, OpenError> {
    let names = disk.list().map_err(OpenError::io("the directory"))?;
    let mut segments: Vec<Segment> = names.iter().filter_map(|name| Segment::parse(name)).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// Reads one segment, whose name is that of its header, and notes what was found.
fn read_segment(
    name: &str,
    file: &[u8],
    segment: &Segment,
    is_newest: bool,
    report: &mut Report,
    mut visit: impl FnMut(Record<'_>) -> Result<(), String>,
) -> Result<(), OpenError> {
    let header = SegmentHeader::decode(file).map_err(|problem| OpenError::damage(name, 0, problem))?;
    if (header.first, header.epoch) != (segment.first, segment.epoch) || segment.epoch < report.epoch {
        return Err(OpenError::damage(name, 0, "it is not the file that its name says"));
    }
    report.epoch = segment.epoch;
    let mut at = HEADER;
    while at < file.len() {
        let expected = report.last + 1;
        let frame = match frame::decode(file, at, MAX_PAYLOAD) {
            Ok(frame) => frame,
            Err(broken) if is_newest && broken.is_torn(file) && !is_settled(file, at, expected) => {
                report.torn = Some((name.to_owned(), at as u64));
                return Ok(());
            }
            Err(broken) => return Err(OpenError::damage(name, at, broken.problem)),
        };
        if frame.record.seq != expected || frame.record.epoch != segment.epoch {
            let problem = format!("record {} of epoch {} is not due here", frame.record.seq, frame.record.epoch);
            return Err(OpenError::damage(name, at, problem));
        }
        let nonsense = |problem| OpenError::Nonsense { seq: expected, file: name.to_owned(), problem };
        visit(frame.record).map_err(nonsense)?;
        report.last = expected;
        report.records += 1;
        at = frame.end;
    }
    Ok(())
}

/// Whether a whole record after `from` says that record `seq` was durable.
fn is_settled(file: &[u8], from: usize, seq: u64) -> bool {
    (from + 8..file.len()).step_by(8).any(|at| {
        let frame = frame::decode(file, at, MAX_PAYLOAD);
        frame.is_ok_and(|frame| frame.record.seq > seq && frame.settled > seq)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Directory, Journal, Options};

    /// What is made of a directory with one record and another file in it.
    fn beside(name: &str, contents: &[u8]) -> Result<Report, OpenError> {
        let path = std::env::temp_dir().join(format!("journal-names-{}-{name}", std::process::id()));
        let mut log = Log::open(Directory::open(&path).unwrap()).unwrap();
        log.replay(|_| Ok(())).unwrap();
        let mut journal = Journal::start(log, Options::default(), 0).unwrap();
        let mut batch = Batch::default();
        batch.push(b"x").unwrap();
        journal.commit(&batch, 0).unwrap();
        drop(journal);
        std::fs::write(path.join(name), contents).unwrap();
        let read = Log::open(Directory::open(&path).unwrap()).and_then(|mut log| {
            let report = log.replay(|_| Ok(()))?.clone();
            assert!(log.segments().iter().all(|segment| log.inspect(segment).is_ok()));
            Journal::start(log, Options::default(), 0)?;
            Ok(report)
        });
        let on = read_on(&Directory::read_only(&path), u64::MAX, |_| Ok(()));
        assert!(on.is_ok_and(|report| report.records == 0), "there is nothing after the last number");
        std::fs::remove_dir_all(&path).unwrap();
        read
    }

    #[test]
    fn numbers_at_the_end_of_their_range_are_no_reason_to_panic() {
        let max = u64::MAX;
        let mut frame = SNAPSHOT.to_vec();
        frame::encode(&mut frame, Record { seq: max, epoch: 0, payload: b"{}" }, 0);
        for (name, contents) in [
            (format!("{max:020}.snapshot"), &frame[..]),
            (format!("{max:020}-0000000001.segment"), &SegmentHeader { epoch: 1, first: max, begun_ms: 0 }.encode()),
            (format!("{:020}-0000000000.segment", 0), &SegmentHeader { epoch: 0, first: 0, begun_ms: 0 }.encode()),
        ] {
            // No server writes these: they are not its files.
            assert_eq!(beside(&name, contents).unwrap().records, 1, "{name}");
        }
        // These may be, and there is nothing to call what would come after them.
        for (first, epoch) in [(2, u32::MAX), (MAX_SEQ, 1)] {
            let segment = Segment { first, epoch };
            let refused = beside(&segment.name(), &SegmentHeader { epoch, first, begun_ms: 0 }.encode());
            assert!(matches!(refused, Err(OpenError::Damage { .. } | OpenError::Gap { .. })), "{refused:?}");
        }
    }
}
