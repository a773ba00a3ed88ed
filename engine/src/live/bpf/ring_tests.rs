//! The programs on rings: real packets on the loopback of a network namespace. Left out, with a message, where that cannot be made.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{FanoutProgram, HttpFilter, Verdict, test_packets::loaded};
use crate::live::{Backend, Fanout, FanoutGroup, Line, LineOptions, RingSize, SocketFilter};

/// Runs `test` in a thread with a network namespace of its own, whose loopback is up.
fn in_namespace(test: fn()) {
    let run = move || {
        // SAFETY: only this thread, made for the test, sees the other namespace.
        let is_new = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
        let up = || Command::new("ip").args(["link", "set", "lo", "up"]).status().is_ok_and(|status| status.success());
        if is_new && up() {
            test();
        } else {
            eprintln!("left out: no network namespace can be made (needs root and iproute2)");
        }
    };
    std::thread::spawn(run).join().expect("ends well");
}

fn line(filter: SocketFilter, group: Option<&Arc<FanoutGroup>>) -> Line {
    let ring = RingSize::of_bytes(4 << 20);
    let options = LineOptions {
        name: "lo".to_owned(),
        ring,
        promiscuous: false,
        filter: Arc::new(filter),
        group: group.cloned(),
    };
    Line::open(options).expect("opens")
}

/// Both ends of a connection in turn, so many times; returns the client's port.
fn talk(question: &[u8], answer: &[u8], times: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (mut server, address) = listener.accept().expect("accepts");
    client.set_nodelay(true).expect("sets");
    server.set_nodelay(true).expect("sets");
    let mut buffer = vec![0; question.len().max(answer.len())];
    for _ in 0..times {
        client.write_all(question).expect("sends");
        server.read_exact(&mut buffer[..question.len()]).expect("receives");
        server.write_all(answer).expect("sends");
        client.read_exact(&mut buffer[..answer.len()]).expect("receives");
    }
    address.port()
}

/// TCP payload bytes by the port of either end, once everything that was let in was read; copies are left out.
fn payloads(lines: &mut [Line], port: u16) -> Vec<u64> {
    lines.iter_mut().for_each(Backend::close_intake);
    let deadline = Instant::now() + Duration::from_secs(20);
    lines
        .iter_mut()
        .map(|line| {
            let mut bytes = 0;
            loop {
                let taken = line.block(&mut |live| {
                    let data = live.frame.data;
                    let ports = [34, 36].map(|at| u16::from_be_bytes([data[at], data[at + 1]]));
                    if !live.is_loopback_copy && data[23] == 6 && ports.contains(&port) {
                        bytes += live.frame.original_len as u64 - 34 - u64::from(data[46] >> 4) * 4;
                    }
                });
                let all = line.statistics();
                if taken.expect("reads") == 0 && all.taken + all.dropped >= all.seen {
                    return bytes;
                }
                assert!(Instant::now() < deadline, "the kernel hands everything over");
            }
        })
        .collect()
}

#[test]
fn other_flows_stay_in_the_kernel() {
    in_namespace(|| {
        let Some(filter) = loaded(HttpFilter::load()) else { return };
        let mut lines = [line(SocketFilter::Ebpf(filter.descriptor().expect("a descriptor")), None)];
        let (question, answer) =
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let http = talk(question, answer, 50);
        let other = talk(b"\0\x01question", b"\0\x02answer", 50);
        let verdicts = filter.verdicts().expect("reads");
        let rejected = verdicts.of(Verdict::RejectFlow);
        // All but the first; copies of what leaves are not seen.
        assert!(rejected.packets >= 100 - 6, "{verdicts:?}");
        let kept = payloads(&mut lines, http);
        assert_eq!(kept, [50 * (question.len() + answer.len()) as u64], "all of what is HTTP");
        assert!(verdicts.of(Verdict::PassHttp).packets >= 100, "{verdicts:?}");
        assert_eq!(verdicts.rejected(), rejected.packets, "{other}: {verdicts:?}");
    });
}

#[test]
fn a_group_keeps_both_directions_together() {
    in_namespace(|| {
        let Some(program) = loaded(FanoutProgram::load()) else { return };
        let group = Arc::new(FanoutGroup::new(Fanout::Ebpf(program.descriptor().expect("a descriptor"))));
        let mut lines = [line(SocketFilter::None, Some(&group)), line(SocketFilter::None, Some(&group))];
        let port = talk(b"question", b"the answer", 20);
        let mut bytes = payloads(&mut lines, port);
        bytes.sort_unstable();
        assert_eq!(bytes, [0, 20 * 18], "one socket has all of the connection");
    });
}
