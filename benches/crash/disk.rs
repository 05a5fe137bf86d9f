//! A journal on a disk that loses, tears and fails.

use crate::Outcome;
use dispatch_journal::sim::{Life, Mode, live};
use serde_json::json;

/// How often each disk's machine dies.
const LIVES: u32 = 20;

pub(crate) fn run(seeds: u64, sync: bool) -> Outcome {
    // What comes of a seed does not depend on who lives it.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = std::thread::scope(|scope| {
        let start = |first: usize| scope.spawn(move || lives((first as u64..seeds).step_by(threads), sync));
        let started: Vec<_> = (0..threads).map(start).collect();
        started.into_iter().map(|lives| lives.join().expect("a panic is a bug, and goes on")).fold(Life::default(), sum)
    });
    let Life { acknowledged, crashes, failures, snapshots, flips, detected, lost, invented, undetected, refused } = all;
    let is_well = lost == 0 && invented == 0 && undetected == 0 && refused.is_empty();
    let line = json!({
        "seeds": seeds,
        "acknowledged": acknowledged,
        "crashes": crashes,
        "failed_calls": failures,
        "snapshots": snapshots,
        "flipped_bits": flips,
        "said_to_be_damage": detected,
        "lost": lost,
        "invented": invented,
        "undetected_damage": undetected,
        "wrongly_refused": refused.len(),
        "first_refusal": refused.first(),
    });
    Outcome { line, is_well }
}

fn lives(seeds: impl Iterator<Item = u64>, sync: bool) -> Life {
    let mode = |seed: u64| match seed % 4 {
        _ if !sync => Mode::SkipSync,
        3 => Mode::Process,
        _ => Mode::Sync,
    };
    seeds.map(|seed| live(seed, LIVES, mode(seed))).fold(Life::default(), sum)
}

fn sum(one: Life, other: Life) -> Life {
    Life {
        acknowledged: one.acknowledged + other.acknowledged,
        crashes: one.crashes + other.crashes,
        failures: one.failures + other.failures,
        snapshots: one.snapshots + other.snapshots,
        flips: one.flips + other.flips,
        detected: one.detected + other.detected,
        lost: one.lost + other.lost,
        invented: one.invented + other.invented,
        undetected: one.undetected + other.undetected,
        refused: [one.refused, other.refused].concat(),
    }
}
