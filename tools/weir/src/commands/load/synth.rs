//! `weir load synth`: capture files with known truth.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::json;
use weir_load::synth::{Encoder, Spec, Spoil, capture};

use crate::{
    cli::load::SynthArgs,
    outcome::Outcome,
    output::{
        Out,
        units::{bytes, counted},
    },
};

/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Writes what the flags ask for.
pub(super) fn run(args: &SynthArgs, out: &mut Out) -> Result<Outcome> {
    let connections = args.connections.unwrap_or(if args.size.is_some() { u64::MAX } else { 100 });
    let spec = Spec {
        seed: args.seed,
        connections,
        concurrency: args.concurrency,
        exchanges: 1..=args.exchanges,
        pipelined: args.pipelined,
        chunked: args.chunked,
        gzip: args.gzip,
        posts: args.posts,
        ipv6: args.ipv6,
        bodies: args.mix.into(),
        segment: args.segment..=args.segment,
        hashes: args.truth.is_some(),
        ..Spec::default()
    };
    let spoil = Spoil {
        lost: args.lost,
        burst: args.burst,
        direction: args.lost_of.into(),
        reordered: args.reordered,
        duplicated: args.duplicated,
        overlapped: args.overlapped,
    };
    let inside = args.inside.iter().map(|tunnel| (*tunnel).into()).collect();
    let encoder = Encoder::new(args.link.into(), inside, args.fragment);
    let to_stdout = args.output.as_os_str() == "-";
    let output: Box<dyn Write> =
        if to_stdout { Box::new(io::stdout().lock()) } else { Box::new(create(&args.output)?) };
    let truth: Option<Box<dyn Write>> = match &args.truth {
        Some(path) => Some(Box::new(BufWriter::new(create(path)?))),
        None => None,
    };
    let plan = capture::Plan { spec, spoil, encoder, size: args.size };
    let written = capture::write(plan, BufWriter::with_capacity(BUFFER, output), truth)?;
    if to_stdout {
        return Ok(Outcome::Done);
    }
    if out.json {
        out.json_line(&json!({
            "event": "written", "file": args.output, "bytes": written.bytes, "packets": written.packets,
            "exchanges": written.exchanges, "lost": written.lost,
        }))?;
    } else {
        let (packets, exchanges) =
            (counted(written.packets, "packet", "packets"), counted(written.exchanges, "exchange", "exchanges"));
        writeln!(out, "wrote {}: {} of {packets}, {exchanges} begun", args.output.display(), bytes(written.bytes))?;
    }
    Ok(Outcome::Done)
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("{} cannot be written", path.display()))
}
