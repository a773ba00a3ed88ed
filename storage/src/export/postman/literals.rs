//! Captured text that looks like a variable.
//!
//! Postman puts the value of a variable in place of `{{name}}` wherever it stands in a request, and has no way to
//! escape it. What it does have: a variable of the collection whose value is its own name in braces. It is
//! replaced by itself until Postman stops, and so stays as captured; dynamic variables (`{{$guid}}`) too, because the
//! collection's variables come before them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::export::report::{Reason, Report};

/// Names held at most.
const MAX_NAMES: usize = 1000;
/// Bytes of one.
const MAX_NAME: usize = 200;

/// The names seen.
#[derive(Debug, Default)]
pub(super) struct Literals {
    names: BTreeSet<String>,
    /// Variables that a collection has already, with values of its own.
    taken: BTreeSet<String>,
}

impl Literals {
    /// With the variables of an existing collection.
    pub(super) fn beside(variables: &[Value]) -> Self {
        let is_other = |variable: &&Value| variable["key"].as_str().is_some_and(|key| variable["value"] != itself(key));
        let taken = variables.iter().filter(is_other).filter_map(|variable| variable["key"].as_str());
        Self { taken: taken.map(str::to_owned).collect(), names: BTreeSet::new() }
    }

    /// Notes the names in the texts of a request; past the limits the braces are parted.
    pub(super) fn escape(&mut self, value: &mut Value, report: &mut Report) {
        match value {
            Value::String(text) => {
                if let Some(changed) = self.escape_text(text) {
                    report.note(Reason::VariableBroken);
                    *text = changed;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.escape(value, report)),
            Value::Object(members) => members.iter_mut().for_each(|(_, value)| self.escape(value, report)),
            _ => {}
        }
    }

    /// The text when it had to be changed.
    fn escape_text(&mut self, text: &str) -> Option<String> {
        let mut rest = text;
        let mut must_change = false;
        while let Some(end) = rest.find("}}") {
            let before = &rest[..end];
            if let Some(start) = before.rfind('{').filter(|start| before[..*start].ends_with('{')) {
                let name = &before[start + 1..];
                if !name.is_empty() && !name.contains('}') {
                    let fits = name.len() <= MAX_NAME
                        && !self.taken.contains(name)
                        && (self.names.len() < MAX_NAMES || self.names.contains(name));
                    if fits {
                        self.names.insert(name.to_owned());
                    } else {
                        must_change = true;
                    }
                }
            }
            rest = &rest[end + 1..];
        }
        must_change.then(|| text.replace("{{", "{ {"))
    }

    /// Their definitions.
    pub(super) fn variables(&self) -> Vec<Value> {
        let variable = |name: &String| json!({"key": name, "value": itself(name), "description": "captured text, kept as it is by weir"});
        self.names.iter().map(variable).collect()
    }
}

/// `{{name}}`.
fn itself(name: &str) -> String {
    format!("{{{{{name}}}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_postman_finds_them() {
        let mut literals = Literals::default();
        let mut value = json!({"a": "{{x}} {{{y}}} {{}} {z} {{$guid}} {{a}b}}", "b": ["{{ c d }}"]});
        let before = value.clone();
        literals.escape(&mut value, &mut Report::default());
        assert_eq!(value, before);
        assert_eq!(literals.names.iter().map(|name| &**name).collect::<Vec<_>>(), [" c d ", "$guid", "x", "y"]);
        assert_eq!(literals.variables()[1]["value"], "{{$guid}}");
        let mut report = Report::default();
        let mut long = json!(format!("{{{{{}}}}}", "n".repeat(300)));
        literals.escape(&mut long, &mut report);
        assert!(long.as_str().is_some_and(|text| text.starts_with("{ {n")));
        assert_eq!(report.notes[&Reason::VariableBroken], 1);
        let mut beside = Literals::beside(&[json!({"key": "x", "value": "1"}), json!({"key": "y", "value": "{{y}}"})]);
        let mut value = json!(["{{x}}", "{{y}}"]);
        beside.escape(&mut value, &mut report);
        assert_eq!(value, json!(["{ {x}}", "{{y}}"]));
    }
}
