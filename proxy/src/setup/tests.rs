//! Tests of the set-up page.

use weir_engine::record::{Headers, Protocol, Url};

use super::{platforms::Platform, *};

fn ask(authority: &Authority, method: &'static str, url: &str, headers: &[(&str, &str)]) -> SetupResponse {
    let url = Url::parse(url.into()).expect("is a URL");
    let head = RequestHead {
        method: ByteString::from_static(method),
        authority: url.domain().into(),
        target: url.path().into(),
        url,
        protocol: Protocol::Http11,
        headers: Headers::from_pairs(headers.iter().copied()),
    };
    let addresses = ["192.168.7.3:5559".parse().expect("is one"), "[fd00::7]:5559".parse().expect("is one")];
    respond(&head, &SetupContext { authority, addresses: &addresses })
}

fn header<'a>(response: &'a SetupResponse, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(seen, _)| seen == name).map(|(_, value)| &**value)
}

#[test]
fn the_certificate_comes_in_every_form() {
    let authority = Authority::ephemeral().expect("makes");
    for (path, media_type) in [
        ("ca.crt", "application/x-x509-ca-cert"),
        ("ca.pem", "application/x-pem-file"),
        ("ca.p12", "application/x-pkcs12"),
        ("ca.mobileconfig", "application/x-apple-aspen-config"),
    ] {
        let response = ask(&authority, "GET", &format!("http://weir.proxy/{path}"), &[]);
        assert_eq!((response.status, &*response.content_type), (200, media_type));
        let head = ask(&authority, "HEAD", &format!("http://weir.proxy/{path}"), &[]);
        assert_eq!((head.status, head.body.len()), (200, response.body.len()));
        assert!(memchr::memmem::find(&response.body, b"PRIVATE KEY").is_none());
    }
    let crt = ask(&authority, "GET", "http://weir.proxy/ca.crt", &[]);
    assert_eq!(&crt.body[..], authority.certificate_der());
    assert_eq!(ask(&authority, "GET", "http://weir.proxy/weir-proxy-ca.key", &[]).status, 404);
    assert_eq!(ask(&authority, "POST", "http://weir.proxy/", &[]).status, 405);
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_opens_at_the_own_platform() {
    let authority = Authority::ephemeral().expect("makes");
    let phone = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36";
    let response = ask(&authority, "GET", "http://weir.proxy/", &[("User-Agent", phone)]);
    let page = String::from_utf8(response.body.to_vec()).expect("is text");
    assert!(page.contains("<details open><summary>Android</summary>"));
    assert_eq!(page.matches("<details").count(), 7);
    assert_eq!(page.matches("<details open>").count(), 1);
    for expected in ["192.168.7.3:5559", "[fd00::7]:5559", &authority.fingerprint(), "<svg", "--passthrough HOST"] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("style=") && !page.contains("<script>") && !page.contains("PROXY-HOST"));
    let policy = header(&response, "Content-Security-Policy").expect("has one");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    assert_eq!(header(&response, "Cache-Control"), Some("no-store"));
}

#[test]
fn platforms_are_told_by_the_user_agent() {
    for (agent, platforms) in [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17.0 Safari/604.1", &[Platform::Ios][..]),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120 Edg/120", &[Platform::Windows]),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17 Safari/605", &[Platform::MacOs]),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
            &[Platform::Firefox, Platform::Linux],
        ),
        ("curl/8.5.0", &[Platform::Programs]),
        ("", &[]),
    ] {
        assert_eq!(Platform::of(agent), platforms, "{agent}");
    }
}

#[test]
fn only_the_page_itself_may_read_whether_the_ca_is_trusted() {
    let authority = Authority::ephemeral().expect("makes");
    for (url, origin, status, allowed) in [
        ("https://weir.proxy/trusted", "http://weir.proxy", 200, true),
        ("https://weir.proxy/trusted", "http://192.168.7.3:5559", 200, true),
        ("https://weir.proxy/trusted", "http://[fd00::7]:5559", 200, true),
        ("https://weir.proxy/trusted", "https://evil.example", 200, false),
        ("https://weir.proxy/trusted", "http://weir.proxy.evil.example", 200, false),
        ("https://weir.proxy/trusted", "", 200, false),
        ("http://weir.proxy/trusted", "http://weir.proxy", 404, true),
        ("http://weir.proxy/proxied", "http://weir.proxy", 200, true),
        ("http://weir.proxy/ca.crt", "http://weir.proxy", 200, false),
    ] {
        let response = ask(&authority, "GET", url, &[("Origin", origin)]);
        assert_eq!(response.status, status, "{url}");
        let allowing = header(&response, "Access-Control-Allow-Origin");
        assert_eq!(allowing, allowed.then_some(origin), "{url} {origin}");
    }
}
