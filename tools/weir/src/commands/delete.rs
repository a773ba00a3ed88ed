//! `weir delete`: requests, by their numbers or by a filter; of a running session through its capture.

use std::io::Write;

use anyhow::Result;
use hyper::Method;
use serde_json::json;
use weir_engine::filter::Expr;
use weir_storage::{Catalogue, Deleted, Home, with_ids};

use super::{Outcome, Usage, control, find};
use crate::{
    cli::DeleteArgs,
    output::{Out, units},
};

/// Deletes requests.
pub(super) fn run(args: &DeleteArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let (session, ids) = args.split().map_err(Usage::new)?;
    let rules = args.filters.build().map_err(Usage::new)?;
    let parts: Vec<Expr> = with_ids(&ids).into_iter().chain(rules.to_expr()).collect();
    if parts.is_empty() {
        return Err(Usage::new(
            "say which requests: their numbers, or a filter; weir session delete deletes a session with all its requests",
        )
        .into());
    }
    let entry = find(home, session)?;
    let deleted = if entry.state.is_open() {
        let path = "/api/v1/requests/delete";
        let document = json!({ "ids": ids, "rules": rules, "session": entry.id });
        let answer = control::client(home, &entry)?.call(Method::POST, path, Some(&document))?;
        Deleted { exchanges: answer["exchanges"].as_u64().unwrap_or(0), ..Deleted::default() }
    } else {
        Catalogue::open(home).delete_requests(&entry.id, &Expr::all(parts))?
    };
    if out.json {
        out.json_line(&json!({ "event": "deleted", "session": entry.id, "exchanges": deleted.exchanges }))?;
    } else {
        writeln!(out, "deleted {}", units::counted(deleted.exchanges, "request", "requests"))?;
    }
    Ok(Outcome::Done)
}
