//! The columnar evaluator of the filter language: a condition over a record batch.
//!
//! Means the same as [`Expr::truth`] row by row (a property test compares the two). A predicate over
//! a dictionary is decided once for each distinct value; integers are compared as ranges of native
//! numbers; only text columns are decided value by value.

use std::borrow::Cow;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray},
    buffer::{BooleanBuffer, NullBuffer},
    compute::kernels::boolean::{and_kleene, is_null, not, or_kleene},
    datatypes::{
        ArrowPrimitiveType, DataType, Int32Type, TimestampMicrosecondType, UInt16Type, UInt32Type, UInt64Type,
    },
    error::ArrowError,
};
use weir_engine::filter::{Comparison, Expr, Field, Literal, Value};

/// The truth of a condition for each row; null where it is unknown.
///
/// # Errors
/// When the batch lacks a column the condition asks about, or has it as another type.
pub fn evaluate(expr: &Expr, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
    match expr {
        Expr::Constant(value) => Ok(constant(*value, batch.num_rows())),
        Expr::Not(inner) => not(&evaluate(inner, batch)?),
        Expr::And(parts) => combine(parts, batch, true),
        Expr::Or(parts) => combine(parts, batch, false),
        Expr::Compare(field, ..)
        | Expr::In(field, _)
        | Expr::Between(field, ..)
        | Expr::Like(field, _)
        | Expr::Regex(field, _)
        | Expr::IsNull(field) => predicate(expr, field, batch),
    }
}

fn constant(value: bool, rows: usize) -> BooleanArray {
    let bits = if value { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) };
    BooleanArray::new(bits, None)
}

/// AND (`all`) or OR of parts; stops when no row can change any more.
fn combine(parts: &[Expr], batch: &RecordBatch, all: bool) -> Result<BooleanArray, ArrowError> {
    let mut result = constant(all, batch.num_rows());
    for part in parts {
        let next = evaluate(part, batch)?;
        result = if all { and_kleene(&result, &next)? } else { or_kleene(&result, &next)? };
        let settled = if all { result.false_count() } else { result.true_count() };
        if settled == batch.num_rows() {
            break;
        }
    }
    Ok(result)
}

fn predicate(expr: &Expr, field: &Field, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("there is no column {name}")))
    };
    let column = match field {
        Field::Column(wanted) => column(wanted.name())?,
        Field::Header { response, name } => {
            let headers = column(if *response { "response_headers" } else { "request_headers" })?;
            return header_predicate(expr, headers, name);
        }
    };
    if let Expr::IsNull(_) = expr {
        return is_null(column);
    }
    match column.data_type() {
        DataType::Dictionary(..) => dictionary_predicate(expr, column),
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            Ok(by_value(column, |row| expr.predicate(&Value::Text(Cow::Borrowed(texts.value(row))))))
        }
        DataType::UInt16 => Ok(integers::<UInt16Type>(expr, column, u64::from, Value::Integer)),
        DataType::UInt32 => Ok(integers::<UInt32Type>(expr, column, u64::from, Value::Integer)),
        DataType::UInt64 => Ok(integers::<UInt64Type>(expr, column, |number| number, Value::Integer)),
        DataType::Timestamp(..) => Ok(integers::<TimestampMicrosecondType>(
            expr,
            column,
            // The order of signed numbers, as that of unsigned ones.
            |us| us.cast_unsigned() ^ SIGN,
            |shifted| Value::Timestamp((shifted ^ SIGN).cast_signed()),
        )),
        DataType::FixedSizeBinary(_) => {
            let hashes = column.as_fixed_size_binary();
            Ok(by_value(column, |row| expr.predicate(&Value::Bytes(Cow::Borrowed(hashes.value(row))))))
        }
        other => Err(ArrowError::SchemaError(format!("{field} cannot be compared as {other}"))),
    }
}

const SIGN: u64 = 1 << 63;

/// Decides each row that is not null by itself.
fn by_value(column: &ArrayRef, decide: impl Fn(usize) -> Option<bool>) -> BooleanArray {
    let nulls = column.logical_nulls();
    let bits = BooleanBuffer::collect_bool(column.len(), |row| {
        nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) && decide(row) == Some(true)
    });
    BooleanArray::new(bits, nulls)
}

/// Decides each distinct value once, then looks the answer up by key.
fn dictionary_predicate(expr: &Expr, column: &ArrayRef) -> Result<BooleanArray, ArrowError> {
    let mismatch = || ArrowError::SchemaError("a dictionary is not of text with 32-bit keys".to_owned());
    let dictionary = column.as_dictionary_opt::<Int32Type>().ok_or_else(mismatch)?;
    let values: &StringArray = dictionary.values().as_string_opt().ok_or_else(mismatch)?;
    // Few rows over a large dictionary (a selection of a row group): decide the rows.
    if values.len() > column.len() {
        let keys = dictionary.keys().values();
        return Ok(by_value(column, |row| {
            expr.predicate(&Value::Text(Cow::Borrowed(values.value(keys[row] as usize))))
        }));
    }
    let truths: Vec<bool> = (0..values.len())
        .map(|value| {
            values.is_valid(value) && expr.predicate(&Value::Text(Cow::Borrowed(values.value(value)))) == Some(true)
        })
        .collect();
    let nulls = dictionary.logical_nulls();
    let keys = dictionary.keys().values();
    // Keys under a null are not checked by the format.
    let bits = BooleanBuffer::collect_bool(column.len(), |row| truths.get(keys[row] as usize) == Some(&true));
    Ok(BooleanArray::new(masked(&bits, nulls.as_ref()), nulls))
}

fn masked(bits: &BooleanBuffer, nulls: Option<&NullBuffer>) -> BooleanBuffer {
    nulls.map_or_else(|| bits.clone(), |nulls| bits & nulls.inner())
}

/// A set of unsigned numbers that a predicate over integers accepts.
enum Accepted {
    Range(u64, u64),
    Except(u64),
    None,
    All,
}

fn integers<T: ArrowPrimitiveType>(
    expr: &Expr,
    column: &ArrayRef,
    number: impl Fn(T::Native) -> u64,
    value: impl Fn(u64) -> Value<'static>,
) -> BooleanArray {
    let array = column.as_primitive::<T>();
    let numbers = array.values();
    let bits = match accepted(expr) {
        Some(Accepted::Range(low, high)) => {
            let width = high - low;
            BooleanBuffer::collect_bool(numbers.len(), |row| number(numbers[row]).wrapping_sub(low) <= width)
        }
        Some(Accepted::Except(one)) => BooleanBuffer::collect_bool(numbers.len(), |row| number(numbers[row]) != one),
        Some(Accepted::None) => BooleanBuffer::new_unset(numbers.len()),
        Some(Accepted::All) => BooleanBuffer::new_set(numbers.len()),
        None => {
            BooleanBuffer::collect_bool(numbers.len(), |row| expr.predicate(&value(number(numbers[row]))) == Some(true))
        }
    };
    BooleanArray::new(masked(&bits, array.nulls()), array.nulls().cloned())
}

/// Where a literal stands among unsigned numbers: on one, or outside at an end.
enum Place {
    Below,
    At(u64),
    Above,
}

fn place(literal: &Literal) -> Option<Place> {
    match literal {
        Literal::Integer(number) if *number < 0 => Some(Place::Below),
        Literal::Integer(number) => Some(u64::try_from(*number).map_or(Place::Above, Place::At)),
        Literal::Timestamp(us) => Some(Place::At(us.cast_unsigned() ^ SIGN)),
        _ => None,
    }
}

/// The numbers a predicate accepts, where they are a range or all but one.
fn accepted(expr: &Expr) -> Option<Accepted> {
    use Place::{Above, At, Below};
    Some(match expr {
        Expr::Compare(_, comparison, literal) => match (comparison, place(literal)?) {
            (Comparison::Equal, At(one)) => Accepted::Range(one, one),
            (Comparison::Equal, _) => Accepted::None,
            (Comparison::NotEqual, At(one)) => Accepted::Except(one),
            (Comparison::NotEqual, _)
            | (Comparison::Less | Comparison::LessOrEqual, Above)
            | (Comparison::Greater | Comparison::GreaterOrEqual, Below) => Accepted::All,
            (Comparison::Less | Comparison::LessOrEqual, Below)
            | (Comparison::Greater | Comparison::GreaterOrEqual, Above) => Accepted::None,
            (Comparison::LessOrEqual, At(high)) => Accepted::Range(0, high),
            (Comparison::GreaterOrEqual, At(low)) => Accepted::Range(low, u64::MAX),
            (Comparison::Less, At(end)) => end.checked_sub(1).map_or(Accepted::None, |high| Accepted::Range(0, high)),
            (Comparison::Greater, At(start)) => {
                start.checked_add(1).map_or(Accepted::None, |low| Accepted::Range(low, u64::MAX))
            }
        },
        Expr::Between(_, low, high) => {
            let low = match place(low)? {
                Below => 0,
                At(low) => low,
                Above => return Some(Accepted::None),
            };
            let high = match place(high)? {
                Below => return Some(Accepted::None),
                At(high) => high,
                Above => u64::MAX,
            };
            if low > high { Accepted::None } else { Accepted::Range(low, high) }
        }
        _ => return None,
    })
}

/// A predicate over the first value of a header field, null where there is no such field.
fn header_predicate(expr: &Expr, headers: &ArrayRef, wanted: &str) -> Result<BooleanArray, ArrowError> {
    let (offsets, names, values) = header_columns(headers)?;
    Ok((0..headers.len())
        .map(|row| {
            let mut lines = offsets[row] as usize..offsets[row + 1] as usize;
            let line = lines.find(|&line| names.value(line).eq_ignore_ascii_case(wanted));
            let value = line.map_or(Value::Null, |line| Value::Text(Cow::Borrowed(values.value(line))));
            expr.predicate(&value)
        })
        .collect())
}

/// The parts of a header column: where each row's lines begin, the names and the values.
pub(crate) fn header_columns(headers: &ArrayRef) -> Result<(&[i32], &StringArray, &StringArray), ArrowError> {
    let mismatch = || ArrowError::SchemaError("a header column is not a list of name and value".to_owned());
    let list = headers.as_list_opt::<i32>().ok_or_else(mismatch)?;
    let lines = list.values().as_struct_opt().ok_or_else(mismatch)?;
    let part = |name| lines.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(mismatch);
    Ok((list.value_offsets(), part("name")?, part("value")?))
}
