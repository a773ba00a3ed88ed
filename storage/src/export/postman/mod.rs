//! Postman collections, format 2.1.0: one item an exchange, in folders, new or merged into an existing collection.
//!
//! Items are written in the order of their folders, which is not the order they come in: they go through a
//! [`Sorter`](super::sorter::Sorter). What merging needs to know of the existing collection is read before
//! ([`merge`]); both ways then write the same sorted items.
//!
//! - [`url`], [`body`], [`example`] → [`item`]: an exchange as an item. [`literals`]: text that looks like variables.
//! - [`folders`]: sorted items into nested folders. [`merge`]: an existing collection, read and copied piece by piece.

mod body;
mod example;
mod folders;
mod item;
mod literals;
mod merge;
mod url;

use std::{
    io::{self, Write},
    path::Path,
};

use serde_json::{Value, json};

pub(crate) use self::{example::phrase, item::ItemMaker};
use self::{
    folders::{Place, ROOT, write_items},
    literals::Literals,
    merge::Existing,
};
use super::{
    ExportOptions, Format,
    feed::Item,
    report::{Reason, Report},
    sorter::Sorter,
    target::Beside,
};
use crate::{error::StorageError, session::SessionEntry};

const SCHEMA: &str = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json";

/// An object of these members. They are moved into it, where `json!` would copy them with all they hold.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Writes a collection.
pub(crate) struct Postman {
    maker: ItemMaker,
    sorter: Sorter,
    literals: Literals,
    existing: Option<Existing>,
    session: SessionEntry,
}

impl Postman {
    /// A collection of a session.
    pub(crate) fn new(
        session: &SessionEntry,
        options: &ExportOptions,
        beside: Option<Beside>,
        scratch: &Path,
    ) -> Result<Self, StorageError> {
        let existing = options.into.as_deref().map(Existing::read).transpose()?;
        Ok(Self {
            maker: ItemMaker::new(session, options, beside),
            sorter: Sorter::new(scratch),
            literals: existing
                .as_ref()
                .map_or_else(Literals::default, |existing| Literals::beside(existing.variables())),
            existing,
            session: session.clone(),
        })
    }

    fn info(&self, report: &Report) -> Value {
        json!({
            "_postman_id": item::uuid(&[b"collection", self.session.id.to_string().as_bytes()]),
            "name": self.session.name,
            "description": format!("Exported by weir from session {} ({}).\n\n{}", self.session.name, self.session.id, report.comment()),
            "schema": SCHEMA,
        })
    }
}

impl Format for Postman {
    fn exchange(&mut self, item: Item, _out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let mut made = match self.maker.make(&item, report)? {
            Ok(made) => made,
            Err(reason) => {
                report.note(reason);
                return Ok(());
            }
        };
        self.literals.escape(&mut made.document["request"], report);
        let mut place = Place { after: ROOT, folders: made.folders };
        if let Some(existing) = &mut self.existing {
            if existing.has(&made.document) {
                report.note(Reason::AlreadyThere);
                return Ok(());
            }
            place = existing.place(place.folders);
        }
        report.exported += 1;
        self.sorter.push(&place.key(item.row.id), &serde_json::to_vec(&made.document)?)
    }

    fn finish(&mut self, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        report.files += self.maker.saved();
        let mut sorted = std::mem::replace(&mut self.sorter, Sorter::new(Path::new("."))).finish()?.into();
        let variables = self.literals.variables();
        if let Some(existing) = self.existing.take() {
            return existing.write(&mut sorted, variables, out);
        }
        write!(out, "{{\n\t\"info\": {},\n\t\"item\": [", self.info(report))?;
        write_items(&mut sorted, ROOT, 2, true, out)?;
        out.write_all(b"\n\t]")?;
        if !variables.is_empty() {
            write!(out, ",\n\t\"variable\": {}", Value::from(variables))?;
        }
        out.write_all(b"\n}\n")
    }
}
