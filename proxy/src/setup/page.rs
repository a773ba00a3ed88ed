//! The HTML of the set-up page.
//!
//! In: the CA, the proxy's addresses, the User-Agent. Out: one page that needs nothing from elsewhere; the sections of
//! the platforms it is shown on come open and first.

use super::{SetupContext, platforms, qr};
use crate::ca::PKCS12_PASSWORD;

/// The page.
pub(super) fn html(context: &SetupContext<'_>, user_agent: &str) -> String {
    let authority = context.authority;
    let (name, fingerprint) = (escape(authority.name()), authority.fingerprint());
    let address = context.addresses.first();
    let host = address.map_or_else(|| "PROXY-HOST".to_owned(), |address| address.ip().to_string());
    let port = address.map_or(5559, std::net::SocketAddr::port);
    let sections: String = platforms::sections(user_agent, &host, port).collect();
    let addresses: String =
        context.addresses.iter().map(|address| format!("<li><code>{address}</code></li>")).collect();
    let code = address.filter(|address| !address.ip().is_loopback()).and_then(|address| {
        let svg = qr::svg(&format!("http://{address}/"))?;
        Some(format!("<figure>{svg}<figcaption>Scan with a phone on the same network.</figcaption></figure>"))
    });
    let code = code.unwrap_or_default();
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>weir: set up this device</title>
<link rel="stylesheet" href="/page.css">
<script src="/page.js" defer></script>
</head>
<body>
<header>
<h1>Set up this device for weir</h1>
<p>weir records the HTTP and HTTPS traffic of devices that use it as their proxy and trust its certificate.</p>
</header>
<main>
<section id="check" aria-live="polite">
<h2>This device</h2>
<p id="proxied" class="unknown">Whether it uses the proxy is being checked …</p>
<p id="trusted" class="unknown">Whether it trusts the certificate is being checked …</p>
<noscript><p>Without JavaScript: open <a href="https://weir.proxy/trusted">https://weir.proxy/trusted</a>; a page that
says <q>trusted</q> without a warning means that everything is set up.</p></noscript>
</section>
<section id="proxy">
<h2>1. Use the proxy</h2>
<p>Set this HTTP proxy, for both HTTP and HTTPS, in the network settings of the device:</p>
<ul>{addresses}</ul>
{code}
</section>
<section id="certificate">
<h2>2. Trust the certificate</h2>
<p><strong>{name}</strong>, made on the machine weir runs on. Its key stays there. Remove the certificate from the device
when you no longer need it.</p>
<p class="downloads">
<a href="/ca.crt">.crt</a> <a href="/ca.pem">.pem</a> <a href="/ca.p12">.p12</a> <a href="/ca.mobileconfig">iOS profile</a>
</p>
<p>SHA-256 fingerprint, to compare before you trust it (the .p12 has the password <code>{PKCS12_PASSWORD}</code>):</p>
<p class="fingerprint"><code>{fingerprint}</code></p>
{sections}
</section>
</main>
</body>
</html>
"#
    )
}

/// Text as it may stand in HTML, in attributes too.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
