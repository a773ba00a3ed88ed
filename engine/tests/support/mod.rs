//! Runs captures through a shard and sums up what came out.

#![allow(dead_code)] // each test uses its part

pub(crate) mod md5;
pub(crate) mod traffic;
pub(crate) mod tshark;

use std::{io::Read, path::PathBuf, sync::Arc};

use weir_engine::{
    http::BodyPolicy,
    ledger::Ledger,
    pipeline::{Budget, Ids},
    record::{Connection, Exchange, Message, Record},
    shard::{Shard, ShardFigures, ShardOptions},
    source::{Block, CaptureReader, Frame, FrameSource},
};

/// What came out of a capture.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) messages: Vec<Message>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) ledger: Ledger,
    pub(crate) figures: ShardFigures,
    pub(crate) tears: u64,
}

impl Outcome {
    fn take(&mut self, records: Vec<Record>) {
        for record in records {
            match record {
                Record::Exchange(exchange) => self.exchanges.push(*exchange),
                Record::Message(message) => self.messages.push(*message),
                Record::Connection(connection) => self.connections.push(*connection),
            }
        }
    }
}

pub(crate) fn shard() -> Shard {
    let options = ShardOptions { bodies: BodyPolicy::All, ..ShardOptions::default() };
    Shard::new(&options, Arc::new(Ids::default()), Budget::new(1 << 30))
}

/// Reads a capture to its end.
pub(crate) fn read(input: impl Read + Send) -> Outcome {
    let (mut shard, mut block, mut records) = (shard(), Block::new(), Vec::new());
    let mut reader = CaptureReader::new(input).expect("opens");
    while reader.next_block(&mut block).expect("reads") {
        shard.block(&block, &mut records);
    }
    shard.finish(&mut records);
    let mut outcome = finish(&shard, records);
    outcome.tears = reader.tally().tears;
    outcome
}

/// Takes frames to their end.
pub(crate) fn run<'a>(frames: impl IntoIterator<Item = Frame<'a>>) -> Outcome {
    let (mut shard, mut records) = (shard(), Vec::new());
    for frame in frames {
        shard.frame(&frame, &mut records);
    }
    shard.finish(&mut records);
    finish(&shard, records)
}

fn finish(shard: &Shard, records: Vec<Record>) -> Outcome {
    let mut outcome = Outcome { ledger: shard.ledger(), figures: shard.figures(), ..Outcome::default() };
    outcome.take(records);
    assert!(outcome.ledger.balances(), "the ledger balances: {:?}", outcome.ledger);
    outcome
}

/// The folder of captures with expectations, when it is there.
pub(crate) fn corpora() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let fixed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let named = std::env::var_os("WEIR_CORPORA").map(PathBuf::from);
    named.into_iter().chain([beside, fixed]).find(|folder| folder.join("corpora.json").is_file())
}
