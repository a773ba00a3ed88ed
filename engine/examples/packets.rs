//! How fast the packet path is without storage, and what bounds it; `benches/import_side_by_side.py` runs it.
//!
//! ```text
//! packets FILE walk            record headers of a pcap only: the limit of anybody who reads the file
//! packets FILE source          blocks of frames, marked where they lie
//! packets FILE shard [POLICY]  all the way to records, which are dropped; POLICY: none, media-off, all
//! ```

use std::{fs::File, io::Read, sync::Arc, time::Instant};

use weir_engine::{
    http::BodyPolicy,
    pipeline::{Budget, Ids},
    record::Record,
    shard::{RecordSink, Shard, ShardOptions},
    source::{Block, CaptureReader, FrameSource},
};

/// Drops records and counts the exchanges.
#[derive(Default)]
struct Count(u64);

impl RecordSink for Count {
    fn record(&mut self, record: Record) {
        self.0 += u64::from(matches!(record, Record::Exchange(_)));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, how, ..] = &arguments[..] else {
        return Err("usage: packets FILE walk|source|shard [POLICY]".into());
    };
    let mut file = File::open(path)?;
    let began = Instant::now();
    let (mut packets, mut exchanges) = (0, 0);
    match how.as_str() {
        "walk" => packets = walk(&mut file)?,
        "source" => {
            let (mut reader, mut block) = (CaptureReader::new(file.try_clone()?)?, Block::new());
            while reader.next_block(&mut block)? {
                packets += block.len() as u64;
            }
        }
        _ => {
            let bodies = match arguments.get(3).map(String::as_str) {
                Some("none") => BodyPolicy::None,
                Some("all") => BodyPolicy::All,
                _ => BodyPolicy::MediaOff,
            };
            let options = ShardOptions { bodies, ..ShardOptions::default() };
            let mut shard = Shard::new(&options, Arc::new(Ids::default()), Budget::new(1 << 30));
            let (mut reader, mut block) = (CaptureReader::new(file.try_clone()?)?, Block::new());
            let mut count = Count::default();
            while reader.next_block(&mut block)? {
                packets += block.len() as u64;
                shard.block(&block, &mut count);
            }
            shard.finish(&mut count);
            exchanges = count.0;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let bytes = file.metadata()?.len();
    println!(
        r#"{{"bytes":{bytes},"seconds":{seconds:.4},"packets":{packets},"exchanges":{exchanges},"gb_s":{:.3}}}"#,
        bytes as f64 / seconds / 1e9
    );
    Ok(())
}

/// Steps over the records of a little-endian pcap, a mebibyte at a time, and touches nothing but their headers.
fn walk(file: &mut File) -> std::io::Result<u64> {
    let (mut buffer, mut filled, mut at, mut packets) = (vec![0; 1 << 20], 0, 24, 0);
    loop {
        let count = file.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(packets);
        }
        filled += count;
        while at + 16 <= filled {
            let len = u32::from_le_bytes([buffer[at + 8], buffer[at + 9], buffer[at + 10], buffer[at + 11]]);
            if at + 16 + len as usize > filled {
                break;
            }
            packets += 1;
            at += 16 + len as usize;
        }
        buffer.copy_within(at..filled, 0);
        (filled, at) = (filled - at, 0);
    }
}
