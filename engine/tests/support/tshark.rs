//! What tshark pairs, for the table beside our own figures. Optional: absent, the table says so.

use std::{
    collections::HashSet,
    io::Write as _,
    process::{Command, Stdio},
};

/// Pairs that tshark tells for a capture: right ones of those that could be told, and wrong ones.
pub(crate) fn pairs(capture: &[u8], recoverable: &HashSet<&str>) -> Option<(usize, usize)> {
    let mut file = std::env::temp_dir();
    file.push(format!("weir-loss-{}.pcap", std::process::id()));
    std::fs::File::create(&file).ok()?.write_all(capture).ok()?;
    // PDML keeps messages of one frame apart.
    let output = Command::new("tshark")
        .arg("-r")
        .arg(&file)
        .args(["-2", "-Y", "http.response", "-J", "http", "-T", "pdml"])
        .args(["-o", "http.desegment_body:TRUE", "-o", "tcp.reassemble_out_of_order:TRUE"])
        .stderr(Stdio::null())
        .output();
    let _ = std::fs::remove_file(&file);
    let output = output.ok().filter(|output| output.status.success())?;
    let (mut right, mut wrong) = (0, 0);
    let mut answered: Option<String> = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let line = line.trim_start();
        let shown = || line.split_once("show=\"").and_then(|(_, rest)| rest.split('"').next());
        if line.starts_with("<proto name=\"http\"") {
            answered = None;
        } else if line.starts_with("<field name=\"http.response.line\"") {
            let id = shown().and_then(|shown| shown.strip_prefix("X-Id: "));
            answered = id.map(|id| id.trim_end_matches("\\r\\n").trim_end_matches("\\xd\\xa").to_owned()).or(answered);
        } else if line.starts_with("<field name=\"http.response_for.uri\"") {
            let asked = shown().and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
            match &answered {
                Some(answered) if answered == asked => right += usize::from(recoverable.contains(asked)),
                _ => wrong += 1,
            }
        }
    }
    Some((right, wrong))
}
