//! Interception end to end: curl through the proxy to servers with good and bad certificates.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use rustls::pki_types::PrivatePkcs8KeyDer;
use support::{Harness, config, origin};
use weir_engine::{
    ledger::Counters,
    pipeline::{Budget, Ids, Outlet, WhenFull, queue},
    record::{ConnectionKind, Fault},
};
use weir_proxy::{Proxy, ProxyConfig, ca::Authority};

struct Story {
    harness: Harness,
    home: tempfile::TempDir,
    server: SocketAddr,
}

impl Story {
    /// A proxy and a TLS server for `localhost` whose certificate the proxy trusts, unless `change` spoils that.
    fn start(change: impl FnOnce(&mut ProxyConfig)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (server, certificate) = tls_server();
        let extra = home.path().join("server.pem");
        std::fs::write(&extra, certificate).unwrap();
        let mut config = config();
        config.upstream.extra_ca = vec![extra];
        change(&mut config);
        let authority = Arc::new(Authority::load_or_create(home.path()).unwrap());
        let (sender, receiver) = queue(64);
        let counters = Arc::new(Counters::default());
        let outlet = Outlet::new(sender, Arc::clone(&counters), WhenFull::Wait);
        let budget = Budget::new(64 << 20);
        let proxy = Proxy::start(config, authority, outlet, Arc::new(Ids::default()), budget.clone()).unwrap();
        let address = proxy.local_addr();
        Self { harness: Harness { proxy: Some(proxy), receiver, counters, budget, address }, home, server }
    }

    fn ca(&self) -> PathBuf {
        self.home.path().join("weir-proxy-ca.crt")
    }

    /// Runs curl through the proxy; its output and status.
    fn curl(&self, arguments: &[&str], url: &str) -> (bool, String) {
        let output = Command::new("curl")
            .args(["-sS", "-m", "20", "--noproxy", "", "-x", &format!("http://{}", self.harness.address)])
            .args(arguments)
            .arg(url)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    fn trusting(&self, arguments: &[&str], url: &str) -> String {
        let ca = self.ca();
        let arguments = [&["--cacert", ca.to_str().unwrap()], arguments].concat();
        let (done, text) = self.curl(&arguments, url);
        assert!(done, "{text}");
        text
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/hello", self.server.port())
    }
}

/// Answers each request of each connection with `hello`, over HTTP/1.1.
fn tls_server() -> (SocketAddr, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pem = certificate.pem();
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let address = origin(move |stream, _| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            request.extend_from_slice(&buffer[..read]);
            if request.ends_with(b"\r\n\r\n") {
                request.clear();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
            }
        }
    });
    (address, pem)
}

#[test]
fn curl_browses_https_and_every_exchange_is_recorded() {
    let story = Story::start(|_| {});
    let url = story.url();
    assert_eq!(story.trusting(&[], &url), "hello");
    assert_eq!(story.trusting(&["--http1.1", "--tls-max", "1.2"], &url), "hello");
    assert_eq!(story.trusting(&["--no-alpn"], &url), "hello");
    let server = story.server;
    let records = story.harness.finish();
    assert_eq!(records.exchanges.len(), 3);
    for exchange in &records.exchanges {
        assert_eq!((exchange.status, exchange.url.as_str()), (Some(200), url.as_str()));
    }
    assert_eq!(records.connections.len(), 3);
    for connection in &records.connections {
        assert_eq!((connection.kind, connection.error), (ConnectionKind::Intercepted, None));
        assert_eq!((connection.sni.as_deref(), connection.port), (Some("localhost"), server.port()));
    }
    assert_eq!(records.connections[0].client_tls.version.as_deref(), Some("TLSv1.3"));
    assert_eq!(records.connections[1].client_tls.version.as_deref(), Some("TLSv1.2"));
    assert_eq!(records.connections[0].server_tls.version.as_deref(), Some("TLSv1.3"));
    assert!(records.connections[0].certificate_subject.is_some());
}

#[test]
fn a_bad_server_becomes_a_page_that_says_why() {
    let story = Story::start(|config| config.upstream.extra_ca.clear());
    let url = story.url();
    for arguments in [&[][..], &["--http1.1"]] {
        let text = story.trusting(&[arguments, &["-w", " %{http_code}"]].concat(), &url);
        assert!(text.ends_with(" 502") && text.contains("--upstream-ca"), "{text}");
    }
    let records = story.harness.finish();
    assert_eq!(records.exchanges.len(), 2);
    for exchange in &records.exchanges {
        assert_eq!(exchange.error, Some(Fault::UpstreamCertificateUnknownIssuer));
    }

    let story = Story::start(|config| {
        config.upstream.extra_ca.clear();
        config.upstream.insecure = true;
    });
    assert_eq!(story.trusting(&[], &story.url()), "hello");
}

#[test]
fn a_client_that_refuses_the_ca_is_recorded_and_let_through_from_then_on() {
    let story = Story::start(|config| config.passthrough_pinned = true);
    let url = story.url();
    let server_ca = story.home.path().join("server.pem");
    let arguments = ["--cacert", server_ca.to_str().unwrap()];
    let (done, text) = story.curl(&arguments, &url);
    assert!(!done, "{text}");
    let (done, text) = story.curl(&arguments, &url);
    assert!(done && text == "hello", "{text}");
    let records = story.harness.finish();
    let kinds: Vec<_> = records.connections.iter().map(|row| (row.kind, row.error)).collect();
    let refused = (ConnectionKind::Intercepted, Some(Fault::ClientRefusedCa));
    assert_eq!(kinds, [refused, (ConnectionKind::Passthrough, None)]);
    assert!(records.exchanges.is_empty());
}

#[test]
fn listed_hosts_pass_untouched() {
    let story = Story::start(|config| config.passthrough = vec!["localhost".to_owned()]);
    let server_ca = story.home.path().join("server.pem");
    let (done, text) = story.curl(&["--cacert", server_ca.to_str().unwrap()], &story.url());
    assert!(done && text == "hello", "{text}");
    let records = story.harness.finish();
    assert_eq!(records.connections[0].kind, ConnectionKind::Passthrough);
    assert!(records.connections[0].sent_bytes > 0 && records.connections[0].received_bytes > 0);
}

#[test]
fn the_set_up_page_tells_whether_the_device_trusts_the_ca() {
    let story = Story::start(|_| {});
    assert_eq!(story.trusting(&[], "https://weir.proxy/trusted"), "trusted\n");
    let (done, text) = story.curl(&[], "http://weir.proxy/ca.pem");
    assert!(done && text == std::fs::read_to_string(story.ca()).unwrap(), "{text}");
    let (_, page) = story.curl(&["-i"], "http://weir.proxy/");
    assert!(page.contains("Content-Security-Policy: default-src 'none'") && page.contains("</html>"), "{page}");
    let (_, head) = story.curl(&["-I"], "http://weir.proxy/ca.crt");
    assert!(head.contains("application/x-x509-ca-cert"), "{head}");
    let (done, _) = story.curl(&[], "https://weir.proxy/trusted");
    assert!(!done, "a client without the CA does not trust it");
}
