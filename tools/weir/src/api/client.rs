//! The other end of the control API: how the CLI talks to a running capture.
//!
//! In: the address from the catalogue entry, the token from its file. Out: JSON answers, or a
//! sentence that says what to do.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::token::Token;

/// How long an answer may take; a pause waits for nothing longer than a batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer's size at most.
const MOST: usize = 16 << 20;

/// A running capture.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    token: Token,
}

impl Client {
    /// The capture whose API is at `address`.
    pub(crate) fn new(address: SocketAddr, token: Token) -> Self {
        Self { address, token }
    }

    /// Sends one request and returns the document that came back.
    pub(crate) fn call(&self, method: Method, path: &str, document: Option<&Value>) -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer =
            runtime.block_on(async { tokio::time::timeout(TIMEOUT, self.exchange(method, path, document)).await });
        answer.map_err(|_| anyhow!("the capture at {} does not answer; is it busy or stopped?", self.address))?
    }

    /// Reads the events of a stream until `each` says that it has enough, or the capture ends.
    pub(crate) fn follow(&self, path: &str, each: impl FnMut(Event<'_>) -> Result<bool>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let asked = tokio::time::timeout(TIMEOUT, self.send(Method::GET, path, None)).await;
            let response = asked.map_err(|_| anyhow!("the capture at {} does not answer", self.address))??;
            if !response.status().is_success() {
                return self.read(response).await.map(drop);
            }
            events(response.into_body(), each).await
        })
    }

    async fn exchange(&self, method: Method, path: &str, document: Option<&Value>) -> Result<Value> {
        let response = self.send(method, path, document).await?;
        self.read(response).await
    }

    async fn send(&self, method: Method, path: &str, document: Option<&Value>) -> Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("the capture at {} cannot be reached; is it still running?", self.address))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the response's body, or with the runtime.
        tokio::spawn(connection);
        let body = document.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.as_str()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        Ok(sender.send_request(request).await?)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Value> {
        let status = response.status();
        let collected = Limited::new(response.into_body(), MOST).collect().await;
        let bytes = collected.map_err(|error| anyhow!("the capture's answer broke off: {error}"))?.to_bytes();
        let answer: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        if status.is_success() {
            return Ok(answer);
        }
        match answer["error"]["message"].as_str() {
            Some(message) => bail!("{message}"),
            None => bail!("the capture at {} answered {status}; is it another version of weir?", self.address),
        }
    }
}

/// A server-sent event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its data, a line.
    pub(crate) data: &'a str,
}

/// Hands over each event of a body as it comes.
async fn events(mut body: Incoming, mut each: impl FnMut(Event<'_>) -> Result<bool>) -> Result<()> {
    let mut waiting = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("the capture's answer broke off")?.into_data() else { continue };
        waiting.extend_from_slice(&data);
        if waiting.len() > MOST {
            bail!("the capture tells an event that is too long");
        }
        while let Some(end) = waiting.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = waiting.drain(..end + 2).collect();
            if let Some(event) = event(std::str::from_utf8(&block)?)
                && !each(event)?
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The event of a block of lines; a comment is none.
fn event(block: &str) -> Option<Event<'_>> {
    let field =
        |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start);
    Some(Event { name: field("event").unwrap_or("message"), data: field("data")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read() {
        assert_eq!(event("event: request\nid: 3\ndata: {}\n\n"), Some(Event { name: "request", data: "{}" }));
        assert_eq!(event(": keep-alive\n\n"), None);
    }
}
