//! The fan-out program on packets made here. Left out, with a message, without the right to load it.

use super::{super::test_packets::*, *};

fn shard_of(program: &FanoutProgram, frame: &[u8]) -> u32 {
    run(&program.object, "fanout", frame)
}

#[test]
fn both_directions_and_all_tunnels_meet() {
    let Some(program) = loaded(FanoutProgram::load()) else { return };
    let outer = ends("192.0.2.1:0", "192.0.2.9:0");
    let mut seen = std::collections::HashSet::new();
    for port in 40_000..40_064 {
        for (client, server) in [("10.0.0.1", "10.0.0.2:80"), ("[fd00::1]", "[fd00::2]:80")] {
            let there = ends(&format!("{client}:{port}"), server);
            let plain = segment(there, 1, ACK, b"GET / HTTP/1.1\r\n");
            let of_plain = shard_of(&program, &plain);
            seen.insert(of_plain % 4);
            assert_eq!(shard_of(&program, &segment(back(there), 9, ACK, b"HTTP/1.1 200 OK\r\n")), of_plain);
            for (name, frame) in tunnels(outer, &plain) {
                assert_eq!(shard_of(&program, &frame), of_plain, "{name}");
            }
        }
    }
    assert_eq!(seen.len(), 4, "128 flows reach all of four shards");
}

#[test]
fn fragments_go_where_the_first_of_them_went() {
    let Some(program) = loaded(FanoutProgram::load()) else { return };
    for flow in [ends("10.0.0.1:41000", "10.0.0.2:80"), ends("[fd00::1]:41000", "[fd00::2]:80")] {
        let whole = tcp(flow, 1, ACK, &[b'x'; 1_200]);
        let of_flow = shard_of(&program, &segment(flow, 1, ACK, b"whole"));
        let first = ethernet(&ip_fragment(flow, 6, 0x2000, &whole[..800]));
        let last = ethernet(&ip_fragment(flow, 6, 100, &whole[800..]));
        assert_ne!(shard_of(&program, &last), of_flow, "before the first nobody knows its ports");
        assert_eq!(shard_of(&program, &first), of_flow);
        assert_eq!(shard_of(&program, &last), of_flow);
    }
}
