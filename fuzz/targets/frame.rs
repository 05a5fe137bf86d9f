//! The target `frame` under libFuzzer.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| dispatch_fuzz::frame(input));

/// Without libFuzzer there is nothing to run.
#[cfg(not(fuzzing))]
fn main() {}
