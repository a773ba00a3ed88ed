//! One exchange as an item of a collection.

use std::io;

use serde_json::{Value, json};

use super::{body::body, example::example, object, url};
use crate::{
    export::{
        ExportOptions, GroupFolders,
        feed::Item,
        report::{Reason, Report},
        request::{Request, comment},
        target::Beside,
    },
    session::SessionEntry,
};

/// Bytes of an item's or folder's name at most.
const MAX_NAME: usize = 200;

/// Makes items.
pub(crate) struct ItemMaker {
    session: String,
    group: GroupFolders,
    templates: bool,
    example_size: usize,
    beside: Option<Beside>,
}

/// An item and the folders it belongs into.
#[derive(Debug)]
pub(crate) struct Made {
    /// The item.
    pub(crate) document: Value,
    /// Names of folders, the outermost first; without control characters, never empty.
    pub(crate) folders: Vec<String>,
}

impl ItemMaker {
    /// For a session.
    pub(crate) fn new(session: &SessionEntry, options: &ExportOptions, beside: Option<Beside>) -> Self {
        Self {
            session: session.id.to_string(),
            group: options.group,
            templates: options.templates,
            example_size: options.example_size,
            beside,
        }
    }

    /// Files saved beside the collection.
    pub(crate) fn saved(&self) -> u64 {
        self.beside.as_ref().map_or(0, Beside::saved)
    }

    /// The item of an exchange, or why there is none.
    pub(crate) fn make(&mut self, item: &Item, report: &mut Report) -> io::Result<Result<Made, Reason>> {
        let request = match Request::of(item, report) {
            Ok(request) => request,
            Err(reason) => return Ok(Err(reason)),
        };
        let row = &item.row;
        let endpoint = self.templates.then_some(&*row.endpoint);
        let body = body(item, &request, &mut self.beside, report)?;
        let mut document = object([
            ("method", request.method.into()),
            ("url", url::url(&request, endpoint)),
            ("header", headers(&request, body.makes_content_type).into()),
            ("description", description(item, &self.session, body.note.as_deref()).into()),
        ]);
        let has_body = body.document.is_some();
        if let Some(body) = body.document {
            document["body"] = body;
        }
        let example = example(item, &document, self.example_size, &mut self.beside, report)?;
        let mut made = object([
            ("id", uuid(&[self.session.as_bytes(), &row.id.to_le_bytes()]).into()),
            ("name", name(&request, self.templates.then_some(&row.endpoint)).into()),
            ("request", document),
            ("response", Vec::from_iter(example).into()),
        ]);
        let behavior = behavior(item, &request, has_body);
        if behavior != json!({}) {
            made["protocolProfileBehavior"] = behavior;
        }
        Ok(Ok(Made { document: made, folders: self.folders(item) }))
    }

    fn folders(&self, item: &Item) -> Vec<String> {
        let domain = self.group.domain.then_some(&item.row.domain);
        let endpoint = self.group.endpoint.then_some(&item.row.endpoint);
        let name = |text: &String| match comment(text).trim() {
            "" => "(none)".to_owned(),
            name => cut(name),
        };
        domain.into_iter().chain(endpoint).map(name).collect()
    }
}

fn cut(name: &str) -> String {
    name[..name.floor_char_boundary(MAX_NAME)].to_owned()
}

fn name(request: &Request<'_>, endpoint: Option<&String>) -> String {
    let (_, rest) = request.split_url();
    let target = endpoint.map_or(rest, |endpoint| endpoint);
    cut(&comment(&format!("{} {}", request.method, if target.is_empty() { "/" } else { target })))
}

fn description(item: &Item, session: &str, note: Option<&str>) -> String {
    let row = &item.row;
    let mut text = format!("Request {} of weir session {session}, {}.", row.id, row.started);
    if let Some(error) = &row.error {
        text.push_str(&format!(" It failed: {error}."));
    }
    if let Some(note) = note {
        text.push(' ');
        text.push_str(note);
    }
    text
}

fn headers(request: &Request<'_>, makes_content_type: bool) -> Vec<Value> {
    let fields =
        request.fields.iter().filter(|field| !makes_content_type || !field.name.eq_ignore_ascii_case("content-type"));
    fields
        .map(|field| {
            let mut header = json!({"key": field.name, "value": field.value});
            // Sending a placeholder as a credential helps nobody.
            if field.is_hidden {
                header["disabled"] = true.into();
                header["description"] = "hidden by weir; export with --with-secrets, or fill it in".into();
            }
            header
        })
        .collect()
}

/// What makes Postman send what was sent.
fn behavior(item: &Item, request: &Request<'_>, has_body: bool) -> Value {
    let mut behavior = json!({});
    if has_body && matches!(request.method, "GET" | "HEAD" | "COPY" | "PURGE" | "UNLOCK") {
        behavior["disableBodyPruning"] = true.into();
    }
    // The redirected request was captured too: it has an item of its own.
    if item.row.status.is_some_and(|status| (300..400).contains(&status) && status != 304) {
        behavior["followRedirects"] = false.into();
    }
    if request.fields.iter().any(|field| field.name.eq_ignore_ascii_case("cookie") && !field.is_hidden) {
        behavior["disableCookies"] = true.into();
    }
    if url::needs_exact(&request.url) {
        behavior["disableUrlEncoding"] = true.into();
    }
    behavior
}

/// A UUID that says the same for the same parts (version 8, RFC 9562 §5.8): exports must not differ from run to run.
pub(crate) fn uuid(parts: &[&[u8]]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
