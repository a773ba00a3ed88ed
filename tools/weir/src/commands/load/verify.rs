//! `weir load verify`: what was sent held against a session, as lines or a document.

use std::io::Write as _;

use anyhow::Result;
use weir_load::verify::{Missing, Verdict, verify};
use weir_storage::{Home, Session};

use crate::{
    cli::load::VerifyArgs,
    outcome::Outcome,
    output::{
        Out,
        units::{count, percent},
    },
};

/// Verifies and tells.
pub(super) fn run(args: &VerifyArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let entry = super::super::find(home, args.session.as_deref())?;
    let (id, name) = (entry.id.to_string(), entry.name.clone());
    let verdict = verify(&args.truth, &Session::open(home, entry))?;
    if out.json {
        let mut document = serde_json::to_value(&verdict)?;
        document["session"] = id.into();
        document["good"] = verdict.is_good().into();
        out.json_line(&document)?;
    } else {
        tell(&verdict, &name, out)?;
    }
    Ok(if verdict.is_good() { Outcome::Done } else { Outcome::Lost })
}

/// The verdict in lines.
pub(super) fn tell(verdict: &Verdict, session: &str, out: &mut Out) -> Result<()> {
    let map = |map: &std::collections::BTreeMap<String, u64>| {
        let told: Vec<String> = map.iter().map(|(reason, number)| format!("{reason} {}", count(*number))).collect();
        if told.is_empty() { "nothing".to_owned() } else { told.join(", ") }
    };
    let wrong = verdict.wrong_requests + verdict.wrong_statuses;
    let distance = |distance: &weir_load::verify::Distance| {
        format!("p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs", distance.p50_us, distance.p99_us, distance.max_us)
    };
    let mut facts = vec![
        ("session", session.to_owned()),
        ("sent", format!("{}, answered {}", count(verdict.sent), count(verdict.answered))),
        (
            "recorded",
            format!("{} of those answered ({})", count(verdict.found), percent(verdict.found, verdict.answered)),
        ),
        (
            "missing",
            format!(
                "{}, of which the ledger does not account for {}",
                count(verdict.missing),
                count(verdict.unaccounted)
            ),
        ),
        ("ledger", format!("dropped: {}", map(&verdict.dropped))),
        ("pairs", format!("{} wrong, {} proven by their ids", count(verdict.wrong_pairs), count(verdict.proven_pairs))),
        (
            "bodies",
            format!(
                "{} equal, {} wrong, {} not stored",
                count(verdict.equal_bodies),
                count(verdict.wrong_bodies),
                count(verdict.unknown_bodies)
            ),
        ),
        ("begin", distance(&verdict.start_distance)),
        ("end", distance(&verdict.end_distance)),
    ];
    if wrong > 0 {
        facts.push((
            "wrong",
            format!("{} requests, {} statuses", count(verdict.wrong_requests), count(verdict.wrong_statuses)),
        ));
    }
    if verdict.repeated > 0 {
        facts.push(("repeated", count(verdict.repeated)));
    }
    if !verdict.incomplete.is_empty() {
        facts.push(("incomplete", map(&verdict.incomplete)));
    }
    if verdict.others > 0 {
        facts.push(("others", format!("{} rows are not of this run", count(verdict.others))));
    }
    if !verdict.responses_alone.is_empty() {
        facts.push(("alone", format!("responses of missing ones: {}", map(&verdict.responses_alone))));
    }
    if !verdict.missing_some.is_empty() {
        let told = |one: &Missing| {
            let told = one.told.as_ref().map_or_else(String::new, |told| format!(" ({told})"));
            format!("{}-{:016x}{told}", verdict.run, one.id)
        };
        facts.push(("e.g.", verdict.missing_some.iter().map(told).collect::<Vec<_>>().join(" ")));
    }
    out.facts(&facts)?;
    writeln!(out, "{}", if verdict.is_good() { "verdict: good" } else { "verdict: NOT good" })?;
    Ok(())
}
