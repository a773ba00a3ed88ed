//! Where a request goes, from its target, its Host and where it came in; or why it goes nowhere.
//!
//! In: a parsed request and the [`Scope`] it came in. Out: [`Planned`]: a [`Route`] with the target and the Host as they
//! go on (RFC 9112 §3.2), an answer of our own, or a refusal.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    rc::Rc,
};

use bytes::Bytes;
use bytestring::ByteString;
use weir_engine::record::{
    Fault, Protocol, Url,
    url::{default_port, scheme_end, split_host_port},
};

use super::{credentials, fields::text, head::Request, pool::Origin, row::Row};
use crate::{client::Client, config::UpstreamProxy, dial, failure::Failure, hooks::Answer, message::RequestHead};

/// The name under which the proxy itself answers.
pub const OWN_NAME: &str = "weir.proxy";

/// What requests on a connection are about.
#[derive(Debug)]
pub enum Scope {
    /// The proxy's own listener: absolute-form, CONNECT, or the proxy itself.
    Proxy,
    /// Inside a CONNECT: everything goes to one origin.
    Origin {
        /// The origin.
        origin: Rc<Origin>,
        /// Its authority as the client wrote it in CONNECT.
        authority: ByteString,
        /// Why it cannot be reached: every request is answered with this.
        failure: Option<Failure>,
    },
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Planned {
    /// Forwarded.
    Forward(Route),
    /// Answered by ourselves.
    Answer(Answer),
    /// Refused, with a page that says why.
    Refuse(Failure),
}

/// Where a request goes, and how its head is written there.
#[derive(Debug)]
pub struct Route {
    /// Whom to connect to.
    pub origin: Rc<Origin>,
    /// Request target as it goes on.
    pub target: Target,
    /// A line to put first, in place of the client's Host.
    pub host: Option<Bytes>,
    /// Further lines, each with its end.
    pub extra: Option<String>,
}

/// A request target as it goes on.
#[derive(Debug)]
pub enum Target {
    /// Bytes of the request's own head.
    InHead(Range<usize>),
    /// Others.
    Other(Bytes),
}

impl Target {
    /// The bytes, those of `request` where they are in its head.
    #[must_use]
    pub fn bytes<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        match self {
            Self::InHead(range) => &request.fields.raw[range.clone()],
            Self::Other(bytes) => bytes,
        }
    }
}

/// A refusal with this sentence.
#[must_use]
pub fn refusal(detail: &'static str) -> Planned {
    Planned::Refuse(Failure::new(Fault::ClientMalformed, detail))
}

/// Decides about a request whose URL is known and noted in the row.
#[must_use]
pub fn plan(client: &Rc<Client>, scope: &Scope, request: &Request, row: &Row) -> Planned {
    let url = &row.exchange.url;
    // HTTP/1.1 requests have a Host (RFC 9112 §3.2).
    if request.host.is_none() && request.protocol == Protocol::Http11 {
        return refusal("The request has no Host.");
    }
    if request.host.clone().is_some_and(|range| !is_authority(&request.fields.raw[range])) {
        return refusal("The value of Host is not a host with an optional port.");
    }
    let absolute = !request.is_origin_form();
    if url.domain() == OWN_NAME || (matches!(scope, Scope::Proxy) && !absolute) {
        return own_page(client, request, row);
    }
    let origin = match scope {
        Scope::Origin { failure: Some(failure), .. } => return Planned::Refuse(failure.clone()),
        Scope::Origin { origin, .. } => Rc::clone(origin),
        Scope::Proxy => client.origin(url.scheme() == "https", url.domain(), url.port()),
    };
    client.leads_to(&origin);
    let mut route = Route { origin, target: Target::InHead(request.target.clone()), host: None, extra: None };
    if absolute {
        to_origin_form(request, url, &mut route);
    } else if let (None, Scope::Origin { authority, .. }) = (&request.host, scope) {
        // HTTP/1.0 may do without, but goes on as HTTP/1.1, which may not (RFC 9112 §3.2).
        let port = format!(":{}", default_port(url.scheme()));
        let authority = authority.strip_suffix(&port).unwrap_or(authority);
        route.host = Some(Bytes::copy_from_slice(authority.as_bytes()));
    }
    if let (Some(proxy), false) = (&client.core.config().upstream.proxy, route.origin.secure) {
        // The proxy would dial for us what we refuse to dial ourselves, and the request go round for ever.
        if let Ok(address) = url.domain().parse::<IpAddr>()
            && let Err(failure) = dial::refuse_own(&client.core, SocketAddr::new(address, url.port()))
        {
            return Planned::Refuse(failure);
        }
        through_proxy(proxy, request, url, &mut route);
    }
    Planned::Forward(route)
}

/// Whether a value of Host has nothing in it that others could read as more than `uri-host [":" port]` (RFC 9112 §3.2,
/// RFC 3986 §3.2).
fn is_authority(host: &[u8]) -> bool {
    !host.iter().any(|byte| byte.is_ascii_whitespace() || b"/?#@\\,<>\"{}|^`".contains(byte))
}

/// The complete URL a request is about.
#[must_use]
pub fn url_of(scope: &Scope, request: &Request) -> Option<Url> {
    if !request.is_origin_form() {
        let target = text(request.fields.raw.slice(request.target.clone()));
        return Url::parse(target).filter(|url| matches!(url.scheme(), "http" | "https"));
    }
    let host = request.host.clone().map(|range| String::from_utf8_lossy(&request.fields.raw[range]));
    let host = host.as_deref().filter(|host| !host.is_empty());
    match scope {
        Scope::Proxy => Url::from_parts("http", host.unwrap_or(OWN_NAME), &request.target_text()),
        Scope::Origin { origin, authority, .. } => {
            let scheme = if origin.secure { "https" } else { "http" };
            Url::from_parts(scheme, host.unwrap_or(authority), &request.target_text())
        }
    }
}

/// Absolute-form goes on as origin-form, and its authority is the Host whatever the client's Host says
/// (RFC 9112 §3.2.2).
fn to_origin_form(request: &Request, url: &Url, route: &mut Route) {
    let target = &request.fields.raw[request.target.clone()];
    // The URL is the target, but where that is not UTF-8: what was replaced then is longer.
    let authority_start = scheme_end(target).map_or(0, |at| at + 3);
    let authority_end =
        memchr::memchr3(b'/', b'?', b'#', &target[authority_start..]).map_or(target.len(), |at| authority_start + at);
    let authority = &target[authority_start..authority_end];
    let authority = memchr::memrchr(b'@', authority).map_or(authority, |at| &authority[at + 1..]);
    let rest = &target[authority_end..];
    route.target = match rest.first() {
        // `OPTIONS http://host` is about the server as a whole (RFC 9112 §3.2.4).
        None if request.is("OPTIONS") => Target::Other("*".into()),
        None => Target::Other("/".into()),
        Some(b'/') => Target::InHead(request.target.start + authority_end..request.target.end),
        Some(_) => Target::Other([b"/", rest].concat().into()),
    };
    let same = request.host.clone().is_some_and(|range| {
        let host = &request.fields.raw[range];
        host.eq_ignore_ascii_case(authority)
            || std::str::from_utf8(host).ok().and_then(split_host_port).is_some_and(|(host, port)| {
                host.eq_ignore_ascii_case(url.domain()) && port.unwrap_or(default_port(url.scheme())) == url.port()
            })
    });
    if !same {
        route.host = Some(Bytes::copy_from_slice(authority));
    }
}

/// Plain HTTP through another proxy: absolute-form, with our credentials for it.
fn through_proxy(proxy: &UpstreamProxy, request: &Request, url: &Url, route: &mut Route) {
    let name = None;
    route.origin = Rc::new(Origin { secure: false, host: proxy.host.as_str().into(), port: proxy.port, name });
    let target = route.target.bytes(request);
    let path = if target == b"*" { &b""[..] } else { target };
    let text = url.as_str().as_bytes();
    let start = scheme_end(text).map_or(0, |at| at + 3);
    let end = memchr::memchr3(b'/', b'?', b'#', &text[start..]).map_or(text.len(), |at| start + at);
    // User information is not for another hop.
    let host_start = memchr::memrchr(b'@', &text[start..end]).map_or(start, |at| start + at + 1);
    route.target = Target::Other([&text[..start], &text[host_start..end], path].concat().into());
    route.extra = proxy
        .credentials
        .as_ref()
        .map(|(user, password)| format!("Proxy-Authorization: {}\r\n", credentials::basic(user, password)));
}

fn own_page(client: &Client, request: &Request, row: &Row) -> Planned {
    let Some(setup) = &client.core.shared.hooks.setup else {
        return refusal("This is a proxy. Set it as the HTTP proxy of your client; requests to it name the whole URL.");
    };
    let target = request.target_text();
    let path_start =
        target.find("://").map_or(0, |at| target[at + 3..].find('/').map_or(target.len(), |slash| at + 3 + slash));
    let path = &target[path_start..];
    let url = row.exchange.url.clone();
    let head = RequestHead {
        method: request.method.clone(),
        authority: url.domain().into(),
        url,
        target: if path.is_empty() { "/".into() } else { path.into() },
        protocol: request.protocol,
        headers: row.exchange.request_headers.clone(),
    };
    Planned::Answer(setup(&head, client.address))
}
