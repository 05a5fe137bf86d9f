//! The target `position_json` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dispatch_fuzz::position_json(input));
