//! Errors of the control API: a status, a stable code, a sentence.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use weir_storage::StorageError;

use super::{guard::Refusal, steer::Refused};
use crate::outcome::Usage;

/// An answer that says what went wrong: `{"error":{"code":…,"message":…}}`.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    /// The request cannot be understood.
    pub(crate) fn bad_request(message: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: "bad_request", message: message.into().to_string() }
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: "not_found", message: message.into().to_string() }
    }

    /// There is such a thing, but not for this method.
    pub(crate) fn method() -> Self {
        let message = "that method has no meaning here; /api/v1/openapi.json says which have".to_owned();
        Self { status: StatusCode::METHOD_NOT_ALLOWED, code: "method_not_allowed", message }
    }

    /// The guard turned it away.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let (code, message) = refusal.describe();
        let status = if refusal == Refusal::Token { StatusCode::UNAUTHORIZED } else { StatusCode::FORBIDDEN };
        Self { status, code, message: message.to_owned() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let (status, code) = match error.downcast_ref::<StorageError>() {
            Some(StorageError::NotFound { .. } | StorageError::NoSessions { .. }) => {
                (StatusCode::NOT_FOUND, "not_found")
            }
            Some(StorageError::Running(_) | StorageError::BeingRecorded(_)) => (StatusCode::CONFLICT, "running"),
            Some(
                StorageError::BadName(_)
                | StorageError::BadId(_)
                | StorageError::Ambiguous { .. }
                | StorageError::Jar(_),
            ) => (StatusCode::BAD_REQUEST, "bad_request"),
            _ if error.is::<Usage>() => (StatusCode::BAD_REQUEST, "bad_request"),
            _ if error.is::<Refused>() => (StatusCode::CONFLICT, "refused"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Self { status, code, message: format!("{error:#}") }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": {"code": self.code, "message": self.message}}))).into_response()
    }
}
