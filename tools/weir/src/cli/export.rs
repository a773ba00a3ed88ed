//! The flags of `weir export`.

use std::{ops::RangeInclusive, path::PathBuf};

use clap::{Args, ValueEnum};
use weir_engine::filter::{Column, Expr, Field, Literal, LiteralSet};
use weir_storage::{ExportFormat, GroupFolders};

use super::{FilterArgs, values};

/// Arguments of `weir export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
    /// Format
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: To,
    /// File (or folder) to write; - is standard output [default: -]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Only these requests: 3,17,100-200
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = id_range)]
    pub(crate) ids: Vec<RangeInclusive<u64>>,
    /// Folders of a collection: domain, endpoint, domain,endpoint or none [default: domain]
    #[arg(long, value_name = "LIST", value_parser = group)]
    pub(crate) group_by: Option<GroupFolders>,
    /// Merge into this Postman collection: what it has is kept, what it has already is not added again
    /// [default output: the same file]
    #[arg(long, value_name = "FILE")]
    pub(crate) into: Option<PathBuf>,
    /// Path variables in place of ids: /users/:userId
    #[arg(long)]
    pub(crate) templates: bool,
    /// Save bodies that the format cannot carry into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Bytes of an example's body at most [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) example_size: Option<u64>,
    /// Write Authorization, cookies, tokens and passwords as they are instead of HIDDEN
    #[arg(long)]
    pub(crate) with_secrets: bool,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

/// Formats on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// Postman collection 2.1, for Postman, Newman, Insomnia, Bruno, …
    Postman,
    /// Postman collection 3, a folder of YAML files
    Postman3,
    /// HTTP Archive 1.2, for browsers and most tools
    Har,
    /// curl commands, a line each
    Curl,
    /// A .http file for the HTTP clients of JetBrains and VS Code
    Http,
    /// OpenAPI 3.1: endpoints, parameters and schemas as seen
    Openapi,
    /// JSON, one object a line
    Jsonl,
    /// Comma-separated values, without bodies
    Csv,
    /// A folder with the tables of the lake, filtered
    Parquet,
}

impl To {
    /// The format it means.
    pub(crate) const fn format(self) -> ExportFormat {
        match self {
            Self::Postman => ExportFormat::Postman,
            Self::Postman3 => ExportFormat::Postman3,
            Self::Http => ExportFormat::HttpFile,
            Self::Openapi => ExportFormat::OpenApi,
            Self::Parquet => ExportFormat::Parquet,
            Self::Har => ExportFormat::Har,
            Self::Curl => ExportFormat::Curl,
            Self::Jsonl => ExportFormat::JsonLines,
            Self::Csv => ExportFormat::Csv,
        }
    }
}

/// `domain`, `endpoint`, both or `none`.
fn group(text: &str) -> Result<GroupFolders, String> {
    let mut group = GroupFolders::default();
    for word in text.split(',').map(str::trim) {
        match word {
            "domain" => group.domain = true,
            "endpoint" => group.endpoint = true,
            "none" if text.trim() == "none" => {}
            _ => return Err(format!("'{text}' is no grouping; write domain, endpoint, domain,endpoint or none")),
        }
    }
    Ok(group)
}

/// `17` or `100-200`.
fn id_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let wrong = || format!("'{text}' is no request number; write 3,17,100-200");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
    if first > last { Err(wrong()) } else { Ok(first..=last) }
}

/// The condition that a list of requests means; `None`: no list was given.
pub(crate) fn ids_filter(ids: &[RangeInclusive<u64>]) -> Option<Expr> {
    let field = || Field::Column(Column::Id);
    let literal = |id: u64| Literal::Integer(i128::from(id));
    let (single, ranges): (Vec<_>, Vec<_>) = ids.iter().partition(|range| range.start() == range.end());
    let set = LiteralSet::new(single.into_iter().map(|range| literal(*range.start())));
    let single = set.map(|set| Expr::In(field(), set));
    let ranges = ranges.into_iter().map(|range| Expr::Between(field(), literal(*range.start()), literal(*range.end())));
    let parts: Vec<Expr> = single.into_iter().chain(ranges).collect();
    (!parts.is_empty()).then(|| Expr::any(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_requests() {
        let filter = |text: &str| {
            let ranges: Result<Vec<_>, _> = text.split(',').map(id_range).collect();
            ranges.map(|ranges| ids_filter(&ranges).map(|filter| filter.to_string()))
        };
        assert_eq!(filter("3,17,100-200"), Ok(Some("id IN (3, 17) OR id BETWEEN 100 AND 200".to_owned())));
        assert_eq!(ids_filter(&[]), None);
        for wrong in ["", "x", "5-3", "-1", "1-2-3"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
