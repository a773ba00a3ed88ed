//! What is recorded is there, in the lake, for weir and for other engines.

mod support;

use std::{collections::HashSet, fs::File, process::Command, time::Duration};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{TimestampMicrosecondType, UInt64Type},
};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use support::{Generator, Rig};
use weir_engine::{
    filter::FilterFlags,
    ledger::{Layer, Tally},
    record::{Body, BodyState, Connection, Exchange, Flags, Message, Record},
};
use weir_storage::{
    Catalogue, Home, RecorderOptions, SessionId, SessionState, Table, open_parts,
    summary::{Dimension, Summary},
};

fn read(home: &Home, id: &SessionId, table: Table) -> Vec<RecordBatch> {
    let open = |file: File| ParquetRecordBatchReaderBuilder::try_new(file).expect("opens").build().expect("reads");
    let parts = open_parts(home, id, table).expect("opens");
    parts.into_iter().flat_map(|(_, file)| open(file)).collect::<Result<_, _>>().expect("reads")
}

fn ids(home: &Home, id: &SessionId) -> Vec<u64> {
    let batches = read(home, id, Table::Exchanges);
    let column = |batch: &RecordBatch| batch["id"].as_primitive::<UInt64Type>().values().to_vec();
    batches.iter().flat_map(column).collect()
}

#[test]
fn a_session_is_whole_and_sorted_in_the_lake() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let options = RecorderOptions { flush_bytes: 256 << 10, ..RecorderOptions::new(home.clone(), "proxy") };
    let mut rig = Rig::with(options);
    let id = rig.recorder.id();
    let generator = Generator::new(false);
    for number in 1..=3_000 {
        rig.push_exchange(generator.exchange(number));
    }
    rig.flush();
    rig.wait_flushed(3_000);
    // Readable while it runs.
    assert_eq!(ids(&home, &id).len(), 3_000);
    rig.recorder.rename("second name").expect("renames");
    rig.push(Record::Connection(Box::default()));
    rig.push(Record::Message(Box::default()));
    for number in 3_001..=5_000 {
        rig.push_exchange(generator.exchange(number));
    }
    let entry = rig.finish();
    assert_eq!((entry.state, entry.exchanges, entry.name.as_str()), (SessionState::Stopped, 5_000, "second name"));
    assert_eq!(entry.response_bytes, 5_000 * 600);
    assert!(entry.ledger.balances(), "{:?}", entry.ledger);
    assert!(!home.live_dir(&id).exists());
    let seen = ids(&home, &id);
    assert_eq!(seen.len(), 5_000);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), (1..=5_000).collect());
    for batch in read(&home, &id, Table::Exchanges) {
        assert!(batch["started"].as_primitive::<TimestampMicrosecondType>().values().is_sorted());
    }
    // One body, five thousand times.
    assert_eq!(read(&home, &id, Table::Bodies).iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    let mut summary = Summary::default();
    for (_, file) in open_parts(&home, &id, Table::Exchanges).expect("opens") {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("opens");
        summary.merge(&Summary::of_part(builder.metadata()).expect("has one"));
    }
    assert_eq!((summary.totals.count, summary.totals.errors), (5_000, 100));
    let methods = summary.groups(Dimension::Method).expect("few keys");
    assert_eq!((methods["GET"].count, methods["POST"].count), (4_000, 1_000));
    assert_eq!(methods["GET"].durations.count(), 4_000);
}

#[test]
fn what_is_left_out_is_counted() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let flags = FilterFlags { method: vec!["GET".to_owned()], ..FilterFlags::default() };
    let filters = flags.build().expect("builds");
    let options = RecorderOptions { filters, ..RecorderOptions::new(Home::at(folder.path()), "proxy") };
    let mut rig = Rig::with(options);
    let generator = Generator::new(true);
    for number in 1..=100 {
        let mut exchange = generator.exchange(number);
        if number == 1 {
            exchange.response_body =
                Body { state: BodyState::SkippedMedia, size: 9, hash: Some([1; 32]), ..Body::default() };
        }
        if number == 2 {
            exchange.response_body =
                Body { state: BodyState::Truncated, size: 9, ..Body::stored(Bytes::from_static(b"abc")) };
        }
        rig.push_exchange(exchange);
    }
    let entry = rig.finish();
    assert!(entry.filters.is_some());
    assert!(entry.ledger.balances(), "{:?}", entry.ledger);
    let tally = |layer| entry.ledger.layer(layer).cloned().unwrap_or_default();
    assert_eq!(tally(Layer::Exchanges).kept, 80);
    assert_eq!(tally(Layer::Exchanges).dropped["filter:method"], 20);
    let Tally { seen, kept, dropped, .. } = tally(Layer::Bodies);
    assert_eq!((seen, kept, dropped["policy:skipped_media"], dropped["body_limit"]), (80, 78, 1, 1));
}

#[test]
fn messages_of_exchanges_left_out_are_left_out() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let flags = FilterFlags { method: vec!["POST".to_owned()], ..FilterFlags::default() };
    let options = RecorderOptions { filters: flags.build().expect("builds"), ..RecorderOptions::new(home, "proxy") };
    let mut rig = Rig::with(options);
    let message = |exchange| Record::Message(Box::new(Message { exchange, ..Message::default() }));
    for (id, method) in [(1, "GET"), (2, "POST")] {
        let mut exchange = Exchange { id, method: method.into(), status: Some(101), ..Exchange::default() };
        exchange.flags.set(Flags::UPGRADED);
        rig.push_exchange(exchange);
        for _ in 0..3 {
            rig.push(message(id));
        }
    }
    // Its exchange is not known yet: it may be one that is kept.
    rig.push(message(3));
    let entry = rig.finish();
    assert!(entry.ledger.balances(), "{:?}", entry.ledger);
    let messages = entry.ledger.layer(Layer::Messages).expect("counted");
    assert_eq!((messages.kept, messages.dropped["filter:exchange"], entry.ledger.lost()), (4, 3, 0));
}

#[test]
fn a_disk_that_refuses_is_told_and_survived() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let flush_interval = Duration::from_millis(20);
    let mut rig = Rig::with(RecorderOptions { flush_interval, ..RecorderOptions::new(home.clone(), "proxy") });
    let id = rig.recorder.id();
    let generator = Generator::new(true);
    rig.push_exchange(generator.exchange(1));
    rig.flush();
    rig.wait_flushed(1);
    // A file where the folder was: nothing can be written, whoever asks.
    let (live, aside) = (home.live_dir(&id), folder.path().join("aside"));
    std::fs::rename(&live, &aside).expect("moves");
    std::fs::write(&live, "").expect("writes");
    rig.push_exchange(generator.exchange(2));
    rig.flush();
    while rig.recorder.status().last_error.is_none() {
        std::thread::yield_now();
    }
    let told = rig.recorder.entry();
    std::fs::remove_file(&live).expect("removes");
    std::fs::rename(&aside, &live).expect("moves");
    rig.push_exchange(generator.exchange(3));
    rig.flush();
    rig.wait_flushed(3);
    assert_eq!(told.expect("the catalogue is elsewhere").exchanges, 1);
    let entry = rig.finish();
    assert_eq!((entry.exchanges, entry.last_error.as_deref()), (3, None));
    assert!(entry.ledger.balances() && entry.ledger.lost() == 0, "{:?}", entry.ledger);
}

#[test]
fn what_a_full_disk_costs_is_counted() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let flush_interval = Duration::from_millis(10);
    let options =
        RecorderOptions { flush_interval, pending_bytes: 100 << 10, ..RecorderOptions::new(home.clone(), "proxy") };
    let mut rig = Rig::with(options);
    let live = home.live_dir(&rig.recorder.id());
    std::fs::remove_dir_all(&live).expect("removes");
    std::fs::write(&live, "").expect("writes");
    let generator = Generator::new(true);
    let mut number = 0;
    let lost = |rig: &Rig| rig.counters.snapshot().lost();
    while lost(&rig) == 0 {
        number += 1;
        rig.push_exchange(generator.exchange(number));
        rig.flush();
    }
    std::fs::remove_file(&live).expect("removes");
    number += 1;
    rig.push_exchange(generator.exchange(number));
    let entry = rig.finish();
    let exchanges = entry.ledger.layer(Layer::Exchanges).expect("counted");
    assert!(entry.ledger.balances(), "{:?}", entry.ledger);
    assert_eq!(exchanges.kept + exchanges.dropped["write_failed"], number);
    assert_eq!(ids(&home, &entry.id).len() as u64, exchanges.kept);
    assert!(ids(&home, &entry.id).contains(&number));
}

#[test]
fn other_engines_read_the_lake() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let generator = Generator::new(true);
    for session in 0..2 {
        let mut rig = Rig::start(folder.path());
        for number in 1..=1_000 {
            rig.push_exchange(generator.exchange(number));
        }
        rig.push(Record::Connection(Box::new(Connection { domain: Some("a".into()), ..Connection::default() })));
        rig.push(Record::Message(Box::new(Message { payload: Bytes::from_static(b"x"), ..Message::default() })));
        let entry = rig.finish();
        assert_eq!(entry.exchanges, 1_000, "{session}");
    }
    let script = r#"
import sys, duckdb, pyarrow.dataset as ds, pyarrow.compute as pc
lake = sys.argv[1]
rows = duckdb.sql(f"""
    select session, count(*), count(distinct e.id), min(url), sum(len(request_headers)), max(request_headers[1].name),
           count(*) filter (where method = 'POST'), count(b.hash), sum(octet_length(b.bytes))
    from read_parquet('{lake}/exchanges/session=*/part-*.parquet', hive_partitioning = true) e
    join read_parquet('{lake}/bodies/session=*/part-*.parquet', hive_partitioning = true) b
      using (session) where e.response_body = b.hash group by session""").fetchall()
assert len(rows) == 2, rows
for row in rows:
    assert row[1:3] == (1000, 1000) and row[4:9] == (5000, 'Host', 200, 1000, 600000), row
table = ds.dataset(f"{lake}/exchanges", partitioning="hive").to_table()
assert table.num_rows == 2000 and table.column("started").type.tz == "UTC", table.schema
assert pc.sum(table.column("response_size")).as_py() == 1200000
for other in ["connections", "messages"]:
    assert ds.dataset(f"{lake}/{other}", partitioning="hive").to_table().num_rows == 2
"#;
    let lake = home.root().join("lake");
    let output = Command::new("python3").args(["-c", script]).arg(lake).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(Catalogue::open(&home).list().expect("lists").len(), 2);
}
