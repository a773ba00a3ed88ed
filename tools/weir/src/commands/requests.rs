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
