//! The open parts of one table: a snapshot that compaction cannot take away, and work over its row
//! groups on all cores.
//!
//! A part that cannot be read is left out with a warning that names it; the others are served. A
//! query that meets damage half-way starts again without that part, so that no part counts by half.

use std::{
    collections::BTreeSet,
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::file::OpenPart;
use crate::{
    error::StorageError,
    home::Home,
    parts,
    parts::Part,
    schema::Table,
    session::SessionId,
    tombstones::{Ids, Tombstones},
};

/// An error, and the place in [`Source::parts`] of the part it is about.
pub(crate) type PartError = (usize, StorageError);

/// One row group of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Unit {
    /// Place of the part.
    pub(crate) part: usize,
    /// Number of the row group in it.
    pub(crate) group: usize,
}

/// The parts of one table, opened.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Those whose footers can be read, in the order of their flushes.
    pub(crate) parts: Vec<OpenPart>,
    /// Places of parts that turned out to be damaged.
    damaged: BTreeSet<usize>,
    /// What could not be read, as sentences.
    pub(crate) warnings: Vec<String>,
    /// What is deleted but still in the parts.
    pub(crate) tombstones: Tombstones,
}

impl Source {
    /// Opens all parts of a table.
    pub(crate) fn open(home: &Home, id: &SessionId, table: Table, page_index: bool) -> Result<Self, StorageError> {
        // First what is deleted: a merge removes that after it has rewritten the parts.
        let tombstones = Tombstones::load(home, id)?;
        Ok(Self { tombstones, ..Self::from_files(parts::open_parts(home, id, table)?, page_index) })
    }

    /// Ids of exchanges to be left out, when there are any.
    pub(crate) fn deleted(&self) -> Option<Arc<Ids>> {
        (!self.tombstones.exchanges.is_empty()).then(|| Arc::clone(&self.tombstones.exchanges))
    }

    fn from_files(files: Vec<(Part, File)>, page_index: bool) -> Self {
        let mut source = Self {
            parts: Vec::with_capacity(files.len()),
            damaged: BTreeSet::new(),
            warnings: Vec::new(),
            tombstones: Tombstones::default(),
        };
        for (part, file) in files {
            match OpenPart::open(part, file, page_index) {
                Ok(part) => source.parts.push(part),
                Err(error) => source.warn(&error),
            }
        }
        source
    }

    fn warn(&mut self, error: &StorageError) {
        tracing::warn!("{error}");
        self.warnings.push(error.to_string());
    }

    /// All row groups in order.
    pub(crate) fn units(&self) -> Vec<Unit> {
        let groups = |(index, part): (usize, &OpenPart)| {
            (0..part.metadata.metadata().num_row_groups()).map(move |group| Unit { part: index, group })
        };
        self.parts.iter().enumerate().filter(|(index, _)| !self.damaged.contains(index)).flat_map(groups).collect()
    }

    /// Leaves a part out from now on.
    pub(crate) fn leave_out(&mut self, (index, error): &PartError) {
        if self.damaged.insert(*index) {
            self.warn(error);
        }
    }

    /// Whether a part has not been left out.
    pub(crate) fn has(&self, part: usize) -> bool {
        !self.damaged.contains(&part)
    }

    /// Runs a query, again without a part whenever that part turns out to be damaged.
    pub(crate) fn run<T>(&mut self, query: impl Fn(&Self) -> Result<T, PartError>) -> Result<T, StorageError> {
        loop {
            match query(self) {
                Ok(result) => return Ok(result),
                // It was left out already: the error is not about the part.
                Err((part, error)) if !self.has(part) => return Err(error),
                Err(error) => self.leave_out(&error),
            }
        }
    }
}

/// Does `work` for each unit on all cores; each thread gathers in a state of its own.
pub(crate) fn on_all_cores<T: Send>(
    units: &[Unit],
    start: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, Unit) -> Result<(), StorageError> + Sync,
) -> Result<Vec<T>, PartError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(units.len()).max(1);
    let next = AtomicUsize::new(0);
    let run = || {
        let mut state = start();
        while let Some(&unit) = units.get(next.fetch_add(1, Relaxed)) {
            if let Err(error) = work(&mut state, unit) {
                next.store(units.len(), Relaxed);
                return Err((unit.part, error));
            }
        }
        Ok(state)
    };
    if threads == 1 {
        return run().map(|state| vec![state]);
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut states = vec![run()];
        states.extend(others.into_iter().map(|thread| match thread.join() {
            Ok(state) => state,
            Err(panic) => std::panic::resume_unwind(panic),
        }));
        states.into_iter().collect()
    })
}
