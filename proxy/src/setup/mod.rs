//! The set-up page: what to do on each device so that weir can read its traffic, answered by the proxy itself at
//! `http://weir.proxy/` and at its own address.
//!
//! In: a request head and what the page tells of ([`SetupContext`]). Out: a whole response; no I/O, no state.
//!
//! - `page`: the page's HTML. - `platforms`: what it says for each platform. - `qr`: addresses as QR codes.
//! - `page.css`, `page.js`: its style and its one script, served beside it so that the content security policy can
//!   forbid everything inline.
//!
//! The script asks `http://weir.proxy/proxied` (does this device use the proxy?) and `https://weir.proxy/trusted`
//! (does it trust the CA? the connection is intercepted like any other). Only these two may be read across
//! origins, and only from the page's own addresses, so that other sites learn nothing.

mod page;
mod platforms;
mod qr;

use std::net::SocketAddr;

use bytes::Bytes;
use bytestring::ByteString;

use crate::{ca::Authority, message::RequestHead};

/// The name under which the proxy answers itself.
pub const SETUP_HOST: &str = "weir.proxy";

/// What the page tells of.
#[derive(Debug, Clone, Copy)]
pub struct SetupContext<'a> {
    /// The CA whose certificate is offered.
    pub authority: &'a Authority,
    /// Addresses of the proxy that devices can use, the best one first.
    pub addresses: &'a [SocketAddr],
}

/// A whole response. A response to HEAD has the same fields; whoever sends it leaves the body out.
#[derive(Debug, Clone)]
pub struct SetupResponse {
    /// Status code.
    pub status: u16,
    /// Value of Content-Type.
    pub content_type: ByteString,
    /// Further field lines.
    pub headers: Vec<(ByteString, ByteString)>,
    /// The body.
    pub body: Bytes,
}

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src http://weir.proxy \
                      https://weir.proxy; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers a request to the proxy itself.
#[must_use]
pub fn respond(head: &RequestHead, context: &SetupContext<'_>) -> SetupResponse {
    if head.method != "GET" && head.method != "HEAD" {
        let mut refused = response(405, TEXT, "Only GET and HEAD are answered here.\n");
        refused.headers.push(field("Allow", "GET, HEAD"));
        return refused;
    }
    let authority = context.authority;
    match head.url.path() {
        "/" | "/index.html" => {
            let agent = head.headers.get("user-agent").unwrap_or_default();
            let mut page = response(200, HTML, page::html(context, &String::from_utf8_lossy(agent)));
            page.headers.push(field("Content-Security-Policy", POLICY));
            page.headers.push(field("Vary", "User-Agent"));
            page
        }
        "/page.css" => response(200, "text/css; charset=utf-8", include_str!("page.css")),
        "/page.js" => response(200, "text/javascript; charset=utf-8", include_str!("page.js")),
        // Browsers and devices offer to import these two as they come; a download would only be in the way.
        "/ca.crt" | "/ca.cer" => {
            response(200, "application/x-x509-ca-cert", Bytes::copy_from_slice(authority.certificate_der()))
        }
        "/ca.mobileconfig" => response(200, "application/x-apple-aspen-config", authority.mobileconfig()),
        "/ca.pem" => download(response(200, "application/x-pem-file", authority.certificate_pem()), "pem"),
        "/ca.p12" => download(response(200, "application/x-pkcs12", authority.pkcs12()), "p12"),
        "/fingerprint" => response(200, TEXT, format!("{}\n", authority.fingerprint())),
        "/proxied" => readable(head, context, response(200, TEXT, "proxied\n")),
        "/trusted" => {
            let (status, text) =
                if head.url.scheme() == "https" { (200, "trusted\n") } else { (404, "Ask over https.\n") };
            readable(head, context, response(status, TEXT, text))
        }
        _ => response(404, TEXT, "There is nothing here; the set-up page is http://weir.proxy/\n"),
    }
}

fn response(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> SetupResponse {
    SetupResponse {
        status,
        content_type: ByteString::from_static(content_type),
        headers: vec![
            field("Cache-Control", "no-store"),
            field("X-Content-Type-Options", "nosniff"),
            field("Referrer-Policy", "no-referrer"),
        ],
        body: body.into(),
    }
}

fn field(name: &'static str, value: &'static str) -> (ByteString, ByteString) {
    (ByteString::from_static(name), ByteString::from_static(value))
}

fn download(mut response: SetupResponse, suffix: &str) -> SetupResponse {
    let value = format!("attachment; filename=\"weir-proxy-ca.{suffix}\"");
    response.headers.push((ByteString::from_static("Content-Disposition"), value.into()));
    response
}

/// Lets the page read the answer when it was loaded from the proxy's name or one of its addresses.
fn readable(head: &RequestHead, context: &SetupContext<'_>, mut response: SetupResponse) -> SetupResponse {
    response.headers.push(field("Vary", "Origin"));
    let origin = head.headers.get("origin").and_then(|origin| std::str::from_utf8(origin).ok()).unwrap_or_default();
    let address = origin.strip_prefix("http://").unwrap_or_default();
    let ours = address == SETUP_HOST || context.addresses.iter().any(|own| own.to_string() == address);
    if ours {
        response.headers.push((ByteString::from_static("Access-Control-Allow-Origin"), origin.into()));
    }
    response
}

#[cfg(test)]
mod tests;
