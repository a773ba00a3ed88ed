//! The work of an import: reads one input after another, then closes the session.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result};
use weir_engine::{
    import::har::HarError,
    ledger::Counters,
    pipeline::{Budget, Ids, Outlet, WhenFull, queue},
};
use weir_storage::{Catalogue, Home, Recorder, SessionEntry};

use super::{
    gauge::Gauge,
    har,
    input::{Input, Opened},
    options::Options,
    packets::Packets,
    sink::Sink,
};

/// An import that has not begun.
pub(super) struct Work {
    options: Options,
    inputs: Vec<Input>,
    home: Home,
    pub(super) gauge: Arc<Gauge>,
}

/// An import that has ended.
pub(super) struct Done {
    /// The session as it was closed.
    pub(super) entry: SessionEntry,
    /// Where reading failed: what came before is in the session.
    pub(super) error: Option<Error>,
    /// What people should know though it is no error.
    pub(super) warnings: Vec<String>,
    /// Connections that were given up for want of room.
    pub(super) flows_evicted: u64,
    /// Files that were read, the last perhaps in part.
    pub(super) files: Vec<String>,
    /// Bytes read as they lie on disk.
    pub(super) read: u64,
    /// Packets read.
    pub(super) packets: u64,
    /// How long it took.
    pub(super) took: Duration,
    /// Somebody stopped it before the end.
    pub(super) stopped: bool,
}

/// What all inputs have in common.
struct Reading<'a> {
    options: &'a Options,
    gauge: &'a Arc<Gauge>,
    ids: &'a Arc<Ids>,
    budget: &'a Budget,
    outlet: &'a Outlet,
    packets: Option<Packets>,
    warnings: Vec<String>,
}

impl Work {
    pub(super) fn new(options: Options, inputs: Vec<Input>, home: &Home) -> Self {
        Self { options, inputs, home: home.clone(), gauge: Arc::default() }
    }

    /// Bytes there are to read, when all inputs tell.
    pub(super) fn total(&self) -> Option<u64> {
        self.inputs.iter().map(|input| input.size).sum()
    }

    /// Does it all. Blocks.
    pub(super) fn run(self) -> Result<Done> {
        let began = Instant::now();
        let Self { options, inputs, home, gauge } = &self;
        let (sender, receiver) = queue(options.queue_batches());
        let (counters, ids) = (Arc::new(Counters::default()), Arc::new(Ids::default()));
        let budget = Budget::new(options.memory);
        let recorder = Recorder::start(
            options.recorder(home, self.total().is_some()),
            receiver,
            Arc::clone(&counters),
            Arc::clone(&ids),
        )?;
        let session = recorder.id();
        let outlet = Outlet::new(sender, counters, WhenFull::Wait);
        let mut reading = Reading {
            options,
            gauge,
            ids: &ids,
            budget: &budget,
            outlet: &outlet,
            packets: None,
            warnings: Vec::new(),
        };
        let mut files = Vec::new();
        let mut error = None;
        for input in inputs {
            if gauge.is_stopped() {
                break;
            }
            files.push(input.name());
            if let Err(failed) = reading.input(input) {
                error = Some(failed.context(input.name()));
                break;
            }
        }
        let Reading { packets, warnings, .. } = reading;
        let flows_evicted = match packets.map(Packets::finish).transpose() {
            Ok(evicted) => evicted.unwrap_or(0),
            Err(failed) => {
                error.get_or_insert(failed);
                0
            }
        };
        gauge.set_closing();
        drop(outlet);
        let entry = recorder.finish()?;
        if entry.exchanges == 0
            && let Some(error) = error
        {
            // Nothing was recorded: no session is left behind.
            Catalogue::open(home).delete(&session)?;
            return Err(error);
        }
        Ok(Done {
            entry,
            error,
            warnings,
            flows_evicted,
            files,
            read: gauge.read(),
            packets: gauge.packets(),
            took: began.elapsed(),
            stopped: gauge.is_stopped(),
        })
    }
}

impl Reading<'_> {
    fn sink(&self) -> Sink {
        Sink::new(self.outlet.sibling(), Arc::clone(self.gauge))
    }

    fn input(&mut self, input: &Input) -> Result<()> {
        match input.open(self.gauge)? {
            Opened::Capture(capture) => {
                if self.packets.is_none() {
                    let packets = Packets::start(self.options, || self.sink(), self.ids, self.budget);
                    self.packets = Some(packets.context("the shards cannot be started")?);
                }
                let Some(packets) = &mut self.packets else { return Ok(()) };
                let tally = packets.read(capture, self.gauge)?;
                if tally.tears > 0 && !self.gauge.is_stopped() {
                    let name = input.name();
                    self.warnings.push(format!("{name} is torn or damaged; what stands before the tear was imported"));
                }
            }
            Opened::Har(har) => {
                let mut sink = self.sink();
                let before = self.gauge.exchanges();
                match har::read(har, self.options, self.ids, &mut sink, self.gauge) {
                    Ok(_) => {}
                    Err(error @ HarError::Json(_)) if self.gauge.exchanges() > before => {
                        self.warnings.push(format!("{}: {error}", input.name()));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}
