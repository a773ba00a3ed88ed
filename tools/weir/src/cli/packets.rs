//! Flags of `weir capture` about packets.

use clap::{Args, ValueEnum};

use super::import::DeviceFrom;

/// How packets come from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum BackendKind {
    /// Memory-mapped rings (TPACKET_V3) of packet sockets
    #[default]
    #[value(name = "af_packet")]
    AfPacket,
    /// libpcap
    Pcap,
}

/// Flags about packets.
#[derive(Debug, Args)]
pub(crate) struct PacketArgs {
    /// Record plain HTTP from this interface too; any is all of them (repeatable)
    #[arg(long, value_name = "IF", help_heading = "Packets")]
    pub(crate) interface: Vec<String>,
    /// No proxy: record packets only
    #[arg(
        long,
        requires = "interface",
        conflicts_with_all = ["proxy", "lan", "auth"],
        help_heading = "Packets"
    )]
    pub(crate) no_proxy: bool,
    /// How packets come from the kernel
    #[arg(long, value_name = "BACKEND", value_enum, default_value_t, requires = "interface", help_heading = "Packets")]
    pub(crate) backend: BackendKind,
    /// Take only packets that match, as tcpdump would: "tcp port 8080" (man pcap-filter)
    #[arg(long, value_name = "EXPR", requires = "interface", help_heading = "Packets")]
    pub(crate) bpf: Option<String>,
    /// Threads that follow connections; each has a ring of its own on every interface
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64),
        requires = "interface",
        help_heading = "Packets"
    )]
    pub(crate) shards: u16,
    /// Take only packets to and from this machine: do not set interfaces to promiscuous mode
    #[arg(long, requires = "interface", help_heading = "Packets")]
    pub(crate) no_promiscuous: bool,
    /// Save the raw packets of connections with exchanges that are recorded, for Wireshark: packets/session=ID/ in the home
    #[arg(long, requires = "interface", help_heading = "Packets")]
    pub(crate) save_packets: bool,
    /// What the clients of packets are labelled by (column device)
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, requires = "interface", help_heading = "Packets")]
    pub(crate) device_from: DeviceFrom,
}
