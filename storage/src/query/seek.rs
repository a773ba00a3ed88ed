//! Pages far down a listing, found without holding the keys of all rows before them.
//!
//! One pass counts the rows that meet the condition in each row group. Row groups that lie wholly before or behind
//! the page by their statistics (nearly all, in the order of time) are left out. A page near the end is looked for from the
//! end. For numbers that lie anywhere the keys of all rows are held while they are counted; when those are too many, a histogram of them
//! says between which the page is.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use arrow::error::ArrowError;
use weir_engine::filter::ColumnKind;

use super::{
    scan::{Condition, scan},
    source::{PartError, Source, Unit, on_all_cores},
    top::{BUCKETS, Placed, Ranked, Sort, Within, bucket_of},
};

/// Where a page is.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Where to look.
    pub(crate) within: Within,
    /// Rows there before the page; from the end: rows of the page and behind it.
    pub(crate) skip: usize,
    /// Whether there is nothing so far down.
    pub(crate) is_empty: bool,
    /// The rows of the page, where one pass was enough to find them.
    pub(crate) found: Option<Vec<Ranked>>,
}

/// Keys of rows held while counting, so that few rows need no second pass: 16 bytes each.
const MAX_HELD: usize = 2 << 20;

/// What one thread counted.
struct Counted {
    units: Vec<(Unit, u64)>,
    histogram: Vec<u64>,
    /// All rows, unless they are too many.
    held: Option<Vec<Placed>>,
}

/// Finds the page of `left` rows behind the first `skip`; `held` keys can be held at once.
pub(crate) fn seek(
    source: &Source,
    condition: &Condition,
    sort: Sort,
    skip: usize,
    left: usize,
    held: usize,
) -> Result<Plan, PartError> {
    // Where a column lies in the order of time, whole row groups fall away; else a histogram tells.
    let by_range =
        matches!(sort.column.kind(), ColumnKind::Timestamp) || sort.column == weir_engine::filter::Column::Id;
    let numbers = sort.column.kind() == ColumnKind::Integer && !by_range;
    let counted = count(source, condition, sort, numbers, numbers && left <= held)?;
    let mut units = Vec::new();
    let mut histogram = vec![0_u64; if numbers { BUCKETS as usize + 1 } else { 0 }];
    let mut rows = Some(Vec::new());
    for one in counted {
        units.extend(one.units);
        histogram.iter_mut().zip(one.histogram).for_each(|(all, one)| *all += one);
        rows = rows.zip(one.held).map(|(mut all, held)| {
            all.extend(held);
            all
        });
    }
    let total: u64 = units.iter().map(|(_, count)| count).sum();
    if skip as u64 >= total {
        return Ok(Plan { is_empty: true, ..Plan::default() });
    }
    if let Some(rows) = rows {
        let found = placed(rows, skip, left, &source.units());
        return Ok(Plan { found: Some(found), ..Plan::default() });
    }
    let mut plan = Plan { skip, ..Plan::default() };
    let mut left_there = total;
    if by_range {
        left_there -= leave_out(source, sort, &units, skip, left, &mut plan);
    }
    if numbers {
        left_there = choose_buckets(&histogram, left, &mut plan);
    }
    let behind = usize::try_from(left_there).unwrap_or(usize::MAX).saturating_sub(plan.skip);
    if behind < plan.skip && behind <= held {
        plan.within.from_end = true;
        plan.skip = behind;
    }
    Ok(plan)
}

/// The page of these rows, in order.
fn placed(mut rows: Vec<Placed>, skip: usize, left: usize, units: &[Unit]) -> Vec<Ranked> {
    if skip > 0 {
        rows.select_nth_unstable(skip);
    }
    let mut page = rows.split_off(skip);
    drop(rows);
    if page.len() > left {
        page.select_nth_unstable(left);
        page.truncate(left);
    }
    page.sort_unstable();
    page.into_iter().map(|row| row.ranked(units)).collect()
}

fn count(
    source: &Source,
    condition: &Condition,
    sort: Sort,
    numbers: bool,
    holds: bool,
) -> Result<Vec<Counted>, PartError> {
    let start = || Counted {
        units: Vec::new(),
        histogram: vec![0; if numbers { BUCKETS as usize + 1 } else { 0 }],
        held: holds.then(Vec::new),
    };
    let all = source.units();
    let place: HashMap<Unit, u32> = all.iter().copied().zip(0..).collect();
    let held = AtomicUsize::new(0);
    on_all_cores(&all, start, |counted, unit| {
        let part = &source.parts[unit.part];
        if !numbers && condition.takes_all_of_group(part, unit.group) {
            let rows = part.metadata.metadata().row_group(unit.group).num_rows();
            counted.units.push((unit, u64::try_from(rows).unwrap_or(0)));
            return Ok(());
        }
        let columns = BTreeSet::from([if numbers { sort.column.name() } else { "id" }]);
        let mut rows = 0;
        scan(
            part,
            unit.group,
            condition,
            if numbers || condition.reads_nothing() { &columns } else { EMPTY },
            |found| {
                rows += found.count() as u64;
                if numbers {
                    let column = found
                        .batch
                        .column_by_name(sort.column.name())
                        .ok_or_else(|| ArrowError::SchemaError(format!("there is no column {}", sort.column.name())))?;
                    if held.fetch_add(found.count(), Relaxed) + found.count() > MAX_HELD {
                        counted.held = None;
                    }
                    found.for_each_row(|row| {
                        counted.histogram[bucket_of(column, row, sort)? as usize] += 1;
                        if let Some(held) = &mut counted.held {
                            held.push(Placed::of(column, row, sort, place[&unit], found.numbers.get(row))?);
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            },
        )
        .map_err(|error| part.error(error))?;
        counted.units.push((unit, rows));
        Ok(())
    })
}

const EMPTY: &BTreeSet<&'static str> = &BTreeSet::new();

/// Leaves out the row groups that lie wholly before or behind the page. Returns how many rows they have.
fn leave_out(source: &Source, sort: Sort, units: &[(Unit, u64)], skip: usize, left: usize, plan: &mut Plan) -> u64 {
    let ranged: Option<Vec<(u64, u64, u64, Unit)>> = units
        .iter()
        .map(|(unit, count)| {
            let (low, high) = sort.range(&source.parts[unit.part], unit.group)?;
            Some((low, high, *count, *unit))
        })
        .collect();
    // One without statistics might be anywhere.
    let Some(ranged) = ranged else { return 0 };
    let end = (skip as u64).saturating_add(left as u64);
    // Sums of counts by where row groups begin, and by where they end.
    let sums = |key: fn(&(u64, u64, u64, Unit)) -> u64| -> Vec<(u64, u64)> {
        let mut by_key: Vec<(u64, u64)> = ranged.iter().map(|unit| (key(unit), unit.2)).collect();
        by_key.sort_unstable();
        let mut sum = 0;
        by_key.iter_mut().for_each(|(_, count)| {
            sum += *count;
            *count = sum;
        });
        by_key
    };
    let (begins, ends) = (sums(|unit| unit.0), sums(|unit| unit.1));
    let upto = |sums: &[(u64, u64)], bound: u64, inclusive: bool| {
        let at = sums.partition_point(|(key, _)| if inclusive { *key <= bound } else { *key < bound });
        at.checked_sub(1).map_or(0, |last| sums[last].1)
    };
    let mut gone = 0;
    let mut without = HashSet::new();
    let mut before = 0;
    for (low, high, count, unit) in &ranged {
        // Every row that is not behind its last begins no later than that one.
        let all_before = upto(&begins, *high, true) <= skip as u64;
        let all_behind = upto(&ends, *low, false) >= end;
        if all_before || all_behind {
            gone += count;
            without.insert(*unit);
            before += if all_before { *count } else { 0 };
        }
    }
    plan.skip -= usize::try_from(before).unwrap_or(plan.skip).min(plan.skip);
    plan.within.without = without;
    gone
}

/// Looks only at the keys among which the page is. Returns how many rows have such keys.
fn choose_buckets(histogram: &[u64], left: usize, plan: &mut Plan) -> u64 {
    let (skip, end) = (plan.skip as u64, (plan.skip as u64).saturating_add(left as u64));
    let (mut sum, mut first, mut last, mut chosen) = (0_u64, None, 0, 0);
    for (bucket, count) in histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
        let next = sum + count;
        if next > skip && sum < end {
            if first.is_none() {
                first = Some(bucket);
                plan.skip = usize::try_from(skip - sum).unwrap_or(plan.skip);
            }
            last = bucket;
            chosen += count;
        }
        sum = next;
    }
    // Fewer than 2^16 buckets.
    plan.within.buckets = first.map(|first| (first as u32, last as u32));
    chosen
}
