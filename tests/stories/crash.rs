//! kill -9 at random moments under load: the session opens, what was flushed is there, nothing twice.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use weir_tests::{Home, Nginx, Weir, client::helper, nginx::Listener};

const ROUNDS: u64 = 50;

/// Flushed at the latest: one interval (1 s), and time for a loaded machine to write it.
const FLUSHED_AFTER: f64 = 1.0 + 2.0;

/// Moments that look random and are the same in each run.
fn millis(round: u64, from: u64, to: u64) -> u64 {
    from + blake3::hash(&round.to_le_bytes()).as_bytes()[0] as u64 * (to - from) / 255
}

fn numbers(rows: &[Value]) -> Result<BTreeSet<u64>> {
    let mut all = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for row in rows {
        let query = row["query"].as_str().and_then(|query| query.strip_prefix("n=")).context("a query")?;
        ensure!(all.insert(query.parse()?), "{query} is there twice");
        ensure!(ids.insert(row["id"].as_u64()), "id {} is there twice", row["id"]);
    }
    Ok(all)
}

#[test]
fn fifty_kills_cost_at_most_one_flush_interval_each() -> Result<()> {
    let (home, nginx) = (Home::new()?, Nginx::start()?);
    let url = nginx.url(Listener::Plain, "/items?n=");
    let mut first = 0;
    let mut sessions = Vec::new();
    let mut stored = 0;
    for round in 0..ROUNDS {
        let weir = Weir::start(&home, &[])?;
        let session = weir.session().to_owned();
        let (proxy, url, start) = (weir.proxy().to_string(), url.clone(), first.to_string());
        let load = thread::spawn(move || helper("clients.py", &["load", &proxy, "-", &url, &start, "60"]));
        // Most die young; every tenth lives long enough that its first seconds must be on disk.
        let life = if round % 10 == 9 { millis(round, 4_000, 6_000) } else { millis(round, 200, 2_500) };
        let born = Instant::now();
        let mut visible = BTreeSet::new();
        if life > 1_200 {
            thread::sleep(Duration::from_millis(life - millis(round + 1_000, 0, 900)));
            // Whatever a reader has seen must still be there afterwards.
            visible = numbers(&home.requests(&session)?)?;
        }
        thread::sleep(Duration::from_millis(life).saturating_sub(born.elapsed()));
        let killed_at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        weir.kill()?;
        let load = load.join().map_err(|_| anyhow!("the load panicked"))??;
        first = load["next"].as_u64().context("next")?;

        let kept = numbers(&home.requests(&session)?)?;
        let lost: Vec<_> = visible.difference(&kept).collect();
        ensure!(lost.is_empty(), "round {round}: a reader had seen {lost:?}");
        for done in load["done"].as_array().context("done")? {
            let (number, at) = (done[0].as_u64().context("number")?, done[1].as_f64().context("time")?);
            ensure!(
                at + FLUSHED_AFTER > killed_at || kept.contains(&number),
                "round {round}: {number} was complete {:.1} s before the kill and is lost",
                killed_at - at
            );
        }
        let entry = home.json(&["session", "show", &session])?;
        ensure!(entry["state"] == "recovered", "round {round}: {entry}");
        let overview = home.json(&["overview", &session])?;
        ensure!(overview["exchanges"] == kept.len(), "round {round}: {} rows, {overview}", kept.len());
        stored += kept.len();
        sessions.push(session);
    }
    ensure!(stored > 1_000, "the load was a load: {stored} rows");
    // Every file is whole, to readers that know nothing of weir.
    let files = helper("lake.py", &["verify", home.path().to_str().context("path")?])?;
    for (session, counts) in files.as_object().context("sessions")? {
        ensure!(counts["rows"] == counts["distinct"], "{session}: {counts}");
        ensure!(sessions.contains(session), "{session} is none of ours");
    }
    Ok(())
}
