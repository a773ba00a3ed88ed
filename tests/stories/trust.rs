//! Who trusts whom: weir's CA towards clients, clients that refuse it, hosts that are let through, the set-up page.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::{
    Home, Nginx, Weir,
    checks::only,
    client::{curl, helper},
    nginx::Listener,
};

/// A client that trusts the real authority and not weir's.
fn distrustful(weir: &Weir, nginx: &Nginx, path: &str) -> Result<Value> {
    let (proxy, authority) = (weir.proxy().to_string(), nginx.certificates.authority());
    let target = format!("localhost:{}", nginx.port(Listener::Tls));
    helper("clients.py", &["refuse", &proxy, authority.to_str().context("path")?, &target, path])
}

#[test]
fn a_client_that_refuses_the_ca_is_told_apart_and_can_be_let_through() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--passthrough-pinned"])?;
    let first = distrustful(&weir, &nginx, "/data.json")?;
    ensure!(first["error"].as_str().is_some_and(|error| error.contains("certificate verify failed")), "{first}");
    let second = distrustful(&weir, &nginx, "/data.json")?;
    ensure!(second["issuer"] == "weir test authority", "let through untouched: {second}");
    let session = weir.session().to_owned();
    weir.stop()?;
    let connections = home.table("connections", &session)?;
    let refused: Vec<_> = connections.iter().filter(|row| row["error"] == "client_refused_ca").collect();
    ensure!(refused.len() == 1 && refused[0]["domain"] == "localhost", "{connections:?}");
    let passed = connections.iter().find(|row| row["kind"] == "passthrough").context("a passthrough row")?;
    ensure!(passed["domain"] == "localhost" && passed["received_bytes"].as_u64() > Some(600), "{passed}");
    ensure!(passed["sni"] == "localhost", "{passed}");
    ensure!(home.requests(&session)?.is_empty(), "nothing was seen inside");

    // Without the flag nothing is learnt.
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;
    for _ in 0..2 {
        ensure!(distrustful(&weir, &nginx, "/data.json")?["error"].is_string(), "refused each time");
    }
    weir.stop().map(drop)
}

#[test]
fn hosts_named_with_passthrough_are_not_touched() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &["--passthrough", "localhost"])?;
    let got = distrustful(&weir, &nginx, "/data.json")?;
    ensure!(got["issuer"] == "weir test authority" && got["status"] == "HTTP/1.1 200 OK", "{got}");
    // Another name for the same server is intercepted.
    let other = format!("https://127.0.0.1:{}/data.json", nginx.port(Listener::Tls));
    ensure!(curl(&weir, &[], &other)?.status() == 200, "intercepted by address");
    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    ensure!(rows.len() == 1 && rows[0]["domain"] == "127.0.0.1", "{rows:?}");
    Ok(())
}

#[test]
fn addresses_and_missing_server_names_get_fitting_certificates() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;
    let port = nginx.port(Listener::Tls);
    for host in ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST"] {
        let got = curl(&weir, &["--http2"], &format!("https://{host}:{port}/data.json"))?;
        ensure!(got.status() == 200 && got.version() == "2", "{host}: {got:?}");
    }
    let (proxy, ca) = (weir.proxy().to_string(), weir.ca());
    let target = format!("127.0.0.1:{port}");
    let got = helper("clients.py", &["no-sni", &proxy, ca.to_str().context("path")?, &target, "/data.json"])?;
    ensure!(got["status"] == "HTTP/1.1 200 OK", "{got}");
    ensure!(got["names"].as_array().is_some_and(|names| names.contains(&"127.0.0.1".into())), "{got}");
    weir.stop().map(drop)
}

#[test]
fn the_set_up_page_hands_out_the_ca_and_never_its_key() -> Result<()> {
    let home = Home::new()?;
    let weir = Weir::start(&home, &[])?;
    let page = curl(&weir, &[], "http://weir.proxy/")?;
    ensure!(page.status() == 200 && page.head.to_lowercase().contains("text/html"), "{page:?}");
    for system in ["iOS", "Android", "Windows", "macOS", "Linux", "Firefox"] {
        ensure!(page.text().contains(system), "the page speaks of {system}");
    }
    let page_text = page.text();
    let links: Vec<&str> = page_text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for kind in [".crt", ".pem", ".p12", ".mobileconfig"] {
        let link = links.iter().find(|link| link.ends_with(kind)).with_context(|| format!("{kind} of {links:?}"))?;
        let url = if link.starts_with("http") {
            (*link).to_owned()
        } else {
            format!("http://weir.proxy/{}", link.trim_start_matches('/'))
        };
        let got = curl(&weir, &[], &url)?;
        ensure!(got.status() == 200 && got.body.len() > 300, "{url}: {got:?}");
        ensure!(!got.text().contains("PRIVATE KEY"), "{url} holds a key");
        if kind == ".pem" {
            ensure!(got.body == fs::read(weir.ca())?, "the file is the CA");
        }
    }
    let key = home.path().join("ca/weir-proxy-ca.key");
    let mode = fs::metadata(&key).with_context(|| key.display().to_string())?.permissions().mode();
    ensure!(mode & 0o777 == 0o600, "the key's mode is {mode:o}");
    let session = weir.session().to_owned();
    weir.stop()?;
    // A second capture keeps the CA that devices have come to trust.
    let before = fs::read(home.path().join("ca/weir-proxy-ca.crt"))?;
    Weir::start(&home, &[])?.stop()?;
    ensure!(before == fs::read(home.path().join("ca/weir-proxy-ca.crt"))?, "the CA stays");
    let rows = home.requests(&session)?;
    ensure!(rows.is_empty() || only(&rows, "http://weir.proxy/").is_ok(), "{rows:?}");
    Ok(())
}
