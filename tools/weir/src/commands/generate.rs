//! `weir completions` and `weir man`: made from the same definitions as `--help`.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

use super::Outcome;
use crate::{cli::Cli, output::Out};

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell, out: &mut Out) -> Result<Outcome> {
    // clap_complete panics when it cannot write: it gets a buffer, and the pipe is ours.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weir", &mut script);
    out.write_all(&script)?;
    Ok(Outcome::Done)
}

/// Prints weir(1), or writes a page for every command into a folder.
pub(super) fn man(dir: Option<&Path>, out: &mut Out) -> Result<Outcome> {
    let command = Cli::command();
    let Some(dir) = dir else {
        Man::new(command).render(out)?;
        return Ok(Outcome::Done);
    };
    fs::create_dir_all(dir)
        .with_context(|| format!("cannot create {}; give a folder you can write to", dir.display()))?;
    let written = count(&command);
    clap_mangen::generate_to(command, dir)
        .with_context(|| format!("cannot write to {}; give a folder you can write to", dir.display()))?;
    if out.json {
        out.json_line(&serde_json::json!({"dir": dir, "pages": written}))?;
    } else {
        writeln!(out, "wrote {written} pages to {}", dir.display())?;
    }
    Ok(Outcome::Done)
}

fn count(command: &clap::Command) -> usize {
    1 + command.get_subcommands().map(count).sum::<usize>()
}
