//! Pages far down a listing are those one gets by walking there, whatever the order, the filter and what is deleted.

mod support;

use support::{Generator, Rig};
use weir_engine::filter::{Column, Expr};
use weir_storage::{Home, RecorderOptions, RequestsQuery, Session, Sort};

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
    let session = Session::open(&home, rig.recorder.entry().expect("has an entry"));
    for filter in [None, Some("url NOT LIKE '%page=3'")] {
        let filter = filter.map(|text| Expr::parse(text).expect("parses"));
        for (column, descending) in [
            (Column::Id, false),
            (Column::Id, true),
            (Column::DurationUs, false),
            (Column::DurationUs, true),
            (Column::Url, true),
        ] {
            let ids = |offset, limit| -> Vec<u64> {
                let sort = Sort { column, descending };
                let query = RequestsQuery { filter: filter.clone(), sort, offset, limit, ..RequestsQuery::default() };
                let mut found = session.requests(&query).expect("asks");
                let ids = found.by_ref().map(|row| row.id).collect();
                assert!(found.error().is_none() && found.warnings().is_empty(), "{:?}", found.warnings());
                ids
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
    rig.finish();
}
