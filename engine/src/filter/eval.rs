//! The evaluator over one row, in SQL's three-valued logic.
//!
//! In: anything that can say the value of a column. Out: true, false or unknown (`None`).

use std::{borrow::Cow, cmp::Ordering};

use super::{Column, Expr, Field, Literal};

/// The value of one field in one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// Text.
    Text(Cow<'a, str>),
    /// An integer.
    Integer(u64),
    /// Microseconds since the Unix epoch.
    Timestamp(i64),
    /// A hash.
    Bytes(Cow<'a, [u8]>),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl From<$type> for Value<'_> {
            fn from(number: $type) -> Self {
                Self::Integer(u64::from(number))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64);

/// A row of `exchanges`.
pub trait Row {
    /// The value of a column, of the column's kind or null.
    fn value(&self, column: Column) -> Value<'_>;

    /// The first value of a header field of the request or the response; `name` is lower case.
    fn header(&self, response: bool, name: &str) -> Option<Cow<'_, str>>;
}

/// How a value stands to a literal; `None` when it is null (or of another kind, which the check rules out).
fn compare(value: &Value<'_>, literal: &Literal) -> Option<Ordering> {
    match (value, literal) {
        (Value::Text(value), Literal::Text(literal)) => Some(value.as_bytes().cmp(literal.as_bytes())),
        (Value::Integer(value), Literal::Integer(literal)) => Some(i128::from(*value).cmp(literal)),
        (Value::Timestamp(value), Literal::Timestamp(literal)) => Some(value.cmp(literal)),
        (Value::Bytes(value), Literal::Bytes(literal)) => Some(value.as_ref().cmp(literal.as_slice())),
        _ => None,
    }
}

fn field_value<'a>(row: &'a impl Row, field: &Field) -> Value<'a> {
    match field {
        Field::Column(column) => row.value(*column),
        Field::Header { response, name } => row.header(*response, name).map_or(Value::Null, Value::Text),
    }
}

impl Expr {
    /// Whether the row passes: the condition is true, neither false nor unknown.
    #[must_use]
    pub fn matches(&self, row: &impl Row) -> bool {
        self.truth(row) == Some(true)
    }

    /// The condition's truth for a row; `None`: unknown.
    #[must_use]
    pub fn truth(&self, row: &impl Row) -> Option<bool> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Not(inner) => inner.truth(row).map(|truth| !truth),
            Self::And(parts) => {
                let mut all = Some(true);
                for part in parts {
                    match part.truth(row) {
                        Some(false) => return Some(false),
                        Some(true) => {}
                        None => all = None,
                    }
                }
                all
            }
            Self::Or(parts) => {
                let mut any = Some(false);
                for part in parts {
                    match part.truth(row) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => any = None,
                    }
                }
                any
            }
            Self::IsNull(field) => Some(field_value(row, field) == Value::Null),
            Self::Compare(field, ..)
            | Self::In(field, _)
            | Self::Between(field, ..)
            | Self::Like(field, _)
            | Self::Regex(field, _) => self.predicate(&field_value(row, field)),
        }
    }

    /// The truth of one predicate for the value of its field; unknown for null, and for expressions
    /// that are no predicate.
    ///
    /// The columnar evaluator calls this once for each distinct value of a dictionary.
    #[must_use]
    pub fn predicate(&self, value: &Value<'_>) -> Option<bool> {
        match self {
            Self::Compare(_, comparison, literal) => compare(value, literal).map(|order| comparison.holds(order)),
            Self::In(_, set) => {
                let set = set.as_slice();
                // Short lists are scanned: as quick, and no branch is mispredicted twice.
                compare(value, set.first()?)?;
                Some(if set.len() <= 4 {
                    set.iter().any(|literal| compare(value, literal) == Some(Ordering::Equal))
                } else {
                    set.binary_search_by(|literal| compare(value, literal).map_or(Ordering::Equal, Ordering::reverse))
                        .is_ok()
                })
            }
            Self::Between(_, low, high) => Some(compare(value, low)?.is_ge() && compare(value, high)?.is_le()),
            Self::Like(_, pattern) => match value {
                Value::Text(text) => Some(pattern.is_match(text)),
                _ => None,
            },
            Self::Regex(_, pattern) => match value {
                Value::Text(text) => Some(pattern.is_match(text)),
                _ => None,
            },
            Self::IsNull(_) => Some(*value == Value::Null),
            Self::Constant(_) | Self::Not(_) | Self::And(_) | Self::Or(_) => None,
        }
    }
}
