//! The command line: what can be typed. Text in, typed commands out; nothing is done here.
//!
//! - [`values`]: durations, sizes, addresses.
//! - [`filters`]: the filter flags, the same everywhere.
//! - [`capture`], [`import`]: the flags of `weir capture` and `weir import`; [`packets`]: those about packets. [`load`]: of `weir load`.
//! - [`export`]: those of `weir export`.
//! - [`data`]: of what looks into sessions and changes them.
//! - here: the commands, and the examples `--help` shows.

pub(crate) mod capture;
pub(crate) mod data;
pub(crate) mod export;
pub(crate) mod filters;
pub(crate) mod import;
pub(crate) mod load;
pub(crate) mod packets;
pub(crate) mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use weir_storage::Sort;

pub(crate) use self::{
    capture::CaptureArgs, data::*, export::ExportArgs, filters::FilterArgs, import::ImportArgs, load::LoadCommand,
};

/// Records HTTP(S) traffic of phones, browsers, apps and servers into open Parquet files.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    infer_subcommands = false,
    max_term_width = 110,
    after_help = "\
Start here:
  weir capture                    start the proxy; it prints what to do next
  weir overview                   what the latest session holds
  weir requests --status 4xx,5xx  its requests, chosen by any filter
  weir show 17                    one request and its response in full

SESSION is an id, the beginning of one, a name, or left out for the latest session.
`weir COMMAND --help` shows the examples of a command."
)]
pub(crate) struct Cli {
    /// Folder that holds sessions and the CA [default: ~/.local/share/weir]
    #[arg(long, global = true, env = "WEIR_HOME", value_name = "DIR", help_heading = "Everywhere")]
    pub(crate) home: Option<PathBuf>,
    /// Print JSON: one document, or one object a line where it streams
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the proxy and record what goes through it into a new session
    #[command(after_help = "\
Examples:
  weir capture
  weir capture --lan --name \"phone, login\"        phones on this network can use it
  weir capture --duration 30s --json              one line when ready, one at the end
  weir capture --domain '*.example.com' --type json --not-url /health
  weir capture --bodies none --memory 64MiB --shed
  weir capture --proxy 127.0.0.1:0 --ui 127.0.0.1:0  free ports; the ready line tells which

Ctrl-C stops cleanly; a second one at once. Exit code 3: something was lost, `weir ledger` says what.")]
    Capture(Box<CaptureArgs>),
    /// Read capture files and HAR files into a new session
    #[command(after_help = "\
Examples:
  weir import trace.pcapng
  weir import day1.pcap.gz day2.pcap.zst --name \"two days\"   one after another, as one stream of packets
  tcpdump -i any -w - tcp port 80 | weir import -            until Ctrl-C
  weir import browser.har --domain '*.example.com'
  weir import trace.pcap --bodies none --jobs 2 --json       the last line says what was read, kept and dropped

What was missing or damaged in the file is counted (weir ledger) and is no error. Exit code 3: weir itself could
not keep something it should have.")]
    Import(Box<ImportArgs>),
    /// Stop a running session from another terminal
    #[command(after_help = "Examples:\n  weir stop\n  weir stop \"phone, login\"")]
    Stop(SessionArg),
    /// Go on forwarding but record nothing until resumed
    #[command(after_help = "Examples:\n  weir pause\n  weir resume")]
    Pause(SessionArg),
    /// Record again after a pause
    #[command(after_help = "Examples:\n  weir resume")]
    Resume(SessionArg),
    /// Show or change what a running session records from now on
    #[command(after_help = "\
Examples:
  weir filter                               what is recorded now
  weir filter --method POST,PUT --type json
  weir filter --clear                       everything again
  weir filter --bodies all --cookies off    what is kept of each exchange")]
    Filter(FilterCommandArgs),
    /// List the sessions, or delete old ones
    #[command(after_help = "\
Examples:
  weir sessions
  weir sessions --json | head -1
  weir sessions prune --keep 30d")]
    Sessions(SessionsArgs),
    /// Show, rename or delete a session
    #[command(subcommand)]
    Session(SessionCommand),
    /// Count a session's requests by method, domain, type, status and more
    #[command(after_help = "\
Examples:
  weir overview
  weir overview --by endpoint --top 20 --where \"duration_us > 1000000\"
  weir overview --by domain,status                 both crossed
  weir overview --by domain --by status            one after the other
  weir overview \"phone, login\" --by hour --json")]
    Overview(OverviewArgs),
    /// List a session's requests
    #[command(after_help = "\
Examples:
  weir requests --method POST --domain '*.example.com'
  weir requests --where \"status >= 400 AND NOT url ~ '/health'\"
  weir requests --sort duration_us:desc --limit 20
  weir requests --search token --json
  weir requests --search 'out of stock' --search-bodies")]
    Requests(RequestsArgs),
    /// Show one request and its response in full
    #[command(after_help = "\
Examples:
  weir show 17
  weir show \"phone, login\" 17
  weir show 17 --body response > answer.json")]
    Show(ShowArgs),
    /// Show the requests of a running session as they are recorded
    #[command(after_help = "\
Examples:
  weir tail
  weir tail --status 5xx --json | jq -r .url")]
    Tail(TailArgs),
    /// Delete requests of a session, by their numbers or by a filter
    #[command(after_help = "\
Examples:
  weir delete 17 18
  weir delete \"phone, login\" --domain ads.example.com
  weir delete --where \"url ~ '/health'\"")]
    Delete(DeleteArgs),
    /// List the devices of a session: counts, last seen, whether they trust the CA
    #[command(after_help = "Examples:\n  weir devices\n  weir devices --json")]
    Devices(DevicesArgs),
    /// Name devices
    #[command(subcommand)]
    Device(DeviceCommand),
    /// List, search or delete the cookies of a session, or write them for curl
    #[command(after_help = "\
Examples:
  weir cookies --domain example.com
  weir cookies --jar cookies.txt && curl --cookie cookies.txt https://example.com/
  weir cookies --name _ga --delete
  weir cookies --json")]
    Cookies(CookiesArgs),
    /// The cookies that `weir send --jar` sends
    #[command(after_help = "\
Examples:
  weir jar
  weir jar add --domain example.com       from the latest session
  weir jar export -o cookies.txt")]
    Jar(JarArgs),
    /// Send a captured request again, changed or not; a session of its own records it
    #[command(after_help = "\
Examples:
  weir send 17
  weir send 17 --set-header 'Authorization: Bearer x' --diff
  weir send \"phone, login\" 17 --method PUT --body @order.json --jar
  weir send 17 --proxy running                through the running capture too")]
    Send(Box<SendArgs>),
    /// Compare two sessions: endpoints, statuses, latencies, headers, cookies, third parties
    #[command(after_help = "\
Examples:
  weir diff release-3 release-4
  weir diff release-3 release-4 --ignore-shifts --json

Exit code 1: they differ.")]
    Diff(DiffArgs),
    /// Write requests as a Postman collection, HAR file, curl lines and other formats
    #[command(after_help = "\
Examples:
  weir export --to postman -o api.postman_collection.json
  weir export --to postman --into api.postman_collection.json --method POST
  weir export --to har -o session.har
  weir export --to curl --ids 17                  one request to paste into a shell
  weir export \"phone, login\" --to jsonl --status 5xx | jq .url
  weir export --to csv --domain '*.example.com' -o table.csv

Credentials are written as HIDDEN unless --with-secrets is given. What was left out or cut is said on standard
error and, where the format has a place for it, in the file.")]
    Export(Box<ExportArgs>),
    /// What was seen, kept and dropped, and why
    #[command(after_help = "Examples:\n  weir ledger\n  weir ledger --json")]
    Ledger(SessionArg),
    /// The certificate authority that intercepts TLS
    #[command(subcommand)]
    Ca(CaCommand),
    /// Make traffic to test with
    #[command(subcommand)]
    Load(LoadCommand),
    /// What works on this machine, with a stable code per finding
    #[command(after_help = "Examples:\n  weir doctor\n  weir doctor --json")]
    Doctor,
    /// Print the completions for a shell
    #[command(after_help = "\
Examples:
  weir completions bash > /etc/bash_completion.d/weir
  weir completions zsh > ~/.zfunc/_weir
  weir completions fish > ~/.config/fish/completions/weir.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write all of them into a folder
    #[command(after_help = "Examples:\n  weir man | man -l -\n  weir man /usr/local/share/man/man1")]
    Man {
        /// Folder for one page a command
        dir: Option<PathBuf>,
    },
}

/// A session, or the latest.
#[derive(Debug, Args)]
pub(crate) struct SessionArg {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
}

/// Arguments of `weir filter`.
#[derive(Debug, Args)]
pub(crate) struct FilterCommandArgs {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
    /// Record everything again
    #[arg(long)]
    pub(crate) clear: bool,
    /// Which bodies are stored
    #[arg(long, value_name = "POLICY", value_enum, help_heading = "What is kept of each exchange")]
    pub(crate) bodies: Option<capture::Bodies>,
    /// Whether bodies of responses are stored at all
    #[arg(long, value_name = "ON|OFF", value_parser = values::switch, help_heading = "What is kept of each exchange")]
    pub(crate) responses: Option<bool>,
    /// Whether cookies are gathered in their table
    #[arg(long, value_name = "ON|OFF", value_parser = values::switch, help_heading = "What is kept of each exchange")]
    pub(crate) cookies: Option<bool>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

/// `weir session …`
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// All about one session
    #[command(after_help = "Examples:\n  weir session show\n  weir session show 01J9Z --json")]
    Show(SessionArg),
    /// Give a session another name, running or not
    #[command(after_help = "Examples:\n  weir session rename 01J9Z \"release 4, login\"")]
    Rename {
        /// Id, beginning of an id, or name
        session: String,
        /// The new name
        name: String,
    },
    /// Delete sessions with all their data
    #[command(after_help = "Examples:\n  weir session delete 01J9Z\n  weir session delete old-1 old-2")]
    Delete {
        /// Ids, beginnings of ids, or names
        #[arg(required = true, value_name = "SESSION")]
        sessions: Vec<String>,
    },
}

/// Arguments of `weir overview`.
#[derive(Debug, Args)]
pub(crate) struct OverviewArgs {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
    /// Column to group by, several to cross: method, domain, type, category, status, status_class, endpoint, device,
    /// protocol, process, hour, … (repeatable) [default: method, domain, type and status, each by itself]
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) by: Vec<String>,
    /// Most groups shown of each column
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

/// Arguments of `weir requests`.
#[derive(Debug, Args)]
pub(crate) struct RequestsArgs {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
    /// Text in the URL or in a header, case does not matter
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Search in bodies too, decoded
    #[arg(long, requires = "search")]
    pub(crate) search_bodies: bool,
    /// Column to sort by, :desc for the largest first [default: id]
    #[arg(long, value_name = "COLUMN[:desc]", value_parser = values::sort)]
    pub(crate) sort: Option<Sort>,
    /// Most requests shown [default: all; 200 on a terminal]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Requests skipped before the first one shown
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) offset: usize,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
}

/// A half of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Half {
    /// What the client sent
    Request,
    /// What the server answered
    Response,
}

/// Arguments of `weir show`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct ShowArgs {
    /// Id, beginning of an id, or name [default: the latest]
    pub(crate) session: Option<String>,
    /// Number of the request, the first column of `weir requests`
    #[arg(required = true)]
    pub(crate) id: u64,
    /// Write only this body, decoded, as it is
    #[arg(long, value_name = "HALF", value_enum)]
    pub(crate) body: Option<Half>,
}

/// `weir ca …`
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Print where the certificate is
    #[command(
        after_help = "Examples:\n  curl --cacert \"$(weir ca path)\" -x http://127.0.0.1:5559 https://example.com/"
    )]
    Path,
    /// Print the certificate's fingerprint, validity and where it is trusted
    #[command(after_help = "Examples:\n  weir ca show\n  weir ca show --json")]
    Show,
    /// Make this machine's browsers and programs trust the certificate
    #[command(
        after_help = "Examples:\n  sudo -E weir ca install\n  weir ca install     only this user's browsers, without root"
    )]
    Install,
    /// Take that back
    #[command(after_help = "Examples:\n  sudo -E weir ca uninstall")]
    Uninstall,
    /// Use an authority of your own instead
    #[command(after_help = "Examples:\n  weir ca import --certificate company-ca.pem --key company-ca.key")]
    Import {
        /// Certificate (PEM)
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its private key (PEM, PKCS#8)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            for sub in command.get_subcommands() {
                let examples = sub.get_after_help().is_some() || sub.has_subcommands();
                assert!(examples, "{} lacks examples", sub.get_name());
                check(sub);
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn home_before_or_after_and_the_session_left_out() {
        for line in [&["weir", "--home", "/x", "show", "17"][..], &["weir", "show", "17", "--home", "/x"]] {
            let cli = Cli::try_parse_from(line).expect("parses");
            assert_eq!(cli.home.as_deref(), Some(std::path::Path::new("/x")));
            let Command::Show(show) = cli.command else { panic!("not show") };
            assert_eq!((show.session, show.id), (None, 17));
        }
        let cli = Cli::try_parse_from(["weir", "show", "name", "3"]).expect("parses");
        let Command::Show(show) = cli.command else { panic!("not show") };
        assert_eq!((show.session.as_deref(), show.id), (Some("name"), 3));
    }
}
