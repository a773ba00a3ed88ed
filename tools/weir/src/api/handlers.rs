//! What the control API changes: the capture, its session, devices, sessions, the jar. JSON in, JSON out.

use std::net::IpAddr;

use anyhow::Context;
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_engine::{
    filter::{Expr, FilterSet},
    record::Url,
};
use weir_storage::{
    Catalogue, CookieQuery, Deleted, Jar, Labels, Session, SessionEntry, SessionId, Timestamp, with_ids,
};

use super::{
    failure::Failure,
    server::Api,
    steer::{NextSession, Recording, RecordingChange, Status},
};

/// What a handler answers with.
pub(super) type Answer<T> = Result<Json<T>, Failure>;

/// `GET /api/v1/session`
pub(super) async fn session(State(api): State<Api>) -> Json<Status> {
    Json(api.capture.status())
}

/// A new name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rename {
    name: String,
}

/// `PATCH /api/v1/session`
pub(super) async fn rename(State(api): State<Api>, Json(rename): Json<Rename>) -> Answer<Status> {
    act(api, move |api| api.capture.rename(&rename.name)).await
}

/// `POST /api/v1/stop`
pub(super) async fn stop(State(api): State<Api>) -> (StatusCode, Json<Status>) {
    api.capture.stop();
    (StatusCode::ACCEPTED, Json(api.capture.status()))
}

/// `POST /api/v1/pause`
pub(super) async fn pause(State(api): State<Api>) -> Answer<Status> {
    act(api, |api| api.capture.pause()).await
}

/// `POST /api/v1/resume`
pub(super) async fn resume(State(api): State<Api>) -> Answer<Status> {
    act(api, |api| api.capture.resume()).await
}

/// The capture filter: rules in, expression out.
#[derive(Debug, Serialize)]
pub(super) struct Filter {
    session: String,
    filters: Option<String>,
}

impl Filter {
    fn of(status: Status) -> Json<Self> {
        Json(Self { session: status.session, filters: status.filters })
    }
}

/// `GET /api/v1/filter`
pub(super) async fn filter(State(api): State<Api>) -> Json<Filter> {
    Filter::of(api.capture.status())
}

/// A new capture filter; without rules everything is recorded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetFilter {
    rules: FilterSet,
}

/// `PUT /api/v1/filter`
pub(super) async fn set_filter(State(api): State<Api>, Json(filter): Json<SetFilter>) -> Answer<Filter> {
    let status = act(api, move |api| api.capture.set_filters(filter.rules)).await?;
    Ok(Filter::of(status.0))
}

/// `GET /api/v1/recording`
pub(super) async fn recording(State(api): State<Api>) -> Json<Recording> {
    Json(api.capture.status().recording)
}

/// `PATCH /api/v1/recording`
pub(super) async fn set_recording(State(api): State<Api>, Json(change): Json<RecordingChange>) -> Answer<Recording> {
    let status = act(api, move |api| api.capture.set_recording(change)).await?;
    Ok(Json(status.0.recording))
}

/// Which requests to delete: these, or those that pass all rules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteRequests {
    #[serde(default)]
    ids: Vec<u64>,
    #[serde(default)]
    rules: FilterSet,
    #[serde(default)]
    session: Option<String>,
}

/// `POST /api/v1/requests/delete`
pub(super) async fn delete_requests(State(api): State<Api>, Json(which): Json<DeleteRequests>) -> Answer<Deleted> {
    let parts: Vec<Expr> = with_ids(&which.ids).into_iter().chain(which.rules.to_expr()).collect();
    if parts.is_empty() {
        return Err(Failure::bad_request("say which requests: ids, rules, or both"));
    }
    let filter = Expr::all(parts);
    blocking(api, move |api| {
        let id = id_of(api, which.session.as_deref())?;
        Ok(Json(match api.capture.delete_requests(&id, &filter)? {
            Some(deleted) => deleted,
            None => Catalogue::open(api.capture.home()).delete_requests(&id, &filter)?,
        }))
    })
    .await
}

/// The session that is meant; that of the capture unless said.
pub(super) fn id_of(api: &Api, selector: Option<&str>) -> anyhow::Result<SessionId> {
    match selector {
        None => Ok(api.capture.entry()?.id),
        Some(selector) => Ok(Catalogue::open(api.capture.home()).find(Some(selector))?.id),
    }
}

/// Which cookies to delete.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteCookies {
    #[serde(default)]
    domain: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    search: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    session: Option<String>,
}

/// `POST /api/v1/cookies/delete`
pub(super) async fn delete_cookies(State(api): State<Api>, Json(which): Json<DeleteCookies>) -> Answer<Deleted> {
    let DeleteCookies { domain, name, search, all, session } = which;
    if domain.is_none() && name.is_none() && search.is_none() && !all {
        return Err(Failure::bad_request("say which cookies: domain, name, search, or all"));
    }
    let query = CookieQuery { domain, name, search, refused: true };
    blocking(api, move |api| {
        let id = id_of(api, session.as_deref())?;
        Ok(Json(match api.capture.delete_cookies(&id, &query)? {
            Some(deleted) => deleted,
            None => Catalogue::open(api.capture.home()).delete_cookies(&id, &query)?,
        }))
    })
    .await
}

/// The name of a device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Label {
    label: String,
}

/// `PUT /api/v1/devices/{address}`
pub(super) async fn label_device(
    State(api): State<Api>,
    Path(address): Path<IpAddr>,
    Json(label): Json<Label>,
) -> Answer<Value> {
    set_label(api, address, Some(label.label)).await
}

/// `DELETE /api/v1/devices/{address}`
pub(super) async fn unlabel_device(State(api): State<Api>, Path(address): Path<IpAddr>) -> Answer<Value> {
    set_label(api, address, None).await
}

async fn set_label(api: Api, address: IpAddr, label: Option<String>) -> Answer<Value> {
    blocking(api, move |api| {
        let labels = Labels::set(api.capture.home(), address, label.as_deref())?;
        api.capture.set_labels(&labels)?;
        Ok(Json(json!({ "address": address, "label": label })))
    })
    .await
}

/// `POST /api/v1/sessions`
pub(super) async fn begin_session(
    State(api): State<Api>,
    Json(next): Json<NextSession>,
) -> Result<(StatusCode, Json<Status>), Failure> {
    Ok((StatusCode::CREATED, act(api, move |api| api.capture.begin_session(next)).await?))
}

/// `PATCH /api/v1/sessions/{session}`
pub(super) async fn rename_session(
    State(api): State<Api>,
    Path(session): Path<String>,
    Json(rename): Json<Rename>,
) -> Answer<SessionEntry> {
    blocking(api, move |api| {
        let catalogue = Catalogue::open(api.capture.home());
        let entry = catalogue.find(Some(&session))?;
        if entry.id == api.capture.entry()?.id {
            api.capture.rename(&rename.name)?;
            return Ok(Json(api.capture.entry()?));
        }
        Ok(Json(catalogue.rename(&entry.id, &rename.name)?))
    })
    .await
}

/// `DELETE /api/v1/sessions/{session}`
pub(super) async fn delete_session(State(api): State<Api>, Path(session): Path<String>) -> Answer<Value> {
    blocking(api, move |api| {
        let catalogue = Catalogue::open(api.capture.home());
        let entry = catalogue.find(Some(&session))?;
        catalogue.delete(&entry.id)?;
        Ok(Json(json!({ "event": "deleted", "session": entry.id, "name": entry.name })))
    })
    .await
}

/// `GET /api/v1/jar`
pub(super) async fn jar(State(api): State<Api>) -> Answer<Value> {
    blocking(api, |api| {
        let jar = Jar::load(api.capture.home())?;
        Ok(Json(json!({ "cookies": jar.iter().collect::<Vec<_>>() })))
    })
    .await
}

/// A cookie for the jar: as a response to `url` would set it, or those of the session for a domain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub(super) enum IntoJar {
    Set { url: String, set_cookie: String },
    Session { domain: String },
}

/// `POST /api/v1/jar`
pub(super) async fn add_to_jar(State(api): State<Api>, Json(what): Json<IntoJar>) -> Answer<Value> {
    blocking(api, move |api| {
        let home = api.capture.home();
        match what {
            IntoJar::Set { url, set_cookie } => {
                let url =
                    Url::parse(url.clone().into()).with_context(|| format!("'{url}' is no URL; write it whole"))?;
                Jar::update(home, |jar| jar.set(&url, &set_cookie, Timestamp::now()))??;
                Ok(Json(json!({ "added": 1 })))
            }
            IntoJar::Session { domain } => {
                let session = Session::open(home, api.capture.entry()?);
                let found = session.cookies(&CookieQuery { domain: Some(domain), ..CookieQuery::default() })?;
                let count = found.rows.len();
                Jar::update(home, |jar| found.rows.into_iter().for_each(|row| jar.put(row.into())))?;
                Ok(Json(json!({ "added": count })))
            }
        }
    })
    .await
}

/// `DELETE /api/v1/jar`
pub(super) async fn clear_jar(State(api): State<Api>) -> Answer<Value> {
    blocking(api, |api| {
        let gone = Jar::update(api.capture.home(), |jar| jar.retain(|_| false))?;
        Ok(Json(json!({ "removed": gone })))
    })
    .await
}

/// Does something to the capture and answers with its status.
async fn act(api: Api, act: impl FnOnce(&Api) -> anyhow::Result<()> + Send + 'static) -> Answer<Status> {
    blocking(api, |api| {
        act(api)?;
        Ok(Json(api.capture.status()))
    })
    .await
}

/// Runs what touches the disk beside the runtime's own thread.
pub(super) async fn blocking<T: Send + 'static>(
    api: Api,
    work: impl FnOnce(&Api) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(move || work(&api)).await;
    Ok(done.context("the request could not be worked on")??)
}
