//! HTTP/2 to HTTP/2 through front, relay and session, over in-memory pipes: what passes, what is cut, what is told.

use std::{cell::RefCell, future::poll_fn, rc::Rc, time::Duration};

use bytes::Bytes;
use h2::{Reason, client, server};
use http::{HeaderMap, Request, Response};
use tokio::{io::duplex, sync::oneshot, task::LocalSet};
use weir_engine::record::{Fault, Headers};
use weir_proxy::{
    http2::{
        Http2Limits,
        bodies::IncomingBody,
        fields::ReceivedRequest,
        front::{self, Ends, ExtendedConnect, Responder, Service},
        relay::{self, Observer, Outcome},
        upstream::Session,
    },
    message::ResponseHead,
};

#[derive(Default)]
struct Seen {
    request_bytes: RefCell<u64>,
    response_bytes: RefCell<u64>,
    trailers: RefCell<Vec<Headers>>,
    interim: RefCell<Vec<u16>>,
}

impl Observer for Seen {
    fn request_data(&self, bytes: &Bytes) {
        *self.request_bytes.borrow_mut() += bytes.len() as u64;
    }
    fn request_end(&self, trailers: Option<&Headers>) {
        self.trailers.borrow_mut().extend(trailers.cloned());
    }
    fn interim(&self, head: &ResponseHead) {
        self.interim.borrow_mut().push(head.status);
    }
    fn response_head(&self, _: &ResponseHead) {}
    fn response_data(&self, bytes: &Bytes) {
        *self.response_bytes.borrow_mut() += bytes.len() as u64;
    }
    fn response_end(&self, trailers: Option<&Headers>) {
        self.trailers.borrow_mut().extend(trailers.cloned());
    }
}

struct Through {
    session: Session,
    seen: Seen,
    outcomes: RefCell<Vec<Outcome>>,
}

impl Service for Through {
    async fn serve(self: Rc<Self>, request: ReceivedRequest, mut body: IncomingBody, mut responder: Responder) {
        let head = &request.head;
        let outcome = match self.session.send(head, None, body.is_absent()).await {
            Ok(sent) => {
                relay::relay(&head.method, &mut body, sent.body, Some(sent.response), &mut responder, &self.seen).await
            }
            Err(error) => Outcome { fault: Some(error.fault), reset: error.reset, ..Outcome::default() },
        };
        if !outcome.answered {
            responder.reset(outcome.reset.unwrap_or(Reason::INTERNAL_ERROR));
        }
        self.outcomes.borrow_mut().push(outcome);
    }
}

type Send = client::SendRequest<Bytes>;
type Accepted = (Request<h2::RecvStream>, server::SendResponse<Bytes>);

/// A client, weir's HTTP/2 in the middle, and a server that serves each stream with `serve`.
async fn through<S, F>(limits: Http2Limits, serve: S, script: impl AsyncFnOnce(Send, Rc<Through>))
where
    S: Fn(Accepted) -> F + 'static,
    F: Future<Output = ()> + 'static,
{
    LocalSet::new()
        .run_until(async {
            let (client_end, front_end) = duplex(16 << 10);
            let (upstream_end, server_end) = duplex(16 << 10);
            tokio::task::spawn_local(async move {
                let mut connection = server::handshake(server_end).await.expect("server");
                while let Some(Ok(accepted)) = connection.accept().await {
                    tokio::task::spawn_local(serve(accepted));
                }
            });
            let session = Session::open(upstream_end, &limits).await.expect("session");
            let service = Rc::new(Through { session, seen: Seen::default(), outcomes: RefCell::default() });
            let (stop, stopped) = oneshot::channel::<()>();
            let in_front = Rc::clone(&service);
            let front = tokio::task::spawn_local(async move {
                let shutdown = async {
                    let _ = stopped.await;
                };
                let ends = Ends { shutdown, cut: std::future::pending() };
                front::serve(front_end, &limits, in_front, Rc::new(ExtendedConnect::default()), ends).await
            });
            let (send, connection) = client::handshake(client_end).await.expect("client");
            let driver = tokio::task::spawn_local(connection);
            script(send, Rc::clone(&service)).await;
            let _ = stop.send(());
            let ended = tokio::time::timeout(Duration::from_secs(20), front).await.expect("ends in time");
            let _ = ended.expect("no panic");
            let _ = driver.await;
        })
        .await;
}

fn request(method: &str) -> Request<()> {
    Request::builder().method(method).uri("https://a.example/x").body(()).expect("a request")
}

/// Sends bytes within the window, whatever it is.
async fn send_all(
    stream: &mut h2::SendStream<Bytes>,
    mut left: usize,
    trailers: Option<HeaderMap>,
) -> Result<(), h2::Error> {
    while left > 0 {
        stream.reserve_capacity(left.min(16 << 10));
        match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(Ok(room)) => {
                let piece = room.min(left);
                stream.send_data(vec![7; piece].into(), false)?;
                left -= piece;
            }
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        }
    }
    match trailers {
        None => stream.send_data(Bytes::new(), true),
        Some(trailers) => stream.send_trailers(trailers),
    }
}

async fn read_all(stream: &mut h2::RecvStream) -> Result<(usize, Option<HeaderMap>), h2::Error> {
    let mut total = 0;
    while let Some(bytes) = stream.data().await {
        let bytes = bytes?;
        total += bytes.len();
        stream.flow_control().release_capacity(bytes.len())?;
    }
    Ok((total, stream.trailers().await?))
}

fn trailers(value: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static(value))])
}

#[tokio::test]
async fn big_bodies_both_ways_through_small_windows_with_trailers_and_interim() {
    const SIZE: usize = 3 << 20;
    let serve = async |(request, mut respond): Accepted| {
        let hints = Response::builder().status(103).header("link", "</a>").body(()).expect("a response");
        respond.send_informational(hints).expect("sends");
        let mut down = respond.send_response(Response::new(()), false).expect("responds");
        let mut body = request.into_body();
        let (received, sent) = tokio::join!(read_all(&mut body), send_all(&mut down, SIZE, Some(trailers("0"))));
        sent.expect("sends");
        let (size, seen) = received.expect("reads");
        assert_eq!((size, seen), (SIZE, Some(trailers("up"))));
    };
    let limits = Http2Limits { stream_window: 65_535, connection_window: 65_535, ..Http2Limits::default() };
    through(limits, serve, async |send, service| {
        let mut send = send.ready().await.expect("ready");
        let (mut response, mut up) = send.send_request(request("POST"), false).expect("sends");
        let upload = send_all(&mut up, SIZE, Some(trailers("up")));
        let download = async {
            let interim = poll_fn(|cx| response.poll_informational(cx)).await.expect("one").expect("interim");
            assert_eq!((interim.status().as_u16(), interim.headers()["link"].as_bytes()), (103, &b"</a>"[..]));
            read_all(response.await.expect("responds").body_mut()).await
        };
        let (sent, received) = tokio::join!(upload, download);
        sent.expect("sends");
        assert_eq!(received.expect("reads"), (SIZE, Some(trailers("0"))));
        drop(send);
        while service.outcomes.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*service.seen.request_bytes.borrow(), SIZE as u64);
        assert_eq!(*service.seen.response_bytes.borrow(), SIZE as u64);
        assert_eq!(service.seen.trailers.borrow().len(), 2);
        assert_eq!(*service.seen.interim.borrow(), [103]);
        let outcome = service.outcomes.borrow()[0];
        assert!(outcome.fault.is_none() && outcome.early);
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_slows_its_writer() {
    const SIZE: usize = 8 << 20;
    let limits = Http2Limits { stream_window: 64 << 10, max_send_buffer: 64 << 10, ..Http2Limits::default() };
    let serve = async |(_, mut respond): Accepted| {
        let mut down = respond.send_response(Response::new(()), false).expect("responds");
        let _ = send_all(&mut down, SIZE, None).await;
    };
    through(limits, serve, async |send, service| {
        let mut send = send.ready().await.expect("ready");
        let (response, _) = send.send_request(request("GET"), true).expect("sends");
        let mut body = response.await.expect("responds").into_body();
        // Nothing is read: what weir has taken from the server must come to rest.
        let mut before = u64::MAX;
        loop {
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            let now = *service.seen.response_bytes.borrow();
            if now == before {
                break;
            }
            before = now;
        }
        assert!(before <= 256 << 10, "weir took {before} bytes for a client that reads nothing");
        assert_eq!(read_all(&mut body).await.expect("reads").0, SIZE);
    })
    .await;
}

#[tokio::test]
async fn resets_pass_with_their_code() {
    let (told, tell) = oneshot::channel();
    let told = RefCell::new(Some(told));
    let serve = move |(request, mut respond): Accepted| {
        let told = told.borrow_mut().take();
        async move {
            match request.method().as_str() {
                "GET" => respond.send_reset(Reason::ENHANCE_YOUR_CALM),
                "PUT" => {
                    let mut down = respond.send_response(Response::new(()), false).expect("responds");
                    down.send_data(Bytes::from_static(b"half"), false).expect("sends");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    down.send_reset(Reason::INADEQUATE_SECURITY);
                }
                _ => {
                    let reason = poll_fn(|cx| respond.poll_reset(cx)).await.expect("reset");
                    let _ = told.expect("once").send(reason);
                }
            }
        }
    };
    through(Http2Limits::default(), serve, async |send, service| {
        let mut send = send.ready().await.expect("ready");
        // Client to server, while it waits for the response.
        let (response, mut up) = send.send_request(request("POST"), false).expect("sends");
        tokio::task::yield_now().await;
        up.send_reset(Reason::NO_ERROR);
        assert_eq!(tell.await.expect("told"), Reason::NO_ERROR);
        drop(response);
        // Server to client: before the head, and in the middle of the body.
        let (response, _) = send.send_request(request("GET"), true).expect("sends");
        assert_eq!(response.await.expect_err("reset").reason(), Some(Reason::ENHANCE_YOUR_CALM));
        let (response, _) = send.send_request(request("PUT"), true).expect("sends");
        let mut response = response.await.expect("responds");
        let error = read_all(response.body_mut()).await.expect_err("reset");
        assert_eq!(error.reason(), Some(Reason::INADEQUATE_SECURITY));
        while service.outcomes.borrow().len() < 3 {
            tokio::task::yield_now().await;
        }
        assert!(service.outcomes.borrow().iter().all(|outcome| outcome.fault == Some(Fault::StreamReset)));
        assert_eq!(service.session.open_streams(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_hundred_streams_share_one_connection_and_stay_apart() {
    let serve = async |(request, mut respond): Accepted| {
        let mut body = request.into_body();
        let (size, _) = read_all(&mut body).await.expect("reads");
        let mut down = respond.send_response(Response::new(()), false).expect("responds");
        send_all(&mut down, size, None).await.expect("sends");
    };
    through(Http2Limits::default(), serve, async |send, service| {
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let send = send.clone();
                tokio::task::spawn_local(async move {
                    let size = number * 1_000;
                    let (response, mut up) =
                        send.ready().await.expect("ready").send_request(request("POST"), false).expect("sends");
                    send_all(&mut up, size, None).await.expect("sends");
                    let mut response = response.await.expect("responds");
                    assert_eq!(read_all(response.body_mut()).await.expect("reads").0, size);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("ends well");
        }
        drop(send);
        assert!(service.outcomes.borrow().iter().all(|outcome| outcome.fault.is_none()));
    })
    .await;
}

#[tokio::test]
async fn refused_streams_may_be_sent_again() {
    let serve = async |(_, mut respond): Accepted| respond.send_reset(Reason::REFUSED_STREAM);
    through(Http2Limits::default(), serve, async |send, service| {
        let mut send = send.ready().await.expect("ready");
        let (response, _) = send.send_request(request("GET"), true).expect("sends");
        assert_eq!(response.await.expect_err("reset").reason(), Some(Reason::REFUSED_STREAM));
        assert!(service.outcomes.borrow()[0].replayable);
    })
    .await;
}

/// Answers whole and wants nothing of the request's body.
async fn answers_early((request, mut respond): Accepted) {
    respond.send_response(Response::builder().status(413).body(()).expect("a response"), true).expect("responds");
    drop(request);
}

#[tokio::test]
async fn an_early_response_does_not_wait_for_the_request() {
    through(Http2Limits::default(), answers_early, async |send, service| {
        let mut send = send.ready().await.expect("ready");
        let (response, mut up) = send.send_request(request("POST"), false).expect("sends");
        assert_eq!(response.await.expect("responds").status(), 413);
        // The server gives up on the rest, without an error, and so does weir.
        assert_eq!(poll_fn(|cx| up.poll_reset(cx)).await.expect("reset"), Reason::NO_ERROR);
        let outcome = service.outcomes.borrow()[0];
        assert!(outcome.early && outcome.answered && outcome.fault.is_none());
    })
    .await;
}

#[tokio::test]
async fn what_crosses_an_early_response_is_recorded() {
    through(Http2Limits::default(), answers_early, async |send, service| {
        let mut send = send.ready().await.expect("ready");
        let (response, mut up) = send.send_request(request("POST"), false).expect("sends");
        assert_eq!(response.await.expect("responds").status(), 413);
        // The client does not know yet that nobody wants it.
        up.send_data(Bytes::from_static(b"order"), true).expect("sends");
        while service.outcomes.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(service.outcomes.borrow()[0].fault.is_none());
        assert_eq!(*service.seen.request_bytes.borrow(), 5);
    })
    .await;
}
