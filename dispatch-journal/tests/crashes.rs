//! The journal on a disk that loses, tears and fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dispatch_journal::sim::{Fault, Life, SimDisk, live};
use dispatch_journal::{Batch, CommitError, Disk, Journal, Log, OpenError, Options};

fn lives(seeds: u64, sync: bool) -> Life {
    let mut all = Life::default();
    for seed in 0..seeds {
        let life = live(seed, 12, sync);
        if sync {
            assert_eq!((life.lost, life.undetected, &life.refused[..]), (0, 0, &[] as &[String]), "seed {seed}");
        }
        all.acknowledged += life.acknowledged;
        all.detected += life.detected;
        all.lost += life.lost;
    }
    all
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_at_any_call() {
    let all = lives(400, true);
    assert!(all.acknowledged > 10_000 && all.detected > 1_000, "too little happened: {all:?}");
}

#[test]
fn without_its_sync_call_the_journal_loses_records() {
    assert!(lives(50, false).lost > 0);
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
    for at in 32..file.len() {
        let disk = SimDisk::new(2);
        let mut copy = disk.create(&name).unwrap();
        let mut damaged = file.clone();
        damaged[at] ^= 0x10;
        dispatch_journal::DiskFile::append(&mut copy, &damaged).unwrap();
        match read(&disk) {
            Err(OpenError::Damage { file, offset, .. }) => {
                assert_eq!(file, name);
                assert!(offset as usize <= at && at < offset as usize + 40, "{at} is said to be {offset}");
            }
            // Bytes that only fill up are read by nobody.
            Ok(seen) => assert_eq!((seen, damaged[at]), (vec!["one".into(), "two".into(), "three".into()], 0xef)),
            Err(other) => panic!("{other}"),
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
        let disk = SimDisk::new(3);
        dispatch_journal::DiskFile::append(&mut disk.create(&name).unwrap(), &file[..len]).unwrap();
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
