//! The schemas of the OpenAPI document.

use serde_json::{Map, Value, json};

use super::openapi::reference;

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn maybe_text() -> Value {
    json!({"type": ["string", "null"]})
}

fn number() -> Value {
    json!({"type": "number"})
}

fn yes() -> Value {
    json!({"type": "boolean"})
}

/// Every schema by its name.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    for part in [of_captures(), of_tables()] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

/// What steers a capture and tells of it.
fn of_captures() -> Value {
    let tally = json!({"type": "object", "properties": {
        "seen": count(), "kept": count(), "dropped": {"type": "object", "additionalProperties": count()}}});
    json!({
        "Failure": {"type": "object", "properties": {"error": {"type": "object", "properties": {"code": text(), "message": text()}}}},
        "Ledger": {"type": "object", "additionalProperties": tally},
        "Status": {"type": "object", "properties": {
            "session": text(), "name": text(), "state": {"enum": ["running", "paused", "stopping"]}, "started": text(),
            "duration_s": number(), "exchanges": count(), "rate": number(), "request_bytes": count(), "response_bytes": count(),
            "sent_bytes": count(), "received_bytes": count(), "open_exchanges": count(), "open_connections": count(),
            "dropped": count(), "lost": count(), "memory_used": count(), "memory_limit": count(), "stored_bytes": count(),
            "recording": reference("Recording"), "wall_s": number(), "filters": maybe_text(),
            "last_error": maybe_text(), "proxy": maybe_text(), "ledger": reference("Ledger")}},
        "Recording": {"type": "object", "properties": {
            "bodies": {"enum": ["all", "media-off", "none"]}, "responses": yes(), "cookies": yes()}},
        "RecordingChange": {"type": "object", "additionalProperties": false, "properties": {
            "bodies": {"enum": ["all", "media-off", "none"]}, "responses": yes(), "cookies": yes()}},
        "Rename": {"type": "object", "required": ["name"], "additionalProperties": false, "properties": {"name": text()}},
        "Filter": {"type": "object", "properties": {"session": text(), "filters": maybe_text()}},
        "Rules": {"type": "array", "items": {"type": "object", "required": ["name", "expr"],
            "properties": {"name": {"type": "string", "description": "counted in the ledger as filter:<name>"}, "expr": text()}}},
        "SetFilter": {"type": "object", "required": ["rules"], "additionalProperties": false, "properties": {
            "rules": reference("Rules")}},
        "DeleteRequests": {"type": "object", "additionalProperties": false, "properties": {
            "ids": {"type": "array", "items": count()}, "rules": reference("Rules"), "session": text()}},
        "DeleteCookies": {"type": "object", "additionalProperties": false, "properties": {
            "domain": text(), "name": text(), "search": text(), "all": yes(), "session": text()}},
        "Send": {"type": "object", "additionalProperties": false, "properties": {
            "session": {"type": "string", "description": "id, prefix of an id, or name; the running session unless given"},
            "set_headers": {"type": "array", "items": text(), "description": "`Name: value`; `Name:` takes a field away"},
            "method": text(), "url": text(), "body": text(), "body_base64": text(),
            "jar": {"type": "boolean", "description": "send the jar's cookies instead, and keep what the answer sets"},
            "proxy": {"type": "string", "description": "http://host:port, or `running` for this capture's own; straight to the server unless given"},
            "insecure_upstream": yes(), "diff": {"type": "boolean", "description": "compare the answer with the captured one"},
            "name": {"type": "string", "description": "of the session that records it"}}},
        "Sent": {"type": "object", "properties": {
            "event": text(), "session": text(), "request": reference("Exchange"), "diff": {"type": ["object", "null"], "properties": {
                "status": {"type": ["array", "null"]}, "headers": {"type": "array", "items": text()},
                "body": {"type": "array", "items": text()}}},
            "warnings": {"type": "array", "items": text()}}},
        "NextSession": {"type": "object", "additionalProperties": false, "properties": {
            "name": {"type": "string", "description": "the date and time unless given"},
            "rules": {"$ref": "#/components/schemas/Rules", "description": "what it records; the same as now unless given"}}},
        "Deleted": {"type": "object", "properties": {
            "exchanges": count(), "request_bytes": count(), "response_bytes": count(), "cookies": count()}}
    })
}

/// What is read from sessions, and what changes them.
fn of_tables() -> Value {
    let group = json!({"type": "object", "properties": {
        "key": {}, "count": count(), "request_bytes": count(), "response_bytes": count(), "errors": count(),
        "p50_us": {"type": ["integer", "null"]}, "p95_us": {"type": ["integer", "null"]}, "p99_us": {"type": ["integer", "null"]}}});
    json!({
        "Label": {"type": "object", "required": ["label"], "additionalProperties": false, "properties": {"label": text()}},
        "Labelled": {"type": "object", "properties": {"address": text(), "label": maybe_text()}},
        "Devices": {"type": "object", "properties": {"devices": {"type": "array", "items": {"type": "object", "properties": {
            "device": text(), "addresses": {"type": "array", "items": text()}, "exchanges": count(), "request_bytes": count(),
            "response_bytes": count(), "connections": count(), "first_seen": maybe_text(), "last_seen": maybe_text(),
            "trusts_ca": {"type": ["boolean", "null"]}, "refused_handshakes": count()}}},
            "labels": {"type": "array", "items": {"type": "object"}}, "warnings": {"type": "array", "items": text()}}},
        "Cookies": {"type": "object", "properties": {"cookies": {"type": "array", "items": {"type": "object", "properties": {
            "name": text(), "value": text(), "domain": text(), "path": text(), "expires": maybe_text(), "secure": yes(),
            "http_only": yes(), "same_site": maybe_text(), "host_only": {"type": ["boolean", "null"]}, "first_seen": text(),
            "last_seen": text(), "exchange": {"type": ["integer", "null"]}, "set": count(), "sent": count(),
            "refused": maybe_text()}}}, "warnings": {"type": "array", "items": text()}}},
        "Jar": {"type": "object", "properties": {"cookies": {"type": "array", "items": {"type": "object"}}}},
        "IntoJar": {"oneOf": [
            {"type": "object", "required": ["url", "set_cookie"], "properties": {"url": text(), "set_cookie": text()}},
            {"type": "object", "required": ["domain"], "properties": {"domain": text()}}]},
        "Added": {"type": "object", "properties": {"added": count()}},
        "Removed": {"type": "object", "properties": {"removed": count()}},
        "Session": {"type": "object", "description": "the catalogue entry with duration_s, wall_s, lost and disk_bytes"},
        "SessionDeleted": {"type": "object", "properties": {"event": text(), "session": text(), "name": text()}},
        "SessionLedger": {"type": "object", "properties": {"session": text(), "lost": count(), "ledger": reference("Ledger")}},
        "Messages": {"type": "object", "properties": {
            "messages": {"type": "array", "items": {"type": "object", "description": "keys as the columns of the table `messages`"}},
            "warnings": {"type": "array", "items": text()}}},
        "Bytes": {"type": "string", "contentMediaType": "application/octet-stream"},
        "Rows": {"type": "string", "description": "event: request, data: an Exchange; event: missed, data: {\"rows\":N}"},
        "Overview": {"type": "object", "properties": {
            "session": text(), "name": text(), "source": text(), "state": text(), "started": text(), "duration_s": number(),
            "wall_s": number(), "exchanges": count(), "request_bytes": count(), "response_bytes": count(),
            "by": {"type": "object", "additionalProperties": {"type": "array", "items": group}}, "ledger": reference("Ledger")}},
        "Exchange": {"type": "object", "description": "keys as the columns of the table `exchanges`"},
        "Requests": {"type": "object", "properties": {"requests": {"type": "array", "items": reference("Exchange")},
            "warnings": {"type": "array", "items": text(), "description": "parts that could not be read"}}},
        "Sessions": {"type": "object", "properties": {"sessions": {"type": "array", "items": reference("Session")}}},
        "Events": {"type": "string", "description": "event: status, data: a Status"},
        "Document": {"type": "object"},
    })
}
