//! `weir tail`: the requests of a running session, as they are recorded.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde_json::Value;
use weir_engine::filter::FilterFlags;
use weir_storage::{ExchangeRow, Home};

use super::{
    Outcome, Usage, control,
    requests::{cells, columns},
};
use crate::{api::client::Event, cli::TailArgs, output::Out};

/// Follows a running session until it ends.
pub(super) fn run(args: &TailArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    // Checked here first, so that a mistake is wrong usage and not the capture's complaint.
    args.filters.build().map_err(Usage::new)?;
    let entry = control::running(home, args.session.as_deref())?;
    let client = control::client(home, &entry)?;
    let path = format!("/api/v1/tail?session={}{}", entry.id, query(&args.filters.flags()));
    let mut table = out.table(columns());
    let mut left = args.limit.unwrap_or(usize::MAX);
    if left == 0 {
        return Ok(Outcome::Done);
    }
    client.follow(&path, |event: Event<'_>| {
        match event.name {
            "request" if out.json => {
                out.write_all(event.data.as_bytes())?;
                out.write_all(b"\n")?;
                out.flush()?;
                left -= 1;
            }
            "request" => {
                let row: ExchangeRow = serde_json::from_str(event.data).context("the capture told no row")?;
                table.row(out, cells(row))?;
                // Each row at once: the first ones lay the table out.
                table.show(out)?;
                out.flush()?;
                left -= 1;
            }
            "missed" => {
                let missed: Value = serde_json::from_str(event.data)?;
                writeln!(io::stderr(), "warning: {} requests came too fast to be shown", missed["rows"])?;
            }
            _ => {}
        }
        Ok(left > 0)
    })?;
    Ok(Outcome::Done)
}

/// The filter flags as the rest of the query component of a URL.
fn query(flags: &FilterFlags) -> String {
    let all = [
        ("method", &flags.method),
        ("status", &flags.status),
        ("url", &flags.url),
        ("not_url", &flags.not_url),
        ("type", &flags.media_type),
        ("domain", &flags.domain),
        ("device", &flags.device),
        ("source", &flags.source),
        ("where", &flags.where_),
    ];
    let mut text = String::new();
    for (name, values) in all {
        for value in values {
            text.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    text
}

/// A value for the query component: everything but letters and digits as `%41`.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_survive_a_url() {
        let flags = FilterFlags {
            method: vec!["GET,POST".to_owned()],
            where_: vec!["url ~ '/é&?'".to_owned()],
            ..FilterFlags::default()
        };
        assert_eq!(query(&flags), "&method=GET%2CPOST&where=url%20~%20%27%2F%C3%A9%26%3F%27".replace('~', "%7E"));
        assert_eq!(query(&FilterFlags::default()), "");
    }
}
