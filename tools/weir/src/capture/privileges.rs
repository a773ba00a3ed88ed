//! Capabilities that a capture of packets does not need are given up before it reads a byte of anybody's traffic.
//!
//! In: what this process may. Out: less. Threads inherit what the thread that starts them has: it is done before there
//! are any.

use std::os::unix::fs::MetadataExt;

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities},
};
use weir_storage::Home;

/// For sockets and rings (also those opened again when an interface comes back), promiscuous mode, and eBPF.
const FOR_PACKETS: CapabilitySet =
    CapabilitySet::NET_RAW.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::BPF).union(CapabilitySet::PERFMON);

/// Gives up the others. `port` is the proxy's. What cannot be given up is said and kept.
pub(super) fn drop_others(home: &Home, port: Option<u16>) {
    let Ok(held) = capabilities(None) else { return };
    let mut needed = FOR_PACKETS;
    if port.is_some_and(|port| (1..1_024).contains(&port)) {
        needed |= CapabilitySet::NET_BIND_SERVICE;
    }
    if is_of_another(home) {
        // As with sudo in one's own home: without it nothing could be written there.
        needed |= CapabilitySet::DAC_OVERRIDE;
    }
    let sets = CapabilitySets {
        effective: held.effective & needed,
        permitted: held.permitted & needed,
        inheritable: CapabilitySet::empty(),
    };
    if let Err(error) = set_capabilities(None, sets) {
        tracing::warn!("capabilities that are not needed could not be given up: {error}");
    }
}

/// Whether the home, or the folder it is to be made in, is another user's.
fn is_of_another(home: &Home) -> bool {
    let nearest = home.root().ancestors().find_map(|path| std::fs::metadata(path).ok());
    nearest.is_some_and(|metadata| metadata.uid() != geteuid().as_raw())
}
