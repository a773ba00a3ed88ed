//! An interface through a ring. It may go down, away, and come again under the same name.
//!
//! In: a name. Out: frames, and counts over all sockets it ever had.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use super::{
    Backend, FanoutGroup, LiveError, LiveFrame, LiveStatistics, RingSize, SocketFilter, ring::Ring,
    socket::PacketSocket,
};

/// The name that stands for all interfaces, those to come too.
pub const ANY: &str = "any";

/// How an interface is captured.
#[derive(Debug, Clone)]
pub struct LineOptions {
    /// Its name, or [`ANY`].
    pub name: String,
    /// How large the ring is.
    pub ring: RingSize,
    /// Take frames for other machines too.
    pub promiscuous: bool,
    /// What decides in the kernel which frames come.
    pub filter: Arc<SocketFilter>,
    /// The sockets that share its frames, when there are several.
    pub group: Option<Arc<FanoutGroup>>,
}

/// An interface, open or away.
#[derive(Debug)]
pub struct Line {
    options: LineOptions,
    open: Option<Open>,
    counted: LiveStatistics,
    is_closed: bool,
}

#[derive(Debug)]
struct Open {
    // The ring goes before its socket.
    ring: Ring,
    socket: PacketSocket,
    index: u32,
}

impl Line {
    /// Begins to capture.
    ///
    /// # Errors
    /// When there is no such interface, no memory or no right to.
    pub fn open(options: LineOptions) -> Result<Self, LiveError> {
        let open = Open::new(&options)?;
        Ok(Self { options, open: Some(open), counted: LiveStatistics::default(), is_closed: false })
    }

    /// Adds what the socket counted since the last time: the kernel begins again at every look.
    fn count(&mut self) {
        let Some(Ok([packets, drops, freezes])) = self.open.as_ref().map(|open| open.socket.statistics()) else {
            return;
        };
        // In version 3 the packets include the drops.
        self.counted.seen += u64::from(packets);
        self.counted.dropped += u64::from(drops);
        self.counted.freezes += u64::from(freezes);
    }
}

impl Open {
    fn new(options: &LineOptions) -> Result<Self, LiveError> {
        let name = &options.name;
        let failed = |what| move |error: io::Error| LiveError::system(what, name, error);
        let socket = PacketSocket::new().map_err(failed("a packet socket for"))?;
        let index = match name.as_str() {
            ANY => 0,
            name => socket.index_of(name).map_err(|_| LiveError::NoInterface { name: name.to_owned() })?,
        };
        let ring = Ring::map(&socket, options.ring).map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => {
                LiveError::NoMemory { bytes: options.ring.bytes(), name: name.clone(), error }
            }
            _ => LiveError::system("a receive ring (TPACKET_V3) on", name, error),
        })?;
        // Nothing comes in before everything is in place: otherwise each member of the group would see all frames.
        socket.reject_all().map_err(failed("a filter on"))?;
        if name == "lo" {
            socket.ignore_outgoing().map_err(failed("leaving out copies on"))?;
        }
        if options.promiscuous && index != 0 {
            socket.promiscuous(index).map_err(failed("promiscuous mode of"))?;
        }
        socket.bind(index).map_err(failed("capturing on"))?;
        if let Some(group) = &options.group {
            socket.join(group, index).map_err(failed("sharing (PACKET_FANOUT; is it up?) the frames of"))?;
        }
        // The error of an interface that is down waits on the socket; it goes on when it comes up.
        let _ = socket.take_error();
        socket.attach(&options.filter).map_err(failed("attaching the packet filter to"))?;
        Ok(Self { ring, socket, index })
    }
}

impl Backend for Line {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|open| open.socket.as_fd())
    }

    fn block(&mut self, take: &mut dyn FnMut(&LiveFrame<'_>)) -> Result<usize, LiveError> {
        let frames = self.open.as_mut().map_or(0, |open| open.ring.block(take));
        self.counted.taken += frames as u64;
        Ok(frames)
    }

    fn is_pressed(&mut self) -> bool {
        self.open.as_ref().is_some_and(|open| open.ring.is_nearly_full())
    }

    fn maintain(&mut self) -> Result<(), LiveError> {
        if self.is_closed {
            return Ok(());
        }
        let index = match &self.open {
            Some(open) => {
                if open.socket.take_error().is_err() {
                    self.counted.downs += 1;
                }
                // The kernel goes on by itself when the same interface comes up; what is read yet is read first.
                let now = if open.index == 0 { Ok(0) } else { open.socket.index_of(&self.options.name) };
                if now.as_ref().map_or(true, |now| *now == open.index) || open.ring.is_ready() {
                    return Ok(());
                }
                Some(open.index)
            }
            None => None,
        };
        // Another interface has the name now, or the last attempt failed.
        if index.is_some() {
            self.count();
            self.open = None;
        }
        // What fails now (it may not be up yet) is tried again.
        self.open = Open::new(&self.options).ok();
        Ok(())
    }

    fn close_intake(&mut self) {
        self.is_closed = true;
        if let Some(open) = &self.open {
            // Where that fails the frames of the last moment are counted as not read.
            let _ = open.socket.reject_all();
        }
    }

    fn statistics(&mut self) -> LiveStatistics {
        self.count();
        self.counted
    }
}
