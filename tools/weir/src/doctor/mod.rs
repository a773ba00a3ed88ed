//! `weir doctor`: what works on this machine, one finding a check, each with a stable code.
//!
//! - [`disk`]: the home. [`authority`]: the CA and who trusts it.
//! - [`network`]: ports and addresses. [`packets`]: the right to capture, interfaces, rings. [`system`]: limits, clock, kernel, helpers.
//! - here: what a finding is, and how all of them are shown.

mod authority;
mod disk;
mod network;
mod packets;
mod system;

use std::io::Write;

use anyhow::Result;
use serde::Serialize;
use weir_storage::Home;

use crate::{
    outcome::Outcome,
    output::{Cell, Column, Out, Tone, units},
};

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Works.
    Ok,
    /// Works, but not everything.
    Warn,
    /// Does not work.
    Fail,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable: never renamed.
    pub(crate) code: &'static str,
    /// Good or bad.
    pub(crate) state: State,
    /// What was found.
    pub(crate) message: String,
    /// What to do, where something should be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl Finding {
    fn ok(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, state: State::Ok, message: message.into(), hint: None }
    }

    fn warn(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, state: State::Warn, message: message.into(), hint: Some(hint.into()) }
    }

    fn fail(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, state: State::Fail, message: message.into(), hint: Some(hint.into()) }
    }
}

/// Runs all checks. Nothing is created or changed by them.
pub(crate) fn run(home: &Home, out: &mut Out) -> Result<Outcome> {
    let mut findings = disk::check(home);
    findings.extend(authority::check(home));
    findings.extend(network::check(home));
    findings.extend(system::check());
    findings.extend(packets::check());
    let failed = findings.iter().any(|finding| finding.state == State::Fail);
    if out.json {
        out.json_line(&serde_json::json!({
            "ok": !failed, "version": env!("CARGO_PKG_VERSION"), "home": home.root(), "findings": findings,
        }))?;
    } else {
        print(&findings, out)?;
    }
    Ok(if failed { Outcome::No } else { Outcome::Done })
}

fn print(findings: &[Finding], out: &mut Out) -> Result<()> {
    let mut table = out.table(vec![Column::text("state"), Column::text("code"), Column::text("finding")]);
    for finding in findings {
        let (tone, word) = match finding.state {
            State::Ok => (Tone::Good, "ok"),
            State::Warn => (Tone::Warn, "warn"),
            State::Fail => (Tone::Bad, "FAIL"),
        };
        table.row(out, vec![Cell::toned(tone, word), finding.code.into(), finding.message.as_str().into()])?;
    }
    table.finish(out)?;
    let wanting: Vec<&Finding> = findings.iter().filter(|finding| finding.hint.is_some()).collect();
    if !wanting.is_empty() {
        writeln!(out)?;
        let heading = format!("{} to look at", units::counted(wanting.len() as u64, "finding", "findings"));
        out.heading(&heading)?;
        let hints: Vec<(&str, String)> =
            wanting.iter().map(|finding| (finding.code, finding.hint.clone().unwrap_or_default())).collect();
        out.facts(&hints)?;
    }
    Ok(())
}
