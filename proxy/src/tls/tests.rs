//! Real handshakes on loopback: with rustls, curl, openssl and Python, towards good and bad servers.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustls::{ServerConfig, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use weir_engine::record::Fault;

use super::{alpn::BOTH, pinned::Outcome, *};
use crate::ca::{Authority, HostName};

const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn host(name: &str) -> HostName {
    HostName::parse(name).expect("is a host")
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("is bound");
    (listener, address)
}

/// A front in a folder of its own.
fn front(dir: &Path, options: &ClientTlsOptions) -> ClientTls {
    ClientTls::new(Arc::new(Authority::load_or_create(dir).expect("makes")), options).expect("sets up")
}

/// Takes one connection as the proxy would after `CONNECT host:443`, and answers one request.
async fn take_one(
    front: &ClientTls,
    listener: &TcpListener,
    host: &str,
    origin: Option<Alpn>,
) -> Result<Intercepted<TcpStream>, ClientTlsError> {
    let (stream, _) = listener.accept().await.expect("accepts");
    let hello = front.read_hello(stream).await?;
    let alpn = match front.decide(CLIENT, host, 443, &hello) {
        Decision::Answer(alpn) => alpn,
        Decision::AskOrigin => hello.offer().answer(origin),
        Decision::LetThrough(why) => panic!("not to be let through: {why:?}"),
    };
    let mut taken = front.answer(CLIENT, hello, host, alpn).await?;
    let mut request = [0; 4_096];
    let read = taken.stream.read(&mut request).await;
    if read.is_ok_and(|read| read > 0) {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nweir";
        taken.stream.write_all(response).await.expect("answers");
        taken.stream.shutdown().await.expect("closes");
    }
    Ok(taken)
}

/// Runs a program to its end; its output and whether it succeeded.
async fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("http_proxy").env_remove("https_proxy").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// A server with a certificate of its own making; `change` decides what is wrong with it.
struct Server {
    address: SocketAddr,
    certificate_pem: String,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(alpn: &[&str], change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let key = rcgen::KeyPair::generate().expect("makes");
        let mut params = rcgen::CertificateParams::new(vec!["origin.example".to_owned()]).expect("builds");
        change(&mut params);
        let certificate = params.self_signed(&key).expect("signs");
        let certificate_pem = certificate.pem();
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("has versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .expect("fits");
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (listener, address) = listen().await;
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                // A client that does not like the certificate ends the handshake.
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        Self { address, certificate_pem, task }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connects")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn upstream(extra_ca: Option<&Path>, insecure: bool) -> UpstreamTls {
    let extra_ca = extra_ca.map(Path::to_owned).into_iter().collect();
    UpstreamTls::new(&UpstreamTlsOptions { extra_ca, insecure, ..UpstreamTlsOptions::default() }).expect("sets up")
}

#[tokio::test]
async fn http2_stays_http2_between_our_own_two_sides() {
    let home = tempfile::tempdir().expect("makes");
    let front = front(home.path(), &ClientTlsOptions::default());
    let connector = upstream(front.authority().certificate_path().as_deref(), false);
    let (listener, address) = listen().await;
    for (origin, settled) in [(Some(Alpn::H2), Some(Alpn::H2)), (None, Some(Alpn::Http11))] {
        let client = async {
            let tcp = TcpStream::connect(address).await.expect("connects");
            let mut secured = connector.connect(tcp, &host("a.example"), BOTH).await.expect("trusts");
            assert_eq!(secured.alpn, settled);
            assert!(secured.certificate.issuer.as_ref().is_some_and(|name| name.contains("weir CA")));
            assert_eq!(secured.tls.version.as_deref(), Some("TLSv1.3"));
            assert_eq!(secured.tls.cipher.as_deref().map(|cipher| &cipher[..8]), Some("TLS_AES_"));
            secured.stream.write_all(b"GET").await.expect("writes");
            let mut answer = Vec::new();
            secured.stream.read_to_end(&mut answer).await.expect("reads");
            assert!(answer.ends_with(b"weir"));
        };
        let (taken, ()) = tokio::join!(take_one(&front, &listener, "127.0.0.1", origin), client);
        let taken = taken.expect("is trusted");
        assert_eq!((taken.alpn, taken.sni.as_deref()), (settled, Some("a.example")));
        assert_eq!(taken.tls.alpn.as_deref(), settled.map(Alpn::as_str));
    }
}

#[tokio::test]
async fn what_an_origin_chose_is_known_at_the_next_hello() {
    let home = tempfile::tempdir().expect("makes");
    let front = front(home.path(), &ClientTlsOptions::default());
    let connector = upstream(front.authority().certificate_path().as_deref(), false);
    let (listener, address) = listen().await;
    let hello = async |name: &str| {
        let tcp = TcpStream::connect(address).await.expect("connects");
        let name = host(name);
        let ((stream, _), _) = tokio::join!(async { listener.accept().await.expect("accepts") }, async {
            // The handshake is not answered: only its hello matters.
            let _ = tokio::time::timeout(Duration::from_millis(50), connector.connect(tcp, &name, BOTH)).await;
        });
        front.read_hello(stream).await.expect("reads")
    };
    let first = hello("a.example").await;
    assert_eq!(front.decide(CLIENT, "a.example", 443, &first), Decision::AskOrigin);
    front.learn_origin("a.example", 443, Some(Alpn::H2));
    assert_eq!(front.decide(CLIENT, "a.example", 443, &first), Decision::Answer(Some(Alpn::H2)));
    assert_eq!(front.decide(CLIENT, "a.example", 444, &first), Decision::AskOrigin);
    let (_, bytes) = first.into_parts();
    assert_eq!(bytes.first(), Some(&0x16));
    assert!(memchr::memmem::find(&bytes, b"a.example").is_some());
}

#[tokio::test]
async fn curl_and_openssl_trust_what_they_are_shown() {
    let home = tempfile::tempdir().expect("makes");
    let front = front(home.path(), &ClientTlsOptions::default());
    let ca = front.authority().certificate_path().expect("has one");
    let ca = ca.to_str().expect("is text");
    let (listener, address) = listen().await;
    let port = address.port();
    let long = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
    for (name, version) in [
        ("a.example", "--tlsv1.3"),
        ("a.example", "--tls-max=1.2"),
        ("foo_bar.example", "--tlsv1.3"),
        ("xn--bcher-kva.example", "--tlsv1.3"),
        (&long, "--tlsv1.3"),
        // An address: no SNI, the leaf is for the host of CONNECT.
        ("127.0.0.1", "--tlsv1.3"),
        ("127.0.0.1", "--tls-max=1.2"),
    ] {
        let (resolve, url) = (format!("{name}:{port}:127.0.0.1"), format!("https://{name}:{port}/"));
        let version: Vec<_> = version.split('=').collect();
        let arguments = [&["-sS", "-m", "10", "--cacert", ca, "--resolve", &resolve, &url][..], &version].concat();
        let (taken, (done, text)) = tokio::join!(take_one(&front, &listener, name, None), run("curl", &arguments));
        assert!(done && text == "weir", "{name}: {text}");
        let taken = taken.expect("is trusted");
        assert_eq!(taken.sni.as_deref(), (name != "127.0.0.1").then_some(name));
        assert_eq!(taken.tls.version.as_deref(), Some(if version[0] == "--tlsv1.3" { "TLSv1.3" } else { "TLSv1.2" }));
    }

    let connect = format!("127.0.0.1:{port}");
    let arguments = ["s_client", "-connect", &connect, "-noservername", "-verify_return_error"];
    let arguments = [&arguments[..], &["-verify_hostname", "b.example", "-CAfile", ca]].concat();
    let (taken, (_, text)) = tokio::join!(take_one(&front, &listener, "b.example", None), run("openssl", &arguments));
    assert!(taken.is_ok_and(|taken| taken.sni.is_none()));
    assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
}

#[tokio::test]
async fn sessions_are_resumed_without_our_keeping_them() {
    let home = tempfile::tempdir().expect("makes");
    let front = front(home.path(), &ClientTlsOptions::default());
    let connector = upstream(front.authority().certificate_path().as_deref(), false);
    let (listener, address) = listen().await;
    for round in 0..3 {
        let client = async {
            let tcp = TcpStream::connect(address).await.expect("connects");
            let mut secured = connector.connect(tcp, &host("a.example"), BOTH).await.expect("trusts");
            assert_eq!(secured.resumed, round > 0);
            // Known of a resumed session as well.
            assert!(secured.certificate.not_after_us.is_some());
            secured.stream.write_all(b"GET").await.expect("writes");
            secured.stream.read_to_end(&mut Vec::new()).await.expect("reads");
        };
        let (taken, ()) = tokio::join!(take_one(&front, &listener, "a.example", Some(Alpn::H2)), client);
        taken.expect("is trusted");
    }
}

#[tokio::test]
async fn clients_that_refuse_our_ca_are_told_from_others_and_let_through_afterwards() {
    let home = tempfile::tempdir().expect("makes");
    let options = ClientTlsOptions { passthrough_pinned: true, ..ClientTlsOptions::default() };
    let front = front(home.path(), &options);
    let (listener, address) = listen().await;
    let port = address.port();
    let url = format!("https://127.0.0.1:{port}/");
    let program = format!(
        "import ssl, socket\n\
         ssl.create_default_context().wrap_socket(socket.create_connection(('127.0.0.1', {port})), server_hostname='py.example')"
    );
    for (name, program, arguments) in [
        ("curl13.example", "curl", vec!["-sS", "--tlsv1.3", &url]),
        ("curl12.example", "curl", vec!["-sS", "--tls-max", "1.2", &url]),
        ("py.example", "python3", vec!["-c", &program]),
    ] {
        assert_eq!(front.lets_through(CLIENT, name, 443), None);
        let (taken, (done, text)) = tokio::join!(take_one(&front, &listener, name, None), run(program, &arguments));
        assert!(!done, "{text}");
        let error = taken.expect_err("is refused");
        assert_eq!((error.fault, error.outcome), (Fault::ClientRefusedCa, Some(Outcome::Refused)), "{error}");
        assert_eq!(front.lets_through(CLIENT, name, 443), Some(LetThrough::Pinned), "{name}");
    }

    // One that closes without a word after it has seen the certificate, twice.
    for round in 1..=2 {
        let silent = async {
            let mut tcp = TcpStream::connect(address).await.expect("connects");
            let config =
                rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()
                    .expect("has versions")
                    .with_root_certificates(rustls::RootCertStore::empty())
                    .with_no_client_auth();
            let name = host("silent.example").to_server_name();
            let mut connection = rustls::ClientConnection::new(Arc::new(config), name).expect("starts");
            let mut hello = Vec::new();
            connection.write_tls(&mut hello).expect("writes");
            tcp.write_all(&hello).await.expect("writes");
            assert!(tcp.read(&mut [0; 64 << 10]).await.expect("reads") > 0);
        };
        let (taken, ()) = tokio::join!(take_one(&front, &listener, "silent.example", None), silent);
        let error = taken.expect_err("is refused");
        assert_eq!((error.fault, error.sni.as_deref()), (Fault::ClientRefusedCa, Some("silent.example")), "{error}");
        assert_eq!(front.lets_through(CLIENT, "silent.example", 443).is_some(), round == 2);
    }
}

#[tokio::test]
async fn garbage_and_silence_instead_of_a_hello() {
    let home = tempfile::tempdir().expect("makes");
    let options = ClientTlsOptions { handshake_timeout: Duration::from_millis(500), ..ClientTlsOptions::default() };
    let front = front(home.path(), &options);
    let endless = [&[0x16, 3, 1, 0x3f, 0xff, 1, 0, 0xff, 0xff][..], &[0; 32 << 10]].concat();
    for (sent, closes, says) in [
        (&b"\x16\x03\x01\x00\x05hello"[..], false, "not valid"),
        (b"\x16\x03\x01\x02\x00\x01", true, "closed"),
        (b"\x16\x03\x01\x02\x00\x01", false, "in time"),
        (&endless, false, ""),
    ] {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        client.write_all(sent).await.expect("writes");
        if closes {
            client.shutdown().await.expect("closes");
        }
        let error = front.read_hello(server).await.expect_err("is none");
        assert_eq!((error.fault, error.outcome), (Fault::ClientTlsFailed, None));
        assert!(error.detail.contains(says), "{error}");
    }
}

#[tokio::test]
async fn bad_servers_are_named_with_their_certificate() {
    let home = tempfile::tempdir().expect("makes");
    let expired = Server::start(&[], |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1)).await;
    let future = Server::start(&[], |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1)).await;
    let authority = Server::start(&[], |params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    let (authority, fine) = (authority.await, Server::start(&["h2", "http/1.1"], |_| {}).await);
    let pem = |server: &Server| {
        let path = home.path().join(format!("{}.pem", server.address.port()));
        std::fs::write(&path, &server.certificate_pem).expect("writes");
        path
    };
    for (server, name, given, fault) in [
        (&expired, "origin.example", true, Some(Fault::UpstreamCertificateExpired)),
        (&fine, "other.example", true, Some(Fault::UpstreamCertificateName)),
        (&fine, "127.0.0.1", true, Some(Fault::UpstreamCertificateName)),
        (&fine, "origin.example", false, Some(Fault::UpstreamCertificateUnknownIssuer)),
        (&authority, "origin.example", false, Some(Fault::UpstreamCertificateUnknownIssuer)),
        (&future, "origin.example", false, Some(Fault::UpstreamCertificateUnknownIssuer)),
        (&fine, "origin.example", true, None),
        (&authority, "origin.example", true, None),
    ] {
        let path = given.then(|| pem(server));
        let connected = upstream(path.as_deref(), false).connect(server.tcp().await, &host(name), BOTH).await;
        match (connected, fault) {
            (Ok(secured), None) => assert!(secured.certificate.subject.is_some()),
            (Err(error), Some(fault)) => {
                assert_eq!(error.fault, fault, "{error}");
                assert!(error.detail.contains("--insecure-upstream") && error.detail.contains(name), "{error}");
                assert!(error.certificate.is_some_and(|facts| facts.not_after_us.is_some()));
            }
            (other, _) => panic!("{name}: {fault:?}: {other:?}"),
        }
        let secured =
            upstream(None, true).connect(server.tcp().await, &host(name), BOTH).await.expect("takes anything");
        assert!(secured.certificate.subject.is_some_and(|subject| subject.contains("rcgen")));
    }
    let secured = upstream(None, true).connect(fine.tcp().await, &host("a"), BOTH).await.expect("connects");
    assert_eq!(secured.alpn, Some(Alpn::H2));
    let missing = UpstreamTlsOptions { extra_ca: vec![home.path().join("none.pem")], ..UpstreamTlsOptions::default() };
    assert!(matches!(UpstreamTls::new(&missing), Err(TlsSetupError::ExtraCa { .. })));
}

#[tokio::test]
async fn servers_that_do_not_speak_tls() {
    let connector = UpstreamTls::new(&UpstreamTlsOptions {
        insecure: true,
        handshake_timeout: Duration::from_secs(1),
        ..UpstreamTlsOptions::default()
    })
    .expect("sets up");
    for (answer, closes, fault, says) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], true, Fault::UpstreamTlsFailed, "does not speak TLS"),
        (b"", true, Fault::UpstreamTlsFailed, "closed the connection"),
        (b"\x15\x03\x01\x00\x02\x02\x46", true, Fault::UpstreamTlsFailed, "protocol_version"),
        (b"", false, Fault::ServerTimeout, "did not complete"),
    ] {
        let (client, mut server) = tokio::io::duplex(64 << 10);
        let serve = async move {
            let _ = server.read(&mut [0; 4_096]).await;
            server.write_all(answer).await.expect("writes");
            if !closes {
                let _ = server.read_to_end(&mut Vec::new()).await;
            }
        };
        let name = host("a.example");
        let (connected, ()) = tokio::join!(connector.connect(client, &name, BOTH), serve);
        let error = connected.expect_err("is no TLS");
        assert_eq!(error.fault, fault, "{error}");
        assert!(error.detail.contains(says), "{error}");
    }
}
