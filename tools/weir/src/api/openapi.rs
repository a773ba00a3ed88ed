//! The OpenAPI 3.1 document of exactly what is served.

use axum::Json;
use serde_json::{Map, Value, json};

/// Method, path, id, sentence, request body, answer, of each operation.
type Operation = (&'static str, &'static str, &'static str, &'static str, Option<&'static str>, &'static str);

/// Every operation there is.
pub(super) const OPERATIONS: &[Operation] = &[
    ("get", "/api/v1/session", "getSession", "The running capture as it stands", None, "Status"),
    ("patch", "/api/v1/session", "renameSession", "Give the session another name", Some("Rename"), "Status"),
    ("post", "/api/v1/stop", "stop", "Stop the capture; returns before everything is on disk", None, "Status"),
    ("post", "/api/v1/pause", "pause", "Forward, but record nothing", None, "Status"),
    ("post", "/api/v1/resume", "resume", "Record again", None, "Status"),
    ("get", "/api/v1/filter", "getFilter", "What is recorded", None, "Filter"),
    ("put", "/api/v1/filter", "setFilter", "Change what is recorded from now on", Some("SetFilter"), "Filter"),
    ("get", "/api/v1/overview", "overview", "Counts by groups", None, "Overview"),
    ("get", "/api/v1/requests", "requests", "Rows of exchanges, columns as in the table `exchanges`", None, "Requests"),
    ("get", "/api/v1/requests/{id}", "request", "One exchange", None, "Exchange"),
    ("get", "/api/v1/sessions", "sessions", "Every session of the home, the latest first", None, "Sessions"),
    ("get", "/api/v1/events", "events", "Server-sent events: `status`, twice a second", None, "Events"),
    ("get", "/api/v1/openapi.json", "openapi", "This document", None, "Document"),
];

/// The filter parameters of `overview` and `requests`.
const FILTERS: [(&str, &str); 9] = [
    ("method", "any of, separated by commas: GET,POST"),
    ("status", "any of: 200,4xx,500-599,none"),
    ("url", "contains; /…/ is a regular expression"),
    ("not_url", "contains none of"),
    ("type", "media types or categories"),
    ("domain", "exact or *.suffix"),
    ("device", "exact or *.suffix"),
    ("source", "proxy, packets, browser, import"),
    ("where", "a condition in the filter language"),
];

/// `GET /api/v1/openapi.json`
pub(super) async fn openapi() -> Json<Value> {
    Json(document())
}

fn document() -> Value {
    let mut paths = Map::new();
    for &(method, path, id, summary, body, answer) in OPERATIONS {
        let code = if id == "stop" { "202" } else { "200" };
        let media_type = if id == "events" { "text/event-stream" } else { "application/json" };
        let mut operation = json!({
            "operationId": id,
            "summary": summary,
            "responses": {
                code: {"description": summary, "content": {media_type: {"schema": reference(answer)}}},
                "default": {"description": "What went wrong", "content": {"application/json": {"schema": reference("Failure")}}},
            },
        });
        let parameters = parameters(id);
        if !parameters.is_empty() {
            operation["parameters"] = Value::Array(parameters);
        }
        if let Some(body) = body {
            operation["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": reference(body)}}});
        }
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "weir control API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Steers a running capture and reads its session. The token is in the link that weir capture prints, \
                            and in run/<session>.token under the home.",
        },
        "security": [{"bearer": []}, {"cookie": []}, {"query": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "weir_PORT"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
            "schemas": schemas(),
        },
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn parameters(id: &str) -> Vec<Value> {
    let query = |name: &str, description: &str, kind: &str| json!({"name": name, "in": "query", "description": description, "schema": {"type": kind}});
    let filters = || {
        FILTERS.into_iter().map(|(name, description)| {
            json!({"name": name, "in": "query", "description": description, "explode": true,
                   "schema": {"type": "array", "items": {"type": "string"}}})
        })
    };
    match id {
        "overview" => [
            query("by", "columns to group by, separated by commas; method,domain,type,status unless given", "string"),
            query("top", "most groups of each column", "integer"),
        ]
        .into_iter()
        .chain(filters())
        .collect(),
        "requests" => [
            query("search", "text in the URL or in a header", "string"),
            query("sort", "column, :desc for the largest first", "string"),
            query("limit", "most rows, 100 unless given, 10000 at most", "integer"),
            query("offset", "rows skipped", "integer"),
        ]
        .into_iter()
        .chain(filters())
        .collect(),
        "request" => vec![json!({"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}})],
        _ => Vec::new(),
    }
}

fn schemas() -> Value {
    let count = || json!({"type": "integer", "minimum": 0});
    let text = || json!({"type": "string"});
    let maybe_text = || json!({"type": ["string", "null"]});
    let number = || json!({"type": "number"});
    let tally = json!({"type": "object", "properties": {
        "seen": count(), "kept": count(), "dropped": {"type": "object", "additionalProperties": count()}}});
    let group = json!({"type": "object", "properties": {
        "key": {}, "count": count(), "request_bytes": count(), "response_bytes": count(), "errors": count(),
        "p50_us": {"type": ["integer", "null"]}, "p95_us": {"type": ["integer", "null"]}, "p99_us": {"type": ["integer", "null"]}}});
    json!({
        "Failure": {"type": "object", "properties": {"error": {"type": "object", "properties": {"code": text(), "message": text()}}}},
        "Ledger": {"type": "object", "additionalProperties": tally},
        "Status": {"type": "object", "properties": {
            "session": text(), "name": text(), "state": {"enum": ["running", "paused", "stopping"]}, "started": text(),
            "duration_s": number(), "exchanges": count(), "rate": number(), "request_bytes": count(), "response_bytes": count(),
            "sent_bytes": count(), "received_bytes": count(), "open_exchanges": count(), "open_connections": count(),
            "dropped": count(), "lost": count(), "memory_used": count(), "memory_limit": count(), "filters": maybe_text(),
            "last_error": maybe_text(), "proxy": maybe_text(), "ledger": reference("Ledger")}},
        "Rename": {"type": "object", "required": ["name"], "additionalProperties": false, "properties": {"name": text()}},
        "Filter": {"type": "object", "properties": {"session": text(), "filters": maybe_text()}},
        "SetFilter": {"type": "object", "required": ["rules"], "additionalProperties": false, "properties": {
            "rules": {"type": "array", "items": {"type": "object", "required": ["name", "expr"],
                "properties": {"name": {"type": "string", "description": "counted in the ledger as filter:<name>"}, "expr": text()}}}}},
        "Overview": {"type": "object", "properties": {
            "session": text(), "name": text(), "source": text(), "state": text(), "started": text(), "duration_s": number(),
            "exchanges": count(), "request_bytes": count(), "response_bytes": count(),
            "by": {"type": "object", "additionalProperties": {"type": "array", "items": group}}, "ledger": reference("Ledger")}},
        "Exchange": {"type": "object", "description": "keys as the columns of the table `exchanges`"},
        "Requests": {"type": "object", "properties": {"requests": {"type": "array", "items": reference("Exchange")},
            "warnings": {"type": "array", "items": text(), "description": "parts that could not be read"}}},
        "Sessions": {"type": "object", "properties": {"sessions": {"type": "array", "items": {"type": "object"}}}},
        "Events": {"type": "string", "description": "event: status, data: a Status"},
        "Document": {"type": "object"},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"#").skip(1).filter_map(|rest| rest.split_once('"')).map(|(pointer, _)| pointer) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
        assert_eq!(document["paths"]["/api/v1/session"].as_object().map(Map::len), Some(2));
    }
}
