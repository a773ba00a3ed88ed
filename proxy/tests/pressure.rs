//! Many clients, a slow recorder, a stop in the middle.

mod support;

use std::time::{Duration, Instant};

use support::*;
use weir_engine::{
    ledger::Layer,
    pipeline::{WhenFull, queue::Received},
    record::{Fault, Record},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_slow_recorder_slows_clients_and_loses_nothing() {
    let server = origin(answer_always(OK));
    let harness = start_with(config(), 1, WhenFull::Wait);
    let mut client = harness.client();
    let request = format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n");
    let done = std::thread::spawn(move || {
        for _ in 0..1500 {
            send(&mut client, &request);
            read_head(&mut client);
            read_exactly(&mut client, 2);
        }
    });
    let records = loop {
        // Nothing is taken from the queue until the client stands still.
        let seen =
            |harness: &Harness| harness.counters.snapshot().layer(Layer::Exchanges).map_or(0, |tally| tally.seen);
        let before = seen(&harness);
        std::thread::sleep(Duration::from_millis(400));
        if seen(&harness) == before && before > 0 {
            assert!(before < 1500, "{before} were taken without room for them");
            break drain_until(&harness, 1500);
        }
    };
    done.join().unwrap();
    assert_eq!(records, 1500);
    harness.finish();
}

fn drain_until(harness: &Harness, count: usize) -> usize {
    let mut exchanges = 0;
    while exchanges < count {
        let Received::Batch(batch) = harness.receiver.recv_timeout(PATIENCE) else { break };
        exchanges += batch.records.iter().filter(|record| matches!(record, Record::Exchange(_))).count();
    }
    exchanges
}

#[test]
fn shedding_counts_what_it_drops() {
    let server = origin(answer_always(OK));
    let harness = start_with(config(), 1, WhenFull::Shed);
    let mut client = harness.client();
    let request = format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n");
    for _ in 0..1500 {
        send(&mut client, &request);
        read_head(&mut client);
        read_exactly(&mut client, 2);
    }
    drop(client);
    let counters = std::sync::Arc::clone(&harness.counters);
    let kept = harness.finish().exchanges.len() as u64;
    let tally = counters.snapshot().layer(Layer::Exchanges).cloned().unwrap();
    assert_eq!(tally.seen, 1500);
    assert_eq!(tally.dropped["queue_full"] + kept, 1500);
}

#[test]
fn thousands_of_idle_clients_are_held() {
    let server = origin(answer_always(OK));
    let harness = start();
    let mut idle: Vec<_> = (0..2000).map(|_| harness.client()).collect();
    let request = format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n");
    for client in idle.iter_mut().step_by(100) {
        send(client, &request);
        assert!(read_head(client).starts_with("HTTP/1.1 200"));
        read_exactly(client, 2);
    }
    let until = Instant::now() + PATIENCE;
    while harness.proxy.as_ref().unwrap().status().open_connections < 2000 {
        assert!(Instant::now() < until, "not all were accepted");
        std::thread::yield_now();
    }
    // A stop closes idle clients at once.
    let stopping = Instant::now();
    let records = harness.finish();
    assert!(stopping.elapsed() < Duration::from_secs(4));
    assert_eq!((records.exchanges.len(), records.connections.len()), (20, 2000));
}

#[test]
fn clients_have_a_limit() {
    let mut config = config();
    config.limits.connections_per_client = 2;
    let harness = start_with(config, 64, WhenFull::Wait);
    let _held = [harness.client(), harness.client()];
    let mut third = harness.client();
    assert!(read_head(&mut third).starts_with("HTTP/1.1 503"));
    drop(third);
    let records = harness.finish();
    assert_eq!(records.connections.iter().filter(|row| row.error == Some(Fault::TooManyConnections)).count(), 1);
}

#[test]
fn a_stop_cuts_what_does_not_end() {
    let server = origin(|mut stream, _| {
        read_head(&mut stream);
        send(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        read_head(&mut stream);
    });
    let mut harness = start();
    let mut client = harness.client();
    send(&mut client, &format!("GET http://{server}/ HTTP/1.1\r\nHost: {server}\r\n\r\n"));
    read_head(&mut client);
    harness.proxy.take().unwrap().stop(Duration::from_millis(300));
    let Received::Batch(batch) = harness.receiver.recv_timeout(PATIENCE) else { panic!("records") };
    let mut records = Records::default();
    batch.records.into_iter().for_each(|record| records.add(record));
    assert_eq!(records.exchanges[0].error, Some(Fault::Stopped));
}

#[test]
fn a_port_in_use_is_said() {
    let harness = start();
    let mut config = config();
    config.listen = harness.address;
    let (sender, _receiver) = weir_engine::pipeline::queue(1);
    let outlet = weir_engine::pipeline::Outlet::new(sender, std::sync::Arc::default(), WhenFull::Wait);
    let started = weir_proxy::Proxy::start_with(
        config,
        weir_proxy::hooks::Hooks::default(),
        outlet,
        std::sync::Arc::default(),
        weir_engine::pipeline::Budget::new(1),
    );
    assert!(matches!(started, Err(weir_proxy::ProxyError::AddressInUse(_))));
}
