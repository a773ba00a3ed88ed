//! `weir import`: its flags.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{capture::Bodies, filters::FilterArgs, values::memory};

/// What clients are labelled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum DeviceFrom {
    /// Their IP address
    #[default]
    Ip,
    /// The hardware address that sent their packets (behind a router it is the router's)
    Mac,
}

/// Flags of `weir import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// pcap, pcapng and HAR files, plain or in gzip or zstd; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Name of the session [default: the first file's name]
    #[arg(long, value_name = "NAME", help_heading = "Session")]
    pub(crate) name: Option<String>,
    /// What clients are labelled by (column device)
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, help_heading = "Session")]
    pub(crate) device_from: DeviceFrom,

    /// Which bodies are stored
    #[arg(long, value_name = "POLICY", value_enum, default_value_t, help_heading = "What is recorded")]
    pub(crate) bodies: Bodies,
    /// Record requests only: of responses heads, times and sizes
    #[arg(long, help_heading = "What is recorded")]
    pub(crate) no_responses: bool,
    /// Leave out packets whose checksums are wrong; not by default, since hosts leave checksums to their cards
    #[arg(long, help_heading = "What is recorded")]
    pub(crate) verify_checksums: bool,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,

    /// Shards that follow connections, each on a thread of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Resources")]
    pub(crate) jobs: u16,
    /// Memory for buffers: queues, bytes that wait for lost ones, and open exchanges share it
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = memory, help_heading = "Resources")]
    pub(crate) memory: u64,
}
