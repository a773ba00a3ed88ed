//! Flags of `weir capture` into the configurations of the libraries. No I/O but the reading of the clock.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use anyhow::{Result, bail};
use jiff::Zoned;
use weir_engine::filter::FilterSet;
use weir_proxy::config::{BodyPolicy, Keep, ProxyConfig, UpstreamConfig, UpstreamProxy};
use weir_storage::{Home, Labels, Limits, RecorderOptions};

use super::{packets::PacketOptions, ports};
use crate::{
    cli::{CaptureArgs, capture::Bodies, values::Listen},
    outcome::Usage,
};

/// Port of the proxy unless told otherwise.
const PROXY_PORT: u16 = 5559;
/// Port of the live page and the control API unless told otherwise.
const UI_PORT: u16 = 5560;

/// Where the live page listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ui {
    /// Where the user said.
    At(SocketAddr),
    /// At the default, or on a free port when it is taken.
    Default,
}

impl Ui {
    /// Listens there.
    pub(super) fn bind(self) -> Result<TcpListener> {
        match self {
            Self::At(address) => ports::bind(address, "--ui"),
            Self::Default => ports::bind_or_free(SocketAddr::from((Ipv4Addr::LOCALHOST, UI_PORT)), "--ui"),
        }
    }
}

/// Everything that decides how a capture runs.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) proxy: ProxyConfig,
    pub(super) ui: Option<Ui>,
    /// The interfaces whose packets are recorded.
    pub(super) packets: Option<PacketOptions>,
    no_proxy: bool,
    pub(super) memory: usize,
    pub(super) filters: FilterSet,
    name: String,
    flush_interval: std::time::Duration,
    cookies: bool,
    limits: Limits,
}

impl From<Bodies> for BodyPolicy {
    fn from(bodies: Bodies) -> Self {
        match bodies {
            Bodies::All => Self::All,
            Bodies::MediaOff => Self::MediaOff,
            Bodies::None => Self::None,
        }
    }
}

impl From<BodyPolicy> for Bodies {
    fn from(policy: BodyPolicy) -> Self {
        match policy {
            BodyPolicy::All => Self::All,
            BodyPolicy::MediaOff => Self::MediaOff,
            BodyPolicy::None => Self::None,
        }
    }
}

impl Options {
    /// Checks the flags against each other.
    pub(super) fn from_args(args: &CaptureArgs) -> Result<Self> {
        let filters = args.filters.build().map_err(Usage::new)?;
        let listen = listen(args)?;
        let upstream_proxy =
            args.upstream_proxy.as_deref().map(UpstreamProxy::parse).transpose().map_err(Usage::new)?;
        for file in &args.upstream_ca {
            if let Err(error) = std::fs::File::open(file) {
                bail!("{} cannot be read: {error}; give a PEM file with --upstream-ca", file.display());
            }
        }
        let defaults = ProxyConfig::default();
        let mut limits = defaults.limits;
        if let Some(bytes) = args.max_body {
            limits.stored_body_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        let proxy = ProxyConfig {
            listen,
            threads: args.threads.map_or(0, usize::from),
            upstream: UpstreamConfig {
                extra_ca: args.upstream_ca.clone(),
                insecure: args.insecure_upstream,
                proxy: upstream_proxy,
                ..defaults.upstream.clone()
            },
            passthrough: args.passthrough.clone(),
            passthrough_pinned: args.passthrough_pinned,
            auth: args.auth.clone(),
            keep: Arc::new(Keep::new(args.bodies.into(), !args.no_responses)),
            limits,
            ..defaults
        };
        let ui = match (args.no_ui, args.ui) {
            (true, _) => None,
            (false, Some(ui)) => Some(Ui::At(ui.local())),
            (false, None) => Some(Ui::Default),
        };
        let memory = usize::try_from(args.memory).unwrap_or(usize::MAX);
        Ok(Self {
            proxy,
            ui,
            packets: PacketOptions::from_args(&args.packets, memory)?,
            no_proxy: args.packets.no_proxy,
            memory,
            filters,
            name: args.name.clone().unwrap_or_else(|| default_name(&Zoned::now())),
            flush_interval: args.flush_interval,
            cookies: !args.no_cookies,
            limits: Limits { exchanges: args.max_exchanges, bytes: args.max_size },
        })
    }

    /// Where the proxy listens, when there is one.
    pub(super) fn listen(&self) -> Option<SocketAddr> {
        (!self.no_proxy).then_some(self.proxy.listen)
    }

    /// The recorder's part of it.
    pub(super) fn recorder(&self, home: &Home, labels: &Labels) -> RecorderOptions {
        let source = match (&self.packets, self.no_proxy) {
            (None, _) => "proxy",
            (Some(_), false) => "proxy+packets",
            (Some(_), true) => "packets",
        };
        RecorderOptions {
            cookies: self.cookies,
            limits: self.limits,
            labels: labels.shared(),
            filters: self.filters.clone(),
            flush_interval: self.flush_interval,
            name: Some(self.name.clone()),
            ..RecorderOptions::new(home.clone(), source)
        }
    }
}

fn listen(args: &CaptureArgs) -> Result<SocketAddr> {
    let given = args.proxy.unwrap_or(Listen { host: None, port: PROXY_PORT });
    match (args.lan, given.host) {
        (false, _) => Ok(given.local()),
        (true, None) => Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), given.port)),
        (true, Some(ip)) if ip == IpAddr::from(Ipv4Addr::UNSPECIFIED) => Ok(SocketAddr::new(ip, given.port)),
        (true, Some(ip)) => Err(Usage::new(format!(
            "--lan listens on all addresses and --proxy on {ip} only; give one of them, or --lan --proxy {}",
            given.port
        ))
        .into()),
    }
}

/// `Sat 21 Nov 23:05:11`: what people call a session they did not name.
pub(crate) fn default_name(now: &Zoned) -> String {
    now.strftime("%a %d %b %Y, %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn options(flags: &[&str]) -> Result<Options> {
        let line = ["weir", "capture"].iter().chain(flags);
        let Command::Capture(args) = Cli::try_parse_from(line).expect("parses").command else { panic!("not capture") };
        Options::from_args(&args)
    }

    #[test]
    fn addresses() {
        let listen = |flags: &[&str]| options(flags).map(|options| options.proxy.listen.to_string());
        assert_eq!(listen(&[]).expect("options"), "127.0.0.1:5559");
        assert_eq!(listen(&["--lan"]).expect("options"), "0.0.0.0:5559");
        assert_eq!(listen(&["--lan", "--proxy", "8080"]).expect("options"), "0.0.0.0:8080");
        assert!(listen(&["--lan", "--proxy", "127.0.0.1:1"]).is_err_and(|error| error.is::<Usage>()));
        assert_eq!(options(&["--no-ui"]).expect("options").ui, None);
        assert_eq!(options(&[]).expect("options").ui, Some(Ui::Default));
    }

    #[test]
    fn everything_arrives() {
        let options = options(&[
            "--bodies",
            "none",
            "--no-responses",
            "--memory",
            "64MiB",
            "--auth",
            "me:secret",
            "--passthrough",
            "a,b",
            "--threads",
            "3",
            "--max-body",
            "1MiB",
            "--upstream-proxy",
            "http://p:3128",
            "--method",
            "GET",
            "--flush-interval",
            "200ms",
            "--max-exchanges",
            "9",
        ])
        .expect("options");
        let proxy = &options.proxy;
        assert_eq!((proxy.keep.bodies(), proxy.keep.responses(), proxy.threads), (BodyPolicy::None, false, 3));
        assert_eq!(options.limits, Limits { exchanges: Some(9), bytes: None });
        assert_eq!(proxy.passthrough, ["a", "b"]);
        assert_eq!(proxy.upstream.proxy.as_ref().map(|proxy| proxy.port), Some(3128));
        assert_eq!((options.memory, proxy.limits.stored_body_bytes), (64 << 20, 1 << 20));
        assert_eq!(options.filters.rules.len(), 1);
        assert_eq!(options.flush_interval.as_millis(), 200);
    }
}
