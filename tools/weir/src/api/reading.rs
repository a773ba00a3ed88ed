//! What the control API tells of sessions: overview, requests, bodies, devices, cookies. Parameters in, JSON out.

use anyhow::bail;
use axum::{
    Json,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use weir_storage::{Catalogue, ExchangeRow, Labels, Session, SessionEntry};

use super::{
    failure::Failure,
    handlers::{Answer, blocking},
    query,
    server::Api,
};
use crate::{cli::Half, content};

/// Parameters of the query component, in the order given; a name may come more than once.
type Parameters = Query<Vec<(String, String)>>;

/// `GET /api/v1/overview`
pub(super) async fn overview(State(api): State<Api>, Query(mut parameters): Parameters) -> Answer<Value> {
    let session = query::take_session(&mut parameters);
    let query = query::overview(parameters)?;
    read(api, session, move |session| Ok(serde_json::to_value(session.overview(&query)?)?)).await
}

/// `GET /api/v1/requests`
pub(super) async fn requests(State(api): State<Api>, Query(mut parameters): Parameters) -> Answer<Value> {
    let session = query::take_session(&mut parameters);
    let query = query::requests(parameters)?;
    read(api, session, move |session| {
        let mut rows = session.requests(&query)?;
        let found: Vec<ExchangeRow> = rows.by_ref().collect();
        if let Some(error) = rows.error() {
            bail!("{error}");
        }
        Ok(json!({ "requests": found, "warnings": rows.warnings() }))
    })
    .await
}

/// `GET /api/v1/requests/{id}`
pub(super) async fn request(
    State(api): State<Api>,
    Path(id): Path<u64>,
    Query(mut parameters): Parameters,
) -> Answer<Value> {
    let session = query::take_session(&mut parameters);
    let row = read(api, session, move |session| Ok(serde_json::to_value(session.exchange(id)?)?)).await?;
    if row.is_null() { Err(missing(id)) } else { Ok(row) }
}

/// `GET /api/v1/requests/{id}/content`
pub(super) async fn content(
    State(api): State<Api>,
    Path(id): Path<u64>,
    Query(mut parameters): Parameters,
) -> Answer<Value> {
    let session = query::take_session(&mut parameters);
    let document = read(api, session, move |session| match session.exchange(id)? {
        Some(row) => content::document(session, &row),
        None => Ok(Value::Null),
    })
    .await?;
    if document.is_null() { Err(missing(id)) } else { Ok(document) }
}

/// `GET /api/v1/requests/{id}/body/{half}`
pub(super) async fn body(
    State(api): State<Api>,
    Path((id, half)): Path<(u64, String)>,
    Query(mut parameters): Parameters,
) -> Result<Response, Failure> {
    let half = match half.as_str() {
        "request" => Half::Request,
        "response" => Half::Response,
        _ => return Err(Failure::not_found("a body is that of the request or of the response")),
    };
    let selector = query::take_session(&mut parameters);
    let found = blocking(api, move |api| {
        let session = open(api, selector.as_deref())?;
        let Some(row) = session.exchange(id)? else { return Ok(None) };
        content::load(&session, &row, half)
    })
    .await?;
    let Some(shown) = found else { return Err(Failure::not_found("that body is not stored")) };
    // Never as what it says it is: a captured page must not run as one of ours.
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"body\""),
    ];
    Ok((headers, shown.bytes).into_response())
}

/// `GET /api/v1/requests/{id}/messages`
pub(super) async fn messages(
    State(api): State<Api>,
    Path(id): Path<u64>,
    Query(mut parameters): Parameters,
) -> Answer<Value> {
    let session = query::take_session(&mut parameters);
    let document = read(api, session, move |session| {
        if session.exchange(id)?.is_none() {
            return Ok(Value::Null);
        }
        let found = session.messages(id)?;
        Ok(json!({ "messages": found.rows, "warnings": found.warnings }))
    })
    .await?;
    if document.is_null() { Err(missing(id)) } else { Ok(document) }
}

/// `GET /api/v1/devices`
pub(super) async fn devices(State(api): State<Api>, Query(mut parameters): Parameters) -> Answer<Value> {
    let selector = query::take_session(&mut parameters);
    blocking(api, move |api| {
        let found = open(api, selector.as_deref())?.devices()?;
        let labels = Labels::load(api.capture.home())?;
        let labels: Vec<_> =
            labels.iter().map(|(address, label)| json!({ "address": address, "label": label })).collect();
        Ok(Json(json!({ "devices": found.rows, "labels": labels, "warnings": found.warnings })))
    })
    .await
}

/// `GET /api/v1/cookies`
pub(super) async fn cookies(State(api): State<Api>, Query(mut parameters): Parameters) -> Answer<Value> {
    let session = query::take_session(&mut parameters);
    let query = query::cookies(parameters)?;
    read(api, session, move |session| {
        let found = session.cookies(&query)?;
        Ok(json!({ "cookies": found.rows, "warnings": found.warnings }))
    })
    .await
}

/// `GET /api/v1/ledger`
pub(super) async fn ledger(State(api): State<Api>, Query(mut parameters): Parameters) -> Answer<Value> {
    let session = query::take_session(&mut parameters);
    if session.is_none() {
        let status = api.capture.status();
        return Ok(Json(json!({ "session": status.session, "lost": status.lost, "ledger": status.ledger })));
    }
    read(api, session, |session| {
        let entry = session.entry();
        Ok(json!({ "session": entry.id, "lost": entry.ledger.lost(), "ledger": entry.ledger }))
    })
    .await
}

/// `GET /api/v1/sessions`
pub(super) async fn sessions(State(api): State<Api>) -> Answer<Value> {
    blocking(api, |api| {
        let catalogue = Catalogue::open(api.capture.home());
        let mut entries: Vec<Value> =
            catalogue.list()?.iter().map(|entry| described(&catalogue, entry)).collect::<Result<_, _>>()?;
        entries.reverse();
        Ok(Json(json!({ "sessions": entries })))
    })
    .await
}

/// `GET /api/v1/sessions/{session}`
pub(super) async fn one_session(State(api): State<Api>, Path(session): Path<String>) -> Answer<Value> {
    blocking(api, move |api| {
        let catalogue = Catalogue::open(api.capture.home());
        Ok(Json(described(&catalogue, &catalogue.find(Some(&session))?)?))
    })
    .await
}

/// A session's entry with what follows from it.
pub(crate) fn described(catalogue: &Catalogue, entry: &SessionEntry) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(entry)?;
    document["duration_s"] = json!(entry.duration_s());
    document["wall_s"] = json!(entry.wall_s());
    document["lost"] = json!(entry.ledger.lost());
    document["disk_bytes"] = json!(catalogue.disk_bytes(&entry.id)?);
    Ok(document)
}

fn missing(id: u64) -> Failure {
    Failure::not_found(format!("request {id} is not in this session (yet)"))
}

fn open(api: &Api, selector: Option<&str>) -> anyhow::Result<Session> {
    let home = api.capture.home();
    let entry = match selector {
        None => api.capture.entry()?,
        Some(selector) => Catalogue::open(home).find(Some(selector))?,
    };
    Ok(Session::open(home, entry))
}

/// Reads from a session's tables.
async fn read(
    api: Api,
    session: Option<String>,
    read: impl FnOnce(&Session) -> anyhow::Result<Value> + Send + 'static,
) -> Answer<Value> {
    blocking(api, move |api| read(&open(api, session.as_deref())?).map(Json)).await
}
