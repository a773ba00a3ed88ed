//! One source, several shards: frames are decoded once, and each segment goes to the shard of its flow.
//!
//! In: blocks of frames. Out: the same blocks with a list of segments a shard. Both directions of a flow meet
//! in one shard, also behind tunnels and when some of their datagrams came in fragments, because it is the
//! innermost segment that is sorted. Nothing is copied but datagrams that came in fragments.

use super::{Intake, ShardOptions, tally};
use crate::{
    flow::index::{FlowKey, KeyHasher},
    ledger::Ledger,
    packet::{Address, LinkSource, Segment, tcp::Control},
    source::Block,
};

/// Decodes the frames of a source for several shards.
#[derive(Debug)]
pub struct Dispatcher {
    intake: Intake,
    hasher: KeyHasher,
    shards: usize,
}

/// A block whose segments are sorted by shard. It is used again once all shards are through with it.
#[derive(Debug, Default)]
pub struct Sorted {
    /// The frames.
    pub block: Block,
    /// Payload of datagrams that were put together from fragments.
    whole: Vec<u8>,
    lists: Vec<Vec<SegmentAt>>,
    last_ns: i64,
}

/// A segment, its payload told by place.
#[derive(Debug, Clone, Copy)]
struct SegmentAt {
    time_ns: i64,
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    sequence: u32,
    acknowledgement: u32,
    control: Control,
    /// The payload lies in `whole`, not in the block.
    is_whole: bool,
    start: u32,
    len: u32,
    cut: u32,
    link_source: LinkSource,
}

impl Dispatcher {
    /// For so many shards that work by the same options.
    #[must_use]
    pub fn new(options: &ShardOptions, shards: usize) -> Self {
        Self { intake: Intake::new(options), hasher: KeyHasher::new(), shards: shards.max(1) }
    }

    /// Sorts the frames of the block in `sorted`.
    pub fn sort(&mut self, sorted: &mut Sorted) {
        let Sorted { block, whole, lists, last_ns } = sorted;
        whole.clear();
        lists.resize_with(self.shards, Vec::new);
        lists.iter_mut().for_each(Vec::clear);
        *last_ns = i64::MIN;
        let base = block.bytes().as_ptr() as usize;
        let bytes = block.bytes().len();
        for frame in block.frames() {
            *last_ns = frame.time_ns.max(*last_ns);
            let Some(segment) = self.intake.segment(&frame) else { continue };
            let (key, _) =
                FlowKey::new((segment.source, segment.source_port), (segment.destination, segment.destination_port));
            // The upper bits: the flow tables take the lower ones.
            let shard = (((self.hasher.hash(&key) >> 32) * self.shards as u64) >> 32) as usize;
            let at = (segment.payload.as_ptr() as usize).wrapping_sub(base);
            let is_whole = !segment.payload.is_empty() && at >= bytes;
            let start = if is_whole {
                whole.extend_from_slice(segment.payload);
                whole.len() - segment.payload.len()
            } else {
                at.min(bytes)
            };
            lists[shard].push(SegmentAt::new(&segment, frame.time_ns, is_whole, start));
        }
    }

    /// The source has ended: what waits for fragments is given up.
    pub fn finish(&mut self) {
        self.intake.decoder.fragments.finish();
    }

    /// What was counted of frames; the layers above are counted by the shards.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        tally::packets(&self.intake, &mut ledger);
        ledger
    }
}

impl SegmentAt {
    fn new(segment: &Segment<'_>, time_ns: i64, is_whole: bool, start: usize) -> Self {
        Self {
            time_ns,
            source: segment.source,
            destination: segment.destination,
            source_port: segment.source_port,
            destination_port: segment.destination_port,
            sequence: segment.sequence,
            acknowledgement: segment.acknowledgement,
            control: segment.control,
            is_whole,
            // A block is far below 4 GiB: its records are bounded.
            start: start as u32,
            len: segment.payload.len() as u32,
            cut: segment.cut,
            link_source: segment.link_source,
        }
    }
}

impl Sorted {
    /// The segments of a shard with their times.
    pub(super) fn segments(&self, shard: usize) -> impl Iterator<Item = (Segment<'_>, i64)> {
        let list = self.lists.get(shard).map_or(&[][..], Vec::as_slice);
        list.iter().map(|at| {
            let bytes = if at.is_whole { &self.whole[..] } else { self.block.bytes() };
            let segment = Segment {
                source: at.source,
                destination: at.destination,
                source_port: at.source_port,
                destination_port: at.destination_port,
                sequence: at.sequence,
                acknowledgement: at.acknowledgement,
                control: at.control,
                payload: &bytes[at.start as usize..(at.start + at.len) as usize],
                cut: at.cut,
                link_source: at.link_source,
            };
            (segment, at.time_ns)
        })
    }

    /// The latest time in the block; shards without a segment of their own move on to it too.
    pub(super) fn last_ns(&self) -> i64 {
        self.last_ns
    }
}
