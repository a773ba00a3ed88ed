//! The machine whose stores are touched: its folders and how programs are run on it.
//!
//! In: paths (the real ones, or temporary ones in tests). Out: programs run to their end with their output.

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A machine's folders.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The root of the file system.
    pub(crate) root: PathBuf,
    /// The user's home.
    pub(crate) home: PathBuf,
    /// Where programs are looked for, in place of the environment's PATH.
    pub(crate) path: Option<OsString>,
}

impl Machine {
    /// This machine, and the home of the user who runs weir; `None` when there is no home.
    pub(crate) fn this() -> Option<Self> {
        let home = std::env::home_dir().filter(|home| home.is_absolute())?;
        Some(Self { root: PathBuf::from("/"), home, path: None })
    }

    /// A path under the root.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs a program to its end with `input` on its standard input. It never asks anything: there is no terminal
    /// on its input.
    pub(crate) fn run(&self, program: &str, arguments: &[&str], input: &str) -> std::io::Result<Output> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input has its reasons, and says so by its status.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    }

    /// The line that installs certutil with the package manager of this machine.
    pub(crate) fn certutil_line(&self) -> String {
        let has = |path: &str| self.at(path).exists();
        match () {
            () if has("/usr/bin/apt-get") => "sudo apt-get install libnss3-tools",
            () if has("/usr/bin/dnf") => "sudo dnf install nss-tools",
            () if has("/usr/bin/pacman") => "sudo pacman -S nss",
            () if has("/usr/bin/zypper") => "sudo zypper install mozilla-nss-tools",
            () => "install certutil, the program of NSS (Debian: libnss3-tools, Fedora: nss-tools)",
        }
        .to_owned()
    }
}

/// A path for a line that users paste into a shell.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@,".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What a failed program said, for an error.
pub(super) fn complaint(program: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let said = if said.is_empty() { output.status.to_string() } else { said.chars().take(400).collect() };
    format!("{program} failed: {said}")
}
