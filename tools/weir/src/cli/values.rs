//! Values of flags: durations, sizes, addresses, credentials. Text in, checked types out.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use weir_engine::filter::Column;
use weir_storage::Sort;

/// `30s`, `5m`, `1h30m`, `250ms`, `1.5h`, `2d`; a bare number means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration; write 30s, 5m, 1h30m or 250ms");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1e-3,
            "" if letters == rest.len() => 1.0,
            "s" | "sec" | "second" | "seconds" => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3_600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => return Err(wrong()),
        };
        rest = rest[letters..].trim_start();
        total += number * unit;
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

/// A [`duration`] above zero.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("'{text}' is no time at all; write something like 1s")),
        some => Ok(some),
    }
}

/// `256MiB`, `1GB`, `64k`, `1048576`. `k`, `M`, `G` alone are binary, as in most tools.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size; write 256MiB, 1GB or a number of bytes");
    let text_trimmed = text.trim();
    let digits = text_trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text_trimmed.len());
    let number: f64 = text_trimmed[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match text_trimmed[digits..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let bytes = number * unit as f64;
    if bytes < (1u64 << 53) as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// The memory budget: a [`size`] in which a capture can work.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes < 8 << 20 => Err(format!("'{text}' is too little to work with; 8MiB is the least")),
        bytes => Ok(bytes),
    }
}

/// Where to listen: `HOST:PORT`, `:PORT` or `PORT`; without a host it is for the flag to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen {
    /// The address, when one was given.
    pub(crate) host: Option<IpAddr>,
    /// The port; 0 takes a free one.
    pub(crate) port: u16,
}

impl Listen {
    /// On this machine only, unless an address was given.
    pub(crate) fn local(self) -> SocketAddr {
        SocketAddr::new(self.host.unwrap_or(Ipv4Addr::LOCALHOST.into()), self.port)
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
            return Ok(Self { host: None, port });
        }
        let named = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        match named.as_deref().unwrap_or(text).parse::<SocketAddr>() {
            Ok(addr) => Ok(Self { host: Some(addr.ip()), port: addr.port() }),
            Err(_) => Err(format!("'{text}' is no address to listen on; write 127.0.0.1:5559, [::1]:5559 or a port")),
        }
    }
}

/// `user:password`.
pub(crate) fn credentials(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((user, password)) if !user.is_empty() && !text.chars().any(char::is_control) => {
            Ok((user.to_owned(), password.to_owned()))
        }
        _ => Err("credentials are written user:password".to_owned()),
    }
}

/// `on` or `off`.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" => Ok(true),
        "off" | "no" | "false" => Ok(false),
        _ => Err(format!("'{text}' is neither on nor off")),
    }
}

/// `COLUMN`, `COLUMN:asc` or `COLUMN:desc`.
pub(crate) fn sort(text: &str) -> Result<Sort, String> {
    let (name, descending) = match text.split_once(':') {
        None | Some((_, "asc")) => (text.strip_suffix(":asc").unwrap_or(text), false),
        Some((name, "desc")) => (name, true),
        Some((_, order)) => return Err(format!("'{order}' is no order; write asc or desc after the column")),
    };
    let column = Column::parse(name).ok_or_else(|| match Column::nearest(name) {
        Some(near) => format!("there is no column '{name}'; is {} meant?", near.name()),
        None => format!("there is no column '{name}'; id, started, status, domain, duration_us are some"),
    })?;
    Ok(Sort { column, descending })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs_f64());
        for (text, expected) in
            [("30s", 30.0), ("30", 30.0), ("1h30m", 5_400.0), ("250ms", 0.25), ("1.5h", 5_400.0), ("1m 5s", 65.0)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "s", "10x", "-3s", "5 6s", "1e300d", "1..5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn sizes() {
        for (text, expected) in
            [("256MiB", 256 << 20), ("1GB", 1_000_000_000), ("64k", 65_536), ("12", 12), ("0.5g", 1 << 29)]
        {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for wrong in ["", "MiB", "1TBx", "-1", "999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(memory("1k").is_err());
    }

    #[test]
    fn addresses() {
        let listen = |text: &str| text.parse::<Listen>().map(|listen| listen.local().to_string());
        for (text, expected) in [
            ("5559", "127.0.0.1:5559"),
            (":0", "127.0.0.1:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("localhost:81", "127.0.0.1:81"),
            ("[::1]:82", "[::1]:82"),
        ] {
            assert_eq!(listen(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", "host:1", "1.2.3.4", "99999", "127.0.0.1:x"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
        assert_eq!(credentials("a:b:c"), Ok(("a".to_owned(), "b:c".to_owned())));
        assert!(credentials("ab").is_err());
    }
}
