//! Captures of other projects: what they expect is compared with what weir finds, in a table. Where both
//! differ, `data/disagreements.json` says who is right and why; a difference without a reason fails.
//!
//! The captures are not part of weir (their licences differ); `WEIR_CORPORA` names the folder, else
//! `../shared/corpora` beside the project is looked at.

mod support;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, File},
    io::Read,
};

use serde_json::Value;
use support::{Outcome, corpora, read};
use weir_engine::record::Exchange;

type Counts = BTreeMap<String, u64>;

fn count(values: impl Iterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

fn counts_in(value: &Value) -> Counts {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, count)| Some((key.clone(), count.as_u64()?))).collect()
}

struct Seen {
    transactions: u64,
    requests: u64,
    responses: u64,
    methods: Counts,
    statuses: Counts,
    hosts: Counts,
    request_bytes: u64,
    exchanges: Vec<Exchange>,
}

impl From<Outcome> for Seen {
    fn from(outcome: Outcome) -> Self {
        let all = outcome.exchanges;
        let requests = || all.iter().filter(|exchange| !exchange.method.is_empty());
        let host = |exchange: &Exchange| {
            let host = exchange.request_headers.get("host").or_else(|| exchange.request_headers.get(":authority"));
            host.map(|host| String::from_utf8_lossy(host).into_owned())
        };
        Self {
            transactions: all.len() as u64,
            requests: requests().count() as u64,
            responses: all.iter().filter(|exchange| exchange.status.is_some()).count() as u64,
            methods: count(requests().map(|exchange| exchange.method.to_string())),
            statuses: count(all.iter().filter_map(|exchange| exchange.status).map(|status| status.to_string())),
            hosts: count(requests().filter_map(host)),
            request_bytes: all.iter().map(|exchange| exchange.request_body.size).sum(),
            exchanges: all,
        }
    }
}

/// One comparison: what, expected, seen.
type Check = (String, String, String);

fn compare(seen: &Seen, expected: &Value) -> Vec<Check> {
    let mut checks = Vec::new();
    let origin = expected["origin"].as_str().unwrap_or_default();
    let form = expected["form"].as_str().unwrap_or_default();
    // Runs that let Suricata drop the traffic say nothing about it.
    let inline = expected["suricata_args"].to_string().contains("simulate-ips");
    let mut add = |what: &str, want: String, have: String| checks.push((format!("{origin} {what}"), want, have));
    if let (Some(want), false) = (expected["http_transactions"].as_u64(), inline) {
        add("transactions", want.to_string(), seen.transactions.to_string());
    }
    let json = |counts: &Counts| format!("{counts:?}");
    if form.starts_with("http.log") {
        add("methods", json(&counts_in(&expected["methods"])), json(&seen.methods));
        add("status codes", json(&counts_in(&expected["status_codes"])), json(&seen.statuses));
        add("hosts", json(&counts_in(&expected["hosts"])), json(&seen.hosts));
        add("request bytes", expected["request_body_len_total"].to_string(), seen.request_bytes.to_string());
    }
    if form.starts_with("sessions3") {
        add("methods", json(&counts_in(&expected["methods"])), json(&seen.methods));
        for status in expected["status_codes_seen"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let have = if seen.statuses.contains_key(status) { status } else { "none" };
            add("status", status.to_owned(), have.to_owned());
        }
        for uri in expected["uris"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let path = uri.find('/').map_or("", |slash| &uri[slash..]);
            let has = |exchange: &&Exchange| exchange.url.as_str().contains(path);
            let have = seen.exchanges.iter().find(has).map_or("none", |_| uri);
            add("uri", uri.to_owned(), have.to_owned());
        }
    }
    if form.starts_with("test.yaml") && !inline {
        for check in expected["checks"].as_array().into_iter().flatten() {
            if let Some((what, want, have)) = suricata_check(seen, check) {
                add(&what, want, have);
            }
        }
    }
    checks
}

/// One of Suricata's checks on `http` events, by method, status, URL and host.
fn suricata_check(seen: &Seen, check: &Value) -> Option<Check> {
    let conditions = check["match"].as_object()?;
    if conditions.get("event_type")?.as_str()? != "http"
        || conditions.keys().any(|key| key.contains("http2") || key.contains('['))
    {
        return None;
    }
    let mut named = String::new();
    let matching = seen.exchanges.iter().filter(|exchange| {
        conditions.iter().all(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match key.as_str() {
                "http.http_method" => *exchange.method == *text,
                "http.status" => exchange.status.map(|status| status.to_string()) == Some(text),
                "http.url" => exchange.url.as_str().ends_with(&text),
                "http.hostname" => {
                    let host = exchange.request_headers.get("host").map(String::from_utf8_lossy).unwrap_or_default();
                    host == text || exchange.url.domain() == text.trim_matches(['[', ']'])
                }
                "http.length" => exchange.response_body.size.to_string() == text,
                _ => true,
            }
        })
    });
    let have = matching.count();
    for (key, value) in conditions.iter().filter(|(key, _)| key.starts_with("http.")) {
        let _ = write!(named, "{}={value} ", key.trim_start_matches("http."));
    }
    Some((format!("http events {named}"), check["count"].to_string(), have.to_string()))
}

#[test]
fn agreement_with_other_projects() {
    let Some(folder) = corpora() else {
        println!("no corpora: ../shared/corpora is absent, and WEIR_CORPORA is not set");
        return;
    };
    let corpora: Value =
        serde_json::from_reader(File::open(folder.join("corpora.json")).expect("opens")).expect("reads");
    let reasons: Value = serde_json::from_str(include_str!("data/disagreements.json")).expect("reads");
    let (mut table, mut agree, mut explained, mut open) = (String::new(), 0, 0, Vec::new());
    for capture in corpora["captures"].as_array().expect("is a list") {
        let id = capture["id"].as_str().unwrap_or_default();
        let path = folder.join(capture["file"].as_str().unwrap_or_default());
        let seen = Seen::from(read(File::open(path).expect("opens")));
        let mut checks: Vec<Check> = capture["expected"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|expected| compare(&seen, expected))
            .collect();
        let tshark = &capture["observed"]["tshark_4_0_17_no_body_desegment"];
        for (what, want, have) in
            [("requests", &tshark["requests"], seen.requests), ("responses", &tshark["responses"], seen.responses)]
        {
            checks.push((format!("tshark {what}"), want.to_string(), have.to_string()));
        }
        let transactions = &capture["observed"]["suricata_7_0_10"]["transactions"];
        checks.push(("suricata transactions".into(), transactions.to_string(), seen.transactions.to_string()));
        for (what, want, have) in checks {
            if want == have {
                agree += 1;
                continue;
            }
            // A reason is given for a check by how its name begins.
            let given = reasons[id].as_object().into_iter().flatten();
            let reason =
                given.filter(|(check, _)| what.starts_with(check.as_str())).find_map(|(_, reason)| reason.as_str());
            let verdict = reason.unwrap_or("NO REASON GIVEN");
            let _ = writeln!(table, "{id}: {what}: expected {want}, seen {have}: {verdict}");
            if reason.is_some() {
                explained += 1;
            } else {
                open.push(format!("{id}: {what}"));
            }
        }
    }
    println!("{table}agree: {agree}, disagree with a reason: {explained}, without: {}", open.len());
    assert!(open.is_empty(), "disagreements without a reason: {open:#?}");
}

/// The body that every case of the HTTP Evader set carries; put together here so that no virus scanner
/// takes this file for it.
fn eicar() -> Vec<u8> {
    ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-", "ANTIVIRUS-TEST-FILE", "!$H+H*"].concat().into_bytes()
}

/// Takes off what one compression may have put on; whichever fits.
fn inflate_once(bytes: &[u8]) -> Vec<Vec<u8>> {
    fn all(mut reader: impl Read) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        // What came out before an error counts: checksums at the end are wrong on purpose.
        let mut part = [0; 512];
        while let Ok(count @ 1..) = reader.read(&mut part) {
            out.extend_from_slice(&part[..count]);
        }
        (!out.is_empty()).then_some(out)
    }
    let gzip_body = gzip_header_len(bytes).map(|len| &bytes[len..]).unwrap_or_default();
    [
        all(flate2::read::DeflateDecoder::new(gzip_body)),
        all(flate2::read::ZlibDecoder::new(bytes)),
        all(flate2::read::DeflateDecoder::new(bytes)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// RFC 1952 §2.3; reserved flags are let pass.
fn gzip_header_len(bytes: &[u8]) -> Option<usize> {
    let [0x1f, 0x8b, 8, flags, ..] = *bytes else { return None };
    let mut at = 10;
    if flags & 4 != 0 {
        at += 2 + usize::from(*bytes.get(at)?) + usize::from(*bytes.get(at + 1)?) * 256;
    }
    for bit in [8, 16] {
        if flags & bit != 0 {
            at += bytes.get(at..)?.iter().position(|byte| *byte == 0)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    (at <= bytes.len()).then_some(at)
}

fn carries(bytes: &[u8], wanted: &[u8], layers: u32) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
        || layers > 0 && inflate_once(bytes).iter().any(|inner| carries(inner, wanted, layers - 1))
}

#[test]
fn http_evader() {
    let Some(folder) = corpora() else {
        println!("no corpora: ../shared/corpora is absent, and WEIR_CORPORA is not set");
        return;
    };
    let corpora: Value =
        serde_json::from_reader(File::open(folder.join("corpora.json")).expect("opens")).expect("reads");
    let (mut status_agrees, mut bodies, mut all, mut missing) = (0, 0, 0, String::new());
    for item in corpora["evader"]["items"].as_array().expect("is a list") {
        all += 1;
        let bytes = fs::read(folder.join(item["file"].as_str().unwrap_or_default())).expect("reads");
        let outcome = read(&bytes[..]);
        let [exchange] = &outcome.exchanges[..] else {
            let _ = writeln!(missing, "{}: {} exchanges", item["case"], outcome.exchanges.len());
            continue;
        };
        let suricata =
            item["suricata_status"].as_object().and_then(|statuses| statuses.keys().next()).map(String::as_str);
        let status =
            exchange.status.filter(|status| *status > 0 || suricata == Some("0")).map(|status| status.to_string());
        if status.as_deref() == suricata || suricata.is_none() {
            status_agrees += 1;
        } else {
            let _ = writeln!(missing, "{}: status {status:?}, Suricata {suricata:?}", item["case"]);
        }
        if carries(&exchange.response_body.content.to_bytes(), &eicar(), 3) {
            bodies += 1;
        } else {
            let head = exchange.response_body.content.to_bytes();
            let _ = writeln!(missing, "{}: body {:?} {}", item["case"], exchange.response_body.state, head.len());
        }
    }
    println!("{missing}HTTP Evader: {all} cases, status as Suricata {status_agrees}, body recovered {bodies}");
    // Suricata recovers 491 of the whole set of 502.
    assert!(status_agrees * 502 >= all * 491, "{status_agrees} of {all}");
    assert!(bodies * 502 >= all * 491, "{bodies} of {all}");
}
