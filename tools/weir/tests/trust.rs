//! Runs the tests of `src/trust` until the command line takes that room in.

#[path = "../src/trust/mod.rs"]
mod trust;
