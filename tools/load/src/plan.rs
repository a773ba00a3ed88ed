//! Requests made ready to be sent: everything that does not change from one to the next is made once.
//!
//! In: templates (from a URL, a scenario file, a session) and how to reach their servers. Out: the bytes of each request
//! for HTTP/1.1 and HTTP/2, and the endpoints to dial.

use std::{
    collections::HashMap,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::Deserialize;
use weir_engine::record::Url;

use crate::{ID_FIELD, LoadError, certificates::Trust, wire::push_decimal};

/// Bytes of an id: run, hyphen, number.
pub(crate) const ID_LENGTH: usize = 25;
/// Bytes of all bodies together.
const MOST_BODIES: usize = 256 << 20;
/// A header block that fits one frame of the least size.
const MOST_BLOCK: usize = 16_000;

/// A request as somebody asks for it.
#[derive(Debug, Clone)]
pub struct Template {
    /// Its method.
    pub method: String,
    /// Its whole URL.
    pub url: String,
    /// Its fields; Host and Content-Length are made when they are not here.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
    /// How often it is sent against the others.
    pub weight: f64,
    /// HTTP/2 for this one, whatever the [`Way`] says.
    pub http2: bool,
}

impl Template {
    /// A GET without fields.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
            weight: 1.0,
            http2: false,
        }
    }
}

/// How servers are reached.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Through this proxy: `host:port` or `http://host:port`.
    pub proxy: Option<String>,
    /// Whom to trust.
    pub trust: Trust,
    /// HTTP/2: by ALPN over TLS, by prior knowledge in the clear.
    pub http2: bool,
    /// Send an id with each request.
    pub ids: bool,
}

/// Where to dial, and what comes before the first request.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) connect: Option<Vec<u8>>,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(crate) http2: bool,
}

/// A request ready to be sent.
pub(crate) struct Prepared {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) endpoint: usize,
    /// Head and body for HTTP/1.1, head block for HTTP/2.
    pub(crate) bytes: Vec<u8>,
    /// Where the id stands in `bytes`.
    pub(crate) id_at: Option<usize>,
    pub(crate) body: Bytes,
    pub(crate) body_hash: Option<[u8; 32]>,
    pub(crate) is_head: bool,
    /// Sum of the weights up to here among those of the same endpoint.
    pub(crate) share: f64,
}

/// What is to be sent, and where to.
pub struct Plan {
    pub(crate) requests: Vec<Prepared>,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Numbers of the requests of each endpoint.
    pub(crate) of_endpoint: Vec<Vec<u32>>,
    pub(crate) ids: bool,
}

impl Plan {
    /// Makes templates ready.
    ///
    /// # Errors
    /// When a URL cannot be sent to, or a file with an authority cannot be read.
    pub fn build(templates: &[Template], way: &Way) -> Result<Self, LoadError> {
        let proxy = way.proxy.as_deref().map(|text| resolve(text.trim_start_matches("http://").trim_end_matches('/')));
        let proxy = proxy.transpose()?;
        let mut tls = [None, None];
        let mut plan = Self { requests: Vec::new(), endpoints: Vec::new(), of_endpoint: Vec::new(), ids: way.ids };
        let mut known = HashMap::new();
        let mut bodies = 0;
        for template in templates {
            bodies += template.body.len();
            if bodies > MOST_BODIES {
                return Err(LoadError::NothingToSend(
                    "the bodies are larger than 256 MiB; choose fewer with a filter".into(),
                ));
            }
            let url = parse(&template.url)?;
            let http2 = way.http2 || template.http2;
            let secure = url.scheme() == "https";
            if proxy.is_some() && http2 && !secure {
                return Err(LoadError::Url(format!("{} with HTTP/2 through a proxy (that needs https)", template.url)));
            }
            let host = url.domain().trim_matches(['[', ']']).to_owned();
            let key = match (proxy, secure) {
                // One connection to a proxy serves all names in the clear.
                (Some(_), false) => (String::new(), 0, false, http2),
                _ => (host.clone(), url.port(), secure, http2),
            };
            let endpoint = match known.get(&key) {
                Some(endpoint) => *endpoint,
                None => {
                    let secured = if secure {
                        let ready = &mut tls[usize::from(http2)];
                        let config = match ready {
                            Some(config) => Arc::clone(config),
                            None => Arc::clone(ready.insert(way.trust.client(http2)?)),
                        };
                        let name =
                            ServerName::try_from(host.clone()).map_err(|_| LoadError::Url(template.url.clone()))?;
                        Some((config, name))
                    } else {
                        None
                    };
                    let authority = format!("{}:{}", url.domain(), url.port());
                    let tunnel = || format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").into_bytes();
                    plan.endpoints.push(Endpoint {
                        address: proxy.map_or_else(|| resolve(&authority), Ok)?,
                        connect: (proxy.is_some() && secure).then(tunnel),
                        tls: secured,
                        http2,
                    });
                    plan.of_endpoint.push(Vec::new());
                    known.insert(key, plan.endpoints.len() - 1);
                    plan.endpoints.len() - 1
                }
            };
            plan.add(template, &url, endpoint, proxy.is_some() && !secure)?;
        }
        if plan.requests.is_empty() {
            return Err(LoadError::NothingToSend(
                "give a URL, a scenario with requests, or a session with some".into(),
            ));
        }
        Ok(plan)
    }

    fn add(&mut self, template: &Template, url: &Url, endpoint: usize, absolute: bool) -> Result<(), LoadError> {
        let refused = || LoadError::Url(template.url.clone());
        let is_token = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let is_line = |(name, value): &(String, String)| is_token(name) && !value.contains(['\r', '\n', '\0']);
        if !is_token(&template.method) || !template.headers.iter().all(is_line) {
            return Err(refused());
        }
        if url.as_str().bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(refused());
        }
        let text = url.as_str().split('#').next().unwrap_or_default();
        let after = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (authority, target) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let http2 = self.endpoints[endpoint].http2;
        let (bytes, id_at) = if http2 {
            block(template, url.scheme(), authority, &target, self.ids)
        } else {
            let target = if absolute { format!("http://{authority}{target}") } else { target };
            head(template, authority, &target, self.ids)
        };
        if http2 && bytes.len() > MOST_BLOCK {
            return Err(refused());
        }
        let of_endpoint = &mut self.of_endpoint[endpoint];
        let before = of_endpoint.last().map_or(0.0, |last| self.requests[*last as usize].share);
        of_endpoint.push(self.requests.len() as u32);
        self.requests.push(Prepared {
            method: template.method.clone(),
            url: text.to_owned(),
            endpoint,
            bytes,
            id_at,
            body_hash: (!template.body.is_empty()).then(|| *blake3::hash(&template.body).as_bytes()),
            body: template.body.clone(),
            is_head: template.method == "HEAD",
            share: before + template.weight.max(0.0),
        });
        Ok(())
    }

    /// Requests that differ.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether there is none; never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

/// The URL, checked.
pub(crate) fn parse(text: &str) -> Result<Url, LoadError> {
    let fits = |url: &Url| matches!(url.scheme(), "http" | "https") && !url.domain().is_empty();
    Url::parse(text.to_owned().into()).filter(fits).ok_or_else(|| LoadError::Url(text.to_owned()))
}

fn resolve(authority: &str) -> Result<SocketAddr, LoadError> {
    let found = authority.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| LoadError::NoAddress(authority.to_owned()))
}

/// Fields that the sender makes or that belong to one connection.
const MADE: [&str; 8] = [
    "connection",
    "host",
    "content-length",
    "transfer-encoding",
    "keep-alive",
    "proxy-connection",
    "upgrade",
    ID_FIELD,
];

fn kept(template: &Template) -> impl Iterator<Item = &(String, String)> {
    template.headers.iter().filter(|(name, _)| !MADE.iter().any(|made| name.eq_ignore_ascii_case(made)))
}

fn has_length(template: &Template) -> bool {
    !template.body.is_empty() || matches!(template.method.as_str(), "POST" | "PUT" | "PATCH")
}

fn head(template: &Template, authority: &str, target: &str, ids: bool) -> (Vec<u8>, Option<usize>) {
    let mut out = format!("{} {target} HTTP/1.1\r\nHost: {authority}\r\n", template.method).into_bytes();
    for (name, value) in kept(template) {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let mut id_at = None;
    if ids {
        out.extend_from_slice(format!("{ID_FIELD}: ").as_bytes());
        id_at = Some(out.len());
        out.resize(out.len() + ID_LENGTH, b'0');
        out.extend_from_slice(b"\r\n");
    }
    if has_length(template) {
        out.extend_from_slice(b"Content-Length: ");
        push_decimal(&mut out, template.body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&template.body);
    (out, id_at)
}

/// A header block without dynamic table (RFC 7541): indexed where the static table has it, literal elsewhere.
fn block(template: &Template, scheme: &str, authority: &str, target: &str, ids: bool) -> (Vec<u8>, Option<usize>) {
    let mut out = Vec::new();
    match template.method.as_str() {
        "GET" => out.push(0x82),
        "POST" => out.push(0x83),
        method => literal(&mut out, Name::Index(2), method),
    }
    out.push(if scheme == "https" { 0x87 } else { 0x86 });
    literal(&mut out, Name::Index(1), authority);
    literal(&mut out, Name::Index(4), target);
    for (name, value) in kept(template) {
        literal(&mut out, Name::Text(&name.to_ascii_lowercase()), value);
    }
    if has_length(template) {
        literal(&mut out, Name::Index(28), &template.body.len().to_string());
    }
    let mut id_at = None;
    if ids {
        literal(&mut out, Name::Text(ID_FIELD), &"0".repeat(ID_LENGTH));
        id_at = Some(out.len() - ID_LENGTH);
    }
    (out, id_at)
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Index(u8),
    Text(&'a str),
}

fn literal(out: &mut Vec<u8>, name: Name<'_>, value: &str) {
    match name {
        Name::Index(index) => integer(out, 0, 4, usize::from(index)),
        Name::Text(text) => {
            out.push(0);
            integer(out, 0, 7, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    integer(out, 0, 7, value.len());
    out.extend_from_slice(value.as_bytes());
}

/// An integer with a prefix of `bits` (RFC 7541 §5.1).
fn integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(first | value as u8);
        return;
    }
    out.push(first | most as u8);
    let mut left = value - most;
    while left >= 128 {
        out.push((left % 128) as u8 | 128);
        left /= 128;
    }
    out.push(left as u8);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// What comes before paths that are no whole URLs.
    base: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(rename = "request")]
    requests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    /// A file with the body, beside the scenario.
    body_file: Option<std::path::PathBuf>,
    #[serde(default = "one")]
    weight: f64,
}

fn get() -> String {
    "GET".to_owned()
}

fn one() -> f64 {
    1.0
}

/// The requests of a scenario file; `base` comes before what is no whole URL.
///
/// # Errors
/// When it cannot be read, or says something unknown.
pub fn scenario(path: &Path, base: Option<&str>) -> Result<Vec<Template>, LoadError> {
    let text = std::fs::read_to_string(path).map_err(LoadError::file(path))?;
    let wrong = |why: String| LoadError::Scenario { path: path.to_owned(), why };
    let scenario: Scenario = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let base = base.map(str::to_owned).or(scenario.base);
    let mut templates = Vec::with_capacity(scenario.requests.len());
    for entry in scenario.requests {
        let url = if entry.url.contains("://") {
            entry.url
        } else {
            let base = base.as_deref().ok_or_else(|| wrong(format!("'{}' has no host; set base", entry.url)))?;
            let end = base.find("://").and_then(|at| base[at + 3..].find('/').map(|end| at + 3 + end));
            format!("{}/{}", &base[..end.unwrap_or(base.len())], entry.url.trim_start_matches('/'))
        };
        if !(entry.weight.is_finite() && entry.weight > 0.0) {
            return Err(wrong(format!("the weight of '{url}' is not above 0")));
        }
        let body = match entry.body_file {
            Some(file) => {
                let file = path.parent().unwrap_or(Path::new(".")).join(file);
                std::fs::read(&file).map_err(LoadError::file(&file))?
            }
            None => entry.body.into_bytes(),
        };
        let mut headers = scenario.headers.clone();
        headers.extend(entry.headers);
        templates.push(Template {
            method: entry.method,
            url,
            headers: headers.into_iter().collect(),
            body: body.into(),
            weight: entry.weight,
            http2: false,
        });
    }
    Ok(templates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_for_http1() {
        let mut template = Template::get("http://127.0.0.1:80/a?b");
        template.headers.push(("Host".into(), "other".into()));
        template.headers.push(("Accept".into(), "*/*".into()));
        let plan = Plan::build(&[template.clone()], &Way::default()).expect("a plan");
        assert_eq!(plan.requests[0].bytes, b"GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAccept: */*\r\n\r\n");
        template.method = "POST".into();
        let way = Way { proxy: Some("127.0.0.1:9".into()), ids: true, ..Way::default() };
        let plan = Plan::build(&[template.clone()], &way).expect("a plan");
        let text = String::from_utf8_lossy(&plan.requests[0].bytes).into_owned();
        assert!(text.starts_with("POST http://127.0.0.1:80/a?b HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("Content-Length: 0\r\n"), "{text}");
        let at = plan.requests[0].id_at.expect("an id");
        assert_eq!(&text[at - 2..at + ID_LENGTH + 2], ": 0000000000000000000000000\r\n");
        assert_eq!(plan.endpoints[0].address.port(), 9);
        template.url = "http://127.0.0.1/a b".into();
        assert!(Plan::build(&[template], &way).is_err());
    }

    #[test]
    fn integers_of_hpack() {
        let mut out = Vec::new();
        integer(&mut out, 0, 5, 1337);
        integer(&mut out, 0, 5, 10);
        assert_eq!(out, [31, 154, 10, 10]);
    }

    #[test]
    fn a_scenario() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mix.toml");
        let text = "base = 'http://h'\nheaders = { Accept = 'a' }\n[[request]]\nurl = '/x'\nweight = 3\n[[request]]\nmethod = 'POST'\nurl = 'https://i/y'\nbody = 'z'\nheaders = { Accept = 'b' }\n";
        std::fs::write(&path, text).expect("written");
        let templates = scenario(&path, None).expect("read");
        let told: Vec<_> =
            templates.iter().map(|t| (t.method.as_str(), t.url.as_str(), t.headers[0].1.as_str())).collect();
        assert_eq!(told, [("GET", "http://h/x", "a"), ("POST", "https://i/y", "b")]);
        assert_eq!(scenario(&path, Some("http://k:1/ignored")).expect("read")[0].url, "http://k:1/x");
        std::fs::write(&path, "[[request]]\nurl = '/x'\ncolour = 1\n").expect("written");
        assert!(matches!(scenario(&path, None), Err(LoadError::Scenario { .. })));
    }
}
