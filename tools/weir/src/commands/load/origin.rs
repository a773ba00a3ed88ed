//! `weir load origin`: the test server, until a signal ends it.

use std::io::Write as _;

use anyhow::{Context, Result};
use serde_json::json;
use weir_load::{
    certificates::Identity,
    origin::{Options, Origin},
};

use crate::{cli::load::OriginArgs, outcome::Outcome, output::Out, output::units::counted, signals::Signals};

/// Serves until a signal.
pub(super) fn run(args: &OriginArgs, out: &mut Out) -> Result<Outcome> {
    // Heard from the first moment on.
    let (runtime, mut signals) = Signals::begin()?;
    let identity = match (&args.cert, &args.key) {
        (Some(chain), Some(key)) => Identity::load(chain, key)?,
        _ => Identity::make(&args.name)?,
    };
    if let (Some(path), Some(authority)) = (&args.ca_file, &identity.authority) {
        std::fs::write(path, authority).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let options = Options {
        listen: args.listen,
        tls: args.tls,
        threads: super::threads(args.threads),
        log: args.log.clone(),
        stall: args.stall,
    };
    let origin = Origin::start(&options, &identity)?;
    if out.json {
        let port = origin.address().port();
        let tls = origin.tls();
        out.json_line(&json!({
            "event": "ready", "http": origin.address().to_string(), "port": port,
            "https": tls.map(|tls| tls.to_string()), "tls_port": tls.map(|tls| tls.port()),
        }))?;
    } else {
        writeln!(out, "http://{}/ answers; Ctrl-C ends it, --help tells the paths", origin.address())?;
        if let Some(tls) = origin.tls() {
            writeln!(out, "https://{tls}/ too")?;
        }
    }
    out.flush()?;
    runtime.block_on(signals.any());
    let requests = origin.stop()?;
    if out.json {
        out.json_line(&json!({ "event": "stopped", "requests": requests }))?;
    } else {
        writeln!(out, "{} answered", counted(requests, "request", "requests"))?;
    }
    Ok(Outcome::Done)
}
