//! A packet socket (packet(7)): what is attached to it before and while it captures, and what it counted.
//!
//! In: an interface's index, a filter, a fan-out group. Out: a socket that [`ring`](super::ring) maps.
//! The system calls without a safe face elsewhere are here.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with, sockopt};

/// One instruction of a classic BPF program (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a condition holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// What decides in the kernel which frames a socket gets.
#[derive(Debug, Default)]
pub enum SocketFilter {
    /// All of them.
    #[default]
    None,
    /// A classic BPF program.
    Classic(Vec<Instruction>),
    /// A loaded program of type socket filter.
    Ebpf(OwnedFd),
}

/// How a group of sockets shares the frames of an interface.
#[derive(Debug, Default)]
pub enum Fanout {
    /// By the kernel's symmetric hash over the outermost addresses and ports; fragments are put together first.
    #[default]
    Hash,
    /// By a loaded program of type socket filter, which returns the member.
    Ebpf(OwnedFd),
}

/// A fan-out group that sockets of one interface join one after another.
#[derive(Debug, Default)]
pub struct FanoutGroup {
    kind: Fanout,
    /// The interface's index and the group's number that the kernel gave.
    joined: Mutex<Option<(u32, u16)>>,
}

impl FanoutGroup {
    /// A group without members.
    #[must_use]
    pub fn new(kind: Fanout) -> Self {
        Self { kind, joined: Mutex::new(None) }
    }
}

/// A packet socket.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fd: OwnedFd,
}

/// `struct sockaddr_ll`'s protocol for all frames.
const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();
/// Returns 0: no frame.
const REJECT: Instruction = Instruction { code: 6, jump_true: 0, jump_false: 0, operand: 0 };

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl PacketSocket {
    /// A socket that no frame reaches before it is bound.
    pub(super) fn new() -> io::Result<Self> {
        let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { fd })
    }

    /// The index of the interface of this name.
    pub(super) fn index_of(&self, name: &str) -> io::Result<u32> {
        Ok(netdevice::name_to_index(&self.fd, name)?)
    }

    fn set<T: Copy>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        let len = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is readable for `len` bytes during the call; the kernel copies it.
        let result = unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, (&raw const *value).cast(), len) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sets an option of packet(7).
    pub(super) fn set_packet<T: Copy>(&self, option: i32, value: &T) -> io::Result<()> {
        self.set(libc::SOL_PACKET, option, value)
    }

    /// An option of packet(7) made of plain numbers.
    fn get_packet<T: Copy + Default>(&self, option: i32) -> io::Result<T> {
        let mut value = T::default();
        let mut len = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is writable for `len` bytes, and any bytes are a value of the integers and arrays of integers used here.
        let result = unsafe {
            libc::getsockopt(self.fd.as_raw_fd(), libc::SOL_PACKET, option, (&raw mut value).cast(), &raw mut len)
        };
        if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
    }

    /// Lets in what the filter lets in, from now on.
    pub(super) fn attach(&self, filter: &SocketFilter) -> io::Result<()> {
        match filter {
            SocketFilter::None => self.set(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0_i32).or_else(|error| {
                // There was none.
                if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
            }),
            SocketFilter::Classic(program) => self.attach_classic(program),
            SocketFilter::Ebpf(program) => self.set(libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &program.as_raw_fd()),
        }
    }

    fn attach_classic(&self, program: &[Instruction]) -> io::Result<()> {
        let mut program: Vec<libc::sock_filter> = program
            .iter()
            .map(|one| libc::sock_filter { code: one.code, jt: one.jump_true, jf: one.jump_false, k: one.operand })
            .collect();
        let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        // The kernel copies the program during the call, in which it lives.
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &libc::sock_fprog { len, filter: program.as_mut_ptr() })
    }

    /// Lets nothing in.
    pub(super) fn reject_all(&self) -> io::Result<()> {
        self.attach_classic(&[REJECT])
    }

    /// Leaves out what leaves through the interface.
    pub(super) fn ignore_outgoing(&self) -> io::Result<()> {
        self.set_packet(libc::PACKET_IGNORE_OUTGOING, &1_i32)
    }

    /// Has the interface take frames for other machines too, as long as the socket lives.
    pub(super) fn promiscuous(&self, index: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set_packet(libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Begins to take the frames of an interface; 0 is any.
    pub(super) fn bind(&self, index: u32) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ALL_PROTOCOLS,
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is readable for `len` bytes during the call.
        let result = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), len) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Shares the interface's frames with the other sockets of the group. The socket is bound already.
    pub(super) fn join(&self, group: &FanoutGroup, index: u32) -> io::Result<()> {
        let (kind, flags) = match &group.kind {
            Fanout::Hash => (libc::PACKET_FANOUT_HASH, libc::PACKET_FANOUT_FLAG_DEFRAG),
            Fanout::Ebpf(_) => (libc::PACKET_FANOUT_EBPF, 0),
        };
        let mut joined = group.joined.lock().unwrap_or_else(PoisonError::into_inner);
        match *joined {
            Some((of, id)) if of == index => {
                self.set_packet(libc::PACKET_FANOUT, &(u32::from(id) | (kind | flags) << 16))?;
            }
            _ => {
                let wanted = (kind | flags | libc::PACKET_FANOUT_FLAG_UNIQUEID) << 16;
                self.set_packet(libc::PACKET_FANOUT, &wanted)?;
                let got: u32 = self.get_packet(libc::PACKET_FANOUT)?;
                *joined = Some((index, got as u16));
                if let Fanout::Ebpf(program) = &group.kind {
                    self.set_packet(libc::PACKET_FANOUT_DATA, &program.as_raw_fd())?;
                }
            }
        }
        Ok(())
    }

    /// Packets, drops and freezes since the last call.
    pub(super) fn statistics(&self) -> io::Result<[u32; 3]> {
        self.get_packet(libc::PACKET_STATISTICS)
    }

    /// The error that waits on the socket: ENETDOWN when its interface went down.
    pub(super) fn take_error(&self) -> io::Result<()> {
        sockopt::socket_error(&self.fd)?.map_err(io::Error::from)
    }
}
