//! Tests of the translation of heads.

use super::*;

fn head(method: &str, authority: &str, target: &str, pairs: &[(&str, &str)]) -> RequestHead {
    RequestHead {
        method: method.into(),
        url: Url::from_parts("https", authority, target).expect("a URL"),
        authority: authority.into(),
        target: target.into(),
        protocol: Protocol::Http11,
        headers: Headers::from_pairs(pairs.iter().copied()),
    }
}

fn pairs(headers: &Headers) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).expect("text");
    headers.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn received(uri: &str, fields: &[(&str, &str)]) -> ReceivedRequest {
    let mut request = Request::builder().uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    received_request(&request.body(()).expect("a request").into_parts().0)
}

#[test]
fn connection_specific_fields_do_not_reach_http2() {
    let head = head(
        "POST",
        "Example.com:8443",
        "/a?b=<c>",
        &[
            ("Host", "example.com:8443"),
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAA"),
            ("Proxy-Authorization", "Basic x"),
            ("TE", "gzip, trailers"),
            ("X-Kept", " v "),
        ],
    );
    let request = request_towards_http2(&head, None).expect("translates");
    assert_eq!(request.uri().to_string(), "https://Example.com:8443/a?b=%3Cc%3E");
    let kept = headers_of(request.headers());
    assert_eq!(pairs(&kept), [("te", "trailers"), ("x-kept", "v")]);
}

#[test]
fn what_http2_cannot_carry_is_refused() {
    for (name, value) in [("a b", "x"), ("a", "x\ry"), ("a", "x\0"), ("a:", "x"), ("", "x")] {
        let head = head("GET", "a", "/", &[(name, value)]);
        assert_eq!(request_towards_http2(&head, None).err(), Some(Fault::ClientMalformed), "{name:?}: {value:?}");
    }
    let response = ResponseHead { status: 101, reason: None, protocol: Protocol::Http11, headers: Headers::default() };
    assert_eq!(response_towards_http2(&response).err(), Some(Fault::ServerMalformed));
}

#[test]
fn downgrade_joins_crumbs_and_puts_host_first() {
    let received =
        received("https://a.example/x", &[("cookie", "a=1"), ("te", "trailers"), ("x", "1"), ("cookie", "b=2")]);
    assert_eq!(received.fault, None);
    assert_eq!(
        pairs(&request_fields_towards_http1(&received.head, true)),
        [
            ("host", "a.example"),
            ("cookie", "a=1; b=2"),
            ("te", "trailers"),
            ("connection", "te"),
            ("x", "1"),
            ("transfer-encoding", "chunked")
        ]
    );
    assert_eq!(received.head.url.as_str(), "https://a.example/x");
}

#[test]
fn lengths_that_disagree_are_refused() {
    for (values, expected) in [
        (&["5"][..], Ok(Some(5))),
        (&["5", "5"], Ok(Some(5))),
        (&["5, 5"], Ok(Some(5))),
        (&["5", "6"], Err(Fault::RequestSmuggling)),
        (&["+5"], Err(Fault::RequestSmuggling)),
        (&[""], Err(Fault::RequestSmuggling)),
        (&["99999999999999999999"], Err(Fault::RequestSmuggling)),
        (&[], Ok(None)),
    ] {
        let headers = Headers::from_pairs(values.iter().map(|value| ("Content-Length", *value)));
        assert_eq!(content_length(&headers), expected, "{values:?}");
    }
    assert_eq!(
        received("https://a/", &[("content-length", "1"), ("content-length", "2")]).fault,
        Some(Fault::RequestSmuggling)
    );
}

#[test]
fn host_must_agree_with_the_authority() {
    assert_eq!(received("https://a.example/", &[("host", "A.example:443")]).fault, None);
    assert_eq!(received("https://a.example/", &[("host", "b.example")]).fault, Some(Fault::RequestSmuggling));
    assert_eq!(received("https://u@a.example/", &[]).fault, Some(Fault::ClientMalformed));
    assert_eq!(received("/only-a-path", &[("host", "b.example")]).head.url.as_str(), "https://b.example/only-a-path");
    assert_eq!(received("/only-a-path", &[]).fault, Some(Fault::ClientMalformed));
}
