//! See `engine/tests/support/fuzzing.rs`: the same function replays the kept cases in `make test`.
#![no_main]

#[path = "../../engine/tests/support/fuzzing.rs"]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::packets(data));
