//! A journal on a disk that loses, tears and fails.

use crate::Outcome;
use dispatch_journal::sim::{Life, Mode, live};
use serde_json::json;

/// How often each disk's machine dies.
const LIVES: u32 = 20;

pub(crate) fn run(seeds: u64, sync: bool) -> Outcome {
    let mut all = Life::default();
    for seed in 0..seeds {
        let mode = match seed % 4 {
            _ if !sync => Mode::SkipSync,
            3 => Mode::Process,
            _ => Mode::Sync,
        };
        let life = live(seed, LIVES, mode);
        all.acknowledged += life.acknowledged;
        all.crashes += life.crashes;
        all.failures += life.failures;
        all.snapshots += life.snapshots;
        all.flips += life.flips;
        all.detected += life.detected;
        all.lost += life.lost;
        all.invented += life.invented;
        all.undetected += life.undetected;
        all.refused.extend(life.refused);
    }
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
