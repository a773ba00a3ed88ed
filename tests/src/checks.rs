//! What several stories hold against a session's rows.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The one row whose URL is `url`.
///
/// # Errors
/// When there is none, or more than one.
pub fn only<'a>(rows: &'a [Value], url: &str) -> Result<&'a Value> {
    let found: Vec<_> = rows.iter().filter(|row| row["url"] == url).collect();
    ensure!(found.len() == 1, "{url} is there {} times, among {} rows: {found:?}", found.len(), rows.len());
    Ok(found[0])
}

/// BLAKE3 as the rows print it.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// No phase of the exchange is longer than the whole, and nothing is longer than a story. Reaching the server is no
/// phase of the exchange where it was done before the request came: behind CONNECT.
///
/// # Errors
/// When a row's timings are not sane.
pub fn ensure_sane_timings(row: &Value) -> Result<()> {
    let duration = row["duration_us"].as_u64().with_context(|| format!("no duration: {row}"))?;
    ensure!(duration < 90_000_000, "{row}");
    for part in ["dns_us", "connect_us", "tls_us", "wait_us", "receive_us"] {
        let before = row["scheme"] == "https" && !["wait_us", "receive_us"].contains(&part);
        let most = if before { 90_000_000 } else { duration };
        ensure!(row[part].is_null() || row[part].as_u64().is_some_and(|took| took <= most), "{part}: {row}");
    }
    let took = |part: &str| row[part].as_u64().unwrap_or_default();
    ensure!(took("wait_us") + took("receive_us") <= duration, "{row}");
    Ok(())
}

/// The values of a header in a row, in order.
#[must_use]
pub fn header<'a>(row: &'a Value, side: &str, name: &str) -> Vec<&'a str> {
    let fields = row[format!("{side}_headers")].as_array().map(Vec::as_slice).unwrap_or_default();
    fields
        .iter()
        .filter(|field| field["name"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(name)))
        .filter_map(|field| field["value"].as_str())
        .collect()
}

/// Whether a row carries a flag of `weir_engine::record::Flags`, by its bit.
#[must_use]
pub fn has_flag(row: &Value, bit: u32) -> bool {
    row["flags"].as_u64().is_some_and(|flags| flags & (1 << bit) != 0)
}

/// What a row and a line of nginx's access log (`netns::Server`) have in common, sorted.
#[must_use]
pub fn facts(rows: &[Value], of_row: bool) -> Vec<String> {
    let names = if of_row {
        ["method", "path", "status", "response_size", "client"]
    } else {
        ["method", "uri", "status", "bytes", "client"]
    };
    let mut facts: Vec<String> = rows
        .iter()
        .map(|row| {
            let mut fact: Vec<String> = names.iter().map(|name| row[*name].to_string().replace('"', "")).collect();
            if of_row && row["query"].as_str().is_some_and(|query| !query.is_empty()) {
                fact[1] = format!("{}?{}", fact[1], row["query"].as_str().unwrap_or_default());
            }
            // The log writes IPv6 addresses without brackets.
            fact[4] = fact[4].replace(['[', ']'], "");
            fact.join(" ")
        })
        .collect();
    facts.sort();
    facts
}

/// Every line of the access log is a row, and the other way round.
///
/// # Errors
/// When not; the error shows both.
pub fn ensure_same(rows: &[Value], log: &[Value]) -> Result<()> {
    let (rows, log) = (facts(rows, true), facts(log, false));
    ensure!(rows == log, "the session says {rows:#?}\nthe access log says {log:#?}");
    Ok(())
}
