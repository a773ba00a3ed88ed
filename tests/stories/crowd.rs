//! Ten thousand idle and a thousand active client connections at once.

use anyhow::{Context, Result, ensure};
use weir_tests::{Home, Nginx, Weir, client::helper, nginx::Listener};

#[test]
fn ten_thousand_idle_and_a_thousand_active_connections_are_held() -> Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    ensure!(
        limit.is_none_or(|limit| limit >= 13_000),
        "this story needs 13000 open files, the limit is {limit:?}; run: ulimit -Hn 20000, as root"
    );
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &[])?;
    let (proxy, url) = (weir.proxy().to_string(), nginx.url(Listener::Plain, "/data.json"));
    let got = helper("clients.py", &["crowd", &proxy, "-", &url, "10000", "1000", "5"])?;
    ensure!(got["answered"] == 5_000 && got["idle"] == 10_000 && got["gone"] == 0, "{got}");
    ensure!(got["served_after_idling"] == 200, "{got}");
    let (kib, _) = weir.resources()?;
    ensure!(kib < 600 * 1024, "{} MiB resident (debug build) after 11 000 connections", kib / 1024);
    let session = weir.session().to_owned();
    weir.stop()?;
    let overview = home.json(&["overview", &session])?;
    ensure!(overview["exchanges"] == 5_200, "{overview}");
    let connections = home.table("connections", &session).context("connections")?;
    ensure!(connections.len() == 11_000, "{} connections are recorded", connections.len());
    Ok(())
}
