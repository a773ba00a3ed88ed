//! Any folder of captures against tshark: `WEIR_CAPTURES=FOLDER` prints, for each file in which both do not count
//! the same, what each counts. It tells where to look; tshark is no judge.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use support::{Outcome, read};
use weir_engine::record::Protocol;

/// Requests and responses, of HTTP/1.x and of HTTP/2.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    requests: u64,
    responses: u64,
    requests2: u64,
    responses2: u64,
}

fn counts(outcome: &Outcome) -> Counts {
    let mut counts = Counts::default();
    for exchange in &outcome.exchanges {
        let asked = u64::from(!exchange.method.is_empty());
        let answered = u64::from(exchange.status.is_some());
        if exchange.protocol == Protocol::Http2 {
            counts.requests2 += asked;
            counts.responses2 += answered;
        } else {
            counts.requests += asked;
            counts.responses += answered;
        }
    }
    counts
}

/// What tshark counts; interim responses but 101 are left out. `None`: it is absent.
fn tshark(path: &Path) -> Option<Counts> {
    let fields = ["http.request.method", "http.response.code", "http2.headers.method", "http2.headers.status"];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path).args(["-n", "-Y", "http || http2.headers", "-T", "fields"]);
    command.args(["-o", "http.desegment_body:FALSE"]).args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.stderr(Stdio::null()).output().ok()?;
    let mut counts = Counts::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let mut columns = line.split('\t').map(|column| column.split(',').filter(|value| !value.is_empty()));
        let mut next = |keep: fn(&&str) -> bool| columns.next().map_or(0, |values| values.filter(keep).count() as u64);
        let is_final = |status: &&str| !status.starts_with('1') || *status == "101";
        counts.requests += next(|_| true);
        counts.responses += next(is_final);
        counts.requests2 += next(|_| true);
        counts.responses2 += next(is_final);
    }
    Some(counts)
}

#[test]
fn captures_as_tshark_counts_them() {
    let Some(folder) = std::env::var_os("WEIR_CAPTURES") else { return };
    let only = std::env::var("WEIR_CAPTURES_ONLY").unwrap_or_default();
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files: BTreeMap<_, _> = entries.filter_map(|path| Some((path.file_name()?.to_owned(), path))).collect();
    let (mut same, mut differing, mut without) = (0, 0, 0);
    for (name, path) in files.iter().filter(|(name, _)| name.to_string_lossy().contains(&only)) {
        let bytes = fs::read(path).expect("reads");
        let opened = std::panic::catch_unwind(|| weir_engine::source::CaptureReader::new(&bytes[..]).is_ok());
        if !opened.unwrap_or_default() {
            continue;
        }
        let ours = counts(&read(&bytes[..]));
        let looks = memchr::memmem::find(&bytes, b"HTTP/").is_some() || ours != Counts::default();
        let theirs = if looks { tshark(path) } else { None };
        match theirs {
            Some(theirs) if theirs == ours => same += 1,
            Some(theirs) => {
                differing += 1;
                println!("{}: weir {ours:?}, tshark {theirs:?}", name.to_string_lossy());
            }
            None => without += 1,
        }
    }
    println!("captures: {same} counted the same, {differing} not, {without} not compared");
}
