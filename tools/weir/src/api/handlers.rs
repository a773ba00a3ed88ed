//! The answers of the control API. Requests in, calls on the capture or reads of the lake, JSON out.

use std::{convert::Infallible, time::Duration};

use anyhow::{Context, bail};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_engine::filter::FilterSet;
use weir_storage::{Catalogue, ExchangeRow, Session, SessionEntry};

use super::{failure::Failure, query, server::Api, steer::Status};

type Answer<T> = Result<Json<T>, Failure>;
/// Parameters of the query component, in the order given; a name may come more than once.
type Parameters = Query<Vec<(String, String)>>;

/// Time between two events.
const TICK: Duration = Duration::from_millis(500);

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

/// `GET /api/v1/overview`
pub(super) async fn overview(State(api): State<Api>, Query(parameters): Parameters) -> Answer<Value> {
    let query = query::overview(parameters)?;
    read(api, move |session| Ok(serde_json::to_value(session.overview(&query)?)?)).await
}

/// `GET /api/v1/requests`
pub(super) async fn requests(State(api): State<Api>, Query(parameters): Parameters) -> Answer<Value> {
    let query = query::requests(parameters)?;
    read(api, move |session| {
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
pub(super) async fn request(State(api): State<Api>, Path(id): Path<u64>) -> Answer<Value> {
    let row = read(api, move |session| Ok(serde_json::to_value(session.exchange(id)?)?)).await?;
    if row.is_null() { Err(Failure::not_found(format!("request {id} is not in this session (yet)"))) } else { Ok(row) }
}

/// `GET /api/v1/sessions`
pub(super) async fn sessions(State(api): State<Api>) -> Answer<Value> {
    blocking(api, |api| {
        let mut entries: Vec<SessionEntry> = Catalogue::open(api.capture.home()).list()?;
        entries.reverse();
        Ok(Json(json!({ "sessions": entries })))
    })
    .await
}

/// `GET /api/v1/events`
pub(super) async fn events(State(api): State<Api>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::unfold((api, true), |(mut api, first)| async move {
        if !first {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                // Ends the stream; an error means that the server is gone, an end too.
                _ = api.ending.wait_for(|end| *end) => return None,
            }
        }
        let status = api.capture.status();
        // A status is numbers and text: there is nothing in it that could not be serialised.
        let event = Event::default().event("status").json_data(&status).unwrap_or_default();
        Some((Ok(event), (api, false)))
    });
    Sse::new(ticks).keep_alive(KeepAlive::default())
}

/// Does something to the capture and answers with its status.
async fn act(api: Api, act: impl FnOnce(&Api) -> anyhow::Result<()> + Send + 'static) -> Answer<Status> {
    blocking(api, |api| {
        act(api)?;
        Ok(Json(api.capture.status()))
    })
    .await
}

/// Reads from the session's tables.
async fn read(api: Api, read: impl FnOnce(&Session) -> anyhow::Result<Value> + Send + 'static) -> Answer<Value> {
    blocking(api, |api| {
        let session = Session::open(api.capture.home(), api.capture.entry()?);
        read(&session).map(Json)
    })
    .await
}

/// Runs what touches the disk beside the runtime's own thread.
async fn blocking<T: Send + 'static>(
    api: Api,
    work: impl FnOnce(&Api) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(move || work(&api)).await;
    Ok(done.context("the request could not be worked on")??)
}
