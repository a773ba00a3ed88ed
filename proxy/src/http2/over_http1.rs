//! An HTTP/2 client's exchange over an HTTP/1.1 connection to the server.
//!
//! In: a request head, and a connection. Out: the sink and the response that [`super::relay`] wants.
//! DATA becomes content of known length or chunks; chunks become DATA; trailer sections stay what they are.

use std::cell::Cell;

use bytes::Bytes;
use h2::Reason;
use weir_engine::record::{Fault, Headers};

use super::{
    fields,
    relay::{Arrival, DownloadSource, ResponseSource, UploadSink},
    upstream::SendError,
};
use crate::{
    body::{BodySink, BodySource, Frame},
    client::Client,
    http1::{
        body::{Reader, Side, Writer},
        head::{self, Response},
        wire::Wire,
    },
    message::{RequestHead, ResponseHead},
};

/// Sends the head of a request; what follows goes through the returned sink.
pub(super) async fn send<'a>(
    client: &'a Client,
    wire: &'a Wire,
    head: &RequestHead,
    has_body: bool,
) -> Result<Http1Sink<'a>, Fault> {
    // A target or a value with these would be another request on the other side.
    let breaks = |text: &[u8]| text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    let headers = fields::request_fields_towards_http1(head, has_body);
    let lines_break = headers.iter().any(|(name, value)| breaks(name) || breaks(value));
    if lines_break || breaks(head.target.as_bytes()) || head.target.contains(' ') || breaks(head.method.as_bytes()) {
        return Err(Fault::RequestSmuggling);
    }
    let mut bytes = client.core.buffer();
    bytes.extend_from_slice(head.method.as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(head.target.as_bytes());
    bytes.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers.iter() {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let chunked = headers.get("transfer-encoding").is_some();
    let mut writer = Writer::new(client, wire, Side::Server, chunked, bytes);
    writer.flush().await?;
    Ok(Http1Sink(writer))
}

/// Takes the body of a request.
#[derive(Debug)]
pub(super) struct Http1Sink<'a>(Writer<'a>);

impl BodySink for Http1Sink<'_> {
    async fn data(&mut self, bytes: Bytes) -> Result<(), Fault> {
        self.0.data(bytes).await
    }

    async fn end(&mut self, trailers: Option<Headers>) -> Result<(), Fault> {
        self.0.end(trailers).await
    }
}

impl UploadSink for Http1Sink<'_> {
    // The connection is closed instead: it does not go back into the pool.
    fn abort(&mut self, _: Reason) {}

    fn outlives_response(&self) -> bool {
        false
    }

    async fn until_refused(&mut self) {
        std::future::pending::<()>().await;
    }
}

/// Reads the response.
#[derive(Debug)]
pub(super) struct Http1Response<'a> {
    pub(super) client: &'a Client,
    pub(super) wire: &'a Wire,
    pub(super) method: &'a str,
    /// Whether the connection can carry another exchange after this response.
    pub(super) persistent: &'a Cell<bool>,
}

impl Http1Response<'_> {
    async fn read(&self) -> Result<Response, Fault> {
        let config = self.client.core.config();
        let limits = &config.limits;
        loop {
            let found = self.wire.with_ahead(|ahead| match head::find_end(ahead, 0) {
                Some(end) if end <= limits.head_bytes => Ok(Some(ahead.split_to(end))),
                None if ahead.len() <= limits.head_bytes => Ok(None),
                _ => Err(Fault::ResponseHeadTooLarge),
            });
            if let Some(raw) = found? {
                return Response::parse(raw, self.method, limits).map_err(|failure| failure.fault);
            }
            self.client.watch.arm(config.upstream.timeouts.response);
            match self.wire.fill(&self.client.core.slabs, &self.client.watch, false).await {
                Ok(0) => return Err(Fault::ServerClosed),
                Ok(_) => {}
                Err(error) => return Err(Side::Server.read_fault(&error)),
            }
        }
    }
}

impl<'a> ResponseSource for Http1Response<'a> {
    type Body = Http1Body<'a>;

    async fn next(&mut self) -> Result<Arrival<Http1Body<'a>>, SendError> {
        let response = self.read().await.map_err(SendError::plain)?;
        let head = ResponseHead {
            status: response.status,
            reason: response.reason(),
            protocol: response.protocol,
            headers: response.fields.headers.clone(),
        };
        if head.is_interim() {
            return Ok(Arrival::Interim(head));
        }
        self.persistent.set(response.persistent);
        let reader = Reader::new(self.client, self.wire, Side::Server, response.framing);
        Ok(Arrival::Final(head, Http1Body(reader)))
    }
}

/// Reads the body of a response.
#[derive(Debug)]
pub(super) struct Http1Body<'a>(Reader<'a>);

impl BodySource for Http1Body<'_> {
    async fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        self.0.frame().await
    }

    fn remaining(&self) -> Option<u64> {
        self.0.remaining()
    }
}

impl DownloadSource for Http1Body<'_> {
    fn reset_code(&self) -> Option<Reason> {
        None
    }

    fn is_absent(&self) -> bool {
        self.0.is_done()
    }
}
