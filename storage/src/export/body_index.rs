//! Bodies by their hashes, many at a time: where each lies is indexed once, then those that are wanted
//! are read in the order they lie.
//!
//! The index takes 16 bytes a body. Past [`MAX_ENTRIES`] it goes to a temporary file in sorted runs, so that
//! memory does not grow with the session.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use arrow::{array::AsArray, error::ArrowError};
use bytes::Bytes;
use parquet::errors::ParquetError;

use super::temporary;
use crate::{
    error::StorageError,
    query::{
        cell::cell,
        file::guarded,
        scan::{read, selection},
        source::{PartError, Source, Unit},
    },
};

/// Entries held in memory: 32 MiB.
const MAX_ENTRIES: usize = 2 << 20;
/// Places of one body that are looked at.
const MAX_PLACES: usize = 3;
/// Bytes of an entry in a run.
const ENTRY_BYTES: usize = 16;

/// A body as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    /// The bytes, as on the wire unless `encoding` is none.
    pub(crate) bytes: Bytes,
    /// The content coding that is still applied.
    pub(crate) encoding: Option<String>,
}

/// First 8 bytes of a hash, and the place: part (16 bits), row group (16), row (32).
type Entry = (u64, u64);

/// Sorted entries.
enum Run {
    Memory(Vec<Entry>),
    Disk { file: File, len: usize },
}

impl Run {
    fn len(&self) -> usize {
        match self {
            Self::Memory(entries) => entries.len(),
            Self::Disk { len, .. } => *len,
        }
    }

    fn get(&self, at: usize) -> io::Result<Entry> {
        match self {
            Self::Memory(entries) => Ok(entries[at]),
            Self::Disk { file, .. } => {
                let mut bytes = [0; ENTRY_BYTES];
                file.read_exact_at(&mut bytes, (at * ENTRY_BYTES) as u64)?;
                let (hash, place) = bytes.split_at(8);
                let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
                Ok((number(hash), number(place)))
            }
        }
    }

    /// The places of a hash.
    fn find(&self, hash: u64, into: &mut Vec<u64>) -> io::Result<()> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle)?.0 < hash { low = middle + 1 } else { high = middle }
        }
        while low < self.len() {
            let (found, place) = self.get(low)?;
            if found != hash {
                break;
            }
            into.push(place);
            low += 1;
        }
        Ok(())
    }
}

/// The bodies of a session.
pub(crate) struct BodyIndex {
    source: Source,
    runs: Vec<Run>,
    scratch: PathBuf,
}

impl BodyIndex {
    /// Reads where the bodies lie; `scratch` is a folder for temporary files.
    pub(crate) fn build(mut source: Source, scratch: &Path) -> Result<Self, StorageError> {
        let runs = source.run(|source| {
            let mut runs = Vec::new();
            let mut entries: Vec<Entry> = Vec::new();
            for unit in source.units() {
                hashes(source, unit, &mut entries)?;
                if entries.len() >= MAX_ENTRIES {
                    let run = spill(&mut entries, scratch)
                        .map_err(|error| (usize::MAX, StorageError::io("write", scratch)(error)))?;
                    runs.push(run);
                }
            }
            entries.sort_unstable();
            entries.shrink_to_fit();
            runs.push(Run::Memory(entries));
            Ok(runs)
        })?;
        Ok(Self { source, runs, scratch: scratch.to_owned() })
    }

    /// What could not be read so far.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.source.warnings
    }

    /// The bodies with these hashes, as far as the session has them.
    pub(crate) fn fetch(&mut self, wanted: &BTreeSet<[u8; 32]>) -> Result<HashMap<[u8; 32], Stored>, StorageError> {
        let mut places: BTreeMap<(usize, usize), BTreeSet<usize>> = BTreeMap::new();
        let mut found = Vec::new();
        for hash in wanted {
            found.clear();
            for run in &self.runs {
                run.find(prefix(hash), &mut found).map_err(StorageError::io("read", &self.scratch))?;
            }
            // A body that was stored again lies in several places, any of which will do. Hashes that begin
            // with the same 64 bits without being the same only cost a read more.
            for place in found.iter().take(MAX_PLACES) {
                let (part, group) = ((place >> 48) as usize, (place >> 32 & 0xffff) as usize);
                if self.source.has(part) {
                    places.entry((part, group)).or_default().insert(*place as u32 as usize);
                }
            }
        }
        let mut bodies = HashMap::with_capacity(wanted.len());
        for ((part, group), rows) in places {
            if !self.source.has(part) {
                continue;
            }
            let open = &self.source.parts[part];
            if let Err(error) = guarded(|| read_bodies(open, group, &rows, wanted, &mut bodies)) {
                let error = open.error(error);
                self.source.leave_out(&(part, error));
            }
        }
        Ok(bodies)
    }
}

fn prefix(hash: &[u8]) -> u64 {
    hash.get(..8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes).unwrap_or_default()
}

fn hashes(source: &Source, unit: Unit, into: &mut Vec<Entry>) -> Result<(), PartError> {
    let part = &source.parts[unit.part];
    guarded(|| {
        let mut row = 0_u64;
        for batch in read(part, unit.group, &BTreeSet::from(["hash"]), None)? {
            let batch = batch?;
            let hashes = batch
                .column_by_name("hash")
                .and_then(|column| column.as_fixed_size_binary_opt())
                .ok_or_else(|| ArrowError::SchemaError("column hash is not of 32 bytes".to_owned()))?;
            for number in 0..batch.num_rows() {
                let place = (unit.part as u64) << 48 | (unit.group as u64 & 0xffff) << 32 | (row & 0xffff_ffff);
                into.push((prefix(hashes.value(number)), place));
                row += 1;
            }
        }
        Ok(())
    })
    .map_err(|error| (unit.part, part.error(error)))
}

fn spill(entries: &mut Vec<Entry>, scratch: &Path) -> io::Result<Run> {
    entries.sort_unstable();
    let file = temporary::unnamed(scratch)?;
    let mut writer = io::BufWriter::with_capacity(1 << 18, file);
    for (hash, place) in entries.iter() {
        writer.write_all(&hash.to_le_bytes())?;
        writer.write_all(&place.to_le_bytes())?;
    }
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    let len = entries.len();
    entries.clear();
    Ok(Run::Disk { file, len })
}

fn read_bodies(
    part: &crate::query::file::OpenPart,
    group: usize,
    rows: &BTreeSet<usize>,
    wanted: &BTreeSet<[u8; 32]>,
    into: &mut HashMap<[u8; 32], Stored>,
) -> Result<(), ParquetError> {
    let total = usize::try_from(part.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
    let columns = BTreeSet::from(["hash", "bytes", "encoding"]);
    for batch in read(part, group, &columns, Some(selection(rows.iter().copied(), total)))? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let hash = cell::<crate::query::HashHex>(&batch, "hash", row)?.0;
            if wanted.contains(&hash) {
                into.entry(hash)
                    .or_insert(Stored { bytes: cell(&batch, "bytes", row)?, encoding: cell(&batch, "encoding", row)? });
            }
        }
    }
    Ok(())
}
