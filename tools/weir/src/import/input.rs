//! Files and pipes to read from, and what they hold.
//!
//! In: the names on the command line. Out: inputs that are known to be there and to be of a kind that weir
//! reads; opened one at a time when it is their turn.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir_engine::source::{Contents, Unpacked};

use super::gauge::Gauge;
use crate::outcome::Usage;

/// How often a pipe without bytes is left to look whether the import is to stop.
const POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Something to read.
#[derive(Debug)]
pub(super) struct Input {
    place: Place,
    /// Bytes it has, where that is known.
    pub(super) size: Option<u64>,
}

#[derive(Debug)]
enum Place {
    StandardInput,
    File(PathBuf),
    /// What cannot be opened twice.
    Pipe(PathBuf),
}

/// What an input holds.
pub(super) enum Opened {
    Capture(Unpacked<'static>),
    Har(Unpacked<'static>),
}

/// Looks whether all files are there and of a kind that weir reads.
pub(super) fn check(files: &[PathBuf]) -> Result<Vec<Input>> {
    if files.iter().filter(|file| is_standard_input(file)).count() > 1 {
        return Err(Usage::new("standard input can be read once; give - once").into());
    }
    files.iter().map(|file| Input::check(file)).collect()
}

fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

impl Input {
    fn check(file: &Path) -> Result<Self> {
        if is_standard_input(file) {
            let stdin = io::stdin();
            if stdin.is_terminal() {
                return Err(Usage::new("standard input is a terminal; pipe a capture into weir import -").into());
            }
            let metadata = File::from(stdin.as_fd().try_clone_to_owned()?).metadata()?;
            let size = metadata.is_file().then_some(metadata.len());
            return Ok(Self { place: Place::StandardInput, size });
        }
        let unreadable =
            |error: io::Error| anyhow!("{} cannot be read: {error}; check its name and permissions", file.display());
        let metadata = std::fs::metadata(file).map_err(unreadable)?;
        if metadata.is_dir() {
            bail!("{} is a folder; give the files in it", file.display());
        }
        if !metadata.is_file() {
            return Ok(Self { place: Place::Pipe(file.to_owned()), size: None });
        }
        let unpacked = Unpacked::new(File::open(file).map_err(unreadable)?)?;
        kind(&unpacked, &file.display().to_string())?;
        Ok(Self { place: Place::File(file.to_owned()), size: Some(metadata.len()) })
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> String {
        match &self.place {
            Place::StandardInput => "standard input".to_owned(),
            Place::File(path) | Place::Pipe(path) => path.display().to_string(),
        }
    }

    /// Opens it; what is read of it shows in `gauge`.
    pub(super) fn open(&self, gauge: &Arc<Gauge>) -> Result<Opened> {
        let file = match &self.place {
            Place::StandardInput => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            Place::File(path) | Place::Pipe(path) => {
                File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?
            }
        };
        let gauge = Arc::clone(gauge);
        let unpacked = Unpacked::new(Counted { file, polled: self.size.is_none(), gauge })?;
        Ok(match kind(&unpacked, &self.name())? {
            Contents::Json => Opened::Har(unpacked),
            _ => Opened::Capture(unpacked),
        })
    }
}

fn kind(unpacked: &Unpacked<'_>, name: &str) -> Result<Contents> {
    match unpacked.contents() {
        Contents::Nothing => bail!("{name} is empty; give a capture file (pcap, pcapng) or a HAR file"),
        Contents::Other => bail!(
            "{name} is neither pcap, pcapng nor HAR (it begins with {:02x?}); give a capture file or a HAR file, \
             plain or in gzip or zstd",
            unpacked.magic()
        ),
        known => Ok(known),
    }
}

/// Reads and counts; of a pipe only what is there, so that the import can be stopped meanwhile.
struct Counted {
    file: File,
    polled: bool,
    gauge: Arc<Gauge>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.polled && !self.is_ready()? {
            // A stop ends a pipe; a pause lets what came before go on.
            return if self.gauge.is_stopped() { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let count = self.file.read(buffer)?;
        self.gauge.add_read(count as u64);
        Ok(count)
    }
}

impl Counted {
    fn is_ready(&self) -> io::Result<bool> {
        if self.gauge.is_stopped() {
            return Ok(false);
        }
        let mut asked = [PollFd::new(&self.file, PollFlags::IN)];
        match poll(&mut asked, Some(&POLL)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
