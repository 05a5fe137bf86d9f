//! The journal on a disk that loses, tears and fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dispatch_journal::sim::{Fault, Life, Mode, SimDisk, live};
use dispatch_journal::{Batch, CommitError, Disk, DiskFile, Journal, Log, OpenError, Options};
use std::collections::BTreeSet;

fn lives(seeds: u64, mode: Mode) -> Life {
    let mut all = Life::default();
    for seed in 0..seeds {
        let life = live(seed, 12, mode);
        if mode != Mode::SkipSync {
            let wrong = (life.lost, life.invented, life.undetected, &life.refused[..]);
            assert_eq!(wrong, (0, 0, 0, &[] as &[String]), "seed {seed}");
        }
        all.acknowledged += life.acknowledged;
        all.snapshots += life.snapshots;
        all.detected += life.detected;
        all.lost += life.lost;
    }
    all
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_at_any_call() {
    let all = lives(250, Mode::Sync);
    let is_enough = all.acknowledged > 50_000 && all.snapshots > 5_000 && all.detected > 500;
    assert!(is_enough, "too little happened: {all:?}");
}

#[test]
fn without_a_sync_nothing_acknowledged_is_lost_with_the_process_alone() {
    let all = lives(80, Mode::Process);
    assert!(all.acknowledged > 2_000 && all.snapshots > 200, "too little happened: {all:?}");
}

#[test]
fn without_its_sync_call_the_journal_loses_records() {
    assert!(lives(20, Mode::SkipSync).lost > 0);
}

#[test]
fn after_a_power_loss_each_name_is_old_or_new_by_itself() {
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        for name in ["old", "kept", "a"] {
            disk.create(name).unwrap();
        }
        Disk::sync(&disk).unwrap();
        disk.rename("a", "b").unwrap();
        disk.remove("old").unwrap();
        let names = disk.after_power_loss().list().unwrap();
        assert!(names.contains(&"kept".to_owned()), "what was synced stays: {names:?}");
        found.insert(["old", "a", "b"].map(|name| names.iter().any(|found| found == name)));
        Disk::sync(&disk).unwrap();
        assert_eq!(disk.after_power_loss().list().unwrap(), ["b", "kept"]);
    }
    assert_eq!(found.len(), 8, "{found:?}");
}

/// A journal with these batches, started afresh and replayed.
fn written(disk: &SimDisk, batches: &[&[&str]]) -> Journal<SimDisk> {
    let mut log = Log::open(disk.clone()).unwrap();
    log.replay(|_| Ok(())).unwrap();
    let mut journal = Journal::start(log, Options::default(), 0).unwrap();
    for records in batches {
        let mut batch = Batch::default();
        records.iter().for_each(|record| batch.push(record.as_bytes()).unwrap());
        journal.commit(&batch, 0).unwrap();
    }
    journal
}

fn read(disk: &SimDisk) -> Result<Vec<String>, OpenError> {
    let (mut log, mut seen) = (Log::open(disk.clone())?, Vec::new());
    log.replay(|record| {
        seen.push(String::from_utf8(record.payload.to_vec()).unwrap());
        Ok(())
    })?;
    Ok(seen)
}

/// A disk with this file alone.
fn holding(name: &str, bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(0);
    disk.create(name).unwrap().append(bytes).unwrap();
    disk
}

#[test]
fn after_a_failed_sync_nothing_is_taken_any_more() {
    let disk = SimDisk::new(1);
    let mut journal = written(&disk, &[&["a"]]);
    let mut batch = Batch::default();
    batch.push(b"b").unwrap();
    disk.plan(1, Fault::Error);
    assert!(matches!(journal.commit(&batch, 0), Err(CommitError::Io { .. })));
    assert!(matches!(journal.commit(&batch, 0), Err(CommitError::Failed)), "a second sync would say that all is well");
}

#[test]
fn damage_is_named_with_file_and_byte() {
    let disk = SimDisk::new(2);
    written(&disk, &[&["one", "two"], &["three"]]);
    let name = disk.list().unwrap().into_iter().find(|name| name.ends_with(".segment")).unwrap();
    let file = disk.read(&name).unwrap();
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        match read(&holding(&name, &damaged)) {
            Err(OpenError::Damage { file, offset, .. }) => {
                assert_eq!(file, name);
                let from = offset as usize;
                assert!(from <= at && at < from + if from == 0 { 32 } else { 40 }, "{at} is said to be {offset}");
            }
            // Bytes that only fill up are read by nobody.
            Ok(seen) => assert_eq!((seen, damaged[at]), (vec!["one".into(), "two".into(), "three".into()], 0xef)),
            Err(other) => panic!("{other}"),
        }
    }
}

/// What a crash can leave of the last batch, it cannot leave of what was synced before.
#[test]
fn zeroed_sectors_cut_off_nothing_but_the_last_batch() {
    const SECTOR: usize = 512;
    // How many records each batch has, and how long they are. The last one has whole records beside any two sectors.
    let sizes = [(1, 10), (5, 100), (1, 2_000), (3, 700), (2, 40), (1, 500), (14, 150)];
    let (disk, mut number) = (SimDisk::new(5), 0_u8);
    let mut journal = written(&disk, &[]);
    let name = journal.segment().name();
    let (mut records, mut before, mut begin) = (Vec::new(), 0, 0);
    for (count, len) in sizes {
        (before, begin) = (records.len(), disk.read(&name).unwrap().len());
        let mut batch = Batch::default();
        for _ in 0..count {
            records.push(char::from(b'a' + number).to_string().repeat(len));
            batch.push(records.last().unwrap().as_bytes()).unwrap();
            number = (number + 1) % 26;
        }
        journal.commit(&batch, 0).unwrap();
    }
    let file = disk.read(&name).unwrap();
    let sectors = file.len().div_ceil(SECTOR);
    for first in 0..sectors {
        for second in first..sectors {
            let mut damaged = file.clone();
            for sector in [first, second] {
                damaged[sector * SECTOR..file.len().min((sector + 1) * SECTOR)].fill(0);
            }
            let found = read(&holding(&name, &damaged));
            if first * SECTOR < begin {
                let Err(OpenError::Damage { offset, .. }) = found else {
                    panic!("sectors {first} and {second} are zeros, and that is read: {found:?}")
                };
                assert!((offset as usize) < (first + 1) * SECTOR, "sector {first} is said to be at {offset}");
            } else {
                let seen = found.unwrap();
                assert!(seen.len() >= before && seen.len() < records.len() && seen == records[..seen.len()]);
            }
        }
    }
}

#[test]
fn a_file_cut_short_at_any_byte_loses_its_end_alone() {
    let disk = SimDisk::new(3);
    let mut journal = written(&disk, &[&["one"], &["two", "three"]]);
    let name = journal.segment().name();
    let file = disk.read(&name).unwrap();
    for len in 32..=file.len() {
        let disk = holding(&name, &file[..len]);
        let expected = match len {
            112.. if len == file.len() => 3,
            _ => (len - 32) / 40,
        };
        let seen = read(&disk).unwrap();
        assert_eq!(seen, ["one", "two", "three"][..expected.min(3)], "cut at {len} of {}", file.len());
        // And it goes on from there.
        written(&disk, &[&["more"]]);
        assert_eq!(read(&disk).unwrap().last().unwrap(), "more");
    }
    journal.commit(&Batch::default(), 0).unwrap();
}

#[test]
fn a_missing_segment_is_said() {
    let disk = SimDisk::new(4);
    drop(written(&disk, &[&["one"]]));
    drop(written(&disk, &[&["two"]]));
    let first = disk.list().unwrap().into_iter().min().unwrap();
    disk.remove(&first).unwrap();
    assert!(matches!(read(&disk), Err(OpenError::Gap { expected: 1, found: 2, .. })));
}

/// A journal without a sync, with one segment that is sealed and one that is not; and the name of the former.
fn sealed(disk: &SimDisk) -> String {
    let mut log = Log::open(disk.clone()).unwrap();
    log.replay(|_| Ok(())).unwrap();
    let mut journal = Journal::start(log, Options { sync: false, ..Options::default() }, 0).unwrap();
    let name = journal.segment().name();
    for (record, seal) in [(b"one", false), (b"two", true), (b"six", false)] {
        let mut batch = Batch::default();
        batch.push(record).unwrap();
        journal.commit(&batch, 0).unwrap();
        if seal {
            journal.seal(0).unwrap();
        }
    }
    name
}

#[test]
fn what_is_sealed_is_durable_also_without_a_sync() {
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        sealed(&disk);
        let seen = read(&disk.after_power_loss()).unwrap();
        assert!(seen == ["one", "two"] || seen == ["one", "two", "six"], "{seen:?}");
    }
}

#[test]
fn a_sealed_segment_is_never_taken_for_torn() {
    let disk = SimDisk::new(6);
    let name = sealed(&disk);
    let file = disk.read(&name).unwrap();
    for len in 0..file.len() {
        disk.create(&name).unwrap().append(&file[..len]).unwrap();
        let found = read(&disk);
        // Where a record ends it looks as if the next ones were never there.
        let is_gap = len >= 32 && (len - 32) % 40 == 0 && matches!(found, Err(OpenError::Gap { .. }));
        assert!(is_gap || matches!(found, Err(OpenError::Damage { .. })), "cut at {len}: {found:?}");
    }
}

#[test]
fn the_segment_that_is_written_to_is_not_read_as_sealed() {
    let disk = SimDisk::new(7);
    sealed(&disk);
    let mut seen = Vec::new();
    let visit = |record: dispatch_journal::Record<'_>| {
        seen.push(record.payload.to_vec());
        Ok(())
    };
    assert_eq!(Log::open(disk).unwrap().replay_sealed(visit).unwrap().last, 2);
    assert_eq!(seen, [b"one", b"two"]);
}

#[test]
fn what_a_crash_left_unfinished_goes_at_the_next_start() {
    let disk = SimDisk::new(8);
    disk.create("00000000000000000007.snapshot.unfinished").unwrap();
    written(&disk, &[]);
    assert_eq!(disk.list().unwrap(), ["00000000000000000001-0000000001.segment"]);
}
