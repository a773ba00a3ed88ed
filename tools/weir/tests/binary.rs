//! The binary starts. That this test stands in the package `weir` also makes cargo build the binary for every
//! `cargo test --workspace`, next to the stories of `tests/` that run it.

use std::process::Command;

#[test]
fn it_starts() {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).arg("--version").output().expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
}
