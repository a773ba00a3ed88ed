//! The request to be sent: the captured one, changed.
//!
//! In: a row, its body, edits. Out: the bytes of an HTTP/1.1 request in absolute form, for a proxy.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use weir_engine::record::Url;
use weir_storage::ExchangeRow;

/// What is to be changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edits {
    /// `Name: value` lines; one without a value takes the field away.
    pub(crate) headers: Vec<String>,
    /// Another method.
    pub(crate) method: Option<String>,
    /// Another URL.
    pub(crate) url: Option<String>,
    /// Another body.
    pub(crate) body: Option<Vec<u8>>,
    /// The cookies to send instead of those captured: none, or the value of Cookie.
    pub(crate) cookies: Option<Option<String>>,
}

/// A request that can be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Its method.
    pub(crate) method: String,
    /// Its whole URL.
    pub(crate) url: Url,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Fields about one connection or one framing (RFC 9110 §7.6.1), which are made anew.
const MADE_ANEW: [&str; 11] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Request {
    /// The captured request with edits; `body`: the captured one as it was sent.
    pub(crate) fn build(row: &ExchangeRow, body: Vec<u8>, edits: Edits) -> Result<Self> {
        let text = edits.url.as_deref().unwrap_or(&row.url);
        // A WebSocket begins with a request like others.
        let text = match text.split_once("://") {
            Some(("ws", rest)) => format!("http://{rest}"),
            Some(("wss", rest)) => format!("https://{rest}"),
            _ => text.to_owned(),
        };
        let url = Url::parse(text.clone().into())
            .filter(|url| matches!(url.scheme(), "http" | "https") && !url.domain().is_empty())
            .with_context(|| format!("'{text}' cannot be sent to; give a whole http:// or https:// URL with --url"))?;
        if url.as_str().chars().any(|c| c.is_control() || c == ' ') {
            bail!("the URL holds blanks or control characters; give one without with --url");
        }
        let method = edits.method.unwrap_or_else(|| row.method.clone());
        if !is_token(&method) {
            bail!("'{}' is no method; give one with --method", crate::output::text::one_line(&method));
        }
        let replaced = edits.body.is_some();
        let mut headers: Vec<(String, String)> = row
            .request_headers
            .iter()
            .filter(|line| is_token(&line.name) && !MADE_ANEW.iter().any(|name| line.name.eq_ignore_ascii_case(name)))
            .filter(|line| !(replaced && line.name.eq_ignore_ascii_case("content-encoding")))
            .filter(|line| !(edits.cookies.is_some() && line.name.eq_ignore_ascii_case("cookie")))
            .map(|line| (line.name.clone(), line.value.clone()))
            .collect();
        if let Some(Some(cookies)) = edits.cookies {
            headers.push(("Cookie".to_owned(), cookies));
        }
        for line in &edits.headers {
            edit(&mut headers, line)?;
        }
        if let Some((name, _)) = headers.iter().find(|(_, value)| value.contains(['\r', '\n', '\0'])) {
            bail!("the value of {name} holds a line break; set another with --set-header");
        }
        Ok(Self { method, url, headers, body: edits.body.unwrap_or(body) })
    }

    /// The bytes for a proxy; the connection ends with the answer.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.url.as_str());
        let host = |(name, _): &(String, String)| name.eq_ignore_ascii_case("host");
        if !self.headers.iter().any(host) {
            // Writing to a String cannot fail.
            let _ = write!(head, "Host: {}\r\n", authority(&self.url));
        }
        let expects_body = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH");
        let mut unsaid = !self.body.is_empty() || expects_body;
        for (name, value) in &self.headers {
            // The length of what is sent, where the captured one stood.
            if !name.eq_ignore_ascii_case("content-length") {
                let _ = write!(head, "{name}: {value}\r\n");
            } else if std::mem::take(&mut unsaid) {
                let _ = write!(head, "{name}: {}\r\n", self.body.len());
            }
        }
        if unsaid {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str("Connection: close\r\n\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// Host and port as they stand in the URL.
fn authority(url: &Url) -> &str {
    let after = url.as_str().split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let authority = &after[..after.find(['/', '?', '#']).unwrap_or(after.len())];
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn is_token(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_char)
}

/// Sets a field, or takes it away; the first of that name keeps its place.
fn edit(headers: &mut Vec<(String, String)>, line: &str) -> Result<()> {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    let (name, value) = (name.trim(), value.trim());
    if !is_token(name) {
        bail!("'{}' is no header line; write --set-header 'Name: value'", crate::output::text::one_line(line));
    }
    let place = headers.iter().position(|(found, _)| found.eq_ignore_ascii_case(name));
    headers.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
    if !value.is_empty() {
        let place = place.unwrap_or(headers.len()).min(headers.len());
        headers.insert(place, (name.to_owned(), value.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use weir_storage::query::HeaderLine;

    use super::*;

    fn row() -> ExchangeRow {
        let line = |name: &str, value: &str| HeaderLine { name: name.into(), value: value.into() };
        let mut document = serde_json::json!({
            "id": 1, "source": "proxy", "device": null, "client": null, "server": null, "connection": 1,
            "started": "2026-01-01T00:00:00Z", "protocol": "HTTP/2", "method": "POST", "scheme": "https",
            "domain": "a.example", "type": null, "category": "none", "port": 8443, "path": "/x", "query": "", "endpoint": "/x",
            "url": "https://a.example:8443/x", "status": 200, "reason": null, "error": null,
            "request_body": null, "response_body": null, "request_size": 2, "response_size": 0,
            "request_body_state": "stored", "response_body_state": "none", "duration_us": null, "dns_us": null,
            "connect_us": null, "tls_us": null, "wait_us": null, "receive_us": null, "process": null, "pid": null,
            "flags": 0, "cookies": [], "request_headers": [], "response_headers": [],
        });
        document["request_headers"] = serde_json::to_value([
            line(":authority", "a.example"),
            line("Accept", "*/*"),
            line("Cookie", "a=1"),
            line("Content-Length", "9"),
            line("X-Old", "1"),
        ])
        .expect("serialises");
        serde_json::from_value(document).expect("a row")
    }

    fn text(edits: Edits) -> String {
        let request = Request::build(&row(), b"hi".to_vec(), edits).expect("builds");
        String::from_utf8(request.to_bytes()).expect("text")
    }

    #[test]
    fn as_captured_but_for_the_connection() {
        let expected = "POST https://a.example:8443/x HTTP/1.1\r\nHost: a.example:8443\r\nAccept: */*\r\nCookie: a=1\r\n\
            Content-Length: 2\r\nX-Old: 1\r\nConnection: close\r\n\r\nhi";
        assert_eq!(text(Edits::default()), expected);
    }

    #[test]
    fn edits_are_made() {
        let edits = Edits {
            headers: vec!["accept: text/html".into(), "X-Old:".into(), "Host: b".into()],
            method: Some("PUT".into()),
            url: Some("http://b.example/y?z".into()),
            body: Some(b"new".to_vec()),
            cookies: Some(Some("j=2".into())),
        };
        let expected = "PUT http://b.example/y?z HTTP/1.1\r\naccept: text/html\r\nContent-Length: 3\r\nCookie: j=2\r\n\
            Host: b\r\nConnection: close\r\n\r\nnew";
        assert_eq!(text(edits), expected);
    }

    #[test]
    fn what_would_smuggle_is_refused() {
        let refused = |edits: Edits| Request::build(&row(), Vec::new(), edits).is_err();
        for line in ["no name", "X: a\r\nY: b", ": x"] {
            assert!(refused(Edits { headers: vec![line.into()], ..Edits::default() }), "{line}");
        }
        for url in ["/x", "ftp://a/", "http://a/ b", "http://a/\r\nX: y"] {
            assert!(refused(Edits { url: Some(url.into()), ..Edits::default() }), "{url}");
        }
        assert!(refused(Edits { method: Some("GET /".into()), ..Edits::default() }));
    }
}
