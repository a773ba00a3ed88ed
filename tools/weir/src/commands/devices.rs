//! `weir devices` and `weir device label | unlabel`.

use std::{io::Write, net::IpAddr};

use anyhow::Result;
use hyper::Method;
use serde_json::json;
use weir_storage::{Catalogue, Home, Labels, Session};

use super::{Outcome, control, find, warn};
use crate::{
    cli::{DeviceCommand, DevicesArgs},
    output::{Cell, Column, Cut, Out, Tone, text::one_line, units},
};

/// Lists the devices of a session.
pub(super) fn list(args: &DevicesArgs, home: &Home, out: &mut Out) -> Result<Outcome> {
    let session = Session::open(home, find(home, args.session.as_deref())?);
    let found = session.devices()?;
    warn(&found.warnings);
    let labels = Labels::load(home)?;
    let label = |device: &str| device.parse().ok().and_then(|address| labels.get(address)).map(str::to_owned);
    if out.json {
        for row in &found.rows {
            let mut document = serde_json::to_value(row)?;
            document["label"] = json!(label(&row.device));
            out.json_line(&document)?;
        }
        return Ok(Outcome::Done);
    }
    let mut table = out.table(vec![
        Column::text("device").cut(Cut::End, 12),
        Column::text("addresses").cut(Cut::End, 9).optional(),
        Column::number("requests"),
        Column::number("sent").optional(),
        Column::number("received"),
        Column::text("last seen"),
        Column::text("trusts the CA"),
    ]);
    for row in &found.rows {
        let trust = match (row.trusts_ca, row.refused_handshakes) {
            (Some(true), _) => Cell::toned(Tone::Good, "yes"),
            (Some(false), refused) => Cell::toned(Tone::Bad, format!("no ({} refused)", units::count(refused))),
            (None, _) => Cell::toned(Tone::Faint, "not seen"),
        };
        // What was recorded before it had a name has its address.
        let name = label(&row.device).map_or_else(|| row.device.clone(), |label| format!("{label} ({})", row.device));
        table.row(
            out,
            vec![
                name.into(),
                Cell::toned(Tone::Faint, row.addresses.iter().cloned().collect::<Vec<_>>().join(", ")),
                units::count(row.exchanges).into(),
                units::bytes(row.request_bytes).into(),
                units::bytes(row.response_bytes).into(),
                row.last_seen.map_or_else(|| "–".to_owned(), |at| units::local_time(&at.to_string())).into(),
                trust,
            ],
        )?;
    }
    table.finish(out)?;
    if found.rows.is_empty() {
        writeln!(out, "no devices yet")?;
    }
    Ok(Outcome::Done)
}

/// Names a device, or takes its name away.
pub(super) fn name(command: &DeviceCommand, home: &Home, out: &mut Out) -> Result<Outcome> {
    let (address, name) = match command {
        DeviceCommand::Label { address, name } => (*address, Some(name.as_str())),
        DeviceCommand::Unlabel { address } => (*address, None),
    };
    Labels::set(home, address, name)?;
    tell_captures(home, address, name);
    if out.json {
        out.json_line(&json!({ "address": address, "label": name }))?;
    } else {
        match name {
            Some(name) => writeln!(out, "{address} is called {} from now on", one_line(name))?,
            None => writeln!(out, "{address} has no name any more")?,
        }
    }
    Ok(Outcome::Done)
}

/// Captures that run take the name over; one that cannot be reached does with the next start.
fn tell_captures(home: &Home, address: IpAddr, name: Option<&str>) {
    let entries = Catalogue::open(home).list().unwrap_or_default();
    for entry in entries.iter().filter(|entry| entry.state.is_open() && !entry.other.contains_key("parent")) {
        let path = format!("/api/v1/devices/{address}");
        let told = control::client(home, entry).and_then(|client| match name {
            Some(name) => client.call(Method::PUT, &path, Some(&json!({ "label": name }))),
            None => client.call(Method::DELETE, &path, None),
        });
        if let Err(error) = told {
            eprintln!("warning: session {} goes on without that name: {error:#}", entry.id);
        }
    }
}
