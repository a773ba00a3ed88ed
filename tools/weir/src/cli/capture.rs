//! `weir capture`: its flags.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{
    filters::FilterArgs,
    packets::PacketArgs,
    values::{Listen, credentials, memory, positive_duration, size},
};

/// Which bodies are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bodies {
    /// All of them
    All,
    /// All but image, audio and video responses (headers, times, sizes and hashes are)
    #[default]
    MediaOff,
    /// None (sizes are)
    None,
}

/// Flags of `weir capture`.
#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    /// Where the proxy listens; port 0 takes a free one [default: 127.0.0.1:5559]
    #[arg(long, value_name = "ADDR", help_heading = "Listening")]
    pub(crate) proxy: Option<Listen>,
    /// Listen on all addresses, for phones and other machines, and print those they can use
    #[arg(long, help_heading = "Listening")]
    pub(crate) lan: bool,
    /// Credentials that clients of the proxy must give; the user name * is any, and names the client's device
    #[arg(long, value_name = "USER:PASSWORD", value_parser = credentials, help_heading = "Listening")]
    pub(crate) auth: Option<(String, String)>,
    /// Where the live page and the control API listen [default: 127.0.0.1:5560, or a free port]
    #[arg(long, value_name = "ADDR", conflicts_with = "no_ui", help_heading = "Listening")]
    pub(crate) ui: Option<Listen>,
    /// No live page and no control API (weir stop, pause, filter cannot reach this capture then)
    #[arg(long, help_heading = "Listening")]
    pub(crate) no_ui: bool,

    #[command(flatten)]
    pub(crate) packets: PacketArgs,

    /// Name of the session [default: the date and time]
    #[arg(long, value_name = "NAME", help_heading = "Session")]
    pub(crate) name: Option<String>,
    /// Stop after this time: 30s, 5m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = positive_duration, help_heading = "Session")]
    pub(crate) duration: Option<Duration>,
    /// Stop after so many exchanges were recorded
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Session")]
    pub(crate) max_exchanges: Option<u64>,
    /// Stop once the session takes this much on disk: 500MiB, 10GB
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Session")]
    pub(crate) max_size: Option<u64>,
    /// Record each device into a session of its own, beside the one of the capture
    #[arg(long, help_heading = "Session")]
    pub(crate) session_per_device: bool,
    /// Longest time between an exchange's end and its row on disk: what a crash may cost
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = positive_duration, help_heading = "Session")]
    pub(crate) flush_interval: Duration,

    /// Which bodies are stored
    #[arg(long, value_name = "POLICY", value_enum, default_value_t, help_heading = "What is recorded")]
    pub(crate) bodies: Bodies,
    /// Most bytes stored of one body; what is over is passed on and counted
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "What is recorded")]
    pub(crate) max_body: Option<u64>,
    /// Record requests only: responses pass through, their status and size are kept
    #[arg(long, help_heading = "What is recorded")]
    pub(crate) no_responses: bool,
    /// Gather no cookies in their table (the header lines are recorded as they are)
    #[arg(long, help_heading = "What is recorded")]
    pub(crate) no_cookies: bool,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,

    /// Extra authorities (PEM) that servers' certificates may come from (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Towards servers")]
    pub(crate) upstream_ca: Vec<PathBuf>,
    /// Accept any certificate from servers
    #[arg(long, help_heading = "Towards servers")]
    pub(crate) insecure_upstream: bool,
    /// Reach servers through another proxy: http://[user:password@]host:port
    #[arg(long, value_name = "URL", help_heading = "Towards servers")]
    pub(crate) upstream_proxy: Option<String>,
    /// Let TLS to these hosts pass untouched: bank.example,*.pinned.example (repeatable)
    #[arg(long, value_name = "HOSTS", value_delimiter = ',', help_heading = "Towards servers")]
    pub(crate) passthrough: Vec<String>,
    /// Let a host pass untouched once a client refused weir's certificate for it
    #[arg(long, help_heading = "Towards servers")]
    pub(crate) passthrough_pinned: bool,

    /// Memory for buffers: queues and open exchanges share it
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = memory, help_heading = "Resources")]
    pub(crate) memory: u64,
    /// When recording cannot keep up, drop rows (counted) instead of slowing clients down
    #[arg(long, help_heading = "Resources")]
    pub(crate) shed: bool,
    /// Threads of the proxy [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Resources")]
    pub(crate) threads: Option<u16>,
}
