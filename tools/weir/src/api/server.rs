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
    routing::{MethodRouter, delete, get, patch, post, put},
};
use tokio::sync::{Semaphore, watch};

use super::{
    failure::Failure,
    guard::{Guard, Shown},
    handlers, openapi, page, reading, sending,
    steer::Steer,
    stream,
    token::Token,
};

/// A request body at most: filters and names.
const MOST_BODY: usize = 64 << 10;
/// Answers worked on at a time that touch the disk.
const READING: usize = 4;
/// How long open answers may take to end at a stop.
const GRACE: Duration = Duration::from_millis(500);

/// What every handler knows.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) capture: Arc<dyn Steer>,
    pub(super) guard: Arc<Guard>,
    /// Turns true when the API ends: event streams end with it.
    pub(super) ending: watch::Receiver<bool>,
    /// Room for requests that are sent again.
    pub(super) sending: Arc<Semaphore>,
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
        let api = Api {
            capture,
            guard: Arc::new(Guard::new(address, token)),
            ending: ending.clone(),
            sending: Arc::new(Semaphore::new(sending::MOST_AT_ONCE)),
        };
        let threads = READING + sending::MOST_AT_ONCE;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(threads).build()?;
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

/// A route of the API: method, path, handler.
type Route = (&'static str, &'static str, MethodRouter<Api>);

/// Every route under `/api/v1/`; the OpenAPI document describes the same (a test compares them).
fn api_routes() -> Vec<Route> {
    vec![
        ("get", "/api/v1/session", get(handlers::session)),
        ("patch", "/api/v1/session", patch(handlers::rename)),
        ("post", "/api/v1/stop", post(handlers::stop)),
        ("post", "/api/v1/pause", post(handlers::pause)),
        ("post", "/api/v1/resume", post(handlers::resume)),
        ("get", "/api/v1/filter", get(handlers::filter)),
        ("put", "/api/v1/filter", put(handlers::set_filter)),
        ("get", "/api/v1/recording", get(handlers::recording)),
        ("patch", "/api/v1/recording", patch(handlers::set_recording)),
        ("get", "/api/v1/overview", get(reading::overview)),
        ("get", "/api/v1/requests", get(reading::requests)),
        ("post", "/api/v1/requests/delete", post(handlers::delete_requests)),
        ("get", "/api/v1/requests/{id}", get(reading::request)),
        ("get", "/api/v1/requests/{id}/content", get(reading::content)),
        ("get", "/api/v1/requests/{id}/body/{half}", get(reading::body)),
        ("post", "/api/v1/requests/{id}/send", post(sending::send).layer(DefaultBodyLimit::max(sending::MOST_BODY))),
        ("get", "/api/v1/requests/{id}/messages", get(reading::messages)),
        ("get", "/api/v1/ledger", get(reading::ledger)),
        ("get", "/api/v1/devices", get(reading::devices)),
        ("put", "/api/v1/devices/{address}", put(handlers::label_device)),
        ("delete", "/api/v1/devices/{address}", delete(handlers::unlabel_device)),
        ("get", "/api/v1/cookies", get(reading::cookies)),
        ("post", "/api/v1/cookies/delete", post(handlers::delete_cookies)),
        ("get", "/api/v1/jar", get(handlers::jar)),
        ("post", "/api/v1/jar", post(handlers::add_to_jar)),
        ("delete", "/api/v1/jar", delete(handlers::clear_jar)),
        ("get", "/api/v1/sessions", get(reading::sessions)),
        ("post", "/api/v1/sessions", post(handlers::begin_session)),
        ("get", "/api/v1/sessions/{session}", get(reading::one_session)),
        ("patch", "/api/v1/sessions/{session}", patch(handlers::rename_session)),
        ("delete", "/api/v1/sessions/{session}", delete(handlers::delete_session)),
        ("get", "/api/v1/tail", get(stream::tail)),
        ("get", "/api/v1/events", get(stream::events)),
        ("get", "/api/v1/openapi.json", get(openapi::openapi)),
    ]
}

fn routes(api: Api) -> Router {
    let guarded = middleware::from_fn_with_state(api.clone(), guard);
    let pages = Router::new()
        .route("/", get(page::page))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style));
    api_routes()
        .into_iter()
        .fold(pages, |router, (_, path, handler)| router.route(path, handler))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_served_is_what_is_described() {
        let served: BTreeSet<_> = api_routes().into_iter().map(|(method, path, _)| (method, path)).collect();
        let described: BTreeSet<_> = openapi::OPERATIONS.iter().map(|operation| (operation.0, operation.1)).collect();
        assert_eq!(served, described);
        assert_eq!(served.len(), api_routes().len(), "no route twice");
    }
}
