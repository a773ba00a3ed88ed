//! The live page: a document, a script and a style, embedded; nothing is loaded from anywhere else.

use axum::{
    http::{HeaderName, header},
    response::IntoResponse,
};

/// What the page may do: its own files, its own API, nothing else, and nowhere in a frame.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const fn kind(media_type: &'static str) -> [(HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, media_type)]
}

/// `GET /`
pub(super) async fn page() -> impl IntoResponse {
    (kind("text/html; charset=utf-8"), include_str!("page/page.html"))
}

/// `GET /page.js`
pub(super) async fn script() -> impl IntoResponse {
    (kind("text/javascript; charset=utf-8"), include_str!("page/page.js"))
}

/// `GET /page.css`
pub(super) async fn style() -> impl IntoResponse {
    (kind("text/css; charset=utf-8"), include_str!("page/page.css"))
}
