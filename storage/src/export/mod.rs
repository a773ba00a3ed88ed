//! Exports: any selection of a session in the formats of other programs, streaming.
//!
//! In: a query over a session. Out: a file (or a folder) that is wholly there or not at all, the same bytes for
//! the same rows, and a [`Report`] of what was left out, cut, changed or hidden. Memory does not grow with the
//! session: what has to be grouped goes through sorted temporary files.
//!
//! - [`report`]: what became of an export. [`target`], [`temporary`]: files written.
//! - [`pairs`], [`json_text`], [`multipart`], [`cookies`]: the syntax inside headers and bodies.
//! - [`hide`]: credentials. [`body_index`], [`messages`] → [`feed`]: exchanges with all that belongs to them; [`ahead`]: while
//!   those before them are written.
//! - [`request`]: a request as it can be sent again; [`path_template`]: its path with variables. [`sorter`]: grouping on disk.
//! - a file or room a format: [`json_lines`], [`csv`], [`har`], [`curl`], [`http_file`],
//!   [`postman`], [`postman3`], [`openapi`], [`parquet`].

mod ahead;
mod body_index;
mod cookies;
mod csv;
mod curl;
mod feed;
mod har;
mod hide;
mod http_file;
mod json_lines;
mod json_text;
mod messages;
mod multipart;
mod openapi;
mod pairs;
mod parquet;
mod parquet_rows;
mod path_template;
mod postman;
mod postman3;
mod report;
mod request;
mod sorter;
mod target;
mod temporary;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use weir_engine::filter::Column;

use self::{
    feed::{Feed, Item, Needs},
    target::{Beside, Sink, Tree},
};
pub use self::{
    report::{Reason, Report},
    target::Output,
};
use crate::{
    error::StorageError,
    query::{RequestsQuery, Session, Sort},
};

/// What an export is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExportFormat {
    /// Postman collection, format 2.1.0.
    Postman,
    /// Postman collection, format 3: a folder of YAML files.
    Postman3,
    /// HTTP Archive 1.2.
    Har,
    /// curl commands, a line each.
    Curl,
    /// A `.http` file, as the HTTP clients of editors run it.
    HttpFile,
    /// OpenAPI 3.1, derived from what was seen.
    OpenApi,
    /// A JSON object a line.
    JsonLines,
    /// Comma-separated values.
    Csv,
    /// A folder with the tables of the lake, filtered.
    Parquet,
}

impl ExportFormat {
    /// Whether it is a folder rather than a file.
    #[must_use]
    pub const fn is_folder(self) -> bool {
        matches!(self, Self::Postman3 | Self::Parquet)
    }
}

/// How requests are put into folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupFolders {
    /// A folder a domain.
    pub domain: bool,
    /// A folder an endpoint.
    pub endpoint: bool,
}

/// How to export.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The format.
    pub format: ExportFormat,
    /// Write credentials as they are.
    pub with_secrets: bool,
    /// Folders of collections.
    pub group: GroupFolders,
    /// Path variables in place of ids (collections).
    pub templates: bool,
    /// Folder for bodies that documents cannot carry.
    pub files: Option<PathBuf>,
    /// A collection to merge into.
    pub into: Option<PathBuf>,
    /// Bytes of an example's body at most (collections, OpenAPI).
    pub example_size: usize,
}

impl ExportOptions {
    /// The usual options of a format.
    #[must_use]
    pub fn new(format: ExportFormat) -> Self {
        Self {
            format,
            with_secrets: false,
            group: GroupFolders { domain: true, endpoint: false },
            templates: false,
            files: None,
            into: None,
            example_size: 256 << 10,
        }
    }
}

/// A format: told of each exchange in the order of their ids.
pub(crate) trait Format {
    /// Before the first.
    fn begin(&mut self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// One exchange; counts it as exported or says why not.
    fn exchange(&mut self, item: Item, out: &mut dyn Write, report: &mut Report) -> io::Result<()>;

    /// After the last.
    fn finish(&mut self, _out: &mut dyn Write, _report: &mut Report) -> io::Result<()> {
        Ok(())
    }

    /// Moves a folder to its place and tells its bytes; `None`: the format is a file.
    fn publish(self: Box<Self>) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }
}

/// Exports the exchanges that `query` chooses, in the order of their ids.
///
/// # Errors
/// [`StorageError`] when rows cannot be read or the output cannot be written; then there is no output. Damaged
/// parts of the session are warnings of the report.
pub fn export(
    session: &Session,
    query: &RequestsQuery,
    options: &ExportOptions,
    output: Output,
) -> Result<Report, StorageError> {
    let path = output.path();
    let scratch = output.scratch();
    let mut report = Report::default();
    let beside = options.files.as_deref().map(Beside::new).transpose()?;
    let all = Needs { bodies: true, messages: true };
    let bodies = Needs { bodies: true, messages: false };
    let entry = session.entry();
    let mut query = query.clone();
    let (mut format, needs): (Box<dyn Format>, Needs) = match options.format {
        ExportFormat::Postman => (Box::new(postman::Postman::new(entry, options, beside, &scratch)?), bodies),
        ExportFormat::Postman3 => {
            let maker = postman::ItemMaker::new(entry, options, beside);
            (Box::new(postman3::Postman3::new(entry, maker, Tree::create(&path, postman3::MARKER)?)), bodies)
        }
        ExportFormat::Har => (Box::new(har::Har::new(entry)), all),
        ExportFormat::Curl => (Box::new(curl::Curl::new(beside)), bodies),
        ExportFormat::HttpFile => (Box::new(http_file::HttpFile::new(beside)), bodies),
        ExportFormat::JsonLines => (Box::<json_lines::JsonLines>::default(), all),
        ExportFormat::Csv => (Box::<csv::Csv>::default(), Needs::default()),
        ExportFormat::OpenApi => (Box::new(openapi::OpenApi::new(entry, options.example_size)), bodies),
        ExportFormat::Parquet => {
            // In the order of their times, as in the lake.
            query.sort = Sort { column: Column::Started, descending: false };
            let tree = Tree::create(&path, parquet::MARKER)?;
            (Box::new(parquet::ParquetFolder::new(session, tree, &scratch)?), all)
        }
    };
    let mut sink = match output {
        Output::Stream(stream) => Sink::stream(stream),
        Output::File(place) => Sink::file(&place)?,
        Output::Folder(_) => Sink::stream(Box::new(io::sink())),
    };
    let feed = Feed::open(session, &query, needs, !options.with_secrets, &scratch)?;
    let failed = |error: io::Error| StorageError::io("write", &path)(error);
    format.begin(&mut sink).map_err(failed)?;
    ahead::for_each(feed, &mut report, |item, report| format.exchange(item, &mut sink, report).map_err(failed))?;
    format.finish(&mut sink, &mut report).map_err(failed)?;
    let folder = format.publish()?;
    let file = sink.publish()?;
    report.bytes = folder.unwrap_or(file);
    Ok(report)
}
