//! The origin that misbehaves on request (`python/origin.py`), in the clear and over TLS.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Certificates, Process, client, process};

/// A running origin, ended on drop.
pub struct Origin {
    process: Process,
    ready: Value,
    _folder: TempDir,
}

impl Origin {
    /// Starts the origin on free ports of the loopback.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(certificates: &Certificates) -> Result<Self> {
        let folder = TempDir::with_prefix("weir-origin-")?;
        let mut command = process::command(client::python());
        command.arg(Path::new(client::HELPERS).join("origin.py"));
        command.arg(certificates.chain("good")).arg(certificates.key("good"));
        let process = Process::start("origin", command, folder.path())?;
        let line = process.line(Duration::from_secs(20))?;
        let ready = serde_json::from_str(&line).context("the origin's ready line")?;
        Ok(Self { process, ready, _folder: folder })
    }

    /// Port of `http`, `https`, `ws`, `wss`, or of `stuck`, a listener that never accepts.
    #[must_use]
    pub fn port(&self, name: &str) -> u16 {
        self.ready[name].as_u64().and_then(|port| port.try_into().ok()).unwrap_or_default()
    }

    /// URL in the clear.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port("http"))
    }

    /// URL over TLS.
    #[must_use]
    pub fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port("https"))
    }

    /// The next line it says: one a request that asks for a report.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn report(&self, within: Duration) -> Result<Value> {
        Ok(serde_json::from_str(&self.process.line(within)?)?)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;
    use crate::client::curl_without_proxy;

    #[test]
    fn behaves_and_misbehaves() -> Result<()> {
        let folder = TempDir::new()?;
        let certificates = Certificates::make(folder.path())?;
        let origin = Origin::start(&certificates)?;
        let echo = curl_without_proxy(&["--data", "hello"], &origin.url("/echo"))?;
        ensure!(echo.text().contains("\"size\": 5"), "{echo:?}");
        let authority = certificates.authority();
        let trust = ["--cacert", authority.to_str().context("path")?];
        ensure!(curl_without_proxy(&trust, &origin.tls_url("/trailers"))?.text() == "hello world");
        ensure!(curl_without_proxy(&[], &origin.url("/bad/short"))?.code == 18);
        ensure!(curl_without_proxy(&[], &origin.url("/bad/silence"))?.code == 52);
        let stuck = format!("http://127.0.0.1:{}/", origin.port("stuck"));
        ensure!(curl_without_proxy(&["--connect-timeout", "1"], &stuck)?.code == 28, "a connect that hangs");
        Ok(())
    }
}
