//! A disk in memory that loses, tears and fails on purpose, and a life of crashes on it.
//!
//! The model: what was synced survives. Of a file that was not, any of its sectors may be there or be zeros, and it may have
//! any length between what it had and has. A name that was given or taken since the directory was synced stands, after a crash,
//! for what it stood for then or at any time since, whatever became of other names. A sync that fails has dropped what it should
//! have written, and the next one succeeds.

use crate::disk::{Disk, DiskFile};
use crate::{Batch, Journal, Log, OpenError, Options, remove_segments, save_snapshot, set_damaged_aside};
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

#[derive(Clone)]
struct Inner {
    random: Pcg64Mcg,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    /// The names that are durable, and for what each that was changed stood since, one after the other.
    durable_names: BTreeMap<String, usize>,
    renamed: BTreeMap<String, Vec<Option<usize>>>,
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
        Self::with(Inner {
            random: Pcg64Mcg::seed_from_u64(seed),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamed: BTreeMap::new(),
            calls: 0,
            fault: None,
            dead: false,
        })
    }

    fn with(inner: Inner) -> Self {
        Self(Arc::new(Mutex::new(inner)))
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
        let mut names = inner.durable_names.clone();
        for (name, since) in &inner.renamed {
            if let Some(survived) = random.random_range(0..=since.len()).checked_sub(1) {
                give(&mut names, name, since[survived]);
            }
        }
        let mut files = vec![File::default(); inner.files.len()];
        for &number in names.values() {
            let left = survivor(&inner.files[number], &mut random);
            files[number] = File { now: left.clone(), durable: left, dropped: false };
        }
        let (durable_names, renamed) = (names.clone(), BTreeMap::new());
        Self::with(Inner { random, files, names, durable_names, renamed, calls: 0, fault: None, dead: false })
    }

    /// The disk as it would be found if the process died now, and the machine did not. This one stays as it is.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let mut inner = self.inner();
        let random = Pcg64Mcg::seed_from_u64(inner.random.next_u64());
        Self::with(Inner { random, calls: 0, fault: None, dead: false, ..inner.clone() })
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

    /// Whether the machine lost its power, or the process died.
    fn is_dead(&self) -> bool {
        self.inner().dead
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
}

impl Inner {
    fn file(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_owned()))
    }

    /// Has a name stand for a file, or for none.
    fn rename(&mut self, name: &str, file: Option<usize>) {
        self.renamed.entry(name.to_owned()).or_default().push(file);
        give(&mut self.names, name, file);
    }
}

fn give(names: &mut BTreeMap<String, usize>, name: &str, file: Option<usize>) {
    match file {
        Some(number) => names.insert(name.to_owned(), number),
        None => names.remove(name),
    };
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

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.simple(|inner| Ok(inner.names.keys().cloned().collect()))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.simple(|inner| Ok(inner.files[inner.file(name)?].now.clone()))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let number = self.simple(|inner| {
            if let Ok(number) = inner.file(name) {
                // A file that is there is emptied, with what a failed sync did to it, and is the same file.
                let durable = std::mem::take(&mut inner.files[number].durable);
                inner.files[number] = File { durable, ..File::default() };
                return Ok(number);
            }
            inner.files.push(File::default());
            inner.rename(name, Some(inner.files.len() - 1));
            Ok(inner.files.len() - 1)
        })?;
        Ok(SimFile { disk: self.clone(), number })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.simple(|inner| {
            let number = inner.file(from)?;
            inner.rename(from, None);
            inner.rename(to, Some(number));
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.simple(|inner| {
            inner.file(name)?;
            inner.rename(name, None);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.simple(|inner| {
            inner.durable_names.clone_from(&inner.names);
            inner.renamed.clear();
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

/// What a journal lives with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It syncs; the machine loses its power, the process dies, calls fail and the disk is full.
    Sync,
    /// It does not sync, and the process dies; the machine goes on.
    Process,
    /// It does not sync, and has what happens to one that does. It loses records.
    SkipSync,
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
    /// Snapshots that were made.
    pub snapshots: u64,
    /// Bits that were turned over.
    pub flips: u64,
    /// How many of these were said to be damage; the others changed nothing that is read.
    pub detected: u64,
    /// Records that were acknowledged and not there afterwards, or not the same. Must be 0.
    pub lost: u64,
    /// Records that were there afterwards and are not what was asked for in their place. Must be 0.
    pub invented: u64,
    /// Bits turned over that changed records without a word. Must be 0.
    pub undetected: u64,
    /// Times a log without damage did not start, or a crash left a damaged snapshot, with what was said. Must be none.
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

/// How one journal is used, from its first life to its last.
#[derive(Clone, Copy)]
struct Habits {
    options: Options,
    /// Before which call something goes wrong.
    calls: u64,
    /// After how many of a hundred batches something is done in the background.
    keep_percent: u32,
    /// Whether the journal goes on between the steps of what is done in the background.
    is_beside: bool,
}

impl Habits {
    fn draw(random: &mut Pcg64Mcg, mode: Mode) -> Self {
        Self {
            options: Options { sync: mode == Mode::Sync, segment_bytes: random.random_range(64..20_000) },
            calls: [60, 60, 60, 300][random.random_range(0..4)],
            keep_percent: [10, 30][random.random_range(0..2)],
            is_beside: random.random(),
        }
    }
}

/// What was asked for in all lives.
#[derive(Default)]
struct Asked {
    records: Vec<Vec<u8>>,
    /// How many of them were acknowledged; the others may be there.
    acknowledged: usize,
    /// The last epoch in which there was a journal.
    epoch: u32,
}

/// A journal that is written to, crashes and is started again, over and over, `lives` times, on a disk made of this seed. Each
/// life ends at a call drawn at random, in recovery as well as in writing and in making snapshots.
///
/// # Panics
/// If records are not numbered from 1 without gaps, or an epoch is used twice.
pub fn live(seed: u64, lives: u32, mode: Mode) -> Life {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let (mut disk, mut life, mut asked) = (SimDisk::new(seed), Life::default(), Asked::default());
    let habits = Habits::draw(&mut random, mode);
    for _ in 0..lives {
        let fault = [Fault::Crash, Fault::Crash, Fault::Error, Fault::Full][random.random_range(0..4)];
        let fault = if mode == Mode::Process { Fault::Crash } else { fault };
        disk.plan(random.random_range(0..habits.calls), fault);
        spend(&disk, habits, &mut random, &mut asked, &mut life);
        *(if fault == Fault::Crash { &mut life.crashes } else { &mut life.failures }) += 1;
        let is_power_lost = mode != Mode::Process && random.random_range(0..4) > 0;
        disk = if is_power_lost { disk.after_power_loss() } else { disk.after_kill() };
        match Reader::all(disk.after_kill()) {
            Ok((reader, log)) => {
                let both = reader.seen.iter().zip(&asked.records);
                let same = both.take_while(|(seen, asked)| seen == asked).count();
                life.lost += asked.acknowledged.saturating_sub(same) as u64;
                life.invented += (reader.seen.len() - same) as u64;
                life.refused.extend(check_all(&log).err().map(|error| format!("seed {seed}, all there is: {error}")));
                life.refused.extend(log.damaged_snapshots().map(|problem| format!("seed {seed}: {problem}")));
                // What was asked for and is not there never was.
                asked.records = reader.seen;
                asked.acknowledged = asked.acknowledged.min(asked.records.len());
            }
            Err(error) => {
                life.refused.push(format!("seed {seed}: {error}"));
                return life;
            }
        }
        look_for_flips(&disk.after_kill(), &mut life, &asked.records);
    }
    life
}

/// Reads what a restart does not need, too: the records there are, and those from each snapshot on.
fn check_all<D: Disk>(log: &Log<D>) -> Result<(), OpenError> {
    log.replay_all(|_| Ok(()))?;
    for (seq, _) in log.check_snapshots()? {
        log.replay_after(seq, |_| Ok(()))?;
    }
    Ok(())
}

/// One life: recovery, then batches and snapshots until something goes wrong.
fn spend(disk: &SimDisk, habits: Habits, random: &mut Pcg64Mcg, asked: &mut Asked, life: &mut Life) {
    let Ok((_, log)) = Reader::all(disk.clone()) else { return };
    let Ok(mut journal) = Journal::start(log, habits.options, 0) else { return };
    assert!(journal.epoch() > asked.epoch, "two writers are never mistaken for one");
    (asked.epoch, asked.acknowledged) = (journal.epoch(), asked.records.len());
    let mut keeping = Keeping::Idle;
    for _ in 0..80 {
        let batch = draw_batch(random, asked);
        let Ok(last) = journal.commit(&batch, 0) else { return };
        assert_eq!(last, asked.records.len() as u64, "records are numbered from 1 without gaps");
        life.acknowledged += batch.len() as u64;
        asked.acknowledged = asked.records.len();
        if random.random_range(0..20) == 0 && journal.seal(0).is_err() {
            return;
        }
        if random.random_range(0..100) < habits.keep_percent {
            keeping = keeping.go_on(disk, habits.is_beside, life);
        }
        if disk.is_dead() {
            return;
        }
    }
}

fn draw_batch(random: &mut Pcg64Mcg, asked: &mut Asked) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..random.random_range(1..6) {
        let most = if random.random_range(0..10) == 0 { 4_000 } else { 200 };
        let len = random.random_range(1..most);
        let payload: Vec<u8> = (0..len).map(|_| random.random_range(b'a'..=b'z')).collect();
        batch.push(&payload).expect("payloads are short");
        asked.records.push(payload);
    }
    batch
}

/// What is done in the background: sealed segments become part of a snapshot, and go.
enum Keeping {
    Idle,
    Opened(Log<SimDisk>),
    Folded { log: Log<SimDisk>, last: u64, bytes: Vec<u8> },
    Saved(Log<SimDisk>),
}

impl Keeping {
    /// Does the next step, or all that are left. If one fails, it begins anew the next time; the journal goes on.
    fn go_on(mut self, disk: &SimDisk, is_beside: bool, life: &mut Life) -> Self {
        loop {
            self = self.step(disk).unwrap_or(Self::Idle);
            life.snapshots += u64::from(matches!(self, Self::Saved(_)));
            if is_beside || matches!(self, Self::Idle) {
                return self;
            }
        }
    }

    fn step(self, disk: &SimDisk) -> Result<Self, OpenError> {
        Ok(match self {
            Self::Idle => {
                let log = Log::open(disk.clone())?;
                set_damaged_aside(&log)?;
                Self::Opened(log)
            }
            Self::Opened(log) => {
                let mut reader = Reader::of(&log);
                let report = log.replay_sealed(|record| {
                    reader.read(record.payload);
                    Ok(())
                })?;
                let (last, bytes) = (report.last, reader.seen.join(&b'\n'));
                if report.records == 0 { Self::Idle } else { Self::Folded { log, last, bytes } }
            }
            Self::Folded { log, last, bytes } => {
                save_snapshot(disk, last, &bytes)?;
                Self::Saved(log)
            }
            Self::Saved(log) => {
                remove_segments(disk, log.segments(), i64::MAX)?;
                Self::Idle
            }
        })
    }
}

fn look_for_flips(disk: &SimDisk, life: &mut Life, asked: &[Vec<u8>]) {
    let Some((name, byte)) = disk.flip_a_bit() else { return };
    life.flips += 1;
    match Reader::all(disk.clone()) {
        Ok((reader, _)) => life.undetected += u64::from(reader.seen != asked),
        // The one before it and the records since are there.
        Err(error) if name.ends_with(".snapshot") => life.refused.push(format!("byte {byte} of {name}: {error}")),
        Err(_) => life.detected += 1,
    }
}
