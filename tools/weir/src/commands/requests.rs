//! `weir requests`: rows of a session, as they are read.

use std::io::{self, Write};

use anyhow::Result;
use weir_engine::filter;
use weir_storage::{ExchangeRow, Home, RequestsQuery, Session};

use super::{Outcome, Usage, find, warn};
use crate::{
    cli::RequestsArgs,
    output::{Cell, Column, Cut, Out, Tone, units},
};

/// Rows shown on a terminal unless told otherwise: what somebody can look at.
const ON_TERMINAL: usize = 200;

/// What [`cells`] shows: of listings for people nothing else is read.
const SHOWN: [filter::Column; 11] = [
    filter::Column::Id,
    filter::Column::Started,
    filter::Column::Method,
    filter::Column::Status,
    filter::Column::Error,
    filter::Column::Domain,
    filter::Column::Path,
    filter::Column::Query,
    filter::Column::Type,
    filter::Column::ResponseSize,
    filter::Column::DurationUs,
];

/// Lists the requests of a session.
pub(super) fn run(args: &RequestsArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let filter = args.filters.build().map_err(Usage::new)?.to_expr();
    let sort = args.sort.unwrap_or_default();
    let cut_short = args.limit.is_none() && out.width.is_some() && !out.json;
    // One more than is shown, to know whether there are more.
    let limit = if cut_short { Some(ON_TERMINAL + 1) } else { args.limit };
    let query = RequestsQuery {
        filter,
        search: args.search.clone(),
        search_bodies: args.search_bodies,
        sort,
        limit,
        offset: args.offset,
        columns: (!out.json).then(|| SHOWN.to_vec()),
    };
    let session = Session::open(home, find(home, args.session.as_deref())?);
    let mut rows = session.requests(&query)?;
    if out.json {
        for row in rows.by_ref() {
            out.json_line(&row)?;
        }
    } else {
        let shown = table(rows.by_ref().take(if cut_short { ON_TERMINAL } else { usize::MAX }), out)?;
        out.flush()?;
        if shown == 0 {
            writeln!(io::stderr(), "no requests; weir overview shows what the session holds")?;
        } else if cut_short && rows.next().is_some() {
            writeln!(
                io::stderr(),
                "the first {ON_TERMINAL} of more; --limit and --offset show others, a filter fewer"
            )?;
        }
    }
    warn(rows.warnings());
    match rows.error() {
        // Rows that were read are shown; that there are no more is an error.
        Some(error) => Err(anyhow::anyhow!("{error}")),
        None => Ok(Outcome::Done),
    }
}

fn table(rows: impl Iterator<Item = ExchangeRow>, out: &mut Out) -> Result<usize> {
    let mut table = out.table(columns());
    let mut shown = 0;
    for row in rows {
        table.row(out, cells(row))?;
        shown += 1;
    }
    table.finish(out)?;
    Ok(shown)
}

/// The columns of a listing.
pub(super) fn columns() -> Vec<Column> {
    vec![
        Column::number("id"),
        Column::text("time").optional(),
        Column::text("method"),
        Column::number("status"),
        Column::text("domain").cut(Cut::End, 10),
        Column::text("path").cut(Cut::Middle, 12),
        Column::text("type").cut(Cut::End, 8).optional(),
        Column::number("size").optional(),
        Column::number("duration"),
    ]
}

/// The cells of a row.
pub(super) fn cells(row: ExchangeRow) -> Vec<Cell> {
    let status = match (row.status, &row.error) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => error.clone(),
        (None, None) => "–".to_owned(),
    };
    let path = if row.query.is_empty() { row.path } else { format!("{}?{}", row.path, row.query) };
    vec![
        row.id.to_string().into(),
        Cell::toned(Tone::Faint, units::local_time_of_day(&row.started.to_string())),
        row.method.into(),
        Cell::toned(Tone::of_status(row.status), status),
        row.domain.into(),
        path.into(),
        Cell::toned(Tone::Faint, row.media_type.unwrap_or_default()),
        units::bytes(row.response_size).into(),
        row.duration_us.map_or_else(|| "–".to_owned(), units::duration_us).into(),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_engine::{
        ledger::Counters,
        pipeline::{Ids, Outlet, WhenFull, queue},
        record::{Body, Exchange, Fault, Headers, Record, Timings, Url},
    };
    use weir_storage::{Recorder, RecorderOptions};

    use super::*;

    /// An exchange in which everything that a listing shows has a value, and one that failed.
    fn exchanges() -> [Exchange; 2] {
        let exchange = Exchange {
            started_us: 1_700_000_000_123_456,
            method: "REPORT".into(),
            url: Url::parse("http://shown.example:8080/a/b?c=d".into()).expect("parses"),
            status: Some(418),
            response_headers: Headers::from_pairs([("content-type", "image/png")]),
            response_body: Body::stored(b"twelve bytes".to_vec().into()),
            timings: Timings { duration_us: Some(345), ..Timings::default() },
            ..Exchange::default()
        };
        let failed = Exchange { status: None, error: Some(Fault::ServerTimeout), ..Exchange::default() };
        [exchange, failed]
    }

    #[test]
    fn a_listing_reads_what_it_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::at(folder.path());
        let (sender, receiver) = queue(4);
        let counters = Arc::new(Counters::default());
        let mut outlet = Outlet::new(sender, Arc::clone(&counters), WhenFull::Wait);
        let options = RecorderOptions::new(home.clone(), "proxy");
        let recorder = Recorder::start(options, receiver, counters, Arc::new(Ids::default())).expect("starts");
        for exchange in exchanges() {
            assert!(outlet.push(Record::Exchange(Box::new(exchange))).is_none());
        }
        drop(outlet);
        let session = Session::open(&home, recorder.finish().expect("recorded"));
        let listing = |columns| -> Vec<String> {
            let query = RequestsQuery { columns, ..RequestsQuery::default() };
            session.requests(&query).expect("rows").map(|row| format!("{:?}", cells(row))).collect()
        };
        let (shown, all) = (listing(Some(SHOWN.to_vec())), listing(None));
        assert_eq!(shown.len(), 2);
        assert_eq!(shown, all, "a column is missing in SHOWN");
        for text in ["REPORT", "418", "shown.example", "/a/b?c=d", "image/png", "12 B", "server_timeout"] {
            assert!(all.concat().contains(text), "{text} is not in {all:?}");
        }
    }
}
