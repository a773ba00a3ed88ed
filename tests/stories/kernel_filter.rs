//! eBPF beside a capture of packets: what is not HTTP stays in the kernel, counted, and each row names the process.
//!
//! Two hosts in network namespaces, curl and nginx; weir beside nginx. Left out, with a message, where that cannot be made.

use anyhow::{Result, ensure};
use serde_json::Value;
use weir_tests::{
    Home, Weir,
    netns::{Between, Net, Server, can_run},
    weir::{Stopped, ensure_balanced},
};

/// Segments of a connection that is not HTTP, from the client: enough that the filter loses its patience.
const OTHER: &str = "import socket,sys,time
server = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(server.getsockname())
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
other, _ = server.accept()
for n in range(200):
    client.sendall(b'\\\\x00\\\\x01binary')
    other.recv(100)
    other.sendall(b'\\\\x00\\\\x02binary')
    client.recv(100)
";

fn run(arguments: &[&str]) -> Result<(Vec<Value>, Value)> {
    let net = Net::new(Between::Veth)?;
    let server = Server::start(&net, &[600, 3_000_007])?;
    let home = Home::new()?;
    let weir = Weir::start_behind(
        &net.beside_server().each_ref().map(String::as_str),
        &home,
        &[&["--no-proxy", "--interface", "any"], arguments].concat(),
    )?;
    net.server(&["python3", "-c", OTHER])?;
    for _ in 0..3 {
        // On the server's own loopback, so that both ends are this host's.
        let (small, large) = (net.url(false, "/600.bin"), net.url(false, "/3000007.bin"));
        net.server(&["curl", "-sS", "--noproxy", "*", "-o", "/dev/null", &small, "-o", "/dev/null", &large])?;
    }
    let Stopped { code, last, errors } = weir.stop_with_any_code()?;
    ensure!(code == 0, "exit code {code}: {last} {errors}");
    ensure_balanced(&last["ledger"])?;
    server.stop()?;
    let session = last["session"].as_str().unwrap_or_default();
    Ok((home.requests(session)?, last["ledger"]["packets"].clone()))
}

#[test]
fn other_traffic_stays_in_the_kernel_and_rows_name_processes() -> Result<()> {
    if !can_run("kernel_filter") {
        return Ok(());
    }
    let (rows, packets) = run(&["--bodies", "none"])?;
    ensure!(rows.len() == 6, "{rows:#?}");
    for row in &rows {
        ensure!(row["status"] == 200 && row["error"].is_null(), "{row}");
        ensure!(row["process"] == "curl" && row["pid"].is_u64(), "{row}");
        let size = if row["path"] == "/600.bin" { 600 } else { 3_000_007 };
        ensure!(row["response_size"] == size && row["response_body_state"] == "skipped_policy", "{row}");
    }
    let count = |reason: &str| packets["noted"][reason].as_u64().unwrap_or(0);
    if count("filter_http") == 0 {
        eprintln!("left out: this weir has no eBPF filter: {packets}");
        return Ok(());
    }
    ensure!(packets["dropped"]["ignored:kernel_not_http"].as_u64() > Some(300), "{packets}");
    ensure!(count("filter_body_cut") > 0, "{packets}");
    // The same without the filter.
    let (rows, packets) = run(&["--no-kernel-filter"])?;
    ensure!(rows.len() == 6, "{rows:#?}");
    ensure!(packets["noted"]["filter_http"].is_null(), "{packets}");
    Ok(())
}
