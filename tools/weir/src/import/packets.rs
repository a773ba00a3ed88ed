//! Captures through the packet path: a thread that reads, and one or several shards on threads of their own.
//!
//! ```text
//! reader ─────────────────── blocks ───────────── the shard ──── sink
//! reader ── Dispatcher ══ lists of segments ══ shard threads ── sinks
//!              ↑                                    │
//!              └────────── used blocks ─────────────┘
//! ```
//!
//! In: opened captures, one after another; flows go on from one to the next. Out: records into the sinks, and
//! the ledger of the layers below them.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Result, anyhow};
use weir_engine::{
    ledger::{Layer, Ledger},
    pipeline::{
        Budget, Ids,
        lane::{Receiver, Sender, bounded},
    },
    shard::{Dispatcher, Shard, Sorted},
    source::{Block, CaptureReader, FrameSource, SourceTally, Unpacked},
};

use super::{gauge::Gauge, options::Options, sink::Sink};

/// Blocks between the reader and each shard at most.
const BLOCKS_WAITING: usize = 3;

/// The packet path of an import.
pub(super) enum Packets {
    Alone(Box<Alone>),
    Sharded(Box<Sharded>),
}

/// One shard: the reader hands it whole blocks, and copies the next out of the file while it works.
pub(super) struct Alone {
    sink: Sink,
    blocks: Sender<Block>,
    used: Receiver<Block>,
    /// A block that was taken and not filled.
    spare: Option<Block>,
    thread: JoinHandle<u64>,
}

/// Several shards; the reader decodes for them.
pub(super) struct Sharded {
    dispatcher: Dispatcher,
    sink: Sink,
    counted: Ledger,
    queues: Vec<Sender<Arc<Sorted>>>,
    used: Receiver<Sorted>,
    /// A block that was taken and not filled.
    spare: Option<Sorted>,
    threads: Vec<JoinHandle<u64>>,
}

/// A shard with where its records go, and what of its ledger has been told.
struct Followed {
    shard: Shard,
    sink: Sink,
    counted: Ledger,
}

impl Followed {
    /// Hands over what a block came to.
    fn flush(&mut self) {
        self.sink.flush();
        let ledger = self.shard.ledger();
        self.sink.counters().advance(&self.counted, &ledger);
        self.counted = ledger;
    }

    /// Ends all flows; tells how many had been given up for want of room.
    fn finish(mut self) -> u64 {
        self.shard.finish(&mut self.sink);
        self.flush();
        self.shard.figures().flows_evicted
    }
}

impl Packets {
    pub(super) fn start(
        options: &Options,
        mut sink: impl FnMut() -> Sink,
        ids: &Arc<Ids>,
        budget: &Budget,
    ) -> Result<Self> {
        let mut followed = || Followed {
            shard: Shard::new(&options.shard, Arc::clone(ids), budget.clone()),
            sink: sink(),
            counted: Ledger::default(),
        };
        if options.jobs == 1 {
            let (give_back, used) = bounded(BLOCKS_WAITING + 2);
            for _ in 0..BLOCKS_WAITING + 1 {
                // There is room for all of them.
                let _ = give_back.send(Block::new());
            }
            let (blocks, read) = bounded(BLOCKS_WAITING);
            let followed = followed();
            let thread = thread::Builder::new().name("weir-shard".into());
            let thread = thread.spawn(move || follow_alone(followed, &read, &give_back))?;
            return Ok(Self::Alone(Box::new(Alone { sink: sink(), blocks, used, spare: None, thread })));
        }
        let (give_back, used) = bounded(options.jobs * BLOCKS_WAITING + 2);
        for _ in 0..options.jobs * BLOCKS_WAITING.min(2) + 2 {
            // There is room for all of them.
            let _ = give_back.send(Sorted::default());
        }
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for number in 0..options.jobs {
            let (queue, sorted) = bounded(BLOCKS_WAITING);
            let (followed, give_back) = (followed(), give_back.clone());
            let thread = thread::Builder::new().name(format!("weir-shard-{number}"));
            threads.push(thread.spawn(move || follow(followed, number, &sorted, &give_back))?);
            queues.push(queue);
        }
        let dispatcher = Dispatcher::new(&options.shard, options.jobs);
        let (sink, counted) = (sink(), Ledger::default());
        Ok(Self::Sharded(Box::new(Sharded { dispatcher, sink, counted, queues, used, spare: None, threads })))
    }

    /// Reads one capture to its end, or until it is to stop.
    pub(super) fn read(&mut self, capture: Unpacked<'_>, gauge: &Gauge) -> Result<SourceTally> {
        let mut reader = CaptureReader::from_unpacked(capture);
        let before = gauge.packets();
        let mut outcome = Ok(());
        while !gauge.is_stopped() {
            match self.block(&mut reader) {
                Ok(true) => gauge.set_packets(before + reader.tally().frames),
                Ok(false) => break,
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let tally = reader.tally().clone();
        self.note(&tally, gauge.is_stopped());
        outcome.map(|()| tally)
    }

    fn block(&mut self, reader: &mut CaptureReader<'_>) -> Result<bool> {
        match self {
            Self::Alone(alone) => {
                let mut block = taken(&mut alone.spare, &alone.used)?;
                let filled = reader.next_block(&mut block);
                if !matches!(filled, Ok(true)) {
                    alone.spare = Some(block);
                    return Ok(filled?);
                }
                alone.blocks.send(block).map_err(|_| anyhow!("the shard has ended; this is a bug"))?;
            }
            Self::Sharded(sharded) => {
                let mut sorted = taken(&mut sharded.spare, &sharded.used)?;
                let filled = reader.next_block(&mut sorted.block);
                if !matches!(filled, Ok(true)) {
                    // The next file begins with it.
                    sharded.spare = Some(sorted);
                    return Ok(filled?);
                }
                sharded.dispatcher.sort(&mut sorted);
                to_all(&sharded.queues, sorted).map_err(|_| anyhow!("a shard has ended; this is a bug"))?;
                sharded.count();
            }
        }
        Ok(true)
    }

    /// Counts what the file itself lacked, and what was kept aside.
    fn note(&self, tally: &SourceTally, stopped: bool) {
        let counters = match self {
            Self::Alone(alone) => alone.sink.counters(),
            Self::Sharded(sharded) => sharded.sink.counters(),
        };
        // Where reading was stopped a record may be cut: that is no tear.
        let tears = if stopped { 0 } else { tally.tears };
        counters.seen(Layer::Packets, tears);
        counters.dropped(Layer::Packets, "torn", tears);
        counters.noted(Layer::Packets, "torn_bytes", if stopped { 0 } else { tally.torn_bytes });
        counters.noted(Layer::Packets, "decryption_secrets", tally.secrets.len() as u64);
        counters.noted(Layer::Packets, "name_resolutions", tally.names.len() as u64);
    }

    /// Ends all flows; tells how many had been given up for want of room.
    pub(super) fn finish(self) -> Result<u64> {
        match self {
            Self::Alone(alone) => {
                drop(alone.blocks);
                ended(alone.thread)
            }
            Self::Sharded(mut sharded) => {
                sharded.dispatcher.finish();
                sharded.count();
                sharded.queues.clear();
                sharded.threads.drain(..).map(ended).sum()
            }
        }
    }
}

impl Sharded {
    fn count(&mut self) {
        let ledger = self.dispatcher.ledger();
        self.sink.counters().advance(&self.counted, &ledger);
        self.counted = ledger;
    }
}

/// Sends an item to all, and keeps no share of it: the last of the receivers to let go of theirs owns it.
fn to_all<T>(queues: &[Sender<Arc<T>>], item: T) -> Result<(), Arc<T>> {
    let Some((last, others)) = queues.split_last() else { return Ok(()) };
    let item = Arc::new(item);
    others.iter().try_for_each(|queue| queue.send(Arc::clone(&item)))?;
    last.send(item)
}

/// The block that was left over, or the next that is through.
fn taken<T>(spare: &mut Option<T>, used: &Receiver<T>) -> Result<T> {
    match spare.take() {
        Some(block) => Ok(block),
        None => used.recv().ok_or_else(|| anyhow!("the shards have ended; this is a bug")),
    }
}

fn ended(thread: JoinHandle<u64>) -> Result<u64> {
    thread.join().map_err(|_| anyhow!("a shard failed; its connections are lost; this is a bug"))
}

/// The thread of the only shard: takes blocks until the reader has no more.
fn follow_alone(mut followed: Followed, blocks: &Receiver<Block>, give_back: &Sender<Block>) -> u64 {
    while let Some(block) = blocks.recv() {
        let Followed { shard, sink, .. } = &mut followed;
        shard.block(&block, sink);
        followed.flush();
        let _ = give_back.send(block);
    }
    followed.finish()
}

/// A shard's thread: takes blocks until the reader has no more.
fn follow(mut followed: Followed, number: usize, blocks: &Receiver<Arc<Sorted>>, give_back: &Sender<Sorted>) -> u64 {
    while let Some(sorted) = blocks.recv() {
        let Followed { shard, sink, .. } = &mut followed;
        shard.sorted(&sorted, number, sink);
        followed.flush();
        // The last one gives the block back.
        if let Some(sorted) = Arc::into_inner(sorted) {
            let _ = give_back.send(sorted);
        }
    }
    followed.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_comes_back() {
        const BLOCKS: usize = 20_000;
        let (give_back, used) = bounded(BLOCKS);
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let (queue, blocks) = bounded(3);
            let give_back = give_back.clone();
            threads.push(thread::spawn(move || {
                while let Some(block) = blocks.recv() {
                    if let Some(block) = Arc::into_inner(block) {
                        give_back.send(block).expect("there is room");
                    }
                }
            }));
            queues.push(queue);
        }
        drop(give_back);
        (0..BLOCKS).for_each(|block| to_all(&queues, block).expect("they are there"));
        queues.clear();
        let mut back: Vec<usize> = std::iter::from_fn(|| used.recv()).collect();
        back.sort_unstable();
        assert_eq!(back, (0..BLOCKS).collect::<Vec<_>>());
        threads.into_iter().for_each(|thread| thread.join().expect("ends"));
    }
}
