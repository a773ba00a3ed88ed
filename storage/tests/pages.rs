//! Pages far down a listing are those one gets by walking there, whatever the order, the filter and what is deleted.

mod support;

use serde_json::Value;
use support::{Generator, Rig};
use weir_engine::filter::{Column, Expr};
use weir_storage::{Catalogue, ExchangeRow, Home, RecorderOptions, RequestsQuery, Session, Sort};

/// Enough for pages that are sought, not walked to.
const ROWS: u64 = 12_000;

#[test]
fn a_page_far_down_is_the_one_that_walking_finds() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let mut options = RecorderOptions::new(home.clone(), "proxy");
    // Many parts, as a running session has them.
    options.flush_bytes = 512 << 10;
    let mut rig = Rig::with(options);
    let generator = Generator::new(false);
    for number in 1..=ROWS {
        let mut exchange = generator.exchange(number);
        // Durations that come again and again, some missing.
        exchange.timings.duration_us = (!number.is_multiple_of(11)).then_some(number * 7919 % 5_000);
        rig.push_exchange(exchange);
    }
    rig.flush();
    rig.wait_flushed(ROWS);
    let deleted = rig.recorder.delete_requests(&Expr::parse("id BETWEEN 10000 AND 10099").expect("parses"));
    assert_eq!(deleted.expect("deletes").exchanges, 100);
    let running = Session::open(&home, rig.recorder.entry().expect("has an entry"));
    check_walking(&running);
    check_orders(&running);
    rig.finish();
    // The same once it is merged.
    let merged = Session::open(&home, Catalogue::open(&home).find(None).expect("a session"));
    check_walking(&merged);
    check_orders(&merged);
}

/// Pages in an order, whole rows.
fn page(session: &Session, filter: Option<&str>, sort: Sort, offset: usize, limit: Option<usize>) -> Vec<ExchangeRow> {
    let filter = filter.map(|text| Expr::parse(text).expect("parses"));
    let query = RequestsQuery { filter, sort, offset, limit, ..RequestsQuery::default() };
    let mut found = session.requests(&query).expect("asks");
    let rows = found.by_ref().collect();
    assert!(found.error().is_none() && found.warnings().is_empty(), "{:?}", found.warnings());
    rows
}

fn check_walking(session: &Session) {
    for filter in [None, Some("url NOT LIKE '%page=3'")] {
        for (column, descending) in [
            (Column::Id, false),
            (Column::Id, true),
            (Column::DurationUs, false),
            (Column::DurationUs, true),
            (Column::Url, true),
        ] {
            let sort = Sort { column, descending };
            let ids = |offset, limit| -> Vec<u64> {
                page(session, filter, sort, offset, limit).iter().map(|row| row.id).collect()
            };
            let all = ids(0, None);
            let what = format!("{filter:?} {column:?} {descending}");
            assert!(all.iter().all(|id| !(10_000..=10_099).contains(id)), "{what}");
            for offset in [8_300, all.len() - 30, all.len()] {
                let end = (offset + 50).min(all.len());
                assert_eq!(ids(offset, Some(50)), all[offset..end], "{what} from {offset}");
            }
            let offset = 8_400;
            assert_eq!(ids(offset, None), all[offset..], "{what} from {offset} to the end");
            assert!(ids(all.len() + 1, Some(5)).is_empty(), "{what}");
        }
    }
}

/// In every order: the pages of a sort in memory. Rows without a value come last both ways, ties as they are stored.
fn check_orders(session: &Session) {
    // All rows come from one source: in that order they are as they are stored.
    let stored = page(session, None, Sort { column: Column::Source, descending: false }, 0, None);
    assert_eq!(stored.len() as u64, ROWS - 100);
    let documents: Vec<Value> = stored.iter().map(|row| serde_json::to_value(row).expect("serializes")).collect();
    for &column in Column::ALL {
        let key = |row: &usize| match &documents[*row][column.name()] {
            Value::Null => (None, None),
            Value::Number(number) => (number.as_u64(), None),
            text => (None, text.as_str()),
        };
        for descending in [false, true] {
            let mut expected: Vec<usize> = (0..stored.len()).collect();
            expected.sort_by(|a, b| {
                let (a, b) = (key(a), key(b));
                let is_null = |key: (Option<u64>, Option<&str>)| key == (None, None);
                let order = if descending { b.cmp(&a) } else { a.cmp(&b) };
                is_null(a).cmp(&is_null(b)).then(order)
            });
            for offset in [0, 9_000, stored.len() - 7, stored.len(), stored.len() + 9_000] {
                let found = page(session, None, Sort { column, descending }, offset, Some(20));
                let expected = || expected.iter().skip(offset).take(20).map(|row| &stored[*row]);
                let what = format!("{column:?} {descending} from {offset}");
                assert!(found.iter().map(|row| row.id).eq(expected().map(|row| row.id)), "{what}");
                assert!(found.iter().eq(expected()), "{what}: rows are whole");
            }
        }
    }
}

#[test]
fn only_the_columns_asked_for_are_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::at(folder.path());
    let mut rig = Rig::start(folder.path());
    let generator = Generator::new(false);
    (1..=20).for_each(|number| rig.push_exchange(generator.exchange(number)));
    rig.finish();
    let session = Session::open(&home, Catalogue::open(&home).find(None).expect("a session"));
    let columns = Some(vec![Column::Id, Column::Url]);
    let query = RequestsQuery { columns, limit: Some(3), offset: 2, ..RequestsQuery::default() };
    let found: Vec<ExchangeRow> = session.requests(&query).expect("asks").collect();
    let whole = page(&session, None, Sort::default(), 2, Some(3));
    assert_eq!(found.len(), 3);
    for (found, whole) in found.iter().zip(&whole) {
        assert_eq!((found.id, &found.url), (whole.id, &whole.url));
        assert!(found.request_headers.is_empty() && found.path.is_empty() && found.status.is_none());
        assert!(!whole.request_headers.is_empty() && !whole.path.is_empty());
    }
}
