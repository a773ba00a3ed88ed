//! JSON Schemas merged from the values seen (JSON Schema 2020-12, as OpenAPI 3.1 uses it).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Depth that is looked into.
const MAX_DEPTH: usize = 16;
/// Properties of one object.
const MAX_PROPERTIES: usize = 200;
/// Elements of an array that are looked at.
const MAX_ELEMENTS: usize = 50;
/// Values whose form is checked.
const MAX_FORMAT_LENGTH: usize = 64;

/// Room for schemas: what a document may hold in all.
#[derive(Debug)]
pub(super) struct Room {
    /// Properties that may still be added.
    pub(super) properties: usize,
    /// Whether one was left out.
    pub(super) is_full: bool,
}

/// What values of one place had in common.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema {
    nulls: u64,
    booleans: u64,
    integers: u64,
    numbers: u64,
    strings: u64,
    /// Strings that were UUIDs; dates with times.
    uuids: u64,
    date_times: u64,
    arrays: u64,
    objects: u64,
    items: Option<Box<Schema>>,
    properties: BTreeMap<String, (Schema, u64)>,
}

impl Schema {
    /// Takes a value in.
    pub(super) fn add(&mut self, value: &Value, room: &mut Room) {
        self.add_at(value, 0, room);
    }

    fn add_at(&mut self, value: &Value, depth: usize, room: &mut Room) {
        match value {
            Value::Null => self.nulls += 1,
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) if number.is_f64() => self.numbers += 1,
            Value::Number(_) => self.integers += 1,
            Value::String(text) => self.add_text(text),
            Value::Array(elements) => {
                self.arrays += 1;
                let items = self.items.get_or_insert_default();
                if depth < MAX_DEPTH {
                    elements.iter().take(MAX_ELEMENTS).for_each(|element| items.add_at(element, depth + 1, room));
                }
            }
            Value::Object(members) => {
                self.objects += 1;
                if depth >= MAX_DEPTH {
                    return;
                }
                for (name, value) in members {
                    if !self.properties.contains_key(name) {
                        if self.properties.len() >= MAX_PROPERTIES || room.properties == 0 || name.len() > 200 {
                            room.is_full = true;
                            continue;
                        }
                        room.properties -= 1;
                    }
                    let (schema, seen) = self.properties.entry(name.clone()).or_default();
                    schema.add_at(value, depth + 1, room);
                    *seen += 1;
                }
            }
        }
    }

    /// Takes in a text, as of a parameter: numbers and booleans are seen as such.
    pub(super) fn add_parameter(&mut self, text: &str) {
        match text {
            "true" | "false" => self.booleans += 1,
            // Leading zeros mean something to somebody.
            _ if text.len() < 18 && text.parse::<i64>().is_ok_and(|number| number.to_string() == text) => {
                self.integers += 1;
            }
            _ => self.add_text(text),
        }
    }

    fn add_text(&mut self, text: &str) {
        self.strings += 1;
        if text.len() <= MAX_FORMAT_LENGTH {
            self.uuids += u64::from(is_uuid(text));
            self.date_times += u64::from(is_date_time(text));
        }
    }

    /// As a document.
    pub(super) fn document(&self) -> Value {
        let mut document = Map::new();
        let types = [
            ("null", self.nulls > 0),
            ("boolean", self.booleans > 0),
            ("integer", self.integers > 0 && self.numbers == 0),
            ("number", self.numbers > 0),
            ("string", self.strings > 0),
            ("array", self.arrays > 0),
            ("object", self.objects > 0),
        ];
        let types: Vec<&str> = types.into_iter().filter_map(|(name, is_seen)| is_seen.then_some(name)).collect();
        match types.as_slice() {
            [] => {}
            [one] => drop(document.insert("type".to_owned(), json!(one))),
            several => drop(document.insert("type".to_owned(), json!(several))),
        }
        if self.strings > 0 && self.uuids == self.strings {
            document.insert("format".to_owned(), "uuid".into());
        } else if self.strings > 0 && self.date_times == self.strings {
            document.insert("format".to_owned(), "date-time".into());
        }
        if let Some(items) = &self.items {
            document.insert("items".to_owned(), items.document());
        }
        if !self.properties.is_empty() {
            let properties: Map<String, Value> =
                self.properties.iter().map(|(name, (schema, _))| (name.clone(), schema.document())).collect();
            document.insert("properties".to_owned(), properties.into());
            let required: Vec<&String> =
                self.properties.iter().filter(|(_, (_, seen))| *seen == self.objects).map(|(name, _)| name).collect();
            if !required.is_empty() {
                document.insert("required".to_owned(), json!(required));
            }
        }
        document.into()
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_date_time(text: &str) -> bool {
    text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T') && text.parse::<crate::time::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_merge() {
        let mut schema = Schema::default();
        let mut room = Room { properties: 100, is_full: false };
        for value in [json!({"a": 1, "b": [1, 2.5], "c": null}), json!({"a": 2, "b": [], "c": "x", "d": {"e": true}})] {
            schema.add(&value, &mut room);
        }
        assert_eq!(
            schema.document(),
            json!({"type": "object", "required": ["a", "b", "c"], "properties": {
                "a": {"type": "integer"},
                "b": {"type": "array", "items": {"type": "number"}},
                "c": {"type": ["null", "string"]},
                "d": {"type": "object", "properties": {"e": {"type": "boolean"}}, "required": ["e"]},
            }})
        );
        let mut text = Schema::default();
        text.add(&json!("550e8400-e29b-41d4-a716-446655440000"), &mut room);
        assert_eq!(text.document(), json!({"type": "string", "format": "uuid"}));
        let mut parameter = Schema::default();
        ["7", "true"].iter().for_each(|text| parameter.add_parameter(text));
        assert_eq!(parameter.document(), json!({"type": ["boolean", "integer"]}));
    }

    #[test]
    fn depth_and_width_are_bounded() {
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!({ "x": [deep] });
        }
        let wide: Map<String, Value> = (0..1000).map(|number| (number.to_string(), json!(1))).collect();
        let mut room = Room { properties: 250, is_full: false };
        let mut schema = Schema::default();
        schema.add(&deep, &mut room);
        schema.add(&wide.into(), &mut room);
        assert!(room.is_full && schema.properties.len() <= MAX_PROPERTIES);
        assert!(schema.document().to_string().len() < 20_000);
    }
}
