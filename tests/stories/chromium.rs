//! Headless Chromium, with weir's CA in its NSS database, loads a page of dozens of resources.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use weir_tests::{
    Home, Nginx, Process, Weir,
    checks::{ensure_sane_timings, hex, only},
    nginx::Listener,
    process,
};

const STYLES: usize = 10;
const SCRIPTS: usize = 15;
const IMAGES: usize = 20;
const FETCHES: usize = 15;

/// Writes the page and what it loads; paths of everything, the page first.
fn page(nginx: &Nginx) -> Result<Vec<String>> {
    let mut html = String::from("<!doctype html><title>loading</title>\n");
    let mut paths = vec!["/dozens.html".to_owned()];
    let mut add = |path: String, bytes: &str| -> Result<String> {
        nginx.add(&path, bytes.as_bytes())?;
        paths.push(path.clone());
        Ok(path)
    };
    for n in 0..STYLES {
        let path = add(format!("/style-{n}.css"), &format!(".c{n} {{ width: {n}px }}\n").repeat(n + 1))?;
        writeln!(html, "<link rel=stylesheet href={path}>")?;
    }
    for n in 0..SCRIPTS {
        let path = add(format!("/script-{n}.js"), &format!("window.s{n} = {n};\n").repeat(50 * (n + 1)))?;
        writeln!(html, "<script src={path}></script>")?;
    }
    for n in 0..IMAGES {
        let svg = format!("<svg xmlns='http://www.w3.org/2000/svg' width='{n}' height='9'><title>{n}</title></svg>");
        writeln!(html, "<img src={}>", add(format!("/image-{n}.svg"), &svg)?)?;
    }
    for n in 0..FETCHES {
        add(format!("/data-{n}.json"), &format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(n * 100)))?;
    }
    write!(
        html,
        "<script>addEventListener('load', async () => {{
           const got = await Promise.all([...Array({FETCHES}).keys()].map(n => fetch(`/data-${{n}}.json`).then(r => r.json())));
           const scripts = [...Array({SCRIPTS}).keys()].every(n => window['s' + n] === n);
           document.body.innerHTML = `<p id=done>${{got.reduce((sum, g) => sum + g.n, 0)}} ${{scripts}}</p>`;
         }})</script><body></body>"
    )?;
    nginx.add("/dozens.html", html.as_bytes())?;
    Ok(paths)
}

/// A home whose NSS database trusts `ca`.
fn trusting_home(home: &Path, ca: &Path) -> Result<()> {
    let database = home.join(".pki/nssdb");
    fs::create_dir_all(&database)?;
    let place = format!("sql:{}", database.display());
    for arguments in [
        vec!["-N", "-d", &place, "--empty-password"],
        vec!["-A", "-d", &place, "-n", "weir", "-t", "C,,", "-i", ca.to_str().context("path")?],
    ] {
        let output = process::command("certutil").args(&arguments).output().context("run: scripts/setup test")?;
        ensure!(output.status.success(), "certutil {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn loads_a_page_of_dozens_of_resources() -> Result<()> {
    let (home, nginx, user) = (Home::new()?, Nginx::start()?, tempfile::tempdir()?);
    let weir = Weir::start_trusting(&home, &nginx.certificates.authority(), &[])?;
    let paths = page(&nginx)?;
    trusting_home(user.path(), &weir.ca())?;

    let mut command = process::command("chromium");
    command.env("HOME", user.path()).env_remove("XDG_CONFIG_HOME").args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--proxy-bypass-list=<-loopback>",
        "--virtual-time-budget=20000",
        "--timeout=60000",
        "--dump-dom",
    ]);
    command.arg(format!("--user-data-dir={}", user.path().join("profile").display()));
    command.arg(format!("--proxy-server=http://{}", weir.proxy()));
    command.arg(nginx.url(Listener::Tls, "/dozens.html"));
    let browser = Process::start("chromium", command, user.path())?;
    let mut dom = String::new();
    while !dom.contains("</html>") {
        dom.push_str(&browser.line(Duration::from_secs(90)).with_context(|| weir.errors())?);
    }
    ensure!(dom.contains(&format!("<p id=\"done\">{} true</p>", FETCHES * (FETCHES - 1) / 2)), "{dom}");
    drop(browser);

    let session = weir.session().to_owned();
    weir.stop()?;
    let rows = home.requests(&session)?;
    for path in &paths {
        let row = only(&rows, &nginx.url(Listener::Tls, path))?;
        ensure!(row["status"] == 200 && row["protocol"] == "HTTP/2" && row["error"].is_null(), "{row}");
        ensure!(row["response_body"] == hex(&nginx.file(path)?), "{row}");
        ensure_sane_timings(row)?;
    }
    // What nginx answered on its own account is in the session as often.
    let port = nginx.port(Listener::Tls);
    let log = nginx.stop()?;
    let to_nginx = rows.iter().filter(|row| row["port"] == port && row["domain"] == "localhost").count();
    ensure!(to_nginx == log.len(), "{to_nginx} rows, nginx answered {}", log.len());
    Ok(())
}
