//! The other end of the control API: how the CLI talks to a running capture.
//!
//! In: the address from the catalogue entry, the token from its file. Out: JSON answers, or a
//! sentence that says what to do.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Bytes, header};
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

    async fn exchange(&self, method: Method, path: &str, document: Option<&Value>) -> Result<Value> {
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("the capture at {} cannot be reached; is it still running?", self.address))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let body = document.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.as_str()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let collected = Limited::new(response.into_body(), MOST).collect().await;
        let bytes = collected.map_err(|error| anyhow!("the capture's answer broke off: {error}"))?.to_bytes();
        driver.abort();
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
