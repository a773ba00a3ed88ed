//! The control API's thread: a listener, a runtime of its own, the routes behind the guard.
//!
//! In: a bound listener and a capture that can be [steered](super::steer). Out: answers; a handle
//! that ends it all.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::sync::watch;

use super::{
    failure::Failure,
    guard::{Guard, Shown},
    handlers, openapi, page,
    steer::Steer,
    token::Token,
};

/// A request body at most: filters and names.
const MOST_BODY: usize = 64 << 10;
/// How long open answers may take to end at a stop.
const GRACE: Duration = Duration::from_millis(500);

/// What every handler knows.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) capture: Arc<dyn Steer>,
    pub(super) guard: Arc<Guard>,
    /// Turns true when the API ends: event streams end with it.
    pub(super) ending: watch::Receiver<bool>,
}

/// The running API.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    end: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves on `listener`.
    pub(crate) fn start(listener: TcpListener, token: Token, capture: Arc<dyn Steer>) -> Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (end, ending) = watch::channel(false);
        let api = Api { capture, guard: Arc::new(Guard::new(address, token)), ending: ending.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let thread = std::thread::Builder::new().name("weir-api".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve(listener, routes(api), ending)) {
                tracing::warn!("the control API ended: {error}; the capture goes on");
            }
            runtime.shutdown_timeout(GRACE);
        })?;
        Ok(Self { address, end, thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it: no new requests, open ones get a moment.
    pub(crate) fn stop(&mut self) {
        self.end.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: TcpListener, routes: Router, mut ending: watch::Receiver<bool>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut ended = ending.clone();
    let server = axum::serve(listener, routes).with_graceful_shutdown(async move {
        // An error means that the handle is gone, which is an end too.
        let _ = ending.wait_for(|end| *end).await;
    });
    tokio::select! {
        served = server => served,
        () = async {
            let _ = ended.wait_for(|end| *end).await;
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    }
}

fn routes(api: Api) -> Router {
    let guarded = middleware::from_fn_with_state(api.clone(), guard);
    Router::new()
        .route("/", get(page::page))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/api/v1/session", get(handlers::session).patch(handlers::rename))
        .route("/api/v1/stop", post(handlers::stop))
        .route("/api/v1/pause", post(handlers::pause))
        .route("/api/v1/resume", post(handlers::resume))
        .route("/api/v1/filter", get(handlers::filter).put(handlers::set_filter))
        .route("/api/v1/overview", get(handlers::overview))
        .route("/api/v1/requests", get(handlers::requests))
        .route("/api/v1/requests/{id}", get(handlers::request))
        .route("/api/v1/sessions", get(handlers::sessions))
        .route("/api/v1/events", get(handlers::events))
        .route("/api/v1/openapi.json", get(openapi::openapi))
        .fallback(|| async { Failure::not_found("there is nothing here; /api/v1/openapi.json says what there is") })
        .method_not_allowed_fallback(|| async { Failure::method() })
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(guarded)
        .with_state(api)
}

/// Checks a request before anything else sees it, and adds what every answer carries.
async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = match api.guard.check(request.uri(), request.headers()) {
        Err(refusal) => Failure::refused(refusal).into_response(),
        // A link that carries the token is left behind at once: the token goes into a cookie.
        Ok(Shown::Query) if request.uri().path() == "/" && request.method() == Method::GET => {
            (StatusCode::SEE_OTHER, [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, api.guard.set_cookie())])
                .into_response()
        }
        Ok(_) => next.run(request).await,
    };
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
