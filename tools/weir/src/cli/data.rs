//! The flags of the commands that look into sessions and change what is in them: tail, delete, devices, cookies,
//! jar, send, diff, prune.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Subcommand};
use weir_storage::Keep;

use super::filters::FilterArgs;

/// Arguments of `weir sessions`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SessionsCommand>,
}

/// `weir sessions …`
#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Delete the oldest sessions; those that run stay
    #[command(after_help = "\
Examples:
  weir sessions prune --keep 30d      what ended within 30 days
  weir sessions prune --keep 10GB     the latest that take 10 GB together
  weir sessions prune --keep 20       the 20 latest
  weir sessions prune --keep 20 --dry-run")]
    Prune(PruneArgs),
}

/// Arguments of `weir sessions prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// What is kept: an age (30d, 12h), a size (10GB) or a number of sessions (20)
    #[arg(long, value_name = "WHAT")]
    pub(crate) keep: Keep,
    /// Only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `weir tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Id, beginning of an id, or name of a running session [default: the latest that runs]
    pub(crate) session: Option<String>,
    /// End after so many requests
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

/// Arguments of `weir delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// A session (id, beginning of an id, or name), then numbers of requests
    #[arg(value_name = "[SESSION] ID")]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

impl DeleteArgs {
    /// The session, and the numbers of requests.
    pub(crate) fn split(&self) -> Result<(Option<&str>, Vec<u64>), String> {
        let first_is_id = self.targets.first().is_some_and(|target| target.parse::<u64>().is_ok());
        let (session, ids) = match &*self.targets {
            [session, ids @ ..] if !first_is_id => (Some(session.as_str()), ids),
            ids => (None, ids),
        };
        let id = |text: &String| text.parse().map_err(|_| format!("'{text}' is no number of a request"));
        Ok((session, ids.iter().map(id).collect::<Result<_, _>>()?))
    }
}

/// Arguments of `weir devices`.
#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
}

/// `weir device …`
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Give a client's address a name; what is recorded from then on carries it
    #[command(after_help = "Examples:\n  weir device label 192.168.1.23 \"Pixel 8\"")]
    Label {
        /// The address
        address: IpAddr,
        /// The name
        name: String,
    },
    /// Take the name away
    #[command(after_help = "Examples:\n  weir device unlabel 192.168.1.23")]
    Unlabel {
        /// The address
        address: IpAddr,
    },
}

/// Which cookies.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CookieFilter {
    /// Those for this domain or what is under it
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// Those with this name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Those with this text in name, value or domain
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
}

impl CookieFilter {
    /// Whether all are meant.
    pub(crate) fn is_empty(&self) -> bool {
        self.domain.is_none() && self.name.is_none() && self.search.is_none()
    }
}

/// Arguments of `weir cookies`.
#[derive(Debug, Args)]
pub(crate) struct CookiesArgs {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
    #[command(flatten)]
    pub(crate) which: CookieFilter,
    /// List those that a browser would not keep, too
    #[arg(long)]
    pub(crate) refused: bool,
    /// Write them to a Netscape file that curl reads (- for standard output)
    #[arg(long, value_name = "FILE", conflicts_with = "delete")]
    pub(crate) jar: Option<PathBuf>,
    /// Delete them from the session
    #[arg(long)]
    pub(crate) delete: bool,
}

/// Arguments of `weir jar`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct JarArgs {
    #[command(subcommand)]
    pub(crate) command: Option<JarCommand>,
}

/// `weir jar …`
#[derive(Debug, Subcommand)]
pub(crate) enum JarCommand {
    /// Put the cookies of a session into the jar
    #[command(after_help = "Examples:\n  weir jar add --domain example.com\n  weir jar add \"phone, login\"")]
    Add {
        /// Id, beginning of an id, or name [default: the latest]
        session: Option<String>,
        #[command(flatten)]
        which: CookieFilter,
    },
    /// Put a cookie into the jar, as a response would set it
    #[command(after_help = "Examples:\n  weir jar set https://example.com/ \"id=4711; Path=/; Secure\"")]
    Set {
        /// The URL that it comes from
        url: String,
        /// The value of Set-Cookie
        cookie: String,
    },
    /// Take cookies out of the jar
    #[command(after_help = "Examples:\n  weir jar delete --domain example.com\n  weir jar delete --all")]
    Delete {
        #[command(flatten)]
        which: CookieFilter,
        /// All of them
        #[arg(long)]
        all: bool,
    },
    /// Write the jar as a Netscape file, which curl reads
    #[command(
        after_help = "Examples:\n  weir jar export -o cookies.txt && curl --cookie cookies.txt https://example.com/"
    )]
    Export {
        /// File [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put the cookies of a Netscape file into the jar
    #[command(after_help = "Examples:\n  weir jar import cookies.txt")]
    Import {
        /// The file
        file: PathBuf,
    },
}

/// Arguments of `weir send`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct SendArgs {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
    /// Number of the request, the first column of `weir requests`
    #[arg(required = true)]
    pub(crate) id: u64,
    /// Set a header field, or take it away: "Name: value", "Name:" (repeatable)
    #[arg(long, value_name = "LINE")]
    pub(crate) set_header: Vec<String>,
    /// Another method
    #[arg(long)]
    pub(crate) method: Option<String>,
    /// Another URL
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Another body: text, or @FILE
    #[arg(long, value_name = "BODY")]
    pub(crate) body: Option<String>,
    /// Send the cookies of the jar instead of those that were captured, and keep what the answer sets
    #[arg(long)]
    pub(crate) jar: bool,
    /// Send through a proxy: http://host:port; `running` for that of the running capture
    #[arg(long, value_name = "PROXY")]
    pub(crate) proxy: Option<String>,
    /// Extra authorities (PEM) that the server's certificate may come from (repeatable)
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_ca: Vec<PathBuf>,
    /// Accept any certificate from the server
    #[arg(long)]
    pub(crate) insecure_upstream: bool,
    /// Show what differs from the captured answer instead of the answer; exit code 1 when something does
    #[arg(long)]
    pub(crate) diff: bool,
    /// Name of the session that records it [default: made from the request]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Arguments of `weir diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Id, beginning of an id, or name of the session that is compared with
    pub(crate) before: String,
    /// Id, beginning of an id, or name of the session that is compared
    pub(crate) after: String,
    /// Latencies and sizes may differ by this much before it is told, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0)]
    pub(crate) tolerance: f64,
    /// Latencies and sizes never make a difference
    #[arg(long)]
    pub(crate) ignore_shifts: bool,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_ids_are_told_apart() {
        let split = |targets: &[&str]| {
            let targets = targets.iter().map(|target| (*target).to_owned()).collect();
            let arguments = DeleteArgs { targets, filters: FilterArgs::default() };
            arguments.split().map(|(session, ids)| (session.map(str::to_owned), ids))
        };
        assert_eq!(split(&["1", "2"]), Ok((None, vec![1, 2])));
        assert_eq!(split(&["phone", "2"]), Ok((Some("phone".to_owned()), vec![2])));
        assert_eq!(split(&["phone"]), Ok((Some("phone".to_owned()), vec![])));
        assert!(split(&["phone", "x"]).is_err());
    }
}
