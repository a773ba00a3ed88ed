//! Sorted items into nested folders.
//!
//! The key of an item says into which folder of an existing collection it goes (or into the collection itself), in which new
//! folders, and its number: items that share folders stand together, and each folder is written once.

use std::{
    fmt,
    io::{self, Write},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use crate::export::sorter::Sorted;

/// The number of the collection itself: it ends after all folders in it.
pub(super) const ROOT: u32 = u32::MAX;

/// Where an item goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the existing folder that it goes into.
    pub(super) after: u32,
    /// New folders inside that.
    pub(super) folders: Vec<String>,
}

/// Begins the name of a folder in a key; ends it; items of a folder come before its folders.
const NAME: u8 = 1;
const END: u8 = 0;

impl Place {
    /// A key that sorts items by place, then by number.
    pub(super) fn key(&self, number: u64) -> Vec<u8> {
        let mut key = self.after.to_be_bytes().to_vec();
        for folder in &self.folders {
            key.push(NAME);
            // Names have no control characters: nothing in them can end them.
            key.extend_from_slice(folder.as_bytes());
            key.push(END);
        }
        key.push(END);
        key.extend_from_slice(&number.to_be_bytes());
        key
    }

    fn of(key: &[u8]) -> Self {
        let (after, mut rest) = key.split_at(key.len().min(4));
        let after = after.try_into().map_or(0, u32::from_be_bytes);
        let mut folders = Vec::new();
        while let Some((&NAME, name)) = rest.split_first() {
            let end = memchr::memchr(END, name).unwrap_or(name.len());
            folders.push(String::from_utf8_lossy(&name[..end]).into_owned());
            rest = name.get(end + 1..).unwrap_or_default();
        }
        Self { after, folders }
    }
}

/// Sorted items, of which the next can be looked at.
pub(super) struct Ahead {
    sorted: Sorted,
    next: Option<Option<(Place, Vec<u8>)>>,
}

impl From<Sorted> for Ahead {
    fn from(sorted: Sorted) -> Self {
        Self { sorted, next: None }
    }
}

impl Ahead {
    fn read(&mut self) -> io::Result<Option<(Place, Vec<u8>)>> {
        Ok(self.sorted.next()?.map(|(key, value)| (Place::of(&key), value)))
    }

    /// The next item when it goes into this existing folder.
    fn take(&mut self, after: u32) -> io::Result<Option<(Place, Vec<u8>)>> {
        let next = match self.next.take() {
            Some(next) => next,
            None => self.read()?,
        };
        match next {
            Some((place, value)) if place.after == after => Ok(Some((place, value))),
            other => {
                self.next = Some(other);
                Ok(None)
            }
        }
    }
}

fn line(depth: usize, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"\n")?;
    out.write_all(&b"\t".repeat(depth))
}

/// Writes all items that go into the existing folder `after`, with new folders around them; `is_first`: nothing
/// stands before them in the array.
pub(super) fn write_items(
    items: &mut Ahead,
    after: u32,
    depth: usize,
    is_first: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut open: Vec<String> = Vec::new();
    // Whether the array of each open level still has nothing in it.
    let mut empty = vec![is_first];
    while let Some((place, document)) = items.take(after)? {
        let shared = open.iter().zip(&place.folders).take_while(|(a, b)| a == b).count();
        while open.len() > shared {
            open.pop();
            empty.pop();
            line(depth + 2 * open.len() + 1, out)?;
            out.write_all(b"]")?;
            line(depth + 2 * open.len(), out)?;
            out.write_all(b"}")?;
        }
        for folder in &place.folders[shared..] {
            separate(&mut empty, out)?;
            line(depth + 2 * open.len(), out)?;
            out.write_all(b"{")?;
            line(depth + 2 * open.len() + 1, out)?;
            write!(out, "\"name\": {},", Value::from(folder.as_str()))?;
            line(depth + 2 * open.len() + 1, out)?;
            out.write_all(b"\"item\": [")?;
            open.push(folder.clone());
            empty.push(true);
        }
        separate(&mut empty, out)?;
        line(depth + 2 * open.len(), out)?;
        write_item(&document, depth + 2 * open.len(), out)?;
    }
    while open.pop().is_some() {
        line(depth + 2 * open.len() + 1, out)?;
        out.write_all(b"]")?;
        line(depth + 2 * open.len(), out)?;
        out.write_all(b"}")?;
    }
    Ok(())
}

/// Writes an item with each member on a line of its own, as one that is there already is copied: merging again what is
/// there changes nothing.
fn write_item(document: &[u8], depth: usize, out: &mut dyn Write) -> io::Result<()> {
    let Ok(Members(members)) = serde_json::from_slice(document) else { return out.write_all(document) };
    for (number, (key, value)) in members.iter().enumerate() {
        out.write_all(if number == 0 { b"{" } else { b"," })?;
        line(depth + 1, out)?;
        write!(out, "{}: {}", Value::from(key.as_str()), value.get())?;
    }
    line(depth, out)?;
    out.write_all(b"}")
}

/// The members of an object, in their order, as they are written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Gather;
        impl<'de> Visitor<'de> for Gather {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut found = Vec::new();
                while let Some(member) = members.next_entry()? {
                    found.push(member);
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(Gather).map(Self)
    }
}

fn separate(empty: &mut [bool], out: &mut dyn Write) -> io::Result<()> {
    match empty.last_mut() {
        Some(is_empty) if !*is_empty => out.write_all(b","),
        Some(is_empty) => {
            *is_empty = false;
            Ok(())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::sorter::Sorter;

    #[test]
    fn folders_are_written_once_and_nested() {
        let scratch = tempfile::tempdir().expect("temporary folder");
        let mut sorter = Sorter::new(scratch.path());
        for (number, folders) in [(5, &["b", "/x"][..]), (1, &["b"]), (2, &["a", "/x"]), (3, &[]), (4, &["a", "/x"])] {
            let place = Place { after: 0, folders: folders.iter().map(|name| (*name).to_owned()).collect() };
            assert_eq!(Place::of(&place.key(number)), place);
            sorter.push(&place.key(number), number.to_string().as_bytes()).expect("pushes");
        }
        let other = Place { after: 1, folders: Vec::new() };
        sorter.push(&other.key(1), b"9").expect("pushes");
        let mut items = sorter.finish().expect("sorts").into();
        let mut out = b"[".to_vec();
        write_items(&mut items, 0, 0, true, &mut out).expect("writes");
        out.push(b']');
        let document: Value = serde_json::from_slice(&out).expect("JSON");
        let expected = serde_json::json!([
            3,
            {"name": "a", "item": [{"name": "/x", "item": [2, 4]}]},
            {"name": "b", "item": [1, {"name": "/x", "item": [5]}]},
        ]);
        assert_eq!(document, expected);
        let mut rest = Vec::new();
        write_items(&mut items, 1, 0, false, &mut rest).expect("writes");
        assert_eq!(rest, b",\n9");
    }
}
