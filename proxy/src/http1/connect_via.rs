//! A tunnel through an upstream proxy: CONNECT and its answer (RFC 9110 §9.3.6).
//!
//! In: a fresh stream to the proxy, host and port. Out: the same stream, now the tunnel.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_engine::record::Fault;

use super::credentials;
use crate::{failure::Failure, stream::Stream};

/// Bytes of the proxy's answer that are read at most.
const ANSWER_BYTES: usize = 16 << 10;

/// Asks for the tunnel.
///
/// # Errors
/// [`Fault::UpstreamProxyFailed`] with what the proxy answered.
pub async fn tunnel(
    stream: &mut Stream,
    host: &str,
    port: u16,
    credentials: Option<&(String, String)>,
) -> Result<(), Failure> {
    let bracketed = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = format!("CONNECT {bracketed} HTTP/1.1\r\nHost: {bracketed}\r\n");
    if let Some((user, password)) = credentials {
        request.push_str("Proxy-Authorization: ");
        request.push_str(&credentials::basic(user, password));
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let failed = |what: String| {
        Failure::new(Fault::UpstreamProxyFailed, format!("The upstream proxy failed CONNECT {bracketed}: {what}."))
    };
    stream.write_all(request.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    // Byte by byte would be slow and bytes past the head belong to the tunnel: read in pieces, put back.
    let mut answer = bytes::BytesMut::with_capacity(1024);
    loop {
        if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
            let rest = answer.split_off(end + 4).freeze();
            let line = answer[..].split(|&byte| byte == b'\r').next().unwrap_or_default();
            let status = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
            if !line.starts_with(b"HTTP/1.") || status.len() != 3 || status[0] != b'2' {
                return Err(failed(String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned()));
            }
            if !rest.is_empty() {
                stream.unread(rest);
            }
            return Ok(());
        }
        if answer.len() > ANSWER_BYTES {
            return Err(failed("its answer does not end".to_owned()));
        }
        match stream.read_buf(&mut answer).await {
            Ok(0) => return Err(failed("it closed the connection".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}
