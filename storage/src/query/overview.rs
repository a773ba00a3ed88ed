//! The overview: counts, bytes, errors and percentiles of a session by the values of columns.
//!
//! Without a filter the summaries in the footers of the parts answer; what a summary lacks (a column
//! it does not hold, or one with too many values) is counted from the columns. With a filter all is
//! counted from the columns, row groups in parallel.

use std::collections::BTreeSet;

use serde::{Serialize, Serializer, ser::SerializeMap};
use weir_engine::{filter::Expr, ledger::Ledger};

use super::{
    group::{CROSS, Counts, Crossed, GroupBy, MEASURES, measures, merge_key},
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
    /// By what together, each a list of at least two.
    pub crossed: Vec<Vec<GroupBy>>,
    /// Only exchanges that meet this; `None`: all.
    pub filter: Option<Expr>,
    /// At most so many keys of each, the most frequent; `None`: all.
    pub top: Option<usize>,
}

impl Default for OverviewQuery {
    fn default() -> Self {
        Self { by: GroupBy::DEFAULT.to_vec(), crossed: Vec::new(), filter: None, top: None }
    }
}

/// The exchanges that share a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The value, `none` where there is none; of crossed groups the values, with a comma and a space between them.
    pub key: String,
    /// The values of crossed groups, in the order of the columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
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
        let keys: Vec<String> =
            if key.contains(CROSS) { key.split(CROSS).map(str::to_owned).collect() } else { Vec::new() };
        let key = if keys.is_empty() { key } else { keys.join(", ") };
        Self {
            key,
            keys,
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
#[derive(Debug, Clone, PartialEq)]
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
    /// Seconds it recorded, pauses left out.
    pub duration_s: f64,
    /// Seconds from start to end, or to now.
    pub wall_s: f64,
    /// Exchanges counted.
    pub exchanges: u64,
    /// Sum of their `request_size`.
    pub request_bytes: u64,
    /// Sum of their `response_size`.
    pub response_bytes: u64,
    /// The groups, the most frequent first, in the order asked for.
    pub by: Vec<(GroupBy, Vec<Group>)>,
    /// The crossed groups, as `by`: in JSON among them, under the names of the columns with a comma between them.
    pub crossed: Vec<(Vec<GroupBy>, Vec<Group>)>,
    /// What was seen, kept and dropped.
    pub ledger: Ledger,
    /// Parts that could not be read and are not in the counts, as sentences.
    pub warnings: Vec<String>,
}

impl Serialize for Overview {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("session", &self.session)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("source", &self.source)?;
        map.serialize_entry("state", &self.state)?;
        map.serialize_entry("started", &self.started)?;
        map.serialize_entry("duration_s", &self.duration_s)?;
        map.serialize_entry("wall_s", &self.wall_s)?;
        map.serialize_entry("exchanges", &self.exchanges)?;
        map.serialize_entry("request_bytes", &self.request_bytes)?;
        map.serialize_entry("response_bytes", &self.response_bytes)?;
        map.serialize_entry("by", &By(self))?;
        map.serialize_entry("ledger", &self.ledger)?;
        if !self.warnings.is_empty() {
            map.serialize_entry("warnings", &self.warnings)?;
        }
        map.end()
    }
}

/// The groups of an overview as one document.
struct By<'a>(&'a Overview);

impl Serialize for By<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (by, groups) in &self.0.by {
            map.serialize_entry(by, groups)?;
        }
        for (by, groups) in &self.0.crossed {
            map.serialize_entry(&cross_name(by), groups)?;
        }
        map.end()
    }
}

/// The name of crossed groups: `domain,status`.
#[must_use]
pub fn cross_name(by: &[GroupBy]) -> String {
    by.iter().map(|by| by.as_str()).collect::<Vec<_>>().join(",")
}

/// What was counted so far.
#[derive(Debug, Default)]
struct Counted {
    totals: Totals,
    by: Vec<Groups>,
    crossed: Vec<Groups>,
}

/// What has to be counted from the columns of one part.
#[derive(Debug, Clone, Default)]
struct Work {
    totals: bool,
    /// Places in the query's list.
    by: Vec<usize>,
    /// Whether there are groups to be crossed.
    crossed: bool,
}

impl Work {
    fn is_empty(&self) -> bool {
        !self.totals && self.by.is_empty() && !self.crossed
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
    let condition = Condition { filter: query.filter.clone(), deleted: source.deleted(), ..Condition::default() };
    let asked = Asked { by: asked, crossed: query.crossed.clone() };
    let counted = source.run(|source| count(source, &asked, &condition))?;
    let crossed = asked.crossed.into_iter().zip(counted.crossed);
    let crossed = crossed.map(|(by, groups)| (by, ranked(groups, query.top))).collect();
    let asked = asked.by;
    let by = asked.into_iter().zip(counted.by).map(|(by, groups)| (by, ranked(groups, query.top))).collect();
    Ok(Overview {
        session: entry.id,
        name: entry.name.clone(),
        source: entry.source.clone(),
        state: entry.state,
        started: entry.started,
        duration_s: entry.duration_s(),
        wall_s: entry.wall_s(),
        exchanges: counted.totals.count,
        request_bytes: counted.totals.request_bytes,
        response_bytes: counted.totals.response_bytes,
        by,
        crossed,
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

/// The groups that are asked for.
struct Asked {
    by: Vec<GroupBy>,
    crossed: Vec<Vec<GroupBy>>,
}

fn count(source: &Source, asked: &Asked, condition: &Condition) -> Result<Counted, PartError> {
    let none = |count: usize| (0..count).map(|_| Groups::default()).collect();
    let mut counted =
        Counted { totals: Totals::default(), by: none(asked.by.len()), crossed: none(asked.crossed.len()) };
    let everything = Work { totals: true, by: (0..asked.by.len()).collect(), crossed: !asked.crossed.is_empty() };
    let works: Vec<Work> = source
        .parts
        .iter()
        .enumerate()
        .map(|(index, part)| match Summary::of_part(part.metadata.metadata()) {
            Some(summary) if condition.takes_all_of(part) && source.has(index) => {
                from_summary(&summary, asked, &mut counted)
            }
            _ => everything.clone(),
        })
        .collect();
    let units: Vec<Unit> = source.units().into_iter().filter(|unit| !works[unit.part].is_empty()).collect();
    if units.is_empty() {
        return Ok(counted);
    }
    for (totals, counts, crossed) in from_columns(source, asked, condition, &works, &units)? {
        let mut all = Groups::default();
        totals.merge_into(&mut all);
        all.values().for_each(|totals| counted.totals.merge(totals));
        for (groups, counts) in counted.by.iter_mut().zip(counts) {
            counts.merge_into(groups);
        }
        for (groups, crossed) in counted.crossed.iter_mut().zip(crossed) {
            crossed.merge_into(groups);
        }
    }
    Ok(counted)
}

/// Adds what a summary knows; what it lacks is left to do.
fn from_summary(summary: &Summary, asked: &Asked, counted: &mut Counted) -> Work {
    counted.totals.merge(&summary.totals);
    let mut work = Work { crossed: !asked.crossed.is_empty(), ..Work::default() };
    for (index, (by, into)) in asked.by.iter().zip(&mut counted.by).enumerate() {
        match by.dimension().and_then(|dimension| summary.groups(dimension)) {
            Some(groups) => {
                groups.iter().for_each(|(key, totals)| merge_key(into, by.summary_key(key), totals));
            }
            None => work.by.push(index),
        }
    }
    work
}

/// What one thread counts: all rows, by each column, by several together.
type Threads = (Counts, Vec<Counts>, Vec<Crossed>);

/// Counts row groups on all cores.
fn from_columns(
    source: &Source,
    asked: &Asked,
    condition: &Condition,
    works: &[Work],
    units: &[Unit],
) -> Result<Vec<Threads>, PartError> {
    let start = || {
        let counts = asked.by.iter().map(|_| Counts::default()).collect::<Vec<_>>();
        (Counts::default(), counts, asked.crossed.iter().map(|_| Crossed::default()).collect::<Vec<_>>())
    };
    on_all_cores(units, start, |(totals, counts, crossed), unit| {
        let (part, work) = (&source.parts[unit.part], &works[unit.part]);
        let of_crossed = asked.crossed.iter().flatten().filter(|_| work.crossed).map(|by| by.column());
        let columns: BTreeSet<&'static str> =
            work.by.iter().map(|&index| asked.by[index].column()).chain(of_crossed).chain(MEASURES).collect();
        scan(part, unit.group, condition, &columns, |found| {
            let measures = measures(found.batch, found.mask)?;
            if work.totals {
                totals.add_all(&measures);
            }
            if work.crossed {
                for (by, crossed) in asked.crossed.iter().zip(crossed.iter_mut()) {
                    crossed.add_by(by, found.batch, &measures)?;
                }
            }
            work.by.iter().try_for_each(|&index| counts[index].add_by(asked.by[index], found.batch, &measures))
        })
        .map_err(|error| part.error(error))
    })
}
