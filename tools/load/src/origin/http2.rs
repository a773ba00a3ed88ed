//! Connections of HTTP/2: the same answers; what has no meaning there (WebSocket, malformed) resets the stream.

use std::{io, rc::Rc, time::Duration};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    server::{self, SendResponse},
};
use http::{HeaderValue, Method, Request, Response, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Served,
    route::{Route, unique},
};
use crate::{ID_FIELD, wire::content};

const MOST_ECHO: usize = 64 << 20;
const PIECE: usize = 64 << 10;
const MOST_STREAMS: u32 = 1_024;

fn failed(error: h2::Error) -> io::Error {
    io::Error::other(error)
}

/// Answers until the client ends the connection.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, served: &Rc<Served>) -> io::Result<()> {
    let mut connection = server::Builder::new()
        .max_concurrent_streams(MOST_STREAMS)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(failed)?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.map_err(failed)?;
        served.shared.stall();
        let route = Route::parse(request.uri().path().as_bytes());
        if let (Route::Bytes(size @ 0..=0x8000), true) = (route, request.body().is_end_stream()) {
            // Ready at once: no task.
            let head = head(&request, route, 200, served, size);
            let mut body = Vec::with_capacity(size as usize);
            content::piece(&mut body, size, 0, usize::MAX);
            let bodyless = request.method() == Method::HEAD;
            // A stream that the client has reset takes nothing.
            if let Ok(mut send) = respond.send_response(head, bodyless)
                && !bodyless
            {
                let _ = send.send_data(body.into(), true);
            }
            continue;
        }
        let served = Rc::clone(served);
        tokio::task::spawn_local(async move {
            let _ = answer(request, respond, route, &served).await;
        });
    }
    Ok(())
}

fn head(request: &Request<RecvStream>, route: Route, status: u16, served: &Served, size: u64) -> Response<()> {
    let id = request.headers().get(ID_FIELD);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    served.note(request.method().as_str(), target, id.map(HeaderValue::as_bytes), status, size);
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("weir-load"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(route.media_type()));
    if let Some(id) = id {
        headers.insert(ID_FIELD, id.clone());
    }
    if !matches!(route, Route::Chunked(..) | Route::Events(..) | Route::Truncate(_)) {
        headers.insert(header::CONTENT_LENGTH, size.into());
    }
    response
}

async fn answer(
    mut request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    route: Route,
    served: &Served,
) -> Result<(), h2::Error> {
    let keep = if route == Route::Echo { MOST_ECHO } else { 0 };
    let received = body(request.body_mut(), keep).await?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let id = request.headers().get(ID_FIELD).cloned();
    let mut status = 200;
    let (size, ready): (u64, Option<Bytes>) = match route {
        Route::Reset | Route::Malformed | Route::WebSocket => {
            let _ = head(&request, route, 0, served, 0);
            respond.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        Route::Unknown => {
            status = 404;
            (0, None)
        }
        Route::Status(code) => {
            status = code;
            let text = if matches!(code, 204 | 304) { "" } else { "ok" };
            (text.len() as u64, Some(Bytes::from_static(text.as_bytes())))
        }
        Route::Echo => (received.len() as u64, Some(received)),
        Route::Unique(size) => {
            let mut body = Vec::with_capacity(size as usize);
            unique(&mut body, size, id.as_ref().map(HeaderValue::as_bytes), target.as_bytes());
            (size, Some(body.into()))
        }
        Route::Coded(coding, size) => {
            let body = served.coded.get(coding, size);
            (body.len() as u64, Some(body))
        }
        Route::Delay(pause, size) => {
            tokio::time::sleep(pause).await;
            (size, None)
        }
        Route::Bytes(size) | Route::Chunked(size, _) | Route::Slow(size, _) | Route::Truncate(size) => (size, None),
        Route::Events(..) => (0, None),
    };
    let mut response = head(&request, route, status, served, size);
    if let Route::Coded(coding, _) = route {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    }
    let bodyless = request.method() == Method::HEAD || (size == 0 && !matches!(route, Route::Events(..)));
    let mut send = respond.send_response(response, bodyless)?;
    if bodyless {
        return Ok(());
    }
    if let Some(mut ready) = ready {
        while !ready.is_empty() {
            let piece = ready.split_to(ready.len().min(PIECE));
            let last = ready.is_empty();
            send_piece(&mut send, piece, last).await?;
        }
        return Ok(());
    }
    match route {
        Route::Events(count, pause) => {
            for number in 0..count {
                let event = format!("id: {number}\ndata: {{\"event\":{number}}}\n\n");
                send_piece(&mut send, event.into(), number + 1 == count).await?;
                if number + 1 < count {
                    tokio::time::sleep(pause).await;
                }
            }
            if count == 0 { send.send_data(Bytes::new(), true) } else { Ok(()) }
        }
        Route::Truncate(size) => {
            pieces(&mut send, size, size / 2, PIECE, Duration::ZERO).await?;
            send.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        Route::Slow(size, pause) => pieces(&mut send, size, size, (size / 10).max(1) as usize, pause).await,
        Route::Chunked(size, chunk) => pieces(&mut send, size, size, chunk, Duration::ZERO).await,
        _ => pieces(&mut send, size, size, PIECE, Duration::ZERO).await,
    }
}

async fn pieces(
    send: &mut SendStream<Bytes>,
    size: u64,
    until: u64,
    most: usize,
    pause: Duration,
) -> Result<(), h2::Error> {
    let mut sent = 0;
    while sent < until {
        let mut piece = Vec::new();
        let room = usize::try_from(until - sent).unwrap_or(usize::MAX).min(most);
        sent += content::piece(&mut piece, size, sent, room) as u64;
        send_piece(send, piece.into(), sent == size).await?;
        if sent < until && !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    Ok(())
}

/// Sends when the client has room for it.
async fn send_piece(send: &mut SendStream<Bytes>, mut piece: Bytes, last: bool) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        send.reserve_capacity(piece.len());
        let room = match std::future::poll_fn(|context| send.poll_capacity(context)).await {
            Some(room) => room?,
            None => return Ok(()),
        };
        let part = piece.split_to(room.min(piece.len()));
        let last = last && piece.is_empty();
        send.send_data(part, last)?;
    }
    Ok(())
}

async fn body(stream: &mut RecvStream, keep: usize) -> Result<Bytes, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        if body.len() + data.len() <= keep {
            body.extend_from_slice(&data);
        }
    }
    Ok(body.into())
}
