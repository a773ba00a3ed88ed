//! A session that is changed while it runs and afterwards: limits, labels, cookies, the tail, deletion.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use support::{Generator, Rig};
use weir_engine::{
    filter::Expr,
    ledger::{Layer, Tally},
    record::{Body, Exchange, Flags, Headers, Message, Record, Url},
};
use weir_storage::{
    Catalogue, CookieQuery, ExchangeRow, Home, Labels, Limits, OverviewQuery, RecorderOptions, RequestsQuery, Session,
    Table, list_parts, recorder::Seen,
};

fn exchange(id: u64, body: &'static str) -> Exchange {
    Exchange {
        id,
        client: Some(([10, 0, 0, (id % 3) as u8], 4000).into()),
        started_us: 1_700_000_000_000_000 + id as i64,
        method: "GET".into(),
        url: Url::parse(format!("https://www.example.com/app/{id}").into()).expect("parses"),
        status: Some(200),
        request_headers: Headers::from_pairs([("Cookie", "theme=dark; id=1")]),
        response_headers: Headers::from_pairs([
            ("Set-Cookie", "id=2; Domain=example.com; Path=/; Secure"),
            ("Set-Cookie", "bad=1; Domain=com"),
        ]),
        response_body: Body::stored(Bytes::from_static(body.as_bytes())),
        ..Exchange::default()
    }
}

fn ids(session: &Session) -> Vec<u64> {
    session.requests(&RequestsQuery::default()).expect("asks").map(|row: ExchangeRow| row.id).collect()
}

#[test]
fn what_is_deleted_is_gone_from_every_answer_and_then_from_the_files() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let mut rig = Rig::start(folder.path());
    for id in 1..=10 {
        let mut one = exchange(id, if id <= 4 { "only in four" } else { "in the others" });
        one.flags.set(Flags::UPGRADED);
        rig.push_exchange(one);
        let message = Message { exchange: id, payload: Bytes::from_static(b"x"), ..Message::default() };
        rig.push(Record::Message(Box::new(message)));
    }
    rig.flush();
    rig.wait_flushed(10);
    let session = Session::open(&home, rig.recorder.entry().expect("has an entry"));
    let deleted = rig.recorder.delete_requests(&Expr::parse("id < 3").expect("parses")).expect("deletes");
    assert_eq!((deleted.exchanges, deleted.response_bytes), (2, 24));
    assert_eq!(ids(&session), [3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(session.overview(&OverviewQuery::default()).expect("counts").exchanges, 8);
    assert_eq!(session.exchange(1).expect("asks"), None);
    assert!(session.messages(1).expect("asks").rows.is_empty());
    let again = rig.recorder.delete_requests(&Expr::parse("id < 3").expect("parses")).expect("deletes");
    assert_eq!(again.exchanges, 0, "twice is once");
    let entry = rig.finish();
    assert_eq!((entry.exchanges, entry.response_bytes), (8, 2 * 12 + 6 * 13));
    let tally = |entry: &weir_storage::SessionEntry, layer| entry.ledger.layer(layer).cloned().unwrap_or_default();
    let exchanges = tally(&entry, Layer::Exchanges);
    assert_eq!((exchanges.kept, exchanges.dropped["policy:deleted"]), (8, 2));
    assert_eq!(tally(&entry, Layer::Messages).dropped["policy:deleted"], 2);
    assert!(entry.ledger.balances() && entry.ledger.lost() == 0, "{:?}", entry.ledger);

    // After the end, parts are rewritten at once; a body that somebody else carries stays.
    let catalogue = Catalogue::open(&home);
    let hash = |id| session.exchange(id).expect("asks").expect("there").response_body.expect("a body").0;
    let (gone, stays) = (hash(3), hash(5));
    assert!(session.body(&gone).expect("asks").is_some());
    let deleted = catalogue.delete_requests(&entry.id, &Expr::parse("id IN (3, 4, 5)").expect("parses"));
    assert_eq!(deleted.expect("deletes").exchanges, 3);
    assert_eq!(ids(&session), [6, 7, 8, 9, 10]);
    assert!(session.body(&gone).expect("asks").is_none() && session.body(&stays).expect("asks").is_some());
    let entry = catalogue.load(&entry.id).expect("loads");
    assert_eq!((entry.exchanges, entry.ledger.balances()), (5, true));
    assert!(!folder.path().join("tombstones").join(format!("session={}", entry.id)).exists());
    assert!(!folder.path().join("live").join(format!("session={}", entry.id)).exists());
    assert_eq!(list_parts(&home, &entry.id, Table::Exchanges).expect("lists").len(), 1);
    // All of them: an empty session is one still.
    catalogue.delete_requests(&entry.id, &Expr::parse("TRUE").expect("parses")).expect("deletes");
    assert!(ids(&session).is_empty());
    assert_eq!(session.overview(&OverviewQuery::default()).expect("counts").exchanges, 0);
}

#[test]
fn cookies_are_gathered_until_told_otherwise_and_deleted() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let mut rig = Rig::start(folder.path());
    for id in 1..=5 {
        rig.push_exchange(exchange(id, "x"));
    }
    rig.flush();
    rig.wait_flushed(5);
    rig.recorder.set_cookies(false);
    let mut late = exchange(6, "x");
    late.response_headers = Headers::from_pairs([("Set-Cookie", "late=1")]);
    rig.push_exchange(late);
    let entry = rig.finish();
    let session = Session::open(&home, entry.clone());
    let found = session.cookies(&CookieQuery { refused: true, ..CookieQuery::default() }).expect("reads").rows;
    let names: Vec<_> = found.iter().map(|row| (row.name.as_str(), row.set, row.sent)).collect();
    assert_eq!(names, [("id", 5, 5), ("bad", 5, 0), ("theme", 0, 5)]);
    let id = &found[0];
    assert_eq!((id.domain.as_str(), id.host_only, id.secure, id.exchange), ("example.com", Some(false), true, Some(5)));
    assert_eq!((id.value.as_str(), found[1].refused.as_deref()), ("2", Some("public_suffix")));
    let query = CookieQuery { name: Some("id".to_owned()), ..CookieQuery::default() };
    assert_eq!(Catalogue::open(&home).delete_cookies(&entry.id, &query).expect("deletes").cookies, 1);
    let left = session.cookies(&CookieQuery::default()).expect("reads").rows;
    assert_eq!(left.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["theme"]);
}

#[test]
fn a_full_session_counts_what_comes_and_labels_name_devices() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let labels = Labels::set(&home, "10.0.0.1".parse().expect("address"), Some("Pixel 8")).expect("sets");
    let mut options = RecorderOptions::new(home.clone(), "proxy");
    options.limits = Limits { exchanges: Some(7), bytes: None };
    options.labels = labels.shared();
    let mut rig = Rig::with(options);
    let tail = rig.recorder.tail(Some(Expr::parse("device = 'Pixel 8'").expect("parses")));
    let generator = Generator::new(false);
    for number in 1..=20 {
        let mut one = generator.exchange(number);
        one.client = exchange(number, "x").client;
        rig.push_exchange(one);
    }
    rig.flush();
    rig.wait_flushed(7);
    let mut seen = Vec::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while seen.is_empty() && std::time::Instant::now() < deadline {
        match tail.next().expect("reads") {
            Seen::Rows(rows) => seen.extend(rows.into_iter().map(|row| row.id)),
            Seen::Nothing => std::thread::yield_now(),
            Seen::Ended => break,
        }
    }
    // In the order of time, which is not that of numbers here.
    seen.sort_unstable();
    assert_eq!((seen, tail.missed()), (vec![1, 4, 7], 0));
    assert!(rig.recorder.status().is_full);
    let entry = rig.finish();
    let tally: Tally = entry.ledger.layer(Layer::Exchanges).cloned().expect("counted");
    assert_eq!((tally.seen, tally.kept, tally.dropped["policy:max_exchanges"]), (20, 7, 13));
    let devices = Session::open(&home, entry).devices().expect("reads").rows;
    let mut counts: Vec<_> = devices.iter().map(|row| (row.device.as_str(), row.exchanges)).collect();
    counts.sort_unstable();
    assert_eq!(counts, [("10.0.0.0", 2), ("10.0.0.2", 2), ("Pixel 8", 3)]);
    assert!(matches!(tail.next(), Ok(Seen::Ended)));
    drop(Arc::new(tail));
}

#[test]
fn text_is_found_in_bodies_when_asked_for() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut rig = Rig::start(folder.path());
    let mut gzipped = exchange(2, "");
    // printf 'the Needle' | gzip -n
    gzipped.response_body = Body::stored(Bytes::from_static(&[
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3, 0x2b, 0xc9, 0x48, 0x55, 0xf0, 0x4b, 0x4d, 0x4d, 0xc9, 0x49, 5, 0, 0xfb,
        0xbf, 0x13, 0x7f, 10, 0, 0, 0,
    ]));
    gzipped.response_headers = Headers::from_pairs([("Content-Encoding", "gzip")]);
    rig.push_exchange(exchange(1, "a needle in plain"));
    rig.push_exchange(gzipped);
    rig.push_exchange(exchange(3, "hay"));
    let session = Session::open(&Home::at(folder.path()), rig.finish());
    let find = |search_bodies| -> Vec<u64> {
        let query = RequestsQuery { search: Some("NEEDLE".to_owned()), search_bodies, ..RequestsQuery::default() };
        session.requests(&query).expect("asks").map(|row| row.id).collect()
    };
    assert_eq!(find(true), [1, 2]);
    assert!(find(false).is_empty());
}
