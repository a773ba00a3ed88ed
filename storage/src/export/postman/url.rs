//! The `url` of a request: the text, and its parts as Postman's editor shows them.

use serde_json::{Map, Value, json};

use crate::export::{
    pairs::{pairs, percent_decode_text},
    path_template::{Segment, segments},
    request::Request,
};

/// The parts of a URL, and the text with path variables when those are asked for.
pub(super) fn url(request: &Request<'_>, endpoint: Option<&str>) -> Value {
    let (origin, rest) = request.split_url();
    let (scheme, authority) = origin.split_once("://").unwrap_or(("http", origin));
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let (user, host_port) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let (host, port) = split_port(host_port);
    let mut document = Map::new();
    document.insert("protocol".to_owned(), scheme.into());
    let labels: Vec<&str> = if host.starts_with('[') { vec![host] } else { host.split('.').collect() };
    document.insert("host".to_owned(), labels.into());
    if let Some(port) = port {
        document.insert("port".to_owned(), port.into());
    }
    if let Some(user) = user {
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let text = |part: &str| percent_decode_text(part, false).unwrap_or_else(|| part.to_owned());
        document.insert("auth".to_owned(), json!({"user": text(user), "password": text(password)}));
    }
    let mut raw_path = path.to_owned();
    if !path.is_empty() {
        let (segments, variables) = path_parts(path, endpoint);
        raw_path = format!("/{}", segments.join("/"));
        document.insert("path".to_owned(), segments.into());
        if !variables.is_empty() {
            document.insert("variable".to_owned(), variables.into());
        }
    }
    if let Some(query) = query {
        let pair = |(key, value): (&str, Option<&str>)| json!({"key": key, "value": value});
        document.insert("query".to_owned(), pairs(query).map(pair).collect());
    }
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    document.insert("raw".to_owned(), format!("{origin}{raw_path}{query}").into());
    document.into()
}

/// Segments as Postman writes them, and the variables among them. A captured segment that begins with a colon would
/// be a variable: it becomes one, with itself as the value.
fn path_parts(path: &str, endpoint: Option<&str>) -> (Vec<String>, Vec<Value>) {
    let mut texts = Vec::new();
    let mut variables: Vec<Value> = Vec::new();
    for segment in segments(path, endpoint.unwrap_or_default()) {
        match segment {
            Segment::Literal(text) => {
                // What follows a dot is no part of the name.
                let name = text.strip_prefix(':').map(|name| name.split('.').next().unwrap_or(name));
                if let Some(name) = name.filter(|name| !name.is_empty())
                    && !variables.iter().any(|variable| variable["key"] == name)
                {
                    variables.push(json!({"key": name, "value": format!(":{name}")}));
                }
                texts.push(text.to_owned());
            }
            Segment::Variable { name, value } => {
                variables.push(json!({"key": name, "value": value}));
                texts.push(format!(":{name}"));
            }
        }
    }
    (texts, variables)
}

fn split_port(host_port: &str) -> (&str, Option<&str>) {
    match host_port.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') =>
        {
            (host, Some(port))
        }
        _ => (host_port, None),
    }
}

/// Whether Postman, left to itself, would encode a character of the URL that the client did not.
pub(super) fn needs_exact(url: &str) -> bool {
    url.is_ascii() && url.bytes().any(|byte| b"\"<>'`{}|\\^".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::export::feed::Body;

    fn of(text: &'static str, endpoint: Option<&str>) -> Value {
        let body = Body::default();
        url(&Request { method: "GET", url: Cow::Borrowed(text), fields: Vec::new(), body: &body }, endpoint)
    }

    #[test]
    fn parts() {
        let document = of("https://api.example.com:8443/a/:b//c?x=1&x=&y&=z&", None);
        assert_eq!(document["host"], json!(["api", "example", "com"]));
        assert_eq!(document["port"], "8443");
        assert_eq!(document["path"], json!(["a", ":b", "", "c"]));
        assert_eq!(document["variable"], json!([{"key": "b", "value": ":b"}]));
        assert_eq!(document["query"][1], json!({"key": "x", "value": ""}));
        assert_eq!(document["query"][2], json!({"key": "y", "value": null}));
        assert_eq!(document["query"].as_array().map(Vec::len), Some(5));
        let v6 = of("http://u:p%40@[::1]:80?", None);
        assert_eq!((&v6["host"], &v6["port"]), (&json!(["[::1]"]), &json!("80")));
        assert_eq!(v6["auth"], json!({"user": "u", "password": "p@"}));
        let template = of("http://a/users/17?q", Some("/users/{id}"));
        assert_eq!(template["raw"], "http://a/users/:userId?q");
        assert_eq!(template["variable"], json!([{"key": "userId", "value": "17"}]));
    }
}
