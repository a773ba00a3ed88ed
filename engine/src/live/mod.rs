//! Live packets: frames from the kernel, handed to shards where they lie. Linux only.
//!
//! - [`af_xdp`]: an interface's queues before the host sees them.
//! - [`bpf`]: eBPF programs for the sockets: what is not HTTP left out, flows shared out behind tunnels.
//! - [`error`]: why packets cannot be captured, and what gives the right to.
//! - [`socket`]: a packet socket (packet(7)): filter, fan-out group, promiscuous mode, statistics.
//! - [`ring`]: its memory-mapped receive ring (TPACKET_V3), block after block.
//! - [`line`]: an interface through a ring, which may go down, away and come again.
//! - [`owners`]: which process of this host a connection belongs to.
//! - [`libpcap`]: an interface through libpcap. [`classic`]: filter expressions.
//! - [`pcapng`]: frames into a file.
//! - [`stop`]: the end of a capture, which ends waits for frames too.
//! - [`worker`]: one thread's work: frames of all interfaces into a shard.
//! - here: the seam between what yields frames and what takes them.
//!
//! In: names of interfaces. Out: frames to a [`Shard`](crate::shard::Shard), and counts from the kernel up.

pub mod af_xdp;
pub mod bpf;
pub mod classic;
pub mod error;
pub mod libpcap;
pub mod line;
pub mod owners;
pub mod pcapng;
pub mod ring;
pub mod socket;
pub mod stop;
pub mod worker;

use std::os::fd::BorrowedFd;

pub use af_xdp::XdpLine;
pub use error::LiveError;
pub use libpcap::{PcapLine, PcapOptions};
pub use line::{Line, LineOptions};
pub use owners::HostOwners;
pub use pcapng::PcapngWriter;
pub use ring::RingSize;
pub use socket::{Fanout, FanoutGroup, Instruction, SocketFilter};
pub use stop::Stop;
pub use worker::{LiveSink, Worker};

use crate::source::Frame;

/// A frame as the kernel handed it over.
#[derive(Debug, Clone, Copy)]
pub struct LiveFrame<'a> {
    /// Its bytes and time.
    pub frame: Frame<'a>,
    /// The VLAN tag that the card or the kernel took off, when there was one.
    pub vlan: Option<VlanTag>,
    /// The interface it passed.
    pub interface: u32,
    /// What passes the loopback is seen as it leaves and as it comes: this is the one that leaves.
    pub is_loopback_copy: bool,
}

/// An 802.1Q or 802.1ad tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanTag {
    /// Its EtherType.
    pub protocol: u16,
    /// Priority, drop eligibility and identifier.
    pub control: u16,
}

/// What a backend counted since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveStatistics {
    /// Frames that the kernel handed over or dropped: what passed the filter.
    pub seen: u64,
    /// Of these, dropped by the kernel for want of room.
    pub dropped: u64,
    /// Of these, handed on by [`Backend::block`].
    pub taken: u64,
    /// How often the ring was full and stood still.
    pub freezes: u64,
    /// How often an interface went down or away.
    pub downs: u64,
    /// Frames that an interface or its driver dropped before the kernel saw them, where that is told.
    pub interface_dropped: u64,
}

/// Yields frames. It never blocks: the owner waits for [`descriptor`](Self::descriptor).
pub trait Backend: Send {
    /// What becomes readable when there are frames. `None`: nothing to wait for at the moment (the interface is away).
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// Hands over the frames of the next block, where they lie; returns how many. Zero: there are none yet.
    ///
    /// # Errors
    /// When reading fails for good. An interface that goes down is no error.
    fn block(&mut self, take: &mut dyn FnMut(&LiveFrame<'_>)) -> Result<usize, LiveError>;

    /// Whether so much waits that frames will soon be lost when nobody takes them. `true` also where that cannot be told.
    fn is_pressed(&mut self) -> bool;

    /// Looks after what may have changed outside (an interface that went away or came again); called a few times a second.
    ///
    /// # Errors
    /// When nothing will come any more.
    fn maintain(&mut self) -> Result<(), LiveError> {
        Ok(())
    }

    /// Lets no more frames in; those that wait can still be taken.
    fn close_intake(&mut self);

    /// Whether everything let in before [`close_intake`](Self::close_intake) was taken.
    fn is_drained(&mut self) -> bool {
        let all = self.statistics();
        all.taken + all.dropped >= all.seen
    }

    /// What was counted since it was opened.
    fn statistics(&mut self) -> LiveStatistics;
}
