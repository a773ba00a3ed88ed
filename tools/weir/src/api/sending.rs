//! A captured request sent again through the control API. JSON in, the document of `weir send --json` out.

use anyhow::Context;
use axum::{
    Json,
    extract::{Path, State},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;
use weir_storage::{Catalogue, Session};

use super::{
    failure::Failure,
    handlers::{Answer, blocking},
    server::Api,
    steer::Refused,
};
use crate::{
    outcome::Usage,
    send::{
        again::{self, Plan},
        request::Edits,
    },
};

/// A request's body at most, with what is around it: bodies in base64 take a third more.
pub(super) const MOST_BODY: usize = 16 << 20;
/// Requests sent at a time at most: each waits for its server.
pub(super) const MOST_AT_ONCE: usize = 4;

/// What is to be changed, and which way it goes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Send {
    session: Option<String>,
    set_headers: Vec<String>,
    method: Option<String>,
    url: Option<String>,
    body: Option<String>,
    body_base64: Option<String>,
    jar: bool,
    proxy: Option<String>,
    insecure_upstream: bool,
    diff: bool,
    name: Option<String>,
}

/// `POST /api/v1/requests/{id}/send`
pub(super) async fn send(State(api): State<Api>, Path(id): Path<u64>, Json(send): Json<Send>) -> Answer<Value> {
    let permit = api.sending.clone().try_acquire_owned();
    blocking(api, move |api| {
        let _permit = permit.map_err(|_| Refused("four requests are being sent already; try again in a while"))?;
        let plan = send.plan()?;
        let home = api.capture.home();
        let entry = match send.session.as_deref() {
            None => api.capture.entry()?,
            Some(selector) => Catalogue::open(home).find(Some(selector))?,
        };
        let session = Session::open(home, entry);
        let row =
            session.exchange(id)?.ok_or_else(|| Usage::new(format!("request {id} is not in this session (yet)")))?;
        let request = again::build(&session, &row, &plan, home).map_err(|error| Usage::new(format!("{error:#}")))?;
        let mut way = api.capture.way();
        way.insecure |= send.insecure_upstream;
        let running = || api.capture.status().proxy.context("this capture has no proxy");
        let way = again::through(way, send.proxy.as_deref(), home, running)?;
        let sent = again::send(home, (&session, &row), &request, &plan, way)?;
        let mut document = sent.document()?;
        document["warnings"] = sent.refused.into();
        Ok(Json(document))
    })
    .await
}

impl Send {
    fn plan(&self) -> Result<Plan, Usage> {
        let body = match (&self.body, &self.body_base64) {
            (Some(_), Some(_)) => return Err(Usage::new("give body or body_base64, not both")),
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(text)) => {
                let bytes = STANDARD.decode(text);
                Some(bytes.map_err(|error| Usage::new(format!("body_base64 is no base64: {error}")))?)
            }
            (None, None) => None,
        };
        let edits = Edits {
            headers: self.set_headers.clone(),
            method: self.method.clone(),
            url: self.url.clone(),
            body,
            cookies: None,
        };
        Ok(Plan { edits, jar: self.jar, diff: self.diff, name: self.name.clone() })
    }
}

impl From<Usage> for Failure {
    fn from(usage: Usage) -> Self {
        Self::bad_request(usage.to_string())
    }
}
