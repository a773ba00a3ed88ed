//! The commands: one file each, and what they share: exit codes, errors, where things are.
//!
//! In: a typed command. Out: its effects, an exit code: 0; 1 with `error: what; what to do`; 2 wrong
//! usage; 3 a capture that lost something against its promise.

mod ca;
mod control;
mod cookies;
mod delete;
mod devices;
mod diff;
mod export;
mod generate;
mod ledger;
mod load;
mod overview;
mod requests;
mod send;
mod sessions;
mod show;
mod tail;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;
use tracing_subscriber::EnvFilter;
use weir_storage::{Catalogue, Home, SessionEntry};

use crate::{
    capture,
    cli::{Cli, Command, SessionsArgs, SessionsCommand},
    doctor, import,
    outcome::{Outcome, Usage},
    output::Out,
};

/// The program.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let mut out = Out::stdout(cli.json);
    let done = run(cli, &mut out).and_then(|outcome| {
        out.flush()?;
        Ok(outcome)
    });
    match done {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::FAILURE,
        Ok(Outcome::Lost) => ExitCode::from(3),
        // Whoever read the output has seen enough (`weir requests | head`).
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // A full pipe must not hide the error.
            let _ = out.flush();
            let _ = writeln!(io::stderr(), "error: {}", crate::output::text::many_lines(&format!("{error:#}")));
            if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli, out: &mut Out) -> Result<Outcome> {
    let home = || Home::resolve(cli.home.clone().filter(|home| !home.as_os_str().is_empty()));
    match cli.command {
        Command::Capture(args) => capture::run(&args, &home()?, out),
        Command::Import(args) => import::run(&args, &home()?, out),
        Command::Stop(args) => control::stop(args.session.as_deref(), &home()?, out),
        Command::Pause(args) => control::pause(args.session.as_deref(), &home()?, out),
        Command::Resume(args) => control::resume(args.session.as_deref(), &home()?, out),
        Command::Filter(args) => control::filter(&args, &home()?, out),
        Command::Sessions(SessionsArgs { command: None }) => sessions::list(&home()?, out),
        Command::Sessions(SessionsArgs { command: Some(SessionsCommand::Prune(args)) }) => {
            sessions::prune(&args, &home()?, out)
        }
        Command::Session(command) => sessions::one(command, &home()?, out),
        Command::Overview(args) => overview::run(&args, &home()?, out),
        Command::Requests(args) => requests::run(&args, &home()?, out),
        Command::Show(args) => show::run(&args, &home()?, out),
        Command::Tail(args) => tail::run(&args, &home()?, out),
        Command::Delete(args) => delete::run(&args, &home()?, out),
        Command::Devices(args) => devices::list(&args, &home()?, out),
        Command::Device(command) => devices::name(&command, &home()?, out),
        Command::Cookies(args) => cookies::run(&args, &home()?, out),
        Command::Jar(args) => cookies::jar(&args, &home()?, out),
        Command::Send(args) => send::run(&args, &home()?, out),
        Command::Diff(args) => diff::run(&args, &home()?, out),
        Command::Export(args) => export::run(&args, &home()?, out),
        Command::Ledger(args) => ledger::run(args.session.as_deref(), &home()?, out),
        Command::Ca(command) => ca::run(command, &home()?, out),
        Command::Load(command) => load::run(&command, || Ok(home()?), out),
        Command::Doctor => doctor::run(&home()?, out),
        Command::Completions { shell } => generate::completions(shell, out),
        Command::Man { dir } => generate::man(dir.as_deref(), out),
    }
}

/// The catalogue, after sessions whose process died have been closed: nobody should see them as running.
fn catalogue(home: &Home) -> Catalogue {
    if let Err(error) = capture::recover(home) {
        // A home that can only be read is read as it is.
        tracing::warn!("{error:#}");
    }
    Catalogue::open(home)
}

/// The session a selector means.
fn find(home: &Home, selector: Option<&str>) -> Result<SessionEntry> {
    Ok(catalogue(home).find(selector)?)
}

/// What could not be read, on standard error: the answer is what could.
fn warn(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {}", crate::output::text::one_line(warning));
    }
}

/// Warnings of the libraries go to standard error; `WEIR_LOG=debug` shows more.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_target(false)
        .with_writer(capture::live::LogWriter::default)
        .init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}
