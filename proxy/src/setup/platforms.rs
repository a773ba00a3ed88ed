//! What the set-up page says for each platform.
//!
//! In: the User-Agent, the proxy's host and port. Out: a `<details>` element a platform, those of this device first
//! and open.

/// A platform the page has words for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    Ios,
    Android,
    Windows,
    MacOs,
    Linux,
    Firefox,
    Programs,
}

impl Platform {
    const ALL: [Self; 7] =
        [Self::Ios, Self::Android, Self::Windows, Self::MacOs, Self::Linux, Self::Firefox, Self::Programs];

    /// Those of the device a request comes from, by its User-Agent. Most name several systems; the first that
    /// fits in this order is the real one.
    pub(super) fn of(user_agent: &str) -> Vec<Self> {
        let has = |word: &str| user_agent.contains(word);
        let system = match () {
            () if has("iPhone") || has("iPad") || has("iPod") => Some(Self::Ios),
            () if has("Android") => Some(Self::Android),
            () if has("Windows") => Some(Self::Windows),
            // iPads say this as well since iPadOS 13.
            () if has("Macintosh") => Some(Self::MacOs),
            () if has("Linux") || has("X11") => Some(Self::Linux),
            () => None,
        };
        // Firefox keeps authorities of its own, except on iOS.
        let firefox = (has("Firefox/") && system != Some(Self::Ios)).then_some(Self::Firefox);
        let program = ["curl/", "Wget/", "python", "node", "Java/", "okhttp", "Go-http"];
        let program = program.iter().any(|word| has(word)).then_some(Self::Programs);
        [firefox, system, program].into_iter().flatten().collect()
    }

    fn title(self) -> &'static str {
        match self {
            Self::Ios => "iPhone and iPad",
            Self::Android => "Android",
            Self::Windows => "Windows",
            Self::MacOs => "macOS",
            Self::Linux => "Linux",
            Self::Firefox => "Firefox",
            Self::Programs => "curl, Python, Node, Java and others",
        }
    }

    /// What to do; `PROXY` stands for the proxy's address, `HOST` and `PORT` for its parts.
    fn steps(self) -> &'static str {
        match self {
            Self::Ios => {
                "<ol><li>Settings, Wi-Fi, the (i) of your network, Configure Proxy, Manual: server <code>HOST</code>, port \
                 <code>PORT</code>.</li>\
                 <li>In Safari, open <a href=\"/ca.mobileconfig\">the profile</a> and allow the download.</li>\
                 <li>Settings, General, VPN &amp; Device Management: install the profile.</li>\
                 <li>Settings, General, About, Certificate Trust Settings: switch the certificate on. Without this step \
                 nothing is trusted.</li></ol>\
                 <p>Apps that pin their certificates still refuse; let them through with <code>--passthrough HOST</code> or \
                 <code>--passthrough-pinned</code>.</p>"
            }
            Self::Android => {
                "<ol><li>Settings, Network, the network's details, Proxy, Manual: host <code>HOST</code>, port \
                 <code>PORT</code>.</li>\
                 <li>Download <a href=\"/ca.crt\">ca.crt</a>.</li>\
                 <li>Settings, Security, Encryption &amp; credentials, Install a certificate, <b>CA certificate</b> (not \
                 <q>VPN &amp; app</q>): choose the file. Since Android 11 this works only from the settings.</li></ol>\
                 <p>Chrome trusts it now. <b>Apps do not:</b> since Android 7 an app ignores certificates that users add, \
                 unless it says otherwise. What helps:</p>\
                 <ul><li>In your own app, for debug builds, <code>res/xml/network_security_config.xml</code> with \
                 <code>&lt;network-security-config&gt;&lt;debug-overrides&gt;&lt;trust-anchors&gt;&lt;certificates \
                 src=\"user\"/&gt;&lt;/trust-anchors&gt;&lt;/debug-overrides&gt;&lt;/network-security-config&gt;</code>, named in \
                 the manifest by <code>android:networkSecurityConfig</code>.</li>\
                 <li>On an emulator without Google Play or a rooted device, put the certificate among the system's: its file \
                 name there is <code>$(openssl x509 -subject_hash_old -noout -in ca.pem).0</code>.</li>\
                 <li>Otherwise let the app's hosts through: <code>--passthrough-pinned</code>.</li></ul>"
            }
            Self::Windows => {
                "<ol><li>Settings, Network &amp; internet, Proxy, Manual set-up: <code>HOST</code>, port <code>PORT</code>.</li>\
                 <li>Download <a href=\"/ca.crt\">ca.crt</a>, open it, Install Certificate, Current User, place it in \
                 <b>Trusted Root Certification Authorities</b>. Or: <code>certutil -user -addstore Root ca.crt</code></li></ol>\
                 <p>Edge and Chrome use it at once. Remove it with <code>certmgr.msc</code>.</p>"
            }
            Self::MacOs => {
                "<ol><li>System Settings, Network, your network, Details, Proxies: web proxy and secure web proxy \
                 <code>HOST</code>, port <code>PORT</code>.</li>\
                 <li>Download <a href=\"/ca.pem\">ca.pem</a>, then: <code>security add-trusted-cert -r trustRoot -k \
                 ~/Library/Keychains/login.keychain-db ~/Downloads/weir-proxy-ca.pem</code></li></ol>\
                 <p>Or open it in Keychain Access, and set <q>When using this certificate</q> to <q>Always Trust</q>.</p>"
            }
            Self::Linux => {
                "<p>On the machine weir runs on, <code>weir ca install</code> does all of this. Elsewhere, with \
                 <a href=\"/ca.pem\">ca.pem</a>:</p>\
                 <ul><li>Debian, Ubuntu: <code>sudo cp weir-proxy-ca.pem /usr/local/share/ca-certificates/weir-proxy-ca.crt \
                 &amp;&amp; sudo update-ca-certificates</code></li>\
                 <li>Fedora, RHEL: <code>sudo cp weir-proxy-ca.pem /etc/pki/ca-trust/source/anchors/ &amp;&amp; sudo \
                 update-ca-trust</code></li>\
                 <li>Chromium, Chrome: <code>certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n weir -i weir-proxy-ca.pem</code> \
                 (package libnss3-tools)</li></ul>\
                 <p>Proxy: <code>export http_proxy=http://PROXY https_proxy=http://PROXY</code>, or the desktop's network \
                 settings; Chromium: <code>--proxy-server=PROXY</code>.</p>"
            }
            Self::Firefox => {
                "<p>Firefox keeps certificates of its own. Settings, Privacy &amp; Security, Certificates, View Certificates, \
                 Authorities, Import: <a href=\"/ca.crt\">ca.crt</a>, and tick <q>Trust this CA to identify websites</q>. Or, in \
                 <code>about:config</code>, set <code>security.enterprise_roots.enabled</code> to true, and Firefox takes \
                 what the system trusts.</p>\
                 <p>Proxy: Settings, Network Settings, Manual: <code>HOST</code>, port <code>PORT</code>, also for HTTPS.</p>"
            }
            Self::Programs => {
                "<p>With <a href=\"/ca.pem\">ca.pem</a> in the current folder:</p>\
                 <pre><code>export http_proxy=http://PROXY https_proxy=http://PROXY\n\
                 export SSL_CERT_FILE=$PWD/weir-proxy-ca.pem          # OpenSSL, Go, Ruby\n\
                 export CURL_CA_BUNDLE=$PWD/weir-proxy-ca.pem         # curl\n\
                 export REQUESTS_CA_BUNDLE=$PWD/weir-proxy-ca.pem     # Python requests\n\
                 export NODE_EXTRA_CA_CERTS=$PWD/weir-proxy-ca.pem    # Node\n\
                 curl -x http://PROXY --cacert weir-proxy-ca.pem https://example.com/\n\
                 java -Djavax.net.ssl.trustStore=weir-proxy-ca.p12 -Djavax.net.ssl.trustStorePassword=changeit \\\n     \
                 -Dhttps.proxyHost=HOST -Dhttps.proxyPort=PORT …</code></pre>\
                 <p>Node takes the proxy from the environment since version 24 with <code>NODE_USE_ENV_PROXY=1</code>.</p>"
            }
        }
    }
}

/// The sections in the order they are shown.
pub(super) fn sections(user_agent: &str, host: &str, port: u16) -> impl Iterator<Item = String> {
    let own = Platform::of(user_agent);
    let others = Platform::ALL.into_iter().filter({
        let own = own.clone();
        move |platform| !own.contains(platform)
    });
    let port = port.to_string();
    let in_url = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let host = host.to_owned();
    own.into_iter().map(|platform| (platform, " open")).chain(others.map(|platform| (platform, ""))).map(
        move |(platform, open)| {
            let steps = platform.steps().replace("--passthrough HOST", "--passthrough NAME").replace("PROXY", &in_url);
            let steps = steps.replace("HOST", &host).replace("PORT", &port);
            let steps = steps.replace("--passthrough NAME", "--passthrough HOST");
            format!("<details{open}><summary>{}</summary>{steps}</details>\n", platform.title())
        },
    )
}
