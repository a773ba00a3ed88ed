//! `weir load …`: its flags.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use weir_load::{
    origin::Stall,
    run::report::Threshold,
    synth::{Bodies, Direction, Encapsulation, Link},
};

use super::{
    filters::FilterArgs,
    values::{duration, positive_duration, size},
};

/// `weir load …`
#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// Send requests as fast as asked and measure
    #[command(after_help = "\
Examples:
  weir load run http://127.0.0.1:8080/bytes/600 --duration 10s
  weir load run http://127.0.0.1:8080/ --rate 1000 --poisson --fail-if 'p99>50ms'
  weir load run https://localhost:8443/ --http2 --streams 32 --cacert origin.pem
  weir load run http://127.0.0.1:8080/ --proxy 127.0.0.1:5559 --truth truth.parquet
  weir load run http://127.0.0.1:8080 --scenario mix.toml --svg latency.svg
  weir load run --from \"phone, login\" --method GET --requests 10000

Without --rate each connection sends when the answer before has come (closed loop). With --rate requests are due at
their times, and latency counts from there, so that a server that stalls cannot hide it.
Exit code 1: a --fail-if was met, or no request was answered.")]
    Run(Box<RunArgs>),
    /// A test server: what a path asks for is what comes back
    #[command(after_help = "\
Examples:
  weir load origin                                  http://127.0.0.1:8080/ until Ctrl-C
  weir load origin --tls 127.0.0.1:8443 --ca-file origin.pem
  weir load origin --listen 127.0.0.1:0 --json      a free port; the line tells which
  weir load origin --stall 5s,500ms                 every 5 s nothing is answered for 500 ms

Paths:
  /bytes/N          N bytes of JSON; / is /bytes/600   /gzip/N /br/N /zstd/N   N bytes, compressed
  /unique/N         N bytes that tell the request      /status/CODE            that status
  /random/MIN-MAX   a size between both                /sse/COUNT[/MS]         an event stream
  /echo             the body of the request            /ws                     a WebSocket that echoes
  /delay/MS[/N]     N bytes after MS milliseconds      /slow/N[/MS]            N bytes in ten pieces
  /chunked/N[/SIZE] N bytes in chunks                  /reset /truncate/N /malformed   faults
The query says nothing. HTTP/1.1 and HTTP/2 (prior knowledge, or ALPN with --tls). A request's x-weir-load-id is sent back.")]
    Origin(OriginArgs),
    /// Hold what was sent against what a session recorded
    #[command(after_help = "\
Examples:
  weir load verify truth.parquet
  weir load verify truth.parquet \"phone, login\" --json

Exit code 3: something is missing that the session's ledger does not account for, or a pair or a body is wrong.")]
    Verify(VerifyArgs),
    /// Send a captured session again, with its own timing and concurrency, and compare the answers
    #[command(after_help = "\
Examples:
  weir load replay
  weir load replay \"phone, login\" --speed 2x --target http://127.0.0.1:8080
  weir load replay --speed max --connections 64 --method GET
  weir load replay --proxy 127.0.0.1:5559 --cacert \"$(weir ca path)\" --json

Each captured connection is a lane of its own: what overlapped overlaps again, what came one after another does so too.
Exit code 1: an answer has another status or body.")]
    Replay(Box<ReplayArgs>),
    /// Origin, proxy, load and verify in one go: what this machine does, on one page
    #[command(
        name = "selftest",
        after_help = "\
Examples:
  weir load selftest
  weir load selftest --duration 30s --rate 10000
  weir load selftest --duration 1s --json

Exit code 3: something was lost or wrong."
    )]
    SelfTest(SelfTestArgs),
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

/// Flags of `weir load run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Where to; with --scenario or --from the host that all requests go to
    #[arg(value_name = "URL", required_unless_present_any = ["scenario", "from"])]
    pub(crate) url: Option<String>,

    /// Method
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET", help_heading = "What is sent")]
    pub(crate) method: String,
    /// A field, 'Name: value' (repeatable)
    #[arg(short = 'H', long = "header", value_name = "LINE", value_parser = header, help_heading = "What is sent")]
    pub(crate) headers: Vec<(String, String)>,
    /// The body; @FILE reads it from a file
    #[arg(short, long, value_name = "TEXT", help_heading = "What is sent")]
    pub(crate) body: Option<String>,
    /// A mix of requests from a TOML file (docs/load.md)
    #[arg(long, value_name = "FILE", help_heading = "What is sent")]
    pub(crate) scenario: Option<PathBuf>,
    /// A mix of the requests of a captured session, each as often as the others
    #[arg(long, value_name = "SESSION", conflicts_with = "scenario", help_heading = "What is sent")]
    pub(crate) from: Option<String>,
    /// Only those that meet this condition (with --from)
    #[arg(long = "where", value_name = "EXPR", requires = "from", help_heading = "What is sent")]
    pub(crate) condition: Option<String>,
    /// HTTP/2: by ALPN over TLS, by prior knowledge in the clear
    #[arg(long, help_heading = "What is sent")]
    pub(crate) http2: bool,
    /// What decides the mix and the times of --poisson
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "What is sent")]
    pub(crate) seed: u64,

    /// Connections over all threads
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "How much")]
    pub(crate) connections: u32,
    /// Threads [default: as many as cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "How much")]
    pub(crate) threads: Option<u16>,
    /// HTTP/1.1 requests under way at once on a connection
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "http2", help_heading = "How much")]
    pub(crate) pipeline: u32,
    /// HTTP/2 streams open at once on a connection
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "How much")]
    pub(crate) streams: u32,
    /// So many requests a second, due at their times whatever the answers do
    #[arg(short, long, value_name = "RATE", value_parser = rate, help_heading = "How much")]
    pub(crate) rate: Option<f64>,
    /// Requests come independently of each other, not at equal distances
    #[arg(long, requires = "rate", help_heading = "How much")]
    pub(crate) poisson: bool,
    /// How long [default: 10s, without --requests]
    #[arg(long, value_name = "TIME", value_parser = positive_duration, help_heading = "How much")]
    pub(crate) duration: Option<Duration>,
    /// How many
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "How much")]
    pub(crate) requests: Option<u64>,
    /// What is sent so long first is not measured
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s", help_heading = "How much")]
    pub(crate) warm_up: Duration,
    /// Longest wait for an answer
    #[arg(long, value_name = "TIME", value_parser = positive_duration, default_value = "30s", help_heading = "How much")]
    pub(crate) timeout: Duration,

    /// Through this proxy, HOST:PORT
    #[arg(long, value_name = "ADDR", help_heading = "How it travels")]
    pub(crate) proxy: Option<String>,
    /// Also trust the authorities in this PEM file (repeatable), such as the proxy's
    #[arg(long, value_name = "FILE", help_heading = "How it travels")]
    pub(crate) cacert: Vec<PathBuf>,
    /// Trust any certificate
    #[arg(short = 'k', long, help_heading = "How it travels")]
    pub(crate) insecure: bool,

    /// Write what was sent and what came back as Parquet; requests then carry an x-weir-load-id
    #[arg(long, value_name = "FILE", help_heading = "What comes out")]
    pub(crate) truth: Option<PathBuf>,
    /// Draw latency by percentile
    #[arg(long, value_name = "FILE", help_heading = "What comes out")]
    pub(crate) svg: Option<PathBuf>,
    /// Fail when this is so: 'p99>50ms', 'max>1s', 'errors>0', 'errors>1%', 'rate<1000', 'unsent>0' (repeatable)
    #[arg(long, value_name = "COND", help_heading = "What comes out")]
    pub(crate) fail_if: Vec<Threshold>,
}

/// Flags of `weir load origin`.
#[derive(Debug, Args)]
pub(crate) struct OriginArgs {
    /// Where to listen for HTTP; port 0 is a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Where to listen for HTTPS
    #[arg(long, value_name = "ADDR")]
    pub(crate) tls: Option<SocketAddr>,
    /// Certificate chain (PEM) [default: one made for localhost]
    #[arg(long, value_name = "FILE", requires = "key", requires = "tls")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Another name or address for the certificate that is made (repeatable)
    #[arg(long, value_name = "NAME", requires = "tls")]
    pub(crate) name: Vec<String>,
    /// Write the authority that signed the certificate that is made (PEM)
    #[arg(long, value_name = "FILE", requires = "tls", conflicts_with = "cert")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Threads [default: as many as cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Write what was served, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Every EVERY after the first request nothing is answered for LENGTH
    #[arg(long, value_name = "EVERY,LENGTH", value_parser = stall)]
    pub(crate) stall: Option<Stall>,
}

/// Flags of `weir load verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// What weir load run --truth wrote
    #[arg(value_name = "TRUTH")]
    pub(crate) truth: PathBuf,
    /// The session that recorded it [default: the latest]
    #[arg(value_name = "SESSION")]
    pub(crate) session: Option<String>,
}

/// How fast a session is sent again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// This many times as fast as captured.
    Times(f64),
    /// As fast as it goes.
    Max,
}

/// Flags of `weir load replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The session [default: the latest]
    #[arg(value_name = "SESSION")]
    pub(crate) session: Option<String>,
    /// How fast: 1x, 2x, 0.5x, or max
    #[arg(long, value_name = "SPEED", value_parser = speed, default_value = "1x")]
    pub(crate) speed: Speed,
    /// To this host instead of the captured ones, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,
    /// Lanes at once with --speed max
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Threads [default: as many as cores]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Longest wait for an answer
    #[arg(long, value_name = "TIME", value_parser = positive_duration, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Through this proxy, HOST:PORT
    #[arg(long, value_name = "ADDR")]
    pub(crate) proxy: Option<String>,
    /// Also trust the authorities in this PEM file (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Vec<PathBuf>,
    /// Trust any certificate
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

/// Flags of `weir load selftest`.
#[derive(Debug, Args)]
pub(crate) struct SelfTestArgs {
    /// How long each step takes
    #[arg(long, value_name = "TIME", value_parser = positive_duration, default_value = "5s")]
    pub(crate) duration: Duration,
    /// Requests a second of the open loop
    #[arg(long, value_name = "RATE", value_parser = rate, default_value = "1000")]
    pub(crate) rate: f64,
    /// Connections
    #[arg(short, long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
}

fn header(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("'{line}' is no field; write 'Name: value'"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("'{text}' is no rate; write requests a second, such as 1000 or 10k");
    let (number, factor) = text.strip_suffix('k').map_or((text, 1.0), |number| (number, 1_000.0));
    let rate = number.parse::<f64>().map_err(|_| wrong())? * factor;
    if rate > 0.0 && rate <= 1e8 { Ok(rate) } else { Err(wrong()) }
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let wrong = || format!("'{text}' is no speed; write 1x, 2x, 0.5x or max");
    let times = text.strip_suffix('x').unwrap_or(text).parse::<f64>().map_err(|_| wrong())?;
    if times > 0.0 && times <= 1e6 { Ok(Speed::Times(times)) } else { Err(wrong()) }
}

fn stall(text: &str) -> Result<Stall, String> {
    let wrong = || format!("'{text}' is no stall; write how often and how long, such as 5s,500ms");
    let (every, length) = text.split_once(',').ok_or_else(wrong)?;
    let stall = Stall { every: positive_duration(every)?, length: positive_duration(length)? };
    if stall.length < stall.every { Ok(stall) } else { Err(wrong()) }
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
