//! `weir load …`: its flags.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use weir_load::synth::{Bodies, Direction, Encapsulation, Link};

use super::values::size;

/// `weir load …`
#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// Write a capture file of HTTP traffic whose truth is known
    #[command(after_help = "\
Examples:
  weir load synth -o trace.pcap --truth trace.jsonl --connections 1000
  weir load synth -o - --size 20GB | weir import -
  weir load synth -o lossy.pcap --lost 0.01 --burst 3 --reordered 0.01
  weir load synth -o tunnel.pcap --link sll2 --inside vlan,gre --fragment 576

The same flags make the same bytes on every machine.")]
    Synth(Box<SynthArgs>),
}

/// Sizes and kinds of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Mix {
    /// 0 to 200 bytes
    Tiny,
    /// Three quarters below 8 KiB, most bytes in the tail up to 1 MiB; text
    #[default]
    Realistic,
    /// JSON, HTML, scripts, styles, images, fonts, video in the shares and sizes of the web
    Web,
}

impl From<Mix> for Bodies {
    fn from(mix: Mix) -> Self {
        match mix {
            Mix::Tiny => Self::Tiny,
            Mix::Realistic => Self::Realistic,
            Mix::Web => Self::Web,
        }
    }
}

/// Flags of `weir load synth`.
#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// File to write, - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Also write the truth: one JSON object an exchange and line
    #[arg(long, value_name = "FILE")]
    pub(crate) truth: Option<PathBuf>,
    /// Everything follows from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Connections [default: 100, or as many as --size takes]
    #[arg(long, value_name = "N", help_heading = "How much")]
    pub(crate) connections: Option<u64>,
    /// Begin no packet behind this many bytes
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "How much")]
    pub(crate) size: Option<u64>,
    /// Connections open at once
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "How much")]
    pub(crate) concurrency: usize,
    /// Most exchanges on a connection
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..), help_heading = "How much")]
    pub(crate) exchanges: u64,

    /// Sizes and kinds of bodies
    #[arg(long, value_enum, default_value_t, help_heading = "What is said")]
    pub(crate) mix: Mix,
    /// Share of connections that pipeline
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share, help_heading = "What is said")]
    pub(crate) pipelined: f64,
    /// Share of bodies sent chunked
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share, help_heading = "What is said")]
    pub(crate) chunked: f64,
    /// Share of responses compressed with gzip
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share, help_heading = "What is said")]
    pub(crate) gzip: f64,
    /// Share of requests that are POST with a body
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share, help_heading = "What is said")]
    pub(crate) posts: f64,

    /// Share of connections over IPv6
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = share, help_heading = "How it travels")]
    pub(crate) ipv6: f64,
    /// Payload bytes of a segment
    #[arg(long, value_name = "BYTES", default_value_t = 1_448, value_parser = clap::value_parser!(u64).range(1..=65_000), help_heading = "How it travels")]
    pub(crate) segment: u64,
    /// Link type of the file
    #[arg(long, value_enum, default_value_t, help_heading = "How it travels")]
    pub(crate) link: LinkName,
    /// What IP travels in, outermost first: vlan,mpls,gre,ipip,vxlan,geneve,gtp,pppoe,erspan,ayiya
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', help_heading = "How it travels")]
    pub(crate) inside: Vec<Tunnel>,
    /// Cut IPv4 packets longer than this into fragments
    #[arg(long, value_name = "BYTES", help_heading = "How it travels")]
    pub(crate) fragment: Option<usize>,

    /// Share of segments lost
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, help_heading = "What goes wrong")]
    pub(crate) lost: f64,
    /// Segments lost together, on average
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "What goes wrong")]
    pub(crate) burst: u64,
    /// Whose segments are lost
    #[arg(long, value_enum, default_value_t, help_heading = "What goes wrong")]
    pub(crate) lost_of: Side,
    /// Share of segments that are overtaken
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, help_heading = "What goes wrong")]
    pub(crate) reordered: f64,
    /// Share of segments seen twice
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, help_heading = "What goes wrong")]
    pub(crate) duplicated: f64,
    /// Share of segments sent once more with bytes before them
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share, help_heading = "What goes wrong")]
    pub(crate) overlapped: f64,
}

/// Link types by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LinkName {
    #[default]
    Ethernet,
    Raw,
    Null,
    Sll,
    Sll2,
    Loop,
    Ppp,
    CiscoHdlc,
    Nflog,
    Radiotap,
}

impl From<LinkName> for Link {
    fn from(name: LinkName) -> Self {
        match name {
            LinkName::Ethernet => Self::Ethernet,
            LinkName::Raw => Self::Raw,
            LinkName::Null => Self::Null,
            LinkName::Sll => Self::Sll,
            LinkName::Sll2 => Self::Sll2,
            LinkName::Loop => Self::Loop,
            LinkName::Ppp => Self::Ppp,
            LinkName::CiscoHdlc => Self::CiscoHdlc,
            LinkName::Nflog => Self::Nflog,
            LinkName::Radiotap => Self::Radiotap,
        }
    }
}

/// Encapsulations by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tunnel {
    Vlan,
    Mpls,
    Gre,
    Ipip,
    Vxlan,
    Geneve,
    Gtp,
    Pppoe,
    Erspan,
    Ayiya,
}

impl From<Tunnel> for Encapsulation {
    fn from(tunnel: Tunnel) -> Self {
        match tunnel {
            Tunnel::Vlan => Self::Vlan(7),
            Tunnel::Mpls => Self::Mpls(7),
            Tunnel::Gre => Self::Gre,
            Tunnel::Ipip => Self::IpInIp,
            Tunnel::Vxlan => Self::Vxlan(7),
            Tunnel::Geneve => Self::Geneve(7),
            Tunnel::Gtp => Self::GtpU(7),
            Tunnel::Pppoe => Self::Pppoe(7),
            Tunnel::Erspan => Self::Erspan(7),
            Tunnel::Ayiya => Self::Ayiya,
        }
    }
}

/// A side of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Side {
    #[default]
    Both,
    Client,
    Server,
}

impl From<Side> for Direction {
    fn from(side: Side) -> Self {
        match side {
            Side::Both => Self::Both,
            Side::Client => Self::Client,
            Side::Server => Self::Server,
        }
    }
}

/// A share from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("'{text}' is no share; write a number from 0 to 1, such as 0.01")),
    }
}
