//! The devices of a session: counts, when they were last seen, and whether they trust the CA.
//!
//! In: the exchanges by device, and the connections. Trust is what the last handshake said: one that was finished
//! with a certificate of weir's, or one that the client broke off over it.

use std::collections::{BTreeMap, BTreeSet};

use arrow::{
    array::{Array, AsArray},
    datatypes::{Int32Type, TimestampMicrosecondType, UInt64Type},
    error::ArrowError,
};
use serde::{Deserialize, Serialize};

use super::{
    file::guarded,
    lookup::Listing,
    rows::ConnectionRow,
    scan::{Condition, read, scan},
    source::{PartError, Source, on_all_cores},
};
use crate::{error::StorageError, time::Timestamp};

/// Devices told apart; more are counted together under no name.
const MOST: usize = 100_000;
/// Addresses listed of one device.
const MOST_ADDRESSES: usize = 16;

/// A device of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Its label, or its address.
    pub device: String,
    /// Addresses it came from.
    pub addresses: BTreeSet<String>,
    /// Exchanges recorded.
    pub exchanges: u64,
    /// Sum of their `request_size`.
    pub request_bytes: u64,
    /// Sum of their `response_size`.
    pub response_bytes: u64,
    /// Connections recorded.
    pub connections: u64,
    /// First seen.
    pub first_seen: Option<Timestamp>,
    /// Last seen.
    pub last_seen: Option<Timestamp>,
    /// What its last TLS handshake said of the CA; none: there was none.
    pub trusts_ca: Option<bool>,
    /// Handshakes it broke off because of the CA.
    pub refused_handshakes: u64,
    #[serde(skip)]
    handshake_at: i64,
}

impl DeviceRow {
    fn saw(&mut self, at: Timestamp) {
        self.first_seen = Some(self.first_seen.map_or(at, |first| first.min(at)));
        self.last_seen = self.last_seen.max(Some(at));
    }

    fn merge(&mut self, other: &Self) {
        self.exchanges += other.exchanges;
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
        for at in [other.first_seen, other.last_seen].into_iter().flatten() {
            self.saw(at);
        }
    }

    fn connect(&mut self, row: &ConnectionRow) {
        self.connections += 1;
        self.saw(row.opened);
        let ended = row.opened.as_micros().saturating_add(i64::try_from(row.duration_us).unwrap_or(i64::MAX));
        self.saw(Timestamp(ended));
        let address = row.client.as_deref().and_then(|client| client.rsplit_once(':')).map(|(address, _)| address);
        if let Some(address) = address
            && self.addresses.len() < MOST_ADDRESSES
        {
            self.addresses.insert(address.trim_matches(['[', ']']).to_owned());
        }
        let refused = row.error.as_deref() == Some("client_refused_ca");
        self.refused_handshakes += u64::from(refused);
        let trusts = match (refused, row.kind.as_str(), &row.client_tls_version) {
            (true, ..) => Some(false),
            (false, "intercepted", Some(_)) => Some(true),
            _ => None,
        };
        if trusts.is_some() && row.opened.as_micros() >= self.handshake_at {
            self.trusts_ca = trusts;
            self.handshake_at = row.opened.as_micros();
        }
    }
}

type Devices = BTreeMap<String, DeviceRow>;

fn device<'a>(devices: &'a mut Devices, name: &str) -> &'a mut DeviceRow {
    let name = if devices.len() >= MOST && !devices.contains_key(name) { "" } else { name };
    devices.entry(name.to_owned()).or_default()
}

/// The devices of a session, the one seen last first.
pub(crate) fn devices(exchanges: &mut Source, connections: &mut Source) -> Result<Listing<DeviceRow>, StorageError> {
    let mut devices = exchanges.run(from_exchanges)?;
    connections
        .run(|source| {
            let mut found = Devices::new();
            each_connection(source, |row| {
                if let Some(name) = &row.device {
                    device(&mut found, name).connect(&row);
                }
                Ok(true)
            })?;
            Ok(found)
        })?
        .into_iter()
        .for_each(|(name, row)| {
            let there = device(&mut devices, &name);
            let counted = std::mem::replace(there, row);
            there.merge(&counted);
        });
    let mut rows: Vec<DeviceRow> = devices.into_iter().map(|(name, row)| DeviceRow { device: name, ..row }).collect();
    rows.sort_by(|a, b| b.last_seen.cmp(&a.last_seen).then_with(|| a.device.cmp(&b.device)));
    let warnings = exchanges.warnings.iter().chain(&connections.warnings).cloned().collect();
    Ok(Listing { rows, warnings })
}

fn from_exchanges(source: &Source) -> Result<Devices, PartError> {
    let condition = Condition { deleted: source.deleted(), ..Condition::default() };
    let columns = BTreeSet::from(["device", "started", "request_size", "response_size"]);
    let found = on_all_cores(&source.units(), Devices::new, |devices, unit| {
        let part = &source.parts[unit.part];
        scan(part, unit.group, &condition, &columns, |found| {
            let mismatch = || ArrowError::SchemaError("the columns of a device are of other types".to_owned());
            let column = |name: &str| found.batch.column_by_name(name).ok_or_else(mismatch);
            let words = column("device")?.as_dictionary_opt::<Int32Type>().ok_or_else(mismatch)?;
            let values = words.values().as_string_opt::<i32>().ok_or_else(mismatch)?;
            let started = column("started")?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(mismatch)?;
            let sent = column("request_size")?.as_primitive_opt::<UInt64Type>().ok_or_else(mismatch)?;
            let received = column("response_size")?.as_primitive_opt::<UInt64Type>().ok_or_else(mismatch)?;
            // By word first: a row costs no look-up by text.
            let mut by_word = vec![DeviceRow::default(); values.len()];
            found.for_each_row(|row| {
                if let Some(word) = words.key(row) {
                    let device = &mut by_word[word];
                    device.exchanges += 1;
                    device.request_bytes += sent.value(row);
                    device.response_bytes += received.value(row);
                    device.saw(Timestamp(started.value(row)));
                }
                Ok(())
            })?;
            for (word, counted) in by_word.into_iter().enumerate().filter(|(_, row)| row.exchanges > 0) {
                device(devices, values.value(word)).merge(&counted);
            }
            Ok(())
        })
        .map_err(|error| part.error(error))
    })?;
    let mut all = Devices::new();
    for (name, row) in found.into_iter().flatten() {
        device(&mut all, &name).merge(&row);
    }
    Ok(all)
}

/// Hands each connection to `each` until it says that it has enough.
pub(crate) fn each_connection(
    source: &Source,
    mut each: impl FnMut(ConnectionRow) -> Result<bool, ArrowError>,
) -> Result<(), PartError> {
    for unit in source.units() {
        let part = &source.parts[unit.part];
        let go_on = guarded(|| {
            for batch in read(part, unit.group, &ConnectionRow::columns(), None)? {
                let batch = batch?;
                let connection = ConnectionRow::reader(&batch);
                for row in 0..batch.num_rows() {
                    if !each(connection(row)?)? {
                        return Ok(false);
                    }
                }
            }
            Ok(true)
        })
        .map_err(|error| (unit.part, part.error(error)))?;
        if !go_on {
            break;
        }
    }
    Ok(())
}
