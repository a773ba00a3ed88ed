//! Sessions that follow one another from one queue: every exchange is in exactly one of them, and each ledger balances.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use support::{Generator, Rig};
use weir_engine::{
    ledger::{Counters, Layer},
    pipeline::Ids,
};
use weir_storage::{
    Home, Recorder, RecorderOptions, RequestsQuery, Session, SessionEntry, SessionState, recorder::Next,
};

const ROWS: u64 = 20_000;

fn ids(home: &Home, entry: &SessionEntry) -> Vec<u64> {
    let session = Session::open(home, entry.clone());
    let mut found = session.requests(&RequestsQuery::default()).expect("asks");
    let ids = found.by_ref().map(|row| row.id).collect();
    assert!(found.error().is_none() && found.warnings().is_empty(), "{:?}", found.warnings());
    ids
}

#[test]
fn each_exchange_is_in_one_session() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let mut options = RecorderOptions::new(home.clone(), "proxy");
    // Nothing but being asked ends a wait.
    options.flush_interval = Duration::from_secs(600);
    let (sender, receiver) = weir_engine::pipeline::queue(4);
    let counters = Arc::new(Counters::default());
    let mut outlet =
        weir_engine::pipeline::Outlet::new(sender, Arc::clone(&counters), weir_engine::pipeline::WhenFull::Wait);
    let mut recorder =
        Recorder::start(options, receiver, Arc::clone(&counters), Arc::new(Ids::default())).expect("starts");
    let pushed = Arc::new(AtomicU64::new(0));
    let progress = Arc::clone(&pushed);
    let pushing = std::thread::spawn(move || {
        let generator = Generator::new(false);
        for number in 1..=ROWS {
            if let Some(batch) =
                outlet.push(weir_engine::record::Record::Exchange(Box::new(generator.exchange(number))))
            {
                outlet.deliver_blocking(batch);
            }
            progress.store(number, Relaxed);
        }
    });
    let mut endings = Vec::new();
    for round in 1..=3 {
        while pushed.load(Relaxed) < ROWS * round / 4 {
            std::thread::yield_now();
        }
        assert!(recorder.begin_next(Next { name: Some("\u{7}".to_owned()), filters: None }).is_err(), "no such name");
        let next = Next { name: Some(format!("round {round}")), filters: None };
        endings.push(recorder.begin_next(next).expect("begins"));
    }
    pushing.join().expect("no panic");
    let mut entries: Vec<SessionEntry> = endings.into_iter().map(|ending| ending.finish().expect("ends")).collect();
    entries.push(recorder.finish().expect("finishes"));
    assert_eq!(counters.snapshot(), entries[3].ledger, "what is left are the counts of the last");
    let mut all = Vec::new();
    for entry in &entries {
        assert!(entry.ledger.balances() && entry.state == SessionState::Stopped, "{entry:?}");
        let found = ids(&home, entry);
        assert_eq!(entry.exchanges, found.len() as u64);
        assert_eq!(entry.ledger.layer(Layer::Exchanges).map_or(0, |tally| tally.kept), entry.exchanges);
        all.extend(found);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=ROWS).collect::<Vec<_>>());
    assert!(entries[1..].iter().all(|entry| entry.name.starts_with("round ")), "{entries:?}");
}

#[test]
fn a_pause_ends_with_its_session() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let mut rig = Rig::start(folder.path());
    let generator = Generator::new(false);
    let now = || weir_storage::Timestamp::now().as_micros();
    let push = |rig: &mut Rig, number: u64| {
        let mut exchange = generator.exchange(number);
        exchange.started_us = now();
        exchange.timings.duration_us = Some(0);
        rig.push_exchange(exchange);
        rig.flush();
    };
    push(&mut rig, 1);
    rig.wait_flushed(1);
    rig.recorder.set_paused(true).expect("pauses");
    // It ends in the pause and is taken after it.
    let mut late = generator.exchange(2);
    late.started_us = now();
    late.timings.duration_us = Some(0);
    let ending = rig.recorder.begin_next(Next::default()).expect("begins");
    rig.push_exchange(late);
    push(&mut rig, 3);
    let first = ending.finish().expect("ends");
    let second = rig.finish();
    assert_eq!((ids(&home, &first), ids(&home, &second)), (vec![1], vec![3]));
    assert!(first.paused_us > 0 && second.paused_us == 0, "{first:?} {second:?}");
    let dropped = |entry: &SessionEntry| {
        entry.ledger.layer(Layer::Exchanges).map_or(0, weir_engine::ledger::Tally::dropped_total)
    };
    assert_eq!((dropped(&first), dropped(&second)), (0, 1));
    assert!(first.ledger.balances() && second.ledger.balances());
    // A body that both carry is stored in both.
    assert_eq!(first.state, SessionState::Stopped);
}
