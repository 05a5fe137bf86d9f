//! Runs a fuzz target on random mutations of its valid input, where libFuzzer is not to be had:
//! `random TARGET SECONDS [SEED]`. Ends with failure and the file of the input that broke the target. `random --seeds TARGET DIRECTORY`
//! writes the valid input there, for libFuzzer to begin with.

use dispatch_fuzz::Target;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What JSON is made of, and the values at which something changes.
const TOKENS: &[&str] = &[
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "255",
    "65536",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "0.1",
    "5.0000001",
    "90.00000001",
    "-180",
    "1e-320",
    "1e308",
    "1e999",
    "null",
    "true",
    "false",
    "\"\"",
    "\"x\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "{}",
    "[]",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    " ",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, directory] = &arguments[..]
        && flag == "--seeds"
    {
        return end(target(name).and_then(|target| write_seeds(target, Path::new(directory))));
    }
    let Some((name, seconds, seed)) = parse(&arguments) else {
        return end(Err("usage: random TARGET SECONDS [SEED] | random --seeds TARGET DIRECTORY".into()));
    };
    let target = match target(name) {
        Ok(target) => target,
        Err(problem) => return end(Err(problem)),
    };
    eprintln!("target {name}, seed {seed}");
    let mut random = Random(seed);
    let seeds = target.inputs();
    let start = Instant::now();
    let mut inputs = 0u64;
    while start.elapsed() < Duration::from_secs(seconds) {
        let input = random.mutate(&seeds);
        inputs += 1;
        if catch_unwind(AssertUnwindSafe(|| (target.body)(&input))).is_err() {
            let shown = input.escape_ascii();
            return end(Err(match keep(name, seed, inputs, &input) {
                Ok(file) => {
                    format!("input {inputs} of seed {seed} breaks {name}, and is in {}:\n{shown}", file.display())
                }
                Err(error) => {
                    format!("input {inputs} of seed {seed} breaks {name}, and cannot be kept ({error}):\n{shown}")
                }
            }));
        }
    }
    let rate = inputs as f64 / start.elapsed().as_secs_f64();
    println!(r#"{{"target":"{name}","seed":{seed},"inputs":{inputs},"inputs_per_second":{rate:.0}}}"#);
    ExitCode::SUCCESS
}

fn end(outcome: Result<(), String>) -> ExitCode {
    let Err(problem) = outcome else { return ExitCode::SUCCESS };
    eprintln!("{problem}");
    ExitCode::FAILURE
}

fn target(name: &str) -> Result<&'static Target, String> {
    let found = dispatch_fuzz::TARGETS.iter().find(|target| target.name == name);
    found.ok_or_else(|| format!("there is no target `{name}`"))
}

fn write_seeds(target: &Target, directory: &Path) -> Result<(), String> {
    let write = || {
        fs::create_dir_all(directory)?;
        let mut seeds = (target.seeds)().into_iter().enumerate();
        seeds.try_for_each(|(number, seed)| fs::write(directory.join(format!("seed-{number:02}")), seed))
    };
    write().map_err(|error| format!("{}: {error}", directory.display()))
}

/// Keeps an input where libFuzzer would.
fn keep(name: &str, seed: u64, number: u64, input: &[u8]) -> io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts").join(name);
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("random-{seed}-{number}"));
    fs::write(&file, input)?;
    Ok(file)
}

fn parse(arguments: &[String]) -> Option<(&str, u64, u64)> {
    let (name, seconds, seed) = match arguments {
        [name, seconds] => (name, seconds, None),
        [name, seconds, seed] => (name, seconds, Some(seed.parse().ok()?)),
        _ => return None,
    };
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
    Some((name, seconds.parse().ok()?, seed.unwrap_or_else(now)))
}

/// A small generator (splitmix64): what matters is that a seed repeats its inputs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not zero.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A seed after one to eight changes.
    fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            let to = (at + self.below(16)).min(input.len());
            match self.below(6) {
                0 => drop(input.drain(at..to)),
                1 => drop(input.splice(at..to, TOKENS[self.below(TOKENS.len())].bytes())),
                2 => self.change_number(&mut input, at),
                3 => {
                    let copy = input[at..to].to_vec();
                    let target = self.below(input.len() + 1);
                    drop(input.splice(target..target, copy));
                }
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    let until = (from + self.below(64)).min(other.len());
                    drop(input.splice(at..to, other[from..until].iter().copied()));
                }
                _ => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
        input
    }

    /// Replaces the first number from `at` on: the text stays JSON, so that this reaches the checks behind the parser.
    fn change_number(&mut self, input: &mut Vec<u8>, at: usize) {
        let part_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
        let end = input[start..].iter().position(|byte| !part_of_number(byte)).map_or(input.len(), |len| start + len);
        let number = match self.below(4) {
            0 => (self.next() as i64 >> self.below(64)).to_string(),
            1 => f64::from_bits(self.next()).to_string(),
            2 => ((self.next() as i64 as f64) / 1e17).to_string(),
            _ => TOKENS[self.below(18)].to_owned(),
        };
        drop(input.splice(start..end, number.into_bytes()));
    }
}
