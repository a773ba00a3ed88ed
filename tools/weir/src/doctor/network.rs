//! Findings about ports and addresses.

use std::net::{Ipv4Addr, SocketAddr};

use weir_storage::{Catalogue, Home};

use super::Finding;
use crate::capture::ports;

/// Looks at the default ports.
pub(super) fn check(home: &Home) -> Vec<Finding> {
    vec![port(home, "proxy_port", 5559, "--proxy"), port(home, "ui_port", 5560, "--ui")]
}

fn port(home: &Home, code: &'static str, port: u16, flag: &str) -> Finding {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Err(error) = ports::check(address, flag) else {
        return Finding::ok(code, format!("{address} is free"));
    };
    let text = address.to_string();
    let sessions = Catalogue::open(home).list().unwrap_or_default();
    let ours = sessions.iter().find(|entry| {
        entry.state.is_open() && [&entry.proxy, &entry.ui].into_iter().any(|ours| ours.as_deref() == Some(&text))
    });
    match ours {
        Some(entry) => Finding::ok(code, format!("{address} is in use by the running session {}", entry.id)),
        None => match error.to_string().split_once("; ") {
            Some((what, hint)) => Finding::warn(code, what, hint),
            None => Finding::warn(code, error.to_string(), format!("give another address with {flag}")),
        },
    }
}
