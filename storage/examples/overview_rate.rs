//! How long questions over a large session take: records synthetic exchanges once, then asks, and prints the best and
//! the median of several times in milliseconds, as JSON lines.
//!
//! `cargo run --profile profiling --workspace --example overview_rate -- EXCHANGES HOME [TIMES]`
//!
//! HOME is made when it is not there and used as it is when it is: `benches/overview_side_by_side.py` asks others the same.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{path::Path, time::Instant};

use support::{Generator, Rig};
use weir_engine::{
    filter::{Column, Expr},
    record::Url,
};
use weir_storage::{Catalogue, GroupBy, Home, OverviewQuery, RequestsQuery, Session, Sort};

/// Numbers that look random and are the same in every run.
fn pick(number: u64, salt: u64, of: u64) -> u64 {
    let mixed = (number ^ salt.wrapping_mul(0xd6e8_feb8_6659_fd93)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) % of
}

fn record(home: &Path, count: u64) {
    let generator = Generator::new(false);
    let mut rig = Rig::start(home);
    let statuses = [200, 200, 200, 200, 200, 200, 204, 301, 304, 400, 404, 500];
    for number in 1..=count {
        let mut exchange = generator.exchange(number);
        let domain = pick(number, 1, 40);
        let url = format!(
            "https://svc{domain}.example.com/v1/{}/{}/items?page={}",
            ["users", "orders", "carts", "search", "images"][(pick(number, 2, 5)) as usize],
            pick(number, 3, 100_000),
            pick(number, 4, 9)
        );
        exchange.url = Url::parse(url.into()).expect("parses");
        exchange.status = Some(statuses[(pick(number, 5, 12)) as usize]);
        exchange.timings.duration_us = Some(200 + pick(number, 6, 50_000));
        exchange.device = None;
        exchange.client = Some(([10, 0, 0, (pick(number, 7, 30)) as u8], 4000).into());
        rig.push_exchange(exchange);
        if number % 1_000_000 == 0 {
            eprintln!("{number} exchanges recorded");
        }
    }
    rig.finish();
}

fn measure(name: &str, times: usize, mut ask: impl FnMut() -> u64) {
    let mut took = Vec::new();
    let mut answer = 0;
    for _ in 0..times {
        let begun = Instant::now();
        answer = ask();
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let (best, median) = (took[0], took[took.len() / 2]);
    println!("{{\"question\":\"{name}\",\"best_ms\":{best:.2},\"median_ms\":{median:.2},\"answer\":{answer}}}");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().and_then(|count| count.parse().ok()).expect("EXCHANGES HOME [TIMES]");
    let home = arguments.next().expect("EXCHANGES HOME [TIMES]");
    let times = arguments.next().and_then(|times| times.parse().ok()).unwrap_or(7);
    if !Path::new(&home).join("sessions").exists() {
        record(Path::new(&home), count);
    }
    let home = Home::at(home);
    let session = Session::open(&home, Catalogue::open(&home).find(None).expect("a session"));
    let overview = |filter: Option<&str>, by: &[GroupBy]| {
        let filter = filter.map(|text| Expr::parse(text).expect("parses"));
        let query = OverviewQuery { by: by.to_vec(), filter, ..OverviewQuery::default() };
        session.overview(&query).expect("counts").exchanges
    };
    measure("overview", times, || overview(None, &GroupBy::DEFAULT));
    measure("overview by endpoint", times, || overview(None, &[GroupBy::Endpoint]));
    measure("overview by protocol", times, || overview(None, &[GroupBy::Protocol]));
    let one = [GroupBy::Domain];
    measure("status >= 400 by domain", times, || overview(Some("status >= 400"), &one));
    measure("method and domain by status", times, || {
        overview(Some("method = 'POST' AND domain = 'svc7.example.com'"), &[GroupBy::Status])
    });
    measure("slow by endpoint", times, || overview(Some("duration_us > 45000"), &[GroupBy::Endpoint]));
    measure("url like by domain", times, || overview(Some("url LIKE '%/orders/%page=3'"), &one));
    for (name, filter, column) in [
        ("last page of status >= 400 by id", "status >= 400", Column::Id),
        ("last page of POST by started", "method = 'POST'", Column::Started),
        ("last page of status >= 400 by duration", "status >= 400", Column::DurationUs),
        ("middle page of POST by duration", "method = 'POST'", Column::DurationUs),
        ("last page of url like by id", "url LIKE '%/orders/%'", Column::Id),
    ] {
        let filter = Expr::parse(filter).expect("parses");
        let found = overview(Some(&filter.to_string()), &[GroupBy::Method]) as usize;
        let offset = if name.starts_with("middle") { found / 2 } else { found.saturating_sub(50) };
        measure(name, times, || {
            let query = RequestsQuery {
                filter: Some(filter.clone()),
                sort: Sort { column, descending: false },
                offset,
                limit: Some(50),
                ..RequestsQuery::default()
            };
            session.requests(&query).expect("asks").count() as u64
        });
    }
}
