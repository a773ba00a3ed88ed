//! `weir cookies` and `weir jar`: the cookies of a session, and those that are sent again.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::json;
use weir_engine::record::{Url, host::canonical};
use weir_storage::{Catalogue, CookieQuery, CookieRow, Home, Jar, Session, Timestamp, jar::JarCookie};

use super::{Outcome, Usage, control, find, warn};
use crate::{
    cli::{CookieFilter, CookiesArgs, JarArgs, JarCommand},
    output::{Cell, Column, Cut, Out, Tone, units},
};

impl CookieFilter {
    fn query(&self, refused: bool) -> CookieQuery {
        CookieQuery { domain: self.domain.clone(), name: self.name.clone(), search: self.search.clone(), refused }
    }

    fn takes(&self, cookie: &JarCookie) -> bool {
        let domain = self.domain.as_deref().map(|domain| canonical(domain.trim_start_matches(['*', '.'])));
        let text = self.search.as_deref().map(str::to_lowercase);
        domain.is_none_or(|domain| weir_engine::cookie::domain_matches(&cookie.domain, &domain))
            && self.name.as_deref().is_none_or(|name| cookie.name == name)
            && text.is_none_or(|text| {
                [&cookie.name, &cookie.value, &cookie.domain].iter().any(|part| part.to_lowercase().contains(&text))
            })
    }
}

/// Lists, writes or deletes the cookies of a session.
pub(super) fn run(args: &CookiesArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let entry = find(home, args.session.as_deref())?;
    if args.delete {
        if args.which.is_empty() {
            return Err(Usage::new("say which cookies to delete: --domain, --name or --search").into());
        }
        let deleted = if entry.state.is_open() {
            let CookieFilter { domain, name, search } = &args.which;
            let document = json!({ "domain": domain, "name": name, "search": search, "session": entry.id });
            let answer =
                control::client(home, &entry)?.call(Method::POST, "/api/v1/cookies/delete", Some(&document))?;
            answer["cookies"].as_u64().unwrap_or(0)
        } else {
            Catalogue::open(home).delete_cookies(&entry.id, &args.which.query(true))?.cookies
        };
        if out.json {
            out.json_line(&json!({ "event": "deleted", "session": entry.id, "cookies": deleted }))?;
        } else {
            writeln!(out, "deleted {}", units::counted(deleted, "cookie", "cookies"))?;
        }
        return Ok(Outcome::Done);
    }
    let found = Session::open(home, entry).cookies(&args.which.query(args.refused))?;
    warn(&found.warnings);
    if let Some(file) = &args.jar {
        let jar: Jar = found.rows.into_iter().map(JarCookie::from).collect();
        return netscape(&jar, Some(file.as_path()).filter(|file| *file != Path::new("-")), out);
    }
    if out.json {
        found.rows.iter().try_for_each(|row| out.json_line(row))?;
        return Ok(Outcome::Done);
    }
    if found.rows.is_empty() {
        writeln!(out, "no cookies")?;
    }
    table(&found.rows, out)?;
    Ok(Outcome::Done)
}

fn table(rows: &[CookieRow], out: &mut Out) -> Result<()> {
    let mut table = out.table(vec![
        Column::text("domain").cut(Cut::Middle, 12),
        Column::text("name").cut(Cut::End, 8),
        Column::text("value").cut(Cut::End, 8),
        Column::text("path").cut(Cut::End, 4).optional(),
        Column::text("expires"),
        Column::text("flags").optional(),
        Column::number("set").optional(),
        Column::number("sent").optional(),
        Column::text("last seen").optional(),
    ]);
    for row in rows {
        let domain = if row.host_only == Some(false) { format!(".{}", row.domain) } else { row.domain.clone() };
        let mut flags = flags(row.secure, row.http_only, row.same_site.as_deref());
        if let Some(refused) = &row.refused {
            flags = format!("refused: {refused}");
        }
        table.row(
            out,
            vec![
                domain.into(),
                Cell::toned(Tone::Strong, row.name.as_str()),
                row.value.as_str().into(),
                row.path.as_str().into(),
                expires(row.expires, row.exchange.is_some()).into(),
                Cell::toned(if row.refused.is_some() { Tone::Warn } else { Tone::Faint }, flags),
                units::count(row.set).into(),
                units::count(row.sent).into(),
                Cell::toned(Tone::Faint, units::local_time(&row.last_seen.to_string())),
            ],
        )?;
    }
    table.finish(out)?;
    Ok(())
}

fn flags(secure: bool, http_only: bool, same_site: Option<&str>) -> String {
    let mut flags = Vec::new();
    flags.extend(secure.then_some("secure"));
    flags.extend(http_only.then_some("http-only"));
    flags.extend(same_site);
    flags.join(" ")
}

fn expires(at: Option<Timestamp>, known: bool) -> String {
    match at {
        Some(at) if at <= Timestamp::now() => "ended".to_owned(),
        Some(at) => units::local_time(&at.to_string()),
        None if known => "session".to_owned(),
        None => "–".to_owned(),
    }
}

/// Writes a Netscape file: a new one is its owner's alone.
fn netscape(jar: &Jar, file: Option<&Path>, out: &mut Out) -> Result<Outcome> {
    let (text, left_out) = jar.to_netscape();
    match file {
        None => out.write_all(text.as_bytes())?,
        Some(file) => {
            let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
            let mut options =
                options.with_context(|| format!("cannot write {}; give a file you may write", file.display()))?;
            options.write_all(text.as_bytes())?;
        }
    }
    if left_out > 0 {
        let cookies = units::counted(left_out as u64, "cookie", "cookies");
        eprintln!("warning: {cookies} cannot stand in such a file (no name, or a tab or line break) and are left out");
    }
    Ok(Outcome::Done)
}

/// The jar: listed, filled, emptied, written, read.
pub(super) fn jar(args: &JarArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    match &args.command {
        None => list_jar(home, out),
        Some(JarCommand::Add { session, which }) => {
            let session = Session::open(home, find(home, session.as_deref())?);
            let found = session.cookies(&which.query(false))?;
            warn(&found.warnings);
            let count = found.rows.len();
            Jar::update(home, |jar| found.rows.into_iter().for_each(|row| jar.put(row.into())))?;
            told(count, "added", out)
        }
        Some(JarCommand::Set { url, cookie }) => {
            let Some(parsed) = Url::parse(url.as_str().into()) else {
                bail!("'{url}' is no URL; write it whole, as https://example.com/");
            };
            Jar::update(home, |jar| jar.set(&parsed, cookie, Timestamp::now()))??;
            told(1, "added", out)
        }
        Some(JarCommand::Delete { which, all }) => {
            if which.is_empty() != *all {
                return Err(Usage::new("say which cookies: --domain, --name or --search; or --all").into());
            }
            let gone = Jar::update(home, |jar| jar.retain(|cookie| !*all && !which.takes(cookie)))?;
            told(gone, "removed", out)
        }
        Some(JarCommand::Export { output }) => netscape(&Jar::load(home)?, output.as_deref(), out),
        Some(JarCommand::Import { file }) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}; give a text file you may read", file.display()))?;
            let read = Jar::from_netscape(&text)?;
            let count = read.iter().count();
            Jar::update(home, |jar| read.iter().cloned().for_each(|cookie| jar.put(cookie)))?;
            told(count, "added", out)
        }
    }
}

fn told(count: usize, verb: &str, out: &mut Out) -> Result<Outcome> {
    if out.json {
        out.json_line(&json!({ verb: count }))?;
    } else {
        writeln!(out, "{verb} {}", units::counted(count as u64, "cookie", "cookies"))?;
    }
    Ok(Outcome::Done)
}

fn list_jar(home: &Home, out: &mut Out) -> Result<Outcome> {
    let jar = Jar::load(home)?;
    if out.json {
        jar.iter().try_for_each(|cookie| out.json_line(cookie))?;
        return Ok(Outcome::Done);
    }
    if jar.iter().next().is_none() {
        writeln!(out, "the jar is empty; weir jar add takes the cookies of a session")?;
        return Ok(Outcome::Done);
    }
    let mut table = out.table(vec![
        Column::text("domain").cut(Cut::Middle, 12),
        Column::text("name").cut(Cut::End, 8),
        Column::text("value").cut(Cut::End, 8),
        Column::text("path").cut(Cut::End, 4).optional(),
        Column::text("expires"),
        Column::text("flags").optional(),
    ]);
    for cookie in jar.iter() {
        let dot = if cookie.host_only { "" } else { "." };
        table.row(
            out,
            vec![
                format!("{dot}{}", cookie.domain).into(),
                Cell::toned(Tone::Strong, cookie.name.as_str()),
                cookie.value.as_str().into(),
                cookie.path.as_str().into(),
                expires(cookie.expires, true).into(),
                Cell::toned(Tone::Faint, flags(cookie.secure, cookie.http_only, cookie.same_site.as_deref())),
            ],
        )?;
    }
    table.finish(out)?;
    Ok(Outcome::Done)
}
