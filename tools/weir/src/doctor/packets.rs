//! Findings about capturing packets: the right to, the interfaces, and whether a ring can be had.

use std::{fs, path::Path};

use weir_engine::live::{Line, LineOptions, RingSize, classic, error::CAPABILITIES};

use super::Finding;
use crate::capture::welcome::quote;

/// CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON (linux/capability.h): number, name, and what is missing without it.
const WANTED: [(u32, &str, &str); 4] = [
    (13, "cap_net_raw", "no packets at all"),
    (12, "cap_net_admin", "no XDP"),
    (39, "cap_bpf", "no eBPF programs"),
    (38, "cap_perfmon", "no eBPF programs that follow pointers"),
];

/// Looks at what packets need. The ring that is tried is gone again at once.
pub(super) fn check() -> Vec<Finding> {
    vec![capabilities(), interfaces(), ring(), libpcap()]
}

fn capabilities() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let program = std::env::current_exe().unwrap_or_else(|_| "weir".into());
    rights(effective, &program)
}

/// The finding for a set of effective capabilities.
fn rights(effective: u64, program: &Path) -> Finding {
    let is_held = |bit: u32| effective >> bit & 1 == 1;
    let missing: Vec<String> = WANTED
        .iter()
        .filter(|(bit, ..)| !is_held(*bit))
        .map(|(_, name, without)| format!("{name} ({without})"))
        .collect();
    if missing.is_empty() {
        return Finding::ok("capabilities", "this user may capture packets and load eBPF programs");
    }
    // As a service: AmbientCapabilities= gives them without root.
    let service = CAPABILITIES.to_uppercase().replace(',', " ");
    let hint = format!(
        "sudo setcap {CAPABILITIES}=ep {}; in a systemd unit: AmbientCapabilities={service}; nothing to do for the proxy",
        quote(&program.display().to_string())
    );
    let may = if is_held(13) { "may capture packets, but lacks" } else { "may not capture packets: it lacks" };
    Finding::warn("capabilities", format!("this user {may} {}", missing.join(", ")), hint)
}

fn interfaces() -> Finding {
    let all: Vec<String> = pnet_datalink::interfaces()
        .iter()
        .map(|interface| {
            let state = if interface.is_up() { "" } else { " (down)" };
            let addresses: Vec<String> = interface.ips.iter().map(|network| network.ip().to_string()).collect();
            let addresses = if addresses.is_empty() { String::new() } else { format!(" {}", addresses.join(" ")) };
            format!("{}{state}{addresses}", crate::output::text::one_line(&interface.name))
        })
        .collect();
    if all.is_empty() {
        Finding::warn("interfaces", "this machine has no network interface", "add one: ip link")
    } else {
        Finding::ok("interfaces", format!("for --interface: any, {}", all.join(", ")))
    }
}

fn ring() -> Finding {
    let options = LineOptions {
        name: "lo".to_owned(),
        ring: RingSize::of_bytes(0),
        promiscuous: false,
        filter: std::sync::Arc::default(),
        group: None,
    };
    match Line::open(options) {
        Ok(_) => Finding::ok("packet_ring", "the kernel gives memory-mapped rings (TPACKET_V3)"),
        Err(error) => {
            let text = error.to_string();
            let (what, hint) = text.split_once("; ").unwrap_or((&text, "see weir capture --help"));
            Finding::warn("packet_ring", what, hint)
        }
    }
}

fn libpcap() -> Finding {
    match classic::compile("tcp port 80") {
        Ok(_) => Finding::ok("libpcap", "libpcap is there and compiles filter expressions"),
        Err(error) => Finding::warn("libpcap", error.to_string(), "apt install libpcap0.8"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn names_what_is_missing_and_the_lines_that_give_it() {
        let program = Path::new("/opt/my weir/weir");
        assert_eq!(rights(u64::MAX, program).state, State::Ok);
        let none = rights(0, program);
        assert!(
            none.message.starts_with("this user may not capture packets: it lacks cap_net_raw"),
            "{}",
            none.message
        );
        let hint = none.hint.expect("a hint");
        assert!(
            hint.starts_with("sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon=ep '/opt/my weir/weir'"),
            "{hint}"
        );
        assert!(hint.contains("AmbientCapabilities=CAP_NET_RAW CAP_NET_ADMIN CAP_BPF CAP_PERFMON"), "{hint}");
        let some = rights(1 << 13, program);
        assert!(some.message.starts_with("this user may capture packets, but lacks cap_net_admin"), "{}", some.message);
    }

    #[test]
    fn interfaces_have_addresses() {
        let finding = interfaces();
        assert!(finding.message.contains("lo") && finding.message.contains("127.0.0.1"), "{}", finding.message);
    }
}
