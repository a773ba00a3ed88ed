//! Packets of interfaces: what the server's access log says is what the session says.
//!
//! Two hosts in network namespaces, curl and nginx; weir beside nginx. Left out, with a message, where that cannot be made.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use weir_tests::{
    Home, Weir,
    checks::{ensure_same, facts},
    netns::{Between, INTERFACE, Net, PORT, Server, can_run},
    process,
    weir::{Stopped, ensure_balanced},
};

/// Files the server has: none, small, one that arrives in segments put together (GRO), large.
const SIZES: [usize; 4] = [0, 600, 60_000, 3_000_007];

/// Starts a capture on the server, without a proxy.
fn capture(net: &Net, home: &Home, arguments: &[&str]) -> Result<Weir> {
    Weir::start_behind(&net.on_server(), home, &[&["--no-proxy"], arguments].concat())
}

/// All sizes over IPv4 and IPv6, several requests a connection, a POST, a 404.
fn fetch_everything(net: &Net) -> Result<()> {
    for is_v6 in [false, true] {
        let urls: Vec<String> = SIZES.iter().map(|size| net.url(is_v6, &format!("/{size}.bin"))).collect();
        let mut arguments = Vec::new();
        for url in &urls {
            arguments.extend(["-o", "/dev/null", url]);
        }
        let missing = net.url(is_v6, "/none?q=1");
        arguments.extend(["-o", "/dev/null", &missing]);
        let output = net.curl(&arguments)?;
        ensure!(output.status.success(), "curl: {}", String::from_utf8_lossy(&output.stderr));
        let post = net.curl(&["--data", "a=1", &net.url(is_v6, "/post")])?;
        ensure!(post.stdout == b"posted", "{post:?}");
    }
    Ok(())
}

/// Stops the capture. Connections that began before it, or end after it, are no loss of weir's.
fn stop(weir: Weir) -> Result<Value> {
    let Stopped { code, last, errors } = weir.stop_with_any_code()?;
    ensure!(code == 0, "exit code {code}: {last} {errors}");
    ensure_balanced(&last["ledger"])?;
    Ok(last)
}

/// Captures everything that is fetched, and compares; the packets seen, or nothing where the line cannot be had.
fn records_what_was_answered(between: Between, arguments: &[&str], prepare: &[&[&str]]) -> Result<Option<u64>> {
    let Some(net) = Net::if_possible(between)? else { return Ok(None) };
    for line in prepare {
        for outcome in [net.server(line), net.client(line)] {
            match outcome {
                Err(error) if error.to_string().contains("qdisc kind is unknown") => {
                    eprintln!("left out: this kernel has no netem");
                    return Ok(None);
                }
                other => other.map(drop)?,
            }
        }
    }
    let last = compare(&net, &net.on_server(), arguments).with_context(|| format!("{between:?} {prepare:?}"))?;
    Ok(last["ledger"]["packets"]["seen"].as_u64())
}

/// Fetches everything while a host captures; what the access log says is what the session says.
fn compare(net: &Net, host: &[&str], arguments: &[&str]) -> Result<Value> {
    let server = Server::start(net, &SIZES)?;
    let home = Home::new()?;
    let weir = Weir::start_behind(host, &home, &[&["--no-proxy"], arguments].concat())?;
    let session = weir.session().to_owned();
    fetch_everything(net)?;
    let last = stop(weir)?;
    let rows = home.requests(&session)?;
    ensure_same(&rows, &server.stop()?).with_context(|| format!("{arguments:?} {last}"))?;
    ensure!(rows.iter().all(|row| row["source"] == "packets" && row["error"].is_null()), "{rows:#?}");
    Ok(last)
}

#[test]
fn through_a_ring() -> Result<()> {
    if !can_run("through_a_ring") {
        return Ok(());
    }
    records_what_was_answered(Between::Veth, &["--interface", INTERFACE], &[])?;
    records_what_was_answered(Between::Veth, &["--interface", INTERFACE, "--shards", "2"], &[])?;
    records_what_was_answered(Between::Veth, &["--interface", "any", "--memory", "64MiB"], &[])?;
    Ok(())
}

#[test]
fn through_libpcap() -> Result<()> {
    if !can_run("through_libpcap") {
        return Ok(());
    }
    records_what_was_answered(Between::Veth, &["--interface", INTERFACE, "--backend", "pcap"], &[])?;
    records_what_was_answered(Between::Vlan, &["--interface", "any", "--backend", "pcap"], &[])?;
    Ok(())
}

#[test]
fn through_vlan_and_tunnels() -> Result<()> {
    if !can_run("through_vlan_and_tunnels") {
        return Ok(());
    }
    for between in [Between::Vlan, Between::Vxlan, Between::Gre] {
        records_what_was_answered(between, &["--interface", INTERFACE], &[])?;
        // The inner interface and the outer one show the same connections.
        records_what_was_answered(between, &["--interface", INTERFACE, "--interface", "inner"], &[])?;
    }
    Ok(())
}

#[test]
fn with_offloads_and_without() -> Result<()> {
    if !can_run("with_offloads_and_without") {
        return Ok(());
    }
    let set = |what: &'static str| ["ethtool", "-K", INTERFACE, "gro", what, "gso", what, "tso", what];
    let seen = |what| records_what_was_answered(Between::Veth, &["--interface", INTERFACE], &[&set(what)]);
    let (on, off) = (seen("on")?.context("packets")?, seen("off")?.context("packets")?);
    // Put together, up to 64 KiB come as one.
    ensure!(on * 4 < off, "{on} packets with offloads, {off} without");
    Ok(())
}

#[test]
fn over_a_line_that_loses_reorders_and_duplicates() -> Result<()> {
    if !can_run("over_a_line_that_loses_reorders_and_duplicates") {
        return Ok(());
    }
    let line: Vec<&str> =
        "tc qdisc add dev veth0 root netem delay 2ms 1ms loss 2% duplicate 2% reorder 20% 50%".split(' ').collect();
    for backend in ["af_packet", "pcap"] {
        records_what_was_answered(Between::Veth, &["--interface", INTERFACE, "--backend", backend], &[&line])?;
    }
    Ok(())
}

/// The same where the kernel has no netem: a line of our own does the harm. On the server's side requests and acknowledgements
/// come over it; on the client's, the answers.
#[test]
fn over_a_line_of_our_own_that_does_harm() -> Result<()> {
    if !can_run("over_a_line_of_our_own_that_does_harm") {
        return Ok(());
    }
    for (is_client, backend) in [(false, "af_packet"), (true, "af_packet"), (true, "pcap")] {
        let mut net = Net::new(Between::FaultyLine)?;
        let host = if is_client { net.on_client() } else { net.on_server() };
        let last = compare(&net, &host, &["--interface", INTERFACE, "--backend", backend])?;
        let harm = net.end_line()?;
        for what in ["lost", "doubled", "overtaken"] {
            ensure!(harm[what].as_u64() > Some(10), "{harm}");
        }
        // What came twice is seen to have come twice, and counted.
        let twice = last["ledger"]["stream_bytes"]["dropped"]["ignored:retransmission"].as_u64();
        ensure!(!is_client || twice > Some(0), "{last}");
    }
    Ok(())
}

/// Many connections at once, in turns, from wrk: every line of the access log is a row. wrk goes at its end without hearing its last
/// answers, so that each of its connections may leave one more.
#[test]
fn under_the_load_of_wrk() -> Result<()> {
    const CONNECTIONS: usize = 32;
    if !can_run("under_the_load_of_wrk") {
        return Ok(());
    }
    if std::process::Command::new("wrk").arg("--version").output().is_err() {
        eprintln!("left out: wrk is missing; run: scripts/setup test");
        return Ok(());
    }
    for backend in ["af_packet", "pcap"] {
        let net = Net::new(Between::Veth)?;
        let server = Server::start(&net, &SIZES)?;
        let home = Home::new()?;
        let weir = capture(&net, &home, &["--interface", INTERFACE, "--backend", backend])?;
        let session = weir.session().to_owned();
        let connections = format!("-c{CONNECTIONS}");
        net.client(&["wrk", "-t1", &connections, "-d2", &net.url(false, "/600.bin")])?;
        let last = stop(weir)?;
        let rows = home.requests(&session)?;
        let whole: Vec<Value> = rows.iter().filter(|row| row["error"].is_null()).cloned().collect();
        let log: Vec<Value> = server.stop()?.into_iter().filter(|line| line["status"] == 200).collect();
        let (counted, logged) = (whole.len(), log.len());
        ensure!(
            logged > 1_000 && counted <= logged && logged <= counted + CONNECTIONS,
            "{counted} rows, {logged} lines: {last}"
        );
        let mut left = facts(&log, false).into_iter();
        for fact in facts(&whole, true) {
            ensure!(left.any(|line| line == fact), "not in the access log: {fact}; {last}");
        }
    }
    Ok(())
}

/// What the rows of a replayed file have in common with those of the same file imported.
fn said(rows: &[Value]) -> Vec<String> {
    let names = ["method", "url", "status", "request_size", "response_size", "client", "server", "error"];
    let mut said: Vec<String> =
        rows.iter().map(|row| names.iter().map(|name| row[*name].to_string()).collect::<Vec<_>>().join(" ")).collect();
    said.sort();
    said
}

/// Tagged, tunnelled, fragmented, overtaken and doubled packets sent over the line make the rows that the same packets make
/// from a file. The kernel takes VLAN tags off before a ring sees them.
#[test]
fn replayed_packets_say_what_the_file_says() -> Result<()> {
    if !can_run("replayed_packets_say_what_the_file_says") {
        return Ok(());
    }
    if std::process::Command::new("tcpreplay").arg("--version").output().is_err() {
        eprintln!("left out: tcpreplay is missing; run: scripts/setup test");
        return Ok(());
    }
    let ways =
        ["--inside vlan", "--inside gre", "--inside vxlan", "--fragment 576", "--reordered 0.02 --duplicated 0.02"];
    for (number, way) in ways.into_iter().enumerate() {
        let backend = if number % 2 == 0 { "af_packet" } else { "pcap" };
        let home = Home::new()?;
        let file = home.path().join("trace.pcap");
        let file = file.to_str().context("a plain path")?;
        let synth: Vec<&str> =
            ["load", "synth", "-o", file, "--connections", "60"].into_iter().chain(way.split(' ')).collect();
        home.output(&synth)?;
        let imported = home.json(&["import", file])?;
        let expected = home.requests(imported["session"].as_str().context("a session")?)?;
        let net = Net::new(Between::Veth)?;
        for host in [net.on_client(), net.on_server()] {
            process::command(host[0])
                .args(&host[1..])
                .args(["ip", "link", "set", INTERFACE, "mtu", "9000"])
                .status()?;
        }
        let weir = capture(&net, &home, &["--interface", INTERFACE, "--backend", backend])?;
        let session = weir.session().to_owned();
        net.client(&["tcpreplay", "-q", "-i", INTERFACE, "--pps=5000", file])?;
        let last = stop(weir)?;
        let (rows, expected) = (said(&home.requests(&session)?), said(&expected));
        ensure!(rows == expected, "{way} {backend}: {} rows, {} expected; {last}", rows.len(), expected.len());
    }
    Ok(())
}

/// Each packet of the loopback is seen as it leaves and as it comes, and counts once.
#[test]
fn loopback_counts_once() -> Result<()> {
    if !can_run("loopback_counts_once") {
        return Ok(());
    }
    for arguments in [["lo", "af_packet"], ["any", "af_packet"], ["lo", "pcap"], ["any", "pcap"]] {
        let net = Net::new(Between::Veth)?;
        let server = Server::start(&net, &SIZES)?;
        let home = Home::new()?;
        let weir = capture(&net, &home, &["--interface", arguments[0], "--backend", arguments[1]])?;
        let session = weir.session().to_owned();
        let url = format!("http://127.0.0.1:{PORT}/60000.bin");
        net.server(&["curl", "-sS", "-o", "/dev/null", &url])?;
        let last = stop(weir)?;
        let rows = home.requests(&session)?;
        ensure_same(&rows, &server.stop()?)?;
        // No byte came twice.
        let twice = &last["ledger"]["stream_bytes"]["dropped"]["ignored:retransmission"];
        ensure!(twice.as_u64().unwrap_or(0) == 0, "{arguments:?}: {last}");
    }
    Ok(())
}

/// `--bpf` decides in the kernel, for both backends; what is no expression is refused before anything begins.
#[test]
fn packet_filters() -> Result<()> {
    if !can_run("packet_filters") {
        return Ok(());
    }
    for backend in ["af_packet", "pcap"] {
        let (matching, other) = (format!("tcp port {PORT}"), format!("tcp port {}", PORT + 1));
        records_what_was_answered(
            Between::Veth,
            &["--interface", INTERFACE, "--backend", backend, "--bpf", &matching],
            &[],
        )?;
        let net = Net::new(Between::Veth)?;
        let server = Server::start(&net, &SIZES)?;
        let home = Home::new()?;
        let weir = capture(&net, &home, &["--interface", INTERFACE, "--backend", backend, "--bpf", &other])?;
        fetch_everything(&net)?;
        let last = stop(weir)?;
        ensure!(last["exchanges"] == 0 && last["ledger"]["packets"].is_null(), "{last}");
        ensure!(!server.stop()?.is_empty());
    }
    let home = Home::new()?;
    let refused = home.run(&["capture", "--no-proxy", "--interface", "lo", "--bpf", "tcp prot 80"])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(said.contains("\"tcp prot 80\" is not understood"), "{said}");
    Ok(())
}

/// The interface goes down and up, then away; another takes its name. The capture goes on each time.
#[test]
fn interface_down_and_up_and_replaced() -> Result<()> {
    if !can_run("interface_down_and_up_and_replaced") {
        return Ok(());
    }
    let net = Net::new(Between::Veth)?;
    let server = Server::start(&net, &SIZES)?;
    let home = Home::new()?;
    let weir = capture(&net, &home, &["--interface", INTERFACE, "--shards", "2"])?;
    let session = weir.session().to_owned();
    let fetch = || -> Result<()> {
        let url = net.url(false, "/600.bin");
        let output = net.curl(&["--retry", "20", "--retry-all-errors", "--retry-delay", "1", &url])?;
        ensure!(output.stdout.len() == 600, "{output:?}");
        Ok(())
    };
    fetch()?;
    net.server(&["ip", "link", "set", INTERFACE, "down"])?;
    net.server(&["ip", "link", "set", INTERFACE, "up"])?;
    fetch()?;
    // A new pair under the same names.
    net.server(&["ip", "link", "delete", INTERFACE])?;
    net.renew()?;
    // The capture looks a few times a second whether the interface is back: go on until it has seen a request.
    process::eventually("a request is seen again", std::time::Duration::from_secs(30), || {
        fetch()?;
        Ok(home.requests(&session)?.len() >= 3)
    })?;
    let last = stop(weir)?;
    let rows = home.requests(&session)?;
    ensure!(rows.len() <= server.stop()?.len() && rows.iter().all(|row| row["status"] == 200), "{rows:#?}");
    let downs = last["ledger"]["packets"]["noted"]["interface_downs"].as_u64();
    ensure!(downs.is_some_and(|downs| downs >= 2), "{last}");
    Ok(())
}

/// The ledger agrees with the interface's own counters, also when the ring was full: weir is stopped meanwhile.
#[test]
fn balances_against_the_interface() -> Result<()> {
    if !can_run("balances_against_the_interface") {
        return Ok(());
    }
    let net = Net::new(Between::Veth)?;
    let server = Server::start(&net, &SIZES)?;
    let home = Home::new()?;
    let early = net.packets()?;
    // Two rings of four blocks, the smallest there are.
    let mut weir = capture(&net, &home, &["--interface", INTERFACE, "--memory", "16MiB", "--shards", "2"])?;
    let before = net.packets()?;
    let files = format!("http://{}:{PORT}/3000007.bin?[1-8]", net.server_address());
    let curl = || net.curl(&["-o", "/dev/null", &files]);
    ensure!(curl()?.status.success());
    weir.signal(Signal::STOP)?;
    ensure!(curl()?.status.success());
    let after = net.packets()?;
    weir.signal(Signal::CONT)?;
    let Stopped { code, last, errors } = weir.stop_with_any_code()?;
    ensure_balanced(&last["ledger"])?;
    let packets = &last["ledger"]["packets"];
    // Hosts have a few packets of their own to send while the capture begins and ends.
    let late = net.packets()?;
    let (passed, at_most) = (after - before, late - early);
    let seen = packets["seen"].as_u64().context("packets were seen")?;
    ensure!((passed..=at_most).contains(&seen), "{passed} to {at_most} passed, {seen} were seen: {last}");
    ensure!(packets["dropped"]["ring_full"].as_u64().is_some_and(|lost| lost > 0), "{last}");
    // A capture that lost something says so.
    ensure!(code == 3, "exit code {code}: {errors}");
    ensure!(server.stop()?.len() == 16);
    Ok(())
}

/// The proxy and the interface behind it in one session: two rows, told apart by `source`, joined by what they say.
#[test]
fn proxy_and_interface_at_once() -> Result<()> {
    if !can_run("proxy_and_interface_at_once") {
        return Ok(());
    }
    let net = Net::new(Between::Veth)?;
    let server = Server::start(&net, &SIZES)?;
    let home = Home::new()?;
    let arguments = ["--proxy", "127.0.0.1:0", "--interface", INTERFACE];
    let weir = Weir::start_behind(&net.on_client(), &home, &arguments)?;
    let session = weir.session().to_owned();
    let proxy = format!("http://{}", weir.proxy());
    net.client(&[
        "curl",
        "-sS",
        "--noproxy",
        "",
        "-x",
        &proxy,
        "-o",
        "/dev/null",
        &net.url(false, "/600.bin?via=proxy"),
    ])?;
    net.client(&["curl", "-sS", "-o", "/dev/null", &net.url(false, "/600.bin?via=nothing")])?;
    stop(weir)?;
    let rows = home.requests(&session)?;
    let of = |source: &str, query: &str| {
        rows.iter().filter(|row| row["source"] == source && row["query"] == query).cloned().collect::<Vec<_>>()
    };
    let (seen, recorded) = (of("packets", "via=proxy"), of("proxy", "via=proxy"));
    ensure!(seen.len() == 1 && recorded.len() == 1 && of("packets", "via=nothing").len() == 1, "{rows:#?}");
    ensure!(rows.len() == 3, "{rows:#?}");
    for column in ["url", "status", "response_body", "response_size"] {
        ensure!(seen[0][column] == recorded[0][column], "{column}: {rows:#?}");
    }
    ensure!(home.rows(&["requests", &session, "--source", "packets"])?.len() == 2);
    ensure!(server.stop()?.len() == 2);
    Ok(())
}

/// The raw packets of what is recorded lie beside the session, whole connections of them, and go with it.
#[test]
fn raw_packets_are_saved() -> Result<()> {
    if !can_run("raw_packets_are_saved") {
        return Ok(());
    }
    let net = Net::new(Between::Veth)?;
    let server = Server::start(&net, &SIZES)?;
    let home = Home::new()?;
    let weir = capture(&net, &home, &["--interface", INTERFACE, "--save-packets", "--url", "60000.bin"])?;
    let session = weir.session().to_owned();
    for path in ["/60000.bin", "/600.bin"] {
        ensure!(net.curl(&["-o", "/dev/null", &net.url(false, path)])?.status.success());
    }
    let last = stop(weir)?;
    ensure!(last["exchanges"] == 1, "{last}");
    let folder = home.path().join(format!("packets/session={session}"));
    let file = folder.join("shard-0.pcapng");
    // weir reads it as it reads any capture file: the exchange that passed, complete, and no other.
    let again = home.json(&["import", file.to_str().context("a plain path")?])?;
    let rows = home.requests(again["session"].as_str().context("a session")?)?;
    ensure!(said(&rows) == said(&home.requests(&session)?) && rows.len() == 1, "{rows:#?} {again}");
    ensure!(again["ledger"]["stream_bytes"]["dropped"]["gap"].is_null(), "{again}");
    home.output(&["session", "delete", &session])?;
    ensure!(!folder.exists());
    ensure!(server.stop()?.len() == 2);
    Ok(())
}

/// Without the right to capture, the line that gives it; with it, no other right is kept.
#[test]
fn rights() -> Result<()> {
    if !can_run("rights") {
        return Ok(());
    }
    let home = Home::new()?;
    let mut command = process::command("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(weir_tests::weir::binary()?);
    command.args(["capture", "--no-proxy", "--interface", "lo", "--home"]).arg(home.path());
    let refused = command.output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(refused.status.code() == Some(1) && said.contains("sudo setcap cap_net_raw"), "{refused:?}");
    ensure!(home.rows(&["sessions"])?.is_empty());

    let net = Net::new(Between::Veth)?;
    let weir = capture(&net, &home, &["--interface", INTERFACE])?;
    for task in std::fs::read_dir(format!("/proc/{}/task", weir.pid().as_raw_nonzero()))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let held = status.lines().find_map(|line| line.strip_prefix("CapPrm:")).context("CapPrm")?;
        let held = u64::from_str_radix(held.trim(), 16)?;
        // net_admin, net_raw, perfmon, bpf.
        let allowed = 1 << 12 | 1 << 13 | 1 << 38 | 1 << 39;
        ensure!(held & !allowed == 0, "a thread holds {held:x}: {status}");
    }
    stop(weir)?;

    let missing = home.run(&["capture", "--no-proxy", "--interface", "nowhere0"])?;
    let said = String::from_utf8_lossy(&missing.stderr);
    ensure!(missing.status.code() == Some(1) && said.contains("there is no interface nowhere0"), "{said}");
    Ok(())
}
