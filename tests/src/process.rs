//! A child process that cannot outlive its story.
//!
//! In: a command. Out: its lines, its end, and the certainty that nothing is left behind: it leads a
//! process group that is killed on drop, and `setpriv` has the kernel end it when the test dies first.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A running child, its standard output as lines, its standard error in a file.
pub struct Process {
    name: String,
    pid: Pid,
    ended: Receiver<ExitStatus>,
    status: Option<ExitStatus>,
    lines: Receiver<String>,
    log: PathBuf,
}

/// A command whose child gets `SIGTERM` when the thread that starts it ends.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
}

impl Process {
    /// Starts `command`; `folder` takes what it writes to standard error.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.err"));
        let stderr = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}; run: scripts/setup build test"))?;
        let pid = Pid::from_child(&child);
        let stdout = child.stdout.take().context("standard output was piped")?;
        let (line_sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line_sender.send(line).is_err() {
                    break;
                }
            }
        });
        let (end_sender, ended) = channel();
        thread::spawn(move || child.wait().map(|status| end_sender.send(status)));
        Ok(Self { name: name.to_owned(), pid, ended, status: None, lines, log })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The next line of standard output.
    ///
    /// # Errors
    /// When none comes in time; the error carries the end of standard error.
    pub fn line(&self, within: Duration) -> Result<String> {
        self.lines.recv_timeout(within).map_err(|why| {
            let what = match why {
                RecvTimeoutError::Timeout => format!("said nothing for {within:?}"),
                RecvTimeoutError::Disconnected => "ended its output".to_owned(),
            };
            anyhow!("{} {what}; its standard error: {}", self.name, self.errors())
        })
    }

    /// The end of what it wrote to standard error.
    #[must_use]
    pub fn errors(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(4000)..]).into_owned()
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    /// When it has already ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.has_ended() {
            bail!("{} has ended already: {:?}; {}", self.name, self.status, self.errors());
        }
        Ok(kill_process(self.pid, signal)?)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.ended.try_recv().ok();
        }
        self.status.is_some()
    }

    /// Awaits its end.
    ///
    /// # Errors
    /// When it goes on for longer than `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        if self.status.is_none() {
            let status = self.ended.recv_timeout(within);
            self.status =
                Some(status.map_err(|_| anyhow!("{} did not end within {within:?}; {}", self.name, self.errors()))?);
        }
        self.status.context("just set")
    }

    /// Resident memory in KiB, and file descriptors in use.
    ///
    /// # Errors
    /// When `/proc` does not tell, because it has ended.
    pub fn resources(&self) -> Result<(u64, usize)> {
        let folder = PathBuf::from(format!("/proc/{}", self.pid.as_raw_nonzero()));
        let status = std::fs::read_to_string(folder.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib = line.trim().trim_end_matches(" kB").parse()?;
        Ok((kib, std::fs::read_dir(folder.join("fd"))?.count()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.has_ended() {
            // The process may end between the question and the signal; then there is nobody to kill.
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.ended.recv_timeout(Duration::from_secs(5));
        }
    }
}

/// Asks every 10 ms until `ready` says yes: for states of other programs that send no event.
///
/// # Errors
/// When it does not become true within `within`.
pub fn eventually(what: &str, within: Duration, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + within;
    loop {
        if ready()? {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("not within {within:?}: {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}
