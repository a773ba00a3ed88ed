//! Sorting more than fits into memory: runs in temporary files, merged as they are read.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::temporary;

/// Bytes gathered before a run is written.
const RUN_BYTES: usize = 24 << 20;
/// Runs of a level that are merged into one of the next: bounds open files and read buffers.
const FAN_IN: usize = 32;

/// Records being gathered: a key to sort by, and bytes that go with it.
pub(crate) struct Sorter {
    scratch: PathBuf,
    arena: Vec<u8>,
    records: Vec<Record>,
    levels: Vec<Vec<File>>,
}

/// Where a record lies in the arena.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    start: usize,
    key: usize,
    value: usize,
}

impl Sorter {
    /// With temporary files in this folder.
    pub(crate) fn new(scratch: &Path) -> Self {
        Self { scratch: scratch.to_owned(), arena: Vec::new(), records: Vec::new(), levels: Vec::new() }
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let size = key.len() + value.len();
        if !self.arena.is_empty() && self.arena.len() + size + self.records.len() * size_of::<Record>() > RUN_BYTES {
            self.spill()?;
        }
        self.records.push(Record { start: self.arena.len(), key: key.len(), value: value.len() });
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value);
        Ok(())
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        let key = |record: &Record| &arena[record.start..record.start + record.key];
        self.records.sort_by(|a, b| key(a).cmp(key(b)));
    }

    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let mut writer = BufWriter::with_capacity(1 << 17, temporary::unnamed(&self.scratch)?);
        for record in &self.records {
            let (key, value) = self.arena[record.start..record.start + record.key + record.value].split_at(record.key);
            write_record(&mut writer, key, value)?;
        }
        let run = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        self.records.clear();
        self.arena.clear();
        // One huge record must not hold its memory for ever.
        self.arena.shrink_to(RUN_BYTES);
        self.add_run(run, 0)
    }

    fn add_run(&mut self, run: File, level: usize) -> io::Result<()> {
        if self.levels.len() <= level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(run);
        if self.levels[level].len() < FAN_IN {
            return Ok(());
        }
        let runs = std::mem::take(&mut self.levels[level]);
        let mut merged = Sorted::merge(runs)?;
        let mut writer = BufWriter::with_capacity(1 << 17, temporary::unnamed(&self.scratch)?);
        while let Some((key, value)) = merged.next()? {
            write_record(&mut writer, &key, &value)?;
        }
        let run = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        self.add_run(run, level + 1)
    }

    /// All records in the order of their keys; equal keys in no particular order.
    pub(crate) fn finish(mut self) -> io::Result<Sorted> {
        if self.levels.is_empty() {
            self.sort();
            let Self { arena, records, .. } = self;
            return Ok(Sorted::Memory { arena, records: records.into_iter() });
        }
        if !self.records.is_empty() {
            self.spill()?;
        }
        Sorted::merge(self.levels.into_iter().flatten().collect())
    }
}

fn write_record(writer: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    for length in [key.len(), value.len()] {
        let length = u32::try_from(length).map_err(|_| io::Error::other("a record of more than 4 GiB"))?;
        writer.write_all(&length.to_le_bytes())?;
    }
    writer.write_all(key)?;
    writer.write_all(value)
}

/// Key and value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Records in order.
pub(crate) enum Sorted {
    /// All of them were few.
    Memory { arena: Vec<u8>, records: std::vec::IntoIter<Record> },
    /// From several runs.
    Runs(BinaryHeap<Reverse<Head>>),
}

/// The next record of a run.
pub(crate) struct Head {
    pair: Pair,
    run: BufReader<File>,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.pair.0 == other.pair.0
    }
}
impl Eq for Head {}
impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.pair.0.cmp(&other.pair.0)
    }
}

impl Sorted {
    fn merge(runs: Vec<File>) -> io::Result<Self> {
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for mut run in runs {
            run.rewind()?;
            let mut run = BufReader::with_capacity(1 << 16, run);
            if let Some(pair) = read_record(&mut run)? {
                heap.push(Reverse(Head { pair, run }));
            }
        }
        Ok(Self::Runs(heap))
    }

    /// The next record.
    pub(crate) fn next(&mut self) -> io::Result<Option<Pair>> {
        match self {
            Self::Memory { arena, records } => Ok(records.next().map(|record| {
                let (key, value) = arena[record.start..record.start + record.key + record.value].split_at(record.key);
                (key.to_vec(), value.to_vec())
            })),
            Self::Runs(heap) => {
                let Some(Reverse(Head { pair, mut run })) = heap.pop() else { return Ok(None) };
                if let Some(next) = read_record(&mut run)? {
                    heap.push(Reverse(Head { pair: next, run }));
                }
                Ok(Some(pair))
            }
        }
    }
}

fn read_record(run: &mut impl Read) -> io::Result<Option<Pair>> {
    let mut lengths = [0; 8];
    if let Err(error) = run.read_exact(&mut lengths) {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let length = |bytes: &[u8]| bytes.try_into().map_or(0, |bytes| u32::from_le_bytes(bytes) as usize);
    let (mut key, mut value) = (vec![0; length(&lengths[..4])], vec![0; length(&lengths[4..])]);
    run.read_exact(&mut key)?;
    run.read_exact(&mut value)?;
    Ok(Some((key, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_fits_comes_out_sorted() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (count, size) in [(0_u64, 0_usize), (100, 10), (1_200, 100_000), (3, RUN_BYTES + 1)] {
            let mut sorter = Sorter::new(folder.path());
            for number in 0..count {
                let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
                sorter.push(&key, &vec![number as u8; size]).expect("writes");
            }
            let mut sorted = sorter.finish().expect("sorts");
            let (mut before, mut seen) = (None, 0);
            while let Some((key, value)) = sorted.next().expect("reads") {
                assert!(value.len() == size && before.as_ref() < Some(&key));
                before = Some(key);
                seen += 1;
            }
            assert_eq!(seen, count);
            assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 0, "temporary files have no names");
        }
    }
}
