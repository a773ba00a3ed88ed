//! What users are told at the end of an import: how much, where it is, and what was lost.

use std::io::{self, Write};

use serde::Serialize;
use weir_engine::ledger::{Layer, Ledger, Tally};

use super::work::Done;
use crate::output::{
    Out, Tone,
    text::one_line,
    units::{bytes, count, counted, duration_us},
};

/// The last line of `--json` (**contract**).
#[derive(Debug, Serialize)]
struct Imported<'a> {
    event: &'static str,
    session: &'a str,
    exchanges: u64,
    ledger: &'a Ledger,
}

/// Prints the end.
pub(super) fn print(done: &Done, out: &mut Out) -> io::Result<()> {
    let entry = &done.entry;
    let id = entry.id.to_string();
    if out.json {
        let line = Imported { event: "imported", session: &id, exchanges: entry.exchanges, ledger: &entry.ledger };
        out.json_line(&line)?;
        return out.flush();
    }
    let exchanges = counted(entry.exchanges, "exchange", "exchanges");
    let files = match &*done.files {
        [only] => one_line(only).into_owned(),
        several => counted(several.len() as u64, "file", "files"),
    };
    let early = if done.stopped { ", stopped before its end" } else { "" };
    let name = one_line(&entry.name).into_owned();
    writeln!(out, "imported {exchanges} from {files}{early} into session {name} ({id}); weir overview shows them")?;
    let seconds = done.took.as_secs_f64().max(1e-9);
    let mut read = bytes(done.read);
    if done.packets > 0 {
        read.push_str(&format!(", {}", counted(done.packets, "packet", "packets")));
    }
    let speed = format!(
        "{}/s, {} exchanges/s",
        bytes((done.read as f64 / seconds) as u64),
        count((entry.exchanges as f64 / seconds) as u64)
    );
    let took = duration_us(u64::try_from(done.took.as_micros()).unwrap_or(u64::MAX));
    let mut facts = vec![("read", format!("{read} in {took} ({speed})"))];
    let (lost, left_out) = (phrases(&entry.ledger, lost), phrases(&entry.ledger, left_out));
    if !left_out.is_empty() {
        facts.push(("left out", left_out.join(", ")));
    }
    let nothing = lost.is_empty();
    facts.push(("lost", if nothing { "nothing".to_owned() } else { lost.join(", ") }));
    out.facts(&facts)?;
    if !nothing {
        let hint = out
            .style
            .paint(Tone::Faint, "weir ledger says what was seen, kept and dropped, layer by layer")
            .into_owned();
        writeln!(out, "{hint}")?;
    }
    out.flush()
}

/// What people should know though it is no error, on standard error.
pub(super) fn warnings(done: &Done) {
    for warning in &done.warnings {
        eprintln!("warning: {}", one_line(warning));
    }
}

fn phrases(ledger: &Ledger, phrase: impl Fn(&str, &str, u64) -> Option<String>) -> Vec<String> {
    let mut phrases = Vec::new();
    for (layer, Tally { dropped, noted, .. }) in ledger.layers() {
        for (reason, count) in dropped.iter().chain(noted) {
            phrases.extend(phrase(layer, reason, *count));
        }
    }
    phrases
}

/// What was missing or damaged in the file, or could not be kept.
fn lost(layer: &str, reason: &str, number: u64) -> Option<String> {
    let text = match (layer, reason) {
        (_, reason) if is_left_out(reason) => return None,
        (_, "torn") => counted(number, "place where a file is torn", "places where files are torn"),
        ("stream_bytes", "gap") => format!("{} in gaps", bytes(number)),
        ("stream_bytes", "flows_evicted") => {
            counted(number, "connection given up for want of room", "connections given up for want of room")
        }
        ("http_messages", reason) => match reason.strip_prefix("unpaired:") {
            Some("request_missing") => counted(number, "response without request", "responses without request"),
            Some(why) => {
                format!("{} ({why})", counted(number, "request without response", "requests without response"))
            }
            None => format!("{} ({reason})", counted(number, "message unread", "messages unread")),
        },
        ("bodies", reason) => format!("{} cut ({reason})", counted(number, "body", "bodies")),
        // Noted beside the balance: nothing is missing.
        ("packets", "torn_bytes" | "fragments_overlapping" | "decryption_secrets" | "name_resolutions")
        | ("stream_bytes", "flows" | "segments_overlapping" | "segments_differing") => return None,
        (layer, reason) => format!("{} {} ({reason})", count(number), layer.replace('_', " ")),
    };
    Some(text)
}

fn is_left_out(reason: &str) -> bool {
    ["filter:", "policy:", "ignored:"].iter().any(|prefix| reason.starts_with(prefix))
}

/// What was asked to be left out, or held nothing for weir.
fn left_out(layer: &str, reason: &str, number: u64) -> Option<String> {
    let known = Layer::ALL.iter().any(|known| known.as_str() == layer);
    if !known || !is_left_out(reason) {
        return None;
    }
    Some(match (layer, reason) {
        ("packets", "ignored:not_tcp") => counted(number, "packet that is not TCP", "packets that are not TCP"),
        ("packets", "ignored:not_ip") => counted(number, "packet that is not IP", "packets that are not IP"),
        ("stream_bytes", "ignored:retransmission") => format!("{} sent twice", bytes(number)),
        ("stream_bytes", "ignored:tls") => format!("{} of TLS", bytes(number)),
        ("stream_bytes", "ignored:reset") => format!("{} sent with resets", bytes(number)),
        ("stream_bytes", "ignored:before_handshake") => format!("{} before a handshake", bytes(number)),
        ("stream_bytes", "ignored:not_http") => format!("{} not of HTTP", bytes(number)),
        ("exchanges", "ignored:not_http") => {
            counted(number, "entry that is not of HTTP", "entries that are not of HTTP")
        }
        ("bodies", "policy:skipped_media") => counted(number, "media body", "media bodies"),
        ("bodies", "policy:skipped_policy") => counted(number, "body", "bodies"),
        (layer, reason) => match reason.strip_prefix("filter:") {
            Some(rule) => format!("{} by {rule}", counted(number, "exchange", "exchanges")),
            None => format!("{} {} ({reason})", count(number), layer.replace('_', " ")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_line() {
        let ledger = Ledger::default();
        let line = Imported { event: "imported", session: "01J", exchanges: 3, ledger: &ledger };
        let text = serde_json::to_string(&line).expect("serialises");
        assert_eq!(text, r#"{"event":"imported","session":"01J","exchanges":3,"ledger":{}}"#);
    }

    #[test]
    fn losses_in_words() {
        let mut ledger = Ledger::default();
        ledger.layer_mut(Layer::StreamBytes).dropped.insert("gap".to_owned(), 1_448);
        ledger.layer_mut(Layer::StreamBytes).noted.insert("flows".to_owned(), 9);
        ledger.layer_mut(Layer::Packets).dropped.insert("ignored:not_tcp".to_owned(), 1);
        let messages = ledger.layer_mut(Layer::HttpMessages);
        messages.noted.insert("unpaired:response_missing".to_owned(), 2);
        assert_eq!(phrases(&ledger, lost), ["1.41 KiB in gaps", "2 requests without response (response_missing)"]);
        assert_eq!(phrases(&ledger, left_out), ["1 packet that is not TCP"]);
    }
}
