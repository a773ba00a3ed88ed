//! kill -9 at any moment: what had been flushed is there, nothing is there twice.

mod support;

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use arrow::{array::AsArray, datatypes::UInt64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use support::{Generator, Rig};
use weir_storage::{
    Catalogue, Home, RecorderOptions, SessionId, SessionState, Table, open_parts, recorder::MergePolicy,
};

/// Tells the child where to record. Without it the child's test does nothing.
const HOME: &str = "WEIR_TEST_CRASH_HOME";
const CRASHES: u32 = 20;

/// Not a test: the process that is killed. It flushes and merges far more often than a capture does,
/// and says what is on disk as soon as it is.
#[test]
fn child_records_until_it_is_killed() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let mut rig = Rig::with(RecorderOptions {
        flush_interval: Duration::from_millis(5),
        flush_bytes: 100 << 10,
        merge: MergePolicy { lake_bytes: 200 << 10, lake_parts: 50, small_bytes: 60 << 10, small_run: 4 },
        ..RecorderOptions::new(Home::at(home), "proxy")
    });
    let generator = Generator::new(true);
    let mut told = 0;
    for number in 1.. {
        rig.push_exchange(generator.exchange(number));
        let flushed = rig.recorder.status().flushed;
        if flushed > told {
            told = flushed;
            println!("flushed {flushed}");
            std::io::stdout().flush().expect("the parent listens");
        }
    }
}

/// Lets a child record for a random time, kills it, and returns how many exchanges it said were on disk.
fn crash(home: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child_records_until_it_is_killed", "--nocapture"])
        .env(HOME, home)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let mut flushed =
        output.lines().map_while(Result::ok).filter_map(|line| line.split_once("flushed ")?.1.parse::<u64>().ok());
    let first = flushed.next().expect("flushes");
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let killer = thread::spawn(move || {
        thread::sleep(Duration::from_micros(u64::from(nanos) % 250_000));
        child.kill().expect("dies");
        child.wait().expect("is dead");
    });
    let last = flushed.last().unwrap_or(first);
    killer.join().expect("killed");
    last
}

fn ids(home: &Home, id: &SessionId, table: Table, column: &str) -> Vec<u64> {
    let mut ids = Vec::new();
    for (_, file) in open_parts(home, id, table).expect("opens") {
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).expect("opens").build().expect("reads") {
            ids.extend_from_slice(batch.expect("reads")[column].as_primitive::<UInt64Type>().values());
        }
    }
    ids
}

#[test]
fn a_killed_recorder_costs_no_flushed_exchange_and_repeats_none() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let catalogue = Catalogue::open(&home);
    for round in 0..CRASHES {
        let flushed = crash(folder.path());
        // Readable before it is recovered, too.
        let crashed = catalogue.find(None).expect("is there");
        assert_eq!(crashed.state, SessionState::Running);
        let before = ids(&home, &crashed.id, Table::Exchanges, "id");
        let recovered = catalogue.recover().expect("recovers");
        assert_eq!(recovered.len(), 1, "round {round}");
        let entry = &recovered[0];
        assert_eq!((entry.id, entry.state), (crashed.id, SessionState::Recovered));
        let after = ids(&home, &entry.id, Table::Exchanges, "id");
        for (when, ids) in [("before", &before), ("after", &after)] {
            let distinct: HashSet<_> = ids.iter().copied().collect();
            assert_eq!(distinct.len(), ids.len(), "round {round}: twice {when} recovery");
            assert!((1..=flushed).all(|id| distinct.contains(&id)), "round {round}: lost {when} recovery");
        }
        assert_eq!(before.len(), after.len());
        assert_eq!(entry.exchanges, after.len() as u64);
        assert!(entry.ledger.balances(), "round {round}: {:?}", entry.ledger);
        // Each body is unique here: as many as exchanges, or a few more that were flushed ahead of theirs.
        let bodies = ids_len(&home, &entry.id);
        assert!(bodies >= after.len(), "round {round}: {bodies} bodies for {} exchanges", after.len());
        assert!(!home.live_dir(&entry.id).exists() && !home.lock_path(&entry.id).exists());
        catalogue.delete(&entry.id).expect("deletes");
    }
}

fn ids_len(home: &Home, id: &SessionId) -> usize {
    ids(home, id, Table::Bodies, "size").len()
}
