//! An existing collection: read piece by piece, and copied with new items put into its folders.
//!
//! It is read twice. The first time its folders are numbered in the order in which they end, and what identifies
//! its items is kept (some 16 bytes each). The second time it is copied; where a folder ends, the new items that
//! belong into it are put. Nothing that was there is changed or moved, only white space between folders.
//!
//! An item is there already when the collection has its id. Postman leaves ids away when it exports: an item without
//! one is the same when method, URL and body are, each such item standing for one exchange.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, value::RawValue};

use super::folders::{Ahead, Place, ROOT, write_items};
use crate::error::StorageError;

/// What is known of an existing collection.
pub(super) struct Existing {
    path: PathBuf,
    /// Numbers of folders by their paths.
    folders: HashMap<Vec<String>, u32>,
    ids: HashSet<u128>,
    /// Items without an id, and how many of each.
    others: HashMap<u128, u32>,
    variables: Vec<Value>,
}

impl Existing {
    /// Its variables.
    pub(super) fn variables(&self) -> &[Value] {
        &self.variables
    }

    /// Reads what is needed of it.
    pub(super) fn read(path: &Path) -> Result<Self, StorageError> {
        let mut walk = Walk { survey: Some(Survey::default()), ..Walk::default() };
        walk.run(path).map_err(|problem| StorageError::NotACollection { path: path.to_owned(), problem })?;
        let Survey { folders, ids, others, variables, has_items, is_collection, .. } = walk.survey.unwrap_or_default();
        if !has_items || !is_collection {
            let problem = "it has no list of items, or says to be of another format".to_owned();
            return Err(StorageError::NotACollection { path: path.to_owned(), problem });
        }
        Ok(Self { path: path.to_owned(), folders, ids, others, variables })
    }

    /// Whether it has an item. One without an id counts once.
    pub(super) fn has(&mut self, item: &Value) -> bool {
        if item["id"].as_str().is_some_and(|id| self.ids.contains(&fingerprint(id.as_bytes()))) {
            return true;
        }
        if self.others.is_empty() {
            return false;
        }
        match self.others.get_mut(&identity(&item["request"])) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    /// Where an item with these folders goes: into the deepest of them that is there.
    pub(super) fn place(&self, folders: Vec<String>) -> Place {
        for depth in (0..=folders.len()).rev() {
            if let Some(&after) = self.folders.get(&folders[..depth]) {
                return Place { after, folders: folders[depth..].to_vec() };
            }
        }
        Place { after: ROOT, folders }
    }

    /// Writes it with the new items and variables.
    pub(super) fn write(self, items: &mut Ahead, variables: Vec<Value>, out: &mut dyn Write) -> io::Result<()> {
        let mut walk = Walk { copy: Some(Copy { items, variables, out, error: None }), ..Walk::default() };
        let done = walk.run(&self.path);
        match walk.copy.and_then(|copy| copy.error) {
            Some(error) => Err(error),
            None => done.map_err(io::Error::other),
        }
    }
}

fn fingerprint(bytes: &[u8]) -> u128 {
    let hash = blake3::hash(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_le_bytes(half)
}

/// What makes two requests the same: method, URL, body.
fn identity(request: &Value) -> u128 {
    let (method, url) = match request {
        Value::String(url) => ("GET", Some(&**url)),
        request => {
            (request["method"].as_str().unwrap_or("GET"), request["url"].as_str().or(request["url"]["raw"].as_str()))
        }
    };
    let body = match &request["body"] {
        Value::Null => String::new(),
        body => {
            let content = body["mode"].as_str().map(|mode| &body[mode]);
            content.unwrap_or(&Value::Null).to_string()
        }
    };
    fingerprint(format!("{method} {} {body}", url.unwrap_or_default()).as_bytes())
}

#[derive(Default)]
struct Survey {
    folders: HashMap<Vec<String>, u32>,
    /// Of each folder around: the folders that ended in it, with their paths from the inside out. A folder's name may
    /// stand behind its items.
    open: Vec<Vec<(Vec<String>, u32)>>,
    ids: HashSet<u128>,
    others: HashMap<u128, u32>,
    variables: Vec<Value>,
    has_items: bool,
    is_collection: bool,
}

impl Survey {
    /// The end of a folder (or item) of this name: what ended in it is known by a longer path from now on.
    fn close(&mut self, name: Option<String>, depth: usize) {
        let inside = self.open.pop().unwrap_or_default();
        if depth == 0 {
            for (mut path, number) in inside {
                path.reverse();
                // Of folders with the same name the first takes what is new.
                self.folders.entry(path).or_insert(number);
            }
        } else if let (Some(name), Some(around)) = (name, self.open.last_mut()) {
            around.extend(inside.into_iter().map(|(mut path, number)| {
                path.push(name.clone());
                (path, number)
            }));
        }
    }
}

struct Copy<'a> {
    items: &'a mut Ahead,
    variables: Vec<Value>,
    out: &'a mut dyn Write,
    error: Option<io::Error>,
}

/// One way through a collection.
#[derive(Default)]
struct Walk<'a> {
    survey: Option<Survey>,
    copy: Option<Copy<'a>>,
    /// Folders that have ended: their numbers.
    ended: u32,
}

impl Walk<'_> {
    fn run(&mut self, path: &Path) -> Result<(), String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut document = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 17, file));
        Element { walk: self, depth: 0 }.deserialize(&mut document).map_err(|error| error.to_string())?;
        document.end().map_err(|error| error.to_string())?;
        self.put(|out| out.write_all(b"\n")).map_err(|()| "cannot write".to_owned())
    }

    /// Writes when this is the copy.
    fn put(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), ()> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        write(copy.out).map_err(|error| copy.error = Some(error))
    }

    /// The end of the items of the folder we are in: its number, and room for new items.
    fn end_of_items(&mut self, depth: usize, is_empty: bool) -> Result<(), ()> {
        let number = if depth == 0 {
            ROOT
        } else {
            self.ended += 1;
            self.ended
        };
        if let Some(survey) = &mut self.survey {
            survey.has_items |= depth == 0;
            if let Some(inside) = survey.open.last_mut() {
                inside.push((Vec::new(), number));
            }
        }
        let indent = 2 + 2 * depth;
        if let Some(copy) = &mut self.copy {
            write_items(copy.items, number, indent, is_empty, copy.out).map_err(|error| copy.error = Some(error))?;
        }
        Ok(())
    }
}

fn stopped<E: serde::de::Error>((): ()) -> E {
    E::custom("writing failed")
}

/// The collection, a folder or an item.
struct Element<'w, 'a> {
    walk: &'w mut Walk<'a>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a collection, a folder or an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { walk, depth } = self;
        let inside = b"\t".repeat(1 + 2 * depth);
        let mut is_first = true;
        let (mut is_folder, mut id, mut request) = (false, None, None);
        let mut variables: Option<Vec<Value>> = None;
        let mut name = None;
        if let Some(survey) = &mut walk.survey {
            survey.open.push(Vec::new());
        }
        walk.put(|out| out.write_all(b"{")).map_err(stopped)?;
        while let Some(key) = members.next_key::<String>()? {
            if depth == 0 && key == "variable" && walk.copy.is_some() {
                variables = Some(members.next_value()?);
                continue;
            }
            walk.put(|out| {
                out.write_all(if std::mem::take(&mut is_first) { b"\n" } else { b",\n" })?;
                out.write_all(&inside)?;
                write!(out, "{}: ", Value::from(key.as_str()))
            })
            .map_err(stopped)?;
            if key == "item" {
                is_folder = true;
                members.next_value_seed(Elements { walk: &mut *walk, depth })?;
                continue;
            }
            let raw: Box<RawValue> = members.next_value()?;
            walk.put(|out| out.write_all(raw.get().as_bytes())).map_err(stopped)?;
            match &*key {
                "name" => name = serde_json::from_str(raw.get()).ok(),
                "variable" if depth == 0 => {
                    if let Some(survey) = &mut walk.survey {
                        survey.variables = serde_json::from_str(raw.get()).map_err(A::Error::custom)?;
                    }
                }
                "id" => id = serde_json::from_str::<String>(raw.get()).ok(),
                "request" if walk.survey.is_some() => request = Some(raw),
                "info" if depth == 0 => {
                    let info: Value = serde_json::from_str(raw.get()).map_err(A::Error::custom)?;
                    let schema = info["schema"].as_str().unwrap_or("/v2.");
                    if let Some(survey) = &mut walk.survey {
                        survey.is_collection = schema.contains("/v2.");
                    }
                }
                _ => {}
            }
        }
        if let Some(survey) = &mut walk.survey {
            survey.close(name, depth);
        }
        if let Some(survey) = &mut walk.survey
            && !is_folder
        {
            match (id, request) {
                (Some(id), _) => drop(survey.ids.insert(fingerprint(id.as_bytes()))),
                (None, Some(request)) => {
                    let request: Value = serde_json::from_str(request.get()).map_err(A::Error::custom)?;
                    *survey.others.entry(identity(&request)).or_default() += 1;
                }
                (None, None) => {}
            }
        }
        if depth == 0 {
            write_variables(walk, variables, is_first).map_err(stopped)?;
        }
        walk.put(|out| {
            out.write_all(b"\n")?;
            out.write_all(&inside[1..])?;
            out.write_all(b"}")
        })
        .map_err(stopped)
    }
}

/// The collection's variables with the new ones that it does not have.
fn write_variables(walk: &mut Walk<'_>, old: Option<Vec<Value>>, is_first: bool) -> Result<(), ()> {
    let Some(copy) = &mut walk.copy else { return Ok(()) };
    let new = std::mem::take(&mut copy.variables);
    if old.is_none() && new.is_empty() {
        return Ok(());
    }
    let mut all = old.unwrap_or_default();
    for variable in new {
        if !all.iter().any(|old| old["key"] == variable["key"]) {
            all.push(variable);
        }
    }
    let text = Value::from(all).to_string();
    walk.put(|out| write!(out, "{}\n\t\"variable\": {text}", if is_first { "" } else { "," }))
}

/// The items of a folder.
struct Elements<'w, 'a> {
    walk: &'w mut Walk<'a>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Elements<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { walk, depth } = self;
        let indent = b"\t".repeat(2 + 2 * depth);
        let mut count = 0_u64;
        walk.put(|out| out.write_all(b"[")).map_err(stopped)?;
        loop {
            let next = Next { walk: &mut *walk, depth: depth + 1, indent: &indent, is_first: count == 0 };
            if elements.next_element_seed(next)?.is_none() {
                break;
            }
            count += 1;
        }
        walk.end_of_items(depth, count == 0).map_err(stopped)?;
        walk.put(|out| {
            out.write_all(b"\n")?;
            out.write_all(&indent[1..])?;
            out.write_all(b"]")
        })
        .map_err(stopped)
    }
}

/// An element with what stands before it.
struct Next<'w, 'a> {
    walk: &'w mut Walk<'a>,
    depth: usize,
    indent: &'w [u8],
    is_first: bool,
}

impl<'de> DeserializeSeed<'de> for Next<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { walk, depth, indent, is_first } = self;
        walk.put(|out| {
            out.write_all(if is_first { b"\n" } else { b",\n" })?;
            out.write_all(indent)
        })
        .map_err(stopped)?;
        Element { walk, depth }.deserialize(deserializer)
    }
}
