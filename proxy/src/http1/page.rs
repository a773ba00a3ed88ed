//! Responses weir makes itself: error pages that say what failed and what to do.
//!
//! In: a [`Failure`] or an [`Answer`], and what the client accepts. Out: head and body as bytes.

use std::io::Write;

use bytestring::ByteString;
use weir_engine::record::Headers;

use crate::{failure::Failure, hooks::Answer};

/// The page for a failure, in the form the client accepts.
#[must_use]
pub fn of_failure(failure: &Failure, accept: Option<&[u8]>) -> Answer {
    let code = failure.fault.as_str();
    let accept = accept.unwrap_or_default();
    let wants = |kind: &str| memchr::memmem::find(accept, kind.as_bytes()).is_some();
    let (content_type, body) = if wants("text/html") {
        let detail = escape(&failure.detail);
        let body = format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>weir: {code}</title>\
             <style>body{{font:1rem/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem}}code{{color:#a00}}</style>\
             <h1>{} {}</h1><p>{detail}<p>This page comes from the weir proxy, not from the server. \
             Code: <code>{code}</code></html>\n",
            failure.status(),
            phrase(failure.status()),
        );
        ("text/html; charset=utf-8", body)
    } else if wants("json") {
        let body = serde_json::json!({ "error": code, "detail": failure.detail, "from": "weir" });
        ("application/json", format!("{body}\n"))
    } else {
        ("text/plain; charset=utf-8", format!("weir: {} ({code})\n", failure.detail))
    };
    let mut headers = vec![(ByteString::from_static("X-Weir-Error"), ByteString::from_static(code))];
    if failure.status() == 407 {
        headers.push(("Proxy-Authenticate".into(), "Basic realm=\"weir\"".into()));
    }
    Answer { status: failure.status(), content_type: content_type.into(), headers, body: body.into() }
}

/// The head of an answer, and its field lines for the record.
#[must_use]
pub fn head(answer: &Answer, close: bool) -> (Vec<u8>, Headers) {
    let length = answer.body.len().to_string();
    let mut lines: Vec<(&str, &str)> = vec![("Content-Type", &answer.content_type), ("Content-Length", &length)];
    lines.extend(answer.headers.iter().map(|(name, value)| (&**name, &**value)));
    lines.push(("Cache-Control", "no-store"));
    if close {
        lines.push(("Connection", "close"));
    }
    let mut head = Vec::with_capacity(256);
    // Writing to a Vec does not fail.
    let _ = write!(head, "HTTP/1.1 {} {}\r\n", answer.status, phrase(answer.status));
    for (name, value) in &lines {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.extend_from_slice(b"\r\n");
    (head, Headers::from_pairs(lines))
}

/// The reason phrase of a status (RFC 9110 §15).
#[must_use]
pub fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use weir_engine::record::Fault;

    use super::*;

    #[test]
    fn pages_by_what_is_accepted() {
        let failure = Failure::new(Fault::DnsFailed, "The name <x> has no address.");
        let html = of_failure(&failure, Some(b"text/html,*/*"));
        assert!(html.body.windows(9).any(|window| window == b"&lt;x&gt;"));
        let json = of_failure(&failure, Some(b"application/json"));
        let value: serde_json::Value = serde_json::from_slice(&json.body).expect("is JSON");
        assert_eq!(value["error"], "dns_failed");
        let (head, headers) = head(&of_failure(&failure, None), true);
        assert!(head.starts_with(b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain"));
        assert_eq!(headers.get("x-weir-error"), Some(&b"dns_failed"[..]));
    }
}
