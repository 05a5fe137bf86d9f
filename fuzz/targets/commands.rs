//! The target `commands` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dispatch_fuzz::commands(input));
