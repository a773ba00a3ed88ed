//! Which process, and which container, of this host a connection belongs to.
//!
//! - [`sockets`]: the kernel's tables (sock_diag) and `/proc`: what was open before weir came, and all there is where eBPF is not.
//! - [`container`]: names of containers in the paths of cgroups.
//! - here: both asked in turn, with what was found kept for a moment.
//!
//! In: the ends of a connection. Out: an [`Owner`].

pub mod container;
pub mod sockets;

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use self::sockets::SocketTable;
use super::bpf::{BpfError, ProcessPrograms};
use crate::shard::{Owner, Owners};

/// The tables are read anew at most so often.
const REFRESH: Duration = Duration::from_millis(250);
/// Names kept at most.
const MAX_NAMES: usize = 4_096;

/// Asks the programs first, then the kernel's tables.
#[derive(Debug)]
pub struct HostOwners {
    programs: Option<ProcessPrograms>,
    cgroup: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    table: SocketTable,
    read: Instant,
    local: Vec<IpAddr>,
    /// By thread group and the name of the thread that opened the connection: numbers are used again.
    names: HashMap<(u32, String), Arc<str>>,
}

impl HostOwners {
    /// Looks at what is open, and attaches the programs. Without them connections that end quickly stay unknown; the
    /// second value says why.
    #[must_use]
    pub fn new() -> (Self, Option<BpfError>) {
        let cgroup = cgroup2();
        let (programs, error) = match cgroup.as_deref().map(ProcessPrograms::attach) {
            None => (None, None),
            Some(Ok(programs)) => (Some(programs), None),
            Some(Err(error)) => (None, Some(error)),
        };
        let state = State { table: SocketTable::read(), read: Instant::now(), local: local(), names: HashMap::new() };
        (Self { programs, cgroup, state: Mutex::new(state) }, error)
    }

    /// Whose the socket at `local` is that is connected to `remote`.
    fn at(&self, local: SocketAddr, remote: SocketAddr) -> Option<Owner> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.programs.as_ref().and_then(|programs| programs.owner(local, remote)) {
            let key = (found.pid, found.thread);
            if let Some(process) = state.names.get(&key) {
                return Some(Owner { process: Arc::clone(process), pid: found.pid });
            }
            let paths = fs::read_to_string(format!("/proc/{}/cgroup", found.pid)).ok();
            let paths = paths.or_else(|| container::path_of(self.cgroup.as_deref()?, found.cgroup));
            let name = sockets::process_name(found.pid).unwrap_or_else(|| key.1.clone());
            let process = container::labelled(&name, paths.as_deref().unwrap_or_default());
            state.keep(key, &process);
            return Some(Owner { process, pid: found.pid });
        }
        if !local.ip().is_loopback() && !state.local.contains(&local.ip()) {
            return None;
        }
        let pid = state.table.owner(local, remote).or_else(|| {
            // With the programs everything new is known already.
            if self.programs.is_some() || state.read.elapsed() < REFRESH {
                return None;
            }
            state.table = SocketTable::read();
            state.read = Instant::now();
            state.local = self::local();
            state.table.owner(local, remote)
        })?;
        let key = (pid, String::new());
        if let Some(process) = state.names.get(&key) {
            return Some(Owner { process: Arc::clone(process), pid });
        }
        let paths = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let process = container::labelled(&sockets::process_name(pid)?, &paths);
        state.keep(key, &process);
        Some(Owner { process, pid })
    }
}

impl State {
    fn keep(&mut self, key: (u32, String), process: &Arc<str>) {
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.insert(key, Arc::clone(process));
    }
}

impl Owners for HostOwners {
    fn owner(&self, client: SocketAddr, server: SocketAddr) -> Option<Owner> {
        self.at(client, server).or_else(|| self.at(server, client))
    }
}

/// Addresses that sockets of this host can have.
fn local() -> Vec<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    sockets::local_addresses(&v4, &v6)
}

/// Where the cgroup2 tree is mounted.
#[must_use]
pub fn cgroup2() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' '));
    let path = fields.find_map(|mut line| {
        let path = line.nth(1)?;
        (line.next()? == "cgroup2").then_some(path)
    })?;
    // A space in a path is written as \040.
    Some(Path::new(&path.replace("\\040", " ")).to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_of_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let server = listener.local_addr().expect("bound");
        let before = TcpStream::connect(server).expect("connects");
        let (owners, error) = HostOwners::new();
        assert!(!matches!(error, Some(BpfError::Refused { .. })), "{error:?}");
        let client = before.local_addr().expect("connected");
        let owner = owners.owner(client, server).expect("known");
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.process.is_empty());
        assert_eq!(owners.owner("192.0.2.1:5".parse().expect("an address"), server), None);
    }
}
