//! The receive ring of a packet socket (TPACKET_V3): memory shared with the kernel, block after block.
//!
//! In: a socket. Out: frames where the kernel wrote them; a block is the kernel's again once it was walked over.
//! Layout: <https://docs.kernel.org/networking/packet_mmap.html>.

use std::{
    io,
    mem::{offset_of, size_of},
    os::fd::AsRawFd,
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Release},
    },
};

use super::{LiveFrame, VlanTag, socket::PacketSocket};
use crate::source::{Frame, LinkType};

/// Bytes of a block: room for the largest frames (BIG TCP hands over more than 64 KiB), and for a thousand small ones.
const BLOCK_BYTES: usize = 1 << 20;
/// A block that is not full is handed over after this time. Each costs a turn of three threads, and makes records late by as much.
const RETIRE_MS: u32 = 100;
/// Where `struct sockaddr_ll` stands behind the header of a frame (TPACKET_ALIGN of its size).
const ADDRESS_AT: usize = size_of::<libc::tpacket3_hdr>().next_multiple_of(16);

/// ARPHRD_ numbers of interfaces whose frames begin with an Ethernet header.
const ETHERNET_TYPES: [u16; 2] = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK];
const ARPHRD_IEEE80211: u16 = 801;
const ARPHRD_IEEE80211_RADIOTAP: u16 = 803;

/// How large a ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSize {
    blocks: usize,
}

impl RingSize {
    /// Blocks a ring has at least: one that is filled, one that is read, and two between them.
    const FEWEST: usize = 4;

    /// As many whole blocks as go into so many bytes, four at least.
    #[must_use]
    pub fn of_bytes(bytes: usize) -> Self {
        Self { blocks: (bytes / BLOCK_BYTES).clamp(Self::FEWEST, 4_096) }
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.blocks * BLOCK_BYTES
    }
}

/// A mapped ring.
#[derive(Debug)]
pub(super) struct Ring {
    memory: NonNull<u8>,
    size: RingSize,
    /// The block to be read next.
    next: usize,
}

// SAFETY: the mapping belongs to this value alone, and is not tied to the thread that made it.
unsafe impl Send for Ring {}

impl Ring {
    /// Gives the socket a ring and maps it. The socket is not bound yet.
    pub(super) fn map(socket: &PacketSocket, size: RingSize) -> io::Result<Self> {
        socket.set_packet(libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as i32))?;
        let frame = 1_u32 << 11;
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: size.blocks as u32,
            tp_frame_size: frame,
            tp_frame_nr: (size.bytes() / frame as usize) as u32,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        socket.set_packet(libc::PACKET_RX_RING, &request)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let fd = std::os::fd::AsFd::as_fd(socket).as_raw_fd();
        // SAFETY: a new mapping at an address that the kernel chooses.
        let memory = unsafe { libc::mmap(ptr::null_mut(), size.bytes(), access, kind, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { memory, size, next: 0 })
    }

    /// Where a block's owner is noted.
    fn status(&self, block: usize) -> &AtomicU32 {
        let at = block % self.size.blocks * BLOCK_BYTES
            + offset_of!(libc::tpacket_block_desc, hdr)
            + offset_of!(libc::tpacket_hdr_v1, block_status);
        // SAFETY: inside the mapping, which lives as long as `self`, and aligned; the kernel writes it as one word.
        unsafe { AtomicU32::from_ptr(self.memory.add(at).as_ptr().cast()) }
    }

    /// Whether the next block is ours.
    pub(super) fn is_ready(&self) -> bool {
        self.status(self.next).load(Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Whether three quarters of the blocks wait to be read.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.status(self.next + self.size.blocks * 3 / 4 - 1).load(Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Walks over the next block and gives it back; returns how many frames it had. Zero: it is not ours yet.
    pub(super) fn block(&mut self, take: &mut dyn FnMut(&LiveFrame<'_>)) -> usize {
        if !self.is_ready() {
            return 0;
        }
        let start = self.next * BLOCK_BYTES;
        // SAFETY: inside the mapping; the status, read with acquire, says that the kernel leaves these bytes alone
        // until it is written below, when this borrow has ended.
        let bytes = unsafe { std::slice::from_raw_parts(self.memory.add(start).as_ptr(), BLOCK_BYTES) };
        let frames = Frames::of(bytes);
        let mut count = 0;
        for frame in frames {
            take(&frame);
            count += 1;
        }
        self.status(self.next).store(libc::TP_STATUS_KERNEL, Release);
        self.next = (self.next + 1) % self.size.blocks;
        count
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, of this length; nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.size.bytes()) };
    }
}

/// The frames of a block, one after another.
struct Frames<'a> {
    block: &'a [u8],
    at: usize,
    left: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|half| u16::from_ne_bytes(*half))
}

impl<'a> Frames<'a> {
    fn of(block: &'a [u8]) -> Self {
        let header = offset_of!(libc::tpacket_block_desc, hdr);
        let field = |at| word(block, header + at).unwrap_or(0);
        Self {
            block,
            left: field(offset_of!(libc::tpacket_hdr_v1, num_pkts)),
            at: field(offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt)) as usize,
        }
    }

    /// The frame at the current place.
    fn frame(&self) -> Option<LiveFrame<'a>> {
        use libc::{sockaddr_ll as address, tpacket_hdr_variant1 as variant, tpacket3_hdr as header};
        let record = self.block.get(self.at..)?;
        let status = word(record, offset_of!(header, tp_status))?;
        let seconds = word(record, offset_of!(header, tp_sec))?;
        let nanoseconds = word(record, offset_of!(header, tp_nsec))?;
        let captured = word(record, offset_of!(header, tp_snaplen))? as usize;
        let original = word(record, offset_of!(header, tp_len))?;
        let link_at = usize::from(half(record, offset_of!(header, tp_mac))?);
        let network_at = usize::from(half(record, offset_of!(header, tp_net))?);
        let hardware = half(record, ADDRESS_AT + offset_of!(address, sll_hatype))?;
        let kind = *record.get(ADDRESS_AT + offset_of!(address, sll_pkttype))?;
        let interface = word(record, ADDRESS_AT + offset_of!(address, sll_ifindex))?;
        let end = link_at + captured;
        let (link, start) = match hardware {
            hardware if ETHERNET_TYPES.contains(&hardware) => (LinkType::ETHERNET, link_at),
            ARPHRD_IEEE80211 => (LinkType::IEEE802_11, link_at),
            ARPHRD_IEEE80211_RADIOTAP => (LinkType::IEEE802_11_RADIOTAP, link_at),
            // Tunnels, PPP and what else has no link layer to speak of: from the network layer on.
            _ => (LinkType::RAW, network_at.clamp(link_at, end)),
        };
        let vlan = (status & libc::TP_STATUS_VLAN_VALID != 0).then(|| {
            let at = offset_of!(header, hv1);
            let protocol = half(record, at + offset_of!(variant, tp_vlan_tpid));
            VlanTag {
                protocol: protocol.filter(|_| status & libc::TP_STATUS_VLAN_TPID_VALID != 0).unwrap_or(0x8100),
                control: word(record, at + offset_of!(variant, tp_vlan_tci)).unwrap_or(0) as u16,
            }
        });
        let frame = Frame {
            time_ns: i64::from(seconds) * 1_000_000_000 + i64::from(nanoseconds),
            link,
            data: record.get(start..end)?,
            original_len: original.saturating_sub((start - link_at) as u32),
        };
        let is_loopback_copy = hardware == libc::ARPHRD_LOOPBACK && kind == libc::PACKET_OUTGOING;
        Some(LiveFrame { frame, vlan, interface, is_loopback_copy })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = LiveFrame<'a>;

    fn next(&mut self) -> Option<LiveFrame<'a>> {
        self.left = self.left.checked_sub(1)?;
        let frame = self.frame()?;
        let next = word(self.block, self.at + offset_of!(libc::tpacket3_hdr, tp_next_offset))?;
        self.at += next as usize;
        Some(frame)
    }
}
