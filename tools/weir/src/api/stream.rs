//! Server-sent events of the control API: the status twice a second, and rows as they are recorded.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, stream};
use weir_storage::{ExchangeRow, Tail, recorder::Seen};

use super::{
    failure::Failure,
    handlers::{blocking, id_of},
    query,
    server::Api,
};

/// Time between two events of the status.
const TICK: Duration = Duration::from_millis(500);
/// Time between two looks at what was recorded; a flush comes once a second.
const LOOK: Duration = Duration::from_millis(100);

/// `GET /api/v1/events`
pub(super) async fn events(State(api): State<Api>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::unfold((api, true), |(mut api, first)| async move {
        if !first && !wait(&mut api, TICK).await {
            return None;
        }
        let status = api.capture.status();
        // A status is numbers and text: there is nothing in it that could not be serialised.
        let event = Event::default().event("status").json_data(&status).unwrap_or_default();
        Some((Ok(event), (api, false)))
    });
    Sse::new(ticks).keep_alive(KeepAlive::default())
}

/// Waits, unless the API ends meanwhile.
async fn wait(api: &mut Api, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        // Ends the stream; an error means that the server is gone, an end too.
        _ = api.ending.wait_for(|end| *end) => false,
    }
}

/// A watcher with the rows it has not told yet.
struct Watching {
    api: Api,
    tail: Tail,
    rows: VecDeque<ExchangeRow>,
}

/// `GET /api/v1/tail`
pub(super) async fn tail(
    State(api): State<Api>,
    Query(mut parameters): Query<Vec<(String, String)>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let session = query::take_session(&mut parameters);
    let filter = query::filter(parameters)?;
    let tail = blocking(api.clone(), move |api| api.capture.tail(&id_of(api, session.as_deref())?, filter)).await?;
    let Some(tail) = tail else {
        return Err(Failure::not_found("that session is not recorded by this capture; ask the one that records it"));
    };
    let watching = Watching { api, tail, rows: VecDeque::new() };
    Ok(Sse::new(stream::unfold(watching, next)).keep_alive(KeepAlive::default()))
}

/// The next event: a row, how many were missed, or the end.
async fn next(mut watching: Watching) -> Option<(Result<Event, Infallible>, Watching)> {
    loop {
        if let Some(row) = watching.rows.pop_front() {
            let event = Event::default().event("request").id(row.id.to_string()).json_data(&row).unwrap_or_default();
            return Some((Ok(event), watching));
        }
        let missed = watching.tail.missed();
        if missed > 0 {
            let event = Event::default().event("missed").data(format!("{{\"rows\":{missed}}}"));
            return Some((Ok(event), watching));
        }
        match watching.tail.next() {
            Ok(Seen::Rows(rows)) => watching.rows.extend(rows),
            Ok(Seen::Nothing) => {
                if !wait(&mut watching.api, LOOK).await {
                    return None;
                }
            }
            Ok(Seen::Ended) => return None,
            Err(error) => {
                tracing::warn!("rows cannot be told: {error}");
                return None;
            }
        }
    }
}
