//! A shard: frames in, records out. It shares nothing but numbers and the memory budget with other shards,
//! and knows of no file, socket, thread or clock: time is packet time.
//!
//! In: blocks of frames. Out: exchanges, messages and connections to a [`RecordSink`], and a ledger.

use std::sync::Arc;

use crate::{
    flow::FlowTable,
    http::BodyPolicy,
    ledger::{Layer, Ledger},
    packet::{Decoder, Skip},
    pairing::{Context, Conversation},
    pipeline::{Budget, Ids},
    record::Record,
    source::{Block, Frame},
};

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;

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
    /// Leave out packets whose checksums are wrong. Off by default: hosts leave checksums to their cards.
    pub verify_checksums: bool,
    /// Flows followed at once at most.
    pub max_flows: usize,
    /// Bytes held behind holes, over all flows, at most.
    pub max_out_of_order: usize,
}

impl Default for ShardOptions {
    fn default() -> Self {
        Self { bodies: BodyPolicy::default(), verify_checksums: false, max_flows: 200_000, max_out_of_order: 64 << 20 }
    }
}

/// Follows the flows of the frames it is given.
#[derive(Debug)]
pub struct Shard {
    decoder: Decoder,
    flows: FlowTable<Conversation>,
    context: Context,
    frames: u64,
    segments: u64,
    skipped: [u64; Skip::COUNT],
}

impl Shard {
    /// A shard that numbers its records by `ids` and takes memory for bodies from `budget`.
    #[must_use]
    pub fn new(options: &ShardOptions, ids: Arc<Ids>, budget: Budget) -> Self {
        Self {
            decoder: Decoder::new(options.verify_checksums),
            flows: FlowTable::new(options.max_flows, options.max_out_of_order),
            context: Context::new(ids, budget, options.bodies),
            frames: 0,
            segments: 0,
            skipped: [0; Skip::COUNT],
        }
    }

    /// Takes all frames of a block.
    pub fn block(&mut self, block: &Block, sink: &mut impl RecordSink) {
        for frame in block.frames() {
            self.frame(&frame, sink);
        }
    }

    /// Takes one frame.
    pub fn frame(&mut self, frame: &Frame<'_>, sink: &mut impl RecordSink) {
        self.frames += 1;
        match self.decoder.decode(frame) {
            Ok(segment) => {
                self.segments += 1;
                self.flows.segment(&segment, frame.time_ns, &mut self.context);
            }
            Err(skip) => self.skipped[skip as usize] += 1,
        }
        for record in self.context.records.drain(..) {
            sink.record(record);
        }
    }

    /// Moves on to a packet time without a packet: a live source does so when the line is quiet.
    pub fn tick(&mut self, time_ns: i64, sink: &mut impl RecordSink) {
        self.flows.tick(time_ns, &mut self.context);
        self.context.records.drain(..).for_each(|record| sink.record(record));
    }

    /// Ends everything under way: no more frames will come.
    pub fn finish(&mut self, sink: &mut impl RecordSink) {
        self.decoder.fragments.finish();
        self.flows.finish(&mut self.context);
        self.context.records.drain(..).for_each(|record| sink.record(record));
    }

    /// What was seen, kept and dropped so far, for the layers packets, stream bytes and HTTP messages.
    /// The layers above are counted where the records go. It balances after [`finish`](Self::finish).
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        let packets = ledger.layer_mut(Layer::Packets);
        packets.seen = self.frames;
        packets.kept = self.segments;
        let fragments = self.decoder.fragments.counts;
        for (skip, count) in Skip::ALL.into_iter().zip(self.skipped) {
            // Frames kept for a datagram that never became whole are a loss of their own.
            let count = if skip == Skip::Fragment {
                count.saturating_sub(fragments.waiting + fragments.incomplete)
            } else {
                count
            };
            if count > 0 {
                packets.dropped.insert(skip.reason().to_owned(), count);
            }
        }
        if fragments.incomplete > 0 {
            packets.dropped.insert("fragment_incomplete".to_owned(), fragments.incomplete);
        }
        let counts = self.flows.counts;
        let bytes = ledger.layer_mut(Layer::StreamBytes);
        bytes.seen = counts.payload_bytes + counts.gap_bytes;
        bytes.kept = counts.delivered_bytes;
        for (reason, count) in [
            ("gap", counts.gap_bytes),
            ("ignored:retransmission", counts.retransmitted_bytes),
            ("ignored:not_http", counts.unwanted_bytes),
        ] {
            if count > 0 {
                bytes.dropped.insert(reason.to_owned(), count);
            }
        }
        let messages = &self.context.messages;
        let tally = ledger.layer_mut(Layer::HttpMessages);
        (tally.seen, tally.kept) = (messages.seen, messages.kept);
        tally.dropped = messages.dropped.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
        ledger
    }

    /// Figures beside the ledger: what was odd, and what had to be given up.
    #[must_use]
    pub fn figures(&self) -> ShardFigures {
        let counts = self.flows.counts;
        ShardFigures {
            flows: counts.flows,
            flows_evicted: counts.evicted,
            overlaps: counts.overlaps,
            overlaps_differing: counts.differing,
            fragment_overlaps: self.decoder.fragments.counts.overlaps,
            halves_unpaired: self.context.messages.unpaired,
        }
    }
}

/// Figures beside the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardFigures {
    /// TCP connections seen.
    pub flows: u64,
    /// Given up to stay within the bounds.
    pub flows_evicted: u64,
    /// Segments that overlapped bytes waiting behind a hole.
    pub overlaps: u64,
    /// Of these, with other bytes; the first to come were kept.
    pub overlaps_differing: u64,
    /// IP fragments that overlapped others.
    pub fragment_overlaps: u64,
    /// Requests without response and responses without request.
    pub halves_unpaired: u64,
}
