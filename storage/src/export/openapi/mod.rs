//! OpenAPI 3.1: what the requests seen say about an API: endpoints, parameters, bodies, security.
//!
//! It merges as it reads: what it holds grows with the number of endpoints, not of requests, and both endpoints and
//! properties are limited; what came after is counted. [`schema`]: the form of JSON values.

mod schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use serde_json::{Map, Value, json};
use weir_engine::record::media::{self, Category};

use self::schema::{Room, Schema};
use super::{
    Format,
    feed::{Body, Item},
    hide::is_secret_name,
    pairs,
    path_template::{Segment, segments},
    report::{Reason, Report},
    request::Request,
};
use crate::session::SessionEntry;

/// Operations at most.
const MAX_OPERATIONS: usize = 5000;
/// Properties of all schemas at most.
const MAX_PROPERTIES: usize = 100_000;
/// Parameters of one operation; media types of one body; servers of one path.
const MAX_MEMBERS: usize = 50;
/// Bytes of an example, and of all of them.
const MAX_EXAMPLE: usize = 16 << 10;
const MAX_EXAMPLES: usize = 8 << 20;
/// Bytes of a body that are worth parsing.
const MAX_PARSED: usize = 2 << 20;

/// Methods that a path item has (OpenAPI 3.1 §4.8.9).
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Writes a document.
pub(crate) struct OpenApi {
    session: SessionEntry,
    paths: BTreeMap<String, Path>,
    operations: usize,
    security: BTreeMap<String, Value>,
    room: Room,
    examples: Examples,
}

#[derive(Default)]
struct Path {
    servers: BTreeSet<String>,
    methods: BTreeMap<String, Operation>,
}

#[derive(Default)]
struct Operation {
    count: u64,
    tags: BTreeSet<String>,
    path: BTreeMap<String, Schema>,
    query: BTreeMap<String, Parameter>,
    headers: BTreeMap<String, Parameter>,
    bodies: u64,
    request: BTreeMap<String, Content>,
    responses: BTreeMap<u16, BTreeMap<String, Content>>,
    /// Ways of authentication, each a set of schemes; the empty one: without.
    security: BTreeSet<BTreeSet<String>>,
}

#[derive(Default)]
struct Parameter {
    schema: Schema,
    /// Requests that had it; whether one had it twice.
    seen: u64,
    is_list: bool,
}

#[derive(Default)]
struct Content {
    schema: Option<Schema>,
    /// Text of other kinds, or bytes.
    is_binary: bool,
    example: Option<Value>,
}

impl OpenApi {
    /// Of a session.
    pub(crate) fn new(session: &SessionEntry, example_size: usize) -> Self {
        Self {
            session: session.clone(),
            paths: BTreeMap::new(),
            operations: 0,
            security: BTreeMap::new(),
            room: Room { properties: MAX_PROPERTIES, is_full: false },
            examples: Examples { each: example_size.min(MAX_EXAMPLE), room: MAX_EXAMPLES },
        }
    }

    fn add(&mut self, item: &Item, request: &Request<'_>, report: &mut Report) -> Result<(), Reason> {
        let method = request.method.to_ascii_lowercase();
        if !METHODS.contains(&&*method) {
            return Err(Reason::Method);
        }
        let row = &item.row;
        let parts = segments(&row.path, &row.endpoint);
        let path = path_text(&parts);
        let is_new = self.paths.get(&path).is_none_or(|path| !path.methods.contains_key(&method));
        if is_new && self.operations >= MAX_OPERATIONS {
            report.note(Reason::SummaryLimit);
            return Err(Reason::SummaryLimit);
        }
        self.operations += usize::from(is_new);
        let way = self.security_of(request);
        let sent = Seen::of(&item.request, item.request_header("content-type"));
        let received = Seen::of(&item.response, item.response_header("content-type"));
        let path = self.paths.entry(path).or_default();
        if path.servers.len() < MAX_MEMBERS {
            let (origin, _) = request.split_url();
            path.servers.insert(without_user(origin));
        }
        let operation = path.methods.entry(method).or_default();
        operation.count += 1;
        operation.tags.insert(row.domain.clone());
        for part in parts {
            if let Segment::Variable { name, value } = part {
                operation.path.entry(name).or_default().add_parameter(value);
            }
        }
        operation.add_query(&row.query);
        operation.add_headers(request);
        operation.security.insert(way);
        if let Some(sent) = sent {
            operation.bodies += 1;
            sent.add_to(&mut operation.request, &mut self.room, &mut self.examples);
        }
        if let Some(status) = row.status.filter(|status| (100..600).contains(status)) {
            let contents = operation.responses.entry(status).or_default();
            if let Some(received) = received {
                received.add_to(contents, &mut self.room, &mut self.examples);
            }
        } else {
            report.note(Reason::NoResponse);
        }
        Ok(())
    }
}

/// `https://user@host` without the user.
fn without_user(origin: &str) -> String {
    let (scheme, authority) = origin.split_once("://").unwrap_or(("http", origin));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // Braces would be server variables.
    format!("{scheme}://{}", host.replace('{', "%7B").replace('}', "%7D"))
}

fn path_text(parts: &[Segment<'_>]) -> String {
    let mut text = String::new();
    for part in parts {
        text.push('/');
        match part {
            Segment::Literal(literal) => text.push_str(&literal.replace('{', "%7B").replace('}', "%7D")),
            Segment::Variable { name, .. } => {
                text.push('{');
                text.push_str(name);
                text.push('}');
            }
        }
    }
    text
}

impl OpenApi {
    /// The schemes of a request: HTTP authentication and header lines with the name of a credential.
    fn security_of(&mut self, request: &Request<'_>) -> BTreeSet<String> {
        let mut way = BTreeSet::new();
        for field in &request.fields {
            let name = field.name.to_ascii_lowercase();
            let (scheme, document) = if name == "authorization" {
                match field.value.split_once(' ').map(|(scheme, _)| scheme.to_ascii_lowercase()) {
                    Some(scheme) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) && scheme.len() <= 20 => {
                        (format!("{scheme}Auth"), json!({"type": "http", "scheme": scheme}))
                    }
                    _ => ("authorizationHeader".to_owned(), api_key("Authorization")),
                }
            } else if name != "cookie" && is_secret_name(&name) && name.len() <= 60 {
                (format!("header-{}", component_name(&name)), api_key(field.name))
            } else {
                continue;
            };
            if self.security.len() < MAX_MEMBERS || self.security.contains_key(&scheme) {
                self.security.entry(scheme.clone()).or_insert(document);
                way.insert(scheme);
            }
        }
        way
    }

    fn document(&self, report: &Report) -> Value {
        let all: BTreeSet<&String> = self.paths.values().flat_map(|path| &path.servers).collect();
        let mut ids = BTreeSet::new();
        let mut paths = Map::new();
        for (text, path) in &self.paths {
            let mut item = Map::new();
            if all.len() > 1 {
                item.insert("servers".to_owned(), servers(&path.servers));
            }
            for (method, operation) in &path.methods {
                item.insert(method.clone(), operation.document(method, text, &mut ids));
            }
            paths.insert(text.clone(), item.into());
        }
        let mut document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": self.session.name,
                "version": "1.0.0",
                "description": format!("Derived by weir from the traffic of session {}: what was seen, not what is promised. {}", self.session.id, report.comment()),
            },
            "paths": paths,
        });
        if all.len() == 1 {
            document["servers"] = servers(&all.into_iter().cloned().collect());
        }
        if !self.security.is_empty() {
            document["components"] = json!({"securitySchemes": self.security});
        }
        document
    }
}

fn api_key(name: &str) -> Value {
    json!({"type": "apiKey", "in": "header", "name": name})
}

/// Letters, digits and dashes (OpenAPI 3.1 §4.8.7).
fn component_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

fn is_media_type(essence: &str) -> bool {
    essence.len() <= 100
        && essence
            .split_once('/')
            .is_some_and(|(kind, sub)| super::request::is_token(kind) && super::request::is_token(sub))
}

fn servers(servers: &BTreeSet<String>) -> Value {
    servers.iter().map(|url| json!({ "url": url })).collect()
}

/// A form as an object; names that come twice have lists.
fn form(text: &str) -> Value {
    let mut members: Map<String, Value> = Map::new();
    for (name, value) in pairs::pairs(text) {
        let decoded = |text: &str| pairs::percent_decode_text(text, true).unwrap_or_else(|| text.to_owned());
        let value = Value::from(decoded(value.unwrap_or_default()));
        match members.get_mut(&decoded(name)) {
            Some(Value::Array(list)) => list.push(value),
            Some(one) => *one = json!([one.clone(), value]),
            None => drop(members.insert(decoded(name), value)),
        }
    }
    members.into()
}

/// What one body says.
struct Seen {
    media_type: String,
    is_binary: bool,
    /// JSON, or a form as an object.
    value: Option<Value>,
    size: usize,
}

impl Seen {
    fn of(body: &Body, content_type: &str) -> Option<Self> {
        let bytes = body.bytes.as_deref().filter(|bytes| !bytes.is_empty())?;
        let media_type = match &*media::essence(content_type.as_bytes()) {
            essence if is_media_type(essence) => essence.to_owned(),
            _ => "application/octet-stream".to_owned(),
        };
        let value = match body.text() {
            Some(text) if text.len() > MAX_PARSED => None,
            Some(text) if Category::of(&media_type) == Category::Json => serde_json::from_str(text).ok(),
            Some(text) if media_type == "application/x-www-form-urlencoded" => Some(form(text)),
            _ => None,
        };
        Some(Self { media_type, is_binary: body.text().is_none(), value, size: bytes.len() })
    }

    fn add_to(self, contents: &mut BTreeMap<String, Content>, room: &mut Room, examples: &mut Examples) {
        if contents.len() >= MAX_MEMBERS && !contents.contains_key(&self.media_type) {
            room.is_full = true;
            return;
        }
        let content = contents.entry(self.media_type).or_default();
        content.is_binary |= self.is_binary;
        if let Some(value) = self.value {
            content.schema.get_or_insert_default().add(&value, room);
            if content.example.is_none() && self.size <= examples.each && self.size <= examples.room {
                examples.room -= self.size;
                content.example = Some(value);
            }
        }
    }
}

/// Bytes that examples may take.
struct Examples {
    each: usize,
    room: usize,
}

impl Operation {
    fn add_query(&mut self, query: &str) {
        if query.is_empty() {
            return;
        }
        let mut names = BTreeSet::new();
        for (name, value) in pairs::pairs(query) {
            let Some(name) =
                pairs::percent_decode_text(name, true).filter(|name| !name.is_empty() && name.len() <= 200)
            else {
                continue;
            };
            if self.query.len() >= MAX_MEMBERS && !self.query.contains_key(&name) {
                continue;
            }
            let parameter = self.query.entry(name.clone()).or_default();
            let value = value.and_then(|value| pairs::percent_decode_text(value, true)).unwrap_or_default();
            parameter.schema.add_parameter(&value);
            if names.insert(name) { parameter.seen += 1 } else { parameter.is_list = true }
        }
    }

    /// Fields of the application's own; the others say nothing about the API.
    fn add_headers(&mut self, request: &Request<'_>) {
        let mut names = BTreeSet::new();
        for field in &request.fields {
            let name = field.name.to_ascii_lowercase();
            let is_own = name.starts_with("x-") && !is_secret_name(&name) && name.len() <= 60;
            if !is_own || (self.headers.len() >= MAX_MEMBERS && !self.headers.contains_key(&name)) {
                continue;
            }
            let parameter = self.headers.entry(name.clone()).or_default();
            parameter.schema.add_parameter(&field.value);
            parameter.seen += u64::from(names.insert(name));
        }
    }

    fn document(&self, method: &str, path: &str, ids: &mut BTreeSet<String>) -> Value {
        let mut document = json!({
            "operationId": operation_id(method, path, ids),
            "summary": format!("{} {path}", method.to_ascii_uppercase()),
            "description": format!("Seen {} times.", self.count),
            "tags": self.tags,
        });
        let mut parameters = Vec::new();
        for (name, schema) in &self.path {
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema.document()}));
        }
        for (place, found) in [("query", &self.query), ("header", &self.headers)] {
            for (name, parameter) in found {
                let schema = parameter.schema.document();
                let schema = if parameter.is_list { json!({"type": "array", "items": schema}) } else { schema };
                let required = parameter.seen == self.count;
                parameters.push(json!({"name": name, "in": place, "required": required, "schema": schema}));
            }
        }
        if !parameters.is_empty() {
            document["parameters"] = parameters.into();
        }
        if !self.request.is_empty() {
            document["requestBody"] =
                json!({"required": self.bodies == self.count, "content": contents(&self.request)});
        }
        let mut responses = Map::new();
        for (status, content) in &self.responses {
            let mut response = json!({"description": super::postman::phrase(*status)});
            if !content.is_empty() {
                response["content"] = contents(content);
            }
            responses.insert(status.to_string(), response);
        }
        if responses.is_empty() {
            responses.insert("default".to_owned(), json!({"description": "no response was seen"}));
        }
        document["responses"] = responses.into();
        if self.security.iter().any(|way| !way.is_empty()) {
            let way = |way: &BTreeSet<String>| {
                way.iter().map(|scheme| (scheme.clone(), json!([]))).collect::<Map<String, Value>>().into()
            };
            document["security"] = self.security.iter().map(way).collect::<Vec<Value>>().into();
        }
        document
    }
}

fn contents(contents: &BTreeMap<String, Content>) -> Value {
    let document = |content: &Content| {
        let schema = match &content.schema {
            Some(schema) => schema.document(),
            // In 3.1 bytes have an empty schema (OpenAPI 3.1 §4.8.14.4).
            None if content.is_binary => json!({}),
            None => json!({"type": "string"}),
        };
        let mut document = json!({ "schema": schema });
        if let Some(example) = &content.example {
            document["example"] = example.clone();
        }
        document
    };
    contents.iter().map(|(kind, content)| (kind.clone(), document(content))).collect::<Map<String, Value>>().into()
}

fn operation_id(method: &str, path: &str, ids: &mut BTreeSet<String>) -> String {
    let mut id = method.to_owned();
    for word in path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let (first, rest) = word.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
    }
    id.truncate(120);
    let unique = if ids.contains(&id) {
        (2..).map(|number| format!("{id}{number}")).find(|other| !ids.contains(other)).unwrap_or(id)
    } else {
        id
    };
    ids.insert(unique.clone());
    unique
}

impl Format for OpenApi {
    fn exchange(&mut self, item: Item, _out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        let added = match Request::of(&item, report) {
            Ok(request) => self.add(&item, &request, report),
            Err(reason) => Err(reason),
        };
        match added {
            Ok(()) => report.exported += 1,
            // Counted where the limit was met.
            Err(Reason::SummaryLimit) => {}
            Err(reason) => report.note(reason),
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut dyn Write, report: &mut Report) -> io::Result<()> {
        if self.room.is_full {
            report.note(Reason::SummaryLimit);
        }
        serde_json::to_writer_pretty(&mut *out, &self.document(report))?;
        out.write_all(b"\n")
    }
}
