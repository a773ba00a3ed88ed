//! Programs of other people that run on Node: Newman, validators of HAR, Postman collections and OpenAPI.
//!
//! They are what the exports are for, and nothing that weir needs: where Node or `tests/node/node_modules` is missing,
//! [`available`] says so and the story leaves that part out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process;

/// The folder of the package.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node");

/// Whether the programs are there; says what is left out when not.
#[must_use]
pub fn available(what: &str) -> bool {
    let has_node = process::command("node").arg("--version").output().is_ok_and(|output| output.status.success());
    let is_there = has_node && Path::new(FOLDER).join("node_modules/newman").is_dir();
    if !is_there {
        eprintln!("left out, {what}: Node or tests/node/node_modules is missing; run: scripts/setup test");
    }
    is_there
}

/// Whether a package that not all stories need is there; says what is left out when not.
#[must_use]
pub fn has_package(package: &str, what: &str) -> bool {
    let is_there = available(what) && Path::new(FOLDER).join("node_modules").join(package).is_dir();
    if !is_there {
        eprintln!("left out, {what}: {package} is missing; run: cd tests/node && npm ci");
    }
    is_there
}

/// A page that a browser shows from a HAR alone, and what it fetches there; see `from_har.js`.
///
/// # Errors
/// When the browser or its driver fails.
pub fn from_har(har: &Path, url: &str, asks: &[&str]) -> Result<Value> {
    let mut command = process::command("node");
    command.arg(Path::new(FOLDER).join("from_har.js")).arg(har).arg(url).args(asks);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Reads a file with `validate.js`; what it found.
///
/// # Errors
/// When the file does not pass; the error carries the validator's words.
pub fn validate(kind: &str, arguments: &[&Path]) -> Result<Value> {
    let output =
        process::command("node").arg(Path::new(FOLDER).join("validate.js")).arg(kind).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{kind} {arguments:?}: {said}");
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{kind}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// The published schema of Postman collections: `WEIR_SCHEMAS`, else next to the working copy; not part of weir.
#[must_use]
pub fn published_schema() -> Option<PathBuf> {
    let named = std::env::var_os("WEIR_SCHEMAS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().skip(2).map(|folder| folder.join("shared/schemas"));
    let found = named
        .into_iter()
        .chain(beside)
        .map(|folder| folder.join("v2.1.0"))
        .find(|folder| folder.join("collection.json").exists());
    if found.is_none() {
        eprintln!("left out: the published collection schema; WEIR_SCHEMAS names the folder that holds v2.1.0/");
    }
    found
}

/// Runs a collection with Newman in `folder`, through a proxy when one is given; the status of each request.
///
/// # Errors
/// When Newman says that something failed.
pub fn newman(collection: &Path, folder: &Path, proxy: Option<&str>) -> Result<Vec<Value>> {
    let mut command = process::command("node");
    command.arg(Path::new(FOLDER).join("newman.js")).arg(collection).arg(folder).current_dir(folder);
    if let Some(proxy) = proxy {
        command.env("HTTP_PROXY", proxy).env("http_proxy", proxy);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "Newman: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
