//! Servers that cannot be reached or trusted, proxies before and behind weir: a clear answer and a marked row.

use anyhow::{Context, Result, ensure};
use weir_tests::{
    Home, Nginx, Origin, Weir,
    checks::only,
    client::{Fetched, curl, curl_without_proxy},
    nginx::{Listener, free_ports},
};

/// Status of the answer, or of the answer to CONNECT when there was no other.
fn status(got: &Fetched) -> u64 {
    match got.status() {
        0 => got.facts["http_connect"].as_u64().unwrap_or_default(),
        status => status,
    }
}

#[test]
fn unreachable_and_untrusted_servers_get_a_clear_answer_and_a_marked_row() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let origin = Origin::start(&nginx.certificates)?;
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;
    let closed = free_ports(1)?[0];
    let table = [
        (nginx.url(Listener::Expired, "/data.json"), 502, "upstream_certificate_expired"),
        (nginx.url(Listener::WrongName, "/data.json"), 502, "upstream_certificate_name"),
        (nginx.url(Listener::SelfSigned, "/data.json"), 502, "upstream_certificate_unknown_issuer"),
        ("http://nowhere.invalid/a".to_owned(), 502, "dns_failed"),
        ("https://nowhere.invalid/b".to_owned(), 502, "dns_failed"),
        (format!("http://127.0.0.1:{closed}/c"), 502, "connect_refused"),
        (format!("https://127.0.0.1:{closed}/d"), 502, "connect_refused"),
        (format!("http://127.0.0.1:{}/e", origin.port("stuck")), 504, "connect_timeout"),
        // TLS to something that does not speak it.
        (format!("https://127.0.0.1:{}/f", nginx.port(Listener::Plain)), 502, "upstream_tls_failed"),
    ];
    for (url, code, error) in &table {
        let got = curl(&weir, &[], url)?;
        ensure!(status(&got) == *code, "{url}: {got:?}");
        // A body that says what failed reaches whoever can see one.
        if got.status() != 0 {
            let host = url.split('/').nth(2).and_then(|host| host.split(':').next()).context("host")?;
            ensure!(got.text().contains(host), "{url} ({error}): {}", got.text());
        }
    }
    ensure!(curl(&weir, &[], &nginx.url(Listener::Tls, "/data.json"))?.status() == 200, "the capture goes on");
    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    for (url, code, error) in &table {
        let row = only(&rows, url)?;
        ensure!(row["error"] == *error, "{url} should be {error}: {row}");
        ensure!(row["status"].is_null() || row["status"] == *code, "{row}");
    }
    Ok(())
}

#[test]
fn insecure_upstream_accepts_what_was_refused() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &["--insecure-upstream"])?;
    for listener in [Listener::Expired, Listener::WrongName, Listener::SelfSigned, Listener::Tls] {
        let got = curl(&weir, &["--http2"], &nginx.url(listener, "/data.json"))?;
        ensure!(got.status() == 200 && got.body == nginx.file("/data.json")?, "{listener:?}: {got:?}");
    }
    weir.stop().map(drop)
}

#[test]
fn the_proxy_asks_for_credentials_and_keeps_them_to_itself() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let origin = Origin::start(&nginx.certificates)?;
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--auth", "user:secret"])?;
    let (plain, tls) = (origin.url("/echo"), origin.tls_url("/echo"));
    for (url, arguments) in [(&plain, &[][..]), (&tls, &[]), (&plain, &["--proxy-user", "user:wrong"])] {
        let got = curl(&weir, arguments, url)?;
        ensure!(status(&got) == 407 && got.head.to_lowercase().contains("proxy-authenticate: basic"), "{got:?}");
    }
    for url in [&plain, &tls] {
        let got = curl(&weir, &["--proxy-user", "user:secret"], url)?;
        ensure!(got.status() == 200, "{got:?}");
        ensure!(!got.text().to_lowercase().contains("proxy-"), "what is the proxy's stays here: {}", got.text());
    }
    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    ensure!(rows.iter().filter(|row| row["status"] == 200).count() == 2, "{rows:?}");
    ensure!(!format!("{rows:?}").contains("dXNlcjpzZWNyZXQ="), "the proxy's own password is not recorded");
    Ok(())
}

#[test]
fn a_chain_of_two_weirs_records_twice() -> Result<()> {
    let (near_home, far_home, nginx) = (Home::new()?, Home::new()?, Nginx::start()?);
    let far = Weir::start_trusting(&far_home, &nginx.certificates.authority(), &["--auth", "near:pass"])?;
    let far_ca = far.ca();
    let behind = format!("http://near:pass@{}", far.proxy());
    let near = Weir::start_trusting(&near_home, &far_ca, &["--upstream-proxy", &behind])?;
    let wrong = format!("http://near:wrong@{}", far.proxy());
    let refused = Weir::start_trusting(&near_home, &far_ca, &["--upstream-proxy", &wrong])?;
    let urls = [
        nginx.url(Listener::Plain, "/data.json"),
        nginx.url(Listener::Tls, "/style.css"),
        nginx.url(Listener::Tls12, "/large.bin"),
    ];
    for url in &urls {
        let got = curl(&near, &["--http2"], url)?;
        ensure!(got.status() == 200, "{url}: {got:?} {}", near.errors());
        ensure!(got.body.len() > 500, "{url}");
    }
    let got = curl(&refused, &[], &urls[1])?;
    ensure!(status(&got) == 502, "{got:?}");
    let refused_session = refused.session().to_owned();
    refused.stop()?;
    let row = only(&near_home.requests(&refused_session)?, &urls[1])?.clone();
    ensure!(row["error"] == "upstream_proxy_failed", "{row}");
    for (home, weir) in [(near_home, near), (far_home, far)] {
        let session = weir.session().to_owned();
        weir.stop()?;
        let rows = home.requests(&session)?;
        for url in &urls {
            ensure!(only(&rows, url)?["status"] == 200, "{rows:?}");
        }
    }
    Ok(())
}

#[test]
fn weir_does_not_dial_itself() -> Result<()> {
    let home = Home::new()?;
    let weir = Weir::start(&home, &[])?;
    let ui = weir.ready()["ui"].as_str().context("ui")?.split(['/', '?']).nth(2).context("authority")?.to_owned();
    let ui_port = ui.rsplit(':').next().context("port")?;
    let proxy_port = weir.proxy().port();
    for port in [ui_port.to_owned(), proxy_port.to_string()] {
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1"] {
            for url in [format!("http://{host}:{port}/api/v1/session"), format!("https://{host}:{port}/")] {
                let got = curl(&weir, &["--globoff"], &url)?;
                ensure!((400..600).contains(&status(&got)), "{url} must be refused: {got:?}");
            }
        }
    }
    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    ensure!(only(&rows, &format!("http://localhost:{ui_port}/api/v1/session"))?["error"] == "loop_refused", "{rows:?}");
    Ok(())
}

#[test]
fn a_port_in_use_is_named_and_another_offered() -> Result<()> {
    let home = Home::new()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let output = home.run(&["capture", "--no-ui", "--proxy", &address])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{output:?}");
    ensure!(said.starts_with("error: ") && said.contains(&address), "{said}");
    ensure!(said.contains("--proxy"), "another port is offered: {said}");
    // Nothing of the failed start is left as a session.
    ensure!(home.rows(&["sessions"])?.is_empty() || home.json(&["sessions"])?.as_array().is_some_and(Vec::is_empty));
    // Wrong usage is 2.
    ensure!(home.run(&["capture", "--no-such-flag"])?.status.code() == Some(2), "wrong usage");
    let got = curl_without_proxy(&["--proxy", "http://127.0.0.1:1"], "http://127.0.0.1/")?;
    ensure!(got.code != 0, "curl tells when there is no proxy");
    Ok(())
}
