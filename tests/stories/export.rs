//! What was captured goes into other people's programs, and comes back the same.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::{Certificates, Home, Origin, Weir, checks::header, client::curl, node, process};

/// Bytes that are no text, with all that shells and JSON trip over.
const BINARY: &[u8] = b"\x00\xff'\"\\$(id)`%s\r\n\x1b[31m--\x80";
/// What must never be seen in an export without `--with-secrets`.
const SECRETS: [&str; 6] =
    ["bearer-secret", "cookie-secret", "query-secret", "form-secret", "json-secret", "token-secret"];
/// Every format, with what ends its name; folders have none.
const FORMATS: [(&str, &str); 9] = [
    ("postman", "json"),
    ("har", "har"),
    ("curl", "sh"),
    ("http", "http"),
    ("openapi", "json"),
    ("jsonl", "jsonl"),
    ("csv", "csv"),
    ("postman3", ""),
    ("parquet", ""),
];

/// A captured session and where it came from.
struct Captured {
    home: Home,
    /// Answers as long as the story runs.
    _origin: Origin,
    session: String,
    folder: TempDir,
}

impl Captured {
    /// Requests of every kind that formats treat differently.
    fn make() -> Result<Self> {
        let (home, folder) = (Home::new()?, TempDir::new()?);
        let certificates = Certificates::make(folder.path())?;
        let origin = Origin::start(&certificates)?;
        let weir = Weir::start(&home, &[])?;
        let binary = folder.path().join("binary.dat");
        fs::write(&binary, BINARY)?;
        let data = format!("@{}", binary.display());
        let part = format!("file=@{};filename=../../evil.png;type=image/png", binary.display());
        let asks: [(&[&str], &str); 13] = [
            (&["-H", "X-Own: a b", "-H", "X-Empty;"], "/echo?x=1&x=2&y&z=%7B%7B&&k=1"),
            (
                &["--globoff", "-H", "X-Own: {{$guid}} {{own}}"],
                "/echo/:literal/users/17/{{x}}?tpl={{$randomInt}}&q=it's",
            ),
            (&["--data", "a=1&a=%C3%A9&b=two%20words&password=form-secret"], "/echo/form"),
            (&["--json", r#"{"password":"json-secret","n":[1,2.5,null],"t":"{{x}}"}"#], "/echo/users/17"),
            (&["--json", r#"{"n":[],"deep":{"id":"550e8400-e29b-41d4-a716-446655440000"}}"#], "/echo/users/18"),
            (&["--json", r#"{"query":"query A { b }","variables":{"x":1}}"#], "/echo/graphql"),
            (&["-F", "field=va'l%ue", "-F", &part], "/echo/multipart"),
            (&["--data-binary", &data, "-H", "Content-Type: application/octet-stream", "-X", "PUT"], "/echo/binary"),
            (&["--data-raw", "line one\nline 'two' ### three", "-H", "Content-Type: text/plain"], "/echo/text"),
            (&["-X", "GET", "--data-raw", "body of a GET", "-H", "Content-Type: text/plain"], "/echo/get"),
            (&["-X", "DELETE"], "/echo/users/19"),
            (&["--head"], "/echo/head"),
            (
                &["-H", "Authorization: Bearer bearer-secret", "-H", "Cookie: sid=cookie-secret", "-X", "POST"],
                "/login?key=query-secret",
            ),
        ];
        for (arguments, path) in asks {
            let got = curl(&weir, arguments, &origin.url(path))?;
            ensure!(got.status() == 200, "{path}: {got:?}");
        }
        let session = weir.session().to_owned();
        weir.stop()?;
        Ok(Self { home, _origin: origin, session, folder })
    }

    /// Exports into the folder of the story.
    fn export(&self, format: &str, name: &str, more: &[&str]) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        let place = path.to_str().context("path")?;
        self.home.output(&[&["export", &self.session, "--to", format, "-o", place], more].concat())?;
        Ok(path)
    }
}

/// Every byte of a file, or of the files of a folder in the order of their names.
fn bytes(path: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    if path.is_file() {
        return Ok(BTreeMap::from([(PathBuf::new(), fs::read(path)?)]));
    }
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        for (name, content) in bytes(&entry.path())? {
            files.insert(Path::new(&entry.file_name()).join(name), content);
        }
    }
    Ok(files)
}

/// What two captures of the same requests have in common.
fn essence(row: &Value) -> Value {
    let own = |name: &str| header(row, "request", name).join(",");
    json!({
        "method": row["method"],
        "url": row["url"],
        "body": row["request_body"],
        "own": own("x-own"),
        "type": own("content-type").split(';').next().unwrap_or_default(),
        "authorization": own("authorization"),
        "cookie": own("cookie"),
    })
}

/// The requests of a session without those whose bodies have a boundary chosen anew; those apart.
fn requests(home: &Home, session: &str) -> Result<(Vec<Value>, Vec<Value>)> {
    let rows = home.requests(session)?;
    let (forms, others): (Vec<Value>, Vec<Value>) =
        rows.into_iter().partition(|row| row["url"].as_str().is_some_and(|url| url.contains("/multipart")));
    Ok((others.iter().map(essence).collect(), forms))
}

#[test]
fn the_same_rows_make_the_same_bytes_for_the_owner_alone() -> Result<()> {
    let captured = Captured::make()?;
    let (once, twice) = (captured.folder.path().join("once"), captured.folder.path().join("twice"));
    fs::create_dir(&once)?;
    fs::create_dir(&twice)?;
    for (format, ending) in FORMATS {
        let name = format!("{format}.{ending}");
        let first = captured.export(format, &format!("once/{name}"), &[])?;
        let second = captured.export(format, &format!("twice/{name}"), &[])?;
        // Again over what is there: replaced as a whole.
        captured.export(format, &format!("twice/{name}"), &[])?;
        let (first_bytes, second_bytes) = (bytes(&first)?, bytes(&second)?);
        ensure!(first_bytes == second_bytes, "{format}: two runs differ");
        ensure!(first_bytes.values().any(|content| !content.is_empty()), "{format} is empty");
        let mode = fs::metadata(&first)?.permissions().mode() & 0o777;
        ensure!(mode == if ending.is_empty() { 0o700 } else { 0o600 }, "{format}: {mode:o}");
        // Nothing that could be read by mistake for the real thing.
        for content in first_bytes.values().filter(|_| format != "parquet") {
            for secret in SECRETS {
                ensure!(!String::from_utf8_lossy(content).contains(secret), "{format} tells {secret}");
            }
        }
    }
    for folder in [&once, &twice] {
        let left: Vec<_> =
            fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.file_name())).collect();
        ensure!(left.len() == FORMATS.len(), "{left:?}");
    }
    let open = captured.export("jsonl", "open.jsonl", &["--with-secrets"])?;
    let text = fs::read_to_string(&open)?;
    for secret in SECRETS {
        ensure!(text.contains(secret), "{secret} is missing with --with-secrets");
    }
    ensure!(
        captured
            .home
            .run(&["export", "--to", "parquet", "-o", captured.folder.path().to_str().context("path")?])?
            .status
            .code()
            == Some(1),
        "a folder of somebody's is not replaced"
    );
    ensure!(
        captured.home.run(&["export", "--to", "har", "--templates"])?.status.code() == Some(2),
        "a flag without a meaning"
    );
    Ok(())
}

#[test]
fn other_programs_accept_what_is_exported() -> Result<()> {
    if !node::available("validators") {
        return Ok(());
    }
    let captured = Captured::make()?;
    for more in [&[][..], &["--with-secrets"]] {
        let har = node::validate("har", &[&captured.export("har", "a.har", more)?])?;
        ensure!(har["entries"] == 13 && har["pages"].as_u64() > Some(0), "{har}");
        let openapi = node::validate("openapi", &[&captured.export("openapi", "openapi.json", more)?])?;
        let operations = openapi["operations"].as_array().context("operations")?;
        ensure!(operations.iter().any(|operation| operation == "post /echo/users/{userId}"), "{openapi}");
        let schema = node::published_schema();
        for group in ["none", "domain", "endpoint", "domain,endpoint"] {
            let flags = [more, &["--group-by", group, "--templates"]].concat();
            let file = captured.export("postman", "collection.json", &flags)?;
            let arguments: Vec<&Path> = [Some(&*file), schema.as_deref()].into_iter().flatten().collect();
            let loaded = node::validate("collection", &arguments)?;
            let items = loaded["items"].as_array().context("items")?;
            ensure!(items.len() == 13, "{group}: {loaded}");
            ensure!(items.iter().all(|item| item["responses"] == json!([200])), "{group}: {loaded}");
            let modes: Vec<_> = items.iter().filter_map(|item| item["mode"].as_str()).collect();
            for mode in ["raw", "urlencoded", "formdata", "file", "graphql"] {
                ensure!(modes.contains(&mode), "{mode} is not among {modes:?}");
            }
        }
    }
    let tree = node::validate("yaml", &[&captured.export("postman3", "tree", &["--group-by", "domain,endpoint"])?])?;
    let files = tree.as_object().context("files")?;
    let of_kind = |kind: &str| files.values().filter(|file| file["$kind"] == kind).count();
    ensure!(of_kind("http-request") == 13 && of_kind("http-example") == 13, "{tree}");
    let text = files.values().find(|file| file["body"]["content"] == "line one\nline 'two' ### three");
    ensure!(text.is_some(), "text comes back from YAML as it was: {tree}");
    Ok(())
}

#[test]
fn newman_sends_the_same_requests_again() -> Result<()> {
    if !node::available("Newman") {
        return Ok(());
    }
    let captured = Captured::make()?;
    let files = captured.folder.path().join("files");
    let more = ["--with-secrets", "--files", files.to_str().context("path")?, "--group-by", "none"];
    let collection = captured.export("postman", "collection.json", &more)?;
    // Against the server itself all its requests succeed.
    let statuses = node::newman(&collection, captured.folder.path(), None)?;
    ensure!(statuses.len() == 13 && statuses.iter().all(|status| status == 200), "{statuses:?}");

    // Through the proxy they are the requests that were captured, in the same order.
    let weir = Weir::start(&captured.home, &[])?;
    node::newman(&collection, captured.folder.path(), Some(&format!("http://{}", weir.proxy())))?;
    let again = weir.session().to_owned();
    weir.stop()?;
    let ((before, forms), (after, forms_after)) =
        (requests(&captured.home, &captured.session)?, requests(&captured.home, &again)?);
    ensure!(before.len() == after.len(), "{} and {}", before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        ensure!(before == after, "{before}\n{after}");
    }
    // Newman chooses a boundary of its own; the parts are the same.
    ensure!(forms.len() == 1 && forms_after.len() == 1, "{forms_after:?}");
    let body = captured.home.output(&["show", &again, &forms_after[0]["id"].to_string(), "--body", "request"])?;
    let has = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    ensure!(has(b"va'l%ue") && has(BINARY) && !has(b".."), "{}", String::from_utf8_lossy(&body));
    Ok(())
}

#[test]
fn curl_lines_run_as_pasted() -> Result<()> {
    let captured = Captured::make()?;
    let script = captured.export("curl", "requests.sh", &["--with-secrets"])?;
    let text = fs::read_to_string(&script)?;
    let commands = text.lines().filter(|line| !line.starts_with('#')).count();
    ensure!(commands == 13, "a line a request: {text}");
    let weir = Weir::start(&captured.home, &[])?;
    let mut shell = process::command("sh");
    shell.arg("-e").arg(&script).env("http_proxy", format!("http://{}", weir.proxy()));
    let output = shell.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let again = weir.session().to_owned();
    weir.stop()?;
    let ((before, forms), (after, forms_after)) =
        (requests(&captured.home, &captured.session)?, requests(&captured.home, &again)?);
    ensure!(before == after, "{before:#?}\n{after:#?}");
    // Here even the boundary is the captured one.
    ensure!(forms[0]["request_body"] == forms_after[0]["request_body"], "{forms_after:?}");
    Ok(())
}

/// Where two texts begin to differ.
fn differing(one: &[u8], other: &[u8]) -> String {
    let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    let around = |text: &[u8]| {
        String::from_utf8_lossy(&text[at.saturating_sub(100).min(text.len())..(at + 100).min(text.len())]).into_owned()
    };
    format!("at byte {at}: {} or {}", around(one), around(other))
}

#[test]
fn a_collection_is_merged_into_without_duplicates() -> Result<()> {
    let captured = Captured::make()?;
    let old = captured.folder.path().join("old.json");
    // Somebody's collection: a folder with our domain's name, scripts, a variable, and things weir knows nothing of.
    let document = json!({
        "info": {"name": "mine", "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
        "event": [{"listen": "test", "script": {"exec": ["pm.test('ok')"]}}],
        "item": [
            {"name": "127.0.0.1", "description": "kept", "item": [{"name": "old", "request": {"method": "GET", "url": "http://a/"}}]},
            {"name": "other", "item": []},
        ],
        "variable": [{"key": "x", "value": "somebody's"}],
        "unknown": {"a": [1, 2.50]},
    });
    fs::write(&old, serde_json::to_vec_pretty(&document)?)?;
    let place = old.to_str().context("path")?;
    let merge =
        |session: &str| captured.home.run(&["export", session, "--to", "postman", "--into", place, "--method", "GET"]);
    let said = merge(&captured.session)?;
    ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let merged: Value = serde_json::from_slice(&fs::read(&old)?)?;
    for key in ["info", "event", "unknown"] {
        ensure!(merged[key] == document[key], "{key}: {}", merged[key]);
    }
    let inside = merged["item"][0]["item"].as_array().context("items")?;
    ensure!(inside.len() == 4 && inside[0] == document["item"][0]["item"][0], "{inside:#?}");
    ensure!(
        merged["item"].as_array().map(Vec::len) == Some(2) && merged["item"][1] == document["item"][1],
        "{merged:#}"
    );
    let variables = merged["variable"].as_array().context("variables")?;
    ensure!(
        variables[0]["value"] == "somebody's" && variables.iter().any(|variable| variable["key"] == "$guid"),
        "{variables:?}"
    );

    let once = fs::read(&old)?;
    let said = merge(&captured.session)?;
    ensure!(
        String::from_utf8_lossy(&said.stderr).contains("had them already: 3"),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let twice = fs::read(&old)?;
    ensure!(twice == once, "the second run changes nothing: {}", differing(&once, &twice));

    // Postman leaves ids away when it exports: then method, URL and body decide.
    let mut without_ids = merged.clone();
    for item in without_ids["item"][0]["item"].as_array_mut().context("items")? {
        item.as_object_mut().context("an item")?.remove("id");
    }
    fs::write(&old, serde_json::to_vec(&without_ids)?)?;
    merge(&captured.session)?;
    let again: Value = serde_json::from_slice(&fs::read(&old)?)?;
    ensure!(again == without_ids, "{again:#}");

    // What is no collection is left alone.
    fs::write(&old, "{\"log\": {}}")?;
    let said = merge(&captured.session)?;
    ensure!(said.status.code() == Some(1) && fs::read(&old)? == b"{\"log\": {}}", "{said:?}");
    Ok(())
}
