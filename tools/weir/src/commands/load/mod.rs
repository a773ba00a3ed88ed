//! `weir load …`: traffic to test with. One file a command; those that need a capture start this binary again.

mod origin;
mod replay;
mod run;
mod selftest;
mod synth;
mod verify;

use anyhow::Result;
use weir_storage::Home;

use crate::{cli::load::LoadCommand, outcome::Outcome, output::Out};

/// Does what the command says.
pub(super) fn run(command: &LoadCommand, home: impl Fn() -> Result<Home>, out: &mut Out) -> Result<Outcome> {
    match command {
        LoadCommand::Run(args) => run::run(args, home, out),
        LoadCommand::Origin(args) => origin::run(args, out),
        LoadCommand::Replay(args) => replay::run(args, &home()?, out),
        LoadCommand::Verify(args) => verify::run(args, &home()?, out),
        LoadCommand::SelfTest(args) => selftest::run(args, out),
        LoadCommand::Synth(args) => synth::run(args, out),
    }
}

/// As many threads as cores, unless told.
fn threads(told: Option<u16>) -> usize {
    told.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}
