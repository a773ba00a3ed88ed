//! Programs on the cgroup tree that note which process opens or accepts a TCP connection.
//!
//! In: the two ends of a connection. Out: thread group, name and cgroup of the process at the local end.

use std::{fmt, fs::File, net::SocketAddr, path::Path};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, MapData},
    programs::{CgroupAttachMode, CgroupSockAddr, SockOps},
};

use super::{
    filter::FlowKey,
    object::{BpfError, Object, no_such},
};

/// `struct owner` of `process.bpf.c`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct OwnerValue {
    cgroup: u64,
    process: u32,
    zero: u32,
    name: [u8; 16],
}

// SAFETY: integers and bytes in C's layout, 8 + 4 + 4 + 16 bytes without padding; any bytes are a value.
unsafe impl Pod for OwnerValue {}

/// A process, as it was when it called connect or bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOwner {
    /// Thread group.
    pub pid: u32,
    /// Name of the thread that called.
    pub thread: String,
    /// Number of its cgroup: the inode of the folder in the cgroup2 tree.
    pub cgroup: u64,
}

/// The programs, attached until this is dropped.
pub struct ProcessPrograms {
    _object: Ebpf,
    connections: HashMap<MapData, FlowKey, OwnerValue>,
}

impl fmt::Debug for ProcessPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPrograms").finish_non_exhaustive()
    }
}

const NAME: &str = "process";

impl ProcessPrograms {
    /// Attaches them to a folder of the cgroup2 tree; connections made from now on by processes below it are known.
    ///
    /// # Errors
    /// When weir was built without them, or the kernel does not take them.
    pub fn attach(cgroup: &Path) -> Result<Self, BpfError> {
        let failed = |error: &(dyn std::error::Error + 'static)| BpfError::of(NAME, error);
        let mut object = Object::Process.load()?;
        let folder = File::open(cgroup).map_err(|error| failed(&error))?;
        for name in ["connect4", "connect6", "bind4", "bind6"] {
            let program = object.program_mut(name).ok_or_else(|| no_such(NAME))?;
            let program: &mut CgroupSockAddr = program.try_into().map_err(|error| BpfError::of(NAME, &error))?;
            program.load().map_err(|error| failed(&error))?;
            // A link (Linux 5.7) stands beside those of others whatever the mode, and takes no flags.
            program.attach(&folder, CgroupAttachMode::Single).map_err(|error| failed(&error))?;
        }
        let program = object.program_mut("socket_event").ok_or_else(|| no_such(NAME))?;
        let program: &mut SockOps = program.try_into().map_err(|error| BpfError::of(NAME, &error))?;
        program.load().map_err(|error| failed(&error))?;
        program.attach(&folder, CgroupAttachMode::Single).map_err(|error| failed(&error))?;
        let connections = object.take_map("connections").ok_or_else(|| no_such(NAME))?;
        let connections = connections.try_into().map_err(|error| BpfError::of(NAME, &error))?;
        Ok(Self { _object: object, connections })
    }

    /// Whose the socket at `local` is that is connected to `remote`.
    #[must_use]
    pub fn owner(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketOwner> {
        let value = self.connections.get(&FlowKey::new(local, remote), 0).ok()?;
        let len = value.name.iter().position(|byte| *byte == 0).unwrap_or(value.name.len());
        let thread = String::from_utf8_lossy(&value.name[..len]).into_owned();
        Some(SocketOwner { pid: value.process, thread, cgroup: value.cgroup })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{super::test_packets::loaded, *};
    use crate::live::owners::cgroup2;

    #[test]
    fn both_ends_of_a_connection_on_this_host() {
        let Some(cgroup) = cgroup2() else {
            eprintln!("left out: no cgroup2 tree is mounted");
            return;
        };
        let Some(programs) = loaded(ProcessPrograms::attach(&cgroup)) else { return };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A port of its own: the kernel's choice is told to nobody at bind.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().expect("bound").port();
            drop(listener);
            let listener = TcpListener::bind(address.replace(":0", &format!(":{port}"))).expect("binds again");
            let server = listener.local_addr().expect("bound");
            let client_end = TcpStream::connect(server).expect("connects");
            let (server_end, client) = listener.accept().expect("accepts");
            let here = Some(std::process::id());
            assert_eq!(programs.owner(client, server).map(|owner| owner.pid), here, "the client of {address}");
            assert_eq!(programs.owner(server, client).map(|owner| owner.pid), here, "the server of {address}");
            drop((client_end, server_end));
            assert_eq!(programs.owner(client, "192.0.2.1:80".parse().expect("an address")), None);
        }
    }
}
