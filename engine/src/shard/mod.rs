//! A shard: frames in, records out. It shares nothing but numbers and the memory budget with other shards,
//! and knows of no file, socket, thread or clock: time is packet time.
//!
//! - [`dispatch`]: one source's frames sorted to several shards by flow.
//! - [`tally`]: what was counted, as a ledger.
//! - here: the shard.
//!
//! In: blocks of frames, or of segments that were decoded already. Out: exchanges, messages and connections to
//! a [`RecordSink`], and a ledger.

pub mod dispatch;
mod tally;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

pub use dispatch::{Dispatcher, Sorted};
pub use tally::ShardFigures;

pub use crate::pairing::{Owner, Owners, UnwantedBody};

use crate::{
    flow::FlowTable,
    http::BodyPolicy,
    ledger::Ledger,
    packet::{Address, Decoder, LinkSource, Segment, Skip},
    pairing::{Context, Conversation},
    pipeline::{Budget, Ids},
    record::Record,
    source::{Block, Frame},
};

/// Takes finished records.
pub trait RecordSink {
    /// A record, in the order they end.
    fn record(&mut self, record: Record);
}

impl RecordSink for Vec<Record> {
    fn record(&mut self, record: Record) {
        self.push(record);
    }
}

/// How a shard works.
#[derive(Debug, Clone)]
pub struct ShardOptions {
    /// Which bodies are stored.
    pub bodies: BodyPolicy,
    /// Whether bodies and messages of servers are stored too.
    pub record_responses: bool,
    /// Label clients by the hardware address that sent their frames, not by their IP address.
    pub device_from_link: bool,
    /// Leave out packets whose checksums are wrong. Off by default: hosts leave checksums to their cards.
    pub verify_checksums: bool,
    /// Flows followed at once at most.
    pub max_flows: usize,
    /// Bytes held behind holes, over all flows, at most; the budget may grant less.
    pub max_out_of_order: usize,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self {
            bodies: BodyPolicy::default(),
            record_responses: true,
            device_from_link: false,
            verify_checksums: false,
            max_flows: 200_000,
            max_out_of_order: 64 << 20,
        }
    }
}

/// Decodes frames and counts those that hold nothing.
#[derive(Debug)]
struct Intake {
    decoder: Decoder,
    link_sources: bool,
    frames: u64,
    segments: u64,
    skipped: [u64; Skip::COUNT],
}

impl Intake {
    fn new(options: &ShardOptions) -> Self {
        Self {
            decoder: Decoder::new(options.verify_checksums),
            link_sources: options.device_from_link,
            frames: 0,
            segments: 0,
            skipped: [0; Skip::COUNT],
        }
    }

    /// The segment in a frame.
    fn segment<'a>(&'a mut self, frame: &Frame<'a>) -> Option<Segment<'a>> {
        self.frames += 1;
        match self.decoder.decode(frame) {
            Ok(mut segment) => {
                self.segments += 1;
                if self.link_sources {
                    segment.link_source = LinkSource::of(frame);
                }
                Some(segment)
            }
            Err(skip) => {
                self.skipped[skip as usize] += 1;
                None
            }
        }
    }
}

/// Between whom a segment went.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    source: (Address, u16),
    destination: (Address, u16),
}

impl Ends {
    fn of(segment: &Segment<'_>) -> Self {
        Self {
            source: (segment.source, segment.source_port),
            destination: (segment.destination, segment.destination_port),
        }
    }

    /// Both ends, the same for both directions.
    #[must_use]
    pub fn pair(self) -> [SocketAddr; 2] {
        let mut pair = [self.source, self.destination].map(|(address, port)| address.with_port(port));
        pair.sort_unstable();
        pair
    }
}

/// Follows the flows of the frames it is given.
#[derive(Debug)]
pub struct Shard {
    intake: Intake,
    flows: FlowTable<Conversation>,
    context: Context,
}

impl Shard {
    /// A shard that numbers its records by `ids` and takes memory for bodies from `budget`.
    #[must_use]
    pub fn new(options: &ShardOptions, ids: Arc<Ids>, budget: Budget) -> Self {
        Self {
            intake: Intake::new(options),
            flows: FlowTable::new(options.max_flows, options.max_out_of_order, &budget),
            context: Context::new(ids, budget, options.bodies, options.record_responses),
        }
    }

    /// Changes what is stored of exchanges that begin from now on.
    pub fn set_policy(&mut self, bodies: BodyPolicy, record_responses: bool) {
        self.context.bodies = bodies;
        self.context.record_responses = record_responses;
    }

    /// Has it tell of bodies that need not be captured: see [`take_unwanted`](Self::take_unwanted).
    pub fn watch_unwanted(&mut self) {
        self.context.unwanted = Some(Vec::new());
    }

    /// Bodies of which only the size counts, and whose heads came since the last call.
    pub fn take_unwanted(&mut self) -> impl Iterator<Item = UnwantedBody> {
        self.context.unwanted.iter_mut().flat_map(|unwanted| unwanted.drain(..))
    }

    /// Has it ask which processes of this host connections belong to.
    pub fn ask_owners(&mut self, owners: Arc<dyn Owners>) {
        self.context.owners = Some(owners);
    }

    /// Takes all frames of a block.
    pub fn block(&mut self, block: &Block, sink: &mut impl RecordSink) {
        for frame in block.frames() {
            self.frame(&frame, sink);
        }
    }

    /// Takes one frame; tells between whom the segment in it went.
    pub fn frame(&mut self, frame: &Frame<'_>, sink: &mut impl RecordSink) -> Option<Ends> {
        let segment = self.intake.segment(frame);
        let ends = segment.as_ref().map(Ends::of);
        if let Some(segment) = segment {
            self.flows.segment(&segment, frame.time_ns, &mut self.context);
        }
        self.hand_out(sink);
        ends
    }

    /// Takes the segments that a [`Dispatcher`] sorted to this shard.
    pub fn sorted(&mut self, sorted: &Sorted, shard: usize, sink: &mut impl RecordSink) {
        for (segment, time_ns) in sorted.segments(shard) {
            self.flows.segment(&segment, time_ns, &mut self.context);
            self.hand_out(sink);
        }
        self.tick(sorted.last_ns(), sink);
    }

    fn hand_out(&mut self, sink: &mut impl RecordSink) {
        if !self.context.records.is_empty() {
            self.context.records.drain(..).for_each(|record| sink.record(record));
        }
    }

    /// Moves on to a packet time without a packet: a live source does so when the line is quiet.
    pub fn tick(&mut self, time_ns: i64, sink: &mut impl RecordSink) {
        self.flows.tick(time_ns, &mut self.context);
        self.hand_out(sink);
    }

    /// Ends everything under way: no more frames will come.
    pub fn finish(&mut self, sink: &mut impl RecordSink) {
        self.intake.decoder.fragments.finish();
        self.flows.finish(&mut self.context);
        self.hand_out(sink);
    }

    /// What was seen, kept and dropped so far, for the layers packets, stream bytes and HTTP messages.
    /// The layers above are counted where the records go. It balances after [`finish`](Self::finish).
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        tally::packets(&self.intake, &mut ledger);
        tally::streams(&self.flows.counts, self.context.unwanted.is_some(), &mut ledger);
        tally::messages(&self.context.messages, &mut ledger);
        ledger
    }

    /// Figures beside the ledger: what was odd, and what had to be given up.
    #[must_use]
    pub fn figures(&self) -> ShardFigures {
        tally::figures(&self.intake, &self.flows.counts, &self.context.messages)
    }
}
