//! What is recorded is found again: queries over a session against the same rows decided one by one.

mod support;

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use support::Rig;
use weir_engine::{
    filter::{Column, Expr},
    record::{Body, Exchange, Fault, Headers, Protocol, Source, Timings, Url},
};
use weir_storage::{GroupBy, Home, OverviewQuery, RequestsQuery, Session, SessionEntry, Sort, Table, list_parts};

const ROWS: u64 = 1_500;

/// An exchange that is always the same for a number, with most things missing now and then.
fn exchange(number: u64) -> Exchange {
    let pick =
        |salt: u64, of: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt.wrapping_mul(0xd1b5_4a32)) % 9973 % of;
    let types = ["application/json; charset=utf-8", "text/html", "image/png", "Application/JSON"];
    let url = format!(
        "https://{}.example.com/{}/{}?q={}",
        ["api", "cdn", "a_b"][pick(1, 3) as usize],
        ["users", "Orders", "é"][pick(2, 3) as usize],
        pick(3, 40),
        pick(4, 3)
    );
    let body = |salt| match pick(salt, 3) {
        0 => Body::default(),
        some => Body::stored(Bytes::from(format!("body {}", some + number % 5))),
    };
    Exchange {
        id: number,
        source: if pick(5, 2) == 0 { Source::Proxy } else { Source::Packets },
        device: (pick(6, 3) == 0).then(|| "Pixel 9".into()),
        client: (pick(7, 4) > 0).then(|| ([10, 0, 0, pick(8, 5) as u8], 4000).into()),
        connection: pick(9, 50),
        started_us: 1_700_000_000_000_000 + (number as i64) * 1000 - (pick(10, 20) as i64) * 500,
        protocol: if pick(11, 2) == 0 { Protocol::Http11 } else { Protocol::Http2 },
        method: ["GET", "POST", "get"][pick(12, 3) as usize].into(),
        url: Url::parse(url.into()).expect("parses"),
        status: (pick(13, 6) > 0).then(|| [200, 204, 404, 500, 503][pick(14, 5) as usize]),
        reason: (pick(15, 2) == 0).then(|| "OK".into()),
        error: (pick(16, 9) == 0).then_some(Fault::ServerReset),
        request_headers: Headers::from_pairs([("User-Agent", ["curl/8", "Mozilla"][pick(17, 2) as usize])]),
        response_headers: match pick(18, 5) {
            0 => Headers::default(),
            some => Headers::from_pairs([("content-type", types[some as usize - 1]), ("X-Trace", "Needle")]),
        },
        request_body: body(19),
        response_body: body(20),
        timings: Timings { duration_us: (pick(21, 4) > 0).then(|| pick(22, 9000)), ..Timings::default() },
        ..Exchange::default()
    }
}

fn record(home: &Path) -> SessionEntry {
    let mut rig = Rig::start(home);
    for number in 1..=ROWS {
        rig.push_exchange(exchange(number));
    }
    rig.finish()
}

/// Conditions over what the rows hold.
fn conditions() -> impl Strategy<Value = String> {
    let predicates = vec![
        "method = 'GET'",
        "method IN ('POST', 'get')",
        "method != 'POST'",
        "status >= 400",
        "status IS NULL",
        "status IN (200, 204, 503, 999, -1, 7)",
        "status NOT BETWEEN 300 AND 500",
        "status > -1",
        "status < 70000",
        "type LIKE '%json'",
        "type IS NULL",
        "category = 'json'",
        "device = 'Pixel 9'",
        "device IS NOT NULL",
        "device LIKE '10.0.0._'",
        "client LIKE '%:4000'",
        "domain LIKE '%\\_b.example.com' ESCAPE '\\'",
        "url ILIKE '%ORDERS%'",
        "url ~ '/users/1[0-9]\\?'",
        "url !~* 'é'",
        "path = '/é/7'",
        "query = 'q=1'",
        "endpoint = '/users/{id}'",
        "id <= 700",
        "id > 1490",
        "id = 33",
        "connection BETWEEN 5 AND 20",
        "started < '2023-11-14T22:13:20.5Z'",
        "started >= '2023-11-14T22:13:21Z'",
        "duration_us > 4000",
        "duration_us IS NULL",
        "error = 'server_reset'",
        "error IS NULL",
        "reason = 'OK'",
        "request_size = 6",
        "request_header('user-agent') LIKE 'curl%'",
        "response_header('x-trace') IS NULL",
        "source != 'proxy'",
        "response_body IS NULL",
        "request_body_state = 'stored'",
        "protocol = 'HTTP/2'",
        "port = 443",
        "flags = 0",
        "scheme = 'http'",
        "pid IS NULL",
        "process = 'x'",
        "TRUE",
        "FALSE",
        "response_body = '7b2d2e2c59d1b9d3b1a0d0d8a6e7a9e0c1f2d3e4a5b6c7d8e9f0a1b2c3d4e5f6'",
    ];
    let leaf = proptest::sample::select(predicates).prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR ({b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

#[test]
fn columns_and_rows_are_decided_alike() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = Session::open(&Home::at(folder.path()), record(folder.path()));
    let rows: Vec<Exchange> = (1..=ROWS).map(exchange).collect();
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    for _ in 0..250 {
        let text = conditions().new_tree(&mut runner).expect("generates").current();
        let expr = Expr::parse(&text).expect("parses");
        let wanted: Vec<u64> = rows.iter().filter(|row| expr.matches(*row)).map(|row| row.id).collect();
        let mut found =
            session.requests(&RequestsQuery { filter: Some(expr.clone()), ..RequestsQuery::default() }).expect("asks");
        let ids: Vec<u64> = found.by_ref().map(|row| row.id).collect();
        assert_eq!(ids, wanted, "{text}");
        assert!(found.warnings().is_empty() && found.error().is_none(), "{:?} {:?}", found.warnings(), found.error());
        let overview =
            session.overview(&OverviewQuery { filter: Some(expr), ..OverviewQuery::default() }).expect("counts");
        assert_eq!(overview.exchanges, wanted.len() as u64, "{text}");
    }
}

#[test]
fn overview_from_summaries_and_from_columns_is_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = Session::open(&Home::at(folder.path()), record(folder.path()));
    let by = GroupBy::ALL.to_vec();
    let ask = |filter: Option<Expr>| {
        session.overview(&OverviewQuery { by: by.clone(), filter, ..OverviewQuery::default() }).expect("counts")
    };
    let (quick, scanned) = (ask(None), ask(Some(Expr::parse("id > 0").expect("parses"))));
    assert_eq!(quick.by, scanned.by);
    assert_eq!(quick.exchanges, ROWS);
    let mut statuses = BTreeMap::<String, u64>::new();
    for row in (1..=ROWS).map(exchange) {
        *statuses.entry(row.status.map_or("none".to_owned(), |status| status.to_string())).or_default() += 1;
    }
    let crossed =
        OverviewQuery { crossed: vec![vec![GroupBy::Domain, GroupBy::StatusClass]], ..OverviewQuery::default() };
    let crossed = session.overview(&crossed).expect("counts");
    let mut pairs = BTreeMap::<Vec<String>, u64>::new();
    for row in (1..=ROWS).map(exchange) {
        let class = row.status.map_or("none".to_owned(), |status| format!("{}xx", status / 100));
        *pairs.entry(vec![row.url.domain().to_owned(), class]).or_default() += 1;
    }
    let groups = &crossed.crossed[0].1;
    assert_eq!(groups.iter().map(|group| (group.keys.clone(), group.count)).collect::<BTreeMap<_, _>>(), pairs);
    let json = serde_json::to_value(&crossed).expect("serialises");
    assert_eq!(json["by"]["domain,status_class"].as_array().map(Vec::len), Some(pairs.len()), "{json}");
    let found = &quick.by.iter().find(|(by, _)| *by == GroupBy::Status).expect("asked").1;
    assert_eq!(found.iter().map(|group| (group.key.clone(), group.count)).collect::<BTreeMap<_, _>>(), statuses);
    let json = serde_json::to_value(&quick).expect("serialises");
    assert!(json["by"]["method"][0]["p95_us"].is_u64(), "{json}");
}

#[test]
fn ordered_paged_searched_and_looked_up() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let session = Session::open(&Home::at(folder.path()), record(folder.path()));
    let rows: Vec<Exchange> = (1..=ROWS).map(exchange).collect();
    for (column, descending) in
        [(Column::Id, true), (Column::DurationUs, true), (Column::DurationUs, false), (Column::Url, true)]
    {
        let query = |offset, limit| RequestsQuery {
            sort: Sort { column, descending },
            offset,
            limit,
            ..RequestsQuery::default()
        };
        let all: Vec<u64> = session.requests(&query(0, None)).expect("asks").map(|row| row.id).collect();
        assert_eq!(all.len() as u64, ROWS, "{column:?}");
        let page: Vec<u64> = session.requests(&query(1_000, Some(77))).expect("asks").map(|row| row.id).collect();
        assert_eq!(page, all[1_000..1_077], "{column:?}");
        if column == Column::DurationUs {
            let durations: Vec<_> = all.iter().map(|id| rows[*id as usize - 1].timings.duration_us).collect();
            assert!(durations.windows(2).all(|pair| match (pair[0], pair[1]) {
                (Some(a), Some(b)) =>
                    if descending {
                        a >= b
                    } else {
                        a <= b
                    },
                (None, Some(_)) => false,
                _ => true,
            }));
        }
    }
    let found = session
        .requests(&RequestsQuery { search: Some("nEEdle".to_owned()), ..RequestsQuery::default() })
        .expect("asks")
        .count();
    assert_eq!(found, rows.iter().filter(|row| !row.response_headers.is_empty()).count());
    let stored = rows.iter().find(|row| row.response_body.size > 0).expect("one has a body");
    let row = session.exchange(stored.id).expect("asks").expect("is there");
    let hash = row.response_body.expect("has a hash").0;
    let body = session.body(&hash).expect("asks").expect("is stored");
    assert_eq!(body.bytes, stored.response_body.content.to_bytes());
    assert_eq!(session.body(&[7; 32]).expect("asks"), None);
    assert_eq!(session.exchange(ROWS + 1).expect("asks"), None);
}

#[test]
fn a_damaged_part_is_named_and_the_others_are_served() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let entry = record(folder.path());
    let part = list_parts(&home, &entry.id, Table::Exchanges).expect("lists").remove(0);
    let good = std::fs::read(&part.path).expect("reads");
    let session = Session::open(&home, entry);
    let check = || {
        let overview = session.overview(&OverviewQuery::default()).expect("counts");
        let mut requests = session.requests(&RequestsQuery::default()).expect("asks");
        let served = requests.by_ref().count() as u64;
        (overview.warnings, requests.warnings().to_vec(), served)
    };
    for damaged in [&good[..good.len() / 2], b"garbage", b""] {
        std::fs::write(&part.path, damaged).expect("writes");
        let (overview, requests, served) = check();
        assert!(overview.len() == 1 && requests.len() == 1, "{overview:?} {requests:?}");
        assert!(requests[0].contains(part.path.to_str().expect("is text")), "{requests:?}");
        assert!(served < ROWS);
    }
    // Damage in the pages shows only when they are read.
    let mut pages = good.clone();
    let end = pages.len() / 2;
    pages[4..end].fill(0xff);
    std::fs::write(&part.path, &pages).expect("writes");
    let (_, requests, served) = check();
    assert!(requests.len() == 1 && served < ROWS, "{requests:?} {served}");
    std::fs::write(&part.path, &good).expect("writes");
    assert_eq!(check(), (vec![], vec![], ROWS));
}

#[test]
fn a_running_session_never_counts_twice() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut options = weir_storage::RecorderOptions::new(Home::at(folder.path()), "proxy");
    options.flush_interval = std::time::Duration::from_millis(3);
    let mut rig = Rig::with(options);
    let session = Session::open(&Home::at(folder.path()), rig.recorder.entry().expect("has an entry"));
    let reader = std::thread::spawn(move || {
        let mut last = 0;
        while last < ROWS {
            let count = session.overview(&OverviewQuery::default()).expect("counts");
            assert!(count.warnings.is_empty(), "{:?}", count.warnings);
            assert!(count.exchanges >= last && count.exchanges <= ROWS, "{} after {last}", count.exchanges);
            last = count.exchanges;
            let ids: Vec<u64> = session.requests(&RequestsQuery::default()).expect("asks").map(|row| row.id).collect();
            assert!(ids.windows(2).all(|pair| pair[0] < pair[1]) && ids.len() as u64 >= last);
        }
    });
    for number in 1..=ROWS {
        rig.push_exchange(exchange(number));
        if number % 50 == 0 {
            rig.flush();
        }
    }
    rig.finish();
    reader.join().expect("reads");
}
