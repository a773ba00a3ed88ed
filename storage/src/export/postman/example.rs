//! The response of an exchange as a saved example.

use std::io;

use serde_json::{Value, json};
use weir_engine::record::media::{self, Category};

use super::{body::language, object};
use crate::{
    export::{
        cookies,
        feed::Item,
        report::{Reason, Report},
        target::{Beside, ending},
    },
    query::HeaderLine,
};

/// A body in an example.
struct ExampleBody {
    text: Option<String>,
    /// What stands behind the example's name.
    note: Option<String>,
}

/// The example of an exchange; `request` is what it answered.
pub(super) fn example(
    item: &Item,
    request: &Value,
    size: usize,
    beside: &mut Option<Beside>,
    report: &mut Report,
) -> io::Result<Option<Value>> {
    let row = &item.row;
    let Some(status) = row.status else {
        report.note(Reason::NoResponse);
        return Ok(None);
    };
    let essence = media::essence(item.response_header("content-type").as_bytes()).into_owned();
    let body = example_body(item, &essence, size, beside, report)?;
    let phrase = row.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or(phrase(status));
    let name = format!("{status} {phrase}");
    let name = body.note.map_or_else(|| name.trim().to_owned(), |note| format!("{} ({note})", name.trim()));
    let mut document = object([
        ("name", name.into()),
        ("originalRequest", request.clone()),
        ("status", phrase.into()),
        ("code", status.into()),
        ("_postman_previewlanguage", language(Category::of(&essence)).into()),
        ("header", headers(&row.response_headers).into()),
        ("cookie", cookies(item).into()),
        ("body", body.text.into()),
    ]);
    if let Some(us) = row.duration_us {
        document["responseTime"] = us.div_ceil(1000).into();
    }
    Ok(Some(document))
}

fn headers(lines: &[HeaderLine]) -> Vec<Value> {
    let lines = lines.iter().filter(|line| !line.name.starts_with(':'));
    lines.map(|line| json!({"key": line.name, "value": line.value})).collect()
}

fn cookies(item: &Item) -> Vec<Value> {
    let lines = item.row.response_headers.iter().filter(|line| line.name.eq_ignore_ascii_case("set-cookie"));
    let document = |cookie: cookies::SetCookie| {
        let mut document = json!({
            "name": cookie.name,
            "value": cookie.value,
            "domain": cookie.domain.as_deref().unwrap_or(&item.row.domain),
            "path": cookie.path.as_deref().unwrap_or("/"),
            "hostOnly": cookie.domain.is_none(),
            "httpOnly": cookie.http_only,
            "secure": cookie.secure,
            "session": cookie.expires.is_none() && cookie.max_age_s.is_none(),
        });
        if let Some(expires) = cookie.expires {
            document["expires"] = expires.to_string().into();
        }
        if let Some(seconds) = cookie.max_age_s {
            document["maxAge"] = seconds.to_string().into();
        }
        document
    };
    lines.filter_map(|line| cookies::set_cookie(&line.value)).map(document).collect()
}

fn example_body(
    item: &Item,
    essence: &str,
    size: usize,
    beside: &mut Option<Beside>,
    report: &mut Report,
) -> io::Result<ExampleBody> {
    let Some(bytes) = item.response.bytes.as_deref() else {
        let note =
            item.response.reason.map(|reason| format!("{} bytes of body, {}", item.response.size, reason.as_str()));
        return Ok(ExampleBody { text: None, note });
    };
    let is_media = Category::of(essence).is_media() && essence != "image/svg+xml";
    let Some(text) = item.response.text().filter(|_| !is_media) else {
        let what = format!("{} bytes of {}", bytes.len(), if essence.is_empty() { "no media type" } else { essence });
        let note = if let Some(beside) = beside {
            let path = beside.save(&format!("{}-response.{}", item.row.id, ending(essence)), bytes)?;
            format!("{what}, saved as {path}")
        } else {
            report.note(Reason::ExampleBinary);
            what
        };
        return Ok(ExampleBody { text: None, note: Some(note) });
    };
    if text.len() <= size {
        let note = item.response.reason.map(|reason| reason.as_str().to_owned());
        return Ok(ExampleBody { text: Some(text.to_owned()), note });
    }
    report.note(Reason::ExampleCut);
    let kept = &text[..text.floor_char_boundary(size)];
    let note = format!("the first {} of {} bytes of body", kept.len(), text.len());
    Ok(ExampleBody { text: Some(kept.to_owned()), note: Some(note) })
}

/// Reason phrases (RFC 9110 §15): HTTP/2 has none, Postman shows one.
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        410 => "Gone",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "",
    }
}
