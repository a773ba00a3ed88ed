//! `weir ca`: the certificate authority's files, and who trusts it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;
use weir_proxy::ca::Authority;
use weir_storage::Home;

use super::Outcome;
use crate::{
    cli::CaCommand,
    output::{Cell, Column, Cut, Out, Tone},
    trust::{self, Anchor, Change, Machine, Target, Trust},
};

/// Does what was asked.
pub(super) fn run(command: CaCommand, home: &Home, out: &mut Out) -> Result<Outcome> {
    match command {
        CaCommand::Path => path(home, out),
        CaCommand::Show => show(home, out),
        CaCommand::Install => change(home, out, true),
        CaCommand::Uninstall => change(home, out, false),
        CaCommand::Import { certificate, key } => import(home, &certificate, &key, out),
    }
}

fn load(home: &Home) -> Result<(Authority, PathBuf)> {
    let authority = Authority::load_or_create(&home.ca_dir())?;
    let path = authority.certificate_path().unwrap_or_else(|| home.ca_dir());
    Ok((authority, path))
}

fn path(home: &Home, out: &mut Out) -> Result<Outcome> {
    let (_, path) = load(home)?;
    if out.json {
        out.json_line(&json!({ "path": path }))?;
    } else {
        writeln!(out, "{}", path.display())?;
    }
    Ok(Outcome::Done)
}

fn day(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "unknown".to_owned(), |time| time.to_string())
}

fn show(home: &Home, out: &mut Out) -> Result<Outcome> {
    let (authority, path) = load(home)?;
    let (from, until) = authority.validity();
    let stores = Machine::this()
        .map(|machine| trust::status(&Anchor::of(&authority), &Target::ALL, &machine))
        .unwrap_or_default();
    if out.json {
        let stores: Vec<_> = stores
            .iter()
            .map(|(store, trust)| {
                let (word, why) = word(trust);
                json!({"store": store.to_string(), "trust": word, "why": why})
            })
            .collect();
        out.json_line(&json!({
            "path": path, "subject": authority.subject(), "sha256": authority.fingerprint(),
            "not_before": day(from), "not_after": day(until), "stores": stores,
        }))?;
        return Ok(Outcome::Done);
    }
    out.heading(authority.name())?;
    out.facts(&[
        ("subject", authority.subject().to_owned()),
        ("SHA-256", authority.fingerprint()),
        ("valid from", day(from)),
        ("valid until", day(until)),
        ("file", path.display().to_string()),
    ])?;
    writeln!(out)?;
    let mut table =
        out.table(vec![Column::text("store").cut(Cut::Middle, 20), Column::text("trust").cut(Cut::End, 10)]);
    for (store, trust) in &stores {
        let tone = if *trust == Trust::Trusted { Tone::Good } else { Tone::Warn };
        let (word, why) = word(trust);
        let text = why.map_or_else(|| word.to_owned(), |why| format!("{word}: {why}"));
        table.row(out, vec![store.to_string().into(), Cell::toned(tone, text)])?;
    }
    table.finish(out)?;
    Ok(Outcome::Done)
}

fn word(trust: &Trust) -> (&'static str, Option<&str>) {
    match trust {
        Trust::Trusted => ("trusted", None),
        Trust::NotTrusted => ("not trusted", None),
        Trust::Unknown(why) => ("unknown", Some(why)),
    }
}

fn change(home: &Home, out: &mut Out, install: bool) -> Result<Outcome> {
    let (authority, path) = load(home)?;
    let anchor = Anchor::of(&authority);
    let machine =
        Machine::this().context("HOME is not set; set it to the home of the user whose browsers are meant")?;
    let changes = if install {
        trust::install(&anchor, &Target::ALL, &machine, false)
    } else {
        trust::uninstall(&anchor, &Target::ALL, &machine, false)
    };
    let wanting = changes.iter().any(|change| outcome(change).0 == "failed");
    let advice = trust::advice::lines(&anchor, &path);
    if out.json {
        let stores: Vec<_> = changes
            .iter()
            .map(|change| {
                let (word, text) = outcome(change);
                json!({"store": change.store.to_string(), "outcome": word, "message": text})
            })
            .collect();
        let elsewhere: serde_json::Map<_, _> =
            advice.iter().map(|advice| (advice.title.to_owned(), json!(advice.lines))).collect();
        out.json_line(&json!({"stores": stores, "elsewhere": elsewhere}))?;
    } else {
        print(&changes, &advice, install, out)?;
    }
    Ok(if wanting { Outcome::No } else { Outcome::Done })
}

/// A stable word, and the line to run or the reason.
fn outcome(change: &Change) -> (&'static str, Option<&str>) {
    match &change.outcome {
        trust::Outcome::Added => ("added", None),
        trust::Outcome::AlreadyThere => ("already_there", None),
        trust::Outcome::Removed => ("removed", None),
        trust::Outcome::NotThere => ("not_there", None),
        trust::Outcome::Would(line) => ("would", Some(line)),
        trust::Outcome::NeedsRoot(line) => ("needs_root", Some(line)),
        trust::Outcome::ProgramMissing(line) => ("program_missing", Some(line)),
        trust::Outcome::Failed(why) => ("failed", Some(why)),
    }
}

fn print(changes: &[Change], advice: &[trust::advice::Advice], install: bool, out: &mut Out) -> Result<()> {
    if changes.is_empty() {
        writeln!(out, "this machine has no store that weir knows")?;
    }
    for change in changes {
        let (tone, said) = match &change.outcome {
            trust::Outcome::Added => (Tone::Good, "added".to_owned()),
            trust::Outcome::AlreadyThere => (Tone::Good, "is there already".to_owned()),
            trust::Outcome::Removed => (Tone::Good, "removed".to_owned()),
            trust::Outcome::NotThere => (Tone::Faint, "was not there".to_owned()),
            trust::Outcome::Would(line) => (Tone::Plain, format!("would run: {line}")),
            trust::Outcome::NeedsRoot(line) => (Tone::Warn, format!("needs root; run: {line}")),
            trust::Outcome::ProgramMissing(line) => (Tone::Warn, format!("certutil is missing; run: {line}")),
            trust::Outcome::Failed(why) => (Tone::Bad, format!("failed: {why}")),
        };
        let said = out.style.paint(tone, said).into_owned();
        writeln!(out, "{}: {said}", change.store)?;
    }
    if install {
        writeln!(out)?;
        out.heading("elsewhere")?;
        for advice in advice {
            for line in &advice.lines {
                writeln!(out, "{:9}{line}", advice.title)?;
            }
        }
        writeln!(out, "\nphones: use the proxy and open http://weir.proxy/")?;
    }
    Ok(())
}

fn import(home: &Home, certificate: &Path, key: &Path, out: &mut Out) -> Result<Outcome> {
    let read = |path: &Path| {
        fs::read(path).with_context(|| format!("cannot read {}; give a file you may read", path.display()))
    };
    let authority = Authority::import(&home.ca_dir(), &read(certificate)?, &read(key)?)?;
    if out.json {
        out.json_line(&json!({
            "path": authority.certificate_path(), "subject": authority.subject(), "sha256": authority.fingerprint(),
        }))?;
    } else {
        writeln!(out, "weir signs with {} from now on", authority.subject())?;
    }
    Ok(Outcome::Done)
}
