//! A data directory as somebody may have left it.

use crate::bytes::Bytes;
use dispatch_journal::{
    Batch, Disk, DiskFile, Journal, Log, OpenError, Options, read_on, remove_segments, save_snapshot, set_damaged_aside,
};
use dispatch_server::fuzzing;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// Whatever lies in a directory, it is read or refused, in the end. What can be read can be written on, and is there afterwards.
/// Records and snapshots are read as the server reads them, or refused, and come back from what they are written as.
pub fn journal(input: &[u8]) {
    comes_back(fuzzing::record, input);
    comes_back(fuzzing::image, input);
    let mut bytes = Bytes::of(input);
    let disk = Memory::default();
    for _ in 0..32 {
        if bytes.is_empty() {
            break;
        }
        happen(&disk, &mut bytes);
    }
    look(&disk);
}

fn comes_back(read: fn(&[u8]) -> Result<Vec<u8>, String>, input: &[u8]) {
    if let Ok(written) = read(input) {
        assert_eq!(read(&written).as_ref(), Ok(&written), "came back changed");
    }
}

/// Reads a directory in every way there is.
fn look(disk: &Memory) {
    let files = disk.copied();
    let Ok(mut log) = Log::open(disk.clone()) else { return };
    for segment in log.segments() {
        let _ = log.inspect(segment);
    }
    let _ = log.check_snapshots();
    let _ = log.replay_all(|_| Ok(()));
    let _ = log.replay_sealed(|_| Ok(()));
    for after in [0, 1, 5, u64::MAX - 1, u64::MAX] {
        let _ = log.replay_after(after, |_| Ok(()));
        let _ = read_on(disk, after, |_| Ok(()));
    }
    let _ = log.replay(|_| Err("nobody understands it".into()));
    let found = records(&mut log);
    assert_eq!(files, disk.copied(), "reading changes nothing");
    let Ok(found) = found else { return };
    let Ok(mut journal) = Journal::start(log, Options { sync: true, segment_bytes: 1 << 20 }, 7) else { return };
    let mut batch = Batch::default();
    batch.push(b"another").expect("a record of a few bytes");
    let last = journal.commit(&batch, 8).expect("memory does not fail");
    drop(journal);
    let mut log = Log::open(disk.clone()).expect("what was read and written on can be opened");
    let again = records(&mut log).expect("what was read and written on can be read");
    let expected: Vec<_> = found.into_iter().chain([(last, b"another".to_vec())]).collect();
    assert_eq!(again, expected, "what was read is there, and what was written after it");
}

/// All records after the snapshot; their numbers have no gaps.
fn records(log: &mut Log<Memory>) -> Result<Vec<(u64, Vec<u8>)>, OpenError> {
    let mut found = Vec::new();
    let after = log.snapshot().map_or(0, |snapshot| snapshot.seq);
    log.replay(|record| {
        found.push((record.seq, record.payload.to_vec()));
        Ok(())
    })?;
    assert!(found.iter().map(|(seq, _)| *seq).eq((after + 1..).take(found.len())), "after {after}: {found:?}");
    Ok(found)
}

/// Writes as a server does, or damages what is there.
fn happen(disk: &Memory, bytes: &mut Bytes) {
    match bytes.below(12) {
        0..=3 => write(disk, bytes),
        4 => {
            // As the thread beside a server does.
            let Ok(mut log) = Log::open(disk.clone()) else { return };
            let _ = set_damaged_aside(&log);
            let after = log.take_snapshot().map_or(0, |snapshot| snapshot.seq);
            let Ok(report) = log.replay_sealed(|_| Ok(())) else { return };
            if report.last > after && save_snapshot(disk, report.last, b"{}").is_ok() {
                let _ = remove_segments(disk, log.segments(), i64::MAX);
            }
        }
        5 => {
            let name = name(bytes);
            let contents = Rc::new(RefCell::new(bytes.take(64).to_vec()));
            disk.0.borrow_mut().insert(name, contents);
        }
        6 => {
            let Some(file) = chosen(disk, bytes) else { return };
            let name = name(bytes);
            let mut files = disk.0.borrow_mut();
            let contents = files.remove(&file).unwrap_or_default();
            files.insert(name, contents);
        }
        7 => {
            let Some(file) = chosen(disk, bytes) else { return };
            disk.0.borrow_mut().remove(&file);
        }
        number => {
            let Some(file) = chosen(disk, bytes) else { return };
            let contents = disk.0.borrow()[&file].clone();
            let mut contents = contents.borrow_mut();
            let at = bytes.below(contents.len() + 1);
            match number {
                8 => contents.truncate(at),
                9 => contents[at..].iter_mut().take(512).for_each(|byte| *byte = 0),
                10 => contents.extend(bytes.take(40)),
                _ => {
                    for (byte, new) in contents[at..].iter_mut().zip(bytes.take(8)) {
                        *byte = *new;
                    }
                    mend(&mut contents, at);
                }
            }
        }
    }
}

fn write(disk: &Memory, bytes: &mut Bytes) {
    let Ok(mut log) = Log::open(disk.clone()) else { return };
    if log.replay(|_| Ok(())).is_err() {
        return;
    }
    let options = Options { sync: bytes.byte() < 192, segment_bytes: usize::from(bytes.byte()) };
    let Ok(mut journal) = Journal::start(log, options, 5) else { return };
    for _ in 0..bytes.below(4) {
        let mut batch = Batch::default();
        for _ in 0..=bytes.below(3) {
            let payload = [b"{\"a record\"}", bytes.take(24)].concat();
            batch.push(&payload).expect("a record of a few bytes");
        }
        journal.commit(&batch, 6).expect("memory does not fail");
    }
    if bytes.byte() < 128 {
        journal.seal(6).expect("memory does not fail");
    }
}

/// Makes the checksum of the header that a byte lies in fit again, or of the record: what comes then is not noticed by it.
fn mend(contents: &mut [u8], at: usize) {
    let sum = |parts: [&[u8]; 2]| {
        let mut hasher = crc32fast::Hasher::new();
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().to_le_bytes()
    };
    let is_segment = contents.starts_with(b"DSPJRNL1");
    if is_segment && at < 32 && contents.len() >= 32 {
        let check = sum([&contents[..12], &contents[16..32]]);
        contents[12..16].copy_from_slice(&check);
        return;
    }
    let mut start = if is_segment { 32 } else { 8 };
    while let Some(header) = contents.get(start..start + 32) {
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let end = (start + 32).saturating_add(len).checked_next_multiple_of(8).unwrap_or(usize::MAX);
        if at < end {
            if let Some(payload) = contents.get(start + 32..start + 32 + len) {
                let check = sum([payload, &[]]);
                contents[start + 28..start + 32].copy_from_slice(&check);
            }
            let check = sum([&contents[start..start + 4], &contents[start + 8..start + 32]]);
            contents[start + 4..start + 8].copy_from_slice(&check);
            return;
        }
        start = end;
    }
}

fn chosen(disk: &Memory, bytes: &mut Bytes) -> Option<String> {
    let files = disk.0.borrow();
    if files.is_empty() { None } else { files.keys().nth(bytes.below(files.len())).cloned() }
}

/// Names that mean something, and some that do not.
fn name(bytes: &mut Bytes) -> String {
    let number = match bytes.below(4) {
        0 => bytes.pick(&[0, u64::MAX, u64::MAX - 1]),
        1 => bytes.long(),
        _ => bytes.byte().into(),
    };
    let epoch = match bytes.below(4) {
        0 => u32::MAX,
        epoch => epoch as u32 - 1,
    };
    match bytes.below(6) {
        0 => format!("{number:020}.snapshot"),
        1 => format!("{number:020}.snapshot.unfinished"),
        2 => format!("{number}.segment"),
        _ => format!("{number:020}-{epoch:010}.segment"),
    }
}

/// A directory in memory.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<BTreeMap<String, Contents>>>);

/// What is in a file, whatever it is called.
type Contents = Rc<RefCell<Vec<u8>>>;

/// A file that is open.
struct MemoryFile(Contents);

impl Memory {
    fn copied(&self) -> BTreeMap<String, Vec<u8>> {
        self.0.borrow().iter().map(|(name, contents)| (name.clone(), contents.borrow().clone())).collect()
    }
}

impl Disk for Memory {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let files = self.0.borrow();
        files.get(name).map(|contents| contents.borrow().clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let contents = Contents::default();
        self.0.borrow_mut().insert(name.to_owned(), contents.clone());
        Ok(MemoryFile(contents))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let contents = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Directories that a server wrote and something happened to, and records as they are.
pub(crate) fn journal_seeds() -> Vec<Vec<u8>> {
    let written = [0, 0, 64, 3, 2, b'x', b'y', 1, 0, 200];
    let with = |more: &[u8]| [&written[..], &written, &[4], &written, more].concat();
    let record = r#"{"at":1767225600000,"market":"default","events":[{"seq":1,"at":1767225600000,"actor":{"role":"driver","name":null,
        "address":null,"user_agent":null},"kind":{"driver_paused":{"driver":"ana"}}}],"joined":"ana",
        "accepted":{"key":"00112233445566778899aabbccddeeff","payload":"00112233445566778899aabbccddeeff","created":true}}"#;
    vec![
        with(&[]),
        with(&[8, 0, 40]),
        with(&[9, 1, 16]),
        with(&[10, 0, 1, 2, 3]),
        with(&[11, 1, 8, 0, 0, 0, 0]),
        with(&[5, 2, 1, 4, 1, 2, 3]),
        with(&[6, 0, 2, 9, 1, 3]),
        record.as_bytes().to_vec(),
        br#"{"at":null,"markets":{},"homes":{"ana":"default"},"keys":[]}"#.to_vec(),
    ]
}
