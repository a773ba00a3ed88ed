//! The OpenAPI 3.1 document of exactly what is served.

use axum::Json;
use serde_json::{Map, Value, json};

use super::openapi_schemas;

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
    ("get", "/api/v1/recording", "getRecording", "What is kept of each exchange", None, "Recording"),
    (
        "patch",
        "/api/v1/recording",
        "setRecording",
        "Change what is kept of each exchange from now on; what is left out stays",
        Some("RecordingChange"),
        "Recording",
    ),
    ("get", "/api/v1/overview", "overview", "Counts by groups", None, "Overview"),
    ("get", "/api/v1/requests", "requests", "Rows of exchanges, columns as in the table `exchanges`", None, "Requests"),
    (
        "post",
        "/api/v1/requests/delete",
        "deleteRequests",
        "Delete requests of a session, the running one unless said: these ids, those that pass all rules, or both together",
        Some("DeleteRequests"),
        "Deleted",
    ),
    ("get", "/api/v1/requests/{id}", "request", "One exchange", None, "Exchange"),
    (
        "get",
        "/api/v1/requests/{id}/content",
        "requestContent",
        "One exchange with its bodies, decoded and made readable, and its messages",
        None,
        "Exchange",
    ),
    (
        "get",
        "/api/v1/requests/{id}/body/{half}",
        "requestBody",
        "The bytes of a body without its content coding; half: request or response",
        None,
        "Bytes",
    ),
    (
        "post",
        "/api/v1/requests/{id}/send",
        "sendRequest",
        "Send a captured request again, changed or not; it is recorded in a session of its own",
        Some("Send"),
        "Sent",
    ),
    ("get", "/api/v1/requests/{id}/messages", "requestMessages", "The messages inside an exchange", None, "Messages"),
    ("get", "/api/v1/ledger", "ledger", "What was seen, kept and dropped, and why", None, "SessionLedger"),
    (
        "get",
        "/api/v1/devices",
        "devices",
        "Devices with counts, last seen, and whether they trust the CA",
        None,
        "Devices",
    ),
    ("put", "/api/v1/devices/{address}", "labelDevice", "Give a client's address a name", Some("Label"), "Labelled"),
    ("delete", "/api/v1/devices/{address}", "unlabelDevice", "Take the name of an address away", None, "Labelled"),
    ("get", "/api/v1/cookies", "cookies", "Cookies set and sent", None, "Cookies"),
    (
        "post",
        "/api/v1/cookies/delete",
        "deleteCookies",
        "Delete cookies of a session, the running one unless said",
        Some("DeleteCookies"),
        "Deleted",
    ),
    ("get", "/api/v1/jar", "jar", "The cookies that weir send uses", None, "Jar"),
    ("post", "/api/v1/jar", "addToJar", "Add a cookie, or those of the session for a domain", Some("IntoJar"), "Added"),
    ("delete", "/api/v1/jar", "clearJar", "Empty the jar", None, "Removed"),
    ("get", "/api/v1/sessions", "sessions", "Every session of the home, the latest first", None, "Sessions"),
    (
        "post",
        "/api/v1/sessions",
        "beginSession",
        "Start a session in the place of the running one, which is closed; no connection is broken and no request is in both",
        Some("NextSession"),
        "Status",
    ),
    (
        "get",
        "/api/v1/sessions/{session}",
        "oneSession",
        "One session, by id, prefix of an id, or name",
        None,
        "Session",
    ),
    (
        "patch",
        "/api/v1/sessions/{session}",
        "renameOneSession",
        "Give a session another name",
        Some("Rename"),
        "Session",
    ),
    (
        "delete",
        "/api/v1/sessions/{session}",
        "deleteSession",
        "Delete a session that has ended",
        None,
        "SessionDeleted",
    ),
    (
        "get",
        "/api/v1/tail",
        "tail",
        "Server-sent events: `request` for each row as it is recorded, `missed` with a count when rows came too fast",
        None,
        "Rows",
    ),
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
        let code = match id {
            "stop" => "202",
            "beginSession" => "201",
            _ => "200",
        };
        let media_type = match id {
            "events" | "tail" => "text/event-stream",
            "requestBody" => "application/octet-stream",
            _ => "application/json",
        };
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
            "schemas": openapi_schemas::all(),
        },
    })
}

/// Points to a schema.
pub(super) fn reference(name: &str) -> Value {
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
    let session = || query("session", "id, prefix of an id, or name; the running session unless given", "string");
    let path = |name: &str, kind: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": kind}});
    match id {
        "overview" => [
            session(),
            query(
                "by",
                "columns to group by, method,domain,type,status unless given; several with commas between them are crossed too",
                "string",
            ),
            query("top", "most groups of each column", "integer"),
        ]
        .into_iter()
        .chain(filters())
        .collect(),
        "requests" => [
            session(),
            query("search", "text in the URL or in a header", "string"),
            query("search_bodies", "whether the text may stand in a body too", "boolean"),
            query("sort", "column, :desc for the largest first", "string"),
            query("limit", "most rows, 100 unless given, 10000 at most", "integer"),
            query("offset", "rows skipped", "integer"),
        ]
        .into_iter()
        .chain(filters())
        .collect(),
        "tail" => [session()].into_iter().chain(filters()).collect(),
        "request" | "requestContent" | "requestMessages" => vec![path("id", "integer"), session()],
        "sendRequest" => vec![path("id", "integer")],
        "requestBody" => vec![path("id", "integer"), path("half", "string"), session()],
        "devices" | "ledger" => vec![session()],
        "cookies" => vec![
            session(),
            query("domain", "this domain and what is under it", "string"),
            query("name", "exact", "string"),
            query("search", "text in name, value or domain", "string"),
            query("refused", "whether cookies that a browser would not keep are listed too", "boolean"),
        ],
        "labelDevice" | "unlabelDevice" => vec![path("address", "string")],
        "oneSession" | "renameOneSession" | "deleteSession" => vec![path("session", "string")],
        _ => Vec::new(),
    }
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
