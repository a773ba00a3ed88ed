//! `weir import`: recordings of others into a new session.
//!
//! - [`options`]: flags into the libraries' configurations.
//! - [`input`]: files and pipes, and what they hold. [`gauge`]: how far they have been read.
//! - [`sink`]: one thread's records into the recorder.
//! - [`packets`]: captures, through one shard or several. [`har`]: HAR files.
//! - [`work`]: reads one input after another, and closes the session.
//! - [`watch`]: signals and progress meanwhile. [`report`]: what users are told at the end.
//!
//! ```text
//! input ── reader (decodes) ──┬── shard ── sink ──┐
//!                             └── shard ── sink ──┴── queue ── recorder
//! ```

mod gauge;
mod har;
mod input;
mod options;
mod packets;
mod report;
mod sink;
mod watch;
mod work;

use anyhow::{Result, bail};
use weir_storage::{Home, SessionState};

use crate::{
    capture::recover,
    cli::ImportArgs,
    outcome::Outcome,
    output::{Out, units},
};

/// Imports files from the first to the last.
pub(crate) fn run(args: &ImportArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    crate::allocator::keep();
    let options = options::Options::from_args(args)?;
    // Looked at before a session begins: a name that is mistyped leaves none behind.
    let inputs = input::check(&args.files)?;
    let watch = watch::Watch::begin()?;
    recover(home)?;
    let done = watch.until_done(work::Work::new(options, inputs, home), out.json)?;
    report::warnings(&done);
    report::print(&done, out)?;
    let entry = &done.entry;
    if entry.state == SessionState::Failed {
        bail!(
            "session {} could not be put into the lake: {}; its {} are kept and weir reads them, other programs do \
             not; see to the disk and import again",
            entry.id,
            entry.last_error.as_deref().unwrap_or("the cause is in the log"),
            units::counted(entry.exchanges, "exchange", "exchanges")
        );
    }
    if let Some(error) = done.error {
        bail!("{error:#}; what was read before is in session {}", entry.id);
    }
    let lost = entry.ledger.lost_by_weir() > 0 || done.flows_evicted > 0;
    Ok(if lost { Outcome::Lost } else { Outcome::Done })
}
