//! The socket filter that leaves out what is not HTTP, and bodies that nobody stores.
//!
//! In: which bytes of a flow are a body that is not wanted. Out: a loaded program for packet sockets, and what it
//! decided, packets and bytes a verdict.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData, PerCpuArray},
};

use crate::ledger::Tally;

use super::{
    fanout::{load_socket_filter, socket_filter_descriptor},
    object::{BpfError, Object, no_such},
};

/// What the filter decided about a packet; the order is that of `enum verdict` in `http_filter.bpf.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Of a flow that is HTTP: passes whole.
    PassHttp,
    /// SYN, FIN or RST: passes.
    PassControl,
    /// Of a flow that showed neither HTTP nor anything else yet: passes.
    PassUndecided,
    /// Fragments, unknown tunnels and protocols below IP: passes.
    PassUnreadable,
    /// Inside a body that is not wanted: its headers pass.
    CutBody,
    /// Of a flow that is not HTTP: rejected.
    RejectFlow,
    /// Not TCP: rejected.
    RejectProtocol,
}

impl Verdict {
    /// All, in the order of the map.
    pub const ALL: [Self; 7] = [
        Self::PassHttp,
        Self::PassControl,
        Self::PassUndecided,
        Self::PassUnreadable,
        Self::CutBody,
        Self::RejectFlow,
        Self::RejectProtocol,
    ];

    /// The word in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PassHttp => "http",
            Self::PassControl => "control",
            Self::PassUndecided => "undecided",
            Self::PassUnreadable => "unreadable",
            Self::CutBody => "body_cut",
            Self::RejectFlow => "not_http",
            Self::RejectProtocol => "not_tcp",
        }
    }

    /// Whether the packet does not come to weir.
    #[must_use]
    pub const fn is_rejection(self) -> bool {
        matches!(self, Self::RejectFlow | Self::RejectProtocol)
    }
}

/// Packets and bytes, as on the wire.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

// SAFETY: two u64 in C's layout: no padding, and any bytes are a value.
unsafe impl Pod for Count {}

/// What was decided so far, over all processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdicts([Count; Verdict::ALL.len()]);

impl Verdicts {
    /// Of one kind.
    #[must_use]
    pub fn of(&self, verdict: Verdict) -> Count {
        self.0[verdict as usize]
    }

    /// Adds them to what was counted of packets: those rejected came in like others. All are noted, in packets and bytes.
    pub(in crate::live) fn tell(&self, packets: &mut Tally) {
        for verdict in Verdict::ALL {
            let Count { packets: count, bytes } = self.of(verdict);
            if count == 0 {
                continue;
            }
            if verdict.is_rejection() {
                packets.seen += count;
                packets.dropped.insert(format!("ignored:kernel_{}", verdict.as_str()), count);
            }
            packets.noted.insert(format!("filter_{}", verdict.as_str()), count);
            packets.noted.insert(format!("filter_{}_bytes", verdict.as_str()), bytes);
        }
    }

    /// All that were rejected.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        Verdict::ALL.iter().filter(|verdict| verdict.is_rejection()).map(|verdict| self.of(*verdict).packets).sum()
    }
}

/// `struct flow_key` of `layers.h`: the sender of a direction first.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct FlowKey {
    source: [u8; 16],
    destination: [u8; 16],
    source_port: u16,
    destination_port: u16,
    zero: u32,
}

// SAFETY: arrays of bytes and integers in C's layout, 16 + 16 + 2 + 2 + 4 bytes without padding; any bytes are a value.
unsafe impl Pod for FlowKey {}

impl FlowKey {
    pub(super) fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let bytes = |address: SocketAddr| match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self {
            source: bytes(source),
            destination: bytes(destination),
            source_port: source.port(),
            destination_port: destination.port(),
            zero: 0,
        }
    }
}

/// `struct body`: sequence numbers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct BodyRange {
    from: u32,
    until: u32,
}

// SAFETY: two u32 in C's layout: no padding, and any bytes are a value.
unsafe impl Pod for BodyRange {}

/// Longest range told at once: sequence numbers are compared modulo 2^32. What lies behind passes whole.
const MAX_RANGE: u64 = 1 << 30;

/// Where shards tell which bodies nobody wants. Clones tell the same filter.
#[derive(Debug, Clone)]
pub struct BodyNotes {
    bodies: Arc<Mutex<HashMap<MapData, FlowKey, BodyRange>>>,
}

impl BodyNotes {
    /// From `from` on, `len` bytes that `source` sends to `destination` are a body that is not wanted: packets that lie wholly
    /// within come without them. The packet in which the body ends, and with it the next head, comes whole. Tells only of
    /// the latest body of a direction; when the kernel takes no note, more bytes come than need be.
    pub fn note_body(&self, source: SocketAddr, destination: SocketAddr, from: u32, len: u64) {
        let until = from.wrapping_add(len.min(MAX_RANGE) as u32);
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = bodies.insert(FlowKey::new(source, destination), BodyRange { from, until }, 0);
    }
}

/// The filter, loaded. It lives on in the sockets it is attached to.
pub struct HttpFilter {
    object: Ebpf,
    verdicts: PerCpuArray<MapData, Count>,
    notes: BodyNotes,
}

impl fmt::Debug for HttpFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFilter").finish_non_exhaustive()
    }
}

impl HttpFilter {
    /// Loads it.
    ///
    /// # Errors
    /// When weir was built without it, or the kernel does not take it.
    pub fn load() -> Result<Self, BpfError> {
        const NAME: &str = "http_filter";
        let mut object = Object::HttpFilter.load()?;
        load_socket_filter(&mut object, Object::HttpFilter)?;
        let verdicts = object.take_map("verdicts").ok_or_else(|| no_such(NAME))?;
        let bodies = object.take_map("bodies").ok_or_else(|| no_such(NAME))?;
        Ok(Self {
            object,
            verdicts: verdicts.try_into().map_err(|error| BpfError::of(NAME, &error))?,
            notes: BodyNotes {
                bodies: Arc::new(Mutex::new(bodies.try_into().map_err(|error| BpfError::of(NAME, &error))?)),
            },
        })
    }

    /// The program, for a packet socket. Several sockets may have it; a flow's packets are judged alike by all.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn descriptor(&self) -> Result<OwnedFd, BpfError> {
        socket_filter_descriptor(&self.object, Object::HttpFilter)
    }

    /// Where shards tell which bodies nobody wants.
    #[must_use]
    pub fn notes(&self) -> BodyNotes {
        self.notes.clone()
    }

    /// What was decided so far.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn verdicts(&self) -> Result<Verdicts, BpfError> {
        let mut all = Verdicts::default();
        for (index, sum) in all.0.iter_mut().enumerate() {
            let counts = self.verdicts.get(&(index as u32), 0).map_err(|error| BpfError::of("http_filter", &error))?;
            for count in counts.iter() {
                sum.packets += count.packets;
                sum.bytes += count.bytes;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
