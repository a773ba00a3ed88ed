//! `weir export`: a selection of a session in the format of another program.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::Result;
use serde_json::json;
use weir_engine::filter::Expr;
use weir_storage::{ExportOptions, Home, Output, Report, RequestsQuery, Session, export};

use super::{Outcome, Usage, find, warn};
use crate::{
    cli::{
        ExportArgs,
        export::{To, ids_filter},
    },
    output::{Out, units},
};

/// Exports a selection.
pub(super) fn run(args: &ExportArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let format = args.to.format();
    let conditions = args.filters.build().map_err(Usage::new)?.to_expr().into_iter().chain(ids_filter(&args.ids));
    let conditions: Vec<Expr> = conditions.collect();
    let filter = (!conditions.is_empty()).then(|| Expr::all(conditions));
    check(args)?;
    let usual = ExportOptions::new(format);
    let options = ExportOptions {
        with_secrets: args.with_secrets,
        group: args.group_by.unwrap_or(usual.group),
        templates: args.templates,
        files: args.files.clone(),
        into: args.into.clone(),
        example_size: args.example_size.map_or(usual.example_size, |size| usize::try_from(size).unwrap_or(usize::MAX)),
        ..usual
    };
    let place = args.output.as_deref().or(args.into.as_deref()).filter(|path| *path != Path::new("-"));
    let output = match place {
        Some(path) if format.is_folder() => Output::Folder(path.to_owned()),
        Some(path) => Output::File(path.to_owned()),
        None if format.is_folder() => return Err(Usage::new("this format is a folder; say where with -o DIR").into()),
        None => Output::Stream(Box::new(io::stdout())),
    };
    let session = Session::open(home, find(home, args.session.as_deref())?);
    let report = export(&session, &RequestsQuery { filter, ..RequestsQuery::default() }, &options, output)?;
    warn(&report.warnings);
    say(&report, place, &session, out)?;
    Ok(Outcome::Done)
}

/// Flags that say nothing with a format are refused rather than ignored.
fn check(args: &ExportArgs) -> Result<()> {
    let format = args.to;
    let wrong = |flag: &str, formats: &str| Err(Usage::new(format!("{flag} goes only with --to {formats}")).into());
    let is_collection = matches!(format, To::Postman | To::Postman3);
    if args.into.is_some() && format != To::Postman {
        return wrong("--into", "postman");
    }
    if args.templates && !is_collection {
        return wrong("--templates", "postman or postman3");
    }
    if args.files.is_some() && !(is_collection || matches!(format, To::Curl | To::Http)) {
        return wrong("--files", "postman, postman3, curl or http");
    }
    if args.group_by.is_some() && !is_collection {
        return wrong("--group-by", "postman or postman3");
    }
    if args.example_size.is_some() && !(is_collection || format == To::Openapi) {
        return wrong("--example-size", "postman, postman3 or openapi");
    }
    Ok(())
}

/// On standard error, so that an export to standard output stays whole; with `--json` as a document on standard
/// output when the export went to a file.
fn say(report: &Report, place: Option<&Path>, session: &Session, out: &mut Out) -> Result<()> {
    if let (true, Some(place)) = (out.json, place) {
        let mut document = serde_json::to_value(report)?;
        document["event"] = json!("exported");
        document["session"] = json!(session.entry().id.to_string());
        document["output"] = json!(place);
        out.json_line(&document)?;
        return Ok(());
    }
    let mut errors = io::stderr().lock();
    let to = place.map(|place| format!(" to {}", place.display())).unwrap_or_default();
    let count = units::counted(report.exported, "request", "requests");
    writeln!(errors, "exported {count}{to}, {}", units::bytes(report.bytes))?;
    if report.files > 0 {
        writeln!(errors, "  {} saved beside it", units::counted(report.files, "file", "files"))?;
    }
    for sentence in report.sentences() {
        writeln!(errors, "  {sentence}")?;
    }
    Ok(())
}
