//! Memory does not grow with the length of a session (the 2-million run is `benches/memory.py`).

use anyhow::{Result, ensure};
use weir_tests::{Home, Nginx, Weir, client::helper, nginx::Listener};

/// Asks for `count` numbered items and gives the resident memory afterwards, in KiB.
fn after(weir: &Weir, url: &str, first: u64, count: u64) -> Result<u64> {
    let proxy = weir.proxy().to_string();
    let (first, count) = (first.to_string(), count.to_string());
    let got = helper("clients.py", &["count", &proxy, "-", url, &first, &count])?;
    ensure!(got["answered"].as_u64() == Some(count.parse()?), "{got}");
    Ok(weir.resources()?.0)
}

#[test]
fn memory_is_the_same_after_twenty_times_the_requests() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &[])?;
    let url = nginx.url(Listener::Plain, "/items?n=");
    let early = after(&weir, &url, 0, 3_000)?;
    let late = after(&weir, &url, 3_000, 57_000)?;
    let session = weir.session().to_owned();
    weir.stop()?;
    ensure!(home.json(&["overview", &session])?["exchanges"] == 60_000, "all are there");
    // Allocators keep a little of what they had; 40 MiB is far below the 60 000 rows' own size in RAM.
    ensure!(late < early + 40 * 1024, "{} MiB after 3 000, {} MiB after 60 000", early / 1024, late / 1024);
    ensure!(late < 300 * 1024, "{} MiB", late / 1024);
    Ok(())
}
