//! `cargo xtask test`: everything the tests need, then every check, then one line that says how many tests passed.

use crate::run::{self, Failure, cargo};
use crate::{needs, supply};
use std::process::ExitCode;

/// The checks that come before the tests, the quickest first.
const CHECKS: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"],
    // The core is also used without its simulator, which must not be what keeps it compiling.
    &["clippy", "--package", "dispatch-core", "--no-default-features", "--locked", "--", "-D", "warnings"],
];

/// Unit, property, simulation and integration tests, and the examples in the documentation.
const TESTS: &[&str] = &["test", "--workspace", "--all-features", "--locked", "--no-fail-fast"];

/// Installs what is missing, runs every check and, if they are passed, every test. The tally is the last line printed.
pub(crate) fn run() -> ExitCode {
    if let Err(failure) = checks() {
        return run::report(Err(failure));
    }
    let mut tally = Tally::default();
    let code = run::report(tests(&mut tally));
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    code
}

fn checks() -> Result<(), Failure> {
    needs::install()?;
    supply::check_compiler()?;
    for check in CHECKS {
        run::run(cargo(check.iter().copied()))?;
    }
    let mut doc = cargo(["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run::run(doc)
}

/// Runs all tests, also after some have failed.
fn tests(tally: &mut Tally) -> Result<(), Failure> {
    run::run_reading(cargo(TESTS.iter().copied()), |line| tally.read(line))?;
    match tally {
        Tally { failed: 0, passed: 0 } => Err(Failure::Because("no test ran".to_owned())),
        Tally { failed: 0, .. } => Ok(()),
        Tally { failed, .. } => Err(Failure::Because(format!("{failed} tests failed"))),
    }
}

/// How many tests passed and failed, summed over the summaries that the test runner prints.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Adds what a line says if it is a summary: `test result: ok. 3 passed; 0 failed; ...`.
    fn read(&mut self, line: &str) {
        let line = without_colours(line);
        let Some(summary) = line.strip_prefix("test result: ") else { return };
        let Some((_, counts)) = summary.split_once(". ") else { return };
        for count in counts.split(';') {
            match count.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// The line without terminal control sequences (`ESC [ ... letter`).
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn sums_every_summary() {
        let output = "
running 2 tests
test a ... ok
test b ... FAILED

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running tests/x.rs
test result: ok. 40 passed; 0 failed; 2 ignored; 0 measured; 7 filtered out; finished in 12.31s
   Doc-tests dispatch_core
test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s
";
        assert_eq!(tally(output), Tally { passed: 46, failed: 1 });
    }

    #[test]
    fn colours_do_not_hide_a_summary() {
        let line = "test result: \u{1b}[32mok\u{1b}[m. 3 passed; \u{1b}[1;31m2 failed\u{1b}[0m; 0 ignored";
        assert_eq!(tally(line), Tally { passed: 3, failed: 2 });
    }

    #[test]
    fn what_tests_print_is_not_counted() {
        let output = "they say: test result: ok. 9 passed; 9 failed;\ntest result_is_kept ... ok\n1 passed, 0 failed\ntest result: ";
        assert_eq!(tally(output), Tally::default());
    }
}
