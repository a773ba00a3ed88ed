//! The proxy without storage: records are counted and dropped. For profiles and side-by-side runs.
//!
//! `relay [ADDRESS] [THREADS] [all|none]`; prints the address, runs until its standard input ends, then
//! prints what it counted and the processor time an exchange took.

use std::{io::Read, sync::Arc, time::Duration};

use weir_engine::{
    ledger::Counters,
    pipeline::{Budget, Ids, Outlet, WhenFull, queue, queue::Received},
    record::Record,
};
use weir_proxy::{
    Proxy, ProxyConfig,
    config::{BodyPolicy, Keep},
    hooks::Hooks,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned()).parse()?;
    let threads = arguments.next().map_or(Ok(0), |count| count.parse())?;
    let bodies = if arguments.next().as_deref() == Some("none") { BodyPolicy::None } else { BodyPolicy::All };
    let (sender, receiver) = queue(64);
    let outlet = Outlet::new(sender, Arc::new(Counters::default()), WhenFull::Wait);
    let config = ProxyConfig { listen, threads, keep: Arc::new(Keep::new(bodies, true)), ..ProxyConfig::default() };
    let proxy = Proxy::start_with(config, Hooks::default(), outlet, Arc::new(Ids::default()), Budget::new(256 << 20))?;
    println!("{}", proxy.local_addr());
    let counting = std::thread::spawn(move || {
        let mut exchanges = 0_u64;
        loop {
            match receiver.recv_timeout(Duration::from_secs(3600)) {
                Received::Batch(batch) => {
                    exchanges +=
                        batch.records.iter().filter(|record| matches!(record, Record::Exchange(_))).count() as u64;
                }
                Received::TimedOut => {}
                Received::Ended => return exchanges,
            }
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    proxy.stop(Duration::from_secs(1));
    let exchanges = counting.join().map_err(|_| "the counting thread panicked")?;
    // Fields 14 and 15 of proc(5) stat: user and system time in ticks of 10 ms.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let micros = ticks * 10_000;
    println!("{exchanges} exchanges, {} us of processor time each", micros as f64 / exchanges.max(1) as f64);
    Ok(())
}
