//! Heads as HTTP/2 carries them, and their translation (RFC 9113 §8.2, §8.3; RFC 9110 §7.6.1).
//!
//! In: what the `h2` library decoded, or the heads of [`crate::message`]. Out: the other one, and the
//! field lines a request or response needs towards HTTP/1.1. Whatever could be read in two ways after
//! translation is refused here: that is what makes smuggling by downgrade impossible.
//!
//! The library checks while it decodes: upper-case names, connection-specific fields, CR, LF, NUL and
//! other controls in values, order and number of pseudo-header fields, DATA against Content-Length. What it
//! does not check is checked here: several Content-Length fields, Host against `:authority`, user information.
//!
//! Known limit: the library hands over a `HeaderMap`, in which lines of equal name stand together, at the
//! place of the first; otherwise the order is the sender's.

use bytestring::ByteString;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request, response};
use weir_engine::record::{Fault, Headers, HeadersBuilder, Protocol, Url, url};

use crate::message::{RequestHead, ResponseHead};

/// Fields that speak about one HTTP/1.1 connection and must not appear in HTTP/2 (RFC 9113 §8.2.2).
const CONNECTION_SPECIFIC: [&str; 7] =
    ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "http2-settings", "te"];

/// A request as an HTTP/2 client sent it.
#[derive(Debug)]
pub struct ReceivedRequest {
    /// Its head; the URL is empty when the parts make none.
    pub head: RequestHead,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub protocol: Option<ByteString>,
    /// Why it must not be forwarded.
    pub fault: Option<Fault>,
}

/// The field lines of a map, in its order.
#[must_use]
pub fn headers_of(map: &HeaderMap) -> Headers {
    let mut builder = HeadersBuilder::default();
    for (name, value) in map {
        builder.push(name.as_str().as_bytes(), value.as_bytes());
    }
    builder.finish()
}

/// The one value of Content-Length, of however many fields and list members that agree (RFC 9112 §6.3).
///
/// # Errors
/// [`Fault::RequestSmuggling`] when they differ or are no numbers; responses map it to their own.
pub fn content_length(headers: &Headers) -> Result<Option<u64>, Fault> {
    let mut length = None;
    for value in headers.get_all("content-length") {
        for member in value.split(|&byte| byte == b',') {
            let member = member.trim_ascii();
            let digits = !member.is_empty() && member.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(member).ok().filter(|_| digits).and_then(|text| text.parse::<u64>().ok());
            let number = number.ok_or(Fault::RequestSmuggling)?;
            if length.replace(number).is_some_and(|before| before != number) {
                return Err(Fault::RequestSmuggling);
            }
        }
    }
    Ok(length)
}

/// The head of a request received over HTTP/2.
#[must_use]
pub fn received_request(parts: &request::Parts) -> ReceivedRequest {
    let headers = headers_of(&parts.headers);
    let protocol = parts.extensions.get::<h2::ext::Protocol>().map(|protocol| ByteString::from(protocol.as_str()));
    let mut fault = None;
    let host = headers.get("host").and_then(|host| std::str::from_utf8(host).ok());
    let scheme = parts.uri.scheme_str().unwrap_or("https");
    let authority = match (parts.uri.authority(), host) {
        (Some(authority), host) => {
            // RFC 9113 §8.3.1: a Host that differs is malformed, and is how requests are smuggled.
            if host.is_some_and(|host| !same_authority(scheme, host, authority.as_str())) {
                fault = Some(Fault::RequestSmuggling);
            }
            authority.as_str()
        }
        (None, Some(host)) => host,
        (None, None) => {
            fault = Some(Fault::ClientMalformed);
            ""
        }
    };
    if headers.get_all("host").count() > 1 {
        fault = Some(Fault::RequestSmuggling);
    }
    if authority.contains('@') {
        fault = Some(Fault::ClientMalformed);
    }
    if content_length(&headers).is_err() {
        fault = Some(Fault::RequestSmuggling);
    }
    let authority = ByteString::from(authority);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let url = Url::from_parts(scheme, &authority, target).unwrap_or_else(|| {
        fault.get_or_insert(Fault::ClientMalformed);
        Url::default()
    });
    let head = RequestHead {
        method: parts.method.as_str().into(),
        url,
        authority,
        target: if target.is_empty() { "/" } else { target }.into(),
        protocol: Protocol::Http2,
        headers,
    };
    ReceivedRequest { head, protocol, fault }
}

fn same_authority(scheme: &str, one: &str, other: &str) -> bool {
    let normal =
        |text| url::split_host_port(text).map(|(host, port)| (host, port.unwrap_or(url::default_port(scheme))));
    match (normal(one), normal(other)) {
        (Some((host, port)), Some((other_host, other_port))) => {
            host.eq_ignore_ascii_case(other_host) && port == other_port
        }
        _ => false,
    }
}

/// The head of a response received over HTTP/2.
///
/// # Errors
/// [`Fault::ResponseSmuggling`] when its Content-Length fields disagree.
pub fn received_response(parts: &response::Parts) -> Result<ResponseHead, Fault> {
    let headers = headers_of(&parts.headers);
    content_length(&headers).map_err(|_| Fault::ResponseSmuggling)?;
    Ok(ResponseHead { status: parts.status.as_u16(), reason: None, protocol: Protocol::Http2, headers })
}

/// A request for an HTTP/2 server.
///
/// # Errors
/// [`Fault::ClientMalformed`] when HTTP/2 cannot carry it, [`Fault::RequestHeadTooLarge`] when it has too many fields.
pub fn request_towards_http2(head: &RequestHead, protocol: Option<&str>) -> Result<Request<()>, Fault> {
    let method = Method::from_bytes(head.method.as_bytes()).map_err(|_| Fault::ClientMalformed)?;
    let tunnel = method == Method::CONNECT && protocol.is_none();
    let mut uri = Uri::builder().authority(&*head.authority);
    if !tunnel {
        let scheme = if matches!(head.url.scheme(), "http" | "ws") { "http" } else { "https" };
        uri = uri.scheme(scheme).path_and_query(&*carried_target(&head.target));
    }
    let uri = uri.build().map_err(|_| Fault::ClientMalformed)?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    // Credentials for weir stay with weir (RFC 9110 §11.7.2).
    *request.headers_mut() =
        map_towards_http2(&head.headers, &["host", "proxy-authorization"], Fault::ClientMalformed)?;
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
    }
    Ok(request)
}

/// The target with what a URI must not contain percent-encoded; clients do send `<` or a backquote.
fn carried_target(target: &str) -> std::borrow::Cow<'_, str> {
    let forbidden = |byte: u8| {
        byte <= b' '
            || byte == 0x7F
            || matches!(byte, b'<' | b'>' | b'`' | b'#' | b'"' | b'\\' | b'^' | b'{' | b'|' | b'}')
            || byte >= 0x80
    };
    // Only what the library refuses is touched: the server sees what the client wrote wherever it can.
    if target == "*" || target.parse::<http::uri::PathAndQuery>().is_ok() {
        return target.into();
    }
    let mut encoded = String::with_capacity(target.len() + 8);
    for byte in target.bytes() {
        if forbidden(byte) {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        } else {
            encoded.push(char::from(byte));
        }
    }
    encoded.into()
}

/// A response for an HTTP/2 client.
///
/// # Errors
/// [`Fault::ServerMalformed`] when HTTP/2 cannot carry it.
pub fn response_towards_http2(head: &ResponseHead) -> Result<Response<()>, Fault> {
    let status = StatusCode::from_u16(head.status).map_err(|_| Fault::ServerMalformed)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault::ServerMalformed);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = http::Version::HTTP_2;
    // There is no body to be measured (RFC 9110 §8.6).
    let without: &[&str] = if matches!(head.status, 100..200 | 204) { &["content-length"] } else { &[] };
    *response.headers_mut() = map_towards_http2(&head.headers, without, Fault::ServerMalformed)?;
    Ok(response)
}

/// A trailer section for HTTP/2. Fields that frame or route a message are left out (RFC 9110 §6.5.1).
///
/// # Errors
/// `malformed` when HTTP/2 cannot carry it.
pub fn trailers_towards_http2(trailers: &Headers, malformed: Fault) -> Result<HeaderMap, Fault> {
    map_towards_http2(trailers, &["host", "content-length", "trailer"], malformed)
}

fn map_towards_http2(headers: &Headers, without: &[&str], malformed: Fault) -> Result<HeaderMap, Fault> {
    let named = connection_options(headers);
    let mut map = HeaderMap::with_capacity(headers.len().min(256));
    for (name, value) in headers.iter() {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("te") {
            // Only `trailers` may pass (RFC 9113 §8.2.2).
            if value.split(|&byte| byte == b',').any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
                && !map.contains_key(http::header::TE)
            {
                map.insert(http::header::TE, HeaderValue::from_static("trailers"));
            }
            continue;
        }
        if CONNECTION_SPECIFIC.into_iter().any(is) || without.iter().any(|other| is(other)) || names(&named, name) {
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| malformed)?;
        let value = HeaderValue::from_bytes(value.trim_ascii()).map_err(|_| malformed)?;
        map.try_append(name, value).map_err(|_| malformed)?;
    }
    Ok(map)
}

/// The fields that Connection names.
fn connection_options(headers: &Headers) -> Vec<&[u8]> {
    let values = headers.get_all("connection");
    values.flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii).collect()
}

fn names(options: &[&[u8]], name: &[u8]) -> bool {
    options.iter().any(|option| option.eq_ignore_ascii_case(name))
}

/// The field lines of an HTTP/2 request for an HTTP/1.1 server: Host first, cookie crumbs joined
/// (RFC 9113 §8.2.3), a transfer coding where a body comes whose length nobody said.
#[must_use]
pub fn request_fields_towards_http1(head: &RequestHead, has_body: bool) -> Headers {
    let mut builder = HeadersBuilder::default();
    builder.push(b"host", head.authority.as_bytes());
    let mut cookies: Vec<u8> = Vec::new();
    let mut crumbs = head.headers.get_all("cookie").peekable();
    while let Some(crumb) = crumbs.next() {
        cookies.extend_from_slice(crumb);
        if crumbs.peek().is_some() {
            cookies.extend_from_slice(b"; ");
        }
    }
    let mut has_length = false;
    for (name, value) in head.headers.iter() {
        match name {
            b"host" | b"proxy-authorization" => {}
            b"cookie" => {
                if !cookies.is_empty() {
                    builder.push(name, &std::mem::take(&mut cookies));
                }
            }
            b"content-length" => {
                if !std::mem::replace(&mut has_length, true) {
                    builder.push(name, value);
                }
            }
            b"te" => {
                // TE concerns one connection, and so does its mention.
                builder.push(name, value);
                builder.push(b"connection", b"te");
            }
            _ => builder.push(name, value),
        }
    }
    if has_body && !has_length {
        builder.push(b"transfer-encoding", b"chunked");
    }
    builder.finish()
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
