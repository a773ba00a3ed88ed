//! Watches over an import: signals, and progress on a terminal.
//!
//! In: the work. Out: what it came to. The first signal stops the reading and keeps what was read; a second
//! one ends the process at once.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    gauge::Gauge,
    work::{Done, Work},
};
use crate::{output::units, signals::Signals};

/// How often the progress follows.
const TICK: Duration = Duration::from_millis(200);

/// Listens for signals from its creation on, so that none that comes early is missed.
pub(super) struct Watch {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

impl Watch {
    /// Begins to listen.
    pub(super) fn begin() -> Result<Self> {
        let (runtime, signals) = Signals::begin()?;
        Ok(Self { runtime, signals })
    }

    /// Runs the work to its end, or to the end of what was read when a signal came.
    pub(super) fn until_done(mut self, work: Work, quiet: bool) -> Result<Done> {
        let bar = if quiet { ProgressBar::hidden() } else { bar(work.total()) };
        let gauge = Arc::clone(&work.gauge);
        let done = self.runtime.block_on(async {
            let mut worked = tokio::task::spawn_blocking(move || work.run());
            let mut tick = interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    done = &mut worked => return done.context("the import failed; this is a bug")?,
                    _ = tick.tick() => show(&bar, &gauge),
                    () = self.signals.any() => {
                        if gauge.is_stopped() {
                            bar.finish_and_clear();
                            eprintln!("error: stopped at once by a second signal; the next weir command recovers the session");
                            std::process::exit(130);
                        }
                        gauge.stop();
                    }
                }
            }
        });
        bar.finish_and_clear();
        done
    }
}

/// A bar with rate and time left where the size is known, else a spinner with the rate. indicatif draws on
/// standard error, and only when that is a terminal.
fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()),
            "{wide_bar} {percent}%  {binary_bytes_per_sec}  {eta} left  {msg}",
        ),
        None => (
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            "{spinner} {binary_bytes}  {binary_bytes_per_sec}  {elapsed}  {msg}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, gauge: &Gauge) {
    let exchanges = units::counted(gauge.exchanges(), "exchange", "exchanges");
    bar.set_message(match (gauge.is_closing(), gauge.is_stopped()) {
        (true, _) => format!("{exchanges}, merging the parts"),
        (false, true) => format!("{exchanges}, stopping"),
        (false, false) => exchanges,
    });
    bar.set_position(gauge.read());
}
