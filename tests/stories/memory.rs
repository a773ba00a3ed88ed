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
fn memory_stays_where_it_was_after_the_first_twenty_thousand_requests() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let weir = Weir::start(&home, &[])?;
    let url = nginx.url(Listener::Plain, "/items?n=");
    // By then every buffer has been as full as it gets between two flushes.
    let early = after(&weir, &url, 0, 20_000)?;
    let late = after(&weir, &url, 20_000, 100_000)?;
    let session = weir.session().to_owned();
    weir.stop()?;
    ensure!(home.json(&["overview", &session])?["exchanges"] == 120_000, "all are there");
    // A row with its headers takes more than 1 KiB in RAM: 100 000 of them would show. Merging parts meanwhile may not.
    ensure!(late < early + 48 * 1024, "{} MiB after 20 000, {} MiB after 120 000", early / 1024, late / 1024);
    ensure!(late < 300 * 1024, "{} MiB", late / 1024);
    Ok(())
}
