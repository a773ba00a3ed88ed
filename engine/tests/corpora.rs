//! Captures of other projects: what they expect is compared with what weir finds, in a table. Where both
//! differ, `data/disagreements.json` says who is right and why; a difference without a reason fails.
//!
//! The captures are not part of weir (their licences differ); `WEIR_CORPORA` names the folder, else
//! `../shared/corpora` beside the project is looked at.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::{self, File},
    io::Read,
};

use serde_json::Value;
use support::{Outcome, corpora, md5::md5, read};
use weir_engine::{
    content::{self, Limits},
    record::{Body, Exchange, Headers, Protocol},
};

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

/// A body with its content codings undone, as far as they can be.
fn decoded(headers: &Headers, body: &Body) -> Vec<u8> {
    let bytes = body.content.to_bytes();
    let coding = headers.get("content-encoding").map(String::from_utf8_lossy).unwrap_or_default();
    match content::decode(&bytes, &coding, Limits::default()) {
        Ok(decoded) => decoded.bytes.into_owned(),
        Err(_) => bytes.to_vec(),
    }
}

/// What Zeek's http.log says of each transaction: in its order, sizes of bodies decoded.
fn zeek_transactions(seen: &Seen, expected: &Value) -> Vec<Check> {
    let mut checks = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut exchanges: Vec<&Exchange> = seen.exchanges.iter().filter(|exchange| !exchange.method.is_empty()).collect();
    exchanges.sort_by_key(|exchange| (exchange.connection, exchange.id));
    let mut told: Vec<String> = Vec::new();
    for exchange in exchanges {
        let sent = decoded(&exchange.request_headers, &exchange.request_body).len();
        let got = decoded(&exchange.response_headers, &exchange.response_body).len();
        let status = exchange.status.map_or("-".to_owned(), |status| status.to_string());
        told.push(format!("{} {status} {sent} {got}", exchange.method));
    }
    let listed = expected["transactions"].as_array().into_iter().flatten();
    let mut wanted: Vec<String> = listed
        .map(|one| {
            let fields = ["method", "status_code", "request_body_len", "response_body_len"];
            fields.map(|field| text(&one[field])).join(" ")
        })
        .collect();
    // Zeek logs a transaction when it ends, in an order of its own.
    told.sort();
    wanted.sort();
    for (number, want) in wanted.iter().enumerate() {
        let have = told.get(number).cloned().unwrap_or_default();
        checks.push((format!("transaction {}", number + 1), want.clone(), have));
    }
    checks
}

fn compare(seen: &Seen, expected: &Value) -> Vec<Check> {
    let mut checks = Vec::new();
    let origin = expected["origin"].as_str().unwrap_or_default();
    let form = expected["form"].as_str().unwrap_or_default();
    let mut add = |what: &str, want: String, have: String| checks.push((format!("{origin} {what}"), want, have));
    if let Some(want) = expected["http_transactions"].as_u64() {
        add("transactions", want.to_string(), seen.transactions.to_string());
    }
    let json = |counts: &Counts| format!("{counts:?}");
    if form.starts_with("http.log") {
        add("methods", json(&counts_in(&expected["methods"])), json(&seen.methods));
        add("status codes", json(&counts_in(&expected["status_codes"])), json(&seen.statuses));
        add("hosts", json(&counts_in(&expected["hosts"])), json(&seen.hosts));
        add("request bytes", expected["request_body_len_total"].to_string(), seen.request_bytes.to_string());
        for (what, want, have) in zeek_transactions(seen, expected) {
            add(&what, want, have);
        }
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
        let bodies: BTreeSet<String> = seen
            .exchanges
            .iter()
            .flat_map(|exchange| {
                let sent = decoded(&exchange.request_headers, &exchange.request_body);
                let got = decoded(&exchange.response_headers, &exchange.response_body);
                let as_sent =
                    [&exchange.request_body, &exchange.response_body].map(|body| body.content.to_bytes().to_vec());
                [sent, got].into_iter().chain(as_sent).map(|body| md5(&body)).collect::<Vec<_>>()
            })
            .collect();
        for sum in expected["body_md5"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let have = if bodies.contains(sum) { sum } else { "none" };
            add(&format!("body {}", &sum[..8]), sum.to_owned(), have.to_owned());
        }
    }
    if form.starts_with("test.yaml") {
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
    // Stream 0 carries settings, which weir does not keep; updates of HPACK's table are no fields.
    let stream = conditions.get("http.http2.stream_id").and_then(Value::as_u64);
    if conditions.get("event_type")?.as_str()? != "http" || stream == Some(0) {
        return None;
    }
    let in_http2 = stream.is_some() || conditions.get("http.version").is_some_and(|version| version == "2");
    // Fields are named by their place in Suricata's list: what counts is that they are there.
    let fields = |key: &str| -> Vec<(String, String)> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        (0..16)
            .filter_map(|place| {
                let name = text(conditions.get(&format!("{key}[{place}].name")))?;
                Some((name, text(conditions.get(&format!("{key}[{place}].value"))).unwrap_or_default()))
            })
            .filter(|(name, _)| !name.starts_with(':'))
            .collect()
    };
    let (asked, answered) = (fields("http.request_headers"), fields("http.response_headers"));
    let holds = |headers: &Headers, wanted: &[(String, String)]| {
        wanted.iter().all(|(name, value)| headers.get_all(name).any(|seen| seen == value.as_bytes()))
    };
    let mut named = String::new();
    let matching = seen.exchanges.iter().filter(|exchange| {
        let fits = (!in_http2 || exchange.protocol == Protocol::Http2)
            && holds(&exchange.request_headers, &asked)
            && holds(&exchange.response_headers, &answered);
        fits && conditions.iter().all(|(key, value)| {
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
    let mut sums = format!("{:<76} {:>8} {:>5} {:>7} {:>9}\n", "capture", "expected", "weir", "tshark", "suricata");
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
        let expected = capture["expected"].as_array().into_iter().flatten();
        let expected: BTreeSet<String> = expected.map(|one| one["http_transactions"].to_string()).collect();
        let expected = Vec::from_iter(expected).join("/").replace("null", "-");
        let _ = writeln!(
            sums,
            "{id:<76} {expected:>8} {:>5} {:>7} {:>9}",
            seen.transactions,
            format!("{}/{}", tshark["requests"], tshark["responses"]),
            transactions.to_string(),
        );
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
    println!("Transactions (tshark: requests/responses, HTTP/1.x only):\n{sums}\nWhere they differ, and why:");
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

/// `WEIR_EVADER=FOLDER`: its captures (`input.pcap` in folders, or files) carry the body as well.
#[test]
fn http_evader_elsewhere() {
    let Some(folder) = std::env::var_os("WEIR_EVADER") else { return };
    let (mut all, mut bodies) = (0, 0);
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let path = if path.is_dir() { path.join("input.pcap") } else { path };
        if !path.to_string_lossy().contains("evader") {
            continue;
        }
        all += 1;
        let outcome = read(&fs::read(&path).expect("reads")[..]);
        let mut found = outcome.exchanges.iter().map(|exchange| exchange.response_body.content.to_bytes());
        if found.any(|body| carries(&body, &eicar(), 3)) {
            bodies += 1;
        } else {
            let told = outcome.exchanges.iter().map(|exchange| {
                (exchange.url.as_str().to_owned(), exchange.status, exchange.response_body.size, exchange.error)
            });
            println!("{}: {:?}", path.display(), told.collect::<Vec<_>>());
        }
    }
    println!("HTTP Evader elsewhere: {all} cases, body recovered {bodies}");
    assert!(bodies * 502 >= all * 491, "{bodies} of {all}");
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
