//! Watches over a running capture: signals, `--duration`, a full session, a stop by the API, the status line.
//!
//! In: a running capture. Out: its entry once everything is on disk.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use weir_storage::SessionEntry;

use super::{GRACE, live::Line, running::Running};
use crate::{api::Steer, signals::Signals};

/// How often rate and status line follow.
const TICK: Duration = Duration::from_millis(250);

/// Listens for signals from its creation on, so that none that comes early is missed.
pub(super) struct Watch {
    runtime: tokio::runtime::Runtime,
    signals: Signals,
}

impl Watch {
    /// Begins to listen for signals.
    pub(super) fn begin() -> Result<Self> {
        let (runtime, signals) = Signals::begin()?;
        Ok(Self { runtime, signals })
    }

    /// Runs until somebody stops the capture, then takes it apart. A second signal ends the process at once:
    /// what was flushed is on disk, and the next start recovers the session.
    pub(super) fn until_stopped(
        mut self,
        running: &Arc<Running>,
        duration: Option<Duration>,
        quiet: bool,
    ) -> Result<SessionEntry> {
        self.runtime.block_on(async {
            watch(running, duration, &mut self.signals, if quiet { None } else { Line::on_terminal() }).await;
            let progress = if quiet { ProgressBar::hidden() } else { spinner() };
            let stopping = Arc::clone(running);
            let mut stopped = tokio::task::spawn_blocking(move || stopping.shut_down(GRACE));
            let entry = tokio::select! {
                stopped = &mut stopped => stopped.context("the shutdown failed")?,
                () = self.signals.any() => {
                    progress.finish_and_clear();
                    eprintln!("error: stopped at once by a second signal; the next weir capture recovers the session");
                    std::process::exit(130);
                }
            };
            progress.finish_and_clear();
            entry
        })
    }
}

async fn watch(running: &Running, duration: Option<Duration>, signals: &mut Signals, line: Option<Line>) {
    let end = duration.and_then(|duration| Instant::now().checked_add(duration));
    let over = async {
        match end {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                running.tick();
                if running.is_full() {
                    return;
                }
                if let Some(line) = &line {
                    line.show(&running.status());
                }
            }
            () = signals.any() => return,
            () = running.stop_wanted() => return,
            () = &mut over => return,
        }
    }
}

fn spinner() -> ProgressBar {
    // indicatif draws on standard error, and only when that is a terminal.
    let bar = ProgressBar::new_spinner().with_message("stopping: writing what is left and merging the parts");
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
