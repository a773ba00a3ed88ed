//! Memory and rings of an AF_XDP socket, shared with the kernel.
//!
//! In: an interface and a queue. Out: what was received, where the kernel or the card wrote it; a buffer is theirs again once
//! it was walked over. Of each ring one side is written by the kernel alone, the other by us alone.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{
        AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Bytes of a buffer; larger frames take several.
const BUFFER: usize = 4_096;
/// Buffers of a socket: enough for a burst, and not more than a quarter of a GiB.
const FEWEST: usize = 1 << 10;
const MOST: usize = 1 << 16;
/// Nothing is sent, but the kernel wants the ring.
const COMPLETIONS: u32 = 64;

/// A part of a frame.
pub(super) struct Descriptor<'a> {
    pub(super) bytes: &'a [u8],
    /// More of the frame follows.
    pub(super) goes_on: bool,
}

/// A mapping that goes with the value.
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize, flags: i32, fd: i32, offset: i64) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?, len })
    }

    /// A word that the kernel reads or writes too.
    fn word(&self, at: u64) -> &AtomicU32 {
        let at = at as usize;
        assert!(at + size_of::<u32>() <= self.len && at.is_multiple_of(size_of::<u32>()), "inside the mapping");
        // SAFETY: inside the mapping and aligned, as was just seen; it lives as long as `self`, and all access is atomic.
        unsafe { AtomicU32::from_ptr(self.start.add(at).as_ptr().cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping, of this length; nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// A ring of entries of `T`: plain integers.
struct Ring {
    mapping: Mapping,
    offsets: libc::xdp_ring_offset,
    size: u32,
}

impl Ring {
    fn map(fd: &OwnedFd, offset: i64, offsets: libc::xdp_ring_offset, size: u32, entry: usize) -> io::Result<Self> {
        let len = offsets.desc as usize + size as usize * entry;
        let mapping = Mapping::new(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)?;
        Ok(Self { mapping, offsets, size })
    }

    fn producer(&self) -> &AtomicU32 {
        self.mapping.word(self.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.mapping.word(self.offsets.consumer)
    }

    fn wants_waking(&self) -> bool {
        self.mapping.word(self.offsets.flags).load(Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// Where entry `number` stands.
    fn entry<T>(&self, number: u32) -> *mut T {
        let at = self.offsets.desc as usize + (number & (self.size - 1)) as usize * size_of::<T>();
        debug_assert!(at + size_of::<T>() <= self.mapping.len, "inside the mapping");
        // SAFETY: inside the mapping: it was made for `size` entries of this type, and the number is taken modulo that.
        unsafe { self.mapping.start.as_ptr().add(at).cast() }
    }
}

/// A bound socket with its memory.
pub(super) struct XdpSocket {
    // Buffers and rings go before the socket does.
    buffers: Mapping,
    fill: Ring,
    received: Ring,
    _completed: Ring,
    fd: OwnedFd,
    is_zero_copy: bool,
}

// SAFETY: the mappings belong to this value alone, and are not tied to the thread that made them.
unsafe impl Send for XdpSocket {}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set<T: Copy>(fd: &OwnedFd, option: i32, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is readable for `len` bytes during the call; the kernel copies it.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, (&raw const *value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `T` consists of integers.
fn get<T: Copy>(fd: &OwnedFd, option: i32) -> io::Result<T> {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes during the call.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value.as_mut_ptr().cast(), &raw mut len) };
    // SAFETY: zeroed before; any bytes are a value of integers.
    if result == 0 { Ok(unsafe { value.assume_init() }) } else { Err(io::Error::last_os_error()) }
}

impl XdpSocket {
    /// A socket on a queue of an interface, with about so many bytes of buffers.
    pub(super) fn open(interface: u32, queue: u32, bytes: usize) -> io::Result<Self> {
        // SAFETY: makes a descriptor from numbers.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave it, to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let count = (bytes / BUFFER).clamp(FEWEST, MOST);
        let count = if count.is_power_of_two() { count } else { count.next_power_of_two() / 2 };
        let size = count as u32;
        let buffers =
            Mapping::new(count * BUFFER, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE, -1, 0)?;
        let memory = libc::xdp_umem_reg {
            addr: buffers.start.as_ptr() as u64,
            len: buffers.len as u64,
            chunk_size: BUFFER as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(&fd, libc::XDP_UMEM_REG, &memory)?;
        set(&fd, libc::XDP_UMEM_FILL_RING, &size)?;
        set(&fd, libc::XDP_UMEM_COMPLETION_RING, &COMPLETIONS)?;
        set(&fd, libc::XDP_RX_RING, &size)?;
        let offsets: libc::xdp_mmap_offsets = get(&fd, libc::XDP_MMAP_OFFSETS)?;
        let number = size_of::<u64>();
        let fill = Ring::map(&fd, libc::XDP_UMEM_PGOFF_FILL_RING as i64, offsets.fr, size, number)?;
        let completed = Ring::map(&fd, libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64, offsets.cr, COMPLETIONS, number)?;
        let received = Ring::map(&fd, libc::XDP_PGOFF_RX_RING, offsets.rx, size, size_of::<libc::xdp_desc>())?;
        for number in 0..size {
            // SAFETY: an entry of ours until the producer passes it below.
            unsafe { fill.entry::<u64>(number).write(u64::from(number) * BUFFER as u64) };
        }
        fill.producer().store(size, Release);
        bind(&fd, interface, queue)?;
        let options: libc::xdp_options = get(&fd, libc::XDP_OPTIONS)?;
        let is_zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        Ok(Self { buffers, fill, received, _completed: completed, fd, is_zero_copy })
    }

    pub(super) fn is_zero_copy(&self) -> bool {
        self.is_zero_copy
    }

    /// Descriptors that wait.
    pub(super) fn waiting(&self) -> u32 {
        self.received.producer().load(Acquire).wrapping_sub(self.received.consumer().load(Relaxed))
    }

    /// Whether three quarters of the buffers hold frames that wait.
    pub(super) fn is_nearly_full(&self) -> bool {
        self.waiting() as usize > self.buffers.len / BUFFER / 4 * 3
    }

    /// Hands over up to `most` descriptors, then gives their buffers back.
    pub(super) fn receive(&mut self, most: usize, take: &mut dyn FnMut(Descriptor<'_>)) {
        let begin = self.received.consumer().load(Relaxed);
        let count = self.waiting().min(most as u32);
        let given = self.fill.producer().load(Relaxed);
        for number in 0..count {
            // SAFETY: an entry that the kernel has passed on: its producer, read with acquire, is beyond it.
            let entry = unsafe { self.received.entry::<libc::xdp_desc>(begin.wrapping_add(number)).read() };
            let (at, len) = (entry.addr as usize, entry.len as usize);
            if at.checked_add(len).is_some_and(|end| end <= self.buffers.len) {
                // SAFETY: inside the buffers, as was just seen; the kernel leaves this one alone until it is given back below.
                let bytes = unsafe { std::slice::from_raw_parts(self.buffers.start.add(at).as_ptr(), len) };
                take(Descriptor { bytes, goes_on: entry.options & libc::XDP_PKT_CONTD != 0 });
            }
            let buffer = entry.addr & !(BUFFER as u64 - 1);
            // SAFETY: there are as many entries as buffers, so that this one is free; ours until the producer passes it.
            unsafe { self.fill.entry::<u64>(given.wrapping_add(number)).write(buffer) };
        }
        self.received.consumer().store(begin.wrapping_add(count), Release);
        self.fill.producer().store(given.wrapping_add(count), Release);
        if self.fill.wants_waking() {
            // SAFETY: receives nothing into no bytes: it only wakes the driver.
            unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    ptr::null_mut(),
                    0,
                    libc::MSG_DONTWAIT,
                    ptr::null_mut(),
                    ptr::null_mut(),
                )
            };
        }
    }

    /// What the kernel counted since the socket was opened.
    pub(super) fn statistics(&self) -> libc::xdp_statistics {
        get(&self.fd, libc::XDP_STATISTICS).unwrap_or(libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        })
    }
}

/// The kernel takes zero-copy where the driver has it; frames of several buffers where both have that.
fn bind(fd: &OwnedFd, interface: u32, queue: u32) -> io::Result<()> {
    let several = libc::XDP_USE_NEED_WAKEUP | libc::XDP_USE_SG;
    let mut outcome = Ok(());
    for flags in [several, several | libc::XDP_COPY, libc::XDP_USE_NEED_WAKEUP, libc::XDP_COPY] {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
        // SAFETY: `address` is readable for `len` bytes during the call.
        if unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) } == 0 {
            return Ok(());
        }
        outcome = Err(io::Error::last_os_error());
    }
    outcome
}
