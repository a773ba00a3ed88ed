//! What recording costs: feeds synthetic exchanges with 600-byte bodies to a recorder and prints the
//! CPU each thread took per exchange.
//!
//! `cargo run --profile profiling --workspace --example record_rate -- [EXCHANGES] [KIND] [HOME]`
//!
//! KIND: `same` (one body), `unique` (each another), `cookies` (each exchange sends three and sets one), `no-cookies` (the
//! same, but they are not gathered).

#[path = "../tests/support/mod.rs"]
mod support;

use std::{fs, time::Instant};

use support::{Generator, Rig};
use weir_engine::record::Headers;
use weir_storage::{Home, RecorderOptions};

/// CPU nanoseconds of each thread of this process by name.
fn threads() -> Vec<(String, u64)> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let read = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some((name.trim().to_owned(), times.split(' ').next()?.parse().ok()?))
    };
    tasks.filter_map(read).collect()
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let kind = arguments.next().unwrap_or_default();
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = arguments.next().map_or_else(|| folder.path().join("home"), Into::into);
    let generator = Generator::new(kind == "unique");
    let mut options = RecorderOptions::new(Home::at(&home), "proxy");
    options.cookies = kind != "no-cookies";
    let mut rig = Rig::with(options);
    let cookies = kind.ends_with("cookies").then(|| {
        let sent = Headers::from_pairs([
            ("Host", "api.example.com"),
            ("Cookie", "session=0123456789abcdef; theme=dark; _ga=GA1.2.1234567890.1700000000"),
        ]);
        let set = "session=0123456789abcdef; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=3600";
        (sent, Headers::from_pairs([("Content-Type", "application/json"), ("Set-Cookie", set)]))
    });
    let begun = Instant::now();
    for number in 1..=count {
        let mut exchange = generator.exchange(number);
        if let Some((sent, set)) = &cookies {
            (exchange.request_headers, exchange.response_headers) = (sent.clone(), set.clone());
        }
        rig.push_exchange(exchange);
        if number % (count / 10).max(1) == 0 {
            println!("{number} exchanges, {} MiB resident", resident_mib());
        }
    }
    rig.flush();
    rig.wait_flushed(count);
    println!("{:.2} s, {:.0} exchanges/s", begun.elapsed().as_secs_f64(), count as f64 / begun.elapsed().as_secs_f64());
    for (name, nanoseconds) in threads() {
        println!("{name:16} {:8.0} ns/exchange", nanoseconds as f64 / count as f64);
    }
    let stopping = Instant::now();
    let entry = rig.finish();
    println!("stopped in {:.2} s, {} exchanges kept", stopping.elapsed().as_secs_f64(), entry.exchanges);
    for table in weir_storage::Table::ALL {
        let parts = weir_storage::list_parts(&Home::at(&home), &entry.id, table).expect("lists");
        let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        println!("{table:12} {:3} parts {:8.1} bytes/exchange", parts.len(), bytes as f64 / count as f64);
    }
}
