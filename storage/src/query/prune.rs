//! Which row groups a condition cannot be true in, by the statistics in a part's footer.
//!
//! For each condition two questions are answered together, so that NOT can exchange them: might it
//! be true for some row, might it be false for some row? Without statistics both might be.

use parquet::{
    basic::Type as PhysicalType,
    file::{metadata::RowGroupMetaData, statistics::Statistics},
};
use weir_engine::filter::{Column, ColumnKind, Comparison, Expr, Field, Literal};

/// What may be among the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcomes {
    true_: bool,
    false_: bool,
}

const EITHER: Outcomes = Outcomes { true_: true, false_: true };

/// Whether the condition might be true for a row of the group.
#[must_use]
pub fn may_match(expr: &Expr, group: &RowGroupMetaData) -> bool {
    outcomes(expr, group).true_
}

fn outcomes(expr: &Expr, group: &RowGroupMetaData) -> Outcomes {
    match expr {
        Expr::Constant(value) => Outcomes { true_: *value, false_: !value },
        Expr::Not(inner) => {
            let Outcomes { true_, false_ } = outcomes(inner, group);
            Outcomes { true_: false_, false_: true_ }
        }
        Expr::And(parts) => {
            parts.iter().map(|part| outcomes(part, group)).fold(Outcomes { true_: true, false_: false }, |all, one| {
                Outcomes { true_: all.true_ && one.true_, false_: all.false_ || one.false_ }
            })
        }
        Expr::Or(parts) => {
            parts.iter().map(|part| outcomes(part, group)).fold(Outcomes { true_: false, false_: true }, |any, one| {
                Outcomes { true_: any.true_ || one.true_, false_: any.false_ && one.false_ }
            })
        }
        Expr::Compare(Field::Column(column), comparison, literal) => bounds(*column, group)
            .map_or(EITHER, |(low, high)| compare(*comparison, low.as_ref(), high.as_ref(), literal)),
        Expr::In(Field::Column(column), set) => bounds(*column, group).map_or(EITHER, |(low, high)| Outcomes {
            true_: set
                .as_slice()
                .iter()
                .any(|one| low.as_ref() <= one.as_ref_literal() && one.as_ref_literal() <= high.as_ref()),
            false_: true,
        }),
        Expr::Between(Field::Column(column), from, to) => {
            bounds(*column, group).map_or(EITHER, |(low, high)| Outcomes {
                true_: low.as_ref() <= to.as_ref_literal() && from.as_ref_literal() <= high.as_ref(),
                false_: true,
            })
        }
        Expr::IsNull(Field::Column(column)) => {
            let Some(nulls) = statistics(*column, group).and_then(Statistics::null_count_opt) else { return EITHER };
            let rows = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
            Outcomes { true_: nulls > 0, false_: nulls < rows }
        }
        _ => EITHER,
    }
}

/// A bound that can be ordered against literals of the same kind.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    Text(Vec<u8>),
    Number(i128),
}

/// A [`Bound`], or a literal as one, borrowed. The kinds of one column are always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum BoundRef<'a> {
    Bytes(&'a [u8]),
    Number(i128),
}

impl Bound {
    fn as_ref(&self) -> BoundRef<'_> {
        match self {
            Self::Text(bytes) => BoundRef::Bytes(bytes),
            Self::Number(number) => BoundRef::Number(*number),
        }
    }
}

trait AsBound {
    fn as_ref_literal(&self) -> BoundRef<'_>;
}

impl AsBound for Literal {
    fn as_ref_literal(&self) -> BoundRef<'_> {
        match self {
            Self::Text(text) => BoundRef::Bytes(text.as_bytes()),
            Self::Bytes(bytes) => BoundRef::Bytes(bytes),
            Self::Integer(number) => BoundRef::Number(*number),
            Self::Timestamp(us) => BoundRef::Number((*us).into()),
        }
    }
}

/// Bounds may be wider than the values (long text is cut), never narrower.
fn compare(comparison: Comparison, low: BoundRef<'_>, high: BoundRef<'_>, literal: &Literal) -> Outcomes {
    let literal = literal.as_ref_literal();
    let (below, above) = (low < literal, high > literal);
    let equal = low <= literal && literal <= high;
    let (true_, false_) = match comparison {
        Comparison::Equal => (equal, below || above),
        Comparison::NotEqual => (below || above, equal),
        Comparison::Less => (below, above || equal),
        Comparison::GreaterOrEqual => (above || equal, below),
        Comparison::Greater => (above, below || equal),
        Comparison::LessOrEqual => (below || equal, above),
    };
    Outcomes { true_, false_ }
}

fn statistics(column: Column, group: &RowGroupMetaData) -> Option<&Statistics> {
    statistics_of(column.name(), group)
}

fn statistics_of<'a>(column: &str, group: &'a RowGroupMetaData) -> Option<&'a Statistics> {
    group.columns().iter().find(|chunk| chunk.column_path().string() == column)?.statistics()
}

/// Whether an unsigned 64-bit column of any table might hold `number` in a row group.
pub(crate) fn may_hold(column: &str, number: u64, group: &RowGroupMetaData) -> bool {
    range_of(column, group).is_none_or(|(low, high)| (low..=high).contains(&number))
}

/// Least and greatest value of an unsigned 64-bit column of any table in a row group, when known.
pub(crate) fn range_of(column: &str, group: &RowGroupMetaData) -> Option<(u64, u64)> {
    let bound = |bytes: Option<&[u8]>| bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let statistics = statistics_of(column, group)?;
    Some((bound(statistics.min_bytes_opt())?, bound(statistics.max_bytes_opt())?))
}

/// Least and greatest value of a numeric column in a row group, when known.
pub(crate) fn number_bounds(column: Column, group: &RowGroupMetaData) -> Option<(i128, i128)> {
    match bounds(column, group)? {
        (Bound::Number(low), Bound::Number(high)) => Some((low, high)),
        _ => None,
    }
}

fn bounds(column: Column, group: &RowGroupMetaData) -> Option<(Bound, Bound)> {
    let statistics = statistics(column, group)?;
    let (low, high) = (statistics.min_bytes_opt()?, statistics.max_bytes_opt()?);
    let bound = |bytes: &[u8]| {
        Some(match (column.kind(), statistics.physical_type()) {
            (ColumnKind::Text, PhysicalType::BYTE_ARRAY) | (ColumnKind::Binary, PhysicalType::FIXED_LEN_BYTE_ARRAY) => {
                Bound::Text(bytes.to_vec())
            }
            (ColumnKind::Integer, PhysicalType::INT32) => {
                Bound::Number(u32::from_le_bytes(bytes.try_into().ok()?).into())
            }
            (ColumnKind::Integer, PhysicalType::INT64) => {
                Bound::Number(u64::from_le_bytes(bytes.try_into().ok()?).into())
            }
            (ColumnKind::Timestamp, PhysicalType::INT64) => {
                Bound::Number(i64::from_le_bytes(bytes.try_into().ok()?).into())
            }
            _ => return None,
        })
    };
    Some((bound(low)?, bound(high)?))
}
