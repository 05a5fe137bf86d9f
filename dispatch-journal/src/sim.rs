//! A disk in memory that loses, tears and fails on purpose, and a life of crashes on it.
//!
//! The model: what was synced survives. Of a file that was not, any of its sectors may be there or be zeros, and it may have
//! any length between what it had and has. Of files that were created, renamed or removed since the directory was synced, the
//! changes survive up to one of them. A sync that fails has dropped what it should have written, and the next one succeeds.

use crate::disk::{Disk, DiskFile};
use crate::{Batch, Journal, Log, OpenError, Options, remove_segments, save_snapshot};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine loses its power while it happens.
    Crash,
    /// It fails.
    Error,
    /// There is no room left; some of what was to be written is.
    Full,
}

/// A disk that does what disks do. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Inner>>);

struct Inner {
    random: Pcg64Mcg,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    /// The names that are durable, and what was done to them since.
    durable_names: BTreeMap<String, usize>,
    renames: Vec<BTreeMap<String, usize>>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// A sync failed: what it dropped no other sync writes.
    dropped: bool,
}

/// A file of a [`SimDisk`].
pub struct SimFile {
    disk: SimDisk,
    number: usize,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        let (names, random) = (BTreeMap::new(), Pcg64Mcg::seed_from_u64(seed));
        Self::with(random, Vec::new(), names.clone(), names, Vec::new())
    }

    fn with(
        random: Pcg64Mcg,
        files: Vec<File>,
        names: BTreeMap<String, usize>,
        durable_names: BTreeMap<String, usize>,
        renames: Vec<BTreeMap<String, usize>>,
    ) -> Self {
        let (calls, fault, dead) = (0, None, false);
        Self(Arc::new(Mutex::new(Inner { random, files, names, durable_names, renames, calls, fault, dead })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the call of this number, counted from now, from 0, go wrong.
    pub fn plan(&self, call: u64, fault: Fault) {
        let mut inner = self.inner();
        inner.fault = Some((inner.calls + call, fault));
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// The disk as it would be found if the power were lost now, or at the crash before. This one stays as it is.
    #[must_use]
    pub fn after_power_loss(&self) -> Self {
        let mut inner = self.inner();
        let mut random = Pcg64Mcg::seed_from_u64(inner.random.next_u64());
        let survived = random.random_range(0..=inner.renames.len());
        let names = if survived == 0 { &inner.durable_names } else { &inner.renames[survived - 1] };
        let survive = |file: &File| {
            let durable = survivor(file, &mut random);
            File { now: durable.clone(), durable, dropped: false }
        };
        let files = inner.files.iter().map(survive).collect();
        Self::with(random, files, names.clone(), names.clone(), Vec::new())
    }

    /// The disk as it would be found if the process died now, and the machine did not. This one stays as it is.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let mut inner = self.inner();
        let random = Pcg64Mcg::seed_from_u64(inner.random.next_u64());
        let (durable_names, renames) = (inner.durable_names.clone(), inner.renames.clone());
        Self::with(random, inner.files.clone(), inner.names.clone(), durable_names, renames)
    }

    /// Turns a bit of a file over, of its durable bytes as well. Returns which file and byte; `None` where there is none.
    pub fn flip_a_bit(&self) -> Option<(String, usize)> {
        let mut inner = self.inner();
        let Inner { random, names, files, .. } = &mut *inner;
        let full: Vec<(&String, usize)> = names
            .iter()
            .filter(|(_, number)| !files[**number].now.is_empty())
            .map(|(name, &number)| (name, number))
            .collect();
        if full.is_empty() {
            return None;
        }
        let (name, number) = full[random.random_range(0..full.len())];
        let file = &mut files[number];
        let (at, bit) = (random.random_range(0..file.now.len()), random.random_range(0..8));
        file.now[at] ^= 1 << bit;
        if let Some(byte) = file.durable.get_mut(at) {
            *byte ^= 1 << bit;
        }
        Some((name.clone(), at))
    }

    /// Counts a call, and says what goes wrong at it.
    fn call(&self) -> io::Result<(MutexGuard<'_, Inner>, Option<Fault>)> {
        let mut inner = self.inner();
        if inner.dead {
            return Err(io::Error::other("the machine has no power"));
        }
        let fault = inner.fault.filter(|(call, _)| *call == inner.calls).map(|(_, fault)| fault);
        inner.calls += 1;
        inner.dead = fault == Some(Fault::Crash);
        Ok((inner, fault))
    }

    /// Reads, or changes a name.
    fn simple<T>(&self, act: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let (mut inner, fault) = self.call()?;
        // Whether a crash came before or after it, nobody knows.
        let happens = fault.is_none() || fault == Some(Fault::Crash) && inner.random.random();
        let done = if happens { Some(act(&mut inner)?) } else { None };
        done.filter(|_| fault.is_none()).ok_or_else(|| failure(fault))
    }

    fn rename_with(&self, act: impl FnOnce(&mut Inner) -> io::Result<usize>) -> io::Result<usize> {
        self.simple(|inner| {
            let number = act(inner)?;
            inner.renames.push(inner.names.clone());
            Ok(number)
        })
    }
}

fn failure(fault: Option<Fault>) -> io::Error {
    match fault {
        Some(Fault::Full) => io::ErrorKind::StorageFull.into(),
        _ => io::Error::other("the disk says no"),
    }
}

/// What is left of a file that was not synced.
fn survivor(file: &File, random: &mut Pcg64Mcg) -> Vec<u8> {
    let File { now, durable, .. } = file;
    let (shortest, longest) = (now.len().min(durable.len()), now.len().max(durable.len()));
    let len = match random.random_range(0..3) {
        0 => shortest,
        1 => longest,
        _ => random.random_range(shortest..=longest),
    };
    let (kept, mut left) = (random.random_range(0..=100), vec![0; len]);
    for start in (0..len).step_by(SECTOR) {
        let from = if random.random_range(0..100) < kept { now } else { durable };
        let end = len.min(start + SECTOR).min(from.len());
        if start < end {
            left[start..end].copy_from_slice(&from[start..end]);
        }
    }
    left
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, name.to_owned())
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.simple(|inner| Ok(inner.names.keys().cloned().collect()))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.simple(|inner| Ok(inner.files[*inner.names.get(name).ok_or_else(|| missing(name))?].now.clone()))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let number = self.rename_with(|inner| {
            inner.files.push(File::default());
            inner.names.insert(name.to_owned(), inner.files.len() - 1);
            Ok(inner.files.len() - 1)
        })?;
        Ok(SimFile { disk: self.clone(), number })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let renamed = self.rename_with(|inner| {
            let number = inner.names.remove(from).ok_or_else(|| missing(from))?;
            inner.names.insert(to.to_owned(), number);
            Ok(number)
        });
        renamed.map(drop)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.rename_with(|inner| inner.names.remove(name).ok_or_else(|| missing(name))).map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        self.simple(|inner| {
            inner.durable_names.clone_from(&inner.names);
            inner.renames.clear();
            Ok(())
        })
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut inner, fault) = self.disk.call()?;
        let written = match fault {
            None => bytes.len(),
            Some(Fault::Error) => 0,
            Some(Fault::Crash | Fault::Full) => inner.random.random_range(0..=bytes.len()),
        };
        inner.files[self.number].now.extend_from_slice(&bytes[..written]);
        if fault.is_some() { Err(failure(fault)) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut inner, fault) = self.disk.call()?;
        let happens = fault.is_none() || fault == Some(Fault::Crash) && inner.random.random();
        let file = &mut inner.files[self.number];
        if happens && !file.dropped {
            file.durable.clone_from(&file.now);
        }
        file.dropped |= matches!(fault, Some(Fault::Error | Fault::Full));
        if fault.is_some() { Err(failure(fault)) } else { Ok(()) }
    }
}

/// What became of the records of a life of crashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Times the machine lost its power or the process died, at any call.
    pub crashes: u64,
    /// Times a call failed or the disk was full.
    pub failures: u64,
    /// Bits that were turned over.
    pub flips: u64,
    /// How many of these were said to be damage; the others changed nothing that is read.
    pub detected: u64,
    /// Records that were acknowledged and not there afterwards, or not the same. Must be 0.
    pub lost: u64,
    /// Bits turned over that changed records without a word. Must be 0.
    pub undetected: u64,
    /// Times a log without damage did not start, with what was said. Must be none.
    pub refused: Vec<String>,
}

/// Whom the records are read by: it keeps them all, and a snapshot is nothing but these.
#[derive(Default)]
struct Reader {
    seen: Vec<Vec<u8>>,
}

impl Reader {
    fn of<D: Disk>(log: &Log<D>) -> Self {
        let Some(snapshot) = log.snapshot() else { return Self::default() };
        Self { seen: snapshot.bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect() }
    }

    fn read(&mut self, payload: &[u8]) {
        self.seen.push(payload.to_vec());
    }

    /// All that a directory holds.
    fn all<D: Disk>(disk: D) -> Result<(Self, Log<D>), OpenError> {
        let mut log = Log::open(disk)?;
        let mut reader = Self::of(&log);
        log.replay(|record| {
            reader.read(record.payload);
            Ok(())
        })?;
        Ok((reader, log))
    }
}

/// A journal that is written to, crashes and is started again, over and over, `lives` times, on a disk made of this seed. Each
/// life ends at a call drawn at random, in recovery as well as in writing and in making snapshots.
pub fn live(seed: u64, lives: u32, sync: bool) -> Life {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let (mut disk, mut life) = (SimDisk::new(seed), Life::default());
    let options = Options { sync, segment_bytes: random.random_range(64..20_000) };
    // What was acknowledged, and behind it what was asked for and may be there.
    let (mut written, mut acknowledged): (Vec<Vec<u8>>, usize) = (Vec::new(), 0);
    for _ in 0..lives {
        let fault = [Fault::Crash, Fault::Crash, Fault::Error, Fault::Full][random.random_range(0..4)];
        disk.plan(random.random_range(0..60), fault);
        spend(&disk, options, &mut random, &mut written, &mut acknowledged, &mut life);
        let dies = fault == Fault::Crash;
        *(if dies { &mut life.crashes } else { &mut life.failures }) += 1;
        disk = if random.random_range(0..4) > 0 { disk.after_power_loss() } else { disk.after_kill() };
        match Reader::all(disk.after_kill()) {
            Ok((reader, _)) => {
                let same = reader.seen.iter().zip(&written).take_while(|(seen, written)| seen == written).count();
                life.lost += acknowledged.saturating_sub(same) as u64;
                // What was asked for and is not there never was.
                written = reader.seen;
                acknowledged = acknowledged.min(written.len());
            }
            Err(error) => {
                life.refused.push(format!("seed {seed}: {error}"));
                return life;
            }
        }
        look_for_flips(&disk.after_kill(), &mut life, &written);
    }
    life
}

/// One life: recovery, then batches and snapshots until something goes wrong.
fn spend(
    disk: &SimDisk,
    options: Options,
    random: &mut Pcg64Mcg,
    written: &mut Vec<Vec<u8>>,
    acknowledged: &mut usize,
    life: &mut Life,
) {
    let Ok((_, log)) = Reader::all(disk.clone()) else { return };
    let Ok(mut journal) = Journal::start(log, options, 0) else { return };
    *acknowledged = written.len();
    for _ in 0..100 {
        let mut batch = Batch::default();
        for _ in 0..random.random_range(1..6) {
            let len = if random.random_range(0..10) == 0 {
                random.random_range(1..4_000)
            } else {
                random.random_range(1..200)
            };
            let payload: Vec<u8> = (0..len).map(|_| random.random_range(b'a'..=b'z')).collect();
            batch.push(&payload).expect("payloads are short");
            written.push(payload);
        }
        let Ok(last) = journal.commit(&batch, 0) else { return };
        assert_eq!(last, written.len() as u64, "records are numbered from 1 without gaps");
        life.acknowledged += batch.len() as u64;
        *acknowledged = written.len();
        if random.random_range(0..10) == 0 && keep(disk).is_err() {
            return;
        }
    }
}

/// What is done in the background: sealed segments become part of a snapshot, and go.
fn keep(disk: &SimDisk) -> Result<(), OpenError> {
    let log = Log::open(disk.clone())?;
    let mut reader = Reader::of(&log);
    let report = log.replay_sealed(|record| {
        reader.read(record.payload);
        Ok(())
    })?;
    if report.records > 0 {
        save_snapshot(disk, report.last, &reader.seen.join(&b'\n'))?;
        remove_segments(disk, log.segments(), i64::MAX)?;
    }
    Ok(())
}

fn look_for_flips(disk: &SimDisk, life: &mut Life, written: &[Vec<u8>]) {
    if disk.flip_a_bit().is_none() {
        return;
    }
    life.flips += 1;
    match Reader::all(disk.clone()) {
        Ok((reader, _)) => life.undetected += u64::from(reader.seen != written),
        Err(_) => life.detected += 1,
    }
}
