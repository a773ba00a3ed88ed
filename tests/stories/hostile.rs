//! Hostile content: what apps and servers send must neither steer the terminal nor break a command.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::{
    Home, Weir,
    client::{Raw, curl},
};

/// An answer full of what must not reach a terminal, as far as a proxy lets it through: controls only in the body.
const ANSWER: &[u8] = b"HTTP/1.1 200 caf\xe9\r\nContent-Type: text/html; charset=\"x\"\r\n\
Set-Cookie: evil=\xff\xfe; Path=/../..\r\nSet-Cookie: =HYPERLINK(\"http://x\"); Domain=com\r\nX-Latin: caf\xe9\r\n\
X-Override: \xe2\x80\xaetxt.exe\r\nX-Template: {{constructor.constructor('return 1')()}}\r\n\
X-Formula: =cmd|' /C calc'!A0\r\nConnection: close\r\n\r\n\
<a>\x1b[2J\x1b]52;c;AAAA\x07\xe2\x80\xaetxt.exe \xff\xfe<b>{{7*7}}</a>";
/// One that no proxy lets through.
const MALFORMED: &[u8] = b"HTTP/1.1 200 O\x1b[31mK\r\nX: \x1b[2J\r\nConnection: close\r\n\r\n\x1b[2J";

fn origin() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => seen.extend_from_slice(&buffer[..read]),
        }
    }
    let malformed = seen.windows(10).any(|window| window == b"/malformed");
    // A client that has gone is no matter of the origin's.
    let _ = stream.write_all(if malformed { MALFORMED } else { ANSWER });
}

#[test]
fn captured_bytes_steer_nothing() -> Result<()> {
    let (home, origin) = (Home::new()?, origin()?);
    let weir = Weir::start(&home, &["--name", "hostile", "--bodies", "all"])?;
    for path in [
        "/plain",
        "/../../../../etc/passwd",
        "/{{x}}/:id/%7B%7By%7D%7D?q={{z}}&=cmd|'%20/C%20calc'!A0",
        "/%00%1b%5b2J/%e2%80%ae/%ff",
    ] {
        let got = curl(
            &weir,
            &["--path-as-is", "--globoff", "--user-agent", "\u{202e}agent"],
            &format!("http://{origin}{path}"),
        )?;
        ensure!(got.status() == 200, "{path}: {got:?}");
    }
    // Bytes that are no UTF-8, and controls, in a field line and in the target.
    let request = [
        format!("GET http://{origin}/raw HTTP/1.1\r\nHost: {origin}\r\nX-Raw: ").as_bytes(),
        b"\xff\xfe\xe9\r\nConnection: close\r\n\r\n",
    ]
    .concat();
    Raw::connect(weir.proxy())?.send(request).rest()?;
    let got = curl(&weir, &[], &format!("http://{origin}/malformed"))?;
    ensure!(got.status() == 502, "{got:?}");
    // A field line of 10 MB is refused, and the capture goes on.
    let mut huge = format!("GET http://{origin}/huge HTTP/1.1\r\nHost: {origin}\r\nX-Huge: ").into_bytes();
    huge.resize(huge.len() + 10_000_000, b'x');
    huge.extend_from_slice(b"\r\n\r\n");
    let refused = Raw::connect(weir.proxy())?.send(huge).rest()?;
    ensure!(
        refused.is_empty() || refused.starts_with("HTTP/1.1 431") || refused.starts_with("HTTP/1.1 400"),
        "{refused}"
    );
    let got = curl(&weir, &[], &format!("http://{origin}/after"))?;
    ensure!(got.status() == 200, "the capture goes on: {got:?}");
    let session = weir.session().to_owned();
    weir.stop()?;

    let rows = home.requests(&session)?;
    let answered: Vec<&Value> = rows.iter().filter(|row| row["status"] == 200).collect();
    ensure!(answered.len() == 6, "{} rows", answered.len());
    let id = answered[0]["id"].to_string();
    let commands: [&[&str]; 12] = [
        &["requests", "hostile"],
        &["requests", "hostile", "--search", "\u{1b}[2J", "--search-bodies"],
        &["overview", "hostile", "--by", "endpoint", "--by", "domain,endpoint", "--by", "type"],
        &["show", "hostile", &id],
        &["cookies", "hostile", "--refused"],
        &["cookies", "hostile", "--jar", "-"],
        &["devices", "hostile"],
        &["ledger", "hostile"],
        &["sessions"],
        &["session", "show", "hostile"],
        &["diff", "hostile", "hostile"],
        &["jar", "add", "hostile"],
    ];
    for command in commands {
        let output = home.run(command)?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).with_context(|| format!("{command:?} prints no UTF-8"))?;
        let steers = |c: &char| c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}');
        ensure!(!text.chars().any(|c| steers(&c)), "{command:?} prints {text:?}");
        let json = home.run(&[command, &["--json"]].concat())?;
        ensure!(json.status.success(), "{command:?} --json");
        if !command.contains(&"--jar") {
            for line in String::from_utf8(json.stdout)?.lines() {
                serde_json::from_str::<Value>(line).with_context(|| format!("{command:?} prints {line}"))?;
            }
        }
    }
    let body = home.output(&["show", "hostile", &id, "--body", "response"])?;
    ensure!(ANSWER.ends_with(&body) && body.starts_with(b"<a>"), "the bytes themselves are as they were sent");
    // It can be sent again as it is, and deleted.
    let sent = home.run(&["send", "hostile", &id, "--json"])?;
    ensure!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    home.output(&["delete", "hostile", "--url", "{{x}}"])?;
    ensure!(home.requests(&session)?.len() + 1 == rows.len(), "one is gone");
    Ok(())
}
