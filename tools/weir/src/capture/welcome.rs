//! What `weir capture` says once it is ready: what to do next, in lines that work as pasted.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::Serialize;
use weir_engine::ledger::Ledger;

use crate::output::{Out, Tone};

/// The line of `--json` once a capture is ready (**contract**).
#[derive(Debug, Serialize)]
pub(crate) struct Ready<'a> {
    event: &'static str,
    session: &'a str,
    /// Null with `--no-proxy`, as is `ca`.
    proxy: Option<String>,
    ui: Option<&'a str>,
    ca: Option<&'a Path>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    interfaces: &'a [String],
}

/// The line of `--json` at the end (**contract**).
#[derive(Debug, Serialize)]
pub(crate) struct Stopped<'a> {
    event: &'static str,
    session: &'a str,
    exchanges: u64,
    ledger: &'a Ledger,
}

impl<'a> Stopped<'a> {
    /// How a capture ended.
    pub(crate) fn new(session: &'a str, exchanges: u64, ledger: &'a Ledger) -> Self {
        Self { event: "stopped", session, exchanges, ledger }
    }
}

/// What is known once a capture is ready.
#[derive(Debug)]
pub(crate) struct Welcome<'a> {
    /// Session id.
    pub(crate) session: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// The proxy, unless packets alone are recorded.
    pub(crate) proxy: Option<ProxyFacts<'a>>,
    /// Interfaces whose packets are recorded.
    pub(crate) interfaces: &'a [String],
    /// The link with the token.
    pub(crate) ui: Option<&'a str>,
    /// The capture filter, where there is one.
    pub(crate) filters: Option<&'a str>,
}

/// What is known of the proxy.
#[derive(Debug)]
pub(crate) struct ProxyFacts<'a> {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The CA certificate.
    pub(crate) ca: PathBuf,
    /// Whether this machine trusts it.
    pub(crate) trusted: bool,
    /// Addresses for phones, when it listens on all addresses.
    pub(crate) phones: Vec<SocketAddr>,
    /// Credentials that clients must give.
    pub(crate) auth: Option<&'a (String, String)>,
}

impl Welcome<'_> {
    /// Says it, as JSON or for people, at once.
    pub(crate) fn print(&self, out: &mut Out) -> io::Result<()> {
        if out.json {
            let ready = Ready {
                event: "ready",
                session: self.session,
                proxy: self.proxy.as_ref().map(|proxy| proxy.address.to_string()),
                ui: self.ui,
                ca: self.proxy.as_ref().map(|proxy| proxy.ca.as_path()),
                interfaces: self.interfaces,
            };
            out.json_line(&ready)?;
        } else {
            self.lines(out)?;
        }
        out.flush()
    }

    fn lines(&self, out: &mut Out) -> io::Result<()> {
        let ways = [
            self.proxy.as_ref().map(|proxy| format!("through the proxy {}", proxy.at_home())),
            (!self.interfaces.is_empty()).then(|| format!("plain HTTP on {}", self.interfaces.join(", "))),
        ];
        let ways: Vec<String> = ways.into_iter().flatten().collect();
        let heading = format!("weir records {} {}", quote(self.name), ways.join(" and "));
        out.heading(&heading)?;
        let mut facts = self.proxy.as_ref().map(ProxyFacts::facts).unwrap_or_default();
        if let Some(filters) = self.filters {
            facts.push(("records only", filters.to_owned()));
        }
        if let Some(ui) = self.ui {
            facts.push(("live page", ui.to_owned()));
        }
        facts.push(("stop", "Ctrl-C; then: weir overview, weir requests, weir show ID".to_owned()));
        out.facts(&facts)?;
        if self.proxy.as_ref().is_some_and(|proxy| !proxy.phones.is_empty() && proxy.auth.is_none()) {
            let hint = "anyone on this network can use the proxy now; --auth user:password asks for credentials";
            let hint = out.style.paint(Tone::Warn, hint).into_owned();
            writeln!(out, "{hint}")?;
        }
        Ok(())
    }
}

impl ProxyFacts<'_> {
    /// What listens on all addresses is reached at home.
    fn at_home(&self) -> SocketAddr {
        let ip = self.address.ip();
        SocketAddr::new(if ip.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { ip }, self.address.port())
    }

    /// What to do with it.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let proxy = self.at_home();
        let credentials = self.auth.map(|(user, password)| format!(" -U {}", quote(&format!("{user}:{password}"))));
        let credentials = credentials.as_deref().unwrap_or_default();
        let ca = quote(&self.ca.display().to_string());
        let mut facts = vec![
            ("try", format!("curl -x http://{proxy}{credentials} --cacert {ca} https://example.com/")),
            ("set up a device", format!("use {proxy} as its HTTP proxy, then open http://weir.proxy/ on it")),
        ];
        for phone in &self.phones {
            facts.push(("from the network", format!("{phone} (HTTP proxy of a phone's Wi-Fi settings)")));
        }
        if !self.trusted {
            facts.push(("trust the CA here", "weir ca install".to_owned()));
        }
        facts
    }
}

/// A word for a POSIX shell: as it is, or in single quotes.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_lines() {
        let ready = Ready {
            event: "ready",
            session: "01J",
            proxy: Some("127.0.0.1:5559".to_owned()),
            ui: Some("http://127.0.0.1:5560/?token=x"),
            ca: Some(Path::new("/h/ca/weir-proxy-ca.crt")),
            interfaces: &[],
        };
        assert_eq!(
            serde_json::to_string(&ready).expect("serialises"),
            r#"{"event":"ready","session":"01J","proxy":"127.0.0.1:5559","ui":"http://127.0.0.1:5560/?token=x","ca":"/h/ca/weir-proxy-ca.crt"}"#
        );
        let ledger = Ledger::default();
        assert_eq!(
            serde_json::to_string(&Stopped::new("01J", 3, &ledger)).expect("serialises"),
            r#"{"event":"stopped","session":"01J","exchanges":3,"ledger":{}}"#
        );
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quote("/home/me/ca.crt"), "/home/me/ca.crt");
        assert_eq!(quote("it's here"), r"'it'\''s here'");
        assert_eq!(quote(""), "''");
    }
}
