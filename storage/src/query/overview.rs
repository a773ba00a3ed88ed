//! The overview: counts, bytes, errors and percentiles of a session by the values of columns.
//!
//! Without a filter the summaries in the footers of the parts answer; what a summary lacks (a column
//! it does not hold, or one with too many values) is counted from the columns. With a filter all is
//! counted from the columns, row groups in parallel.

use std::{borrow::Cow, collections::BTreeSet};

use serde::{Serialize, Serializer, ser::SerializeMap};
use weir_engine::{filter::Expr, ledger::Ledger};

use super::{
    group::{Counts, GroupBy, MEASURES, measures, merge_key},
    scan::{Condition, scan},
    source::{PartError, Source, Unit, on_all_cores},
};
use crate::{
    error::StorageError,
    session::{SessionEntry, SessionId, SessionState},
    summary::{Groups, Summary, Totals},
    time::Timestamp,
};

/// What to count.
#[derive(Debug, Clone)]
pub struct OverviewQuery {
    /// By what.
    pub by: Vec<GroupBy>,
    /// Only exchanges that meet this; `None`: all.
    pub filter: Option<Expr>,
    /// At most so many keys of each, the most frequent; `None`: all.
    pub top: Option<usize>,
}

impl Default for OverviewQuery {
    fn default() -> Self {
        Self { by: GroupBy::DEFAULT.to_vec(), filter: None, top: None }
    }
}

/// The exchanges that share a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The value, `none` where there is none.
    pub key: String,
    /// How many exchanges.
    pub count: u64,
    /// Sum of `request_size`.
    pub request_bytes: u64,
    /// Sum of `response_size`.
    pub response_bytes: u64,
    /// Those without a response, with a status of 400 or more, or with something missing or cut.
    pub errors: u64,
    /// Median of `duration_us`, at most 1.6 % off; none where no exchange has a duration.
    pub p50_us: Option<u64>,
    /// 95th percentile.
    pub p95_us: Option<u64>,
    /// 99th percentile.
    pub p99_us: Option<u64>,
}

impl Group {
    fn new(key: String, totals: &Totals) -> Self {
        let quantile = |quantile| totals.durations.quantile(quantile);
        Self {
            key,
            count: totals.count,
            request_bytes: totals.request_bytes,
            response_bytes: totals.response_bytes,
            errors: totals.errors,
            p50_us: quantile(0.5),
            p95_us: quantile(0.95),
            p99_us: quantile(0.99),
        }
    }
}

/// The answer; its serde form is the JSON of `weir overview --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// The session's id.
    pub session: SessionId,
    /// Its name.
    pub name: String,
    /// Its source.
    pub source: String,
    /// Where it is in its life.
    pub state: SessionState,
    /// When recording began.
    pub started: Timestamp,
    /// Seconds from start to end, or to now.
    pub duration_s: f64,
    /// Exchanges counted.
    pub exchanges: u64,
    /// Sum of their `request_size`.
    pub request_bytes: u64,
    /// Sum of their `response_size`.
    pub response_bytes: u64,
    /// The groups, the most frequent first, in the order asked for.
    #[serde(serialize_with = "as_map")]
    pub by: Vec<(GroupBy, Vec<Group>)>,
    /// What was seen, kept and dropped.
    pub ledger: Ledger,
    /// Parts that could not be read and are not in the counts, as sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn as_map<S: Serializer>(by: &[(GroupBy, Vec<Group>)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(by.len()))?;
    for (key, groups) in by {
        map.serialize_entry(key, groups)?;
    }
    map.end()
}

/// What was counted so far.
#[derive(Debug, Default)]
struct Counted {
    totals: Totals,
    by: Vec<Groups>,
}

/// What has to be counted from the columns of one part.
#[derive(Debug, Clone, Default)]
struct Work {
    totals: bool,
    /// Places in the query's list.
    by: Vec<usize>,
}

impl Work {
    fn is_empty(&self) -> bool {
        !self.totals && self.by.is_empty()
    }
}

/// Answers the query from the parts of a session.
pub(crate) fn overview(
    source: &mut Source,
    entry: &SessionEntry,
    query: &OverviewQuery,
) -> Result<Overview, StorageError> {
    let mut asked = Vec::new();
    for by in &query.by {
        if !asked.contains(by) {
            asked.push(*by);
        }
    }
    let condition = Condition { filter: query.filter.clone(), search: None };
    let counted = source.run(|source| count(source, &asked, &condition))?;
    let by = asked.into_iter().zip(counted.by).map(|(by, groups)| (by, ranked(groups, query.top))).collect();
    Ok(Overview {
        session: entry.id,
        name: entry.name.clone(),
        source: entry.source.clone(),
        state: entry.state,
        started: entry.started,
        duration_s: entry.duration_s(),
        exchanges: counted.totals.count,
        request_bytes: counted.totals.request_bytes,
        response_bytes: counted.totals.response_bytes,
        by,
        ledger: entry.ledger.clone(),
        warnings: source.warnings.clone(),
    })
}

/// The most frequent first, then by key.
fn ranked(groups: Groups, top: Option<usize>) -> Vec<Group> {
    let mut keys: Vec<(String, Totals)> = groups.into_iter().collect();
    keys.sort_unstable_by(|(a, mine), (b, theirs)| theirs.count.cmp(&mine.count).then_with(|| a.cmp(b)));
    keys.truncate(top.unwrap_or(usize::MAX));
    keys.into_iter().map(|(key, totals)| Group::new(key, &totals)).collect()
}

fn count(source: &Source, asked: &[GroupBy], condition: &Condition) -> Result<Counted, PartError> {
    let mut counted = Counted { totals: Totals::default(), by: asked.iter().map(|_| Groups::default()).collect() };
    let everything = Work { totals: true, by: (0..asked.len()).collect() };
    let works: Vec<Work> = source
        .parts
        .iter()
        .enumerate()
        .map(|(index, part)| match Summary::of_part(part.metadata.metadata()) {
            Some(summary) if condition.is_empty() && source.has(index) => from_summary(&summary, asked, &mut counted),
            _ => everything.clone(),
        })
        .collect();
    let units: Vec<Unit> = source.units().into_iter().filter(|unit| !works[unit.part].is_empty()).collect();
    if units.is_empty() {
        return Ok(counted);
    }
    for (totals, counts) in from_columns(source, asked, condition, &works, &units)? {
        let mut all = Groups::default();
        totals.merge_into(&mut all);
        all.values().for_each(|totals| counted.totals.merge(totals));
        for (groups, counts) in counted.by.iter_mut().zip(counts) {
            counts.merge_into(groups);
        }
    }
    Ok(counted)
}

/// Adds what a summary knows; what it lacks is left to do.
fn from_summary(summary: &Summary, asked: &[GroupBy], counted: &mut Counted) -> Work {
    counted.totals.merge(&summary.totals);
    let mut work = Work::default();
    for (index, (by, into)) in asked.iter().zip(&mut counted.by).enumerate() {
        match by.dimension().and_then(|dimension| summary.groups(dimension)) {
            Some(groups) => {
                groups.iter().for_each(|(key, totals)| merge_key(into, Cow::Borrowed(GroupBy::key(key)), totals));
            }
            None => work.by.push(index),
        }
    }
    work
}

/// Counts row groups on all cores.
fn from_columns(
    source: &Source,
    asked: &[GroupBy],
    condition: &Condition,
    works: &[Work],
    units: &[Unit],
) -> Result<Vec<(Counts, Vec<Counts>)>, PartError> {
    let start = || (Counts::default(), asked.iter().map(|_| Counts::default()).collect::<Vec<_>>());
    on_all_cores(units, start, |(totals, counts), unit| {
        let (part, work) = (&source.parts[unit.part], &works[unit.part]);
        let columns: BTreeSet<&'static str> =
            work.by.iter().map(|&index| asked[index].column()).chain(MEASURES).collect();
        scan(part, unit.group, condition, &columns, |found| {
            let measures = measures(found.batch, found.mask)?;
            if work.totals {
                totals.add_all(&measures);
            }
            work.by.iter().try_for_each(|&index| counts[index].add_by(asked[index], found.batch, &measures))
        })
        .map_err(|error| part.error(error))
    })
}
