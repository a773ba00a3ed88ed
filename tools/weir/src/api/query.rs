//! Parameters of the API's reading routes into queries: the same words as the flags of the CLI.

use std::str::FromStr;

use weir_engine::filter::{Expr, FilterFlags};
use weir_storage::{CookieQuery, GroupBy, OverviewQuery, RequestsQuery};

use super::failure::Failure;
use crate::cli::values;

/// Rows an answer carries unless told otherwise.
const LIMIT: usize = 100;
/// Columns that can be crossed.
const MOST_CROSSED: usize = 4;
/// Rows an answer carries at most.
const MOST: usize = 10_000;

/// The query of `GET /api/v1/overview`.
pub(super) fn overview(parameters: Vec<(String, String)>) -> Result<OverviewQuery, Failure> {
    let mut query = OverviewQuery::default();
    let mut by = Vec::new();
    let filter = each(parameters, |name, value| {
        match name {
            "by" => {
                let columns = group_list(value).map_err(Failure::bad_request)?;
                by.extend(columns.iter().copied());
                if columns.len() > 1 {
                    query.crossed.push(columns);
                }
            }
            "top" => query.top = Some(number(name, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !by.is_empty() {
        query.by = by;
    }
    Ok(OverviewQuery { filter, ..query })
}

/// The query of `GET /api/v1/requests`.
pub(super) fn requests(parameters: Vec<(String, String)>) -> Result<RequestsQuery, Failure> {
    let mut query = RequestsQuery { limit: Some(LIMIT), ..RequestsQuery::default() };
    let filter = each(parameters, |name, value| {
        match name {
            "search" => query.search = Some(value.to_owned()),
            "search_bodies" => query.search_bodies = value == "true",
            "sort" => query.sort = values::sort(value).map_err(Failure::bad_request)?,
            "limit" => query.limit = Some(number(name, value)?.min(MOST)),
            "offset" => query.offset = number(name, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(RequestsQuery { filter, ..query })
}

/// Columns to group by, separated by commas: crossed when there are several.
pub(crate) fn group_list(text: &str) -> Result<Vec<GroupBy>, String> {
    let mut columns = Vec::new();
    for column in text.split(',') {
        let column = GroupBy::from_str(column.trim())?;
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    if columns.len() > MOST_CROSSED {
        return Err(format!("{} columns are too many to be crossed; {MOST_CROSSED} are the most", columns.len()));
    }
    Ok(columns)
}

/// The filter of `GET /api/v1/tail`.
pub(super) fn filter(parameters: Vec<(String, String)>) -> Result<Option<Expr>, Failure> {
    each(parameters, |_, _| Ok(false))
}

/// The query of `GET /api/v1/cookies`.
pub(super) fn cookies(parameters: Vec<(String, String)>) -> Result<CookieQuery, Failure> {
    let mut query = CookieQuery::default();
    for (name, value) in parameters {
        match name.as_str() {
            "domain" => query.domain = Some(value),
            "name" => query.name = Some(value),
            "search" => query.search = Some(value),
            "refused" => query.refused = value == "true",
            "token" => {}
            _ => return Err(Failure::bad_request(format!("there is no parameter '{name}'"))),
        }
    }
    Ok(query)
}

/// Takes the session's selector out of the parameters; without one it is the running session.
pub(super) fn take_session(parameters: &mut Vec<(String, String)>) -> Option<String> {
    let place = parameters.iter().position(|(name, _)| name == "session")?;
    Some(parameters.remove(place).1)
}

/// Hands each parameter to `own`; those it does not know are filters, or nothing at all.
fn each(
    parameters: Vec<(String, String)>,
    mut own: impl FnMut(&str, &str) -> Result<bool, Failure>,
) -> Result<Option<Expr>, Failure> {
    let mut flags = FilterFlags::default();
    for (name, value) in parameters {
        if own(&name, &value)? {
            continue;
        }
        match name.as_str() {
            "method" => flags.method.push(value),
            "status" => flags.status.push(value),
            "url" => flags.url.push(value),
            "not_url" => flags.not_url.push(value),
            "type" => flags.media_type.push(value),
            "domain" => flags.domain.push(value),
            "device" => flags.device.push(value),
            "source" => flags.source.push(value),
            "where" => flags.where_.push(value),
            // The guard has looked at it.
            "token" => {}
            _ => return Err(Failure::bad_request(format!("there is no parameter '{name}'"))),
        }
    }
    Ok(flags.build().map_err(Failure::bad_request)?.to_expr())
}

fn number(name: &str, value: &str) -> Result<usize, Failure> {
    value.parse().map_err(|_| Failure::bad_request(format!("{name} is a number, not '{value}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_words_of_the_flags() {
        let query = overview(pairs(&[("by", "domain,status"), ("top", "3"), ("method", "GET")])).expect("a query");
        assert_eq!((query.by.len(), query.top, query.filter.is_some()), (2, Some(3), true));
        let query = requests(pairs(&[("sort", "duration_us:desc"), ("limit", "99999999")])).expect("a query");
        assert_eq!((query.limit, query.sort.descending), (Some(MOST), true));
        for wrong in [("by", "x"), ("top", "-1"), ("nonsense", ""), ("where", "status >")] {
            assert!(overview(pairs(&[wrong])).is_err(), "{wrong:?}");
        }
    }
}
