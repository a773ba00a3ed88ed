//! Ids and sizes of the exchanges that meet a condition: what a deletion needs to know.

use std::collections::BTreeSet;

use arrow::{array::AsArray, datatypes::UInt64Type, error::ArrowError};
use weir_engine::filter::Expr;

use super::{
    scan::{Condition, scan},
    source::{Source, on_all_cores},
};
use crate::{
    error::StorageError,
    tombstones::{Deleted, Ids},
};

/// The exchanges that meet a condition and are not deleted yet.
pub(crate) fn chosen(source: &mut Source, filter: &Expr) -> Result<(Ids, Deleted), StorageError> {
    let condition = Condition { filter: Some(filter.clone()), deleted: source.deleted(), ..Condition::default() };
    let columns = BTreeSet::from(["id", "request_size", "response_size"]);
    let found = source.run(|source| {
        on_all_cores(&source.units(), <(Vec<u64>, Deleted)>::default, |(ids, deleted), unit| {
            let part = &source.parts[unit.part];
            scan(part, unit.group, &condition, &columns, |found| {
                let numbers = |name: &str| {
                    let column = found.batch.column_by_name(name);
                    column
                        .and_then(|column| column.as_primitive_opt::<UInt64Type>())
                        .ok_or_else(|| ArrowError::SchemaError(format!("column {name} is not of numbers")))
                };
                let (id, sent, received) = (numbers("id")?, numbers("request_size")?, numbers("response_size")?);
                found.for_each_row(|row| {
                    ids.push(id.value(row));
                    deleted.exchanges += 1;
                    deleted.request_bytes += sent.value(row);
                    deleted.response_bytes += received.value(row);
                    Ok(())
                })
            })
            .map_err(|error| part.error(error))
        })
    })?;
    let mut all = Deleted::default();
    for (_, one) in &found {
        all.exchanges += one.exchanges;
        all.request_bytes += one.request_bytes;
        all.response_bytes += one.response_bytes;
    }
    Ok((found.into_iter().flat_map(|(ids, _)| ids).collect(), all))
}
