//! AF_XDP: packets from a card's receive queue, before the host sees them; for mirror ports. It takes the packets away from the host.
//!
//! - [`memory`]: memory and rings shared with the kernel.
//! - here: the sockets of an interface's queues and the program that fills them, as a backend.
//!
//! In: an interface. Out: frames, without a copy where the driver can, else with one.
//! Reference: <https://docs.kernel.org/networking/af_xdp.html>.

mod memory;

use std::{
    fmt, fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use aya::{
    Ebpf,
    maps::{MapData, XskMap},
    programs::{Xdp, xdp::XdpMode},
};

use self::memory::{Descriptor, XdpSocket};
use super::{
    Backend, LiveError, LiveFrame, LiveStatistics,
    bpf::{
        BpfError,
        object::{Object, no_such},
    },
    socket::PacketSocket,
};
use crate::source::{Frame, LinkType};

/// Queues of one interface at most.
const MAX_QUEUES: u32 = 256;
/// Frames handed over in a row.
const BURST: usize = 256;
/// Buffers of one frame at most (64 KiB of them).
const MAX_FRAME: usize = 256 << 10;

const NAME: &str = "xdp_redirect";

/// The program on an interface, until the last of its sockets goes.
struct Redirect {
    _object: Ebpf,
    sockets: Mutex<XskMap<MapData>>,
}

impl Redirect {
    fn attach(interface: u32) -> Result<Self, BpfError> {
        let failed = |error: &(dyn std::error::Error + 'static)| BpfError::of(NAME, error);
        let mut object = Object::XdpRedirect.load()?;
        let program = object.program_mut(NAME).ok_or_else(|| no_such(NAME))?;
        let program: &mut Xdp = program.try_into().map_err(|error| BpfError::of(NAME, &error))?;
        program.load().map_err(|error| failed(&error))?;
        // In the driver where it can, else in the stack.
        if program.attach_to_if_index(interface, XdpMode::Driver).is_err() {
            program.attach_to_if_index(interface, XdpMode::Skb).map_err(|error| failed(&error))?;
        }
        let sockets = object.take_map("sockets").ok_or_else(|| no_such(NAME))?;
        let sockets = Mutex::new(sockets.try_into().map_err(|error| BpfError::of(NAME, &error))?);
        Ok(Self { _object: object, sockets })
    }

    fn give(&self, queue: u32, socket: Option<&XdpSocket>) -> Result<(), BpfError> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        match socket {
            Some(socket) => sockets.set(queue, socket.as_fd().as_raw_fd(), 0),
            None => sockets.unset(queue),
        }
        .map_err(|error| BpfError::of(NAME, &error))
    }
}

/// One receive queue of an interface.
pub struct XdpLine {
    name: String,
    interface: u32,
    queue: u32,
    socket: XdpSocket,
    redirect: Arc<Redirect>,
    filter: Option<pcap::BpfProgram>,
    /// The buffers so far of a frame that takes several.
    gathered: Vec<u8>,
    taken: u64,
    /// Holds the interface in promiscuous mode.
    _promiscuous: Option<Arc<PacketSocket>>,
}

impl fmt::Debug for XdpLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XdpLine").field("name", &self.name).field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl XdpLine {
    /// Takes the packets of all queues of an interface away from the host, `bytes` of memory over all queues. Frames that
    /// `filter` (as libpcap reads it) does not let through are passed over.
    ///
    /// # Errors
    /// When there is no such interface, no memory, or no right to.
    pub fn open(name: &str, bytes: usize, promiscuous: bool, filter: Option<&str>) -> Result<Vec<Self>, LiveError> {
        let index = interface_index(name)?;
        let queues = queues(name);
        let holder = promiscuous.then(|| hold_promiscuous(name, index)).transpose()?;
        let program = |reason: BpfError| LiveError::Xdp { name: name.to_owned(), reason };
        let redirect = Arc::new(Redirect::attach(index).map_err(program)?);
        (0..queues)
            .map(|queue| {
                let socket = XdpSocket::open(index, queue, bytes / queues as usize)
                    .map_err(|error| LiveError::system("an AF_XDP socket on", name, error))?;
                redirect.give(queue, Some(&socket)).map_err(program)?;
                Ok(Self {
                    name: name.to_owned(),
                    interface: index,
                    queue,
                    socket,
                    redirect: Arc::clone(&redirect),
                    filter: filter.map(compile).transpose()?,
                    gathered: Vec::new(),
                    taken: 0,
                    _promiscuous: holder.clone(),
                })
            })
            .collect()
    }

    /// Whether the driver hands over its own buffers.
    #[must_use]
    pub fn is_zero_copy(&self) -> bool {
        self.socket.is_zero_copy()
    }
}

/// Asked of a socket, not of /sys, which may show another network namespace.
fn interface_index(name: &str) -> Result<u32, LiveError> {
    PacketSocket::new()
        .map_err(|error| LiveError::system("a packet socket for", name, error))?
        .index_of(name)
        .map_err(|_| LiveError::NoInterface { name: name.to_owned() })
}

/// A socket that gets no packet itself.
fn hold_promiscuous(name: &str, index: u32) -> Result<Arc<PacketSocket>, LiveError> {
    let failed = |error| LiveError::system("promiscuous mode of", name, error);
    let socket = PacketSocket::new().map_err(failed)?;
    socket.promiscuous(index).map_err(failed)?;
    Ok(Arc::new(socket))
}

/// Receive queues of an interface.
fn queues(name: &str) -> u32 {
    let entries = fs::read_dir(Path::new("/sys/class/net").join(name).join("queues")).into_iter().flatten().flatten();
    let count = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count();
    u32::try_from(count).unwrap_or(MAX_QUEUES).clamp(1, MAX_QUEUES)
}

fn compile(expression: &str) -> Result<pcap::BpfProgram, LiveError> {
    let compiled = pcap::Capture::dead(pcap::Linktype::ETHERNET).and_then(|dead| dead.compile(expression, true));
    compiled.map_err(|error| LiveError::Filter { expression: expression.to_owned(), reason: error.to_string() })
}

impl Backend for XdpLine {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn block(&mut self, take: &mut dyn FnMut(&LiveFrame<'_>)) -> Result<usize, LiveError> {
        let Self { socket, filter, gathered, taken, interface, .. } = self;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let mut frames = 0;
        socket.receive(BURST, &mut |Descriptor { bytes, goes_on }| {
            if goes_on || !gathered.is_empty() {
                let room = MAX_FRAME - gathered.len().min(MAX_FRAME);
                gathered.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            if goes_on {
                return;
            }
            let data = if gathered.is_empty() { bytes } else { &gathered[..] };
            if filter.as_ref().is_none_or(|filter| filter.filter(data)) {
                let frame = Frame { time_ns, link: LinkType::ETHERNET, data, original_len: data.len() as u32 };
                take(&LiveFrame { frame, vlan: None, interface: *interface, is_loopback_copy: false });
                *taken += 1;
                frames += 1;
            }
            gathered.clear();
        });
        Ok(frames)
    }

    fn is_pressed(&mut self) -> bool {
        self.socket.is_nearly_full()
    }

    fn maintain(&mut self) -> Result<(), LiveError> {
        match interface_index(&self.name) {
            Ok(index) if index == self.interface => Ok(()),
            _ => Err(LiveError::NoInterface { name: self.name.clone() }),
        }
    }

    fn close_intake(&mut self) {
        // The host gets its packets again.
        let _ = self.redirect.give(self.queue, None);
    }

    fn statistics(&mut self) -> LiveStatistics {
        let counts = self.socket.statistics();
        let dropped = counts.rx_dropped + counts.rx_ring_full;
        let waiting = u64::from(self.socket.waiting());
        LiveStatistics {
            seen: self.taken + dropped + waiting,
            dropped,
            taken: self.taken,
            freezes: counts.rx_fill_ring_empty_descs,
            ..LiveStatistics::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, process::Command};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn ip(line: &str) -> bool {
        Command::new("ip").args(line.split(' ')).status().is_ok_and(|status| status.success())
    }

    /// A pair of interfaces in a network namespace of this thread, which goes with it. `None`: not to be had here.
    fn pair() -> Option<()> {
        // SAFETY: only this thread, made for the test, sees the other namespace.
        let is_new = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
        let lines = [
            "link add weirxa type veth peer name weirxb",
            "link set weirxa mtu 9000",
            "link set weirxb mtu 9000",
            "link set weirxb address 02:00:00:00:00:0b",
            "addr add 10.9.0.1/24 dev weirxa",
            "neigh add 10.9.0.2 lladdr 02:00:00:00:00:0b dev weirxa",
            "link set weirxa up",
            "link set weirxb up",
        ];
        (is_new && lines.into_iter().all(ip)).then_some(())
    }

    fn receives(filter: Option<&str>) {
        let Some(()) = pair() else {
            eprintln!("left out: no network namespace can be made (needs root and iproute2)");
            return;
        };
        let mut lines = match XdpLine::open("weirxb", 8 << 20, true, filter) {
            Ok(lines) => lines,
            Err(LiveError::Xdp {
                reason: reason @ (BpfError::NotBuilt { .. } | BpfError::NotPermitted { .. }),
                ..
            }) => {
                eprintln!("left out: {reason}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let line = &mut lines[0];
        let socket = UdpSocket::bind("10.9.0.1:7000").expect("binds");
        let sizes = [100_usize, 1_000, 8_000, 60];
        for size in sizes {
            socket.send_to(&vec![size as u8; size], "10.9.0.2:7001").expect("sends");
        }
        let mut got = Vec::new();
        while got.len() < sizes.len() {
            let mut wait = [PollFd::from_borrowed_fd(line.descriptor().expect("open"), PollFlags::IN)];
            let ready = poll(&mut wait, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).expect("polls");
            assert_eq!(ready, 1, "frames come; so far {got:?}");
            let take = &mut |live: &LiveFrame<'_>| {
                let data = live.frame.data;
                // Other frames (neighbour discovery) come too.
                if data.len() > 42 && data[12..14] == [8, 0] && data[23] == 17 {
                    assert!(data[42..].iter().all(|byte| *byte == data[42]), "nothing of another buffer");
                    got.push(data.len() - 42);
                }
            };
            line.block(take).expect("reads");
        }
        assert_eq!(got, sizes);
        let counts = line.statistics();
        assert_eq!(counts.dropped, 0);
        assert_eq!(counts.seen, counts.taken);
        assert!(filter.is_none() || counts.taken == sizes.len() as u64, "the filter leaves out the others");
        line.close_intake();
    }

    #[test]
    fn receives_frames_of_all_sizes() {
        std::thread::spawn(|| receives(None)).join().expect("ends well");
    }

    #[test]
    fn receives_what_the_filter_lets_through() {
        std::thread::spawn(|| receives(Some("udp port 7001"))).join().expect("ends well");
    }

    #[test]
    fn an_interface_that_is_not_there() {
        let error = XdpLine::open("weirnone", 1 << 20, false, None).expect_err("is not there");
        assert!(matches!(error, LiveError::NoInterface { .. }), "{error}");
    }
}
